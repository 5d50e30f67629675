"""The package takes no optional library until something is signed or checked, and is quick enough to import."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

from asgi_infra.audit import proofs

MODULES = [each.name for each in pkgutil.iter_modules(proofs.__path__)]


def test_importing_takes_no_optional_library() -> None:
    program = "import sys; import asgi_infra.audit.proofs; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"asgi_infra.audit.proofs.{name}")).failed == 0


def test_every_name_is_there() -> None:
    assert all(hasattr(proofs, name) for name in proofs.__all__)
    assert len(set(proofs.__all__)) == len(proofs.__all__)


def test_all_faults_of_proofs_are_audit_errors() -> None:
    from asgi_infra.errors import AuditError

    for name in ("ProofError", "TileError", "WitnessError", "KeyFileError"):
        assert issubclass(getattr(proofs, name), AuditError)
    for name in ("MalformedProofError", "SignatureError", "QuorumError"):
        assert issubclass(getattr(proofs, name), proofs.ProofError)
