"""What users test with: a driver that runs any ASGI application in-process."""

from __future__ import annotations

from asgi_infra.testing.driver import Driven, drive, http_scope, run, websocket_scope

__all__ = ["Driven", "drive", "http_scope", "run", "websocket_scope"]
