"""Which messages of a numbered stream have come, and those that came too early, until the ones before them are there.

`NEXT` is the message that is delivered next, `HIGHEST` one past the last that is known to exist. A message at or ahead
of NEXT has the slot `sequence & (capacity - 1)`, which is no other's while NEXT <= sequence < NEXT + capacity; it is
held when its `lengths` is not 0. Whoever delivers takes messages in order, from a packet or from here, and says so
(`passed`). In a stream without a gap NEXT = HIGHEST and nothing here is touched but those two numbers.
Always true: `HELD` slots are held, all of them in NEXT .. HIGHEST - 1, and every arrival is counted once, as delivered,
duplicate, held, beyond or too long.
Known bad case: a message further ahead than `capacity`, or longer than `stride`, is not kept; it has to be asked for
again when its turn comes.
"""

from typing import Any, NamedTuple

import numpy as np

from ..hot import histogram as histograms
from ..hot import hot, memory
from ..hot.atomics import Cells
from ..hot.bits import load_u16

NEXT, HIGHEST, HELD, DELIVERED, DUPLICATES, BEYOND, TOO_LONG, GAPS, MISSING, ARRIVED = range(10)
# What became of an early message.
KEPT, AGAIN, TOO_FAR, TOO_WIDE = range(4)


class Window(NamedTuple):
    """What is known ahead of the next message."""

    block: Any  # uint8[capacity * stride]: each message with its length before it
    lengths: Cells  # int64[capacity]: bytes in the slot, with those two; 0 = not here
    times: Cells  # int64[capacity]: ns, when the kernel got it
    since: Cells  # int64[capacity]: ns, when it was found missing; 0 = it was not
    cells: Cells  # int64[16]
    recovery: histograms.Histogram  # ns from found missing to there, by message
    stride: int


def create(capacity: int, stride: int = 64) -> Window:
    """A window for `capacity` messages (a power of two) of at most `stride` bytes with their length; it waits for 1."""
    assert capacity > 0 and capacity & (capacity - 1) == 0, "capacity must be a power of two"
    assert stride > 2, "a message needs room"
    cells = np.zeros(16, np.int64)
    cells[NEXT] = cells[HIGHEST] = 1
    lengths, times, since = (np.zeros(capacity, np.int64) for _ in range(3))
    return Window(memory.zeros(capacity * stride, np.uint8), lengths, times, since, cells, histograms.create(), stride)


@hot
def slot_of(window: Window, sequence: int) -> int:
    """Its place."""
    return sequence & (len(window.lengths) - 1)


@hot
def missing(window: Window) -> int:
    """How many messages are known to exist and are not here."""
    cells = window.cells
    return cells[HIGHEST] - cells[NEXT] - cells[HELD]


@hot
def extend(window: Window, sequence: int, now: int) -> None:
    """All messages below `sequence` exist: those we had not heard of are missing since now (ns, > 0)."""
    cells = window.cells
    if sequence <= cells[HIGHEST]:
        return
    cells[GAPS] += 1
    cells[MISSING] += sequence - cells[HIGHEST]
    for k in range(cells[HIGHEST], min(sequence, cells[NEXT] + len(window.lengths))):
        window.since[slot_of(window, k)] = now
    cells[HIGHEST] = sequence


@hot
def hold(window: Window, buffer: Any, at: int, sequence: int, received: int, now: int) -> int:
    """Keep a message that is ahead (`sequence` > NEXT), the frame at `at`, until its turn. Returns what became of it.

    `received` and `now` are ns: when the kernel got it, and the caller's time."""
    cells = window.cells
    cells[ARRIVED] += 1
    slot = slot_of(window, sequence)
    if sequence >= cells[NEXT] + len(window.lengths):
        cells[BEYOND] += 1
        _lost(window, sequence, now)
        return TOO_FAR
    if sequence < cells[NEXT] or window.lengths[slot] != 0:
        cells[DUPLICATES] += 1
        return AGAIN
    length = 2 + load_u16(buffer, at)
    if length > window.stride:
        cells[TOO_LONG] += 1
        _lost(window, sequence, now)
        return TOO_WIDE
    for k in range(length):
        window.block[slot * window.stride + k] = buffer[at + k]
    window.lengths[slot], window.times[slot] = length, received
    cells[HELD] += 1
    cells[HIGHEST] = max(cells[HIGHEST], sequence + 1)
    _found(window, slot, now)
    return KEPT


