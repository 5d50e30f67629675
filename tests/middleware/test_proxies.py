"""Who the client is: the last hop that no trusted proxy vouches for, and nobody else."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from middleware_driver import Lines, Seen, answer, drive, http, websocket
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asgi_infra import AccessLog, InfraMiddleware, Tracing, faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.engine import Engine
from asgi_infra.middleware.proxies import TrustedProxies

if TYPE_CHECKING:
    from collections.abc import Sequence

PROXY = "10.0.0.1"
TRUSTED = ["10.0.0.0/8", "2001:db8:ffff::/48"]
Found = tuple[str | None, str, bytes | None]


@pytest.fixture(autouse=True)
def _without_faults(monkeypatch: pytest.MonkeyPatch) -> Any:
    counts: dict[tuple[str, str], int] = {}
    monkeypatch.setattr(faults, "_counts", counts)
    yield
    assert not counts


def find(
    *headers: tuple[str, str],
    peer: str | None = PROXY,
    trusted: str | Sequence[str] = TRUSTED,
    make: Any = http,
) -> Found:
    """Return client, scheme and host, as the observers get to see them."""
    seen = Seen()
    raw = [(b"host", b"inner.example.org"), *((name.encode(), value.encode("latin-1")) for name, value in headers)]
    scope = make() | {"headers": raw, "client": peer and (peer, 4711)}
    drive(Engine(answer(), [seen], trusted_proxies=trusted), scope, [])
    (exchange,) = seen.exchanges
    return exchange.client, exchange.scheme, exchange.host


def client(*headers: tuple[str, str], **options: Any) -> str | None:
    return find(*headers, **options)[0]


# Trust


ALL_HEADERS = (
    ("forwarded", "for=203.0.113.9;proto=https;host=shop.example.org"),
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "shop.example.org"),
)


@pytest.mark.parametrize("peer", ["192.0.2.7", "11.0.0.1", "2001:db8::1", "testclient", None])
def test_a_peer_that_is_not_trusted_changes_nothing(peer: str | None) -> None:
    assert find(*ALL_HEADERS, peer=peer) == (peer, "http", b"inner.example.org")


def test_nothing_is_believed_by_default() -> None:
    assert find(*ALL_HEADERS, trusted=()) == (PROXY, "http", b"inner.example.org")


@pytest.mark.parametrize(
    ("trusted", "peer"),
    [
        ("10.0.0.1", "10.0.0.1"),
        (["10.0.0.1/32"], "10.0.0.1"),
        (["10.1.2.3/8"], "10.9.9.9"),
        ("::1", "::1"),
        (["2001:db8::/32"], "2001:db8:5::9"),
        ("*", "198.51.100.4"),
        (["192.0.2.0/24", "*"], "198.51.100.4"),
        ("*", None),
        ("*", "testclient"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1"),
        (["fe80::/10"], "fe80::1%eth0"),
    ],
)
def test_a_trusted_peer_is_believed(trusted: Any, peer: str | None) -> None:
    assert find(*ALL_HEADERS, peer=peer, trusted=trusted) == ("203.0.113.9", "https", b"shop.example.org")


@pytest.mark.parametrize("wrong", ["localhost", "10.0.0.0/33", "10.0.0", "", " ", "10.0.0.0/8 ", 5, None, [None], b"x"])
def test_what_is_no_network_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        TrustedProxies(wrong)


def test_a_set_of_networks_is_false_when_it_is_empty() -> None:
    assert not TrustedProxies()
    assert not TrustedProxies([])
    assert TrustedProxies("*")
    assert TrustedProxies("::1")


# X-Forwarded-For


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:51234", "203.0.113.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:51234", "2001:db8::9"),
        ('"[2001:db8::9]:51234"', "2001:db8::9"),
        ("2001:DB8:0:0:0:0:0:9", "2001:db8::9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        (" 203.0.113.9 ", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("203.0.113.9,10.0.0.7,10.0.0.8", "203.0.113.9"),
        ("203.0.113.9, 2001:db8:ffff::1", "203.0.113.9"),
        ("198.51.100.66, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("10.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("unknown, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, , ", "203.0.113.9"),
        ("10.0.0.5, 10.0.0.7", "10.0.0.5"),
        ("203.0.113.9, unknown", PROXY),
        ("203.0.113.9, unknown, 10.0.0.7", "10.0.0.7"),
        ("", PROXY),
        (", ,", PROXY),
        ("not an address", PROXY),
        ("203.0.113.999", PROXY),
        ("127.1", PROXY),
    ],
)
def test_x_forwarded_for_is_read_from_its_end(value: str, expected: str) -> None:
    assert client(("x-forwarded-for", value)) == expected


def test_several_lines_of_a_header_are_one_list() -> None:
    assert client(("x-forwarded-for", "198.51.100.66"), ("x-forwarded-for", "203.0.113.9, 10.0.0.7")) == "203.0.113.9"
    assert client(("forwarded", "for=198.51.100.66"), ("forwarded", "for=203.0.113.9")) == "203.0.113.9"


def test_of_several_lines_the_nearest_proxys_scheme_and_host_count() -> None:
    found = find(
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "forged.example.org"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example.org"),
    )
    assert found == (PROXY, "https", b"shop.example.org")


def test_with_every_peer_trusted_the_client_is_who_reached_the_proxy() -> None:
    hops = ("x-forwarded-for", "198.51.100.66, 203.0.113.9, 10.0.0.3")
    assert client(hops, trusted="*") == "10.0.0.3"
    assert client(hops, trusted=["*", "10.0.0.0/8"]) == "203.0.113.9"


def test_a_forged_forwarded_without_an_address_is_not_believed() -> None:
    found = find(
        ("forwarded", "host=forged.example.org;proto=http"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example.org"),
    )
    assert found == ("203.0.113.9", "https", b"shop.example.org")


# Forwarded


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9", "203.0.113.9"),
        ('for="203.0.113.9"', "203.0.113.9"),
        ('for="203.0.113.9:51234"', "203.0.113.9"),
        ('for="[2001:db8::9]"', "2001:db8::9"),
        ('for="[2001:db8::9]:51234"', "2001:db8::9"),
        ("for=[2001:db8::9]", "2001:db8::9"),
        ('for="2\\03.0.113.9"', "203.0.113.9"),
        ("by=10.0.0.1; for=203.0.113.9 ;proto=http", "203.0.113.9"),
        ("proto=http;x-own_1=a;for=203.0.113.9", "203.0.113.9"),
        ("for=203.0.113.9, for=10.0.0.7", "203.0.113.9"),
        ('for=198.51.100.66, for="203.0.113.9", for=10.0.0.7;by=10.0.0.1', "203.0.113.9"),
        ('for=203.0.113.9;by="a,b;c", for=10.0.0.7', "203.0.113.9"),
        ('for=203.0.113.9;by="a\\",for=198.51.100.66", for=10.0.0.7', "203.0.113.9"),
        ("for=203.0.113.9, for=unknown", PROXY),
        ("for=203.0.113.9, for=_hidden, for=10.0.0.7", "10.0.0.7"),
        ("for=unknown", PROXY),
        ("for=_SEVKISEK", PROXY),
        ("for=", PROXY),
        ("for", PROXY),
        ("proto=https", PROXY),
        ("for=198.51.100.66, proto=https", PROXY),
        ("", PROXY),
        (";;;,,,===", PROXY),
    ],
)
def test_forwarded_is_read_from_its_end(value: str, expected: str) -> None:
    assert client(("forwarded", value)) == expected


@pytest.mark.parametrize(
    "forged",
    ['for=198.51.100.66;by="', 'for=198.51.100.66;by="a\\', 'by="', '"', '\\"', 'for="198.51.100.66', 'x="," ",'],
)
def test_an_open_quote_of_the_client_swallows_nothing_of_what_the_proxy_wrote(forged: str) -> None:
    assert client(("forwarded", f'{forged}, for="[2001:db8::9]:4711"')) == "2001:db8::9"
    assert client(("forwarded", f'{forged}, for="[2001:db8::9]", for="10.0.0.7:80"')) == "2001:db8::9"


def test_scheme_and_host_are_those_of_the_hop_of_the_client() -> None:
    value = "for=203.0.113.9;proto=https;host=shop.example.org, for=10.0.0.7;proto=http;host=inner"
    assert find(("forwarded", value)) == ("203.0.113.9", "https", b"shop.example.org")
    forged = f"for=198.51.100.66;proto=ws;host=forged.example.org, {value}"
    assert find(("forwarded", forged)) == ("203.0.113.9", "https", b"shop.example.org")


# Both


def test_where_both_headers_agree_the_client_is_known() -> None:
    assert client(("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "203.0.113.9")) == "203.0.113.9"


def test_where_both_headers_disagree_neither_is_believed() -> None:
    found = find(
        ("forwarded", "for=198.51.100.66;proto=https;host=forged.example.org"), ("x-forwarded-for", "203.0.113.9")
    )
    assert found == (PROXY, "http", b"inner.example.org")


def test_a_header_that_names_nobody_does_not_hide_the_other() -> None:
    assert client(("forwarded", "for=unknown"), ("x-forwarded-for", "203.0.113.9")) == "203.0.113.9"
    assert client(("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "unknown")) == "203.0.113.9"


# Scheme and host


@pytest.mark.parametrize(
    ("make", "proto", "expected"),
    [
        (http, "https", "https"),
        (http, "HTTPS", "https"),
        (http, "wss", "https"),
        (websocket, "https", "wss"),
        (websocket, "wss", "wss"),
        (websocket, "http", "ws"),
        (http, "http, https", "https"),
        (http, "gopher", "http"),
        (http, "", "http"),
        (http, "https\x00", "http"),
    ],
)
def test_the_scheme_is_one_of_the_kind_of_the_exchange(make: Any, proto: str, expected: str) -> None:
    assert find(("x-forwarded-proto", proto), make=make)[1] == expected
    assert find(("forwarded", f'for=203.0.113.9;proto="{proto.rpartition(", ")[2]}"'), make=make)[1] == expected


@pytest.mark.parametrize("host", ["shop.example.org", "shop.example.org:8443", "[2001:db8::1]:8443"])
def test_the_host_may_have_a_port(host: str) -> None:
    assert find(("x-forwarded-host", host))[2] == host.encode()
    assert find(("forwarded", f'for=203.0.113.9;host="{host}"'))[2] == host.encode()


@pytest.mark.parametrize("host", ["", "a b", "evil/path", "x" * 256, "ex\xe4mple.org", "a\x00b"])
def test_what_is_no_host_is_not_taken(host: str) -> None:
    assert find(("x-forwarded-host", host))[2] == b"inner.example.org"


# In the signals


def test_log_line_and_span_name_the_client_and_the_span_the_peer_too() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    lines = Lines()
    app = InfraMiddleware(
        answer(),
        metrics=False,
        tracing=Tracing(tracer_provider=provider),
        access_log=AccessLog(stream=lines),
        trusted_proxies=TRUSTED,
    )
    scope = http(
        client=(PROXY, 4711),
        headers=[(b"forwarded", b"for=203.0.113.9;proto=https;host=shop.example.org")],
    )
    drive(app, scope)
    (span,) = exporter.get_finished_spans()
    assert lines.one["client"] == span.attributes["client.address"] == "203.0.113.9"
    assert span.attributes["network.peer.address"] == PROXY
    assert span.attributes["url.scheme"] == "https"
    assert span.attributes["server.address"] == "shop.example.org"
    assert scope["client"] == (PROXY, 4711)  # the application's own view is left alone


# Hostile


@pytest.mark.parametrize(
    "unit",
    [
        "203.0.113.9,",
        "10.0.0.1,",
        ",",
        '"',
        "\\",
        '\\"',
        " ",
        "for=",
        'for="',
        "for=10.0.0.1,",
        "for=a;",
        ";",
        "[",
        ":",
        "1",
    ],
)
@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"])
def test_a_megabyte_of_anything_is_read_in_a_moment_and_the_proxys_part_counts(name: str, unit: str) -> None:
    value = unit * (1_000_000 // len(unit))
    own = {"forwarded": ",for=203.0.113.9", "x-forwarded-for": ",203.0.113.9"}.get(name, ",https")
    started = time.process_time()
    found = client((name, value + own))
    assert time.process_time() - started < 5
    assert found == ("203.0.113.9" if "for" in own or name == "x-forwarded-for" else PROXY)


def test_ten_thousand_lines_are_one_list() -> None:
    lines = [("x-forwarded-for", "198.51.100.66")] * 10_000
    assert client(*lines, ("x-forwarded-for", "203.0.113.9")) == "203.0.113.9"


def test_a_hop_that_was_cut_off_in_its_middle_is_none() -> None:
    hops = ["203.0.113.199", *["10.0.0.17"] * 5000]
    assert client(("x-forwarded-for", ",".join(hops))) == "10.0.0.17"
    for shift in range(20):
        value = "203.0.113.199," + "1" * shift + "x" + "," * 4090
        assert client(("x-forwarded-for", value)) in (PROXY, "203.0.113.199")


# By property


ADDRESSES = st.ip_addresses().map(str) | st.sampled_from([f"10.0.0.{number}" for number in range(1, 9)])
NETWORKS = [ip_network(name) for name in TRUSTED]


def _trusted(text: str) -> bool:
    address = ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in NETWORKS)


def _expected(peer: str, hops: list[str]) -> str:
    """The right-most hop that is not trusted; where all are, the left-most."""
    chain = [*hops, peer]
    untrusted = [hop for hop in chain if not _trusted(hop)]
    found = ip_address(untrusted[-1] if untrusted else chain[0])
    return str(getattr(found, "ipv4_mapped", None) or found) if hops and _trusted(peer) else peer


def _written(hop: str, style: int) -> str:
    bracketed = f"[{hop}]" if ":" in hop else hop
    return [hop, bracketed, f"{bracketed}:4711", f'"{bracketed}"', f'"{bracketed}:4711"'][style]


@settings(max_examples=300, deadline=None)
@given(ADDRESSES, st.lists(st.tuples(ADDRESSES, st.integers(0, 4)), max_size=8), st.booleans())
def test_the_client_is_always_the_right_most_hop_that_is_not_trusted(
    peer: str, hops: list[tuple[str, int]], as_forwarded: bool
) -> None:
    if as_forwarded:
        header = ("forwarded", ", ".join("for=" + _written(hop, max(style, 3)) for hop, style in hops))
    else:
        header = ("x-forwarded-for", ", ".join(_written(hop, style) for hop, style in hops))
    assert client(header, peer=peer) == _expected(peer, [hop for hop, _ in hops])


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=60), st.booleans(), st.booleans())
def test_nothing_that_a_client_writes_moves_what_the_proxies_write_after_it(
    forged: str, as_forwarded: bool, quoted: bool
) -> None:
    quote = '"' if quoted else ""
    if as_forwarded:
        header = ("forwarded", f"{forged}, for={quote}203.0.113.9{quote}, for={quote}10.0.0.7{quote}")
    else:
        header = ("x-forwarded-for", f"{forged}, 203.0.113.9, 10.0.0.7")
    assert client(header) == "203.0.113.9"
