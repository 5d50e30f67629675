"""What the token stores do: `python -m benchmarks tokens [--only memory,sqlite,postgres,valkey,cluster] [--quick]`.

Every store is asked the same: races, interleavings, a long session, throughput; the servers are real ones from wheels
(extra `test`), on loopback ports and on this machine, so client and server share its cores. Rates of stores in memory
are told beside those of a bare dictionary with a lock, measured in turns; the others stand alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from asgi_infra.tokens import InMemoryTokenStore, StoredToken, TokenStore, open_token_store
from benchmarks.measure import Estimate, Subject, interleave, step
from benchmarks.token_load import (
    DAY,
    DEVICE,
    interleavings,
    race,
    rotated_session,
    rotations_a_second,
    shared,
    token_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # where the servers are

_CAPACITY = 10_000


@dataclass(frozen=True)
class Scale:
    """How much is asked."""

    races: int
    interleavings: int
    rotations: int
    calls: int
    tokens: int
    batches: int


_FULL = Scale(races=1000, interleavings=10_000, rotations=100_000, calls=20_000, tokens=20_000, batches=15)
_QUICK = Scale(races=5, interleavings=100, rotations=200, calls=500, tokens=500, batches=3)


class Report:
    """Rows of a table, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        print("| store | figure | measured | to reach |")
        print("|---|---|---|---|")

    def add(self, store: str, figure: str, measured: str, goal: str = "") -> None:
        self.rows.append({"store": store, "figure": figure, "measured": measured, "goal": goal})
        print(f"| {store} | {figure} | {measured} | {goal} |", flush=True)


class BareDictionary:
    """What a store in memory is measured against: the least that a bounded, thread-safe one can do."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, StoredToken] = OrderedDict()
        self._lock = RLock()

    def save(self, token: StoredToken) -> None:
        with self._lock:
            self._tokens[token.jti] = token
            while len(self._tokens) > _CAPACITY:
                self._tokens.popitem(last=False)

    def get(self, jti: str) -> StoredToken | None:
        with self._lock:
            return self._tokens.get(jti)


class Batch:
    """Tokens to save and to find again; those of the next round are made between the measurements."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.renew()

    def renew(self) -> None:
        self.tokens = [token_of(f"user-{number % 1000}") for number in range(self._size)]


