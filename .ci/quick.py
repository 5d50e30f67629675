"""The tests that need nothing but the core and the `otel` extra, for other Pythons and other dependency versions."""

import sys

import pytest

TESTS = [
    "tests/test_context.py",
    "tests/test_errors.py",
    "tests/test_faults.py",
    "tests/test_ids.py",
    "tests/test_paths.py",
    "tests/middleware/test_exchange.py",
    "tests/middleware/test_outcome.py",
    "tests/middleware/test_tracing.py",
    "tests/redaction",
]

sys.exit(pytest.main(["-q", *TESTS]))
