"""The tree is the architecture: who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import asgi_infra

PACKAGE = Path(asgi_infra.__file__).parent
MAX_LINES = 400

LAYERS: dict[str, int] = {
    # 0: what knows nothing
    "asgi_infra._version": 0,
    "asgi_infra.errors": 0,
    "asgi_infra.types": 0,
    # 1: pure helpers
    "asgi_infra.context": 1,
    "asgi_infra.faults": 1,
    "asgi_infra.forks": 1,
    "asgi_infra.globs": 1,
    "asgi_infra.ids": 1,
    "asgi_infra.lines": 1,
    "asgi_infra.options": 1,
    "asgi_infra.paths": 1,
    "asgi_infra.redaction": 1,
    "asgi_infra.shutdown": 1,
    # 2: contracts
    "asgi_infra.tokens": 2,
    "asgi_infra.audit": 2,
    # 3: engine and observers, telemetry, logs
    "asgi_infra.middleware": 3,
    "asgi_infra.telemetry": 3,
    "asgi_infra.logs": 3,
    # 4: the database, with what every SQL backend shares
    "asgi_infra.database": 4,
    # 5: the backends
    "asgi_infra.tokens.backends": 5,
    "asgi_infra.audit.backends": 5,
    # 6: what uses everything
    "asgi_infra.testing": 6,
    "asgi_infra.console": 6,
    "asgi_infra.cli": 6,
    "asgi_infra": 6,
}
"""The layer of each module or package; the longest name that fits counts."""

DRIVERS = frozenset({"aiosqlite", "asyncpg", "nats", "psycopg", "redis", "sqlalchemy", "sqlite3", "valkey"})
# The demo is an application, written as users write theirs.
DRIVER_HOMES = ("asgi_infra.database", "asgi_infra.tokens.backends", "asgi_infra.audit.backends", "asgi_infra.cli.demo")


class Edge(NamedTuple):
    importer: str
    imported: str
    line: int


def _name(path: Path) -> str:
    parts = ("asgi_infra", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _imports(tree: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    """Return the imports that are executed, in functions too, but for those under TYPE_CHECKING."""
    found: list[ast.Import | ast.ImportFrom] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for other in node.orelse:
                found += [other] if isinstance(other, (ast.Import, ast.ImportFrom)) else _imports(other)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        else:
            found += _imports(node)
    return found


def _absolute(name: str, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return str(node.module)
    is_package = name in MODULES and MODULES[name].name == "__init__.py"
    parts = name.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, node.module] if node.module else base)


def edges_of(name: str, source: str) -> list[Edge]:
    """Return what a module imports, each as the module that is loaded for it."""
    edges = []
    for node in _imports(ast.parse(source)):
        if isinstance(node, ast.Import):
            edges += [Edge(name, alias.name, node.lineno) for alias in node.names]
            continue
        source_module = _absolute(name, node)
        for alias in node.names:
            whole = f"{source_module}.{alias.name}"
            edges.append(Edge(name, whole if whole in MODULES else source_module, node.lineno))
    return edges


def layer_of(name: str) -> int:
    while name not in LAYERS:
        name = name.rpartition(".")[0]
        # Only the face itself has the layer of the face.
        assert name != "asgi_infra", "a new part of the package has no place in the table of layers yet"
        assert name
    return LAYERS[name]


def fault_of(edge: Edge) -> str | None:
    """Return what is wrong with an import, or `None`."""
    root = edge.imported.partition(".")[0]
    if root in DRIVERS:
        return None if edge.importer.startswith(DRIVER_HOMES) else "a driver is imported outside of the backends"
    if root != "asgi_infra":
        return None
    importer, imported = layer_of(edge.importer), layer_of(edge.imported)
    if importer == 0 and edge.importer != edge.imported:
        return "the lowest layer imports from the package"
    backends = [".".join(name.split(".")[:4]) for name in (edge.importer, edge.imported) if ".backends." in name]
    if len(set(backends)) == 2:
        return "a backend imports another"
    if importer < imported:
        return f"layer {importer} imports from layer {imported}"
    if importer == imported and importer in (2, 3, 4, 5) and _part(edge.importer) != _part(edge.imported):
        return f"two parts of layer {importer} know each other"
    return None


def _part(name: str) -> str:
    return ".".join(name.split(".")[:2])


EDGES = [edge for name, path in MODULES.items() for edge in edges_of(name, path.read_text(encoding="utf-8"))]


def test_every_module_has_its_layer() -> None:
    for name in MODULES:
        assert 0 <= layer_of(name) <= 6


def test_no_import_breaks_the_table_of_layers() -> None:
    broken = [f"{edge.importer}, line {edge.line}: {edge.imported}: {why}" for edge in EDGES if (why := fault_of(edge))]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("asgi_infra.errors", "from asgi_infra.faults import record"),
        ("asgi_infra.types", "import asgi_infra.errors"),
        ("asgi_infra.lines", "from asgi_infra.middleware import engine"),
        ("asgi_infra.tokens.contract", "from asgi_infra.tokens.backends.memory import InMemoryTokenStore"),
        ("asgi_infra.tokens.backends.sql", "from asgi_infra.tokens.backends.memory import InMemoryTokenStore"),
        ("asgi_infra.tokens.backends.sql", "from asgi_infra.audit.backends.sql import SQLAuditLogger"),
        ("asgi_infra.telemetry.provider", "def late():\n    from asgi_infra.middleware.tracing import Tracing"),
        ("asgi_infra.middleware.tracing", "import sqlalchemy.exc"),
        ("asgi_infra.cli", "try:\n    import redis\nexcept ImportError:\n    pass"),
        ("asgi_infra.database.session", "from asgi_infra.cli import main"),
    ],
)
def test_an_edge_that_breaks_the_table_is_found(importer: str, source: str) -> None:
    assert [fault_of(edge) for edge in edges_of(importer, source)] != [None]


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("asgi_infra.middleware.tracing", "from asgi_infra.errors import ConfigurationError"),
        ("asgi_infra.lines", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import asgi_infra.cli, redis"),
        ("asgi_infra.tokens.backends.redis", "import redis.asyncio\nfrom asgi_infra.tokens.contract import TokenStore"),
        ("asgi_infra.tokens.backends.sql", "from asgi_infra.database.engine import create_engine"),
        ("asgi_infra.tokens.backends.sql.store", "from asgi_infra.tokens.backends.sql.tables import TOKENS"),
        ("asgi_infra.cli.run", "from asgi_infra.middleware.stack import InfraMiddleware"),
    ],
)
def test_an_edge_that_keeps_to_the_table_is_no_fault(importer: str, source: str) -> None:
    assert not [why for edge in edges_of(importer, source) if (why := fault_of(edge))]


def test_modules_that_load_each_other_do_not_go_in_circles() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_import = {node.lineno for node in _at_import(tree)}
        for edge in edges_of(name, path.read_text(encoding="utf-8")):
            if edge.imported in MODULES and edge.imported != name and edge.line in at_import:
                graph[name].add(edge.imported)
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for imported in sorted(graph[name]):
                visit(imported, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def _at_import(tree: ast.AST) -> list[ast.stmt]:
    """Return the statements that run when the module is loaded."""
    found: list[ast.stmt] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.stmt):
            found.append(node)
        found += _at_import(node)
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short_enough_to_be_read(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if path.stat().st_size])
def test_a_module_says_what_it_is_for_and_defers_its_annotations(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    if name == "asgi_infra._version":
        return
    assert ast.get_docstring(tree)
    if any(not isinstance(node, ast.Expr) for node in tree.body):
        first = next(node for node in tree.body if not isinstance(node, ast.Expr))
        assert isinstance(first, ast.ImportFrom)
        assert first.module == "__future__"


# The face


_PROBE = """
import json, signal, sys, threading
handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
environment_reads = []
import os
class Watched(type(os.environ)):
    def __getitem__(self, key):
        environment_reads.append(key)
        return super().__getitem__(key)
