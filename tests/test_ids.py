from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid

from asgi_infra import ids
from asgi_infra.ids import uuid7


def test_an_id_is_a_uuid_of_version_7_in_its_usual_spelling() -> None:
    for _ in range(1000):
        text = uuid7()
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert len(text) == 36
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122


def test_an_id_begins_with_the_milliseconds_of_its_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(uuid7()).int >> 80
    after = time.time_ns() // 1_000_000
    assert before <= made <= after


def test_ids_of_later_milliseconds_sort_later(monkeypatch) -> None:
    now = 1_700_000_000_000
    made = []
    for step in range(2000):
        monkeypatch.setattr(ids, "time_ns", lambda at=now + step * 7: at * 1_000_000)
        made.append(uuid7())
    assert made == sorted(made)


def test_the_timestamp_keeps_its_48_bits_from_1970_to_the_end(monkeypatch) -> None:
    for milliseconds in (0, 1, 2**32, 2**48 - 1):
        monkeypatch.setattr(ids, "time_ns", lambda at=milliseconds: at * 1_000_000 + 999_999)
        assert uuid.UUID(uuid7()).int >> 80 == milliseconds


def test_each_random_bit_takes_both_values() -> None:
    ones = zeros = 0
    for _ in range(2000):
        value = uuid.UUID(uuid7()).int & (2**80 - 1)
        ones |= value
        zeros |= ~value
    fixed = 0xF << 76 | 0xF << 60  # the digits that hold version and variant
    assert (ones & zeros) & (2**80 - 1) == (2**80 - 1) & ~fixed


def test_threads_never_share_an_id() -> None:
    made: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def make(own: list[str]) -> None:
        start.wait()
        own.extend(uuid7() for _ in range(5000))

    threads = [threading.Thread(target=make, args=(own,)) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for own in made for each in own}) == 8 * 5000


_FORKING = """
import os
from asgi_infra.ids import uuid7

uuid7()  # there is something left that a child could take over
for number in range(4):
    reader, writer = os.pipe()
    if os.fork() == 0:
        for _ in range(300):
            os.write(writer, (uuid7()[14:] + "\\n").encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as lines:
        print(lines.read(), end="")
    os.wait()
print("".join(uuid7()[14:] + "\\n" for _ in range(300)), end="")
"""


def test_forked_processes_never_share_an_id() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORKING], capture_output=True, text=True, check=True, timeout=60, env=os.environ
    )
    randoms = done.stdout.split()
    assert len(randoms) == 5 * 300
    assert len(set(randoms)) == len(randoms)
