"""What one parameter set has: cash and what it holds, the orders that wait, and what its course of equity comes to.

Sets are worked on a few at a time, a `Block`: row b of every array is the set in turn, and nothing of one set is ever
seen by another, so a set alone and in a grid of thousands comes to the same. All instruments share the cash.

    equity = cash + value       value = sum over instruments of position * last close * worth
    orders  are kept in the order in which they were sent; the first `account.orders` rows are there

Money is 1e-9 of the currency. The floats are sums for statistics (returns r: r, r^2, r^3, r^4), in order of time.
Known bad case: a position can't be larger than `rules.lots_max`, which the dearest bar of the whole tape decides.
"""

from typing import Any, NamedTuple

import numpy as np

from ..hot import engine_state as engines
from ..hot import hot, memory, rare
from ..hot import market as markets
from ..hot import outbox as outboxes
from ..hot.bits import mix
from ..venues import account as terms
from ..wire import ASK, BID, NONE, RECORD
from . import bar_rules as rule
from .bar_rules import Rules

ORDERS_MAX = 16
ORDER = np.dtype(
    [
        ("handle", "i8"),
        ("instrument", "i8"),
        ("side", "i8"),
        ("flag", "i8"),
        ("price", "i8"),
        ("qty", "i8"),
        ("since", "i8"),  # ts of the bar that decided it
        ("met", "i8"),  # ts of the bar that it met last
    ],
    align=True,
)
ACCOUNT = np.dtype(
    [
        ("cash", "i8"),
        ("value", "i8"),
        ("equity", "i8"),  # at the last moment that was marked
        ("fees", "i8"),
        ("carry", "i8"),  # paid for shorts and borrowed cash
        ("peak", "i8"),
        ("trough", "i8"),
        ("peak_ts", "i8"),
        ("under", "i8"),  # 1 while equity is below its peak, 2 when this is the deepest fall so far
        ("drawdown_ns", "i8"),  # of the deepest
        ("longest_ns", "i8"),
        ("held_ns", "i8"),  # time with a position, but for the one that is open
        ("held_from", "i8"),  # ts since when there is one
        ("fills", "i8"),
        ("taken", "i8"),  # fills that took
        ("sent", "i8"),
        ("refused", "i8"),
        ("rounds", "i8"),  # positions that came back to zero
        ("won", "i8"),  # of those, how many made money after fees
        ("orders", "i8"),
        ("handle", "i8"),  # of the next order
        ("held", "i8"),  # instruments with a position
        ("ended", "i8"),  # 0, RUINED or TOO_MUCH
        ("ended_at", "i8"),  # the moment, counted from 0
        ("decisions", "i8"),  # hash of every request
        ("drawdown", "f8"),
        ("equity_sum", "f8"),
        ("turnover", "f8"),
        ("sum1", "f8"),
        ("sum2", "f8"),
        ("sum3", "f8"),
        ("sum4", "f8"),
        ("below2", "f8"),  # of returns below 0
    ],
    align=True,
)
RUINED, TOO_MUCH = 1, 2


class Block(NamedTuple):
    """A few parameter sets at work."""

    states: Any  # the strategy's state[sets, instruments]
    params: Any  # its parameters[sets]
    views: Any  # MARKET[sets, instruments]
    outboxes: Any  # OUTBOX[sets]
    orders: Any  # ORDER[sets, ORDERS_MAX]
    accounts: Any  # ACCOUNT[sets]
    rounds: Any  # int64[sets, instruments]: what the position that is open has brought so far
    cells: Any  # int64[sets, CELLS]: what `Desk.cells` is to a hook
    notes: Any  # RECORD[sets]: what a hook is told
    told: Any  # what a set did, one row a fill: int64[fills, TOLD]; empty when nobody asks
    course: Any  # int64[moments]: equity; empty when nobody asks


# Columns of `told`.
TS, INSTRUMENT, SIDE, TOOK, PRICE, QTY, FEE, HANDLE, CAUSE = range(9)
TOLD = 9


