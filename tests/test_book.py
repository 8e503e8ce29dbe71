"""The book against a dict of orders in order of arrival: every outcome, every level, every queue, after every message.

A dozen ids and eight prices, so queues are long and duplicates and over-reductions frequent; prices off the step refine
it, and pages or order slots run out. A refusal for want of room must be justified by what is in use.
"""

from math import gcd
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import book as books
from ultra.hot import ladder as ladders
from ultra.hot import memory
from ultra.hot import pool as pools
from ultra.hot.book import QTY_MAX
from ultra.wire import ADD, ASK, BID, CANCEL, DELETE, EXECUTE, NONE, RECORD, REPLACE

STEP, INSTRUMENTS, DEPTH = 4, 2, 4
# Both sides of a page border, and pages of their own to use them up. Most meet in few levels: queues are long.
PRICES = [STEP * key for key in (61, *[62] * 5, *[63] * 3, *[64] * 2, 65, 66, 64 * 5, 64 * 9)]
IDS = range(1, 13)
SIDES = (0, 0, 0, 0, 1, 1, 2, 3)
OFF_STEP = [STEP * 62 + 2, STEP * 64 + 2, STEP * 65 + 1]


@loop
def apply(book: Any, records: Any) -> int:
    record = records[0]
    books.ahead_first(book, record)
    books.ahead_second(book, record)
    books.ahead_third(book, record)
    return books.apply(book, record)


class Message(NamedTuple):
    kind: int
    instrument: int
    side: int
    order_id: int
    price: int
    qty: int
    aux: int = 0  # the new id of a REPLACE


def send(book: books.Book, message: Message) -> tuple[int, Message]:
    """The outcome, and the message as the book completed it."""
    records = memory.zeros(1, RECORD)
    for name, value in message._asdict().items():
        records[name] = value
    return apply(book, records), Message(*(int(records[0][name]) for name in Message._fields))


@loop
def read_tops(book: Any, prices: Any, qtys: Any, out: Any) -> None:
    """Of every side: number of levels, best price, best quantity, then the levels."""
    for s in range(len(out)):
        count = books.top(book, s >> 1, s & 1, prices, qtys)
        out[s, 0] = count
        out[s, 1] = books.best(book, s >> 1, s & 1)
        out[s, 2] = books.best_qty(book, s >> 1, s & 1)
        for k in range(count):
            out[s, 3 + 2 * k] = prices[k]
            out[s, 4 + 2 * k] = qtys[k]


class Twin:
    """Orders by id, in order of arrival: [side index, price, qty]."""

    def __init__(self, order_max: int) -> None:
        self.orders: dict[int, list[int]] = {}
        self.order_max = order_max
        self.counts = [0] * 16

    def level(self, s: int, price: int) -> list[int]:
        return [order_id for order_id, (side, p, _) in self.orders.items() if (side, p) == (s, price)]

    def prices(self, s: int) -> list[int]:
        return sorted({p for side, p, _ in self.orders.values() if side == s}, reverse=s & 1 == BID)

    def qty(self, s: int, price: int) -> int:
        return sum(self.orders[order_id][2] for order_id in self.level(s, price))

    def refusal(self, message: Message) -> int:
        """Why an order can't be added, whatever the room for its level; OK if it can."""
        _, instrument, side, order_id, price, qty, _ = message
        s = 2 * instrument + side
        reasons = (
            (order_id <= 0, books.BAD_ID),
            (not 0 < qty <= QTY_MAX, books.BAD_QTY),
            (instrument < 0 or s >= 2 * INSTRUMENTS, books.BAD_INSTRUMENT),
            (side not in (BID, ASK), books.BAD_SIDE),
            (len(self.orders) == self.order_max, books.ORDERS_FULL),
            (order_id in self.orders, books.DUPLICATE_ORDER),
            (price <= 0, books.BAD_PRICE),
        )
        return next((reason for holds, reason in reasons if holds), books.OK)

    def add(self, s: int, order_id: int, price: int, qty: int) -> int:
        others, is_new = self.prices(s ^ 1), not self.level(s, price)
        self.orders[order_id] = [s, price, qty]
        ahead = (price - others[0]) * (-1 if s & 1 else 1) if others and is_new else -1
        return books.OK if ahead < 0 else books.CROSSED if ahead else books.LOCKED

    def take(self, message: Message) -> int:
        """Everything but ADD, and of a REPLACE the first half."""
        if message.order_id not in self.orders:
            return books.UNKNOWN_ORDER
        rest = self.orders[message.order_id]
        if rest[0] >> 1 != message.instrument:
            return books.WRONG_INSTRUMENT
        qty = message.qty if message.kind in (EXECUTE, CANCEL) else rest[2]
        if qty <= 0:
            return books.BAD_QTY
        rest[2] -= qty
        if rest[2] <= 0:
            del self.orders[message.order_id]
        return books.OVER_REDUCED if rest[2] < 0 else books.OK


