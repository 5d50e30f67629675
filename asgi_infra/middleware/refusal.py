"""An answer in place of the application's, for HTTP requests and WebSocket connections alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from asgi_infra.types import RawHeaders, Receive, Scope, Send

_DENIAL = "websocket.http.response"  # the extension of the ASGI specification by which a handshake gets a response


class Refusal:
    """An ASGI application that refuses, with a small problem document (RFC 9457).

    A WebSocket is refused before it is accepted: with the same response where the server can send one, otherwise by
    closing it, which servers turn into a 403.

    Args:
        status: The status of the response.
        title: What it means, in a word or two.
        detail: What to do about it, or nothing. Both go to whoever asked.
        headers: More headers; names in lower case.
        members: More members of the document.
        close_code: The close code for a WebSocket (RFC 6455, section 7.4.1): 1008, against the policy, by default;
            1013 for "try again later".
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str | None = None,
        *,
        headers: RawHeaders | None = None,
        members: dict[str, str] | None = None,
        close_code: int = 1008,
    ) -> None:
        document = {"title": title, "status": status} | ({} if detail is None else {"detail": detail})
        self.body = msgspec.json.encode(document | (members or {}))
        self.status = status
        self.headers: RawHeaders = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(self.body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            *(headers or ()),
        ]
        self.close_code = close_code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = ""
        if scope["type"] == "websocket":
            if _DENIAL not in (scope.get("extensions") or ()):
                await send({"type": "websocket.close", "code": self.close_code, "reason": ""})
                return
            prefix = "websocket."
        await send({"type": f"{prefix}http.response.start", "status": self.status, "headers": list(self.headers)})
        await send({"type": f"{prefix}http.response.body", "body": self.body})


def unavailable(detail: str = "Try again later.", *, retry_after: int = 5) -> Refusal:
    """Return the refusal of a request that could not be judged: 503, or close code 1013.

    Args:
        detail: What to tell.
        retry_after: After how many seconds to try again.
    """
    header = (b"retry-after", str(retry_after).encode("ascii"))
    return Refusal(503, "Service Unavailable", detail, headers=[header], close_code=1013)
