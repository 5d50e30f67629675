"""What logging was asked to be, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Literal, cast

from asgi_infra.errors import ConfigurationError
from asgi_infra.logs.levels import level_number
from asgi_infra.logs.schemas import SCHEMAS
from asgi_infra.options import shown
from asgi_infra.redaction import Redactor

Format = Literal["json", "console"]
SchemaName = Literal["plain", "ecs", "otel", "gcp"]
Queue = Literal["auto", "always", "never"]
Overflow = Literal["drop", "block"]

_LEAST_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """The arguments of `configure_logging`, which has their meanings."""

    level: int
    format: Format
    levels: dict[str, int]
    schema: SchemaName
    redact: bool | Redactor
    stream: IO[Any] | None
    queue: Queue
    queue_bytes: int
    overflow: Overflow
    service: str | None
    fields: dict[str, Any] = field(repr=False)
    caller: bool
    colors: bool | None
    gcp_project: str | None

    def same_as(self, other: LoggingConfig) -> bool:
        """Return whether both ask for the same, from the same stream and the same redactor."""
        return self.stream is other.stream and self._compared() == other._compared()

    def _compared(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "stream"}


def resolve(
    *,
    level: object,
    format: object,  # noqa: A002
    levels: object,
    schema: object,
    redact: object,
    stream: object,
    queue: object,
    queue_bytes: object,
    overflow: object,
    service: object,
    fields: object,
    caller: object,
    colors: object,
    gcp_project: object,
) -> LoggingConfig:
    """Check every argument.

    Raises:
        ConfigurationError: One is wrong; the message names it and what would be right.
    """
    if not isinstance(redact, (bool, Redactor)):
        raise ConfigurationError(f"redact must be True, False or a Redactor, not {shown(redact)}")
    if stream is not None and not callable(getattr(stream, "write", None)):
        raise ConfigurationError(f"stream must be a text or binary stream to write to, not {shown(stream)}")
    if isinstance(queue_bytes, bool) or not isinstance(queue_bytes, int) or queue_bytes < _LEAST_BYTES:
        raise ConfigurationError(f"queue_bytes must be an integer of at least {_LEAST_BYTES}, not {shown(queue_bytes)}")
    if not isinstance(caller, bool):
        raise ConfigurationError(f"caller must be True or False, not {shown(caller)}")
    if colors is not None and not isinstance(colors, bool):
        raise ConfigurationError(f"colors must be True, False or None (as the terminal has it), not {shown(colors)}")
    project = _name("gcp_project", gcp_project)
    if project is not None and schema != "gcp":
        raise ConfigurationError(f"gcp_project must be left out, or schema be 'gcp', not {shown(schema)}")
    return LoggingConfig(
        level=level_number(level),
        format=cast("Format", _choice("format", format, ("json", "console"))),
        levels=_levels(levels),
        schema=cast("SchemaName", _choice("schema", schema, tuple(SCHEMAS))),
        redact=redact,
        stream=cast("IO[Any] | None", stream),
        queue=cast("Queue", _choice("queue", queue, ("auto", "always", "never"))),
        queue_bytes=queue_bytes,
        overflow=cast("Overflow", _choice("overflow", overflow, ("drop", "block"))),
        service=_name("service", service),
        fields=_fields(fields),
        caller=caller,
        colors=colors,
        gcp_project=project,
    )


def _levels(levels: object) -> dict[str, int]:
    if levels is None:
        return {}
    if not isinstance(levels, Mapping):
        raise ConfigurationError(f"levels must map names of loggers to levels, not {shown(levels)}")
    numbers: dict[str, int] = {}
    for name, level in levels.items():
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(
                f"levels must have names of loggers as keys, not {shown(name)}; level is the root's"
            )
        numbers[name] = level_number(level, f"levels[{name[:40]!r}]")
    return numbers


def _fields(fields: object) -> dict[str, Any]:
    if fields is None:
        return {}
    if not isinstance(fields, Mapping) or not all(isinstance(name, str) for name in fields):
        raise ConfigurationError(f"fields must map names to values, not {shown(fields)}")
    return dict(fields)


def _name(parameter: str, value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ConfigurationError(f"{parameter} must be a name that isn't blank, or None, not {shown(value)}")
    return value


def _choice(parameter: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ConfigurationError(f"{parameter} must be one of {', '.join(choices)}, not {shown(value)}")
    return value
