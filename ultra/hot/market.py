"""What is known of one instrument: its touch, its last trade, and what we hold of it. One record each.

It is what a strategy sees and what risk decides on. `refresh` copies the touch from the book and says whether it
moved; positions and open quantities are kept by `orders`. Cash is in ticks x lots, exact.
"""

from typing import Any

import numpy as np

from ..wire import ASK, BID, NONE
from . import book as books
from . import hot, memory
from . import ladder as ladders

DEPTH_MAX = 5
DEPTH_LEVEL = np.dtype([("price", "i8"), ("qty", "i8")], align=True)
MARKET = np.dtype(
    [
        ("bid", "i8"),  # best prices, NONE when the side is empty
        ("ask", "i8"),
        ("bid_qty", "i8"),
        ("ask_qty", "i8"),
        ("last_price", "i8"),  # of the last trade, NONE before the first
        ("last_qty", "i8"),
        ("last_side", "i8"),  # side of the resting order, NONE for a hidden one
        ("volume", "i8"),  # lots traded in the session
        ("status", "i8"),  # trading state of ultra.wire
        ("position", "i8"),  # our lots, signed
        ("cash", "i8"),  # ticks x lots, signed: what our fills brought in
        ("open_bid_qty", "i8"),  # lots of our buy orders still open
        ("open_ask_qty", "i8"),
        ("open_orders", "i8"),
        ("fills", "i8"),
        ("filled_qty", "i8"),
        ("bids", DEPTH_LEVEL, (DEPTH_MAX,)),  # filled to the depth a strategy declares beyond 1
        ("asks", DEPTH_LEVEL, (DEPTH_MAX,)),
        ("symbol", "i8"),
        ("tick_e9", "i8"),
        ("lot_e9", "i8"),
        ("halted", "i8"),  # by our own command
        ("off", "i8"),  # the same, for the strategy's orders only
    ],
    align=True,
)


def create(instruments: int) -> Any:
    """MARKET[instruments], all unknown."""
    market = memory.zeros(instruments, MARKET)
    for field in ("bid", "ask", "last_price", "last_side"):
        market[field] = NONE
    return market


@hot
def refresh(view: Any, book: books.Book, instrument: int) -> bool:
    """Copy best prices and quantities from the book; True when any of them changed."""
    bids = book.ladder.sides[2 * int(instrument)]
    asks = book.ladder.sides[2 * int(instrument) + 1]
    bid_qty = book.ladder.levels[bids.level].qty if bids.level >= 0 else 0
    ask_qty = book.ladder.levels[asks.level].qty if asks.level >= 0 else 0
    if view.bid == bids.price and view.ask == asks.price and view.bid_qty == bid_qty and view.ask_qty == ask_qty:
        return False
    view.bid = bids.price
    view.ask = asks.price
    view.bid_qty = bid_qty
    view.ask_qty = ask_qty
    return True


@hot
def refresh_depth(view: Any, book: books.Book, instrument: int, depth: int) -> None:
    """Copy the best `depth` levels of both sides; price NONE and qty 0 where a side has fewer."""
    for side in (BID, ASK):
        s = 2 * int(instrument) + side
        rows = view.bids if side == BID else view.asks
        level = np.int64(book.ladder.sides[s].level)
        for k in range(depth):
            rows[k].price = ladders.price_of(book.ladder, s, level) if level >= 0 else NONE
            rows[k].qty = book.ladder.levels[level].qty if level >= 0 else 0
            level = ladders.worse(book.ladder, s, level) if level >= 0 else NONE


@hot
def mark(view: Any) -> int:
    """Price at which a position would be valued: the middle of the touch, else the last trade, else 0."""
    if view.bid >= 0 and view.ask >= 0:
        return (view.bid + view.ask) // 2
    return max(view.last_price, 0)


@hot
def pnl(view: Any) -> int:
    """Profit and loss of the session in ticks x lots, before fees, the position valued at `mark`."""
    return view.cash + view.position * mark(view)
