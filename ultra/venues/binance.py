"""Lines of a Binance capture, `<ns> <json>`, without a parser of JSON: what is frequent, in nopython code.

A line is looked through once for the few keys that matter. An update that follows the one before it, a trade, a best
bid and ask: these become records here. All else (a snapshot, a hole, a line in another form, a number that is no whole
tick) stops the scan, and whoever called looks at that line with the reader that knows every rule. So this file decides
nothing: it does the plain case, and `ultra.lab.readers.feed` is what it is held against.

Invariant: a line is taken whole or not at all: what it put before it stopped is taken back, and `book` was not touched.
Known bad case: a price that stands twice in one update stops the scan: which of both counts, the rules say.
Source: Binance API documentation, diff depth, trade, aggregate trade and book ticker streams.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import book as books
from ..hot import entry, hot
from ..hot.atomics import Cells
from ..hot.bits import scatter
from ..wire import ASK, BID, LEVEL, NONE, SIDED, TRADE
from .text import (
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    LINE_END,
    OPEN,
    OPEN_LIST,
    QUOTE_MARK,
    SPACE,
    digits_of,
    fixed,
    value_end,
    whole,
    whole_long,
)  # fmt: skip

NAME_BYTES: Final = 32
LEVELS_MAX: Final = 1 << 12  # of one side of one update
TOLD: Final = 256  # best bids and asks that wait for their update

# Keys of a message, and where their values lie in `spans`.
EVENT, TIME, FIRST, LAST, BEFORE, SYMBOL, BIDS, ASKS, BID_QTY, ASK_QTY, PRICE, QTY, MAKER, MARKET, DATA = range(15)
KEYS: Final = (
    (b"e", EVENT), (b"E", TIME), (b"U", FIRST), (b"u", LAST), (b"pu", BEFORE), (b"s", SYMBOL), (b"b", BIDS),
    (b"a", ASKS), (b"B", BID_QTY), (b"A", ASK_QTY), (b"p", PRICE), (b"q", QTY), (b"m", MAKER), (b"X", MARKET),
    (b"data", DATA),
)  # fmt: skip
# What a line is.
STRANGE, NOTHING, UPDATE, SINGLE, SUMMED, BEST = range(6)
# Cells of a scanner. NUMBER: of the line that is looked at next; FILLED: records that were put.
NUMBER, FILLED, NOW, KNOWN, RECEIVED, AGREED, DIFFERS, LISTS = range(8)
# Of each symbol. The first four are the rules' state, the next what a first reading counts.
LIVE, NUMBERED, FRESH, ONLY_QUOTES, HAS_SINGLE, WANTED, TICK, LOT = range(8)
UPDATES, QUOTES, SINGLES, SUMS, PRICE_DIGITS, QTY_DIGITS, QTY_GREATEST, TOLD_AT = range(8, 16)


class Scanner(NamedTuple):
    """What is known of a capture's symbols, and room for one line."""

    names: Any  # uint8[symbols, NAME_BYTES], filled up with zeros
    about: Any  # int64[symbols, 16]
    told: Any  # int64[symbols, TOLD, 5]: number, bid, its lots, ask, its lots
    spans: Any  # int64[DATA + 1, 2]
    levels: Any  # int64[2, LEVELS_MAX, 2]: price, lots of the update that is looked at
    listed: Any  # int64[2 * LEVELS_MAX, 2]: number of a list, a price in it; open addressing
    differs: Any  # int64[TOLD, 7]: row, symbol and what was told, where the book has another best
    book: books.Book
    keys: Any  # int64[128]: of one byte -> field, NONE
    cells: Cells


def create(symbol_max: int, order_max: int = 64, page_max: int = 1 << 14) -> Scanner:
    """A scanner that knows no symbol."""
    keys = np.full(128, NONE, np.int64)
    for name, field in KEYS:
        if len(name) == 1:
            keys[name[0]] = field
    about = np.zeros((symbol_max, 16), np.int64)
    about[:, NUMBERED], about[:, TICK], about[:, LOT] = NONE, 1, 1
    return Scanner(
        np.zeros((symbol_max, NAME_BYTES), np.uint8),
        about,
        np.full((symbol_max, TOLD, 5), NONE, np.int64),
        np.zeros((DATA + 1, 2), np.int64),
        np.zeros((2, LEVELS_MAX, 2), np.int64),
        np.zeros((2 * LEVELS_MAX, 2), np.int64),
        np.zeros((TOLD, 7), np.int64),
        books.create(symbol_max, order_max, page_max, step=1),
        keys,
        np.zeros(16, np.int64),
    )


