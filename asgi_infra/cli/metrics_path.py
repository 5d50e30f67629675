"""One path of an application that serves the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asgi_infra.types import ASGIApp, Receive, Scope, Send


class MetricsAt:
    """The application, but for one path, which the metrics' own application answers.

    Args:
        path: The whole path, such as `/metrics`.
        app: The application for everything else.
        metrics: What `metrics_app()` returned.
    """

    def __init__(self, path: str, app: ASGIApp, metrics: ASGIApp) -> None:
        self.path = path
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serves_metrics = scope["type"] == "http" and scope["path"] == self.path
        await (self.metrics if serves_metrics else self.app)(scope, receive, send)
