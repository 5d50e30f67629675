"""Values that others have put into words: exceptions, and what objects print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_infra.redaction.exceptions import exception_text
from asgi_infra.redaction.inputs import hide_inputs
from asgi_infra.redaction.marks import MARK, failed
from asgi_infra.redaction.secrets import Secrets, secrets_in, secrets_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_infra.redaction.keys import KeyRules
    from asgi_infra.redaction.marks import Counts, Marks
    from asgi_infra.redaction.text import TextRules


class ToldRules:
    """Redacts such words, while knowing what their speaker holds under private names. Never raises.

    Args:
        keys: The key rules.
        text: The rules for texts.
        marks: What makes the marks.
        counts: Counts what was replaced.
        max_chars: Characters that are scanned of one text.
        local_variables: Whether tracebacks show local variables.
    """

    def __init__(
        self, keys: KeyRules, text: TextRules, marks: Marks, counts: Counts, *, max_chars: int, local_variables: bool
    ) -> None:
        self._kind_of = keys.kind
        self._text = text
        self._marks = marks
        self._counts = counts
        self._max_chars = max_chars
        self._local_variables = local_variables

    def exception(self, exc: BaseException) -> str:
        """Return the redacted text of an exception, with its traceback, notes, causes and groups."""
        try:
            text = exception_text(exc, local_variables=self._local_variables)
            return self._redacted(text, self.secrets(exc))
        except Exception:  # noqa: BLE001 - whatever classes of others do
            return failed(self._counts)

    def message(self, exc: BaseException) -> str:
        """Return the redacted message of an exception alone."""
        try:
            return self._redacted(str(exc), self.secrets(exc))
        except Exception:  # noqa: BLE001
            return failed(self._counts)

    def printed(self, value: object) -> str:
        """Return what an object prints, redacted."""
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001
            return f"<{type(value).__name__}: no repr>"
        return self._redacted(text, secrets_in(value, self._kind_of))

    def secrets(self, exc: BaseException) -> Secrets:
        """Return the texts that an exception and its frames hold under private names, and their kinds."""
        return secrets_of(exc, self._kind_of)

    def without(self, secrets: Mapping[str, str], text: str) -> str:
        """Return a text without texts that are known to be secret; not redacted otherwise."""
        for secret in sorted(secrets, key=len, reverse=True):
            if secret in text and not MARK.fullmatch(secret):
                text = text.replace(secret, self._mark(secrets[secret], secret))
        return text

    def hide_inputs(self, text: str) -> str:
        """Return a text without what validation errors quote of private fields."""
        return hide_inputs(text, self._kind_of, self._mark)

    def _redacted(self, text: str, secrets: Secrets) -> str:
        return self._text.redact_head(self.without(secrets, self.hide_inputs(text)), self._max_chars)

    def _mark(self, kind: str, value: str) -> str:
        self._counts[kind] += 1
        return self._marks.mark(kind, value)
