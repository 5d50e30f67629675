from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asgi_infra import InfraMiddleware, faults, shutdown
from asgi_infra.shutdown import flushing_send
from asgi_infra.telemetry import init_telemetry, traced

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("last", ["lifespan.shutdown.complete", "lifespan.shutdown.failed"])
async def test_spans_are_out_before_the_server_hears_of_the_shutdown(last):
    memory = InMemorySpanExporter()
    init_telemetry(exporters=[memory], schedule_delay=3600)
    heard = []

    async def send(message):
        heard.append((message["type"], len(memory.get_finished_spans())))

    send = flushing_send(send)
    traced(lambda: None)()
    await send({"type": "lifespan.startup.complete"})
    traced(lambda: None)()
    await send({"type": last})
    assert heard == [("lifespan.startup.complete", 0), (last, 2)]


async def test_the_middleware_flushes_around_any_application():
    memory = InMemorySpanExporter()
    init_telemetry(exporters=[memory], schedule_delay=3600)
    heard = []

    async def send(message):
        heard.append((message["type"], len(memory.get_finished_spans())))

    async def app(scope, receive, send):
        traced(lambda: None)()
        await send({"type": "lifespan.shutdown.complete"})

    await InfraMiddleware(app, metrics=False)({"type": "lifespan"}, None, send)
    assert heard == [("lifespan.shutdown.complete", 1)]


async def test_a_flush_that_fails_is_a_fault_and_the_shutdown_goes_on(monkeypatch):
    async def broken():
        raise OSError("no route to the collector")

    monkeypatch.setattr(shutdown, "_flushes", [broken])
    before = faults.counts().get(("shutdown.flush", "OSError"), 0)
    heard = []

    async def send(message):
        heard.append(message["type"])

    await flushing_send(send)({"type": "lifespan.shutdown.complete"})
    assert heard == ["lifespan.shutdown.complete"]
    assert faults.counts()["shutdown.flush", "OSError"] == before + 1


async def test_without_telemetry_the_message_just_passes():
    heard = []

    async def send(message):
        heard.append(message)

    await flushing_send(send)({"type": "lifespan.shutdown.complete"})
    assert heard == [{"type": "lifespan.shutdown.complete"}]
