"""Order books of all instruments: every resting order, in the queue of its price level.

A feed that shows whole levels only (LEVEL) has the same ladder, with no order behind a level.

An order is 32 bytes: a slot of a pool, linked first-in first-out into its level, found by its venue's id through one
table. Levels and their price order are `ladder`. Best bid and ask are remembered, so reading them is one load.
Quantity of a level = sum over its orders; an id is in the table exactly while its order rests.

Every message has an outcome, and every outcome is counted. A message that is refused changes nothing else, with two
exceptions: a replacement that is refused has ended the old order, and one that takes too much off ends its order.
"""

from typing import Any, NamedTuple

import numpy as np

from ..wire import ADD, ASK, BID, DELETE, LEVEL, NONE, REPLACE
from . import hot, memory
from . import ladder as ladders
from . import pool as pools
from . import table as tables
from .atomics import Cells, prefetch
from .restep import refine

OK = 0
UNKNOWN_ORDER, DUPLICATE_ORDER, BAD_QTY, BAD_PRICE, BAD_ID, OVER_REDUCED = 1, 2, 3, 4, 5, 6
WRONG_INSTRUMENT, ORDERS_FULL, LEVELS_FULL, BAD_INSTRUMENT, BAD_SIDE = 7, 8, 9, 10, 11
CROSSED, LOCKED = 12, 13  # not errors: an add that left bid > ask, or bid = ask
MIXED = 14  # a whole level where orders rest, or an order where whole levels stand
OUTCOMES = (
    "ok", "unknown_order", "duplicate_order", "bad_qty", "bad_price", "bad_id", "over_reduced", "wrong_instrument",
    "orders_full", "levels_full", "bad_instrument", "bad_side", "crossed", "locked",
    "mixed",
)  # fmt: skip
QTY_MAX = 1 << 40  # keeps the sum over any possible level inside int64

ORDER = np.dtype([("order_id", "i8"), ("qty", "i8"), ("level", "i4"), ("next", "i4"), ("prev", "i4"), ("side", "i4")])
assert ORDER.itemsize == 32


class Book(NamedTuple):
    """The books of all instruments."""

    orders: Any  # ORDER[order_max]; `side` is 2 * instrument + side
    pool: pools.Pool
    ids: tables.Table  # order id -> slot
    ladder: ladders.Ladder
    outcomes: Cells  # int64[16], how often each outcome came
    scratch: Any  # int64[level_max, 4], used only while a price step is refined


def create(instruments: int, order_max: int, page_max: int, *, step: int = 100, order_start: int = 512) -> Book:
    """Books for so many instruments; `order_start` pre-sizes the id table for so many live orders."""
    start_bits = max(10, (8 * order_start - 1).bit_length())
    return Book(
        memory.zeros(order_max + 1, ORDER),
        pools.create(order_max, tagged=False),
        tables.create(order_max, start_bits=start_bits),
        ladders.create(instruments, page_max, step),
        np.zeros(16, np.int64),
        np.zeros((1 << 14, 4), np.int64),
    )


@hot
def apply(book: Book, record: Any) -> int:
    """One market record (ADD .. REPLACE) into the book. Completes it: whose side, price and quantity it was."""
    kind, instrument, order_id = record.kind, np.int64(record.instrument), record.order_id
    outcome, adding = OK, kind == ADD
    if not adding:
        row = tables.row_of(book.ids, order_id) if order_id > 0 else NONE
        if row < 0:
            outcome = UNKNOWN_ORDER
        else:
            slot = book.ids.rows[row].value
            s = np.int64(book.orders[slot].side)
            if s >> 1 != instrument:
                outcome = WRONG_INSTRUMENT
            else:
                qty = complete(book, s, slot, record)
                outcome = _reduce(book, slot, row, qty)
                adding, order_id = kind == REPLACE, record.aux
    if adding:
        outcome = add(book, instrument, record.side, order_id, record.price, record.qty)
    book.outcomes[outcome] += 1
    return outcome


@hot
def changed(outcome: int) -> bool:
    """Whether a message with this outcome changed what it was meant to change."""
    return outcome == OK or outcome == OVER_REDUCED or outcome == CROSSED or outcome == LOCKED


@hot
def touched_by(kind: int) -> bool:
    """Whether a market record of this kind is about the book."""
    return kind <= REPLACE or kind == LEVEL


