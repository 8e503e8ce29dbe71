"""Quote both sides at the touch, leaning against the position: a simple market maker.

One order rests on each side. A quote is cancelled when the touch has left it by more than `drift` ticks, and sent
again at the new touch; a side is not quoted while it would take the position beyond `position_max`.
Known bad case: in a trend the quotes are filled on the wrong side again and again (adverse selection).
"""

from typing import Any

from ..hot import hot
from ..hot.outbox import POST_ONLY, buy, cancel, sell
from ..strategy import Strategy, parameter, state
from ..wire import BID, FILL, NONE


class MarketMaker(Strategy):
    """Joins the touch on both sides."""

    order_qty: int = parameter(100, low=1)
    position_max: int = parameter(300, low=1)
    drift: int = parameter(300, low=0)  # ticks the touch may leave a quote before it is moved
    spread_min: int = parameter(200, low=1)  # ticks; narrower markets are not quoted
    bid_id: int = state(NONE)  # handle of the order that rests
    ask_id: int = state(NONE)
    bid_going: int = state()  # 1 while its cancel is under way
    ask_going: int = state()
    bid_price: int = state()
    ask_price: int = state()
    bid_left: int = state()
    ask_left: int = state()

    @staticmethod
    def on_book(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """The touch moved."""
        if market.bid < 0 or market.ask < 0 or market.ask <= market.bid:
            return
        wide = market.ask - market.bid >= params.spread_min
        if state.bid_id != NONE:
            if state.bid_going == 0 and abs(market.bid - state.bid_price) > params.drift:
                cancel(orders, state.bid_id)
                state.bid_going = 1
        elif wide and market.position + params.order_qty <= params.position_max:
            state.bid_id = buy(orders, market.bid, params.order_qty, POST_ONLY)
            state.bid_price = market.bid
            state.bid_left = params.order_qty
            state.bid_going = 0
        if state.ask_id != NONE:
            if state.ask_going == 0 and abs(market.ask - state.ask_price) > params.drift:
                cancel(orders, state.ask_id)
                state.ask_going = 1
        elif wide and market.position - params.order_qty >= -params.position_max:
            state.ask_id = sell(orders, market.ask, params.order_qty, POST_ONLY)
            state.ask_price = market.ask
            state.ask_left = params.order_qty
            state.ask_going = 0

    @staticmethod
    def on_fill(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """A quote was hit."""
        closed(state, event)

    @staticmethod
    def on_order(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """A quote was accepted, cancelled or refused."""
        closed(state, event)


@hot
def closed(state: Any, event: Any) -> None:
    """Forget a quote that is filled, cancelled or refused."""
    if event.kind == FILL:
        if event.side == BID:
            state.bid_left -= event.qty
        else:
            state.ask_left -= event.qty
    elif event.kind > FILL:
        if event.order_id == state.bid_id:
            state.bid_left = 0
        elif event.order_id == state.ask_id:
            state.ask_left = 0
    if state.bid_left <= 0:
        state.bid_id = NONE
    if state.ask_left <= 0:
        state.ask_id = NONE
