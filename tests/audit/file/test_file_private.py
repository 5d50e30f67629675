"""Private parts that were changed by somebody who knows how records and their checksums are made."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import pytest
from file_logs import opened, record, segments

from asgi_infra.audit.backends.file.frames import decode, encode
from asgi_infra.audit.backends.file.offline import verify_directory
from asgi_infra.audit.backends.file.segments import read_head

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Rewritten(NamedTuple):
    leaf: bytes
    private: bytes | None


def rewrite(log: Path, change: Callable[[bytes], bytes | None]) -> None:
    """Change the private part of the only entry, with all checksums."""
    (path,) = segments(log)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        at = read_head(path, descriptor, 0)[0]
    finally:
        os.close(descriptor)
    data = path.read_bytes()
    (frame,) = decode(data[at:], at, 0, 99)
    assert frame.private is not None
    forged = Rewritten(frame.leaf, change(frame.private))
    path.write_bytes(data[:at] + encode([forged], 0))  # type: ignore[list-item]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    with opened(tmp_path / "log") as store:
        store.append([record(0, user_agent='Browser "real"')])
    return tmp_path / "log"


def test_a_salt_can_not_take_over_the_beginning_of_a_value(log: Path) -> None:
    def shift(private: bytes) -> bytes:
        parts = json.loads(private)
        salt, value = parts["user_agent"]
        whole = json.dumps(value)
        at = next(at for at in range(1, len(whole)) if _is_json(whole[at:]))
        parts["user_agent"] = [salt + whole[:at].encode().hex(), json.loads(whole[at:])]
        return json.dumps(parts, separators=(",", ":")).encode()

    rewrite(log, shift)
    report = verify_directory(log)
    assert (report.ok, report.bad_seq) == (False, 0)
    assert report.problem == "entry 0: a private field is not what the leaf commits to"


def test_a_private_part_that_was_cut_out_is_not_one_that_was_erased(log: Path) -> None:
    rewrite(log, lambda private: None)
    report = verify_directory(log)
    assert (report.ok, report.bad_seq, report.erased) == (False, 0, 0)
    assert report.problem == "entry 0: the private part is missing"


def test_an_entry_without_private_fields_needs_no_private_part(tmp_path: Path) -> None:
    with opened(tmp_path / "log") as store:
        store.append([record(0, details=None), record(1, details=None, resource_id='"committed"')])
    report = verify_directory(tmp_path / "log")
    assert (report.problem, report.checked, report.erased) == ("", 2, 0)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