def create(sets: int, instruments: int, states: Any, params: Any, *, told: int = 0, course: int = 0) -> Block:
    """A block; `states` (sets * instruments records at their default) and `params` (sets records) become part of it."""
    return Block(
        states.reshape(sets, instruments),
        params,
        memory.zeros(sets * instruments, markets.MARKET).reshape(sets, instruments),
        memory.zeros(sets, outboxes.OUTBOX),
        memory.zeros(sets * ORDERS_MAX, ORDER).reshape(sets, ORDERS_MAX),
        memory.zeros(sets, ACCOUNT),
        np.zeros((sets, instruments), np.int64),
        np.zeros((sets, engines.CELLS), np.int64),
        memory.zeros(sets, RECORD),
        np.zeros((told, TOLD), np.int64),
        np.zeros(course, np.int64),
    )


def begin(block: Block, rules: Rules, instruments: Any) -> None:
    """Every set at its beginning: all cash, nothing sent. `instruments` are the (symbol, tick, lot) of each."""
    for array in (block.views, block.outboxes, block.orders, block.accounts, block.rounds, block.cells, block.notes):
        array.view(np.ndarray)[:] = np.zeros((), array.dtype)
    views = block.views.view(np.ndarray)
    for name in ("bid", "ask", "last_price", "last_side"):
        views[name] = NONE
    for index, (symbol, tick_e9, lot_e9) in enumerate(instruments):
        views["symbol"][:, index], views["tick_e9"][:, index], views["lot_e9"][:, index] = symbol, tick_e9, lot_e9
    accounts = block.accounts.view(np.ndarray)
    for name in ("cash", "equity", "peak", "trough"):
        accounts[name] = rules.cells[rule.CASH]
    block.cells[:, engines.DICE] = rules.cells[rule.SEED]
    accounts["handle"] = 1 + outboxes.REQUESTS_MAX
    block.outboxes.view(np.ndarray)["handles"] = np.arange(1, 1 + outboxes.REQUESTS_MAX)


@hot
def remove(block: Block, b: int, at: int) -> None:
    """An order is no longer there."""
    account, orders = block.accounts[b], block.orders[b]
    order = orders[at]
    view = block.views[b, order.instrument]
    if order.side == BID:
        view.open_bid_qty -= order.qty
    else:
        view.open_ask_qty -= order.qty
    view.open_orders -= 1
    account.orders -= 1
    for k in range(at, account.orders):
        orders[k] = orders[k + 1]


@hot
def append(block: Block, b: int, request: Any, instrument: int, ts: int) -> None:
    """An order more; there is room."""
    account = block.accounts[b]
    order, view = block.orders[b, account.orders], block.views[b, instrument]
    order.handle = request.order_id
    order.instrument = instrument
    order.side = request.side
    order.flag = request.flag
    order.price = request.price
    order.qty = request.qty
    order.since = order.met = ts
    account.orders += 1
    view.open_orders += 1
    if order.side == BID:
        view.open_bid_qty += order.qty
    else:
        view.open_ask_qty += order.qty


@hot
def affordable(block: Block, b: int, rules: Rules, order: Any, price: int, cost: int) -> bool:
    """Whether the account carries the position that this trade would make. One that makes it smaller always passes."""
    position = block.views[b, order.instrument].position
    after = position + order.qty if order.side == BID else position - order.qty
    if abs(after) <= abs(position) and after ^ position >= 0:
        return True
    if rules.terms[terms.MARGIN_PPM] == 0:
        return True
    gross, equity = np.int64(0), block.accounts[b].cash - cost
    for i in range(block.views.shape[1]):
        view = block.views[b, i]
        mark = price if i == order.instrument else view.last_price
        equity += view.position * mark * rules.worth[i]
        held = after if i == order.instrument else view.position
        gross += abs(held) * mark * rules.worth[i]
    return rule.margin(rules, gross) <= equity


