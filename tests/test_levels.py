"""Books of whole levels against a dict of price -> quantity, and what our resting orders learn from them.

Few prices on both sides of a page border, some off the step, and pages that run out; now and then an order, which a
book of levels refuses, or a level where orders rest. The paper venue's rule 6 has a twin of its own, written as it
reads: who was behind us leaves first.
"""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import book as books
from ultra.hot import ladder as ladders
from ultra.hot import memory
from ultra.hot import ring as rings
from ultra.hot.book import QTY_MAX
from ultra.venues import paper
from ultra.wire import ADD, ASK, BID, FILL, LEVEL, NEW, NONE, RECORD, REQUEST, SIDED, TRADE

STEP, INSTRUMENTS, DEPTH = 4, 2, 3
PRICES = [STEP * key for key in (62, 63, 63, 64, 64, 65, 64 * 5, 64 * 9)] + [STEP * 62 + 2, STEP * 64 + 1]
LINE = ["kind", "instrument", "side", "order_id", "price", "qty", "aux"]


@loop
def apply(book: Any, records: Any) -> int:
    record = records[0]
    books.ahead_first(book, record)
    books.ahead_second(book, record)
    books.ahead_third(book, record)
    return books.set_level(book, record) if record.kind == LEVEL else books.apply(book, record)


@loop
def tops(book: Any, prices: Any, qtys: Any, out: Any) -> None:
    """Of every side: how many of its best levels, and their prices and quantities."""
    for s in range(len(out)):
        out[s, 0] = books.top(book, s >> 1, s & 1, prices, qtys)
        for k in range(DEPTH):
            out[s, 1 + 2 * k], out[s, 2 + 2 * k] = prices[k], qtys[k]


def send(book: books.Book, *values: int) -> tuple[int, int]:
    """The outcome of a record, and the aux that it was completed with."""
    records = memory.zeros(1, RECORD)
    for name, value in zip(LINE, values, strict=True):
        records[name] = value
    return int(apply(book, records)), int(records[0].aux)


class Twin:
    """Price -> quantity of every side; of an instrument with orders, only how many there are."""

    def __init__(self) -> None:
        self.levels: list[dict[int, int]] = [{} for _ in range(2 * INSTRUMENTS)]
        self.whole: set[int] = set()
        self.orders: dict[int, tuple[int, int]] = {}

    def expected(self, instrument: int, side: int, price: int, qty: int) -> int:
        """The outcome, but for a want of room."""
        if side not in (BID, ASK):
            return books.BAD_SIDE
        if not 0 <= instrument < INSTRUMENTS:
            return books.BAD_INSTRUMENT
        if not 0 <= qty <= QTY_MAX:
            return books.BAD_QTY
        if instrument not in self.whole and any(of == instrument for of, _ in self.orders.values()):
            return books.MIXED
        self.whole.add(instrument)
        if price <= 0:
            return books.BAD_PRICE
        others = self.levels[2 * instrument + (side ^ 1)]
        if qty and price not in self.levels[2 * instrument + side] and others:
            best = min(others) if side == BID else max(others)
            if price == best:
                return books.LOCKED
            if (price > best) == (side == BID):
                return books.CROSSED
        return books.OK

    def agree(self, book: books.Book) -> None:
        books.check(book)
        out = np.zeros((2 * INSTRUMENTS, 1 + 2 * DEPTH), np.int64)
        tops(book, column([0] * DEPTH), column([0] * DEPTH), out)
        for s, levels in enumerate(self.levels):
            if s >> 1 not in self.whole:
                continue
            assert books.levels(book, s).keys() == levels.keys()
            best = sorted(levels.items(), reverse=s & 1 == BID)[:DEPTH]
            assert out[s, : 1 + 2 * len(best)].tolist() == [len(best), *(number for row in best for number in row)]
            for price, level in books.levels(book, s).items():
                assert int(book.ladder.levels[level].qty) == levels[price]


BAD = [
    ("instrument", -1), ("instrument", INSTRUMENTS), ("side", 2), ("side", -1), ("qty", -1), ("qty", QTY_MAX),
    ("qty", QTY_MAX + 1), ("price", 0), ("price", -STEP),
]  # fmt: skip
STEPS = st.lists(
    st.tuples(
        st.sampled_from([LEVEL] * 12 + [ADD]),
        st.sampled_from((0, 0, 0, 1)),
        st.sampled_from((BID, ASK)),
        st.sampled_from(PRICES),
        st.sampled_from((0, 0, 1, 2, 3)),
        st.sampled_from([None] * 30 + BAD),
    ),
    min_size=20,
    max_size=60,
)


