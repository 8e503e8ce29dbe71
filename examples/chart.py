"""One drawing for a page: a few lines over one axis, each named at its end. SVG without style sheets, so that it shows
anywhere.

Built of `ultra.ops.svg`: markup that is escaped by its type, exact ticks. The same numbers give the same bytes.
Known bad case: names of lines that end close together are moved apart, up to the height of the drawing.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ultra.ops import svg
from ultra.ops.svg import Markup, Scale, join, tag, text

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 300, 56, 560, 34, 262
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#7f7f7f")
LINE_PX = 15


def lines(title: str, x_name: str, y_name: str, xs: Sequence[float], series: Mapping[str, Sequence[float]]) -> str:
    """The drawing as text. Every series has a value for each of `xs`, which increase."""
    values = [value for line in series.values() for value in line]
    low, high = svg.widened(min(0.0, *values), max(0.0, *values))
    air = 0.05 * (high - low)
    x, y = Scale(xs[0], xs[-1], LEFT, RIGHT), Scale(low - air, high + air, BOTTOM, TOP)
    rules = svg.ticks(low - air, high + air)
    digits = 0 if all(rule == int(rule) for rule in rules) else svg.decimals_of(rules)
    parts = [tag("rect", width=WIDTH, height=HEIGHT, fill="#ffffff"), words(title, LEFT, 18, size=14)]
    for rule in rules:
        colour = "#999999" if rule == 0 else "#e5e5e5"
        parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=y(rule), y2=y(rule), stroke=colour))
        parts.append(words(svg.number(rule, digits), LEFT - 6, y(rule) + 4, anchor="end"))
    for moment in svg.ticks(xs[0], xs[-1]):
        parts.append(words(svg.number(moment), x(moment), BOTTOM + 16, anchor="middle"))
    parts += [words(x_name, RIGHT, BOTTOM + 32, anchor="end"), words(y_name, LEFT, TOP - 4)]
    places = apart([y(line[-1]) for line in series.values()])
    for (name, line), colour, place in zip(series.items(), COLOURS, places, strict=False):
        path = "L".join(f"{svg.coordinate(x(a))} {svg.coordinate(y(b))}" for a, b in zip(xs, line, strict=True))
        parts.append(tag("path", d=f"M{path}", fill="none", stroke=colour, stroke_width=1.5))
        parts.append(words(name, RIGHT + 6, place + 4, colour=colour))
    box = f"0 0 {WIDTH} {HEIGHT}"
    head = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": box,
        "role": "img",
        "aria_label": title,
        "font_family": "sans-serif",
    }
    return tag("svg", join(parts), **head) + "\n"


def words(said: str, x: float, y: float, *, anchor: str = "start", colour: str = "#333333", size: int = 12) -> Markup:
    """A line of text."""
    return tag("text", text(said), x=x, y=y, text_anchor=anchor, fill=colour, font_size=size)


def apart(places: Sequence[float]) -> list[float]:
    """Heights at least a line of text from each other, in the order of the places."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda k: places[k])
    for before, k in pairwise(order):
        moved[k] = max(moved[k], moved[before] + LINE_PX)
    beyond = max(0.0, max(moved, default=0.0) - BOTTOM)
    return [place - beyond for place in moved]
