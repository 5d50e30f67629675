"""Private data kept out of spans: text and attribute values, through whatever redacts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from asgi_infra import faults

Redact: TypeAlias = Callable[[Any], Any]
"""Any value in, a redacted copy out; `asgi_infra.redaction.Redactor` is one."""

WITHHELD = "[REDACTED:error]"
"""What stands for a value that could not be redacted."""

MAX_TEXT = 16_384
"""Characters of a text, for example a stack trace, that an attribute holds at most; its end is kept."""

_PRIMITIVES = {str, bool, int, float}


@cache
def default_redactor() -> Redact:
    """Return the `Redactor` that is used when nobody gives another; it is imported then, for it takes its time."""
    from asgi_infra.redaction import Redactor

    return Redactor()


def scrub_text(text: str, redact: Redact | None) -> str:
    """Return `text` redacted and bounded; a marker where the redactor fails."""
    try:
        redacted = (redact or default_redactor())(text)
    except Exception as exc:  # noqa: BLE001 - a redactor that fails must neither leak nor break anything
        faults.record("telemetry.redact", exc)
        return WITHHELD
    return bounded(redacted if isinstance(redacted, str) else str(redacted))


def scrub_attributes(attributes: Mapping[str, Any], redact: Redact | None) -> dict[str, Any]:
    """Return attributes redacted by key and by value, each of a type that OpenTelemetry takes."""
    try:
        redact = redact or default_redactor()
        redacted = redact(dict(attributes))
        return {str(key): _attribute(value, redact) for key, value in redacted.items()}
    except Exception as exc:  # noqa: BLE001 - see scrub_text
        faults.record("telemetry.redact", exc)
        return dict.fromkeys(attributes, WITHHELD)


def bounded(text: str) -> str:
    """Return the last `MAX_TEXT` characters of `text`, with a note where something is missing."""
    if len(text) <= MAX_TEXT:
        return text
    return f"[{len(text) - MAX_TEXT} characters left out]{text[-MAX_TEXT:]}"


def _attribute(value: Any, redact: Redact) -> Any:
    if isinstance(value, str):
        return bounded(value)
    if type(value) in _PRIMITIVES:
        return value
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        kinds = {type(item) for item in value}
        if len(kinds) <= 1 and kinds <= _PRIMITIVES:
            return tuple(value)
    return scrub_text(repr(value), redact)
