"""Who the client is, as far as trusted proxies vouch for it.

Only the address that connected is certain. When it belongs to a trusted proxy, the hops that the proxies recorded are
read from the last to the first, and the first one that is not trusted is the client: whatever stands before it may be
forged. Where there are `Forwarded` (RFC 7239) and `X-Forwarded-For` and they name different clients, neither is
believed: a proxy writes one of them and passes on what the client made of the other. Nothing is believed by default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

    from asgi_infra.middleware.exchange import Exchange

    Address: TypeAlias = IPv4Address | IPv6Address

_MAX_HOPS = 32
_MAX_HEADER = 4096
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_OF_WEBSOCKETS = {"http": "ws", "https": "wss"}
_HOST = re.compile(r"[0-9A-Za-z.\-_:\[\]]{1,255}")
# One name=value pair of RFC 7239, section 4; a quoted value may hold separators.
_PAIR = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;\s]*))\s*(?=;|$)')


class _Found(NamedTuple):
    client: str | None = None
    scheme: str | None = None
    host: bytes | None = None


class TrustedProxies:
    """The networks whose forwarding headers are believed.

    Args:
        networks: Addresses and networks, such as `"10.0.0.0/8"` or `"::1"`. `"*"` trusts every peer, which is right
            only where nothing but the proxy can connect; the hops before it are trusted by their networks only.

    Raises:
        ConfigurationError: Something is neither an address nor a network.
    """

    def __init__(self, networks: str | Sequence[str] = ()) -> None:
        if not isinstance(networks, Iterable) or isinstance(networks, (bytes, bytearray)):
            raise ConfigurationError(f"trusted_proxies must be a list of addresses and networks, not {shown(networks)}")
        names = [networks] if isinstance(networks, str) else list(networks)
        self._everyone = "*" in names
        self._networks: list[IPv4Network | IPv6Network] = []
        for name in names:
            if name != "*":
                self._networks.append(_network(name))

    def __bool__(self) -> bool:
        return self._everyone or bool(self._networks)

    def apply(self, exchange: Exchange) -> None:
        """Set client, scheme and host of an exchange to what its trusted proxies say."""
        if not self._everyone and not self._trusts(exchange.client):
            return
        headers = exchange.headers
        found = other = _Found()
        if b"forwarded" in headers:
            found = self._read(_forwarded(_last(exchange, b"forwarded")))
        if b"x-forwarded-for" in headers:
            other = self._read({"for": address} for address in _last(exchange, b"x-forwarded-for"))
        if found.client and other.client and found.client != other.client:
            return
        if b"forwarded" not in headers or (other.client and not found.client):
            found = self._read([_nearest(exchange)])
        if client := found.client or other.client:
            exchange.client = client
        if found.scheme is not None:
            exchange.scheme = _OF_WEBSOCKETS[found.scheme] if exchange.is_websocket else found.scheme
        if found.host is not None:
            exchange.host = found.host

    def _read(self, hops: Iterable[dict[str, str]]) -> _Found:
        """Follow the hops, the last one first, as far as they are trusted."""
        client = scheme = host = None
        for hop in islice(hops, _MAX_HOPS):
            scheme = _SCHEMES.get(hop.get("proto", "").lower(), scheme)
            if _HOST.fullmatch(hop.get("host", "")):
                host = hop["host"].encode("ascii")
            address = _address(hop.get("for", ""))
            if address is None:
                break
            client = str(address)
            if not self._trusts(client):
                break
        return _Found(client, scheme, host)

    def _trusts(self, peer: str | None) -> bool:
        address = _address(peer or "")
        return address is not None and any(address in network for network in self._networks)


def _network(name: object) -> IPv4Network | IPv6Network:
    try:
        if isinstance(name, str):
            return ip_network(name, strict=False)
    except ValueError as exc:
        raise ConfigurationError(_not_a_network(name)) from exc
    raise ConfigurationError(_not_a_network(name))


def _not_a_network(name: object) -> str:
    return f"trusted_proxies: {shown(name)} is neither an IP address nor a network such as '10.0.0.0/8'"


def _last(exchange: Exchange, name: bytes) -> Iterator[str]:
    """Yield the elements of a header that is a list, the last one first: the nearest proxies write last.

    A quoted string may hold commas. Quotes are counted from the end, where they are those of trusted proxies, so that
    an open one in what the client wrote can't swallow what came after it.
    """
    value = b",".join([value for key, value in exchange.scope["headers"] if key == name]).decode("latin-1")
    start = max(0, len(value) - _MAX_HEADER)
    end, quoted = len(value), False
    for at in range(len(value) - 1, start - 1, -1):
        char = value[at]
        if char == '"':
            if not _is_escaped(value, at):
                quoted = not quoted
        elif char == "," and not quoted:
            if element := value[at + 1 : end].strip():
                yield element
            end = at
    if start == 0 and (element := value[:end].strip()):  # what is cut off in its middle is none
        yield element


def _is_escaped(value: str, at: int) -> bool:
    if value[at - 1 : at] != "\\":
        return False
    before = value[max(0, at - _MAX_HEADER) : at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _forwarded(elements: Iterable[str]) -> Iterator[dict[str, str]]:
    for element in elements:
        hop: dict[str, str] = {}
        position = 0
        while pair := _PAIR.match(element, position):
            quoted, plain = pair.group(2), pair.group(3)
            hop[pair.group(1).lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            position = pair.end() + 1
        yield hop


def _nearest(exchange: Exchange) -> dict[str, str]:
    """Return what the nearest proxy says in headers that have no place for more than one hop."""
    names = {"proto": b"x-forwarded-proto", "host": b"x-forwarded-host"}
    return {key: next(_last(exchange, name), "") for key, name in names.items() if name in exchange.headers}


def _address(text: str) -> Address | None:
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket that takes both families shows IPv4 peers as ::ffff:192.0.2.1.
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
