"""Which route handled a request: its template (`/items/{id}`), never the concrete path.

Read from the scope after routing, at the same cost however many routes there are. The sources, in this order:

1. `scope["asgi_infra"]["route"]`: the whole template, for whoever knows better than the rest.
2. `scope["path_template"]`: any application or framework may set it, relative to where it is mounted, and so do
   Litestar and the hooks of `asgi_infra.middleware.hooks`.
3. FastAPI's route context and Starlette's `scope["route"]`.
4. `scope["endpoint"]`, looked up among the routes of `scope["router"]`, where the framework publishes nothing else.

Parameters have one spelling, `{id}`, whatever the framework writes, and a template starts with a slash. The templates
of the mounts stand before it, parameters included. The prefix of a proxy (the server's `root_path`) does not.

Example:
    >>> scope = {"type": "http", "path": "/items/7", "path_template": "/items/<int:id>"}
    >>> resolve(scope, "")
    '/items/{id}'
"""

from __future__ import annotations

import re
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from asgi_infra.types import Scope

_Duck: TypeAlias = Any
"""An object of a framework, known by its attributes alone: importing the framework would cost more than we do."""

_MAX_TEMPLATES = 4096
_MAX_ROUTERS = 64
_MAX_PLACES = 100_000
_MAX_MISSING = 256
_MAX_DEPTH = 16
_MOUNT_TAIL = "/{path}"

_BRACES = re.compile(r"\{\s*([^\W\d]\w*)(?::(?:[^{}]|\{[^{}]*\})*)?\}")
_ANGLES = re.compile(r"<(?:[^<>:()]*(?:\([^()]*\))?:)?([^\W\d]\w*)>")
_COLON = re.compile(r"(?<=/):([^\W\d]\w*)(?=/|$)")
_REGEX_MARK = re.compile(r"\(\?|(?:^|/)\^|\\|\$$")
_GROUP = re.compile(r"\(\?(?:P<(\w+)>|[:=!]|<[=!]|[aiLmsux-]+[:)])?")

_templates: dict[str, str] = {}
_indexes: dict[int, _Index] = {}
_litestar_mounts: dict[int, tuple[object, str]] = {}


def resolve(scope: Scope, root_path: str) -> str | None:
    """Return the template of the route that handled the request, or `None` when no route did.

    A 404 has no route, inside a mounted router too; a 405 has one where the framework says which. What a mounted
    application that is no router answers, such as static files, belongs to the mount (`/static/{path}`).

    Args:
        scope: The scope after routing, as the application has left it.
        root_path: What `scope["root_path"]` was on entry; the mounts of frameworks make it longer.
    """
    try:
        ours = scope.get("asgi_infra")
        if ours and (told := ours.get("route")):
            return normalise(told)
        template = scope.get("path_template")
        if template:
            return _full(scope, root_path, scope.get("endpoint"), template)
        outer = "" if template is None else _litestar_mount(scope)
        route = scope.get("route")
        fastapi = scope.get("fastapi")
        if fastapi and (context := fastapi.get("effective_route_context")) is not None:
            own = getattr(context, "starlette_route", None)
            if context.original_route is route if own is None else _answers(own, scope.get("endpoint")):
                return _full(scope, root_path, context.original_route, (own or context).path_format, outer)
        if route is not None and getattr(route, "endpoint", None) is not None:
            return _full(scope, root_path, route, route.path_format, outer)
        return _by_endpoint(scope, outer)
    except Exception:  # noqa: BLE001 - the scope holds whatever frameworks and applications have put there
        return None


def normalise(template: str) -> str:
    """Return a template in our spelling: a leading slash, parameters as `{id}`.

    Understands `{id:int}`, `<int:id>`, `<id>`, `/:id`, and the regular expressions of Django's `re_path`.

    Example:
        >>> normalise("items/<int:id>"), normalise("^items/(?P<id>[0-9]+)/$")
        ('/items/{id}', '/items/{id}/')
    """
    known = _templates.get(template)
    if known is not None:
        return known
    text = _from_regex(template) if _REGEX_MARK.search(template) else template
    for pattern in (_BRACES, _ANGLES, _COLON):
        text = pattern.sub(r"{\1}", text)
    if not text.startswith("/"):
        text = f"/{text}"
    if len(_templates) >= _MAX_TEMPLATES:
        _templates.clear()
    _templates[template] = text
    return text


def _full(scope: Scope, root_path: str, target: object, template: str, outer: str = "") -> str:
    """Return a template with those of the mounts above it; at the root, that is one look-up."""
    if not outer and scope.get("root_path", "") == scope.get("app_root_path", root_path):
        return _templates.get(template) or normalise(template)
    return _below(outer + _mounts(scope, root_path, target), template)


def _answers(route: _Duck, endpoint: object) -> bool:
    """Whether a route of FastAPI's context is the one that answered, rather than a mount on the way to it."""
    return endpoint is not None and getattr(route, "endpoint", None) is endpoint


def _below(prefix: str, template: str) -> str:
    if not prefix:
        return normalise(template)
    return normalise(prefix + template if template.startswith("/") else f"{prefix}/{template}")


def _mounts(scope: Scope, root_path: str, target: object) -> str:
    """Return the templates of the mounts above a route; empty, without a look-up, where nothing is mounted."""
    router = scope.get("router")
    if router is None or scope.get("root_path", "") == scope.get("app_root_path", root_path):
        return ""
    place = _index(router).find(target, scope)
    return place.prefix if place is not None else ""


def _by_endpoint(scope: Scope, outer: str) -> str | None:
    router, endpoint = scope.get("router"), scope.get("endpoint")
    if router is None:
        return _below(outer, _MOUNT_TAIL) if outer else None
    if endpoint is None:
        return None
    place = _index(router).find(endpoint, scope)
    return None if place is None or place.leaf is None else _below(outer + place.prefix, place.leaf)


