"""The engine: who is told of what, and when; scopes, exclusion, cancellation, nesting, interleaving."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from recording import GONE, OK, Recording, at_once, body, everything, head, recorded, sends, starlette_app

from asgi_infra import faults
from asgi_infra.context import get_request_id
from asgi_infra.middleware.engine import SCOPE_KEY, Engine, Observer
from asgi_infra.testing import drive, http_scope, run, websocket_scope


class Given:
    """An application that keeps what it was given."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.receive, self.send = scope, receive, send


async def receive() -> Any:
    raise AssertionError("nobody reads")


async def send(message: Any) -> None:
    raise AssertionError("nobody sends")


# What is wrapped, and what is not


def test_other_scopes_reach_the_application_untouched():
    scope = {"type": "webtransport", "path": "/"}
    given, before = Given(), scope.copy()
    anyio.run(everything(given), scope, receive, send)
    assert given.scope is scope
    assert given.receive is receive
    assert given.send is send
    assert scope == before


def test_a_lifespan_passes_as_it_is():
    async def app(scope, receive, send):
        for phase in ("startup", "shutdown"):
            assert await receive() == {"type": f"lifespan.{phase}"}
            await send({"type": f"lifespan.{phase}.complete"})

    driven = run(everything(app), {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}})
    assert driven.error is None
    assert [message["type"] for message in driven.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_an_application_that_fails_in_its_lifespan_fails_as_without():
    error = RuntimeError("no lifespan here")
    assert run(everything(sends(raises=error)), {"type": "lifespan"}).error is error


@pytest.mark.parametrize("scope", [http_scope(path="/health"), websocket_scope("/health")], ids=["http", "websocket"])
def test_nothing_is_wrapped_on_an_excluded_path(scope):
    given, recording, before = Given(), Recording(), scope.copy()
    recording.feature = "metrics"
    anyio.run(Engine(given, [recording], exclude="/health"), scope, receive, send)
    assert given.scope is scope
    assert given.receive is receive
    assert given.send is send
    assert scope == before
    assert recording.calls == ["excluded"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_excluded_path_gets_nothing_from_any_feature(kind):
    given, seen = Given(), []
    scope = {**http_scope(path="/health"), "type": kind}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((get_request_id(), SCOPE_KEY in scope))
        await given(scope, receive, send)

    anyio.run(everything(app, exclude="/health"), scope, receive, send)
    assert given.scope is scope
    assert given.receive is receive
    assert given.send is send
    assert seen == [(None, False)]


def test_one_feature_can_be_excluded_alone():
    tracing, metrics = Recording(), Recording()
    tracing.feature, metrics.feature = "tracing", "metrics"
    app = Engine(sends(*OK), [tracing, metrics], exclude={"tracing": "/health"})
    run(app, http_scope(path="/health"))
    assert tracing.calls == ["excluded"]
    assert metrics.calls == ["start", "end", "close"]
    run(app, http_scope(path="/other"))
    assert tracing.calls == ["excluded", "start", "end", "close"]


def test_without_observers_nothing_is_wrapped():
    given = Given()
    anyio.run(Engine(given, []), http_scope(), receive, send)
    assert given.send is send


# The order of calls


@pytest.mark.anyio
async def test_observers_start_and_end_in_their_order_and_close_in_reverse():
    calls: list[str] = []

    class Named(Observer):
        def __init__(self, feature: str) -> None:
            self.feature = feature  # type: ignore[misc]

        def start(self, exchange: Any) -> None:
            calls.append(f"start {self.feature}")

        def end(self, exchange: Any) -> None:
            calls.append(f"end {self.feature}")

        def close(self, exchange: Any) -> None:
            calls.append(f"close {self.feature}")

    async def app(scope, receive, send):
        calls.append("application")
        await sends(*OK)(scope, receive, send)

    await drive(Engine(app, [Named("a"), Named("b")]))
    assert calls == ["start a", "start b", "application", "end a", "end b", "close b", "close a"]


# Exceptions


@pytest.mark.anyio
@pytest.mark.parametrize("sent", [(), (head(),), (head(), body(more_body=True)), (head(500), body())], ids=len)
@pytest.mark.parametrize(
    "error", [ValueError("x"), ExceptionGroup("several", [ValueError("x"), KeyError("y")])], ids=["one", "group"]
)
async def test_an_exception_reaches_the_server_and_is_recorded_once(sent, error):
    app, recording = recorded(sends(*sent, raises=error))
    driven = await drive(app)
    assert driven.error is error
    assert driven.sent == list(sent)
    assert recording.errors == [error]
    assert recording.outcome == ("error", type(error).__name__)
    assert recording.late == []
    assert recording.calls == ["start", "end", "close"]


@pytest.mark.anyio
async def test_an_exception_after_the_response_is_a_late_error():
    error = ValueError("in background work")
    app, recording = recorded(sends(*OK, raises=error))
    driven = await drive(app)
    assert driven.error is error
    assert recording.calls == ["start", "end", "late_error", "close"]
    assert (recording.late, recording.errors, recording.outcome) == ([error], [None], ("ok", None))


def test_a_500_that_is_sent_and_then_raised_is_one_record_with_the_error_and_the_time_of_the_response(monkeypatch):
    ticks = iter(range(0, 1000, 10))
    monkeypatch.setattr("asgi_infra.middleware.exchange.perf_counter", lambda: float(next(ticks)))
    app, recording = recorded(starlette_app(), {b"x-request-id": b"id-1"})
    driven = run(app, http_scope(path="/boom"))
    assert isinstance(driven.error, LookupError)
    assert (driven.status, driven.header(b"x-request-id")) == (500, [b"id-1"])
    exchange = recording.one
    assert recording.errors == [driven.error]
    assert (exchange.status, recording.outcome) == (500, ("error", "LookupError"))
    assert exchange.duration == exchange.ended == 20.0
    assert recording.late == []


def test_background_work_is_not_in_the_duration_and_its_error_is_a_late_error(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("asgi_infra.middleware.exchange.perf_counter", lambda: now[0])

    async def work() -> None:
        now[0] = 1000.0
        raise LookupError("broken on purpose")

    app, recording = recorded(starlette_app(work))
    driven = run(app, http_scope(path="/fine"))
    assert driven.status == 200
    assert isinstance(driven.error, LookupError)
    assert recording.late == [driven.error]
    assert (recording.one.duration, recording.outcome) == (0.0, ("ok", None))


# Cancellation


@pytest.mark.anyio
@pytest.mark.parametrize(
    "sent", [(), (head(),), (head(), body(b"a", more_body=True))], ids=["before", "head", "during"]
)
async def test_a_cancellation_before_the_end_is_an_outcome_of_its_own(sent):
    with anyio.CancelScope() as scope:

        async def app(_, receive, send):
            await sends(*sent)(_, receive, send)
            scope.cancel()
            await checkpoint()

        wrapped, recording = recorded(app)
        await drive(wrapped)
    assert scope.cancelled_caught
    assert recording.outcome == ("cancelled", "cancelled")
    assert recording.one.status == (200 if sent else None)
    assert recording.calls == ["start", "end", "close"]


@pytest.mark.anyio
async def test_a_cancellation_once_the_client_has_gone_is_a_disconnect():
    with anyio.CancelScope() as scope:

        async def app(_, receive, send):
            await receive()
            scope.cancel()
            await checkpoint()

        wrapped, recording = recorded(app)
        await drive(wrapped, messages=[GONE])
    assert recording.outcome == ("disconnected", "client_disconnected")


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "outcome"), [(200, ("ok", None)), (503, ("error", "503"))])
async def test_a_cancellation_after_the_response_leaves_it_what_it_was(status, outcome):
    with anyio.CancelScope() as scope:

        async def app(_, receive, send):
            await sends(head(status), body())(_, receive, send)
            scope.cancel()
            await checkpoint()

        wrapped, recording = recorded(app)
        await drive(wrapped)
    assert scope.cancelled_caught
    assert recording.outcome == outcome
    assert recording.late == []
    assert recording.calls == ["start", "end", "close"]


@pytest.mark.anyio
async def test_a_cancellation_while_the_server_sends_is_a_cancellation():
    recording = Recording()
    with anyio.CancelScope() as scope:

        async def server_send(message):
            scope.cancel()
            await checkpoint()

        await Engine(sends(*OK), [recording])(http_scope(), receive, server_send)
    assert recording.outcome == ("cancelled", "cancelled")


def test_an_application_that_is_closed_in_mid_air_is_cancelled():
    async def app(scope, receive, send):
        await receive()

    class Forever:
        def __await__(self):
            yield

    wrapped, recording = recorded(app)
    call = wrapped(http_scope(), Forever, send)
    call.send(None)
    call.close()
    assert recording.outcome == ("cancelled", "cancelled")
    assert recording.calls == ["start", "end", "close"]


# Observers that fail


class Broken(Observer):
    feature = "metrics"

    def __init__(self, method: str) -> None:
        self.method = method

    def _maybe(self, method: str) -> None:
        if method == self.method:
            raise ZeroDivisionError("broken on purpose")

    def wraps(self, app: Any) -> None:
        self._maybe("wraps")

    def excluded(self, scope: Any) -> None:
        self._maybe("excluded")

    def start(self, exchange: Any) -> None:
        self._maybe("start")

    def end(self, exchange: Any) -> None:
        self._maybe("end")

    def late_error(self, exchange: Any, error: BaseException) -> None:
        self._maybe("late_error")

    def close(self, exchange: Any) -> None:
        self._maybe("close")


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["wraps", "excluded", "start", "end", "late_error", "close"])
async def test_an_observer_that_raises_is_counted_and_changes_nothing_for_anyone(method):
    error = ValueError("in background work")
    healthy = Recording({b"x-id": b"1"})
    kind = (f"metrics.{method}", "ZeroDivisionError")
    before = faults.counts().get(kind, 0)
    app = Engine(sends(*OK, raises=error), [Broken(method), healthy], exclude={"metrics": "/health"})
    for path in ("/", "/health"):
        driven = await drive(app, http_scope(path=path))
        assert driven.error is error
        assert driven.sent == [head(headers=[(b"a", b"1"), (b"x-id", b"1")]), OK[1]]
    assert healthy.calls == ["start", "end", "late_error", "close"] * 2
    assert faults.counts()[kind] == before + 1


