"""What the tests of bar backtests share: a strategy that does anything, tapes in memory, and its twin beside it."""

import itertools
from dataclasses import dataclass
from typing import Any

import bar_twin
import numpy as np
from bar_twin import CANCEL, CANCEL_ALL, CANCEL_EVERY, NOTHING, REPLACE, SEND, TARGET, Bar, Twin

from ultra import Strategy, parameter, state, strategy
from ultra.hot import hot
from ultra.hot.outbox import EVERY, cancel, cancel_all, replace, send, target
from ultra.lab import bar_account as accounts
from ultra.lab import bar_tape, bars
from ultra.wire import AT_MARKET, FILL_OR_KILL, IMMEDIATE, POST_ONLY, RECORD, STOP

T0 = 1_700_000_000_000_000_000


@hot
def plan(seed: int, ts: int, price: int, instrument: int, position: int, opens: int, moment: int, count: int) -> Any:
    """(what, instrument, side, price, qty, flag): nothing, one order or one cancel, by a draw from all it is given."""
    x = (seed * 7919 + ts % 100_003 * 31 + price * 131 + instrument * 17 + position * 5 + opens + moment * 53) % 65_521
    x = (x * 1_103_515_245 + 12_345) % 2_147_483_648
    x = (x // 3 * 48_271 + 11) % 2_147_483_647
    what, kind, side, other = x // 7 % 13, x // 64 % 7, x // 512 % 2, instrument
    flag = 0
    if kind == 1 or kind == 2:
        flag = AT_MARKET
    elif kind == 3:
        flag = STOP
    elif kind == 4:
        flag = IMMEDIATE
    elif kind == 5:
        flag = POST_ONLY
    elif kind == 6:
        flag = FILL_OR_KILL
    qty = x // 1024 % 4
    if x // 4096 % 16 == 0:
        qty = 1 << 62
    at = price + x // 65_536 % 5 - 2
    if x % 5 == 0:
        other = (instrument + 1) % count
    if what >= 10 or (moment == 1 and x % 3 > 0):
        what = NOTHING
    elif what > TARGET:
        what = SEND
    return what, other, side, at, qty, flag


@hot
def wish(params: Any, event: Any, market: Any, desk: Any, moment: int) -> Any:
    i, count = np.int64(event.instrument), len(desk.markets)
    return plan(params.seed, event.ts_event, event.price, i, market.position, market.open_orders, moment, count)


@hot
def act(state: Any, market: Any, orders: Any, wanted: Any) -> None:
    what, other, side, price, qty, flag = wanted
    if what == SEND:
        state.newest = send(orders, side, price, qty, flag, other)
    elif what == CANCEL:
        cancel(orders, state.newest)
    elif what == CANCEL_ALL:
        cancel_all(orders)
    elif what == CANCEL_EVERY:
        cancel_all(orders, EVERY)
    elif what == REPLACE:
        state.newest = replace(orders, state.newest, price, qty, flag)
    elif what == TARGET:
        handle = target(orders, market, qty)
        if handle >= 0:
            state.newest = handle


class Anything(Strategy):
    """Sends and takes back whatever its draw says, and remembers what it heard."""

    seed: int = parameter(1)
    newest: int = state()
    heard: int = state()

    @staticmethod
    def on_bar(state, params, event, market, orders, desk):
        act(state, market, orders, wish(params, event, market, desk, 0))

    @staticmethod
    def on_fill(state, params, event, market, orders, desk):
        state.heard = (state.heard * 31 + 17 * 7 + event.order_id * 3) % 1_000_003
        act(state, market, orders, wish(params, event, market, desk, 1))

    @staticmethod
    def on_order(state, params, event, market, orders):
        state.heard = (state.heard * 31 + np.int64(event.kind) * 7 + event.order_id * 3 + event.aux) % 1_000_003


@dataclass(frozen=True)
class Paper:
    """An instrument."""

    symbol: str
    tick_e9: int = 10_000_000
    lot_e9: int = 1_000_000_000


class Reel:
    """A tape in memory."""

    def __init__(self, records, instruments):
        self.records, self.instruments = records, instruments

    def array(self):
        return self.records.view(np.recarray)


def reel(rows: list[Bar], count: int = 1, **paper: int) -> Reel:
    """A tape of these bars, in order of time."""
    rows = sorted(rows, key=lambda bar: bar.ts)
    parts = [
        bar_tape.record(bar.ts, bar.instrument, bar.opened, bar.high, bar.low, bar.close, bar.volume) for bar in rows
    ]
    records = np.concatenate(parts) if parts else np.zeros(0, RECORD)
    return Reel(records, tuple(Paper(f"S{k}", **paper) for k in range(count)))


def closes(prices: Any, *, step_ns: int = 86_400_000_000_000, volume: int = 0, **paper: int) -> Reel:
    """A tape of one instrument whose bars open, stay and close at one price each."""
    return reel([Bar(T0 + k * step_ns, 0, p, p, p, p, volume) for k, p in enumerate(prices)], **paper)


def trend(bars, seed=3, **paper):
    """Closes that wander."""
    steps = np.random.default_rng(seed).integers(-40, 42, bars)
    return closes((5000 + np.cumsum(steps)).clip(500).tolist(), **paper)


def twin_of(found: bars.Grid, rows: list[Bar], seed: int) -> Twin:
    """The twin's run of one parameter set of a grid."""
    rules, numbers = found.rules, found.rules.terms.tolist()
    cash, touch, trade_from = rules.cells.tolist()[:3]
    maker, taker, maker_lot, taker_lot, least, slip_ticks, slip, borrow, debit, margin = numbers[:10]
    terms = bar_twin.Terms(
        cash, rules.worth.tolist(), rules.lots_max.tolist(), rules.price_max.tolist(), maker, taker, maker_lot,
        taker_lot, least, slip_ticks, slip, borrow, debit, margin, bool(touch), trade_from,
    )  # fmt: skip
    return Twin(terms, getattr(plan, "py_func", plan), seed).run(rows)


def assert_same(found: bars.Grid, index: int, twin: Twin) -> None:
    """The set's account, its equity at every moment and its fills are the twin's."""
    account = found.accounts[index]
    numbers = {
        name: int(account[name]) for name in ("cash", "fees", "carry", "refused", "rounds", "won", "fills", "orders")
    }
    assert numbers == {
        "cash": twin.cash, "fees": twin.fees, "carry": twin.carry, "refused": twin.refused, "rounds": twin.rounds,
        "won": twin.won, "fills": len(twin.fills), "orders": len(twin.orders),
    }  # fmt: skip
    still = int(found.bars.ts[-1] - account["held_from"]) if account["held"] else 0
    assert int(account["held_ns"]) + still == twin.held_ns
    equity, fills = found.course(index)
    assert equity.tolist() == twin.equity
    columns = ("ts_event", "instrument", "side", "took", "price", "qty", "fee_e9", "order_id")
    assert [tuple(int(row[name]) for name in columns) for row in fills] == twin.fills
    assert bool(account["ended"]) == twin.ruined


def walk(found: bars.Grid, index: int = 0) -> Any:
    """One set again, piece by piece, `check` after each; its block."""
    block = bars.begun(found, index, index + 1)
    through = bars.loops(found.loaded, len(found.bars.instruments))
    ts = found.bars.records["ts_event"]
    cuts = [0, *(np.flatnonzero(np.diff(ts)) + 1).tolist(), len(ts)]
    for first, last in itertools.pairwise(cuts):
        through(block, found.rules, found.bars.records, np.array([first, last], np.int64))
        accounts.check(block, 0, found.rules)
    return block


LOADED = strategy.load(Anything)
