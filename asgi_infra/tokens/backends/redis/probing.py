"""What a server can do, and whether it is set up to keep what it is given."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, TypeAlias

from asgi_infra.errors import ConfigurationError
from asgi_infra.tokens.errors import StoreUnavailableError

if TYPE_CHECKING:
    from asgi_infra.tokens.backends.redis.calls import Calls

Layout: TypeAlias = Literal["fields", "keys"]

logger = logging.getLogger("asgi_infra.tokens")

_OLDEST = 7
_NEEDED = ("HSETEX", "HPTTL", "HPEXPIRE")


async def probe(calls: Calls, layout: str, durable: tuple[int, int] | None) -> Layout:
    """Return the layout to use, after a look at every server.

    Raises:
        ConfigurationError: The layout that was asked for needs a newer server.
        StoreUnavailableError: A server can't be reached, is too old, or has no AOF where `durable` needs one.
    """
    policies = set()
    for answer in await calls.everywhere("INFO"):
        info = dict(line.split(":", 1) for line in answer.decode(errors="replace").splitlines() if ":" in line)
        version = info.get("redis_version", "0")
        if int(version.partition(".")[0]) < _OLDEST:
            raise StoreUnavailableError(
                f"the server must be Valkey or Redis 7.0 or newer, not {version}", retryable=False
            )
        policies.add(info.get("maxmemory_policy", "noeviction"))
    for policy in sorted(policies - {"noeviction"}):
        logger.warning(
            "The server's maxmemory-policy is %s: when its memory is full it forgets tokens, which signs users out, "
            "and deny entries, which makes revoked tokens good again. Set maxmemory-policy to noeviction.",
            policy,
        )
    answers = await calls.everywhere("COMMAND", "INFO", *_NEEDED)
    able = all(all(command for command in answer) for answer in answers)
    if layout == "fields" and not able:
        raise ConfigurationError(
            "layout must be 'auto' or 'keys' here, not 'fields': the server can't expire the fields of a hash "
            "(Valkey 9.0 or Redis 8.0 can)"
        )
    if durable is not None:
        try:
            await calls.everywhere("WAITAOF", *durable, 1)
        except StoreUnavailableError as exc:
            if exc.retryable:
                raise
            raise StoreUnavailableError(
                "durable needs a server with WAITAOF (Redis 7.2, Valkey) and appendonly yes", retryable=False
            ) from exc
    return "fields" if able and layout != "keys" else "keys"
