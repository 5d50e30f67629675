"""Stores that wait, fail, or lie, made of the one in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from asgi_infra.audit.backends.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgi_infra.audit.record import Receipt, Record


class BlockingStore(MemoryStore):
    """Takes its time, as a disk does, and outlives the loggers that use it."""

    blocking: ClassVar[bool] = True

    def __init__(self, max_entries: int = 100_000, delay: float = 0.0002) -> None:
        super().__init__(max_entries)
        self.delay = delay
        self.opened = self.closed = 0
        self.batches: list[int] = []
        self.before: Callable[[Sequence[Record]], object] | None = None
        self.after: Callable[[Sequence[Record]], object] | None = None

    def open(self) -> None:
        self.opened += 1

    def append(self, records: Sequence[Record]) -> list[Receipt]:
        if self.before is not None:
            self.before(records)
        time.sleep(self.delay)
        receipts = super().append(records)
        self.batches.append(len(records))
        if self.after is not None:
            self.after(records)
        return receipts

    def close(self) -> None:
        self.closed += 1


def ids(records: Sequence[Record]) -> list[str]:
    return [record.entry.id for record in records]


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*args: Any) -> Any:
        raise error

    return fail


class ShopLogger:
    """What a third party makes of a URL."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = url
        self.options = options


def open_shop_logger(url: str, **options: Any) -> ShopLogger:
    return ShopLogger(url, options)
