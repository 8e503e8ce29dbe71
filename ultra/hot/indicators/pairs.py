"""Two series, or one and its own past: how they move together, in O(1) a value.

The window of pairs keeps both means and the three sums of products of distances from them, renewed at the end of every
block as in `window`. The sliding update of a product is Welford's with two series:
C' = C + (x - x0)(y - y') + (y - y0)(x0 - x_mean), where (x0, y0) leaves and y' is the new mean.
Known bad case: where one series does not move there is no slope, and the answer is NaN, not 0.
"""

import math
from typing import Any, NamedTuple

from .. import hot
from .definition import define, finite, fresh, record

LN_2 = 0.6931471805599453
NOTHING = 1e-18  # square of a correlation that is only rounding


class Line(NamedTuple):
    """Of `ols`: y = intercept + slope * x; `deviation` of the residuals, with length - 2 degrees of freedom."""

    slope: Any
    intercept: Any
    deviation: Any


class Hedge(NamedTuple):
    """Of `kalman`: y = intercept + slope * x; what the new y was off before it was learned, and that one's
    deviation."""

    slope: Any
    intercept: Any
    error: Any
    deviation: Any


def couples(room: int) -> Any:
    """Memory of `couple`."""
    return record(
        ("at", "i8"),
        ("same_x", "i8"),
        ("same_y", "i8"),
        ("x_anchor", "f8"),  # values of the series, from which averages are measured
        ("y_anchor", "f8"),
        ("x", "f8"),  # averages, less the anchors
        ("y", "f8"),
        ("xx", "f8"),  # sums of products of distances from the averages
        ("xy", "f8"),
        ("yy", "f8"),
        ("block", "f8", (7,)),  # the same seven of the block
        ("xs", "f8", (room,)),
        ("ys", "f8", (room,)),
    )


@hot
def couple(state: Any, x: float, y: float, length: int) -> bool:
    """Take a pair of finite values into the window; whether it is full."""
    if length < 1 or length > len(state.xs):
        return False
    if fresh(state, length):
        state.at = 0
        state.same_x = 0
        state.same_y = 0
    at = state.at
    latest = at - 1 if at > 0 else length - 1
    state.same_x = state.same_x + 1 if state.same_x > 0 and state.xs[latest] == x else 1
    state.same_y = state.same_y + 1 if state.same_y > 0 and state.ys[latest] == y else 1
    grow(state.block, x, y, at)
    if state.seen < length:
        state.seen += 1
        adopt(state, state.block)
    else:
        replace(state, x, y, at, length)
    state.xs[at] = x
    state.ys[at] = y
    state.at = at + 1
    if at + 1 == length:
        adopt(state, state.block)
        state.at = 0
    settle(state, x, y)
    return state.seen >= length


@hot
def grow(block: Any, x: float, y: float, at: int) -> None:
    """A block with its pair number `at`, from 0; with the first it begins anew."""
    if at == 0:
        block[0] = x
        block[1] = y
        for k in range(2, 7):
            block[k] = 0.0
    a, b = x - block[0], y - block[1]
    dx, dy = a - block[2], b - block[3]
    block[2] += dx / (at + 1)
    block[3] += dy / (at + 1)
    block[4] += dx * (a - block[2])
    block[5] += dx * (b - block[3])
    block[6] += dy * (b - block[3])


@hot
def adopt(state: Any, block: Any) -> None:
    """The window is the block."""
    state.x_anchor = block[0]
    state.y_anchor = block[1]
    state.x = block[2]
    state.y = block[3]
    state.xx = block[4]
    state.xy = block[5]
    state.yy = block[6]


@hot
def replace(state: Any, x: float, y: float, at: int, length: int) -> None:
    """The pair takes the place of the one at `at`."""
    a, b = x - state.x_anchor, y - state.y_anchor
    a0, b0 = state.xs[at] - state.x_anchor, state.ys[at] - state.y_anchor
    x_before, y_before, dx, dy = state.x, state.y, a - a0, b - b0
    state.x = x_before + dx / length
    state.y = y_before + dy / length
    state.xx += dx * ((a - state.x) + (a0 - x_before))
    state.xy += dx * (b - state.y) + dy * (a0 - x_before)
    state.yy += dy * ((b - state.y) + (b0 - y_before))


@hot
def settle(state: Any, x: float, y: float) -> None:
    """What is known exactly: a series that stood still for the whole window."""
    if state.same_x >= state.seen:
        state.x_anchor = x
        state.x = 0.0
        state.xx = 0.0
        state.xy = 0.0
    elif state.xx < 0.0:
        state.xx = 0.0
    if state.same_y >= state.seen:
        state.y_anchor = y
        state.y = 0.0
        state.yy = 0.0
        state.xy = 0.0
    elif state.yy < 0.0:
        state.yy = 0.0


def check(state: Any) -> None:
    """What holds between two pairs: the block is the first `at` of the past; what is a square is not negative."""
    at, seen, length = int(state["at"]), int(state["seen"]), int(state["length"])
    assert 0 <= seen <= length <= len(state["xs"]) and (0 <= at < length or seen == 0)
    assert at == seen or seen == length, "a window that is not full is its block"
    assert float(state["xx"]) >= 0.0 and float(state["yy"]) >= 0.0
    for k, past in enumerate((state["xs"][:at], state["ys"][:at])):
        if at > 0:
            average = math.fsum(float(value) for value in past) / at
            found = float(state["block"][k]) + float(state["block"][2 + k])
            assert math.isclose(found, average, rel_tol=1e-12, abs_tol=1e-9)


