"""From what the command line says to an open log, and whoever reads it to an actor."""

from __future__ import annotations

import getpass
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote, urlsplit

import anyio

from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.opening import open_audit_logger
from asgi_infra.context import bind
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asgi_infra.audit.contract import AuditLogger

T = TypeVar("T")


def directory_of(log: str) -> Path | None:
    """Return the directory that a log is in, or `None` if it is not in one.

    Raises:
        ConfigurationError: There is no such directory.
    """
    if "://" not in log:
        path = Path(log)
    elif log.lower().startswith("file://"):
        parts = urlsplit(log)
        path = Path(unquote(parts.netloc + parts.path))
    else:
        return None
    if not path.is_dir():
        what = "is a file, not the directory of an audit log" if path.exists() else "is not there"
        raise ConfigurationError(f"{log} {what}; name the directory that FileAuditLogger was given, or a URL")
    return path


@asynccontextmanager
async def opened(log: str) -> AsyncIterator[AuditLogger]:
    """Open a log, on behalf of the user of this process.

    Raises:
        ConfigurationError: There is no such log.
        AuditError: It can't be opened.
    """
    directory = directory_of(log)
    if directory is None:
        _check_database(log)
        logger = open_audit_logger(log, audit_reads=True)
    else:
        if not (directory / "wal").is_dir():
            raise ConfigurationError(f"{log} holds no audit log; name the directory that FileAuditLogger was given")
        logger = open_audit_logger(f"file://{_quoted(directory)}", audit_reads=True)
    with bind(user_id=reader()):
        async with logger:
            yield logger


def _check_database(log: str) -> None:
    """Refuse a file that is not there: SQLite would make it, and show an empty log."""
    scheme, _, rest = log.partition("://")
    if scheme.lower().partition("+")[0] != "sqlite":
        return
    name = unquote(rest.partition("?")[0].removeprefix("/"))
    if not Path(name).is_file():
        raise ConfigurationError(f"{name or log} is not there; name the database that SQLAuditLogger was given")


def run(work: Callable[[AuditLogger], Awaitable[T]], log: str) -> T:
    """Do something with a log, in an event loop of its own."""

    async def main() -> T:
        async with opened(log) as logger:
            return await work(logger)

    return anyio.run(main)


def reader() -> str:
    """Return who reads, as the log is to call them."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError, ImportError):  # a user id without a name, in many a container
        return "cli:unknown"


def wanted(options: Namespace) -> AuditFilter:
    """Return which entries the command line asks for.

    Raises:
        ConfigurationError: The conditions can't be right.
    """
    return AuditFilter(
        user_id=options.user,
        action=options.action,
        resource_type=options.resource_type,
        resource_id=options.resource_id,
        result=options.result,
        tenant=options.tenant,
        request_id=options.request_id,
        since=options.since,
        until=options.until,
    )


def _quoted(path: Path) -> str:
    return quote(str(path.resolve()))
