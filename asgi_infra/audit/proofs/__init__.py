"""Proofs that nothing in an audit trail was changed, removed or put between: pure functions, without a store.

| what | where | specification |
|---|---|---|
| hashes, the growing tree | `merkle` | RFC 6962, 2.1 |
| making proofs, checking them | `proving`, `verifying` | RFC 6962, 2.1; RFC 9162, 2.1 |
| signed notes, their keys | `notes`, `signing`, `ed25519`, `vkeys` | C2SP signed-note |
| checkpoints | `checkpoint` | C2SP tlog-checkpoint |
| tiles, entry bundles | `tiles`, `tile_nodes`, `tile_edge`, `bundles` | C2SP tlog-tiles |
| proof files | `proof_file` | C2SP tlog-proof |
| witnesses | `cosignature`, `witness`, `quorum` | C2SP tlog-cosignature, tlog-witness, tlog-policy |
| private values that can be erased | `commitments` | |
| key files | `keys` | |

Only what signs or checks signatures needs `cryptography` (`pip install 'asgi-infra[audit]'`), and loads it then.
"""

from __future__ import annotations

from asgi_infra.audit.proofs.bundles import MAX_ENTRY, decode_entries, encode_entries
from asgi_infra.audit.proofs.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint, sign_checkpoint
from asgi_infra.audit.proofs.commitments import commit, new_salt, verify_commitment
from asgi_infra.audit.proofs.cosignature import CosignatureSigner, CosignatureVerifier, cosigned_at
from asgi_infra.audit.proofs.ed25519 import Ed25519Signer, Ed25519Verifier
from asgi_infra.audit.proofs.errors import (
    KeyFileError,
    MalformedProofError,
    ProofError,
    QuorumError,
    SignatureError,
    TileError,
    WitnessError,
)
from asgi_infra.audit.proofs.keys import create_key, load_key, load_or_create_key
from asgi_infra.audit.proofs.merkle import EMPTY_ROOT, CompactRange, leaf_hash, leaf_hashes, node_hash
from asgi_infra.audit.proofs.notes import Note, Signature, VerifiedNote, add_signatures, open_note, sign_note
from asgi_infra.audit.proofs.proof_file import ProofFile
from asgi_infra.audit.proofs.proving import (
    consistency_proof,
    consistency_ranges,
    inclusion_proof,
    inclusion_ranges,
    range_at,
    root_at,
)
from asgi_infra.audit.proofs.quorum import Quorum
from asgi_infra.audit.proofs.signing import Signer, Verifier
from asgi_infra.audit.proofs.tile_edge import MemoryTiles, TileEdge
from asgi_infra.audit.proofs.tile_nodes import FetchedTiles, TileNodes, TileReader, tiles_for
from asgi_infra.audit.proofs.tiles import Bundle, Tile, bundles_between, parse_path, partial_tiles, tiles_between
from asgi_infra.audit.proofs.verifying import verify_consistency, verify_inclusion
from asgi_infra.audit.proofs.vkeys import parse_vkey
from asgi_infra.audit.proofs.witness import AddCheckpoint, Answer, SeenSize, cosign, read_answer

__all__ = [
    "EMPTY_ROOT",
    "MAX_ENTRY",
    "AddCheckpoint",
    "Answer",
    "Bundle",
    "Checkpoint",
    "CompactRange",
    "CosignatureSigner",
    "CosignatureVerifier",
    "Ed25519Signer",
    "Ed25519Verifier",
    "FetchedTiles",
    "KeyFileError",
    "MalformedProofError",
    "MemoryTiles",
    "Note",
    "ProofError",
    "ProofFile",
    "Quorum",
    "QuorumError",
    "SeenSize",
    "Signature",
    "SignatureError",
    "SignedCheckpoint",
    "Signer",
    "Tile",
    "TileEdge",
    "TileError",
    "TileNodes",
    "TileReader",
    "VerifiedNote",
    "Verifier",
    "WitnessError",
    "add_signatures",
    "bundles_between",
    "commit",
    "consistency_proof",
    "consistency_ranges",
    "cosign",
    "cosigned_at",
    "create_key",
    "decode_entries",
    "encode_entries",
    "inclusion_proof",
    "inclusion_ranges",
    "leaf_hash",
    "leaf_hashes",
    "load_key",
    "load_or_create_key",
    "new_salt",
    "node_hash",
    "open_checkpoint",
    "open_note",
    "parse_path",
    "parse_vkey",
    "partial_tiles",
    "range_at",
    "read_answer",
    "root_at",
    "sign_checkpoint",
    "sign_note",
    "tiles_between",
    "tiles_for",
    "verify_commitment",
    "verify_consistency",
    "verify_inclusion",
]
