"""`install`: the stack around an application, outermost, with the framework's object left what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.hooks import publish_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.middleware.stack import InfraMiddleware, InfraOptions
    from asgi_infra.types import ASGIApp

_Duck: TypeAlias = Any
"""An application of any framework, known by its attributes alone."""


def install(app: _Duck, **options: Unpack[InfraOptions]) -> _Duck:
    """Put `InfraMiddleware` around an application, outside of all that the framework does, and return what to serve.

    | application | what is returned |
    |---|---|
    | Starlette, FastAPI | the application itself; error responses carry the request id too |
    | Litestar | the application itself; 404, 405 and 500 are seen too |
    | Quart | the application itself, which says its routes |
    | Django, Falcon, BlackSheep | the wrapped application, which says its routes |
    | any other ASGI application | the wrapped application |

    Where the application itself is returned, `fastapi run`, `litestar run` and test clients find what they expect.
    Calling it a second time returns the same and changes nothing, options included.

    Args:
        app: An ASGI application.
        **options: What `InfraMiddleware` takes.

    Raises:
        ConfigurationError: `app` is no ASGI application, or has started already, or an option is wrong.

    Example:
        >>> from starlette.applications import Starlette
        >>> app = Starlette()
        >>> install(app, service="shop") is app
        True
    """
    from asgi_infra.middleware.stack import InfraMiddleware

    if isinstance(app, InfraMiddleware):
        return app
    if not _may_be_called(app):
        raise ConfigurationError(f"app must be an ASGI application, such as FastAPI(), not {_describe(app)}")
    if hasattr(app, "build_middleware_stack") and hasattr(app, "middleware_stack"):
        _install_in_starlette(app, options)
        return app
    for attribute in ("asgi_handler", "asgi_app"):  # Litestar's, and Quart's
        inner = getattr(app, attribute, None)
        if inner is not None:
            publish_routes(app)
            if not isinstance(inner, InfraMiddleware):
                setattr(app, attribute, InfraMiddleware(inner, **options))
            return app
    wrapped = InfraMiddleware(app, **options)
    publish_routes(app)
    return wrapped


class _Build:
    """What builds the stack of a Starlette application, with ours around it."""

    def __init__(self, build: Callable[[], ASGIApp], middleware: InfraMiddleware) -> None:
        self._build = build
        self._middleware = middleware

    def __call__(self) -> ASGIApp:
        self._middleware.app = self._build()
        return self._middleware


def _install_in_starlette(app: _Duck, options: InfraOptions) -> None:
    from asgi_infra.middleware.stack import InfraMiddleware

    if isinstance(app.build_middleware_stack, _Build):
        return
    if app.middleware_stack is not None:
        raise ConfigurationError(
            f"app must not have handled a request or its lifespan before install(); this {type(app).__name__} has. "
            "Call install() where the application is made"
        )
    # Made at once, so that a wrong option is told here, and not at the first request.
    app.build_middleware_stack = _Build(app.build_middleware_stack, InfraMiddleware(app, **options))


def _may_be_called(app: object) -> bool:
    return callable(app) and not isinstance(app, type)  # a class would be made, not asked


def _describe(app: object) -> str:
    return f"the class {app.__qualname__}" if isinstance(app, type) else f"a value of type {type(app).__name__}"
