"""What was traded, one row a fill, and the round trips that fills make: first in, first out, exact.

A round trip is a piece of an opening fill met by a piece of a closing one (FIFO, as tax and audit count them); a fill
that turns the position closes with one part of itself and opens with the other. A fee is shared by lots, rounded down,
and the last piece pays the rest: so the fees of all trips and of what is still open are the fees of all fills.
Money is int64 in 1e-9 of the currency; `scale` says how many of those one tick times one lot is, as a fraction.
Known bad case: one fill worth more than 9.2e9 of the currency leaves int64; `scale_of` does not see it, `pairs` does.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from ..hot import entry
from ..wire import BID, NONE

FILLS: Final = np.dtype(
    [
        ("ts_event", "i8"),  # when it was filled, at the venue
        ("instrument", "i4"),
        ("side", "i1"),  # BID: we bought
        ("took", "i1"),  # 1: we took what rested, 0: we rested
        ("price", "i8"),  # ticks
        ("qty", "i8"),  # lots, more than 0
        ("fee_e9", "i8"),  # 1e-9 of the currency, less than 0 is a rebate
        ("order_id", "i8"),  # our handle
        ("ahead", "i8"),  # lots before us in the queue when we joined it; NONE: took, or not known
        ("cause", "i8"),  # number of the input that filled it, from 0; NONE: not known
    ],
    align=True,
)
TRIPS: Final = np.dtype(
    [
        ("instrument", "i4"),
        ("side", "i4"),  # BID: it was long
        ("qty", "i8"),
        ("opened_ts", "i8"),
        ("closed_ts", "i8"),
        ("opened_price", "i8"),
        ("closed_price", "i8"),
        ("pnl_e9", "i8"),  # after fees
        ("fee_e9", "i8"),
        ("opened_by", "i8"),  # row of FILLS
        ("closed_by", "i8"),
    ],
    align=True,
)
E9: Final = 1_000_000_000
VALUE_MAX: Final = (1 << 63) - 1
LEFT, FEE, NEXT = range(3)  # columns of the working memory: lots still open, fee not yet shared, next open fill
FIRST, LAST = range(2)


class Priced(Protocol):
    """What an instrument's money needs of it (`ultra.lab.tape.Instrument` is one)."""

    @property
    def symbol(self) -> str:
        """Its name."""

    @property
    def tick_e9(self) -> int:
        """A tick of its price, in 1e-9 of the currency."""

    @property
    def lot_e9(self) -> int:
        """A lot, in 1e-9 of the unit that the price is of."""


def empty(count: int = 0) -> Any:
    """FILLS[count] of zeros, as a recarray."""
    return np.zeros(count, FILLS).view(np.recarray)


