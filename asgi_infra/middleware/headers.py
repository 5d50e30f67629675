"""Headers as span attributes: those that are asked for by name, without credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CREDENTIALS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key", "x-auth-token", "x-csrf-token"}
)
_CREDENTIAL_WORDS = ("password", "secret", "token", "api-key", "apikey", "session")
_REDACTED = ["REDACTED"]
_MAX_VALUE = 1024
_MAX_VALUES = 16


class HeaderCapture:
    """Records some headers as `http.request.header.<name>` or `http.response.header.<name>`.

    Args:
        names: Which headers, in any case. Each is recorded as a list of its values, cut to 1024 characters and 16
            values; the value of one that carries credentials is `REDACTED`.
        side: Which of the two names to use.
    """

    def __init__(self, names: Sequence[str], side: Literal["request", "response"]) -> None:
        if isinstance(names, str) or not all(isinstance(name, str) and name.isascii() for name in names):
            raise ConfigurationError(f"capture_{side}_headers must be a list of header names, such as ['accept']")
        self._keys = {name.lower().encode("ascii"): f"http.{side}.header.{name.lower()}" for name in names}
        self._private = frozenset(name for name in self._keys if _is_private(name.decode("ascii")))

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __call__(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
        """Return the attributes for these headers."""
        attributes: dict[str, list[str]] = {}
        for name, value in headers:
            key = self._keys.get(name.lower())
            if key is None:
                continue
            if name.lower() in self._private:
                attributes[key] = _REDACTED
            else:
                values = attributes.setdefault(key, [])
                if len(values) < _MAX_VALUES:
                    values.append(value[:_MAX_VALUE].decode("latin-1"))
        return attributes


def _is_private(name: str) -> bool:
    return name in _CREDENTIALS or any(word in name for word in _CREDENTIAL_WORDS)
