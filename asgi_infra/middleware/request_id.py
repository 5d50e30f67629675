"""Request ids: accepted from the client when valid, made otherwise, and echoed on every response."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from asgi_infra import faults
from asgi_infra.context import get_request_id, request_id_var
from asgi_infra.errors import ConfigurationError
from asgi_infra.ids import uuid7
from asgi_infra.middleware.engine import SCOPE_KEY, Engine, Observer
from asgi_infra.options import require_flag, require_hook, shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from asgi_infra.middleware.exchange import Exchange
    from asgi_infra.paths import Exclude
    from asgi_infra.types import ASGIApp

DEFAULT_HEADER = "X-Request-ID"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, section 5.6.2
_SAFE = re.compile(rb"[0-9A-Za-z._:+/=@~-]+")


class RequestID(Observer):
    """The request id as a feature; see `RequestIDMiddleware` for the options."""

    feature = "request_id"

    def __init__(
        self,
        *,
        header: str = DEFAULT_HEADER,
        generator: Callable[[], str] = uuid7,
        validator: Callable[[str], bool] | None = None,
        max_length: int = 128,
        accept: bool = True,
        echo: bool = True,
    ) -> None:
        if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header):
            raise ConfigurationError(
                f"header must be the name of an HTTP header, such as {DEFAULT_HEADER!r}, not {shown(header)}"
            )
        if not isinstance(max_length, int) or isinstance(max_length, bool) or not 1 <= max_length <= 1024:
            raise ConfigurationError(f"max_length must be an integer from 1 to 1024, not {shown(max_length)}")
        require_hook("generator", generator)
        if validator is not None:
            require_hook("validator", validator)
        require_flag("accept", accept)
        require_flag("echo", echo)
        self._name = header.lower().encode("ascii")
        self._generator = generator
        self._validator = validator
        self._max_length = max_length
        self._accept = accept
        self._echo = echo

    def start(self, exchange: Exchange) -> None:
        given = exchange.headers.get(self._name)
        request_id = self._accepted(given) if given is not None else None
        if request_id is None:
            request_id = uuid7() if self._generator is uuid7 else self._made()
        exchange.request_id = exchange.scope[SCOPE_KEY]["request_id"] = request_id
        if self._echo:
            exchange.response_headers[self._name] = request_id.encode()
        if exchange.span is not None:  # tracing started first, in a middleware outside of this one
            exchange.span.set_attribute("request_id", request_id)
        exchange.request_id_token = request_id_var.set(request_id)

    def close(self, exchange: Exchange) -> None:
        try:  # not suppress(), which costs three calls on the path of each request
            request_id_var.reset(exchange.request_id_token)
        except ValueError:  # an abandoned exchange is closed in the garbage collector's context, not in its own
            return

    def _accepted(self, raw: bytes) -> str | None:
        if not self._accept or len(raw) > self._max_length or not _SAFE.fullmatch(raw):
            return None
        request_id = raw.decode("ascii")
        if self._validator is not None:
            try:
                if not self._validator(request_id):
                    return None
            except Exception as exc:  # noqa: BLE001
                faults.record("request_id.validator", exc)
                return None
        return request_id

    def _made(self) -> str:
        try:
            request_id = self._generator()
            if len(request_id) <= self._max_length and _SAFE.fullmatch(request_id.encode("ascii")):
                return request_id
            raise ValueError("the generator's id is too long, empty, or has characters that a header can't carry")
        except Exception as exc:  # noqa: BLE001
            faults.record("request_id.generator", exc)
            return uuid7()


class RequestIDOptions(TypedDict, total=False):
    """The options of `RequestIDMiddleware`."""

    header: str
    generator: Callable[[], str]
    validator: Callable[[str], bool] | None
    max_length: int
    accept: bool
    echo: bool


class RequestIDMiddleware(Engine):
    """Give every request an id that the response, the logs and the traces share.

    Args:
        app: The ASGI application to wrap.
        header: The header that carries the id, in the request and in the response.
        generator: Makes an id where the request has none that is valid; UUIDv7 by default.
        validator: A further check of an id that came with the request, after the one on length and characters; what
            it refuses is replaced.
        max_length: The longest id that is accepted, in characters.
        accept: Whether to take the client's id at all; `False` behind nothing that you trust.
        echo: Whether to put the header on responses and on `websocket.accept`. One that the application set itself
            is replaced, so that there is one id.
        exclude: Paths to leave alone, as `PathRules` takes them.

    Raises:
        ConfigurationError: An option is wrong; it is a `ValueError` too.

    Accepted ids have 1 to `max_length` ASCII letters, digits and `._:+/=@~-`, so that an id can't forge a header or a
    log line.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        exclude: Exclude = (),
        **options: Unpack[RequestIDOptions],
    ) -> None:
        super().__init__(app, [RequestID(**options)], exclude=exclude)


class RequestIDFilter(logging.Filter):
    """Give every log record the attribute `request_id`, for formats such as `"%(request_id)s %(message)s"`.

    Args:
        default: What a record outside of a request gets.

    Example:
        >>> handler = logging.StreamHandler()
        >>> handler.addFilter(RequestIDFilter())
    """

    def __init__(self, default: str = "-") -> None:
        super().__init__()
        self._default = default

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = get_request_id() or self._default
        return True


class _Done:
    """An awaitable with nothing to wait for, which a synchronous caller may ignore."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


def forward_request_id(request: Any) -> Awaitable[None]:
    """Send the current request's id along with an outgoing request; a hook for httpx and httpx2 clients of both kinds.

    A request that already has the header is left alone, and so is one outside of a request.

    Example:
        >>> client = httpx.AsyncClient(event_hooks={"request": [forward_request_id]})
    """
    request_id = get_request_id()
    if request_id is not None and DEFAULT_HEADER not in request.headers:
        request.headers[DEFAULT_HEADER] = request_id
    return _Done()
