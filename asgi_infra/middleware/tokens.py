"""The token of a request: found, checked with a store, and known to everything that follows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, TypedDict, Unpack

from asgi_infra import faults
from asgi_infra.context import user_id_var
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.engine import SCOPE_KEY, Engine, Observer
from asgi_infra.middleware.token_checks import NOT_VERIFIED, find_not_denied, find_stored, with_stored
from asgi_infra.middleware.token_lookups import Lookups
from asgi_infra.middleware.token_metrics import checks_in
from asgi_infra.middleware.token_paths import DemandedPaths
from asgi_infra.middleware.token_rejection import Rejection, Rejections
from asgi_infra.options import require_flag, require_hook, require_number, shown
from asgi_infra.tokens.clock import Clock, utc_now
from asgi_infra.tokens.contract import TokenStore
from asgi_infra.tokens.identity import CredentialsError, InvalidTokenError, MalformedCredentialsError, TokenIdentity
from asgi_infra.tokens.presented import BearerTokens, CookieToken

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from contextvars import Token

    from prometheus_client import CollectorRegistry

    from asgi_infra.globs import Patterns
    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.paths import Exclude
    from asgi_infra.types import ASGIApp, Scope

Extract: TypeAlias = Callable[[Any], "TokenIdentity | Awaitable[TokenIdentity | None] | None"]
"""Finds the token in a scope; may raise `InvalidTokenError` and `MalformedCredentialsError`."""
OnReject: TypeAlias = "Callable[[Rejection, Scope], ASGIApp | None]"

_MAX_CACHE_SECONDS = 60.0


class HasScope(Protocol):
    """A framework's request or connection."""

    scope: Any


