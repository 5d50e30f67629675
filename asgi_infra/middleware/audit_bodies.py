"""Bodies as an audit entry shows them: seen as they pass, up to a cap, and redacted."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec

from asgi_infra.errors import ConfigurationError
from asgi_infra.options import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
DEFAULT_TYPES: Final = (JSON, FORM)

_MAX_FIELDS: Final = 1_000
_MAX_TYPE: Final = 128

_parse = msgspec.json.Decoder().decode


class SeenBody:
    """A body that passes: its size and digest, and its beginning up to the cap."""

    __slots__ = ("_cap", "_digest", "_kept", "size")

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._kept: list[bytes] = []
        self._digest = sha256()
        self.size = 0

    def see(self, chunk: bytes) -> None:
        """Take the next piece."""
        if self.size <= self._cap:
            if self.size + len(chunk) <= self._cap:
                self._kept.append(bytes(chunk))
            else:
                self._kept.clear()
        self.size += len(chunk)
        self._digest.update(chunk)

    def whole(self) -> bytes | None:
        """Return the body, or `None` if it went over the cap."""
        return b"".join(self._kept) if self.size <= self._cap else None

    def digest(self) -> str:
        """Return the SHA-256 of the whole body, in hexadecimal digits."""
        return self._digest.hexdigest()


class BodyTeller:
    """Tells in an entry what a body was.

    Args:
        redact: Redacts any value.
        content_types: Whose content is shown: JSON (`application/json` stands for all `+json` types too) and
            forms (`application/x-www-form-urlencoded`). Of others, there is size and digest.

    Raises:
        ConfigurationError: Another content type is among them.
    """

    def __init__(self, redact: Callable[[Any], Any], content_types: Iterable[str]) -> None:
        given = [content_types] if isinstance(content_types, str) else list(content_types)
        for name in given:
            if name not in DEFAULT_TYPES:
                raise ConfigurationError(
                    f"content_types must be of {', '.join(DEFAULT_TYPES)}, what can be redacted, not {shown(name)}"
                )
        self._shown = frozenset(given)
        self._redact = redact

    def tell(self, body: SeenBody, content_type: bytes | None, encoding: bytes | None) -> dict[str, Any] | None:
        """Return what an entry says of a body; `None` for an empty one."""
        if not body.size:
            return None
        kind = (content_type or b"").partition(b";")[0].strip().lower().decode("latin-1")[:_MAX_TYPE]
        told: dict[str, Any] = {"bytes": body.size, "content_type": kind}
        data = body.whole()
        if data is not None and (encoding or b"identity").strip().lower() == b"identity":
            parse = self._parser(kind)
            if parse is not None:
                try:
                    told["content"] = self._redact(parse(data))
                except Exception:  # noqa: BLE001 - whatever somebody has sent: it is not what it says it is
                    told["malformed"] = True
                else:
                    return told
        told["sha256"] = body.digest()
        return told

    def _parser(self, kind: str) -> Callable[[bytes], Any] | None:
        if JSON in self._shown and (kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))):
            return _parse
        return _form if kind == FORM and FORM in self._shown else None


def _form(data: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS):
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
