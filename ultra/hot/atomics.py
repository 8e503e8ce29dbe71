"""Ordered loads and stores on one cell of an int64 array, shared with other threads or processes.

A plain array load is hoisted out of a spin loop by the compiler, and a plain store may be moved; these may not.
The same operations exist in C (`native/`), for code that Numba does not compile; one litmus test holds both.
Known bad case: on x86 a missing acquire or release does not show in a test, so the IR is checked as well. With the JIT
off `fetch_add` and `compare_and_set` are several steps: right for one writer of a cell, wrong for two processes.
"""

from platform import machine
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import types

from .bits import signed
from .instruction import I32, byte_pointer, external, instruction, pointer

Cells: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


def _load_acquire(cells: Cells, index: int) -> int:
    return int(cells[index])


@instruction(_load_acquire)
def load_acquire(typingctx: Any, cells: Any, index: Any) -> Any:
    """Read a cell; nothing after this line is read before it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(pointer(context, builder, signature.args[0], *args), "acquire", 8)

    return types.int64(cells, types.intp), codegen


def _store_release(cells: Cells, index: int, value: int) -> None:
    cells[index] = value


@instruction(_store_release)
def store_release(typingctx: Any, cells: Any, index: Any, value: Any) -> Any:
    """Write a cell; everything before this line is visible to whoever sees the new value."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store_atomic(args[2], where, "release", 8)
        return context.get_dummy_value()

    return types.none(cells, types.intp, types.int64), codegen


def _fetch_add(cells: Cells, index: int, value: int) -> int:
    before = int(cells[index])
    cells[index] = signed(before + int(value))
    return before


@instruction(_fetch_add)
def fetch_add(typingctx: Any, cells: Any, index: Any, value: Any) -> Any:
    """Add to a cell in one step and return what it held before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.atomic_rmw("add", where, args[2], "acq_rel")

    return types.int64(cells, types.intp, types.int64), codegen


def _compare_and_set(cells: Cells, index: int, expected: int, desired: int) -> bool:
    same = int(cells[index]) == expected
    if same:
        cells[index] = desired
    return same


@instruction(_compare_and_set)
def compare_and_set(typingctx: Any, cells: Any, index: Any, expected: Any, desired: Any) -> Any:
    """Write `desired` if the cell holds `expected`; returns whether it did."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = pointer(context, builder, signature.args[0], args[0], args[1])
        result = builder.cmpxchg(where, args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(cells, types.intp, types.int64, types.int64), codegen


def _pause() -> None:
    pass


@instruction(_pause)
def pause(typingctx: Any) -> Any:
    """Tell the core that this is a spin loop: leaves the sibling thread its share, and leaves the loop cheaply."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if machine() in ("x86_64", "AMD64"):
            builder.call(external(builder, ir.VoidType(), [], "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.none(), codegen


def _prefetch(array: Any, index: int) -> None:
    pass


@instruction(_prefetch)
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of an element that is needed a few messages from now. Changes nothing else."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = byte_pointer(context, builder, signature.args[0], *args)
        function = external(builder, ir.VoidType(), [where.type, I32, I32, I32], "llvm.prefetch.p0")
        builder.call(function, [where, I32(1), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.none(array, types.intp), codegen
