"""Occupied price levels of every book, in price order: who is best, and who is next.

A price divided by its instrument's step is a key of 36 bits. The low 6 bits are a bit in a leaf page of 64 levels;
every further 6 bits are a bit in an inner node above it. One table finds any node from (side, height, prefix), so a
price reaches its page in one look-up, and most prices in none: a side remembers the page it used last. A node's bit
is set in its parent exactly while the node is not empty, so the next occupied level is found in a handful of steps.

Pages stay mapped when they empty; when none is left, the empty ones are swept back. Known bad cases: that sweep is
O(pages), and a price off the step refines the step and moves every level of its instrument (counted).
"""

from typing import Any, NamedTuple

import numpy as np

from ..wire import BID, NONE
from . import hot, memory, rare
from . import pool as pools
from . import table as tables
from .atomics import Cells
from .bits import above, below, highest, lowest, with_bit, without_bit

HEIGHT = 6  # 6 x 6 = 36 bits of key
KEY_MAX = 1 << (6 * HEIGHT)
# Node key: tag | side << 40 | height << 36 | prefix
TAG, SIDE_SHIFT, HEIGHT_SHIFT = 1 << 62, 40, 36
PREFIX = (1 << HEIGHT_SHIFT) - 1
NO_ROOM, BAD_PRICE, OFF_STEP = -1, -2, -3
NO_PAGE = -(1 << 48)  # further below every price than a page is wide; a price minus it fits int64
WHOLE = 0  # of SIDE.pad
SWEPT, REFINED, BARREN = 0, 1, 2  # cells; BARREN: the last sweep found nothing, and no page has emptied since

SIDE = np.dtype(
    [
        ("price", "i8"),  # best price, NONE when the side is empty
        ("step", "i8"),  # price distance of two levels
        ("inverse", "i8"),  # 2^32 / step, rounded up: a division by the step as a multiplication
        ("page_price", "i8"),  # first price of the page used last, NO_PAGE
        ("page", "i4"),
        ("level", "i4"),  # best level, NONE when the side is empty
        ("levels", "i8"),  # how many are occupied
        ("pad", "i8", (2,)),  # pad[WHOLE] = 1: of a feed of whole levels, without orders
    ]
)
NODE = np.dtype([("bits", "i8"), ("key", "i8"), ("parent", "i4"), ("pad", "i4")])
LEVEL = np.dtype([("qty", "i8"), ("head", "i4"), ("tail", "i4")])


class Ladder(NamedTuple):
    """The levels of all books."""

    sides: Any  # SIDE[2 * instruments], index 2 * instrument + side
    levels: Any  # LEVEL[64 * pages]; level 64 * page + bit
    nodes: Any  # NODE[pages + inner nodes]; the first `pages` are the leaves
    directory: tables.Table  # node key -> node
    pages: pools.Pool
    inner: pools.Pool
    cells: Cells


def create(instruments: int, page_max: int, step: int) -> Ladder:
    """Room for so many instruments and pages; `step` is the first guess of every instrument's price step."""
    inner_max = page_max + 2 * HEIGHT * instruments
    sides = memory.zeros(2 * instruments, SIDE)
    sides.price, sides.level, sides.page_price = NONE, NONE, NO_PAGE
    sides.step, sides.inverse = step, (1 << 32) // step + 1
    capacity = 1 << (page_max + inner_max - 1).bit_length()
    return Ladder(
        sides,
        memory.zeros(64 * page_max, LEVEL),
        memory.zeros(page_max + inner_max, NODE),
        tables.create(max(16, capacity)),
        pools.create(page_max, tagged=False),
        pools.create(inner_max, tagged=False),
        np.zeros(8, np.int64),
    )


@hot
def locate(ladder: Ladder, s: int, price: int) -> int:
    """The level of a price on side `s` (its page is opened if need be), NO_ROOM, BAD_PRICE or OFF_STEP."""
    side = ladder.sides[s]
    step, offset = side.step, price - side.page_price
    if price <= 0:
        return BAD_PRICE
    if 0 <= offset < step * 64:
        # Exact for a step below 2^13; whatever it gives is multiplied back and compared.
        position = (offset * side.inverse) >> 32
        if position * step == offset:
            return np.int64(side.page) * 64 + position
    key = price // step
    if key * step != price:
        return OFF_STEP
    if key >= KEY_MAX:
        return BAD_PRICE
    page_key = TAG | (s << SIDE_SHIFT) | (key >> 6)
    page = tables.find(ladder.directory, page_key)
    if page < 0:
        page = open_page(ladder, page_key)
        if page < 0:
            return NO_ROOM
    side.page = page
    side.page_price = (key & ~63) * step
    return page * 64 + (key & 63)


