"""Drawing primitives: markup that can't be forgotten to be escaped, axes with nice ticks, scales.

The one trick is a type: `Markup` is text that is already safe, only `text` and `tag` make it, and the type
checker refuses a plain string where markup is wanted. Ticks are computed in exact fractions, so a label says
0.3 and never 0.30000000000000004; they always lie inside the range and increase.

Known bad case: label widths are estimated (no font is read), so an unusual font may let two labels touch.
"""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import NewType

Markup = NewType("Markup", str)

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
# Steps of a clock, from a second to a day; shorter and longer ones are 1-2-5.
CLOCK_STEPS = [SECOND * s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)] + [
    3600 * SECOND * h for h in (1, 2, 3, 6, 12, 24)
]
TIME_STEPS = (
    [m * 10**e for e in range(9) for m in (1, 2, 5)]
    + CLOCK_STEPS
    + [m * 10**e * DAY for e in range(7) for m in (1, 2, 5)][1:]
)
CLOSED = frozenset({"meta", "line", "path", "rect", "circle"})  # in HTML <td /> would open a cell, not close it
CHARACTER_PX = 6.6  # of the 12 px labels


def text(value: object) -> Markup:
    """Any value as safe text; what can't be printed (control, direction marks) becomes U+FFFD."""
    return Markup(html.escape("".join(c if c.isprintable() else "\ufffd" for c in str(value))))


def join(parts: Iterable[Markup]) -> Markup:
    """Several pieces of markup, one after the other."""
    return Markup("".join(parts))


def tag(name: str, /, *content: Markup, **attributes: str | float) -> Markup:
    """An element; `class_` means class, other underscores mean dashes, numbers get one decimal."""
    words = [name]
    for key, value in attributes.items():
        shown = coordinate(value) if isinstance(value, (int, float)) else text(value)
        words.append(f'{key.rstrip("_").replace("_", "-")}="{shown}"')
    if name in CLOSED and not content:
        return Markup(f"<{' '.join(words)} />")
    return Markup(f"<{' '.join(words)}>{join(content)}</{name}>")


def coordinate(value: float) -> Markup:
    """A place in a drawing, to a tenth of a pixel."""
    shown = f"{value:.1f}".removesuffix(".0")
    return Markup("0" if shown == "-0" else shown)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` onto pixels from `start` to `end`, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def ticks(low: float, high: float, least: int = 3) -> list[float]:
    """Multiples of a 1-2-5 step inside [low, high], increasing: 3 to 10 unless `least` says otherwise.

    The range must be wide enough for floats to tell its ticks apart; `widened` makes it so.
    """
    start, stop = Fraction(low), Fraction(high)
    if start >= stop:
        raise ValueError(f"an axis must go up, not from {low} to {high}")
    largest = (stop - start) / least
    exponent = math.floor(math.log10(largest.numerator) - math.log10(largest.denominator))
    steps = [m * Fraction(10) ** e for e in range(exponent - 1, exponent + 2) for m in (1, 2, 5)]
    step = max(s for s in steps if s <= largest)
    slack = Fraction(1, 10**9)  # so that the float next to 1/10 still counts as 1/10
    first, last = math.ceil(start / step - slack), math.floor(stop / step + slack)
    return [value for k in range(first, last + 1) if low <= (value := float(k * step)) <= high]


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis over 0 < low < high: 1-2-5 up to three decades, then whole decades."""
    if not 0 < low < high:
        raise ValueError(f"a logarithmic axis must go up from above 0, not from {low} to {high}")
    if high / low < 10:
        return ticks(low, high)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if high / low <= 1000 else (1,)
    places = [m * Fraction(10) ** e for e in range(first, last + 1) for m in factors]
    inside = [value for place in places if low <= (value := float(place)) <= high]
    return inside[:: math.ceil(len(inside) / 10)]


def time_ticks(low: int, high: int, least: int = 3) -> tuple[list[int], int]:
    """Round moments inside [low, high] (ns since the epoch, UTC), 3 to 10 of them, and their step."""
    if high - low < least:
        raise ValueError(f"a time axis must span {least} ns or more, not {high - low}")
    step = max(s for s in TIME_STEPS if s * least <= high - low)
    return list(range(-(-low // step) * step, high + 1, step)), step


def time_label(moment: int, step: int) -> str:
    """Time of day as precise as the step of its axis needs; the date at midnight and for steps of days."""
    days, rest = divmod(moment, DAY)
    if rest == 0 and step > 1800 * SECOND:
        return date.fromordinal(date(1970, 1, 1).toordinal() + days).strftime("%m-%d")
    seconds, fraction = divmod(rest, SECOND)
    label = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
    if step < 60 * SECOND:
        label += f":{seconds % 60:02d}"
    if step < SECOND:
        label += "." + f"{fraction:09d}"[: 10 - len(str(step))]
    return label


def widened(low: float, high: float) -> tuple[float, float]:
    """The same range, or the nearest one wide enough to draw."""
    need = max(1e-6 * max(abs(low), abs(high)), 1e-6)
    if high - low >= need:
        return low, high
    middle, half = (low + high) / 2, max(need, 1.0) / 2
    return middle - half, middle + half


def nice_log(low: float, high: float) -> tuple[float, float]:
    """The range, moved outwards to 1-2-5 values and to a decade at least."""
    steps = [m * 10.0**e for e in range(-1, 20) for m in (1, 2, 5)]
    below = max((s for s in steps if s <= low), default=steps[0])
    above = min((s for s in steps if s >= max(high, below * 10)), default=steps[-1])
    return below, above


def number(value: float, decimals: int = 0) -> str:
    """Thousands separated, with a true minus sign, for axes and captions."""
    shown = f"{value:,.{decimals}f}"
    return shown.replace("-", "\u2212") if shown.strip("-0.,") else shown.lstrip("-")


def decimals_of(values: Sequence[float], digits: int = 1) -> int:
    """How many decimals it takes to show `digits` digits of the step between the first two values."""
    apart = abs(values[1] - values[0]) if len(values) > 1 else 0.0
    return min(12, max(0, digits - 1 - math.floor(math.log10(apart) + 1e-9))) if apart else 2


def duration(ns: float) -> str:
    """Nanoseconds in the unit a person would use, to three digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size * 0.9995:
            return f"{ns / size:,.0f} {unit}" if ns >= size * 999.5 else f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"
