"""The tour of the shop: what to ask it, as curl lines for people and as requests for the check."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the tour."""

    title: str
    path: str
    route: str | None
    status: int
    method: str = "GET"
    body: dict[str, Any] | None = None
    request_id: str | None = None
    """The id that the request brings; `None` where the middleware is to make one."""
    websocket: bool = False
    answer: str = ""
    """What the response's body must hold."""
    keeps: bool = False
    """Whether the answer holds a token, which the steps after it present, and which may come out nowhere."""
    presents: bool = False
    """Whether the request presents the token."""
    recorded: str | None = None
    """The action by which the audit log calls the request; `None` where it is not recorded."""
    secrets: dict[str, str] = field(default_factory=dict)
    """What the request holds and the shop logs, so that only the kind of it may come out; by kind."""

    def command(self, base: str) -> str:
        """Return a shell line that makes the request; `base` is such as `http://127.0.0.1:8000`."""
        if self.websocket:
            return f"python -m websockets {base.replace('http', 'ws', 1)}{self.path}"
        parts = ["curl -s" if self.keeps else "curl -i"]
        if self.method != "GET" and not (self.method == "POST" and self.body is not None):
            parts.append(f"-X {self.method}")
        if self.request_id is not None:
            parts.append(f"-H 'X-Request-ID: {self.request_id}'")
        if self.presents:
            parts.append('-H "Authorization: Bearer $TOKEN"')
        if self.body is not None:
            parts.append(f"--json '{json.dumps(self.body)}'")
        command = " ".join([*parts, f"{base}{self.path}"])
        return f"TOKEN=$({command} | sed 's/.*:\"\\(.*\\)\".*/\\1/'); echo $TOKEN" if self.keeps else command


_CUSTOMER = {"email": "bob@example.org", "card": "4111 1111 1111 1111"}
_LOGIN = {"user": "amy", "password": "green-tea", "device": "phone"}
_PAY = "/carts/mine/checkout"
_DEVICES = "/session/devices"
_REFRESH = "/login/refresh"
_LOGOUT = "/session/logout-everywhere"
_PAY_ROUTE = "/carts/{cart}/checkout"
_PAYS = "order.pay"
_LOGS_IN = "session.login"


def tour_steps() -> list[Step]:
    """Return the steps in their order; without a WebSocket where uvicorn has no library for them."""
    steps = [
        Step("what is on the shelf", "/products", "/products", 200),
        Step("with an id of yours", "/products/tea", "/products/{sku}", 200, request_id="my-first-request"),
        Step("a product that isn't there", "/products/gold", "/products/{sku}", 404),
        Step("a path that isn't there", "/wp-login.php", None, 404),
        Step("tea into the cart", "/carts/mine/items", "/carts/{cart}/items", 201, "POST", {"sku": "tea"}),
        Step(
            "pay: the gateway is down, the order rolled back", _PAY, _PAY_ROUTE, 502, "POST", _CUSTOMER, recorded=_PAYS
        ),
        Step("pay again: a bug, rolled back too", _PAY, _PAY_ROUTE, 500, "POST", _CUSTOMER, recorded=_PAYS),
        Step(
            "pay until it works: the log is told e-mail and card, and redacts them; a mail follows later",
            _PAY,
            _PAY_ROUTE,
            201,
            "POST",
            _CUSTOMER,
            secrets=_CUSTOMER,
            recorded=_PAYS,
        ),
        Step(
            "something slow: of the three orders one was kept",
            "/reports/daily",
            "/reports/daily",
            200,
            answer='"orders":1,',
        ),
        Step("a streamed export", "/export.csv", "/export.csv", 200),
        Step(
            "log in: a token, which comes out nowhere else",
            "/login",
            "/login",
            201,
            "POST",
            _LOGIN,
            keeps=True,
            recorded=_LOGS_IN,
        ),
        Step("my devices", _DEVICES, _DEVICES, 200, presents=True, answer='"device":"phone"'),
        Step("a new token for the old one", _REFRESH, _REFRESH, 200, "POST", presents=True, keeps=True),
        Step("log out everywhere", _LOGOUT, _LOGOUT, 200, "POST", presents=True, answer='"revoked":1'),
        Step("the token is no longer good", _DEVICES, None, 401, presents=True),
    ]
    if find_spec("websockets") is not None:
        steps.append(Step("a stock ticker over a WebSocket", "/ticker", "/ticker", 101, websocket=True))
    return steps
