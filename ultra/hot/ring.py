"""A ring of fixed slots between one producer and one consumer, in one process or in shared memory.

Sequences count from 0 and never wrap; a slot is `sequence & (capacity - 1)`. `cursor` is the number of slots
published, `gate` the number given back, so 0 <= cursor - gate <= capacity always holds. Each side keeps a stale copy
of the other's sequence and refreshes it only when the copy says full (or empty): that refresh is the only cache line
that travels (rigtorp/SPSCQueue, LMAX Disruptor).
Known bad case: two producers, or two consumers. Nothing detects it; use one ring each.
"""

from typing import Any, NamedTuple

import numpy as np

from ..wire import RING_CELLS, RING_CURSOR, RING_FULL, RING_GATE, RING_LINE
from . import hot, memory
from .atomics import Cells, load_acquire, store_release

CURSOR, GATE_SEEN, GATE, CURSOR_SEEN = RING_CURSOR, RING_LINE, RING_GATE, 3 * RING_LINE
FULL = RING_FULL
CELLS = RING_CELLS  # the other half is free for the owners of the ring
# The mask of a slot, told to be without a sign: else each access looks whether its index counts from the end, which is
# three instructions a record (measured: filling one 3.30 -> 3.06 ns).
UNSIGNED = (1 << 63) - 1


class Ring(NamedTuple):
    """One ring; the same on both sides of it."""

    slots: Any  # records, one per slot; length is a power of two
    cells: Cells  # int64[CELLS]


def create(dtype: Any, capacity: int) -> Ring:
    """A ring in private memory."""
    assert capacity > 0 and capacity & (capacity - 1) == 0, "capacity must be a power of two"
    return Ring(memory.zeros(capacity, dtype), np.zeros(CELLS, np.int64))


def size_bytes(dtype: Any, capacity: int) -> int:
    """Memory that `over` needs."""
    return CELLS * 8 + capacity * np.dtype(dtype).itemsize


def over(buffer: Any, dtype: Any, capacity: int) -> Ring:
    """A ring over a shared buffer: first the cells, then the slots. The same on both sides."""
    cells = np.frombuffer(buffer, np.int64, CELLS)
    return Ring(np.frombuffer(buffer, dtype, capacity, CELLS * 8).view(np.recarray), cells)


@hot
def room(ring: Ring, wanted: int = 1) -> int:
    """How many slots can be claimed now; looks at the consumer's gate only when `wanted` are not known to be free.

    Below `wanted` it was full for this caller, which is counted in FULL."""
    cells = ring.cells
    free = len(ring.slots) - (cells[CURSOR] - cells[GATE_SEEN])
    if free < wanted:
        cells[GATE_SEEN] = load_acquire(cells, GATE)
        free = len(ring.slots) - (cells[CURSOR] - cells[GATE_SEEN])
        if free < wanted:
            cells[FULL] += 1
    return free


@hot
def claim(ring: Ring) -> int:
    """The slot to fill next, or -1 when the consumer is a full lap behind."""
    return claimed(ring, 0) if room(ring) > 0 else -1


@hot
def claimed(ring: Ring, offset: int) -> int:
    """The slot at `offset` of a batch of at most `room` slots."""
    return (ring.cells[CURSOR] + offset) & (len(ring.slots) - 1) & UNSIGNED


@hot
def publish(ring: Ring, count: int) -> None:
    """Hand over the next `count` filled slots. The release pairs with the acquire in `ready`."""
    store_release(ring.cells, CURSOR, ring.cells[CURSOR] + count)


@hot
def ready(ring: Ring) -> int:
    """How many slots can be read now."""
    cells = ring.cells
    waiting = cells[CURSOR_SEEN] - cells[GATE]
    if waiting == 0:
        cells[CURSOR_SEEN] = load_acquire(cells, CURSOR)
        waiting = cells[CURSOR_SEEN] - cells[GATE]
    return waiting


@hot
def poll(ring: Ring) -> int:
    """The oldest slot not yet given back, or -1 when there is none."""
    return polled(ring, 0) if ready(ring) > 0 else -1


@hot
def polled(ring: Ring, offset: int) -> int:
    """The slot at `offset` of a batch of at most `ready` slots."""
    return (ring.cells[GATE] + offset) & (len(ring.slots) - 1) & UNSIGNED


@hot
def release(ring: Ring, count: int) -> None:
    """Give the oldest `count` slots back; they must not be read after this. Pairs with the acquire in `room`."""
    store_release(ring.cells, GATE, ring.cells[GATE] + count)


def check(ring: Ring) -> None:
    """The invariant, for tests."""
    cursor, gate = int(ring.cells[CURSOR]), int(ring.cells[GATE])
    assert 0 <= gate <= cursor and cursor - gate <= len(ring.slots)
    assert gate <= int(ring.cells[CURSOR_SEEN]) <= cursor
    assert int(ring.cells[GATE_SEEN]) <= gate
