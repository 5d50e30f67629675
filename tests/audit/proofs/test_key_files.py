"""Key files: made whole and for their owner alone, refused when they are anything else, and never shown."""

from __future__ import annotations

import errno
import os
import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.audit.proofs import (
    Ed25519Signer,
    KeyFileError,
    MalformedProofError,
    create_key,
    keys,
    load_key,
    load_or_create_key,
)
from asgi_infra.audit.proofs.keys import encode_private_key, parse_private_key
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "example.org/log"
# From the documentation of golang.org/x/mod/sumdb/note.
NEUMANN = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
SECRET = "AYEKFALVFGyNhPJEMzD1QIDr"


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_a_key_is_made_once_and_then_loaded(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    made = load_or_create_key(path, NAME)
    before = path.read_bytes()
    again = load_or_create_key(str(path), NAME)
    assert again.verifier == made.verifier == load_key(path).verifier
    assert path.read_bytes() == before
    assert before.startswith(b"PRIVATE+KEY+example.org/log+")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["log.key"]


def test_each_key_is_another(tmp_path: Path) -> None:
    assert create_key(tmp_path / "a", NAME).verifier != create_key(tmp_path / "b", NAME).verifier


def test_whoever_makes_the_key_at_once_gets_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load_or_create_key(path, NAME).verifier, range(32)))
    assert len(set(made)) == 1
    assert os.listdir(tmp_path) == ["log.key"]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    made = create_key(path, NAME)
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_key(path, NAME)
    assert load_key(path, NAME).verifier == made.verifier
    assert os.listdir(tmp_path) == ["log.key"]


def test_the_file_is_synced_before_it_has_its_name_and_the_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, events = tmp_path / "log.key", []
    fsync, link = os.fsync, os.link

    def record_fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        events.append((kind, path.exists()))
        fsync(descriptor)

    def record_link(source: Path, target: Path) -> None:
        events.append(("link", stat.S_IMODE(os.stat(source).st_mode)))
        link(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "link", record_link)
    create_key(path, NAME)
    assert events == [("file", False), ("link", 0o600), ("directory", True)]


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_disk_that_fails_leaves_no_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(KeyFileError, match="can't be made: Input/output error") as caught:
        load_or_create_key(tmp_path / "log.key", NAME)
    assert isinstance(caught.value.__cause__, OSError)
    assert os.listdir(tmp_path) == []


def test_a_missing_directory_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="can't be made: No such file or directory"):
        load_or_create_key(tmp_path / "nowhere" / "log.key", NAME)
    with pytest.raises(KeyFileError, match=r"log\.key is missing"):
        load_key(tmp_path / "log.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666, 0o777])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "log.key", NEUMANN, mode)
    for load in (load_key, lambda path: load_or_create_key(path, "PeterNeumann")):
        with pytest.raises(KeyFileError, match=f"not have mode {mode:04o}"):
            load(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_key_of_other_tools_is_loaded(tmp_path: Path, mode: int, end: str) -> None:
    path = write(tmp_path / "log.key", NEUMANN + end, mode)
    signer = load_key(path, "PeterNeumann")
    assert signer.verifier.vkey == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_the_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "log.key", NEUMANN)
    owner = path.stat().st_uid
    if owner == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeyFileError, match="must belong to the user"):
        load_key(path)


def test_the_key_of_another_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "log.key", NEUMANN)
    with pytest.raises(KeyFileError, match=r"holds the key of PeterNeumann, not of example\.org/log"):
        load_or_create_key(path, NAME)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "directory").mkdir(0o700)
    for name in ("pipe", "directory"):
        with pytest.raises(KeyFileError, match=r"must be a file|Is a directory"):
            load_key(tmp_path / name)
    with pytest.raises(KeyFileError, match="can't be opened"):
        load_key(tmp_path / "loop")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "log.key", NEUMANN + "\n" * 3000)
    with pytest.raises(KeyFileError, match="at most 2048 bytes"):
        load_key(path)


FAULTY = [
    "",
    "\n",
    NEUMANN[:-1],
    NEUMANN[:-4],
    NEUMANN + "=",
    NEUMANN + "\n\n",
    NEUMANN + "\r\n",
    " " + NEUMANN,
    NEUMANN.replace("PRIVATE", "private"),
    NEUMANN.replace("PRIVATE+KEY+", ""),
    NEUMANN.replace("c74f20a3", "c74f20a4"),
    NEUMANN.replace("c74f20a3", "C74F20A3"),
    NEUMANN.replace("Peter", "Pet er"),
    NEUMANN.replace("Peter", "P" * 300),
    NEUMANN.replace("+AYEK", "+BIEK"),
    NEUMANN.replace("AYEK", "AYEKAYEK"),
    NEUMANN.replace("AYEK", "A!EK"),
    NEUMANN.replace("AYEK", "AéEK"),
    NEUMANN.replace("+", ""),
    SECRET,
]


@pytest.mark.parametrize("text", FAULTY)
def test_a_text_that_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(MalformedProofError) as caught:
        parse_private_key(text if not text.endswith("\n") else text + "\n")
    assert SECRET[4:] not in shown(caught.value)
    path = write(tmp_path / "log.key", text)
    with pytest.raises(KeyFileError, match="holds no key") as refused:
        load_key(path)
    assert SECRET[4:] not in shown(refused.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_refused(data: bytes) -> None:
    with pytest.raises(MalformedProofError):
        parse_private_key(data.decode("latin-1"))


def test_bytes_that_are_no_text_are_refused_and_not_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "log.key", NEUMANN.encode() + b"\xff")
    with pytest.raises(KeyFileError, match="holds no key") as caught:
        load_key(path)
    assert SECRET not in shown(caught.value)
    cause = caught.value.__cause__
    while cause is not None:
        assert not isinstance(cause, UnicodeError) or SECRET not in repr(cause.args)
        cause = cause.__cause__


@given(st.binary(min_size=32, max_size=32))
def test_a_key_survives_its_text(seed: bytes) -> None:
    signer = parse_private_key(encode_private_key(NAME, seed))
    assert signer.verifier == Ed25519Signer(NAME, seed).verifier
    assert signer.sign(b"text") == Ed25519Signer(NAME, seed).sign(b"text")


@pytest.mark.parametrize("make", [create_key, load_or_create_key])
def test_a_name_that_no_key_can_have_makes_no_file(tmp_path: Path, make) -> None:
    with pytest.raises(ConfigurationError, match="name must be a key name"):
        make(tmp_path / "log.key", "two words")
    assert os.listdir(tmp_path) == []


def test_an_interruption_leaves_no_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(keys.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        create_key(tmp_path / "log.key", NAME)
    assert os.listdir(tmp_path) == []


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = write(tmp_path / "log.key", NEUMANN)
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(KeyFileError, match=r"log\.key can't be read: Input/output error"):
        load_key(path)
    assert len(os.listdir("/proc/self/fd")) == before
