"""A small shop API, as a team would write it: nothing in here knows of ids, server spans, metrics or redaction.

Its functions are `traced`, and its products and orders live in an SQLite file that goes when the shop closes. The
carts live in memory, the oldest making room for the newest. Of three payments the first meets a gateway that is down,
the second a bug, so that there is something to see; and a line of its log tells more than it should.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections import Counter, OrderedDict
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind
from sqlalchemy import func, select, update
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from asgi_infra.cli.demo.sessions import Sessions
from asgi_infra.cli.demo.tables import Order, Product, open_shelves
from asgi_infra.database import DatabaseSession, IntegrityViolationError
from asgi_infra.telemetry import traced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncSession
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from asgi_infra.tokens import TokenStore

_MAX_CARTS = 1000
_MAX_LINES = 50

_logger = logging.getLogger("shop")


class GatewayDownError(RuntimeError):
    """What the first of three payments runs into."""


class EmptyReceiptError(RuntimeError):
    """What the second of three payments runs into; nobody catches it."""


class Shop:
    """The state of one shop and its endpoints."""

    def __init__(self) -> None:
        self._database: DatabaseSession
        self._carts: OrderedDict[str, list[str]] = OrderedDict()
        self._payments = itertools.count(1)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Open the shop with full shelves and no orders, and clear up after it."""
        with TemporaryDirectory(prefix="shop-", ignore_cleanup_errors=True) as folder:
            async with DatabaseSession(f"sqlite:///{Path(folder).as_posix()}/shop.db") as self._database:
                await open_shelves(self._database)
                yield

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
        return JSONResponse([product.as_dict() for product in await self._all_products()])

    async def show_product(self, request: Request) -> Response:
        return JSONResponse((await self._product(request.path_params["sku"])).as_dict())

    async def show_cart(self, request: Request) -> Response:
        return JSONResponse({"items": self._cart(request.path_params["cart"])})

    async def add_item(self, request: Request) -> Response:
        (sku,) = await _body(request, "sku")
        product = await self._product(sku)
        items = self._carts.setdefault(request.path_params["cart"], [])
        if len(items) >= _MAX_LINES:
            raise HTTPException(409, f"a cart holds {_MAX_LINES} items")
        items.append(product.sku)
        while len(self._carts) > _MAX_CARTS:
            self._carts.popitem(last=False)
        return JSONResponse({"items": items}, 201)

    async def checkout(self, request: Request) -> Response:
        cart = request.path_params["cart"]
        items = self._cart(cart)
        email, card = await _body(request, "email", "card")
        try:
            async with self._database.session() as session:  # a payment that fails takes the order back
                order = await _place_order(session, items, email)
                await self._charge(order.cents, card)
        except GatewayDownError as exc:
            raise HTTPException(502, "the payment gateway is down; try again") from exc
        except IntegrityViolationError as exc:
            raise HTTPException(409, "sold out") from exc
        self._carts.pop(cart, None)
        # The mistake that somebody makes some day, made here on purpose: the log must not tell who, nor the card.
        _logger.info("order %d paid by %s with card %s", order.id, email, card)
        receipt = {"order": order.id, "cents": order.cents}
        return JSONResponse(receipt, 201, background=BackgroundTask(_send_mail, order.id))

    async def daily_report(self, request: Request) -> Response:
        orders, cents = await self._sum_orders()
        return JSONResponse(await _render_report(orders, cents))

    async def export(self, request: Request) -> Response:
        return StreamingResponse(_csv(await self._all_products()), media_type="text/csv")

    async def ticker(self, websocket: WebSocket) -> None:
        await websocket.accept()
        with suppress(WebSocketDisconnect):
            for product in await self._all_products():
                await websocket.send_json({"sku": product.sku, "stock": product.stock})
                await asyncio.sleep(0.05)
            await websocket.close()

    def _cart(self, cart: str) -> list[str]:
        try:
            return self._carts[cart]
        except KeyError as exc:
            raise HTTPException(404, "no such cart") from exc

    async def _product(self, sku: object) -> Product:
        product = await self._find_product(sku) if isinstance(sku, str) else None
        if product is None:
            raise HTTPException(404, "no such product")
        return product

    @traced("catalogue.list")
    async def _all_products(self) -> list[Product]:
        async with self._database.session() as session:
            return list(await session.scalars(select(Product).order_by(Product.cents)))

    @traced("catalogue.find", record=("sku",))
    async def _find_product(self, sku: str) -> Product | None:
        async with self._database.session() as session:
            return await session.get(Product, sku)

    @traced("payment.charge", record=("cents", "card"), kind=SpanKind.CLIENT)
    async def _charge(self, cents: int, card: str) -> None:
        number = next(self._payments)
        await asyncio.sleep(0.01)
        if number % 3 == 1:
            raise GatewayDownError("the gateway is down")
        if number % 3 == 2:
            raise EmptyReceiptError("the gateway answered with an empty receipt")

    @traced("report.query")
    async def _sum_orders(self) -> tuple[int, int]:
        async with self._database.session() as session:
            orders, cents = (await session.execute(select(func.count(), func.sum(Order.cents)))).one()
        await asyncio.sleep(0.25)
        return orders, cents or 0


def create_shop(store: TokenStore) -> Starlette:
    """Return a new shop, with empty carts; its lifespan opens the database.

    Args:
        store: Where the customers' sessions are kept.
    """
    shop = Shop()
    return Starlette(routes=[*shop.routes(), *Sessions(store).routes()], lifespan=shop.lifespan)


async def _body(request: Request, *names: str) -> list[Any]:
    try:
        body = await request.json()
        return [body[name] for name in names]
    except (ValueError, TypeError, KeyError) as exc:
        raise HTTPException(422, f"send a JSON object with {' and '.join(names)}") from exc


@traced("order.place", record=("items",))
async def _place_order(session: AsyncSession, items: list[str], email: str) -> Order:
    counts = Counter(items)
    for sku, count in counts.items():
        await session.execute(update(Product).where(Product.sku == sku).values(stock=Product.stock - count))
    prices = {row.sku: row.cents for row in await session.execute(select(Product.sku, Product.cents))}
    order = Order(email=email, cents=sum(prices[sku] * count for sku, count in counts.items()))
    session.add(order)
    await session.flush()
    return order


@traced("report.render")
async def _render_report(orders: int, cents: int) -> dict[str, int]:
    await asyncio.sleep(0.05)
    return {"orders": orders, "cents": cents}


@traced("export.stream")
async def _csv(products: list[Product]) -> AsyncIterator[str]:
    yield "sku,name,cents\n"
    for product in products:
        await asyncio.sleep(0.02)
        yield f"{product.sku},{json.dumps(product.name)},{product.cents}\n"


@traced("mail.send")
async def _send_mail(order: int) -> None:
    await asyncio.sleep(0.03)
    _logger.info("mail for order %d sent", order)
