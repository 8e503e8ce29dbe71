"""int64 keys to int64 values: open addressing, linear probing, no tombstones.

The home of a key is its product with 2^64 / golden ratio, top bits (Knuth, TAOCP 3, 6.4). Load stays between 1/16
and 1/8 until the last size, 1/2 at most there, so a search ends within a few neighbours of one cache line. Size 2^b
lives at rows 2^b .. 2^(b+1) of one array: growing copies to the next region, and untouched regions cost no memory.
Known bad case: the insert that grows the table moves every key (10 ms at 500,000); pre-size it by `start_bits`.
"""

from typing import Any, NamedTuple

import numpy as np

from . import hot, memory, rare
from .atomics import Cells, prefetch
from .bits import GOLDEN, scatter

BITS, USED, BITS_MAX, GROWN, LONGEST = 0, 1, 2, 3, 4
EMPTY = 0  # a key is never 0
PROBES_MAX = 64
MISSING = -1
ADDED, PRESENT, FULL = 0, 1, 2

ROW = np.dtype([("key", "i8"), ("value", "i8")])


class Table(NamedTuple):
    """Rows of the sizes so far; the last region is the one in use."""

    rows: Any  # ROW[2 << bits_max]
    cells: Cells


def create(capacity: int, *, start_bits: int = 10) -> Table:
    """A table for `capacity` keys (a power of two): its last size is four times that."""
    assert capacity & (capacity - 1) == 0 and capacity >= 16, capacity
    bits_max = capacity.bit_length() + 1
    cells = np.zeros(8, np.int64)
    cells[BITS], cells[BITS_MAX] = min(start_bits, bits_max), bits_max
    return Table(memory.zeros(2 << bits_max, ROW), cells)


@hot
def home(table: Table, key: int) -> int:
    """Row where the search for a key begins."""
    bits = int(table.cells[BITS])
    size = 1 << bits
    return size + ((scatter(key) >> (64 - bits)) & (size - 1))


@hot
def ahead(table: Table, key: int) -> None:
    """Ask for the cache line of a key that is looked up soon."""
    prefetch(table.rows, home(table, key))


@hot
def row_of(table: Table, key: int) -> int:
    """Row of a key, or MISSING. It holds until the table changes."""
    size = 1 << int(table.cells[BITS])
    row = home(table, key)
    while True:
        found = table.rows[row].key
        if found == key:
            return row
        if found == EMPTY:
            return MISSING
        row = size + ((row + 1) & (size - 1))


@hot
def find(table: Table, key: int) -> int:
    """The value of a key, or MISSING."""
    row = row_of(table, key)
    return MISSING if row < 0 else table.rows[row].value


@hot
def put(table: Table, key: int, value: int) -> int:
    """ADDED; PRESENT when the key is there (its value stays); FULL (nothing added) at the last size."""
    cells = table.cells
    size = 1 << int(cells[BITS])
    row = home(table, key)
    probes = 1
    while table.rows[row].key != EMPTY:
        if table.rows[row].key == key:
            return PRESENT
        row = size + ((row + 1) & (size - 1))
        probes += 1
    if cells[USED] * 8 >= size or probes > PROBES_MAX:
        if cells[BITS] < cells[BITS_MAX]:
            _grow(table)
            row = _vacant(table, key)
        elif cells[USED] * 2 >= size:
            return FULL
    cells[LONGEST] = max(cells[LONGEST], probes)
    table.rows[row].key = key
    table.rows[row].value = value
    cells[USED] += 1
    return ADDED


@hot
def remove(table: Table, key: int) -> int:
    """Take a key out and return its value, or MISSING."""
    row = row_of(table, key)
    if row < 0:
        return MISSING
    value = table.rows[row].value
    remove_row(table, row)
    return value


@hot
def remove_row(table: Table, gap: int) -> None:
    """Take a key out by its row. Later keys of the run move back, so that no search stops too early at the gap."""
    rows = table.rows
    bits = int(table.cells[BITS])
    size = 1 << bits
    table.cells[USED] -= 1
    row = gap
    while True:
        row = size + ((row + 1) & (size - 1))
        key = int(rows[row].key)
        if key == EMPTY:
            break
        if ((row - (scatter(key) >> (64 - bits))) & (size - 1)) >= ((row - gap) & (size - 1)):
            rows[gap].key = key
            rows[gap].value = rows[row].value
            gap = row
    rows[gap].key = EMPTY


@hot
def _vacant(table: Table, key: int) -> int:
    size = 1 << int(table.cells[BITS])
    row = home(table, key)
    while table.rows[row].key != EMPTY:
        row = size + ((row + 1) & (size - 1))
    return row


@rare
def _grow(table: Table) -> None:
    size = 1 << int(table.cells[BITS])
    table.cells[BITS] += 1
    table.cells[GROWN] += 1
    for row in range(size, 2 * size):
        key = table.rows[row].key
        if key != EMPTY:
            target = _vacant(table, key)
            table.rows[target].key = key
            table.rows[target].value = table.rows[row].value


def items(table: Table) -> dict[int, int]:
    """Everything in the table, for tests and reports."""
    size = 1 << int(table.cells[BITS])
    region = table.rows[size : 2 * size]
    used = region[region.key != EMPTY]
    return dict(zip(used.key.tolist(), used.value.tolist(), strict=True))


def check(table: Table) -> None:
    """Every invariant, in O(size): for tests."""
    size = 1 << int(table.cells[BITS])
    found = items(table)
    assert len(found) == int(table.cells[USED]) <= size // 2
    keys = table.rows.key[size : 2 * size].tolist()
    for key in found:
        row = ((key * GOLDEN) >> (64 - int(table.cells[BITS]))) & (size - 1)
        while keys[row] != key:
            assert keys[row] != EMPTY, "a key lies behind a gap"
            row = (row + 1) & (size - 1)
