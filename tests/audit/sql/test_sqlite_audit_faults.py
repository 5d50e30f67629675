"""SQLite when something is wrong with the disk, the file, or somebody else."""
# ruff: noqa: ASYNC240

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asgi_infra.audit import AuditFilter
from asgi_infra.audit.backends.sql import SQLAuditLogger
from asgi_infra.audit.errors import (
    AuditFullError,
    AuditIntegrityError,
    AuditOutcomeUnknownError,
    AuditUnavailableError,
)
from asgi_infra.database.migrations import MigrationError, sql_of
from asgi_infra.testing.audit.base import a_full_entry, an_entry

if TYPE_CHECKING:
    from asgi_infra.audit.backends.sql.sqlite import SQLiteDatabase

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


def make(path: Path, **options: Any) -> SQLAuditLogger:
    return SQLAuditLogger(f"sqlite:///{path}", audit_reads=False, **options)


def database_of(logger: SQLAuditLogger) -> SQLiteDatabase:
    return logger._store._database  # type: ignore[attr-defined,no-any-return]


def writer_of(logger: SQLAuditLogger) -> sqlite3.Connection:
    connection = database_of(logger)._writer
    assert connection is not None
    return connection


async def test_a_full_disk_refuses_entries_and_loses_none(path: Path) -> None:
    async with make(path) as logger:
        first = await logger.log(an_entry(0))
        pages = writer_of(logger).execute("PRAGMA page_count").fetchone()[0]
        writer_of(logger).execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(AuditFullError, match="SQLITE_FULL"):
            await logger.log_many(a_full_entry(number) for number in range(500))
        assert await logger.count() == 1
        receipts = await logger.log_many(a_full_entry(number) for number in range(500))
        assert [receipts[0], receipts[-1].seq] == [first, 499], "there is room again, and the id is known"
        assert (await logger.verify()).ok


async def test_a_file_that_can_only_be_read_refuses_entries_and_is_read(path: Path) -> None:
    async with make(path) as logger:
        await logger.log(an_entry(0))
        writer_of(logger).execute("PRAGMA query_only = ON")
        with pytest.raises(AuditUnavailableError, match="SQLITE_READONLY"):
            await logger.log(an_entry(1))
        assert await logger.count() == 1


@pytest.mark.parametrize("name", ["", "missing/audit.db"])
async def test_a_path_that_can_be_no_file_is_told(tmp_path: Path, name: str) -> None:
    logger = make(tmp_path / name)
    with pytest.raises(AuditUnavailableError, match="SQLITE_CANTOPEN"):
        await logger.log(an_entry(0))
    await logger.aclose()


async def test_a_file_of_something_else_is_refused(path: Path) -> None:
    path.write_bytes(b"no database, but long enough to be taken for one" * 100)
    logger = make(path)
    with pytest.raises(AuditIntegrityError, match="SQLITE_NOTADB"):
        await logger.log(an_entry(0))
    await logger.aclose()


async def test_damaged_pages_are_told(path: Path) -> None:
    async with make(path) as logger:
        await logger.log_many(a_full_entry(number) for number in range(500))
    data = bytearray(path.read_bytes())
    data[4096 * 2 :] = bytes(len(data) - 4096 * 2)
    path.write_bytes(data)
    logger = make(path)
    with pytest.raises(AuditIntegrityError, match="SQLITE_CORRUPT"):
        await logger.log(an_entry(1000))
    await logger.aclose()


async def test_a_file_that_was_replaced_is_noticed(path: Path, tmp_path: Path) -> None:
    async with make(path) as logger:
        await logger.log(an_entry(0))
        with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(tmp_path / "copy")) as copy:
            connection.backup(copy)
        await logger.log(an_entry(1))
        (tmp_path / "copy").rename(path)
        with pytest.raises(AuditIntegrityError, match="is not the file that it was"):
            await logger.log(an_entry(2))


async def test_a_file_that_was_removed_takes_no_entries(path: Path) -> None:
    async with make(path) as logger:
        await logger.log(an_entry(0))
        path.unlink()
        with pytest.raises(AuditUnavailableError, match="FileNotFoundError"):
            await logger.log(an_entry(1))


async def test_tables_of_another_program_are_refused(path: Path) -> None:
    async with make(path) as logger:
        await logger.log(an_entry(0))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE asgi_infra_migrations SET checksum = 'x'")
        connection.commit()
    logger = make(path)
    with pytest.raises(AuditUnavailableError, match="in another form than this program has") as caught:
        await logger.log(an_entry(1))
    assert isinstance(caught.value.__cause__, MigrationError)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE asgi_infra_migrations SET number = 7")
        connection.execute("INSERT INTO asgi_infra_migrations VALUES ('audit', 1, 'a', 'b'), ('audit', 2, 'c', 'd')")
        connection.commit()
    with pytest.raises(AuditUnavailableError, match=r"another form|older than the database"):
        await logger.log(an_entry(1))
    await logger.aclose()


