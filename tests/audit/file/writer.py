"""Writes to a log, and prints the number of each entry once it is acknowledged: `writer.py PATH NAME ENTRIES BATCH`."""

from __future__ import annotations

import sys
from pathlib import Path

from file_logs import records

from asgi_infra.audit.backends.file.store import FileStore
from asgi_infra.audit.errors import AuditError


def main(path: str, name: str, entries: int, batch: int, segment_bytes: int) -> None:
    store = FileStore(Path(path), segment_bytes)
    store.open()
    print("ready", flush=True)
    for start in range(0, entries, batch):
        own = [
            record
            for number in range(start, start + batch)
            for record in records(number, number + 1, id=f"{name}-{number}")
        ]
        try:
            receipts = store.append(own)
        except AuditError as exc:
            print("failed", type(exc).__name__, *(record.entry.id for record in own), flush=True)
            continue
        for record, receipt in zip(own, receipts, strict=True):
            print("acked", record.entry.id, receipt.seq, receipt.leaf_hash.hex(), flush=True)
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
