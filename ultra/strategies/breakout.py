"""With the crowd: buy what closes above its upper Bollinger band, sell what closes below the lower, out at the middle.

The same bands that a mean reverter fades (`reversion`), read the other way: a close outside means that something has
happened (J. Bollinger, Bollinger on Bollinger Bands, 2001, ch. 15).
Known bad case: a single wild close opens a position at its worst price; the bands widen with it, and the middle is far.
"""

from typing import Any

from ..hot.indicators import bollinger
from ..hot.outbox import target
from ..strategy import Strategy, indicator, parameter, state

LONGEST = 500


class Breakout(Strategy):
    """Bollinger breakout; on bars."""

    length: int = parameter(20, low=2, high=LONGEST)  # bars
    width: float = parameter(2.0, low=0.1)  # deviations from the middle to a band
    lots: int = parameter(100, low=1)
    short: bool = parameter(True)  # also below the lower band
    window: Any = indicator(bollinger, LONGEST)
    side: int = state()  # 1 long, -1 short, 0 out

    @staticmethod
    def on_bar(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """A bar ended."""
        bands = bollinger(state.window, event.price, params.length, params.width)
        if event.price > bands.upper:
            state.side = 1
        elif event.price < bands.lower:
            state.side = -1 if params.short else 0
        elif (event.price - bands.middle) * state.side < 0.0:
            state.side = 0
        target(orders, market, state.side * params.lots)
