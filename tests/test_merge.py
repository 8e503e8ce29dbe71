"""Which of several rings is next, against sorting and against counting turns."""

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import merge as merges
from ultra.hot import ring as rings
from ultra.wire import NONE, RECORD


@loop
def put(ring: Any, ts: int) -> bool:
    slot = rings.claim(ring)
    if slot < 0:
        return False
    ring.slots[slot].ts_event = ts
    rings.publish(ring, 1)
    return True


@loop
def take_earliest(inputs: Any, out: Any) -> int:
    k = merges.earliest(inputs)
    if k >= 0:
        out[0] = inputs[k].slots[rings.polled(inputs[k], 0)].ts_event
        rings.release(inputs[k], 1)
    return k


@loop
def take_in_turn(inputs: Any, last: int, out: Any) -> int:
    k = merges.in_turn(inputs, last)
    if k >= 0:
        out[0] = inputs[k].slots[rings.polled(inputs[k], 0)].ts_event
        rings.release(inputs[k], 1)
    return k


# A ring to put a time into; -1 takes the earliest, -2 whose turn it is.
STEPS = st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 5)), min_size=40, max_size=80)


@given(STEPS)
def test_the_earliest_head_comes_first_and_turns_are_kept(steps: list[tuple[int, int]]) -> None:
    inputs, twins, out, last = (
        tuple(rings.create(RECORD, 4) for _ in range(3)),
        [deque[int]() for _ in range(3)],
        column([0]),
        NONE,
    )
    for what, ts in steps:
        filled = [k for k in range(3) if twins[k]]
        if what >= 0:
            assert put(inputs[what], ts) == (len(twins[what]) < 4)
            if len(twins[what]) < 4:
                twins[what].append(ts)
            continue
        if what == -1:
            expected = min(filled, key=lambda k: (twins[k][0], k), default=NONE)
            found = take_earliest(inputs, out)
        else:
            expected = min(filled, key=lambda k: (k - last - 1) % 3, default=NONE)
            found = take_in_turn(inputs, last, out)
            last = found if found != NONE else last
        assert found == expected
        if found != NONE:
            assert out[0] == twins[found].popleft()
        for ring in inputs:
            rings.check(ring)


def test_a_ring_that_is_always_full_starves_nobody() -> None:
    inputs, out, last, served = tuple(rings.create(RECORD, 2) for _ in range(3)), column([0]), NONE, []
    for ts in range(30):
        while put(inputs[1], ts):
            pass
        if ts % 5 == 0:
            put(inputs[2], ts)
        last = take_in_turn(inputs, last, out)
        served.append(last)
    assert served.count(2) == 6 and served.count(1) == 24 and served.count(0) == 0
