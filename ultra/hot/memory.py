"""The arrays of the engine: one mapping each, zeroed, on huge pages where the kernel gives them.

Address space is reserved by the limits of the configuration; memory is used only where something was written,
so generous limits cost nothing until they are needed. `touch` pays for that up front.
"""

import mmap
from typing import Any

import numpy as np

HUGE_FROM = 1 << 21


def zeros(count: int, dtype: Any) -> Any:
    """A zeroed one-dimensional array; a structured dtype comes as a recarray (rows have attributes)."""
    dtype = np.dtype(dtype)
    size = max(1, count * dtype.itemsize)
    if size < HUGE_FROM:
        array = np.zeros(count, dtype)
    else:
        mapping = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            mapping.madvise(mmap.MADV_HUGEPAGE)
        array = np.frombuffer(mapping, dtype, count)
    return array.view(np.recarray) if dtype.names else array


def touch(array: Any, rows: int) -> None:
    """Write to every page of the first `rows` rows, so that no later write of ours faults."""
    raw = array[:rows].view(np.ndarray).view(np.uint8).reshape(-1)
    raw[::4096] |= 0
