from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from nats_servers import NATSServer
from servers import PostgresServer, ServerUnavailable
from stream_cases import entries_of, name_of
from valkey_servers import ValkeyServer

from asgi_infra.audit import AuditStoreError, open_audit_logger
from asgi_infra.testing.audit.base import a_full_entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

_RELAY = """
import asyncio, sys
from asgi_infra.audit import run_relay
asyncio.run(run_relay(*sys.argv[1:3], batch=50, lease=1, wait=0.1))
"""
TOTAL = 1_500


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer()
    except ServerUnavailable as exc:
        pytest.skip(str(exc))
    with server:
        yield server


@pytest.fixture(params=["nats", "valkey"])
def source(request: Any, tmp_path: Path) -> Iterator[str]:
    try:
        server = NATSServer() if request.param == "nats" else ValkeyServer(appendonly="yes", appendfsync="always")
    except ServerUnavailable as exc:
        pytest.skip(str(exc))
    with server:
        yield server.url(f"/{name_of(tmp_path)}") if isinstance(server, NATSServer) else server.url()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def start(source: str, target: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _RELAY, source, target])


async def size_of(log: Any) -> int:
    return int((await log.stats())["size"])


async def test_relays_that_are_killed_bring_every_entry_to_postgresql_once_and_in_order(
    source: str, postgres: PostgresServer
) -> None:
    target = postgres.url()
    relays: list[subprocess.Popen[bytes]] = []
    async with open_audit_logger(source) as logger, open_audit_logger(target, audit_reads=False) as log:
        before = await size_of(log)
        run = time.monotonic_ns()
        ids = [f"{run}-{number}" for number in range(TOTAL)]
        receipts = await logger.log_many(a_full_entry(id=each) for each in ids)
        try:
            relays += [start(source, target), start(source, target)]
            for goal in (100, 600):
                with anyio.fail_after(60):
                    while await size_of(log) < before + goal:  # noqa: ASYNC110
                        await anyio.sleep(0.005)
                for relay in relays[-2:]:
                    relay.kill()
                    relay.wait()
                relays += [start(source, target), start(source, target)]
            with anyio.fail_after(60):
                while (await logger.stats())["unrelayed"]:  # noqa: ASYNC110
                    await anyio.sleep(0.02)
        finally:
            for relay in relays:
                relay.kill()
                relay.wait()
        assert (await entries_of(log))[before:] == ids
        for at in (0, 99, 600, TOTAL - 1):
            found = await log.get(ids[at])
            assert found is not None
            assert found.leaf_hash == receipts[at].leaf_hash


async def test_the_relay_goes_on_when_postgresql_is_back(source: str, postgres: PostgresServer) -> None:
    target = postgres.url()
    async with open_audit_logger(source) as logger, open_audit_logger(target, audit_reads=False) as log:
        before = await size_of(log)
        relay = start(source, target)
        try:
            run = time.monotonic_ns()
            ids = [f"{run}-{number}" for number in range(300)]
            await logger.log_many(a_full_entry(id=each) for each in ids[:150])
            postgres.kill()
            await logger.log_many(a_full_entry(id=each) for each in ids[150:])
            postgres.start()
            with anyio.fail_after(60):
                while (await logger.stats())["unrelayed"]:  # noqa: ASYNC110
                    await anyio.sleep(0.02)
            assert relay.poll() is None
        finally:
            relay.kill()
            relay.wait()
        with anyio.fail_after(30):
            while True:
                with suppress(AuditStoreError):  # the connections of before are found to be gone
                    assert (await entries_of(log))[before:] == ids
                    break
