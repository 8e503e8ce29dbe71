"""The ladder against sorted lists of prices, with a handful of pages, so that sweeps and refusals are common.

The twin also models which pages and inner nodes are in use: a refusal must come exactly when there is no room.
"""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import ladder as ladders
from ultra.hot.ladder import BAD_PRICE, HEIGHT, KEY_MAX, NO_ROOM, OFF_STEP
from ultra.wire import NONE

ADD, REMOVE, WALK, LOOK = range(4)
STEP = 5
# Neighbours across every kind of border: a bit, a page, an inner node of each height, and the last key of all.
KEYS = [1, 2, 62, 63, 64, 65, 127, 128, 4095, 4096, 1 << 18, (1 << 24) - 1, 1 << 30, KEY_MAX - 64, KEY_MAX - 1]
BAD = [-STEP, 0, STEP * KEY_MAX, STEP * KEY_MAX + STEP, 1 << 62, ladders.NO_PAGE + STEP, ladders.NO_PAGE]


@loop
def apply(ladder: Any, what: int, s: int, price: int, out: Any) -> int:
    if what == LOOK:
        return ladders.level_at(ladder, s, price)
    if what == WALK:
        level, count = np.int64(ladder.sides[s].level), 0
        while level >= 0:
            out[count] = ladders.price_of(ladder, s, level)
            count += 1
            level = ladders.worse(ladder, s, level)
        return count
    level = ladders.locate(ladder, s, price)
    if level < 0:
        return level
    if what == ADD and ladder.levels[level].qty == 0:
        ladder.levels[level].qty = 1
        ladders.occupy(ladder, s, level, price, True)
    elif what == REMOVE and ladder.levels[level].qty > 0:
        ladder.levels[level].qty = 0
        ladders.vacate(ladder, s, level, True)
    return level


class Twin:
    """Occupied keys of each side, mapped pages (kept when empty, until a sweep), and inner nodes (kept for ever)."""

    def __init__(self, sides: int, page_max: int, inner_max: int) -> None:
        self.keys: list[set[int]] = [set() for _ in range(sides)]
        self.pages: set[tuple[int, int]] = set()
        self.inner: set[tuple[int, int, int]] = set()
        self.page_max, self.inner_max, self.swept, self.barren = page_max, inner_max, 0, False

    def locate(self, s: int, price: int) -> int:
        key, off = divmod(price, STEP)
        if price <= 0 or (key >= KEY_MAX and not off):
            return BAD_PRICE
        if off:
            return OFF_STEP
        if (s, key >> 6) in self.pages:
            return 0
        if len(self.pages) == self.page_max and not self.barren:
            self.pages = {(side, k >> 6) for side, keys in enumerate(self.keys) for k in keys}
            self.swept += 1
            self.barren = len(self.pages) == self.page_max
        if len(self.pages) == self.page_max or self.inner_max - len(self.inner) < HEIGHT:
            return NO_ROOM
        self.pages.add((s, key >> 6))
        self.inner |= {(s, height, key >> 6 * (height + 1)) for height in range(1, HEIGHT)}
        return 0

    def apply(self, what: int, s: int, price: int) -> int:
        outcome = self.locate(s, price)
        key = price // STEP
        if outcome == 0 and what == ADD:
            self.keys[s].add(key)
        elif outcome == 0 and key in self.keys[s]:
            self.keys[s].remove(key)
            if all(k >> 6 != key >> 6 for k in self.keys[s]):
                self.barren = False  # a page has emptied: a sweep is worth while again
        return outcome

    def walk(self, s: int) -> list[int]:
        return [key * STEP for key in sorted(self.keys[s], reverse=s & 1 == 0)]


def agree(ladder: Any, twin: Twin) -> None:
    ladders.check(ladder)
    assert int(ladder.cells[ladders.SWEPT]) == twin.swept
    out = np.zeros(len(KEYS) + 1, np.int64)
    for s, side in enumerate(ladder.sides):
        prices = twin.walk(s)
        assert out[: apply(ladder, WALK, s, 0, out)].tolist() == prices
        assert int(side.price) == (prices[0] if prices else NONE) and int(side.levels) == len(prices)


STEPS = st.lists(
    st.tuples(
        st.sampled_from((ADD, ADD, ADD, REMOVE, REMOVE, LOOK)),
        st.integers(0, 3),
        st.sampled_from(KEYS),
        st.integers(0, 28 + len(BAD)),
    ),
    min_size=40,
    max_size=60,
)


@given(st.integers(1, 9), st.sampled_from((11, 17, 99)), STEPS)
def test_a_ladder_behaves_as_sorted_lists(page_max: int, inner: int, steps: list[tuple[int, int, int, int]]) -> None:
    made = ladders.create(2, page_max, STEP)
    inner_max = min(inner, len(made.inner.free))
    ladder = made._replace(inner=made.inner._replace(free=made.inner.free[:inner_max]))
    twin, out = Twin(4, page_max, inner_max), column([0])
    for what, s, key, odd in steps:
        price = BAD[odd - 29] if odd > 28 else key * STEP + (odd == 28)
        if what == LOOK:
            known = 0 < price < STEP * KEY_MAX and (s, price // STEP >> 6) in twin.pages and price % STEP == 0
            assert (apply(ladder, LOOK, s, price, out) >= 0) == known
        else:
            assert min(apply(ladder, what, s, price, out), 0) == twin.apply(what, s, price)
        agree(ladder, twin)


def test_the_levels_of_two_sides_are_never_shared() -> None:
    ladder, out = ladders.create(2, 8, STEP), column([0])
    levels = [apply(ladder, ADD, s, 10 * STEP, out) for s in range(4)]
    assert len(set(levels)) == 4 and min(levels) >= 0


def test_pages_that_emptied_are_swept_back_when_none_is_left() -> None:
    ladder, out = ladders.create(1, 2, STEP), column([0])
    far = [k * 64 * STEP + STEP for k in range(4)]
    assert apply(ladder, ADD, 0, far[0], out) >= 0 and apply(ladder, ADD, 0, far[1], out) >= 0
    assert apply(ladder, ADD, 0, far[2], out) == NO_ROOM
    apply(ladder, REMOVE, 0, far[0], out)
    assert apply(ladder, ADD, 0, far[2], out) >= 0
    assert int(ladder.cells[ladders.SWEPT]) == 2 and apply(ladder, LOOK, 0, far[0], out) == NONE
    ladders.check(ladder)


def test_a_side_forgets_the_page_that_a_sweep_took() -> None:
    """The side remembers the page used last; swept and handed to the other side, it must not be written again."""
    ladder, out = ladders.create(1, 1, STEP), column([0])
    apply(ladder, ADD, 0, STEP, out)
    apply(ladder, REMOVE, 0, STEP, out)
    assert apply(ladder, ADD, 1, STEP, out) >= 0
    assert apply(ladder, ADD, 0, STEP, out) == NO_ROOM
    ladders.check(ladder)