@hot
def together(state: Any) -> float:
    """Pearson's coefficient of the window, -1 to 1; NaN when either series stood still."""
    if state.xx <= 0.0 or state.yy <= 0.0:
        return math.nan
    found = state.xy / (math.sqrt(state.xx) * math.sqrt(state.yy))
    if found > 1.0:
        return 1.0
    return -1.0 if found < -1.0 else found


@define(couples, inputs=2)
def correlation(state: Any, y: float, x: float, length: int) -> float:
    """Pearson's correlation of the last `length` pairs."""
    a, b = float(x), float(y)
    if not (finite(a) and finite(b)) or not couple(state, a, b, length):
        return math.nan
    return together(state)


@define(couples, inputs=2)
def beta(state: Any, y: float, x: float, length: int) -> float:
    """Covariance of both over the variance of x, of the last `length` pairs: how much y moves when x moves by one."""
    a, b = float(x), float(y)
    if not (finite(a) and finite(b)) or not couple(state, a, b, length) or state.xx <= 0.0:
        return math.nan
    return state.xy / state.xx


@define(couples, inputs=2, outputs=Line)
def ols(state: Any, y: float, x: float, length: int) -> Line:
    """The line through the last `length` pairs with the least squares. Of length 2 the deviation is NaN."""
    a, b = float(x), float(y)
    if not (finite(a) and finite(b)) or not couple(state, a, b, length) or state.xx <= 0.0:
        return Line(math.nan, math.nan, math.nan)
    slope = state.xy / state.xx
    rest = state.yy - slope * state.xy
    deviation = math.sqrt(rest / (length - 2) if rest > 0.0 else 0.0) if length > 2 else math.nan
    return Line(slope, state.y_anchor + state.y - slope * (state.x_anchor + state.x), deviation)


def _filter(room: int) -> Any:
    return record(("slope", "f8"), ("intercept", "f8"), ("p00", "f8"), ("p01", "f8"), ("p11", "f8"))


@define(_filter, inputs=2, outputs=Hedge)
def kalman(state: Any, y: float, x: float, delta: float = 1e-4, noise: float = 1e-3) -> Hedge:
    """Hedge ratio that wanders: a Kalman filter of slope and intercept, each a random walk whose steps have variance
    delta / (1 - delta), seen through y with variance `noise` (E. Chan, Algorithmic Trading, 2013, ch. 3). It begins at
    0 with variance 1: the first errors say little."""
    a, b = float(x), float(y)
    if not (finite(a) and finite(b)):
        return Hedge(math.nan, math.nan, math.nan, math.nan)
    if state.seen == 0:
        state.slope = 0.0
        state.intercept = 0.0
        state.p00 = 1.0
        state.p01 = 0.0
        state.p11 = 1.0
    state.seen += 1
    walk = delta / (1.0 - delta)
    p00, p01, p11 = state.p00 + walk, state.p01, state.p11 + walk
    u, v = a * p00 + p01, a * p01 + p11  # P times (x, 1)
    spread = a * u + v + noise
    error = b - (state.slope * a + state.intercept)
    state.slope += u / spread * error
    state.intercept += v / spread * error
    state.p00 = p00 - u * u / spread
    state.p01 = p01 - u * v / spread
    state.p11 = p11 - v * v / spread
    return Hedge(state.slope, state.intercept, error, math.sqrt(spread))


def delayed(room: int) -> Any:
    """A window of pairs, and a line in which values wait for their partner."""
    return record(("at", "i8"), ("line", "f8", (room,)), ("pairs", couples(room)))


@hot
def wait(state: Any, x: float, lag: int) -> float:
    """Put a finite value in line; returns the one from `lag` values ago, NaN while there is none."""
    before = state.line[state.at] if state.seen >= lag else math.nan
    state.line[state.at] = x
    state.at = state.at + 1 if state.at + 1 < lag else 0
    state.seen += 1
    return before


@define(delayed)
def autocorrelation(state: Any, value: float, length: int, lag: int = 1) -> float:
    """Correlation of the last `length` values with those `lag` before them."""
    x = float(value)
    if not finite(x) or lag < 1 or lag > len(state.line):
        return math.nan
    if fresh(state, lag):
        state.at = 0
        state.pairs.seen = 0
    before = wait(state, x, lag)
    if not finite(before) or not couple(state.pairs, before, x, length):
        return math.nan
    return together(state.pairs)


def _returning(room: int) -> Any:
    return record(("latest", "f8"), ("pairs", couples(room)))


@define(_returning)
def half_life(state: Any, value: float, length: int) -> float:
    """Values until half of a distance from the mean is gone: -ln 2 / slope of the change on the value before it, over
    `length` changes, as of an Ornstein-Uhlenbeck process (E. Chan, 2013, ch. 2). NaN when it does not return."""
    x = float(value)
    if not finite(x):
        return math.nan
    begins = fresh(state, length)
    before = state.latest
    state.latest = x
    state.seen += 1
    if begins:
        state.pairs.seen = 0
        return math.nan
    pairs = state.pairs
    if not couple(pairs, before, x - before, length) or pairs.xy >= 0.0:
        return math.nan
    if pairs.xy * pairs.xy <= NOTHING * pairs.xx * pairs.yy:
        return math.nan  # no more than rounding
    return -LN_2 * pairs.xx / pairs.xy
