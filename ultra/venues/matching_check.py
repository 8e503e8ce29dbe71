"""What must hold of a venue after every entry, what makes up its state, and its books for those who come late.

`check` costs O(orders + pages) and is for tests; `snapshot` is hot: the displayed orders of an instrument as the public
records that build its book. Known bad case: a snapshot is of the moment between two entries, so whoever sends it must
send the public records from its `sequence` on behind it.
"""

from typing import Any, cast

import numpy as np

from ..hot import book as books
from ..hot import hot
from ..hot import ladder as ladders
from ..hot import pool as pools
from ..hot import table as tables
from ..wire import ADD, BID, NONE, TRADING
from . import matching_numbers as numbers
from .matching_state import (
    DARK,
    HELD,
    IDLE,
    LIT,
    NOW,
    PHASE,
    SELLS,
    SEQUENCE,
    SIDES,
    WAITING,
    WIRE_FLAGS,
    Venue,
    side_of,
)

_COLUMNS = ("instrument", "queue", "bit", "ref", "owner", "order_id", "price", "shown", "reserve", "flag", "slot")
ROW = np.dtype([(name, "i8") for name in _COLUMNS])


@hot
def snapshot(venue: Venue, instrument: int, out: Any) -> int:
    """The displayed orders of an instrument, best first, as ADD records into `out`; returns how many.

    NONE when `out` is too short. `sequence` of each is that of the first public record that is not in it."""
    count = 0
    for side in range(2):
        s = SIDES * instrument + 2 * LIT + side
        level = np.int64(venue.ladder.sides[s].level)
        while level >= 0:
            at = np.int64(venue.ladder.levels[level].head)
            while at >= 0:
                if count == len(out):
                    return NONE
                _write(venue, venue.orders[at], instrument, out[count])
                count += 1
                at = np.int64(venue.orders[at].next)
            level = ladders.worse(venue.ladder, s, level)
    return count


@hot
def _write(venue: Venue, order: Any, instrument: int, row: Any) -> None:
    row.kind = ADD
    row.side = side_of(order)
    row.flag = 0
    row.instrument = instrument
    row.sequence = venue.cells[SEQUENCE]
    row.ts_event = row.ts_recv = venue.cells[NOW]
    row.order_id = order.ref
    row.price = order.price
    row.qty = order.shown
    row.aux = NONE


def state_parts(venue: Venue) -> dict[str, Any]:
    """The arrays that make up the state, by name: what a hash covers, and where a mismatch is looked for."""
    ladder, fresh = venue.ladder, int(venue.pool.cells[pools.FRESH])
    pages, inner = int(ladder.pages.cells[pools.FRESH]), int(ladder.inner.cells[pools.FRESH])
    leaves, size = len(ladder.levels) >> 6, 1 << int(venue.numbers.table.cells[tables.BITS])
    return {
        "orders": venue.orders[:fresh],
        "more": venue.more[:fresh],
        "free": venue.pool.free[: int(venue.pool.cells[pools.FREE])],
        "pool": venue.pool.cells,
        "numbers": venue.numbers.values[: numbers.SIZE * int(venue.numbers.cells[numbers.BLOCKS])],
        "blocks": venue.numbers.table.rows[size : 2 * size],
        "levels": ladder.levels[: 64 * pages],
        "leaves": ladder.nodes[:pages],
        "inner": ladder.nodes[leaves : leaves + inner],
        "sides": ladder.sides,
        "listings": venue.listings,
        "fees": venue.fees,
        "reasons": venue.reasons,
        "cells": venue.cells,
    }


