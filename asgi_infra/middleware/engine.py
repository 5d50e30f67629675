"""The engine: shows every exchange to its observers, in one pass.

It makes the exchange and tells the observers: at the start, at the end, when the application fails afterwards, and
when it has returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.exchange import Exchange, place
from asgi_infra.middleware.proxies import TrustedProxies
from asgi_infra.paths import PathRules, app_path
from asgi_infra.shutdown import flushing_send

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgi_infra.paths import Exclude
    from asgi_infra.types import ASGIApp, Receive, Scope, Send

_MAX_JOINS = 256

SCOPE_KEY = "asgi_infra"
"""Where the scope holds what an exchange shares: `exchange` while it lasts, `request_id`, and `route`, which the
application and the hooks of frameworks may set."""


class Observer:
    """One feature as the engine sees it; a subclass overrides what it needs.

    What a method raises is counted and logged, and the request goes on. Per-request state belongs on the exchange,
    or in its `notes`, never on the observer.
    """

    feature: ClassVar[str]
    """The name of the feature, as path rules know it."""

    def wraps(self, app: ASGIApp) -> None:
        """Called once, with the application that the engine wraps."""

    def startup(self) -> None:
        """Called when the server starts the application, where it tells (`lifespan`)."""

    def excluded(self, scope: Scope) -> None:
        """Called instead of everything else when a path rule skips the feature."""

    def start(self, exchange: Exchange) -> None:
        """Called before the application; the place to set `response_headers`."""

    def end(self, exchange: Exchange) -> None:
        """Called once, when the exchange is over and everything about it is known."""

    def late_error(self, exchange: Exchange, error: BaseException) -> None:
        """Called when the application raised after the end, for example in background work."""

    def close(self, exchange: Exchange) -> None:
        """Called in the task of `start` when the application has returned; resets what `start` has set."""


class Plan:
    """The observers of an exchange, with the methods that they override, in the order in which they are called."""

    __slots__ = ("closes", "ends", "excluded", "late_errors", "observers", "starts")

    def __init__(self, observers: Sequence[Observer], excluded: Sequence[Observer] = ()) -> None:
        self.observers = tuple(observers)
        self.excluded = _overridden(excluded, "excluded")
        self.starts = _overridden(observers, "start")
        self.ends = _overridden(observers, "end")
        self.late_errors = _overridden(observers, "late_error")
        self.closes = _overridden(observers, "close")[::-1]

    def start(self, exchange: Exchange) -> None:
        for start in self.starts:
            try:
                start(exchange)
            except Exception as exc:  # noqa: BLE001
                faults.record(place(start), exc)

    def close(self, exchange: Exchange) -> None:
        for close in self.closes:
            try:
                close(exchange)
            except Exception as exc:  # noqa: BLE001
                faults.record(place(close), exc)


class Engine:
    """An ASGI middleware that shows every exchange to its observers.

    Excluded paths and unknown scopes reach the application with nothing wrapped; a lifespan passes as it is, and
    telemetry and logs are flushed before the server hears that it is over. An engine that finds the live exchange of
    an outer one in the scope only adds the features that are missing there.

    Args:
        app: The ASGI application to wrap.
        observers: The features, in the order in which they start.
        exclude: What `PathRules.of` accepts.
        trusted_proxies: What `TrustedProxies` accepts; that of the outermost engine counts.
    """

    def __init__(
        self,
        app: ASGIApp,
        observers: Sequence[Observer],
        *,
        exclude: Exclude = (),
        trusted_proxies: str | Sequence[str] = (),
    ) -> None:
        if not callable(app):
            raise ConfigurationError(f"app must be an ASGI application, not {type(app).__name__}")
        self.app = app
        rules = PathRules.of(exclude)
        self._skipped = rules.skipped if rules else None
        self._proxies = TrustedProxies(trusted_proxies) or None
        self._plan = Plan(observers)
        self._plans: dict[frozenset[str], Plan] = {frozenset(): self._plan}
        self._joins: dict[tuple[Plan, Plan], tuple[Plan, Plan]] = {}
        self._tell(_overridden(observers, "wraps"), app)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        kind = scope["type"]
        if kind != "http" and kind != "websocket":
            if kind == "lifespan":
                send = flushing_send(send)
                self._tell(_overridden(self._plan.observers, "startup"))
            await self.app(scope, receive, send)
            return
        plan = self._plan
        if self._skipped is not None:
            try:
                plan = self._plan_without(self._skipped(app_path(scope)))
            except Exception as exc:  # noqa: BLE001 - the scope has no path, or one that is no text
                faults.record("engine.exclude", exc)
            for excluded in plan.excluded:
                try:
                    excluded(scope)
                except Exception as exc:  # noqa: BLE001
                    faults.record(place(excluded), exc)
        if not plan.observers:
            await self.app(scope, receive, send)
            return
        outer = scope.get(SCOPE_KEY)
        if type(outer) is dict and outer.get("exchange") is not None:
            await self._join(outer["exchange"], plan, scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, plan)
        state: dict[str, Any] = {"exchange": exchange}
        try:
            scope[SCOPE_KEY] = state
        except Exception as exc:  # noqa: BLE001 - a scope that can't be written to
            faults.record("engine.scope", exc)
        if self._proxies is not None:
            self._ask(self._proxies, exchange)
        try:
            plan.start(exchange)
            await self.app(scope, exchange.receive, exchange.send)
            if not exchange.finished:
                exchange.finish()
        except BaseException as exc:
            exchange.raised(exc)
            raise
        finally:
            plan.close(exchange)
            # Without these two an exchange would be part of reference cycles, and wait for the garbage collector.
            state["exchange"] = None
            exchange.error = None

    async def _join(self, exchange: Exchange, plan: Plan, scope: Scope, receive: Receive, send: Send) -> None:
        missing = _NOBODY  # once the observers have been told of the end, a late one would not be told again
        if not exchange.finished:
            exchange.plan, missing = self._joined(exchange.plan, plan)
            missing.start(exchange)
        if scope.get("path") == exchange.path:
            exchange.scope = scope  # a copy, where a middleware in between has made one: it is what routers fill
        try:
            await self.app(scope, receive, send)
        finally:
            missing.close(exchange)

    def _joined(self, outer: Plan, inner: Plan) -> tuple[Plan, Plan]:
        """Return the plan of both, and the plan of what only the inner one has."""
        known = self._joins.get((outer, inner))
        if known is None:
            present = {observer.feature for observer in outer.observers}
            added = [observer for observer in inner.observers if observer.feature not in present]
            known = (Plan([*outer.observers, *added]), Plan(added))
            if len(self._joins) < _MAX_JOINS:
                self._joins[outer, inner] = known
        return known

    def _ask(self, proxies: TrustedProxies, exchange: Exchange) -> None:
        try:
            proxies.apply(exchange)
        except Exception as exc:  # noqa: BLE001
            faults.record("engine.proxies", exc)

    def _tell(self, methods: Sequence[Callable[..., None]], *arguments: Any) -> None:
        for method in methods:
            try:
                method(*arguments)
            except Exception as exc:  # noqa: BLE001
                faults.record(place(method), exc)

    def _plan_without(self, skipped: frozenset[str]) -> Plan:
        plan = self._plans.get(skipped)
        if plan is None:
            kept = [observer for observer in self._plan.observers if observer.feature not in skipped]
            left = [observer for observer in self._plan.observers if observer.feature in skipped]
            plan = self._plans[skipped] = Plan(kept, left)
        return plan


def _overridden(observers: Sequence[Observer], name: str) -> list[Callable[..., None]]:
    return [
        getattr(observer, name)
        for observer in observers
        if getattr(type(observer), name) is not getattr(Observer, name)
    ]


_NOBODY = Plan(())
