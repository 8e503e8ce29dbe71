"""The shortest strategy there is: an order for every trade, taken back by the venue at once. It only measures."""

from ultra import IMMEDIATE, Strategy, buy


class Reflex(Strategy):
    """Buys a lot at the ask whenever somebody trades."""

    @staticmethod
    def on_trade(state, params, event, market, orders):
        """A trade was printed."""
        if market.ask > 0:
            buy(orders, market.ask, 1, IMMEDIATE)
