"""The audit of requests: who did what, how it ended, and nothing that must not happen unrecorded."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

from asgi_infra.audit.contract import AuditLogger
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.audit_bodies import DEFAULT_TYPES, BodyTeller
from asgi_infra.middleware.audit_policy import DEFAULT_POLICY, WEBSOCKET, AuditRule, Policy
from asgi_infra.middleware.audit_recording import Recording
from asgi_infra.middleware.engine import SCOPE_KEY, Engine, Observer
from asgi_infra.options import require_hook, require_integer, require_seconds, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from asgi_infra.middleware.audit_entries import Ask
    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.middleware.tokens import HasScope
    from asgi_infra.paths import Exclude
    from asgi_infra.types import ASGIApp, Scope

__all__ = ["Audit", "AuditMiddleware", "AuditRule", "annotate"]

MAX_BODY = 65_536


class Audit(Observer):
    """The audit as a feature; see `AuditMiddleware` for the options."""

    feature = "audit"
    every: ClassVar[bool] = True

    def __init__(
        self,
        logger: AuditLogger,
        *,
        policy: Iterable[AuditRule] | AuditRule = DEFAULT_POLICY,
        actor: Ask | None = None,
        tenant: Ask | None = None,
        max_body: int = 8_192,
        content_types: Iterable[str] = DEFAULT_TYPES,
        redact: Callable[[Any], Any] | None = None,
        timeout: float = 5.0,
    ) -> None:
        if not isinstance(logger, AuditLogger):
            raise ConfigurationError(
                f"logger must be an AuditLogger, such as FileAuditLogger(path), not {shown(logger)}"
            )
        for name, hook in (("actor", actor), ("tenant", tenant), ("redact", redact)):
            if hook is not None:
                require_hook(name, hook)
        require_integer("max_body", max_body, minimum=0)
        if max_body > MAX_BODY:
            raise ConfigurationError(f"max_body must be at most {MAX_BODY}, not {max_body}: an entry holds no more")
        require_seconds("timeout", timeout)
        self.logger = logger
        self.actor = actor
        self.tenant = tenant
        self.max_body = max_body
        self.bodies = BodyTeller(redact or _redactor(), content_types)
        self.timeout = timeout
        self.settle_timeout = timeout + 1.0
        self._policy = Policy(policy)

    def start(self, exchange: Exchange) -> None:
        notes = exchange.notes.setdefault(self.feature, {})
        if any(other.logger is self.logger for other in notes):
            notes.setdefault(self, None)  # one log gets one entry of an exchange, however many middlewares there are
            return
        method = WEBSOCKET if exchange.is_websocket else exchange.method.upper()
        candidates = self._policy.candidates(method, exchange.scope)
        notes[self] = Recording(self, exchange, candidates) if candidates else None

    async def admit(self, exchange: Exchange, scope: Scope) -> ASGIApp | None:
        notes = exchange.notes.get(self.feature, {})
        if self not in notes and not exchange.finished:
            raise RuntimeError("the audit could not tell whether this request has to be recorded")
        recording: Recording | None = notes.get(self)
        if recording is not None and not recording.attempted:
            await recording.admit()
        return None

    def settle(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        recording = self._recording(exchange)
        error = sys.exception()
        if recording is None or not recording.is_due(error):
            return None
        return recording.complete(error)

    def end(self, exchange: Exchange) -> None:
        recording = self._recording(exchange)
        if recording is not None and recording.closed:
            self._release(exchange, recording)

    def close(self, exchange: Exchange) -> None:
        recording = self._recording(exchange)
        if recording is not None:
            recording.closed = True
            if exchange.finished:
                self._release(exchange, recording)

    def _recording(self, exchange: Exchange) -> Recording | None:
        found: Recording | None = exchange.notes.get(self.feature, {}).get(self)
        return found

    def _release(self, exchange: Exchange, recording: Recording) -> None:
        recording.release()
        exchange.notes[self.feature][self] = None


def annotate(
    request: Mapping[str, Any] | HasScope,
    *,
    action: str | None = None,
    resource_type: str | None = None,
    resource_id: str | None = None,
    tenant: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> bool:
    """Say in the application what the request's audit entry should say; return whether there will be one, perhaps.

    Call it before the response begins. What is given again replaces what was given before; `details` add up. They are
    redacted as all details are, and what the middleware says of the request itself counts more.

    Args:
        request: The ASGI scope, or a framework's request, which has it as `scope`.
        action: In place of what the rule says, as all others.
        resource_type: The kind of thing that was acted upon.
        resource_id: Which thing.
        tenant: On whose behalf.
        details: More details, for example `changes(before, after)`.

    Example:
        >>> async def rename(request):
        ...     annotate(request, resource_type="shop", resource_id="s-1", details=changes(before, after))
    """
    scope = request if isinstance(request, Mapping) else request.scope
    state = scope.get(SCOPE_KEY)
    exchange = state.get("exchange") if type(state) is dict else None
    if exchange is None:
        return False
    given = {"action": action, "resource_type": resource_type, "resource_id": resource_id, "tenant": tenant}
    for name, value in given.items():
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise ConfigurationError(f"{name} must be a str that isn't blank, not {shown(value)}")
    if details is not None and not isinstance(details, Mapping):
        raise ConfigurationError(f"details must be a mapping, not {shown(details)}")
    recordings = [found for found in exchange.notes.get(Audit.feature, {}).values() if found is not None]
    for recording in recordings:
        notes = recording.annotations
        notes |= {name: value for name, value in given.items() if value is not None}
        if details:
            notes["details"] = {**notes.get("details", {}), **details}
    return bool(recordings)


def _redactor() -> Callable[[Any], Any]:
    from asgi_infra.redaction import Redactor

    return Redactor()


class AuditOptions(TypedDict, total=False):
    """The options of `AuditMiddleware`."""

    policy: Iterable[AuditRule] | AuditRule
    actor: Ask | None
    tenant: Ask | None
    max_body: int
    content_types: Iterable[str]
    redact: Callable[[Any], Any] | None
    timeout: float


class AuditMiddleware(Engine):
    """Record in an audit log who did what, and how it ended: one completed entry for each exchange.

    Args:
        app: The ASGI application to wrap.
        logger: The audit log. It stays yours: open it and close it with the application.
        policy: Rules in their order; the first one that is for an exchange counts, and what no rule is for is not
            recorded. Default: the metadata of all but GET, HEAD, OPTIONS and TRACE, and of WebSocket connections.
        actor: Tells who made the request of an exchange, where it knows better than the rest: the user of the token
            (`TokenMiddleware`), `get_user_id()`, and the authenticated user in `scope["user"]`.
        tenant: Tells on whose behalf.
        max_body: Bytes of a body that an entry may show, 65 536 at most; of larger ones it has size and digest.
        content_types: Whose content an entry may show: `application/json`, with all `+json` types, and
            `application/x-www-form-urlencoded`.
        redact: Redacts bodies; `asgi_infra.redaction.Redactor()` by default. All details pass the logger's own
            redaction besides.
        timeout: For how many seconds to wait for the log; a log that does not answer counts as one that has failed.
        exclude: Paths to leave alone, as `PathRules` takes them.
        trusted_proxies: Whose forwarding headers to believe, as `TrustedProxies` takes them. The address in an entry is
            that of the client as far as they vouch for it.

    Raises:
        ConfigurationError: An option is wrong; it is a `ValueError` too.

    Example:
        >>> app.add_middleware(AuditMiddleware, logger=logger, exclude="/health")
        >>> payments = AuditRule(methods="POST", paths="/payments/**", action="payment.make", two_phase=True)
        >>> app.add_middleware(AuditMiddleware, logger=logger, policy=[payments, *DEFAULT_POLICY])
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        logger: AuditLogger,
        exclude: Exclude = (),
        trusted_proxies: str | Sequence[str] = (),
        **options: Unpack[AuditOptions],
    ) -> None:
        super().__init__(app, [Audit(logger, **options)], exclude=exclude, trusted_proxies=trusted_proxies)
