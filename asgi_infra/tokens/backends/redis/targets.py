"""Where the servers are, and how connections to them are made: from a URL, or from a client of redis-py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import did_you_mean
from asgi_infra.tokens.backends.redis.driver import (
    AbstractConnection,
    Connection,
    NoBackoff,
    Retry,
    aio,
    parse_url,
    require_driver,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Address: TypeAlias = tuple[str, int]
Kind: TypeAlias = Literal["single", "sentinel", "cluster"]

_URL = re.compile(r"(?:(redis|rediss|valkey|valkeys)(?:\+([a-z0-9.-]+))?|(unix))://([^/?#]*)(.*)", re.I | re.S)
_VARIANTS = ("cluster", "sentinel", "unix")
_DATABASE = re.compile(r"/?|/[0-9]+/?")
_PORTS: dict[str, int] = {"single": 6379, "cluster": 6379, "sentinel": 26379}
_POOL_OPTIONS = ("max_connections", "timeout")
_SENTINEL = "sentinel_"
# These belong to the pool of a client, whose connections are not used here.
_FOREIGN = ("maint_notifications", "maintenance_", "orig_", "oss_cluster_", "response_callbacks")


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """Where to connect to.

    Attributes:
        kind: What stands there.
        addresses: The server, or the sentinels, or some nodes of the cluster; empty for a socket.
        service: The name by which sentinels know the server.
        connection_class: Of redis-py.
        options: Of a connection, without host and port.
        sentinel_options: Of a connection to a sentinel.
    """

    kind: Kind
    addresses: tuple[Address, ...]
    service: str
    connection_class: type[AbstractConnection]
    options: Mapping[str, Any]
    sentinel_options: Mapping[str, Any]

    def connection(self, address: Address | None, timeout: float, *, sentinel: bool = False) -> AbstractConnection:
        """Make a connection, which does not connect yet."""
        options = dict(self.sentinel_options if sentinel else self.options)
        if address is not None:
            options["host"], options["port"] = address
        options |= {"retry": Retry(NoBackoff(), 0), "socket_timeout": None, "health_check_interval": 0}
        options.setdefault("socket_connect_timeout", timeout)
        options.setdefault("protocol", 2)
        return self.connection_class(**options)


def target_of(where: object) -> Target:
    """Return what a URL or a client says.

    Raises:
        ConfigurationError: It is neither, or the URL is wrong; the message shows nothing of it.
        MissingExtraError: redis-py is not installed.
    """
    require_driver()
    target = _from_url(where) if isinstance(where, str) else _from_client(where)
    try:
        target.connection(target.addresses[0] if target.addresses else None, 1.0)
    except Exception as exc:  # noqa: BLE001 - whatever the options of the URL do to the constructor
        # The original may show the URL's password.
        raise ConfigurationError(
            f"url has an option that connections do not take, or a wrong value for one ({type(exc).__name__})"
        ) from None
    return target


def _from_url(url: str) -> Target:
    match = _URL.fullmatch(url)
    if match is None:
        raise ConfigurationError(
            "url must begin with redis://, rediss://, valkey:// or valkeys://, where +cluster, +sentinel or +unix may "
            "follow the name, or with unix://"
        )
    name, variant, socket, netloc, rest = match.groups()
    variant = (variant or "").lower()
    if variant and variant not in _VARIANTS:
        near = did_you_mean(f"+{variant}", [f"+{each}" for each in _VARIANTS])
        raise ConfigurationError(
            f"url is wrong: +cluster, +sentinel or +unix may follow the name, not +{variant[:40]}{near}"
        )
    if socket or variant == "unix":
        options = _parsed(f"unix://{netloc}{rest}")
        return Target("single", (), "", options.pop("connection_class"), options, {})
    scheme = "rediss" if name.lower().endswith("s") and name.lower() != "redis" else "redis"
    kind: Kind = "cluster" if variant == "cluster" else "sentinel" if variant == "sentinel" else "single"
    user, at, hosts = netloc.rpartition("@")
    path, mark, query = rest.partition("?")
    service = ""
    if kind == "sentinel":
        service, _, database = path.strip("/").partition("/")
        if not service:
            raise ConfigurationError(
                "url must name the service that the sentinels watch: redis+sentinel://host/service"
            )
        path = f"/{database}"
    elif kind == "cluster" and path.strip("/") not in ("", "0"):
        raise ConfigurationError("url must not name a database: a cluster has only number 0")
    if not _DATABASE.fullmatch(path):
        raise ConfigurationError("url must have the number of a database after the host, such as /0, or nothing")
    each = [_parsed(f"{scheme}://{user}{at}{host}{path}{mark}{query}") for host in hosts.split(",")]
    if kind == "single" and len(each) > 1:
        raise ConfigurationError("url must name one server, or be redis+cluster:// or redis+sentinel://")
    addresses = tuple((one.pop("host", "localhost"), one.pop("port", _PORTS[kind])) for one in each)
    options = each[0]
    connection_class = options.pop("connection_class", Connection)
    sentinel = {name[len(_SENTINEL) :]: options.pop(name) for name in list(options) if name.startswith(_SENTINEL)}
    shared = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return Target(kind, addresses, service, connection_class, options, shared | sentinel)


def _parsed(url: str) -> dict[str, Any]:
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError:
        raise ConfigurationError("url must hold a valid port and valid options") from None
    if options.get("db", 0) < 0:
        raise ConfigurationError("url must have a db of 0 or more")
    for name in _POOL_OPTIONS:
        if name in options:
            raise ConfigurationError(f"url must not hold {name}; give pool_size and timeout as options of the store")
    return options


def _from_client(client: object) -> Target:
    if isinstance(client, aio.RedisCluster):
        nodes = list(client.nodes_manager.startup_nodes.values())
        options = _own(nodes[0].connection_kwargs)
        addresses = tuple((str(node.host), int(node.port)) for node in nodes)
        return Target("cluster", addresses, "", nodes[0].connection_class, options, {})
    if isinstance(client, aio.Redis):
        pool = client.connection_pool
        kwargs = dict(pool.connection_kwargs)
        address = (str(kwargs.get("host", "localhost")), int(kwargs.get("port", 6379)))
        direct = "connection_pool" not in kwargs and "path" not in kwargs
        return Target("single", (address,) if direct else (), "", pool.connection_class, _own(kwargs), {})
    raise ConfigurationError(
        f"url must be a str, or a redis.asyncio.Redis or RedisCluster client, not {type(client).__name__}"
    )


def _own(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ("host", "port", "himport_registry")
    return {name: value for name, value in kwargs.items() if name not in left_out and not name.startswith(_FOREIGN)}
