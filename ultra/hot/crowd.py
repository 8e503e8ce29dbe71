"""A ring of fixed slots from up to eight producers to one consumer, in one process or in shared memory.

A producer claims a batch in one step by moving the cursor, never beyond what the consumer gave back; fills it; and
marks each slot as available with `sequence + 1`, the first slot last, so that a batch is seen whole or not at all. The
consumer reads the longest run of available slots (LMAX Disruptor, MultiProducerSequencer).
0 <= cursor - gate <= capacity always holds, and a slot is available for at most one sequence of its lap.
Known bad case: a producer that dies between claim and publish leaves a hole at which the consumer stops. `hole` finds
it, `holder` says whose it is, `fill_hole` publishes it as a record of kind 0, which the consumer skips. Filling the
hole of a producer that is alive breaks the ring. Where order among producers means nothing, one ring each is cheaper
and has no holes: `merge.py`.
"""

from typing import Any, NamedTuple

import numpy as np

from ..wire import (
    CROWD,
    CROWD_CELLS,
    CROWD_CLAIM,
    CROWD_COUNT,
    CROWD_FILLED,
    CROWD_PRODUCER,
    CROWD_PRODUCERS_MAX,
    NONE,
    RING_CAPACITY,
    RING_CURSOR,
    RING_FORM,
    RING_FULL,
    RING_GATE,
    RING_LINE,
)
from . import entry, hot, memory
from .atomics import Cells, compare_and_set, fetch_add, load_acquire, store_release
from .ring import UNSIGNED

CURSOR, GATE, SEEN, FULL, FILLED = RING_CURSOR, RING_GATE, 3 * RING_LINE, RING_FULL, CROWD_FILLED
PRODUCER, CLAIM, COUNT = CROWD_PRODUCER, CROWD_CLAIM, CROWD_COUNT
PRODUCERS_MAX = CROWD_PRODUCERS_MAX


class Crowd(NamedTuple):
    """One ring and all its producers; the same on every side of it."""

    slots: Any  # records with a `kind`, one per slot; length is a power of two
    available: Cells  # int64[capacity]: one more than the sequence last published in a slot
    cells: Cells  # int64[CROWD_CELLS]


def create(dtype: Any, capacity: int) -> Crowd:
    """A crowd in private memory."""
    length = max(capacity, 0)
    crowd = Crowd(memory.zeros(length, dtype), np.zeros(length, np.int64), np.zeros(CROWD_CELLS, np.int64))
    configure(crowd)
    return crowd


def size_bytes(dtype: Any, capacity: int) -> int:
    """Memory that `over` needs."""
    return (CROWD_CELLS + capacity) * 8 + capacity * np.dtype(dtype).itemsize


def over(buffer: Any, dtype: Any, capacity: int) -> Crowd:
    """A crowd over a shared buffer: cells, slots, availability. One side configures it, before all others look."""
    cells = np.frombuffer(buffer, np.int64, CROWD_CELLS)
    # The slots before the availability: a record is a cache line, and stays one for any capacity.
    slots = np.frombuffer(buffer, dtype, capacity, CROWD_CELLS * 8).view(np.recarray)
    return Crowd(slots, np.frombuffer(buffer, np.int64, capacity, CROWD_CELLS * 8 + slots.nbytes), cells)


def configure(crowd: Crowd) -> None:
    """Once, on zeroed memory."""
    capacity = len(crowd.slots)
    assert capacity > 0 and capacity & (capacity - 1) == 0, "capacity must be a power of two"
    crowd.cells[RING_CAPACITY], crowd.cells[RING_FORM] = capacity, CROWD


# ---- Producer p. ----


@hot
def claim(crowd: Crowd, p: int, count: int = 1) -> int:
    """The first of `count` sequences that are producer p's alone, or -1 when there is no room: counted in FULL.

    What was claimed must be published; nobody else can."""
    cells, own = crowd.cells, PRODUCER + p * RING_LINE
    while True:
        first = load_acquire(cells, CURSOR)
        if first + count - len(crowd.slots) > cells[own]:
            # Our own view of the gate. The acquire pairs with the release in `release`.
            cells[own] = load_acquire(cells, GATE)
            if first + count - len(crowd.slots) > cells[own]:
                fetch_add(cells, FULL, 1)
                return NONE
        if compare_and_set(cells, CURSOR, first, first + count):
            cells[own + COUNT] = count
            # For whoever asks who holds a hole. Ordered, or the compiler might write it with the publication only.
            store_release(cells, own + CLAIM, first)
            return first


