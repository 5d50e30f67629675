from __future__ import annotations

import pytest

from asgi_infra.cli.flushing import FlushAtEnd

pytestmark = pytest.mark.anyio
STARTED, ENDED = {"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}


async def run_lifespan(app):
    """Return what a server sees of a lifespan, with `flush` where telemetry was flushed."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    seen = []

    async def receive():
        return next(messages)

    async def send(message):
        seen.append(message)

    with pytest.MonkeyPatch.context() as patch:

        async def flush():
            seen.append("flush")

        patch.setattr("asgi_infra.shutdown.flush_all", flush)
        try:
            await FlushAtEnd(app)({"type": "lifespan"}, receive, send)
        except LookupError as exc:
            seen.append(exc)
    return seen


async def speaks(scope, receive, send):
    await receive()
    await send(STARTED)
    await receive()
    await send(ENDED)


async def raises_at_once(scope, receive, send):
    raise LookupError("no lifespan here")


async def raises_after_asking(scope, receive, send):
    await receive()
    raise LookupError("no lifespan here")


async def returns(scope, receive, send):
    pass


@pytest.mark.parametrize("app", [speaks, raises_at_once, raises_after_asking, returns])
async def test_the_lifespan_ends_once_telemetry_is_flushed(app):
    assert await run_lifespan(app) == [STARTED, "flush", ENDED]


async def test_a_start_that_failed_stays_failed():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed"})
        raise LookupError("no settings")

    message, error = await run_lifespan(app)
    assert message == {"type": "lifespan.startup.failed"}
    assert str(error) == "no settings"


async def test_a_shutdown_that_failed_is_flushed_and_stays_failed():
    async def app(scope, receive, send):
        await receive()
        await send(STARTED)
        await receive()
        await send({"type": "lifespan.shutdown.failed"})

    assert await run_lifespan(app) == [STARTED, "flush", {"type": "lifespan.shutdown.failed"}]


async def test_requests_pass_as_they_are():
    seen = []

    async def app(*arguments):
        seen.append(arguments)

    arguments = ({"type": "http"}, object(), object())
    await FlushAtEnd(app)(*arguments)
    assert seen == [arguments]