class Tokens(Observer):
    """The check of tokens as a feature; see `TokenMiddleware` for the options."""

    feature = "tokens"
    every: ClassVar[bool] = True

    def __init__(
        self,
        store: TokenStore,
        *,
        extract: Extract | None = None,
        require: Patterns = "/**",
        optional: Patterns = (),
        mode: Literal["stored", "denied"] = "stored",
        require_generation: bool = False,
        cache_seconds: float = 0.0,
        on_store_failure: Literal["closed", "open"] = "closed",
        realm: str | None = None,
        touch: bool = True,
        on_reject: OnReject | None = None,
        preflight: bool = False,
        registry: CollectorRegistry | None = None,
        clock: Clock = utc_now,
    ) -> None:
        if not isinstance(store, TokenStore):
            raise ConfigurationError(f"store must be a TokenStore, such as InMemoryTokenStore(), not {shown(store)}")
        if extract is not None and not callable(extract):
            raise ConfigurationError(f"extract must be callable, such as BearerTokens(), not {shown(extract)}")
        if mode not in ("stored", "denied"):
            raise ConfigurationError(f"mode must be 'stored' or 'denied', not {shown(mode)}")
        if on_store_failure not in ("closed", "open"):
            raise ConfigurationError(f"on_store_failure must be 'closed' or 'open', not {shown(on_store_failure)}")
        if mode == "denied" and (extract is None or isinstance(extract, (BearerTokens, CookieToken))):
            raise ConfigurationError(f"extract must be a JWTVerifier or the like: {NOT_VERIFIED}")
        if mode == "denied" and getattr(extract, "leeway", 0.0) > store.leeway:
            raise ConfigurationError(
                "store must have a leeway of at least the verifier's: a denied token would be good again in between"
            )
        require_number("cache_seconds", cache_seconds, _MAX_CACHE_SECONDS, "a number of seconds from 0 to 60")
        for name, flag in (("require_generation", require_generation), ("touch", touch), ("preflight", preflight)):
            require_flag(name, flag)
        if on_reject is not None:
            require_hook("on_reject", on_reject)
        require_hook("clock", clock)
        self._store = store
        self._extract: Extract = BearerTokens() if extract is None else extract
        self._ambient = bool(getattr(self._extract, "ambient", False))
        self._paths = DemandedPaths(require, optional)
        self._open = on_store_failure == "open"
        self._rejections = Rejections(realm)
        self._touches = touch and mode == "stored"
        self._on_reject = on_reject
        self._preflight = preflight
        self._checks = checks_in(registry)
        self._clock = clock
        ask = (
            partial(find_stored, store)
            if mode == "stored"
            else partial(find_not_denied, store, require_generation=require_generation)
        )
        touched = store.touch_interval if self._touches else None
        self._lookups = Lookups(store, ask, seconds=cache_seconds, touched=touched, clock=clock)

    async def admit(self, exchange: Exchange, scope: Scope) -> ASGIApp | None:
        if self._preflight and _is_preflight(scope):
            return None
        demanded = self._paths.demand(scope)
        try:
            identity = await self._presented(scope)
        except InvalidTokenError as exc:
            return self._refuse_token("invalid", str(exc), scope, demanded=demanded)
        except MalformedCredentialsError as exc:
            return self._refuse("malformed", Rejection(400, "invalid_request", str(exc)), scope)
        if identity is None:
            return self._without(scope, demanded=demanded)
        answer = await self._lookups(identity)
        if answer.live is None:
            if not self._open or not identity.verified:
                return self._refuse_unchecked(scope, demanded=demanded)
            self._checks["failed_open"].inc()
        elif not answer.live:
            return self._refuse_token("invalid", "the token is not live", scope, demanded=demanded)
        else:
            self._checks["accepted"].inc()
        # Of what others presented under the same identifier, only what the store says may be taken over.
        self._bind(exchange, scope, identity if answer.stored is None else with_stored(identity, answer.stored))
        return None

    def settle(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        if not self._touches:
            return None
        now, interval = self._clock(), self._store.touch_interval
        due = [
            (identity.jti, token.user_id)
            for identity, _ in _admitted(exchange, self)
            if (token := identity.stored) is not None
            and (now - (token.last_used_at or token.issued_at)).total_seconds() >= interval
        ]
        return self._touch(due) if due else None

    async def _touch(self, due: list[tuple[str, str]]) -> None:
        for jti, user_id in due:
            await self._store.touch(jti, user_id=user_id)

    def close(self, exchange: Exchange) -> None:
        for _, bound in reversed(_admitted(exchange, self)):
            try:
                user_id_var.reset(bound)
            except ValueError:  # abandoned, and closed in the garbage collector's context; or admitted in another task
                continue

    async def _presented(self, scope: Scope) -> TokenIdentity | None:
        try:
            found = self._extract(scope)
            identity = await found if isawaitable(found) else found
            if identity is None or isinstance(identity, TokenIdentity):
                return identity
            raise TypeError(f"extract has returned a value of type {type(identity).__name__}, not a TokenIdentity")
        except (InvalidTokenError, MalformedCredentialsError):
            raise
        except Exception as exc:  # noqa: BLE001
            # What such an error says may be the token: neither its message nor its context may reach a log.
            message = f"extract has raised {type(exc).__qualname__}"
            error = CredentialsError(message).with_traceback(exc.__traceback__)
        raise error

    def _bind(self, exchange: Exchange, scope: Scope, identity: TokenIdentity) -> None:
        user_id = identity.user_id
        bound = user_id_var.set(user_id)
        exchange.notes.setdefault(self.feature, []).append((self, identity, bound))
        state = scope.get(SCOPE_KEY)
        if type(state) is dict:
            state["token"] = identity
        if user_id is not None:
            exchange.user_id = user_id
            if exchange.span is not None:
                exchange.span.set_attribute("user.id", user_id)

    def _without(self, scope: Scope, *, demanded: bool) -> ASGIApp | None:
        if demanded:
            return self._refuse("missing", Rejection(401, None, "the request presents no token"), scope)
        self._checks["anonymous"].inc()
        return None

    def _refuse_token(self, result: str, reason: str, scope: Scope, *, demanded: bool) -> ASGIApp | None:
        if self._ambient and not demanded:
            self._checks["anonymous"].inc()
            return None
        return self._refuse(result, Rejection(401, "invalid_token", reason), scope)

    def _refuse_unchecked(self, scope: Scope, *, demanded: bool) -> ASGIApp | None:
        rejection = Rejection(503, None, "the store has failed")
        if self._ambient and not demanded:
            self._checks["failed_closed"].inc()
            return None
        return self._refuse("failed_closed", rejection, scope)

    def _refuse(self, result: str, rejection: Rejection, scope: Scope) -> ASGIApp:
        self._checks[result].inc()
        if self._on_reject is not None:
            try:
                answer = self._on_reject(rejection, scope)
                if answer is not None:
                    return answer
            except Exception as exc:  # noqa: BLE001
                faults.record("tokens.on_reject", exc, consequence="the request was refused in the usual way")
        return self._rejections.answer(rejection)


def get_token(request: Mapping[str, Any] | HasScope) -> TokenIdentity | None:
    """Return the checked token of a request, or `None` where it has none.

    Args:
        request: The ASGI scope, or a framework's request, which has it as `scope`.

    Example:
        >>> async def devices(request):
        ...     token = get_token(request)
        ...     return [device.metadata for device in await store.list_for_user(token.user_id)]
    """
    scope = request if isinstance(request, Mapping) else request.scope
    state = scope.get(SCOPE_KEY)
    identity = state.get("token") if type(state) is dict else None
    return identity if isinstance(identity, TokenIdentity) else None


def _admitted(exchange: Exchange, observer: Tokens) -> list[tuple[TokenIdentity, Token[str | None]]]:
    notes = exchange.notes.get(observer.feature, ())
    return [(identity, bound) for owner, identity, bound in notes if owner is observer]


def _is_preflight(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "OPTIONS":
        return False
    names = {name.lower() for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names


class TokenOptions(TypedDict, total=False):
    """The options of `TokenMiddleware`."""

    extract: Extract | None
    require: Patterns
    optional: Patterns
    mode: Literal["stored", "denied"]
    require_generation: bool
    cache_seconds: float
    on_store_failure: Literal["closed", "open"]
    realm: str | None
    touch: bool
    on_reject: OnReject | None
    preflight: bool
    registry: CollectorRegistry | None
    clock: Clock


class TokenMiddleware(Engine):
    """Let in only requests with a token that is good, and tell everything that follows whose it is.

    Args:
        app: The ASGI application to wrap.
        store: The token store.
        extract: Finds the token in the scope: `BearerTokens()`, the default, `CookieToken(...)` or `JWTVerifier(...)`;
            or a function, also an asynchronous one, that returns a `TokenIdentity`, returns `None` for a request
            without a token, or raises `InvalidTokenError` or `MalformedCredentialsError`. What else it raises refuses
            the request with a 503.
        require: Paths that need a token: patterns as for `exclude`, but tried without regard to case and with whatever
            else the application may make of a path. All by default.
        optional: Paths among them that do without. A token is looked at there too; one that is not good is refused,
            unless it came in a cookie.
        mode: `"stored"`: a token is good while the store has it. `"denied"`: a token that is good by itself (a JWT) is
            good until the store was told to deny it, or its user's generation was renewed.
        require_generation: With `"denied"`, whether a token must carry a generation; one that does is always checked.
        cache_seconds: For how long the store's yes is believed without asking again, 0 to 60; so long a revocation by
            another process may go unnoticed. One through this store object is noticed at once. 0, the default, asks
            for every request.
        on_store_failure: `"closed"` refuses with a 503; `"open"` lets in tokens that prove by themselves whose they
            are, such as JWTs, and refuses others.
        realm: The `realm` of the challenge.
        touch: Whether to tell the store that a token is in use, after the response and at most once in the store's
            `touch_interval`.
        on_reject: Called with a `Rejection` and the scope; returns an ASGI application that answers, or `None` for the
            usual answer.
        preflight: Whether CORS preflights, which never carry a token, pass. Better have the CORS middleware outside.
        registry: The `prometheus_client` registry for `asgi_infra_token_checks_total`; the global one by default.
        clock: Returns the time now.
        exclude: Paths to leave alone, as `PathRules` takes them: no token is looked for.
        trusted_proxies: Whose forwarding headers to believe, as `TrustedProxies` takes them.

    Raises:
        ConfigurationError: An option is wrong; it is a `ValueError` too.

    `get_token(scope)` returns the token's identity, `get_user_id()` its user. Where there are several of these
    middlewares around an application, each one's demands hold.

    Example:
        >>> app.add_middleware(TokenMiddleware, store=store, optional=["/", "/login", "/static/**"])
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: TokenStore,
        exclude: Exclude = (),
        trusted_proxies: str | Sequence[str] = (),
        **options: Unpack[TokenOptions],
    ) -> None:
        super().__init__(app, [Tokens(store, **options)], exclude=exclude, trusted_proxies=trusted_proxies)
