"""Our own live orders: one row per handle, and a table of the transitions that are legal.

    SENT -- accepted --> LIVE -- fills --> FILLED        SENT, LIVE -- cancel asked --> CANCELLING
    SENT -- rejected --> REJECTED                        LIVE, CANCELLING -- cancelled --> CANCELLED

A terminal state gives the handle back. A reply that is not legal in the state, or is of another instrument,
changes nothing but its counter, except a fill: what the venue says was traded is the position, whatever we
believed (counted as `late`).
"""

from typing import Any, NamedTuple

import numpy as np

from ..wire import BID
from . import hot, memory
from . import pool as pools
from .atomics import Cells

FREE, SENT, LIVE, CANCELLING, FILLED, CANCELLED, REJECTED = range(7)
STATES = ("free", "sent", "live", "cancelling", "filled", "cancelled", "rejected")
ON_ACCEPTED, ON_FILL, ON_LAST_FILL, ON_CANCEL_ASKED, ON_CANCELLED, ON_REJECTED = range(6)
ILLEGAL = -1
STRATEGY, OPERATOR = 0, 1

TRANSITIONS = np.full((7, 6), ILLEGAL, np.int64)
for _state, _event, _next in (
    (SENT, ON_ACCEPTED, LIVE),
    (SENT, ON_REJECTED, REJECTED),
    (SENT, ON_CANCEL_ASKED, CANCELLING),
    (SENT, ON_FILL, LIVE),  # a fill may overtake its acceptance
    (SENT, ON_LAST_FILL, FILLED),
    (SENT, ON_CANCELLED, CANCELLED),
    (LIVE, ON_FILL, LIVE),
    (LIVE, ON_LAST_FILL, FILLED),
    (LIVE, ON_CANCEL_ASKED, CANCELLING),
    (LIVE, ON_CANCELLED, CANCELLED),
    (CANCELLING, ON_ACCEPTED, CANCELLING),
    (CANCELLING, ON_FILL, CANCELLING),
    (CANCELLING, ON_LAST_FILL, FILLED),
    (CANCELLING, ON_CANCELLED, CANCELLED),
    (CANCELLING, ON_REJECTED, REJECTED),
):
    TRANSITIONS[_state, _event] = _next

# Counters.
OPENED, ILLEGAL_REPLIES, LATE_FILLS, OVERFILLED, LATE_REPLIES = 0, 1, 2, 3, 4

OWN = np.dtype(
    [
        ("handle", "i8"),
        ("price", "i8"),
        ("qty", "i8"),
        ("filled", "i8"),
        ("sequence", "i8"),  # of the input that made us send it
        ("ts_event", "i8"),
        ("instrument", "i4"),
        ("side", "i1"),
        ("state", "i1"),
        ("flag", "i2"),
        ("owner", "i8"),  # STRATEGY or OPERATOR: who hears of it
    ],
    align=True,
)
assert OWN.itemsize == 64


class Orders(NamedTuple):
    """Our live orders, and what came of all of them."""

    rows: Any  # OWN[own_order_max], index = slot of the handle
    pool: pools.Pool
    counters: Cells  # int64[8]


def create(capacity: int) -> Orders:
    """Room for `capacity` live orders (and the few handles acquired ahead)."""
    return Orders(memory.zeros(capacity, OWN), pools.create(capacity), np.zeros(8, np.int64))


@hot
def open_order(orders: Orders, view: Any, request: Any) -> None:
    """Write down a request that passed risk. Its handle was acquired before."""
    row = orders.rows[pools.slot_of(orders.pool, request.order_id)]
    row.handle = request.order_id
    row.price = request.price
    row.qty = request.qty
    row.filled = 0
    row.sequence = request.sequence
    row.ts_event = request.ts_event
    row.instrument = request.instrument
    row.side = request.side
    row.flag = request.flag
    row.owner = STRATEGY
    row.state = SENT
    orders.counters[OPENED] += 1
    view.open_orders += 1
    if row.side == BID:
        view.open_bid_qty += row.qty
    else:
        view.open_ask_qty += row.qty


