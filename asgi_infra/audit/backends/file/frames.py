"""One entry in a segment of the log: the leaf under a checksum, and behind it what may be erased in place.

```text
magic     4  never within JSON
crc       4  CRC-32 of all up to the end of the leaf
leaf      2  its length
private   2  its length
place     4  which record of its batch, from 0; the highest bit marks the last one
seq       8  the number of the entry
leaf      .
crc       4  CRC-32 of the private part           | only if there is a private part;
private   .                                       | zeros once it was erased
```

All numbers are big-endian. A batch counts only with its last record. A record without leaf, number `seq`, is the seal
of a segment: the next one begins with that number.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.audit.record import Record

MAGIC: Final = b"\xffAR\x00"
LAST: Final = 1 << 31
CHECK_SIZE: Final = 4

_HEADER: Final = Struct(">4sIHHIQ")
_FIELDS: Final = Struct(">HHIQ")
HEADER_SIZE: Final = _HEADER.size
_CHECKED: Final = HEADER_SIZE - _FIELDS.size

_pack = _HEADER.pack
_fields = _FIELDS.pack
_unpack = _HEADER.unpack_from


class Frame(NamedTuple):
    """A record as it stands in a segment.

    Attributes:
        seq: The number of the entry.
        leaf: Its leaf; empty in a seal.
        private: Its private part; `None` if there is none, or none any more.
        at: Where the record begins, in bytes from the beginning of the segment.
        end: Where it ends.
        erasable: Where the private part with its checksum begins; the same as `end` if there is none.
        place: Which record of its batch.
        last: Whether it is the last one of its batch.
    """

    seq: int
    leaf: bytes
    private: bytes | None
    at: int
    end: int
    erasable: int
    place: int
    last: bool


def encode(records: Sequence[Record], seq: int) -> bytes:
    """Return a batch of records, whose first one gets the number `seq`."""
    parts: list[bytes] = []
    last = len(records) - 1
    for place, record in enumerate(records):
        leaf, private = record.leaf, record.private
        size = len(private) if private is not None else 0
        marked = place | LAST if place == last else place
        check = crc32(leaf, crc32(_fields(len(leaf), size, marked, seq + place)))
        parts += (_pack(MAGIC, check, len(leaf), size, marked, seq + place), leaf)
        if private:
            parts += (crc32(private).to_bytes(CHECK_SIZE, "big"), private)
    return b"".join(parts)


def seal(seq: int) -> bytes:
    """Return the seal of a segment; the next one begins with number `seq`."""
    return _pack(MAGIC, crc32(_fields(0, 0, LAST, seq)), 0, 0, LAST, seq)


def decode(data: bytes, base: int, seq: int, stop: int, at: int = 0) -> list[Frame]:
    """Return the records that follow each other, up to the first that is not whole, or not the next one.

    Args:
        data: A part of a segment.
        base: Where in the segment it begins.
        seq: The number of the first record.
        stop: The number to stop before; a seal of this number is not returned.
        at: Where in `data` to begin.
    """
    frames: list[Frame] = []
    add, size = frames.append, len(data)
    while seq < stop:
        begin = at + HEADER_SIZE
        if begin > size:
            break
        magic, check, leaf_size, private_size, marked, number = _unpack(data, at)
        split = begin + leaf_size
        if number != seq or magic != MAGIC or split > size or crc32(data[at + _CHECKED : split]) != check:
            break
        leaf = data[begin:split]
        private: bytes | None = None
        end = split
        if private_size:
            end = split + CHECK_SIZE + private_size
            if end > size:
                break
            private = data[split + CHECK_SIZE : end]
            if crc32(private) != int.from_bytes(data[split : split + CHECK_SIZE], "big"):
                if any(data[split:end]):
                    break
                private = None
        last = marked >= LAST
        add(Frame(seq, leaf, private, base + at, base + end, base + split, marked & ~LAST, last))
        if not leaf_size:
            break
        at = end
        seq += 1
    return frames


def committed(frames: list[Frame]) -> int:
    """Return how many of the records belong to whole batches."""
    count = len(frames)
    while count and not frames[count - 1].last:
        count -= 1
    return count


def later_batch(data: bytes, at: int, seq: int) -> bool:
    """Return whether somewhere from `at` a record stands whose batch began after number `seq`.

    If so, the batch that `seq` begins was durable: nobody starts another one before that.
    """
    at = data.find(MAGIC, at)
    while at >= 0 and at + HEADER_SIZE <= len(data):
        _, check, leaf_size, _, marked, number = _unpack(data, at)
        if number - (marked & ~LAST) > seq:
            begin = at + HEADER_SIZE
            if crc32(data[at + _CHECKED : begin + leaf_size]) == check:
                return True
        at = data.find(MAGIC, at + 1)
    return False


def fault(data: bytes, seq: int) -> str:
    """Say why `data` does not begin with the record of number `seq`."""
    if len(data) < HEADER_SIZE:
        return "the record is cut off"
    magic, _, leaf_size, private_size, _, number = _unpack(data)
    if magic != MAGIC:
        return "no record begins here"
    leaf_end = HEADER_SIZE + leaf_size
    if len(data) < leaf_end + (private_size and CHECK_SIZE + private_size):
        return "the record is cut off"
    if number != seq:
        return f"the record of entry {number} stands here"
    if crc32(data[_CHECKED:leaf_end]) != int.from_bytes(data[4:8], "big"):
        return "the record is damaged"
    return "the private part is damaged"
