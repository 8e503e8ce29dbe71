"""The two drawings of a report: P&L over position, and the histogram of service times. SVG, no script.

Nothing is invented: between two readings of the P&L the last one holds (steps, no slopes), thinning keeps the
first, last, lowest and highest reading of each pixel column, and a bar is a whole number of samples. Each
chart is drawn for a given width: a page holds one for a desk and one for a phone, both with legible text.

Known bad case: a bar joins the buckets whose middles lie in it: its edges may be off by a bucket's width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from . import svg
from .svg import Markup, Scale, join, tag, text

Point = tuple[int, float, int]  # ts_ns, P&L, gross position in lots
Bucket = tuple[int, int, int]  # lowest ns, highest ns (both inside), count
Labels = Sequence[tuple[float, str]]  # place in pixels, words

PHONE_PX = 480  # below this width: fewer ticks
GREATEST = 1e100  # beyond it nothing is drawn
BARS_PER_DECADE = 20
MARKED = ("p50", "p99", "p99.9", "max")  # of the machine all but the first
ROOM_PX = 64  # for a word
LINE_PX = 15  # height of a row of labels
FEWEST_BARS_PER_DECADE = 4
FLOOR = 0.6  # foot of the logarithmic count axis: one sample is still seen


@dataclass(frozen=True, slots=True)
class Frame:
    """The rectangle between the axes."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A named place on an axis; its label stands in `row` above the chart, left of the line if `flipped`."""

    x: float
    label: str
    kind: str
    flipped: bool
    row: int


def drawable(curve: Sequence[Point]) -> list[Point]:
    """The readings that are finite numbers, in order of time."""
    return sorted((p for p in curve if abs(p[1]) < GREATEST and abs(p[2]) < GREATEST), key=lambda p: p[0])


def curve(points: Sequence[Point], width: int) -> Markup:
    """P&L above gross position, on one time axis; `points` come from `drawable` and are not empty."""
    low, high = _profit_range([p[1] for p in points])
    most = 1.1 * max(1, *(p[2] for p in points))
    profits = _labelled(svg.ticks(low, high))
    lots = _labelled([v for v in svg.ticks(0, most, 2) if v == int(v)])
    left, right = _margin([*profits, *lots]), width - 14.0
    above, below = Frame(left, 22, right, 232), Frame(left, 272, right, 356)
    y, z = Scale(low, high, above.bottom, above.top), Scale(0, most, below.bottom, below.top)
    begin, end = points[0][0], points[-1][0]
    if end - begin < 1000:  # a moment is no axis: a second around it
        begin, end = begin - svg.SECOND // 2, end + svg.SECOND // 2
    x = Scale(begin, end, left, right)
    moments, step = svg.time_ticks(begin, end, 2 if width < PHONE_PX else 4)
    times = [(x(m), svg.time_label(m, step)) for m in moments]
    profit_rules, lot_rules = [(y(v), label) for v, label in profits], [(z(v), label) for v, label in lots]
    held = _steps([(x(p[0]), z(p[2])) for p in points])
    ground = f"V{svg.coordinate(below.bottom)}H{svg.coordinate(x(points[0][0]))}Z"
    return _drawing(
        "Profit and loss over the session, and the gross position under it", width, 382,
        _name("P&L", 12), _panel(above, profit_rules, times, named=False),
        _name("gross position, lots", 257), _panel(below, lot_rules, times, named=True),
        tag("line", class_="axis", x1=left, x2=right, y1=y(0), y2=y(0)),
        tag("path", class_="area", d=held + ground),
        tag("path", class_="held", d=held),
        tag("path", class_="profit", d=_steps([(x(p[0]), y(p[1])) for p in points])),
        tag("circle", class_="last", cx=x(points[-1][0]), cy=y(points[-1][1]), r=3),
    )  # fmt: skip


