"""Files with a log's private key: made once, readable by their owner alone.

The file holds one line, `PRIVATE+KEY+<name>+<identifier>+<base64(0x01, seed)>`, as the tools for Go's checksum database
and for transparency logs write it. Nothing of it ever stands in a message.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from asgi_infra.audit.proofs.ed25519 import KEY_SIZE, Ed25519Signer
from asgi_infra.audit.proofs.encoding import encode_base64
from asgi_infra.audit.proofs.errors import KeyFileError, MalformedProofError
from asgi_infra.audit.proofs.signing import check_key_name
from asgi_infra.audit.proofs.vkeys import split_key
from asgi_infra.errors import ConfigurationError

_PREFIX: Final = "PRIVATE+KEY+"
_MAX_FILE: Final = 2048  # bytes
_TYPE: Final = 0x01
_OPEN: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def load_or_create_key(path: str | os.PathLike[str], name: str) -> Ed25519Signer:
    """Return the key of a file, which is made if it isn't there.

    Several processes may do so at once: they all get the one key.

    Args:
        path: The file. Its directory must exist.
        name: The key's name, by convention the log's origin.

    Raises:
        ConfigurationError: The name can't be that of a key.
        KeyFileError: As `create_key` and `load_key` raise it.
        MissingExtraError: `cryptography` is not installed.
    """
    check_key_name(name)
    with contextlib.suppress(FileNotFoundError):
        return _load(path, name)
    with contextlib.suppress(FileExistsError):
        return _create(path, name)
    return load_key(path, name)


def create_key(path: str | os.PathLike[str], name: str) -> Ed25519Signer:
    """Make a new key and its file, with mode 0600, whole and synced to disk before it has its name.

    Args:
        path: The file, which must not exist. Its directory must.
        name: The key's name, by convention the log's origin.

    Raises:
        ConfigurationError: The name can't be that of a key.
        KeyFileError: The file is there already, or can't be made.
        MissingExtraError: `cryptography` is not installed.
    """
    try:
        return _create(path, name)
    except FileExistsError as exc:
        raise KeyFileError(f"the key file {os.fspath(path)} exists already; it is never overwritten") from exc


def load_key(path: str | os.PathLike[str], name: str | None = None) -> Ed25519Signer:
    """Return the key of a file.

    Args:
        path: The file.
        name: The name that the key must have, if given.

    Raises:
        KeyFileError: The file is missing or no file, other users may read or write it, it belongs to another user, or
            it holds no key or that of another name.
        MissingExtraError: `cryptography` is not installed.
    """
    try:
        return _load(path, name)
    except FileNotFoundError as exc:
        raise KeyFileError(f"the key file {os.fspath(path)} is missing") from exc


def encode_private_key(name: str, seed: bytes) -> str:
    """Return a private key as text. Whoever has it can sign for the log.

    Raises:
        ConfigurationError: The name or the length of the seed is wrong.
    """
    signer = Ed25519Signer(name, seed)
    return f"{_PREFIX}{name}+{signer.key_id.hex()}+{encode_base64(bytes([_TYPE]) + seed)}"


def parse_private_key(text: str) -> Ed25519Signer:
    """Return the key that a text holds.

    Raises:
        MalformedProofError: It holds none, or one whose identifier isn't its own.
    """
    if not text.startswith(_PREFIX):
        raise MalformedProofError(f"a private key must begin with {_PREFIX}")
    name, identifier, material = split_key(text.removeprefix(_PREFIX), "the private key")
    if material[0] != _TYPE or len(material) != 1 + KEY_SIZE:
        raise MalformedProofError("the private key must be one of Ed25519")
    try:
        signer = Ed25519Signer(name, material[1:])
    except ConfigurationError as exc:
        raise MalformedProofError("the private key has a name that can't be used") from exc
    if signer.key_id != identifier:
        raise MalformedProofError("the private key has an identifier that isn't its own")
    return signer


def _create(path: str | os.PathLike[str], name: str) -> Ed25519Signer:
    target = Path(path)
    seed = secrets.token_bytes(KEY_SIZE)
    signer = Ed25519Signer(name, seed)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        _write(unfinished, encode_private_key(name, seed).encode() + b"\n")
        try:
            os.link(unfinished, target)  # unlike a rename, it replaces no key that is there
        finally:
            unfinished.unlink()
        _sync_directory(target.parent)
    except FileExistsError:
        raise
    except OSError as exc:
        raise KeyFileError(f"the key file {target} can't be made: {exc.strerror}") from exc
    return signer


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    if os.name != "posix":  # elsewhere a directory can't be opened
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load(path: str | os.PathLike[str], name: str | None) -> Ed25519Signer:
    shown = os.fspath(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _OPEN)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise KeyFileError(f"the key file {shown} can't be opened: {exc.strerror}") from exc
    try:
        _check_file(os.fstat(descriptor), shown)
        data = os.read(descriptor, _MAX_FILE)
    except OSError as exc:
        raise KeyFileError(f"the key file {shown} can't be read: {exc.strerror}") from exc
    finally:
        os.close(descriptor)
    try:
        # A strict decoder's error would hold the key's bytes.
        signer = parse_private_key(data.decode(errors="replace").removesuffix("\n"))
    except MalformedProofError as exc:
        raise KeyFileError(f"the key file {shown} holds no key: {exc}") from exc
    if name is not None and signer.name != name:
        raise KeyFileError(f"the key file {shown} holds the key of {signer.name}, not of {name}")
    return signer


def _check_file(status: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"the key file {shown} must be a file")
    if status.st_size > _MAX_FILE:
        raise KeyFileError(f"the key file {shown} must have at most {_MAX_FILE} bytes, not {status.st_size}")
    if os.name != "posix":
        return
    if status.st_mode & 0o077:
        raise KeyFileError(
            f"the key file {shown} must be open to its owner alone, not have mode {stat.S_IMODE(status.st_mode):04o}; "
            f"chmod 600 mends it, but whoever could read it may have the key"
        )
    if status.st_uid not in (0, os.geteuid()):
        raise KeyFileError(f"the key file {shown} must belong to the user that the process runs as, or to root")
