"""What a book derives from itself, made again: who rests under which id, and which node stands for which prices.

A snapshot holds orders, levels and nodes, and neither of the two tables: they say nothing that the rows don't say, and
where a key lies depends on all the keys that came and went before it. Here each live row is put into its table once.
Afterwards an id is in the table exactly while its order rests, and a node exactly while it is mapped: `books.check` and
`ladders.check` demand it. Nothing is believed: a row that can't be right is counted, and the whole is refused.
Known bad case: one random write an order, 30 ns where the table is larger than the cache.
"""

from typing import Any

import numpy as np

from . import book as books
from . import entry, hot
from . import ladder as ladders
from . import pool as pools
from . import table as tables


@entry
def rebuild(book: books.Book, gone: Any) -> int:
    """Fill the two empty tables of a book from its rows; how many rows could not be right (then it is no book).

    `gone`: uint8[orders], zeroed; afterwards 1 for every slot that the pool says is free."""
    wrong = mark(book.pool, gone)
    for slot in range(book.pool.cells[pools.FRESH]):
        if gone[slot] == 0:
            wrong += rest(book, slot)
    leaves = len(book.ladder.levels) >> 6
    for page in range(book.ladder.pages.cells[pools.FRESH]):
        if book.ladder.nodes[page].key != 0:  # 0: swept, and in the pool
            wrong += direct(book.ladder, page)
    for node in range(leaves, leaves + book.ladder.inner.cells[pools.FRESH]):
        wrong += direct(book.ladder, node)
    return wrong


@hot
def mark(pool: pools.Pool, gone: Any) -> int:
    """Mark the free slots of a pool; how many of them are none, or are free twice."""
    wrong = 0
    for at in range(pool.cells[pools.FREE]):
        slot = np.int64(pool.free[at])
        if slot < 0 or slot >= pool.cells[pools.FRESH] or gone[slot] != 0:
            wrong += 1
        else:
            gone[slot] = 1
    return wrong


@hot
def rest(book: books.Book, slot: int) -> int:
    """Put one resting order into the table of ids; 1 when it is none, or its id rests already."""
    order_id, qty = book.orders[slot].order_id, book.orders[slot].qty
    if order_id <= 0 or qty <= 0:
        return 1
    return 1 if tables.put(book.ids, order_id, slot) != tables.ADDED else 0


@hot
def direct(ladder: ladders.Ladder, node: int) -> int:
    """Put one node into the directory; 1 when its key is none, or there already."""
    key = ladder.nodes[node].key
    if key < ladders.TAG:
        return 1
    return 1 if tables.put(ladder.directory, key, node) != tables.ADDED else 0