def scale_of(instruments: Sequence[Priced]) -> Any:
    """int64[instruments, 2]: one tick x lot is `row[0] / row[1]` of 1e-9 of the currency, in lowest terms."""
    rows = []
    for found in instruments:
        unit = int(found.tick_e9) * int(found.lot_e9)
        if unit <= 0:
            raise ValueError(f"{found.symbol}: tick_e9 {found.tick_e9} and lot_e9 {found.lot_e9} must be more than 0")
        common = math.gcd(unit, E9)
        rows.append((unit // common, E9 // common))
    return np.array(rows, np.int64).reshape(-1, 2)


def worth_e9(scale: Any, instrument: int, price: int, qty: int) -> int:
    """Ticks x lots in 1e-9 of the currency, exact but for a rounding down where a unit is less than that."""
    return int(price) * int(qty) * int(scale[instrument, 0]) // int(scale[instrument, 1])


def total_of(values: Any) -> int:
    """The sum of an int64 column, exact: thousands of fills, each of which fits, may be more than int64 holds."""
    return sum(values.tolist())


def traded_e9(fills: Any, scale: Any) -> int:
    """The value of all that was traded, without sign, in 1e-9 of the currency."""
    value = 0
    for index in range(len(scale)):
        own = fills[fills["instrument"] == index]
        value += worth_e9(scale, index, total_of(own["price"] * own["qty"]), 1)
    return value


def cash_e9(fills: Any, scale: Any) -> int:
    """What the fills brought in, fees taken off, in 1e-9 of the currency."""
    cash = -total_of(fills["fee_e9"])
    for index in range(len(scale)):
        own = fills[fills["instrument"] == index]
        signs = np.where(own["side"] == BID, -1, 1)
        cash += worth_e9(scale, index, total_of(own["price"] * own["qty"] * signs), 1)
    return cash


def trips_of(fills: Any, instruments: Sequence[Priced]) -> Any:
    """The round trips of these fills (in order of time), as TRIPS, in the order in which they closed.

    ValueError when a fill is of an instrument that there is not, is no trade, or is worth more than int64 holds."""
    scale = scale_of(instruments)
    fills = np.ascontiguousarray(fills, FILLS).view(np.recarray)
    if len(fills) == 0:
        return np.zeros(0, TRIPS).view(np.recarray)
    if fills["instrument"].min() < 0 or fills["instrument"].max() >= len(scale) or fills["qty"].min() <= 0:
        raise ValueError("a fill names an instrument that is not there, or has no quantity")
    for index in np.unique(fills["instrument"]).tolist():
        own = fills[fills["instrument"] == index]
        largest = int(own["qty"].max()) * int(np.abs(own["price"]).max()) * int(scale[index, 0])
        if largest > VALUE_MAX:
            raise ValueError(f"a fill is worth {largest} of 1e-9 of the currency: int64 ends at {VALUE_MAX}")
    work = np.zeros((len(fills), 3), np.int64)
    ends = np.full((len(scale), 2), NONE, np.int64)
    trips = np.zeros(2 * len(fills), TRIPS).view(np.recarray)
    return trips[: pairs(fills, scale, work, ends, trips)]


@entry
def pairs(fills: Any, scale: Any, work: Any, ends: Any, trips: Any) -> int:
    """Pair off closing fills with the oldest open ones of their instrument; returns how many trips there are."""
    count = 0
    for k in range(len(fills)):
        fill = fills[k]
        index, qty, fee = np.int64(fill.instrument), fill.qty, fill.fee_e9
        while qty > 0 and ends[index, FIRST] >= 0:
            first = ends[index, FIRST]
            opened, held = fills[first], work[first, LEFT]
            if opened.side == fill.side:
                break
            lots = min(qty, held)
            paid = fee // qty * lots + fee % qty * lots // qty
            fee -= paid
            qty -= lots
            before = work[first, FEE] // held * lots + work[first, FEE] % held * lots // held
            work[first, FEE] -= before
            work[first, LEFT] -= lots
            if work[first, LEFT] == 0:
                ends[index, FIRST] = work[first, NEXT]
            won = (fill.price - opened.price) * lots if opened.side == BID else (opened.price - fill.price) * lots
            trip = trips[count]
            trip.instrument = index
            trip.side = opened.side
            trip.qty = lots
            trip.opened_ts = opened.ts_event
            trip.closed_ts = fill.ts_event
            trip.opened_price = opened.price
            trip.closed_price = fill.price
            trip.fee_e9 = paid + before
            trip.pnl_e9 = won * scale[index, 0] // scale[index, 1] - paid - before
            trip.opened_by = first
            trip.closed_by = k
            count += 1
        if qty > 0:
            work[k, LEFT], work[k, FEE], work[k, NEXT] = qty, fee, NONE
            if ends[index, FIRST] >= 0:
                work[ends[index, LAST], NEXT] = k
            else:
                ends[index, FIRST] = k
            ends[index, LAST] = k
    return count


def held(fills: Any, instruments: int, ts: Any) -> tuple[Any, Any]:
    """Position in lots, and price of the last fill, of every instrument behind each moment of `ts`: int64[n, k] each.

    A fill at the moment itself counts; before the first fill the price is 0."""
    lots, last = np.zeros((len(ts), instruments), np.int64), np.zeros((len(ts), instruments), np.int64)
    for index in range(instruments):
        own = fills[fills["instrument"] == index]
        if len(own):
            signed = np.where(own["side"] == BID, own["qty"], -own["qty"])
            at = np.searchsorted(own["ts_event"], ts, side="right")
            lots[:, index] = np.concatenate(([0], np.cumsum(signed)))[at]
            last[:, index] = np.concatenate(([0], own["price"]))[at]
    return lots, last
