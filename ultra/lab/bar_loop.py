"""The loop of a bar backtest: one strategy bound into it, any number of parameter sets through one tape.

At each moment (all bars of one time stamp): what the time since the last one cost; then each bar meets the orders that
earlier bars decided (`on_fill`, `on_order`); then every view has the new close and `on_bar` decides; then equity is
marked. So no decision knows more than the closes of its own moment, and no order meets the bar it was decided at.

A block of sets goes through a piece of the tape that fits a core's cache before the next piece is read. With one
instrument a moment is a bar, and the loop is `through_one`, which need not look for its end.
Known bad case: `on_book`, `on_trade` and `on_timer` have nothing to hear here, and are not called.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..hot import entry, hot
from ..hot import outbox as outboxes
from ..hot import risk as risks
from ..hot.engine import Desk, Hooks
from ..wire import (
    ASK,
    AT_MARKET,
    BID,
    CANCEL_ORDER,
    CANCELLED,
    FILL,
    FILL_OR_KILL,
    GOOD_TILL_CANCEL,
    IMMEDIATE,
    NEW,
    NONE,
    POST_ONLY,
    REJECTED,
    REPLACE_ORDER,
    STOP,
)  # fmt: skip
from . import bar_account as accounts
from . import bar_rules as rule
from .bar_account import Block
from .bar_rules import Rules

KNOWN = IMMEDIATE | POST_ONLY | FILL_OR_KILL | AT_MARKET | STOP | GOOD_TILL_CANCEL
SECOND = 1_000_000_000
Through = Callable[[Block, Rules, Any, Any], None]


@hot
def judge(block: Block, b: int, rules: Rules, request: Any, instrument: int, ts: int) -> int:
    """PASS, or why this order must not be sent: a reason of `ultra.hot.risk`."""
    account, side, qty = block.accounts[b], request.side, request.qty
    if account.ended != 0 or ts < rules.cells[rule.TRADE_FROM]:
        return risks.STRATEGY_OFF
    if qty <= 0:
        return risks.BAD_QTY
    if side != BID and side != ASK:
        return risks.BAD_SIDE
    if request.flag & ~KNOWN != 0:
        return risks.VENUE_REFUSED
    priced = request.flag & AT_MARKET == 0 or request.flag & STOP != 0
    if priced and (request.price < 0 or request.price > rules.price_max[instrument]):
        return risks.BAD_PRICE
    view, most = block.views[b, instrument], rules.lots_max[instrument]
    reach = view.position + view.open_bid_qty if side == BID else view.open_ask_qty - view.position
    if qty > most or reach + qty > most:
        return risks.POSITION_LIMIT
    return risks.PASS if account.orders < accounts.ORDERS_MAX else risks.NO_ROOM


@hot
def find(block: Block, b: int, handle: int) -> int:
    """Where an order is, NONE when it is not there."""
    for at in range(block.accounts[b].orders):
        if block.orders[b, at].handle == handle:
            return at
    return NONE


def build(hooks: Hooks, key: str) -> tuple[Through, Through]:
    """Bind a strategy: the loops for one instrument and for many, `(block, rules, bars, cuts)`.

    `bars` are BAR records in order of time; `cuts` int64[pieces + 1] where a piece begins, never within a moment.
    `key` is the strategy's fingerprint."""
    on_bar, on_fill, on_order = hooks.on_bar, hooks.on_fill, hooks.on_order

    @hot
    def desk_of(block: Block, b: int) -> Desk:
        return Desk(block.views[b], block.states[b], block.cells[b])

    @hot
    def hear(block: Block, b: int, said: Any, instrument: int) -> None:
        """Tell the strategy what became of an order."""
        state, view = block.states[b, instrument], block.views[b, instrument]
        on_order(state, block.params[b], said, view, block.outboxes[b], desk_of(block, b))

    @hot
    def accept(block: Block, b: int, rules: Rules, instrument: int, ts: int) -> None:
        """Take what the strategy asked for. What it asks while it is told of a refusal is dropped, as everywhere."""
        outbox, account = block.outboxes[b], block.accounts[b]
        count = outbox.count
        outbox.count = outboxes.REQUESTS_MAX
        for row in range(count):
            request = outbox.rows[row]
            if request.kind == NEW or request.kind == REPLACE_ORDER:
                place(block, b, rules, request, instrument, ts)
                outbox.handles[row] = account.handle
                account.handle += 1
            elif request.kind == CANCEL_ORDER:
                at = find(block, b, request.order_id)
                index = instrument if at < 0 else block.orders[b, at].instrument
                accounts.decided(account, request, index, ts)
                if at >= 0:
                    take_back(block, b, at, ts)
            else:
                index = instrument if request.instrument == outboxes.THIS else np.int64(request.instrument)
                accounts.decided(account, request, index, ts)
                at = np.int64(0)
                while at < account.orders:
                    if index == outboxes.EVERY or block.orders[b, at].instrument == index:
                        take_back(block, b, at, ts)
                    else:
                        at += 1
        outbox.count = 0

    @hot
    def place(block: Block, b: int, rules: Rules, request: Any, instrument: int, ts: int) -> None:
        """A new order, or one in the place of another: until it is there both are counted, as risk does."""
        account, index, instead, reason = block.accounts[b], np.int64(request.instrument), np.int64(NONE), risks.PASS
        if request.kind == REPLACE_ORDER:
            request.kind = NEW
            instead = find(block, b, request.aux)
            if instead < 0:
                index, reason = instrument, risks.UNKNOWN_ORDER
            else:
                index, request.side = block.orders[b, instead].instrument, block.orders[b, instead].side
        elif index == outboxes.THIS:
            index = instrument
        elif index < 0 or index >= block.views.shape[1]:
            index, reason = instrument, risks.BAD_COMMAND
        accounts.decided(account, request, index, ts)
        account.sent += 1
        if reason == risks.PASS:
            reason = judge(block, b, rules, request, index, ts)
        if reason == risks.PASS:
            if instead >= 0:
                take_back(block, b, instead, ts)
            accounts.append(block, b, request, index, ts)
            return
        account.refused += 1
        said = accounts.note(block, b, REJECTED, request, request.order_id, index, ts)
        said.aux = reason
        hear(block, b, said, index)

    @hot
    def take_back(block: Block, b: int, at: int, ts: int) -> None:
        """An order is cancelled, and its strategy told."""
        order = block.orders[b, at]
        i = order.instrument
        said = accounts.note(block, b, CANCELLED, order, order.handle, i, ts)
        accounts.remove(block, b, at)
        hear(block, b, said, i)

    @hot
    def meet(block: Block, b: int, rules: Rules, bar: Any, moment: int) -> None:
        """A bar meets the orders that wait for its instrument, the oldest first."""
        account, ts, i, at = block.accounts[b], bar.ts_event, np.int64(bar.instrument), np.int64(0)
        while at < account.orders:
            order = block.orders[b, at]
            if order.instrument != i or order.met >= ts:
                at += 1
                continue
            order.met = ts
            fate, price, took = rule.meet(rules, bar, order.side, order.flag, order.price)
            if fate == rule.WAITS:
                at += 1
                continue
            settle(block, b, rules, at, ts, fate, price, took, moment)
            if block.outboxes[b].count > 0:
                accept(block, b, rules, i, ts)
            at = np.int64(0)  # a hook may have taken back others; those that met this bar are passed over

    @hot
    def settle(
        block: Block, b: int, rules: Rules, at: int, ts: int, fate: int, price: int, took: bool, moment: int
    ) -> None:
        """An order is over: it trades, or it is taken back, or the account does not carry it."""
        account, order = block.accounts[b], block.orders[b, at]
        i = order.instrument
        cost = rule.fee(rules, order.qty * price * rules.worth[i], order.qty, took) if fate == rule.TRADES else 0
        trades = fate == rule.TRADES and accounts.affordable(block, b, rules, order, price, cost)
        said = accounts.note(block, b, FILL if trades else CANCELLED, order, order.handle, i, ts)
        if trades:
            said.price = price
            accounts.trade(block, b, rules, order, ts, price, took, cost)
            accounts.tell(block, b, order, ts, price, took, cost, moment)
        elif fate == rule.TRADES or order.flag & POST_ONLY != 0:
            said.kind = REJECTED
            said.aux = risks.NOTIONAL_LIMIT if fate == rule.TRADES else risks.WOULD_TRADE
            account.refused += 1
        accounts.remove(block, b, at)
        if trades:
            state, view = block.states[b, i], block.views[b, i]
            on_fill(state, block.params[b], said, view, block.outboxes[b], desk_of(block, b))
        else:
            hear(block, b, said, i)

    @hot
    def decide(block: Block, b: int, rules: Rules, bar: Any) -> None:
        """The strategy sees a bar."""
        i, outbox = np.int64(bar.instrument), block.outboxes[b]
        on_bar(block.states[b, i], block.params[b], bar, block.views[b, i], outbox, desk_of(block, b))
        if outbox.count > 0:
            accept(block, b, rules, i, bar.ts_event)

    @hot
    def close_moment(block: Block, b: int, sums: accounts.Sums, before_ts: int, ts: int, moment: int) -> accounts.Sums:
        """Mark it; what it comes to may end the run of this set."""
        account = block.accounts[b]
        found = accounts.mark(account, sums, ts, before_ts)
        if moment < len(block.course):
            block.course[moment] = account.equity
        if account.ended != 0:
            accounts.ruin(block, b, moment, ts)
        return found

    @hot
    def pass_bar(block: Block, b: int, rules: Rules, bar: Any, moment: int) -> None:
        """A bar trades, and its close is the last price."""
        account, i = block.accounts[b], np.int64(bar.instrument)
        view = block.views[b, i]
        if account.orders > 0:
            meet(block, b, rules, bar, moment)
        accounts.revalue(account, view, rules.worth[i], bar.price)
        view.last_qty = bar.qty
        view.volume += bar.qty

    @entry(key=key)
    def through_one(block: Block, rules: Rules, bars: Any, cuts: Any) -> None:
        for piece in range(len(cuts) - 1):
            for b in range(len(block.accounts)):
                one(block, b, rules, bars, cuts[piece], cuts[piece + 1])

    @hot
    def one(block: Block, b: int, rules: Rules, bars: Any, first: int, last: int) -> None:
        account, before_ts, carries = block.accounts[b], bars[max(first - 1, 0)].ts_event, rule.carries(rules)
        sums = accounts.sums_of(account)
        for k in range(first, last):
            if account.ended != 0:
                break
            bar = bars[k]
            ts = bar.ts_event
            if carries:
                accounts.accrue(block, b, rules, ts // SECOND - before_ts // SECOND)
            pass_bar(block, b, rules, bar, k)
            decide(block, b, rules, bar)
            sums = close_moment(block, b, sums, before_ts, ts, k)
            before_ts = ts
        accounts.keep(account, sums)

    @entry(key=key)
    def through_many(block: Block, rules: Rules, bars: Any, cuts: Any) -> None:
        moments = np.int64(0)
        for piece in range(len(cuts) - 1):
            passed = np.int64(0)
            for b in range(len(block.accounts)):
                passed = many(block, b, rules, bars, cuts[piece], cuts[piece + 1], moments)
            moments += passed

    @hot
    def many(block: Block, b: int, rules: Rules, bars: Any, first: int, last: int, moments: int) -> int:
        """Returns how many moments these bars were; `moments` were before."""
        account, before_ts, carries = block.accounts[b], bars[max(first - 1, 0)].ts_event, rule.carries(rules)
        sums = accounts.sums_of(account)
        k, moment = first, moments
        while k < last:
            ts, end = bars[k].ts_event, k + 1
            while end < last and bars[end].ts_event == ts:
                end += 1
            if account.ended == 0:
                if carries:
                    accounts.accrue(block, b, rules, ts // SECOND - before_ts // SECOND)
                for j in range(k, end):
                    pass_bar(block, b, rules, bars[j], moment)
                for j in range(k, end):
                    decide(block, b, rules, bars[j])
                sums = close_moment(block, b, sums, before_ts, ts, moment)
            k, before_ts, moment = end, ts, moment + 1
        accounts.keep(account, sums)
        return moment - moments

    return through_one, through_many
