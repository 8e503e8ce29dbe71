"""Slots of a preallocated array, handed out and taken back: last in, first out, so the next one is warm.

A slot is an index. A handle is a slot with the generation it was acquired in, so a handle that outlives its
slot is told from the slot's next owner. `live + free + never used = capacity` always holds.
Generations are odd while a slot is live: handle 0 is never valid. They wrap after 2^30 reuses of one slot.
"""

from typing import Any, NamedTuple

import numpy as np

from . import hot, memory
from .atomics import Cells

# A slot is taken fresh only when none is free, so FRESH is also the most that were ever live at once.
FREE, FRESH, STALE, EXHAUSTED = 0, 1, 2, 3
CELLS = 8
NO_SLOT = -1


class Pool(NamedTuple):
    """Who is free, who is live."""

    free: Any  # int32[capacity], a stack of `cells[FREE]` slots
    generation: Any  # int32[capacity], odd = live; empty for a pool of bare slots
    cells: Cells


def create(capacity: int, *, tagged: bool = True) -> Pool:
    """A pool of `capacity` slots; `tagged=False` leaves the generations out (slots only, no handles)."""
    assert 0 < capacity < 1 << 31, capacity
    generation = memory.zeros(capacity if tagged else 0, np.int32)
    return Pool(memory.zeros(capacity, np.int32), generation, np.zeros(CELLS, np.int64))


@hot
def take(pool: Pool) -> int:
    """A free slot, or NO_SLOT (counted) when there is none."""
    cells = pool.cells
    if cells[FREE] > 0:
        cells[FREE] -= 1
        slot = np.int64(pool.free[cells[FREE]])
    elif cells[FRESH] < len(pool.free):
        slot = cells[FRESH]
        cells[FRESH] += 1
    else:
        cells[EXHAUSTED] += 1
        return NO_SLOT
    return slot


@hot
def put(pool: Pool, slot: int) -> None:
    """Give back a slot that `take` handed out."""
    pool.free[pool.cells[FREE]] = slot
    pool.cells[FREE] += 1


@hot
def acquire(pool: Pool) -> int:
    """A handle to a free slot, or NO_SLOT (counted) when there is none."""
    slot = take(pool)
    if slot == NO_SLOT:
        return NO_SLOT
    generation = ((np.int64(pool.generation[slot]) + 1) & 0x3FFFFFFF) | 1
    pool.generation[slot] = generation
    return (generation << 32) | slot


@hot
def slot_of(pool: Pool, handle: int) -> int:
    """The slot of a live handle; NO_SLOT (counted) for one that was given back, or never was."""
    slot = handle & 0xFFFFFFFF
    if (
        handle <= 0
        or slot >= len(pool.free)
        or np.int64(pool.generation[slot]) != handle >> 32
        or handle >> 32 & 1 == 0
    ):
        pool.cells[STALE] += 1
        return NO_SLOT
    return slot


@hot
def give_back(pool: Pool, handle: int) -> bool:
    """End a handle. False (counted) when it was not live: nothing is given back twice."""
    slot = slot_of(pool, handle)
    if slot == NO_SLOT:
        return False
    pool.generation[slot] = (np.int64(pool.generation[slot]) + 1) & 0x3FFFFFFF
    put(pool, slot)
    return True


@hot
def live(pool: Pool) -> int:
    """How many slots are out."""
    return pool.cells[FRESH] - pool.cells[FREE]


def check(pool: Pool) -> None:
    """Every invariant, in O(capacity): for tests."""
    free, fresh = int(pool.cells[FREE]), int(pool.cells[FRESH])
    waiting = set(pool.free[:free].tolist())
    assert len(waiting) == free, "a slot is free twice"
    assert all(0 <= slot < fresh for slot in waiting)
    assert free <= fresh <= len(pool.free)
    for slot in range(len(pool.generation)):
        assert (int(pool.generation[slot]) & 1) == (slot < fresh and slot not in waiting)