@hot
def complete(book: Book, s: int, slot: int, record: Any) -> int:
    """Write into a record what the feed leaves out, because the order says it; returns the lots that it takes off."""
    kind, left = record.kind, book.orders[slot].qty
    record.side = s & 1
    if kind == REPLACE:
        return left
    if kind == DELETE:
        record.qty = left
    if record.price == NONE:
        record.price = ladders.price_of(book.ladder, s, np.int64(book.orders[slot].level))
    return record.qty


@hot
def add(book: Book, instrument: int, side: int, order_id: int, price: int, qty: int) -> int:
    """A new order at the end of its level's queue."""
    s = 2 * int(instrument) + int(side)
    if order_id <= 0:
        return BAD_ID
    if qty <= 0 or qty > QTY_MAX:
        return BAD_QTY
    if instrument < 0 or s >= len(book.ladder.sides):
        return BAD_INSTRUMENT
    if side != BID and side != ASK:
        return BAD_SIDE
    if book.ladder.sides[s].pad[ladders.WHOLE] != 0:
        return MIXED
    slot = pools.take(book.pool)
    if slot == pools.NO_SLOT:
        return ORDERS_FULL
    put = tables.put(book.ids, order_id, slot)
    if put != tables.ADDED:
        pools.put(book.pool, slot)
        return DUPLICATE_ORDER if put == tables.PRESENT else ORDERS_FULL
    level = ladders.locate(book.ladder, s, price)
    if level == ladders.OFF_STEP and refine(book.ladder, book.orders, book.scratch, s, price):
        level = ladders.locate(book.ladder, s, price)
    if level < 0:
        tables.remove(book.ids, order_id)
        pools.put(book.pool, slot)
        return BAD_PRICE if level == ladders.BAD_PRICE else LEVELS_FULL
    return _append(book, s, slot, level, order_id, price, qty)


@hot
def _append(book: Book, s: int, slot: int, level: int, order_id: int, price: int, qty: int) -> int:
    order = book.orders[slot]
    row = book.ladder.levels[level]
    head, tail, before = np.int64(row.head), np.int64(row.tail), row.qty
    first = before == 0
    tail = NONE if first else tail
    order.order_id = order_id
    order.qty = qty
    order.level = level
    order.next = NONE
    order.prev = tail
    order.side = s
    book.orders[tail].next = slot  # of nobody, when there was none: the last row
    row.head = slot if first else head
    row.tail = slot
    row.qty = before + qty
    ladders.occupy(book.ladder, s, level, price, first)
    other = book.ladder.sides[s ^ 1].price
    if first & (other != NONE) & ((price == other) | ((price > other) == ((s & 1) == BID))):
        return LOCKED if price == other else CROSSED
    return OK


@hot
def set_level(book: Book, record: Any) -> int:
    """A LEVEL of an aggregated feed into the book: it holds `qty` now. Completes the record: aux = what it held before.

    No order stands behind it. An instrument whose book is empty becomes one of whole levels with its first LEVEL, and
    stays one: MIXED is what the records of another feed get."""
    s, price, qty = 2 * np.int64(record.instrument) + np.int64(record.side), record.price, record.qty
    record.aux = 0
    outcome = OK
    if record.side != BID and record.side != ASK:
        outcome = BAD_SIDE
    elif record.instrument < 0 or s >= len(book.ladder.sides):
        outcome = BAD_INSTRUMENT
    elif qty < 0 or qty > QTY_MAX:
        outcome = BAD_QTY
    elif not _of_whole_levels(book.ladder, s):
        outcome = MIXED
    else:
        level = ladders.standing(book.ladder, s, price) if qty == 0 else ladders.locate(book.ladder, s, price)
        if level == ladders.OFF_STEP and refine(book.ladder, book.orders, book.scratch, s, price):
            level = ladders.locate(book.ladder, s, price)
        if level >= 0:
            record.aux = book.ladder.levels[level].qty
            outcome = _hold(book, s, level, price, qty)
        elif qty > 0 or price <= 0:
            outcome = BAD_PRICE if level == ladders.BAD_PRICE or price <= 0 else LEVELS_FULL
    book.outcomes[outcome] += 1
    return outcome


