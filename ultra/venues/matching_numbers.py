"""Which numbers an account has used today, and the slot of each order that still lives.

Numbers are looked up in blocks of 64: a table leads from (owner, number / 64) to a block, the rest is an index. Clients
count upwards, so the next number is in the line of the last one (measured, a million numbers: 130 ns less an order than
a table of single numbers). A number stays used until END_OF_DAY: a late cancel never meets another order.
Known bad cases: numbers that jump by 64 or more take a block each, so `blocks_max` is what bounds them; of numbers from
2^50 on two accounts' may coincide, and the second is refused as a duplicate.
"""

from typing import Any, NamedTuple

import numpy as np

from ..hot import hot, memory, rare
from ..hot import table as tables
from ..hot.atomics import Cells
from ..wire import NONE

BITS = 6
SIZE = 1 << BITS
TAG, OWNER_SHIFT = 1 << 62, 44
ACCOUNTS_MAX = 1 << 18
UNUSED, DEAD = 0, -1  # else slot + 1
BLOCKS = 0  # cells: how many are in use
ADDED, PRESENT, FULL = 0, 1, 2


class Numbers(NamedTuple):
    """The numbers of a day."""

    table: tables.Table  # block key -> block
    values: Any  # int32[SIZE * blocks_max]
    cells: Cells


def create(blocks_max: int) -> Numbers:
    """No number is used; `blocks_max` is a power of two."""
    start_bits = max(10, (blocks_max // SIZE * 8).bit_length())
    table = tables.create(max(16, blocks_max), start_bits=start_bits)
    return Numbers(table, memory.zeros(SIZE * blocks_max, np.int32), np.zeros(8, np.int64))


@hot
def block_key(owner: int, number: int) -> int:
    """The table's key of a number's block: never 0."""
    return TAG | ((number >> BITS) ^ (owner << OWNER_SHIFT))


@hot
def put(numbers: Numbers, owner: int, number: int, slot: int) -> int:
    """A number is used from now on, by the order in `slot`: ADDED, PRESENT (used before) or FULL."""
    block = tables.find(numbers.table, block_key(owner, number))
    if block < 0:
        block = _open(numbers, block_key(owner, number))
        if block < 0:
            return FULL
    at = block * SIZE + (number & (SIZE - 1))
    if numbers.values[at] != UNUSED:
        return PRESENT
    numbers.values[at] = slot + 1
    return ADDED


@rare
def _open(numbers: Numbers, key: int) -> int:
    block = numbers.cells[BLOCKS]
    if (block + 1) * SIZE > len(numbers.values) or tables.put(numbers.table, key, block) != tables.ADDED:
        return NONE
    numbers.cells[BLOCKS] += 1
    return block


@hot
def find(numbers: Numbers, owner: int, number: int) -> int:
    """The slot of the live order with this number, or NONE."""
    if number <= 0:
        return NONE
    block = tables.find(numbers.table, block_key(owner, number))
    if block < 0:
        return NONE
    value = np.int64(numbers.values[block * SIZE + (number & (SIZE - 1))])
    return value - 1 if value > 0 else NONE


@hot
def end(numbers: Numbers, owner: int, number: int) -> None:
    """The order with this number is over; the number stays used."""
    block = tables.find(numbers.table, block_key(owner, number))
    numbers.values[block * SIZE + (number & (SIZE - 1))] = DEAD


@hot
def forget(numbers: Numbers) -> None:
    """No number is used any more."""
    for at in range(numbers.cells[BLOCKS] * SIZE):
        numbers.values[at] = UNUSED
    size = 1 << numbers.table.cells[tables.BITS]
    for row in range(size, 2 * size):
        numbers.table.rows[row].key = tables.EMPTY
    numbers.table.cells[tables.USED] = 0
    numbers.cells[BLOCKS] = 0


def live(numbers: Numbers) -> dict[tuple[int, int], int]:
    """(owner, number) -> slot of all live orders: for tests. Numbers below 2^50."""
    found = {}
    for key, block in tables.items(numbers.table).items():
        owner, high = (key ^ TAG) >> OWNER_SHIFT, (key ^ TAG) & ((1 << OWNER_SHIFT) - 1)
        for k, value in enumerate(numbers.values[block * SIZE : (block + 1) * SIZE].tolist()):
            if value > 0:
                found[owner, (high << BITS) | k] = value - 1
    return found


def check(numbers: Numbers) -> None:
    """Every invariant: for tests."""
    tables.check(numbers.table)
    blocks = sorted(tables.items(numbers.table).values())
    assert blocks == list(range(int(numbers.cells[BLOCKS]))), "a block belongs to nobody, or to two"
    assert not numbers.values[len(blocks) * SIZE :][: 4 * SIZE].any()
