"""The engine: shows every exchange to its observers, in one pass.

It makes the exchange and tells the observers: at the start, at the end, when the application fails afterwards, and
when it has returned. An observer may be a gate too: it is awaited before the application, and may answer in its place,
and after it, to settle what must not get lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from asgi_infra import faults
from asgi_infra.context import client_address_var
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.exchange import Exchange, place
from asgi_infra.middleware.gates import admit, settle
from asgi_infra.middleware.proxies import TrustedProxies
from asgi_infra.middleware.readings import readings_of
from asgi_infra.paths import PathRules, app_path
from asgi_infra.shutdown import flushing_send

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from asgi_infra.paths import Exclude
    from asgi_infra.types import ASGIApp, Receive, Scope, Send

_MAX_JOINS = 256

SCOPE_KEY = "asgi_infra"
"""Where the scope holds what an exchange shares: `exchange` while it lasts, `request_id`, `token`, and `route`, which
the application and the hooks of frameworks may set."""


class Observer:
    """One feature as the engine sees it; a subclass overrides what it needs.

    What a method raises is counted and logged, and the request goes on; but for `admit`, which fails closed.
    Per-request state belongs on the exchange, or in its `notes`, never on the observer.
    """

    feature: ClassVar[str]
    """The name of the feature, as path rules know it."""

    every: ClassVar[bool] = False
    """Whether the observer guards the application. An engine within another one then adds its observer also where the
    outer one has the feature, since each may demand something else; and a path skips it only if it does so in whatever
    way it may be read."""

    settle_timeout: float = 5.0
    """For how many seconds `settle` may take."""

    def wraps(self, app: ASGIApp) -> None:
        """Called once, with the application that the engine wraps."""

    def startup(self) -> None:
        """Called when the server starts the application, where it tells (`lifespan`)."""

    def excluded(self, scope: Scope) -> None:
        """Called instead of everything else when a path rule skips the feature."""

    def start(self, exchange: Exchange) -> None:
        """Called before the application; the place to set `response_headers`."""

    async def admit(self, exchange: Exchange, scope: Scope) -> ASGIApp | None:
        """Awaited before the application, after every `start`, in the order of the observers.

        What it raises refuses the exchange with a 503 (a WebSocket with 1013, where it gets no response). Context
        variables that are set here are there in the application; `close` resets them.

        Args:
            exchange: The exchange.
            scope: What the application will get: in an engine within another one it may be for a part of the path.

        Returns:
            What answers in place of the application and of the gates that come later, or `None` to let it pass.
        """
        return None

    def settle(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        """Called after the application has returned, raised or was cancelled, whichever gate refused.

        What it returns is awaited, through cancellations, up to `settle_timeout`, in a task of its own where that is
        needed; the context is that of the exchange. An `async def` is as good, but where most exchanges have nothing
        to settle, `None` costs nothing. Not called when the exchange is abandoned with its event loop.
        """
        return None

    def end(self, exchange: Exchange) -> None:
        """Called once, when the exchange is over and everything about it is known."""

    def late_error(self, exchange: Exchange, error: BaseException) -> None:
        """Called when the application raised after the end, for example in background work."""

    def close(self, exchange: Exchange) -> None:
        """Called in the task of `start` when the application has returned; resets what `start` has set."""


class Plan:
    """The observers of an exchange, with the methods that they override, in the order in which they are called."""

    __slots__ = ("admits", "closes", "ends", "excluded", "late_errors", "observers", "settles", "starts")

    def __init__(self, observers: Sequence[Observer], excluded: Sequence[Observer] = ()) -> None:
        self.observers = tuple(observers)
        self.excluded = _overridden(excluded, "excluded")
        self.starts = _overridden(observers, "start")
        self.admits = _overridden(observers, "admit")
        self.settles = _overridden(observers, "settle")
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
        self._guarded = frozenset(observer.feature for observer in observers if observer.every)
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
                skipped = self._skipped(app_path(scope))
                if skipped and not self._guarded.isdisjoint(skipped):
                    skipped = self._without_doubt(skipped, scope, self._skipped)
                plan = self._plan_without(skipped)
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
        address_token = client_address_var.set(exchange.client)
        try:
            plan.start(exchange)
            app = self.app
            if plan.admits:
                app = await admit(plan.admits, exchange, scope, app)
            await app(scope, exchange.receive, exchange.send)
            if not exchange.finished:
                exchange.finish()
        except BaseException as exc:
            exchange.raised(exc)
            raise
        finally:
            try:
                if plan.settles:
                    await settle(plan.settles, exchange)
            finally:
                plan.close(exchange)
                # Without these two an exchange would be part of reference cycles, and wait for the garbage collector.
                state["exchange"] = None
                exchange.error = None
                try:  # noqa: SIM105 - suppress() costs three calls on the path of each request
                    client_address_var.reset(address_token)
                except ValueError:  # an abandoned exchange is closed in the garbage collector's context
                    pass

    async def _join(self, exchange: Exchange, plan: Plan, scope: Scope, receive: Receive, send: Send) -> None:
        joined, missing = self._joined(exchange.plan, plan)
        if not exchange.finished:
            exchange.plan = joined
            missing.start(exchange)
        elif missing.admits:  # a late observer would not be told of the end, but what is behind a gate stays there
            missing = Plan([observer for observer in missing.observers if observer.every])
        else:
            missing = _NOBODY
        if scope.get("path") == exchange.path:
            exchange.scope = scope  # a copy, where a middleware in between has made one: it is what routers fill
        try:
            app = self.app
            if missing.admits:
                app = await admit(missing.admits, exchange, scope, app)
            await app(scope, receive, send)
        finally:
            try:
                if missing.settles:
                    await settle(missing.settles, exchange)
            finally:
                missing.close(exchange)

    def _joined(self, outer: Plan, inner: Plan) -> tuple[Plan, Plan]:
        """Return the plan of both, and the plan of what only the inner one has."""
        known = self._joins.get((outer, inner))
        if known is None:
            present = {observer.feature for observer in outer.observers}
            added = [observer for observer in inner.observers if observer.every or observer.feature not in present]
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

    def _without_doubt(
        self, skipped: frozenset[str], scope: Scope, ask: Callable[[str], frozenset[str]]
    ) -> frozenset[str]:
        """Take out what guards the application, unless it is skipped in whatever way the path may be read."""
        sure = skipped
        for reading in readings_of(scope):
            sure &= ask(reading)
        return sure | (skipped - self._guarded)

    def _plan_without(self, skipped: frozenset[str]) -> Plan:
        plan = self._plans.get(skipped)
        if plan is None:
            kept = [observer for observer in self._plan.observers if observer.feature not in skipped]
            left = [observer for observer in self._plan.observers if observer.feature in skipped]
            plan = self._plans[skipped] = Plan(kept, left)
        return plan


def _overridden(observers: Sequence[Observer], name: str) -> list[Callable[..., Any]]:
    return [
        getattr(observer, name)
        for observer in observers
        if getattr(type(observer), name) is not getattr(Observer, name)
    ]


_NOBODY = Plan(())