@hot
def _of_whole_levels(ladder: ladders.Ladder, s: int) -> bool:
    """Whether the instrument of side `s` has whole levels, or nothing yet: then it has them from now on."""
    one, other = ladder.sides[s], ladder.sides[s ^ 1]
    if one.pad[ladders.WHOLE] == 0:
        if one.levels + other.levels > 0:
            return False
        one.pad[ladders.WHOLE] = other.pad[ladders.WHOLE] = 1
    return True


@hot
def _hold(book: Book, s: int, level: int, price: int, qty: int) -> int:
    row = book.ladder.levels[level]
    before = row.qty
    row.qty = qty
    row.head = row.tail = NONE
    if qty == 0 and before > 0:
        ladders.vacate(book.ladder, s, level, True)
    elif qty > 0 and before == 0:
        ladders.occupy(book.ladder, s, level, price, True)
        other = book.ladder.sides[s ^ 1].price
        if other != NONE and (price == other or (price > other) == ((s & 1) == BID)):
            return LOCKED if price == other else CROSSED
    return OK


@hot
def find(book: Book, order_id: int) -> int:
    """The slot of a resting order, or NONE."""
    return tables.find(book.ids, order_id) if order_id > 0 else NONE


@hot
def reduce(book: Book, slot: int, qty: int) -> int:
    """Take lots off a resting order (an execution or a partial cancel); with none left it is gone."""
    return _reduce(book, slot, tables.row_of(book.ids, book.orders[slot].order_id), qty)


@hot
def _reduce(book: Book, slot: int, row: int, qty: int) -> int:
    order = book.orders[slot]
    left = order.qty
    if qty <= 0:
        return BAD_QTY
    if qty >= left:
        tables.remove_row(book.ids, row)
        _unlink(book, slot)
        return OVER_REDUCED if qty > left else OK
    order.qty = left - qty
    book.ladder.levels[order.level].qty -= qty
    return OK


@hot
def remove(book: Book, slot: int) -> None:
    """Take a resting order out of its queue, its level and the table."""
    tables.remove(book.ids, book.orders[slot].order_id)
    _unlink(book, slot)


@hot
def _unlink(book: Book, slot: int) -> None:
    order = book.orders[slot]
    before, after, level = np.int64(order.prev), np.int64(order.next), np.int64(order.level)
    row = book.ladder.levels[level]
    head, tail, left = np.int64(row.head), np.int64(row.tail), row.qty - order.qty
    book.orders[before].next = after  # of nobody, at either end of the queue: the last row
    book.orders[after].prev = before
    row.head = after if before < 0 else head
    row.tail = before if after < 0 else tail
    row.qty = left
    ladders.vacate(book.ladder, np.int64(order.side), level, left == 0)
    pools.put(book.pool, slot)


@hot
def price_of(book: Book, slot: int) -> int:
    """Price of a resting order."""
    order = book.orders[slot]
    return ladders.price_of(book.ladder, np.int64(order.side), np.int64(order.level))


@hot
def best(book: Book, instrument: int, side: int) -> int:
    """Best price of a side, or NONE."""
    return book.ladder.sides[2 * int(instrument) + int(side)].price


@hot
def best_qty(book: Book, instrument: int, side: int) -> int:
    """Total quantity at the best price; 0 when the side is empty."""
    level = book.ladder.sides[2 * int(instrument) + int(side)].level
    return book.ladder.levels[level].qty if level >= 0 else 0


@hot
def top(book: Book, instrument: int, side: int, prices: Cells, qtys: Cells) -> int:
    """Best levels of a side into two arrays of equal length; returns how many there were."""
    s = 2 * int(instrument) + int(side)
    level = np.int64(book.ladder.sides[s].level)
    count = 0
    while level >= 0 and count < len(prices):
        prices[count] = ladders.price_of(book.ladder, s, level)
        qtys[count] = book.ladder.levels[level].qty
        count += 1
        level = ladders.worse(book.ladder, s, level)
    return count


@hot
def _side_of(book: Book, record: Any) -> int:
    """Side of a record that nobody has checked yet: any one of ours when it names none of ours."""
    s = 2 * int(record.instrument) + (int(record.side) & 1)
    return s if 0 <= s < len(book.ladder.sides) else 0


@hot
def ahead_first(book: Book, record: Any) -> None:
    """First of three steps that warm the cache for a record to come: what its fields alone lead to."""
    tables.ahead(book.ids, record.order_id)
    prefetch(book.ladder.sides, _side_of(book, record))


