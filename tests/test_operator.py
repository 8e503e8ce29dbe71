"""What an operator asks of a running engine, against a dict of orders: answers, requests, gates.

The strategy of these tests buys a lot at every trade and counts what it hears, so that one sees whose orders are
refused when it is off, and that it never hears of orders that are not its own.
"""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra import Strategy, buy, state
from ultra.hot import book as books
from ultra.hot import engine as engines
from ultra.hot import memory
from ultra.hot import orders as own
from ultra.hot import ring as rings
from ultra.hot import risk as risks
from ultra.strategy import load, parameters, states
from ultra.wire import (
    ACCEPTED,
    ACK,
    ADD,
    ALTER,
    ASK,
    ASKED,
    BID,
    CANCEL_ORDER,
    CANCELLED,
    FILL,
    HALT,
    KILL,
    LIMIT,
    NEW,
    NONE,
    PARAMETER,
    RECORD,
    REJECTED,
    STATUS,
    STRATEGY,
    SUBMIT,
    TAKE_ALL_BACK,
    TAKE_BACK,
    TEXT,
    TRADE,
    TRADING,
)  # fmt: skip

INSTRUMENTS, OWN_MAX, OUTPUT = 3, 6, 4
LOW, HIGH, MIDDLE = 990, 1010, 1000
OPEN_MAX = 4
LIVE_MAX = OWN_MAX + 1  # all but the seven handles that wait for a second to eighth request


