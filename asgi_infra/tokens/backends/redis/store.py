"""Tokens in Valkey or Redis."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_flag, require_integer, require_seconds, shown
from asgi_infra.tokens.backends.redis import layout as stored
from asgi_infra.tokens.backends.redis.calls import Calls, Effect, Run
from asgi_infra.tokens.backends.redis.decoding import Decoder
from asgi_infra.tokens.backends.redis.layout import Keys
from asgi_infra.tokens.backends.redis.places import Places
from asgi_infra.tokens.backends.redis.probing import probe
from asgi_infra.tokens.backends.redis.routing import routing_to
from asgi_infra.tokens.backends.redis.scripts import script
from asgi_infra.tokens.backends.redis.targets import target_of
from asgi_infra.tokens.clock import to_microseconds
from asgi_infra.tokens.contract import TokenStore
from asgi_infra.tokens.errors import DuplicateTokenError, OutcomeUnknownError, StoreClosedError
from asgi_infra.tokens.identifiers import family_of, handle_of, route_of
from asgi_infra.tokens.records import Record, Replaced
from asgi_infra.tokens.rotation import RotationStatus

if TYPE_CHECKING:
    from typing import Unpack

    from redis.asyncio import Redis, RedisCluster

    from asgi_infra.tokens.backends.redis.node import Command
    from asgi_infra.tokens.backends.redis.probing import Layout
    from asgi_infra.tokens.options import StoreOptions

_PREFIX = re.compile(r"[!-z|~]{1,64}")
_LAYOUTS = ("auto", "fields", "keys")
_EXACTLY = 1000
_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2)


class RedisTokenStore(TokenStore):
    """Keeps tokens in Valkey or Redis: one server, one that sentinels watch, or a cluster.

    All of a user's tokens are one hash in one slot, so that every change to them is one step on one server: a script,
    whose keys are declared. Where the server expires the fields of a hash (Valkey 9.0, Redis 8.0) it removes each token
    when it ends; older ones (from 7.0) are tidied by the next change to the user's tokens. Asyncio only.

    Args:
        url: `redis://`, `rediss://`, `valkey://` or `valkeys://`, then `user:password@host:port/database`;
            `redis+cluster://host1,host2`, `redis+sentinel://host1,host2/service/database`, `redis+unix:///path`.
            What redis-py takes in a URL's query may follow. Or a `redis.asyncio.Redis` or `RedisCluster`, whose
            settings are taken: the store has its own connections, some for each event loop, and never closes the
            client.
        prefix: What all keys begin with: printable ASCII without braces, at most 64 characters.
        timeout: For how many seconds an operation may wait for a server, attempts to reconnect included; 2 by default.
            What takes several steps (`save` and `rotate` write pointers) may take as many times that.
        pool_size: How many connections to a server there may be for each event loop; 16 by default. Reads share a few.
        layout: `"fields"`, `"keys"` (for older servers), or `"auto"`, which asks the server.
        pointers: Whether to note where identifiers and names of families, if they were not made here, have their
            user. Without, those are found only with `user_id`, and two users may have the same identifier.
        durable: On how many disks, the server's own (0 or 1) and the replicas', must be what ends a token before the
            operation returns (`WAITAOF`); it waits for the next fsync. Not at all by default.
        options: What every store can be told, see `TokenStore`.

    Raises:
        ConfigurationError: An option is wrong; the message shows nothing of the URL.
        MissingExtraError: redis-py is not installed.

    `revoke_all_for_user` takes as long for 20 000 tokens as for one (with `except_jti` of one that was rotated, some
    milliseconds more); of more than 1000, those that ended a moment ago may be counted too. With `rotate`, `save` and
    `revoke` after a lost answer, the count is that of the last attempt. The server removes what has ended, so
    `purge_expired` has nothing to do and returns 0; and since nothing counts users, in `stats` the sizes `tokens` and
    `denied` are `None`.

    Example:
        >>> store = RedisTokenStore("valkey://localhost:6379/0", key=secret)
        >>> async with store:
        ...     await store.save(StoredToken.issue("alice", lifetime=timedelta(days=30)))
    """

    def __init__(
        self,
        url: str | Redis | RedisCluster,
        *,
        prefix: str = "asgi_infra:tokens",
        timeout: float = 2.0,
        pool_size: int = 16,
        layout: Literal["auto", "fields", "keys"] = "auto",
        pointers: bool = True,
        durable: tuple[int, int] | None = None,
        **options: Unpack[StoreOptions],
    ) -> None:
        super().__init__(**options)
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise ConfigurationError("prefix must be 1 to 64 printable ASCII characters, without spaces and braces")
        require_seconds("timeout", timeout)
        require_integer("pool_size", pool_size, minimum=1)
        require_flag("pointers", pointers)
        if layout not in _LAYOUTS:
            raise ConfigurationError(f"layout must be 'auto', 'fields' or 'keys', not {shown(layout)}")
        _require_durable(durable)
        self._target = target_of(url)
        self._keys = Keys(prefix)
        self._decoder = Decoder(self._codec)
        self._timeout = float(timeout)
        self._pool_size = pool_size
        self._asked_layout = layout
        self._pointers = pointers
        self._use("fields")
        self._durable = durable
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, Calls] = WeakKeyDictionary()
        self._lock = Lock()
        settings = self._settings
        self._idle = b"" if settings.idle_lifetime is None else b"%d" % round(settings.idle_lifetime * 1_000_000)
        self._kept = round(settings.kept_used * 1_000_000)

    # Life

    async def _open(self) -> None:
        try:
            self._use(await probe(self._calls(), self._asked_layout, self._durable))
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        with self._lock:
            sessions = list(self._sessions.items())
            self._sessions.clear()
        running = asyncio.get_running_loop()
        for loop, calls in sessions:
            if loop is running:
                await calls.routing.close()
            elif not loop.is_closed():
                with suppress(RuntimeError):  # it may have been closed since
                    asyncio.run_coroutine_threadsafe(calls.routing.close(), loop)

    async def _ping(self) -> None:
        await self._calls().everywhere("PING")

    async def _sizes(self) -> tuple[int | None, int | None]:
        return None, None

    async def _purge(self, limit: int, now: int) -> int:
        return 0

    # Tokens

    async def _insert(self, record: Record, others: tuple[bytes, ...], now: int) -> int:
        calls, token, places = self._calls(), record.token, self._places
        route = route_of(token.user_id)
        await places.note_family(calls, record, now)
        claim = await self._claim(calls, record, others, now)
        most = self._settings.max_sessions
        arguments = (b"" if most is None else most, record.digest, stored.pack(record, self._codec), *others)
        run = self._script("insert", route, token.user_id, now, *arguments, claim=claim)
        evicted = await calls.run(run, Effect.ONCE)
        if evicted < 0:
            raise DuplicateTokenError("a token with this jti is stored already")
        return int(evicted)

    async def _find(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int) -> Record | None:
        calls = self._calls()
        look = partial(self._read, calls, digests, jti, user_id, now)
        return await self._places.first(calls, digests, jti, user_id, look)

    async def _replace(
        self,
        digests: tuple[bytes, ...],
        jti: str,
        successor: Record | None,
        sealed: bytes,
        user_id: str | None,
        now: int,
    ) -> Replaced:
        calls, settings = self._calls(), self._settings
        absolute = settings.absolute_lifetime
        arguments = (
            round(settings.grace * 1_000_000),
            b"" if absolute is None else round(absolute * 1_000_000),
            family_of(jti) or b"",
            b"" if successor is None else successor.digest,
            b"" if successor is None else stored.pack(successor, self._codec),
            sealed,
            *digests,
        )
        claim = None if successor is None else await self._claim(calls, successor, (), now)

        async def look(route: str) -> list[bytes] | None:
            run = self._script("rotate", route, user_id, now, *arguments, families=True, claim=claim)
            answer = await self._ended(calls, run)
            for pause in _PAUSES:
                if answer[0] != b"withdrawn" or successor is None or not await self._places.leads_to(calls, successor):
                    break
                # By another call of this user's, perhaps this very one; its outcome is for this one too.
                await asyncio.sleep(pause)
                answer = await self._ended(calls, run)
            return None if answer[0] == b"unknown" else answer

        answer = await self._places.first(calls, digests, jti, user_id, look)
        if answer is None:
            return Replaced(RotationStatus.UNKNOWN)
        if answer[0] in (b"duplicate", b"withdrawn"):
            raise DuplicateTokenError("the successor's jti is stored already, for another token")
        if answer[0] == b"reused":
            return Replaced(RotationStatus.REUSED, family_id=answer[1].decode(), revoked=int(answer[2]))
        status, digest, value, sealed = answer
        told = successor.token.jti if successor is not None and status == b"rotated" else None
        record = stored.unpack(value, digest, self._codec, told)
        if status == b"rotated":
            await self._places.note_family(calls, record, now)
        return Replaced(RotationStatus(status.decode()), record, sealed)

    async def _remove(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int) -> int:
        calls = self._calls()

        async def look(route: str) -> int | None:
            run = self._script("remove", route, user_id, now, *digests, families=True)
            return int(await self._ended(calls, run)) or None

        return await self._places.first(calls, digests, jti, user_id, look) or 0

    async def _remove_family(self, family_id: str, user_id: str | None, now: int) -> int:
        calls = self._calls()
        route = await self._places.of_family(calls, family_id, user_id)
        if route is None:
            return 0
        run = self._script("remove_family", route, user_id, now, family_id, families=True)
        return int(await self._ended(calls, run))

    async def _remove_user(self, user_id: str, kept: tuple[bytes, ...], now: int) -> int:
        run = self._script("remove_user", route_of(user_id), user_id, now, _EXACTLY, *kept)
        return int(await self._ended(self._calls(), run))

    async def _list(self, user_id: str, now: int) -> list[Record]:
        route = route_of(user_id)
        fields = await self._calls().command(self._keys.user(route), "HGETALL", self._keys.user(route))
        records = []
        for digest, value in zip(fields[::2], fields[1::2], strict=True):
            if stored.is_used(value):
                continue
            record = stored.unpack(value, digest, self._codec)
            token = record.token
            if token.user_id != user_id or record.deadline(self._settings) <= now:
                continue
            if token.jti == handle_of(digest):
                record.token = token.replaced(jti=handle_of(digest, route))
            records.append(record)
        return records

    async def _touch(self, digests: tuple[bytes, ...], jti: str, user_id: str | None, before: int, now: int) -> bool:
        record = await self._find(digests, jti, user_id, now)
        if record is None:
            return False
        token = record.token
        if to_microseconds(token.last_used_at or token.issued_at) > before:
            return True
        run = self._script("touch", route_of(token.user_id), token.user_id, now, before, record.digest)
        return bool(await self._calls().run(run, Effect.REPEATABLE))

    # Tokens that are not stored

    async def _deny(self, digest: bytes, until: int, now: int) -> None:
        arguments = (until, stored.packed_moment(until), stored.milliseconds(until - now))
        await self._ended(self._calls(), Run(script("deny"), (self._keys.denied(digest),), arguments))

    async def _is_denied(self, digests: tuple[bytes, ...], now: int) -> bool:
        calls = self._calls()
        for digest in digests:
            value = await calls.read(self._keys.denied(digest))
            if value is not None and stored.unpacked_moment(value) > now:
                return True
        return False

    async def _set_generation(self, user_id: str, fresh: str, until: int, renew: bool, now: int) -> str:
        arguments = (
            fresh,
            until,
            stored.packed_moment(until),
            stored.milliseconds(until - now),
            now,
            b"1" if renew else b"",
        )
        run = Run(script("generation"), (self._keys.generation(route_of(user_id)),), arguments)
        calls = self._calls()
        answer = await (self._ended(calls, run) if renew else calls.run(run, Effect.REPEATABLE))
        return _text(answer)

    async def _current_generation(self, user_id: str, now: int) -> str | None:
        value = await self._calls().read(self._keys.generation(route_of(user_id)))
        if value is None or stored.unpacked_moment(value) <= now:
            return None
        return _text(value[8:])

    # How they do it

    def _use(self, layout: Layout) -> None:
        self._layout = layout
        self._places = Places(self._keys, in_fields=layout == "fields", pointers=self._pointers)

    def _calls(self) -> Calls:
        loop = asyncio.get_running_loop()
        calls = self._sessions.get(loop)
        if calls is None:
            routing = routing_to(self._target, timeout=self._timeout, pool_size=self._pool_size)
            calls = Calls(routing, timeout=self._timeout, pool_size=self._pool_size)
            with self._lock:
                if self._closed:  # between two steps of an operation
                    raise StoreClosedError("the token store has been closed; open a new one")
                calls = self._sessions.setdefault(loop, calls)
        return calls

    def _script(
        self,
        name: str,
        route: str,
        user_id: str | None,
        now: int,
        *arguments: str | bytes | int,
        families: bool = False,
        claim: str | None = None,
    ) -> Run:
        keys = [self._keys.user(route)]
        if self._layout == "keys":
            keys.append(self._keys.index(route))
        if claim is not None:
            keys.append(claim)
        parts = ("common", self._layout, "families") if families else ("common", self._layout)
        return Run(script(name, *parts), tuple(keys), (now, self._idle, self._kept, user_id or b"", *arguments))

    async def _ended(self, calls: Calls, run: Run) -> Any:
        """Run what ends a token, and wait for the disks if that was asked for."""
        if self._durable is None:
            return await calls.run(run, Effect.REPEATABLE)
        wait: Command = ("WAITAOF", *self._durable, max(1, int(self._timeout * 500)))
        answer, disks = await calls.run(run, Effect.REPEATABLE, wait)
        if not isinstance(disks, list) or any(
            reached < asked for reached, asked in zip(disks, self._durable, strict=True)
        ):
            raise OutcomeUnknownError("it was done, but is not yet on as many disks as durable asks for")
        return answer

    async def _read(
        self, calls: Calls, digests: tuple[bytes, ...], jti: str, user_id: str | None, now: int, route: str
    ) -> Record | None:
        key = self._keys.user(route)
        for digest in digests:
            value = await calls.read(key, digest)
            if value is None or stored.is_used(value):
                continue
            record = self._decoder.decoded(value, digest, jti)
            live = record.deadline(self._settings) > now and user_id in (None, record.token.user_id)
            return record if live else None
        return None

    async def _claim(self, calls: Calls, record: Record, others: tuple[bytes, ...], now: int) -> str | None:
        async def withdraw(route: str, claim: str | None) -> bool:
            run = self._script("withdraw", route, None, now, record.digest, *others, claim=claim)
            return bool(await calls.run(run, Effect.REPEATABLE))

        return await self._places.claim(calls, record, others, now, withdraw)


def _require_durable(durable: object) -> None:
    if durable is None:
        return
    numbers = durable if isinstance(durable, tuple) and len(durable) == 2 else ()
    if not numbers or any(isinstance(each, bool) or not isinstance(each, int) or each < 0 for each in numbers):
        raise ConfigurationError(
            "durable must be None or a pair of numbers of disks, the server's (0 or 1) and replicas'"
        )
    if numbers[0] > 1:
        raise ConfigurationError("durable must begin with 0 or 1: the server has one disk of its own")


def _text(value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError as exc:
        raise stored.corrupt() from exc
