"""Whether a database answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from asgi_infra.database.translation import translate
from asgi_infra.errors import InfrastructureError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


async def probe(engine: AsyncEngine, seconds: float) -> str | None:
    """Send `SELECT 1` and return `None`, or the class name of what went wrong within the given seconds."""
    try:
        async with asyncio.timeout(seconds), engine.connect() as connection:
            await connection.exec_driver_sql("SELECT 1")
    except (SQLAlchemyError, InfrastructureError, TimeoutError) as exc:
        return type(translate(exc) or exc).__name__
    return None
