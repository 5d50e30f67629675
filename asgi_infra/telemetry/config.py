"""What telemetry is configured to do: arguments first, then the standard `OTEL_*` variables, then the defaults."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from asgi_infra.errors import ConfigurationError
from asgi_infra.telemetry.variables import INHERITED, check_headers, check_variables, is_url

Exporters: TypeAlias = Any  # a name, an exporter object, or several of them

EXPORTER_NAMES = ("otlp", "console", "none")
SAMPLER_NAMES = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """The resolved configuration: two calls of `init_telemetry` are the same if these are equal.

    Exporters and samplers that were given as objects are the same if they are equal, which most are only to
    themselves. What may hold credentials is not shown.
    """

    service: str | None = None
    version: str | None = None
    environment: str | None = None
    attributes: tuple[tuple[str, Any], ...] = ()
    exporters: tuple[Any, ...] = ("otlp",)
    metric_exporters: tuple[Any, ...] = ()
    endpoint: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    export_timeout: float | None = None
    sampler: Any = "parentbased_always_on"
    redact: bool | Callable[[Any], Any] = True
    max_queue_size: int = 2048
    max_batch_size: int = 512
    schedule_delay: float = 5.0
    metric_interval: float = 60.0
    shutdown_timeout: float = 5.0
    disabled: bool = False
    otel_variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def differences(self, other: TelemetryConfig) -> list[str]:
        """Return the names of the settings in which another configuration differs."""
        return [item.name for item in fields(self) if getattr(self, item.name) != getattr(other, item.name)]


def resolve(
    *,
    service: str | None,
    version: str | None,
    environment: str | None,
    attributes: Mapping[str, Any] | None,
    exporters: Exporters,
    metric_exporters: Exporters,
    endpoint: str | None,
    headers: Mapping[str, str] | None,
    export_timeout: float | None,
    sampler: Any,
    redact: bool | Callable[[Any], Any],
    max_queue_size: int | None,
    max_batch_size: int | None,
    schedule_delay: float | None,
    metric_interval: float | None,
    shutdown_timeout: float,
    environ: Mapping[str, str] | None = None,
) -> TelemetryConfig:
    """Check the arguments, fill in what is left from `environ` and the defaults; see `init_telemetry` for each.

    Raises:
        ConfigurationError: An argument or a variable is wrong.
    """
    env = _Environment(os.environ if environ is None else environ)
    config = TelemetryConfig(
        service=_text("service", service) or env.text("OTEL_SERVICE_NAME"),
        version=_text("version", version),
        environment=_text("environment", environment),
        attributes=_attributes(attributes),
        exporters=_exporters("exporters", exporters, env, "OTEL_TRACES_EXPORTER", "otlp"),
        metric_exporters=_exporters("metric_exporters", metric_exporters, env, "OTEL_METRICS_EXPORTER", "none"),
        endpoint=_endpoint(endpoint),
        headers=check_headers(headers),
        export_timeout=None if export_timeout is None else _seconds("export_timeout", export_timeout),
        sampler=_sampler(sampler, env),
        redact=redact,
        max_queue_size=_count("max_queue_size", env.count("OTEL_BSP_MAX_QUEUE_SIZE", max_queue_size, 2048)),
        max_batch_size=_count("max_batch_size", env.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", max_batch_size, 512)),
        schedule_delay=_seconds("schedule_delay", env.milliseconds("OTEL_BSP_SCHEDULE_DELAY", schedule_delay, 5.0)),
        metric_interval=_seconds(
            "metric_interval", env.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", metric_interval, 60.0)
        ),
        shutdown_timeout=_seconds("shutdown_timeout", shutdown_timeout),
        disabled=env.flag("OTEL_SDK_DISABLED"),
        otel_variables=env.beginning_with(INHERITED),
    )
    if config.max_batch_size > config.max_queue_size:
        raise ConfigurationError(
            f"max_batch_size must not exceed max_queue_size, got {config.max_batch_size} and {config.max_queue_size}"
        )
    if not callable(redact) and not isinstance(redact, bool):
        raise ConfigurationError(f"redact must be a callable, True or False, got {type(redact).__name__}")
    if not config.disabled:
        signals = {"TRACES": config.exporters, "METRICS": config.metric_exporters}
        env.check([signal for signal, exporters in signals.items() if "otlp" in exporters])
    return config


class _Environment:
    """The `OTEL_*` variables; by their specification an empty one counts as not set."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, variable: str, default: Any = None) -> Any:
        return self._environ.get(variable, "").strip() or default

    def count(self, variable: str, argument: int | None, default: int) -> Any:
        if argument is not None:
            return argument
        value = self._number(variable, int)
        return default if value is None else value

    def milliseconds(self, variable: str, argument: float | None, default: float) -> Any:
        if argument is not None:
            return argument
        value = self._number(variable, float)
        return default if value is None else value / 1000

    def flag(self, variable: str) -> bool:
        text = self.text(variable, "false").lower()
        if text not in {"true", "false"}:
            raise ConfigurationError(f"{variable} must be true or false, got {text[:40]!r}")
        return bool(text == "true")

    def check(self, otlp_signals: list[str]) -> None:
        check_variables(self._environ, otlp_signals)

    def beginning_with(self, prefixes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((key, value) for key, value in self._environ.items() if key.startswith(prefixes)))

    def _number(self, variable: str, kind: Callable[[str], Any]) -> Any:
        text = self.text(variable)
        if text is None:
            return None
        try:
            return kind(text)
        except ValueError as exc:
            raise ConfigurationError(f"{variable} must be a number, got {text[:40]!r}") from exc


