"""How often this core is taken away from us: the figure to print beside every latency.

A loop does nothing but read the clock; the largest step between two readings in each millisecond is what any
program on this core would have suffered in it. Nothing the engine does can be faster than this.
"""

import os

import numpy as np

from . import entry
from .atomics import Cells
from .clock import calibrate, ticks

WINDOW_NS = 1_000_000


@entry
def watch(gaps: Cells, window: int) -> None:
    """Fill `gaps` with the largest step between two clock readings in consecutive windows of `window` ticks."""
    last = ticks()
    for index in range(len(gaps)):
        end = last + window
        largest = 0
        while last < end:
            now = ticks()
            if now - last > largest:
                largest = now - last
            last = now
        gaps[index] = largest


def measure(duration_ms: int, core: int = -1) -> dict[str, int]:
    """Spin for `duration_ms` (on `core`, -1 = wherever we run): p50, p99, max in ns over 1 ms windows."""
    before = os.sched_getaffinity(0)
    if core >= 0:
        os.sched_setaffinity(0, {core})
    try:
        ns_per_tick = calibrate()
        watch(np.zeros(1, np.int64), 1000)
        gaps = np.zeros(max(1, duration_ms), np.int64)
        watch(gaps, int(WINDOW_NS / ns_per_tick))
    finally:
        os.sched_setaffinity(0, before)
    p50, p99, largest = (int(q * ns_per_tick) for q in np.percentile(gaps, [50, 99, 100], method="higher"))
    return {"p50": p50, "p99": p99, "max": largest, "windows": len(gaps)}
