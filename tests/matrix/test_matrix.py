"""Every framework on every server: what the stack reports is the same, but for what the table says."""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

if TYPE_CHECKING:
    from serving import Served

ITEM = "/items/{item_id}"
PATIENCE = 10.0
CLOSE_OF_UNKNOWN = {"litestar": 4500, "falcon": 3404}


def test_a_request_has_its_id_and_its_route_in_every_signal(served: Served):
    before = served.requests_total("GET", ITEM, 200)
    response, record = served.ask("GET", "/items/7")
    assert response.status_code == 200
    assert "7" in response.text
    assert (record["route"], record["path"], record["outcome"]) == (ITEM, "/items/7", "ok")
    assert record["bytes_out"] == len(response.content)
    assert served.requests_total("GET", ITEM, 200) == before + 1


def test_an_id_is_made_when_the_request_has_none(served: Served):
    first, second = (served.client.get("/items/7").headers["X-Request-ID"] for _ in range(2))
    assert first != second
    assert served.record(first)["route"] == ITEM


def test_a_body_is_counted(served: Served):
    response, record = served.ask("POST", "/echo", content=b"x" * 3000)
    assert response.content == b"x" * 3000
    assert (record["route"], record["bytes_in"], record["bytes_out"]) == ("/echo", 3000, 3000)


def test_a_nested_route_has_its_whole_template(served: Served):
    response, record = served.ask("GET", "/t/x/x/t")
    assert response.status_code == 200
    assert record["route"] == "/t/{tenant}/x/{y}"


def test_head_is_answered_without_a_body(served: Served):
    response, record = served.ask("HEAD", "/items/7")
    assert response.status_code == 200
    assert response.content == b""
    assert (record["route"], record["outcome"]) == (ITEM, "ok")


def test_a_404_is_unmatched(served: Served):
    before = served.requests_total("GET", "unmatched", 404)
    response, record = served.ask("GET", "/no/such/path")
    assert response.status_code == 404
    assert (record["route"], record["outcome"]) == (None, "ok")
    assert served.requests_total("GET", "unmatched", 404) == before + 1
    assert "no/such/path" not in served.client.get("/metrics").text


def test_a_405_has_the_route_where_the_framework_says_it(served: Served):
    response, record = served.ask("DELETE", "/items/7")
    if served.framework == "blacksheep":
        assert response.status_code == 404, "BlackSheep looks a route up by its method, and knows no 405"
    else:
        assert response.status_code == 405
    says = served.framework in {"starlette", "fastapi", "django", "falcon"}
    assert record["route"] == (ITEM if says else None)


def test_a_500_has_its_id_and_is_an_error(served: Served):
    before = served.requests_total("GET", "/boom", 500)
    # Servers close the connection when an application raises, some of them a little later than they answer.
    response, record = served.ask("GET", "/boom", headers={"Connection": "close"})
    assert response.status_code == 500
    assert (record["route"], record["outcome"], record["level"]) == ("/boom", "error", "ERROR")
    raises = served.framework in {"starlette", "fastapi"}  # the others answer, and keep the exception to themselves
    assert record["error_type"] == ("LookupError" if raises else "500")
    assert served.requests_total("GET", "/boom", 500) == before + 1


def test_a_failure_in_mid_stream_is_an_error_with_the_status_that_was_sent(served: Served):
    request_id = f"stream-{served.framework}-{served.server}"
    received = b""
    try:
        # Daphne keeps the connection open, and lets the client wait.
        with served.client.stream("GET", "/stream", headers={"X-Request-ID": request_id}, timeout=1) as response:
            assert response.headers["X-Request-ID"] == request_id
            for chunk in response.iter_raw():
                received += chunk
    except httpx2.TransportError:
        pass  # as it should be: the body has no end
    record = served.record(request_id)
    assert received in {b"first", b""}
    assert (record["route"], record["status"], record["outcome"]) == ("/stream", 200, "error")
    assert record["error_type"] not in {None, "200"}


