"""The tests that need no framework, for other Pythons and for the lowest dependencies."""

import os
import sys
from pathlib import Path

import pytest

os.environ["MAX_EXAMPLES"] = "20"

STORES = [path for path in map(str, sorted(Path("tests/tokens").rglob("test_*.py"))) if "faults" not in path]
TESTS = [
    "tests/test_context.py",
    "tests/test_errors.py",
    "tests/test_faults.py",
    "tests/test_ids.py",
    "tests/test_lines.py",
    "tests/test_paths.py",
    "tests/middleware/test_access_log.py",
    "tests/middleware/test_dropped.py",
    "tests/middleware/test_engine.py",
    "tests/middleware/test_engine_state.py",
    "tests/middleware/test_exchange.py",
    "tests/middleware/test_exchange_end.py",
    "tests/middleware/test_headers.py",
    "tests/middleware/test_metrics.py",
    "tests/middleware/test_metrics_endpoint.py",
    "tests/middleware/test_metrics_series.py",
    "tests/middleware/test_outcome.py",
    "tests/middleware/test_propagation.py",
    "tests/middleware/test_proxies.py",
    "tests/middleware/test_status.py",
    "tests/middleware/test_tracing.py",
    "tests/middleware/test_tracing_context.py",
    "tests/middleware/test_tracing_outcome.py",
    "tests/logs/test_logs_lines.py",
    "tests/redaction",
    "tests/telemetry/test_decorator.py",
    "tests/telemetry/test_decorator_generators.py",
    "tests/telemetry/test_provider.py",
    "tests/testing",
    "tests/audit/proofs",
    "tests/middleware/test_engine_gates.py",
    "tests/middleware/test_tokens.py",
    "tests/middleware/test_tokens_jwt.py",
    *STORES,
]

sys.exit(pytest.main(["-q", "--numprocesses=2", *TESTS]))
