"""What validation errors quote: pydantic's message shows the value that was wrong, and the field's name a line above.

```text
1 validation error for Login
user.password
  Input should be a valid integer [type=int_type, input_value='hunter2', input_type=str]
```
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, get_args

from asgi_infra.redaction.marks import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

_QUOTE: Final = re.compile(r"\[type=\w{1,64}, input_value=")
_END: Final = ", input_type="
_ABOVE: Final = 600
_SHORTEST_CUT: Final = 50
"""pydantic cuts the middle out of what is longer."""

_ERRORS: Final = 128
_FRAMES: Final = 64


def hide_inputs(text: str, kind_of: Callable[[str], str], mark: Callable[[str, str], str]) -> str:
    """Return `text` with marks for the quoted values of private fields.

    A quote that pydantic has cut in the middle goes, too: what is left of it shows neither its names nor its form.

    Args:
        text: Any text.
        kind_of: Tells the kind of what a name holds, or `""`.
        mark: Makes the mark of a kind and a value.
    """
    if "input_value=" not in text:
        return text
    parts: list[str] = []
    position = 0
    for match in _QUOTE.finditer(text):
        start = match.end()
        if match.start() < position or MARK.match(text, start):
            continue
        end = text.find(_END, start)
        value = text[start : end if end >= 0 else len(text)]
        kind = _kind_above(text, match.start(), kind_of)
        # A mark may make a quote longer: one within another counts whatever its length, now and in a second pass.
        long = len(value) >= _SHORTEST_CUT or "input_value=" in value
        if not kind and (end < 0 or ("..." in value and long)):
            kind = "input"
        if kind:
            parts += text[position:start], mark(kind, value)
            position = start + len(value)
    return "".join([*parts, text[position:]]) if parts else text


def _kind_above(text: str, start: int, kind_of: Callable[[str], str]) -> str:
    """Return the kind of the field that is named in the line above the one around `start`, such as `users.0.email`."""
    lines = text[max(start - _ABOVE, 0) : start].replace("\\n", "\n").rsplit("\n", 2)
    names = lines[-2].strip(" |").split(".") if len(lines) > 1 else []
    return next((kind for name in names if (kind := kind_of(name))), "")


def quoted_inputs(exc: BaseException, kind_of: Callable[[object], str]) -> Iterator[tuple[str, object]]:
    """Yield the values that a validation error (pydantic's, FastAPI's) quotes, each with its kind, `""` if not private.

    A value is private by the name of a field on the way to it; or because its model hides the field, with `SecretStr`
    or `repr=False`. Models are found where they were called. Raises what the error's own methods raise.
    """
    errors = getattr(exc, "errors", None)
    if not callable(errors):
        return
    models = list(_models(exc.__traceback__))
    told: Any = errors()
    for error in islice(told, _ERRORS):
        path, value = error["loc"], error["input"]
        kind = next((kind for name in path if (kind := kind_of(name))), "")
        yield kind or ("secret" if any(_hides(model, path) for model in models) else ""), value


def _models(traceback: TracebackType | None) -> Iterator[Any]:
    """Yield the pydantic models whose methods raised."""
    for _ in range(_FRAMES):
        if traceback is None:
            return
        local_variables = traceback.tb_frame.f_locals
        for name in ("self", "cls"):
            value = local_variables.get(name)
            model = value if isinstance(value, type) else type(value)
            if hasattr(model, "__pydantic_fields__"):
                yield model
        traceback = traceback.tb_next


def _hides(model: Any, path: tuple[object, ...]) -> bool:
    """Return whether a model, or one within it, hides the field that a path leads to."""
    for name in path:
        field = getattr(model, "__pydantic_fields__", {}).get(name)
        if field is None:
            continue  # an index, or the name of a validator
        if not field.repr:
            return True
        types = [field.annotation, *get_args(field.annotation)]
        if any(hasattr(each, "get_secret_value") for each in types):
            return True
        model = next((each for each in types if hasattr(each, "__pydantic_fields__")), None)
    return False
