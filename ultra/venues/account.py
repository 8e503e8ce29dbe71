"""An account beside the engine: positions and cash as the venue knows them, fees, borrowing, and the course of equity.

Money is int64 in 1e-9 of the currency. A fill moves ticks x lots and a fee by `terms`; at every step of a fixed grid
of time the equity (cash and positions at the middle of the touch) is written down, and what was borrowed over the
step is paid for. When the grid is full every second point goes and the step doubles: memory is flat however long a
tape is, and points stay evenly apart. Interest keeps its remainder, so small steps lose nothing.
Known bad case: one currency. An account worth more than 9.2e9 of it leaves int64. Margin is reported, never enforced.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import entry, hot, memory
from ..hot.atomics import Cells
from ..wire import BID, NONE

POINT: Final = np.dtype([("ts", "i8"), ("equity_e9", "i8"), ("gross_e9", "i8")], align=True)
# Terms. A rate is 1e-9 of the value traded; slippage is what a taker pays worse than the book says.
MAKER_RATE_E9, TAKER_RATE_E9, MAKER_LOT_E9, TAKER_LOT_E9, LEAST_E9, SLIP_TICKS, SLIP_RATE_E9 = range(7)
# A year's interest in 1e-6 of the value: of shorts, of cash below 0. Margin: 1e-6 of the gross value.
BORROW_PPM, DEBIT_PPM, MARGIN_PPM = range(7, 10)
TERMS: Final = 16
# Cells.
INITIAL_E9, FEES_E9, INTEREST_E9, TRADED, COUNT, AT, STEP, LAST = range(8)
BORROW_LEFT, DEBIT_LEFT, CALLS, CALLED_TS, SHORT_E9, GROSS_MAX_E9, FILLS, GROSS_E9 = range(8, 16)
CELLS: Final = 24
E9: Final = 1_000_000_000
MS_NS: Final = 1_000_000
YEAR_MS: Final = 31_557_600_000  # of 365.25 days


class Account(NamedTuple):
    """What one strategy has at the venue."""

    lots: Cells  # int64[instruments], signed
    cash: Cells  # int64[instruments]: ticks x lots that fills brought in
    scale: Any  # int64[instruments, 2]: a tick x lot is row[0] / row[1] of 1e-9 of the currency
    twice: Cells  # int64[instruments]: twice the middle that was valued at last, or the price of a fill since
    traded: Cells  # int64[instruments]: those with a fill, the first `cells[TRADED]`
    terms: Cells  # int64[TERMS]
    points: Any  # POINT[even number]
    cells: Cells


def create(scale: Any, terms: Any, initial_e9: int, step_ns: int, points: int = 1 << 14) -> Account:
    """An account that has not traded. `step_ns` is a whole number of milliseconds."""
    assert points % 2 == 0 and step_ns > 0 and step_ns % MS_NS == 0 and len(terms) == TERMS
    count = len(scale)
    cells = np.zeros(CELLS, np.int64)
    cells[INITIAL_E9], cells[STEP], cells[AT], cells[CALLED_TS] = initial_e9, step_ns, NONE, NONE
    return Account(
        memory.zeros(count, np.int64),
        memory.zeros(count, np.int64),
        np.ascontiguousarray(scale, np.int64),
        memory.zeros(count, np.int64),
        memory.zeros(count, np.int64),
        np.ascontiguousarray(terms, np.int64),
        memory.zeros(points, POINT),
        cells,
    )


@hot
def slipped(account: Account, side: int, price: int) -> int:
    """The price that a taker pays, at least 1 tick."""
    terms = account.terms
    worse = terms[SLIP_TICKS] + (price * terms[SLIP_RATE_E9] + E9 - 1) // E9
    return price + worse if side == BID else max(price - worse, 1)


@hot
def fee_e9(account: Account, instrument: int, price: int, qty: int, took: int) -> int:
    """What a fill costs, rounded down; a rebate is less than 0. The least holds for what is not a rebate."""
    terms, scale = account.terms, account.scale[instrument]
    value = price * qty * scale[0] // scale[1]
    rate = terms[TAKER_RATE_E9] if took != 0 else terms[MAKER_RATE_E9]
    fee = value // E9 * rate + value % E9 * rate // E9
    fee += qty * (terms[TAKER_LOT_E9] if took != 0 else terms[MAKER_LOT_E9])
    return max(fee, terms[LEAST_E9]) if fee >= 0 else fee


@hot
def settle(account: Account, instrument: int, side: int, price: int, qty: int, took: int) -> int:
    """A fill: position, cash and fee; returns the fee."""
    cells = account.cells
    if account.lots[instrument] == 0 and account.cash[instrument] == 0:
        known = False
        for k in range(cells[TRADED]):
            known = known or account.traded[k] == instrument
        if not known:
            account.traded[cells[TRADED]] = instrument
            cells[TRADED] += 1
    lots = qty if side == BID else -qty
    account.lots[instrument] += lots
    account.cash[instrument] -= lots * price
    account.twice[instrument] = 2 * price
    fee = fee_e9(account, instrument, price, qty, took)
    cells[FEES_E9] += fee
    cells[FILLS] += 1
    return fee


@hot
def equity_e9(account: Account, market: Any) -> int:
    """Cash and positions, each at the middle of its touch; where a side is empty at the last trade, of a feed without
    trades at what it was worth before: a hole in a feed empties its book, and is no ruin. Leaves the gross value of
    positions, and that of the short ones, in its cells."""
    cells = account.cells
    total = cells[INITIAL_E9] - cells[FEES_E9] - cells[INTEREST_E9]
    gross, short = np.int64(0), np.int64(0)
    for k in range(cells[TRADED]):
        index = account.traded[k]
        view, scale, lots = market[index], account.scale[index], account.lots[index]
        if view.bid >= 0 and view.ask >= 0:
            account.twice[index] = view.bid + view.ask
        elif view.last_price >= 0:
            account.twice[index] = 2 * view.last_price
        twice = account.twice[index]
        total += (2 * account.cash[index] + lots * twice) * scale[0] // (2 * scale[1])
        value = abs(lots) * twice * scale[0] // (2 * scale[1])
        gross += value
        if lots < 0:
            short += value
    cells[GROSS_E9], cells[SHORT_E9] = gross, short
    cells[GROSS_MAX_E9] = max(cells[GROSS_MAX_E9], gross)
    return total


@hot
def reach(account: Account, market: Any, ts: int) -> None:
    """Time has come to `ts`, where something will happen next: write down the points of the grid before it."""
    cells = account.cells
    if cells[AT] == NONE:
        _write(account, market, ts)
        cells[AT] = (ts // cells[STEP] + 1) * cells[STEP]
    while cells[AT] <= ts:
        _write(account, market, cells[AT])
        cells[AT] += cells[STEP]
        if cells[COUNT] == len(account.points):
            _thin(account)


@hot
def _write(account: Account, market: Any, ts: int) -> None:
    cells, point = account.cells, account.points[account.cells[COUNT]]
    equity = equity_e9(account, market)
    if cells[COUNT] > 0:
        _charge(account, equity, (ts - cells[LAST]) // MS_NS)
        equity = equity_e9(account, market)
    point.ts = ts
    point.equity_e9 = equity
    point.gross_e9 = cells[GROSS_E9]
    cells[LAST] = ts
    cells[COUNT] += 1
    wanted = cells[GROSS_E9] // 1_000_000 * account.terms[MARGIN_PPM]
    if wanted > equity:
        cells[CALLS] += 1
        if cells[CALLED_TS] == NONE:
            cells[CALLED_TS] = ts


@hot
def _charge(account: Account, equity: int, ms: int) -> None:
    """Interest on what was borrowed over so many ms: shorts, and cash below 0."""
    cells, terms = account.cells, account.terms
    if terms[BORROW_PPM] == 0 and terms[DEBIT_PPM] == 0:
        return
    # Long positions are what is paid for with cash: equity = cash + longs - shorts.
    owed = max(cells[GROSS_E9] - 2 * cells[SHORT_E9] - equity, 0)
    _accrue(cells, BORROW_LEFT, cells[SHORT_E9] // 1_000_000 * terms[BORROW_PPM] // 1000, ms)
    _accrue(cells, DEBIT_LEFT, owed // 1_000_000 * terms[DEBIT_PPM] // 1000, ms)


@hot
def _accrue(cells: Cells, left: int, yearly: int, ms: int) -> None:
    """So much a year (1e-6 of the currency) over so many ms; what does not make a whole 1e-6 is kept."""
    rest = cells[left] + yearly % YEAR_MS * ms
    cells[INTEREST_E9] += (yearly // YEAR_MS * ms + rest // YEAR_MS) * 1000
    cells[left] = rest % YEAR_MS


@hot
def _thin(account: Account) -> None:
    """Keep the first point and those on a grid twice as wide."""
    cells, points = account.cells, account.points
    step, kept = 2 * cells[STEP], np.int64(1)
    for k in range(1, cells[COUNT]):
        if points[k].ts % step == 0:
            points[kept] = points[k]
            kept += 1
    cells[COUNT], cells[STEP] = kept, step
    cells[AT] = (cells[LAST] // step + 1) * step


@entry
def finish(account: Account, market: Any, ts: int) -> int:
    """The last point, at `ts`; returns the equity then."""
    reach(account, market, ts)
    if account.cells[LAST] < ts or account.cells[COUNT] == 0:
        _write(account, market, ts)
    else:
        account.points[account.cells[COUNT] - 1].equity_e9 = equity_e9(account, market)
        account.points[account.cells[COUNT] - 1].gross_e9 = account.cells[GROSS_E9]
    return account.points[account.cells[COUNT] - 1].equity_e9


def course(account: Account) -> Any:
    """The points so far, as a copy."""
    return account.points[: int(account.cells[COUNT])].copy()
