"""The pool against a list: which slot comes next, which handles are live, and that nothing is given back twice."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import pool as pools
from ultra.hot.pool import NO_SLOT

ACQUIRE, GIVE_BACK, LOOK_UP, TAKE, PUT = range(5)
GENERATION_MAX = (1 << 30) - 1


@loop
def apply(pool: Any, what: int, argument: int) -> int:
    if what == ACQUIRE:
        return pools.acquire(pool)
    if what == GIVE_BACK:
        return int(pools.give_back(pool, argument))
    if what == LOOK_UP:
        return pools.slot_of(pool, argument)
    if what == TAKE:
        return pools.take(pool)
    pools.put(pool, argument)
    return 0


class Twin:
    """Free slots as a stack over the slots never used; live handles as a set."""

    def __init__(self, capacity: int) -> None:
        self.stack = list(reversed(range(capacity)))
        self.live: dict[int, int] = {}
        self.counts = {pools.STALE: 0, pools.EXHAUSTED: 0, pools.FRESH: 0}

    def acquired(self, handle: int) -> None:
        if not self.stack:
            assert handle == NO_SLOT
            self.counts[pools.EXHAUSTED] += 1
            return
        assert handle > 0 and handle not in self.live
        self.live[handle] = self.stack.pop()
        assert handle & 0xFFFFFFFF == self.live[handle]
        self.counts[pools.FRESH] = max(self.counts[pools.FRESH], len(self.live))

    def looked_up(self, handle: int) -> int:
        if handle not in self.live:
            self.counts[pools.STALE] += 1
        return self.live.get(handle, NO_SLOT)

    def given_back(self, handle: int) -> int:
        slot = self.looked_up(handle)
        if slot != NO_SLOT:
            self.stack.append(self.live.pop(handle))
        return int(slot != NO_SLOT)


def strangers(handle: int) -> list[int]:
    """Handles that look like one that was handed out, and are not."""
    near = [handle ^ 1 << bit for bit in (31, 32, 62)] + [handle + (2 << 32), handle - (2 << 32), -handle]
    return [*near, handle & 0xFFFFFFFF, 0, -1, (1 << 63) - 1, -(1 << 63), 1 << 32, 99 | 1 << 32]


STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1 << 16)), min_size=30, max_size=60)


@given(st.integers(1, 4), STEPS)
def test_a_pool_behaves_as_a_stack_of_free_slots(capacity: int, steps: list[tuple[int, int]]) -> None:
    pool, twin, seen = pools.create(capacity), Twin(capacity), [1 << 32]
    for what, pick in steps:
        handle = seen[pick % len(seen)]
        if what <= 1:
            seen.append(apply(pool, ACQUIRE, 0))
            twin.acquired(seen[-1])
        elif what == 2:
            assert apply(pool, GIVE_BACK, handle) == twin.given_back(handle)
        else:
            handle = handle if what == 3 else strangers(handle)[pick % 13]
            assert apply(pool, LOOK_UP, handle) == twin.looked_up(handle)
        pools.check(pool)
        assert int(pool.cells[pools.FRESH] - pool.cells[pools.FREE]) == len(twin.live)
        assert {cell: int(pool.cells[cell]) for cell in twin.counts} == twin.counts
    for handle in seen:
        assert apply(pool, LOOK_UP, handle) == twin.looked_up(handle)


def test_only_the_newest_handle_of_a_slot_is_live() -> None:
    pool = pools.create(1)
    handles = []
    for _ in range(5):
        handles.append(apply(pool, ACQUIRE, 0))
        assert [apply(pool, LOOK_UP, handle) for handle in handles] == [NO_SLOT] * (len(handles) - 1) + [0]
        assert apply(pool, GIVE_BACK, handles[-1]) == 1
        assert apply(pool, GIVE_BACK, handles[-1]) == 0
    assert len(set(handles)) == 5


def test_generations_wrap_to_a_valid_handle() -> None:
    pool = pools.create(1)
    pool.generation[0] = GENERATION_MAX - 1
    last = apply(pool, ACQUIRE, 0)
    assert last >> 32 == GENERATION_MAX and apply(pool, LOOK_UP, last) == 0
    apply(pool, GIVE_BACK, last)
    pools.check(pool)
    first = apply(pool, ACQUIRE, 0)
    assert first >> 32 == 1 and apply(pool, LOOK_UP, first) == 0 and apply(pool, LOOK_UP, last) == NO_SLOT


@given(st.lists(st.booleans(), min_size=20, max_size=60))
def test_bare_slots_come_back_last_in_first_out(takes: list[bool]) -> None:
    pool, free, live = pools.create(3, tagged=False), [2, 1, 0], []
    for take in takes:
        if take:
            expected = free.pop() if free else NO_SLOT
            assert apply(pool, TAKE, 0) == expected
            live += [expected] if expected != NO_SLOT else []
        elif live:
            slot = live.pop(len(live) // 2)
            apply(pool, PUT, slot)
            free.append(slot)
        pools.check(pool)
    assert (
        column(live).size == int(pool.cells[pools.FRESH] - pool.cells[pools.FREE]) and pool.generation.dtype == np.int32
    )
