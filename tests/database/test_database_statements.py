"""What telemetry says about statements: spans, the log of slow ones, and their text."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import exc, text

from asgi_infra import faults
from asgi_infra.context import bind
from asgi_infra.database import DatabaseSession, IntegrityViolationError, statements
from asgi_infra.database.sqltext import describe


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    yield made
    made.shutdown()


@pytest.fixture
async def db(database_url, provider):
    async with DatabaseSession(database_url, tracer_provider=provider, slow_query_threshold=1e-9) as database:
        async with database.session() as session:
            await session.execute(text("CREATE TABLE items (id INT PRIMARY KEY, name TEXT)"))
        yield database


@pytest.mark.anyio
async def test_a_statement_is_a_client_span_by_the_conventions_without_values(db, exporter, provider, database_url):
    exporter.clear()
    with provider.get_tracer("test").start_as_current_span("request") as parent:
        async with db.session() as session:
            await session.execute(text("INSERT INTO items VALUES (:id, 'bob@example.org')"), {"id": 4711})
    span = next(span for span in exporter.get_finished_spans() if span.name == "INSERT items")
    assert span.kind is SpanKind.CLIENT
    assert span.parent.span_id == parent.get_span_context().span_id
    assert span.status.status_code is StatusCode.UNSET
    attributes = dict(span.attributes)
    assert attributes["db.system.name"] == ("sqlite" if database_url.startswith("sqlite") else "postgresql")
    assert attributes["db.operation.name"] == "INSERT"
    assert attributes["db.collection.name"] == "items"
    assert attributes["db.query.summary"] == "INSERT items"
    assert attributes["db.query.text"].startswith("INSERT INTO items VALUES (")
    assert database_url.endswith(attributes["db.namespace"])
    assert ("server.port" in attributes) is database_url.startswith("postgresql")
    assert "bob" not in span.to_json()
    assert "4711" not in span.to_json()


@pytest.mark.anyio
async def test_a_failed_statement_ends_its_span_with_the_state(db, exporter):
    exporter.clear()
    with pytest.raises(IntegrityViolationError):
        async with db.session() as session:
            await session.execute(
                text("INSERT INTO items VALUES (:id, :name)"), [{"id": 1, "name": "bob@example.org"}] * 2
            )
    span = next(span for span in exporter.get_finished_spans() if span.name == "INSERT items")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["db.response.status_code"] == "23505"
    assert span.attributes["error.type"] == "23505"
    assert span.attributes["db.operation.batch.size"] == 2
    assert "bob" not in span.to_json()


@pytest.mark.anyio
async def test_a_statement_that_is_cancelled_ends_its_span(postgres_url, exporter, provider):
    async def scalar(db, statement):
        async with db.session() as session:
            return (await session.execute(text(statement))).scalar()

    sleeping = "datname = current_database() AND state = 'active' AND query LIKE 'SELECT pg_sleep%'"
    async with DatabaseSession(postgres_url, tracer_provider=provider) as db:
        task = asyncio.create_task(scalar(db, "SELECT pg_sleep(60)"))
        while not await scalar(db, f"SELECT count(*) FROM pg_stat_activity WHERE {sleeping}"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (span,) = (
        span for span in exporter.get_finished_spans() if span.attributes["db.query.text"].startswith("SELECT pg_sleep")
    )
    assert span.attributes["error.type"] == "CancelledError"


@pytest.mark.anyio
async def test_tracing_can_be_switched_off(sqlite_url, exporter, provider):
    async with DatabaseSession(sqlite_url, tracer_provider=provider, tracing=False) as db, db.session() as session:
        await session.execute(text("SELECT 1"))
    assert exporter.get_finished_spans() == ()


@pytest.mark.anyio
async def test_a_slow_statement_is_logged_with_the_request_id_and_without_values(db, caplog):
    with bind(request_id="r-3"):
        async with db.session() as session:
            await session.execute(
                text("SELECT name FROM items WHERE name = 'bob@example.org' AND id = :id"), {"id": 4711}
            )
    record = next(record for record in caplog.records if getattr(record, "db_query_summary", "") == "SELECT items")
    assert (record.levelname, record.name, record.request_id) == ("WARNING", "asgi_infra.database", "r-3")
    assert record.duration_seconds >= 0
    assert record.db_query_text.startswith("SELECT name FROM items WHERE name = ? AND id = ")
    assert "bob" not in caplog.text
    assert "4711" not in caplog.text


@pytest.mark.anyio
async def test_a_fault_of_telemetry_is_counted_and_the_statement_goes_on(sqlite_url, monkeypatch):
    def broken(_statement):
        raise LookupError("telemetry is broken")

    monkeypatch.setattr(statements, "describe", broken)
    before = sum(faults.counts().values())
    async with DatabaseSession(sqlite_url) as db, db.session() as session:
        assert (await session.execute(text("SELECT 7"))).scalar() == 7
    assert sum(faults.counts().values()) == before + 2  # BEGIN is a statement too


@pytest.mark.parametrize(
    ("statement", "summary", "shown"),
    [
        ("SELECT a FROM t WHERE b = 'x''y' AND c = 3.5e-2", "SELECT t", "SELECT a FROM t WHERE b = ? AND c = ?"),
        ('select * from only "My Table" where x=$1', "SELECT My", 'select * from only "My Table" where x=$1'),
        (
            "INSERT INTO s.t2 (a1) VALUES (?, :p1, %(p2)s)",
            "INSERT s.t2",
            "INSERT INTO s.t2 (a1) VALUES (?, :p1, %(p2)s)",
        ),
        ("UPDATE t SET a = E'it\\'s' -- 'secret'", "UPDATE t", "UPDATE t SET a = ?"),
        ("DELETE FROM t WHERE a = $q$ it's $q$ AND b = 'c'", "DELETE t", "DELETE FROM t WHERE a = ? AND b = ?"),
        ("CREATE TABLE IF NOT EXISTS t (a INT)", "CREATE t", "CREATE TABLE IF NOT EXISTS t (a INT)"),
        ("/* who = 'bob' */ SELECT 1", "SELECT", "SELECT ?"),
        ("SELECT \"it's\" FROM t WHERE a = 'x'", "SELECT t", 'SELECT "it\'s" FROM t WHERE a = ?'),
        ("SELECT 'unterminated", "SELECT", "SELECT ?"),
        ("BEGIN", "BEGIN", "BEGIN"),
        ("", "OTHER", ""),
    ],
)
def test_statements_are_shown_without_literals(statement, summary, shown):
    described = describe(statement)
    assert (described.summary, described.text) == (summary, shown)


@given(
    value=st.text(min_size=1, max_size=40).map(lambda text: f"s3cret{text}"),
    quote=st.sampled_from(["plain", "escaped", "dollar"]),
    before=st.sampled_from(
        [
            "SELECT ",
            "INSERT INTO t VALUES (1, ",
            'SELECT "a\'b", ',
            "SELECT 'x', ",
            "SELECT E'\\'', ",
            "-- it's\nSELECT ",
        ]
    ),
    after=st.sampled_from(["", ", 2)", " FROM t WHERE a = 'x'", " -- 'y"]),
)
def test_no_string_literal_is_ever_shown(value, quote, before, after):
    literal = {
        "plain": "'" + value.replace("'", "''") + "'",
        "escaped": "E'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'",
        "dollar": "$tag$" + value.replace("$", "") + "$tag$",
    }[quote]
    assert "s3cret" not in describe(before + literal + after).text


@pytest.mark.parametrize(
    "unit", ["'", '"', "$", "$a$", "/*", "--", "E'\\", "1", "1.", "a ", "FROM ", "IF NOT ", "\\", "'a'"]
)
def test_hostile_statements_take_linear_time(unit):
    def seconds(length):
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            describe.__wrapped__(unit * (length // len(unit)))
            best = min(best, time.process_time() - started)
        return best

    assert seconds(16_000) < 40 * seconds(2_000) + 0.05


@pytest.mark.anyio
async def test_errors_of_statements_keep_their_text_but_hide_their_parameters(sqlite_url):
    async with DatabaseSession(sqlite_url) as db, db.session() as session:
        with pytest.raises(exc.OperationalError) as caught:
            await session.execute(text("SELECT nothing FROM nowhere WHERE a = :a"), {"a": "bob@example.org"})
        assert "nowhere" in str(caught.value)
        assert "bob" not in str(caught.value)