@hot
def trade(block: Block, b: int, rules: Rules, order: Any, ts: int, price: int, took: bool, cost: int) -> None:
    """Book a fill of a whole order."""
    account, i, qty = block.accounts[b], order.instrument, order.qty
    view, worth = block.views[b, i], rules.worth[i]
    signed = qty if order.side == BID else -qty
    before, after = view.position, view.position + signed
    account.cash -= signed * price * worth + cost
    account.value += signed * view.last_price * worth
    account.fees += cost
    account.turnover += float(qty * price * worth)
    account.fills += 1
    account.taken += np.int64(took)
    if abs(account.cash) >= rule.MONEY_MAX or abs(account.fees) >= rule.MONEY_MAX:
        account.ended = TOO_MUCH
    hold(account, np.int64(after != 0) - np.int64(before != 0), ts)
    view.position = after
    view.cash -= signed * price
    view.fills += 1
    view.filled_qty += qty
    closing = min(qty, abs(before)) if before != 0 and (before > 0) != (signed > 0) else np.int64(0)
    paid = cost // qty * closing + cost % qty * closing // qty
    if closing > 0:
        block.rounds[b, i] += (closing if before > 0 else -closing) * price * worth - paid
        if after == 0 or (after > 0) != (before > 0):
            account.rounds += 1
            account.won += np.int64(block.rounds[b, i] > 0)
            block.rounds[b, i] = 0
    if qty > closing:
        opening = qty - closing if signed > 0 else closing - qty
        block.rounds[b, i] -= opening * price * worth + cost - paid


@hot
def hold(account: Any, change: int, ts: int) -> None:
    """As many instruments more, or less, with a position."""
    if account.held == 0:
        account.held_from = ts
    account.held += change
    if account.held == 0:
        account.held_ns += ts - account.held_from


@hot
def note(block: Block, b: int, kind: int, order: Any, handle: int, instrument: int, ts: int) -> Any:
    """What a hook is told of an order, or of a request for one; `aux` is 0 until somebody says why."""
    said = block.notes[b]
    said.kind = kind
    said.side = order.side
    said.instrument = instrument
    said.ts_event = said.ts_recv = ts
    said.order_id = handle
    said.price = order.price
    said.qty = order.qty
    said.aux = 0
    return said


@hot
def tell(block: Block, b: int, order: Any, ts: int, price: int, took: bool, cost: int, cause: int) -> None:
    """Keep a fill for whoever asked for them."""
    at = block.accounts[b].fills - 1
    if at < len(block.told):
        row = block.told[at]
        row[TS] = ts
        row[INSTRUMENT] = order.instrument
        row[SIDE] = order.side
        row[TOOK] = np.int64(took)
        row[PRICE] = price
        row[QTY] = order.qty
        row[FEE] = cost
        row[HANDLE] = order.handle
        row[CAUSE] = cause


@hot
def decided(account: Any, request: Any, instrument: int, ts: int) -> None:
    """Fold a request into the hash of all decisions."""
    what = (np.int64(request.kind) << 8) | (np.int64(request.side) << 16) | (np.int64(request.flag) << 24)
    value = mix(account.decisions, ts)
    value = mix(value, (instrument << 32) | what)
    value = mix(value, request.price)
    value = mix(value, request.qty)
    account.decisions = mix(value, request.order_id)


@hot
def revalue(account: Any, view: Any, worth: int, close: int) -> None:
    """The last price moves."""
    if view.position != 0:
        account.value += view.position * (close - view.last_price) * worth
    view.last_price = close


@rare
def accrue(block: Block, b: int, rules: Rules, seconds: int) -> None:
    """What shorts and cash below zero cost over a time in which nothing traded."""
    account, shorts = block.accounts[b], np.int64(0)
    for i in range(block.views.shape[1]):
        view = block.views[b, i]
        if view.position < 0:
            shorts -= view.position * view.last_price * rules.worth[i]
    debt = max(-account.cash, 0)
    cost = rule.over_time(rule.share(shorts, rules.terms[terms.BORROW_PPM], 1_000_000), seconds)
    cost += rule.over_time(rule.share(debt, rules.terms[terms.DEBIT_PPM], 1_000_000), seconds)
    account.cash -= cost
    account.carry += cost
    if abs(account.cash) >= rule.MONEY_MAX or abs(account.carry) >= rule.MONEY_MAX:
        account.ended = TOO_MUCH