def add(scanner: Scanner, symbol: str) -> int:
    """The index of a symbol, a new one if it is not known; NONE when there is no room, or it is too long."""
    raw = symbol.encode("ascii", "replace")
    known = int(scanner.cells[KNOWN])
    for index in range(known):
        if bytes(scanner.names[index]).rstrip(b"\0") == raw:
            return index
    if known == len(scanner.names) or len(raw) > NAME_BYTES:
        return NONE
    scanner.names[known, : len(raw)] = np.frombuffer(raw, np.uint8)
    scanner.cells[KNOWN] = known + 1
    return known


@hot
def look(scanner: Scanner, buffer: Any, at: int, stop: int) -> bool:
    """Note where the values of an object's keys lie; False when it is not one to its end."""
    spans = scanner.spans
    if at >= stop or buffer[at] != OPEN:
        return False
    at += 1
    while at < stop and buffer[at] != CLOSE:
        key = at + 1
        if buffer[at] != QUOTE_MARK:
            return False
        end = key
        while end < stop and buffer[end] != QUOTE_MARK:
            end += 1
        value = end + 2
        if value >= stop or buffer[end + 1] != COLON:
            return False
        behind = value_end(buffer, value, stop)
        if behind < 0 or behind >= stop:
            return False
        field = np.int64(NONE)
        if end - key == 1 and buffer[key] < 128:
            field = scanner.keys[buffer[key]]
        elif end - key == 2 and buffer[key] == 112 and buffer[key + 1] == 117:  # pu
            field = np.int64(BEFORE)
        elif end - key == 4 and buffer[key] == 100 and buffer[key + 1] == 97 and buffer[key + 3] == 97:  # data
            field = np.int64(DATA)
        if field >= 0:
            spans[field, 0], spans[field, 1] = value, behind
        at = behind + 1 if buffer[behind] == COMMA else behind
    return at < stop


@hot
def symbol_at(scanner: Scanner, buffer: Any) -> int:
    """The index of the line's symbol; NONE when it is not known."""
    first, last = scanner.spans[SYMBOL, 0] + 1, scanner.spans[SYMBOL, 1] - 1
    length = last - first
    if length <= 0 or length > NAME_BYTES:
        return NONE
    for index in range(scanner.cells[KNOWN]):
        k = 0
        while k < length and scanner.names[index, k] == buffer[first + k]:
            k += 1
        if k == length and (length == NAME_BYTES or scanner.names[index, length] == 0):
            return index
    return NONE


@hot
def has(spans: Any, one: int, two: int, three: int, four: int) -> bool:
    """Whether a line has all of these fields."""
    return spans[one, 1] > 0 and spans[two, 1] > 0 and spans[three, 1] > 0 and spans[four, 1] > 0


@hot
def kind_of(scanner: Scanner, buffer: Any) -> int:
    """What a line that was looked at is."""
    spans = scanner.spans
    first, length = spans[EVENT, 0] + 1, spans[EVENT, 1] - spans[EVENT, 0] - 2
    if spans[EVENT, 1] == 0:
        return BEST if has(spans, BID_QTY, ASK_QTY, LAST, LAST) else STRANGE
    letter = np.int64(buffer[first])
    if letter == 100 and length == 11:  # depthUpdate
        return UPDATE if has(spans, BIDS, ASKS, FIRST, LAST) else STRANGE
    if (letter == 116 and length == 5) or (letter == 97 and length == 8):  # trade, aggTrade
        if not has(spans, PRICE, QTY, MAKER, TIME):
            return STRANGE
        if spans[MARKET, 1] > 0 and (spans[MARKET, 1] - spans[MARKET, 0] != 8 or buffer[spans[MARKET, 0] + 1] != 77):
            return NOTHING  # not MARKET
        return SINGLE if letter == 116 else SUMMED
    if letter == 98 and length == 10:  # bookTicker
        return BEST if has(spans, BID_QTY, ASK_QTY, LAST, LAST) else STRANGE
    return NOTHING if buffer[spans[EVENT, 0]] == QUOTE_MARK else STRANGE


