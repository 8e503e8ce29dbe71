"""The parts of a backtest's venue, each against the obvious: the account in fractions, the estimates by hand and as a
sum over lots, delays as a sorted list says, markouts as a search of the whole day says."""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import memory
from ultra.hot.market import MARKET
from ultra.lab import terms as costs
from ultra.lab.terms import Fees, Interest, Latency, Slippage, TermsError
from ultra.venues import account as accounts
from ultra.venues import delay as delays
from ultra.venues import estimate
from ultra.venues import markout as markouts
from ultra.wire import ASK, BID, CANCEL_ORDER, NEW, NONE, REQUEST

E9 = 10**9
SECOND = 1_000_000_000
SCALE = np.array([(100_000, 1), (1, 1000)], np.int64)  # a dollar stock of 1/10000; a coin of less than 1e-9 a lot


def markets(*touches: tuple[int, int]) -> Any:
    """MARKET rows with this best bid and ask."""
    found = memory.zeros(len(touches), MARKET)
    found.last_price = NONE
    for row, (bid, ask) in zip(found, touches, strict=True):
        row.bid, row.ask = bid, ask
    return found


# ---- The account. ----


@loop
def trade(account, market, ops, fees):
    """Fills (instrument, side, price, qty, took) and, where took is 2, time going on to `price`."""
    for k in range(len(ops)):
        if ops[k, 4] == 2:
            accounts.reach(account, market, ops[k, 2])
        else:
            fees[k] = accounts.settle(account, ops[k, 0], ops[k, 1], ops[k, 2], ops[k, 3], ops[k, 4])


FILL = st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(1, 900_000), st.integers(1, 50), st.integers(0, 1))
RATE = st.integers(-50, 50)


def fee_twin(fees: Fees, fill: tuple[int, ...]) -> int:
    """Rounded down once: of the value, which is rounded down itself where a lot is worth less than 1e-9."""
    index, _, price, qty, took = fill
    value = price * qty * int(SCALE[index, 0]) // int(SCALE[index, 1])
    rate = Fraction(str(fees.taker_bps if took else fees.maker_bps)) / 10_000
    each = Fraction(str(fees.taker_per_lot if took else fees.maker_per_lot))
    fee = math.floor(value * rate) + int(qty * each * E9)
    return max(fee, int(Fraction(str(fees.minimum)) * E9)) if fee >= 0 else fee


@given(st.lists(FILL, max_size=12), RATE, RATE, RATE, st.integers(0, 3))
def test_an_account_has_what_fractions_say(
    fills: list[tuple[int, ...]], maker: int, taker: int, lot: int, least: int
) -> None:
    fees = Fees(maker / 10, taker / 10, f"{lot}e-4", f"{lot}e-5", f"{least}e-2")
    account = accounts.create(SCALE, costs.terms(fees, costs.NO_SLIPPAGE, costs.NO_INTEREST), 1000 * E9, SECOND)
    market, paid = markets((100, 103), (5000, NONE)), column([0] * len(fills))
    trade(account, market, np.array(fills, np.int64).reshape(-1, 5), paid)
    assert paid.tolist() == [fee_twin(fees, fill) for fill in fills]
    found = int(accounts.finish(account, market, 5))
    of_coin = [price for index, _, price, _, _ in fills if index == 1]  # a side is empty, and nothing traded
    wanted = Fraction(1000 * E9 - sum(paid.tolist()))
    for index, mid in ((0, Fraction(203, 2)), (1, Fraction(of_coin[-1] if of_coin else 0))):
        unit = Fraction(int(SCALE[index, 0]), int(SCALE[index, 1]))
        for k, side, price, qty, _ in fills:
            if k == index:
                wanted += (qty if side == BID else -qty) * (mid - price) * unit
    assert wanted - 2 < found <= wanted


