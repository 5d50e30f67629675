"""Tokens and their parts, as Hypothesis makes them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from asgi_infra.tokens import StoredToken

identifiers = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=255).filter(
    lambda text: text.strip()
)
zones = st.one_of(
    st.just(UTC), st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
)
moments = st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=zones)
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    ),
    lambda values: (
        st.lists(values, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), values, max_size=4)
    ),
    max_leaves=8,
)
metadata = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), json_values, max_size=4)


@st.composite
def loaded_tokens(draw: st.DrawFn) -> StoredToken:
    """A token as a store may hold it: also one that has expired."""
    values: dict[str, Any] = {
        "jti": draw(identifiers),
        "user_id": draw(identifiers),
        "issued_at": draw(moments),
        "expires_at": draw(moments),
        "family_id": draw(st.one_of(st.just(""), identifiers)),
        "client_id": draw(st.none() | identifiers),
        "last_used_at": draw(st.none() | moments),
        "metadata": draw(metadata),
    }
    return StoredToken.loaded(**values)


NOT_FINITE = [math.nan, math.inf, -math.inf]
