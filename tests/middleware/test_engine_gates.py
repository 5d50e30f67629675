"""Gates: what is awaited before the application and may answer in its place, and what is settled after it."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from recording import OK, Recording, head, sends

from asgi_infra import faults
from asgi_infra.context import get_client_address
from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.refusal import Refusal
from asgi_infra.testing import drive, http_scope, run, websocket_scope

DENIAL = {"extensions": {"websocket.http.response": {}}}


class Gate(Observer):
    """Remembers what it was asked; answers, raises or waits as it is told."""

    def __init__(self, feature: str = "tokens", *, answer: Any = None, raises: BaseException | None = None) -> None:
        self.feature = feature  # type: ignore[misc]
        self.answer, self.raises = answer, raises
        self.calls: list[str] = []
        self.scopes: list[Any] = []
        self.log = self.calls

    def start(self, exchange: Any) -> None:
        self.log.append(f"start {self.feature}")

    async def admit(self, exchange: Any, scope: Any) -> Any:
        self.log.append(f"admit {self.feature}")
        self.scopes.append(scope)
        await checkpoint()
        if self.raises is not None:
            raise self.raises
        return self.answer

    async def settle(self, exchange: Any) -> None:
        await checkpoint()
        self.log.append(f"settle {self.feature}")

    def end(self, exchange: Any) -> None:
        self.log.append(f"end {self.feature}")

    def close(self, exchange: Any) -> None:
        self.log.append(f"close {self.feature}")


class Guard(Gate):
    """A gate that is asked by every engine."""

    every = True


class Asked:
    """An application that counts how often it was reached."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.times += 1
        await sends(*OK)(scope, receive, send)


def faults_at(place: str) -> int:
    return sum(count for (where, _), count in faults.counts().items() if where == place)


# The order of calls


@pytest.mark.anyio
async def test_gates_are_asked_in_order_after_every_start_and_settle_before_anything_closes():
    first, second = Gate("tokens"), Gate("audit")
    second.log = first.log

    async def app(scope, receive, send):
        first.log.append("application")
        await sends(*OK)(scope, receive, send)

    driven = await drive(Engine(app, [first, second]))
    assert driven.status == 200
    assert first.log == [
        *("start tokens", "start audit", "admit tokens", "admit audit", "application", "end tokens", "end audit"),
        *("settle tokens", "settle audit", "close audit", "close tokens"),
    ]


@pytest.mark.anyio
async def test_the_answer_of_a_gate_is_seen_by_all_observers_and_neither_later_gates_nor_the_application_are_asked():
    app, recording = Asked(), Recording({b"x-request-id": b"id-1"})
    first, second = Gate("tokens", answer=Refusal(401, "Unauthorized")), Gate("audit")
    driven = await drive(Engine(app, [recording, first, second]))
    assert (driven.status, app.times) == (401, 0)
    assert driven.header(b"x-request-id") == [b"id-1"]
    assert (recording.one.status, recording.outcome) == (401, ("ok", None))
    assert recording.one.bytes_out == len(driven.body)
    assert "admit audit" not in second.calls
    assert "settle audit" in second.calls


def test_an_answer_that_counts_as_false_is_an_answer():
    class Empty(Refusal):
        def __len__(self) -> int:
            return 0

    app = Asked()
    assert run(Engine(app, [Gate(answer=Empty(403, "Forbidden"))])).status == 403
    assert app.times == 0


# Failing closed


@pytest.mark.anyio
async def test_a_gate_that_raises_refuses_the_request_and_is_counted():
    before = faults_at("tokens.admit")
    app, recording = Asked(), Recording()
    driven = await drive(Engine(app, [recording, Gate(raises=LookupError("broken on purpose"))]))
    assert (driven.status, app.times, driven.error) == (503, 0, None)
    assert driven.header(b"retry-after") == [b"5"]
    assert driven.header(b"cache-control") == [b"no-store"]
    assert b"broken" not in driven.body
    assert faults_at("tokens.admit") == before + 1
    assert recording.outcome == ("error", "503")


def test_the_log_says_that_the_request_was_refused(caplog):
    class BrokenOnceError(Exception):
        pass

    run(Engine(Asked(), [Gate(raises=BrokenOnceError())]))
    (record,) = [record for record in caplog.records if record.name == "asgi_infra"]
    assert "tokens.admit failed" in record.getMessage()
    assert "the request was refused" in record.getMessage()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("extensions", "sent"),
    [
        ({}, [("websocket.close", 1013)]),
        (DENIAL, [("websocket.http.response.start", 503), ("websocket.http.response.body", None)]),
    ],
    ids=["close", "denial"],
)
async def test_a_websocket_is_refused_before_it_is_accepted(extensions, sent):
    app, recording = Asked(), Recording()
    engine = Engine(app, [recording, Gate(raises=LookupError("broken on purpose"))])
    driven = await drive(engine, websocket_scope(**extensions))
    assert [(message["type"], message.get("code") or message.get("status")) for message in driven.sent] == sent
    assert app.times == 0
    assert recording.one.status == (503 if extensions else 403)


