"""The `OTEL_*` variables that the SDK and its exporters read by themselves, checked before they do.

What they can't use, they log, credentials included, and then go on without it. Here it stops the start, and the value
stays out of the message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

INHERITED: Final = (
    "OTEL_EXPORTER_OTLP_",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SPAN_",
    "OTEL_EVENT_",
    "OTEL_LINK_",
    "OTEL_ATTRIBUTE_",
    "OTEL_EXPERIMENTAL_",
    "OTEL_METRICS_EXEMPLAR_FILTER",
)
"""How the names of these variables begin."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110, section 5.5
_ENCODED_VALUE: Final = re.compile(r"[\x20\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")  # as the exporters read it
_UNSAFE_IN_URL: Final = re.compile(r"[\x00-\x20\x7f]")


def check_variables(environ: Mapping[str, str], otlp_signals: Iterable[str]) -> None:
    """Raise for the first variable that is set, and not to what its specification allows.

    Args:
        environ: All variables. An empty one counts as not set.
        otlp_signals: The signals, `TRACES` and `METRICS`, that leave by OTLP.

    Raises:
        ConfigurationError: It names the variable and what would be right.
    """
    checks = dict(_CHECKS)
    for signal in otlp_signals:
        checks |= {f"OTEL_EXPORTER_OTLP_{name}": check for name, check in _OTLP_CHECKS.items()}
        checks |= {f"OTEL_EXPORTER_OTLP_{signal}_{name}": check for name, check in _OTLP_CHECKS.items()}
    for variable, (is_right, right) in checks.items():
        value = environ.get(variable, "").strip()
        if value and not is_right(value):
            raise ConfigurationError(f"{variable} must be {right}; its value is not shown")


def check_headers(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Return the headers for the OTLP receiver, sorted.

    Raises:
        ConfigurationError: It is no mapping, or a name or a value is none that HTTP can send.
    """
    if not isinstance(headers, Mapping | None):
        raise ConfigurationError(f"headers must map names to values, not be a {type(headers).__name__}; none is shown")
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError("headers must have names that HTTP allows: letters, digits and hyphens")
        if not isinstance(value, str) or not _FIELD_VALUE.fullmatch(value):
            raise ConfigurationError(
                f"headers[{name[:40]!r}] must be a text of one line, in Latin-1; its value is not shown"
            )
    return tuple(sorted((headers or {}).items()))


def is_url(value: str) -> bool:
    """Return whether it is a URL that an exporter can send to."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # the port is no number, or a bracket stands alone
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and port != 0
        and not _UNSAFE_IN_URL.search(value)
        and not parts.fragment
    )


def _are_headers(value: str) -> bool:
    for item in value.split(","):
        name, equals, encoded = item.strip(" \t").partition("=")
        if item.strip(" \t") and not (
            equals
            and _TOKEN.fullmatch(name.strip(" \t"))
            and _ENCODED_VALUE.fullmatch(encoded)
            and _FIELD_VALUE.fullmatch(unquote(encoded, "latin-1"))
        ):
            return False
    return True


def _are_pairs(value: str) -> bool:
    return all(item.partition("=")[0].strip() and "=" in item for item in value.split(",") if item.strip())


def _are_detectors(value: str) -> bool:
    known = {point.name for point in entry_points(group="opentelemetry_resource_detector")} | {"*"}
    return {name.strip() for name in value.split(",")} <= known | {""}


def _is_limit(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 19


def _is_duration(value: str) -> bool:
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False


def _is_file(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):
        return False


def _among(*names: str) -> Callable[[str], bool]:
    return lambda value: value.lower() in names


_Check = tuple["Callable[[str], bool]", str]
_LIMIT: Final[_Check] = (_is_limit, "a whole number of at least 0")
_FILE: Final[_Check] = (_is_file, "the path of a file that exists")
_CHECKS: Final[dict[str, _Check]] = {
    "OTEL_RESOURCE_ATTRIBUTES": (_are_pairs, "key=value pairs, separated by commas"),
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": (_are_detectors, "names of installed resource detectors"),
    "OTEL_METRICS_EXEMPLAR_FILTER": (
        _among("trace_based", "always_on", "always_off"),
        "trace_based, always_on or always_off",
    ),
    "OTEL_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": _LIMIT,
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": _LIMIT,
    "OTEL_SPAN_EVENT_COUNT_LIMIT": _LIMIT,
    "OTEL_SPAN_LINK_COUNT_LIMIT": _LIMIT,
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
}
_OTLP_CHECKS: Final[dict[str, _Check]] = {
    "ENDPOINT": (is_url, "a URL such as http://collector.example.org:4318"),
    "HEADERS": (_are_headers, "name=value pairs, separated by commas, with values that are URL-encoded"),
    "TIMEOUT": (_is_duration, "a number of seconds above 0"),
    "COMPRESSION": (_among("none", "gzip", "deflate"), "none, gzip or deflate"),
    "CERTIFICATE": _FILE,
    "CLIENT_KEY": _FILE,
    "CLIENT_CERTIFICATE": _FILE,
}
