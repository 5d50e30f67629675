from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from audit_stores import BlockingStore, raising
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from asgi_infra import context
from asgi_infra.audit import AuditFilter, AuditLogger, InMemoryAuditLogger
from asgi_infra.audit.errors import AuditFullError, AuditStoreError, AuditUnavailableError
from asgi_infra.errors import ConfigurationError
from asgi_infra.testing.audit.base import a_full_entry, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def last(logger: AuditLogger) -> Any:
    return (await logger.query(limit=1, newest_first=True)).entries[0]


# What log_action fills in


@given(st.integers(-1439, 1439))
def test_property_09_log_action_is_always_in_utc(minutes: int) -> None:
    import anyio

    zone = timezone(timedelta(minutes=minutes))

    async def log() -> None:
        async with InMemoryAuditLogger(clock=lambda: NOON.astimezone(zone)) as logger:
            await logger.log_action("order.refund", "order")
            await logger.log_action("order.refund", "order", timestamp=NOON.astimezone(zone))
            for entry in (await logger.query()).entries:
                assert (entry.timestamp, entry.timestamp.tzinfo) == (NOON, UTC)

    anyio.run(log)


async def test_property_09_log_action_takes_the_time_of_now() -> None:
    async with InMemoryAuditLogger() as logger:
        before = datetime.now(UTC)
        await logger.log_action("order.refund", "order")
        found = (await last(logger)).timestamp
        assert before <= found <= datetime.now(UTC)


async def test_the_context_of_the_request_is_filled_in() -> None:
    tracer = TracerProvider().get_tracer("test")
    async with InMemoryAuditLogger() as logger:
        with (
            tracer.start_as_current_span("request") as span,
            context.bind(request_id="request-7", user_id="alice", client_address="203.0.113.7"),
        ):
            await logger.log_action("order.refund", "order", resource_id="o-1", tenant="acme")
        entry = await last(logger)
        assert entry.trace_id == trace.format_trace_id(span.get_span_context().trace_id)
        assert (entry.request_id, entry.user_id, entry.ip_address) == ("request-7", "alice", "203.0.113.7")
        assert (entry.resource_id, entry.tenant, entry.result) == ("o-1", "acme", "success")


async def test_what_is_given_goes_before_the_context() -> None:
    async with InMemoryAuditLogger() as logger:
        with context.bind(request_id="request-7", user_id="alice", client_address="203.0.113.7"):
            await logger.log(a_full_entry(1))
            given_fields = {**a_full_entry(2).to_dict(), "timestamp": a_full_entry(2).timestamp}
            await logger.log_action(given_fields.pop("action"), given_fields.pop("resource_type"), **given_fields)
        assert (await logger.query()).entries == (a_full_entry(1), a_full_entry(2))


async def test_outside_of_a_request_nothing_is_made_up() -> None:
    async with InMemoryAuditLogger() as logger:
        await logger.log_action("order.refund", "order")
        entry = await last(logger)
        assert {entry.user_id, entry.request_id, entry.trace_id, entry.ip_address, entry.details} == {None}


async def test_details_are_redacted() -> None:
    details = {"password": "hunter2", "note": "write to bob@example.org"}
    async with InMemoryAuditLogger() as logger:
        await logger.log_action("user.update", "user", details=details)
        assert (await last(logger)).details == {
            "password": "[REDACTED:password]",
            "note": "write to [REDACTED:email]",
        }
    async with InMemoryAuditLogger(redact=False) as logger:
        await logger.log_action("user.update", "user", details=details)
        assert (await last(logger)).details == details
    async with InMemoryAuditLogger(redact=lambda details: "[all]") as logger:
        await logger.log_action("user.update", "user", details=details)
        assert (await last(logger)).details == {"details": "[all]"}


# When the store fails


@pytest.mark.parametrize("error", [AuditUnavailableError("down"), AuditFullError("no room"), OSError(5, "I/O error")])
async def test_by_default_what_can_not_be_recorded_is_refused(error: Exception) -> None:
    store = BlockingStore()
    async with AuditLogger(store, audit_reads=False) as logger:
        store.before = raising(error)
        with pytest.raises(AuditStoreError) as caught:
            await logger.log_action("order.refund", "order")
        assert caught.value.retryable
        assert error in (caught.value.__cause__, caught.value.__cause__ or error)
        store.before = None
        await logger.log(an_entry(1))
        assert await logger.count() == 1
        stats = await logger.stats()
        assert (stats["logged"], stats["failed"]) == (1, 1)


