from __future__ import annotations

import json
from contextlib import nullcontext
from io import BytesIO

import anyio
import httpx
import pytest
from sqlalchemy import event, text
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from asgi_infra import AccessLog, InfraMiddleware
from asgi_infra.database import (
    DatabaseSession,
    DatabaseSessionMiddleware,
    IntegrityViolationError,
    SessionMisuseError,
    get_session,
)
from asgi_infra.errors import ConfigurationError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def db(database_url):
    async with DatabaseSession(database_url, pool_size=2) as database:
        async with database.session() as session:
            await session.execute(text("CREATE TABLE items (id INT PRIMARY KEY)"))
            await session.execute(
                text("CREATE TABLE parts (item INT REFERENCES items (id) DEFERRABLE INITIALLY DEFERRED)")
            )
        yield database


async def count(db):
    async with db.session() as session:
        return (await session.execute(text("SELECT count(*) FROM items"))).scalar()


async def insert(session, number=1):
    await session.execute(text("INSERT INTO items VALUES (:id)"), {"id": number})


def client(app, *, raises=False):
    transport = httpx.ASGITransport(app, raise_app_exceptions=raises)
    return httpx.AsyncClient(transport=transport, base_url="http://example.org")


def starlette(db, *endpoints, **options):
    """An application with a route for each endpoint, named after it."""
    app = Starlette(routes=[Route(f"/{endpoint.__name__}", endpoint) for endpoint in endpoints])
    app.add_middleware(DatabaseSessionMiddleware, database=db, **options)
    return app


async def test_the_commit_comes_before_the_first_byte_of_the_response(db):
    order = []
    event.listen(db.engine.sync_engine, "commit", lambda _connection: order.append("commit"))

    async def app(scope, receive, send):
        await insert(get_session(scope))
        await send({"type": "http.response.start", "status": 201, "headers": []})
        order.append(await count(db))
        await send({"type": "http.response.body", "body": b"made"})

    async def record(message):
        order.append(message["type"])

    await DatabaseSessionMiddleware(app, db)({"type": "http"}, None, record)
    assert order == ["commit", "http.response.start", "commit", 1, "http.response.body"]


async def test_all_parts_of_a_request_share_one_session(db):
    seen = []

    async def both(request):
        seen.extend([get_session(request), get_session(request.scope)])
        await insert(seen[0])
        return PlainTextResponse("ok")

    async with client(starlette(db, both)) as http:
        assert (await http.get("/both")).status_code == 200
    assert seen[0] is seen[1]
    assert await count(db) == 1


async def test_a_request_that_asks_for_no_session_takes_no_connection(db):
    opened = db.pool().committed

    async def plain(_request):
        return PlainTextResponse("ok")

    async with client(starlette(db, plain)) as http:
        await http.get("/plain")
    assert db.pool().committed == opened


@pytest.mark.parametrize(("status", "rows"), [(200, 1), (302, 1), (400, 0), (404, 0), (500, 0)])
async def test_the_status_decides_between_commit_and_rollback(db, status, rows):
    async def answer(request):
        await insert(get_session(request))
        return PlainTextResponse("", status_code=status)

    async with client(starlette(db, answer)) as http:
        assert (await http.get("/answer")).status_code == status
    assert await count(db) == rows
    assert db.pool().used == 0


async def test_the_rule_can_be_replaced(db):
    async def answer(request):
        await insert(get_session(request))
        return PlainTextResponse("", status_code=422)

    async with client(starlette(db, answer, commit_if=lambda status: status == 422)) as http:
        await http.get("/answer")
    assert await count(db) == 1


async def test_an_exception_of_the_framework_rolls_back(db):
    async def refuse(request):
        await insert(get_session(request))
        raise HTTPException(409)

    async with client(starlette(db, refuse)) as http:
        assert (await http.get("/refuse")).status_code == 409
    assert await count(db) == 0


async def test_an_exception_that_leaves_the_application_rolls_back_and_passes(db):
    original = KeyError("mine")

    async def app(scope, receive, send):
        await insert(get_session(scope))
        raise original

    with pytest.raises(KeyError) as caught:
        await DatabaseSessionMiddleware(app, db)({"type": "http"}, None, None)
    assert caught.value is original
    assert await count(db) == 0


async def test_a_database_error_that_leaves_the_application_is_translated(db):
    async def app(scope, receive, send):
        await insert(get_session(scope))
        await insert(get_session(scope))

    with pytest.raises(IntegrityViolationError):
        await DatabaseSessionMiddleware(app, db)({"type": "http"}, None, None)


async def test_an_application_that_ends_without_a_response_rolls_back(db):
    async def app(scope, receive, send):
        await insert(get_session(scope))

    await DatabaseSessionMiddleware(app, db)({"type": "http"}, None, None)
    assert await count(db) == 0
    assert db.pool().used == 0


