"""Whatever trace context a request brings, it has its answer and one whole span."""

from __future__ import annotations

import pytest
from hostile import Stack, with_headers
from hypothesis import example, given, settings
from hypothesis import strategies as st

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)


@pytest.mark.parametrize(
    "traceparent",
    [
        b"",
        b"-",
        b"---",
        b"00",
        b"00-" + TRACE,
        b"00-%b-%b" % (TRACE, SPAN),
        b"00-%b-%b-" % (TRACE, SPAN),
        b"00-%b-%b-1" % (TRACE, SPAN),
        b"00-%b-%b-zz" % (TRACE, SPAN),
        b"00-%b-%b-01-extra" % (TRACE, SPAN),
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"0-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01" % (b"g" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE[:-1], SPAN),
        b"00-%b-%b-01" % (TRACE + b"0", SPAN),
        b"00-%b-%b-01" % (TRACE, SPAN + b"0"),
        b"00_%b_%b_01" % (TRACE, SPAN),
        b"00-%b-%b-01\r\nx: y" % (TRACE, SPAN),
        b"\xff" * 55,
        b"00-%b-%b-\xff\xfe" % (TRACE, SPAN),
        "00-\u0660af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".encode(),
        VALID + b"," + VALID,
        VALID * 1000,
        b"{}",
        b"null",
    ],
    ids=lambda value: repr(value[:60]),
)
def test_a_malformed_traceparent_never_breaks_a_span(traceparent):
    Stack().assert_fine(with_headers((b"traceparent", traceparent), (b"tracestate", b"a=b")))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
@example(VALID, b"\xff=,,=\x00", b"%zz=;;,=%ff")
@example(VALID, b"a=b," * 100, b"a=b;c=d," * 100)
def test_any_trace_context_gives_one_whole_span(traceparent, tracestate, baggage):
    Stack().assert_fine(with_headers((b"traceparent", traceparent), (b"tracestate", tracestate), (b"baggage", baggage)))


def test_a_valid_traceparent_twice_gives_one_whole_span():
    Stack().assert_fine(with_headers((b"traceparent", VALID), (b"traceparent", VALID)))
