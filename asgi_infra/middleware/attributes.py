"""What the OpenTelemetry HTTP conventions say of a request, from its scope, for the creation of a server span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_infra.middleware.methods import KnownMethods
from asgi_infra.redaction import redact_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.middleware.headers import HeaderCapture

MAX_TEXT = 2048
_MAX_COMMON = 512
_MAX_KEY = 320  # characters of method and host
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class RequestAttributes:
    """Makes the attributes that a span gets at its creation, where samplers can see them."""

    def __init__(self, known_methods: Sequence[str] | None, capture: HeaderCapture) -> None:
        self._methods = KnownMethods(known_methods)
        self._capture = capture or None
        # What does not change from request to request is put together once; bounded, since the host is the client's.
        self._common: dict[tuple[Any, ...], dict[str, Any]] = {}

    def __call__(self, exchange: Exchange) -> dict[str, Any]:
        scope, path = exchange.scope, exchange.path
        key = (exchange.method, exchange.host, exchange.scheme, scope.get("http_version"))
        attributes = (self._common.get(key) or self._make_common(key, exchange)).copy()
        attributes["url.path"] = path if path.isascii() and len(path) <= MAX_TEXT else text(path)
        if query := scope.get("query_string"):
            attributes["url.query"] = redact_query(query[:MAX_TEXT].decode("utf-8", "replace"))
        peer = scope.get("client")
        if exchange.client is not None:
            attributes["client.address"] = exchange.client
        if peer and peer[0]:
            attributes["network.peer.address"] = peer[0]
            if (port := _port(peer)) is not None:
                attributes["network.peer.port"] = port
        if agent := exchange.headers.get(b"user-agent"):
            attributes["user_agent.original"] = agent[:MAX_TEXT].decode("latin-1")
        if self._capture is not None:
            attributes.update(self._capture(scope["headers"]))
        return attributes

    def _make_common(self, key: tuple[Any, ...], exchange: Exchange) -> dict[str, Any]:
        method = self._methods.label(exchange.method)
        common = {"http.request.method": method, "url.scheme": exchange.scheme, **_authority(exchange)}
        if method != exchange.method:
            common["http.request.method_original"] = text(exchange.method)
        if version := exchange.scope.get("http_version"):
            common["network.protocol.version"] = version
        if exchange.is_websocket:
            common["network.protocol.name"] = "websocket"
        if len(exchange.method) + len(exchange.host or b"") <= _MAX_KEY:
            if len(self._common) >= _MAX_COMMON:
                self._common.clear()
            self._common[key] = common
        return common


def text(value: str) -> str:
    """Return a string that any exporter can encode, of bounded length."""
    value = value[:MAX_TEXT]
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _authority(exchange: Exchange) -> dict[str, Any]:
    if exchange.host:
        name, port = _split_authority(exchange.host[:256].decode("latin-1"))
        return {"server.address": name, "server.port": port or _PORTS.get(exchange.scheme, 80)} if name else {}
    server = exchange.scope.get("server")
    if not server or not server[0]:
        return {}
    port = _port(server)
    return {"server.address": str(server[0])} | ({"server.port": port} if port is not None else {})


def _split_authority(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):  # an IPv6 address, RFC 3986, section 3.2.2
        name, _, rest = authority[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = authority.partition(":")
    return name.lower(), int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else None


def _port(pair: Any) -> int | None:
    # Granian gives ports as strings; a Unix socket has none.
    try:
        return int(pair[1])
    except (TypeError, ValueError, IndexError):
        return None
