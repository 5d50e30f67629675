"""The figures that are promised, computed from one run's results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.experiments import ROUTES
from benchmarks.measure import Estimate, added, added_ratio
from benchmarks.throughput import kept
from benchmarks.variants import ALL, BARE, FLOOR, PEERS_TOGETHER

if TYPE_CHECKING:
    from benchmarks.experiments import Table
    from benchmarks.measure import Series
    from benchmarks.throughput import Throughput


@dataclass
class Results:
    """What one run has measured; what it has left out is empty."""

    tables: list[Table] = field(default_factory=list)
    throughput: dict[str, Throughput] = field(default_factory=dict)
    imports: dict[str, Estimate] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    def rows(self, name: str, condition: str = "sampled", title: str | None = None) -> dict[str, Series]:
        for table in self.tables:
            if table.name == name and table.condition == condition and title in (None, table.title):
                return table.rows
        return {}


@dataclass(frozen=True)
class Figure:
    """One promise: what was measured, and the bound that it is held to; `value` is `None` where nothing was."""

    name: str
    target: str
    value: Estimate | None
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value.value >= self.bound if self.at_least else self.value.value <= self.bound


def figures(results: Results) -> list[Figure]:
    growth = _growth(results)
    return [
        Figure("all features, sampled: added cost / the floor's", "≤ 1.15", _raw_ratio(results, "sampled"), 1.15),
        Figure(
            "the same / the peers' together, in Starlette",
            "≤ 1/3",
            _ratio(results.rows("peers"), PEERS_TOGETHER),
            1 / 3,
        ),
        Figure("spans sampled out: added cost / the floor's", "≤ 0.9", _raw_ratio(results, "sampled out"), 0.9),
        Figure(
            "throughput kept of bare Starlette, one core",
            "≥ 40 %",
            _percent(kept(results.throughput, ALL)) if results.throughput else None,
            40,
            " %",
            at_least=True,
        ),
        Figure(
            f"growth from {ROUTES[0]} to {ROUTES[-1]} routes, beyond the floor's",
            "none measurable",
            growth,
            growth.margin if growth is not None else 0.0,
            " µs",
        ),
        Figure("excluded path, added", "≤ 1.5 µs", _added(results.rows("excluded")), 1.5, " µs"),
        Figure("import asgi_infra", "≤ 150 ms", results.imports.get("import asgi_infra"), 150, " ms"),
        Figure(
            "from asgi_infra import InfraMiddleware",
            "≤ 150 ms",
            results.imports.get("from asgi_infra import InfraMiddleware"),
            150,
            " ms",
        ),
    ]


def _raw_ratio(results: Results, condition: str) -> Estimate | None:
    return _ratio(results.rows("features", condition), FLOOR)


def _ratio(rows: dict[str, Series], other: str) -> Estimate | None:
    return added_ratio(rows[ALL], rows[other], rows[BARE]) if other in rows else None


def _added(rows: dict[str, Series]) -> Estimate | None:
    return added(rows[ALL], rows[BARE]) if rows else None


def _percent(share: Estimate) -> Estimate:
    return Estimate(share.value * 100, share.low * 100, share.high * 100, share.margin * 100)


def _growth(results: Results) -> Estimate | None:
    """Return how much more the last of many routes costs us than the only one, beyond what it costs the floor.

    The floor looks nothing up: what grows for it too is the price of cold caches after a long search by the
    application. The margin is that of both medians together.
    """
    above_floor = []
    for number in (ROUTES[0], ROUTES[-1]):
        rows = results.rows("routes", title=f"the last of {number} routes")
        if not rows:
            return None
        above_floor.append(added(rows[ALL], rows[FLOOR]))
    few, many = above_floor
    growth, margin = many.value - few.value, few.margin + many.margin
    return Estimate(growth, growth - margin, growth + margin, margin)
