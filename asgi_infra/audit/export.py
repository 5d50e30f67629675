"""Entries as lines of a file that other programs read."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final, Protocol

from asgi_infra.audit.encoding import encode
from asgi_infra.audit.entry import FIELDS
from asgi_infra.audit.ocsf import ocsf_event
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import shown

if TYPE_CHECKING:
    from asgi_infra.audit.record import LoggedEntry

_COLUMNS: Final = ("seq", *FIELDS, "erased", "leaf_hash")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Exporter(Protocol):
    """Writes one format."""

    def header(self) -> bytes:
        """Return what comes before the first entry."""
        ...

    def line(self, logged: LoggedEntry) -> bytes:
        """Return the whole line of an entry."""
        ...


class _JSONLines:
    def header(self) -> bytes:
        return b""

    def line(self, logged: LoggedEntry) -> bytes:
        return encode(as_dict(logged)) + b"\n"


class _OCSF:
    def header(self) -> bytes:
        return b""

    def line(self, logged: LoggedEntry) -> bytes:
        return encode(ocsf_event(logged)) + b"\n"


class _CSV:
    def header(self) -> bytes:
        return self._row(_COLUMNS)

    def line(self, logged: LoggedEntry) -> bytes:
        data = as_dict(logged)
        if data["details"] is not None:
            data["details"] = encode(data["details"]).decode()
        return self._row([_cell(data[name]) for name in _COLUMNS])

    @staticmethod
    def _row(cells: Any) -> bytes:
        out = io.StringIO(newline="")
        csv.writer(out).writerow(cells)
        return out.getvalue().encode()


_FORMATS: Final[dict[str, type[Exporter]]] = {"jsonl": _JSONLines, "csv": _CSV, "ocsf": _OCSF}


def exporter(name: str) -> Exporter:
    """Return what writes a format: `"jsonl"`, `"csv"` or `"ocsf"`.

    Raises:
        ConfigurationError: There is no such format.
    """
    found = _FORMATS.get(name) if isinstance(name, str) else None
    if found is None:
        raise ConfigurationError(f"format must be one of {sorted(_FORMATS)}, not {shown(name)}")
    return found()


def as_dict(logged: LoggedEntry) -> dict[str, Any]:
    """Return an entry with its number and leaf hash (in hexadecimal digits) as plain JSON data."""
    return {
        "seq": logged.seq,
        **logged.entry.to_dict(),
        "erased": logged.erased,
        "leaf_hash": logged.leaf_hash.hex(),
    }


def _cell(value: Any) -> Any:
    """Return what a spreadsheet won't run (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
