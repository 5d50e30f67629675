"""A small shop API, as a team would write it: nothing in here knows of ids, server spans, metrics or access logs.

Its own spans come from the OpenTelemetry API, as in any application; everything else is the middleware's work. The
goods never change and the carts live in memory, the oldest making room for the newest. Of three payments the
first meets a gateway that is down, the second a bug, so that there is something to see.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

PRODUCTS: dict[str, dict[str, Any]] = {
    "tea": {"sku": "tea", "name": "Green tea, 100 g", "cents": 690},
    "cup": {"sku": "cup", "name": "Stoneware cup", "cents": 1450},
    "pot": {"sku": "pot", "name": "Cast-iron teapot", "cents": 5900},
}
_MAX_CARTS = 1000
_MAX_LINES = 50

_logger = logging.getLogger("shop")
_tracer = trace.get_tracer("shop")


class EmptyReceiptError(RuntimeError):
    """What every third payment runs into; nobody catches it."""


class Shop:
    """The state of one shop and its endpoints."""

    def __init__(self) -> None:
        self._carts: OrderedDict[str, list[str]] = OrderedDict()
        self._payments = itertools.count(1)
        self._orders = itertools.count(1001)

    def routes(self) -> list[Route | WebSocketRoute]:
        return [
            Route("/products", self.list_products),
            Route("/products/{sku}", self.show_product),
            Route("/carts/{cart}", self.show_cart),
            Route("/carts/{cart}/items", self.add_item, methods=["POST"]),
            Route("/carts/{cart}/checkout", self.checkout, methods=["POST"]),
            Route("/reports/daily", self.daily_report),
            Route("/export.csv", self.export),
            WebSocketRoute("/ticker", self.ticker),
        ]

    async def list_products(self, request: Request) -> Response:
        with _tracer.start_as_current_span("catalogue.list"):
            await asyncio.sleep(0.002)
            return JSONResponse(list(PRODUCTS.values()))

    async def show_product(self, request: Request) -> Response:
        with _tracer.start_as_current_span("catalogue.find"):
            await asyncio.sleep(0.001)
        product = _product(request.path_params["sku"])
        with _tracer.start_as_current_span("stock.count"):
            await asyncio.sleep(0.003)
            return JSONResponse({**product, "stock": 7 * len(product["name"])})

    async def show_cart(self, request: Request) -> Response:
        return JSONResponse({"items": self._cart(request.path_params["cart"])})

    async def add_item(self, request: Request) -> Response:
        try:
            sku = (await request.json())["sku"]
        except (ValueError, TypeError, KeyError) as exc:
            raise HTTPException(422, 'send a JSON object such as {"sku": "tea"}') from exc
        product = _product(sku)
        with _tracer.start_as_current_span("cart.add"):
            cart = request.path_params["cart"]
            items = self._carts.setdefault(cart, [])
            if len(items) >= _MAX_LINES:
                raise HTTPException(409, f"a cart holds {_MAX_LINES} items")
            items.append(product["sku"])
            while len(self._carts) > _MAX_CARTS:
                self._carts.popitem(last=False)
        return JSONResponse({"items": items}, 201)

    async def checkout(self, request: Request) -> Response:
        cart = request.path_params["cart"]
        cents = sum(PRODUCTS[sku]["cents"] for sku in self._cart(cart))
        if not await self._pay(cents):
            return JSONResponse({"detail": "the payment gateway is down; try again"}, 502)
        del self._carts[cart]
        order = next(self._orders)
        _logger.info("order %d paid", order)
        return JSONResponse({"order": order, "cents": cents}, 201, background=BackgroundTask(_send_mail, order))

    async def daily_report(self, request: Request) -> Response:
        with _tracer.start_as_current_span("report.query"):
            await asyncio.sleep(0.25)
        with _tracer.start_as_current_span("report.render"):
            await asyncio.sleep(0.05)
        return JSONResponse({"orders": 42, "carts": len(self._carts)})

    async def export(self, request: Request) -> Response:
        async def lines() -> AsyncIterator[str]:
            with _tracer.start_as_current_span("export.stream"):
                yield "sku,name,cents\n"
                for product in PRODUCTS.values():
                    await asyncio.sleep(0.02)
                    yield f"{product['sku']},{json.dumps(product['name'])},{product['cents']}\n"

        return StreamingResponse(lines(), media_type="text/csv")

    async def ticker(self, websocket: WebSocket) -> None:
        await websocket.accept()
        with suppress(WebSocketDisconnect):
            for stock, sku in zip(range(30, 0, -10), PRODUCTS, strict=True):
                await websocket.send_json({"sku": sku, "stock": stock})
                await asyncio.sleep(0.05)
            await websocket.close()

    def _cart(self, cart: str) -> list[str]:
        try:
            return self._carts[cart]
        except KeyError as exc:
            raise HTTPException(404, "no such cart") from exc

    async def _pay(self, cents: int) -> bool:
        number = next(self._payments)
        with _tracer.start_as_current_span("payment.charge", attributes={"payment.cents": cents}) as span:
            await asyncio.sleep(0.01)
            if number % 3 == 1:
                span.set_status(trace.Status(trace.StatusCode.ERROR, "gateway down"))
                return False
            if number % 3 == 2:
                raise EmptyReceiptError("the gateway answered with an empty receipt")
        return True


def create_shop() -> Starlette:
    """Return a new shop, with empty carts."""
    return Starlette(routes=Shop().routes())


def _product(sku: object) -> dict[str, Any]:
    product = PRODUCTS.get(sku) if isinstance(sku, str) else None
    if product is None:
        raise HTTPException(404, "no such product")
    return product


async def _send_mail(order: int) -> None:
    with _tracer.start_as_current_span("mail.send"):
        await asyncio.sleep(0.03)
        _logger.info("mail for order %d sent", order)
