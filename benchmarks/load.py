"""The load: keep-alive connections that each ask again as soon as they are answered; a process of its own.

`python -m benchmarks.load PORT SECONDS CONNECTIONS` prints, as JSON, the `requests` that were answered in so many
`seconds` after a warm-up, and the `total` with those of the warm-up.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import perf_counter

from benchmarks.apps import HEADERS, PATH

_REQUEST = b"GET %s HTTP/1.1\r\n%s\r\n" % (
    PATH.encode(),
    b"".join(b"%s: %s\r\n" % header for header in HEADERS),
)
_WARM_UP_SECONDS = 0.3


class Connection(asyncio.Protocol):
    """One connection; `answered` counts its responses."""

    def __init__(self) -> None:
        self.answered = 0
        self.failed: str | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        head, found, body = buffer.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            self._buffer = buffer
            return
        self._buffer = b""
        if not head.startswith(b"HTTP/1.1 200 "):
            self.failed = head.partition(b"\r\n")[0].decode("latin-1")
            self._transport.close()
            return
        self.answered += 1
        self._transport.write(_REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.failed is None:
            self.failed = "the connection was closed"


def _content_length(head: bytes) -> int:
    start = head.index(b"content-length: ") + len(b"content-length: ")
    end = head.find(b"\r\n", start)
    return int(head[start : end if end >= 0 else None])


async def load(port: int, seconds: float, connections: int) -> dict[str, float]:
    """Keep a server busy and return `requests` answered, `seconds` taken, and `total`, which has the warm-up too.

    Raises:
        RuntimeError: A response was not a 200, or a connection was lost.
    """
    loop = asyncio.get_running_loop()
    protocols = [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(connections)]
    await asyncio.sleep(min(_WARM_UP_SECONDS, seconds))
    before, started = sum(protocol.answered for protocol in protocols), perf_counter()
    await asyncio.sleep(seconds)
    requests, taken = sum(protocol.answered for protocol in protocols) - before, perf_counter() - started
    total = sum(protocol.answered for protocol in protocols)
    for protocol in protocols:
        if protocol.failed is not None:
            raise RuntimeError(f"the load failed: {protocol.failed}")
        protocol._transport.abort()
    return {"requests": requests, "seconds": taken, "total": total}


if __name__ == "__main__":
    port, seconds, connections = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(asyncio.run(load(port, seconds, connections))))
