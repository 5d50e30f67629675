"""What the documentation says of refused requests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from token_driver import Visited, request

from asgi_infra import InfraMiddleware, Metrics, Tokens
from asgi_infra.testing import drive
from asgi_infra.tokens import InMemoryTokenStore

DOCS = Path(__file__).parents[2] / "docs"


def documented(name: str, holding: str) -> str:
    """Return the one block of Python in a page that holds a text."""
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text(encoding="utf-8"), re.M | re.S)
    (block,) = [block for block in blocks if holding in block]
    return block


@pytest.mark.anyio
@pytest.mark.parametrize("token", [None, "unknown"])
async def test_the_documented_redirect_leads_to_the_login_page_and_not_in_circles(token: str | None) -> None:
    names: dict[str, Any] = {"Tokens": Tokens, "store": InMemoryTokenStore()}
    exec(documented("tokens.md", "on_reject"), names)
    app = InfraMiddleware(
        Visited(), tokens=names["tokens"], metrics=False, tracing=False, access_log=False, request_id=False
    )
    driven = await drive(app, request(token, path="/orders"))
    assert (driven.status, driven.header(b"location")) == (307, [b"/login"])
    assert (await drive(app, request(token, path="/login"))).status == (200 if token is None else 401)


@pytest.mark.anyio
async def test_a_refused_request_counts_as_unmatched() -> None:
    async def read(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("private")

    registry = CollectorRegistry()
    app = InfraMiddleware(
        Starlette(routes=[Route("/orders/{id}", read)]),
        tokens=Tokens(InMemoryTokenStore(), registry=registry),
        metrics=Metrics(registry=registry),
        access_log=False,
    )
    assert (await drive(app, request(path="/orders/3"))).status == 401
    labels = {"method": "GET", "path": "unmatched", "status_code": "401"}
    assert registry.get_sample_value("http_requests_total", labels) == 1
