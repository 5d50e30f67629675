"""`FileAuditLogger`: the audit log in a directory, for the processes of one machine."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote, urlsplit

from asgi_infra.audit.backends.file import files
from asgi_infra.audit.backends.file.store import FileStore
from asgi_infra.audit.contract import AuditLogger
from asgi_infra.audit.proofs.keys import load_key, load_or_create_key
from asgi_infra.audit.proofs.signing import check_key_name
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_infra.audit.backends.file.recovery import RecoveryReport
    from asgi_infra.audit.proofs.signing import Signer

SEGMENT_BYTES: Final = 64 * 1024 * 1024
KEY: Final = "key"
PUBLIC_KEY: Final = "key.vkey"


class FileAuditLogger(AuditLogger):
    """Keeps entries in a directory, with one `fdatasync` for all that came while the last one ran.

    Any number of processes of one machine, on a local file system, write to the same log. It grows in segments (`wal/`)
    that hold the entries with their private parts; tiles and entry bundles (`tile/`, C2SP tlog-tiles) and the
    checkpoint are there for everybody's tools; `index.db` serves queries, and can be removed at any time. All files are
    their owner's alone.

    Opening repairs what a crash has left: a batch that was being written, which nobody had a receipt for, is cut off
    (`recovery`, and a warning in the log `asgi_infra.audit`). Anything worse is `AuditIntegrityError`, which names
    file, byte and entry, and nothing is changed. Whole segments are purged, never parts.

    Args:
        path: The directory; made if it isn't there. The one above it must be.
        origin: The name of the log in its checkpoints, and of its key, by convention a URL without scheme. Default:
            that of the key in the directory, or else made of the names of the machine and the directory.
        segment_bytes: The size at which a new segment begins, at least 4096.
        **options: As `AuditLogger` takes them. Without `signer` the key is in the file `key` of the directory, and made
            with the first checkpoint; its public part is in `key.vkey`.

    Raises:
        ConfigurationError: A parameter is wrong, or the system is none of POSIX.

    Example:
        >>> async with FileAuditLogger("/var/log/shop/audit", origin="shop.example.org/audit") as logger:
        ...     await logger.log_action("order.refund", "order", resource_id="o-1")
    """

    def __init__(
        self,
        path: str | Path,
        *,
        origin: str | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        **options: Any,
    ) -> None:
        self._origin = None if origin is None else check_key_name(origin, "origin")
        self._files = FileStore(path, segment_bytes)
        super().__init__(self._files, **options)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a logger for `file:///var/log/audit`; with two slashes, `file://audit`, the path is relative.

        Raises:
            ConfigurationError: The URL has no path, or more than that; or an option is wrong.
        """
        parts = urlsplit(url)
        path = unquote(parts.netloc + parts.path)
        if parts.scheme != "file" or not path or parts.query or parts.fragment:
            raise ConfigurationError("url must be file:// and a path, such as file:///var/log/audit")
        return cls(path, **options)

    @property
    def path(self) -> Path:
        """The directory."""
        return self._files.path

    @property
    def recovery(self) -> RecoveryReport | None:
        """What was cut off when the log was opened; `None` if nothing was."""
        return self._files.recovery

    def _default_signer(self) -> Signer:
        key = self.path / KEY
        if self._origin is None and key.exists():
            signer = load_key(key)
        else:
            signer = load_or_create_key(key, self._origin or _default_origin(self.path))
        public = self.path / PUBLIC_KEY
        if not public.exists():
            with files.translated("write the public key of the audit log"):
                files.replace(public, signer.verifier.vkey.encode() + b"\n")
        return signer


def _default_origin(path: Path) -> str:
    name = f"{socket.gethostname() or 'localhost'}/{path.name or 'audit'}"
    return "".join(each if each.isalnum() or each in "-._/" else "-" for each in name)[:128]
