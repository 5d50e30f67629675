"""Who the client is, as far as trusted proxies vouch for it.

Only the address that connected is certain. When it belongs to a trusted proxy, the hops that the proxies recorded are
read from the last to the first, and the first one that is not trusted is the client: whatever stands before it may be
forged. `Forwarded` (RFC 7239) is preferred to the `X-Forwarded-*` headers. Nothing is believed by default.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from asgi_infra.middleware.exchange import Exchange

    Address: TypeAlias = IPv4Address | IPv6Address

_MAX_HOPS = 32
_MAX_HEADER = 4096
_SCHEMES = frozenset({"http", "https", "ws", "wss"})
_HOST = re.compile(r"[0-9A-Za-z.\-_:\[\]]{1,255}")
# One name=value pair of RFC 7239, section 4; a quoted value may hold separators.
_PAIR = re.compile(r'\s*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;\s]*))\s*')


class TrustedProxies:
    """The networks whose forwarding headers are believed.

    Args:
        networks: Addresses and networks, such as `"10.0.0.0/8"` or `"::1"`; `"*"` trusts every peer, which is right
            only where nothing but the proxy can connect.

    Raises:
        ConfigurationError: Something is neither an address nor a network.
    """

    def __init__(self, networks: str | Sequence[str] = ()) -> None:
        names = [networks] if isinstance(networks, str) else list(networks)
        self._everyone = "*" in names
        self._networks: list[IPv4Network | IPv6Network] = []
        for name in names:
            if name != "*":
                try:
                    self._networks.append(ip_network(name, strict=False))
                except (ValueError, TypeError) as exc:
                    raise ConfigurationError(
                        f"trusted_proxies: {name!r} is neither an IP address nor a network such as '10.0.0.0/8'"
                    ) from exc

    def __bool__(self) -> bool:
        return self._everyone or bool(self._networks)

    def apply(self, exchange: Exchange) -> None:
        """Set client, scheme and host of an exchange to what its trusted proxies say."""
        peer = exchange.client
        if peer is None or not self._trusts(peer):
            return
        headers = exchange.headers
        if b"forwarded" in headers:
            hops = list(_forwarded(_joined(exchange, b"forwarded")))
        else:
            hops = [{"for": address} for address in _split(_joined(exchange, b"x-forwarded-for"))]
            if not hops:
                hops = [{}]
            for name, header in (("proto", b"x-forwarded-proto"), ("host", b"x-forwarded-host")):
                values = _split(headers.get(header, b"")[:_MAX_HEADER].decode("latin-1"))
                if values:
                    for hop in hops:
                        hop[name] = values[-1]
        for hop in reversed(hops[-_MAX_HOPS:]):
            proto = hop.get("proto", "").lower()
            if proto in _SCHEMES:
                exchange.scheme = proto
            host = hop.get("host", "")
            if _HOST.fullmatch(host):
                exchange.host = host.encode("ascii")
            address = _address(hop.get("for", ""))
            if address is None:
                return
            exchange.client = str(address)
            if not self._trusts(exchange.client):
                return

    def _trusts(self, peer: str) -> bool:
        if self._everyone:
            return True
        address = _address(peer)
        return address is not None and any(address in network for network in self._networks)


def _joined(exchange: Exchange, name: bytes) -> str:
    # The last 4096 characters: the nearest proxies write last, and only they can be trusted.
    values = [value for key, value in exchange.scope["headers"] if key == name]
    return b",".join(values)[-_MAX_HEADER:].decode("latin-1")


def _split(value: str) -> list[str]:
    return [part for part in (part.strip() for part in value.split(",")) if part]


def _forwarded(value: str) -> Iterator[dict[str, str]]:
    hop: dict[str, str] = {}
    position = 0
    while position < len(value):
        pair = _PAIR.match(value, position)
        if pair:
            quoted, plain = pair.group(2), pair.group(3)
            hop[pair.group(1).lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            position = pair.end()
        else:  # what can't be read is skipped up to the next separator
            rest = re.compile(r"[^,;]*").match(value, position)
            position = rest.end() if rest else len(value)
        if position < len(value):
            if value[position] == ",":
                yield hop
                hop = {}
            position += 1
    yield hop


def _address(text: str) -> Address | None:
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None