class Buyer(Strategy):
    """A lot at each trade."""

    heard: int = state()

    @staticmethod
    def on_trade(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """Whatever the price."""
        buy(orders, MIDDLE, 1)

    @staticmethod
    def on_fill(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """One more."""
        state.heard += 1

    @staticmethod
    def on_order(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """One more."""
        state.heard += 1


buyer = load(Buyer)
step = engines.build(buyer.hooks)


@loop
def steps(engine: Any, records: Any, count: int) -> None:
    for k in range(count):
        step(engine, records[k])


class Rig:
    """The engine, one record at a time, and the dict."""

    def __init__(self) -> None:
        self.engine = engines.create(
            INSTRUMENTS, books.create(INSTRUMENTS, 64, 64, order_start=16), own_max=OWN_MAX, output_records=OUTPUT,
            state=states(buyer, INSTRUMENTS), params=parameters(buyer, {}),
        )  # fmt: skip
        self.record, self.sequence = memory.zeros(1, RECORD), 0
        self.live: dict[int, list[Any]] = {}  # handle -> instrument, side, qty left, state, owner
        self.heard, self.killed, self.off, self.halted = 0, False, set[int](), set[int]()
        for which, value in enumerate((100, 10**9, 10_000, 10**6, OPEN_MAX, 0, 10**6)):
            self.tell(LIMIT, order_id=which, aux=value)
        for instrument in range(INSTRUMENTS):
            self.tell(STATUS, instrument=instrument, aux=TRADING)
            for side, price in ((BID, LOW), (ASK, HIGH)):
                self.tell(ADD, instrument=instrument, order_id=2 * instrument + side + 1, side=side, price=price, qty=5)
        assert self.acks == 0

    def tell(self, kind: int, **fields: int) -> None:
        for name in RECORD.names:
            self.record[0][name] = fields.get(name, NONE if name == "instrument" else 0)
        self.record[0].kind, self.record[0].sequence = kind, self.sequence
        self.record[0].ts_event = 10**18 + self.sequence
        self.sequence += 1
        steps(self.engine, self.record, 1)
        own.check(self.engine.orders, self.engine.market)

    @property
    def acks(self) -> int:
        return int(self.engine.cells[engines.COMMANDS])

    def ask(self, kind: int, **fields: int) -> tuple[str, int, int]:
        """Reason, handle and cancels of the answer."""
        before = self.acks
        self.tell(kind, **fields)
        assert self.acks == before + 1
        ack = self.engine.acks[before % engines.ACKS]
        assert (int(ack.kind), int(ack.price)) == (ACK, self.sequence - 1)
        return risks.REASONS[int(ack.aux)], int(ack.order_id), int(ack.qty)

    def sent(self) -> list[tuple[int, int, int, int, int, int]]:
        """What left, and is taken off the ring."""
        output = self.engine.output
        gate, cursor = int(output.cells[rings.GATE]), int(output.cells[rings.CURSOR])
        rows = [output.slots[k % OUTPUT] for k in range(gate, cursor)]
        names = ("kind", "order_id", "instrument", "side", "price", "qty")
        return [tuple(int(row[name]) for name in names) for row in rows]

    def drain(self) -> None:
        cells = self.engine.output.cells
        cells[rings.GATE] = cells[rings.CURSOR]

    # ---- the twin

    def room(self) -> int:
        return OUTPUT - len(self.sent())

    def open_of(self, instrument: int) -> int:
        return sum(order[0] == instrument for order in self.live.values())

    def refusal(self, instrument: int, qty: int, owner: int, room: int = 1) -> str:
        if owner == own.STRATEGY and (NONE in self.off or instrument in self.off):
            return "strategy_off"
        if self.killed or NONE in self.halted or instrument in self.halted:
            return "halted"
        if qty <= 0:
            return "bad_qty"
        if qty > 100:
            return "qty_limit"
        if self.open_of(instrument) >= OPEN_MAX:
            return "open_order_limit"
        return "pass" if self.room() >= room else "no_room"

    def submit(self, instrument: int, side: int, qty: int) -> None:
        before = self.room()
        expected = "no_room" if len(self.live) == LIVE_MAX else self.refusal(instrument, qty, own.OPERATOR)
        reason, handle, _ = self.ask(SUBMIT, instrument=instrument, side=side, price=MIDDLE, qty=qty)
        assert reason == expected
        if reason == "pass":
            assert handle not in self.live and self.sent()[-1] == (NEW, handle, instrument, side, MIDDLE, qty)
            self.live[handle] = [instrument, side, qty, "sent", own.OPERATOR]
        else:
            assert handle == NONE and self.room() == before

    def take_back(self, handle: int) -> None:
        live = handle in self.live and self.live[handle][3] != "going"
        expected = "unknown_order" if handle not in self.live else "no_room" if not self.room() else "pass"
        expected = expected if live or expected != "pass" else "unknown_order"
        assert self.ask(TAKE_BACK, order_id=handle)[0] == expected
        if expected == "pass":
            self.going(handle, -1)

    def going(self, handle: int, at: int) -> None:
        assert self.sent()[at][:3] == (CANCEL_ORDER, handle, self.live[handle][0])
        self.live[handle][3] = "going"

    def alter(self, handle: int, qty: int) -> None:
        before, order = self.sent(), self.live.get(handle)
        reason, new, cancels = self.ask(ALTER, order_id=handle, price=MIDDLE + 1, qty=qty)
        if order is None:
            assert reason == "unknown_order"
        elif reason == "pass":
            assert self.sent()[len(before) :] == [
                (CANCEL_ORDER, handle, order[0], 0, NONE, 0), (NEW, new, order[0], order[1], MIDDLE + 1, qty),
            ]  # fmt: skip
            assert order[3] != "going" and cancels == 1
            order[3] = "going"
            self.live[new] = [order[0], order[1], qty, "sent", own.OPERATOR]
        else:
            assert (new, cancels) == (NONE, 0) and self.sent() == before, "all or nothing"
            wanted = {self.refusal(order[0], qty, own.OPERATOR, room=2), "no_room"}
            assert reason in wanted or (order[3] == "going" and reason == "unknown_order")
            assert reason != "no_room" or OUTPUT - len(before) < 2 or len(self.live) == LIVE_MAX

    def take_all_back(self, kind: int, instrument: int) -> None:
        before = len(self.sent())
        mine = [h for h, o in self.live.items() if o[3] != "going" and (instrument < 0 or o[0] == instrument)]
        reason, _, cancels = self.ask(kind, instrument=instrument)
        self.killed |= kind == KILL
        gone = {row[1] for row in self.sent()[before:]}
        assert len(gone) == cancels == min(len(mine), OUTPUT - before) and gone <= set(mine)
        assert reason == ("pass" if cancels == len(mine) else "no_room")
        for handle in gone:
            self.live[handle][3] = "going"

    def reply(self, kind: int, handle: int, lots: int = 0) -> None:
        instrument, side, left, now, owner = self.live[handle]
        if (kind == ACCEPTED and now == "live") or (kind == REJECTED and now == "live"):
            return
        lots = min(lots, left)
        self.tell(kind, instrument=instrument, side=side, order_id=handle, price=MIDDLE, qty=lots)
        self.heard += owner == own.STRATEGY
        self.live[handle][2] -= lots if kind == FILL else 0
        if kind in (CANCELLED, REJECTED) or self.live[handle][2] == 0:
            del self.live[handle]
        elif now == "sent":
            self.live[handle][3] = "live"

    def trade(self, instrument: int) -> None:
        before = self.sent()
        expected = self.refusal(instrument, 1, own.STRATEGY)
        dropped = int(self.engine.outbox[0].dropped)
        self.tell(TRADE, instrument=instrument, price=MIDDLE, qty=1)
        if int(self.engine.outbox[0].dropped) > dropped:
            assert len(self.live) == LIVE_MAX
        elif expected == "pass":
            handle = self.sent()[-1][1]
            assert self.sent()[len(before) :] == [(NEW, handle, instrument, BID, MIDDLE, 1)]
            self.live[handle] = [instrument, BID, 1, "sent", own.STRATEGY]
        else:
            assert self.sent() == before
            self.heard += 1

    def switch(self, instrument: int, on: int) -> None:
        assert self.ask(STRATEGY, instrument=instrument, aux=on) == ("pass", NONE, 0)
        (self.off.discard if on else self.off.add)(instrument)

    def halt(self, instrument: int, halted: int) -> None:
        said = self.ask(HALT, flag=ASKED, instrument=instrument, aux=halted)[0]
        assert said == ("halted" if instrument < 0 and not halted and self.killed else "pass")
        (self.halted.add if halted else self.halted.discard)(instrument)

    def check(self) -> None:
        rows = self.engine.orders.rows
        found = {int(row.handle): row for row in rows if row.state != own.FREE}
        assert set(found) == set(self.live)
        for handle, (instrument, side, left, now, owner) in self.live.items():
            row = found[handle]
            assert (int(row.instrument), int(row.side), int(row.qty - row.filled)) == (instrument, side, left)
            assert (own.STATES[int(row.state)], int(row.owner)) == ("cancelling" if now == "going" else now, owner)
        assert int(self.engine.state["heard"].sum()) == self.heard


WHERE = st.integers(NONE, INSTRUMENTS - 1)
ACTS = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, INSTRUMENTS - 1), st.integers(0, 1), st.sampled_from([0, 1, 3, 101])),
    st.tuples(st.just("take_back"), st.integers(0, 9)),
    st.tuples(st.just("alter"), st.integers(0, 9), st.sampled_from([0, 2, 7])),
    st.tuples(st.just("take_all_back"), st.just(TAKE_ALL_BACK), WHERE),
    st.tuples(st.sampled_from(["accept", "cancelled", "reject"]), st.integers(0, 9)),
    st.tuples(st.just("fill"), st.integers(0, 9), st.integers(1, 3)),
    st.tuples(st.just("trade"), st.integers(0, INSTRUMENTS - 1)),
    st.tuples(st.just("switch"), WHERE, st.integers(0, 1)),
    st.tuples(st.just("halt"), WHERE, st.integers(0, 1)),
    st.tuples(st.just("drain")),
)
RARE = st.tuples(st.just("take_all_back"), st.just(KILL), st.just(NONE))
REPLIES = {"accept": ACCEPTED, "cancelled": CANCELLED, "reject": REJECTED, "fill": FILL}


