"""Several processes, threads and tasks on one log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from file_logs import filled, opened, record, records, segments

from asgi_infra.audit.backends.file import FileAuditLogger
from asgi_infra.audit.backends.file.offline import verify_directory
from asgi_infra.audit.errors import AuditStoreError
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.record import unseal

HERE = Path(__file__).parent

_WRITER = """
import sys
sys.path[:0] = [{here!r}]
import anyio
from datetime import UTC, datetime
from threading import Thread
from asgi_infra.audit.backends.file import FileAuditLogger
from asgi_infra.audit.entry import AuditEntry

name = sys.argv[1]
logger = FileAuditLogger({log!r}, segment_bytes=30_000, audit_reads=False)

async def task(thread, task):
    for number in range(5):
        entry = AuditEntry(id=f"{{name}}-{{thread}}-{{task}}-{{number}}", timestamp=datetime.now(UTC),
                           action="order.refund", resource_type="order", result="success")
        receipt = await logger.log(entry)
        shared = await logger.log(AuditEntry(id=f"shared-{{number}}", timestamp=entry.timestamp,
                                             action="order.shared", resource_type="order", result="success"))
        sys.stdout.write(f"{{entry.id}} {{receipt.seq}} shared-{{number}} {{shared.seq}}\\n")

async def many(thread):
    async with anyio.create_task_group() as group:
        for each in range(16):
            group.start_soon(task, thread, each)

threads = [Thread(target=anyio.run, args=[many, thread]) for thread in range(4)]
for each in threads: each.start()
for each in threads: each.join()
anyio.run(logger.aclose)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_tasks_threads_and_processes_make_one_log_without_forks_gaps_and_duplicates(log: Path) -> None:
    program = _WRITER.format(here=str(HERE), log=str(log))
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(name)], stdout=subprocess.PIPE, text=True)
        for name in range(4)
    ]
    receipts: dict[str, int] = {}
    for writer in writers:
        output, _ = writer.communicate(timeout=120)
        assert writer.returncode == 0
        for line in output.splitlines():
            name, seq, shared, shared_seq = line.split()
            assert receipts.setdefault(name, int(seq)) == int(seq)
            assert receipts.setdefault(shared, int(shared_seq)) == int(shared_seq), "one id, one receipt"
    total = 4 * 4 * 16 * 5 + 5
    assert sorted(receipts.values()) == list(range(total))
    with opened(log) as store:
        found = {unseal(row).entry.id: row.seq for row in store.select(AuditFilter(), 0, total, total)}
        assert found == receipts
        assert store.count(AuditFilter(action="order.shared"), 0, total) == 5
    report = verify_directory(log)
    assert (report.problem, report.size) == ("", total)


def test_what_one_process_writes_the_others_see_at_once(log: Path) -> None:
    with opened(log, 8_000) as one, opened(log, 8_000) as two:
        for number in range(60):
            writer, reader = (one, two) if number % 3 else (two, one)
            assert writer.append([record(number)])[0].seq == number
            assert reader.head().size == number + 1
            assert reader.find(f"entry-{number}") == number
            assert reader.append([record(number)])[0].seq == number
        assert one.head() == two.head()
        assert len(segments(log)) > 2
        wanted = AuditFilter(user_id="user-1")
        assert [row.seq for row in one.select(wanted, 0, 60, 100)] == list(range(1, 60, 3))


def test_a_process_that_slept_through_segments_that_are_gone_goes_on(log: Path) -> None:
    with opened(log, 4096) as sleeper, opened(log, 4096) as writer:
        sleeper.append(records(0, 3))
        for number in range(3, 600):
            writer.append([record(number)])
        first = writer.prune(580)
        assert first > 400
        head = sleeper.head()
        assert (head.first, head.size) == (first, 600)
        assert sleeper.find("entry-5") is None
        assert [receipt.seq for receipt in sleeper.append(records(598, 602))] == [598, 599, 600, 601]
        assert writer.head().tree == sleeper.head().tree
    assert verify_directory(log).problem == ""


def test_after_a_fork_the_child_opens_the_log_anew(log: Path) -> None:
    with opened(log) as store:
        store.append(records(0, 3))
        inside = store._parts
        assert inside is not None
        with inside.wal.lock:  # as if another thread was at it
            child = os.fork()
            if not child:
                code = 1
                try:
                    assert store.head().size == 3
                    code = 0
                finally:
                    os._exit(code)
            reaped, _ = os.waitpid(child, os.WNOHANG)
            assert reaped == 0  # it waits for the lock, which is not its own
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        child = os.fork()
        if not child:
            code = 1
            try:
                code = 0 if store.append(records(2, 5))[-1].seq == 4 else 2
                store.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [receipt.seq for receipt in store.append(records(3, 7))] == [3, 4, 5, 6]
    assert verify_directory(log).ok


def test_readers_and_writers_at_once_see_whole_prefixes(log: Path) -> None:
    errors: list[BaseException] = []
    with opened(log, 10_000) as store, opened(log, 10_000) as other:

        def write(name: int) -> None:
            try:
                for number in range(40):
                    (store if name % 2 else other).append([record(number, id=f"{name}-{number}")])
            except BaseException as exc:
                errors.append(exc)

        def read() -> None:
            try:
                for _ in range(20):
                    size = store.head().size
                    assert [row.seq for row in store.select(AuditFilter(), 0, size, size or 1)] == list(range(size))
                    assert store.count(AuditFilter(action="order.*"), 0, size) == size
            except BaseException as exc:
                errors.append(exc)

        threads = [Thread(target=write, args=[name]) for name in range(3)] + [Thread(target=read)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert errors == []
        assert store.head().size == 120


@pytest.mark.anyio
async def test_the_key_is_made_once_and_its_name_stays(log: Path) -> None:
    pytest.importorskip("cryptography")
    from asgi_infra.audit.proofs.checkpoint import open_checkpoint
    from asgi_infra.audit.proofs.vkeys import parse_vkey

    async with FileAuditLogger(log, origin="example.org/shop") as logger:
        await logger.log_action("order.refund", "order")
        note = await logger.checkpoint()
    key = parse_vkey((log / "key.vkey").read_text().strip())
    assert open_checkpoint(note, key).checkpoint.size == 1
    async with FileAuditLogger(log) as logger:
        assert (await logger.checkpoint()).startswith("example.org/shop\n")
    async with FileAuditLogger(log, origin="example.org/other") as logger:
        with pytest.raises(Exception, match=r"holds the key of example\.org/shop"):
            await logger.checkpoint()


def test_a_store_that_is_not_open_says_so(log: Path) -> None:
    filled(log, 3)
    with opened(log) as store:
        pass
    with pytest.raises(AuditStoreError, match="is not open"):
        store.head()