def test_a_book_that_is_empty_for_a_while_is_no_ruin() -> None:
    """As behind a hole in a feed of levels without trades: the position is worth what it was."""
    row = costs.terms(costs.NO_FEES, costs.NO_SLIPPAGE, costs.NO_INTEREST)
    account, market = accounts.create(SCALE, row, 1000 * E9, SECOND), markets((999_999, 1_000_001), (NONE, NONE))
    trade(account, market, np.array([(0, 0, SECOND, 0, 2), (0, BID, 1_000_000, 4, 1)], np.int64), column([0, 0]))
    for second, (bid, ask), worth in ((2, (1_099_999, 1_100_001), 1040), (3, (NONE, NONE), 1040), (4, (NONE, 5), 1040)):
        market[0].bid, market[0].ask = bid, ask
        trade(account, market, np.array([(0, 0, second * SECOND, 0, 2)], np.int64), column([0]))
        assert int(accounts.course(account)["equity_e9"][-1]) == worth * E9
    market[0].last_price = 1_200_000
    trade(account, market, np.array([(0, 0, 5 * SECOND, 0, 2)], np.int64), column([0]))
    assert int(accounts.course(account)["equity_e9"][-1]) == 1080 * E9


@pytest.mark.parametrize(("step", "seconds"), [(3600, 31_557_600), (1, 5400)])
def test_interest_keeps_what_is_less_than_a_unit(step: int, seconds: int) -> None:
    """3 % on 10,000 of shorts; 5 % on 4,000 of debt, which interest joins: a year by hours, 5400 s by seconds."""
    row = costs.terms(costs.NO_FEES, costs.NO_SLIPPAGE, Interest(borrow_percent=3, debit_percent=5))
    years = seconds / 31_557_600
    for side, wanted in ((ASK, 300 * years), (BID, 4000 * math.expm1(0.05 * years))):
        account = accounts.create(SCALE, row, 6000 * E9, step * SECOND)
        market = markets((100_000, 100_000), (NONE, NONE))
        ops = [(0, 0, 0, 0, 2), (0, side, 100_000, 1000, 1), (0, 0, seconds * SECOND, 0, 2)]
        trade(account, market, np.array(ops, np.int64), column([0, 0, 0]))
        assert int(account.cells[accounts.INTEREST_E9]) / E9 == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_margin_is_reported_from_the_first_point_that_falls_short() -> None:
    row = costs.terms(costs.NO_FEES, costs.NO_SLIPPAGE, Interest(margin_percent=25))
    account = accounts.create(SCALE, row, 1000 * E9, SECOND)
    market = markets((1_000_000, 1_000_000), (NONE, NONE))
    ops = [(0, 0, 5 * SECOND, 0, 2), (0, BID, 1_000_000, 41, 1), (0, 0, 7 * SECOND, 0, 2)]
    trade(account, market, np.array(ops, np.int64), column([0, 0, 0]))
    assert account.cells[accounts.CALLS] == 2 and account.cells[accounts.CALLED_TS] == 6 * SECOND
    assert account.cells[accounts.GROSS_MAX_E9] == 4100 * E9


@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.sampled_from([4, 6, 8]))
def test_a_course_is_on_an_even_grid_however_long(gaps: list[int], capacity: int) -> None:
    row = costs.terms(costs.NO_FEES, costs.NO_SLIPPAGE, costs.NO_INTEREST)
    account = accounts.create(SCALE, row, 7, 2_000_000, points=capacity)
    times = [3_000_001 + 1_000_000 * t for t in itertools.accumulate(gaps)]
    ops = np.array([(0, 0, t, 0, 2) for t in times], np.int64)
    trade(account, markets((1, 2), (1, 2)), ops, column([0] * len(ops)))
    points, step = accounts.course(account), int(account.cells[accounts.STEP])
    grid = [times[0], *range((times[0] // step + 1) * step, times[-1] + 1, step)]
    assert points["ts"].tolist() == grid and len(points) < capacity
    assert step == 2_000_000 or len(points) >= capacity // 4


def test_a_taker_pays_what_slips() -> None:
    row = costs.terms(costs.NO_FEES, Slippage(ticks=2, bps="0.5"), costs.NO_INTEREST)
    account = accounts.create(SCALE, row, 1, SECOND)
    prices = column([0, 0, 0])
    slip(account, prices)
    assert prices.tolist() == [1_000_000 + 2 + 50, 1_000_000 - 2 - 50, 1]


@loop
def slip(account, out):
    out[0] = accounts.slipped(account, BID, 1_000_000)
    out[1] = accounts.slipped(account, ASK, 1_000_000)
    out[2] = accounts.slipped(account, ASK, 2)


# ---- Where we stand in a queue of whole levels. ----


@loop
def shifted(cells, ops, out):
    """(ahead, before, now) -> ahead after."""
    for k in range(len(ops)):
        out[k] = estimate.moved(cells, ops[k, 0], ops[k, 1], ops[k, 2])


LEVELS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 120)), min_size=1, max_size=20)


