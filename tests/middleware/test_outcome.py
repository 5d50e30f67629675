"""How an exchange ended, for each way in which it can end."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recording import EMPTY, GONE, body, head, recorded, sends
from starlette.requests import ClientDisconnect

from asgi_infra.middleware.outcome import is_cancellation, type_name
from asgi_infra.testing import run, websocket_scope

ACCEPT = {"type": "websocket.accept"}
CONNECT = {"type": "websocket.connect"}
CLIENT_GONE = ("disconnected", "client_disconnected")


class WebSocketDisconnect(Exception):
    """Named as frameworks name theirs."""


class Cancelled(BaseException):
    """Named as trio names its own."""


class Broken(Exception):
    class Inside(Exception):
        pass


def group(*errors):
    return BaseExceptionGroup("several", errors)


def outcome_of(*messages, raises=None, received=(EMPTY,)):
    app, recording = recorded(sends(*messages, receives=len(received), raises=raises))
    run(app, messages=received)
    return recording.outcome


def websocket_outcome_of(*messages, raises=None, received=(CONNECT,)):
    app, recording = recorded(sends(*messages, receives=len(received), raises=raises))
    run(app, websocket_scope(), received)
    return recording.outcome


@given(st.integers(100, 999))
def test_a_complete_response_is_ok_below_500_and_an_error_from_there_on(status):
    assert outcome_of(head(status), body()) == (("ok", None) if status < 500 else ("error", str(status)))


def test_an_exception_before_the_response_is_an_error_without_a_status():
    assert outcome_of(raises=ValueError("x")) == ("error", "ValueError")


def test_an_exception_during_the_response_is_an_error_whatever_was_promised():
    messages = head(200), body(b"a", more_body=True)
    assert outcome_of(*messages, raises=ValueError("x")) == ("error", "ValueError")


def test_an_exception_after_a_complete_response_leaves_it_what_it_was():
    assert outcome_of(head(), body(), raises=ValueError("x")) == ("ok", None)


def test_an_exception_after_a_500_is_its_reason():
    assert outcome_of(head(500), body(), raises=ValueError("x")) == ("error", "ValueError")


def test_what_is_no_failure_leaves_a_complete_500_its_own_error_type():
    assert outcome_of(head(503), body(), raises=ClientDisconnect()) == ("error", "503")


@pytest.mark.parametrize("messages", [(), (head(),), (head(), body(more_body=True)), (head(trailers=True), body())])
def test_a_response_that_never_ends_is_incomplete(messages):
    assert outcome_of(*messages) == ("error", "incomplete_response")


def test_a_body_without_a_head_is_incomplete():
    assert outcome_of(body()) == ("error", "incomplete_response")


@pytest.mark.parametrize("messages", [(), (head(),), (head(), body(more_body=True))])
@pytest.mark.parametrize(
    "error",
    [
        None,
        ClientDisconnect(),
        BrokenPipeError(),
        asyncio.CancelledError(),
        group(ClientDisconnect()),
        group(group(OSError()), asyncio.CancelledError()),
    ],
    ids=["returns", "framework", "OSError", "cancelled", "group", "nested group"],
)
def test_whatever_ends_a_response_once_the_client_has_gone_is_a_disconnect(messages, error):
    async def app(scope, receive, send):
        assert await receive() == EMPTY
        for message in messages:
            await send(message)
        assert await receive() == GONE
        if error is not None:
            raise error

    wrapped, recording = recorded(app)

    async def swallowing(scope, receive, send):
        with contextlib.suppress(BaseException):
            await wrapped(scope, receive, send)

    run(swallowing, messages=[EMPTY, GONE])
    assert recording.outcome == CLIENT_GONE


def test_a_failure_once_the_client_has_gone_is_still_a_failure():
    assert outcome_of(head(), raises=ValueError("x"), received=(EMPTY, GONE)) == ("error", "ValueError")


def test_a_group_with_a_failure_beside_a_disconnect_is_a_failure():
    error = ExceptionGroup("several", [ClientDisconnect(), ValueError("x")])
    assert outcome_of(raises=error, received=(EMPTY, GONE)) == ("error", "ExceptionGroup")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("x"), "ValueError"),
        (Broken(), f"{__name__}.Broken"),
        (Broken.Inside(), f"{__name__}.Broken.Inside"),
        (ExceptionGroup("one", [Broken()]), f"{__name__}.Broken"),
        (ExceptionGroup("one", [ExceptionGroup("one", [KeyError("x")])]), "KeyError"),
        (ExceptionGroup("two", [KeyError("x"), ValueError("y")]), "ExceptionGroup"),
        (group(KeyboardInterrupt(), ValueError("y")), "BaseExceptionGroup"),
        (SystemExit(), "SystemExit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_type_of_an_error_is_its_qualified_name(error, name):
    assert type_name(error) == name


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        Cancelled(),
        GeneratorExit(),
        group(asyncio.CancelledError(), group(Cancelled())),
    ],
    ids=["asyncio", "trio", "closed", "group"],
)
def test_to_be_stopped_from_outside_is_a_cancellation(error):
    assert is_cancellation(error)


@pytest.mark.parametrize(
    "error",
    [ValueError(), KeyboardInterrupt(), SystemExit(), group(asyncio.CancelledError(), ValueError())],
    ids=["error", "interrupt", "exit", "group"],
)
def test_nothing_else_is_a_cancellation(error):
    assert not is_cancellation(error)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (1000, ("ok", None)),
        (1001, ("ok", None)),
        (1005, ("ok", None)),
        (1008, ("ok", None)),
        (1006, CLIENT_GONE),
        (1015, CLIENT_GONE),
        (1011, ("error", "1011")),
        (3000, ("ok", None)),
    ],
)
def test_the_close_code_of_the_client_decides(code, outcome):
    script = (CONNECT, {"type": "websocket.disconnect", "code": code})
    app, recording = recorded(sends())

    async def accepting(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()

    app.app = accepting
    run(app, websocket_scope(), script)
    assert recording.outcome == outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(1000, ("ok", None)), (1008, ("ok", None)), (1011, ("error", "1011")), (4500, ("error", "4500"))],
)
def test_the_close_code_of_the_application_decides(code, outcome):
    assert websocket_outcome_of(ACCEPT, {"type": "websocket.close", "code": code}) == outcome


def test_a_websocket_error_is_an_error_and_so_is_one_that_is_never_answered():
    assert websocket_outcome_of(ACCEPT, raises=ValueError("x")) == ("error", "ValueError")
    assert websocket_outcome_of() == ("error", "incomplete_response")


def test_an_accepted_websocket_whose_application_returns_is_ok():
    assert websocket_outcome_of(ACCEPT) == ("ok", None)


@pytest.mark.parametrize("status", [401, 503])
def test_a_websocket_that_is_refused_has_the_outcome_of_its_status(status):
    messages = {"type": "websocket.http.response.start", "status": status}, {"type": "websocket.http.response.body"}
    assert websocket_outcome_of(*messages) == (("ok", None) if status < 500 else ("error", "503"))


@pytest.mark.parametrize(
    ("code", "outcome"), [(1000, ("ok", None)), (1001, ("ok", None)), (1006, CLIENT_GONE)], ids=str
)
@pytest.mark.parametrize(
    "error", [WebSocketDisconnect(), ExceptionGroup("one", [WebSocketDisconnect()])], ids=["plain", "group"]
)
def test_the_disconnect_of_a_framework_tells_no_more_than_the_close_code(error, code, outcome):
    script = (CONNECT, {"type": "websocket.disconnect", "code": code})
    assert websocket_outcome_of(ACCEPT, raises=error, received=script) == outcome


def test_a_client_that_goes_before_the_handshake_is_a_disconnect():
    assert websocket_outcome_of(received=(CONNECT, {"type": "websocket.disconnect", "code": 1006})) == CLIENT_GONE