def _memory(report: Report, scale: Scale) -> None:
    store, bare = InMemoryTokenStore(max_entries=_CAPACITY), BareDictionary()
    batch = Batch(max(scale.calls // 4, 100))
    kept = [token_of(f"user-{number % 1000}") for number in range(len(batch.tokens))]
    full, bare_full = InMemoryTokenStore(max_entries=_CAPACITY), BareDictionary()

    async def save(_: int) -> None:
        for token in batch.tokens:
            await store.save(token)

    async def get(_: int) -> None:
        for token in kept:
            await full.get(token.jti)

    def bare_save(_: int) -> None:
        for token in batch.tokens:
            bare.save(token)

    def bare_get(_: int) -> None:
        for token in kept:
            bare_full.get(token.jti)

    subjects = [
        Subject("saves", "store", lambda times: step(save(times)), batch.renew),
        Subject("saves, bare", "bare", bare_save, batch.renew),
        Subject("gets", "store", lambda times: step(get(times))),
        Subject("gets, bare", "bare", bare_get),
    ]
    for number in range(_CAPACITY):
        token = kept[number] if number < len(kept) else token_of(f"user-{number % 1000}")
        for each in (store, full):
            step(each.save(token))
        for dictionary in (bare, bare_full):
            dictionary.save(token)
    series = interleave(subjects, rounds=scale.batches, batch=len(batch.tokens))
    for name, goal in (("saves", "0.2 M/s"), ("gets", "0.5 M/s")):
        rates = {each: 1 / Estimate.of(series[each].cpu).value for each in (name, f"{name}, bare")}
        measured = f"{rates[name]:.2f} M/s (bare dictionary and lock: {rates[f'{name}, bare']:.2f} M/s)"
        report.add("memory", f"{name} at capacity, by CPU time", measured, f"at least {goal}")


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


async def _everywhere(name: str, report: Report, scale: Scale, make: Callable[..., TokenStore]) -> None:
    """Ask what every store is asked."""
    async with make() as first, make() as second:
        stores = [first] if name == "memory" else [first, second]
        result = await race(stores, rounds=scale.races)
        report.add(
            name,
            f"winners of a 64-way race, {result.rounds} rounds",
            f"{_range(result.winners)}; different successors {_range(result.successors)}; "
            f"callers without one {result.refused}",
            "exactly 1, the losers get the same",
        )
        back = await interleavings(first, rounds=scale.interleavings)
        report.add(name, f"tokens that came back, {scale.interleavings} interleavings", str(back), "0")


async def _walk(name: str, report: Report, make: Callable[..., TokenStore], rotations: int) -> None:
    clock = Clock()
    async with make(clock=clock, grace=1) as store:
        await rotated_session(store, rotations=rotations)
        clock.now += timedelta(seconds=11)
        await store.purge_expired(limit=1_000_000)
        records = (await store.stats()).tokens
        report.add(name, f"records after {rotations} rotations of one session, grace over", str(records), "1")


async def _sqlite(report: Report, scale: Scale) -> None:
    with TemporaryDirectory() as folder:

        def make(**options: Any) -> TokenStore:
            return open_token_store(f"sqlite:///{Path(folder).as_posix()}/tokens.db", **options)

        await _everywhere("SQLite", report, scale, make)
        await _walk("SQLite", report, make, scale.rotations // 10)
        async with make() as store:
            rate = await rotations_a_second([store], tasks=8, times=scale.calls // 10)
            report.add("SQLite", "rotations, 8 tasks, synchronous=FULL", f"{rate:.0f}/s")


async def _postgres(report: Report, scale: Scale) -> None:
    from servers import PostgresServer

    durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    with PostgresServer(**durable) as server:

        def make(**options: Any) -> TokenStore:
            return open_token_store(server.url(), **options)

        await _everywhere("PostgreSQL", report, scale, make)
        await _walk("PostgreSQL", report, make, scale.rotations // 10)
        async with make() as store:
            rate = await rotations_a_second([store], tasks=8, times=scale.calls // 4)
            report.add("PostgreSQL", "rotations, 8 clients, durable", f"{rate:.0f}/s", "at least 1 850/s")
    with PostgresServer(**durable, commit_delay=500, commit_siblings=4) as server:
        async with open_token_store(server.url()) as store:
            rate = await rotations_a_second([store], tasks=8, times=scale.calls // 4)
            report.add("PostgreSQL", "the same, commit_delay=500 µs", f"{rate:.0f}/s", "measured")


async def _valkey(report: Report, scale: Scale) -> None:
    from valkey_servers import ValkeyServer

    with ValkeyServer() as server:

        def make(**options: Any) -> TokenStore:
            return open_token_store(server.url(), **options)

        await _everywhere("Valkey", report, scale, make)
        server.call("FLUSHALL")
        async with make() as store:
            await _bytes_a_token(report, store, server, scale)
            await _revoke_all(report, store, scale)
            tokens = [token_of(f"user-{number % 200}") for number in range(2000)]
            await asyncio.gather(*map(store.save, tokens))
            rates = [
                await shared(lambda number: store.get(tokens[number % 2000].jti), tasks=64, times=scale.calls)
                for _ in range(5)
            ]
            report.add("Valkey", "gets, 64 tasks", f"{statistics.median(rates):.0f}/s", "at least 50 000/s")
            rate = await rotations_a_second([store], tasks=64, times=scale.calls // 4)
            report.add("Valkey", "rotations, 64 tasks", f"{rate:.0f}/s")
        server.call("FLUSHALL")
        async with make(grace=1) as store:
            rotations = scale.rotations // 10
            await rotated_session(store, rotations=rotations)
            await asyncio.sleep(11)
            fields = sum(_fields(server, key) for key in server.call("KEYS", "*"))
            report.add("Valkey", f"records after {rotations} rotations of one session, grace over", str(fields), "1")
        server.call("FLUSHALL")
        async with make() as store:
            for number in range(500):
                await store.save(StoredToken.issue(f"user-{number % 50}", lifetime=timedelta(seconds=2)))
            await asyncio.sleep(4)
            left = len(server.call("KEYS", "*"))
            report.add("Valkey", "keys left when all tokens have expired", str(left), "0")


async def _bytes_a_token(report: Report, store: TokenStore, server: Any, scale: Scale) -> None:
    before = _memory_used(server)
    for start in range(0, scale.tokens, 100):
        await asyncio.gather(
            *(
                store.save(StoredToken.issue(f"user-{number // 10}", lifetime=DAY, metadata=DEVICE))
                for number in range(start, start + 100)
            )
        )
    each = (_memory_used(server) - before) / scale.tokens
    report.add("Valkey", "bytes a token, 10 a user", f"{each:.0f}", "at most 320")


async def _revoke_all(report: Report, store: TokenStore, scale: Scale) -> None:
    times = []
    for _ in range(3):
        for start in range(0, scale.tokens, 100):
            await asyncio.gather(*(store.save(token_of("many")) for _ in range(start, start + 100)))
        started = perf_counter()
        revoked = await store.revoke_all_for_user("many")
        times.append(perf_counter() - started)
        if revoked < scale.tokens:
            raise RuntimeError(f"{revoked} of {scale.tokens} tokens were revoked")
    took = f"{statistics.median(times) * 1000:.2f} ms, as the caller sees it"
    report.add("Valkey", f"revoke all of {scale.tokens} tokens", took, "below 2 ms")


def _fields(server: Any, key: bytes) -> int:
    kind = server.call("TYPE", key)
    return len(server.call("HKEYS", key)) if kind in (b"hash", "hash") else 1


def _memory_used(server: Any) -> int:
    info: bytes | str = server.call("INFO", "memory")
    text = info.decode() if isinstance(info, bytes) else info
    return int(next(line.partition(":")[2] for line in text.splitlines() if line.startswith("used_memory:")))


async def _cluster(report: Report, scale: Scale) -> None:
    from valkey_servers import ValkeyCluster

    with ValkeyCluster() as cluster:

        def make(**options: Any) -> TokenStore:
            return open_token_store(cluster.url(), **options)

        await _everywhere("Valkey Cluster", report, scale, make)
        async with make() as store:
            rate = await rotations_a_second([store], tasks=64, times=scale.calls // 4)
            report.add("Valkey Cluster", "rotations, 64 tasks", f"{rate:.0f}/s", "at least 2 000/s")


async def _in_memory(report: Report, scale: Scale) -> None:
    _memory(report, scale)
    await _everywhere("memory", report, scale, InMemoryTokenStore)
    await _walk("memory", report, InMemoryTokenStore, scale.rotations)


_PARTS: dict[str, Callable[[Report, Scale], Coroutine[Any, Any, None]]] = {
    "memory": _in_memory,
    "sqlite": _sqlite,
    "postgres": _postgres,
    "valkey": _valkey,
    "cluster": _cluster,
}


def _range(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


async def _run(names: list[str], scale: Scale) -> list[dict[str, str]]:
    report = Report()
    for name in names:
        await _PARTS[name](report, scale)
    return report.rows


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tokens", description="What the token stores do.")
    parser.add_argument("--only", default=",".join(_PARTS), help="stores, separated by commas (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(argv)
    names = options.only.split(",")
    if unknown := [name for name in names if name not in _PARTS]:
        parser.error(f"--only knows {', '.join(_PARTS)}, not {', '.join(unknown)}")
    rows = asyncio.run(_run(names, _QUICK if options.quick else _FULL))
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
