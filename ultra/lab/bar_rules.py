"""What a bar does to the orders that wait for it: at which price they trade, and what that costs.

An order decided at one bar meets the later bars of its instrument, never the one that decided it. Bars are the only
truth here; nothing within a bar is known but that it opened first and that every price from low to high was paid.

    AT_MARKET   trades at the open, slippage against it
    limit       open at the limit or better: trades at the open, slippage against it but never beyond the limit (it
                took; POST_ONLY is cancelled instead); else, if the bar trades through the limit, at the limit (it
                rested; IMMEDIATE and FILL_OR_KILL are cancelled instead). `touch`: reaching the limit is enough.
    STOP        once the bar reaches the trigger: at the trigger or the open, whichever is worse, slippage against it

An order always trades whole. Money is int64 in 1e-9 of the currency and every product is exact: `create` bounds prices
and lots so that none can leave int64. Fees, slippage and interest are those of `ultra.lab.terms`.
Known bad case: of a limit and a stop that one bar reaches both, which came first is not known: the older order does.
"""

from typing import Any, NamedTuple

import numpy as np

from ..hot import bar as bars
from ..hot import hot
from ..hot.atomics import Cells
from ..venues import account as accounts
from ..venues.account import E9
from ..wire import ASK, AT_MARKET, BID, FILL_OR_KILL, IMMEDIATE, NONE, POST_ONLY, STOP

# Cells of the rules; rates and fees are the terms of `ultra.venues.account`.
CASH, TOUCH, TRADE_FROM, SEED = range(4)
CELLS = 8
YEAR_S = 31_557_600  # of 365.25 days, as `ultra.venues.account`
MONEY_MAX = 1 << 61  # cash beyond it ends a run: the next sum could leave int64
NOTIONAL_MAX = 1 << 60  # of all positions together
MARGIN_PPM_MAX = 2_000_000

# What became of an order at a bar.
WAITS, TRADES, ENDS = range(3)


class Rules(NamedTuple):
    """What a run is charged, and the bounds within which its sums are exact."""

    cells: Cells
    terms: Cells  # int64[TERMS] of `ultra.venues.account`
    worth: Any  # int64[instruments]: what one tick of one lot is worth, in 1e-9 of the currency
    lots_max: Any  # int64[instruments]: of a position with its open orders, either way
    price_max: Any  # int64[instruments]: of an order


def create(terms: Any, worth: Any, price_highest: Any, **cells: int) -> Rules:
    """Rules with the given cells (by lower-case name) over instruments whose highest price is known."""
    values, worth = np.zeros(CELLS, np.int64), np.asarray(worth, np.int64)
    for name, value in cells.items():
        values[globals()[name.upper()]] = value
    slip, rate = int(terms[accounts.SLIP_TICKS]), int(terms[accounts.SLIP_RATE_E9])
    dearest = [int(price) + slip + -(-int(price) * rate // E9) + 1 for price in price_highest]
    lots = [NOTIONAL_MAX // (price * int(each) * len(worth)) for price, each in zip(dearest, worth, strict=True)]
    return Rules(values, np.asarray(terms), worth, np.array(lots, np.int64), 2 * np.array(dearest, np.int64))


@hot
def share(amount: int, rate: int, whole: int) -> int:
    """`amount * rate / whole`, rounded up; amount is not negative, and neither rate nor whole are above 1e9."""
    times = amount // whole
    return times * rate - (-(amount - times * whole) * rate) // whole


@hot
def over_time(amount: int, seconds: int) -> int:
    """What of a yearly amount falls on so many seconds, rounded up."""
    return share(amount, seconds, YEAR_S)


@hot
def carries(rules: Rules) -> bool:
    """Whether time costs anything."""
    return rules.terms[accounts.BORROW_PPM] != 0 or rules.terms[accounts.DEBIT_PPM] != 0


@hot
def fee(rules: Rules, notional: int, qty: int, took: bool) -> int:
    """Of a fill, in 1e-9 of the currency, rounded down as `ultra.venues.account` does; a rebate is negative."""
    terms = rules.terms
    rate = terms[accounts.TAKER_RATE_E9] if took else terms[accounts.MAKER_RATE_E9]
    cost = notional // E9 * rate + notional % E9 * rate // E9
    cost += qty * (terms[accounts.TAKER_LOT_E9] if took else terms[accounts.MAKER_LOT_E9])
    return max(cost, terms[accounts.LEAST_E9]) if cost >= 0 else cost


@hot
def slipped(rules: Rules, side: int, price: int) -> int:
    """A price as it is for who takes: worse by the slippage, and never below zero."""
    worse = rules.terms[accounts.SLIP_TICKS] + share(price, rules.terms[accounts.SLIP_RATE_E9], E9)
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
    """Least equity that carries positions of this gross value, rounded up; 0 where there is no margin to cover."""
    return share(gross, rules.terms[accounts.MARGIN_PPM], 1_000_000)
