from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from nats_servers import NATSCluster
from servers import ServerUnavailable
from stream_cases import a_log, entries_of, holds, running

from asgi_infra.audit.backends.nats import NATSAuditLogger
from asgi_infra.audit.errors import AuditOutcomeUnknownError, AuditUnavailableError
from asgi_infra.audit.stream import Relay
from asgi_infra.testing.audit.base import a_full_entry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def cluster() -> Iterator[NATSCluster]:
    try:
        cluster = NATSCluster()
    except ServerUnavailable as exc:
        pytest.skip(str(exc))
    with cluster:
        yield cluster


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nothing_acknowledged_is_lost_when_the_leader_of_the_stream_is_killed(cluster: NATSCluster) -> None:
    acknowledged: dict[str, bytes] = {}
    done = False

    async with a_log() as log, NATSAuditLogger(cluster.url("/audit"), replicas=3, timeout=15) as logger:

        async def write(task: int) -> None:
            number = 0
            while not done:
                entry = a_full_entry(id=f"{task}-{number}")
                try:
                    acknowledged[entry.id] = (await logger.log(entry)).leaf_hash
                except (AuditUnavailableError, AuditOutcomeUnknownError):
                    continue
                number += 1

        async def more(number: int) -> None:
            goal = len(acknowledged) + number
            with anyio.fail_after(60):
                while len(acknowledged) < goal:  # noqa: ASYNC110
                    await anyio.sleep(0.01)

        async with running(Relay(logger, log, wait=0.05)), anyio.create_task_group() as group:
            for task in range(8):
                group.start_soon(write, task)
            await more(100)
            leader = cluster.leader_of("audit")
            leader.kill()
            await more(100)
            done = True
            leader.start()
        async with running(Relay(logger, log, wait=0.05)):
            await holds(log, len(acknowledged))
            with anyio.fail_after(60):
                while (await logger.stats())["unrelayed"]:  # noqa: ASYNC110
                    await anyio.sleep(0.02)
        ids = await entries_of(log)
        assert len(ids) == len(set(ids))
        assert set(acknowledged) <= set(ids)
        for entry_id, leaf_hash in acknowledged.items():
            found = await log.get(entry_id)
            assert found is not None
            assert found.leaf_hash == leaf_hash
