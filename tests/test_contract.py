"""The strategy contract, hook by hook: bars, an operator's signal, and a sixth argument that sees every instrument."""

from typing import Any

from contract_rig import Rig

from ultra import sell
from ultra.hot import bar as bars
from ultra.hot import engine as engines
from ultra.hot import risk as risks
from ultra.strategy import Strategy, parameter, state
from ultra.wire import ACK, ASK, BAR, BID, LEVEL, NONE, SIDED, SIGNAL, TRADE


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


def test_a_hook_with_a_sixth_argument_sees_every_instrument() -> None:
    rig = Rig(Listener)
    rig.feed(level(0, BID, 400, 1), level(2, BID, 600, 1), level(2, ASK, 601, 1))
    trade = {"kind": TRADE, "instrument": 1, "side": ASK, "price": 601, "qty": 1}
    rig.feed(trade | {"flag": SIDED})
    assert rig.state("seen", 1) == [ASK, 1000, 1] and rig.state("seen", 2) == [0, 0, 1]
    rig.feed(trade)
    assert rig.state("seen", 1)[0] == NONE, "a trade whose side nobody knows has one"
