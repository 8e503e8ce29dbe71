"""Bars of a table: a BAR record each, stamped at the last nanosecond of its time.

    long    time, open, high, low, close [, volume] [, symbol]: rows of one or of several instruments
    wide    time, and a column of closes per instrument (open = high = low = close, volume 0)

Times are taken for the beginning of a bar, as exchanges and data vendors stamp them, and an interval is added: no
backtest sees a close before it was. `stamped="end"` says that they are the end. Bars are sorted by time.
Invariant: low <= open, close <= high, and no instrument has two bars of one time; else DataError names the row.
Known bad case: the interval is the most frequent distance of two bars; where none prevails, give it.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np

from ...hot import bar, memory
from ...wire import BAR, NONE, RECORD
from ..tape import Instrument, Tape
from . import DataError, scale, stamps
from .columns import Block

DEFAULT_LOT_E9: Final = scale.E9
VOLUME_DIGITS: Final = 4
PRICES: Final = ("open", "high", "low", "close")


class Wish(NamedTuple):
    """What the user said about a table."""

    symbol: str = ""
    symbols: tuple[str, ...] = ()  # only these, if any
    tick_e9: int = 0  # 0: found
    lot_e9: int = 0
    zone: str | None = None
    interval_ns: int = 0
    stamped: str = "start"
    snap: bool = False
    venue: str = ""
    source: str = ""


class Rows(NamedTuple):
    """Bars of one instrument, as found."""

    symbol: str
    rows: Any  # their numbers, for messages
    ts: Any
    prices: Any  # float64[4, n]: open, high, low, close
    volume: Any


def long(blocks: Callable[[], Iterator[Block]], names: Mapping[str, str], wish: Wish) -> Tape:
    """A tape of rows with open, high, low and close. DataError names the row of what is wrong."""
    parts: list[tuple[Any, ...]] = []
    for rows, columns in blocks():
        ts = stamps.nanoseconds(columns[names["time"]], wish.zone, rows)
        prices = np.array([_floats(columns[names.get(name, names["close"])], name, rows) for name in PRICES])
        volume = columns[names["volume"]] if "volume" in names else np.zeros(len(rows))
        symbols = columns[names["symbol"]].astype(str) if "symbol" in names else np.full(len(rows), wish.symbol)
        parts.append((rows, ts, prices, _floats(volume, "volume", rows), symbols))
    if not parts:
        raise DataError(f"{wish.source} holds no bars")
    rows, ts, volume, symbols = (np.concatenate([part[k] for part in parts]) for k in (0, 1, 3, 4))
    prices = np.concatenate([part[2] for part in parts], axis=1)
    _, first = np.unique(symbols, return_index=True)
    found = []
    for symbol in symbols[np.sort(first)].tolist():
        here = symbols == symbol
        found.append(Rows(symbol, rows[here], ts[here], prices[:, here], volume[here]))
    return _tape(found, wish)


def wide(blocks: Callable[[], Iterator[Block]], time: str, wish: Wish) -> Tape:
    """A tape of one instrument per column but `time`. An empty cell is no bar."""
    parts = list(blocks())
    if not parts:
        raise DataError(f"{wish.source} holds no bars")
    rows = np.concatenate([numbers for numbers, _ in parts])
    ts = np.concatenate([stamps.nanoseconds(columns[time], wish.zone, numbers) for numbers, columns in parts])
    found = []
    for name in parts[0][1]:
        if name == time:
            continue
        close = np.concatenate([_floats(columns[name], name, numbers) for numbers, columns in parts])
        there = np.isfinite(close)
        one = close[there]
        symbol = wish.symbol if wish.symbol and len(parts[0][1]) == 2 else name
        found.append(Rows(symbol, rows[there], ts[there], np.array([one] * 4), np.zeros(len(one))))
    return _tape(found, wish)


def _floats(column: Any, name: str, rows: Any) -> Any:
    try:
        return np.asarray(column).astype(np.float64)
    except (ValueError, TypeError) as error:
        for row, value in zip(rows.tolist(), list(column), strict=True):
            try:
                float(value)
            except (ValueError, TypeError):
                raise DataError(f"row {row}: {name} is {value!r}, no number") from error
        raise


def _tape(found: list[Rows], wish: Wish) -> Tape:
    if wish.symbols:
        found = [part for part in found if part.symbol in wish.symbols]
    if not found or not any(len(part.ts) for part in found):
        raise DataError(f"{wish.source}: no bars of {', '.join(wish.symbols) or 'anything'}")
    interval = wish.interval_ns or _interval(found)
    instruments, parts, moved = [], [], 0
    for index, part in enumerate(found):
        order = np.argsort(part.ts, kind="stable")
        moved += int((np.diff(part.ts) < 0).sum())
        part = part._replace(
            rows=part.rows[order], ts=part.ts[order], prices=part.prices[:, order], volume=part.volume[order]
        )
        instrument, records = _records(part, index, wish)
        records.ts_event += interval - 1 if wish.stamped == "start" else 0
        records.ts_recv = records.ts_event
        instruments.append(instrument)
        parts.append(records)
    whole = np.concatenate(parts)
    whole = whole[np.argsort(whole["ts_event"], kind="stable")]
    tape = Tape.of(whole, instruments, "bars", wish.source)
    if moved:
        tape.notes["out of order, sorted"] = moved
    return tape


def _interval(found: list[Rows]) -> int:
    steps = np.concatenate([np.abs(np.diff(part.ts)) for part in found])
    steps = steps[steps > 0]
    if not len(steps):
        return stamps.DAY_NS
    values, counts = np.unique(steps, return_counts=True)
    return int(values[np.argmax(counts)])


def _records(part: Rows, index: int, wish: Wish) -> tuple[Instrument, Any]:
    tick = wish.tick_e9 or _unit(part.prices.ravel(), np.tile(part.rows, 4), f"{part.symbol}: price")
    prices = scale.whole_units(part.prices.ravel(), tick, f"{part.symbol} price", np.tile(part.rows, 4), snap=wish.snap)
    opened, high, low, close = prices.reshape(4, -1)
    wrong = (high < np.maximum(opened, close)) | (low > np.minimum(opened, close)) | (low <= 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"row {int(part.rows[at])}: {part.symbol} has open, high, low, close {part.prices[:, at].tolist()}: "
            "high and low are not the outermost, or a price is not above 0"
        )
    if not bar.fits(high, low, close).all():
        raise DataError(
            f"{part.symbol}: a bar is wider than 2^31 ticks of {Decimal(tick) / scale.E9}: give a coarser tick"
        )
    twice = np.flatnonzero(np.diff(part.ts) == 0)
    if len(twice):
        raise DataError(f"row {int(part.rows[twice[0] + 1])}: {part.symbol} has two bars of one time")
    traded = np.where(np.isnan(part.volume), 0.0, part.volume)
    digits = scale.digits_of(traded) if traded.any() else 0
    # A volume is a sum that somebody computed: where it is no decimal, the nearest lot will do.
    lot = wish.lot_e9 or int(10 ** (scale.DIGITS_MAX - (digits if digits >= 0 else VOLUME_DIGITS)))
    volume = scale.whole_units(traded, lot, f"{part.symbol} volume", part.rows, snap=wish.snap or digits < 0)
    records = memory.zeros(len(close), RECORD)
    records.kind, records.instrument, records.ts_event = BAR, index, part.ts
    records.price, records.order_id, records.qty = close, opened, volume
    records.aux, records.side = bar.spread(high, low, close), NONE
    return Instrument(part.symbol, tick, lot, wish.venue), records


def _unit(values: Any, rows: Any, what: str) -> int:
    digits = scale.digits_of(values)
    if digits == NONE:
        at = scale.inexact_row(values, scale.DIGITS_MAX)
        raise DataError(
            f"row {int(rows[at])}: {what} {values[at].item()} has more than nine decimals: give tick and snap=True"
        )
    return int(10 ** (scale.DIGITS_MAX - digits))
