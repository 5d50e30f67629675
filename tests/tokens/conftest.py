from __future__ import annotations

import pytest

from asgi_infra.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
