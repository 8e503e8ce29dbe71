"""What a strategy asks for during one event: at most eight requests, checked by risk when it returns.

A strategy calls `buy`, `sell`, `cancel`. The handle that `buy` returns is the order's name from then on: in fills,
in replies, in `cancel`. It is NONE when there is no room left; risk may still refuse it (see `on_order`).
"""

from typing import Any

import numpy as np

from ..wire import ASK, BID, CANCEL_ORDER, IMMEDIATE, NEW, NONE, POST_ONLY, REQUEST
from . import hot

REQUESTS_MAX = 8
OUTBOX = np.dtype(
    [
        ("count", "i8"),
        ("dropped", "i8"),  # requests beyond the eighth, or without a free handle
        ("handles", "i8", (REQUESTS_MAX,)),  # acquired ahead: the next order of row k gets handles[k]
        ("rows", REQUEST, (REQUESTS_MAX,)),
    ],
    align=True,
)

__all__ = ["IMMEDIATE", "POST_ONLY", "buy", "cancel", "sell", "send"]


@hot
def send(orders: Any, side: int, price: int, qty: int, flags: int = 0) -> int:
    """Ask for a limit order; returns its handle, or NONE when there is no room."""
    at = orders.count
    if at >= REQUESTS_MAX or orders.handles[at] == NONE:
        orders.dropped += 1
        return NONE
    row = orders.rows[at]
    row.kind = NEW
    row.side = side
    row.flag = flags
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
def cancel(orders: Any, handle: int) -> bool:
    """Ask to take an order back. Passes risk always; False only when the outbox is full."""
    at = orders.count
    if at >= REQUESTS_MAX:
        orders.dropped += 1
        return False
    row = orders.rows[at]
    row.kind = CANCEL_ORDER
    row.side = 0
    row.flag = 0
    row.price = NONE
    row.qty = 0
    row.order_id = handle
    orders.count = at + 1
    return True
