"""Proving: checkpoints, proofs, and the check of the whole log."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from asgi_infra.audit.errors import AuditIntegrityError, AuditNotFoundError
from asgi_infra.audit.proofs.checkpoint import Checkpoint, sign_checkpoint
from asgi_infra.audit.proofs.proof_file import ProofFile
from asgi_infra.audit.proofs.proving import consistency_proof, inclusion_proof, root_at
from asgi_infra.audit.reading import AuditReader
from asgi_infra.audit.verification import VerificationReport, verify_store
from asgi_infra.errors import ConfigurationError
from asgi_infra.options import require_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_infra.audit.proofs.signing import Signer
    from asgi_infra.audit.store import AuditStore


class AuditProver(AuditReader):
    """The proving half of `AuditLogger`, which documents the parameters."""

    def __init__(self, store: AuditStore, *, signer: Signer | None = None, **options: Any) -> None:
        super().__init__(store, **options)
        self._signer = signer
        self._signing = Lock()

    async def checkpoint(self) -> str:
        """Return a new signed checkpoint (C2SP tlog-checkpoint) that covers every entry whose receipt is out.

        Keep it where nobody who can write to the log can write: from then on no entry before it can be changed, removed
        or put between unnoticed.

        Raises:
            ConfigurationError: The logger has no `signer`.
            AuditIntegrityError: The log does not follow from the checkpoint that it signed last. It must not sign any
                more.
            AuditError: The store can't be read or written to.
        """
        return await self._calls.call(self._sign)

    async def last_checkpoint(self) -> str | None:
        """Return the checkpoint that was signed last, or `None`."""
        note = await self._calls.call(self._store.load_checkpoint)
        return None if note is None else note.decode()

    async def inclusion_proof(self, seq: int, *, size: int | None = None) -> list[bytes]:
        """Return the proof that an entry is in the log (RFC 6962, section 2.1.1), for `verify_inclusion`.

        Args:
            seq: The entry's number, from its receipt.
            size: Of which checkpoint; default all entries of now.

        Raises:
            ConfigurationError: A parameter is wrong.
            AuditNotFoundError: The log of that size has no such entry, or the hashes were purged.
            AuditError: The store can't be read.
        """
        require_integer("seq", seq, minimum=0)
        return await self._calls.call(self._prove, size, seq, inclusion_proof)

    async def prove(self, seq: int) -> str:
        """Return a proof file (C2SP tlog-proof) for an entry, with a new checkpoint: what anybody can check offline.

        Raises:
            ConfigurationError: `seq` is wrong, or the logger has no `signer`.
            AuditNotFoundError: The log has no such entry, or the hashes were purged.
            AuditError: The store can't be read or written to.
        """
        checkpoint = await self.checkpoint()
        path = await self.inclusion_proof(seq, size=Checkpoint.of_note(checkpoint).size)
        return str(ProofFile(seq, tuple(path), checkpoint))

    async def consistency_proof(self, since: int, *, size: int | None = None) -> list[bytes]:
        """Return the proof that the log still begins with its first `since` entries, for `verify_consistency`.

        Args:
            since: The size of the older checkpoint.
            size: Of the newer one; default all entries of now.

        Raises:
            ConfigurationError: A parameter is wrong.
            AuditNotFoundError: The log never had so many entries, or the hashes were purged.
            AuditError: The store can't be read.
        """
        require_integer("since", since, minimum=0)
        return await self._calls.call(self._prove, size, since, consistency_proof)

    async def verify(self, *, progress: Callable[[int, int], object] | None = None) -> VerificationReport:
        """Check every entry, the tree and the last checkpoint; the report names the first bad entry.

        Nothing is raised for what the check finds: see `report.ok`.

        Args:
            progress: Called now and then, in a worker thread, with the number of entries checked so far, and of all.

        Raises:
            AuditError: The store can't be read.
        """
        return await self._calls.call(verify_store, self._store, progress)

    def _default_signer(self) -> Signer:
        """Return the key that a backend has of its own; called at the first checkpoint without `signer`."""
        raise ConfigurationError("signer must be given to sign checkpoints, for example an Ed25519Signer")

    def _sign(self) -> str:
        with self._signing:
            if self._signer is None:
                self._signer = self._default_signer()
            tree = self._store.head().tree
            note = self._store.load_checkpoint()
            if note is not None:
                last = Checkpoint.of_note(note)
                if last.size > tree.size:
                    raise AuditIntegrityError(f"the log has {tree.size} entries, but it has signed {last.size}")
                try:
                    root = root_at(last.size, self._store.nodes(tree.size))
                except AuditNotFoundError:
                    root = last.root  # a store that forgets hashes can't check what is older
                if root != last.root:
                    raise AuditIntegrityError(
                        f"the log no longer begins with the {last.size} entries that it has signed"
                    )
            signed = sign_checkpoint(Checkpoint(self._signer.name, tree.size, tree.root()), self._signer)
            self._store.save_checkpoint(signed.encode(), tree.size)
            return signed

    def _prove(self, size: int | None, at: int, prove: Callable[..., list[bytes]]) -> list[bytes]:
        now = self._store.head().size
        if size is None:
            size = now
        elif isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ConfigurationError("size must be a number of entries, at least 0")
        if size > now:
            raise AuditNotFoundError(f"the log has {now} entries, not {size}")
        if at > size or (prove is inclusion_proof and at == size):
            raise AuditNotFoundError(f"there is no entry {at} in a log of {size} entries")
        return prove(at, size, self._store.nodes(size))
