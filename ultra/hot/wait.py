"""What a loop does while there is nothing to do, and how a publisher wakes whoever went to sleep.

`idle` spins, or spins and then yields the core. A cold consumer may sleep instead (`ultra.cold.native.Bell`, a futex
on the RING_BELL cell); `wake`, called after `publish` or `release`, costs one load of a cache line that nobody writes
while nobody sleeps. That load may overtake the store of the cursor in the processor: the publisher sees no sleeper, the
sleeper no record, and a wake-up is lost. A full fence per record would close it here; instead the sleeper, which has
the time, makes every core with a publisher on it do one (membarrier, GLOBAL_EXPEDITED) between its mark and its last
look. Here only the compiler is told to keep the order. Where the kernel has no such barrier, or the publisher did not
sign up for it (`native.promise`), the sleeper sleeps a millisecond at most, and counts that.
These and those of `net` are the only calls into the kernel in hot code, each chosen by whoever writes the loop.
Known bad case: a membarrier interrupts the publisher's core (some microseconds), once each time somebody falls asleep.
"""

import ctypes
from platform import machine
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ..wire import RING_BELL, RING_SLEEPERS
from . import entry, hot, rare
from .atomics import Cells, fetch_add, pause, store_release
from .instruction import I32, I64, external, instruction, pointer

BUSY = 1 << 62  # spins after which one yields: never
FUTEX = {"x86_64": 202, "AMD64": 202, "aarch64": 98}.get(machine(), -1)  # its number; -1: ENOSYS, nobody is woken
FUTEX_WAKE, EVERYBODY = 1, (1 << 31) - 1
LIBC = ctypes.CDLL(None)


@hot
def idle(turns: int, spins: int) -> int:
    """One turn of waiting, after `turns` in vain: a pause, from `spins` on a yield of the core. Returns turns + 1."""
    if turns < spins:
        pause()
    else:
        sched_yield()
    return turns + 1


@hot
def wake(cells: Cells) -> None:
    """After a `publish` or `release`: wake everybody who sleeps on the ring of these cells."""
    keep_order()
    if cells[RING_SLEEPERS] != 0:
        _wake(cells)


@entry
def wake_now(cells: Cells) -> None:
    """`wake` for code outside the hot path."""
    wake(cells)


@rare
def _wake(cells: Cells) -> None:
    # In this order: who marks itself after the first line has its last look still before it, and sees what was
    # published; who did so before has heard an older bell, and does not fall asleep.
    store_release(cells, RING_SLEEPERS, 0)
    fetch_add(cells, RING_BELL, 1)
    futex_wake(cells, RING_BELL)


def _keep_order() -> None:
    pass


@instruction(_keep_order)
def keep_order(typingctx: Any) -> Any:
    """The compiler moves no load or store across; the processor may. No instruction. Pairs with a membarrier."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst", "singlethread")
        return context.get_dummy_value()

    return types.none(), codegen


def _sched_yield() -> None:
    LIBC.sched_yield()


@instruction(_sched_yield)
def sched_yield(typingctx: Any) -> Any:
    """Let others have the core: a call into the kernel, some 100 ns when nobody wants it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.call(external(builder, I32, [], "sched_yield"), [])
        return context.get_dummy_value()

    return types.none(), codegen


def _futex_wake(cells: Cells, index: int) -> None:
    LIBC.syscall(ctypes.c_long(FUTEX), ctypes.c_void_p(cells.ctypes.data + 8 * index), FUTEX_WAKE, EVERYBODY)


@instruction(_futex_wake)
def futex_wake(typingctx: Any, cells: Any, index: Any) -> Any:
    """Wake everybody who sleeps on the low half of a cell, in any process."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = builder.ptrtoint(pointer(context, builder, signature.args[0], *args), I64)
        kind = ir.FunctionType(I64, [I64], var_arg=True)
        function = cgutils.get_or_insert_function(builder.module, kind, "syscall")
        builder.call(function, [I64(FUTEX), where, I64(FUTEX_WAKE), I64(EVERYBODY)])
        return context.get_dummy_value()

    return types.none(cells, types.intp), codegen
