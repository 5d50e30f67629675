"""The contract for who gives one store, and no factory."""

from __future__ import annotations

import re
import subprocess
import sys

ONE_STORE = """
import pytest
from asgi_infra.testing import TokenStoreContract
from asgi_infra.tokens import InMemoryTokenStore

class TestOneStore(TokenStoreContract):
    shared = False

    @pytest.fixture
    async def store(self):
        async with InMemoryTokenStore() as store:
            yield store
"""
NOTHING = """
from asgi_infra.testing import TokenStoreContract

class TestNothing(TokenStoreContract):
    pass
"""


def run_tests(directory, text, *arguments):
    (directory / "test_given.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


def test_one_store_gets_the_part_of_the_contract_that_needs_no_options(tmp_path):
    status, output = run_tests(tmp_path, ONE_STORE)
    assert status == 0, output
    assert int(re.search(r"(\d+) passed", output)[1]) >= 35
    assert "override the fixture store_factory" in output


def test_a_class_that_gives_neither_a_store_nor_a_factory_is_told_so(tmp_path):
    status, output = run_tests(tmp_path, NOTHING, "-x")
    assert status == 1
    assert "TestNothing must override the fixture store_factory, or store" in output