async def test_tables_can_be_made_by_others(path: Path) -> None:
    logger = make(path, migrate=False)
    with pytest.raises(AuditUnavailableError, match="lacks steps of 'audit'"):
        await logger.log(an_entry(0))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql_of("audit", "sqlite"))
    assert (await logger.log(an_entry(0))).seq == 0
    await logger.aclose()


async def test_whoever_holds_the_lock_too_long_is_not_waited_for(path: Path) -> None:
    async with make(path, timeout=0.05) as logger:
        await logger.log(an_entry(0))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(AuditUnavailableError, match="SQLITE_BUSY"):
                await logger.log(an_entry(1))
        assert (await logger.log(an_entry(1))).seq == 1


class _Failing:
    """A connection whose commit fails, after it was done or before."""

    def __init__(self, connection: sqlite3.Connection, name: str, *, done: bool) -> None:
        self.connection, self.name, self.done = connection, name, done

    def execute(self, statement: str, *values: Any) -> Any:
        if statement == "COMMIT":
            if self.done:
                self.connection.execute(statement)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = self.name
            raise error
        return self.connection.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


@pytest.mark.parametrize("done", [True, False])
async def test_a_commit_that_fails_late_may_have_been_done(path: Path, done: bool) -> None:
    async with make(path) as logger:
        await logger.log(an_entry(0))
        database = database_of(logger)
        database._writer = _Failing(writer_of(logger), "SQLITE_IOERR_FSYNC", done=done)  # type: ignore[assignment]
        with pytest.raises(AuditOutcomeUnknownError, match="SQLITE_IOERR_FSYNC"):
            await logger.log(an_entry(1))
        assert (await logger.log(an_entry(1))).seq == 1
        assert (await logger.log(an_entry(2))).seq == 2
        assert (await logger.verify()).ok


async def test_what_was_erased_is_in_no_file(path: Path) -> None:
    secret, user = "the-secret-of-the-customer", "somebody-private"
    async with make(path, private_fields=["user_id"]) as logger:
        for at in range(0, 3000, 300):
            await logger.log_many(
                a_full_entry(
                    number,
                    user_id=f"{user}-{number * 7919 % 3000}" if number % 2 else f"other-{number}",
                    details={"note": f"{secret} {number}" * (number % 40)} if number % 2 else {"note": "kept"},
                )
                for number in range(at, at + 300)
            )
        hers = [number for number in range(3000) if number % 2]
        seqs = [each.seq for each in await logger.query(limit=3000) if (each.entry.user_id or "").startswith(user)]
        assert len(seqs) == len(hers)
        files = [each for each in path.parent.iterdir() if each.is_file()]
        assert any(secret.encode() in each.read_bytes() for each in files)
        assert await anyio.to_thread.run_sync(logger._store.erase, seqs) == len(hers)
        for each in files:
            data = each.read_bytes()
            assert secret.encode() not in data, each
            assert user.encode() not in data, each
        assert (await logger.verify()).ok
        assert await logger.count(AuditFilter(user_id="other-0")) == 1


async def test_erasing_waits_for_no_reader_for_ever(path: Path) -> None:
    async with make(path, timeout=0.05) as logger:
        await logger.log_many(a_full_entry(number) for number in range(3))
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM asgi_infra_audit_private").fetchone()
            with pytest.raises(AuditUnavailableError, match="somebody reads all the time; erase again"):
                await logger.erase(AuditFilter(user_id="user-1"), reason="ticket 17")
        await logger.erase(AuditFilter(user_id="user-1"), reason="ticket 17")
        assert b"9.90" not in path.read_bytes() + Path(f"{path}-wal").read_bytes()


async def test_what_was_purged_is_in_no_file_either(path: Path) -> None:
    async with make(path) as logger:
        await logger.log_many(a_full_entry(number, details={"note": "very-old"}) for number in range(50))
        later = an_entry(100)
        await logger.log(later)
        assert await logger.purge(before=later.timestamp) == 50
        assert b"very-old" not in path.read_bytes() + Path(f"{path}-wal").read_bytes()
        assert await logger.get("entry-7") is None
        assert (await logger.verify()).first == 50


async def test_the_key_is_made_once_and_kept(path: Path) -> None:
    pytest.importorskip("cryptography")
    async with make(path) as logger:
        await logger.log(an_entry(0))
        first = (await logger.checkpoint()).splitlines()[0]
    async with make(path) as logger:
        assert (await logger.checkpoint()).splitlines()[0] == first
    assert Path(f"{path}.key").stat().st_mode & 0o077 == 0
    shutil.copy(f"{path}.key", path.with_name("other"))
    async with make(path, key=path.with_name("other")) as logger:
        assert (await logger.checkpoint()).splitlines()[0] == first