def test_a_client_that_goes_away_is_a_disconnect_and_no_error(served: Served):
    request_id = f"gone-{served.framework}-{served.server}"
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as client:
        client.sendall(f"GET /slow HTTP/1.1\r\nHost: example.org\r\nX-Request-ID: {request_id}\r\n\r\n".encode())
        while b"tick" not in client.recv(4096):
            pass
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
    record = served.record(request_id)
    assert (record["route"], record["status"]) == ("/slow", 200)
    # The streams of Falcon and BlackSheep never ask whether the client is still there: they are sent to their end.
    unseen = served.framework in {"falcon", "blacksheep"}
    assert record["outcome"] == ("ok" if unseen else "disconnected")


def needs_websockets(served: Served) -> None:
    if served.framework == "django":
        pytest.skip("Django has no WebSocket: its handler raises ValueError on that scope")
    if (served.framework, served.server) == ("quart", "daphne"):
        pytest.skip("daphne leaves the scheme out of a WebSocket's scope, and Quart raises KeyError without it")


def test_a_websocket_is_one_exchange_with_a_close_code(served: Served):
    needs_websockets(served)
    request_id = f"ws-{served.framework}-{served.server}"
    with connect(f"ws://127.0.0.1:{served.port}/ws", additional_headers={"X-Request-ID": request_id}) as client:
        assert client.response is not None
        client.send("hello")
        assert client.recv(timeout=PATIENCE) == "hello"
        if (served.framework, served.server) == ("quart", "granian"):
            # Granian sends the close when the application has returned; Quart returns when the close was answered.
            client.close(code=4001)
        else:
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4001
        # Granian and daphne leave out what an application adds to the acceptance.
        echoed = [] if served.server in {"granian", "daphne"} else [request_id]
        assert client.response.headers.get_all("X-Request-ID") == echoed
    record = served.record(request_id)
    assert (record["route"], record["status"], record["close_code"]) == ("/ws", 101, 4001)
    assert (record["outcome"], record["bytes_in"], record["bytes_out"]) == ("ok", 5, 5)


def test_a_websocket_to_an_unknown_path_is_refused(served: Served):
    needs_websockets(served)
    request_id = f"ws-404-{served.framework}-{served.server}"
    with (
        pytest.raises(WebSocketException),
        connect(f"ws://127.0.0.1:{served.port}/none", additional_headers={"X-Request-ID": request_id}) as client,
    ):
        client.recv(timeout=PATIENCE)
    record = served.record(request_id)
    assert record["route"] is None
    if served.framework == "quart":
        assert record["status"] == 404, "Quart answers the handshake with an HTTP response"
    else:
        assert (record["status"], record["close_code"]) == (403, CLOSE_OF_UNKNOWN.get(served.framework, 1000))


def test_the_prefix_of_a_proxy_is_no_part_of_the_route(served: Served):
    # Of the two forms that proxies leave, Falcon matches the one without the prefix only, and Quart the one with it.
    path = "/items/7" if served.framework == "falcon" else "/proxy/items/7"
    response, record = served.ask("GET", path, headers={"X-Test-Root-Path": "/proxy"})
    assert response.status_code == 200
    assert record["route"] == ITEM


def test_two_requests_on_one_connection_have_ids_of_their_own(served: Served):
    ids = [served.ask("GET", "/items/7")[1]["request_id"] for _ in range(2)]
    assert len(set(ids)) == 2


def test_no_server_writes_an_access_log_beside_ours(served: Served):
    request_id = f"lines-{served.framework}-{served.server}"
    served.client.get("/items/7654321", headers={"X-Request-ID": request_id})
    served.record(request_id)
    served.ask("GET", "/items/7")
    lines = [line for line in served.output.splitlines() if "7654321" in line]
    assert len(lines) == 1
    assert json.loads(lines[0])["request_id"] == request_id