def queue(venue: Venue, level: int) -> list[int]:
    """Slots of the orders of a level, first in first, every link held against the other."""
    row = venue.ladder.levels[level]
    slots, before, slot = [], NONE, int(row.head)
    while slot != NONE:
        order = venue.orders[slot]
        assert int(order.prev) == before, "a queue is linked differently forth and back"
        assert int(order.level) == level and int(order.shown) > 0 and int(order.reserve) >= 0
        slots.append(slot)
        before, slot = slot, int(order.next)
    assert int(row.tail) == before, "a queue does not end at its tail"
    assert int(row.qty) == sum(int(venue.orders[slot].shown) for slot in slots), "a level is not its orders"
    return slots


def rows(venue: Venue) -> Any:
    """Every order in a queue, in order of priority, as ROW: the state without where things lie in memory."""
    found = []
    for s, side in enumerate(venue.ladder.sides):
        if int(side.price) == NONE:
            continue
        levels = books.levels(cast(books.Book, venue), s)
        for price in sorted(levels, reverse=s & 1 == BID):
            for slot in queue(venue, levels[price]):
                o = venue.orders[slot]
                flag = int(o.flag) & WIRE_FLAGS
                found.append(
                    (s >> 3, (s >> 1) & 3, s & 1, o.ref, o.owner, o.order_id, o.price, o.shown, o.reserve, flag, slot)
                )
    return np.array(found, ROW)


def check(venue: Venue) -> None:
    """Every invariant between two entries."""
    assert int(venue.cells[PHASE]) == IDLE, "an entry is under way"
    pools.check(venue.pool)
    numbers.check(venue.numbers)
    ladders.check(venue.ladder)
    for s, side in enumerate(venue.ladder.sides):
        assert (int(side.price) == NONE) == (int(side.level) == NONE)
        if int(side.price) != NONE:
            levels = books.levels(cast(books.Book, venue), s)
            best = min(levels) if s & 1 else max(levels)
            assert int(side.price) == best and int(side.level) == levels[best], "the best level is another"
    found = rows(venue)
    _check_orders(venue, found)
    for instrument, listing in enumerate(venue.listings):
        mine = found[found["instrument"] == instrument]
        left = int((mine["shown"] + mine["reserve"]).sum())
        gone = int(listing.traded) + int(listing.cancelled)
        assert int(listing.entered) == gone + left, "lots were made or lost"
        assert int(listing.stops) == int((mine["queue"] == WAITING).sum())
        if int(listing.state) == TRADING:
            _check_trading(venue, instrument, mine)


def _check_orders(venue: Venue, found: Any) -> None:
    """Every live order is in one queue, and in the table under its owner's number."""
    slots = set(found["slot"].tolist())
    assert len(slots) == len(found) == int(venue.pool.cells[pools.FRESH] - venue.pool.cells[pools.FREE])
    ids = numbers.live(venue.numbers)
    assert set(ids.values()) == slots
    for row in found:
        assert ids[int(row["owner"]), int(row["order_id"])] == int(row["slot"])
        order = venue.orders[int(row["slot"])]
        bit = (int(order.flag) >> SELLS) & 1
        queue_bit = {WAITING: bit ^ 1, HELD: int(row["bit"])}.get(int(row["queue"]), bit)
        assert int(row["bit"]) == queue_bit, "an order stands on the wrong side"
    for s in range(0, len(venue.ladder.sides), SIDES):
        for side in range(2):
            level = found[(found["instrument"] == s // SIDES) & (found["queue"] == LIT) & (found["bit"] == side)]
            refs = level["ref"].tolist()
            prices = level["price"].tolist()
            assert all(a < b for a, b, p, q in zip(refs, refs[1:], prices, prices[1:], strict=False) if p == q), "FIFO"


def _check_trading(venue: Venue, instrument: int, mine: Any) -> None:
    """No bid meets an ask, shown or hidden, and nothing is there that was for an auction only."""
    book = mine[mine["queue"] <= DARK]
    bids, asks = book["price"][book["bit"] == BID], book["price"][book["bit"] != BID]
    assert not len(bids) or not len(asks) or int(bids.max()) < int(asks.min()), "the book is crossed"
    assert not (book["price"] == NONE).any(), "an order at market rests"
