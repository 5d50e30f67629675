from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.database import Backoff, DatabaseSession
from asgi_infra.errors import ConfigurationError, InfrastructureError

NO_INTEGER = st.one_of(
    st.booleans(), st.floats(), st.text(), st.none(), st.binary(), st.decimals(), st.fractions(), st.integers().map(str)
)
SECONDS = ["pool_timeout", "pool_recycle", "connect_timeout", "cleanup_timeout", "lock_timeout", "slow_query_threshold"]


@given(st.integers(max_value=0))
def test_property_02_a_pool_size_below_one_is_a_value_error(size):
    with pytest.raises(ValueError, match="pool_size must be at least 1") as caught:
        DatabaseSession("sqlite://", pool_size=size)
    assert isinstance(caught.value, InfrastructureError)


@given(st.integers(max_value=-1))
def test_property_02_an_overflow_below_zero_is_a_value_error(overflow):
    with pytest.raises(ValueError, match="max_overflow must be at least 0"):
        DatabaseSession("sqlite://", max_overflow=overflow)


@given(st.integers(min_value=1), st.integers(min_value=0))
def test_property_02_all_other_whole_numbers_are_the_bounds_of_the_pool(size, overflow):
    db = DatabaseSession("postgresql://h/d", pool_size=size, max_overflow=overflow)
    assert db.pool().limit == size + overflow


@given(st.sampled_from(["pool_size", "max_overflow"]), NO_INTEGER)
def test_property_02_what_is_no_whole_number_is_a_value_error(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} must be an int"):
        DatabaseSession("sqlite://", **{name: value})


@given(
    st.sampled_from(SECONDS),
    st.one_of(
        st.booleans(),
        st.text(),
        st.binary(),
        st.floats(max_value=0),
        st.integers(max_value=0),
        st.just(math.nan),
        st.just(math.inf),
    ),
)
def test_times_are_positive_finite_numbers(name, value):
    with pytest.raises(ConfigurationError, match=name):
        DatabaseSession("sqlite://", **{name: value})


@pytest.mark.parametrize("name", ["pool_pre_ping", "hide_parameters", "tracing"])
@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_switches_are_bools(name, value):
    with pytest.raises(ConfigurationError, match=name):
        DatabaseSession("sqlite://", **{name: value})


def test_a_statement_timeout_is_refused_where_there_is_none():
    with pytest.raises(ConfigurationError, match="statement_timeout does not exist on SQLite"):
        DatabaseSession("sqlite://", statement_timeout=1)


@pytest.mark.parametrize(
    "arguments", [{"attempts": 0}, {"attempts": True}, {"base": 0}, {"longest": "1"}, {"base": 3, "longest": 1}]
)
def test_a_backoff_is_checked(arguments):
    with pytest.raises(ConfigurationError):
        Backoff(**arguments)