def test_an_observer_may_stop_the_process():
    class Interrupts(Observer):
        feature = "interrupts"

        def start(self, exchange: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        at_once(Engine(sends(*OK), [Interrupts()])(http_scope(), receive, send))


def test_trusted_proxies_that_fail_are_counted_and_the_request_goes_on(monkeypatch):
    def fail(proxies: Any, exchange: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("asgi_infra.middleware.proxies.TrustedProxies.apply", fail)
    kind = ("engine.proxies", "ZeroDivisionError")
    before = faults.counts().get(kind, 0)
    app, recording = recorded(sends(*OK), trusted_proxies="*")
    assert run(app).status == 200
    assert recording.one.client == "192.0.2.7"
    assert faults.counts()[kind] == before + 1


# Scopes and errors that are not what they should be


@pytest.mark.parametrize("state", ["x", [], {"exchange": None}, None])
def test_whatever_stands_under_our_key_in_the_scope_is_no_outer_exchange(state):
    driven = run(everything(sends(*OK)), http_scope() | {SCOPE_KEY: state})
    assert driven.error is None
    assert driven.sent[0]["status"] == 200


def test_a_scope_that_can_not_be_written_to_is_served():
    class ReadOnly(dict):
        def __setitem__(self, key, value):
            raise TypeError("read only")

    driven = run(everything(sends(*OK)), ReadOnly(http_scope()))
    assert driven.error is None
    assert driven.sent[0]["status"] == 200


def test_an_error_after_the_end_reaches_the_server_whatever_it_is():
    deep: BaseException = ValueError("at the bottom")
    for _ in range(3000):
        deep = ExceptionGroup("deep", [deep])
    late = run(everything(sends(head(), body(), raises=deep)), http_scope())
    early = run(everything(sends(raises=deep)), http_scope())
    assert late.error is deep
    assert early.error is deep
