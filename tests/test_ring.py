"""The ring against a deque, then between two threads that race: every record once, in order, and whole."""

import os
import threading
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import ring as rings
from ultra.hot.atomics import pause
from ultra.wire import NONE, RECORD

ROOM, CLAIM, PUBLISH, READY, POLL, RELEASE = range(6)


@loop
def apply(ring: Any, what: int, count: int, value: int, out: Any) -> int:
    if what == ROOM:
        return rings.room(ring, count)
    if what == CLAIM:
        return rings.claim(ring)
    if what == READY:
        return rings.ready(ring)
    if what == POLL:
        return rings.poll(ring)
    for offset in range(count):
        if what == PUBLISH:
            ring.slots[rings.claimed(ring, offset)].aux = value + offset
        else:
            out[offset] = ring.slots[rings.polled(ring, offset)].aux
    if what == PUBLISH:
        rings.publish(ring, count)
    else:
        rings.release(ring, count)
    return count


STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8)), min_size=40, max_size=80)


@given(st.sampled_from((1, 2, 4, 8)), STEPS)
def test_a_ring_behaves_as_a_bounded_deque(capacity: int, steps: list[tuple[int, int]]) -> None:
    ring, twin, published, released, full = rings.create(RECORD, capacity), deque[int](), 0, 0, 0
    out = np.zeros(8, np.int64)
    for what, count in steps:
        free = capacity - len(twin)
        if what == PUBLISH:
            # As a producer does: no more than it was told there is room for.
            found = apply(ring, ROOM, count, 0, out)
            full += found < count
            count = min(count, found)
            apply(ring, PUBLISH, count, published, out)
            twin.extend(range(published, published + count))
            published += count
        elif what == RELEASE:
            count = min(count, apply(ring, READY, 0, 0, out))
            apply(ring, RELEASE, count, 0, out)
            assert out[:count].tolist() == [twin.popleft() for _ in range(count)]
            released += count
        elif what == ROOM:
            found = apply(ring, ROOM, count, 0, out)
            assert found == free if found < count else found <= free
            full += found < count
        elif what == READY:
            assert 0 <= apply(ring, READY, 0, 0, out) <= len(twin)
            assert (apply(ring, READY, 0, 0, out) > 0) == bool(twin)
        elif what == CLAIM:
            assert apply(ring, CLAIM, 0, 0, out) == (published % capacity if free else NONE)
            full += not free
        else:
            assert apply(ring, POLL, 0, 0, out) == (released % capacity if twin else NONE)
        rings.check(ring)
        cells = (ring.cells[rings.CURSOR], ring.cells[rings.GATE], ring.cells[rings.FULL])
        assert cells == (published, released, full)


def test_what_was_claimed_is_not_seen_before_it_is_published() -> None:
    ring, out = rings.create(RECORD, 4), column([0] * 4)
    assert apply(ring, ROOM, 4, 0, out) == 4 and apply(ring, CLAIM, 0, 0, out) == 0
    ring.slots[0].aux = 7
    assert apply(ring, READY, 0, 0, out) == 0 and apply(ring, POLL, 0, 0, out) == NONE
    apply(ring, PUBLISH, 1, 7, out)
    assert apply(ring, READY, 0, 0, out) == 1


@pytest.mark.parametrize("capacity", [0, 3, 6, -2])
def test_a_capacity_that_is_no_power_of_two_is_refused(capacity: int) -> None:
    with pytest.raises(AssertionError):
        rings.create(RECORD, capacity)


def test_two_views_of_one_buffer_are_one_ring() -> None:
    buffer, out = bytearray(rings.size_bytes(RECORD, 4)), column([0] * 4)
    here, there = rings.over(buffer, RECORD, 4), rings.over(buffer, RECORD, 4)
    for lap in range(5):
        assert apply(here, ROOM, 3, 0, out) >= 3
        apply(here, PUBLISH, 3, 10 * lap, out)
        assert apply(there, READY, 0, 0, out) == 3
        apply(there, RELEASE, 3, 0, out)
        assert out[:3].tolist() == [10 * lap, 10 * lap + 1, 10 * lap + 2]
        rings.check(here)


PATIENCE = 1_000  # spins before a thread goes back to Python and lets others have the core


@loop
def produce(ring: Any, at: int, end: int, batch: int) -> int:
    """Publish records `at` .. `end` in batches; returns the number reached, at the end or out of patience."""
    spins = 0
    while at < end and spins < PATIENCE:
        wanted = min(batch, end - at)
        if rings.room(ring, wanted) < wanted:
            pause()
            spins += 1
            continue
        spins = 0
        for offset in range(wanted):
            record = ring.slots[rings.claimed(ring, offset)]
            record.sequence = at + offset
            record.order_id = ~(at + offset)
            record.aux = (at + offset) * 3
        rings.publish(ring, wanted)
        at += wanted
    return at


@loop
def consume(ring: Any, at: int, end: int, wrong: Any) -> int:
    spins = 0
    while at < end and spins < PATIENCE:
        waiting = rings.ready(ring)
        if waiting == 0:
            pause()
            spins += 1
            continue
        spins = 0
        for offset in range(waiting):
            record = ring.slots[rings.polled(ring, offset)]
            whole = record.order_id == ~record.sequence and record.aux == record.sequence * 3
            if record.sequence != at + offset or not whole:
                wrong[0] += 1
        rings.release(ring, waiting)
        at += waiting
    return at


@pytest.mark.jit_only
@pytest.mark.parametrize(
    ("capacity", "batch", "count"), [(1, 1, 20_000), (2, 2, 50_000), (8, 3, 200_000), (1024, 16, 3_000_000)]
)
def test_two_threads_hand_over_every_record_once_and_in_order(capacity: int, batch: int, count: int) -> None:
    ring, wrong, reached = rings.create(RECORD, capacity), column([0]), [0]

    cores = sorted(os.sched_getaffinity(0))

    def producer() -> None:
        os.sched_setaffinity(0, {cores[-1]})  # this thread only: on one core they would take turns, not race
        while reached[0] < count:
            reached[0] = produce(ring, reached[0], count, batch)
            os.sched_yield()

    thread = threading.Thread(target=producer)
    thread.start()
    os.sched_setaffinity(0, {cores[0]})
    at = 0
    while at < count:
        at = consume(ring, at, count, wrong)
        os.sched_yield()
    os.sched_setaffinity(0, cores)
    thread.join()
    assert (at, reached[0], int(wrong[0])) == (count, count, 0)
    rings.check(ring)