def _text(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{name} must be a text that is not blank, or None; got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    return repr(value)[:40] if isinstance(value, (str, int, float)) else f"an object of type {type(value).__name__}"


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be an int of at least 1, got {_shown(value)}")
    return value


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be a number of seconds above 0, got {_shown(value)}")
    return float(value)


def _endpoint(value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not is_url(value) or urlsplit(value).query:
        raise ConfigurationError(
            "endpoint must be the receiver's base URL, such as 'http://collector.example.org:4318', without a query; "
            f"got {'a text that is none' if isinstance(value, str) else type(value).__name__}"
        )
    return value.rstrip("/")


def _attributes(attributes: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    if not isinstance(attributes, Mapping | None):
        raise ConfigurationError(f"attributes must map names to values, got {_shown(attributes)}")
    for name, value in (attributes or {}).items():
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(f"attributes must have names that are not blank, got {_shown(name)}")
        items = value if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(item, (str, bool, int, float)) for item in items):
            raise ConfigurationError(
                f"attributes[{name[:40]!r}] must be a str, bool, int or float, or a list of these; "
                f"got an object of type {type(value).__name__}"
            )
    return tuple(sorted((attributes or {}).items()))


def _exporters(name: str, value: Exporters, env: _Environment, variable: str, default: str) -> tuple[Any, ...]:
    if value is None:
        name, value = variable, env.text(variable, default)
    if isinstance(value, str):
        given: list[Any] = [part.strip() for part in value.split(",")]
    else:
        given = list(value) if isinstance(value, Iterable) else [value]
    for exporter in given:
        if isinstance(exporter, str) and exporter not in EXPORTER_NAMES:
            raise ConfigurationError(
                f"{name} must be among {', '.join(EXPORTER_NAMES)}, or exporter objects in code; got {exporter[:40]!r}"
            )
    return tuple(exporter for exporter in given if exporter != "none")


def _sampler(value: Any, env: _Environment) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= 1:
            raise ConfigurationError(f"sampler must be a ratio from 0 to 1, got {_shown(value)}")
        return float(value)
    if value is not None and not isinstance(value, str):
        return value
    source = "sampler" if value is not None else "OTEL_TRACES_SAMPLER"
    name = value or env.text("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower()
    if name not in SAMPLER_NAMES:
        raise ConfigurationError(f"{source} must be one of {', '.join(SAMPLER_NAMES)}; got {name[:40]!r}")
    if not name.endswith("traceidratio"):
        return name
    argument = env.text("OTEL_TRACES_SAMPLER_ARG", "1.0")
    try:
        ratio = float(argument)
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise ConfigurationError(f"OTEL_TRACES_SAMPLER_ARG must be a ratio from 0 to 1, got {argument[:40]!r}")
    return (name, ratio)
