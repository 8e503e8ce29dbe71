"""What cold code needs of `native/`: ordered access to cells shared with another process, sleep, and CRC32C.

With the compiled part these are the C functions. Without it, on x86-64 only, Python's aligned 8-byte load or
store is one machine instruction, and that processor keeps loads in order and stores in order, which is all
that acquire and release ask. Nothing stands in for the atomic read-modify-writes: they raise.
Invariant: every cell lies on its own multiple of 8 bytes; otherwise no processor promises a whole read.
Known bad case: `Cells` holds its buffer; a shared segment closes only after `release`.
"""

from __future__ import annotations

import functools
import platform
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..wire import RING_BELL, RING_PROMPT, RING_SLEEPERS
from . import PURE

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

CELL_BYTES: Final = 8
SLEEP_BOUND_NS: Final = 1_000_000
FIX: Final = "install gcc and the Python headers, unset ULTRA_PURE, then 'make build'"


def _load() -> tuple[Any, Any]:
    if PURE:
        return None, None
    try:
        from .._native import ffi, lib
    except ImportError:
        return None, None
    return ffi, lib


_ffi, _lib = _load()
NATIVE: bool = _lib is not None


class NativeMissingError(Exception):
    """Something was asked for that only the compiled part can promise."""


class Cells:
    """A buffer as int64 cells that another thread or process reads and writes too; `writable` by us, or only read."""

    def __init__(self, buffer: Buffer, writable: bool = True) -> None:
        if not NATIVE and platform.machine() not in ("x86_64", "AMD64"):
            raise NativeMissingError(f"shared cells on {platform.machine()} need ultra._native: {FIX}")
        view = memoryview(buffer)
        if writable and view.readonly:
            raise ValueError("cells need a writable buffer")
        # Raises ValueError by itself when the size is not a multiple of a cell.
        array = np.frombuffer(view, np.int64)
        if not array.flags.aligned:
            raise ValueError(f"cells must start on a multiple of {CELL_BYTES} bytes")
        self._length = len(array)
        self._writable = writable
        self._cells: Any = _ffi.from_buffer("int64_t[]", view) if NATIVE else memoryview(array)

    def __len__(self) -> int:
        return self._length

    def load_acquire(self, index: int) -> int:
        """Read a cell; nothing after this is read before it."""
        self._check(index)
        value: int = _lib.ultra_load_acquire(self._cells + index) if NATIVE else self._cells[index]
        return value

    def store_release(self, index: int, value: int) -> None:
        """Write a cell; everything before this is visible to whoever sees the new value."""
        self._check(index)
        self._need_writable()
        if NATIVE:
            _lib.ultra_store_release(self._cells + index, value)
        else:
            self._cells[index] = value

    def fetch_add(self, index: int, value: int) -> int:
        """Add to a cell in one step, wrapping at 64 bits; returns what it held before."""
        self._check(index)
        self._need_writable()
        self._need_native("fetch_add")
        before: int = _lib.ultra_fetch_add(self._cells + index, value)
        return before

    def compare_and_set(self, index: int, expected: int, desired: int) -> bool:
        """Write `desired` if the cell holds `expected`, in one step; returns whether it did."""
        self._check(index)
        self._need_writable()
        self._need_native("compare_and_set")
        return bool(_lib.ultra_compare_and_set(self._cells + index, expected, desired))

    def sleep(self, index: int, seen: int, timeout_ns: int) -> None:
        """Sleep until woken, at most `timeout_ns`; not at all if the cell no longer holds `seen`. May end early."""
        self._check(index)
        if NATIVE:
            _lib.ultra_sleep(self._cells + index, seen, timeout_ns)
        elif self._cells[index] == seen:
            time.sleep(timeout_ns / 1e9)

    def release(self) -> None:
        """Let the buffer go, so that its owner can close it. Every access after this is an IndexError."""
        if self._length == 0:
            return
        self._length = 0
        if NATIVE:
            _ffi.release(self._cells)
        else:
            self._cells.release()

    def _check(self, index: int) -> None:
        # A negative index would wrap around in Python and read foreign memory in C.
        if not 0 <= index < self._length:
            raise IndexError(f"cell {index} of {self._length}")

    def _need_writable(self) -> None:
        # In C a store to a page that is mapped for reading ends the process.
        if not self._writable:
            raise ValueError("these cells are only read")

    def _need_native(self, what: str) -> None:
        if not NATIVE:
            raise NativeMissingError(f"{what} between processes needs ultra._native: {FIX}")


def fence() -> None:
    """Nothing after this is read before what stands before it: between a copy and the look whether it still holds."""
    if NATIVE:
        _lib.ultra_fence()


class Bell:
    """What a cold consumer sleeps on while its ring is empty, or a cold producer while it is full.

    `cells` are those of the ring, of any form; `wakers` is how many processes publish or give back what is waited for.
    Known bad case: with fewer promises than that, or without membarrier, a sleep ends after SLEEP_BOUND_NS, whatever
    was asked for; `bounded` counts them."""

    def __init__(self, cells: Cells, wakers: int = 1) -> None:
        self._cells = cells
        self._wakers = wakers
        self.bounded = 0

    def wait(self, ready: Callable[[], bool], timeout_ns: int) -> bool:
        """Sleep once, until woken and at most `timeout_ns`, unless `ready()`; returns what it says then."""
        if ready():
            return True
        heard = self._cells.load_acquire(RING_BELL)
        self._cells.store_release(RING_SLEEPERS, 1)
        # Between the mark and the last look: whoever publishes after this fence sees the mark.
        fenced = NATIVE and _lib.ultra_fence_others() == 0
        if ready():
            return True
        if not fenced or self._cells.load_acquire(RING_PROMPT) < self._wakers:
            timeout_ns = min(timeout_ns, SLEEP_BOUND_NS)
            self.bounded += 1
        self._cells.sleep(RING_BELL, heard, timeout_ns)
        return ready()


def promise(cells: Cells) -> bool:
    """Say that this process calls `wait.wake` after all it publishes in this ring, and gives back.

    False where the kernel has no membarrier; then sleepers wake by themselves."""
    if not NATIVE or _lib.ultra_accept_fences() != 0:
        return False
    cells.fetch_add(RING_PROMPT, 1)
    return True


def crc32c(data: Buffer, crc: int = 0) -> int:
    """CRC32C of `data`; `crc` is 0 or the CRC of the bytes before it, as in `zlib.crc32`."""
    if NATIVE:
        bytes_in = _ffi.from_buffer("uint8_t[]", data)
        value: int = _lib.ultra_crc32c(crc, bytes_in, len(bytes_in))
        return value
    array = np.frombuffer(data, np.uint8)
    return int(_hot_crc32c()(array, 0, len(array), crc))


@functools.cache
def _hot_crc32c() -> Callable[[Any, int, int, int], int]:
    # Late, because it brings Numba and a compilation with it.
    from ..hot.crc import crc32c as hot_crc32c

    function: Callable[[Any, int, int, int], int] = hot_crc32c
    return function
