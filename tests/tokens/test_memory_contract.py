from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi_infra.testing import TokenStoreContract
from asgi_infra.tokens import InMemoryTokenStore

if TYPE_CHECKING:
    from collections.abc import Callable


class TestInMemoryTokenStore(TokenStoreContract):
    shared = False

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def store_factory(self) -> Callable[..., InMemoryTokenStore]:
        return InMemoryTokenStore
