"""Entries, filters and details of every kind, for Hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from asgi_infra.audit.entry import AuditEntry
from asgi_infra.audit.filter import AuditFilter

texts = st.text(max_size=20)
names = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
times = st.datetimes(
    min_value=datetime(1970, 1, 1),
    max_value=datetime(2200, 1, 1),
    timezones=st.just(UTC),
)
plain_details: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
"""What JSON can hold, and the numbers that it can't."""

entries = st.builds(
    AuditEntry,
    id=st.uuids().map(str),
    timestamp=times,
    action=names,
    resource_type=names,
    result=names,
    user_id=st.none() | texts,
    resource_id=st.none() | texts,
    details=st.none() | st.dictionaries(texts, plain_details, max_size=4),
    ip_address=st.none() | st.ip_addresses().map(str),
    user_agent=st.none() | texts,
    request_id=st.none() | texts,
    trace_id=st.none() | st.text("0123456789abcdef", min_size=32, max_size=32),
    tenant=st.none() | texts,
)
"""Entries that share nothing."""

_few = {
    "user_id": st.sampled_from(["alice", "Alice", "bob", ""]),
    "resource_type": st.sampled_from(["order", "user"]),
    "resource_id": st.sampled_from(["1", "10", "1%"]),
    "result": st.sampled_from(["success", "denied"]),
    "tenant": st.sampled_from(["acme", "acme_2"]),
    "request_id": st.sampled_from(["r-1", "r-2"]),
}
_seconds = st.integers(0, 4).map(lambda second: datetime(2026, 5, 1, 12, 0, second, tzinfo=UTC))

related_entries = st.builds(
    AuditEntry,
    id=st.uuids().map(str),
    timestamp=_seconds,
    action=st.sampled_from(["order", "order.refund", "order.item.add", "orders.list", "Order.refund", "order_refund"]),
    **{name: values if name in ("resource_type", "result") else st.none() | values for name, values in _few.items()},
    details=st.none() | st.just({"total": "9.90"}),
)
"""Entries that share most of what filters look at."""

filters = st.builds(
    AuditFilter,
    action=st.none() | st.sampled_from(["order", "order.refund", "order.*", "order.item.*", "orders.*", "order%"]),
    **{name: st.none() | st.none() | values for name, values in _few.items()},
    since=st.none() | _seconds.filter(lambda moment: moment.second <= 2),
    until=st.none() | _seconds.filter(lambda moment: moment.second >= 2),
)
"""Filters that some of `related_entries` match."""
