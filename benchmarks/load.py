"""The load: keep-alive connections that each ask again as soon as they are answered; a process of its own.

`python -m benchmarks.load PORT SECONDS CONNECTIONS` prints, as JSON, the `requests` that were answered in so many
`seconds` after a warm-up, and the `total` with those of the warm-up. It is plain sockets and a selector, so that it
takes a fraction of what the server takes for a request.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from time import perf_counter

from benchmarks.apps import BODY, HEADERS, PATH

_REQUEST = b"GET %s HTTP/1.1\r\n%s\r\n" % (
    PATH.encode(),
    b"".join(b"%s: %s\r\n" % header for header in HEADERS),
)
_WARM_UP_SECONDS = 0.3
_PATIENCE_SECONDS = 10


def load(port: int, seconds: float, connections: int) -> dict[str, float]:
    """Keep a server busy and return `requests` answered, `seconds` taken, and `total`, which has the warm-up too.

    Raises:
        RuntimeError: A response was not the one that is right, a connection was lost, or the server fell silent.
    """
    with selectors.DefaultSelector() as selector:
        sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        try:
            for connection in sockets:
                selector.register(connection, selectors.EVENT_READ, bytearray())
                connection.sendall(_REQUEST)
            warm_up, _ = _answer_until(selector, perf_counter() + min(_WARM_UP_SECONDS, seconds))
            requests, taken = _answer_until(selector, perf_counter() + seconds)
        finally:
            for connection in sockets:
                connection.close()
    return {"requests": requests, "seconds": taken, "total": warm_up + requests}


def _answer_until(selector: selectors.BaseSelector, deadline: float) -> tuple[int, float]:
    answered, started = 0, perf_counter()
    while (now := perf_counter()) < deadline:
        ready = selector.select(_PATIENCE_SECONDS)
        if not ready:
            raise RuntimeError("the server has fallen silent")
        for key, _ in ready:
            connection, response = key.fileobj, key.data
            assert isinstance(connection, socket.socket)
            data = connection.recv(65536)
            if not data:
                raise RuntimeError("the server has closed a connection")
            response += data
            if response.endswith(BODY):
                if not response.startswith(b"HTTP/1.1 200 "):
                    raise RuntimeError(f"the server answered {bytes(response[:60])!r}")
                response.clear()
                answered += 1
                connection.sendall(_REQUEST)
    return answered, now - started


if __name__ == "__main__":
    print(json.dumps(load(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
