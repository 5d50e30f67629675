"""Database URLs: which database, through which driver, and a form that may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import parse_qsl, unquote, urlencode

from asgi_infra.errors import ConfigurationError, MissingExtraError

_SHAPE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9_+]*)://"
    r"(?:(?P<user>[^:/?@]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^/:?@\[\]]*))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/(?P<database>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FORMS = "sqlite:///data.db, sqlite:// (in memory) or postgresql://user:password@host:5432/name"

# scheme -> dialect, driver, extra of this package that installs both
_SCHEMES = {
    "sqlite": ("sqlite", "aiosqlite", "sql"),
    "sqlite+aiosqlite": ("sqlite", "aiosqlite", "sql"),
    "postgres": ("postgresql", "asyncpg", "postgres"),
    "postgresql": ("postgresql", "asyncpg", "postgres"),
    "postgresql+asyncpg": ("postgresql", "asyncpg", "postgres"),
}


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseURL:
    """A checked database URL. `str` and `repr` give the form without user, password and query.

    Attributes:
        dialect: `"sqlite"` or `"postgresql"`.
        driver: The module that speaks to the database, `"aiosqlite"` or `"asyncpg"`.
        extra: The extra of this package that installs the driver.
        host: The server's name or address, `None` for a file or a local socket.
        port: The server's port, `None` when the URL leaves it out.
        database: The database's name or the file's path, `""` when the URL leaves it out.
        secret: The whole URL in SQLAlchemy's form, password included. Not for messages.
    """

    dialect: str
    driver: str
    extra: str
    host: str | None
    port: int | None
    database: str
    secret: str

    @classmethod
    def parse(cls, value: object, *, parameter: str = "database_url") -> DatabaseURL:
        """Check a URL; the driver does not have to be installed for that.

        Accepted are `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://` for memory, `postgresql://` (or
        `postgres://`), and both with their driver (`sqlite+aiosqlite`, `postgresql+asyncpg`). libpq's `sslmode`
        becomes the driver's `ssl`.

        Args:
            value: The URL.
            parameter: The name to use in messages.

        Raises:
            ConfigurationError: It is no string, empty, blank, misshapen, or names another database or driver.
        """
        if not isinstance(value, str):
            raise ConfigurationError(f"{parameter} must be a str, not {type(value).__name__}; for example {_FORMS}")
        if not value.strip():
            raise ConfigurationError(f"{parameter} must not be empty or blank; for example {_FORMS}")
        if value != value.strip() or _UNPRINTABLE.search(value):
            raise ConfigurationError(f"{parameter} holds white space at an end or control characters; remove them")
        match = _SHAPE.fullmatch(value)
        if match is None:
            raise ConfigurationError(
                f"{parameter} ({len(value)} characters) is not a database URL; expected {_FORMS}, "
                "with '@', ':' and '/' in user and password percent-encoded"
            )
        scheme = match["scheme"].lower()
        if scheme not in _SCHEMES:
            raise ConfigurationError(
                f"{parameter} has the scheme {scheme[:40]!r}, which is not supported; expected {_FORMS}"
            )
        dialect, driver, extra = _SCHEMES[scheme]
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 0 < port < 65536:
            raise ConfigurationError(f"{parameter} has the port {port}; it must lie between 1 and 65535")
        host = match["ipv6"] or match["host"] or None
        if dialect == "sqlite" and (host or port or match["user"] is not None):
            raise ConfigurationError(
                f"{parameter} names a host for SQLite; a path follows three slashes: sqlite:///data.db"
            )
        if dialect == "postgresql" and "@" in (match["database"] or ""):
            # most likely the rest of a password with an '@' in it: nothing that may be taken for a name and shown
            raise ConfigurationError(f"{parameter} has an '@' after the host; percent-encode it in the password as %40")
        secret = f"{dialect}+{driver}{value[match.end('scheme') :]}"
        if dialect == "postgresql" and match["query"]:
            secret = f"{secret.removesuffix(match['query'])}{_asyncpg_query(match['query'])}"
        return cls(dialect, driver, extra, host, port, unquote(match["database"] or ""), secret)

    @property
    def is_memory(self) -> bool:
        """Whether it is an SQLite database in memory, which lives as long as its only connection."""
        if self.dialect != "sqlite":
            return False
        return not self.database or ":memory:" in self.database or "mode=memory" in self.secret.partition("?")[2]

    def require_driver(self, purpose: str) -> None:
        """Raise `MissingExtraError` when something that this URL needs is not installed; imports nothing."""
        for module in ("sqlalchemy", "greenlet", self.driver):
            if find_spec(module) is None:
                raise MissingExtraError(module, purpose=f"{purpose} on {self.dialect}", extra=self.extra)

    def __str__(self) -> str:
        """Return the URL without user, password and query."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or ""
        port = f":{self.port}" if self.port else ""
        return f"{self.dialect}://{host}{port}{f'/{self.database}' if self.database else ''}"

    def __repr__(self) -> str:
        return f"DatabaseURL({str(self)!r})"


def _asyncpg_query(query: str) -> str:
    renamed = {"sslmode": "ssl"}
    return urlencode([(renamed.get(name, name), value) for name, value in parse_qsl(query, keep_blank_values=True)])
