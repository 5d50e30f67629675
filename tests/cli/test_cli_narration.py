from __future__ import annotations

import asyncio
import io
import json
import re

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode
from prometheus_client import CollectorRegistry, Counter
from starlette.testclient import TestClient

from asgi_infra.cli.demo.accounts import Accountant
from asgi_infra.cli.demo.narrator import Narrator
from asgi_infra.cli.demo.shop import create_shop
from asgi_infra.cli.demo.tables import PRODUCTS
from asgi_infra.cli.demo.tour import Step, tour_steps
from asgi_infra.cli.terminal import Terminal
from asgi_infra.tokens import InMemoryTokenStore

CUSTOMER = {"email": "bob@example.org", "card": "4111 1111 1111 1111"}


class Stage:
    """An accountant and a narrator with a provider of their own."""

    def __init__(self):
        self.screen = io.StringIO()
        self.accounts = []
        self.narrator = Narrator(Terminal(self.screen, {}))
        registry = CollectorRegistry()
        self.counter = Counter("http_requests", "Requests", ["path"], registry=registry)
        self.accountant = Accountant(registry, self.settled, self.narrator.tell_late, self.narrator.tell_line)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.accountant)
        self.tracer = provider.get_tracer("test")

    def settled(self, account):
        self.accounts.append(account)
        self.narrator.tell(account)

    def request(self, request_id, children=(), path="/"):
        with self.tracer.start_as_current_span("GET /", kind=SpanKind.SERVER, attributes={"request_id": request_id}):
            for child in children:
                with self.tracer.start_as_current_span(child) as span:
                    if child == "broken":
                        span.set_status(Status(StatusCode.ERROR, "out of tea"))
                    with self.tracer.start_as_current_span(f"{child}.inner"):
                        pass
        self.counter.labels(path).inc()
        self.access(request_id, path)

    def access(self, request_id, path="/"):
        line = {"logger": "asgi_infra.access", "request_id": request_id, "message": f"GET {path} 200"}
        self.accountant.write(json.dumps(line).encode())


@pytest.fixture
def stage():
    return Stage()


def test_an_account_has_spans_metrics_and_line_of_one_request(stage):
    async def serve():
        stage.request("one", ["find"])
        stage.request("two", path="/other")
        await asyncio.sleep(0)

    asyncio.run(serve())
    first, second = stage.accounts
    assert (first.request_id, first.line["request_id"]) == ("one", "one")
    assert {span.name for span in first.children} == {"find", "find.inner"}
    assert ('http_requests_total{path="/"}', 0.0, 1.0) in first.moved
    assert (second.children, second.line["message"]) == ((), "GET /other 200")


def test_the_tree_shows_who_called_whom_and_what_failed(stage):
    async def serve():
        stage.request("one", ["find", "broken"])
        await asyncio.sleep(0)

    asyncio.run(serve())
    tree = re.findall(r"^ {11}(.+?) +[\d.]+ ms(.*)$", stage.screen.getvalue(), re.MULTILINE)
    assert tree == [
        ("GET /", ""),
        ("├─ find", ""),
        ("│  └─ find.inner", ""),
        ("└─ broken", "  out of tea!"),
        ("   └─ broken.inner", ""),
    ]


def test_a_span_that_ends_after_its_request_is_told_on_its_own(stage):
    async def serve():
        with stage.tracer.start_as_current_span("GET /", kind=SpanKind.SERVER, attributes={"request_id": "one"}):
            mail = stage.tracer.start_span("mail.send")
        mail.end()
        await asyncio.sleep(0)

    asyncio.run(serve())
    assert "mail.send" in stage.screen.getvalue()
    assert "of request one" in stage.screen.getvalue()
    assert stage.accounts[0].children == ()


def test_what_the_accountant_keeps_is_bounded(stage):
    async def serve():
        for number in range(600):
            stage.tracer.start_span("orphan").end()
            stage.access(str(number))
        with stage.tracer.start_as_current_span("GET /", kind=SpanKind.SERVER):
            for _ in range(300):
                stage.tracer.start_span("child").end()
        await asyncio.sleep(0)

    asyncio.run(serve())
    assert len(stage.accountant._spans) <= 256
    assert len(stage.accountant._lines) <= 256
    assert len(stage.accountant.outputs) == 1000
    assert len(stage.accounts[0].children) == 100


def test_a_log_line_has_the_id_of_its_request_and_its_exception_without_the_traceback(stage):
    line = {
        "level": "ERROR",
        "logger": "shop",
        "message": "order 7 failed\n",
        "request_id": "one",
        "error_type": "LookupError",
        "error_message": "no tea",
        "exception": "Traceback (most recent call last): ...",
    }
    stage.accountant.write(json.dumps(line).encode())
    assert stage.screen.getvalue().strip() == "log      ERROR shop: order 7 failed: LookupError: no tea  of request one"


