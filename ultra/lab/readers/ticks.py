"""Quotes and trades of a table, block by block: LEVEL records of the best level of each side, and TRADE.

A quote that moves takes the old level away (quantity 0) and sets the new one; both old levels go before a new one
comes, so the book is never crossed by our doing. The table is read twice where its scale has to be found.
Invariant: time never goes back; else DataError names the row.
Known bad case: a quote without sizes is one lot, and a table of both quotes and trades in one row puts the quote first.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from ...wire import ASK, BID, LEVEL, NONE, RECORD, SIDED, TRADE
from ..tape import Instrument, Tape, introduced
from . import DataError, scale, stamps
from .bars import DEFAULT_LOT_E9, Wish
from .columns import Block

PRICES: Final = ("price", "bid", "ask")
SIZES: Final = ("qty", "bid_qty", "ask_qty")
BUYS: Final = {"b", "buy", "bid", "1", "1.0"}
SELLS: Final = {"s", "sell", "a", "ask", "-1", "-1.0", "2", "2.0"}
GONE_BID, GONE_ASK, SET_BID, SET_ASK, DONE = range(5)  # records that a row can make, in order


def tape(blocks: Callable[[], Iterator[Block]], names: Mapping[str, str], wish: Wish) -> Tape:
    """A tape of ticks. DataError names the row of what is wrong."""
    symbols, digits = _survey(blocks, names, wish)
    instruments = [
        Instrument(
            symbol,
            wish.tick_e9 or int(10 ** (scale.DIGITS_MAX - digits[0])),
            wish.lot_e9 or (int(10 ** (scale.DIGITS_MAX - digits[1])) if digits[1] >= 0 else DEFAULT_LOT_E9),
            wish.venue,
        )
        for symbol in symbols
    ]

    def read(size: int) -> Iterator[Any]:
        return introduced(instruments, _records(blocks, names, wish, instruments))

    return Tape(tuple(instruments), "ticks", read, None, wish.source)


def _survey(blocks: Callable[[], Iterator[Block]], names: Mapping[str, str], wish: Wish) -> tuple[list[str], list[int]]:
    """Symbols in order, and the decimals of prices and sizes (NONE: there are no sizes)."""
    symbols: dict[str, None] = {} if "symbol" in names else {wish.symbol: None}
    digits, last = [0, NONE], -(1 << 63)
    for rows, columns in blocks():
        ts = stamps.nanoseconds(columns[names["time"]], wish.zone, rows)
        back = np.flatnonzero(np.diff(ts, prepend=last if last > -(1 << 62) else ts[0]) < 0)
        if len(back):
            raise DataError(f"row {int(rows[back[0]])}: time goes back: sort the table by time")
        last = int(ts[-1])
        if "symbol" in names:
            symbols |= dict.fromkeys(columns[names["symbol"]].astype(str).tolist())
        for k, meanings, unit in ((0, PRICES, wish.tick_e9), (1, SIZES, wish.lot_e9)):
            for meaning in meanings:
                if meaning in names and not unit:
                    values = columns[names[meaning]]
                    found = scale.digits_of(values)
                    if found == NONE:
                        at = scale.inexact_row(values, scale.DIGITS_MAX)
                        raise DataError(
                            f"row {int(rows[at])}: {meaning} {values[at].item()} has more than nine decimals"
                        )
                    digits[k] = max(digits[k], found)
    if last < -(1 << 62):
        raise DataError(f"{wish.source} holds no ticks")
    kept = [symbol for symbol in symbols if not wish.symbols or symbol in wish.symbols or "symbol" not in names]
    if not kept:
        raise DataError(f"{wish.source}: no ticks of {', '.join(wish.symbols)}; there are {', '.join(symbols)}")
    return kept, digits


def _records(
    blocks: Callable[[], Iterator[Block]], names: Mapping[str, str], wish: Wish, instruments: list[Instrument]
) -> Iterator[Any]:
    quotes = np.zeros((len(instruments), 2, 2), np.int64)  # of each side: price, qty; 0 = none
    for rows, columns in blocks():
        ts = stamps.nanoseconds(columns[names["time"]], wish.zone, rows)
        grid = np.zeros((len(rows), 5), RECORD)
        grid["ts_event"] = grid["ts_recv"] = ts[:, None]
        grid["order_id"] = grid["aux"] = NONE
        for index, instrument in enumerate(instruments):
            here = np.arange(len(rows))
            if "symbol" in names:
                here = np.flatnonzero(columns[names["symbol"]].astype(str) == instrument.symbol)
            if len(here):
                part = {meaning: columns[names[meaning]][here] for meaning in names}
                _fill(grid, here, part, rows[here], index, instrument, quotes, wish.snap)
        flat = grid.reshape(-1)
        yield flat[flat["kind"] != 0].view(np.recarray)


def _fill(
    grid: Any, here: Any, part: dict[str, Any], rows: Any, index: int, instrument: Instrument, quotes: Any, snap: bool
) -> None:
    for side, price_name, qty_name in ((BID, "bid", "bid_qty"), (ASK, "ask", "ask_qty")):
        if price_name in part:
            price = _units(part[price_name], instrument.tick_e9, price_name, rows, snap)
            given = part.get(qty_name)
            qty = np.where(price > 0, 1, 0) if given is None else _units(given, instrument.lot_e9, qty_name, rows, snap)
            _quote(grid, here, index, side, price, qty, quotes[index, side])
    if "price" in part:
        price = _units(part["price"], instrument.tick_e9, "price", rows, snap)
        qty = (
            _units(part["qty"], instrument.lot_e9, "qty", rows, snap) if "qty" in part else np.ones(len(rows), np.int64)
        )
        done = grid[here, DONE]
        done["kind"] = np.where(price > 0, TRADE, 0)
        done["price"], done["qty"], done["instrument"] = price, qty, index
        if "side" in part:
            done["side"], done["flag"] = _resting(part["side"], rows), SIDED
        grid[here, DONE] = done


def _units(values: Any, unit_e9: int, what: str, rows: Any, snap: bool) -> Any:
    """Whole units; an empty cell is 0."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), 0.0, values)
    return scale.whole_units(values, unit_e9, what, rows, snap=snap)


