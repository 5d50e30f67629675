from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from audit.audit_stores import BlockingStore
from nats_servers import NATSServer
from servers import ServerUnavailable
from stream_cases import name_of

from asgi_infra.audit import AuditLogger, InMemoryAuditLogger
from asgi_infra.audit.backends.nats import NATSAuditLogger
from asgi_infra.audit.backends.valkey import ValkeyAuditLogger
from asgi_infra.audit.stream import Relay, run_relay
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import an_entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[NATSServer]:
    try:
        server = NATSServer()
    except ServerUnavailable as exc:
        pytest.skip(str(exc))
    with server:
        yield server


def a_source() -> NATSAuditLogger:
    return NATSAuditLogger("nats://127.0.0.1:1")


async def test_what_does_not_fit_a_relay_is_named(tmp_path: Path) -> None:
    log = InMemoryAuditLogger()
    spilling = AuditLogger(BlockingStore(), on_failure="spill", spill=tmp_path / "spill")
    wrong: list[tuple[Any, Any, dict[str, Any], str]] = [
        (log, log, {}, "source must be a logger that writes to a stream"),
        (a_source(), a_source(), {}, "target must be an AuditLogger that keeps entries itself"),
        (a_source(), 7, {}, "target must be an AuditLogger"),
        (a_source(), spilling, {}, "target must have on_failure='raise'"),
        (a_source(), log, {"batch": 0}, "batch"),
        (a_source(), log, {"lease": 0.5}, "lease"),
        (a_source(), log, {"lease": "long"}, "lease"),
        (a_source(), log, {"wait": 0}, "wait"),
    ]
    for source, target, options, problem in wrong:
        with pytest.raises(ConfigurationError, match=problem):
            Relay(source, target, **options)


async def test_urls_are_enough_to_relay_once(server: NATSServer, tmp_path: Path) -> None:
    url = server.url(f"/{name_of(tmp_path)}")
    async with NATSAuditLogger(url) as logger:
        await logger.log_many(an_entry(number) for number in range(5))
    seen: list[Relay] = []
    found = await run_relay(url, "memory://", once=True, ready=seen.append, batch=2)
    assert (found["relayed"], found["batches"], found["lag"]) == (5, 3, 0)
    assert len(seen) == 1


async def test_a_relay_of_urls_is_stopped_by_who_was_told_of_it(server: NATSServer, tmp_path: Path) -> None:
    found = await run_relay(server.url(f"/{name_of(tmp_path)}"), "memory://", ready=lambda relay: relay.stop())
    assert found["leases"] == 0


async def test_the_source_of_a_relay_must_be_a_stream() -> None:
    with pytest.raises(ConfigurationError, match="source must be the URL of a stream"):
        await run_relay("memory://", "memory://")


async def test_nothing_is_connected_before_it_is_used() -> None:
    for logger in (a_source(), ValkeyAuditLogger("valkey://127.0.0.1:1")):
        await logger.aclose()
        await logger.aclose()
