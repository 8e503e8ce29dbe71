"""The processor's own clock: the only file of the hot path that reads one.

`ticks` counts at a constant rate on any x86 of the last fifteen years (`ultra doctor` checks); `calibrate` measures
that rate against CLOCK_MONOTONIC_RAW. With the JIT off a tick is a nanosecond of `perf_counter_ns`.
Known bad case: between two sockets, or in a migrated virtual machine, the counters of two cores may differ.
"""

import time
from typing import Any

from llvmlite import ir
from numba import types

from . import JIT, entry, hot
from .atomics import Cells
from .instruction import I64, external, instruction


def _ticks() -> int:
    return time.perf_counter_ns()


@instruction(_ticks)
def ticks(typingctx: Any) -> Any:
    """The time stamp counter. Costs about 8 ns; not ordered against the instructions around it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(external(builder, I64, [], "llvm.readcyclecounter"), [])

    return types.int64(), codegen


def _fence() -> None:
    pass


@instruction(_fence)
def fence(typingctx: Any) -> Any:
    """Let everything before finish first: around a single measured operation."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.call(external(builder, ir.VoidType(), [], "llvm.x86.sse2.lfence"), [])
        return context.get_dummy_value()

    return types.none(), codegen


@entry
def now() -> int:
    """`ticks` for code outside the hot path."""
    return ticks()


# Cells of a wall clock: a tick, the time it stands for, ns a tick times 2^RATE_BITS.
TICK, TIME_NS, RATE = range(3)
RATE_BITS = 24  # then ten minutes of ticks fit an int64; off by at most 60 ns a second until it is set again


@hot
def utc(wall: Cells, tick: int) -> int:
    """Time of day at a tick, ns since the epoch."""
    return wall[TIME_NS] + ((tick - wall[TICK]) * wall[RATE] >> RATE_BITS)


def set_wall(wall: Cells, ns_per_tick: float) -> None:
    """Set a wall clock, int64[4], by that of the system. It may step: who needs order keeps the latest."""
    before = now()
    wall[TIME_NS] = time.time_ns()
    wall[TICK] = (before + now()) // 2
    wall[RATE] = round(ns_per_tick * (1 << RATE_BITS))


def calibrate(duration_ms: int = 20) -> float:
    """Nanoseconds per tick: two readings of both clocks, each the tightest of fifty."""
    if not JIT:
        return 1.0
    first = _pair()
    time.sleep(duration_ms / 1000)
    last = _pair()
    return (last[1] - first[1]) / (last[0] - first[0])


def _pair() -> tuple[int, int]:
    best, found = 1 << 62, (0, 0)
    for _ in range(50):
        before = now()
        wall = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        after = now()
        if after - before < best:
            best, found = after - before, ((before + after) // 2, wall)
    return found