def _litestar_mount(scope: Scope) -> str:
    """Return the path of the application that Litestar has mounted: it leaves `""` as the template of those."""
    handler = scope["route_handler"]
    known = _litestar_mounts.get(id(handler))
    if known is not None:
        return known[1]
    routes = scope["litestar_app"].routes
    found: str = next((route.path_format for route in routes if getattr(route, "route_handler", None) is handler), "")
    if len(_litestar_mounts) >= _MAX_ROUTERS:
        _litestar_mounts.clear()
    _litestar_mounts[id(handler)] = (handler, found.rstrip("/"))
    return found.rstrip("/")


class _Place(NamedTuple):
    """Where a route or a mounted application hangs in the tree of routers."""

    prefix: str
    """The templates of the mounts above it, or up to it for a mount."""
    mounts: tuple[re.Pattern[str], ...]
    leaf: str | None
    """The template below the prefix; `None` where an inner router decides."""
    regex: re.Pattern[str] | None

    def fits(self, path: str) -> bool:
        for mount in self.mounts:
            match = mount.match(path)
            if match is None:
                return False
            path = f"/{match['path']}"
        return self.regex is None or self.regex.match(path) is not None


class _Index:
    """Every place of every route below one router, found in one walk; strong references keep the ids valid."""

    def __init__(self, router: _Duck) -> None:
        self.router = router
        self._missing: dict[int, object] = {}
        self._places, self._opaque = _survey(router)

    def find(self, target: object, scope: Scope) -> _Place | None:
        key = id(target)
        found = self._places.get(key)
        if found is None and key not in self._missing and len(self._missing) < _MAX_MISSING:
            self._places, self._opaque = _survey(self.router)  # routes may have been added since
            found = self._places.get(key)
            if found is None:
                self._missing[key] = target
        places = found[1] if found else self._opaque
        if found and len(places) == 1:
            return places[0]
        path = _path_below(scope)
        return next((place for place in places if place.fits(path)), None)


_Places: TypeAlias = dict[int, tuple[object, list[_Place]]]


def _survey(router: _Duck) -> tuple[_Places, list[_Place]]:
    """Return the places of each route, endpoint and mounted application by its id, and those that are no routers."""
    places: _Places = {}
    opaque: list[_Place] = []
    for place, targets in islice(_walk(router, "", (), ()), _MAX_PLACES):
        if place.leaf is not None and place.regex is None:
            opaque.append(place)
        for target in targets:
            places.setdefault(id(target), (target, []))[1].append(place)
    return places, opaque


def _walk(
    app: _Duck, prefix: str, mounts: tuple[re.Pattern[str], ...], above: tuple[int, ...]
) -> Iterator[tuple[_Place, tuple[object, ...]]]:
    if id(app) in above or len(above) >= _MAX_DEPTH:
        return
    for route in _flat(_routes_of(app)):
        template: str = getattr(route, "path_format", None) or ""
        regex: re.Pattern[str] | None = getattr(route, "path_regex", None)
        identity = getattr(route, "original_route", route)
        endpoint, inner = getattr(route, "endpoint", None), getattr(route, "app", None)
        if endpoint is not None:
            yield _Place(prefix, mounts, template, regex), (identity, endpoint)
        elif inner is not None:  # a Mount, or a Host, which has no path of its own
            below = prefix + template.removesuffix(_MOUNT_TAIL)
            chain = mounts if regex is None else (*mounts, regex)
            leaf = None if _routes_of(route) else _MOUNT_TAIL
            yield _Place(below, chain, leaf, None), (identity, inner)
            yield from _walk(route, below, chain, (*above, id(app)))


def _index(router: _Duck) -> _Index:
    index = _indexes.get(id(router))
    if index is None:
        if len(_indexes) >= _MAX_ROUTERS:
            _indexes.clear()
        index = _indexes[id(router)] = _Index(router)
    return index


def _routes_of(app: _Duck) -> list[Any]:
    """Return the routes of a router, a mount or an application, also when middlewares are wrapped around it."""
    for _ in range(_MAX_DEPTH):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list | tuple) and routes:
            return list(routes)
        app = getattr(app, "app", None)
        if app is None:
            break
    return []


def _flat(routes: list[Any]) -> Iterable[Any]:
    """Expand the routers that FastAPI (0.137 and later) keeps as one entry among the routes."""
    fastapi = sys.modules.get("fastapi.routing")
    expand = getattr(fastapi, "iter_route_contexts", None)
    return routes if expand is None else expand(routes)


def _path_below(scope: Scope) -> str:
    path: str = scope["path"]
    base: str = scope.get("app_root_path", scope.get("root_path", ""))
    return path[len(base) :] if base and path.startswith(f"{base}/") else path


def _from_regex(pattern: str) -> str:
    """Return a regular expression of a URL as a template: groups become parameters, the rest is taken literally."""
    text, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            following = pattern[at + 1 : at + 2]
            text += "" if following in "AZbB" else following
            at += 2
        elif char == "(":
            end = _closing(pattern, at)
            group = _GROUP.match(pattern, at)
            if group is None:
                text += "{var}"
            elif group[1]:
                text += f"{{{group[1]}}}"
            elif group[0].endswith(":"):
                text += _from_regex(pattern[group.end() : end])
            at = end + 1
        else:
            text += "" if char in "^$?*+" else char
            at += 1
    return text


def _closing(pattern: str, start: int) -> int:
    """Return the index of the parenthesis that closes the one at `start`, or of the last character."""
    depth, at, in_class = 0, start, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return len(pattern) - 1