def moved_twin(share: Any, ahead: int, before: int, now: int) -> int:
    """Take the lost lots off one at a time: so many of them from behind, the others from the front."""
    behind, front = max(before - ahead, 0), ahead
    lost = max(before - now, 0)
    after = min(math.floor(share(ahead, behind) * lost), behind)
    for k in range(lost):
        if k >= after and front > 0:
            front -= 1
    return min(front, now)


@pytest.mark.parametrize(
    ("model", "share"),
    [
        (("power", 1), lambda f, b: b / (b + f) if b + f else 1.0),
        (("power", 3), lambda f, b: b**3 / (b**3 + f**3) if b + f else 1.0),
        (("log", 2), lambda f, b: math.log1p(b) / (math.log1p(b) + math.log1p(f)) if b + f else 1.0),
    ],
)
@given(ops=LEVELS)
def test_an_estimate_takes_lots_from_both_ends(model: tuple[str, int], share: Any, ops: list[tuple[int, ...]]) -> None:
    ops = [(min(ahead, before), before, now) for ahead, before, now in ops]
    out = column([0] * len(ops))
    shifted(estimate.model(*model), np.array(ops, np.int64), out)
    for got, (ahead, before, now) in zip(out.tolist(), ops, strict=True):
        wanted = moved_twin(share, ahead, before, now)
        assert (abs(got - wanted) <= (model[0] == "log") and 0 <= got <= min(ahead, now)) or got == now < ahead
        assert got <= ahead


# ---- On the way. ----


@loop
def ways(delay, request, rows, out):
    """(kind, side, ts) of requests; at the end one answer for each."""
    for k in range(len(rows)):
        request[0].kind, request[0].side, request[0].ts_event = rows[k, 0], rows[k, 1], rows[k, 2]
        out[k, 0] = delays.order_ns(delay, request[0])
        out[k, 1] = delays.answer_ns(delay, rows[k, 2])


WAYS = st.lists(st.tuples(st.sampled_from([NEW, CANCEL_ORDER]), st.integers(0, 1), st.integers(0, 50)), max_size=15)


@given(WAYS, st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9), st.integers(0, 9)), max_size=6))
def test_a_way_takes_its_base_and_what_was_recorded_last(
    rows: list[tuple[int, int, int]], recorded: list[tuple[int, int, int]]
) -> None:
    rows, recorded = sorted(rows, key=lambda row: row[2]), sorted(recorded, key=lambda row: row[0])
    table = np.array(recorded, np.int64).reshape(-1, 3)
    out = np.zeros((len(rows), 2), np.int64)
    delay = Latency(100, 40, sell_ns=200, cancel_ns=300, recorded=table).delay()
    ways(delay, memory.zeros(1, REQUEST), np.array(rows, np.int64).reshape(-1, 3), out)
    for (kind, side, ts), got in zip(rows, out.tolist(), strict=True):
        before = [row for row in recorded if row[0] <= ts]
        base = 300 if kind == CANCEL_ORDER else 200 if side == ASK else 100
        assert got == [base + (before[-1][1] if before else 0), 40 + (before[-1][2] if before else 0)]


def test_a_jitter_is_even_from_nothing_to_its_most_and_comes_from_the_seed() -> None:
    rows = np.array([(NEW, BID, 0)] * 4000, np.int64)
    draws = []
    for seed in (1, 1, 2):
        out = np.zeros((len(rows), 2), np.int64)
        ways(Latency(1000, 1000, jitter_ns=9, seed=seed).delay(), memory.zeros(1, REQUEST), rows, out)
        draws.append((out - 1000).tolist())
    assert draws[0] == draws[1] != draws[2]
    counts = np.bincount(np.array(draws[0]).ravel())
    assert len(counts) == 10 and counts.min() > 600 and counts.max() < 1000


# ---- Later. ----


