"""Our own orders against a dict: the legal transitions one by one, fills late and over, positions and what is open."""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import market as markets
from ultra.hot import memory
from ultra.hot import orders as own
from ultra.hot import pool as pools
from ultra.hot.orders import ON_ACCEPTED, ON_CANCELLED, ON_REJECTED
from ultra.wire import ASK, BID, REQUEST

OPEN, CANCEL, REPLY, FILL = range(4)
PRICE = 7
# Written as one reads it in a venue's manual; `None` is a reply that makes no sense then.
AFTER = {
    "sent": {"accepted": "live", "fill": "live", "last_fill": "filled", "cancel": "cancelling",
             "cancelled": "cancelled", "rejected": "rejected"},
    "live": {"accepted": None, "fill": "live", "last_fill": "filled", "cancel": "cancelling",
             "cancelled": "cancelled", "rejected": None},
    "cancelling": {"accepted": "cancelling", "fill": "cancelling", "last_fill": "filled", "cancel": None,
                   "cancelled": "cancelled", "rejected": "rejected"},
}  # fmt: skip
REPLIES = {ON_ACCEPTED: "accepted", ON_CANCELLED: "cancelled", ON_REJECTED: "rejected"}


@loop
def apply(orders: Any, market: Any, request: Any, what: int, handle: int, instrument: int, side: int, qty: int) -> int:
    """For REPLY, `qty` is the event. Returns the handle of an order opened, else whether it was legal."""
    view = market[instrument]
    if what == OPEN:
        acquired = pools.acquire(orders.pool)
        if acquired != pools.NO_SLOT:
            row = request[0]
            row.order_id = acquired
            row.instrument = instrument
            row.side = side
            row.price = PRICE
            row.qty = qty
            own.open_order(orders, view, row)
        return acquired
    if what == CANCEL:
        return int(own.ask_cancel(orders, handle, instrument))
    if what == REPLY:
        return int(own.reply(orders, view, handle, instrument, qty))
    return int(own.fill(orders, view, handle, instrument, side, PRICE, qty))


class Order(NamedTuple):
    state: str
    instrument: int
    side: int
    qty: int
    filled: int


class Twin:
    """Live orders by handle, and what every fill, ours or not, did to the position."""

    def __init__(self) -> None:
        self.live: dict[int, Order] = {}
        self.fills: list[tuple[int, int, int]] = []
        self.counters = [0] * 5

    def step(self, handle: int, event: str, filled: int = 0) -> bool:
        order = self.live[handle]
        after = AFTER[order.state][event]
        if after in AFTER:
            self.live[handle] = order._replace(state=after, filled=order.filled + filled)
        elif after:
            del self.live[handle]
        return after is not None

    def apply(self, what: int, handle: int, instrument: int, side: int, qty: int) -> int:
        mine = handle in self.live and self.live[handle].instrument == instrument
        if what == CANCEL:
            return int(mine and self.step(handle, "cancel"))
        if what == REPLY:
            legal = mine and self.step(handle, REPLIES[qty])
            self.counters[own.ILLEGAL_REPLIES if mine else own.LATE_REPLIES] += not legal
            return int(legal)
        if qty <= 0:
            self.counters[own.ILLEGAL_REPLIES] += 1
            return 0
        self.fills.append((instrument, side, qty))
        if not mine:
            self.counters[own.LATE_FILLS] += 1
            return 0
        left = self.live[handle].qty - self.live[handle].filled
        self.counters[own.OVERFILLED] += qty > left
        self.step(handle, "last_fill" if qty >= left else "fill", qty)
        return 1

    def view(self, instrument: int) -> dict[str, int]:
        mine = [order for order in self.live.values() if order.instrument == instrument]
        fills = [(-qty if side else qty) for i, side, qty in self.fills if i == instrument]
        still = [[o.qty - o.filled for o in mine if o.side == side] for side in (BID, ASK)]
        return {
            "position": sum(fills), "cash": -PRICE * sum(fills), "fills": len(fills),
            "filled_qty": sum(map(abs, fills)), "open_orders": len(mine),
            "open_bid_qty": sum(still[BID]), "open_ask_qty": sum(still[ASK]),
        }  # fmt: skip


class Desk:
    """The orders, their market and the twin, applied and compared together."""

    def __init__(self, capacity: int) -> None:
        self.orders, self.market, self.twin = own.create(capacity), markets.create(2), Twin()
        self.request, self.capacity = memory.zeros(1, REQUEST), capacity

    def play(self, what: int, handle: int, instrument: int, side: int, qty: int) -> int:
        full = len(self.twin.live) == self.capacity
        outcome = apply(self.orders, self.market, self.request, what, handle, instrument, side, qty)
        if what != OPEN:
            assert outcome == self.twin.apply(what, handle, instrument, side, qty)
        else:
            assert (outcome == pools.NO_SLOT) == full
            if not full:
                self.twin.counters[own.OPENED] += 1
                self.twin.live[outcome] = Order("sent", instrument, side, qty, 0)
        self.agree()
        return outcome

    def agree(self) -> None:
        own.check(self.orders, self.market)
        for instrument, view in enumerate(self.market):
            expected = self.twin.view(instrument)
            assert {name: int(view[name]) for name in expected} == expected
        assert self.orders.counters[:5].tolist() == self.twin.counters
        rows = self.orders.rows[self.orders.rows.state != own.FREE]
        found = {int(row.handle): (own.STATES[row.state], int(row.filled)) for row in rows}
        assert found == {handle: (order.state, order.filled) for handle, order in self.twin.live.items()}


