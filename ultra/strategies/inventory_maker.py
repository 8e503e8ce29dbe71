"""Quote around a price that leans against what is held, as far away as risk and the flow of orders say.

M. Avellaneda, S. Stoikov, High-Frequency Trading in a Limit Order Book (Quantitative Finance 8, 2008), section 3.2:

    reservation = middle - q * gamma * sigma^2 * T
    spread      = gamma * sigma^2 * T + 2 / gamma * ln(1 + gamma / k)

q is the position in orders of `order_qty`; sigma^2 the variance of the middle in ticks^2 a second, measured here over
`length` samples; T the horizon in seconds, which here does not run out (a day has no end that matters to a quote); k
how fast fills get rarer with distance, a tick; gamma the aversion to risk, a tick. Prices are rounded away from the
middle and never cross the touch; a quote is moved when it is more than `slack` ticks from where it should be.
Known bad case: it knows nothing of who trades with it. A flow that knows better fills one side until `position_max`.
"""

import math
from typing import Any

import numpy as np

from ..hot import hot
from ..hot.indicators import mean_variance
from ..hot.outbox import POST_ONLY, buy, cancel, sell
from ..math import log1p
from ..strategy import Strategy, indicator, parameter, state
from ..wire import BID, FILL, NONE

LONGEST = 600


class InventoryMaker(Strategy):
    """Avellaneda and Stoikov's market maker."""

    gamma: float = parameter(0.0001, low=1e-9)  # aversion to risk, 1/ticks
    k: float = parameter(0.01, low=1e-9)  # decay of the intensity of fills, 1/ticks
    horizon_s: float = parameter(60.0, low=0.001)
    length: int = parameter(60, low=2, high=LONGEST)  # samples of the middle for sigma
    sample_ns: int = parameter(1_000_000_000, low=1_000_000)
    slack: int = parameter(100, low=0)  # ticks
    step: int = parameter(100, low=1)  # ticks between two lawful prices
    order_qty: int = parameter(100, low=1)
    position_max: int = parameter(500, low=1)
    moves: Any = indicator(mean_variance, LONGEST)
    sampled_ts: int = state()
    middle2: int = state()  # bid + ask at the last sample
    sigma2: float = state(0.0)  # ticks^2 a second; 0 = not known yet
    bid_id: int = state(NONE)  # handle of the quote that rests
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
        if market.bid < 0 or market.ask <= market.bid:
            return
        measure(state, params, event.ts_event, market.bid + market.ask)
        if state.sigma2 <= 0.0:
            return
        bid, ask = quotes(params, state.sigma2, 0.5 * (market.bid + market.ask), market.position)
        bid, ask = min(bid, market.ask - params.step), max(ask, market.bid + params.step)
        if state.bid_id != NONE:
            if state.bid_going == 0 and abs(bid - state.bid_price) > params.slack:
                cancel(orders, state.bid_id)
                state.bid_going = 1
        elif bid > 0 and market.position + params.order_qty <= params.position_max:
            state.bid_id = buy(orders, bid, params.order_qty, POST_ONLY)
            state.bid_price = bid
            state.bid_left = params.order_qty
            state.bid_going = 0
        if state.ask_id != NONE:
            if state.ask_going == 0 and abs(ask - state.ask_price) > params.slack:
                cancel(orders, state.ask_id)
                state.ask_going = 1
        elif market.position - params.order_qty >= -params.position_max:
            state.ask_id = sell(orders, ask, params.order_qty, POST_ONLY)
            state.ask_price = ask
            state.ask_left = params.order_qty
            state.ask_going = 0

    @staticmethod
    def on_fill(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """A quote was hit."""
        if event.order_id == state.bid_id and event.side == BID:
            state.bid_left -= event.qty
        elif event.order_id == state.ask_id:
            state.ask_left -= event.qty
        forget(state)

    @staticmethod
    def on_order(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """A quote was accepted, cancelled or refused."""
        if event.kind > FILL and event.order_id == state.bid_id:
            state.bid_left = 0
        elif event.kind > FILL and event.order_id == state.ask_id:
            state.ask_left = 0
        forget(state)


@hot
def forget(state: Any) -> None:
    """A quote of which nothing is left is no longer ours."""
    if state.bid_left <= 0:
        state.bid_id = NONE
    if state.ask_left <= 0:
        state.ask_id = NONE


@hot
def measure(state: Any, params: Any, ts: int, middle2: int) -> None:
    """Take a sample of twice the middle when it is time: its moves give sigma^2 a second."""
    if ts - state.sampled_ts < params.sample_ns:
        return
    if state.sampled_ts > 0:
        found = mean_variance(state.moves, 0.5 * (middle2 - state.middle2), params.length)
        if found.variance >= 0.0:
            state.sigma2 = max(found.variance * 1e9 / params.sample_ns, 1e-6)
    state.sampled_ts = ts
    state.middle2 = middle2


@hot
def quotes(params: Any, sigma2: float, middle: float, position: int) -> tuple[int, int]:
    """Where to bid and to offer: the reservation price less and plus half the spread, on whole steps, outwards."""
    risk = params.gamma * sigma2 * params.horizon_s
    reservation = middle - position / params.order_qty * risk
    half = 0.5 * risk + log1p(params.gamma / params.k) / params.gamma
    bid = np.int64(math.floor((reservation - half) / params.step)) * params.step
    ask = np.int64(math.ceil((reservation + half) / params.step)) * params.step
    return bid, ask
