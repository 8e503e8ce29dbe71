"""The crowd against lists, holes and all; then between threads that race for the same slots."""

import os
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import crowd as crowds
from ultra.hot.atomics import pause
from ultra.wire import ADD, NONE, RECORD, RING_FULL

CLAIM, PUBLISH, READY, RELEASE, POLL = range(5)


@loop
def apply(crowd: Any, what: int, p: int, count: int, first: int, out: Any) -> int:
    if what == CLAIM:
        return crowds.claim(crowd, p, count)
    if what == READY:
        return crowds.ready(crowd)
    if what == POLL:
        return crowds.poll(crowd)
    for offset in range(count):
        if what == PUBLISH:
            record = crowd.slots[crowds.slot_of(crowd, first + offset)]
            record.kind, record.aux = ADD, first + offset
        else:
            record = crowd.slots[crowds.polled(crowd, offset)]
            out[offset] = record.aux if record.kind != 0 else NONE
    if what == PUBLISH:
        crowds.publish(crowd, first, count)
    else:
        crowds.release(crowd, count)
    return count


# What, which producer, how many. Publishing takes the producer's claim; a third kind of end is its death.
DIE = 5
STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(1, 4)), min_size=40, max_size=80)


@given(st.sampled_from((1, 2, 4, 8)), STEPS)
def test_a_crowd_behaves_as_one_list_of_claims(capacity: int, steps: list[tuple[int, int, int]]) -> None:
    crowd, out = crowds.create(RECORD, capacity), np.zeros(8, np.int64)
    claims: dict[int, tuple[int, int]] = {}  # of each producer that holds one
    content: list[int | None] = []  # by sequence: claimed, then a value or a hole that was filled
    gate = full = filled = 0
    for what, p, count in steps:
        run = next((n for n, value in enumerate(content[gate:]) if value is None), len(content) - gate)
        if what == CLAIM and p not in claims:
            found = apply(crowd, CLAIM, p, count, 0, out)
            fits = len(content) + count - gate <= capacity
            assert found == (len(content) if fits else NONE)
            full += not fits
            if fits:
                claims[p] = found, count
                content += [None] * count
        elif what == PUBLISH and p in claims:
            first, count = claims.pop(p)
            apply(crowd, PUBLISH, p, count, first, out)
            content[first : first + count] = range(first, first + count)
        elif what == DIE and p in claims:
            first, count = claims.pop(p)
            for sequence in range(first, first + count):
                assert crowds.holder(crowd, sequence) == p
                assert crowds.fill_hole(crowd, sequence) and not crowds.fill_hole(crowd, sequence)
                content[sequence] = NONE
            filled += count
        elif what in (READY, RELEASE):
            found = apply(crowd, READY, 0, 0, 0, out)
            assert min(run, 1) <= found <= run
            if what == RELEASE:
                count = apply(crowd, RELEASE, 0, min(count, found), 0, out)
                assert out[:count].tolist() == content[gate : gate + count]
                gate += count
        elif what == POLL:
            assert apply(crowd, POLL, 0, 0, 0, out) == (gate % capacity if run else NONE)
        crowds.check(crowd)
        cells = crowd.cells
        assert (cells[crowds.CURSOR], cells[crowds.GATE]) == (len(content), gate)
        assert (cells[RING_FULL], cells[crowds.FILLED]) == (full, filled)
        holes = [sequence for sequence in range(gate, len(content)) if content[sequence] is None]
        assert crowds.hole(crowd) == (holes[0] if holes else NONE) and crowds.lag(crowd) == len(content) - gate


def test_a_producer_that_dies_with_a_claim_stops_the_consumer_until_its_hole_is_filled() -> None:
    crowd, out = crowds.create(RECORD, 8), column([0] * 8)
    assert apply(crowd, CLAIM, 3, 2, 0, out) == 0 and apply(crowd, CLAIM, 5, 2, 0, out) == 2
    apply(crowd, PUBLISH, 5, 2, 2, out)
    assert apply(crowd, READY, 0, 0, 0, out) == 0
    while (sequence := crowds.hole(crowd)) != NONE and crowds.holder(crowd, sequence) == 3:
        assert crowds.fill_hole(crowd, sequence)
    assert apply(crowd, READY, 0, 0, 0, out) == 4
    apply(crowd, RELEASE, 0, 4, 0, out)
    assert out[:4].tolist() == [NONE, NONE, 2, 3] and crowd.cells[crowds.FILLED] == 2
    assert not crowds.fill_hole(crowd, 1) and not crowds.fill_hole(crowd, 4), "read, and not claimed"


