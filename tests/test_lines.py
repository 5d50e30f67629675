from __future__ import annotations

import gzip
import io
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgi_infra import faults
from asgi_infra.lines import LineWriter

if TYPE_CHECKING:
    from pathlib import Path

LINE = b'{"message":"caf\xc3\xa9"}\n'


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    monkeypatch.setattr(faults, "_counts", counts)
    return counts


@pytest.mark.parametrize("mode", ["w", "wb", "w+", "w+b", "a", "ab"])
def test_files_get_the_line_at_once_after_what_was_written_before(
    tmp_path: Path, mode: str, counted: dict[Any, int]
) -> None:
    path = tmp_path / "access.log"
    with path.open(mode) as stream:
        stream.write(b"before\n" if "b" in mode else "before\n")
        LineWriter(stream).write(LINE)
        assert path.read_bytes() == b"before\n" + LINE
    assert not counted


def test_a_file_without_a_buffer_gets_the_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with path.open("wb", buffering=0) as stream:
        LineWriter(stream).write(LINE)
    assert path.read_bytes() == LINE


def test_text_files_of_any_encoding_get_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with path.open("w", encoding="ascii") as stream:
        LineWriter(stream).write(LINE)
    assert path.read_bytes() == LINE


def test_streams_without_a_descriptor_get_the_line() -> None:
    text, binary = io.StringIO(), io.BytesIO()
    LineWriter(text).write(LINE)
    LineWriter(binary).write(LINE)
    assert text.getvalue() == LINE.decode()
    assert binary.getvalue() == LINE


def test_a_stream_that_compresses_is_written_through_and_not_past(tmp_path: Path) -> None:
    path = tmp_path / "access.log.gz"
    with gzip.open(path, "wb") as binary:
        LineWriter(binary).write(LINE)
    with gzip.open(path, "at", encoding="utf-8") as text:
        LineWriter(text).write(LINE)
    assert gzip.decompress(path.read_bytes()) == LINE * 2


def test_an_object_that_is_false_is_a_stream_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    class Sink(list[bytes]):
        write = list.append

    sink = Sink()
    LineWriter(sink).write(LINE)  # type: ignore[arg-type]
    assert sink == [LINE]
    assert capsys.readouterr().out == ""


def test_standard_output_is_the_one_of_the_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LineWriter()
    writer.write(LINE)
    replaced = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", replaced)
        writer.write(LINE)
    writer.write(LINE)
    assert capsys.readouterr().out == LINE.decode() * 2
    assert replaced.getvalue() == LINE.decode()


def test_what_stands_for_standard_output_gets_text(monkeypatch: pytest.MonkeyPatch, counted: dict[Any, int]) -> None:
    class Tee:
        def __init__(self) -> None:
            self.taken: list[str] = []

        def write(self, text: str) -> None:
            self.taken.append(text.upper())

        def __getattr__(self, name: str) -> Any:  # as such objects pass on all else
            return getattr(sys.__stdout__, name)

    tee = Tee()
    monkeypatch.setattr(sys, "stdout", tee)
    LineWriter().write(b"hello\n")
    assert tee.taken == ["HELLO\n"]
    assert not counted


def test_a_process_without_standard_output_writes_nowhere(
    monkeypatch: pytest.MonkeyPatch, counted: dict[Any, int]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    LineWriter().write(LINE)
    assert not counted


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_closed_file_is_a_fault_and_its_descriptor_is_never_written_to_again(
    tmp_path: Path, mode: str, counted: dict[Any, int]
) -> None:
    stream = (tmp_path / "access.log").open(mode)
    writer = LineWriter(stream)
    writer.write(LINE)
    descriptor = stream.fileno()
    stream.close()
    other = os.open(tmp_path / "accounts.db", os.O_CREAT | os.O_WRONLY)
    try:
        assert other == descriptor, "the next file is to have the same number"
        writer.write(LINE)
    finally:
        os.close(other)
    assert (tmp_path / "accounts.db").read_bytes() == b""
    assert counted == {("access_log.write", "ValueError"): 1}


def test_a_closed_stream_without_a_descriptor_is_a_fault(counted: dict[Any, int]) -> None:
    stream = io.StringIO()
    stream.close()
    LineWriter(stream).write(LINE)
    assert counted == {("access_log.write", "ValueError"): 1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_full_disk_is_a_fault_and_leaves_nothing_in_the_buffer(mode: str, counted: dict[Any, int]) -> None:
    with open("/dev/full", mode) as stream:
        writer = LineWriter(stream)
        writer.write(LINE)
        writer.write(LINE)
    assert counted == {("access_log.write", "OSError"): 2}


def test_a_reader_that_has_gone_is_a_fault(counted: dict[Any, int]) -> None:
    reader, descriptor = os.pipe()
    os.close(reader)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        LineWriter(stream).write(LINE)
    assert counted == {("access_log.write", "BrokenPipeError"): 1}


def test_a_full_pipe_that_does_not_block_is_a_fault(counted: dict[Any, int]) -> None:
    reader, descriptor = os.pipe()
    os.set_blocking(descriptor, False)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        LineWriter(stream).write(b"x" * 10_000_000 + b"\n")
    os.close(reader)
    assert counted == {("access_log.write", "BlockingIOError"): 1}


def test_a_line_that_goes_in_parts_arrives_whole() -> None:
    line = b"y" * 5_000_000 + b"\n"
    reader, descriptor = os.pipe()
    received = bytearray()

    def read() -> None:
        with os.fdopen(reader, "rb") as source:
            received.extend(source.read())

    thread = threading.Thread(target=read)
    thread.start()
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        LineWriter(stream).write(line)
    thread.join()
    assert bytes(received) == line


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_lines_of_many_threads_stay_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "access.log"
    stream: Any = path.open("a") if kind == "file" else io.StringIO()
    writer = LineWriter(stream)

    def write(letter: str) -> None:
        for _ in range(200):
            writer.write(letter.encode() * 500 + b"\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = path.read_text() if kind == "file" else stream.getvalue()
    stream.close()
    lines = text.splitlines()
    assert sorted(lines) == sorted(letter * 500 for letter in "abcdefgh" for _ in range(200))
