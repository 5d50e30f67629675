from __future__ import annotations

import pytest


@pytest.fixture
def recorder():
    """A tracer provider of the test's own, and the spans that have ended."""
    from tracing_driver import Recorder

    return Recorder()
