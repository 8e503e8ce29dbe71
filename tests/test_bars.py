"""Bar backtests: the compiled loop against its twin, to the last unit, on tapes dense with ties, gaps and halts."""

from dataclasses import replace

import pytest
from bar_rig import LOADED, T0, assert_same, closes, reel, twin_of, walk
from bar_twin import Bar
from hypothesis import given, settings
from hypothesis import strategies as st

from ultra.lab import bar_account as accounts
from ultra.lab.bars import Terms, run_bars
from ultra.lab.terms import Fees, Interest, Slippage
from ultra.strategies.whole_cross import WholeCross

PRICE = st.integers(0, 9)
GAP = st.sampled_from([1, 7, 400_000_000, 1_000_000_000, 86_400_000_000_000])
BAR = st.tuples(PRICE, PRICE, PRICE, PRICE, st.integers(0, 3))
BPS = st.sampled_from([0, 1, 30.5, 250])
TERMS = st.builds(
    Terms,
    cash=st.sampled_from([0.05, 0.3, 50]),
    fees=st.builds(
        Fees,
        maker_bps=st.sampled_from([0, -20, 10.25]),
        taker_bps=BPS,
        maker_per_lot=st.sampled_from([0, 0.001, -0.0005]),
        taker_per_lot=st.sampled_from([0, 0.001]),
        minimum=st.sampled_from([0, 0.0001]),
    ),
    slippage=st.builds(Slippage, ticks=st.integers(0, 2), bps=BPS),
    interest=st.builds(
        Interest,
        borrow_percent=st.sampled_from([0, 9]),
        debit_percent=st.sampled_from([0, 3.5]),
        margin_percent=st.sampled_from([0, 100, 66.6667, 5]),
    ),
    touch=st.booleans(),
    trade_from=st.sampled_from([0, 0, T0 + 10]),
)


def tapes(count):
    return st.lists(st.tuples(GAP, st.tuples(*[st.none() | BAR] * count)), min_size=1, max_size=30)


def rows_of(moments):
    """Bars of a list of moments: (time since the last one, a bar or none of each instrument)."""
    rows, ts = [], T0
    for gap, each in moments:
        ts += gap
        for index, drawn in enumerate(each):
            if drawn is not None:
                first, second, opened, close, volume = drawn
                rows.append(Bar(ts, index, opened, max(drawn[:4]), min(first, second, opened, close), close, volume))
    return rows


def against_its_twin(moments, terms, seeds, count, **paper):
    rows = rows_of(moments)
    if not rows:
        return
    found = run_bars(LOADED, reel(rows, count, **paper), {"seed": seeds}, terms=terms)
    for index, seed in enumerate(seeds):
        twin = twin_of(found, rows, seed)
        assert_same(found, index, twin)
        states = walk(found, index).states[0]
        assert (states["heard"].tolist(), states["newest"].tolist()) == (twin.heard, twin.newest)


@settings(deadline=None)
@given(tapes(1), TERMS, st.lists(st.integers(0, 99), min_size=1, max_size=3))
def test_one_instrument_is_as_its_twin(moments, terms, seeds):
    against_its_twin(moments, terms, seeds, 1)


def test_a_run_that_ended_holds_nothing_more():
    """Ruin closes every position without a fill: neither exposure nor time in the market go on behind it."""
    tape = closes([100] * 10 + [110, 120, 130] + [20] * 10)
    found = run_bars(WholeCross, tape, {"fast": [1], "slow": [2], "lots": [100]}, terms=Terms(cash=50))
    whole = found.performance(0)
    assert found.figures["ended"][0] == accounts.RUINED and whole.fill_count == 1
    assert whole.time_in_market == pytest.approx(float(found.figures["time_in_market"][0]))
    assert 0 < whole.time_in_market < 0.2


@settings(deadline=None)
@given(tapes(3), TERMS, st.lists(st.integers(0, 99), min_size=1, max_size=3))
def test_instruments_that_share_cash_are_as_their_twin(moments, terms, seeds):
    against_its_twin(moments, terms, seeds, 3)


@settings(deadline=None)
@given(tapes(2), TERMS, st.sampled_from([2e9, 2.3e9]), st.lists(st.integers(0, 99), min_size=1, max_size=3))
def test_at_the_edge_of_int64_money_is_as_its_twin(moments, terms, cash, seeds):
    """A tick of a lot is 36 million: two or three lots are all that fits, and some runs end with too much cash."""
    against_its_twin(moments, replace(terms, cash=cash), seeds, 2, tick_e9=1 << 54)
