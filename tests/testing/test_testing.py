from __future__ import annotations

import subprocess
import sys

import pytest

import asgi_infra.testing
from asgi_infra.testing import ManualClock


@pytest.mark.parametrize("name", asgi_infra.testing.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(asgi_infra.testing, name).__name__ == name
    assert name in dir(asgi_infra.testing)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'TokenStoreContrakt'"):
        _ = asgi_infra.testing.TokenStoreContrakt  # type: ignore[attr-defined]


def test_the_driver_needs_no_test_framework() -> None:
    program = "import sys, asgi_infra.testing; print({'pytest', 'hypothesis', '_pytest'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
@pytest.mark.parametrize("name", ["AuditLoggerContract", "TokenStoreContract", "LostRepliesContract"])
def test_a_contract_without_its_test_framework_names_the_extra(name: str, missing: str) -> None:
    program = f"""
import sys
sys.modules["{missing}"] = None
from asgi_infra.errors import MissingExtraError
try:
    from asgi_infra.testing import {name}
except MissingExtraError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == (
        f"'{missing}' is not installed; it is needed for {name}. Install it with: pip install 'asgi-infra[test]'\n"
    )


def test_the_clock_stands_still_until_it_is_told_otherwise() -> None:
    clock = ManualClock()
    begin = clock()
    assert begin.utcoffset() is not None
    assert clock() == begin
    clock.advance(1.5)
    assert (clock() - begin).total_seconds() == 1.5
    assert (clock.after(3) - begin).total_seconds() == 4.5
    clock.advance(-1.5)
    assert clock() == begin
    assert ManualClock(begin)() == begin