STEPS = st.lists(
    st.tuples(
        st.sampled_from((OPEN, OPEN, CANCEL, REPLY, REPLY, FILL, FILL)),
        st.integers(0, 50),
        st.sampled_from((0, 0, 0, 1)),  # 1: the reply names the other instrument
        st.sampled_from((BID, ASK)),
        st.integers(-1, 4),
    ),
    min_size=30,
    max_size=60,
)


@given(st.integers(1, 4), STEPS)
def test_orders_behave_as_a_dict_of_states(capacity: int, steps: list[tuple[int, int, int, int, int]]) -> None:
    desk, seen = Desk(capacity), [(0, 0), (1 << 32, 0)]
    for what, pick, other, side, qty in steps:
        if what == OPEN:
            seen.append((desk.play(OPEN, 0, pick & 1, side, max(qty, 1)), pick & 1))
            continue
        # Mostly the newest: those that are still live.
        handle, instrument = seen[-1 - min(pick, 20) % len(seen)]
        event = (ON_ACCEPTED, ON_CANCELLED, ON_REJECTED)[qty % 3] if what == REPLY else qty
        desk.play(what, handle, instrument ^ other, side, event)


EVENTS = {"accepted": (REPLY, ON_ACCEPTED), "cancelled": (REPLY, ON_CANCELLED), "rejected": (REPLY, ON_REJECTED),
          "cancel": (CANCEL, 0), "fill": (FILL, 1), "last_fill": (FILL, 2)}  # fmt: skip
REACHED_BY = {"sent": [], "live": ["accepted"], "cancelling": ["cancel"]}


@pytest.mark.parametrize(("state", "event"), list(product(AFTER, EVENTS)))
def test_a_transition_is_legal_exactly_when_the_manual_says_so(state: str, event: str) -> None:
    desk = Desk(2)
    handle = desk.play(OPEN, 0, 0, ASK, 2)
    for before in REACHED_BY[state]:
        desk.play(*arguments(before, handle))
    outcome = desk.play(*arguments(event, handle))
    after = AFTER[state][event]
    assert outcome == (after is not None)
    assert len(desk.twin.live) == (after is None or after in AFTER)


def arguments(event: str, handle: int) -> tuple[int, int, int, int, int]:
    what, qty = EVENTS[event]
    return what, handle, 0, ASK, qty


def test_the_table_says_the_same_as_the_manual() -> None:
    names = {own.ON_FILL: "fill", own.ON_LAST_FILL: "last_fill", own.ON_CANCEL_ASKED: "cancel", **REPLIES}
    table = {
        state: {name: own.TRANSITIONS[own.STATES.index(state), event] for event, name in names.items()}
        for state in own.STATES
    }
    for state, row in table.items():
        legal = {name: own.STATES[after] if after != own.ILLEGAL else None for name, after in row.items()}
        assert legal == AFTER.get(state, dict.fromkeys(legal))


def test_a_fill_after_the_cancellation_still_moves_the_position() -> None:
    desk = Desk(1)
    handle = desk.play(OPEN, 0, 0, BID, 3)
    desk.play(FILL, handle, 0, BID, 1)
    desk.play(REPLY, handle, 0, BID, ON_CANCELLED)
    assert desk.play(FILL, handle, 0, BID, 2) == 0
    assert int(desk.market[0].position) == 3 and int(desk.market[0].open_bid_qty) == 0
    assert int(desk.orders.counters[own.LATE_FILLS]) == 1


def test_more_than_was_asked_for_is_the_position_but_never_negative_open_quantity() -> None:
    desk = Desk(1)
    handle = desk.play(OPEN, 0, 1, ASK, 3)
    assert desk.play(FILL, handle, 1, ASK, 5) == 1
    assert int(desk.market[1].position) == -5 and int(desk.market[1].open_ask_qty) == 0
    assert int(desk.orders.counters[own.OVERFILLED]) == 1 and not desk.twin.live


def test_a_handle_never_names_the_next_order_of_its_slot() -> None:
    desk = Desk(1)
    first = desk.play(OPEN, 0, 0, BID, 1)
    desk.play(REPLY, first, 0, BID, ON_REJECTED)
    second = desk.play(OPEN, 0, 0, BID, 1)
    assert desk.play(CANCEL, first, 0, BID, 0) == 0 and desk.play(REPLY, first, 0, BID, ON_ACCEPTED) == 0
    assert desk.play(CANCEL, second, 0, BID, 0) == 1
    assert np.count_nonzero(desk.orders.rows.state) == 1
