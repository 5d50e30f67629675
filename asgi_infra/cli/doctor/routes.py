"""The routes of an application, as the `path` label of its metrics will show them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from asgi_infra.middleware.routes import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_infra.cli.doctor.layers import Anatomy

_Duck: TypeAlias = Any
"""An object of a framework or an application, known by its attributes alone."""

_MAX_DEPTH = 16


def preview(anatomy: Anatomy) -> list[tuple[str, str]]:
    """Return methods and label of each route, in the order of the routes; empty where a framework doesn't list them."""
    listing = _LISTINGS.get(anatomy.framework or "")
    return [] if listing is None else list(dict.fromkeys(listing(anatomy.core)))


def _starlette(app: _Duck, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    for route in _contexts(getattr(app, "routes", None) or ()):
        template: str = getattr(route, "path_format", None) or getattr(route, "path", None) or ""
        own = getattr(route, "starlette_route", None)
        template = getattr(own, "path_format", None) or template
        inner = getattr(route, "routes", None)
        if inner is not None and getattr(route, "endpoint", None) is None and depth < _MAX_DEPTH:
            below = prefix + template.removesuffix("/{path}")
            if inner:
                yield from _starlette(route, below, depth + 1)
            else:
                yield "*", normalise(f"{below}/{{path}}")
            continue
        methods = getattr(route, "methods", None)
        websocket = "WebSocket" in type(getattr(route, "original_route", route)).__name__
        yield ("WS" if websocket else ",".join(sorted(methods or ())) or "*"), normalise(prefix + template)


def _contexts(routes: _Duck) -> _Duck:
    """Expand the routers that FastAPI keeps as one entry among the routes."""
    expand = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    return routes if expand is None else expand(routes)


def _litestar(app: _Duck) -> Iterator[tuple[str, str]]:
    for route in app.routes:
        methods = ",".join(sorted(getattr(route, "methods", ()))) or "*"
        yield ("WS" if "WebSocket" in type(route).__name__ else methods), normalise(route.path_format)


def _quart(app: _Duck) -> Iterator[tuple[str, str]]:
    for rule in app.url_map.iter_rules():
        yield ("WS" if rule.websocket else ",".join(sorted(rule.methods or ()))), normalise(rule.rule)


_LISTINGS = {"Starlette": _starlette, "FastAPI": _starlette, "Litestar": _litestar, "Quart": _quart}