@hot
def line_at(scanner: Scanner, buffer: Any, at: int, end: int) -> int:
    """Look through one line (`end`: its line break). Returns what it is."""
    spans, cells = scanner.spans, scanner.cells
    for field in range(DATA + 1):
        spans[field, 0] = spans[field, 1] = 0
    gap = at
    while gap < end and buffer[gap] != SPACE:
        gap += 1
    cells[RECEIVED] = whole_long(buffer, at, gap)
    if cells[RECEIVED] < 0 or not look(scanner, buffer, gap + 1, end):
        return STRANGE
    if spans[DATA, 1] > 0 and not look(scanner, buffer, spans[DATA, 0], end):
        return STRANGE
    kind = kind_of(scanner, buffer)
    return STRANGE if kind != NOTHING and spans[SYMBOL, 1] == 0 else kind


@hot
def stands_twice(scanner: Scanner, price: int) -> bool:
    """Whether a price was in this list before; it is now. Rows of lists before this one count as empty."""
    listed, mask = scanner.listed, 2 * LEVELS_MAX - 1
    at = (scatter(price) >> 40) & mask
    while listed[at, 0] == scanner.cells[LISTS]:
        if listed[at, 1] == price:
            return True
        at = (at + 1) & mask
    listed[at, 0], listed[at, 1] = scanner.cells[LISTS], price
    return False


