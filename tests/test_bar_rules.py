"""The rules by which a bar fills orders, case by case; and that money is exact to its last 1e-9."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from bar_rig import T0, reel
from bar_twin import Bar
from hypothesis import given
from hypothesis import strategies as st

from ultra import Strategy, parameter, state
from ultra.hot import door
from ultra.hot.outbox import cancel, send
from ultra.lab import bar_rules
from ultra.lab.bars import Terms, run_bars
from ultra.lab.terms import Fees, Interest, Slippage
from ultra.venues.account import E9
from ultra.wire import ASK, AT_MARKET, BID, FILL_OR_KILL, IMMEDIATE, POST_ONLY, STOP

share = door(bar_rules.share)
# The bar that an order decided at the first bar meets.
OPEN, HIGH, LOW, CLOSE = 100, 110, 90, 105


class One(Strategy):
    """Sends one order at the first bar, and takes it back at the second if it is told to."""

    side: int = parameter(0)
    price: int = parameter(0)
    qty: int = parameter(1)
    flag: int = parameter(0)
    take_back: int = parameter(0)
    sent: int = state()
    handle: int = state()
    answer: int = state()

    @staticmethod
    def on_bar(state, params, event, market, orders):
        if state.sent == 0:
            state.handle = send(orders, params.side, params.price, params.qty, params.flag)
        elif state.sent == params.take_back:
            cancel(orders, state.handle)
        state.sent += 1

    @staticmethod
    def on_order(state, params, event, market, orders):
        state.answer = np.int64(event.kind) * 100 + event.aux


def met(side, price, flag, *, second=(OPEN, HIGH, LOW, CLOSE), terms=None, **more):
    """The fills of an order that meets one bar: (price, took), and what is still open."""
    rows = [Bar(T0, 0, 100, 100, 100, 100), Bar(T0 + 1, 0, *second), Bar(T0 + 2, 0, 104, 104, 104, 104)]
    found = run_bars(
        One, reel(rows[: more.pop("bars", 2)]), [{"side": side, "price": price, "flag": flag, **more}],
        terms=terms or Terms(),
    )  # fmt: skip
    fills = found.course(0)[1]
    return [(int(fill["price"]), int(fill["took"])) for fill in fills], int(found.accounts[0]["orders"])


@pytest.mark.parametrize(
    ("side", "price", "flag", "fill"),
    [
        # At the market: the open, whatever price it names.
        (BID, 0, AT_MARKET, (100, 1)),
        (ASK, 0, AT_MARKET, (100, 1)),
        # A limit that the open is better than trades at the open, else when the bar goes through it.
        (BID, 102, 0, (100, 1)),
        (ASK, 98, 0, (100, 1)),
        (BID, 100, 0, (100, 1)),
        (BID, 91, 0, (91, 0)),
        (ASK, 109, 0, (109, 0)),
        (BID, 90, 0, None),  # the low only touches it
        (ASK, 110, 0, None),
        (BID, 89, 0, None),
        # A stop trades at its trigger, at the open if that is beyond it, and is slept through otherwise.
        (BID, 107, STOP, (107, 1)),
        (BID, 110, STOP, (110, 1)),
        (BID, 111, STOP, None),
        (BID, 95, STOP, (100, 1)),
        (ASK, 95, STOP, (95, 1)),
        (ASK, 90, STOP, (90, 1)),
        (ASK, 89, STOP, None),
        (ASK, 107, STOP, (100, 1)),
        # At once, or not at all.
        (BID, 99, IMMEDIATE, "over"),
        (BID, 100, IMMEDIATE, (100, 1)),
        (ASK, 101, FILL_OR_KILL, "over"),
        # Only if it rests.
        (BID, 101, POST_ONLY, "over"),
        (BID, 99, POST_ONLY, (99, 0)),
        (ASK, 99, POST_ONLY, "over"),
    ],
)
def test_a_bar_does_to_an_order_what_the_rules_say(side, price, flag, fill):
    wanted = {None: ([], 1), "over": ([], 0)}.get(fill, ([fill], 0))
    assert met(side, price, flag) == wanted


@pytest.mark.parametrize(
    ("side", "price", "flag", "fill"),
    [
        (BID, 0, AT_MARKET, (104, 1)),  # 2 ticks, and 1.5 % of 100 rounded up
        (ASK, 0, AT_MARKET, (96, 1)),
        (BID, 103, 0, (103, 1)),  # never beyond the limit
        (BID, 106, 0, (104, 1)),
        (ASK, 97, 0, (97, 1)),
        (BID, 91, 0, (91, 0)),  # who rests does not slip
        (BID, 107, STOP, (111, 1)),
        (ASK, 95, STOP, (91, 1)),
    ],
)
def test_slippage_is_against_whoever_takes(side, price, flag, fill):
    assert met(side, price, flag, terms=Terms(slippage=Slippage(ticks=2, bps=150))) == ([fill], 0)


def test_reaching_a_limit_is_enough_where_the_terms_say_so():
    assert met(BID, 90, 0, terms=Terms(touch=True)) == ([(90, 0)], 0)
    assert met(ASK, 110, 0, terms=Terms(touch=True)) == ([(110, 0)], 0)
    assert met(BID, 89, 0, terms=Terms(touch=True)) == ([], 1)


def test_no_order_meets_the_bar_that_decided_it():
    assert met(BID, 0, AT_MARKET, bars=1) == ([], 1)


def test_an_order_taken_back_meets_no_later_bar():
    assert met(BID, 90, 0, second=(100, 100, 95, 100), bars=3, take_back=1) == ([], 0)
    assert met(BID, 104, 0, second=(105, 105, 105, 105), bars=3) == ([(104, 1)], 0)
    assert met(BID, 104, 0, second=(105, 105, 105, 105), bars=3, take_back=1) == ([], 0)


def test_a_position_that_the_cash_does_not_carry_is_refused():
    def terms(cash, margin, **fees):
        return Terms(cash=cash, interest=Interest(margin_percent=margin), fees=Fees(**fees))

    for side in (BID, ASK):  # a lot at 100 ticks of 0.01 costs 1
        assert met(side, 0, AT_MARKET, qty=100, terms=terms(100, 100)) == ([(100, 1)], 0)
        assert met(side, 0, AT_MARKET, qty=100, terms=terms(99, 100)) == ([], 0)
    assert met(BID, 0, AT_MARKET, qty=100, terms=terms(50, 50)) == ([(100, 1)], 0)
    assert met(BID, 0, AT_MARKET, qty=101, terms=terms(50, 50)) == ([], 0)
    assert met(BID, 0, AT_MARKET, qty=1000, terms=terms(1, 0)) == ([(100, 1)], 0)
    assert met(BID, 0, AT_MARKET, qty=100, terms=terms(100, 100, taker_bps=1)) == ([], 0)  # the fee is equity too


@given(st.integers(0, 1 << 60), st.integers(-E9, E9), st.sampled_from([E9, 1_000_000, bar_rules.YEAR_S]))
def test_a_share_is_rounded_up_and_exact(amount, rate, whole):
    if abs(amount * rate) < whole << 62:
        assert share(np.int64(amount), np.int64(rate), np.int64(whole)) == ceil(Fraction(amount * rate, whole))
