"""No framework: `uvicorn plain_asgi:app --no-access-log`."""

from __future__ import annotations

import json
from typing import Any

from asgi_infra import InfraMiddleware, get_request_id


async def shop(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError(f"no answer to {scope['type']}")
    _, _, id_ = scope["path"].partition("/items/")
    found = id_.isdigit()
    if found:
        scope["path_template"] = "/items/{id}"  # the route, for metrics, span and log line
    body = json.dumps({"id": int(id_), "request_id": get_request_id()} if found else {"detail": "not found"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = InfraMiddleware(shop, service="shop")
