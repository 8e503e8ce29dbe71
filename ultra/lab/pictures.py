"""The drawings of a tear sheet: lines, an area under water, a heat map of returns, bars, the book around a fill.

Each is an `svg` of a given width, drawn from columns of numbers; nothing is invented between two readings (steps where
a value holds, lines only between points of an even grid), and thinning keeps the lowest and highest of each pixel.
Known bad case: more rows than ROWS_MAX of a heat map: the oldest are left out, and the caption says so.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from ..ops import svg
from ..ops.svg import Markup, Scale, join, tag, text
from ..wire import NONE

ROWS_MAX: Final = 31
RIGHT: Final = 14.0
TOP, HEIGHT = 22.0, 190.0


class Panel(NamedTuple):
    """The place of a chart between its axes."""

    x: Scale
    y: Scale
    frame: Markup
    width: int

    def drawn(self, title: str, *content: Markup) -> Markup:
        """The chart, named for those who can't see it."""
        box = f"0 0 {self.width} {svg.coordinate(self.y.start + 28)}"
        return tag("svg", self.frame, *content, viewBox=box, role="img", aria_label=title)


def panel(ts: tuple[int, int], low: float, high: float, width: int, name: str) -> Panel:
    """Axes over time (ns, UTC) and values; `name` says what the values are."""
    low, high = svg.widened(low, high)
    air = (high - low) * 0.05
    low, high = low - air, high + air
    values = svg.ticks(low, high)
    decimals = 0 if all(v == int(v) for v in values) else svg.decimals_of(values)
    labels = [(v, svg.number(v, decimals)) for v in values]
    left = 14 + svg.CHARACTER_PX * max(len(label) for _, label in labels)
    y = Scale(low, high, TOP + HEIGHT, TOP)
    begin, end = ts
    if end - begin < 1000:
        begin, end = begin - svg.SECOND // 2, end + svg.SECOND // 2
    x = Scale(begin, end, left, width - RIGHT)
    parts = [tag("text", text(name), class_="name", x=0, y=12)]
    for value, label in labels:
        parts.append(tag("line", class_="rule", x1=left, x2=width - RIGHT, y1=y(value), y2=y(value)))
        parts.append(tag("text", text(label), class_="label", x=left - 7, y=y(value) + 4, text_anchor="end"))
    moments, step = svg.time_ticks(begin, end, 2 if width < 480 else 4)
    taken = -math.inf
    for moment in moments:
        label, at = svg.time_label(moment, step), x(moment)
        half = len(label) * svg.CHARACTER_PX / 2
        if at - half > taken and at + half < width:
            parts.append(tag("text", text(label), class_="label", x=at, y=TOP + HEIGHT + 18, text_anchor="middle"))
            taken = at + half + 8
    return Panel(x, y, join(parts), width)


def thinned(x: Any, values: Any) -> tuple[list[float], list[float]]:
    """First, lowest, highest and last of each pixel column, in order."""
    column = np.floor(x).astype(np.int64)
    xs: list[float] = []
    ys: list[float] = []
    starts = np.flatnonzero(np.diff(column, prepend=column[:1] - 1))
    for start, stop in pairwise([*starts.tolist(), len(column)]):
        part = values[start:stop]
        for k in sorted({0, int(np.argmin(part)), int(np.argmax(part)), len(part) - 1}):
            xs.append(float(x[start + k]))
            ys.append(float(part[k]))
    return xs, ys


def path(panel: Panel, ts: Any, values: Any, *, steps: bool) -> str:
    """The way of a pen along the points."""
    low, high = panel.x.low, panel.x.high
    x = panel.x.start + (np.asarray(ts) - low) / (high - low) * (panel.x.end - panel.x.start)
    xs, ys = thinned(x, np.asarray(values, np.float64))
    words = [f"M{svg.coordinate(xs[0])} {svg.coordinate(panel.y(ys[0]))}h0"]
    for at, value in zip(xs[1:], ys[1:], strict=True):
        place = svg.coordinate(panel.y(value))
        words.append(f"H{svg.coordinate(at)}V{place}" if steps else f"L{svg.coordinate(at)} {place}")
    return "".join(words)


def course(ts: Any, values: Any, width: int, name: str, *, steps: bool = False) -> Markup:
    """One line over time."""
    low, high = float(np.min(values)), float(np.max(values))
    place = panel((int(ts[0]), int(ts[-1])), low, high, width, name)
    drawn = tag("path", class_="held" if steps else "profit", d=path(place, ts, values, steps=steps))
    return place.drawn(name, drawn)


