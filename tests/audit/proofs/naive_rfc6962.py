"""The definitions of RFC 6962, section 2.1, word for word: slow, recursive, and easy to compare with the text."""

from __future__ import annotations

from hashlib import sha256


def digest(data: bytes) -> bytes:
    return sha256(data).digest()


def split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def mth(d: list[bytes]) -> bytes:
    if not d:
        return digest(b"")
    if len(d) == 1:
        return digest(b"\x00" + d[0])
    k = split(len(d))
    return digest(b"\x01" + mth(d[:k]) + mth(d[k:]))


def path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def proof(m: int, d: list[bytes]) -> list[bytes]:
    return subproof(m, d, True)


def subproof(m: int, d: list[bytes], b: bool) -> list[bytes]:
    n = len(d)
    if m == n:
        return [] if b else [mth(d)]
    k = split(n)
    if m <= k:
        return [*subproof(m, d[:k], b), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


class NaiveNodes:
    """Full subtrees of the leaves, each computed when it is asked for and then kept."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves
        self.known: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        if (level, index) not in self.known:
            part = self.leaves[index << level : (index + 1) << level]
            assert len(part) == 1 << level, "only full subtrees are nodes"
            self.known[level, index] = mth(part)
        return self.known[level, index]
