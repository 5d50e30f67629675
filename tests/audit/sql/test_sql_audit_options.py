"""URLs and parameters."""

from __future__ import annotations

import os
import sqlite3
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asgi_infra.audit import open_audit_logger
from asgi_infra.audit.backends.sql import SQLAuditLogger
from asgi_infra.database.migrations import sql_of
from asgi_infra.errors import ConfigurationError, MissingExtraError
from asgi_infra.testing.audit.base import an_entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "sqlite://"}, "url must be sqlite:/// and the path of a file"),
        ({"url": "sqlite:///:memory:"}, "url must be sqlite:/// and the path of a file"),
        ({"url": "sqlite:///a.db?mode=ro"}, "url must be sqlite:/// and the path of a file, without a query"),
        ({"url": "mysql://localhost/a"}, "url has the scheme 'mysql'"),
        ({"url": 5}, "url must be a str"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"pool_size": 0}, "pool_size must be at least 1"),
        ({"migrate": 1}, "migrate must be True or False"),
        ({"table_prefix": "a b"}, "table_prefix must be"),
        ({"sequence_every": -1}, "sequence_every must be more than 0"),
        ({"max_batch": 0}, "max_batch must be at least 1"),
    ],
)
def test_a_wrong_parameter_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SQLAuditLogger(**{"url": "sqlite:///a.db", **options})


@pytest.mark.parametrize(
    "url", ["sqlite:///audit.db", "postgresql://127.0.0.1/shop", "postgres://u:p@h/d?sslmode=require"]
)
def test_a_url_opens_a_logger_and_connects_to_nothing(url: str) -> None:
    assert isinstance(open_audit_logger(url, table_prefix="shop_"), SQLAuditLogger)


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "asgi_infra.audit.backends.sql.logger.find_spec", lambda name: None if name == "asyncpg" else find_spec(name)
    )
    with pytest.raises(MissingExtraError, match=r"asgi-infra\[postgres\]"):
        SQLAuditLogger("postgresql://127.0.0.1/shop")


def test_the_tables_are_there_as_plain_sql() -> None:
    script = sql_of("audit", "postgresql", prefix="shop_")
    assert "CREATE TABLE shop_audit_entries" in script
    assert "{prefix}" not in script
    connection = sqlite3.connect(":memory:")
    connection.executescript(sql_of("audit", "sqlite"))
    assert connection.execute("SELECT size, first FROM asgi_infra_audit_head").fetchall() == [(0, 0)]
    connection.close()


@pytest.mark.anyio
async def test_a_script_that_was_applied_by_hand_is_accepted(
    make: Callable[..., SQLAuditLogger], url: str, prefix: str
) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.executescript(sql_of("audit", "sqlite", prefix=prefix))
        connection.close()
    else:
        import asyncpg

        server = await asyncpg.connect(url)
        await server.execute(sql_of("audit", "postgresql", prefix=prefix))
        await server.close()
    async with make(migrate=False) as logger:
        assert (await logger.log(an_entry(0))).seq == 0


@pytest.mark.anyio
async def test_two_logs_in_one_database_do_not_meet(url: str, prefix: str) -> None:
    async with (
        SQLAuditLogger(url, table_prefix=f"{prefix}a_") as one,
        SQLAuditLogger(url, table_prefix=f"{prefix}b_") as two,
    ):
        await one.log(an_entry(0))
        assert (await two.log(an_entry(0))).seq == 0
        assert await two.count() == 1


@pytest.mark.anyio
async def test_many_loggers_open_a_new_log_at_once(make: Callable[..., SQLAuditLogger]) -> None:
    loggers = [make(timeout=30) for _ in range(6)]
    async with anyio.create_task_group() as group:
        for number, logger in enumerate(loggers):
            group.start_soon(logger.log, an_entry(number))
    assert await loggers[0].count() == 6
    for logger in loggers:
        await logger.aclose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_logger_goes_on_in_a_fork_of_its_process(make: Callable[..., SQLAuditLogger]) -> None:
    logger = make()
    anyio.run(logger.log, an_entry(0))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            anyio.run(logger.log, an_entry(1))
            status = 0
        except BaseException as exc:
            print(exc, file=sys.stderr)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert anyio.run(logger.log, an_entry(2)).seq == 2

    async def check() -> None:
        async with logger:
            assert (await logger.verify()).size == 3

    anyio.run(check)


def test_the_directory_of_the_database_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        async with SQLAuditLogger("sqlite:///audit.db") as logger:
            await logger.log(an_entry(0))

    anyio.run(run)
    assert (tmp_path / "audit.db").exists()
