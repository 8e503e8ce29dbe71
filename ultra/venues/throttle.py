"""How many messages may leave in any second: exact, by remembering when the last ones left.

A lane is a client. The ring of its last times has room for a second's worth, so the question "may one more leave" is
one look at the message that many before: it must be a second old. No window of any phase holds more than the limit.
One limit may be asked for by orders and a higher one by cancels, so orders can't starve the cancels.
Known bad case: a clock that runs backwards holds messages back until it has caught up.
"""

from typing import Any, NamedTuple

import numpy as np

from ..hot import hot
from ..hot.atomics import Cells

WINDOW_NS = 1_000_000_000


class Throttle(NamedTuple):
    """The times of the last messages of each lane."""

    times: Any  # int64[lanes, power of two >= rate_max], ns
    counts: Cells  # int64[lanes]: messages noted so far


def create(lanes: int, rate_max: int) -> Throttle:
    """Nothing has left yet; no limit asked for later may exceed `rate_max` messages a second."""
    assert lanes > 0 and rate_max > 0, (lanes, rate_max)
    return Throttle(np.zeros((lanes, 1 << (rate_max - 1).bit_length()), np.int64), np.zeros(lanes, np.int64))


@hot
def allowed(throttle: Throttle, lane: int, limit: int, now: int) -> bool:
    """Whether one more may leave at `now` (ns) with `limit` in any second; nothing may with a limit of 0."""
    count, mask = throttle.counts[lane], throttle.times.shape[1] - 1
    if limit <= 0:
        return False
    return count < limit or now - throttle.times[lane, (count - limit) & mask] >= WINDOW_NS


@hot
def note(throttle: Throttle, lane: int, now: int) -> None:
    """One has left at `now` (ns)."""
    count = throttle.counts[lane]
    throttle.times[lane, count & (throttle.times.shape[1] - 1)] = now
    throttle.counts[lane] = count + 1


def check(throttle: Throttle, limit: int) -> None:
    """The invariant, for tests: no second holds more than the highest limit asked for."""
    lanes, capacity = throttle.times.shape
    for lane in range(lanes):
        count = int(throttle.counts[lane])
        times = [int(throttle.times[lane, k % capacity]) for k in range(max(0, count - capacity), count)]
        for first, later in zip(times, times[limit:], strict=False):
            assert later - first >= WINDOW_NS, "a second holds more than the limit"
