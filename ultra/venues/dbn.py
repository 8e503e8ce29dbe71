"""Databento's DBN: market by order (MBO) and by price (MBP) as records of ours.

A record is a whole number of 4-byte words, little-endian, so a body is read as words: no unaligned load anywhere.
A trade comes as T (who took), then F for each order that it filled, then the C or M that takes the same lots off the
book. Here an F of an order that rested is its EXECUTE, and what the C or M repeats is left out (`credit`); what of a T
no F accounts for is a TRADE. So volume is counted once, and every execution knows its order.

Invariant: open + credit of an order is what the venue's book shows of it; open is what ours does.
Known bad case: an M of an order that is not known is taken for its A (counted).
Source: dbn 0.2x of databento/dbn (Apache-2.0), records.rs; layouts are equal in versions 1 to 3.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import entry, hot, memory
from ..hot import pool as pools
from ..hot import table as tables
from ..hot.atomics import Cells
from ..wire import ADD, ASK, BID, CANCEL, DELETE, EXECUTE, LEVEL, NONE, REPLACE, SIDED, TRADE

MBO: Final = 0xA0
MBP_LAST: Final = 10  # rtype of MBP is its depth: 0 (trades only), 1, 10
WORD_BYTES: Final = 4
MBO_WORDS: Final = 14
MBP_WORDS: Final = 12  # before its levels, of eight words each
LEVEL_WORDS: Final = 8
DEPTH_MAX: Final = 10
UNDEFINED: Final = (1 << 63) - 1  # a price that is none
_A, _B, _C, _F, _M, _R, _T = (ord(c) for c in "ABCFMRT")

ROOM: Final = 64  # records that one message may make, but for a clear, which goes on where it stopped

ORDER: Final = np.dtype(
    [("order_id", "i8"), ("price", "i8"), ("open", "i8"), ("credit", "i8"), ("instrument", "i4"), ("side", "i4")]
)
# Cells of a decoder.
MESSAGES, KNOWN, NOW, FILLED, CLEARED, OTHERS, BY_PRICE = 0, 1, 2, 3, 4, 5, 6
UNKNOWN_ORDER, DUPLICATE_ORDER, UNKNOWN_MODIFY, NO_PRICE, ORDERS_FULL, INSTRUMENTS_FULL, UNEVEN_PRICE = (
    8,
    9,
    10,
    11,
    12,
    13,
    14,
)
TOOK, TOOK_QTY, TOOK_PRICE, TOOK_SIDE = 16, 17, 18, 19  # of the T whose fills are coming: instrument + 1, 0 = none
TIME_BACKWARDS, FIRST_TS, TROUBLED = 20, 21, 22
ROW: Final = 23  # number of the message that is decoded
ERRORS: Final = {
    "unknown order": UNKNOWN_ORDER, "duplicate order": DUPLICATE_ORDER, "unknown order modified": UNKNOWN_MODIFY,
    "order without a price": NO_PRICE, "orders full": ORDERS_FULL, "instruments full": INSTRUMENTS_FULL,
    "price off the tick": UNEVEN_PRICE, "records of other kinds": OTHERS,
}  # fmt: skip


class Decoder(NamedTuple):
    """What a venue's book shows, as far as it takes to say what changed."""

    ids: Any  # int64[instruments]: the venue's instrument number
    ticks: Any  # int64[instruments]: 1e-9 a tick; while `survey` runs, the common divisor of all prices
    orders: Any  # ORDER[order_max]
    pool: pools.Pool
    table: tables.Table  # order id -> slot
    levels: Any  # int64[instruments, 2, DEPTH_MAX, 2]: price, qty
    cells: Cells  # int64[32]


def create(instrument_max: int, order_max: int) -> Decoder:
    """A decoder that knows nothing. `order_max` is a power of two."""
    return Decoder(
        np.zeros(instrument_max, np.int64),
        np.zeros(instrument_max, np.int64),
        memory.zeros(order_max, ORDER),
        pools.create(order_max, tagged=False),
        tables.create(order_max),
        np.zeros((instrument_max, 2, DEPTH_MAX, 2), np.int64),
        np.zeros(32, np.int64),
    )


@hot
def pair(words: Any, at: int) -> int:
    """Eight bytes as int64."""
    return np.int64(words[at]) | (np.int64(words[at + 1]) << 32)


@hot
def length_at(words: Any, at: int) -> int:
    """Words of the record at `at`; 0 of what is no record."""
    return np.int64(words[at]) & 255


@hot
def instrument_of(decoder: Decoder, number: int) -> int:
    """The index of a venue's instrument number, given out in order of appearance; NONE when there is no room."""
    known = decoder.cells[KNOWN]
    for index in range(known):
        if decoder.ids[index] == number:
            return index
    if known == len(decoder.ids):
        decoder.cells[INSTRUMENTS_FULL] += 1
        return NONE
    decoder.ids[known] = number
    decoder.cells[KNOWN] += 1
    return known


