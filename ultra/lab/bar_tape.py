"""A tape of bars, made ready for the loop: BAR records only, checked once, its moments counted, cut into pieces.

What the loop takes for granted holds here: time never goes back, an instrument has one bar a moment, low <= open <=
high, no price below zero, every instrument is known. Each is a BarError that names the record.
Known bad case: a piece of the tape (`between`) copies nothing, so its records keep the numbers of the whole.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..hot import bar as bars
from ..hot.bar import RANGE_MAX
from ..wire import BAR, INSTRUMENT, KIND_NAMES, RECORD, symbol_to_int
from .fills import E9, Priced

PIECE_RECORDS = 1024


class BarError(Exception):
    """A tape, a parameter or a term that a bar backtest can't take: says which, and what it takes instead."""


class Recorded(Protocol):
    """What is taken of a tape (`ultra.lab.tape.Tape` is one)."""

    @property
    def instruments(self) -> Sequence[Priced]:
        """What its records index."""

    def array(self) -> Any:
        """All of it."""


class Bars(NamedTuple):
    """Bars in order of time."""

    records: Any  # RECORD[bars], a recarray; `sequence` is the bar's number
    instruments: tuple[Priced, ...]
    ts: Any  # int64[moments], each once
    cuts: Any  # int64[pieces + 1]: where a piece of at most about PIECE_RECORDS begins, never within a moment

    def between(self, first_ts: int, last_ts: int) -> "Bars":
        """The bars from `first_ts` to before `last_ts`. Nothing is copied."""
        ts = self.records["ts_event"]
        first, last = np.searchsorted(ts, first_ts, side="left"), np.searchsorted(ts, last_ts, side="left")
        return of_records(self.records[first:last], self.instruments)

    def highest(self) -> list[int]:
        """The highest price of each instrument, 0 where it has no bar."""
        tops = self.records["price"] + (self.records["aux"] >> 32)
        index = self.records["instrument"]
        return [int(tops[index == i].max(initial=0)) for i in range(len(self.instruments))]

    def closes(self) -> Any:
        """int64[moments, instruments]: the last close of each at every moment, 0 before its first bar."""
        found = np.zeros((len(self.ts), len(self.instruments)), np.int64)
        for i in range(len(self.instruments)):
            own = self.records[self.records["instrument"] == i]
            at = np.searchsorted(own["ts_event"], self.ts, side="right")
            found[:, i] = np.concatenate(([0], own["price"]))[at]
        return found


def prepare(tape: Recorded) -> Bars:
    """A tape as bars; BarError when it is not one."""
    records = tape.array()
    kinds = records["kind"]
    strange = np.flatnonzero((kinds != BAR) & (kinds != INSTRUMENT))
    if len(strange):
        name = KIND_NAMES.get(int(kinds[strange[0]]), int(kinds[strange[0]]))
        raise BarError(f"record {strange[0]} of the tape is {name}: a bar backtest takes a tape of bars only")
    found = np.array(records[kinds == BAR], RECORD)
    if len(found) == 0:
        raise BarError("the tape has no bars")
    check(found, len(tape.instruments))
    found["sequence"] = np.arange(len(found))
    for instrument in tape.instruments:
        if int(instrument.tick_e9) * int(instrument.lot_e9) % E9:
            raise BarError(
                f"{instrument.symbol}: a tick of a lot is worth {instrument.tick_e9 * instrument.lot_e9} * 1e-18, "
                "not a whole number of 1e-9: take a coarser lot, money is exact here"
            )
    return of_records(found.view(np.recarray), tuple(tape.instruments))


def of_records(records: Any, instruments: tuple[Priced, ...]) -> Bars:
    """The same of records that were checked."""
    ts = records["ts_event"]
    first = np.flatnonzero(np.diff(ts, prepend=ts[0] - 1 if len(ts) else 0))
    wanted = np.arange(0, len(records), PIECE_RECORDS)
    cuts = first[np.searchsorted(first, wanted, side="right") - 1] if len(first) else wanted
    return Bars(records, instruments, ts[first].copy(), np.unique(np.append(cuts, len(records))).astype(np.int64))


def check(records: Any, instruments: int) -> None:
    """BarError names the first record that breaks a rule."""
    ts, index, close = records["ts_event"], records["instrument"].astype(np.int64), records["price"]
    opened, up, down = records["order_id"], records["aux"] >> 32, records["aux"] & RANGE_MAX
    order = np.lexsort((ts, index))
    again = np.zeros(len(records), bool)
    again[order[1:]] = (np.diff(index[order]) == 0) & (np.diff(ts[order]) == 0)
    for broken, why in (
        ((index < 0) | (index >= instruments), f"its instrument is not one of the {instruments} of the tape"),
        (np.diff(ts, prepend=ts[0]) < 0, "its time is before that of the record in front of it"),
        (again, "its instrument has a bar of that time already"),
        ((close - down < 0) | (opened < 0), "a price is below zero"),
        ((up < 0) | (opened > close + up) | (opened < close - down), "its open is not between its low and its high"),
        (records["qty"] < 0, "its volume is below zero"),
    ):
        if broken.any():
            raise BarError(f"bar {int(np.argmax(broken))} of the tape: {why}")


def faces(instruments: Sequence[Priced]) -> list[tuple[int, int, int]]:
    """(symbol, tick, lot) of each as a view has them; a symbol of more than eight letters is cut."""
    return [
        (symbol_to_int(each.symbol.encode("ascii", "replace").decode()[:8] or "?"), each.tick_e9, each.lot_e9)
        for each in instruments
    ]


def record(bar_ts: int, instrument: int, opened: int, high: int, low: int, close: int, volume: int) -> Any:
    """One BAR record, from ticks and lots. BarError when it can't be written down."""
    if not bars.fits(high, low, close):
        raise BarError(f"a bar from {low} to {high} that closed at {close} does not fit: use a larger tick")
    row = np.zeros(1, RECORD)
    row["kind"], row["side"], row["instrument"], row["ts_event"] = BAR, -1, instrument, bar_ts
    row["ts_recv"], row["order_id"], row["price"], row["qty"] = bar_ts, opened, close, volume
    row["aux"] = bars.spread(high, low, close)
    return row
