"""Take the far side of the touch when the microprice leans towards it: the smallest strategy that trades.

The microprice weighs both best prices by the quantity on the other side (Stoikov 2018). When it leans more than
`edge` of the spread to one side and the position allows, one immediate order is sent there; then it waits.
Known bad case: it pays the spread every time. After fees it loses money; it is here to show the contract.
"""

from typing import Any

from ..hot.outbox import IMMEDIATE, buy, sell
from ..strategy import Strategy, parameter, state


class Imbalance(Strategy):
    """Microprice taker."""

    edge: float = parameter(0.35, low=0.0, high=0.5)  # of the spread, from its middle
    order_qty: int = parameter(100, low=1)  # lots per order
    position_max: int = parameter(500, low=1)
    wait_ns: int = parameter(250_000_000, low=0)  # between two orders
    sent_ts: int = state()

    @staticmethod
    def on_book(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """The touch moved."""
        if market.bid < 0 or market.ask <= market.bid or event.ts_event - state.sent_ts < params.wait_ns:
            return
        lean = market.bid_qty / (market.bid_qty + market.ask_qty) - 0.5
        held = market.position + market.open_bid_qty - market.open_ask_qty
        if lean > params.edge and held + params.order_qty <= params.position_max:
            buy(orders, market.ask, params.order_qty, IMMEDIATE)
            state.sent_ts = event.ts_event
        elif lean < -params.edge and held - params.order_qty >= -params.position_max:
            sell(orders, market.bid, params.order_qty, IMMEDIATE)
            state.sent_ts = event.ts_event
