"""Telemetry of the process, and `traced`, a span around any function.

`asgi_infra.telemetry.redacting` has the exporter wrapper for providers that were set up elsewhere; it needs the SDK.
"""

from __future__ import annotations

from asgi_infra.telemetry.config import TelemetryConfig
from asgi_infra.telemetry.decorator import traced
from asgi_infra.telemetry.provider import (
    Telemetry,
    flush_telemetry,
    get_telemetry,
    init_telemetry,
    reset_telemetry_for_tests,
    shutdown_telemetry,
)

__all__ = [
    "Telemetry",
    "TelemetryConfig",
    "flush_telemetry",
    "get_telemetry",
    "init_telemetry",
    "reset_telemetry_for_tests",
    "shutdown_telemetry",
    "traced",
]
