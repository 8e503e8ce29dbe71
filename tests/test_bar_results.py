"""Of a whole run: figures, independence of the sets from each other, nothing of the future, and what is refused."""

import math

import numpy as np
import pytest
from bar_rig import LOADED, T0, Anything, Paper, Reel, closes, reel, trend, walk
from bar_twin import Bar
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bars import TERMS, rows_of, tapes

from ultra import Strategy, parameter
from ultra.hot.outbox import buy_at_market, target
from ultra.lab import bar_account as accounts
from ultra.lab import bar_tape, bars
from ultra.lab.bars import BarError, Terms, run_bars
from ultra.lab.terms import Fees, Interest, Slippage, TermsError
from ultra.random import integer
from ultra.strategies.whole_cross import WholeCross
from ultra.strategy import StrategyError
from ultra.wire import RECORD

SETS = [
    {"fast": fast, "slow": slow, "short": short} for fast in (1, 3, 5) for slow in (4, 9) for short in (False, True)
]


@settings(deadline=None)
@given(tapes(2), TERMS, st.integers(0, 99))
def test_figures_are_those_of_the_whole_course(moments, terms, seed):
    rows = rows_of(moments)
    if not rows:
        return
    found = run_bars(LOADED, reel(rows, 2), {"seed": [seed]}, terms=terms)
    whole, figures = found.performance(0), found.figures
    for name in ("max_drawdown_ns", "longest_drawdown_ns", "fill_count"):
        assert int(figures[name][0]) == getattr(whole, name), name
    for name in ("total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown", "turnover"):
        ours, theirs = float(figures[name][0]), getattr(whole, name)
        assert (math.isnan(ours) and math.isnan(theirs)) or ours == pytest.approx(theirs, rel=1e-7, abs=1e-9), name
    assert figures["fees"][0] == pytest.approx(float(whole.fees), rel=1e-12, abs=1e-12)
    assert figures["final_equity"][0] == pytest.approx(float(whole.final_equity), rel=1e-12)


def test_skew_and_kurtosis_are_those_of_the_returns():
    found = run_bars(WholeCross, trend(100), SETS, terms=Terms(cash=1e6))
    for index in range(len(SETS)):
        equity = found.course(index)[0].astype(float)
        gains = equity[1:] / equity[:-1] - 1
        away, spread = gains - gains.mean(), gains.std()
        assert found.figures["skew"][index] == pytest.approx((away**3).mean() / spread**3, rel=1e-9, abs=1e-9)
        assert found.figures["kurtosis"][index] == pytest.approx((away**4).mean() / spread**4, rel=1e-9)


def test_a_set_alone_is_as_in_a_grid_on_any_number_of_threads():
    tape, terms = trend(60), Terms(cash=1e5, fees=Fees(taker_bps=2), slippage=Slippage(ticks=1))
    many = [dict(each, lots=100 + k) for k in range(2) for each in SETS]
    together = run_bars(WholeCross, tape, many, terms=terms, threads=1)
    assert len(set(together.accounts["cash"].tolist())) > 15
    for threads in (2, 5):
        assert run_bars(WholeCross, tape, many, terms=terms, threads=threads).accounts.tobytes() == (
            together.accounts.tobytes()
        )
    for index in (0, 7, len(many) - 1):
        alone = run_bars(WholeCross, tape, [many[index]], terms=terms)
        assert alone.accounts.tobytes() == together.accounts[index : index + 1].tobytes()


def test_a_tape_in_pieces_is_the_tape():
    found = run_bars(LOADED, reel([Bar(T0 + k, k % 2, 5, 9, 1, k % 9 + 1) for k in range(60)], 2), {"seed": [4]})
    assert walk(found).accounts.view(np.ndarray).tobytes() == found.accounts.tobytes()


@settings(deadline=None)
@given(tapes(2), TERMS, st.integers(0, 99), st.data())
def test_whatever_comes_later_nothing_before_it_changes(moments, terms, seed, data):
    rows = rows_of(moments)
    if not rows:
        return
    ts = sorted({bar.ts for bar in rows})
    border = data.draw(st.sampled_from(ts))
    other = [bar if bar.ts <= border else Bar(bar.ts, bar.instrument, 9 - bar.close, 9, 0, bar.opened) for bar in rows]
    one = run_bars(LOADED, reel(rows, 2), {"seed": [seed]}, terms=terms)
    two = run_bars(LOADED, reel(other, 2), {"seed": [seed]}, terms=terms)
    two = bars.Grid(two.loaded, two.bars, two.terms, one.rules, two.params, two.accounts)
    upto = np.array([0, np.searchsorted(one.bars.records["ts_event"], border, side="right")])
    blocks = []
    for found in (one, two):
        block = bars.begun(found, 0, 1, told=20, course=len(ts))
        bars.loops(found.loaded, 2)(block, found.rules, found.bars.records, upto)
        blocks.append(b"".join(np.asarray(array).tobytes() for array in block))
    assert blocks[0] == blocks[1]