@given(st.lists(ACTS, min_size=20, max_size=40), st.lists(RARE, max_size=1), st.lists(ACTS, max_size=10))
def test_an_operator_is_answered_as_a_dict_of_orders_would_be(first: Any, kill: Any, then: Any) -> None:
    rig = Rig()
    for name, *words in [*first, *kill, *then]:
        handles = [*rig.live, (7 << 32) | 3]
        if name in REPLIES:
            if words[0] < len(rig.live):
                rig.reply(REPLIES[name], handles[words[0]], *words[1:])
        elif name in ("take_back", "alter"):
            getattr(rig, name)(handles[words[0] % len(handles)], *words[1:])
        else:
            getattr(rig, name)(*words)
        rig.check()


def test_a_strategy_is_switched_off_for_one_instrument_and_its_operator_is_not() -> None:
    rig = Rig()
    rig.switch(1, 0)
    for instrument in range(INSTRUMENTS):
        rig.trade(instrument)
        rig.check()
    rig.submit(1, ASK, 2)
    rig.switch(1, 1)
    rig.drain()
    rig.trade(1)
    assert sorted(order[0] for order in rig.live.values()) == [0, 1, 1, 2] and rig.heard == 1


def test_half_a_replacement_never_leaves() -> None:
    rig = Rig()
    for side in (BID, ASK, BID):
        rig.submit(0, side, 1)
    for handle in list(rig.live):  # one place is left in the ring, then none
        rig.alter(handle, 7)
    rig.check()
    rig.drain()
    rig.alter(next(iter(rig.live)), 7)
    assert [row[0] for row in rig.sent()] == [CANCEL_ORDER, NEW]


