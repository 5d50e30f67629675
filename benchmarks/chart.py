"""The added costs as bars: an SVG, written by hand."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from benchmarks.measure import added
from benchmarks.variants import BARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.experiments import Table

_COLOURS = {"ours": "#2a78d6", "floor": "#2a9d6f", "peer": "#b4b2ab"}
_LEGEND = {"ours": "asgi_infra", "floor": "hand-written floor", "peer": "other packages"}
_WIDTH, _LABELS, _VALUES, _BAR, _GAP, _HEAD = 860, 220, 90, 16, 7, 34


def chart(tables: Sequence[Table]) -> str:
    """Return an SVG with one group of bars a table: microseconds added, medians with their quartiles."""
    parts: list[str] = []
    top = 40
    for table in tables:
        part, top = _group(table, top)
        parts += part
    height = top + 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"',
            f'height="{height}" font-family="system-ui, sans-serif" font-size="12" role="img">',
            "<title>Microseconds that each middleware adds to a request</title>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            *_legend(),
            *parts,
            "</svg>",
            "",
        ]
    )


def _legend() -> list[str]:
    parts, left = [], 10
    for group, label in _LEGEND.items():
        parts.append(f'<rect x="{left}" y="12" width="12" height="12" rx="2" fill="{_COLOURS[group]}"/>')
        parts.append(f'<text x="{left + 18}" y="22" fill="#333333">{label}</text>')
        left += 150
    return parts


def _group(table: Table, top: int) -> tuple[list[str], int]:
    bare = table.rows[BARE]
    costs = {name: added(row, bare) for name, row in table.rows.items() if row is not bare}
    longest = max([cost.high for cost in costs.values()] + [cost.value for cost in costs.values()] + [1e-9])
    scale = (_WIDTH - _LABELS - _VALUES) / longest
    title = escape(f"{table.title}, {table.condition}: µs added to a {table.unit}")
    parts = [f'<text x="10" y="{top + 20}" font-weight="600" fill="#111111">{title}</text>']
    top += _HEAD
    for name, cost in sorted(costs.items(), key=lambda entry: entry[1].value):
        width = max(cost.value, 0) * scale
        middle = top + _BAR / 2
        low, high = (_LABELS + max(edge, 0) * scale for edge in (cost.low, cost.high))
        end, colour = max(_LABELS + width, high), _COLOURS[table.rows[name].group]
        parts += [
            f'<text x="{_LABELS - 8}" y="{top + 12}" text-anchor="end" fill="#333333">{escape(name)}</text>',
            f'<rect x="{_LABELS}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#333333"/>',
            f'<text x="{end + 6:.1f}" y="{top + 12}" fill="#333333">{cost.value:.1f}</text>',
        ]
        top += _BAR + _GAP
    return parts, top + 12