@hot
def ahead_second(book: Book, record: Any) -> None:
    """Second step, some records later: the level that an add would join, or the order that the others are about."""
    ladder = book.ladder
    if record.kind == ADD:
        side = ladder.sides[_side_of(book, record)]
        offset = record.price - side.page_price
        if 0 <= offset < side.step * 64:
            prefetch(ladder.levels, np.int64(side.page) * 64 + ((offset * side.inverse) >> 32))
            prefetch(ladder.nodes, np.int64(side.page))
        else:
            ladders.ahead(ladder, _side_of(book, record), record.price)
    else:
        slot = tables.find(book.ids, record.order_id)
        if slot >= 0:
            prefetch(book.orders, slot)


@hot
def ahead_third(book: Book, record: Any) -> None:
    """Third step: the neighbours in the queue, and the level of an order that will be touched."""
    ladder = book.ladder
    if record.kind == ADD:
        side = ladder.sides[_side_of(book, record)]
        offset = record.price - side.page_price
        if 0 <= offset < side.step * 64:
            row = ladder.levels[np.int64(side.page) * 64 + ((offset * side.inverse) >> 32)]
            prefetch(book.orders, np.int64(row.tail))
        else:
            level = max(ladders.level_at(ladder, _side_of(book, record), record.price), 0)
            prefetch(ladder.levels, level)
            prefetch(ladder.nodes, level >> 6)
    else:
        slot = tables.find(book.ids, record.order_id)
        if slot >= 0:
            order = book.orders[slot]
            prefetch(ladder.levels, np.int64(order.level))
            prefetch(ladder.nodes, np.int64(order.level) >> 6)
            prefetch(ladder.sides, np.int64(order.side))
            prefetch(book.orders, max(np.int64(order.prev), 0))
            prefetch(book.orders, max(np.int64(order.next), 0))


def levels(book: Book, s: int) -> dict[int, int]:
    """Price -> level of everything that rests on side `s`, in no order: for tests."""
    ladder, found = book.ladder, {}
    for key, node in tables.items(ladder.directory).items():
        if node >= len(ladder.levels) >> 6 or (key ^ ladders.TAG) >> ladders.SIDE_SHIFT != s:
            continue
        bits, step = int(ladder.nodes[node].bits), int(ladder.sides[s].step)
        for bit in range(64):
            if bits >> bit & 1:
                found[((key & ladders.PREFIX) << 6 | bit) * step] = 64 * node + bit
    return found


def queue(book: Book, level: int) -> list[int]:
    """Slots of the orders of a level, first in first, every link held against the other: for tests."""
    row = book.ladder.levels[level]
    slots, before, slot = [], NONE, int(row.head)
    while slot != NONE:
        order = book.orders[slot]
        assert int(order.prev) == before, "a queue is linked differently forth and back"
        assert int(order.level) == level and int(order.qty) > 0
        slots.append(slot)
        before, slot = slot, int(order.next)
    assert int(row.tail) == before, "a queue does not end at its tail"
    assert int(row.qty) == sum(int(book.orders[slot].qty) for slot in slots)
    return slots


def check(book: Book) -> None:
    """Every invariant, in O(orders + pages): for tests."""
    pools.check(book.pool)
    tables.check(book.ids)
    ladders.check(book.ladder)
    resting: dict[int, int] = {}
    for s, side in enumerate(book.ladder.sides):
        found = levels(book, s)
        best_price = (min if s & 1 else max)(found, default=NONE)
        assert int(side.price) == best_price and int(side.level) == found.get(best_price, NONE)
        assert int(side.levels) == len(found)
        if side.pad[ladders.WHOLE]:
            rows = [book.ladder.levels[level] for level in found.values()]
            assert all(int(row.head) == int(row.tail) == NONE and int(row.qty) > 0 for row in rows)
            continue
        slots = [slot for level in found.values() for slot in queue(book, level)]
        assert all(int(book.orders[slot].side) == s for slot in slots)
        resting |= {int(book.orders[slot].order_id): slot for slot in slots}
    assert tables.items(book.ids) == resting, "an id in the table is not the id of a resting order"
    assert len(resting) == int(book.pool.cells[pools.FRESH] - book.pool.cells[pools.FREE])
