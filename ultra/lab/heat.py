"""Pictures of a search: a map of two parameters, a page of all of them, a short form for a notebook.

A cell is the best objective that any set with these two values reaches. Colours go from orange (the lowest) by grey to
blue (the highest), ranks and not values, so that one wild set does not paint the rest alike; the number is in each
cell's title, and in the cell where there is room. A range without steps is cut into BINS.
Known bad case: of a search of one parameter the map is a single row.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..ops import svg
from ..ops.page import section, table
from ..ops.svg import Markup, join, tag, text
from . import sheet

if TYPE_CHECKING:
    from .optimization import Optimization

BINS: Final = 12
CELLS_MAX: Final = 60
SIDE_PX: Final = 44
ROWS_MAX: Final = 20
PAIRS_MAX: Final = 6
LOW, MIDDLE, HIGH = (213, 94, 0), (225, 225, 225), (0, 114, 178)  # after Okabe and Ito


def svg_of(found: "Optimization", x: str, y: str) -> Markup:
    """The map as an `svg` element."""
    columns, across = _axis(found, x)
    rows, down = _axis(found, y) if y != x else (["best"], np.zeros(len(found), int))
    best = np.full((len(rows), len(columns)), -math.inf)
    good = ~np.isnan(found.values)
    np.maximum.at(best, (down[good], across[good]), found.values[good])
    best[best == -math.inf] = math.nan
    return _drawn(best, columns, rows, x, y if y != x else "", found.objective)


def _drawn(best: Any, columns: Sequence[str], rows: Sequence[str], x: str, y: str, objective: str) -> Markup:
    left = 20 + svg.CHARACTER_PX * max(map(len, [*rows, y]))
    side = max(14.0, min(SIDE_PX, 880.0 / max(1, len(columns))))
    width, top = left + side * len(columns) + 10, 28
    height = top + side * len(rows) + 44
    ranks = _ranks(best)
    parts = [tag("text", text(f"{objective}, the best of each cell"), class_="name", x=0, y=14)]
    step = max(1, math.ceil(max(map(len, columns)) * svg.CHARACTER_PX / side))
    for r, row in enumerate(rows):
        at = top + side * (len(rows) - 1 - r)
        parts.append(tag("text", text(row), class_="label", x=left - 6, y=at + side / 2 + 4, text_anchor="end"))
        for c, column in enumerate(columns):
            value = float(best[r, c])
            shown = "nothing" if math.isnan(value) else f"{value:.4g}"
            title = tag("title", text(f"{x} = {column}" + (f", {y} = {row}" if y else "") + f": {shown}"))
            parts.append(
                tag("rect", title, x=left + side * c, y=at, width=side - 1, height=side - 1, fill=_colour(ranks[r, c]))
            )
    for c, column in list(enumerate(columns))[::step]:
        parts.append(
            tag("text", text(column), class_="label", x=left + side * (c + 0.5), y=height - 26, text_anchor="middle")
        )
    parts.append(tag("text", text(x), class_="name", x=left, y=height - 8))
    if y:
        parts.append(tag("text", text(y), class_="name", x=0, y=height - 8))
    attributes = {"xmlns": "http://www.w3.org/2000/svg", "font-family": "sans-serif", "font-size": "12"}
    box = f"0 0 {svg.coordinate(width)} {svg.coordinate(height)}"
    name = f"{objective} by {x}" + (f" and {y}" if y else "")
    return tag("svg", *parts, viewBox=box, width=width, role="img", aria_label=name, **attributes)


def _axis(found: "Optimization", name: str) -> tuple[list[str], Any]:
    """Labels of an axis, and which of them each set has."""
    values = np.array([each[name] for each in found.sets])
    known = np.unique(values)
    if len(known) <= CELLS_MAX:
        return [f"{value:g}" for value in known.tolist()], np.searchsorted(known, values)
    low, high = float(known[0]), float(known[-1])
    edges = np.linspace(low, high, BINS + 1)
    return [f"{edge:.3g}" for edge in edges[:-1]], np.clip(np.digitize(values, edges) - 1, 0, BINS - 1)


def _ranks(best: Any) -> Any:
    """0 for the lowest to 1 for the highest; equal values have equal ranks, nan stays."""
    known = np.unique(best[~np.isnan(best)])
    found = np.full(best.shape, math.nan)
    good = ~np.isnan(best)
    found[good] = np.searchsorted(known, best[good]) / max(1, len(known) - 1)
    return found


def _colour(rank: float) -> str:
    if math.isnan(rank):
        return "none"
    low, high, share = (LOW, MIDDLE, 2 * rank) if rank < 0.5 else (MIDDLE, HIGH, 2 * rank - 1)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(low, high, strict=True))


def head(found: "Optimization", count: int = ROWS_MAX) -> Markup:
    """The best sets as a table."""
    names = [choice.name for choice in found.choices]
    figures = ("total_return", "sharpe", "max_drawdown", "fill_count")
    order = np.argsort(-np.nan_to_num(found.values, nan=-math.inf), kind="stable")[:count]
    rows = []
    for index in order.tolist():
        own, each = found.sets[index], found.figures[index]
        cells = [text(f"{own[name]:g}") for name in names] + [text(f"{found.values[index]:.4g}")]
        rows.append([*cells, *(sheet.shown(name, each.get(name)) for name in figures)])
    return table([*names, "objective", *(name.replace("_", " ") for name in figures)], rows)


def page(found: "Optimization", path: Path) -> Path:
    """Write a self-contained page; returns its path."""
    names = [choice.name for choice in found.choices]
    maps = [svg_of(found, x, y) for x, y in list(combinations(names, 2))[:PAIRS_MAX]]
    about = [("method", found.method), ("sets", f"{len(found):,}"), ("objective", found.objective)]
    luck = found.deflated_sharpe()
    if not math.isnan(luck):
        about.append(("probability that the best Sharpe ratio is no luck", f"{100 * luck:.1f} %"))
    sections = [section("Map", *(maps or [svg_of(found, names[0], names[0])])), section("The best", head(found))]
    return sheet.write(path, sheet.Sheet(f"Search of {found.strategy}", about, [], sections))


def brief(found: "Optimization") -> str:
    """A map and the five best, for a notebook."""
    names = [choice.name for choice in found.choices]
    return tag("div", join([svg_of(found, names[0], names[1] if len(names) > 1 else names[0]), head(found, 5)]))