def test_a_claim_of_more_than_there_is_room_for_changes_nothing() -> None:
    crowd, out = crowds.create(RECORD, 4), column([0] * 8)
    assert apply(crowd, CLAIM, 0, 5, 0, out) == NONE and apply(crowd, CLAIM, 0, 3, 0, out) == 0
    assert apply(crowd, CLAIM, 1, 2, 0, out) == NONE and apply(crowd, CLAIM, 1, 1, 0, out) == 3
    assert crowd.cells[RING_FULL] == 2 and crowd.cells[crowds.CURSOR] == 4


@pytest.mark.parametrize("capacity", [0, 3, 6, -2])
def test_a_capacity_that_is_no_power_of_two_is_refused(capacity: int) -> None:
    with pytest.raises(AssertionError):
        crowds.create(RECORD, capacity)


def test_two_views_of_one_buffer_are_one_crowd() -> None:
    buffer, out = bytearray(crowds.size_bytes(RECORD, 4)), column([0] * 8)
    here, there = crowds.over(buffer, RECORD, 4), crowds.over(buffer, RECORD, 4)
    crowds.configure(here)
    for lap in range(5):
        first = apply(here, CLAIM, 1, 3, 0, out)
        assert first == 3 * lap
        apply(here, PUBLISH, 1, 3, first, out)
        assert apply(there, READY, 0, 0, 0, out) == 3
        apply(there, RELEASE, 0, 3, 0, out)
        assert out[:3].tolist() == [first, first + 1, first + 2]
        crowds.check(there)


PATIENCE = 1_000  # spins before a thread goes back to Python and lets others have the core


@loop
def produce(crowd: Any, p: int, at: int, end: int, batch: int) -> int:
    """Publish numbers `at` .. `end` of producer p; returns the number reached, at the end or out of patience."""
    spins = 0
    while at < end and spins < PATIENCE:
        wanted = min(batch, end - at)
        first = crowds.claim(crowd, p, wanted)
        if first < 0:
            pause()
            spins += 1
            continue
        spins = 0
        for offset in range(wanted):
            record = crowd.slots[crowds.slot_of(crowd, first + offset)]
            record.kind, record.instrument = ADD, p
            record.sequence, record.order_id, record.aux = at + offset, ~(at + offset), first
        crowds.publish(crowd, first, wanted)
        at += wanted
    return at


@loop
def consume(crowd: Any, expected: Any, wrong: Any) -> int:
    """Read until out of patience; returns how many."""
    spins, seen = 0, 0
    while spins < PATIENCE:
        waiting = crowds.ready(crowd)
        if waiting == 0:
            pause()
            spins += 1
            continue
        for offset in range(waiting):
            record = crowd.slots[crowds.polled(crowd, offset)]
            if record.sequence != expected[record.instrument] or record.order_id != ~record.sequence:
                wrong[0] += 1
            expected[record.instrument] += 1
        crowds.release(crowd, waiting)
        seen += waiting
    return seen


@pytest.mark.jit_only
@pytest.mark.parametrize(("capacity", "batch", "count"), [(2, 1, 10_000), (8, 3, 50_000), (1024, 16, 500_000)])
def test_racing_producers_lose_nothing_and_keep_their_own_order(capacity: int, batch: int, count: int) -> None:
    crowd, expected, wrong, reached = crowds.create(RECORD, capacity), column([0] * 8), column([0]), [0] * 3
    cores = sorted(os.sched_getaffinity(0))

    def producer(p: int) -> None:
        os.sched_setaffinity(0, {cores[p % len(cores)]})
        while reached[p] < count:
            reached[p] = produce(crowd, p, reached[p], count, batch)
            os.sched_yield()

    threads = [threading.Thread(target=producer, args=(p,)) for p in range(3)]
    for thread in threads:
        thread.start()
    seen = 0
    while seen < 3 * count:
        seen += consume(crowd, expected, wrong)
        os.sched_yield()
    for thread in threads:
        thread.join()
    assert expected.tolist() == [count] * 3 + [0] * 5 and wrong[0] == 0
    crowds.check(crowd)
