"""The two tables of a book, made again from its rows: the same keys as before, and the same book from there on."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_book import INSTRUMENTS, STEP, STEPS, Twin, agree, message_of, play

from ultra.hot import book as books
from ultra.hot import pool as pools
from ultra.hot import reindex
from ultra.hot import table as tables


def wipe(table: tables.Table) -> None:
    table.rows["key"] = 0
    table.rows["value"] = 7  # what a search must not find
    table.cells[tables.USED] = 0


def rebuilt(book: books.Book) -> int:
    for table in (book.ids, book.ladder.directory):
        wipe(table)
    return reindex.rebuild(book, np.zeros(len(book.orders), np.uint8))


@given(st.sampled_from((32, 2, 4)), st.sampled_from((16, 7)), STEPS)
def test_tables_made_again_are_those_of_the_book(page_max: int, order_max: int, steps: list[Any]) -> None:
    book = books.create(INSTRUMENTS, 16, page_max, step=STEP)
    book = book._replace(pool=pools.create(order_max, tagged=False))
    twin = Twin(order_max)
    for number, step in enumerate(steps, 1):
        play(book, twin, message_of(twin, step))
        if number % 10 == 0:
            kept = [tables.items(table) for table in (book.ids, book.ladder.directory)]
            assert rebuilt(book) == 0
            assert [tables.items(table) for table in (book.ids, book.ladder.directory)] == kept
            agree(book, twin)


def full_book() -> books.Book:
    book, twin = books.create(INSTRUMENTS, 16, 32, step=STEP), Twin(16)
    for order_id in range(1, 9):
        play(book, twin, message_of(twin, (books.ADD, order_id & 1, order_id, STEP * 40 * order_id, 2, 0, True, None)))
    for order_id in (3, 4):
        play(book, twin, message_of(twin, (books.DELETE, 0, order_id, 0, 1, 0, True, None)))
    agree(book, twin)
    assert rebuilt(book) == 0
    return book


def test_a_table_that_had_grown_takes_all_of_its_keys() -> None:
    book = full_book()
    grown = int(book.ids.cells[tables.BITS])
    book.ids.cells[tables.BITS] = 4  # two keys and it grows again
    assert rebuilt(book) == 0 and 4 < int(book.ids.cells[tables.BITS]) <= grown
    books.check(book)


@pytest.mark.parametrize(
    ("what", "index", "value"),
    [
        ("order_id", 0, 0), ("order_id", 0, -4), ("order_id", 0, 2), ("qty", 1, 0), ("key", 0, 5), ("free", 0, 99),
        ("free", 0, -1), ("free", 1, 2),
    ],
)  # fmt: skip
def test_a_row_that_can_not_be_right_is_counted(what: str, index: int, value: int) -> None:
    book = full_book()
    rows: Any = book.pool.free if what == "free" else book.ladder.nodes["key"] if what == "key" else book.orders[what]
    rows[index] = value
    assert rebuilt(book) > 0
