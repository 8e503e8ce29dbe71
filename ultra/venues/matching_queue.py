"""Orders join and leave the queues of their instrument, and end.

As `hot/book.py`: linked first in, first out into a level of the ladder, the best level remembered. A level's quantity
is the sum of what its orders show, so an iceberg counts with its slice only; when that is traded the next slice joins
the end of the same level under a new public number. Hidden orders have levels of their own behind those displayed.
Known bad case: when the ladder has no page left an order can't rest, and what is left of it is cancelled (levels_full).
"""

from typing import Any

import numpy as np

from ..hot import hot, rare
from ..hot import ladder as ladders
from ..hot import pool as pools
from ..wire import BID, CANCELLED, HIDDEN, NONE, STP_BOTH, STP_NEWEST
from . import matching_numbers as numbers
from . import matching_tape as tape
from .matching_state import (
    DARK,
    ICEBERG,
    LIT,
    REPLACED_REF,
    WAITING,
    Venue,
    instrument_of,
    limit_of,
    next_ref,
    open_lots,
    queue_of,
    side_of,
)


@hot
def append(venue: Venue, slot: int, s: int, level: int, price: int) -> None:
    """An order joins the end of a level with what it shows."""
    order, row = venue.orders[slot], venue.ladder.levels[level]
    head, before = np.int64(row.head), row.qty
    first = before == 0
    tail = NONE if first else np.int64(row.tail)
    order.level = level
    order.next = NONE
    order.prev = tail
    order.side = s
    venue.orders[tail].next = slot  # of nobody, when there was none: the last row
    row.head = slot if first else head
    row.tail = slot
    row.qty = before + order.shown
    ladders.occupy(venue.ladder, s, level, price, first)


@hot
def join(venue: Venue, slot: int, s: int, price: int) -> bool:
    """An order joins the queue of a price on a side of the ladder; False, and nothing done, when there is no level."""
    level = ladders.locate(venue.ladder, s, price)
    if level < 0:
        return False
    append(venue, slot, s, level, price)
    return True


@hot
def leave(venue: Venue, slot: int) -> None:
    """An order leaves its queue, with what it shows."""
    order = venue.orders[slot]
    before, after, level = np.int64(order.prev), np.int64(order.next), np.int64(order.level)
    row = venue.ladder.levels[level]
    head, tail, left = np.int64(row.head), np.int64(row.tail), row.qty - order.shown
    venue.orders[before].next = after  # of nobody, at either end of the queue: the last row
    venue.orders[after].prev = before
    row.head = after if before < 0 else head
    row.tail = before if after < 0 else tail
    row.qty = left
    ladders.vacate(venue.ladder, np.int64(order.side), level, left == 0)


@hot
def take_off(venue: Venue, slot: int, lots: int) -> None:
    """A resting order traded, which was said: it has less, shows its next slice, or ends."""
    order = venue.orders[slot]
    if lots < order.shown:
        order.shown -= lots
        venue.ladder.levels[order.level].qty -= lots
    elif order.reserve > 0:
        refresh(venue, slot)
    else:
        leave(venue, slot)
        end(venue, slot)


@rare
def refresh(venue: Venue, slot: int) -> None:
    """The next slice of an iceberg goes to the end of the queue."""
    order = venue.orders[slot]
    leave(venue, slot)
    lots = min(order.reserve, venue.more[slot].display)
    order.reserve -= lots
    order.shown = lots
    order.ref = next_ref(venue)
    append(venue, slot, np.int64(order.side), np.int64(order.level), order.price)
    tape.shows(venue, order)


@hot
def end(venue: Venue, slot: int) -> None:
    """An order in no queue is over: its number stays used, its slot is free."""
    order = venue.orders[slot]
    numbers.end(venue.numbers, np.int64(order.owner), order.order_id)
    order.owner = NONE
    pools.put(venue.pool, slot)


@hot
def drop(venue: Venue, slot: int, reason: int) -> None:
    """What is left of an order in no queue is cancelled."""
    order = venue.orders[slot]
    venue.listings[instrument_of(order)].cancelled += order.reserve
    tape.ended(venue, CANCELLED, order, order.reserve, reason)
    end(venue, slot)


@hot
def remove(venue: Venue, slot: int, reason: int) -> None:
    """An order in a queue is cancelled."""
    order = venue.orders[slot]
    pull(venue, slot)
    if queue_of(order) == LIT:
        tape.hides(venue, instrument_of(order), side_of(order), order.ref)
    drop(venue, slot, reason)


@rare
def remove_apart(venue: Venue, slot: int, reason: int) -> None:
    """The same, where it is not what an entry asked for."""
    remove(venue, slot, reason)


@hot
def pull(venue: Venue, slot: int) -> None:
    """An order leaves its queue with all it has, to trade, to join another or to end."""
    order = venue.orders[slot]
    leave(venue, slot)
    if queue_of(order) == WAITING:
        venue.listings[instrument_of(order)].stops -= 1
    order.reserve = open_lots(order)
    order.shown = 0


