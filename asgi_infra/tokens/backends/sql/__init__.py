"""Tokens in an SQL database: SQLite or PostgreSQL."""

from __future__ import annotations

from asgi_infra.tokens.backends.sql.store import SQLTokenStore, open_store

__all__ = ["SQLTokenStore", "open_store"]
