"""Headers as span attributes: those that are asked for by name, without credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from asgi_infra.errors import ConfigurationError
from asgi_infra.redaction import redact_query
from asgi_infra.redaction.keys import KeyRules

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, section 5.6.2
_URLS = frozenset(
    {b"content-location", b"link", b"location", b"referer", b"x-forwarded-uri", b"x-original-url", b"x-rewrite-url"}
)
_CREDENTIALS = frozenset({b"sec-websocket-protocol"})  # where browsers put tokens, having no other header to set
_REDACTED = ["REDACTED"]
_MAX_VALUE = 1024
_MAX_VALUES = 16


class HeaderCapture:
    """Records some headers as `http.request.header.<name>` or `http.response.header.<name>`.

    Args:
        names: Which headers, in any case. Each is recorded as a list of its values, cut to 1024 characters and 16
            values; the value of one that carries credentials is `REDACTED`, and so are private parameters in the URL
            of `location`, `content-location` and `referer`.
        side: Which of the two names to use.

    Raises:
        ConfigurationError: `names` is not a list of header names.
    """

    def __init__(self, names: Sequence[str], side: Literal["request", "response"]) -> None:
        known = list(names) if isinstance(names, Iterable) and not isinstance(names, (str, bytes)) else [""]
        if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in known):
            raise ConfigurationError(f"capture_{side}_headers must be a list of header names, such as ['accept']")
        rules = KeyRules()
        self._keys = {name.lower().encode("ascii"): f"http.{side}.header.{name.lower()}" for name in known}
        self._private = _CREDENTIALS | {
            name.lower().encode("ascii") for name in known if rules.kind(name) or "session" in name.lower()
        }

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __call__(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
        """Return the attributes for these headers."""
        attributes: dict[str, list[str]] = {}
        for name, value in headers:
            name = name.lower()
            key = self._keys.get(name)
            if key is None:
                continue
            if name in self._private:
                attributes[key] = _REDACTED
            else:
                values = attributes.setdefault(key, [])
                if len(values) < _MAX_VALUES:
                    text = value[:_MAX_VALUE].decode("latin-1")
                    values.append(_without_secrets(text) if name in _URLS else text)
        return attributes


def _without_secrets(url: str) -> str:
    # A fragment may hold tokens in the form of a query too: RFC 6749, section 4.2.2.
    url = re.sub(r"(?<=[?#])[^?#]+", lambda match: redact_query(match[0]), url)
    return re.sub(r"//[^/@?#]*@", "//REDACTED@", url)