@hot
def shrink(venue: Venue, slot: int, left: int) -> None:
    """An order keeps its place with fewer lots: those that nobody sees go first."""
    order = venue.orders[slot]
    off = open_lots(order) - left
    unseen = min(off, order.reserve)
    order.reserve -= unseen
    off -= unseen
    if off > 0:
        order.shown -= off
        venue.ladder.levels[order.level].qty -= off
        if queue_of(order) == LIT:
            tape.shrinks(venue, order, off)


@hot
def rest(venue: Venue, slot: int) -> None:
    """What is left of an order joins the book."""
    order = venue.orders[slot]
    flag, left = np.int64(order.flag), order.reserve
    hidden = flag & HIDDEN != 0
    order.shown = min(left, venue.more[slot].display) if flag & ICEBERG != 0 else left
    order.reserve = left - order.shown
    s = (np.int64(order.side) & ~7) + 2 * (DARK if hidden else LIT) + side_of(order)
    if not join(venue, slot, s, order.price):
        no_level(venue, slot)
    elif not hidden:
        tape.shows(venue, order)


@rare
def no_level(venue: Venue, slot: int) -> None:
    """An order that has no level to rest in is cancelled."""
    order = venue.orders[slot]
    order.reserve = open_lots(order)
    order.shown = 0
    if venue.cells[REPLACED_REF] != 0:
        tape.hides(venue, instrument_of(order), side_of(order), venue.cells[REPLACED_REF])
        venue.cells[REPLACED_REF] = 0
    drop(venue, slot, tape.LEVELS_FULL)


@hot
def put_aside(venue: Venue, slot: int, queue: int, bit: int, price: int) -> None:
    """An order joins a queue that nobody sees, with all it has."""
    order = venue.orders[slot]
    order.shown = order.reserve
    order.reserve = 0
    if not join(venue, slot, (np.int64(order.side) & ~7) + 2 * queue + bit, price):
        no_level(venue, slot)
    elif queue == WAITING:
        venue.listings[instrument_of(order)].stops += 1


@hot
def facing(venue: Venue, base: int, side: int) -> int:
    """The side of the ladder whose best order trades next with one of `side`: the displayed at equal prices."""
    lit = base + 2 * LIT + (side ^ 1)
    dark = base + 2 * DARK + (side ^ 1)
    shown, hidden = venue.ladder.sides[lit].price, venue.ladder.sides[dark].price
    if hidden == NONE:
        return lit
    if shown == NONE:
        return dark
    return dark if (hidden < shown if side == BID else hidden > shown) else lit


@hot
def reaches(price: int, side: int, limit: int) -> bool:
    """Whether an order of `side` with this limit trades with what rests opposite at `price`; NONE: nothing does."""
    return price != NONE and (price <= limit if side == BID else price >= limit)


@hot
def head(venue: Venue, s: int) -> int:
    """The first order of the best level of a side that is not empty."""
    return np.int64(venue.ladder.levels[np.int64(venue.ladder.sides[s].level)].head)


@rare
def available(venue: Venue, slot: int, wanted: int) -> int:
    """How many lots an order that is in no queue would trade at once, as far as `wanted` goes.

    An order of the same owner gives nothing, and where the newest of the two would be cancelled it ends the search."""
    order = venue.orders[slot]
    side, base, limit = side_of(order), np.int64(order.side) & ~7, limit_of(order)
    lit, dark = base + 2 * LIT + (side ^ 1), base + 2 * DARK + (side ^ 1)
    level, other = np.int64(venue.ladder.sides[lit].level), np.int64(venue.ladder.sides[dark].level)
    found = np.int64(0)
    while found < wanted and (level >= 0 or other >= 0):
        price = ladders.price_of(venue.ladder, lit, level) if level >= 0 else np.int64(NONE)
        hidden = ladders.price_of(venue.ladder, dark, other) if other >= 0 else np.int64(NONE)
        use_dark = level < 0 or (other >= 0 and (hidden < price if side == BID else hidden > price))
        if not reaches(hidden if use_dark else price, side, limit):
            break
        lots = level_gives(venue, other if use_dark else level, order, wanted - found)
        found += lots >> 1
        if lots & 1 != 0:
            break
        if use_dark:
            other = ladders.worse(venue.ladder, dark, other)
        else:
            level = ladders.worse(venue.ladder, lit, level)
    return found


@hot
def level_gives(venue: Venue, level: int, taker: Any, wanted: int) -> int:
    """Twice the lots that a level gives an order, as far as `wanted` goes, and 1 when it would be cancelled there."""
    total, ahead = np.int64(0), np.int64(0)
    stopped = False
    at = np.int64(venue.ladder.levels[level].head)
    while at >= 0 and ahead < wanted and not stopped:
        order = venue.orders[at]
        if order.owner != taker.owner or taker.flag & STP_BOTH == 0:
            ahead += order.shown
            total += open_lots(order)
        else:
            stopped = taker.flag & STP_NEWEST != 0
        at = np.int64(order.next)
    return 2 * ahead + 1 if stopped else 2 * total
