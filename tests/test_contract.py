"""The strategy contract, hook by hook: bars, an operator's signal, and a sixth argument that sees every instrument."""

import json
import random
from typing import Any

import pytest
from contract_rig import Rig
from runs import SMALL

from ultra import config as configs
from ultra.cold import assembly, command
from ultra.hot import bar as bars
from ultra.hot import engine as engines
from ultra.hot import orders as own
from ultra.hot import ring as rings
from ultra.hot import risk as risks
from ultra.hot.outbox import (
    EVERY,
    buy,
    buy_at_market,
    cancel,
    cancel_all,
    replace,
    sell,
    sell_at_market,
    sell_of,
    target,
)
from ultra.strategy import Strategy, load, parameter, state
from ultra.wire import (
    ACCEPTED,
    ACK,
    ASK,
    AT_MARKET,
    BAR,
    BID,
    CANCEL_ORDER,
    CANCELLED,
    FILL,
    HALT,
    IMMEDIATE,
    LEVEL,
    LIMIT,
    NEW,
    NONE,
    NOT_PRINTABLE,
    RECORD,
    REJECTED,
    SIDED,
    SIGNAL,
    STATUS,
    SUBMIT,
    TIMER,
    TRADE,
    TRADING,
)


class Listener(Strategy):
    """Writes down what it is told."""

    factor: int = parameter(2)
    bar: int = state(length=6)
    told: int = state(length=3)
    seen: int = state(length=3)

    @staticmethod
    def on_bar(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.bar[0] += 1
        state.bar[1], state.bar[2] = bars.opened(event), bars.high(event)
        state.bar[3], state.bar[4] = bars.low(event), bars.close(event)
        state.bar[5] = bars.volume(event) * params.factor

    @staticmethod
    def on_command(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.told[0] += 1
        state.told[1], state.told[2] = event.order_id, event.aux
        if event.order_id == 7 and market.bid > 0:
            sell(orders, market.bid, event.aux)

    @staticmethod
    def on_trade(state: Any, params: Any, event: Any, market: Any, orders: Any, desk: Any) -> None:
        state.seen[0] = event.side
        for index in range(len(desk.markets)):
            state.seen[1] += max(desk.markets[index].bid, 0)
            desk.states[index].seen[2] += 1


def level(instrument: int, side: int, price: int, qty: int) -> dict[str, int]:
    return {"kind": LEVEL, "instrument": instrument, "side": side, "price": price, "qty": qty}


def test_a_bar_reaches_on_bar_and_is_the_last_trade() -> None:
    rig = Rig(Listener)
    row = {"kind": BAR, "instrument": 1, "order_id": 98, "price": 100, "qty": 30, "aux": bars.spread(105, 96, 100)}
    rig.feed(row, row | {"qty": -1})
    assert rig.state("bar", 1) == [1, 98, 105, 96, 100, 60] and rig.state("bar", 0) == [0] * 6
    view = rig.engine.market[1]
    assert (int(view.last_price), int(view.volume), int(view.last_side)) == (100, 30, NONE)


def test_a_signal_is_of_one_instrument_or_of_all_and_is_answered() -> None:
    rig = Rig(Listener)
    rig.feed(*(level(k, side, 400 + 100 * k + side, 9) for k in (1, 2) for side in (BID, ASK)))
    rig.feed({"kind": SIGNAL, "instrument": 1, "order_id": 7, "aux": 5}, {"kind": SIGNAL, "order_id": 3, "aux": -4})
    assert [rig.state("told", k) for k in range(3)] == [[1, 3, -4], [2, 3, -4], [1, 3, -4]]
    assert [(row["instrument"], row["side"], row["price"], row["qty"]) for row in rig.sent()] == [(1, ASK, 500, 5)]
    rig.feed({"kind": SIGNAL, "instrument": 3, "order_id": 1, "aux": 1})
    rig.feed({"kind": SIGNAL, "order_id": 7, "aux": 2})
    assert [row["instrument"] for row in rig.sent()] == [1, 2]
    answers = [(int(ack.kind), int(ack.aux)) for ack in rig.engine.acks[:4]]
    assert answers == [(ACK, risks.PASS), (ACK, risks.PASS), (ACK, risks.BAD_COMMAND), (ACK, risks.PASS)]
    assert int(rig.engine.cells[engines.UNKNOWN_RECORDS]) == 1


def test_what_an_instrument_without_a_feed_remembers_is_in_the_state_hash() -> None:
    hashes = []
    for value in (5, 6):
        rig = asker(listed=1)
        tell(rig, 6, 2)
        assert rig.state("refused", 2)[:2] == [1, risks.NOT_TRADING]
        hashes.append(assembly.state_hash(rig.engine))
        tell(rig, 10, value, 1)
        assert rig.state("position", 1) == value
        hashes.append(assembly.state_hash(rig.engine))
    assert hashes[0] == hashes[2] and hashes[1] != hashes[3]


def test_a_hook_with_a_sixth_argument_sees_every_instrument() -> None:
    rig = Rig(Listener)
    rig.feed(level(0, BID, 400, 1), level(2, BID, 600, 1), level(2, ASK, 601, 1))
    trade = {"kind": TRADE, "instrument": 1, "side": ASK, "price": 601, "qty": 1}
    rig.feed(trade | {"flag": SIDED})
    assert rig.state("seen", 1) == [ASK, 1000, 1] and rig.state("seen", 2) == [0, 0, 1]
    rig.feed(trade)
    assert rig.state("seen", 1)[0] == NONE, "a trade whose side nobody knows has one"


# ---- intents


class Asker(Strategy):
    """Does what the code of a signal says, with its value."""

    handle: int = state(NONE)
    refused: int = state(length=3)  # how often, the last reason, the handle it was about
    position: int = state()

    @staticmethod
    def on_command(state: Any, params: Any, event: Any, market: Any, orders: Any, desk: Any) -> None:
        what, value = event.order_id, event.aux
        if what == 0:
            state.handle = buy(orders, market.bid, value)
        elif what == 1:
            state.handle = replace(orders, state.handle, market.bid - 1, value)
        elif what == 2:
            cancel_all(orders)
        elif what == 3:
            cancel_all(orders, EVERY)
        elif what == 4:
            target(orders, market, value)
            target(orders, market, value)
        elif what == 5:
            target(orders, market, value, market.bid)
        elif what == 6:
            sell_of(orders, value, 777, 3)
        elif what == 7:
            buy_at_market(orders, value)
            sell_at_market(orders, value)
        elif what == 8:
            cancel(orders, value)
        elif what == 9:
            buy(orders, 0, value, AT_MARKET)
        elif what == 10:
            state.position = value

    @staticmethod
    def on_order(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        if event.kind == REJECTED:
            state.refused[0] += 1
            state.refused[1], state.refused[2] = event.aux, event.order_id

    @staticmethod
    def on_fill(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.position = market.position


def asker(listed: int = 3) -> Rig:
    rig = Rig(Asker, listed=listed)
    rig.feed(*(level(k, side, 500 + 100 * k + 4 * side, 9) for k in range(listed) for side in (BID, ASK)))
    return rig


def tell(rig: Rig, what: int, value: int = 0, instrument: int = 0) -> list[tuple[int, ...]]:
    """What left: kind, side, instrument, price, qty; without the handles."""
    rig.feed({"kind": SIGNAL, "instrument": instrument, "order_id": what, "aux": value})
    own.check(rig.engine.orders, rig.engine.market)
    return [tuple(row[name] for name in ("kind", "side", "instrument", "price", "qty")) for row in rig.sent()]


def handle(rig: Rig, instrument: int = 0) -> int:
    return int(rig.state("handle", instrument))


def reply(rig: Rig, kind: int, order_id: int, qty: int = 0, instrument: int = 0, side: int = BID) -> None:
    row = {"kind": kind, "instrument": instrument, "side": side, "order_id": order_id, "price": 500, "qty": qty}
    rig.feed(row)


def test_a_replacement_is_a_cancel_and_a_new_order_or_nothing() -> None:
    rig = asker()
    assert tell(rig, 0, 5) == [(NEW, BID, 0, 500, 5)]
    first = handle(rig)
    reply(rig, ACCEPTED, first)
    assert tell(rig, 1, 7) == [(CANCEL_ORDER, 0, 0, NONE, 0), (NEW, BID, 0, 499, 7)]
    second = handle(rig)
    assert second not in (first, NONE) and int(rig.engine.market[0].open_bid_qty) == 12
    reply(rig, CANCELLED, first)
    assert int(rig.engine.market[0].open_bid_qty) == 7
    reply(rig, ACCEPTED, second)
    reply(rig, FILL, second, 7)
    assert tell(rig, 1, 4) == [], "nothing takes the place of an order that is gone"
    assert rig.state("refused") == [1, risks.UNKNOWN_ORDER, handle(rig)]
    assert tell(rig, 0, 5) == [(NEW, BID, 0, 500, 5)]
    third = handle(rig)
    assert tell(rig, 1, 5000) == [], "risk refuses the new order, so the old one stays"
    assert rig.state("refused")[:2] == [2, risks.QTY_LIMIT]
    assert tell(rig, 8, third) == [(CANCEL_ORDER, 0, 0, NONE, 0)]


def test_half_a_replacement_never_leaves() -> None:
    rig = asker()
    ring = rig.engine.output
    tell(rig, 0, 5)
    while int(ring.cells[rings.CURSOR] - ring.cells[rings.GATE]) < len(ring.slots) - 1:
        ring.cells[rings.CURSOR] += 1
    rig.feed({"kind": SIGNAL, "instrument": 0, "order_id": 1, "aux": 5})
    assert int(ring.cells[rings.CURSOR] - ring.cells[rings.GATE]) == len(ring.slots) - 1
    assert rig.state("refused")[:2] == [1, risks.NO_ROOM] and int(rig.engine.market[0].open_orders) == 1


def test_all_orders_of_one_instrument_or_of_every_one_are_taken_back() -> None:
    rig = asker()
    for instrument in (0, 0, 1, 2):
        tell(rig, 0, 5, instrument)
    assert tell(rig, 2, 0, 0) == [(CANCEL_ORDER, 0, 0, NONE, 0)] * 2
    assert tell(rig, 2, 0, 0) == []
    assert tell(rig, 3, 0, 0) == [(CANCEL_ORDER, 0, k, NONE, 0) for k in (1, 2)]
    rig.feed({"kind": SUBMIT, "instrument": 0, "side": BID, "price": 500, "qty": 1})
    assert len(rig.sent()) == 1 and tell(rig, 3) == [], "an operator's order is the operator's"


def test_a_target_is_what_is_missing_to_it_and_is_sent_once() -> None:
    rig = asker()
    assert tell(rig, 4, 8) == [(NEW, BID, 0, 753, 8)], "at market: the worst price that the collar lets through"
    assert tell(rig, 4, 8) == [] and tell(rig, 5, 10) == [(NEW, BID, 0, 500, 2)]
    assert tell(rig, 5, -3) == [(NEW, ASK, 0, 500, 13)]
    assert tell(rig, 4, 0, 1) == []


def test_an_order_in_another_instrument_is_of_that_instrument() -> None:
    rig = asker()
    assert tell(rig, 6, 2) == [(NEW, ASK, 2, 777, 3)]
    assert int(rig.engine.market[2].open_ask_qty) == 3 and int(rig.engine.market[0].open_orders) == 0
    order = int(rig.engine.orders.rows.handle.max())
    reply(rig, ACCEPTED, order, instrument=2)
    reply(rig, FILL, order, 3, 2, ASK)
    assert rig.state("position", 2) == -3 and rig.state("position", 0) == 0
    assert tell(rig, 6, 3) == [] and rig.state("refused", 0)[:2] == [1, risks.BAD_COMMAND]


def test_an_order_at_market_is_sent_with_the_worst_price_of_the_collar() -> None:
    rig = asker()
    assert tell(rig, 7, 2) == [(NEW, BID, 0, 753, 2), (NEW, ASK, 0, 251, 2)]
    rig.feed({"kind": LIMIT, "order_id": risks.COLLAR_BPS, "aux": 100})
    assert tell(rig, 7, 2) == [(NEW, BID, 0, 507, 2), (NEW, ASK, 0, 497, 2)]
    rig.feed({"kind": LIMIT, "order_id": risks.COLLAR_BPS, "aux": 10_000})
    assert tell(rig, 7, 2) == [(NEW, BID, 0, 1004, 2), (NEW, ASK, 0, 1, 2)], "no price is 0 or less"
    rig.feed({"kind": LIMIT, "order_id": risks.COLLAR_BPS, "aux": risks.COLLAR_BPS_MAX})
    assert tell(rig, 7, 2)[1] == (NEW, ASK, 0, 1, 2)
    rig.feed(level(0, ASK, 504, 0))
    assert tell(rig, 7, 2) == [] and rig.state("refused")[:2] == [2, risks.NO_REFERENCE]


def test_what_is_left_of_an_order_at_market_never_rests() -> None:
    rig = asker()
    for what in (7, 9):
        rig.feed({"kind": SIGNAL, "instrument": 0, "order_id": what, "aux": 2})
    assert [row["flag"] for row in rig.sent()] == [AT_MARKET | IMMEDIATE] * 3


# ---- bars that the engine makes


def test_bars_are_made_of_trades_and_end_with_the_first_input_at_or_after_the_border() -> None:
    dice, rig = random.Random(4), Rig(Listener, bar_ns=1000)
    twin: dict[tuple[int, int], list[tuple[int, int]]] = {}
    rig.feed({"kind": STATUS, "instrument": 0, "aux": TRADING, "ts_event": 1_000_500})
    now = 1_000_500
    for _ in range(200):
        now += dice.choice((0, 100, 300, 1000, 3500))
        instrument, price, qty = dice.randrange(3), dice.randrange(90, 110), dice.randrange(4)
        flag = dice.choice((0, 0, NOT_PRINTABLE))
        rig.feed({"kind": TRADE, "instrument": instrument, "price": price, "qty": qty, "flag": flag, "ts_event": now})
        if qty and flag == 0:
            twin.setdefault((instrument, now // 1000), []).append((price, qty))
        for k in range(3):
            ended = [trades for (of, number), trades in sorted(twin.items()) if of == k and number < now // 1000]
            count, *bar = rig.state("bar", k)
            assert count == len(ended)
            if ended:
                prices = [price for price, _ in ended[-1]]
                volume = sum(qty for _, qty in ended[-1])
                assert bar == [prices[0], max(prices), min(prices), prices[-1], 2 * volume]


def test_a_bar_may_end_by_a_timer_and_is_stamped_at_its_border() -> None:
    rig = Rig(Stamped, bar_ns=1000)
    rig.feed({"kind": TRADE, "instrument": 1, "price": 100, "qty": 2, "ts_event": 50_100})
    rig.feed({"kind": TIMER, "ts_event": 51_000})
    assert rig.state("stamps", 1) == [51_000, 1, 0] and rig.state("stamps", 0) == [0, 0, 0]
    rig.feed({"kind": TRADE, "instrument": 1, "price": 100, "qty": 2, "ts_event": 52_000})
    assert rig.state("stamps", 1) == [51_000, 1, 1], "a trade at the border is of the next bar"
    rig.feed({"kind": HALT, "aux": 0, "ts_event": 99_000})
    assert rig.state("stamps", 1)[1] == 1, "what an operator says ends no bar"


class Stamped(Strategy):
    """When its bars ended, how many, and how many trades."""

    stamps: int = state(length=3)

    @staticmethod
    def on_bar(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.stamps[0] = event.ts_event
        state.stamps[1] += 1
        state.stamps[2] = 0

    @staticmethod
    def on_trade(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.stamps[2] += 1


# ---- what an operator says to a strategy


def test_a_signal_of_an_operator_is_the_record_that_the_strategy_gets() -> None:
    loaded = load(Asker)
    config = configs.load(None, {**SMALL, "engine.prefault": False, "feed.instruments": ["AAA", "BBB"]})
    machine = assembly.assemble(config, loaded, [rings.create(RECORD, 64)])
    given = {"command": "signal", "code": 7, "argument": -5, "instrument": "BBB", "id": "1", "who": "me", "why": "news"}
    fields = command.record_of(command.parse(json.dumps(given)), machine)
    assert fields == {"kind": SIGNAL, "instrument": 1, "order_id": 7, "aux": -5}
    assert command.words_of({**fields, "flag": 0}) == {"instrument": 1, "code": 7, "argument": -5}
    assert command.is_asked(SIGNAL, 0) and command.name_of(SIGNAL, 0) == "signal"
    given["code"] = 1 << 64
    with pytest.raises(command.CommandError, match="64 bits"):
        command.record_of(command.parse(json.dumps(given)), machine)