os.environ.__class__ = Watched
import logging
import asgi_infra
TOUCH
print(json.dumps({
    "modules": sorted({name for name in sys.modules}),
    "threads": threading.active_count(),
    "handlers": handlers == {number: signal.getsignal(number) for number in signal.valid_signals()},
    "root": len(logging.root.handlers),
    "environment": [key for key in environment_reads if not key.startswith(("PYTHON", "OTEL_PYTHON_CONTEXT"))],
}))
"""


def _fresh(touch: str = "") -> dict[str, object]:
    program = _PROBE.replace("TOUCH", touch)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _roots(found: dict[str, object]) -> set[str]:
    modules = found["modules"]
    assert isinstance(modules, list)
    return {name.partition(".")[0] for name in modules}


def test_importing_the_face_loads_nothing_and_does_nothing() -> None:
    found = _fresh()
    assert not _roots(found) & (
        DRIVERS | {"prometheus_client", "starlette", "fastapi", "opentelemetry", "uvicorn", "anyio"}
    )
    assert [name for name in found["modules"] if name.startswith("asgi_infra")] == [  # type: ignore[attr-defined]
        "asgi_infra",
        "asgi_infra._version",
    ]
    assert found["threads"] == 1
    assert found["handlers"] is True
    assert found["root"] == 0
    assert found["environment"] == []


def test_importing_every_name_takes_no_driver_and_no_framework_and_starts_nothing() -> None:
    found = _fresh("for name in asgi_infra.__all__: getattr(asgi_infra, name)")
    assert not _roots(found) & (DRIVERS | {"starlette", "fastapi", "uvicorn"})
    assert "opentelemetry.sdk" not in found["modules"]  # type: ignore[operator]
    assert found["threads"] == 1
    assert found["handlers"] is True
    assert found["root"] == 0


def test_the_whole_stack_takes_no_driver_and_no_framework() -> None:
    found = _fresh("asgi_infra.InfraMiddleware(print)")
    assert not _roots(found) & (DRIVERS | {"starlette", "fastapi", "uvicorn", "trio"})
    assert found["threads"] == 1
    assert found["handlers"] is True


@pytest.mark.parametrize("name", asgi_infra.__all__)
def test_every_name_of_the_face_is_there(name: str) -> None:
    value = getattr(asgi_infra, name)
    home = asgi_infra._HOME_OF.get(name)
    if home is None:
        assert name == "__version__"
    else:
        assert value is getattr(importlib.import_module(home), name)
    assert name in dir(asgi_infra)


def test_the_three_lists_of_names_agree() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and _is_type_checking(node.test)]
    for_checkers = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert for_checkers == asgi_infra._HOME_OF
    assert sorted(asgi_infra.__all__) == sorted([*asgi_infra._HOME_OF, "__version__"])
    assert len(set(asgi_infra.__all__)) == len(asgi_infra.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'asgi_infra' has no attribute 'InfraMiddelware'"):
        _ = asgi_infra.InfraMiddelware  # type: ignore[attr-defined]


def test_a_star_import_brings_every_name() -> None:
    names: dict[str, object] = {}
    exec("from asgi_infra import *", names)
    assert set(asgi_infra.__all__) <= set(names)
