"""Highest and lowest of the last bars, by a queue of those that can still become it.

A value that comes later and is not lower makes an earlier one worthless: so the queue falls from front to back, its
front is the highest, and every value enters and leaves it once (amortised O(1); Knuth's deque, "sliding window
maximum"). Lows are kept with their sign turned, so that there is one queue to get right.
Known bad case: one high after a long fall empties the queue at once, `length` comparisons in one step.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

from .. import hot
from .definition import define, finite, fresh, record
from .window import slide, sums


class Channel(NamedTuple):
    """Of `donchian`."""

    lower: Any
    upper: Any


class Stochastic(NamedTuple):
    """Of `stochastic`, 0 to 100."""

    k: Any
    d: Any


def queues(room: int) -> Any:
    """Memory of `donchian`; the room is a power of two, so that a place is a mask and not a division."""
    size = 1 << (room - 1).bit_length()
    return record(
        ("high_first", "i8"),
        ("high_last", "i8"),
        ("low_first", "i8"),
        ("low_last", "i8"),
        ("highs", "f8", (size,)),
        ("high_times", "i8", (size,)),
        ("lows", "f8", (size,)),  # with their sign turned
        ("low_times", "i8", (size,)),
    )


@hot
def enter(values: Any, times: Any, first: int, last: int, x: float, now: int, length: int) -> tuple[int, int]:
    """Take one value into a queue; returns where it begins and ends. The front is the highest of the last `length`."""
    mask = len(values) - 1
    if last > first and times[first & mask] <= now - length:
        first += 1
    while last > first and values[(last - 1) & mask] <= x:
        last -= 1
    values[last & mask] = x
    times[last & mask] = now
    return first, last + 1


@hot
def reach(state: Any, high: float, low: float, length: int) -> bool:
    """Take a bar; whether there are `length`."""
    if length < 1 or length > len(state.highs):
        return False
    if fresh(state, length):
        state.high_first = 0
        state.high_last = 0
        state.low_first = 0
        state.low_last = 0
    now = state.seen
    first, last = enter(state.highs, state.high_times, state.high_first, state.high_last, high, now, length)
    state.high_first = first
    state.high_last = last
    first, last = enter(state.lows, state.low_times, state.low_first, state.low_last, -low, now, length)
    state.low_first = first
    state.low_last = last
    state.seen = now + 1
    return now + 1 >= length


@hot
def highest(state: Any) -> float:
    """Highest high in the queue."""
    return state.highs[state.high_first & (len(state.highs) - 1)]


@hot
def lowest(state: Any) -> float:
    """Lowest low in the queue."""
    return -state.lows[state.low_first & (len(state.lows) - 1)]


@define(queues, inputs=2, outputs=Channel)
def donchian(state: Any, high: float, low: float, length: int) -> Channel:
    """Lowest low and highest high of the last `length` bars (R. Donchian). For one series give it twice."""
    top, bottom = float(high), float(low)
    if not (finite(top) and finite(bottom)) or not reach(state, top, bottom, length):
        return Channel(math.nan, math.nan)
    return Channel(lowest(state), highest(state))


def check(state: Any) -> None:
    """What holds of both queues between two bars: they fall, times rise and are within the window, none is empty."""
    now, length, mask = int(state["seen"]) - 1, int(state["length"]), len(state["highs"]) - 1
    for side, values, times in (("high", "highs", "high_times"), ("low", "lows", "low_times")):
        first, last = int(state[f"{side}_first"]), int(state[f"{side}_last"])
        assert now < 0 or 0 < last - first <= length
        rows = [(float(state[values][k & mask]), int(state[times][k & mask])) for k in range(first, last)]
        for before, after in pairwise(rows):
            assert before[0] > after[0] and before[1] < after[1]
        assert now < 0 or (rows[-1][1] == now and rows[0][1] > now - length)


def _oscillator(room: int) -> Any:
    return record(("channel", queues(room)), ("k", sums(room)), ("d", sums(room)))


@define(_oscillator, inputs=3, outputs=Stochastic)
def stochastic(
    state: Any, high: float, low: float, close: float, length: int = 14, smooth: int = 3, signal: int = 3
) -> Stochastic:
    """Where the close is between lowest and highest of the last `length` bars, in percent, averaged over `smooth` (k)
    and again over `signal` (d) (G. Lane). A window without any range is passed over with NaN."""
    none = Stochastic(math.nan, math.nan)
    top, bottom, last = float(high), float(low), float(close)
    if not (finite(top) and finite(bottom) and finite(last)):
        return none
    if fresh(state, length):
        state.channel.seen = 0
        state.k.seen = 0
        state.d.seen = 0
    state.seen += 1
    if not reach(state.channel, top, bottom, length):
        return none
    under, over = lowest(state.channel), highest(state.channel)
    if over <= under or not slide(state.k, 100.0 * ((last - under) / (over - under)), smooth):
        return none
    k = state.k.total / smooth
    return Stochastic(k, state.d.total / signal) if slide(state.d, k, signal) else none
