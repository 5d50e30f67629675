from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asgi_infra.telemetry import flushing_send, init_telemetry, traced

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


async def test_without_telemetry_the_message_just_passes():
    heard = []

    async def send(message):
        heard.append(message)

    await flushing_send(send)({"type": "lifespan.shutdown.complete"})
    assert heard == [{"type": "lifespan.shutdown.complete"}]
