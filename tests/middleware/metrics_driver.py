"""Drives a middleware with literal messages, and reads what a registry shows then."""

from __future__ import annotations

import anyio

ITEM = {"method": "GET", "path": "/items/{id}", "status_code": "200"}


def http(method="GET", path="/items/7", **more):
    return {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", **more}


def start(status=200, **more):
    return {"type": "http.response.start", "status": status, "headers": [], **more}


def body(data=b"", **more):
    return {"type": "http.response.body", "body": data, **more}


def replies(*messages, route="/items/{id}", read=False):
    async def app(scope, receive, send):
        if route is not None:
            scope["path_template"] = route
        if read:
            while (await receive()).get("more_body"):
                pass
        for message in messages:
            await send(message)

    return app


OK = (start(), body(b"hello"))


async def drive(app, scope=None, *received, send=None):
    queue = list(received) or [{"type": "http.request", "body": b"", "more_body": False}]
    sent = []

    async def receive():
        return queue.pop(0) if queue else {"type": "http.disconnect"}

    async def collect(message):
        sent.append(message)
        if send is not None:
            await send(message)

    await app(http() if scope is None else scope, receive, collect)
    return sent


def run(app, scope=None, *received, send=None):
    return anyio.run(lambda: drive(app, scope, *received, send=send))


def samples(registry, name):
    return [sample for family in registry.collect() for sample in family.samples if sample.name == name]


def total(registry, name="http_requests_total"):
    return sum(sample.value for sample in samples(registry, name))


def in_progress(registry):
    return total(registry, "http_requests_in_progress") + total(registry, "websocket_connections_in_progress")
