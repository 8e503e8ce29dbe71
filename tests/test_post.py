"""The post against a deque, step by step, and what its slots say of themselves before they are published."""

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import post as posts
from ultra.hot import ring as rings
from ultra.wire import NONE, RECORD, REQUEST

PUT, PEEK, TAKE = range(3)


@loop
def apply(post: Any, what: int, value: int) -> int:
    """PUT: the slot, or NONE; PEEK: the oldest slot, or NONE; TAKE: its value, or NONE."""
    if what == PUT:
        slot = posts.claim(post)
        if slot != NONE:
            post.slots[slot].aux = value
            posts.publish(post)
        return slot
    slot = posts.poll(post)
    if what == PEEK or slot == NONE:
        return slot
    found = post.slots[slot].aux
    posts.release(post)
    return found


@pytest.mark.parametrize("dtype", [RECORD, REQUEST])
@given(capacity=st.sampled_from((1, 2, 4, 8)), steps=st.lists(st.integers(0, 2), min_size=40, max_size=120))
def test_a_post_behaves_as_a_bounded_deque(dtype: Any, capacity: int, steps: list[int]) -> None:
    post, twin, put, taken, full = posts.create(dtype, capacity), deque[int](), 0, 0, 0
    for what in steps:
        found = apply(post, what, put + 100)
        if what == PUT:
            free = len(twin) < capacity
            assert found == (put % capacity if free else NONE)
            twin.extend([put + 100] * free)
            put, full = put + free, full + (not free)
        elif what == PEEK:
            assert found == (taken % capacity if twin else NONE)
        else:
            taken += bool(twin)
            assert found == (twin.popleft() if twin else NONE)
        posts.check(post)
        assert post.cells[posts.FULL] == full and post.cells[posts.CURSOR] == put


def test_what_is_not_published_is_not_seen() -> None:
    post = posts.create(RECORD, 2)
    for value in range(7):
        slot = value % 2
        post.slots[slot].aux = value
        assert apply(post, PEEK, 0) == NONE, "filled, but not published"
        assert apply(post, PUT, value) == slot and apply(post, TAKE, 0) == value
        assert apply(post, PEEK, 0) == NONE, "of the lap before"


def test_a_post_lies_as_a_ring_does() -> None:
    """So that a segment holds it, and whoever watches rings can watch it."""
    buffer = bytearray(rings.size_bytes(RECORD, 4))
    post, ring = posts.over(buffer, RECORD, 4), rings.over(buffer, RECORD, 4)
    for value in range(3):
        apply(post, PUT, value)
    assert apply(posts.over(buffer, RECORD, 4), TAKE, 0) == 0
    assert (ring.cells[rings.CURSOR], ring.cells[rings.GATE]) == (3, 1) and ring.slots.aux.tolist()[:3] == [0, 1, 2]
    assert ring.slots.sequence.tolist()[:3] == [1, 2, 3]


@pytest.mark.parametrize("capacity", [0, 3, -1])
def test_a_capacity_is_a_power_of_two(capacity: int) -> None:
    with pytest.raises(AssertionError):
        posts.create(RECORD, capacity)
