"""The recording of one exchange: it sees the messages pass, and logs at most one attempt and one completed entry.

It stands between the exchange and the server, so what it holds back or replaces has been seen by all other features.
The ids of the entries are made once: to log again what may be durable already changes nothing.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from anyio import CancelScope, current_time

from asgi_infra import faults
from asgi_infra.audit.entry import storable
from asgi_infra.ids import uuid7
from asgi_infra.middleware.audit_bodies import SeenBody
from asgi_infra.middleware.audit_entries import (
    ATTEMPT,
    ATTEMPT_ID,
    COMPLETED_ID,
    actor_of,
    asked,
    default_action,
    request_details,
    resource_id,
    result_of,
    trace_id,
    user_agent,
)
from asgi_infra.middleware.outcome import assumed_status
from asgi_infra.middleware.refusal import unavailable
from asgi_infra.middleware.routes import resolve

if TYPE_CHECKING:
    from asgi_infra.middleware.audit import Audit
    from asgi_infra.middleware.audit_policy import AuditRule
    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.types import Message

_HEADS: Final = frozenset({"http.response.start", "websocket.http.response.start"})
_BODIES: Final = frozenset({"http.response.body", "websocket.http.response.body"})
_FILES: Final = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
_REFUSED: Final = "The request could not be recorded. Whether it was carried out is not certain."


class Recording:
    """One exchange, as one audit feature records it.

    Args:
        audit: The feature.
        exchange: The exchange.
        candidates: The rules that may be for it.
    """

    __slots__ = (
        "_answered",
        "_candidates",
        "_decided",
        "_exchange",
        "_head",
        "_id",
        "_receive",
        "_refused",
        "_request_body",
        "_response_body",
        "_send",
        "_trailers",
        "annotations",
        "attempted",
        "audit",
        "closed",
        "completed",
        "rule",
    )

    def __init__(self, audit: Audit, exchange: Exchange, candidates: tuple[AuditRule, ...]) -> None:
        self.audit = audit
        self.rule: AuditRule | None = None
        self.annotations: dict[str, Any] = {}
        self.attempted = self.completed = self.closed = False
        self._decided = self._refused = self._trailers = False
        self._answered: int | None = None
        self._candidates = candidates
        self._exchange = exchange
        self._head: Message | None = None
        self._id = ""
        self._receive, self._send = exchange._receive, exchange._send
        levels = {rule.level for rule in candidates}
        wants_response = "response" in levels and not exchange.is_websocket
        wants_request = wants_response or ("request" in levels and not exchange.is_websocket)
        self._request_body = SeenBody(audit.max_body) if wants_request else None
        self._response_body = SeenBody(audit.max_body) if wants_response else None
        exchange._send = self.send
        if self._request_body is not None:
            exchange._receive = self.receive

    async def receive(self) -> Message:
        message: Message = await self._receive()
        if self._request_body is not None:
            self._see(self._request_body, message)
        return message

    async def send(self, message: Message) -> None:
        if self._refused:
            self._swallow(message)
            return
        try:
            kind = message["type"]
        except (TypeError, KeyError):  # no message of ASGI: the server's own error is the right answer
            kind = None
        if kind in _HEADS:
            if self._head is not None:  # what a server says to it, which has not seen the first one yet
                raise RuntimeError(f"{kind} was sent twice; the body of the response was expected")
            self._trailers = bool(message.get("trailers"))
            if self._is_held():
                self._head = message
                return
        elif kind == "websocket.accept":
            if self._is_held() and not await self._admitted(self.attempt):
                await self._refuse()
                return
        elif kind in _BODIES or kind in _FILES:
            last = not (message.get("more_body") or self._trailers)
            await self._send_body(message, last=last)
            return
        elif kind == "websocket.close" or kind == "http.response.trailers":
            last = kind == "websocket.close" or not message.get("more_trailers")
            if last and not self.attempted and self._is_held() and not await self._admitted(self.complete):
                await self._refuse()
                return
            await self._send_last(message, last=last)
            return
        await self._send(message)

    async def admit(self) -> None:
        """Log the attempt, if a rule demands it that is known to be for this exchange.

        Raises:
            Exception: It could not be logged, and the request must be refused.
        """
        user = self._actor()
        for rule in self._candidates:
            if rule.is_before_app and rule.is_for_user(user):
                if rule.two_phase and rule.level != "none":
                    self.rule, self._decided = rule, True
                    await self._attempt_first(rule)
                return

    async def attempt(self) -> None:
        """Log that this is about to happen."""
        self.attempted = True
        details = request_details(self._exchange)
        if self._exchange.status is not None:
            details["status"] = self._exchange.status
        await self._log(ATTEMPT_ID, ATTEMPT, details)

    async def complete(self, error: BaseException | None = None) -> None:
        """Log what has happened, once."""
        exchange = self._exchange
        result, error_type = result_of(exchange, error)
        details = request_details(exchange)
        if self._refused:
            result, error_type = "error", "refused"
            details["application_status"] = self._answered
        route = exchange.route if exchange.finished else resolve(exchange.scope, exchange.root_path)
        duration = exchange.duration if exchange.finished else perf_counter() - exchange.started
        details |= {
            "route": route,
            "status": exchange.status,
            "duration_us": int(duration * 1e6),
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
        }
        if error_type is not None:
            details["error_type"] = error_type
        if exchange.close_code is not None:
            details["close_code"] = exchange.close_code
        self._tell_bodies(details)
        await self._log(COMPLETED_ID, result, details)
        self.completed = True

    def is_due(self, error: BaseException | None) -> bool:
        """Return whether the completed entry is still to be logged, now that the application is through."""
        if self.completed or (self.rule is None and self._decided):
            return False
        if not self._decided:
            self._decide(self._status(error))
        return self.rule is not None

    def release(self) -> None:
        """Let go of the exchange: the two would be a reference cycle."""
        exchange = self._exchange
        if exchange._send == self.send:
            exchange._send = self._send
            if self._request_body is not None and exchange._receive == self.receive:
                exchange._receive = self._receive

    async def _attempt_first(self, rule: AuditRule) -> None:
        try:
            await self.attempt()
        except Exception as exc:
            if rule.on_failure == "proceed":
                faults.record("audit.attempt", exc)
                return
            # Nothing will be done, so there is nothing to complete.
            self.rule = None
            raise

    def _status(self, error: BaseException | None) -> int:
        """Return the status, or what stands for one that was not sent."""
        exchange = self._exchange
        if exchange.finished:
            return exchange.status or assumed_status(exchange.outcome)
        return exchange.status or (200 if error is None else 500)

    def _is_held(self) -> bool:
        """Return whether the response has to wait for the log."""
        status = self._exchange.status
        if not self._decided and status is not None and self._head is None:
            self._decide(status)
        rule = self.rule
        if rule is None or self.completed or rule.when != "before_response":
            return False
        return status is None or status < 500

    def _decide(self, status: int) -> None:
        self._decided = True
        first, exchange = self._candidates[0], self._exchange
        if not first.is_late:  # the usual case, and there is nothing else to ask
            self.rule = first if first.level != "none" else None
            return
        route = resolve(exchange.scope, exchange.root_path)
        user = self._actor()
        for rule in self._candidates:
            if rule.is_for(route, status, user):
                self.rule = None if rule.level == "none" else rule
                return

    async def _send_body(self, message: Message, *, last: bool) -> None:
        if self._response_body is not None:
            self._see(self._response_body, message)
        if self._head is not None:
            if not await self._admitted(self.complete if last else self.attempt):
                await self._refuse()
                self._swallow(message)
                return
            head, self._head = self._head, None
            await self._send(head)
        await self._send_last(message, last=last)

    async def _send_last(self, message: Message, *, last: bool) -> None:
        await self._send(message)
        exchange = self._exchange
        if not last or self.rule is None or self.completed or exchange.is_websocket:
            return
        if (exchange.status or 500) < 500:
            # Not left to the end of the application, which may have work to do in the background.
            try:
                await self.complete()
            except Exception as exc:  # noqa: BLE001
                faults.record("audit.complete", exc, consequence="it is tried once more at the end")

    async def _admitted(self, log: Any) -> bool:
        if self.attempted and log == self.attempt:
            return True
        try:
            await log()
        except Exception as exc:  # noqa: BLE001
            rule = self.rule
            proceeds = rule is not None and rule.on_failure == "proceed"
            consequence = "the request goes on" if proceeds else "the response was replaced by a 503"
            faults.record("audit.before_response", exc, consequence=consequence)
            return proceeds
        return True

    async def _refuse(self) -> None:
        exchange = self._exchange
        self._refused, self._head, self._answered = True, None, exchange.status
        exchange.status, exchange.bytes_out = 503, 0
        if exchange.is_websocket:
            exchange.close_code = 1013
        added = list(exchange.response_headers.items())

        async def send(message: Message) -> None:
            if message["type"] in _HEADS:
                message = {**message, "headers": [*message["headers"], *added]}
            await self._send(message)

        await unavailable(_REFUSED)(exchange.scope, self._receive, send)
        exchange.ended = perf_counter()

    def _see(self, seen: SeenBody, message: Message) -> None:
        try:
            if body := message.get("body"):
                seen.see(body)
        except Exception as exc:  # noqa: BLE001
            faults.record("audit.body", exc)

    def _swallow(self, message: Message) -> None:
        """Drop what follows a refusal; an application that streams hears that there is nobody any more."""
        if message.get("more_body") or message.get("type") == "websocket.send":
            raise ConnectionAbortedError("the response was refused, since it could not be recorded")

    def _actor(self) -> str | None:
        found = asked("actor", self.audit.actor, self._exchange, None) if self.audit.actor else None
        return actor_of(self._exchange) if found is None else found

    def _tell_bodies(self, details: dict[str, Any]) -> None:
        rule, exchange, teller = self.rule, self._exchange, self.audit.bodies
        if rule is None or rule.level not in ("request", "response"):
            return
        if self._request_body is not None:
            headers = exchange.headers
            told = teller.tell(self._request_body, headers.get(b"content-type"), headers.get(b"content-encoding"))
            if told is not None:
                details["request_body"] = told
        if self._response_body is not None and rule.level == "response":
            told = teller.tell(self._response_body, *_described(exchange))
            if told is not None:
                details["response_body"] = told

    async def _log(self, suffix: str, result: str, details: dict[str, Any]) -> None:
        exchange, rule, notes, audit = self._exchange, self.rule, self.annotations, self.audit
        if rule is None:
            return
        if not self._id:
            self._id = uuid7()
        kind = "websocket" if exchange.is_websocket else "http"
        if more := notes.get("details"):
            details = {**more, **details}
        with CancelScope(deadline=current_time() + audit.timeout) as waiting:
            await audit.logger.log_action(
                storable(
                    notes.get("action") or asked("action", rule.action, exchange, None) or default_action(exchange)
                ),
                storable(
                    notes.get("resource_type") or asked("resource_type", rule.resource_type, exchange, kind) or kind
                ),
                resource_id=notes.get("resource_id") or resource_id(rule, exchange),
                result=result,
                details=details,
                user_id=self._actor(),
                ip_address=exchange.client,
                user_agent=user_agent(exchange),
                request_id=exchange.request_id,
                trace_id=trace_id(exchange),
                tenant=notes.get("tenant") or (asked("tenant", audit.tenant, exchange, None) if audit.tenant else None),
                id=self._id + suffix,
            )
        if waiting.cancelled_caught:
            raise TimeoutError(f"the audit log gave no answer within {audit.timeout:g} seconds")


def _described(exchange: Exchange) -> tuple[bytes | None, bytes | None]:
    """Return content type and content encoding of the response."""
    try:
        sent = {name.lower(): value for name, value in exchange.sent_headers}
    except (TypeError, ValueError, AttributeError):  # whatever the application has sent for headers
        return None, None
    return sent.get(b"content-type"), sent.get(b"content-encoding")