@given(st.sampled_from((32, 2, 4)), STEPS)
def test_a_book_of_levels_behaves_as_a_dict_of_quantities(page_max: int, steps: list[Any]) -> None:
    book, twin = books.create(INSTRUMENTS, 16, page_max, step=STEP), Twin()
    for number, (kind, instrument, side, price, qty, bad) in enumerate(steps, 1):
        given_values = {"instrument": instrument, "side": side, "price": price, "qty": qty}
        if bad and kind == LEVEL:
            given_values[bad[0]] = bad[1]
        instrument, side, price, qty = given_values.values()
        if kind == ADD:
            outcome, _ = send(book, ADD, instrument, side, number, price, qty + 1, NONE)
            if instrument in twin.whole:
                assert outcome == books.MIXED
            elif outcome == books.OK or outcome in (books.LOCKED, books.CROSSED):
                twin.orders[number] = instrument, price
        else:
            expected = twin.expected(instrument, side, price, qty)
            outcome, before = send(book, LEVEL, instrument, side, NONE, price, qty, NONE)
            if outcome == books.LEVELS_FULL:
                assert expected in (books.OK, books.LOCKED, books.CROSSED) and qty > 0
                assert page_max < 32 or price % STEP
            else:
                assert outcome == expected
            if outcome in (books.OK, books.LOCKED, books.CROSSED):
                levels = twin.levels[2 * instrument + side]
                assert before == levels.get(price, 0)
                levels[price] = qty
                if qty == 0:
                    del levels[price]
        twin.agree(book)


def test_a_book_of_orders_that_has_emptied_may_become_one_of_levels() -> None:
    book = books.create(INSTRUMENTS, 16, 32, step=STEP)
    assert send(book, ADD, 0, BID, 1, 252, 5, NONE)[0] == books.OK
    assert send(book, LEVEL, 0, ASK, NONE, 256, 5, NONE)[0] == books.MIXED
    assert send(book, 4, 0, 0, 1, NONE, 0, NONE)[0] == books.OK
    assert send(book, LEVEL, 0, ASK, NONE, 256, 5, NONE) == (books.OK, 0)
    assert send(book, ADD, 0, BID, 2, 252, 5, NONE)[0] == books.MIXED
    assert send(book, ADD, 1, BID, 2, 252, 5, NONE)[0] == books.OK
    assert int(book.outcomes[books.MIXED]) == 2
    books.check(book)


def test_a_level_that_is_not_there_is_removed_without_a_page() -> None:
    book = books.create(INSTRUMENTS, 16, 2, step=STEP)
    for price in range(STEP * 64, STEP * 64 * 40, STEP * 64):
        assert send(book, LEVEL, 0, ASK, NONE, price, 0, NONE) == (books.OK, 0)
    assert ladders.NONE == NONE and int(book.ladder.pages.cells[0]) + int(book.ladder.pages.cells[1]) == 0


# ---- the paper venue


@loop
def drive(venue: Any, book: Any, ring: Any, requests: Any, records: Any, out: Any) -> int:
    """One order of ours enters, then every record happens to it. The lots that filled."""
    for row in range(len(requests)):
        ring.slots[rings.claim(ring)] = requests[row]
        rings.publish(ring, 1)
    filled = 0
    for index in range(len(records)):
        record = records[index]
        if record.kind == 0:
            paper.advance(venue, book, ring, 1 << 60)
        elif (record.kind != LEVEL or books.changed(books.set_level(book, record))) and paper.sees(record):
            paper.observe(venue, record)
        waiting = rings.ready(venue.replies)
        for offset in range(waiting):
            reply = venue.replies.slots[rings.polled(venue.replies, offset)]
            if reply.kind == FILL:
                filled += reply.qty
        rings.release(venue.replies, waiting)
        out[index] = filled
    return filled


OURS, PRICE = 6, 252
EVENTS = st.lists(
    st.tuples(
        st.sampled_from((LEVEL, LEVEL, LEVEL, TRADE)),
        st.sampled_from((BID, BID, ASK)),
        st.sampled_from((PRICE - 4, PRICE, PRICE, PRICE, PRICE + 4)),
        st.integers(0, 5),
        st.sampled_from((SIDED, SIDED, 0)),
    ),
    max_size=20,
)


@given(st.integers(0, 5), EVENTS)
def test_our_order_in_a_book_of_levels_moves_as_rule_six_says(ahead: int, events: list[Any]) -> None:
    venue, book = paper.create(1, 4, 256, 0), books.create(1, 16, 16, step=STEP)
    records, requests = memory.zeros(len(events) + 2, RECORD), memory.zeros(1, REQUEST)
    records[0].kind, records[0].side, records[0].price, records[0].qty = LEVEL, BID, PRICE, ahead
    for row, (kind, side, price, qty, flag) in enumerate(events, 2):
        record = records[row]
        record.kind, record.side, record.price, record.qty = kind, side, price, qty
        record.flag = flag if kind == TRADE else 0
    requests[0].kind, requests[0].side, requests[0].price, requests[0].qty = NEW, BID, PRICE, OURS
    requests[0].order_id = 1
    out = np.zeros(len(records), np.int64)
    drive(venue, book, rings.create(REQUEST, 4), requests, records, out)

    asks: dict[int, int] = {}
    filled = 0
    for row, (kind, side, price, qty, flag) in enumerate(events, 2):
        met = 0
        if kind == TRADE and flag == SIDED and side == BID:
            if price < PRICE:
                met = qty
            elif price == PRICE:
                met = max(qty - ahead, 0)
                ahead = max(ahead - qty, 0)
        elif kind == LEVEL and side == BID and price == PRICE:
            ahead = min(ahead, qty)
        elif kind == LEVEL and side == ASK:
            met = max(qty - asks.get(price, 0), 0) if price <= PRICE else 0
            asks[price] = qty
        filled = min(OURS, filled + met)
        assert int(out[row]) == filled
    paper.check(venue)