def test_what_names_nothing_is_refused_and_counted() -> None:
    rig = Rig()
    for kind, fields in (
        (SUBMIT, {"instrument": INSTRUMENTS, "qty": 1, "price": MIDDLE}),
        (SUBMIT, {"instrument": NONE, "qty": 1, "price": MIDDLE}),
        (STRATEGY, {"instrument": INSTRUMENTS}),
        (TAKE_ALL_BACK, {"instrument": INSTRUMENTS}),
        (HALT, {"instrument": INSTRUMENTS, "aux": 1, "flag": ASKED}),
        (LIMIT, {"order_id": 7, "aux": 1, "flag": ASKED}),
        (LIMIT, {"instrument": INSTRUMENTS, "order_id": 0, "aux": 1, "flag": ASKED}),
        (PARAMETER, {"order_id": 99, "flag": ASKED}),
    ):
        assert rig.ask(kind, **fields) == ("bad_command", NONE, 0)
    assert rig.sent() == [] and int(rig.engine.cells[engines.ORDERS_SENT]) == 0


def test_a_limit_and_a_parameter_are_answered_only_when_an_operator_asked() -> None:
    rig = Rig()
    rig.tell(LIMIT, order_id=0, aux=50)
    rig.tell(TEXT, side=1, flag=5)
    rig.tell(ACK)
    assert rig.acks == 0
    assert rig.ask(LIMIT, flag=ASKED, instrument=1, order_id=0, aux=2) == ("pass", NONE, 0)
    assert rig.engine.risk.limits[:, 0].tolist() == [50, 2, 50]
    assert rig.ask(PARAMETER, flag=ASKED, order_id=0, aux=9) == ("pass", NONE, 0)
    assert np.asarray(rig.engine.params_words).tolist() == [9]


def test_a_strategy_that_had_every_handle_may_send_again_when_one_comes_back() -> None:
    rig = Rig()
    for k in range(LIVE_MAX):
        rig.trade(k % INSTRUMENTS)
        rig.drain()
    assert len(rig.live) == LIVE_MAX
    rig.trade(0)
    handle = next(iter(rig.live))
    rig.reply(CANCELLED, handle)
    rig.trade(0)
    rig.check()
    assert len(rig.live) == LIVE_MAX and handle not in rig.live
