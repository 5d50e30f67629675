"""Hooks for the frameworks that leave no route in the scope: Quart, Django, Falcon and BlackSheep.

Each hook does one thing: it sets `scope["path_template"]`, which `asgi_infra.middleware.routes` reads. Starlette,
FastAPI and Litestar need none, and any other application can set that key itself.

`publish_routes(app)` adds the right hook to an application; by hand, the same is:

| framework | by hand |
|---|---|
| Quart | `app.before_request(quart_request)` and `app.before_websocket(quart_websocket)` |
| Django | `MIDDLEWARE = [..., "asgi_infra.middleware.hooks.django_routes"]` |
| Falcon | `app.add_middleware(FalconRoutes())` |
| BlackSheep | `publish_routes(app)` |
"""

from __future__ import annotations

import re
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

_Duck: TypeAlias = Any
"""An object of a framework, known by its attributes alone."""

_BLACKSHEEP_PARAMETER = re.compile(r"[{<](?:\w+:)?(\w+)[}>]")


def publish_routes(app: object) -> bool:
    """Make an application of Quart, Django, Falcon or BlackSheep say which route handles a request.

    Calling it again changes nothing.

    Args:
        app: The framework's own object, such as `Quart(...)` or `get_asgi_application()`.

    Returns:
        Whether there is a hook for this framework; `False` for those that need none, and for any other callable.

    Example:
        >>> publish_routes(lambda scope, receive, send: None)
        False
    """
    for cls in type(app).__mro__:
        hook = _HOOKS.get(cls.__module__.partition(".")[0])
        if hook is not None:
            hook(app)
            return True
    return False


async def quart_request() -> None:
    """Publish the route of a request; for `Quart.before_request`."""
    from quart import request

    if request.url_rule is not None:
        request.scope["path_template"] = request.url_rule.rule  # type: ignore[typeddict-unknown-key]


async def quart_websocket() -> None:
    """Publish the route of a WebSocket; for `Quart.before_websocket`."""
    from quart import websocket

    if websocket.url_rule is not None:
        websocket.scope["path_template"] = websocket.url_rule.rule  # type: ignore[typeddict-unknown-key]


def django_routes(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Publish the route of a request; a middleware for Django's `MIDDLEWARE`, in asynchronous and synchronous chains.

    Without ASGI there is no scope, and it does nothing.
    """
    if iscoroutinefunction(get_response):

        async def asynchronous(request: _Duck) -> object:
            response: object = await get_response(request)
            _publish_django(request)
            return response

        return asynchronous

    def synchronous(request: _Duck) -> object:
        response: object = get_response(request)
        _publish_django(request)
        return response

    return synchronous


django_routes.sync_capable = True  # type: ignore[attr-defined]
django_routes.async_capable = True  # type: ignore[attr-defined]


class FalconRoutes:
    """Publish the route of a request or a WebSocket; a middleware component for `falcon.asgi.App`."""

    async def process_resource(self, req: _Duck, resp: object, resource: object, params: object) -> None:
        req.scope["path_template"] = req.uri_template

    async def process_resource_ws(self, req: _Duck, ws: object, resource: object, params: object) -> None:
        req.scope["path_template"] = req.uri_template


def _publish_django(request: _Duck) -> None:
    scope, match = getattr(request, "scope", None), request.resolver_match
    if scope is not None and match is not None:
        scope["path_template"] = f"/{match.route}"


def _hook_quart(app: _Duck) -> None:
    for functions, hook in ((app.before_request_funcs, quart_request), (app.before_websocket_funcs, quart_websocket)):
        first = functions.setdefault(None, [])
        if hook not in first:
            first.insert(0, hook)  # before those of the application, which may answer at once


def _hook_django(handler: _Duck) -> None:
    if "resolve_request" in vars(handler):
        return
    resolve_request = handler.resolve_request

    def resolve_and_publish(request: _Duck) -> object:
        match: object = resolve_request(request)
        _publish_django(request)
        return match

    handler.resolve_request = resolve_and_publish  # the chain of middlewares is built already


def _hook_falcon(app: _Duck) -> None:
    if not any(isinstance(component, FalconRoutes) for component in app._unprepared_middleware):
        app.add_middleware(FalconRoutes())


def _hook_blacksheep(app: _Duck) -> None:
    router, handle_websocket = app.router, app._handle_websocket
    if isinstance(router.get_match, _BlackSheepMatch):
        return
    router.get_match = _BlackSheepMatch(router.get_match)

    async def handle_and_publish(scope: _Duck, receive: object, send: object) -> None:
        path, root_path = scope["path"], scope.get("root_path", "")
        if root_path and path.startswith(root_path):
            path = path[len(root_path) :] or "/"
        _publish_blacksheep(scope, router.get_match_by_method_and_path("GET_WS", path))  # as the original; cached
        await handle_websocket(scope, receive, send)

    app._handle_websocket = handle_and_publish


class _BlackSheepMatch:
    """The router's `get_match`, which sees the request and the route that it gets."""

    def __init__(self, get_match: Callable[[Any], Any]) -> None:
        self._get_match = get_match

    def __call__(self, request: _Duck) -> object:
        match = self._get_match(request)
        _publish_blacksheep(request.scope, match)
        return match


def _publish_blacksheep(scope: _Duck, match: _Duck) -> None:
    if match is not None and match.pattern != b"*":  # which is the fallback
        scope["path_template"] = _BLACKSHEEP_PARAMETER.sub(r"{\1}", match.pattern.decode())


_HOOKS: dict[str, Callable[[Any], None]] = {
    "quart": _hook_quart,
    "django": _hook_django,
    "falcon": _hook_falcon,
    "blacksheep": _hook_blacksheep,
}
