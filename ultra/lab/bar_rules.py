"""What a bar does to the orders that wait for it: at which price they trade, and what that costs.

An order decided at one bar meets the later bars of its instrument, never the one that decided it. Bars are the only
truth here; nothing within a bar is known but that it opened first and that every price from low to high was paid.

    AT_MARKET   trades at the open, slippage against it
    limit       open at the limit or better: trades at the open, slippage against it but never beyond the limit (it
                took; POST_ONLY is cancelled instead); else, if the bar trades through the limit, at the limit (it
                rested; IMMEDIATE and FILL_OR_KILL are cancelled instead). `touch`: reaching the limit is enough.
    STOP        once the bar reaches the trigger: at the trigger or the open, whichever is worse, slippage against it

An order always trades whole. Money is int64 in 1e-9 of the currency and every product is exact: `create` bounds prices
and lots so that none can leave int64. A fee is rounded up to the next 1e-9, a rebate down: never in our favour.
Known bad case: of a limit and a stop that one bar reaches both, which came first is not known: the older order does.
"""

from typing import Any, NamedTuple

import numpy as np

from ..hot import bar as bars
from ..hot import hot
from ..hot.atomics import Cells
from ..wire import ASK, AT_MARKET, BID, FILL_OR_KILL, IMMEDIATE, NONE, POST_ONLY, STOP

# Cells of the rules. Rates are in 1e-8: a basis point is 10_000.
CASH, SLIP_TICKS, SLIP_RATE, MAKER_RATE, TAKER_RATE, LOT_FEE, LEVERAGE, BORROW_RATE, INTEREST_RATE = range(9)
TOUCH, TRADE_FROM, GROUPS = 9, 10, 11
CELLS = 16
ONE = 100_000_000  # a rate of 100 %
BPS = 10_000  # a rate of one basis point
YEAR_S = 31_536_000  # 365 days: what a yearly rate is for
MONEY_MAX = 1 << 61  # cash beyond it ends a run: the next sum could leave int64
NOTIONAL_MAX = 1 << 60  # of all positions together

# What became of an order at a bar.
WAITS, TRADES, ENDS = range(3)


class Rules(NamedTuple):
    """What a run is charged, and the bounds within which its sums are exact."""

    cells: Cells
    worth: Any  # int64[instruments]: what one tick of one lot is worth, in 1e-9 of the currency
    lots_max: Any  # int64[instruments]: of a position with its open orders, either way
    price_max: Any  # int64[instruments]: of an order


def create(worth: Any, price_highest: Any, **cells: int) -> Rules:
    """Rules with the given cells (by lower-case name) over instruments whose highest price is known."""
    values = np.zeros(CELLS, np.int64)
    for name, value in cells.items():
        values[globals()[name.upper()]] = value
    worth = np.asarray(worth, np.int64)
    dearest = [
        int(price) + int(values[SLIP_TICKS]) + -(-int(price) * int(values[SLIP_RATE]) // ONE) + 1
        for price in price_highest
    ]
    lots = [NOTIONAL_MAX // (price * int(each) * len(worth)) for price, each in zip(dearest, worth, strict=True)]
    return Rules(values, worth, np.array(lots, np.int64), 2 * np.array(dearest, np.int64))


@hot
def share(amount: int, rate: int) -> int:
    """`amount * rate / ONE`, rounded up; amount is not negative."""
    whole = amount // ONE
    return whole * rate - (-(amount - whole * ONE) * rate) // ONE


@hot
def over_time(amount: int, seconds: int) -> int:
    """What of a yearly amount falls on so many seconds, rounded up."""
    whole = amount // YEAR_S
    return whole * seconds - (-(amount - whole * YEAR_S) * seconds) // YEAR_S


@hot
def carries(rules: Rules) -> bool:
    """Whether time costs anything."""
    return rules.cells[BORROW_RATE] != 0 or rules.cells[INTEREST_RATE] != 0


@hot
def fee(rules: Rules, notional: int, qty: int, took: bool) -> int:
    """Of a fill, in 1e-9 of the currency; a rebate is negative."""
    rate = rules.cells[TAKER_RATE] if took else rules.cells[MAKER_RATE]
    return share(notional, rate) + qty * rules.cells[LOT_FEE]


@hot
def slipped(rules: Rules, side: int, price: int) -> int:
    """A price as it is for who takes: worse by the slippage, and never below zero."""
    worse = rules.cells[SLIP_TICKS] + share(price, rules.cells[SLIP_RATE])
    return price + worse if side == BID else max(price - worse, 0)


@hot
def meet(rules: Rules, bar: Any, side: int, flag: int, limit: int) -> tuple[int, int, bool]:
    """What a bar does to an order: (WAITS, TRADES or ENDS; the price; whether it took)."""
    first = bars.opened(bar)
    taken = slipped(rules, side, first)
    if flag & STOP != 0:
        if (side == BID and bars.high(bar) >= limit) or (side == ASK and bars.low(bar) <= limit):
            worse = max(first, limit) if side == BID else min(first, limit)
            return TRADES, slipped(rules, side, worse), True
        return WAITS, NONE, False
    if flag & AT_MARKET != 0:
        return TRADES, taken, True
    if (side == BID and first <= limit) or (side == ASK and first >= limit):
        if flag & POST_ONLY != 0:
            return ENDS, NONE, False
        return TRADES, min(taken, limit) if side == BID else max(taken, limit), True
    if flag & (IMMEDIATE | FILL_OR_KILL) != 0:
        return ENDS, NONE, False
    beyond = limit - bars.low(bar) if side == BID else bars.high(bar) - limit
    if beyond > 0 or (beyond == 0 and rules.cells[TOUCH] != 0):
        return TRADES, limit, False
    return WAITS, NONE, False


@hot
def margin(rules: Rules, gross: int) -> int:
    """Least equity that carries positions of this gross value, rounded up; 0 where leverage has no limit."""
    leverage = rules.cells[LEVERAGE]
    if leverage == 0:
        return 0
    whole = gross // leverage
    return whole * BPS - (-(gross - whole * leverage) * BPS) // leverage
