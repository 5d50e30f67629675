"""What the contract adds to every backend; what it promises is tried by `TokenStoreContract`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asgi_infra.errors import ConfigurationError
from asgi_infra.tokens import (
    DuplicateTokenError,
    InMemoryTokenStore,
    OutcomeUnknownError,
    Rotation,
    RotationStatus,
    StoreClosedError,
    StoredToken,
    StoreUnavailableError,
    TokenStore,
    contract,
    life,
)
from asgi_infra.tokens.backend import TokenBackend
from asgi_infra.tokens.records import Replaced

if TYPE_CHECKING:
    from asgi_infra.testing import ManualClock

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


def issue(clock: ManualClock, **values: Any) -> StoredToken:
    return StoredToken.issue("alice", **{"lifetime": HOUR, "clock": clock, **values})


class Failing(InMemoryTokenStore):
    """Fails in one operation, in the way it was told to."""

    failures: dict[str, BaseException]

    def __getattribute__(self, name: str) -> Any:
        failures = object.__getattribute__(self, "__dict__").get("failures", {})
        if name not in failures:
            return object.__getattribute__(self, name)

        async def fail(*_: Any) -> Any:
            raise failures[name]

        return fail


CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "_insert": ("save", ()),
    "_find": ("get", ("first",)),
    "_replace": ("rotate", ("first",)),
    "_remove": ("revoke", ("first",)),
    "_remove_family": ("revoke_family", ("family",)),
    "_remove_user": ("revoke_all_for_user", ("alice",)),
    "_list": ("list_for_user", ("alice",)),
    "_touch": ("touch", ("first",)),
    "_deny": ("deny", ("first",)),
    "_is_denied": ("is_denied", ("first",)),
    "_set_generation": ("generation", ("alice",)),
    "_current_generation": ("is_current", ("alice", "generation")),
    "_purge": ("purge_expired", ()),
    "_ping": ("ping", ()),
    "_open": ("open", ()),
}


async def call(store: TokenStore, primitive: str, clock: ManualClock) -> Any:
    name, arguments = CALLS[primitive]
    if primitive in ("_insert", "_replace"):
        arguments = (*arguments, issue(clock))
    elif primitive == "_deny":
        arguments = (*arguments, clock.after(60))
    return await getattr(store, name)(*arguments)


def test_a_backend_implements_every_primitive() -> None:
    abstract = {name for name in vars(TokenBackend) if getattr(getattr(TokenBackend, name), "__isabstractmethod__", 0)}
    assert abstract == {*CALLS, "_close", "_sizes"}
    assert inspect.isabstract(TokenStore)
    with pytest.raises(TypeError, match="abstract"):
        TokenStore()  # type: ignore[abstract]


@pytest.mark.parametrize("primitive", CALLS)
@pytest.mark.parametrize("error", [StoreUnavailableError("away"), OutcomeUnknownError("lost")], ids=repr)
async def test_a_failed_operation_is_counted_and_raised_as_it_is(
    primitive: str, error: Exception, clock: ManualClock
) -> None:
    store = Failing(clock=clock)
    store.failures = {primitive: error}
    with pytest.raises(type(error)) as caught:
        await call(store, primitive, clock)
    assert caught.value is error
    store.failures = {}
    assert (await store.stats()).failed == 1


@pytest.mark.parametrize("primitive", CALLS)
@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), ZeroDivisionError()], ids=repr)
async def test_what_is_no_failure_of_the_store_passes_through(
    primitive: str, error: BaseException, clock: ManualClock
) -> None:
    store = Failing(clock=clock)
    store.failures = {primitive: error}
    with pytest.raises(type(error)) as caught:
        await call(store, primitive, clock)
    assert caught.value is error
    store.failures = {}
    assert (await store.stats()).failed == 0


async def test_an_opening_that_failed_is_tried_again(clock: ManualClock) -> None:
    store = Failing(clock=clock)
    store.failures = {"_open": StoreUnavailableError("away")}
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await store.get("first")
    store.failures = {}
    assert await store.get("first") is None
    assert (await store.stats()).failed >= 1


async def test_a_store_that_was_never_used_is_closed_without_its_backend(clock: ManualClock) -> None:
    store = Failing(clock=clock)
    store.failures = {"_close": ZeroDivisionError()}
    await store.aclose()
    used = Failing(clock=clock)
    await used.open()
    used.failures = {"_close": ZeroDivisionError()}
    with pytest.raises(ZeroDivisionError):
        await used.aclose()
    await used.aclose()


async def test_a_store_that_is_closed_while_it_opens_is_not_used_and_leaves_nothing_open(clock: ManualClock) -> None:
    class Slow(InMemoryTokenStore):
        closed = 0

        async def _open(self) -> None:
            opening.set()
            await closed.wait()

        async def _close(self) -> None:
            self.closed += 1

    async def save() -> None:
        with pytest.raises(StoreClosedError):
            await store.save(token)

    opening, closed = anyio.Event(), anyio.Event()
    store, token = Slow(clock=clock), issue(clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(save)
        tasks.start_soon(save)
        await opening.wait()
        await store.aclose()
        closed.set()
    with pytest.raises(StoreClosedError):
        await store.get(token.jti)
    assert store.closed == 1


async def test_a_handle_can_not_become_a_jti(clock: ManualClock) -> None:
    store, token = InMemoryTokenStore(clock=clock), issue(clock)
    await store.save(token)
    for handle in ("~" + "A" * 22, "~" + "A" * 22 + ".0123456789abcdef"):
        with pytest.raises(ValueError, match=r"^jti must not have the form of a handle"):
            await store.save(issue(clock, jti=handle))
        with pytest.raises(ValueError, match=r"^jti must not have the form of a handle"):
            await store.rotate(token.jti, token.successor(jti=handle, clock=clock))
    await store.save(issue(clock, jti="~" + "A" * 21))


async def test_after_a_fork_a_store_says_that_it_belongs_to_another_process(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Failing(clock=clock)
    await store.open()
    for module in (life, contract):
        monkeypatch.setattr(module, "forks", lambda: 1_000_000)
    for primitive in CALLS:
        with pytest.raises(StoreClosedError, match="before a fork"):
            await call(store, primitive, clock)
    store.failures = {"_close": ZeroDivisionError()}
    await store.aclose()


@pytest.mark.parametrize("wrong", [datetime(2031, 1, 1), 5, None])
async def test_a_clock_that_tells_no_aware_time_is_refused(wrong: Any, clock: ManualClock) -> None:
    store = InMemoryTokenStore(clock=lambda: wrong)
    with pytest.raises(ValueError, match=r"^clock must be"):
        await store.save(issue(clock))
    with pytest.raises(ValueError, match=r"^clock must be"):
        await store.get("first")


async def test_the_revision_changes_whenever_a_life_may_have_ended(clock: ManualClock) -> None:
    store = Failing(clock=clock, max_sessions=2)
    token, other = issue(clock), issue(clock)
    seen = [store.revision]

    def changed() -> bool:
        seen.append(store.revision)
        return seen[-1] not in seen[:-1]

    await store.save(token)
    await store.get(token.jti)
    await store.touch(token.jti)
    await store.list_for_user("alice")
    assert not changed()
    await store.rotate(token.jti, other)
    assert changed()
    await store.revoke(other.jti)
    assert changed()
    await store.revoke_all_for_user("alice")
    assert changed()
    await store.revoke_family("family")
    assert changed()
    for _ in range(3):
        clock.advance(1)
        await store.save(issue(clock))
    assert changed()
    for primitive in ("_remove", "_remove_user", "_remove_family", "_replace", "_insert"):
        store.failures = {primitive: OutcomeUnknownError("lost")}
        with pytest.raises(OutcomeUnknownError):
            await call(store, primitive, clock)
        assert changed()


async def test_a_revocation_is_logged_with_its_reason_and_a_reuse_as_a_warning(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="asgi_infra.tokens")
    store = InMemoryTokenStore(clock=clock, grace=0)
    token, other = issue(clock), issue(clock)
    await store.save(token)
    await store.save(other)
    await store.revoke(other.jti, reason="lost phone")
    await store.revoke(other.jti, reason="again")
    await store.rotate(token.jti, issue(clock))
    await store.rotate(token.jti, issue(clock))
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert found == [
        ("INFO", "Tokens revoked: 1 (by token, reason: lost phone)"),
        ("WARNING", "A used token was presented again; live tokens of its family revoked: 1"),
    ]


async def test_a_backend_that_breaks_its_promise_is_told(clock: ManualClock) -> None:
    class Broken(InMemoryTokenStore):
        async def _replace(self, *_: Any) -> Replaced:
            return Replaced(RotationStatus.ROTATED)

    with pytest.raises(TypeError, match=r"Broken\._replace has answered rotated without a record"):
        await Broken(clock=clock).rotate("first", issue(clock))


async def test_a_successor_that_can_not_be_unsealed_is_told_by_its_handle(clock: ManualClock) -> None:
    class Forgetful(InMemoryTokenStore):
        async def _replace(self, *arguments: Any) -> Replaced:
            found = await super()._replace(*arguments)
            return Replaced(found.status, found.record, None)

    store = Forgetful(clock=clock)
    token, successor = issue(clock), issue(clock)
    await store.save(token)
    await store.rotate(token.jti, successor)
    again = await store.rotate(token.jti, issue(clock))
    assert again == Rotation(RotationStatus.SUPERSEDED, token=successor.replaced(family_id=token.family_id))


async def test_purging_takes_any_limit(clock: ManualClock) -> None:
    store = InMemoryTokenStore(clock=clock)
    await store.save(issue(clock, lifetime=timedelta(seconds=1)))
    clock.advance(2)
    assert await store.purge_expired(limit=10**30) == 1
    assert (await store.stats()).purged == 1


async def test_a_duplicate_is_a_failure_that_is_counted(clock: ManualClock) -> None:
    store = InMemoryTokenStore(clock=clock)
    token = issue(clock)
    await store.save(token)
    with pytest.raises(DuplicateTokenError):
        await store.save(token)
    stats = await store.stats()
    assert (stats.saved, stats.failed) == (1, 1)


@pytest.mark.anyio
async def test_a_token_that_would_have_idled_out_from_the_start_is_refused() -> None:
    async with InMemoryTokenStore(idle_lifetime=3600) as store:
        now = datetime.now(UTC)
        old = StoredToken(jti="old", user_id="alice", issued_at=now - timedelta(hours=2), expires_at=now + timedelta(1))
        with pytest.raises(ConfigurationError, match="issued_at lies further back than idle_lifetime"):
            await store.save(old)
