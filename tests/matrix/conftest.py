"""One server process a pair of framework and server; all of the matrix's assertions go to it."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest
from serving import FRAMEWORKS, SERVERS, Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(
    scope="session",
    params=[(framework, server) for framework in FRAMEWORKS for server in SERVERS],
    ids=lambda pair: "-".join(pair),
)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    framework, server = request.param
    for name in (framework, server):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: it does not run on this Python ({sys.version.split()[0]})")
    with serve(framework, server) as running:
        yield running