@hot
def _lost(window: Window, sequence: int, now: int) -> None:
    """It came and could not be kept, so it is missing: not one more gap, but one more message."""
    if sequence >= window.cells[HIGHEST]:
        window.cells[GAPS] -= 1
        extend(window, sequence + 1, now)


@hot
def _found(window: Window, slot: int, now: int) -> None:
    if window.since[slot] != 0:
        histograms.record(window.recovery, now - window.since[slot])
        window.since[slot] = 0


@hot
def passed(window: Window, count: int, now: int) -> None:
    """The next `count` messages were delivered, straight from where they came."""
    cells = window.cells
    for sequence in range(cells[NEXT], min(cells[NEXT] + count, cells[HIGHEST])):
        slot = slot_of(window, sequence)
        if window.lengths[slot] != 0:  # it had come before, early
            window.lengths[slot] = 0
            cells[HELD] -= 1
            cells[DUPLICATES] += 1
        _found(window, slot, now)
    cells[ARRIVED] += count
    cells[DELIVERED] += count
    cells[NEXT] += count
    cells[HIGHEST] = max(cells[HIGHEST], cells[NEXT])


@hot
def head(window: Window) -> int:
    """The slot of the next message if it is held, else -1."""
    if window.cells[HELD] == 0:
        return -1
    slot = slot_of(window, window.cells[NEXT])
    return slot if window.lengths[slot] != 0 else -1


@hot
def pop(window: Window) -> None:
    """The next message, which was held, was delivered."""
    cells = window.cells
    window.lengths[slot_of(window, cells[NEXT])] = 0
    cells[HELD] -= 1
    cells[DELIVERED] += 1
    cells[NEXT] += 1


@hot
def hole(window: Window, sequence: int) -> int:
    """The first message from `sequence` on that is missing and has a slot; if none, one past those that could be."""
    end = min(window.cells[HIGHEST], window.cells[NEXT] + len(window.lengths))
    while sequence < end and window.lengths[slot_of(window, sequence)] != 0:
        sequence += 1
    return sequence


@hot
def hole_end(window: Window, sequence: int, most: int) -> int:
    """One past the last of at most `most` missing messages in a row from `sequence` on."""
    end = min(window.cells[HIGHEST], window.cells[NEXT] + len(window.lengths), sequence + most)
    while sequence < end and window.lengths[slot_of(window, sequence)] == 0:
        sequence += 1
    return sequence


@hot
def wanted(window: Window, first: int, end: int, now: int) -> None:
    """Messages first .. end - 1 are missing, and are asked for: since now at the latest."""
    for sequence in range(first, end):
        slot = slot_of(window, sequence)
        if window.since[slot] == 0:
            window.since[slot] = now


def check(window: Window) -> None:
    """The invariant, for tests."""
    cells, capacity = window.cells, len(window.lengths)
    assert 1 <= cells[NEXT] <= cells[HIGHEST]
    ahead = range(int(cells[NEXT]), min(int(cells[HIGHEST]), int(cells[NEXT]) + capacity))
    held = [sequence for sequence in ahead if window.lengths[sequence % capacity]]
    assert len(held) == cells[HELD] == (window.lengths != 0).sum()
    assert all(window.since[sequence % capacity] == 0 for sequence in held), "what is here is not missing"
    assert (window.since != 0).sum() <= len(ahead) - len(held)
    assert (window.lengths <= window.stride).all() and (window.lengths >= 0).all()
    counted = cells[DELIVERED] + cells[HELD] + cells[DUPLICATES] + cells[BEYOND] + cells[TOO_LONG]
    assert counted == cells[ARRIVED]