def test_what_time_costs_is_charged_for_every_second():
    day = 86_400_000_000_000
    rows = [Bar(T0 + k * day, 0, 100, 100, 100, 100) for k in range(367)]

    class Hold(Strategy):
        lots: int = parameter(100)

        @staticmethod
        def on_bar(state, params, event, market, orders):
            target(orders, market, params.lots)

    short = run_bars(Hold, reel(rows), {"lots": [-100]}, terms=Terms(cash=1000, interest=Interest(borrow_percent=3.65)))
    # A year less what the next open took: 365 days of 3.65 % of 100.
    assert short.figures["carry"][0] == pytest.approx(3.65 * 365 / 365.25, abs=1e-6)
    debt = run_bars(Hold, reel(rows), terms=Terms(cash=10, interest=Interest(debit_percent=1)))
    daily = 1 + 0.01 / 365.25
    assert debt.figures["carry"][0] == pytest.approx(90 * (daily**365 - 1), abs=1e-6)


def test_draws_begin_at_the_seed_in_every_set():
    class Dice(Strategy):
        lots: int = parameter(3)

        @staticmethod
        def on_bar(state, params, event, market, orders, desk):
            target(orders, market, integer(desk, -params.lots, params.lots))

    def run(seed, lots):
        return run_bars(Dice, trend(40), {"lots": lots}, terms=Terms(cash=1e5, seed=seed)).accounts

    both = run(7, [3, 3, 5])
    assert both[0] == both[1] != both[2] and both[:1].tobytes() == run(7, [3]).tobytes() != run(8, [3]).tobytes()


def test_a_round_is_won_or_lost_by_itself():
    class Alternate(Strategy):
        lots: int = parameter(1)

        @staticmethod
        def on_bar(state, params, event, market, orders):
            target(orders, market, params.lots if market.position <= 0 else -params.lots)

    # Long from 100 to 120, short to 125, long to 121, short to 90: won 20, lost 5, lost 4, won 31. Then long, open.
    found = run_bars(Alternate, closes([100, 100, 120, 125, 121, 90]), terms=Terms(cash=100))
    assert (found.figures["rounds"][0], found.accounts["won"][0]) == (4, 2)


def test_ruin_ends_a_run_and_leaves_what_is_left():
    down = closes([100, 100, 90, 1, 50, 80])

    class Levered(Strategy):
        lots: int = parameter(150)

        @staticmethod
        def on_bar(state, params, event, market, orders):
            if market.position == 0:
                buy_at_market(orders, params.lots)

    found = run_bars(Levered, down, terms=Terms(cash=100))
    account, (equity, fills) = found.accounts[0], found.course(0)
    assert account["ended"] == accounts.RUINED and account["ended_at"] == 3
    assert equity.tolist()[3:] == [int(account["equity"])] * 3 and account["equity"] <= 0
    assert len(fills) == 1 and math.isclose(found.performance().total_return, found.figures["total_return"][0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ts_event": T0}, "bar 2 of the tape: its time is before"),
        ({"instrument": 4}, "its instrument is not one of the 1"),
        ({"ts_event": T0 + 86_400_000_000_000}, "has a bar of that time already"),
        ({"order_id": 200}, "its open is not between"),
        ({"qty": -1}, "its volume is below zero"),
        ({"price": -5}, "a price is below zero"),
        ({"kind": 6}, "record 2 of the tape is trade"),
    ],
)
def test_a_tape_that_is_not_one_is_refused_by_its_record(change, said):
    tape = closes([100, 101, 102])
    for name, value in change.items():
        tape.records[name][2] = value
    with pytest.raises(BarError, match=said):
        run_bars(Anything, tape)


def test_terms_and_parameters_that_can_not_be_are_refused():
    tape = closes([100, 101, 102])
    for terms, said in (
        (Terms(cash=-1), "cash"),
        (Terms(cash=1e12), "1000000000000"),
        (Terms(cash=4e9), "cash"),
        (Terms(fees=Fees(taker_bps=0.0000001)), "taker_bps"),
        (Terms(interest=Interest(margin_percent=201)), "margin_percent"),
    ):
        with pytest.raises((BarError, TermsError), match=said):
            run_bars(Anything, tape, terms=terms)
    with pytest.raises(StrategyError, match="slow = 0: must be 1"):
        run_bars(WholeCross, tape, {"fast": [1, 2], "slow": [3, 0]})
    with pytest.raises(StrategyError, match="no such parameter"):
        run_bars(WholeCross, tape, {"fst": [1]})
    with pytest.raises(StrategyError, match="whole number"):
        run_bars(WholeCross, tape, {"fast": [1.5]})
    with pytest.raises(BarError, match="have not the 3 values"):
        run_bars(WholeCross, tape, {"fast": [1, 2, 3], "slow": [4, 5]})
    with pytest.raises(BarError, match="coarser lot"):
        run_bars(Anything, Reel(tape.records, (Paper("X", 1, 1),)))
    with pytest.raises(BarError, match="no on_bar"):
        run_bars("ultra.strategies.imbalance:Imbalance", tape)
    with pytest.raises(BarError, match="no bars"):
        run_bars(Anything, Reel(np.zeros(0, RECORD), (Paper("X"),)))


def test_a_stretch_of_a_tape_copies_nothing():
    whole = bar_tape.prepare(trend(50))
    part = whole.between(T0 + 10 * 86_400_000_000_000, T0 + 20 * 86_400_000_000_000)
    assert len(part.records) == 10 and np.shares_memory(part.records, whole.records)
    assert part.ts.tolist() == whole.ts[10:20].tolist()
