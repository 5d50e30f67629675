"""How the contract gets its loggers and entries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, settings

from asgi_infra.audit.entry import AuditEntry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.proofs.ed25519 import Ed25519Signer

NOON: Final = datetime(2026, 5, 1, 12, tzinfo=UTC)

property_settings: Final = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
"""Each example opens a log, which takes a while on a disk."""


class ContractBase:
    """What a subclass says of its logger."""

    persistent: ClassVar[bool] = False
    """Whether a new logger on the same place finds what an earlier one, closed meanwhile, has stored."""

    def make_logger(self, place: Path, **options: Any) -> AuditLogger:
        """Return a new logger that was not used yet; to be overridden.

        Args:
            place: Names a log: the same place is the same log, another place an empty one. Nothing is there yet; the
                directory above it exists. What keeps no files makes the name of a table or stream of it.
            **options: As `AuditLogger` takes them; they go before whatever the backend's default is.
        """
        raise TypeError(f"{type(self).__name__} must override make_logger")

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Where the log of this test is."""
        return tmp_path / "log"

    @pytest.fixture
    def make(self, place: Path) -> Callable[..., AuditLogger]:
        """Make a logger on the log of this test, which does not log reads."""
        return lambda **options: self.make_logger(place, **{"audit_reads": False, **options})


def an_entry(number: int = 0, **fields: Any) -> AuditEntry:
    """Return an entry; its time follows from the number."""
    given = {
        "id": f"entry-{number}",
        "timestamp": NOON + timedelta(seconds=number),
        "action": "order.refund",
        "resource_type": "order",
        "result": "success",
    }
    return AuditEntry(**{**given, **fields})


def a_full_entry(number: int = 0, **fields: Any) -> AuditEntry:
    """Return an entry with every field set."""
    given = {
        "user_id": "user-1",
        "resource_id": "order-1",
        "details": {"total": "9.90", "items": [1, 2], "note": None, "gift": True},
        "ip_address": "203.0.113.7",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64) example",
        "request_id": "request-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "tenant": "acme",
    }
    return an_entry(number, **{**given, **fields})


def a_signer() -> Ed25519Signer:
    """Return a key to sign checkpoints with, or skip the test."""
    pytest.importorskip("cryptography")
    from asgi_infra.audit.proofs.ed25519 import Ed25519Signer

    return Ed25519Signer("example.org/log", bytes(range(32)))