def test_the_command_of_a_step_can_be_pasted_into_a_shell():
    step = Step("", "/carts/mine/items", None, 201, "POST", {"sku": "tea"}, "mine-1")
    assert step.command("http://127.0.0.1:8000") == (
        "curl -i -H 'X-Request-ID: mine-1' --json '{\"sku\": \"tea\"}' http://127.0.0.1:8000/carts/mine/items"
    )
    assert Step("", "/pay", None, 201, "POST").command("http://h") == "curl -i -X POST http://h/pay"
    assert Step("", "/t", None, 101, websocket=True).command("http://h") == "python -m websockets ws://h/t"


def test_the_tour_has_no_websocket_where_uvicorn_has_no_library_for_it(monkeypatch):
    assert any(step.websocket for step in tour_steps())
    monkeypatch.setattr("asgi_infra.cli.demo.tour.find_spec", lambda name: None)
    assert not any(step.websocket for step in tour_steps())


@pytest.fixture
def shop():
    with TestClient(create_shop(InMemoryTokenStore()), raise_server_exceptions=False) as client:
        yield client


def test_the_shop_sells_what_it_has(shop):
    assert [product["sku"] for product in shop.get("/products").json()] == list(PRODUCTS)
    assert shop.get("/products/gold").status_code == 404
    assert shop.post("/carts/a/items", json={"sku": "tea"}).json() == {"items": ["tea"]}
    assert shop.get("/carts/a").json() == {"items": ["tea"]}
    assert shop.get("/carts/b").status_code == 404
    assert len(shop.get("/export.csv").text.splitlines()) == len(PRODUCTS) + 1


def test_the_payment_fails_twice_before_it_works(shop):
    shop.post("/carts/a/items", json={"sku": "cup"})
    assert [shop.post("/carts/a/checkout", json=CUSTOMER).status_code for _ in range(4)] == [502, 500, 201, 404]


def test_an_order_is_kept_only_if_its_payment_works(shop):
    shop.post("/carts/a/items", json={"sku": "cup"})
    stocks = []
    for orders in (0, 0, 1):
        shop.post("/carts/a/checkout", json=CUSTOMER)
        assert shop.get("/reports/daily").json() == {"orders": orders, "cents": orders * PRODUCTS["cup"]["cents"]}
        stocks.append(PRODUCTS["cup"]["stock"] - shop.get("/products/cup").json()["stock"])
    assert stocks == [0, 0, 1]


def test_more_than_there_is_can_not_be_bought(monkeypatch):
    monkeypatch.setitem(PRODUCTS["pot"], "stock", 1)
    with TestClient(create_shop(InMemoryTokenStore()), raise_server_exceptions=False) as small:
        for _ in range(2):
            small.post("/carts/a/items", json={"sku": "pot"})
        answer = small.post("/carts/a/checkout", json=CUSTOMER)
        assert (answer.status_code, answer.text) == (409, "sold out")
        assert small.get("/products/pot").json()["stock"] == 1


@pytest.mark.parametrize("body", [b"", b"[]", b'{"email": "bob@example.org"}'])
def test_a_checkout_without_a_customer_is_refused(body, shop):
    shop.post("/carts/a/items", json={"sku": "cup"})
    assert shop.post("/carts/a/checkout", content=body).status_code == 422


@pytest.mark.parametrize("body", [b"", b"tea", b"[]", b"{}", b'"tea"', b"\xff"])
def test_a_body_that_is_no_item_is_refused(body, shop):
    assert shop.post("/carts/a/items", content=body).status_code == 422


@pytest.mark.parametrize("sku", ["gold", 7, None, ["tea"], {}])
def test_an_item_that_is_no_product_is_not_found(sku, shop):
    assert shop.post("/carts/a/items", json={"sku": sku}).status_code == 404


def test_a_cart_holds_fifty_items_and_the_shop_a_thousand_carts(shop):
    statuses = [shop.post("/carts/full/items", json={"sku": "tea"}).status_code for _ in range(51)]
    assert statuses == [201] * 50 + [409]
    for number in range(1000):
        shop.post(f"/carts/{number}/items", json={"sku": "tea"})
    assert shop.get("/carts/full").status_code == 404
    assert shop.get("/carts/0").status_code == 200


def test_the_ticker_tells_the_stock_of_everything(shop):
    with shop.websocket_connect("/ticker") as ticker:
        assert [ticker.receive_json()["sku"] for _ in PRODUCTS] == list(PRODUCTS)
