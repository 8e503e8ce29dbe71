"""How far a price wanders: realised volatility, and whether it wanders further or less than chance would take it.

Both are sums of squares over a window, so they are as exact as `window` is. Logarithms only where a ratio is asked for.
Known bad case: prices that bounce between bid and ask look volatile and mean-reverting; sample them, or use the middle.
"""

import math
from typing import Any

from ...math import log
from .definition import define, finite, fresh, record
from .pairs import wait
from .window import slide, sums


def _returns(room: int) -> Any:
    return record(("latest", "f8"), ("squares", sums(room)))


@define(_returns)
def volatility(state: Any, price: float, length: int) -> float:
    """Realised volatility: the root of the sum of the last `length` squared log returns (T. Andersen, T. Bollerslev,
    1998). Not annualised: multiply by the root of windows a year. Prices must be above 0, others are passed over."""
    x = float(price)
    if not finite(x) or x <= 0.0:
        return math.nan
    begins = fresh(state, length)
    change = 0.0 if begins else log(x / state.latest)
    state.latest = x
    state.seen += 1
    if begins:
        state.squares.seen = 0
        return math.nan
    if not slide(state.squares, change * change, length):
        return math.nan
    return math.sqrt(state.squares.total) if state.squares.total > 0.0 else 0.0


def _distances(room: int) -> Any:
    return record(
        ("at", "i8"),
        ("latest", "f8"),
        ("log_lag", "f8"),
        ("line", "f8", (room,)),
        ("near", sums(room)),
        ("far", sums(room)),
    )


@define(_distances)
def hurst(state: Any, value: float, length: int, lag: int = 16) -> float:
    """Hurst's exponent by two scales: mean squared change over `lag` values grows as lag^(2H). 0.5 is a random walk,
    less returns to its mean, more trends. Over the last `length` changes of each kind; NaN where nothing moved."""
    x = float(value)
    if not finite(x) or lag < 2 or lag > len(state.line):
        return math.nan
    begins = fresh(state, lag)
    if begins:
        state.at = 0
        state.log_lag = log(float(lag))
        state.near.seen = 0
        state.far.seen = 0
    step = 0.0 if begins else x - state.latest
    state.latest = x
    before = wait(state, x, lag)
    if not begins:
        slide(state.near, step * step, length)
    if not finite(before) or not slide(state.far, (x - before) * (x - before), length):
        return math.nan
    if state.near.total <= 0.0 or state.far.total <= 0.0:
        return math.nan
    return 0.5 * log(state.far.total / state.near.total) / state.log_lag
