"""Averages of one series: simple, weighted, exponential, and what is made of them.

Exponential ones begin as TA-Lib's do, with the simple mean of as many values as the length says. Wilder's average is an
exponential one with weight 1/n (J. W. Wilder, New Concepts in Technical Trading Systems, 1978).
Known bad case: an exponential average never quite forgets; two that began at different values differ for long.
"""

import math
from typing import Any, NamedTuple

from .. import hot
from .definition import define, finite, fresh, record
from .window import distance, mean, moments, slide, sums, weigh


class Macd(NamedTuple):
    """Of `macd`."""

    line: Any
    signal: Any
    histogram: Any


class Bands(NamedTuple):
    """Of `bollinger`."""

    lower: Any
    middle: Any
    upper: Any


class Moments(NamedTuple):
    """Of `mean_variance`."""

    mean: Any
    variance: Any


@define(sums)
def sma(state: Any, value: float, length: int) -> float:
    """Simple moving average: the mean of the last `length` values."""
    x = float(value)
    if not finite(x) or not slide(state, x, length):
        return math.nan
    return state.total / length


def _weighted(room: int) -> Any:
    return record(
        ("at", "i8"), ("total", "f8"), ("block", "f8"), ("weighted", "f8"), ("heavy", "f8"), ("past", "f8", (room,))
    )


@define(_weighted)
def wma(state: Any, value: float, length: int) -> float:
    """Weighted moving average: the last value weighs `length`, the one before one less, the first of the window 1."""
    x = float(value)
    if not finite(x) or length < 1 or length > len(state.past):
        return math.nan
    if fresh(state, length):
        state.at = 0
        state.weighted = 0.0
        state.heavy = 0.0  # the block's own, which takes over at its end
    weight = state.at + 1
    state.heavy += weight * x
    if state.seen < length:
        state.weighted += weight * x
    else:
        state.weighted += length * x - state.total
    full = slide(state, x, length)
    if weight == length:
        state.weighted = state.heavy
        state.heavy = 0.0
    return state.weighted / (0.5 * length * (length + 1)) if full else math.nan


def exponential(room: int) -> Any:
    """Memory of an exponential average; `room` does not matter."""
    return record(("average", "f8"))


@hot
def blend(state: Any, x: float, length: int, weight: float) -> bool:
    """Take a finite value: the mean of the first `length`, then `weight` of each that follows. Whether it has begun."""
    if length < 1:
        return False
    if fresh(state, length):
        state.average = 0.0
    if state.seen < length:
        state.seen += 1
        state.average += x  # a sum until there are enough
        if state.seen == length:
            state.average /= length
    else:
        state.average += (x - state.average) * weight
    return state.seen >= length


@hot
def smooth(state: Any, x: float, length: int) -> bool:
    """Wilder's average: as `blend` with weight 1/length, in his own order of operations."""
    if length < 1:
        return False
    if fresh(state, length):
        state.average = 0.0
    if state.seen < length:
        state.seen += 1
        state.average += x
        if state.seen == length:
            state.average /= length
    else:
        state.average = (state.average * (length - 1) + x) / length
    return state.seen >= length


@define(exponential)
def ema(state: Any, value: float, length: int) -> float:
    """Exponential moving average with weight 2 / (length + 1)."""
    x = float(value)
    if not finite(x) or not blend(state, x, length, 2.0 / (length + 1)):
        return math.nan
    return state.average


def _crossing(room: int) -> Any:
    one = exponential(room)
    return record(("fast", one), ("slow", one), ("signal", one))


@define(_crossing, outputs=Macd)
def macd(state: Any, value: float, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Convergence and divergence of two exponential averages (G. Appel), and the average of that. `fast` < `slow`; as
    in TA-Lib the fast one begins with the values just before the slow one has its first."""
    x = float(value)
    none = Macd(math.nan, math.nan, math.nan)
    if not finite(x) or fast < 1 or slow < fast or signal < 1:
        return none
    if fresh(state, fast * 1_000_003 + slow):
        state.fast.seen = 0
        state.slow.seen = 0
        state.signal.seen = 0
    state.seen += 1
    if state.seen > slow - fast:
        blend(state.fast, x, fast, 2.0 / (fast + 1))
    if not blend(state.slow, x, slow, 2.0 / (slow + 1)):
        return none
    line = state.fast.average - state.slow.average
    if not blend(state.signal, line, signal, 2.0 / (signal + 1)):
        return none
    return Macd(line, state.signal.average, line - state.signal.average)


def _relative(room: int) -> Any:
    return record(("latest", "f8"), ("gain", exponential(room)), ("loss", exponential(room)))


@define(_relative)
def rsi(state: Any, value: float, length: int = 14) -> float:
    """Wilder's relative strength index, 0 to 100: gains as a share of gains and losses. NaN while nothing has moved."""
    x = float(value)
    if not finite(x) or length < 1:
        return math.nan
    begins = fresh(state, length)
    change = x - state.latest
    state.latest = x
    state.seen += 1
    if begins:
        state.gain.seen = 0
        state.loss.seen = 0
        return math.nan
    smooth(state.gain, change if change > 0.0 else 0.0, length)
    full = smooth(state.loss, -change if change < 0.0 else 0.0, length)
    whole = state.gain.average + state.loss.average
    return 100.0 * (state.gain.average / whole) if full and whole > 0.0 else math.nan


def _range(room: int) -> Any:
    return record(("latest", "f8"), ("ranges", exponential(room)))


@define(_range, inputs=3)
def atr(state: Any, high: float, low: float, close: float, length: int = 14) -> float:
    """Wilder's average true range. The true range reaches to the close before; the first bar has none."""
    top, bottom, last = float(high), float(low), float(close)
    if not (finite(top) and finite(bottom) and finite(last)) or length < 1:
        return math.nan
    begins = fresh(state, length)
    before = state.latest
    state.latest = last
    state.seen += 1
    if begins:
        state.ranges.seen = 0
        return math.nan
    upper = top if top > before else before
    lower = bottom if bottom < before else before
    return state.ranges.average if smooth(state.ranges, upper - lower, length) else math.nan


@define(moments, outputs=Moments)
def mean_variance(state: Any, value: float, length: int) -> Moments:
    """Mean and sample variance (divided by length - 1) of the last `length` values; a length of 1 has no variance."""
    x = float(value)
    if not finite(x) or not weigh(state, x, length):
        return Moments(math.nan, math.nan)
    return Moments(mean(state), state.squares / (length - 1) if length > 1 else math.nan)


@define(moments)
def variance(state: Any, value: float, length: int) -> float:
    """Sample variance of the last `length` values."""
    x = float(value)
    if not finite(x) or not weigh(state, x, length) or length < 2:
        return math.nan
    return state.squares / (length - 1)


@define(moments)
def zscore(state: Any, value: float, length: int) -> float:
    """How many sample deviations the value is from the mean of the last `length`, itself among them. NaN when all are
    equal."""
    x = float(value)
    if not finite(x) or not weigh(state, x, length) or length < 2 or state.squares <= 0.0:
        return math.nan
    return distance(state, x) / math.sqrt(state.squares / (length - 1))


@define(moments, outputs=Bands)
def bollinger(state: Any, value: float, length: int = 20, width: float = 2.0) -> Bands:
    """Mean of the last `length` values, and `width` population deviations below and above it (J. Bollinger)."""
    x = float(value)
    if not finite(x) or not weigh(state, x, length):
        return Bands(math.nan, math.nan, math.nan)
    reach = width * math.sqrt(state.squares / length)
    middle = mean(state)
    return Bands(middle - reach, middle, middle + reach)
