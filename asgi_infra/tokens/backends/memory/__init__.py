"""Tokens in the memory of this process."""

from __future__ import annotations

from asgi_infra.tokens.backends.memory.store import InMemoryTokenStore, open_store

__all__ = ["InMemoryTokenStore", "open_store"]
