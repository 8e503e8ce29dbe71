"""What a strategy asks for during one event: at most eight requests, checked by risk when it returns.

A strategy calls `buy`, `sell`, `cancel`, `replace`, `target`. The handle that an order returns is its name from then
on: in fills, in replies, in `cancel`. It is NONE when there is no room left; risk may refuse it (see `on_order`).
Each request is a row, of the instrument of the event unless it names another; rows leave in the order of the calls.
Known bad case: what is asked while `on_order` is told of a refusal is dropped, or a refusal could go on for ever.
"""

from typing import Any, Final

import numpy as np

from ..wire import (
    ASK,
    AT_MARKET,
    BID,
    CANCEL_ORDER,
    IMMEDIATE,
    MASS_CANCEL,
    NEW,
    NONE,
    POST_ONLY,
    REPLACE_ORDER,
    REQUEST,
)
from . import hot

REQUESTS_MAX = 8
# Which instrument a row is of, besides an index: that of the event; of a mass cancel, every one.
THIS: Final = -1
EVERY: Final = -2
OUTBOX = np.dtype(
    [
        ("count", "i8"),
        ("dropped", "i8"),  # requests beyond the eighth, or without a free handle
        ("handles", "i8", (REQUESTS_MAX,)),  # acquired ahead: the next order of row k gets handles[k]
        ("rows", REQUEST, (REQUESTS_MAX,)),
    ],
    align=True,
)

__all__ = [
    "AT_MARKET", "EVERY", "IMMEDIATE", "POST_ONLY", "THIS",
    "buy", "buy_at_market", "buy_of", "cancel", "cancel_all", "pending", "replace", "sell", "sell_at_market", "sell_of",
    "send", "target",
]  # fmt: skip


@hot
def send(orders: Any, side: int, price: int, qty: int, flags: int = 0, instrument: int = THIS) -> int:
    """Ask for a limit order; returns its handle, or NONE when there is no room."""
    at = orders.count
    if at >= REQUESTS_MAX or orders.handles[at] == NONE:
        orders.dropped += 1
        return NONE
    row = orders.rows[at]
    row.kind = NEW
    row.side = side
    row.flag = flags
    row.instrument = instrument
    row.price = price
    row.qty = qty
    row.order_id = orders.handles[at]
    orders.count = at + 1
    return row.order_id


@hot
def buy(orders: Any, price: int, qty: int, flags: int = 0) -> int:
    """A limit order to buy; flags are IMMEDIATE or POST_ONLY."""
    return send(orders, BID, price, qty, flags)


@hot
def sell(orders: Any, price: int, qty: int, flags: int = 0) -> int:
    """A limit order to sell; flags are IMMEDIATE or POST_ONLY."""
    return send(orders, ASK, price, qty, flags)


@hot
def buy_of(orders: Any, instrument: int, price: int, qty: int, flags: int = 0) -> int:
    """The same in the instrument with this index: fills and replies go to that instrument's hooks and state."""
    return send(orders, BID, price, qty, flags, instrument)


@hot
def sell_of(orders: Any, instrument: int, price: int, qty: int, flags: int = 0) -> int:
    """The same in the instrument with this index: fills and replies go to that instrument's hooks and state."""
    return send(orders, ASK, price, qty, flags, instrument)


@hot
def buy_at_market(orders: Any, qty: int, instrument: int = THIS) -> int:
    """Buy at whatever price there is, up to the worst that the collar of risk lets through; what is left is cancelled.

    A backtest over bars fills it at the open of the next bar."""
    return send(orders, BID, 0, qty, AT_MARKET | IMMEDIATE, instrument)


@hot
def sell_at_market(orders: Any, qty: int, instrument: int = THIS) -> int:
    """The same to sell."""
    return send(orders, ASK, 0, qty, AT_MARKET | IMMEDIATE, instrument)


@hot
def replace(orders: Any, handle: int, price: int, qty: int, flags: int = 0) -> int:
    """Put another order in the place of one that is live: a cancel and a new order, both or none. The new handle.

    It is on the same side of the same instrument, and loses its place in the queue. Until the old one is cancelled risk
    counts both. When the old one is gone, or is being cancelled, nothing is sent: on_order hears of UNKNOWN_ORDER."""
    fresh = send(orders, BID, price, qty, flags)
    if fresh != NONE:
        row = orders.rows[orders.count - 1]
        row.kind = REPLACE_ORDER
        row.aux = handle
    return fresh


@hot
def cancel(orders: Any, handle: int) -> bool:
    """Ask to take an order back. Passes risk always; False only when the outbox is full."""
    return _take_back(orders, CANCEL_ORDER, handle, THIS)


@hot
def cancel_all(orders: Any, instrument: int = THIS) -> bool:
    """Ask to take all of the strategy's orders back, of one instrument or of EVERY one. False when the outbox is full.

    Orders that were asked for during this event are among them when they were asked for before."""
    return _take_back(orders, MASS_CANCEL, NONE, instrument)


@hot
def _take_back(orders: Any, kind: int, handle: int, instrument: int) -> bool:
    at = orders.count
    if at >= REQUESTS_MAX:
        orders.dropped += 1
        return False
    row = orders.rows[at]
    row.kind = kind
    row.side = 0
    row.flag = 0
    row.instrument = instrument
    row.price = NONE
    row.qty = 0
    row.order_id = handle
    orders.count = at + 1
    return True


@hot
def pending(orders: Any, instrument: int = THIS) -> int:
    """Lots that new orders of this event would add to the position, if all of them fill."""
    lots = np.int64(0)
    for at in range(orders.count):
        row = orders.rows[at]
        if row.kind == NEW and row.instrument == instrument:
            lots += row.qty if row.side == BID else -row.qty
    return lots


@hot
def target(orders: Any, market: Any, qty: int, price: int = NONE, flags: int = 0, instrument: int = THIS) -> int:
    """Order what is missing to the position `qty` (lots, negative is short), at a limit or, without one, at market.

    What is missing is counted as if every open order filled, those of this event too: asked twice, it is sent once. One
    whose cancel is not known yet may still fill and is counted, as are both of a replacement: to reach a position that
    does not hang on them, ask when none is open. In one event name an instrument always, or never. The handle of the
    order, NONE when nothing is missing. For another instrument: `desk.markets[i]`, and `i`."""
    if orders.count >= REQUESTS_MAX:  # its refusals are being told
        orders.dropped += 1
        return NONE
    missing = qty - market.position - market.open_bid_qty + market.open_ask_qty - pending(orders, instrument)
    if missing == 0:
        return NONE
    if price == NONE:
        price, flags = 0, flags | AT_MARKET | IMMEDIATE
    return send(orders, BID if missing > 0 else ASK, price, abs(missing), flags, instrument)
