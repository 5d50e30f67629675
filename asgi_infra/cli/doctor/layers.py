"""What an application consists of: its framework, and the middlewares around and inside it, outermost first."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeAlias

from asgi_infra.middleware.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

_Duck: TypeAlias = Any
"""An object of a framework or an application, known by its attributes alone."""

_FRAMEWORKS = {
    "fastapi.applications.FastAPI": ("FastAPI", "fastapi"),
    "starlette.applications.Starlette": ("Starlette", "starlette"),
    "litestar.app.Litestar": ("Litestar", "litestar"),
    "quart.app.Quart": ("Quart", "quart"),
    "django.core.handlers.asgi.ASGIHandler": ("Django", "django"),
    "falcon.asgi.app.App": ("Falcon", "falcon"),
    "blacksheep.server.application.Application": ("BlackSheep", "blacksheep"),
    "sanic.app.Sanic": ("Sanic", "sanic"),
}
_NEXT = ("app", "_app", "application", "asgi_app", "wrapped", "_wrapped", "asgi_application")
_MAX_LAYERS = 64


@dataclass(frozen=True, slots=True)
class Layer:
    """One middleware."""

    kind: type[Any] | None
    """Its class; `None` for a function."""
    name: str
    """The dotted name of its class or function."""
    inside: bool
    """Whether the framework runs it, so that it misses what the framework answers on its own."""
    features: tuple[str, ...] = ()
    """The features of ours that it has; empty for others."""
    built: bool = True
    """Whether there is an instance of it already, rather than a framework's promise to make one."""


@dataclass(slots=True)
class Anatomy:
    """What `examine` has found."""

    app: Any
    framework: str | None = None
    """The framework's name, or `None` for an application of none."""
    version: str | None = None
    core: Any = None
    """The framework's own object."""
    layers: list[Layer] = field(default_factory=list)
    fault: Exception | None = None
    """What the framework raised when it put its middlewares together."""

    @property
    def ours(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.features]


def examine(app: _Duck) -> Anatomy:
    """Take an application apart without running it; Starlette and FastAPI are made to build their middleware."""
    anatomy = Anatomy(app)
    inside = False
    seen: list[Any] = []
    current = app
    while current is not None and len(seen) < _MAX_LAYERS and not any(current is other for other in seen):
        seen.append(current)
        framework = _framework(current)
        if framework is None:
            if _is_router(current) or inspect.ismethod(current):
                break
            if callable(current) and (inside or _inner(current) is not None):
                anatomy.layers.append(_layer(current, inside=inside))
            current = _inner(current)
            continue
        anatomy.framework, distribution = framework
        anatomy.version = _version(distribution)
        anatomy.core = current
        inside = True
        current = _enter(current, anatomy)
    return anatomy


def class_names(kind: type[Any] | None) -> list[str]:
    """Return the dotted names of a class and its bases."""
    return [] if kind is None else [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]


def _framework(app: _Duck) -> tuple[str, str] | None:
    return next((_FRAMEWORKS[name] for name in class_names(type(app)) if name in _FRAMEWORKS), None)


def _enter(core: _Duck, anatomy: Anatomy) -> _Duck:
    """Note the middlewares that the framework lists, and return the outermost of a chain that can be walked."""
    if anatomy.framework in ("Starlette", "FastAPI"):
        try:
            return core.middleware_stack or core.build_middleware_stack()
        except Exception as exc:  # noqa: BLE001 - whatever a middleware's constructor raises is a finding
            anatomy.fault = exc
            anatomy.layers += [_listed(entry.cls) for entry in core.user_middleware]
            return None
    if anatomy.framework == "Quart":
        return core.asgi_app
    if anatomy.framework == "Litestar" and isinstance(core.asgi_handler, Engine):
        anatomy.layers.append(_layer(core.asgi_handler, inside=False))  # where install() puts it
    anatomy.layers += [_listed(entry) for entry in _entries(core, anatomy.framework)]
    return None


def _entries(core: _Duck, framework: str | None) -> Iterator[Any]:
    if framework == "Litestar":
        yield from core.middleware
    elif framework == "BlackSheep":
        yield from core.middlewares
    elif framework == "Falcon":
        yield from getattr(core, "_unprepared_middleware", ())
    elif framework == "Django":
        settings = sys.modules["django.conf"].settings
        yield from settings.MIDDLEWARE


def _listed(entry: _Duck) -> Layer:
    """Return the layer of a middleware that is listed rather than built: a class, a function, a name, a definition."""
    if isinstance(entry, str):
        return Layer(None, entry, inside=True)
    entry = getattr(entry, "middleware", entry)
    if not isinstance(entry, type):
        return _layer(entry, inside=True)
    features: tuple[str, ...] = ()
    if issubclass(entry, Engine):
        features = (
            ("request_id", "tracing", "metrics", "access_log")
            if entry.__name__ == "InfraMiddleware"
            else (entry.__name__,)
        )
    return Layer(entry, _name(entry), inside=True, features=features, built=False)


def _layer(current: _Duck, *, inside: bool) -> Layer:
    if inspect.isroutine(current):
        return Layer(None, f"{current.__module__}.{current.__qualname__}", inside=inside)
    observers = current._plan.observers if isinstance(current, Engine) else ()
    return Layer(
        type(current),
        _name(type(current)),
        inside=inside,
        features=tuple(observer.feature for observer in observers),
    )


def _inner(current: _Duck) -> _Duck:
    if inspect.isfunction(current):
        return next((value for name, value in _closure(current) if name in _NEXT and callable(value)), None)
    for name in _NEXT:
        inner = getattr(current, name, None)
        if callable(inner) and not isinstance(inner, type):
            return inner
    return None


def _closure(function: _Duck) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a cell that is still empty
            continue


def _is_router(current: _Duck) -> bool:
    return any(name in ("starlette.routing.Router", "starlette.routing.Route") for name in class_names(type(current)))


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