def under_water(ts: Any, depth: Any, width: int) -> Markup:
    """Drawdowns, in percent below 0."""
    percent = -100.0 * np.asarray(depth)
    place = panel((int(ts[0]), int(ts[-1])), float(percent.min()), 0.0, width, "drawdown, %")
    line = path(place, ts, percent, steps=False)
    zero = svg.coordinate(place.y(0.0))
    ground = f"V{zero}H{svg.coordinate(place.x(int(ts[0])))}Z"
    return place.drawn("Drawdown", tag("path", class_="area", d=line + ground), tag("path", class_="held", d=line))


def heat(rows: Sequence[str], columns: Sequence[str], values: Any, width: int, name: str) -> Markup:
    """Returns (shares) as a table of colours: blue won, orange lost, nothing: no data. Each says its figure."""
    left = 14 + svg.CHARACTER_PX * max([len(row) for row in rows] or [1])
    wide = (width - RIGHT - left) / max(1, len(columns))
    most = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    parts = [tag("text", text(name), class_="name", x=0, y=12)]
    for k, label in enumerate(columns):
        if (len(label) + 1) * svg.CHARACTER_PX < wide or k % 3 == 0:
            parts.append(
                tag("text", text(label), class_="label", x=left + (k + 0.5) * wide, y=32, text_anchor="middle")
            )
    for r, row in enumerate(rows):
        y = 40.0 + 22 * r
        parts.append(tag("text", text(row), class_="label", x=left - 7, y=y + 15, text_anchor="end"))
        for k in range(len(columns)):
            value = float(values[r, k])
            if math.isfinite(value):
                shade = f"{0.12 + 0.88 * abs(value) / (most or 1.0):.2f}"
                told = tag("title", text(f"{row} {columns[k]}: {100 * value:.3f} %"))
                parts.append(
                    tag("rect", told, class_="won" if value >= 0 else "lost", x=left + k * wide, y=y, width=wide - 1,
                        height=20, opacity=shade)
                )  # fmt: skip
    box = f"0 0 {width} {svg.coordinate(48 + 22 * len(rows))}"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=name)


def bars(labels: Sequence[str], values: Sequence[float], width: int, name: str) -> Markup:
    """A bar for each value, from 0; its label under it."""
    low, high = svg.widened(min(0.0, *values), max(0.0, *values))
    ticks = svg.ticks(low, high)
    decimals = 0 if all(v == int(v) for v in ticks) else svg.decimals_of(ticks)
    left = 14 + svg.CHARACTER_PX * max(len(svg.number(v, decimals)) for v in ticks)
    y, wide = Scale(low, high, TOP + HEIGHT, TOP), (width - RIGHT - left) / len(values)
    parts = [tag("text", text(name), class_="name", x=0, y=12)]
    for value in ticks:
        parts.append(tag("line", class_="rule", x1=left, x2=width - RIGHT, y1=y(value), y2=y(value)))
        label = svg.number(value, decimals)
        parts.append(tag("text", text(label), class_="label", x=left - 7, y=y(value) + 4, text_anchor="end"))
    for k, (label, value) in enumerate(zip(labels, values, strict=True)):
        at, top = left + k * wide, min(y(0.0), y(value))
        told = tag("title", text(f"{label}: {value:,.4g}"))
        kind = "bar" if value >= 0 else "lost"
        tall = abs(y(0.0) - y(value))
        parts.append(tag("rect", told, class_=kind, x=at + wide * 0.15, y=top, width=wide * 0.7, height=tall))
        parts.append(
            tag("text", text(label), class_="label", x=at + wide / 2, y=TOP + HEIGHT + 18, text_anchor="middle")
        )
    box = f"0 0 {width} {svg.coordinate(TOP + HEIGHT + 28)}"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=name)


def book(touches: Any, fills: Sequence[tuple[int, float, bool]], tick: float, width: int, name: str) -> Markup:
    """Best bid and ask as steps, what traded as dots, our fills as circles (ts, price, bought)."""
    shown = touches[(touches["bid"] != NONE) & (touches["ask"] != NONE)]
    traded = touches[touches["traded"] != NONE]
    prices = [*(shown["bid"] * tick).tolist(), *(shown["ask"] * tick).tolist(), *[price for _, price, _ in fills]]
    prices += (traded["traded"] * tick).tolist()
    place = panel((int(shown["ts"][0]), int(shown["ts"][-1])), min(prices), max(prices), width, name)
    lines = [
        tag("path", class_=kind, d=path(place, shown["ts"], shown[side] * tick, steps=True))
        for side, kind in (("bid", "profit"), ("ask", "asked"))
    ]
    dots = [
        tag("circle", class_="printed", cx=place.x(int(row["ts"])), cy=place.y(float(row["traded"] * tick)), r=2)
        for row in traded[:500]
    ]
    ours = [
        tag("circle", tag("title", text("bought" if bought else "sold")), class_="bought" if bought else "sold",
            cx=place.x(ts), cy=place.y(price), r=5)
        for ts, price, bought in fills
    ]  # fmt: skip
    return place.drawn(name, *lines, *dots, *ours)