def bars(histogram: Sequence[Bucket]) -> list[tuple[float, float, int, int, int]]:
    """Buckets joined into bars of equal width on a log axis: (edge, edge, lowest ns, highest ns, count)."""
    buckets = [(max(low, 1), max(high, low, 1) + 1, count) for low, high, count in histogram if count > 0]
    widest = max((math.log10(high / low) for low, high, _ in buckets), default=0.0)
    per_decade = BARS_PER_DECADE if widest == 0 else min(BARS_PER_DECADE, int(1 / widest))
    per_decade = max(FEWEST_BARS_PER_DECADE, per_decade)
    joined: dict[int, tuple[int, int, int]] = {}
    for low, high, count in buckets:
        index = math.floor(per_decade * math.log10(math.sqrt(low * high)))
        lowest, highest, total = joined.get(index, (low, high, 0))
        joined[index] = (min(lowest, low), max(highest, high), total + count)
    edges = {index: 10 ** (index / per_decade) for bar in joined for index in (bar, bar + 1)}
    return [(edges[i], edges[i + 1], low, high - 1, n) for i, (low, high, n) in sorted(joined.items())]


def latency(
    histogram: Sequence[Bucket],
    service: Mapping[str, float],
    machine: Mapping[str, float],
    blame: bool,
    width: int,
) -> Markup:
    """The histogram, log-log, with the percentiles of `service` and `machine` (ns) marked.

    `blame` tints what lies beyond the machine's p99; `histogram` holds at least one sample.
    """
    shown = bars(histogram)
    named = [(ns, name, "mark") for name, ns in service.items() if name in MARKED]
    named += [(ns, f"hiccup {name}", "hiccup") for name, ns in machine.items() if name in MARKED[1:]]
    marks = [(ns, f"{name} {svg.duration(ns)}", kind) for ns, name, kind in named if ns >= 1]
    places = [shown[0][0], shown[-1][1], *(ns for ns, *_ in marks)]
    low, high = svg.nice_log(min(places), max(places))
    top = max(20.0, max(bar[4] for bar in shown) * 1.25)
    counts = _labelled([v for v in svg.log_ticks(1, top) if v == int(v)])
    left, right = _margin(counts), width - 14.0
    x = Scale(low, high, left, right, log=True)
    placed = _placed([(x(ns), label, kind) for ns, label, kind in marks], right)
    above = 28.0 + LINE_PX * (1 + max((mark.row for mark in placed), default=-1))
    frame = Frame(left, above, right, above + 210)
    y = Scale(FLOOR, top, frame.bottom, frame.top, log=True)
    beyond = x(max(machine["p99"], low)) if blame else right
    times = [(x(v), svg.duration(v)) for v in svg.log_ticks(low, high)]
    return _drawing(
        "Histogram of service times, both axes logarithmic", width, frame.bottom + 42,
        tag("rect", class_="beyond", x=beyond, y=above, width=right - beyond, height=frame.bottom - above),
        tag("text", text("machine"), class_="hiccup-label", x=beyond + 6, y=above + 15)
        if right - beyond > ROOM_PX else text(""),
        _name("samples", 12), _panel(frame, [(y(v), label) for v, label in counts], times, named=True),
        tag("line", class_="axis", x1=left, x2=right, y1=frame.bottom, y2=frame.bottom),
        join(_bar(bar, x, y) for bar in shown),
        join(_mark_line(mark, frame) for mark in placed),
        join(_mark_label(mark, frame) for mark in placed),
        tag("text", text("service time"), class_="name", x=right, y=frame.bottom + 36, text_anchor="end"),
    )  # fmt: skip


def _drawing(title: str, width: int, height: float, *content: Markup) -> Markup:
    box = f"0 0 {width} {svg.coordinate(height)}"
    return tag("svg", *content, viewBox=box, role="img", aria_label=title)


def _profit_range(values: Sequence[float]) -> tuple[float, float]:
    """From the lowest to the highest, zero always among them, with some air."""
    low, high = svg.widened(min(0.0, *values), max(0.0, *values))
    air = (high - low) * 0.06
    return (low - air if low < 0 else low), high + air


def _labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    decimals = 0 if all(v == int(v) for v in values) else svg.decimals_of(values)
    return [(v, svg.number(v, decimals)) for v in values]


def _margin(labels: Sequence[tuple[float, str]]) -> float:
    """Room for the labels left of an axis."""
    return 14 + svg.CHARACTER_PX * max(len(label) for _, label in labels)


def _name(words: str, y: float) -> Markup:
    return tag("text", text(words), class_="name", x=0, y=y)


