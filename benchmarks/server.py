"""A variant behind uvicorn, in a process of its own: `python -m benchmarks.server VARIANT` prints its port and serves.

It ends when its standard input does, so that it never outlives the benchmark.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import uvicorn

from benchmarks import apps
from benchmarks.tracing import Tracing
from benchmarks.variants import Setting, named


async def serve(name: str) -> None:
    (variant,) = named(name)
    setting = Setting(Tracing.serve())
    app = apps.starlette(variant.layers(setting))
    # asyncio switches Nagle's algorithm off only where the protocol is spelt out.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, access_log=False, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    print(listener.getsockname()[1], flush=True)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await running
    setting.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
