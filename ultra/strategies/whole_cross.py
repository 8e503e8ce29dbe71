"""The golden cross in whole numbers: long while the fast moving average is above the slow one, flat or short below it.

Both averages are running sums over one ring of closes, so a bar costs the same whatever their lengths; sums are whole
numbers and are compared crosswise, so two averages that are equal are equal. Orders are at the market: the next bar's
open. Known bad case: in a market without a trend each cross is late, and pays the spread for it.
"""

from typing import Any, Final

from ..hot.outbox import buy, sell
from ..strategy import Strategy, parameter, state
from ..wire import AT_MARKET

WINDOW: Final = 512  # closes that are kept, a power of two
_LAST: Final = WINDOW - 1


class WholeCross(Strategy):
    """Holds `lots` while fast > slow; below it nothing, or with `short` as many lots short."""

    fast: int = parameter(20, low=1, high=_LAST)
    slow: int = parameter(50, low=1, high=_LAST)
    lots: int = parameter(100, low=1)
    short: bool = parameter(False)
    past: int = state(length=WINDOW)
    seen: int = state()
    near: int = state()  # sum of the last `fast` closes
    far: int = state()  # sum of the last `slow`

    @staticmethod
    def on_bar(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """A bar closed."""
        seen, close = state.seen, event.price
        state.near += close - state.past[(seen - params.fast) & _LAST]
        state.far += close - state.past[(seen - params.slow) & _LAST]
        state.past[seen & _LAST] = close
        state.seen = seen + 1
        if seen + 1 < max(params.fast, params.slow) or market.open_orders > 0:
            return
        near, far = state.near * params.slow, state.far * params.fast
        wanted = market.position
        if near > far:
            wanted = params.lots
        elif near < far:
            wanted = -params.lots if params.short else 0
        if wanted > market.position:
            buy(orders, 0, wanted - market.position, AT_MARKET)
        elif wanted < market.position:
            sell(orders, 0, market.position - wanted, AT_MARKET)
