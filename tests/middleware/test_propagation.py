"""The short way through the default propagators comes out where they do."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

from asgi_infra.middleware.engine import Plan
from asgi_infra.middleware.exchange import Exchange
from asgi_infra.middleware.propagation import Propagation

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def exchange_with(headers: list[tuple[bytes, bytes]]) -> Exchange:
    async def nothing(*_: Any) -> None: ...

    return Exchange({"type": "http", "headers": headers}, nothing, nothing, Plan([]))


values = st.one_of(
    st.from_regex(rb"\A0[0-2]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z"),
    st.from_regex(rb"\A(00|ff)-0{30}0[01]-0{15}[01]-0[0-3](-x)?\Z"),
    st.sampled_from([TRACEPARENT, TRACEPARENT + b" ", b" " + TRACEPARENT, TRACEPARENT.upper(), TRACEPARENT + b"\n"]),
    st.binary(max_size=60),
)


@given(st.lists(values, min_size=1, max_size=2))
@example([b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"])
def test_a_traceparent_means_what_the_propagator_takes_it_for(traceparents: list[bytes]) -> None:
    exchange = exchange_with([(b"traceparent", value) for value in traceparents])
    carrier = {"traceparent": [value.decode("latin-1") for value in traceparents]}

    ours = get_current_span(Propagation().extract(exchange, Context())).get_span_context()

    assert ours == get_current_span(propagate.extract(carrier, Context())).get_span_context()


def test_without_any_header_of_the_propagator_the_context_is_the_one_that_was() -> None:
    context = Context()

    assert Propagation().extract(exchange_with([(b"host", b"shop.example.org")]), context) is context
