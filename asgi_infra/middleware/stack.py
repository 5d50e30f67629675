"""Any set of features in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.access_log import AccessLog
from asgi_infra.middleware.engine import Engine, Observer
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.request_id import RequestID
from asgi_infra.middleware.tracing import Tracing
from asgi_infra.options import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.middleware.audit import Audit
    from asgi_infra.middleware.tokens import Tokens
    from asgi_infra.paths import Exclude
    from asgi_infra.types import ASGIApp


class InfraOptions(TypedDict, total=False):
    """The options of `InfraMiddleware`."""

    service: str | None
    exclude: Exclude
    request_id: bool | RequestID
    tracing: bool | Tracing
    metrics: bool | Metrics
    access_log: bool | AccessLog
    tokens: Tokens | None
    audit: Audit | None
    trusted_proxies: str | Sequence[str]


class InfraMiddleware(Engine):
    """Request ids, traces, metrics and access logs for any ASGI application, in one pass over each request.

    Args:
        app: The ASGI application to wrap.
        service: The name of the service; log lines carry it.
        exclude: Paths to leave alone: patterns for all features, a mapping from feature to patterns, or `PathRules`.
        request_id: `True` for the defaults, `False` for off, or a `RequestID` with options.
        tracing: The same, with `Tracing`.
        metrics: The same, with `Metrics`.
        access_log: The same, with `AccessLog`.
        tokens: A `Tokens` to let in only requests with a token that is good; by default tokens are not looked at.
        audit: An `Audit` to record requests in an audit log; by default they are not. It comes after `tokens`, so that
            who made a request is known before it is carried out.
        trusted_proxies: Addresses and networks whose `Forwarded` and `X-Forwarded-*` headers to believe; none by
            default, `"*"` for every peer.

    Raises:
        ConfigurationError: An option is wrong; it is a `ValueError` too.

    Example:
        >>> app = InfraMiddleware(app)
        >>> app.add_middleware(InfraMiddleware, service="shop", exclude=["/health", "/static/**"])
        >>> app = InfraMiddleware(app, access_log=AccessLog(slow=1.0), metrics=False)
        >>> app = InfraMiddleware(app, tokens=Tokens(store, optional=["/login"]))
        >>> app = InfraMiddleware(app, audit=Audit(logger))
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str | None = None,
        exclude: Exclude = (),
        request_id: bool | RequestID = True,
        tracing: bool | Tracing = True,
        metrics: bool | Metrics = True,
        access_log: bool | AccessLog = True,
        tokens: Tokens | None = None,
        audit: Audit | None = None,
        trusted_proxies: str | Sequence[str] = (),
    ) -> None:
        if service is not None and (not isinstance(service, str) or not service.strip()):
            raise ConfigurationError(f"service must be a name that isn't blank, or None, not {shown(service)}")
        if service is not None and isinstance(access_log, AccessLog):
            access_log = access_log.of_service(service)
        chosen: tuple[tuple[str, Any, type[Observer], dict[str, Any]], ...] = (
            ("request_id", request_id, RequestID, {}),
            ("tracing", tracing, Tracing, {}),
            ("metrics", metrics, Metrics, {}),
            ("access_log", access_log, AccessLog, {"service": service}),
        )
        observers = [
            _observer(name, choice, kind, defaults) for name, choice, kind, defaults in chosen if choice is not False
        ]
        if tokens is not None:
            from asgi_infra.middleware.tokens import Tokens

            if not isinstance(tokens, Tokens):
                raise ConfigurationError(f"tokens must be None or Tokens(store, ...), not {type(tokens).__name__}")
            observers.append(tokens)
        if audit is not None:
            from asgi_infra.middleware.audit import Audit

            if not isinstance(audit, Audit):
                raise ConfigurationError(f"audit must be None or Audit(logger, ...), not {type(audit).__name__}")
            observers.append(audit)
        super().__init__(app, observers, exclude=exclude, trusted_proxies=trusted_proxies)


def _observer(name: str, choice: Any, kind: type[Observer], defaults: dict[str, Any]) -> Observer:
    if choice is True:
        return kind(**defaults)
    if isinstance(choice, kind):
        return choice
    raise ConfigurationError(f"{name} must be True, False or {kind.__name__}(...), not {shown(choice)}")