async def test_a_cancelled_request_rolls_back(db):
    async def app(scope, receive, send):
        await insert(get_session(scope))
        await anyio.sleep_forever()

    with anyio.move_on_after(0.05):
        await DatabaseSessionMiddleware(app, db)({"type": "http"}, None, None)
    assert await count(db) == 0
    assert db.pool().used == 0


async def test_a_failed_commit_reaches_the_client_as_an_error_instead_of_a_success(db):
    async def promise(request):
        session = get_session(request)
        await insert(session)
        await session.execute(text("INSERT INTO parts VALUES (99)"))
        return PlainTextResponse("made", status_code=201)

    async with client(starlette(db, promise)) as http:
        response = await http.get("/promise")
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert await count(db) == 0
    with pytest.raises(IntegrityViolationError):
        await client(starlette(db, promise), raises=True).get("/promise")


async def test_a_streaming_body_and_a_background_task_find_the_session_ended_and_the_work_committed(db):
    seen = []

    async def stream(request):
        old = get_session(request)
        await insert(old)

        async def body():
            try:
                get_session(request)
            except SessionMisuseError as exc:
                seen.append(str(exc))
            yield str(await count(db))

        async def later():
            async with db.session() as session:
                await insert(session, 2)

        return StreamingResponse(body(), background=BackgroundTask(later))

    async with client(starlette(db, stream)) as http:
        response = await http.get("/stream")
    assert response.text == "1"
    assert "ended when its response started" in seen[0]
    assert await count(db) == 2
    assert db.pool().used == 0


async def test_it_works_inside_and_outside_of_tasks_that_frameworks_start(db):
    async def write(request):
        await insert(get_session(request))
        return PlainTextResponse("ok")

    class Wrapping(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            return await call_next(request)

    inner = Starlette(routes=[Mount("/in", routes=[Route("/write", write)])])
    inner.add_middleware(Wrapping)
    inner.add_middleware(DatabaseSessionMiddleware, database=db)
    inner.add_middleware(Wrapping)
    async with client(inner, raises=True) as http:
        assert (await http.get("/in/write")).text == "ok"
    assert await count(db) == 1


async def test_two_databases_have_a_session_each_and_one_database_has_one_however_often_it_is_wrapped(db):
    seen = []
    async with DatabaseSession("sqlite://") as other:

        async def app(scope, receive, send):
            seen.extend([get_session(scope), get_session(scope, "other")])
            await insert(seen[0])
            await seen[1].execute(text("CREATE TABLE items (id INT)"))
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def ignore(_message):
            pass

        wrapped = DatabaseSessionMiddleware(DatabaseSessionMiddleware(app, db), other, name="other")
        await DatabaseSessionMiddleware(wrapped, db)({"type": "http"}, None, ignore)
        assert (await count(db), await count(other)) == (1, 0)
    assert seen[0] is not seen[1]


async def test_what_routers_write_into_the_scope_reaches_those_around_the_middleware(db):
    async def read(_request):
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/orders/{id:int}", read)])
    app.add_middleware(DatabaseSessionMiddleware, database=db)

    lines = BytesIO()
    logged = InfraMiddleware(app, access_log=AccessLog(stream=lines))
    async with client(logged) as http:
        assert (await http.get("/orders/3")).text == "ok"
    assert json.loads(lines.getvalue())["route"] == "/orders/{id}"


@pytest.mark.parametrize("raises", [False, True])
async def test_the_session_leaves_the_scope_with_the_request(db, raises):
    async def app(scope, receive, send):
        get_session(scope, "inner")
        assert get_session(scope) is get_session(scope)
        if raises:
            raise LookupError

    scope = {"type": "http"}
    wrapped = DatabaseSessionMiddleware(DatabaseSessionMiddleware(app, db, name="inner"), db)
    with pytest.raises(LookupError) if raises else nullcontext():
        await wrapped(scope, None, None)
    assert scope == {"type": "http"}


async def test_websockets_pass_untouched_and_have_no_session(db):
    async def app(scope, receive, send):
        get_session(scope)

    with pytest.raises(SessionMisuseError, match="no database session 'default'"):
        await DatabaseSessionMiddleware(app, db)({"type": "websocket"}, None, None)


@pytest.mark.parametrize("close", [True, False])
async def test_the_end_of_the_lifespan_closes_the_pool_unless_told_otherwise(db, close):
    async def app(scope, receive, send):
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    sent = []

    async def send(message):
        sent.append((message["type"], db.pool().idle))

    await count(db)
    await DatabaseSessionMiddleware(app, db, close_on_shutdown=close)({"type": "lifespan"}, None, send)
    assert sent == [("lifespan.startup.complete", 1), ("lifespan.shutdown.complete", 0 if close else 1)]


@pytest.mark.parametrize(
    "arguments",
    [
        {"database": "sqlite://"},
        {"database": None},
        {"name": ""},
        {"name": 7},
        {"commit_if": 200},
        {"close_on_shutdown": 1},
    ],
)
async def test_arguments_are_checked(arguments):
    with pytest.raises(ConfigurationError):
        DatabaseSessionMiddleware(None, **{"database": DatabaseSession("sqlite://"), **arguments})
