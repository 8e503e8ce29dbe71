"""What the book and the tape say about who is in a hurry: prices and quantities of the touch, trades and their sides.

In a hook the arguments are fields of `market` and `event`; prices may be ticks. A side that is empty has price NONE
(-1).
Known bad case: all of it is about the touch. An order that is replaced to and fro at the best price looks like flow.
"""

import math
from typing import Any

from .definition import define, finite, fresh, record
from .window import slide, sums


@define(None, inputs=4)
def microprice(bid: float, bid_qty: float, ask: float, ask_qty: float) -> float:
    """The touch weighed by what stands on its other side: (bid * ask_qty + ask * bid_qty) / (bid_qty + ask_qty). The
    first-order price of S. Stoikov, The Micro-Price (2018). NaN when a side is empty."""
    b, a, bq, aq = float(bid), float(ask), float(bid_qty), float(ask_qty)
    if not (finite(b + bq + a + aq) and b >= 0.0 and a >= 0.0 and bq >= 0.0 and aq >= 0.0 and bq + aq > 0.0):
        return math.nan
    return (b * aq + a * bq) / (bq + aq)


@define(None, inputs=2)
def imbalance(bid_qty: float, ask_qty: float) -> float:
    """(bid_qty - ask_qty) / (bid_qty + ask_qty), -1 to 1: of the touch, or of sums over as many levels as you like. NaN
    when both are 0."""
    bq, aq = float(bid_qty), float(ask_qty)
    if not (finite(bq + aq) and bq >= 0.0 and aq >= 0.0 and bq + aq > 0.0):
        return math.nan
    return (bq - aq) / (bq + aq)


def _touch(room: int) -> Any:
    return record(("bid", "f8"), ("bid_qty", "f8"), ("ask", "f8"), ("ask_qty", "f8"), ("flow", sums(room)))


@define(_touch, inputs=4)
def order_flow(state: Any, bid: float, bid_qty: float, ask: float, ask_qty: float, length: int) -> float:
    """Order-flow imbalance: lots by which demand at the touch grew more than supply over the last `length` changes of
    it (R. Cont, A. Kukanov, S. Stoikov, The Price Impact of Order Book Events, 2014, eq. 2.1 and 2.2)."""
    b, bq, a, aq = float(bid), float(bid_qty), float(ask), float(ask_qty)
    if a < 0.0:
        a = math.inf  # no ask is an ask above all others, as NONE is a bid below
    if not (finite(b) and finite(bq) and finite(aq) and not math.isnan(a)):
        return math.nan
    begins = fresh(state, length)
    moved = 0.0
    if not begins:
        moved += bq if b >= state.bid else 0.0
        moved -= state.bid_qty if b <= state.bid else 0.0
        moved -= aq if a <= state.ask else 0.0
        moved += state.ask_qty if a >= state.ask else 0.0
    state.bid = b
    state.bid_qty = bq
    state.ask = a
    state.ask_qty = aq
    state.seen += 1
    if begins:
        state.flow.seen = 0
        return math.nan
    return state.flow.total if slide(state.flow, moved, length) else math.nan


def _sign(room: int) -> Any:
    return record(("latest", "f8"), ("sign", "f8"))


@define(_sign, inputs=3)
def trade_sign(state: Any, price: float, bid: float, ask: float) -> float:
    """Who wanted a trade: 1 the buyer, -1 the seller, 0 not known yet. Above the middle of the touch before the trade
    it was the buyer, below the seller; at the middle, or without a touch (NONE, NaN), the tick rule: the direction from
    the last other price (C. Lee, M. Ready, Inferring Trade Direction from Intraday Data, 1991)."""
    x, b, a = float(price), float(bid), float(ask)
    if not finite(x):
        return math.nan
    if state.seen == 0:
        state.sign = 0.0
        state.latest = x
    state.seen += 1
    if x > state.latest:
        state.sign = 1.0  # the tick rule, kept also for trades at the same price
    elif x < state.latest:
        state.sign = -1.0
    state.latest = x
    if b >= 0.0 and a >= 0.0 and 2.0 * x != a + b:
        return 1.0 if 2.0 * x > a + b else -1.0
    return state.sign


def _traded(room: int) -> Any:
    return record(("session", "f8"), ("worth", "f8"), ("volume", "f8"))


@define(_traded, inputs=3)
def vwap(state: Any, price: float, qty: float, session: float = 0.0) -> float:
    """Mean price weighed by quantity since the session began: since `session` last changed (a day's number), or since
    the first value. NaN before anything traded."""
    x, lots, day = float(price), float(qty), float(session)
    if not (finite(x) and finite(lots) and finite(day)):
        return math.nan
    if state.seen == 0 or day != state.session:
        state.session = day
        state.worth = 0.0
        state.volume = 0.0
    state.seen += 1
    state.worth += x * lots
    state.volume += lots
    return state.worth / state.volume if state.volume > 0.0 else math.nan


def _window(room: int) -> Any:
    return record(("worth", sums(room)), ("lots", sums(room)))


@define(_window, inputs=2)
def rolling_vwap(state: Any, price: float, qty: float, length: int) -> float:
    """The same of the last `length` trades or bars."""
    x, lots = float(price), float(qty)
    if not (finite(x) and finite(lots)):
        return math.nan
    if fresh(state, length):
        state.worth.seen = 0
        state.lots.seen = 0
    state.seen += 1
    slide(state.worth, x * lots, length)
    full = slide(state.lots, lots, length)
    return state.worth.total / state.lots.total if full and state.lots.total > 0.0 else math.nan


def _balance(room: int) -> Any:
    return record(("latest", "f8"), ("volume", "f8"))


@define(_balance, inputs=2)
def obv(state: Any, close: float, volume: float) -> float:
    """On-balance volume: the volume of bars that rose less that of bars that fell (J. Granville). As TA-Lib it begins
    with the volume of the first bar."""
    x, lots = float(close), float(volume)
    if not (finite(x) and finite(lots)):
        return math.nan
    if state.seen == 0:
        state.volume = lots
    elif x > state.latest:
        state.volume += lots
    elif x < state.latest:
        state.volume -= lots
    state.seen += 1
    state.latest = x
    return state.volume