@hot
def slot_of(crowd: Crowd, sequence: int) -> int:
    """The slot of a claimed sequence."""
    return sequence & (len(crowd.slots) - 1) & UNSIGNED


@hot
def publish(crowd: Crowd, first: int, count: int = 1) -> None:
    """Hand over a claim, all of it. The releases pair with the acquire in `ready`; the first slot is the last to go."""
    for sequence in range(first + count - 1, first - 1, -1):
        store_release(crowd.available, slot_of(crowd, sequence), sequence + 1)


# ---- The consumer. ----


@hot
def ready(crowd: Crowd) -> int:
    """How many slots can be read now. Some may be of kind 0: the holes of dead producers, to be skipped."""
    cells = crowd.cells
    waiting = cells[SEEN] - cells[GATE]
    if waiting == 0:
        sequence = cells[GATE]
        while load_acquire(crowd.available, slot_of(crowd, sequence)) == sequence + 1:
            sequence += 1
        cells[SEEN] = sequence
        waiting = sequence - cells[GATE]
    return waiting


@hot
def poll(crowd: Crowd) -> int:
    """The oldest slot not yet given back, or -1 when it is not published."""
    return polled(crowd, 0) if ready(crowd) > 0 else NONE


@hot
def polled(crowd: Crowd, offset: int) -> int:
    """The slot at `offset` of a batch of at most `ready` slots."""
    return slot_of(crowd, crowd.cells[GATE] + offset)


@hot
def release(crowd: Crowd, count: int) -> None:
    """Give the oldest `count` slots back; they must not be read after this. Pairs with the acquire in `claim`."""
    store_release(crowd.cells, GATE, crowd.cells[GATE] + count)


# ---- Whoever looks from outside. ----


def hole(crowd: Crowd) -> int:
    """The oldest sequence that was claimed and is not published, or -1. Its producer may be just about to."""
    gate = int(crowd.cells[GATE])
    for sequence in range(gate, int(crowd.cells[CURSOR])):
        # More than that: it was read meanwhile, and the slot is in its next lap.
        if int(crowd.available[sequence & (len(crowd.slots) - 1)]) < sequence + 1:
            return sequence
    return NONE


def holder(crowd: Crowd, sequence: int) -> int:
    """The producer whose last claim holds `sequence`; -1 for none, or if it died in the very act of claiming."""
    for p in range(PRODUCERS_MAX):
        first, count = (int(crowd.cells[PRODUCER + p * RING_LINE + what]) for what in (CLAIM, COUNT))
        if first <= sequence < first + count:
            return p
    return NONE


@entry
def fill_hole(crowd: Crowd, sequence: int) -> bool:
    """Publish the hole of a producer that is known to be dead, as a record of kind 0; False if it is no hole."""
    cells, slot = crowd.cells, slot_of(crowd, sequence)
    held = load_acquire(crowd.available, slot)
    if sequence >= load_acquire(cells, CURSOR) or held >= sequence + 1:
        return False
    crowd.slots[slot].kind = 0
    if not compare_and_set(crowd.available, slot, held, sequence + 1):
        return False
    fetch_add(cells, FILLED, 1)
    return True


def lag(crowd: Crowd) -> int:
    """How many claimed slots the consumer has not given back."""
    gate = int(crowd.cells[GATE])  # first: a cursor read later is never behind it
    return int(crowd.cells[CURSOR]) - gate


def check(crowd: Crowd) -> None:
    """The invariant, for tests."""
    cells, capacity = [int(cell) for cell in crowd.cells], len(crowd.slots)
    gate, seen, cursor = cells[GATE], cells[SEEN], cells[CURSOR]
    assert 0 <= gate <= seen <= cursor <= gate + capacity
    for sequence in range(gate, gate + capacity):
        mark = int(crowd.available[sequence % capacity])
        published = mark == sequence + 1
        assert published or mark == max(sequence + 1 - capacity, 0), "in this lap, or last in the one before"
        assert sequence < cursor if published else sequence >= seen
    for p in range(PRODUCERS_MAX):
        assert cells[PRODUCER + p * RING_LINE] <= gate
