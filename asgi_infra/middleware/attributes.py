"""What the OpenTelemetry HTTP conventions say of a request, from its scope, for the creation of a server span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_infra.middleware.methods import KnownMethods
from asgi_infra.redaction import redact_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.middleware.headers import HeaderCapture

_MAX_TEXT = 2048
_MAX_AUTHORITIES = 256
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class RequestAttributes:
    """Makes the attributes that a span gets at its creation, where samplers can see them."""

    def __init__(self, known_methods: Sequence[str] | None, capture: HeaderCapture) -> None:
        self._methods = KnownMethods(known_methods)
        self._capture = capture
        # What a client repeats from request to request is parsed once; a bounded cache, since it is the client's.
        self._authorities: dict[tuple[bytes | None, str], dict[str, Any]] = {}

    def __call__(self, exchange: Exchange) -> dict[str, Any]:
        scope = exchange.scope
        method = self._methods.label(exchange.method)
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "url.scheme": exchange.scheme,
            "url.path": text(exchange.path),
            **self._authority(exchange),
        }
        if method != exchange.method:
            attributes["http.request.method_original"] = text(exchange.method)
        query = scope.get("query_string")
        if query:
            attributes["url.query"] = redact_query(query[:_MAX_TEXT].decode("utf-8", "replace"))
        peer = scope.get("client")
        if peer and peer[0]:
            attributes["client.address"] = exchange.client
            attributes["network.peer.address"] = peer[0]
            port = _port(peer)
            if port is not None:
                attributes["network.peer.port"] = port
        version = scope.get("http_version")
        if version:
            attributes["network.protocol.version"] = version
        if exchange.is_websocket:
            attributes["network.protocol.name"] = "websocket"
        agent = exchange.headers.get(b"user-agent")
        if agent:
            attributes["user_agent.original"] = agent[:_MAX_TEXT].decode("latin-1")
        if self._capture:
            attributes.update(self._capture(scope["headers"]))
        return attributes

    def _authority(self, exchange: Exchange) -> dict[str, Any]:
        key = (exchange.host, exchange.scheme)
        authority = self._authorities.get(key)
        if authority is None:
            authority = _authority(exchange)
            if len(self._authorities) < _MAX_AUTHORITIES:
                self._authorities[key] = authority
        return authority


def span_method(method: str) -> str:
    """Return what stands for a method in a span's name."""
    return "HTTP" if method == "_OTHER" else method


def text(value: str) -> str:
    """Return a string that any exporter can encode, of bounded length."""
    value = value[:_MAX_TEXT]
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
