"""The check's own client: real requests over real connections, with the standard library alone."""

from __future__ import annotations

import base64
import json
import os
from http.client import HTTPConnection
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from asgi_infra.cli.demo.tour import Step

_TIMEOUT = 10.0
_CLOSE = 0x8
_TWO_BYTES_FOLLOW = 126
OPENMETRICS = "application/openmetrics-text"


class Reply(NamedTuple):
    """What came back."""

    status: int
    request_id: str | None
    body: str


def ask(host: str, port: int, step: Step, token: str | None = None) -> Reply:
    """Make the request of one step, with the token if it presents one, and read the whole answer.

    Raises:
        OSError: If the connection fails or ten seconds pass.
    """
    headers = {} if step.request_id is None else {"X-Request-ID": step.request_id}
    if step.presents and token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = None if step.body is None else json.dumps(step.body)
    if step.websocket:
        key = base64.b64encode(os.urandom(16)).decode()
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        headers["Sec-WebSocket-Key"] = key
    return _request(host, port, step.method, step.path, body, headers)


def scrape(host: str, port: int) -> str:
    """Return the metrics in the OpenMetrics format, which has exemplars.

    Raises:
        OSError: If the connection fails or ten seconds pass.
    """
    return _request(host, port, "GET", "/metrics", None, {"Accept": OPENMETRICS}).body


def _request(host: str, port: int, method: str, path: str, body: str | None, headers: dict[str, str]) -> Reply:
    connection = HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = _messages(response.fp) if response.status == 101 else response.read().decode()
        return Reply(response.status, response.getheader("X-Request-ID"), text)
    finally:
        connection.close()


def _messages(stream: IO[bytes]) -> str:
    """Return the text messages of a WebSocket, one a line, up to the server's close (RFC 6455, section 5.2)."""
    messages: list[str] = []
    while True:
        head = stream.read(2)
        if len(head) < 2 or head[0] & 0x0F == _CLOSE:
            return "\n".join(messages)
        length = head[1]
        if length == _TWO_BYTES_FOLLOW:
            length = int.from_bytes(stream.read(2))
        messages.append(stream.read(length).decode())