@hot
def read_levels(scanner: Scanner, buffer: Any, side: int, tick: int, lot: int) -> int:
    """The levels of one side of an update, [["price","qty"],...], in units. NONE when one is none, or stands twice."""
    field = BIDS if side == BID else ASKS
    at, stop, count = scanner.spans[field, 0], scanner.spans[field, 1], 0
    scanner.cells[LISTS] += 1
    if buffer[at] != OPEN_LIST:
        return NONE
    at += 1
    while buffer[at] == OPEN_LIST:
        price_end = value_end(buffer, at + 1, stop)
        qty_end = value_end(buffer, price_end + 1, stop) if price_end > 0 else np.int64(NONE)
        if count == LEVELS_MAX or qty_end < 0 or buffer[qty_end] != CLOSE_LIST:
            return NONE
        price, qty = fixed(buffer, at + 1, price_end), fixed(buffer, price_end + 1, qty_end)
        if price < 0 or qty < 0 or price % tick != 0 or qty % lot != 0:
            return NONE
        if stands_twice(scanner, price // tick):
            return NONE
        scanner.levels[side, count, 0], scanner.levels[side, count, 1] = price // tick, qty // lot
        count += 1
        at = qty_end + 1
        at += np.int64(buffer[at] == COMMA)
    return count if buffer[at] == CLOSE_LIST else NONE


@hot
def put(scanner: Scanner, out: Any, kind: int, side: int, symbol: int, price: int, qty: int) -> Any:
    """One record more."""
    cells = scanner.cells
    record = out[cells[FILLED]]
    cells[FILLED] += 1
    record.kind, record.side, record.instrument = kind, side, symbol
    record.flag = SIDED if kind == TRADE else 0
    record.sequence, record.ts_event, record.ts_recv = cells[NUMBER], cells[NOW], cells[RECEIVED]
    record.order_id, record.price, record.qty, record.aux = NONE, price, qty, 0
    return record


@hot
def set_levels(scanner: Scanner, out: Any, symbol: int, bids: int, asks: int) -> None:
    """An update into the book, what goes away first; a record for each level that it changes."""
    cells = scanner.cells
    for gone in range(2):
        for side in range(2):
            for k in range(bids if side == BID else asks):
                price, qty = scanner.levels[side, k, 0], scanner.levels[side, k, 1]
                if (qty == 0) == (gone == 0):
                    record = put(scanner, out, LEVEL, side, symbol, price, qty)
                    books.set_level(scanner.book, record)
                    before = record.aux
                    record.aux = 0
                    cells[FILLED] -= np.int64(before == qty)


@hot
def update(scanner: Scanner, buffer: Any, symbol: int, out: Any) -> bool:
    """A depth update that follows the one before it; False for any other."""
    about, spans = scanner.about[symbol], scanner.spans
    first, last = whole(buffer, spans[FIRST, 0], spans[FIRST, 1]), whole(buffer, spans[LAST, 0], spans[LAST, 1])
    chained = spans[BEFORE, 1] > 0
    before = whole(buffer, spans[BEFORE, 0], spans[BEFORE, 1]) if chained else first - 1
    if about[LIVE] == 0 or about[FRESH] == 1 or first < 0 or last < 0:
        return False
    if about[NUMBERED] != NONE and about[NUMBERED] != before:
        return False
    bids = read_levels(scanner, buffer, BID, about[TICK], about[LOT])
    asks = read_levels(scanner, buffer, ASK, about[TICK], about[LOT])
    if bids < 0 or asks < 0 or scanner.cells[FILLED] + bids + asks > len(out):
        return False
    if not stamp(scanner, buffer):
        return False
    set_levels(scanner, out, symbol, bids, asks)
    about[NUMBERED] = max(about[NUMBERED], last)
    for k in range(TOLD):
        if scanner.told[symbol, k, 0] == last:
            agree(scanner, symbol, k)
            scanner.told[symbol, k, 0] = NONE
    return True


@hot
def stamp(scanner: Scanner, buffer: Any) -> bool:
    """Advance the venue's time to the line's; False when its time is no number."""
    cells, spans = scanner.cells, scanner.spans
    ms = np.int64(0)
    if spans[TIME, 1] > 0:
        ms = whole(buffer, spans[TIME, 0], spans[TIME, 1])
        if ms < 0 or ms > 9_000_000_000_000:
            return False
    if ms == 0 and cells[NOW] == 0:
        cells[NOW] = cells[RECEIVED]
    cells[NOW] = max(cells[NOW], ms * 1_000_000)
    return True


@hot
def agree(scanner: Scanner, symbol: int, k: int) -> None:
    """Hold a best bid and ask that the venue told against the book."""
    cells, told = scanner.cells, scanner.told[symbol, k]
    cells[AGREED] += 1
    same = True
    for side in range(2):
        price, qty = books.best(scanner.book, symbol, side), books.best_qty(scanner.book, symbol, side)
        same &= (max(price, 0) == told[1 + 2 * side]) & (qty == told[2 + 2 * side])
    if not same and cells[DIFFERS] < TOLD:
        row = scanner.differs[cells[DIFFERS]]
        row[0], row[1] = cells[NUMBER], symbol
        for j in range(5):
            row[2 + j] = told[j]
        cells[DIFFERS] += 1


@hot
def best(scanner: Scanner, buffer: Any, symbol: int) -> bool:
    """A best bid and ask: held against the book of its number, or kept until that comes. False when it is strange."""
    about, spans = scanner.about[symbol], scanner.spans
    number = whole(buffer, spans[LAST, 0], spans[LAST, 1])
    if about[ONLY_QUOTES] == 1 or number < 0 or not stamp(scanner, buffer):
        return False
    if number < about[NUMBERED]:
        return True
    k = about[TOLD_AT] % TOLD
    for j in range(TOLD):  # of two with one number the last counts
        if scanner.told[symbol, j, 0] == number:
            scanner.told[symbol, j, 0] = NONE
    told = scanner.told[symbol, k]
    told[0] = NONE
    for j in range(4):
        field = BIDS if j == 0 else BID_QTY if j == 1 else ASKS if j == 2 else ASK_QTY
        value, unit = fixed(buffer, spans[field, 0], spans[field, 1]), about[TICK if j % 2 == 0 else LOT]
        if value < 0 or value % unit != 0:
            return False
        told[1 + j] = value // unit
    told[0] = number
    about[TOLD_AT] += 1
    if number == about[NUMBERED] and about[LIVE] == 1:
        agree(scanner, symbol, k)
        told[0] = NONE
    return True


@hot
def trade(scanner: Scanner, buffer: Any, symbol: int, out: Any) -> bool:
    """A trade, with the side that rested; False when it is strange."""
    about, spans = scanner.about[symbol], scanner.spans
    price, qty = fixed(buffer, spans[PRICE, 0], spans[PRICE, 1]), fixed(buffer, spans[QTY, 0], spans[QTY, 1])
    if price < 0 or qty < 0 or price % about[TICK] != 0 or qty % about[LOT] != 0 or scanner.cells[FILLED] >= len(out):
        return False
    if not stamp(scanner, buffer):
        return False
    if price > 0 and qty > 0:
        side = BID if buffer[spans[MAKER, 0]] == 116 else ASK  # true
        put(scanner, out, TRADE, side, symbol, price // about[TICK], qty // about[LOT])
    return True


@entry
def scan(scanner: Scanner, buffer: Any, at: int, stop: int, out: Any) -> int:
    """Whole lines of `buffer[at:stop]` into `out`, until one is strange or `out` is full.

    Returns the beginning of the line that was not taken, or `stop`. cells[NUMBER] is that line's row."""
    cells = scanner.cells
    cells[FILLED] = 0
    while at < stop:
        end = at
        while buffer[end] != LINE_END:
            end += 1
        kind = line_at(scanner, buffer, at, end)
        if kind == STRANGE:
            break
        symbol = symbol_at(scanner, buffer)
        if kind != NOTHING and symbol >= 0 and scanner.about[symbol, WANTED] == 1:
            if kind == UPDATE:
                done = update(scanner, buffer, symbol, out)
            elif kind == BEST:
                done = best(scanner, buffer, symbol)
            elif kind == SUMMED and scanner.about[symbol, HAS_SINGLE] == 1:
                done = True
            else:
                done = trade(scanner, buffer, symbol, out)
            if not done:
                break
        cells[NUMBER] += 1
        at = end + 1
    return at


@hot
def note(scanner: Scanner, symbol: int, price: int, qty: int) -> None:
    """The decimals of one price and quantity, in 1e-9ths."""
    about = scanner.about[symbol]
    about[PRICE_DIGITS] = max(about[PRICE_DIGITS], digits_of(price))
    about[QTY_DIGITS] = max(about[QTY_DIGITS], digits_of(qty))
    about[QTY_GREATEST] = max(about[QTY_GREATEST], qty)


@entry
def survey(scanner: Scanner, buffer: Any, at: int, stop: int) -> int:
    """Count what whole lines hold of each symbol that is known, and the decimals that they need.

    Returns the beginning of the line that was not taken, or `stop`: one of an unknown symbol, too."""
    cells, spans = scanner.cells, scanner.spans
    while at < stop:
        end = at
        while buffer[end] != LINE_END:
            end += 1
        kind = line_at(scanner, buffer, at, end)
        symbol = symbol_at(scanner, buffer) if kind > NOTHING else np.int64(NONE)
        if symbol < 0 and kind != NOTHING:
            break
        if kind == UPDATE:
            bids, asks = read_levels(scanner, buffer, BID, 1, 1), read_levels(scanner, buffer, ASK, 1, 1)
            if bids < 0 or asks < 0:
                break
            for side in range(2):
                for k in range(bids if side == BID else asks):
                    note(scanner, symbol, scanner.levels[side, k, 0], scanner.levels[side, k, 1])
            scanner.about[symbol, UPDATES] += 1
        elif kind != NOTHING:
            one, two = (PRICE, QTY) if kind != BEST else (BIDS, BID_QTY)
            price, qty = fixed(buffer, spans[one, 0], spans[one, 1]), fixed(buffer, spans[two, 0], spans[two, 1])
            if price < 0 or qty < 0:
                break
            if kind == BEST:
                ask, size = (
                    fixed(buffer, spans[ASKS, 0], spans[ASKS, 1]),
                    fixed(buffer, spans[ASK_QTY, 0], spans[ASK_QTY, 1]),
                )
                if ask < 0 or size < 0:
                    break
                note(scanner, symbol, ask, size)
            note(scanner, symbol, price, qty)
            scanner.about[symbol, QUOTES if kind == BEST else SINGLES if kind == SINGLE else SUMS] += 1
        cells[NUMBER] += 1
        at = end + 1
    return at


@entry
def levels_of(scanner: Scanner, symbol: int, side: int, prices: Cells, qtys: Cells) -> int:
    """All levels of one side into two arrays of their number."""
    return books.top(scanner.book, symbol, side, prices, qtys)


@entry
def follow(scanner: Scanner, records: Any) -> None:
    """LEVEL records that somebody else made, into the book."""
    for k in range(len(records)):
        if records[k].kind == LEVEL:
            books.set_level(scanner.book, records[k])
            records[k].aux = 0