@hot
def _slot_of(orders: Orders, handle: int, instrument: int) -> int:
    """The row of a live order, or NO_SLOT: it is gone, was never sent, or is not of this instrument."""
    slot = pools.slot_of(orders.pool, handle)
    if slot == pools.NO_SLOT or orders.rows[slot].handle != handle:
        return pools.NO_SLOT
    return slot if orders.rows[slot].instrument == instrument else pools.NO_SLOT


@hot
def live(orders: Orders, handle: int) -> int:
    """The row of a live order of any instrument, or NO_SLOT."""
    slot = pools.slot_of(orders.pool, handle)
    return slot if slot != pools.NO_SLOT and orders.rows[slot].handle == handle else pools.NO_SLOT


@hot
def is_operators(orders: Orders, handle: int) -> bool:
    """Whether a live order was the operator's own."""
    slot = pools.slot_of(orders.pool, handle)
    return slot != pools.NO_SLOT and orders.rows[slot].handle == handle and orders.rows[slot].owner == OPERATOR


@hot
def ask_cancel(orders: Orders, handle: int, instrument: int) -> bool:
    """Mark an order as being cancelled; False when it is gone, not of this instrument, or being cancelled already."""
    slot = _slot_of(orders, handle, instrument)
    if slot == pools.NO_SLOT:
        return False
    after = TRANSITIONS[orders.rows[slot].state, ON_CANCEL_ASKED]
    if after == ILLEGAL:
        return False
    orders.rows[slot].state = after
    return True


@hot
def reply(orders: Orders, view: Any, handle: int, instrument: int, event: int) -> bool:
    """Apply an acceptance, cancellation or rejection; False (counted) when its order is gone, or it is not legal."""
    slot = _slot_of(orders, handle, instrument)
    if slot == pools.NO_SLOT:
        orders.counters[LATE_REPLIES] += 1
        return False
    after = TRANSITIONS[orders.rows[slot].state, event]
    if after == ILLEGAL:
        orders.counters[ILLEGAL_REPLIES] += 1
        return False
    orders.rows[slot].state = after
    if after >= FILLED:
        _close(orders, view, slot)
    return True


@hot
def fill(orders: Orders, view: Any, handle: int, instrument: int, side: int, price: int, qty: int) -> bool:
    """Apply a fill: position and cash always; the order too when it is still ours.

    False (counted) when it was not, or when nothing was traded."""
    if qty <= 0:
        orders.counters[ILLEGAL_REPLIES] += 1
        return False
    lots = qty if side == BID else -qty
    view.position += lots
    view.cash -= lots * price
    view.fills += 1
    view.filled_qty += qty
    slot = _slot_of(orders, handle, instrument)
    if slot == pools.NO_SLOT:
        orders.counters[LATE_FILLS] += 1
        return False
    row = orders.rows[slot]
    if qty > row.qty - row.filled:
        orders.counters[OVERFILLED] += 1
        qty = row.qty - row.filled
    row.filled += qty
    if row.side == BID:
        view.open_bid_qty -= qty
    else:
        view.open_ask_qty -= qty
    row.state = TRANSITIONS[row.state, ON_LAST_FILL if row.filled == row.qty else ON_FILL]
    if row.state >= FILLED:
        _close(orders, view, slot)
    return True


@hot
def _close(orders: Orders, view: Any, slot: int) -> None:
    row = orders.rows[slot]
    left = row.qty - row.filled
    view.open_orders -= 1
    if row.side == BID:
        view.open_bid_qty -= left
    else:
        view.open_ask_qty -= left
    row.state = FREE
    pools.give_back(orders.pool, row.handle)


def check(orders: Orders, market: Any) -> None:
    """Every invariant, in O(orders + instruments): for tests."""
    pools.check(orders.pool)
    live = orders.rows[orders.rows.state != FREE]
    assert len(set(live.handle.tolist())) == len(live)
    assert ((live.filled >= 0) & (live.filled < live.qty)).all()
    for index, view in enumerate(market):
        own = live[live.instrument == index]
        left = own.qty - own.filled
        assert int(view.open_orders) == len(own)
        assert int(view.open_bid_qty) == int(left[own.side == BID].sum())
        assert int(view.open_ask_qty) == int(left[own.side != BID].sum())
