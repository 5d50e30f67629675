from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit import AuditFilter, InMemoryAuditLogger, open_audit_logger
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import an_entry
from asgi_infra.testing.audit.strategies import filters, related_entries

if TYPE_CHECKING:
    from asgi_infra.audit import AuditEntry


@given(
    st.lists(related_entries, max_size=30, unique_by=lambda entry: entry.id), st.integers(1, 20), filters, st.booleans()
)
def test_property_10_filters_are_right_on_what_is_kept(
    many: list[AuditEntry], max_entries: int, wanted: AuditFilter, together: bool
) -> None:
    async def compare() -> None:
        async with InMemoryAuditLogger(max_entries=max_entries) as logger:
            if together:
                await logger.log_many(many)
            else:
                for entry in many:
                    await logger.log(entry)
            kept = many[-max_entries:]
            assert (await logger.query()).entries == tuple(kept)
            assert (await logger.query(wanted)).entries == tuple(entry for entry in kept if wanted.matches(entry))
            assert await logger.count(wanted) == sum(map(wanted.matches, kept))
            assert (await logger.stats())["evicted"] == max(len(many) - max_entries, 0)
            assert (await logger.verify()).ok

    anyio.run(compare)


def test_property_10_threads_keep_the_newest_in_order() -> None:
    logger = InMemoryAuditLogger(max_entries=100)

    def write(thread: int) -> None:
        async def log() -> None:
            for number in range(250):
                await logger.log(an_entry(number, id=f"{thread}-{number}"))

        anyio.run(log)

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def check() -> None:
        page = await logger.query(limit=1000)
        assert [each.seq for each in page] == list(range(900, 1000))
        for thread in range(4):
            own = [int(each.entry.id.partition("-")[2]) for each in page if each.entry.id.startswith(f"{thread}-")]
            assert own == sorted(own)
            assert own == list(range(250 - len(own), 250)), "the newest stay"
        assert (await logger.verify()).ok
        assert await logger.get("0-0") is None

    anyio.run(check)


def test_an_id_that_made_room_may_come_again() -> None:
    async def log() -> None:
        async with InMemoryAuditLogger(max_entries=2) as logger:
            seqs = [(await logger.log(an_entry(number))).seq for number in (0, 1, 2, 0, 2)]
            assert seqs == [0, 1, 2, 3, 2]

    anyio.run(log)


def test_the_memory_does_not_grow_with_what_is_gone() -> None:
    async def log() -> None:
        async with InMemoryAuditLogger(max_entries=10) as logger:
            for number in range(5000):
                await logger.log(an_entry(number))
            store = logger._store
            assert sum(len(row._hashes) for row in store._levels) < 60  # type: ignore[attr-defined]
            assert len(store._seqs) == 10  # type: ignore[attr-defined]

    anyio.run(log)


# Opening by URL


def test_a_url_opens_a_logger() -> None:
    logger = open_audit_logger("memory://", max_entries=5)
    assert isinstance(logger, InMemoryAuditLogger)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("memory", "url must be a URL"),
        ("memory:", "url must be a URL"),
        ("memory://host/path", "url must be memory:// without anything behind it"),
        ("gopher://host", r"url has the unknown scheme 'gopher'; known are .*file, memory, .*postgresql.*sqlite"),
        (None, "url must be a URL"),
    ],
)
def test_a_wrong_url_is_told(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        open_audit_logger(url)


def test_a_password_in_a_url_is_not_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_audit_logger("gopher://alice:hunter2@host/")
    assert "hunter2" not in str(caught.value)


def test_options_that_do_not_exist_are_told() -> None:
    with pytest.raises(ConfigurationError, match=r"options don't fit a logger for memory://.*colour"):
        open_audit_logger("memory://", colour="red")


def test_third_parties_add_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from asgi_infra.audit import opening

    point = EntryPoint(name="shop", value="audit_stores:open_shop_logger", group=opening.GROUP)
    monkeypatch.setattr(opening, "entry_points", lambda group: [point])
    logger = open_audit_logger("shop://till/1", max_entries=7)
    assert (logger.url, logger.options) == ("shop://till/1", {"max_entries": 7})  # type: ignore[attr-defined]
    assert "shop" in opening.known_schemes()


@pytest.mark.parametrize("key", [2**63, 2**64, 10**30])
@pytest.mark.anyio
async def test_a_number_that_no_entry_can_have_is_that_of_none(key: int) -> None:
    async with InMemoryAuditLogger(max_entries=2, audit_reads=False) as logger:
        await logger.log_many(an_entry(number) for number in range(5))
        assert await logger.get(key) is None
        assert await logger.get(0) is None, "it went long ago"