def _panel(frame: Frame, rules: Labels, uprights: Labels, *, named: bool) -> Markup:
    """The horizontal rule of each tick and the marks of the axis below, labelled if `named`.

    A label below the axis that would touch the one before it is left out.
    """
    parts: list[Markup] = []
    for y, label in rules:
        parts.append(tag("line", class_="rule", x1=frame.left, x2=frame.right, y1=y, y2=y))
        parts.append(tag("text", text(label), class_="label", x=frame.left - 7, y=y + 4, text_anchor="end"))
    taken = -math.inf
    for x, label in uprights:
        parts.append(tag("line", class_="axis", x1=x, x2=x, y1=frame.bottom, y2=frame.bottom + 4))
        half = len(label) * svg.CHARACTER_PX / 2
        middle = min(x, frame.right + 12 - half)
        if named and middle - half > taken + 8:
            taken = middle + half
            place = {"x": middle, "y": frame.bottom + 18}
            parts.append(tag("text", text(label), class_="label", text_anchor="middle", **place))
    return join(parts)


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """A path that holds each value until the next, thinned to at most four points in a pixel column."""
    columns: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        columns.setdefault(int(point[0]), []).append(point)
    kept: list[tuple[float, float]] = []
    for column in columns.values():
        heights = [y for _, y in column]
        places = {0, heights.index(min(heights)), heights.index(max(heights)), len(column) - 1}
        kept += [column[place] for place in sorted(places)]
    words = [f"M{svg.coordinate(kept[0][0])} {svg.coordinate(kept[0][1])}h0"]
    for (_, before), (x, y) in pairwise(kept):
        words.append(f"H{svg.coordinate(x)}" + (f"V{svg.coordinate(y)}" if y != before else ""))
    return "".join(words)


def _bar(bar: tuple[float, float, int, int, int], x: Scale, y: Scale) -> Markup:
    """One bar; its tooltip tells the exact count and the buckets it joins."""
    left, right, lowest, highest, samples = bar
    start, wide = x(left), x(right) - x(left)
    told = tag("title", text(f"{samples:,} samples from {lowest:,} to {highest:,} ns"))
    place = {
        "x": start,
        "y": y(samples),
        "width": wide - min(1.0, wide * 0.2),
        "height": y.start - y(samples),
    }
    return tag("rect", told, class_="bar", **place)


def _placed(marks: Sequence[tuple[float, str, str]], right: float) -> list[Mark]:
    """Each mark with a row for its label, counted upwards from the chart: none on another or on a line.

    A label stands right of its line, or left where the edge or a label so turned is in the way. Those on the
    right are placed from right to left, then those on the left from left to right, each in the first row
    above all that it would touch: so a line, which starts at its label, crosses none of the labels below.
    """
    ahead: list[tuple[float, float, str, str]] = []  # width, x, label, class
    turned: list[tuple[float, float, str, str]] = []
    for x, label, kind in sorted(marks, key=lambda mark: mark[0], reverse=True):
        wide = len(label) * svg.CHARACTER_PX + 8
        blocked = x + wide > right + 12 or any(x + wide >= other for _, other, *_ in turned)
        (turned if blocked and x > wide else ahead).append((wide, x, label, kind))
    placed: list[tuple[float, float, Mark]] = []
    for wide, x, label, kind in ahead + turned[::-1]:
        flipped = len(placed) >= len(ahead)
        start, end = (x - wide, x) if flipped else (x, x + wide)
        touched = [m.row for a, b, m in placed if (start < b and a < end) or start <= m.x <= end]
        placed.append((start, end, Mark(x, label, kind, flipped, max(touched, default=-1) + 1)))
    return [mark for *_, mark in placed]


def _mark_line(mark: Mark, frame: Frame) -> Markup:
    top = frame.top - 15 - LINE_PX * mark.row
    return tag("line", class_=mark.kind, x1=mark.x, x2=mark.x, y1=top, y2=frame.bottom)


def _mark_label(mark: Mark, frame: Frame) -> Markup:
    anchor, x = ("end", mark.x - 4) if mark.flipped else ("start", mark.x + 4)
    y = frame.top - 6 - LINE_PX * mark.row
    return tag("text", text(mark.label), class_=f"{mark.kind}-label", x=x, y=y, text_anchor=anchor)
