"""The ASGI callables as this package names them.

They are wider than `asgiref.typing` and `starlette.types` on purpose: those two are not assignable to each other, and
a middleware has to be acceptable to the users of both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application."""
RawHeaders: TypeAlias = list[tuple[bytes, bytes]]
"""Header names and values as ASGI carries them; names in lower case."""