@hot
def divisor(one: int, other: int) -> int:
    """The greatest number that divides both."""
    while other != 0:
        one, other = other, one % other
    return one


@entry
def survey(decoder: Decoder, words: Any) -> int:
    """Note the instruments of some whole records, and what divides all their prices; returns the words taken."""
    cells, at = decoder.cells, 0
    while at < len(words):
        length = length_at(words, at)
        if length == 0 or at + length > len(words):
            break
        kind = (np.int64(words[at]) >> 8) & 255
        if (kind == MBO and length >= MBO_WORDS) or (kind <= MBP_LAST and length >= MBP_WORDS):
            index = instrument_of(decoder, np.int64(words[at + 1]))
            cells[BY_PRICE] += np.int64(kind != MBO)
            price = pair(words, at + 6) if kind == MBO else pair(words, at + 4)
            if index >= 0 and price != UNDEFINED:
                decoder.ticks[index] = divisor(abs(price), decoder.ticks[index])
            for k in range((length - MBP_WORDS) // LEVEL_WORDS if kind != MBO else 0):
                for side in range(2):
                    price = pair(words, at + MBP_WORDS + k * LEVEL_WORDS + 2 * side)
                    if index >= 0 and price != UNDEFINED:
                        decoder.ticks[index] = divisor(abs(price), decoder.ticks[index])
        cells[MESSAGES] += 1
        at += length
    return at


@entry
def decode(decoder: Decoder, words: Any, start: int, out: Any) -> int:
    """Whole records from `start` on into `out`, until it is nearly full; returns the words taken.

    cells[FILLED] says how many records there are. Called again with what is left, and an emptied `out`."""
    cells, at = decoder.cells, start
    cells[FILLED] = 0
    while at < len(words) and cells[FILLED] + ROOM <= len(out):
        length = length_at(words, at)
        if length == 0 or at + length > len(words):
            break
        kind = (np.int64(words[at]) >> 8) & 255
        if kind == MBO and length >= MBO_WORDS:
            if not by_order(decoder, words, at, out):
                return at  # a clear that goes on
        elif kind <= MBP_LAST and length >= MBP_WORDS:
            by_price(decoder, words, at, (length - MBP_WORDS) // LEVEL_WORDS, out)
        else:
            cells[OTHERS] += 1
        cells[MESSAGES] += 1
        cells[ROW] += 1
        at += length
    return at


@entry
def finish(decoder: Decoder, out: Any) -> int:
    """What of the last trade nothing accounts for; returns how many records that is."""
    decoder.cells[FILLED] = 0
    settle(decoder, out)
    return decoder.cells[FILLED]


@hot
def put(decoder: Decoder, out: Any, kind: int, side: int, instrument: int, order_id: int, price: int, qty: int) -> Any:
    """One record more, stamped now."""
    cells = decoder.cells
    record = out[cells[FILLED]]
    cells[FILLED] += 1
    record.kind, record.side, record.flag, record.instrument = kind, side, 0, instrument
    record.sequence, record.ts_event = cells[ROW], cells[NOW]
    record.order_id, record.price, record.qty, record.aux = order_id, price, qty, NONE
    return record


@hot
def stamp(decoder: Decoder, words: Any, at: int, received: int, out: Any, first: int) -> None:
    """When what was put behind `first` came to us."""
    ts = pair(words, at + received)
    for k in range(first, decoder.cells[FILLED]):
        out[k].ts_recv = ts


@hot
def advance(decoder: Decoder, words: Any, at: int) -> None:
    """The venue's time, which never goes back."""
    ts, cells = pair(words, at + 2), decoder.cells
    if ts < cells[NOW]:
        cells[TIME_BACKWARDS] += 1
    cells[NOW] = max(cells[NOW], ts)


@hot
def ticks(decoder: Decoder, index: int, price: int) -> int:
    """A price in ticks; one off the tick is counted and rounded down."""
    unit = decoder.ticks[index]
    if price == UNDEFINED:
        return NONE
    decoder.cells[UNEVEN_PRICE] += np.int64(price % unit != 0)
    return price // unit


@hot
def by_order(decoder: Decoder, words: Any, at: int, out: Any) -> bool:
    """One MBO record. False when `out` has no room for the rest of a clear."""
    cells, first = decoder.cells, decoder.cells[FILLED]
    advance(decoder, words, at)
    action = (np.int64(words[at + 9]) >> 16) & 255
    letter = np.int64(words[at + 9]) >> 24
    side = BID if letter == _B else ASK if letter == _A else NONE
    index = instrument_of(decoder, np.int64(words[at + 1]))
    done = True
    if action != _F or cells[TOOK] != index + 1:
        settle(decoder, out)
    if index >= 0:
        qty, price = np.int64(words[at + 8]), pair(words, at + 6)
        order_id = pair(words, at + 4)
        if action == _T:
            cells[TOOK], cells[TOOK_QTY] = index + 1, qty
            cells[TOOK_PRICE], cells[TOOK_SIDE] = ticks(decoder, index, price), side
        elif action == _R:
            done = clear(decoder, index, out)
        elif action == _A or action == _C or action == _M or action == _F:
            price = ticks(decoder, index, price)
            if action == _A:
                appear(decoder, out, index, side, order_id, price, qty)
            else:
                change(decoder, out, action, index, side, order_id, price, qty)
    stamp(decoder, words, at, 10, out, first)
    return done


@hot
def settle(decoder: Decoder, out: Any) -> None:
    """What of a trade was no order that rested: a TRADE of its own."""
    cells = decoder.cells
    if cells[TOOK] > 0 and cells[TOOK_QTY] > 0:
        took = cells[TOOK_SIDE]
        record = put(
            decoder, out, TRADE, took ^ 1 if took >= 0 else 0, cells[TOOK] - 1, NONE, cells[TOOK_PRICE], cells[TOOK_QTY]
        )
        record.flag = SIDED if took >= 0 else 0
    cells[TOOK] = 0


@hot
def appear(decoder: Decoder, out: Any, index: int, side: int, order_id: int, price: int, qty: int) -> None:
    """A new order."""
    cells = decoder.cells
    if price == NONE or side < 0:
        cells[NO_PRICE] += 1
        return
    slot = tables.find(decoder.table, order_id)
    if slot >= 0:
        if decoder.orders[slot].open > 0:
            cells[DUPLICATE_ORDER] += 1
            return
    else:
        slot = pools.take(decoder.pool)
        if slot < 0:
            cells[ORDERS_FULL] += 1
            return
        if tables.put(decoder.table, order_id, slot) != tables.ADDED:
            pools.put(decoder.pool, slot)
            cells[ORDERS_FULL] += 1
            return
    order = decoder.orders[slot]
    order.order_id, order.price, order.open, order.credit = order_id, price, qty, 0
    order.instrument, order.side = index, side
    put(decoder, out, ADD, side, index, order_id, price, qty)


@hot
def change(decoder: Decoder, out: Any, action: int, index: int, side: int, order_id: int, price: int, qty: int) -> None:
    """A fill, a cancel or a change of an order that should be known."""
    cells = decoder.cells
    slot = tables.find(decoder.table, order_id)
    if slot < 0:
        if action == _M:
            cells[UNKNOWN_MODIFY] += 1
            appear(decoder, out, index, side, order_id, price, qty)
        elif action == _C:
            cells[UNKNOWN_ORDER] += 1
        return
    order = decoder.orders[slot]
    if action == _F:
        if np.int64(order.side) == cells[TOOK_SIDE] ^ 1 and cells[TOOK] > 0:
            fill(decoder, out, slot, price, qty)
    elif action == _C:
        known = min(qty, order.credit)
        order.credit -= known
        take_off(decoder, out, slot, qty - known)
    else:
        modify(decoder, out, slot, price, qty)


@hot
def fill(decoder: Decoder, out: Any, slot: int, price: int, qty: int) -> None:
    """Lots of an order that rested were traded; the C or M that says so again is yet to come."""
    cells, order = decoder.cells, decoder.orders[slot]
    lots = min(min(qty, order.open), cells[TOOK_QTY])
    if lots <= 0:
        return
    cells[TOOK_QTY] -= lots
    order.open -= lots
    order.credit += lots
    other = price if price != order.price else NONE
    put(decoder, out, EXECUTE, np.int64(order.side), np.int64(order.instrument), order.order_id, other, lots)


@hot
def take_off(decoder: Decoder, out: Any, slot: int, qty: int) -> None:
    """Lots leave an order without a trade; one with none left is forgotten."""
    order = decoder.orders[slot]
    side, instrument = np.int64(order.side), np.int64(order.instrument)
    if qty > 0 and order.open > 0:
        if qty >= order.open:
            put(decoder, out, DELETE, side, instrument, order.order_id, NONE, 0)
            order.open = 0
        else:
            put(decoder, out, CANCEL, side, instrument, order.order_id, NONE, qty)
            order.open -= qty
    if order.open == 0 and order.credit == 0:
        tables.remove(decoder.table, order.order_id)
        pools.put(decoder.pool, slot)


@hot
def modify(decoder: Decoder, out: Any, slot: int, price: int, qty: int) -> None:
    """An order has this price and size now. Less at the same price keeps its place; all else goes to the end."""
    order = decoder.orders[slot]
    order.credit = 0
    side, instrument = np.int64(order.side), np.int64(order.instrument)
    if qty == 0 or (price == order.price and qty < order.open):
        take_off(decoder, out, slot, order.open - qty)
    elif order.open == 0:  # all that was shown has traded, and more is shown now
        order.price, order.open = price, qty
        put(decoder, out, ADD, side, instrument, order.order_id, price, qty)
    elif price != order.price or qty != order.open:
        order.price, order.open = price, qty
        record = put(decoder, out, REPLACE, side, instrument, order.order_id, price, qty)
        record.aux = order.order_id


@hot
def clear(decoder: Decoder, index: int, out: Any) -> bool:
    """All orders of an instrument go. False when there was no room for all."""
    for slot in range(decoder.pool.cells[pools.FRESH]):
        order = decoder.orders[slot]
        if (
            order.order_id != 0
            and np.int64(order.instrument) == index
            and tables.find(decoder.table, order.order_id) == slot
        ):
            if decoder.cells[FILLED] + 1 >= len(out):
                return False
            order.credit = 0
            take_off(decoder, out, slot, order.open)
    decoder.cells[CLEARED] += 1
    return True


@hot
def by_price(decoder: Decoder, words: Any, at: int, depth: int, out: Any) -> None:
    """One MBP record: a trade, or the best levels of both sides. What goes away goes first."""
    first = decoder.cells[FILLED]
    advance(decoder, words, at)
    index = instrument_of(decoder, np.int64(words[at + 1]))
    if index < 0:
        return
    if np.int64(words[at + 7]) & 255 == _T:
        letter = (np.int64(words[at + 7]) >> 8) & 255
        side = ASK if letter == _B else BID
        price = ticks(decoder, index, pair(words, at + 4))
        record = put(decoder, out, TRADE, side, index, NONE, price, np.int64(words[at + 6]))
        record.flag = SIDED if letter == _A or letter == _B else 0
    if depth > 0:
        for gone in range(2):
            for side in range(2):
                for k in range(DEPTH_MAX):
                    level(decoder, words, at + MBP_WORDS, min(depth, DEPTH_MAX), index, side, k, gone == 0, out)
        remember(decoder, words, at + MBP_WORDS, min(depth, DEPTH_MAX), index)
    stamp(decoder, words, at, 8, out, first)


@hot
def level(
    decoder: Decoder, words: Any, at: int, depth: int, index: int, side: int, k: int, gone: bool, out: Any
) -> None:
    """The k-th level that was and is no more, or the k-th that is and was not, or not of this size."""
    if gone:
        price, qty = decoder.levels[index, side, k, 0], decoder.levels[index, side, k, 1]
        if qty > 0 and shown(decoder, words, at, depth, index, side, price) == 0:
            put(decoder, out, LEVEL, side, index, NONE, price, 0)
    elif k < depth:
        price = ticks(decoder, index, pair(words, at + k * LEVEL_WORDS + 2 * side))
        qty, before = np.int64(words[at + k * LEVEL_WORDS + 4 + side]), np.int64(0)
        for j in range(DEPTH_MAX):
            if decoder.levels[index, side, j, 0] == price:
                before = decoder.levels[index, side, j, 1]
        if price != NONE and qty > 0 and qty != before:
            put(decoder, out, LEVEL, side, index, NONE, price, qty)


@hot
def shown(decoder: Decoder, words: Any, at: int, depth: int, index: int, side: int, price: int) -> int:
    """Lots that a record shows at a price; 0 when it does not show it."""
    for k in range(depth):
        if ticks(decoder, index, pair(words, at + k * LEVEL_WORDS + 2 * side)) == price:
            return np.int64(words[at + k * LEVEL_WORDS + 4 + side])
    return 0


@hot
def remember(decoder: Decoder, words: Any, at: int, depth: int, index: int) -> None:
    """What a record shows is what was, for the next."""
    for side in range(2):
        for k in range(DEPTH_MAX):
            price, qty = np.int64(NONE), np.int64(0)
            if k < depth:
                price = ticks(decoder, index, pair(words, at + k * LEVEL_WORDS + 2 * side))
                qty = np.int64(words[at + k * LEVEL_WORDS + 4 + side])
            decoder.levels[index, side, k, 0] = price
            decoder.levels[index, side, k, 1] = qty if price != NONE else 0


def errors(decoder: Decoder) -> dict[str, int]:
    """What was wrong with the input, by kind; empty when nothing was."""
    return {name: int(decoder.cells[cell]) for name, cell in ERRORS.items() if decoder.cells[cell]}
