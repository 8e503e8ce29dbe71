"""Against the crowd: sell what is far above its recent mean, buy what is far below, and be out when it is back.

Far is measured in deviations of the last `length` closes (the z-score), so a quiet market and a wild one are judged
alike.
Known bad case: a price that has found a new level never comes back; `stop` says how far is too far to believe in it.
"""

from typing import Any

from ..hot.indicators import zscore
from ..hot.outbox import target
from ..strategy import Strategy, indicator, parameter, state

LONGEST = 500


class Reversion(Strategy):
    """Z-score mean reversion; on bars."""

    length: int = parameter(20, low=2, high=LONGEST)  # bars
    enter: float = parameter(2.0, low=0.0)  # deviations at which it takes a position
    leave: float = parameter(0.5)  # at which it gives it up again
    stop: float = parameter(4.0)  # at which it gives up hope
    lots: int = parameter(100, low=1)
    window: Any = indicator(zscore, LONGEST)
    side: int = state()  # 1 long, -1 short, 0 out

    @staticmethod
    def on_bar(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """A bar ended."""
        score = zscore(state.window, event.price, params.length)
        if not score * score >= 0.0:
            return  # not known
        away = -score * state.side  # how far the position is from its mean, on the side that it was taken on
        if state.side != 0 and (away < params.leave or away > params.stop):
            state.side = 0
        elif state.side == 0 and params.enter < abs(score) < params.stop:
            state.side = -1 if score > 0.0 else 1
        target(orders, market, state.side * params.lots)
