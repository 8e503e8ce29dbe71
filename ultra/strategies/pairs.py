"""Two instruments that belong together: long the cheap one, short the dear one, in a ratio that a Kalman filter learns.

y = intercept + slope * x, and both wander. What the newest y is off, in deviations of what was expected, is the signal;
the slope says how many lots of x hedge a lot of y (E. Chan, Algorithmic Trading, 2013, ch. 3). Instrument 0 is y and
instrument 1 is x; it decides when x has a bar, as then both closes of the moment are known.
Known bad case: a pair that falls apart looks cheap all the way down; the filter follows it, and so the loss is slow.
"""

from typing import Any

import numpy as np

from ..hot.indicators import kalman
from ..hot.outbox import target
from ..strategy import Strategy, indicator, parameter, state

Y, X = 0, 1


class Pairs(Strategy):
    """Statistical arbitrage of two instruments; on bars."""

    enter: float = parameter(1.0, low=0.0)  # deviations at which it takes a position
    leave: float = parameter(0.0)  # at which it gives it up
    delta: float = parameter(1e-6, low=1e-12, high=0.5)  # how fast the ratio may wander
    noise: float = parameter(0.1, low=1e-9)  # variance of y around the line, currency squared
    lots: int = parameter(100, low=1)  # of y
    warmup: int = parameter(50, low=1)  # bars that only teach
    hedge: Any = indicator(kalman)
    seen: int = state()
    side: int = state()  # 1 long y, -1 short y, 0 out

    @staticmethod
    def on_bar(state: Any, params: Any, event: Any, market: Any, orders: Any, desk: Any) -> None:
        """A bar of either ended."""
        if event.instrument != X or len(desk.markets) < 2 or desk.markets[Y].last_price < 0:
            return
        first, second = desk.markets[Y], desk.markets[X]
        y = first.last_price * (first.tick_e9 / 1e9)
        x = event.price * (second.tick_e9 / 1e9)
        found = kalman(state.hedge, y, x, params.delta, params.noise)
        state.seen += 1
        if state.seen <= params.warmup:
            return
        away = -found.error / found.deviation  # how cheap y is
        if state.side == 0 and abs(away) > params.enter:
            state.side = 1 if away > 0.0 else -1
        elif state.side != 0 and away * state.side < params.leave:
            state.side = 0
        lots = state.side * params.lots
        if first.position != lots:
            target(orders, first, lots, instrument=Y)
            target(orders, second, -np.int64(round(found.slope * lots)), instrument=X)
