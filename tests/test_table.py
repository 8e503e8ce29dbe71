"""The table against a dict, with keys made to meet: their homes are a few neighbouring rows and both ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import table as tables
from ultra.hot.bits import GOLDEN, signed
from ultra.hot.table import ADDED, FULL, MISSING, PRESENT

FIND, PUT, REMOVE = range(3)
CAPACITY = 16
FULL_AT = 2 * CAPACITY  # half of the last size
BITS_MAX = CAPACITY.bit_length() + 1


@loop
def apply(table: Any, what: int, key: int, value: int) -> int:
    if what == FIND:
        tables.ahead(table, key)
        return tables.find(table, key)
    if what == PUT:
        return tables.put(table, key, value)
    return tables.remove(table, key)


def key_at(hashed: int) -> int:
    """The key whose product with GOLDEN is `hashed`: so a test can say where it lies."""
    return signed(hashed * pow(GOLDEN, -1, 1 << 64))


def keys_of_homes(homes: tuple[int, ...], bits: int, each: int) -> list[int]:
    """`each` keys for every home of a table of 2^bits rows; low bits differ, so they part when it grows."""
    part = 1 << (64 - bits)
    return [key_at(home * part + 1 + k * (part // each)) for home in homes for k in range(each)]


KEYS = keys_of_homes((0, 1, 2, 31, 62, 63), BITS_MAX, 7)
STEPS = st.lists(st.tuples(st.sampled_from((FIND, PUT, PUT, REMOVE)), st.sampled_from(KEYS)), min_size=50, max_size=90)


def test_made_keys_lie_where_they_are_said_to() -> None:
    assert len(set(KEYS)) == 42 and 0 not in KEYS
    found = {(key * GOLDEN >> (64 - BITS_MAX)) & 63 for key in KEYS}
    assert found == {0, 1, 2, 31, 62, 63}


def expected(twin: dict[int, int], what: int, key: int, value: int) -> int:
    if what == FIND:
        return twin.get(key, MISSING)
    if what == REMOVE:
        return twin.pop(key, MISSING)
    if key in twin:
        return PRESENT
    if len(twin) == FULL_AT:
        return FULL
    twin[key] = value
    return ADDED


@given(st.integers(3, BITS_MAX), STEPS)
def test_a_table_behaves_as_a_dict(start_bits: int, steps: list[tuple[int, int]]) -> None:
    table, twin = tables.create(CAPACITY, start_bits=start_bits), {}
    for value, (what, key) in enumerate(steps):
        assert apply(table, what, key, value) == expected(twin, what, key, value)
        tables.check(table)
        assert tables.items(table) == twin
        bits = int(table.cells[tables.BITS])
        assert bits == BITS_MAX or 8 * len(twin) <= 1 << bits
    for key in KEYS:
        assert apply(table, FIND, key, 0) == twin.get(key, MISSING)


def test_full_is_an_outcome_and_a_removal_makes_room_again() -> None:
    table = tables.create(CAPACITY, start_bits=2)
    assert [apply(table, PUT, key, 7) for key in range(1, FULL_AT + 1)] == [ADDED] * FULL_AT
    assert apply(table, PUT, 1000, 7) == FULL and apply(table, PUT, 1, 8) == PRESENT
    assert apply(table, FIND, 1000, 0) == MISSING and apply(table, FIND, 1, 0) == 7
    assert apply(table, REMOVE, 5, 0) == 7 and apply(table, PUT, 1000, 9) == ADDED
    assert apply(table, PUT, 5, 7) == FULL
    tables.check(table)


@pytest.mark.parametrize("apart", [False, True])
def test_a_search_too_long_makes_the_table_grow_while_it_can(apart: bool) -> None:
    table, count = tables.create(1 << 10, start_bits=9), tables.PROBES_MAX + 10
    keys = keys_of_homes((3,), 9, count) if apart else [key_at((3 << 55) + 1 + k) for k in range(count)]
    assert [apply(table, PUT, key, at) for at, key in enumerate(keys)] == [ADDED] * count
    tables.check(table)
    assert tables.items(table) == {key: at for at, key in enumerate(keys)}
    assert int(table.cells[tables.GROWN]) == 3 and int(table.cells[tables.LONGEST]) > tables.PROBES_MAX
    for at, key in enumerate(keys):
        assert apply(table, REMOVE, key, 0) == at
        tables.check(table)
    assert tables.items(table) == {}