@pytest.mark.anyio
async def test_a_cancelled_gate_is_a_cancelled_exchange():
    app, recording, gate = Asked(), Recording(), Gate()
    started = anyio.Event()

    async def admit(exchange, scope):
        started.set()
        await anyio.sleep_forever()

    gate.admit = admit  # type: ignore[method-assign]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Engine(app, [recording, gate]), http_scope(), None, None)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert recording.outcome == ("cancelled", "cancelled")
    assert app.times == 0
    assert gate.calls == ["start tokens", "end tokens", "settle tokens", "close tokens"]


# Context


value: ContextVar[str] = ContextVar("value", default="unset")


@pytest.mark.anyio
async def test_what_a_gate_binds_is_there_in_the_application_and_in_settle_and_is_reset_at_the_close():
    seen = []

    class Binding(Observer):
        feature = "tokens"

        async def admit(self, exchange: Any, scope: Any) -> None:
            await checkpoint()
            exchange.notes["tokens"] = value.set("bound")

        async def settle(self, exchange: Any) -> None:
            seen.append(value.get())

        def close(self, exchange: Any) -> None:
            value.reset(exchange.notes["tokens"])

    async def app(scope, receive, send):
        seen.append(value.get())
        await sends(*OK)(scope, receive, send)

    async def send(message: Any) -> None:
        pass

    await Engine(app, [Binding()])(http_scope(), None, send)
    assert seen == ["bound", "bound"]
    assert value.get() == "unset"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("forwarded", "address"), [([], "192.0.2.7"), ([(b"x-forwarded-for", b"198.51.100.9")], "198.51.100.9")]
)
async def test_the_address_of_the_client_is_bound_as_far_as_it_is_vouched_for(forwarded, address):
    seen = []

    async def app(scope, receive, send):
        seen.append(get_client_address())
        await sends(*OK)(scope, receive, send)

    async def send(message: Any) -> None:
        pass

    engine = Engine(app, [Recording()], trusted_proxies="192.0.2.7")
    await engine(http_scope(headers=forwarded), None, send)
    assert seen == [address]
    assert get_client_address() is None


# Settling


@pytest.mark.anyio
@pytest.mark.parametrize("sent", [(), (head(500),), OK], ids=["nothing", "head", "everything"])
async def test_it_settles_when_the_application_has_raised(sent):
    gate, error = Gate(), ValueError("broken on purpose")
    driven = await drive(Engine(sends(*sent, raises=error), [gate]))
    assert driven.error is error
    assert gate.calls[-2:] == ["settle tokens", "close tokens"]


@pytest.mark.anyio
async def test_it_settles_when_the_application_was_cancelled():
    gate, started = Gate(), anyio.Event()

    async def app(scope, receive, send):
        started.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Engine(app, [gate]), http_scope(), None, None)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert gate.calls[-2:] == ["settle tokens", "close tokens"]


def test_it_settles_through_repeated_cancellations_of_asyncio():
    gate, entered, done = Gate(), asyncio.Event(), asyncio.Event()

    async def settle(exchange):
        entered.set()
        await done.wait()
        gate.log.append("settled")

    async def send(message: Any) -> None:
        pass

    class Slow(Gate):
        async def settle(self, exchange: Any) -> None:
            await settle(exchange)

    async def main():
        slow = Slow()
        slow.log = gate.log
        task = asyncio.create_task(Engine(sends(*OK), [slow])(http_scope(), None, send))
        await entered.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        done.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert gate.log[-2:] == ["settled", "close tokens"]


@pytest.mark.anyio
async def test_it_settles_in_a_time_that_is_bounded_and_the_rest_is_settled_too():
    class Endless(Gate):
        settle_timeout = 0.01

        async def settle(self, exchange: Any) -> None:
            await anyio.sleep_forever()

    before = faults_at("tokens.settle")
    endless, other = Endless(), Gate("audit")
    driven = await drive(Engine(Asked(), [endless, other]))
    assert (driven.status, driven.error) == (200, None)
    assert other.calls[-2:] == ["settle audit", "close audit"]
    assert faults_at("tokens.settle") == before + 1


