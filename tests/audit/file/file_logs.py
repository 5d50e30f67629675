"""Logs in files, without event loops."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgi_infra.audit.backends.file.store import FileStore
from asgi_infra.audit.entry import AuditEntry
from asgi_infra.audit.proofs.checkpoint import Checkpoint, sign_checkpoint
from asgi_infra.audit.record import Sealer
from asgi_infra.testing.audit.base import a_signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asgi_infra.audit.record import Record

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def record(number: int, *, private: bool = False, **fields: Any) -> Record:
    given: dict[str, Any] = {
        "id": f"entry-{number}",
        "timestamp": NOON + timedelta(seconds=number),
        "action": "order.refund",
        "resource_type": "order",
        "result": "success",
        "user_id": f"user-{number % 3}",
        "details": {"secret": f"private-{number}"},
    }
    return Sealer(["user_id"] if private else []).seal(AuditEntry(**{**given, **fields}))


def records(start: int, stop: int, **fields: Any) -> list[Record]:
    return [record(number, **fields) for number in range(start, stop)]


@contextmanager
def opened(path: Path, segment_bytes: int = 1 << 20) -> Iterator[FileStore]:
    store = FileStore(path, segment_bytes)
    store.open()
    try:
        yield store
    finally:
        store.close()


def crash(store: FileStore) -> None:
    """Give the files back without finishing anything, as the end of the process would."""
    parts = store._parts
    assert parts is not None
    parts.follower._publisher.publish = lambda *args, **options: None  # type: ignore[method-assign]
    store._parts = None
    parts.follower.close()
    parts.close()


def sign(store: FileStore) -> str:
    tree = store.head().tree
    note = sign_checkpoint(Checkpoint(a_signer().name, tree.size, tree.root()), a_signer())
    store.save_checkpoint(note.encode(), tree.size)
    return note


def filled(path: Path, entries: int, *, batch: int = 3, segment_bytes: int = 1 << 20, signed: bool = True) -> str:
    with opened(path, segment_bytes) as store:
        for start in range(0, entries, batch):
            store.append(records(start, min(start + batch, entries)))
        return sign(store) if signed else ""


def segments(path: Path) -> list[Path]:
    return sorted((path / "wal").glob("*.log"))
