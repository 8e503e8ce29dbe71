"""A ring of fixed slots from one producer to up to eight consumers, in one process or in shared memory.

As `ring.py`, with a gate for each consumer. A consumer sees what the cursor has published or, if it was told to wait
for others, what all of those have given back: a pipeline and a diamond are configurations. The producer may fill below
`GATE_SEEN + capacity`; GATE_SEEN is at most the gate of every attached consumer and never goes back (LMAX Disruptor).
A consumer that died is detached: from then on neither the producer nor those behind it wait for it.
Known bad cases: a consumer that is detached while it runs may read a slot that is being filled again (`attached` tells
it afterwards); those behind a detached one see records it never handled; two consumers with one number.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..wire import (
    FAN,
    FAN_ATTACHED,
    FAN_ATTACHES,
    FAN_CELLS,
    FAN_CONSUMERS,
    FAN_CONSUMERS_MAX,
    FAN_DEPENDS,
    FAN_DETACHES,
    FAN_GATE,
    FAN_STRIDE,
    FAN_UPSTREAM,
    NONE,
    RING_CAPACITY,
    RING_CURSOR,
    RING_FORM,
    RING_FULL,
    RING_LINE,
)
from . import entry, hot, memory
from .atomics import Cells, compare_and_set, fetch_add, load_acquire, store_release
from .ring import UNSIGNED

CURSOR, GATE_SEEN, FULL, GATE, STRIDE = RING_CURSOR, RING_LINE, RING_FULL, FAN_GATE, FAN_STRIDE
SEEN = RING_LINE  # from a consumer's gate to its own view of how far it may read
ATTACHED, ATTACHES, DETACHES, UPSTREAM = FAN_ATTACHED, FAN_ATTACHES, FAN_DETACHES, FAN_UPSTREAM
CONSUMERS_MAX = FAN_CONSUMERS_MAX
FAR = (1 << 63) - 1


class Fan(NamedTuple):
    """One ring and all its consumers; the same on every side of it."""

    slots: Any  # records, one per slot; length is a power of two
    cells: Cells  # int64[FAN_CELLS]


def create(dtype: Any, capacity: int, depends: Sequence[Sequence[int]]) -> Fan:
    """A fan in private memory; `depends` as in `configure`."""
    fan = Fan(memory.zeros(max(capacity, 0), dtype), np.zeros(FAN_CELLS, np.int64))
    configure(fan, depends)
    return fan


def size_bytes(dtype: Any, capacity: int) -> int:
    """Memory that `over` needs."""
    return FAN_CELLS * 8 + capacity * np.dtype(dtype).itemsize


def over(buffer: Any, dtype: Any, capacity: int) -> Fan:
    """A fan over a shared buffer: first the cells, then the slots. One side configures it, before all others look."""
    cells = np.frombuffer(buffer, np.int64, FAN_CELLS)
    return Fan(np.frombuffer(buffer, dtype, capacity, FAN_CELLS * 8).view(np.recarray), cells)


def configure(fan: Fan, depends: Sequence[Sequence[int]]) -> None:
    """Once, on zeroed memory: `depends[k]` are the consumers that must have given a slot back before k sees it.

    A consumer waits only for lower numbers. `[(), (0,), (0,), (1, 2)]` is a diamond."""
    capacity, cells = len(fan.slots), fan.cells
    assert capacity > 0 and capacity & (capacity - 1) == 0, "capacity must be a power of two"
    assert 0 < len(depends) <= CONSUMERS_MAX, f"a fan has 1 to {CONSUMERS_MAX} consumers"
    for k, before in enumerate(depends):
        assert all(0 <= other < k for other in before), f"consumer {k} can wait only for those numbered below it"
        bits = sum(1 << other for other in set(before))
        cells[FAN_DEPENDS + k] = cells[UPSTREAM + k] = bits
        for other in before:
            # Those behind a consumer that is detached fall back on whom it was waiting for.
            cells[UPSTREAM + k] |= cells[UPSTREAM + other]
    cells[FAN_CONSUMERS], cells[ATTACHED] = len(depends), (1 << len(depends)) - 1
    cells[RING_CAPACITY], cells[RING_FORM] = capacity, FAN


# ---- The producer. ----


@hot
def room(fan: Fan, wanted: int = 1) -> int:
    """How many slots can be claimed now; looks at the gates only when `wanted` are not known to be free.

    Below `wanted` it was full for this caller, which is counted in FULL."""
    cells = fan.cells
    free = len(fan.slots) - (cells[CURSOR] - cells[GATE_SEEN])
    if free < wanted:
        _look(cells)
        free = len(fan.slots) - (cells[CURSOR] - cells[GATE_SEEN])
        if free < wanted:
            cells[FULL] += 1
    return free


@hot
def claim(fan: Fan) -> int:
    """The slot to fill next, or -1 when an attached consumer is a full lap behind."""
    return claimed(fan, 0) if room(fan) > 0 else NONE


@hot
def claimed(fan: Fan, offset: int) -> int:
    """The slot at `offset` of a batch of at most `room` slots."""
    return (fan.cells[CURSOR] + offset) & (len(fan.slots) - 1) & UNSIGNED


@hot
def publish(fan: Fan, count: int) -> None:
    """Hand over the next `count` filled slots. The release pairs with the acquire of the cursor in `_limit`."""
    store_release(fan.cells, CURSOR, fan.cells[CURSOR] + count)


@hot
def _look(cells: Cells) -> None:
    """Refresh GATE_SEEN. A consumer attached meanwhile either finds the new value or makes us look again."""
    while True:
        attaches, known = load_acquire(cells, ATTACHES), cells[GATE_SEEN]
        least = min(_least(cells, load_acquire(cells, ATTACHED)), cells[CURSOR])
        if least <= known:
            return
        # Written before it is believed. The read-modify-write is ordered with the one in `attach`: if ours is first,
        # `attach` reads this GATE_SEEN; if it is second, it shows one more and the value is taken back.
        store_release(cells, GATE_SEEN, least)
        if fetch_add(cells, ATTACHES, 0) == attaches:
            return
        store_release(cells, GATE_SEEN, known)


@hot
def _least(cells: Cells, mask: int) -> int:
    """The smallest gate of these consumers. The acquire pairs with the release in `release`."""
    least = FAR
    for k in range(CONSUMERS_MAX):
        if mask >> k & 1:
            least = min(least, load_acquire(cells, GATE + k * STRIDE))
    return least


# ---- Consumer k. ----


@hot
def ready(fan: Fan, k: int) -> int:
    """How many slots consumer k can read now; looks at the others only when it knows of none.

    Detached, it finds none from its next look on."""
    cells, gate = fan.cells, GATE + k * STRIDE
    waiting = cells[gate + SEEN] - cells[gate]
    if waiting <= 0:
        cells[gate + SEEN] = _limit(cells, k)
        waiting = max(cells[gate + SEEN] - cells[gate], 0)
    return waiting


@hot
def poll(fan: Fan, k: int) -> int:
    """The oldest slot that consumer k has not given back, or -1 when there is none."""
    return polled(fan, k, 0) if ready(fan, k) > 0 else NONE


@hot
def polled(fan: Fan, k: int, offset: int) -> int:
    """The slot at `offset` of a batch of at most `ready` slots."""
    return (fan.cells[GATE + k * STRIDE] + offset) & (len(fan.slots) - 1) & UNSIGNED


@hot
def release(fan: Fan, k: int, count: int) -> None:
    """Give the oldest `count` slots back, to those behind k and to the producer. Pairs with the acquire in `_least`."""
    store_release(fan.cells, GATE + k * STRIDE, fan.cells[GATE + k * STRIDE] + count)


@hot
def attached(fan: Fan, k: int) -> bool:
    """Whether consumer k still holds the producer back; if not, what it read last may have been overwritten."""
    return load_acquire(fan.cells, ATTACHED) >> k & 1 != 0


@hot
def _limit(cells: Cells, k: int) -> int:
    """The sequence below which consumer k may read."""
    mask = load_acquire(cells, ATTACHED)
    if mask >> k & 1 == 0:
        return cells[GATE + k * STRIDE]
    upstream = mask & cells[UPSTREAM + k]
    return _least(cells, upstream) if upstream != 0 else load_acquire(cells, CURSOR)


# ---- Whoever starts and buries consumers. ----


@entry
def detach(fan: Fan, k: int) -> bool:
    """Stop waiting for consumer k, which is dead or no longer wanted; False if it was not attached."""
    if not _mark(fan.cells, k, False):
        return False
    fetch_add(fan.cells, DETACHES, 1)
    return True


@entry
def attach(fan: Fan, k: int, sequence: int) -> int:
    """Let consumer k, which must not be running, read from `sequence` on; -1 if it is attached already.

    Returns where it will read from: later than asked if that was overwritten (0 asks for the oldest there is), and not
    beyond the cursor. From their next look on those behind it wait until it has caught up with them."""
    cells, gate = fan.cells, GATE + k * STRIDE
    if attached(fan, k):
        return NONE
    wanted = min(sequence, load_acquire(cells, CURSOR))
    store_release(cells, gate, wanted)
    if not _mark(cells, k, True):
        return NONE
    fetch_add(cells, ATTACHES, 1)
    # No `_look` that left k out can still be believed, but for those before the addition: they are in GATE_SEEN.
    granted = max(wanted, load_acquire(cells, GATE_SEEN))
    cells[gate + SEEN] = granted
    store_release(cells, gate, granted)
    return granted


@hot
def _mark(cells: Cells, k: int, wanted: bool) -> bool:
    """Set or clear the bit of consumer k; False if it was so."""
    while True:
        mask = load_acquire(cells, ATTACHED)
        if (mask >> k & 1 != 0) == wanted:
            return False
        if compare_and_set(cells, ATTACHED, mask, mask ^ (1 << k)):
            return True


# ---- Whoever looks from outside. ----


def lag(fan: Fan, k: int) -> int:
    """How many published slots consumer k has not given back; of a detached one it may be more than the capacity."""
    gate = int(fan.cells[GATE + k * STRIDE])  # first: a cursor read later is never behind it
    return int(fan.cells[CURSOR]) - gate


def check(fan: Fan) -> None:
    """The invariant, for tests."""
    cells, capacity = [int(cell) for cell in fan.cells], len(fan.slots)
    cursor, known = cells[CURSOR], cells[GATE_SEEN]
    assert 0 <= known <= cursor <= known + capacity
    for k in range(cells[FAN_CONSUMERS]):
        gate = cells[GATE + k * STRIDE]
        assert 0 <= gate <= cursor and cells[GATE + k * STRIDE + SEEN] <= cursor
        if cells[ATTACHED] >> k & 1:
            assert known <= gate and cursor - gate <= capacity
            for other in range(k):
                # One that was attached again may be behind those it feeds.
                both = cells[UPSTREAM + k] >> other & 1 and cells[ATTACHED] >> other & 1
                assert not both or cells[ATTACHES] or gate <= cells[GATE + other * STRIDE]
