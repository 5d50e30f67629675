"""Private data kept out of spans: text and attribute values, through whatever redacts them."""

from __future__ import annotations

import traceback
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

_UNSPEAKABLE = "<message not available>"
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


def scrub_exception(exc: BaseException, redact: Redact | None) -> tuple[str, str]:
    """Return message and stack trace of an exception, redacted and bounded.

    A `Redactor` also takes out what the frames and the exception hold under private names.
    """
    redactor = redact or default_redactor()
    message, stack = getattr(redactor, "message", None), getattr(redactor, "exception", None)
    if callable(message) and callable(stack):
        try:
            told = _message(exc)
            return bounded(str(message(exc)) if told != _UNSPEAKABLE else told), bounded(str(stack(exc)))
        except Exception as fault:  # noqa: BLE001 - see scrub_text
            faults.record("telemetry.redact", fault)
            return WITHHELD, WITHHELD
    return scrub_text(_message(exc), redact), scrub_text("".join(traceback.format_exception(exc)), redact)


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - somebody's __str__
        return _UNSPEAKABLE


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
