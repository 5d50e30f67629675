"""Sessions: `uvicorn sessions_app:app --no-access-log`, then log in as amy with green-tea, refresh, log out everywhere.

The endpoints are those of the demo, in `asgi_infra/cli/demo/sessions.py`; copy that file to start from it.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from asgi_infra import InfraMiddleware, Tokens
from asgi_infra.cli.demo.sessions import OPEN, Sessions
from asgi_infra.tokens import open_token_store

# redis://, valkey://, postgresql:// and sqlite:/// keep the sessions when the process ends.
store = open_token_store(os.environ.get("TOKEN_STORE", "memory://"))


@asynccontextmanager
async def lifespan(_app):
    async with store:
        yield


sessions = Starlette(routes=Sessions(store).routes(), lifespan=lifespan)
app = InfraMiddleware(sessions, service="sessions", tokens=Tokens(store), exclude={"tokens": OPEN})
