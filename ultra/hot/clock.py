"""The processor's own clock: the only file of the hot path that reads one.

`ticks` counts at a constant rate on any x86 of the last fifteen years (`ultra doctor` checks); `calibrate` measures
that rate against CLOCK_MONOTONIC_RAW. With the JIT off a tick is a nanosecond of `perf_counter_ns`.
Known bad case: between two sockets, or in a migrated virtual machine, the counters of two cores may differ.
"""

import time
from typing import Any

from llvmlite import ir
from numba import types

from . import JIT, entry
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
