"""Checking a whole log: every leaf, every private part, the tree, and the last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgi_infra.audit.errors import AuditIntegrityError, AuditNotFoundError
from asgi_infra.audit.filter import AuditFilter
from asgi_infra.audit.proofs.checkpoint import Checkpoint
from asgi_infra.audit.proofs.errors import ProofError, TileError
from asgi_infra.audit.proofs.merkle import CompactRange, leaf_hash
from asgi_infra.audit.proofs.proving import range_at, root_at
from asgi_infra.audit.record import Stored, private_fault, unseal

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.store import AuditStore

_CHUNK: Final = 1_000
_EVERYTHING: Final = AuditFilter()
_MISSING: Final = (AuditNotFoundError, TileError)


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What checking a log found.

    Attributes:
        ok: Whether everything was right.
        size: Entries that were ever logged.
        first: The oldest one that is still there, where the check began.
        checked: Entries that were found to be right.
        erased: How many of these have had their private part erased.
        bad_seq: The number of the first bad entry, or `None` if no single entry is to blame.
        problem: What is wrong, in words; empty if nothing is.
        root: The root of the tree.
    """

    ok: bool
    size: int
    first: int
    checked: int
    erased: int
    bad_seq: int | None
    problem: str
    root: bytes

    def __bool__(self) -> bool:
        return self.ok


def verify_store(store: AuditStore, progress: Callable[[int, int], object] | None = None) -> VerificationReport:
    """Check all that a store holds.

    Args:
        store: The store; others may write to it meanwhile.
        progress: Called now and then with the number of entries checked so far, and of all.
    """
    head = store.head()
    return _Verification(store, head.first, head.tree).run(progress)


class _Verification:
    def __init__(self, store: AuditStore, first: int, tree: CompactRange) -> None:
        self._store = store
        self._first = first
        self._expected = tree
        self._nodes = store.nodes(tree.size)
        self._checked = self._erased = 0

    def run(self, progress: Callable[[int, int], object] | None) -> VerificationReport:
        try:
            tree = range_at(self._first, self._nodes)
        except _MISSING as exc:
            return self._report(None, f"the hashes of the purged entries are missing: {exc}")
        at, size, limit = self._first, self._expected.size, _CHUNK
        while at < size:
            try:
                rows = self._store.select(_EVERYTHING, at, size, limit)
            except AuditIntegrityError as exc:
                if limit == 1:
                    return self._bad(at, str(exc))
                limit = 1  # somewhere in this chunk; the report names the entry
                continue
            if not rows:
                return self._bad(at, "the entry is missing")
            for row in rows:
                if row.seq != at:
                    if row.seq > at and at < self._store.head().first:
                        return self._bad(at, "the entry was purged while the log was checked")
                    return self._bad(at, "the entry is missing")
                if problem := self._fault(row):
                    return self._bad(at, problem)
                tree.append(leaf_hash(row.leaf))
                self._checked += 1
                at += 1
            if progress is not None:
                progress(self._checked, size - self._first)
        if tree.root() != self._expected.root():
            return self._report(None, "the entries do not make the root that the log claims")
        return self._report(None, self._checkpoint_fault())

    def _fault(self, row: Stored) -> str:
        try:
            if leaf_hash(row.leaf) != self._nodes(0, row.seq):
                return "the entry is not the one that was logged: its leaf has another hash than the tree"
            logged = unseal(row)
        except (AuditIntegrityError, *_MISSING) as exc:
            return str(exc)
        self._erased += logged.erased
        return private_fault(row) or ""

    def _checkpoint_fault(self) -> str:
        note = self._store.load_checkpoint()
        if note is None:
            return ""
        try:
            last = Checkpoint.of_note(note)
        except ProofError as exc:
            return f"the last checkpoint is unreadable: {exc}"
        if last.size > self._expected.size:
            return f"the log has {self._expected.size} entries, but it has signed {last.size}: the end was cut off"
        try:
            root = root_at(last.size, self._nodes)
        except _MISSING:
            return ""  # older than what the store still has hashes for
        return "" if root == last.root else f"the log is not the one whose first {last.size} entries were signed"

    def _bad(self, seq: int, problem: str) -> VerificationReport:
        return self._report(seq, f"entry {seq}: {problem}")

    def _report(self, bad_seq: int | None, problem: str) -> VerificationReport:
        return VerificationReport(
            ok=not problem,
            size=self._expected.size,
            first=self._first,
            checked=self._checked,
            erased=self._erased,
            bad_seq=bad_seq,
            problem=problem,
            root=self._expected.root(),
        )
