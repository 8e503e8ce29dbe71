"""A ring for one record at a time, whose records say themselves that they are there.

The memory is that of `ring.py`, but the consumer does not ask for the cursor, it looks at the slot: the word `sequence`
of a record is written last, as one more than its place in the ring. So one cache line travels for a record, not two one
after the other (atomic_queue; measured, p50 of a round trip between far cores: 720 -> 363 ns).
0 <= cursor - gate <= capacity always holds, and a slot says of itself at most the sequence of its lap.
Known bad cases: the writer has no `sequence` of its own; batches are not faster than records; two producers, or two
consumers.
"""

from typing import Any, NamedTuple

import numpy as np

from ..wire import NONE, RECORD, REQUEST
from . import hot, memory
from . import ring as rings
from .atomics import Cells, load_acquire, store_release
from .ring import UNSIGNED

CURSOR, GATE, GATE_SEEN, FULL, CELLS = rings.CURSOR, rings.GATE, rings.GATE_SEEN, rings.FULL, rings.CELLS
WORDS, MARK = 8, 1  # words of a slot, and which of them is `sequence`
assert all(kind.fields["sequence"][1] == 8 * MARK and kind.itemsize == 8 * WORDS for kind in (RECORD, REQUEST))


class Post(NamedTuple):
    """One ring of RECORD or REQUEST; the same on both sides of it."""

    slots: Any  # records, one per slot; length is a power of two
    words: Cells  # the same memory, WORDS a slot
    cells: Cells  # int64[CELLS]


def create(dtype: Any, capacity: int) -> Post:
    """A post in private memory."""
    assert capacity > 0 and capacity & (capacity - 1) == 0, "capacity must be a power of two"
    slots = memory.zeros(capacity, dtype)
    return Post(slots, slots.view(np.ndarray).view(np.int64), np.zeros(CELLS, np.int64))


def over(buffer: Any, dtype: Any, capacity: int) -> Post:
    """A post over a shared buffer of `rings.size_bytes`, zeroed at first. The same on both sides."""
    ring = rings.over(buffer, dtype, capacity)
    return Post(ring.slots, np.frombuffer(buffer, np.int64, capacity * WORDS, CELLS * 8), ring.cells)


@hot
def claim(post: Post) -> int:
    """The slot to fill next, or -1 when the consumer is a full lap behind: counted in FULL."""
    cells = post.cells
    if cells[CURSOR] - cells[GATE_SEEN] >= len(post.slots):
        cells[GATE_SEEN] = load_acquire(cells, GATE)
        if cells[CURSOR] - cells[GATE_SEEN] >= len(post.slots):
            cells[FULL] += 1
            return NONE
    return _slot(post, cells[CURSOR])


@hot
def publish(post: Post) -> None:
    """Hand over the slot claimed last. The first release pairs with the acquire in `poll`, the second with those of
    whoever watches; its line is only the producer's, so it costs nothing."""
    sequence = post.cells[CURSOR]
    store_release(post.words, _slot(post, sequence) * WORDS + MARK, sequence + 1)
    store_release(post.cells, CURSOR, sequence + 1)


@hot
def poll(post: Post) -> int:
    """The oldest slot not yet given back, or -1 when there is none."""
    sequence = post.cells[GATE]
    slot = _slot(post, sequence)
    return slot if load_acquire(post.words, slot * WORDS + MARK) == sequence + 1 else NONE


@hot
def release(post: Post) -> None:
    """Give that slot back; it must not be read after this. Pairs with the acquire in `claim`."""
    store_release(post.cells, GATE, post.cells[GATE] + 1)


@hot
def _slot(post: Post, sequence: int) -> int:
    return sequence & (len(post.slots) - 1) & UNSIGNED


def check(post: Post) -> None:
    """The invariant, for tests."""
    cursor, gate, capacity = int(post.cells[CURSOR]), int(post.cells[GATE]), len(post.slots)
    assert 0 <= gate <= cursor <= gate + capacity and int(post.cells[GATE_SEEN]) <= gate
    for sequence in range(gate, gate + capacity):
        mark = int(post.slots[sequence % capacity].sequence)
        published = sequence < cursor
        assert mark == (sequence + 1 if published else max(sequence + 1 - capacity, 0))