@loop
def watch(marks, market, ops):
    """(ts, bid, fill?): time comes to ts, the bid moves, and perhaps something is filled."""
    for k in range(len(ops)):
        if ops[k, 0] >= marks.cells[markouts.NEXT_TS]:
            markouts.look(marks, market, ops[k, 0])
        market[0].bid = ops[k, 1]
        if ops[k, 2] != 0:
            markouts.add(marks, market[0], 0, ops[k, 0])


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 400_000, 3_000_000, 10_000_000_000, 31_000_000_000]), st.integers(-1, 50),
                  st.booleans()),
        max_size=40,
    )
)  # fmt: skip
def test_a_markout_is_what_a_search_of_the_day_finds(steps: list[tuple[int, int, bool]]) -> None:
    market, marks = markets((10, 10)), markouts.create(16)
    times = list(itertools.accumulate(gap for gap, _, _ in steps))
    ops = [(ts, bid, filled) for ts, (_, bid, filled) in zip(times, steps, strict=True)]
    rows = []
    for start in range(0, len(ops), 5):  # as often as the loop comes back
        watch(marks, market, np.array(ops[start : start + 5], np.int64).reshape(-1, 3))
        markouts.check(marks)
        rows += list(markouts.taken(marks))
    rows += list(markouts.taken(marks, all_of_it=True))
    markouts.check(marks)
    missed = int(marks.cells[markouts.MISSED])
    assert len(rows) == sum(filled for _, _, filled in ops) - missed

    def twice(until: int) -> int:
        """As it was when the first record at or behind `until` came; NONE if none did, or the bid was empty."""
        if not times or until > times[-1]:
            return NONE
        bids = [10, *[bid for ts, bid, _ in ops if ts < until]]
        return bids[-1] + 10 if bids[-1] >= 0 else NONE

    for row in rows:
        after = [twice(int(row["ts"]) + horizon) for horizon in markouts.HORIZONS_NS]
        assert row["twice"].tolist() == after


# ---- Words. ----


def test_terms_are_read_exactly_and_wrong_ones_are_named() -> None:
    fees = costs.fees_of("maker=-0.25,taker=0.7,minimum=0.01,taker_lot=0.003")
    row = costs.terms(fees, costs.slippage_of("ticks=1,bps=0.1"), costs.interest_of("borrow=2.5,margin=25"))
    assert row[:10].tolist() == [-25_000, 70_000, 0, 3_000_000, 10_000_000, 1, 10_000, 25_000, 0, 250_000]
    late = costs.latency_of("order=1.5ms,answer=20us,jitter=7,seed=3")
    assert (late.order_ns, late.answer_ns, late.jitter_ns, late.seed) == (1_500_000, 20_000, 7, 3)
    assert costs.latency_of("10us") == Latency(10_000)
    assert late.later(500).order_ns == 1_500_500 and late.later(500).sell_ns is None
    assert costs.money_e9("0.000000001") == 1
    for make, said in (
        (lambda: costs.fees_of("maker=0.2,tkaer=1"), "tkaer"),
        (lambda: costs.terms(Fees(taker_bps="0.0000001"), costs.NO_SLIPPAGE, costs.NO_INTEREST), "5 decimals"),
        (lambda: costs.terms(Fees(taker_bps="1e9"), costs.NO_SLIPPAGE, costs.NO_INTEREST), "10000"),
        (lambda: costs.latency_of("10 parsecs"), "10 parsecs"),
        (lambda: costs.slippage_of("ticks=x"), "ticks=x"),
        (lambda: Latency(-1).delay(), "order_ns"),
        (lambda: Latency(recorded=[[2, 1, 1], [1, 1, 1]]).delay(), "sorted"),
        (lambda: costs.money_e9("1e30"), "amount"),
    ):
        with pytest.raises(TermsError, match=said):
            make()


def test_a_recording_of_a_feed_is_its_own_delay_in_steps() -> None:
    batch = np.zeros(6, [("ts_event", "i8"), ("ts_recv", "i8")])
    batch["ts_event"], batch["ts_recv"] = [0, 10, 20, 110, 120, 350], [5, 17, 29, 121, 128, 349]
    rows = costs.of_feed([batch[:4], batch[4:]], every_ns=100, times=2)
    assert rows.tolist() == [[29, 18, 18], [121, 22, 22], [128, 16, 16], [349, 0, 0]]