@hot
def level_at(ladder: Ladder, s: int, price: int) -> int:
    """The level of a price if its page is mapped, else NONE. Changes nothing: for those who only look."""
    step = ladder.sides[s].step
    key = price // step
    if price <= 0 or key * step != price or key >= KEY_MAX:
        return NONE
    page = tables.find(ladder.directory, TAG | (s << SIDE_SHIFT) | (key >> 6))
    return page * 64 + (key & 63) if page >= 0 else NONE


@hot
def standing(ladder: Ladder, s: int, price: int) -> int:
    """The same, and quicker for a price of the page used last: a level that is there, or NONE."""
    side = ladder.sides[s]
    offset = price - side.page_price
    if price > 0 and 0 <= offset < side.step * 64:
        position = (offset * side.inverse) >> 32
        if position * side.step == offset:
            return np.int64(side.page) * 64 + position
    return far(ladder, s, price)


@rare
def far(ladder: Ladder, s: int, price: int) -> int:
    """`level_at`, called: a book of levels is of few pages, and the code of a look-up is not in everybody's way."""
    return level_at(ladder, s, price)


@hot
def ahead(ladder: Ladder, s: int, price: int) -> None:
    """Ask for the row that leads to a price off the page used last: one add in thirteen over 8,000 stocks."""
    tables.ahead(ladder.directory, TAG | (s << SIDE_SHIFT) | (price // ladder.sides[s].step >> 6))


@hot
def price_of(ladder: Ladder, s: int, level: int) -> int:
    """Price of a level of side `s`."""
    key = ((ladder.nodes[level >> 6].key & PREFIX) << 6) | (level & 63)
    return key * ladder.sides[s].step


@hot
def occupy(ladder: Ladder, s: int, level: int, price: int, first: bool) -> None:
    """An order joined the level; `first`: it was empty. No branch depends on `first`, which can't be predicted."""
    side = ladder.sides[s]
    node = level >> 6
    before = ladder.nodes[node].bits
    ladder.nodes[node].bits = with_bit(before, level & 63)
    side.levels += np.int64(first)
    best, best_level = side.price, np.int64(side.level)
    better = (best == NONE) | ((price > best) == ((s & 1) == BID))
    side.price = price if better else best
    side.level = level if better else best_level
    if before == 0:
        _climb(ladder, node, True)


@hot
def vacate(ladder: Ladder, s: int, level: int, last: bool) -> None:
    """An order left the level; `last`: it is empty now."""
    side = ladder.sides[s]
    node = level >> 6
    before = ladder.nodes[node].bits
    without = without_bit(before, level & 63)
    after = without if last else before
    ladder.nodes[node].bits = after
    side.levels -= np.int64(last)
    if last & (level == side.level):
        behind = worse(ladder, s, level)
        side.level = behind
        side.price = price_of(ladder, s, behind) if behind >= 0 else NONE
    if after == 0:
        ladder.cells[BARREN] = 0
        _climb(ladder, node, False)


@hot
def _climb(ladder: Ladder, node: int, occupied: bool) -> None:
    """A node has got its first bit, or lost its last: tell the nodes above, as far as they change from or to empty."""
    while ladder.nodes[node].parent >= 0:
        position = ladder.nodes[node].key & 63
        node = np.int64(ladder.nodes[node].parent)
        before = ladder.nodes[node].bits
        after = with_bit(before, position) if occupied else without_bit(before, position)
        ladder.nodes[node].bits = after
        if (before if occupied else after) != 0:
            break


@hot
def worse(ladder: Ladder, s: int, level: int) -> int:
    """The next occupied level behind `level` (which need not be occupied), NONE at the end of the side."""
    bid = (s & 1) == BID
    node = level >> 6
    position = level & 63
    while True:
        word = ladder.nodes[node].bits
        word = below(word, position) if bid else above(word, position)
        if word != 0:
            break
        if ladder.nodes[node].parent < 0:
            return NONE
        position = ladder.nodes[node].key & 63
        node = np.int64(ladder.nodes[node].parent)
    position = highest(word) if bid else lowest(word)
    while node >= len(ladder.levels) >> 6:
        node = child(ladder, node, position)
        word = ladder.nodes[node].bits
        position = highest(word) if bid else lowest(word)
    return node * 64 + position


@hot
def child(ladder: Ladder, node: int, position: int) -> int:
    """The node below an inner node at a set bit."""
    key = ladder.nodes[node].key
    prefix = ((key & PREFIX) << 6) | position
    return tables.find(ladder.directory, (key & ~PREFIX) - (1 << HEIGHT_SHIFT) + prefix)


@rare
def open_page(ladder: Ladder, page_key: int) -> int:
    """Map a leaf page and the nodes above it; NO_ROOM when pages or nodes are used up."""
    page = pools.take(ladder.pages)
    if page == pools.NO_SLOT and ladder.cells[BARREN] == 0:
        sweep(ladder)
        page = pools.take(ladder.pages)
    if page == pools.NO_SLOT:
        return NO_ROOM
    parent = _parent_of(ladder, page_key)
    if parent < 0:
        pools.put(ladder.pages, page)
        return NO_ROOM
    _write_node(ladder, page, page_key, parent)
    return page


@hot
def _write_node(ladder: Ladder, node: int, key: int, parent: int) -> None:
    ladder.nodes[node].bits = 0
    ladder.nodes[node].key = key
    ladder.nodes[node].parent = parent
    tables.put(ladder.directory, key, node)


@hot
def _parent_of(ladder: Ladder, key: int) -> int:
    """The inner node above a key, made with everything above it; negative when there is no room."""
    leaves = len(ladder.levels) >> 6
    if room_inner(ladder) < HEIGHT:
        return NO_ROOM  # before anything is made: a node without a parent would be a lost branch
    top = NONE  # the highest node made here waits for its own parent
    first = NONE
    for height in range(1, HEIGHT):
        prefix = (key & PREFIX) >> (6 * height)
        above_key = (key & ~PREFIX) + (height << HEIGHT_SHIFT) + prefix
        node = tables.find(ladder.directory, above_key)
        made = node < 0
        if made:
            node = leaves + pools.take(ladder.inner)
            _write_node(ladder, node, above_key, NONE)
        if first < 0:
            first = node
        if top >= 0:
            ladder.nodes[top].parent = node
        if not made:
            break
        top = node
    return first


@rare
def sweep(ladder: Ladder) -> None:
    """Give every empty page back to the pool."""
    for page in range(ladder.pages.cells[pools.FRESH]):
        node = ladder.nodes[page]
        if node.key != 0 and node.bits == 0:
            _unmap(ladder, page)
    ladder.cells[SWEPT] += 1
    ladder.cells[BARREN] = ladder.pages.cells[pools.FREE] == 0


@hot
def _unmap(ladder: Ladder, page: int) -> None:
    key = ladder.nodes[page].key
    s = (key ^ TAG) >> SIDE_SHIFT
    if ladder.sides[s].page == page:
        ladder.sides[s].page_price = NO_PAGE
    tables.remove(ladder.directory, key)
    ladder.nodes[page].key = 0
    pools.put(ladder.pages, page)


@hot
def room_inner(ladder: Ladder) -> int:
    """Inner nodes not yet used (they are never given back)."""
    return len(ladder.inner.free) - ladder.inner.cells[pools.FRESH]


def check(ladder: Ladder) -> None:
    """Every invariant of the nodes, in O(pages): for tests."""
    pools.check(ladder.pages)
    tables.check(ladder.directory)
    leaves = len(ladder.levels) >> 6
    for key, node in tables.items(ladder.directory).items():
        row = ladder.nodes[node]
        assert int(row.key) == key
        height = (key >> HEIGHT_SHIFT) & 15
        assert (height == 0) == (node < leaves)
        assert (int(row.parent) < 0) == (height == HEIGHT - 1), "a branch is cut off"
        if int(row.parent) >= 0:
            parent = int(ladder.nodes[int(row.parent)].bits)
            assert bool((parent >> (key & 63)) & 1) == (int(row.bits) != 0)
        if node < leaves:
            occupied = (ladder.levels.qty[64 * node : 64 * node + 64] > 0).tolist()
            bits = int(row.bits)
            assert occupied == [bool(bits >> bit & 1) for bit in range(64)]
