"""What users test with: a driver that runs any ASGI application in-process, and the contracts that stores must pass.

The contracts need pytest and hypothesis, which are imported when a contract is asked for, not before;
where they are missing, `MissingExtraError` names the extra `test`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from asgi_infra.errors import MissingExtraError
from asgi_infra.testing.clock import ManualClock
from asgi_infra.testing.driver import Driven, drive, http_scope, run, websocket_scope
from asgi_infra.testing.proxy import CuttingProxy

if TYPE_CHECKING:
    from asgi_infra.testing.audit import AuditLoggerContract
    from asgi_infra.testing.tokens import LostRepliesContract, TokenStoreContract

_HOME_OF = {
    "AuditLoggerContract": "asgi_infra.testing.audit",
    "LostRepliesContract": "asgi_infra.testing.tokens",
    "TokenStoreContract": "asgi_infra.testing.tokens",
}

__all__ = [
    "AuditLoggerContract",
    "CuttingProxy",
    "Driven",
    "LostRepliesContract",
    "ManualClock",
    "TokenStoreContract",
    "drive",
    "http_scope",
    "run",
    "websocket_scope",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("asgi_infra"):
            raise
        raise MissingExtraError(exc.name, purpose=name, extra="test") from exc
    return value


def __dir__() -> list[str]:
    return __all__
