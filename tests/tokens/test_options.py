from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from asgi_infra.errors import InfrastructureError
from asgi_infra.tokens import InMemoryTokenStore
from asgi_infra.tokens.clock import from_microseconds, microseconds_now, to_microseconds, utc_now
from asgi_infra.tokens.options import Settings

NOT_A_NUMBER = ["30", "", b"30", True, [30], math.nan, math.inf, -math.inf, -1, -0.001, 10**30]


async def coroutine_function() -> datetime:
    return datetime.now(UTC)


WRONG: dict[str, list[Any]] = {
    "grace": [*NOT_A_NUMBER, None, 300.001],
    "touch_interval": [*NOT_A_NUMBER, None, 86400.001],
    "leeway": [*NOT_A_NUMBER, None, 86400.001],
    "idle_lifetime": [*NOT_A_NUMBER, 0],
    "absolute_lifetime": [*NOT_A_NUMBER, 0],
    "generation_lifetime": [*NOT_A_NUMBER, None, 0],
    "max_sessions": ["3", 1.5, True, 0, -1, math.inf],
    "clock": [5, "now", coroutine_function],
    "key": ["short", b"short", b"x" * 65, 5, [], [None]],
}
CASES = [
    pytest.param(option, value, id=f"{option}-{number}")
    for option, values in WRONG.items()
    for number, value in enumerate(values)
]


@pytest.mark.parametrize(("option", "value"), CASES)
def test_a_wrong_option_is_refused_and_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option} must") as caught:
        InMemoryTokenStore(**{option: value})
    assert isinstance(caught.value, InfrastructureError)
    assert len(str(caught.value)) < 200


class OwnStore(InMemoryTokenStore):
    """Has an option of its own."""

    def __init__(self, *, folder: str = "", **options: Any) -> None:
        super().__init__(**options)


@pytest.mark.parametrize(
    ("kind", "option", "meant"),
    [
        (InMemoryTokenStore, "grase", "; did you mean 'grace'?"),
        (InMemoryTokenStore, "max_entires", "; did you mean 'max_entries'?"),
        (OwnStore, "fodler", "; did you mean 'folder'?"),
        (OwnStore, "idle_life_time", "; did you mean 'idle_lifetime'?"),
        (OwnStore, "zzz", ""),
    ],
)
def test_an_unknown_option_names_the_store_and_the_option_that_was_meant(kind: Any, option: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"^{kind.__name__} has no option '{option}'{re.escape(meant)}$"):
        kind(**{option: 3})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grace": 0, "touch_interval": 0, "leeway": 0},
        {"grace": 300, "touch_interval": 86400, "leeway": 86400},
        {"idle_lifetime": 60.5, "touch_interval": 60},
        {"idle_lifetime": None, "absolute_lifetime": None, "max_sessions": None},
        {"absolute_lifetime": 0.001, "generation_lifetime": 1, "max_sessions": 1},
        {"encrypt": bytes, "decrypt": bytes},
        {"key": "a secret of at least sixteen bytes"},
    ],
)
def test_right_options_are_taken(options: dict[str, Any]) -> None:
    settings = Settings(**options)
    assert all(getattr(settings, name) == value for name, value in options.items())


def test_tokens_in_use_must_not_idle_between_two_touches() -> None:
    for idle in (59, 60):
        with pytest.raises(ValueError, match=r"^touch_interval must be shorter than idle_lifetime"):
            Settings(idle_lifetime=idle, touch_interval=60)


@pytest.mark.parametrize("given", ["encrypt", "decrypt"])
def test_encryption_needs_both_directions(given: str) -> None:
    with pytest.raises(ValueError, match=r"^encrypt and decrypt must be given together"):
        Settings(**{given: bytes})
    with pytest.raises(ValueError, match=f"^{given} must be callable"):
        Settings(**{"encrypt": bytes, "decrypt": bytes, given: 5})


@pytest.mark.parametrize("name", ["idle_lifetime", "absolute_lifetime", "generation_lifetime"])
def test_a_lifetime_is_at_most_ten_years(name: str) -> None:
    Settings(**{name: 10 * 365 * 86400})
    with pytest.raises(ValueError, match=f"^{name} must be at most ten years"):
        Settings(**{name: 11 * 365 * 86400})


@pytest.mark.parametrize(("grace", "kept"), [(0, 10), (5, 10), (30, 30), (300, 300)])
def test_a_used_token_is_kept_long_enough_to_repeat_a_lost_call(grace: float, kept: float) -> None:
    assert Settings(grace=grace).kept_used == kept


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="gracee"):
        InMemoryTokenStore(gracee=30)  # type: ignore[call-arg]


def test_settings_show_no_secret() -> None:
    assert "secret" not in repr(Settings(key="a secret of at least sixteen bytes"))


# The clock


def test_time_is_aware_and_told_in_microseconds() -> None:
    now = utc_now()
    assert now.tzinfo is UTC
    assert from_microseconds(to_microseconds(now)) == now
    assert to_microseconds(now) <= microseconds_now() + 1


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
)
def test_every_moment_survives_microseconds(moment: datetime) -> None:
    assert from_microseconds(to_microseconds(moment)) == moment


def test_a_moment_beyond_all_years_is_an_overflow() -> None:
    with pytest.raises(OverflowError):
        from_microseconds(10**18)
