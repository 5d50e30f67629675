"""An audit log that loses nothing and can be proved.

>>> from asgi_infra.audit import InMemoryAuditLogger
>>> async with InMemoryAuditLogger() as logger:
...     receipt = await logger.log_action("order.refund", "order", resource_id="o-1")

The names below are imported when they are used, so that a program pays only for what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asgi_infra.audit.backends.file import FileAuditLogger
    from asgi_infra.audit.backends.memory import InMemoryAuditLogger
    from asgi_infra.audit.backends.nats import NATSAuditLogger
    from asgi_infra.audit.backends.sql import SQLAuditLogger
    from asgi_infra.audit.backends.valkey import ValkeyAuditLogger
    from asgi_infra.audit.changes import changes
    from asgi_infra.audit.contract import AuditLogger
    from asgi_infra.audit.entry import AuditEntry
    from asgi_infra.audit.errors import (
        AuditClosedError,
        AuditFullError,
        AuditIntegrityError,
        AuditNotFoundError,
        AuditOutcomeUnknownError,
        AuditStoreError,
        AuditUnavailableError,
    )
    from asgi_infra.audit.filter import AuditFilter
    from asgi_infra.audit.opening import open_audit_logger
    from asgi_infra.audit.proofs.verifying import verify_consistency, verify_inclusion
    from asgi_infra.audit.reading import Page
    from asgi_infra.audit.record import LoggedEntry, Receipt
    from asgi_infra.audit.store import AuditStore
    from asgi_infra.audit.stream import AuditLeaseLostError, Relay, StreamAuditLogger, run_relay
    from asgi_infra.audit.verification import VerificationReport

# The backends' names stand in one string each: here is no import that would bind the contract to them.
_HOMES = {
    "backends.file": ("FileAuditLogger",),
    "backends.memory": ("InMemoryAuditLogger",),
    "backends.nats": ("NATSAuditLogger",),
    "backends.sql": ("SQLAuditLogger",),
    "backends.valkey": ("ValkeyAuditLogger",),
    "changes": ("changes",),
    "contract": ("AuditLogger",),
    "entry": ("AuditEntry",),
    "errors": (
        "AuditClosedError",
        "AuditFullError",
        "AuditIntegrityError",
        "AuditNotFoundError",
        "AuditOutcomeUnknownError",
        "AuditStoreError",
        "AuditUnavailableError",
    ),
    "filter": ("AuditFilter",),
    "opening": ("open_audit_logger",),
    "proofs.verifying": ("verify_consistency", "verify_inclusion"),
    "reading": ("Page",),
    "record": ("LoggedEntry", "Receipt"),
    "store": ("AuditStore",),
    "stream": ("AuditLeaseLostError", "Relay", "StreamAuditLogger", "run_relay"),
    "verification": ("VerificationReport",),
}
_HOME_OF = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}

__all__ = [
    "AuditClosedError",
    "AuditEntry",
    "AuditFilter",
    "AuditFullError",
    "AuditIntegrityError",
    "AuditLeaseLostError",
    "AuditLogger",
    "AuditNotFoundError",
    "AuditOutcomeUnknownError",
    "AuditStore",
    "AuditStoreError",
    "AuditUnavailableError",
    "FileAuditLogger",
    "InMemoryAuditLogger",
    "LoggedEntry",
    "NATSAuditLogger",
    "Page",
    "Receipt",
    "Relay",
    "SQLAuditLogger",
    "StreamAuditLogger",
    "ValkeyAuditLogger",
    "VerificationReport",
    "changes",
    "open_audit_logger",
    "run_relay",
    "verify_consistency",
    "verify_inclusion",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__
