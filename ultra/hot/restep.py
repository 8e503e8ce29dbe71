"""A finer price step for an instrument whose levels already stand: rare, and never at the cost of an order.

The first guess of a step (a cent) is wrong for a stock that trades below a dollar. When a price comes that is not
on it, the step becomes their greatest common divisor and every level moves to its new place with its queue.
Known bad case: O(levels of the instrument), a few microseconds. It is refused, and the order with it, when the
pages could not hold the moved levels, or a price would be out of their reach.
"""

from typing import Any

from . import hot, rare
from . import ladder as ladders
from . import pool as pools


@rare
def refine(ladder: ladders.Ladder, orders: Any, scratch: Any, s: int, price: int) -> bool:
    """Make the step of an instrument fine enough for `price`; False when there is no room (nothing changed)."""
    low = s & ~1
    bids = ladder.sides[low].levels
    total = bids + ladder.sides[low + 1].levels
    step = _common(ladder.sides[low].step, price)
    if total > len(scratch) or price // step >= ladders.KEY_MAX or not _has_room(ladder, total):
        return False
    _lift(ladder, scratch, low, 0)
    _lift(ladder, scratch, low + 1, bids)
    fits = _within_reach(scratch, total, step)
    if fits:
        for side in (low, low + 1):
            ladder.sides[side].step = step
            ladder.sides[side].inverse = (1 << 32) // step + 1
            ladder.sides[side].page_price = ladders.NO_PAGE
        ladder.cells[ladders.REFINED] += 1
    _settle(ladder, orders, scratch, low, 0, bids)
    _settle(ladder, orders, scratch, low + 1, bids, total)
    return fits


@hot
def _common(step: int, price: int) -> int:
    """Greatest common divisor."""
    while price != 0:
        step, price = price, step % price
    return step


@hot
def _within_reach(scratch: Any, total: int, step: int) -> bool:
    """Whether every level still has a key under the new step: there are no more than KEY_MAX of them."""
    for at in range(total):
        if scratch[at, 0] // step >= ladders.KEY_MAX:
            return False
    return True


@hot
def _has_room(ladder: ladders.Ladder, levels: int) -> bool:
    """Even if every level needs a page and a branch of its own."""
    cells = ladder.pages.cells
    free = cells[pools.FREE] + len(ladder.pages.free) - cells[pools.FRESH]
    return free >= levels and ladders.room_inner(ladder) >= ladders.HEIGHT * (levels + 1)


@hot
def _lift(ladder: ladders.Ladder, scratch: Any, s: int, at: int) -> None:
    """Write down the levels of a side, best first, and take them out."""
    while ladder.sides[s].level >= 0:
        level = int(ladder.sides[s].level)
        row = ladder.levels[level]
        scratch[at, 0] = ladder.sides[s].price
        scratch[at, 1] = row.qty
        scratch[at, 2] = row.head
        scratch[at, 3] = row.tail
        ladders.vacate(ladder, s, level, True)
        row.qty = 0
        at += 1


@hot
def _settle(ladder: ladders.Ladder, orders: Any, scratch: Any, s: int, start: int, stop: int) -> None:
    """Put the levels back under the new step, and tell their orders where they are."""
    for at in range(start, stop):
        price = scratch[at, 0]
        level = ladders.locate(ladder, s, price)
        row = ladder.levels[level]
        row.qty = scratch[at, 1]
        row.head = scratch[at, 2]
        row.tail = scratch[at, 3]
        ladders.occupy(ladder, s, level, price, True)
        slot = int(row.head)
        while slot >= 0:
            orders[slot].level = level
            slot = int(orders[slot].next)