class Sums(NamedTuple):
    """What is added up at every moment: the only floats. Locals of the loop, so that they stay in registers."""

    equity: float
    gain: float
    square: float
    cube: float
    fourth: float
    below: float  # squares of losses only


@hot
def sums_of(account: Any) -> Sums:
    """Where they stand."""
    return Sums(account.equity_sum, account.sum1, account.sum2, account.sum3, account.sum4, account.below2)


@hot
def keep(account: Any, sums: Sums) -> None:
    """Put them back."""
    account.equity_sum, account.sum1, account.sum2 = sums.equity, sums.gain, sums.square
    account.sum3, account.sum4, account.below2 = sums.cube, sums.fourth, sums.below


@hot
def mark(account: Any, sums: Sums, ts: int, before_ts: int) -> Sums:
    """A moment is over: what equity is now, and what that does to its statistics."""
    equity, before = account.cash + account.value, account.equity
    total = sums.equity + float(equity)
    if equity == before:
        return Sums(total, sums.gain, sums.square, sums.cube, sums.fourth, sums.below)
    account.equity = equity
    if equity < account.trough or equity >= account.peak:
        further(account, ts, before_ts)
    gain = float(equity) / float(before) - 1.0
    square = gain * gain
    loss = min(gain, 0.0)  # not a branch: which way it goes is what nobody can predict
    return Sums(
        total,
        sums.gain + gain,
        sums.square + square,
        sums.cube + square * gain,
        sums.fourth + square * square,
        sums.below + loss * loss,
    )


@hot
def further(account: Any, ts: int, before_ts: int) -> None:
    """Equity is where it was not before: at or above its peak, or below the trough of its fall."""
    equity = account.equity
    if equity >= account.peak:
        account.peak = account.trough = equity
        if account.under != 0:
            recover(account, ts)
        return
    account.trough = equity
    if account.under == 0:
        account.under = 1
        account.peak_ts = before_ts
    fall = 1.0 - float(equity) / float(account.peak)
    if fall > account.drawdown:
        account.drawdown = fall
        account.under = 2
    if equity <= 0:
        account.ended = RUINED


@hot
def recover(account: Any, ts: int) -> None:
    """A fall is over, or the tape is: how long it lasted."""
    lasted = ts - account.peak_ts
    account.longest_ns = max(account.longest_ns, lasted)
    if account.under == 2:
        account.drawdown_ns = lasted
    account.under = 0


@hot
def ruin(block: Block, b: int, moment: int, ts: int) -> None:
    """The run of this set is over: every position is closed at the last close, every order taken back."""
    account = block.accounts[b]
    account.ended_at = moment
    account.cash += account.value
    account.value = 0
    if account.held != 0:
        hold(account, -account.held, ts)
    while account.orders > 0:
        remove(block, b, account.orders - 1)
    for i in range(block.views.shape[1]):
        block.views[b, i].position = 0


def check(block: Block, b: int, rules: Rules) -> None:
    """Every invariant of one set, by sums in Python's own whole numbers."""
    account, views = block.accounts[b], block.views[b]
    value = sum(int(v.position) * int(v.last_price) * int(w) for v, w in zip(views, rules.worth, strict=True))
    assert int(account.value) == value, "value is that of the positions at their last closes"
    assert 0 <= int(account.orders) <= ORDERS_MAX
    assert int(account.held) == sum(int(view.position) != 0 for view in views)
    rows = [block.orders[b, k] for k in range(int(account.orders))]
    assert [int(row.handle) for row in rows] == sorted({int(row.handle) for row in rows}), "in the order of sending"
    for index, view in enumerate(views):
        own = [row for row in rows if int(row.instrument) == index]
        assert int(view.open_orders) == len(own)
        for side, open_qty in ((BID, int(view.open_bid_qty)), (ASK, int(view.open_ask_qty))):
            assert open_qty == sum(int(row.qty) for row in own if int(row.side) == side)
            reach = open_qty + (int(view.position) if side == BID else -int(view.position))
            assert reach <= max(int(rules.lots_max[index]), 0) or open_qty == 0
    assert int(account.drawdown >= 0.0) and int(account.equity) <= int(account.peak)
