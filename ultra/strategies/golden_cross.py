"""Long while the fast average of closes is above the slow one: the golden cross, and its cousin the death cross.

Two moving averages of different lengths; the position is what the last comparison says, reached at market. It is the
plainest trend follower there is (Brock, Lakonishok, LeBaron, Simple Technical Trading Rules, 1992).
Known bad case: in a market without a trend it buys high and sells low at every turn, and pays for each of them.
"""

from typing import Any

from ..hot.indicators import sma
from ..hot.outbox import target
from ..strategy import Strategy, indicator, parameter

LONGEST = 500


class GoldenCross(Strategy):
    """Two averages; on bars."""

    fast: int = parameter(20, low=1, high=LONGEST)  # bars
    slow: int = parameter(50, low=2, high=LONGEST)
    lots: int = parameter(100, low=1)
    short: bool = parameter(False)  # be short instead of out
    quick: Any = indicator(sma, LONGEST)
    steady: Any = indicator(sma, LONGEST)

    @staticmethod
    def on_bar(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """A bar ended. Until both averages are there neither comparison is true."""
        fast = sma(state.quick, event.price, params.fast)
        slow = sma(state.steady, event.price, params.slow)
        if fast > slow:
            target(orders, market, params.lots)
        elif fast < slow:
            target(orders, market, -params.lots if params.short else 0)
