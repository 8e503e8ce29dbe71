"""What a strategy sees of a book: the touch, the depth and the value of a position, against sums over the orders."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import book as books
from ultra.hot import market as markets
from ultra.wire import ASK, BID, NONE

TOUCH = ("bid", "ask", "bid_qty", "ask_qty")


@loop
def change(book: Any, instrument: int, side: int, order_id: int, price: int, qty: int) -> None:
    """Add an order, or take it out if it is there."""
    slot = books.find(book, order_id)
    if slot != NONE:
        books.remove(book, slot)
    else:
        books.add(book, instrument, side, order_id, price, qty)


@loop
def refresh(market: Any, book: Any, instrument: int, depth: int) -> bool:
    moved = markets.refresh(market[instrument], book, instrument)
    markets.refresh_depth(market[instrument], book, instrument, depth)
    return moved


@loop
def values(market: Any, out: Any) -> None:
    for index in range(len(market)):
        out[index, 0] = markets.mark(market[index])
        out[index, 1] = markets.pnl(market[index])


ORDERS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 6), st.sampled_from((100, 200, 300, 6400)), st.integers(1, 3)),
    min_size=15,
    max_size=40,
)


def depth_of(orders: dict[int, tuple[int, int, int]], s: int) -> list[tuple[int, int]]:
    prices = sorted({price for side, price, _ in orders.values() if side == s}, reverse=s & 1 == BID)
    return [(p, sum(qty for side, price, qty in orders.values() if (side, price) == (s, p))) for p in prices]


@given(st.integers(2, markets.DEPTH_MAX), ORDERS)
def test_the_view_shows_the_best_levels_and_says_when_the_touch_moved(depth: int, steps: list[Any]) -> None:
    book, market, orders = books.create(2, 16, 16), markets.create(2), {}
    for s, order_id, price, qty in steps:
        instrument = orders[order_id][0] >> 1 if order_id in orders else s >> 1
        before = [int(market[instrument][name]) for name in TOUCH]
        change(book, s >> 1, s & 1, order_id, price, qty)
        if orders.pop(order_id, None) is None:
            orders[order_id] = (s, price, qty)
        moved = refresh(market, book, instrument, depth)
        view = market[instrument]
        touch = [int(view[name]) for name in TOUCH]
        sides = [depth_of(orders, 2 * instrument + side) for side in (BID, ASK)]
        first = [levels[0] if levels else (NONE, 0) for levels in sides]
        assert touch == [first[0][0], first[1][0], first[0][1], first[1][1]]
        assert moved == (touch != before)
        for rows, levels in zip((view.bids, view.asks), sides, strict=True):
            shown = [(int(row["price"]), int(row["qty"])) for row in rows[:depth]]
            assert shown == (levels + [(NONE, 0)] * depth)[:depth]


@given(st.lists(st.tuples(*[st.integers(-1, 9)] * 3, st.integers(-5, 5), st.integers(-99, 99)), min_size=1, max_size=9))
def test_a_position_is_worth_the_middle_or_else_the_last_trade(rows: list[Any]) -> None:
    market, out = markets.create(len(rows)), np.zeros((len(rows), 2), np.int64)
    for at, name in enumerate(("bid", "ask", "last_price", "position", "cash")):
        market[name] = [row[at] for row in rows]
    values(market, out)
    for (bid, ask, last, position, cash), found in zip(rows, out.tolist(), strict=True):
        mark = (bid + ask) // 2 if min(bid, ask) >= 0 else max(last, 0)
        assert found == [mark, cash + position * mark]


def test_a_market_that_nothing_was_heard_of_is_unknown() -> None:
    view = markets.create(1)[0]
    assert all(int(view[name]) == NONE for name in ("bid", "ask", "last_price", "last_side"))
    assert int(view.status) == 0 and int(view.bid_qty) == int(view.ask_qty) == 0