ACCESSES: dict[str, Callable[[AuditLogger], Any]] = {
    "query": lambda logger: logger.query(),
    "count": lambda logger: logger.count(),
    "get": lambda logger: logger.get(0),
    "export": lambda logger: anext(logger.export()),
    "tail": lambda logger: anext(logger.tail(start=0)),
    "erase": lambda logger: logger.erase(AuditFilter(user_id="user-1"), reason="ticket 17"),
    "purge": lambda logger: logger.purge(before=NOON + timedelta(days=1)),
}


@pytest.mark.parametrize("call", ACCESSES)
async def test_what_is_done_with_the_log_is_refused_if_it_can_not_be_recorded(call: str) -> None:
    store = BlockingStore()
    async with AuditLogger(store) as logger:
        await logger.log(a_full_entry(1))
        store.before = raising(AuditUnavailableError("down"))
        with pytest.raises(AuditUnavailableError):
            await ACCESSES[call](logger)
        store.before = None
        logged = await logger.get(0)
        assert logged is not None
        assert not logged.erased


async def test_an_erasure_that_fails_is_recorded() -> None:
    store = BlockingStore()
    async with AuditLogger(store, audit_reads=False) as logger:
        await logger.log(a_full_entry(1))
        store.erase = raising(OSError(5, "I/O error"))  # type: ignore[method-assign]
        with pytest.raises(AuditUnavailableError):
            await logger.erase(AuditFilter(user_id="user-1"), reason="ticket 17")
        store.prune = raising(OSError(5, "I/O error"))  # type: ignore[assignment, method-assign]
        with pytest.raises(AuditUnavailableError):
            await logger.purge(before=NOON + timedelta(days=1))
        found = await logger.query(AuditFilter(action="audit.*"))
        assert [(entry.action, entry.result) for entry in found.entries] == [
            ("audit.erase", "attempt"),
            ("audit.erase", "failure"),
            ("audit.purge", "attempt"),
            ("audit.purge", "failure"),
        ]


async def test_a_store_is_opened_once_with_the_first_call_and_closed_once() -> None:
    store = BlockingStore()
    logger = AuditLogger(store)
    assert store.opened == 0
    await logger.log(an_entry(1))
    await logger.ping()
    await logger.aclose()
    await logger.aclose()
    assert (store.opened, store.closed) == (1, 1)


async def test_a_store_that_can_not_be_opened_is_tried_again() -> None:
    store = BlockingStore()
    opened = store.open
    store.open = raising(ConnectionRefusedError())  # type: ignore[method-assign, assignment]
    logger = AuditLogger(store)
    with pytest.raises(AuditUnavailableError, match="can't be opened: ConnectionRefusedError"):
        await logger.log(an_entry(1))
    store.open = opened  # type: ignore[method-assign]
    assert (await logger.log(an_entry(1))).seq == 0
    await logger.aclose()


# Options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"on_failure": "drop"}, "on_failure must be 'raise' or 'spill', not 'drop'"),
        ({"on_failure": "spill"}, "spill must be the path of a file if on_failure is 'spill'"),
        ({"spill": "audit.spill"}, "spill must be the path of a file if on_failure is 'spill'"),
        ({"on_failure": "spill", "spill": "a", "max_spill_bytes": 1}, "max_spill_bytes must be at least 65536"),
        ({"max_batch": 0}, "max_batch must be at least 1"),
        ({"max_queue": 1.5}, "max_queue must be an int"),
        ({"max_queue_bytes": True}, "max_queue_bytes must be an int"),
        ({"redact": "all"}, "redact must be callable"),
        ({"clock": 5}, "clock must be callable"),
        ({"audit_reads": "no"}, "audit_reads must be True or False"),
        ({"max_entries": 0}, "max_entries must be at least 1"),
    ],
)
def test_a_wrong_option_of_a_logger_is_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        InMemoryAuditLogger(**options)


def test_what_is_no_store_is_refused() -> None:
    store: Any = []
    with pytest.raises(ConfigurationError, match="store must be an AuditStore, not list"):
        AuditLogger(store)


async def test_a_checkpoint_needs_a_key() -> None:
    async with AuditLogger(BlockingStore()) as logger:
        with pytest.raises(ConfigurationError, match="signer must be given"):
            await logger.checkpoint()


async def test_reads_do_not_tell_a_user_who_may_have_to_be_erased() -> None:
    for private, told in (((), "u-17"), (["user_id"], "[private]")):
        async with InMemoryAuditLogger(audit_reads=True, private_fields=private) as logger:
            await logger.query(AuditFilter(user_id="u-17"))
            page = await logger.query(AuditFilter(action="audit.read"))
            assert page.entries[0].details["filter"] == {"user_id": told}
