"""The venues that a backtest can choose: hand-made days whose fills can be told in advance."""

from typing import Any

import numpy as np
import pytest
from runs import MAKER, market
from test_backtest import settings

from ultra import Strategy, buy, parameter, random, sell, state
from ultra.cold import assembly
from ultra.hot import JIT, memory
from ultra.lab import sensitivity
from ultra.lab.backtest import BacktestError, Result, Terms, backtest, course_of
from ultra.lab.source import ItchFile, TapeSource
from ultra.lab.tape import Instrument, Tape
from ultra.lab.terms import Fees, Latency, Slippage
from ultra.trial import MATCHED, MET, TOOK, TURN
from ultra.venues import matching_check
from ultra.wire import ADD, ASK, BID, DELETE, EXECUTE, LEVEL, NONE, RECORD, SIDED, TRADE

CENT = Instrument("TEST", 10_000_000, 10**9, step=1)
MS = 1_000_000


class Once(Strategy):
    """Sends one order at the first change of the touch from `at` ms on, and no more."""

    at: int = parameter(0)
    side: int = parameter(BID)
    price: int = parameter(101)
    qty: int = parameter(10)
    flag: int = parameter(0)
    sent: int = state()

    @staticmethod
    def on_book(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        if state.sent == 0 and event.ts_event >= params.at * 1_000_000:
            state.sent = 1
            if params.side == BID:
                buy(orders, params.price, params.qty, params.flag)
            else:
                sell(orders, params.price, params.qty, params.flag)


def tape(*rows: tuple[int, ...]) -> Tape:
    """Records of (ms, kind, side, order id, price, qty, flag)."""
    found = memory.zeros(len(rows), RECORD)
    for record, row in zip(found, rows, strict=True):
        ms, record.kind, record.side, record.order_id, record.price, record.qty = row[:6]
        record.ts_event = record.ts_recv = ms * MS
        record.flag, record.aux = row[6] if len(row) > 6 else 0, NONE
    return Tape.of(found, [CENT])


def filled(found: Result) -> list[tuple[int, ...]]:
    """(ms, price, lots, took, rule, ahead)"""
    return [
        (int(row["ts_event"]) // MS, *(int(row[name]) for name in ("price", "qty", "took", "rule", "ahead")))
        for row in found.explained
    ]


# ---- One book with the recorded flow. ----

ASKS = ((1, ADD, ASK, 1, 101, 10), (2, ADD, ASK, 2, 102, 10), (3, ADD, BID, 3, 99, 5), (4, ADD, BID, 4, 98, 5))


def test_what_we_take_is_gone_for_those_who_took_it() -> None:
    day = tape(*ASKS, (5, EXECUTE, 0, 1, NONE, 10), (6, ADD, BID, 5, 100, 1), (7, ADD, BID, 6, 97, 1))
    given = {"parameters": {"at": 3, "qty": 4, "flag": 1}, "latency": Latency(order_ns=MS // 2)}
    found = backtest(Once, day, venue="matching", **given)
    assert filled(found) == [(3, 101, 4, 1, TOOK, NONE)]
    course, _ = course_of(Once, TapeSource(day, ""), venue="matching", **given)
    course.begin()
    TapeSource(day, "").play(course.config, course)
    exchange = course.run.venue.exchange
    matching_check.check(exchange)
    assert int(exchange.ladder.sides[ASK].price) == 102, "six lots were executed, the four that we had were not there"
    assert int(course.engine.market[0].ask) == 102 and int(course.engine.market[0].bid) == 100


def test_an_order_of_ours_is_met_in_its_turn_and_who_stood_behind_it_is_not() -> None:
    day = tape(
        *ASKS,
        (5, ADD, BID, 7, 99, 6),
        (6, EXECUTE, 0, 3, NONE, 5),
        (7, EXECUTE, 0, 7, NONE, 6),
        (8, ADD, BID, 8, 97, 1),
    )
    given = {"parameters": {"at": 3, "price": 99, "qty": 4}, "latency": Latency(order_ns=MS // 2)}
    found = backtest(Once, day, venue="matching", **given)
    assert filled(found) == [(7, 99, 4, 0, MATCHED, 5)]
    paper = backtest(Once, day, **given)
    assert filled(paper) == [(7, 99, 4, 0, TURN, 5)], "paper's rule says the same, and leaves the book as it was"


NEVER = {"strategy__parameters__at": 10**9}


def test_without_an_order_of_ours_the_matched_flow_is_the_recorded_one(tmp_path: Any) -> None:
    path = tmp_path / "day.itch50"
    path.write_bytes(market(2000 if JIT else 600, 4))
    views = []
    for venue in ("paper", "matching"):
        source = ItchFile(path)
        course, _ = course_of(Once, source, config=settings(MAKER, **NEVER), venue=venue)
        course.begin()
        source.play(course.config, course)
        views.append(
            [[int(v[name]) for name in ("bid", "ask", "bid_qty", "ask_qty")] for v in course.engine.market[:2]]
        )
        assert assembly.decision_hash(course.engine).endswith("-0")
    assert views[0] == views[1]


# ---- Feeds of whole levels. ----

LEVELS = (
    (1, LEVEL, ASK, NONE, 101, 10), (2, LEVEL, BID, NONE, 100, 10), (3, LEVEL, BID, NONE, 99, 1),  # we join at 2
    (4, LEVEL, BID, NONE, 100, 6), (5, LEVEL, BID, NONE, 100, 16), (6, LEVEL, BID, NONE, 100, 8),
    (7, TRADE, BID, 77, 100, 4, SIDED), (8, LEVEL, BID, NONE, 100, 4), (9, LEVEL, BID, NONE, 98, 1),
)  # fmt: skip


@pytest.mark.parametrize(("queue", "exponent", "lots"), [("risk-averse", 2, 0), ("power", 1, 1), ("power", 3, 0)])
def test_a_queue_model_says_who_left(queue: str, exponent: int, lots: int) -> None:
    """Ten are ahead of us; four leave, all in front (nobody is behind). Ten join behind, eight leave: of those

    risk-averse none was in front (6 ahead), b / (b + f) says 8 * 6/16 = 3 were (3 ahead), b^3 / (b^3 + f^3) that
    8 - floor(8 * 1000/1216) = 2 were (4 ahead). Then four trade."""
    given = {"parameters": {"at": 2, "price": 100, "qty": 5}, "latency": Latency(order_ns=0)}
    found = backtest(Once, tape(*LEVELS), queue=queue, exponent=exponent, **given)
    assert filled(found) == ([(7, 100, lots, 0, TURN, 10)] if lots else [])


def test_lots_shown_through_our_price_would_have_met_us() -> None:
    day = tape(*LEVELS[:3], (4, LEVEL, ASK, NONE, 100, 3), (5, LEVEL, ASK, NONE, 100, 7), (6, LEVEL, BID, NONE, 97, 1))
    found = backtest(Once, day, parameters={"at": 2, "price": 100, "qty": 20}, latency=Latency(order_ns=0))
    assert [row[1:5] for row in filled(found)] == [(100, 3, 0, MET), (100, 4, 0, MET)], "what it grew by, each time"


# ---- Costs, size. ----

DEEP = (*ASKS[:2], (2, ADD, ASK, 9, 103, 10), *ASKS[2:], (6, DELETE, 0, 4, NONE, 0), (9, ADD, BID, 10, 97, 1))


def test_a_taker_walks_slips_and_pays() -> None:
    day = tape(*DEEP)
    given = {"parameters": {"at": 3, "price": 102, "qty": 15, "flag": 1}, "latency": Latency(order_ns=MS // 2)}
    found = backtest(Once, day, fees=Fees(taker_bps=10, minimum="0.005"), slippage=Slippage(ticks=1), **given)
    assert [row[1:4] for row in filled(found)] == [(102, 10, 1), (103, 5, 1)]
    assert found.fills["fee_e9"].tolist() == [10_200_000, 5_150_000]
    spent, worth = 10 * 102 + 5 * 103, 15 * (99 + 101) // 2  # the book is the recorded one still
    assert float(found.performance.final_equity) == pytest.approx(1_000_000 + (worth - spent) / 100 - 0.01535)


def test_an_order_made_larger_walks_the_book_and_the_strategy_never_knows() -> None:
    day = tape(*DEEP)
    given = {"parameters": {"at": 3, "price": 101, "qty": 10, "flag": 1}, "latency": Latency(order_ns=MS // 2)}
    found = backtest(Once, day, terms=Terms(multiple=3, walks=True), **given)
    assert [row[1:3] for row in filled(found)] == [(101, 10), (102, 10), (103, 10)]
    course, _ = course_of(Once, TapeSource(day, ""), terms=Terms(multiple=3, walks=True), **given)
    course.begin()
    TapeSource(day, "").play(course.config, course)
    assert (int(course.engine.market[0].position), int(course.account.lots[0])) == (10, 30)
    rows = sensitivity.capacity(Once, day, multiples=(1, 3, 4), **given)
    assert [(row.traded_lots, row.filled) for row in rows] == [(10, 1.0), (30, 1.0), (30, 0.75)]
    assert rows[0].pnl_per_lot > rows[1].pnl_per_lot


def test_a_later_order_finds_what_is_left() -> None:
    day = tape(*ASKS, (5, EXECUTE, 0, 1, NONE, 10), (6, DELETE, 0, 4, NONE, 0))
    given = {"parameters": {"at": 3, "price": 101, "qty": 10, "flag": 1}, "latency": Latency(order_ns=0)}
    rows = sensitivity.latencies(Once, day, more_ns=(0, MS, 3 * MS), **given)
    assert [row.fills for row in rows] == [1, 1, 0]


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(BacktestError, match="every order"):
        backtest(Once, tape(*LEVELS), venue="matching")
    with pytest.raises(BacktestError, match="dark"):
        backtest(Once, tape(*ASKS), venue="dark")
    with pytest.raises(BacktestError, match="cash"):
        backtest(Once, tape(*ASKS), cash=0)
    with pytest.raises(BacktestError, match="milliseconds"):
        backtest(Once, tape(*ASKS), sample_ns=1)
    with pytest.raises(TypeError):
        backtest(Once, tape(*ASKS), latencyy=1)
    assert np.isfinite(backtest(Once, tape(), cash=1).performance.total_return)


class Dice(Strategy):
    """Buys at any of a hundred prices, by chance."""

    sent: int = state()

    @staticmethod
    def on_book(state: Any, params: Any, event: Any, market: Any, orders: Any, desk: Any) -> None:
        if state.sent < 3:
            state.sent += 1
            buy(orders, 1 + random.integer(desk, 0, 99), 1)


@pytest.mark.skipif(JIT, reason="a strategy more to compile; a replay of draws is tested elsewhere")
def test_a_seed_reaches_the_strategy() -> None:
    hashes = [backtest(Dice, tape(*ASKS), seed=seed).decision_hash for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]
