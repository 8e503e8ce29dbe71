"""The book one step at a time: the recorded book before a message, and the message, give the recorded book after it.

Before every step the book is emptied and seeded with anonymous orders, one a level; the level that the message takes
from gets two, the message's own and the rest, in an order that changes from step to step. The row after it holds only
the top levels, so when a level empties, the one that comes into view at the bottom can't be known and is left out.
"""

import gzip
from typing import Any

import numpy as np
import pytest
from loops import loop
from recorded import data

from ultra.hot import JIT, hot
from ultra.hot import book as books
from ultra.wire import ASK, BID

SUBMISSION, PARTIAL, DELETION, EXECUTION = 1, 2, 3, 4  # all other types leave the visible book alone
TYPE, ORDER_ID, SIZE, PRICE, DIRECTION = range(5)  # columns of a message, the time left out
TOUCHED = 1 << 40  # id of the order that the message takes from; no recorded id is as large
AAPL = ("AAPL_2012-06-21_head1000_message_10.csv.gz", "AAPL_2012-06-21_head1000_orderbook_10.csv.gz", 998)
AMZN = (
    "AMZN_2012-06-21_34200000_57600000_message_1.csv.gz",
    "AMZN_2012-06-21_34200000_57600000_orderbook_1.csv.gz",
    57_514,
)
STEPS, UNEQUAL, REVEALED, REFUSED = range(4)


def numbers(name: str, first_column: int) -> Any:
    """The rows of a file as int64, without the header that one of them has."""
    rows = gzip.decompress(data("lobster", name).read_bytes()).decode().splitlines()
    rows = rows[1:] if not rows[0].split(",")[0].replace(".", "").isdigit() else rows
    return np.array([row.split(",")[first_column:6] if first_column else row.split(",") for row in rows]).astype(
        np.int64
    )


@hot
def levels_of(book: Any, side: int) -> int:
    return book.ladder.sides[side].levels


@hot
def clear(book: Any) -> None:
    for side in (BID, ASK):
        level = book.ladder.sides[side].level
        while level >= 0:
            books.remove(book, np.int64(book.ladder.levels[level].head))
            level = book.ladder.sides[side].level


@hot
def seed(book: Any, row: Any, message: Any, rest_first: int) -> bool:
    """Anonymous orders for every level of a row; True when the book refuses one."""
    refused = False
    for column in range(0, len(row), 2):
        side = ASK if column % 4 == 0 else BID
        price, qty, own = row[column], row[column + 1], np.int64(0)
        taken = PARTIAL <= message[TYPE] <= EXECUTION and (message[DIRECTION] == 1) == (side == BID)
        if qty > 0 and taken and price == message[PRICE]:
            own = min(message[SIZE], qty)
        for part in range(2):
            lots, order_id = (own, TOUCHED) if part == rest_first else (qty - own, column + 1)
            if lots > 0:
                refused |= books.add(book, 0, side, order_id, price, lots) != books.OK
    return refused


@hot
def act(book: Any, message: Any) -> bool:
    """Apply one message; True when the book refuses it, or does not have what it takes away."""
    kind, size = message[TYPE], message[SIZE]
    if kind == SUBMISSION:
        side = BID if message[DIRECTION] == 1 else ASK
        return books.add(book, 0, side, message[ORDER_ID], message[PRICE], size) != books.OK
    if kind < PARTIAL or kind > EXECUTION:
        return False
    slot = books.find(book, TOUCHED)
    if slot < 0 or book.orders[slot].qty != size:
        return True
    if kind == DELETION:
        books.remove(book, slot)
        return False
    if size > 1 and books.reduce(book, slot, size // 2) != books.OK:
        return True
    return books.reduce(book, slot, size - size // 2 if size > 1 else size) != books.OK


@hot
def unequal(book: Any, row: Any, emptied: bool, counts: Any, prices: Any, qtys: Any) -> bool:
    """Whether the top levels are not those of a row; one level less is right when a level has emptied."""
    short = 0
    for side in (BID, ASK):
        found = books.top(book, 0, side, prices, qtys)
        for k in range(len(row) // 4):
            column = 4 * k + (0 if side == ASK else 2)
            if row[column + 1] > 0 and k >= found:
                short += 1
            elif k < found and (prices[k] != row[column] or qtys[k] != row[column + 1]):
                return True
    counts[REVEALED] += short
    return short > emptied


@loop
def steps(book: Any, messages: Any, rows: Any, counts: Any, prices: Any, qtys: Any) -> int:
    """Every step of a file; returns the first row that came out unequal, or -1."""
    first = -1
    for at in range(1, len(messages)):
        clear(book)
        refused = seed(book, rows[at - 1], messages[at], at & 1)
        before = levels_of(book, 0) + levels_of(book, 1)
        refused |= act(book, messages[at])
        emptied = levels_of(book, 0) + levels_of(book, 1) < before
        wrong = unequal(book, rows[at], emptied, counts, prices, qtys)
        counts[STEPS] += 1
        counts[REFUSED] += refused
        counts[UNEQUAL] += wrong
        if first < 0 and (wrong or refused):
            first = at
    return first


@pytest.mark.parametrize(("messages", "book", "expected"), [AAPL, AMZN], ids=["AAPL", "AMZN"])
def test_one_message_turns_a_recorded_book_into_the_next(messages: str, book: str, expected: int) -> None:
    given, rows = numbers(messages, 1), numbers(book, 0)
    assert len(given) == len(rows) == expected + 1
    given, rows = (given, rows) if JIT else (given[:400], rows[:400])
    ours, counts, depth = books.create(1, 64, 256), np.zeros(4, np.int64), rows.shape[1] // 4
    first = steps(ours, given, rows, counts, np.zeros(depth, np.int64), np.zeros(depth, np.int64))
    assert first == -1, f"row {first}: {given[first].tolist()} on {rows[first - 1].tolist()}"
    assert counts[STEPS] == len(given) - 1 and counts[UNEQUAL] == counts[REFUSED] == 0
    taking = (given[1:, TYPE] >= PARTIAL) & (given[1:, TYPE] <= EXECUTION)
    assert 0 < counts[REVEALED] < taking.sum(), "the rule for what is left out has left out too much"
    books.check(ours)
