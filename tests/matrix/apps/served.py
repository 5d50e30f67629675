"""What the servers of the matrix serve: one framework's application in the whole stack, and `/metrics` beside it.

`MATRIX_FRAMEWORK` names the framework. A request may carry the prefix that a proxy would add, in `x-test-root-path`,
with the path as that proxy would leave it.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from asgi_infra.middleware.hooks import publish_routes
from asgi_infra.middleware.metrics_endpoint import metrics_app
from asgi_infra.middleware.stack import InfraMiddleware

_framework = importlib.import_module(f"{os.environ['MATRIX_FRAMEWORK']}_app")
publish_routes(_framework.app)
_wrapped = InfraMiddleware(_framework.app, service="matrix")
_metrics = metrics_app()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        if scope["path"].endswith("/metrics"):
            await _metrics(scope, receive, send)
            return
        prefix = dict(scope["headers"]).get(b"x-test-root-path")
        if prefix is not None:
            scope["root_path"] = prefix.decode()
    await _wrapped(scope, receive, send)
