"""A stream, its relay and the log behind them, seen through one logger, are an audit log like any other."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import pytest
from audit.audit_stores import BlockingStore
from nats_servers import NATSServer
from servers import ServerUnavailable
from stream_cases import name_of
from valkey_servers import ValkeyServer

from asgi_infra.audit import AuditLogger
from asgi_infra.audit.backends.nats import NATSAuditLogger
from asgi_infra.audit.backends.valkey import ValkeyAuditLogger
from asgi_infra.audit.record import Receipt
from asgi_infra.audit.stream import Relay
from asgi_infra.testing.audit import AuditLoggerContract

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from asgi_infra.audit.record import Record
    from asgi_infra.audit.stream import StreamAuditLogger


@pytest.fixture(scope="module")
def nats_server() -> Iterator[NATSServer]:
    try:
        server = NATSServer()
    except ServerUnavailable as exc:
        pytest.skip(str(exc))
    with server:
        yield server


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[ValkeyServer]:
    try:
        server = ValkeyServer(appendonly="yes", appendfsync="always")
    except ServerUnavailable as exc:
        pytest.skip(str(exc))
    with server:
        yield server


class Relayed(AuditLoggerContract):
    """Relays after each append, so that receipts have numbers and readers see what was written."""

    persistent = True
    servers: ClassVar[dict[str, Any]] = {}

    def setup_method(self) -> None:
        self.logs: dict[Path, tuple[BlockingStore, Lock]] = {}

    def make_stream(self, name: str, **options: Any) -> StreamAuditLogger:
        raise TypeError

    def make_logger(self, place: Path, **options: Any) -> AuditLogger:
        store, lock = self.logs.setdefault(place, (BlockingStore(delay=0), Lock()))
        log = AuditLogger(store)
        logger = self.make_stream(name_of(place), reader=log, **options)
        inner = logger._store
        append = inner.append
        relay = Relay(logger, log, lease=30)

        def relayed(records: Sequence[Record]) -> list[Receipt]:
            append(records)
            with lock:
                anyio.run(relay.drain)
            found = [store.find(record.entry.id) for record in records]
            return [Receipt(seq, store._records[seq - store._first].leaf_hash) for seq in found if seq is not None]

        inner.append = logger._append = relayed  # type: ignore[method-assign]
        return logger


@pytest.mark.usefixtures("nats_server")
class TestNATSRelayed(Relayed):
    @pytest.fixture(autouse=True)
    def _serve(self, nats_server: NATSServer) -> None:
        self.server = nats_server

    def make_stream(self, name: str, **options: Any) -> StreamAuditLogger:
        return NATSAuditLogger(self.server.url(f"/{name}"), max_bytes=64 * 1024**2, **options)


@pytest.mark.usefixtures("valkey_server")
class TestValkeyRelayed(Relayed):
    @pytest.fixture(autouse=True)
    def _serve(self, valkey_server: ValkeyServer) -> None:
        self.server = valkey_server

    def make_stream(self, name: str, **options: Any) -> StreamAuditLogger:
        return ValkeyAuditLogger(self.server.url(), stream=name, **options)
