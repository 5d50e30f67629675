"""From `module:app` to the application, with an answer that helps when it isn't there."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, TypeAlias

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from types import ModuleType

    from asgi_infra.types import ASGIApp

_Duck: TypeAlias = Any
"""An object of a framework or an application, known by its attributes alone."""


def load_target(target: str, *, factory: bool = False) -> ASGIApp:
    """Import the application that an import string names; the current directory counts as a place for modules.

    Args:
        target: `module:attribute`; both parts may be dotted.
        factory: Whether the attribute is a function without arguments that returns the application.

    Raises:
        ConfigurationError: If the string, the module, the attribute or what it holds is wrong; the message says what
            was looked for, and what would be right. If the application's own code raised, `__cause__` has it.

    Example:
        >>> app = load_target("shop:app")
    """
    module_name, attribute = split_target(target)
    directory = os.getcwd()
    if "" not in sys.path and directory not in sys.path:
        sys.path.insert(0, directory)
    module = _import(module_name)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as exc:
            raise ConfigurationError(_missing_attribute(module, attribute)) from exc
    if factory:
        found = _call_factory(found, target)
    _check_application(found, target, factory=factory)
    application: ASGIApp = found
    return application


def split_target(target: str) -> tuple[str, str]:
    """Return module and attribute of an import string.

    Raises:
        ConfigurationError: If it is not of the form `module:attribute`.
    """
    module_name, colon, attribute = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name or "\\" in module_name:
        dotted = module_name.removesuffix(".py").replace("\\", "/").strip("./").replace("/", ".")
        raise ConfigurationError(
            f"target {target!r} names a file; name the module instead: {dotted}:{attribute or 'app'}"
        )
    if not colon or not module_name or not attribute:
        raise ConfigurationError(
            f"target {target!r} must be of the form module:app, for example shop:app or shop.main:app"
        )
    for part in (*module_name.split("."), *attribute.split(".")):
        if not part.isidentifier():
            raise ConfigurationError(f"target {target!r} must be of the form module:app; {part!r} is not a name")
    return module_name, attribute


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (name == exc.name or name.startswith(f"{exc.name}.")):
            raise ConfigurationError(
                f"no module {exc.name!r}; it was looked for in the current directory and among the installed packages. "
                "Change to the directory that holds it, or set PYTHONPATH"
            ) from exc
        raise _app_failed(f"importing {name!r}", exc, f"import {name}") from exc
    except SystemExit as exc:
        raise ConfigurationError(
            f"importing {name!r} ends the process; guard what starts it with: if __name__ == '__main__'"
        ) from exc
    except Exception as exc:
        raise _app_failed(f"importing {name!r}", exc, f"import {name}") from exc


def _missing_attribute(module: ModuleType, attribute: str) -> str:
    head = attribute.split(".", maxsplit=1)[0]
    names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    near = difflib.get_close_matches(head, names, n=1, cutoff=0.5)
    where = f" ({module.__file__})" if getattr(module, "__file__", None) else ""
    hint = f"; did you mean {module.__name__}:{near[0]}?" if near else ""
    return f"module {module.__name__!r}{where} has no attribute {attribute!r}{hint}"


def _call_factory(factory: _Duck, target: str) -> _Duck:
    if not callable(factory):
        raise ConfigurationError(f"{target!r} is {_article(factory)}, not a factory; leave out --factory")
    try:
        inspect.signature(factory).bind()
    except TypeError as exc:
        raise ConfigurationError(
            f"{target!r} can't be called without arguments, so is no factory; leave out --factory if it is the app"
        ) from exc
    except ValueError:
        pass  # a callable without a signature: calling it will tell
    try:
        return factory()
    except Exception as exc:
        module_name, attribute = split_target(target)
        raise _app_failed(f"calling {target!r}", exc, f"import {module_name}; {module_name}.{attribute}()") from exc


def _check_application(found: _Duck, target: str, *, factory: bool) -> None:
    what = f"what {target!r} returned" if factory else repr(target)
    if inspect.iscoroutine(found):
        found.close()
        raise ConfigurationError(f"{what} is a coroutine; a factory must be a plain function, not async")
    if not callable(found):
        raise ConfigurationError(f"{what} is {_article(found)}, not an ASGI application (app(scope, receive, send))")
    if factory:
        return
    if inspect.isclass(found):
        raise ConfigurationError(f"{what} is a class; name an instance of it, or add --factory if calling it makes one")
    if inspect.isfunction(found) and not inspect.iscoroutinefunction(found) and not _required(found):
        raise ConfigurationError(f"{what} is a function without arguments, so a factory; add --factory")


def _required(function: _Duck) -> bool:
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return any(
        parameter.kind in kinds and parameter.default is inspect.Parameter.empty
        for parameter in inspect.signature(function).parameters.values()
    )


def _app_failed(doing: str, exc: BaseException, statement: str) -> ConfigurationError:
    frames = [frame for frame in traceback.extract_tb(exc.__traceback__) if "importlib" not in frame.filename]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    if isinstance(exc, SyntaxError):
        where = f" ({exc.filename}, line {exc.lineno})"
    text = (str(exc).splitlines() or [""])[0]
    return ConfigurationError(
        f"{doing} failed: {type(exc).__name__}: {text}{where}. For the traceback: python -c '{statement}'"
    )


def _article(found: _Duck) -> str:
    name = type(found).__name__
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"