@pytest.mark.anyio
async def test_an_error_while_it_settles_is_counted_and_changes_nothing():
    class Broken(Gate):
        async def settle(self, exchange: Any) -> None:
            raise LookupError("broken on purpose")

    before = faults_at("tokens.settle")
    broken = Broken()
    driven = await drive(Engine(Asked(), [broken]))
    assert (driven.status, driven.error) == (200, None)
    assert faults_at("tokens.settle") == before + 1
    assert broken.calls[-1] == "close tokens"


@pytest.mark.anyio
@pytest.mark.parametrize("raises", [False, True])
async def test_an_observer_may_say_at_once_that_there_is_nothing_to_settle(raises):
    class Brief(Gate):
        def settle(self, exchange: Any) -> None:  # type: ignore[override]
            self.log.append("settle tokens")
            if raises:
                raise LookupError("broken on purpose")

    before, brief = faults_at("tokens.settle"), Brief()
    driven = await drive(Engine(Asked(), [brief]))
    assert (driven.status, driven.error) == (200, None)
    assert brief.calls[-2:] == ["settle tokens", "close tokens"]
    assert faults_at("tokens.settle") == before + raises


def test_an_abandoned_exchange_is_closed_without_waiting():
    gate = Gate()

    class Never:
        def __await__(self):
            yield

    async def app(scope, receive, send):
        await Never()

    class Plain(Gate):
        async def admit(self, exchange: Any, scope: Any) -> None:
            return None

    plain = Plain()
    plain.log = gate.log
    running = Engine(app, [plain])(http_scope(), None, None)
    running.send(None)
    running.close()
    assert gate.log == ["start tokens", "end tokens", "close tokens"]


# Engines within one another


@pytest.mark.anyio
async def test_an_inner_engine_asks_the_gates_that_the_outer_one_lacks():
    app, inner, recording = Asked(), Gate(answer=Refusal(401, "Unauthorized")), Recording()
    driven = await drive(Engine(Engine(app, [inner]), [recording]))
    assert (driven.status, app.times) == (401, 0)
    assert recording.one.status == 401
    assert inner.calls == ["start tokens", "admit tokens", "end tokens", "settle tokens", "close tokens"]


@pytest.mark.anyio
async def test_an_inner_engine_leaves_out_a_feature_that_the_outer_one_has():
    app, outer, inner = Asked(), Gate(), Gate(answer=Refusal(401, "Unauthorized"))
    driven = await drive(Engine(Engine(app, [inner]), [outer]))
    assert (driven.status, app.times, inner.calls) == (200, 1, [])


@pytest.mark.anyio
async def test_a_guard_is_asked_by_every_engine():
    app, outer, inner = Asked(), Guard(), Guard(answer=Refusal(401, "Unauthorized"))
    driven = await drive(Engine(Engine(app, [inner]), [outer]))
    assert (driven.status, app.times) == (401, 0)
    assert outer.calls.count("admit tokens") == inner.calls.count("admit tokens") == 1


@pytest.mark.anyio
async def test_an_inner_gate_gets_the_scope_of_its_own_application():
    inner = Guard()
    engine = Engine(sends(*OK), [inner])

    async def mount(scope, receive, send):
        await engine({**scope, "root_path": "/admin"}, receive, send)

    await drive(Engine(mount, [Guard()]), http_scope(path="/admin/users"))
    assert inner.scopes[0]["root_path"] == "/admin"


@pytest.mark.anyio
async def test_the_application_stays_behind_its_gate_when_the_response_is_over():
    app, inner = Asked(), Guard(raises=LookupError("broken on purpose"))
    engine = Engine(app, [inner])

    async def answers_first(scope, receive, send):
        await sends(*OK)(scope, receive, send)
        await engine(scope, receive, send)

    await drive(Engine(answers_first, [Recording()]))
    assert app.times == 0
    assert "admit tokens" in inner.calls


def test_an_excluded_path_is_not_asked():
    app, gate = Asked(), Gate(answer=Refusal(401, "Unauthorized"))
    assert run(Engine(app, [gate], exclude={"tokens": "/health"}), http_scope(path="/health")).status == 200
    assert gate.calls == []


def test_a_path_that_rules_cannot_judge_is_asked():
    app, gate = Asked(), Gate(answer=Refusal(401, "Unauthorized"))
    scope = http_scope()
    scope["path"] = None
    assert run(Engine(app, [gate], exclude={"tokens": "/health"}), scope).status == 401
    assert app.times == 0
