from __future__ import annotations

import io
import logging

from prometheus_client import CollectorRegistry, generate_latest

from asgi_infra.logs import configure_logging
from asgi_infra.logs.metrics import LoggingCollector


class Broken(io.BytesIO):
    def write(self, data):
        raise OSError("broken")


def test_lost_lines_are_a_metric():
    registry = CollectorRegistry()
    registry.register(LoggingCollector())
    assert b'asgi_infra_log_lines_lost_total{reason="write_failed"} 0.0' in generate_latest(registry)
    setup = configure_logging("INFO", stream=Broken())
    logging.getLogger("a").info("lost")
    lost = setup.stats()["lost_write_failed"]
    assert lost >= 1
    text = generate_latest(registry).decode()
    assert f'asgi_infra_log_lines_lost_total{{reason="write_failed"}} {float(lost)}' in text
    assert 'asgi_infra_log_lines_lost_total{reason="queue_full"} 0.0' in text
    assert "asgi_infra_log_queue_bytes 0.0" in text