def _quote(grid: Any, here: Any, index: int, side: int, price: Any, qty: Any, held: Any) -> None:
    """The levels that change from row to row; `held` is the quote before the first, and after it the last."""
    price = np.where(qty > 0, price, 0)
    before = np.concatenate([held[:1], price[:-1]])
    before_qty = np.concatenate([held[1:], qty[:-1]])
    gone = grid[here, GONE_BID + side]
    gone["kind"] = np.where((before > 0) & (before != price), LEVEL, 0)
    gone["price"], gone["side"], gone["instrument"] = before, side, index
    grid[here, GONE_BID + side] = gone
    new = grid[here, SET_BID + side]
    new["kind"] = np.where((price > 0) & ((before != price) | (before_qty != qty)), LEVEL, 0)
    new["price"], new["qty"], new["side"], new["instrument"] = price, qty, side, index
    grid[here, SET_BID + side] = new
    held[:] = price[-1], qty[-1]


def _resting(column: Any, rows: Any) -> Any:
    """Side of the order that rested, from who took: as of every trade on a tape. True in a column of booleans says
    that the buyer rested."""
    column = np.asarray(column)
    if column.dtype.kind == "b":
        return np.where(column, BID, ASK)
    texts = np.char.lower(column.astype(str))
    known = {**dict.fromkeys(BUYS, ASK), **dict.fromkeys(SELLS, BID), "true": BID, "false": ASK}
    unknown = ~np.isin(texts, list(known))
    if unknown.any():
        at = int(np.argmax(unknown))
        raise DataError(f"row {int(rows[at])}: side {column[at]!r} is neither buy nor sell")
    return np.array([known[text] for text in texts.tolist()])
