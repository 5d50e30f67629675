"""HTTP methods as labels and attributes: known ones as they are, all others as one value."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

OTHER = "_OTHER"
"""What stands for every method that is not known."""

KNOWN_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
"""RFC 9110, section 9, with PATCH (RFC 5789) and QUERY; what the OpenTelemetry HTTP conventions take as known."""

ENVIRONMENT_VARIABLE = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2


class KnownMethods:
    """Which methods keep their name; a client that sends any others adds one label value, not many.

    Args:
        methods: The known methods, replacing the default. Without it, the comma-separated
            `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` is read now and replaces the default where it is set. Methods
            are case-sensitive (RFC 9110, section 9.1).

    Raises:
        ConfigurationError: A method is not a token of RFC 9110, or none is given.

    Example:
        >>> known = KnownMethods(["GET", "PURGE"])
        >>> known.label("PURGE"), known.label("POST")
        ('PURGE', '_OTHER')
    """

    __slots__ = ("_labels", "names")

    def __init__(self, methods: Iterable[str] | None = None) -> None:
        source = "known_methods"
        if methods is None:
            listed = [name for part in os.environ.get(ENVIRONMENT_VARIABLE, "").split(",") if (name := part.strip())]
            methods, source = (listed, ENVIRONMENT_VARIABLE) if listed else (KNOWN_METHODS, source)
        self.names = _validated(methods, source)
        self._labels = {name: name for name in self.names}

    def label(self, method: str) -> str:
        """Return `method` where it is known, and `_OTHER` where it is not."""
        return self._labels.get(method, OTHER)


def _validated(methods: Iterable[str], source: str) -> tuple[str, ...]:
    if isinstance(methods, str):
        raise ConfigurationError(
            f"{source} must be a list of methods, such as ['GET'], not the one string {methods!r:.80}"
        )
    try:
        names = tuple(dict.fromkeys(methods))
    except TypeError as exc:
        raise ConfigurationError(f"{source} must be a list of methods, not {type(methods).__name__}") from exc
    if not names:
        raise ConfigurationError(f"{source} must have at least one method; leave it out for the usual ones")
    for name in names:
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"{source} must hold HTTP methods such as 'GET', not {name!r:.80}")
    return names