def room(ladder: ladders.Ladder) -> tuple[int, int, list[int]]:
    """Free pages, free inner nodes, and the price step of every instrument."""
    cells = ladder.pages.cells
    free = int(cells[pools.FREE]) + len(ladder.pages.free) - int(cells[pools.FRESH])
    inner = len(ladder.inner.free) - int(ladder.inner.cells[pools.FRESH])
    return free, inner, ladder.sides.step[::2].tolist()


def assert_no_room(twin: Twin, ladder: ladders.Ladder, before: Any, s: int, price: int) -> None:
    """A refusal for want of room was right: under the step as it is now, or because no finer one was possible."""
    free, inner, steps = before
    now = room(ladder)[2]
    step = steps[s >> 1]
    if price % step and now == steps:
        levels = [p for side in (s & ~1, s | 1) for p in twin.prices(side)]
        finer = gcd(step, price)
        too_far = max([price, *levels]) // finer >= ladders.KEY_MAX
        assert too_far or free < len(levels) or inner < ladders.HEIGHT * (len(levels) + 1)
        return
    pages = {(side, p // now[side >> 1] >> 6) for side, p, _ in twin.orders.values()}
    assert (s, price // now[s >> 1] >> 6) not in pages
    assert len(pages) == len(ladder.pages.free) or inner < ladders.HEIGHT * (1 + len(pages))


def agree(book: books.Book, twin: Twin) -> None:
    books.check(book)
    assert book.outcomes.tolist() == twin.counts
    out = np.zeros((2 * INSTRUMENTS, 3 + 2 * DEPTH), np.int64)
    read_tops(book, column([0] * DEPTH), column([0] * DEPTH), out)
    for s, row in enumerate(out.tolist()):
        prices = twin.prices(s)
        top = [number for p in prices[:DEPTH] for number in (p, twin.qty(s, p))]
        best = [prices[0], twin.qty(s, prices[0])] if prices else [NONE, 0]
        assert row[: 3 + len(top)] == [len(prices[:DEPTH]), *best, *top]
        found = books.levels(book, s)
        assert sorted(found) == sorted(prices)
        for price, level in found.items():
            ids = [int(book.orders[slot].order_id) for slot in books.queue(book, level)]
            assert ids == twin.level(s, price), "a queue is not in order of arrival"


def play(book: books.Book, twin: Twin, message: Message) -> int:
    before, rest = room(book.ladder), list(twin.orders.get(message.order_id, ()))
    outcome, completed = send(book, message)
    twin.counts[outcome] += 1
    if message.kind != ADD:
        expected = twin.take(message)
        if expected not in (books.UNKNOWN_ORDER, books.WRONG_INSTRUMENT):
            assert completed.side == rest[0] & 1
            assert completed.price == (message.price if message.price != NONE else rest[1])
            assert completed.qty == (rest[2] if message.kind == DELETE else message.qty)
        if message.kind != REPLACE or expected != books.OK:
            assert outcome == expected
            return outcome
        message = message._replace(side=rest[0] & 1, order_id=message.aux)
    s, expected = 2 * message.instrument + message.side, twin.refusal(message)
    if expected != books.OK:
        assert outcome == expected
    elif outcome == books.LEVELS_FULL:
        assert_no_room(twin, book.ladder, before, s, message.price)
    elif outcome == books.BAD_PRICE:
        assert message.price // before[2][s >> 1] >= ladders.KEY_MAX
    else:
        assert outcome == twin.add(s, message.order_id, message.price, message.qty)
    return outcome


# Now and then a field that no venue should send.
BAD = [
    ("instrument", -1), ("instrument", INSTRUMENTS), ("side", 2), ("side", -1), ("order_id", 0), ("order_id", -5),
    ("price", 0), ("price", ladders.NO_PAGE + STEP), ("price", 1 << 62), ("price", (1 << 62) + 1), ("qty", 0),
    ("qty", -3), ("qty", QTY_MAX + 1), ("qty", QTY_MAX), ("aux", 0),
]  # fmt: skip
STEPS = st.lists(
    st.tuples(
        st.sampled_from((*[ADD] * 7, EXECUTE, CANCEL, DELETE, REPLACE)),
        st.sampled_from(SIDES),
        st.sampled_from(IDS),
        st.sampled_from(PRICES * 2 + OFF_STEP),
        st.integers(1, 4),
        st.sampled_from(IDS),
        st.sampled_from([False] * 4 + [True]),
        st.sampled_from([None] * 100 + BAD),
    ),
    min_size=40,
    max_size=60,
)


def message_of(twin: Twin, step: Any) -> Message:
    kind, s, order_id, price, qty, new_id, as_drawn, bad = step
    live, free = list(twin.orders), [other for other in IDS if other not in twin.orders]
    if not as_drawn:  # a new id for a new order, an order that rests for everything else
        choice = free if kind == ADD else live
        order_id = choice[order_id % len(choice)] if choice else order_id
    if kind != ADD and order_id in twin.orders:
        s = twin.orders[order_id][0]
    message = Message(kind, s >> 1, s & 1, order_id, price if kind in (ADD, REPLACE) else NONE, qty, new_id)
    return message._replace(**{bad[0]: bad[1]}) if bad else message


@given(st.sampled_from((32, 2, 4, 6)), st.sampled_from((16, 7)), st.sampled_from((6, 0)), STEPS)
def test_a_book_behaves_as_a_dict_of_orders(page_max: int, order_max: int, before: int, steps: list[Any]) -> None:
    book = books.create(INSTRUMENTS, 16, page_max, step=STEP)
    book = book._replace(pool=pools.create(order_max, tagged=False))
    twin = Twin(order_max)
    for order_id in range(1, before + 1):  # a queue to begin with
        play(book, twin, Message(ADD, 0, BID, order_id, PRICES[1], 2))
    for step in steps:
        play(book, twin, message_of(twin, step))
        agree(book, twin)


def filled(orders: list[tuple[int, int, int]], page_max: int = 32) -> tuple[books.Book, Twin]:
    """A book of one-lot orders of the first instrument: (side, id, price)."""
    book, twin = books.create(INSTRUMENTS, 16, page_max, step=STEP), Twin(16)
    for side, order_id, price in orders:
        play(book, twin, Message(ADD, 0, side, order_id, price, 1))
    agree(book, twin)
    return book, twin


def delete(book: books.Book, twin: Twin, order_id: int) -> None:
    assert play(book, twin, Message(DELETE, 0, 0, order_id, NONE, 0)) == books.OK
    agree(book, twin)


def test_a_price_off_the_step_moves_every_level_with_its_queue() -> None:
    book, twin = filled([(BID, 1, 248), (BID, 2, 248), (BID, 3, 252), (ASK, 4, 256), (ASK, 5, 264), (BID, 6, 248)])
    assert play(book, twin, Message(ADD, 0, ASK, 7, 258, 1)) == books.OK
    assert room(book.ladder)[2] == [2, STEP] and int(book.ladder.cells[ladders.REFINED]) == 1
    agree(book, twin)
    for order_id in (2, 4, 1, 7, 6, 3, 5):
        delete(book, twin, order_id)


def test_a_step_is_not_refined_when_a_level_would_be_out_of_reach() -> None:
    far = STEP * (ladders.KEY_MAX - 1)
    book, twin = filled([(BID, 1, 252), (ASK, 2, far)])
    assert play(book, twin, Message(ADD, 0, BID, 3, 251, 1)) == books.LEVELS_FULL
    assert room(book.ladder)[2] == [STEP, STEP]
    delete(book, twin, 2)
    assert play(book, twin, Message(ADD, 0, BID, 3, 251, 1)) == books.OK
    assert room(book.ladder)[2] == [1, STEP]
    assert play(book, twin, Message(ADD, 0, ASK, 4, far, 1)) == books.BAD_PRICE
    agree(book, twin)


def test_an_order_is_refused_when_its_levels_could_not_be_moved() -> None:
    book, twin = filled([(BID, 1, 252), (BID, 2, 248), (ASK, 3, 260), (ASK, 4, 264)], page_max=4)
    assert play(book, twin, Message(ADD, 0, BID, 5, 251, 1)) == books.LEVELS_FULL
    agree(book, twin)


def test_the_first_order_of_a_level_that_meets_the_other_side_says_so() -> None:
    book, twin = filled([(ASK, 1, 256), (BID, 2, 252)])
    for order_id, instrument, price, outcome in (
        (3, 0, 256, books.LOCKED), (4, 0, 260, books.CROSSED), (5, 0, 260, books.OK), (6, 1, 260, books.OK),
    ):  # fmt: skip
        assert play(book, twin, Message(ADD, instrument, BID, order_id, price, 1)) == outcome


def test_a_replaced_order_goes_to_the_end_of_its_new_queue() -> None:
    book, twin = filled([(BID, 1, 248), (BID, 2, 252), (BID, 3, 252)])
    assert play(book, twin, Message(REPLACE, 0, 0, 2, 252, 5, aux=9)) == books.OK
    agree(book, twin)
    assert twin.level(0, 252) == [3, 9]
