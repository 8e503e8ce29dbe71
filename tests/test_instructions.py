"""Every instruction does in machine code what its meaning says in Python.

The meanings are held against sets of bit numbers and `int.from_bytes`, written another way on purpose.
"""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop, table
from numba import njit

from ultra.hot import FLAGS, atomics, bits, clock
from ultra.hot import crowd as crowds
from ultra.hot import fan as fans
from ultra.hot import post as posts
from ultra.hot import ring as rings
from ultra.hot.bits import (
    GOLDEN,
    above,
    below,
    highest,
    load_i64,
    load_u16,
    load_u32,
    lowest,
    mix,
    scatter,
    signed,
    store_i64,
    store_u16,
    store_u32,
    with_bit,
    without_bit,
)
from ultra.wire import RECORD

LOW, HIGH, TAG = -(1 << 63), (1 << 63) - 1, 1 << 62
EDGES = sorted({sign * (1 << k) + d for k in (0, 1, 31, 32, 33, 62) for sign in (1, -1) for d in (-1, 0, 1)})
EDGES += [LOW, LOW + 1, HIGH - 1, HIGH, GOLDEN, -GOLDEN, 0x5555555555555555]
INT64 = st.one_of(st.sampled_from(EDGES), st.integers(LOW, HIGH))


@loop
def word_results(operands: Any, out: Any) -> None:
    for i in range(len(operands)):
        word, other = operands[i, 0], operands[i, 1]
        bit = other & 63
        out[i, 0] = lowest(word)
        out[i, 1] = highest(word)
        out[i, 2] = with_bit(word, bit)
        out[i, 3] = without_bit(word, bit)
        out[i, 4] = below(word, bit)
        out[i, 5] = above(word, bit)
        out[i, 6] = mix(word, other)
        if word > TAG:  # where the compiler knows the sign, and would of a product that may not wrap
            out[i, 7] = scatter(word) >> 55


def meanings(word: int, other: int) -> list[int]:
    bit = other & 63
    return [
        bits._lowest(word), bits._highest(word), bits._with_bit(word, bit), bits._without_bit(word, bit),
        bits._below(word, bit), bits._above(word, bit), bits._mix(word, other),
        bits._scatter(word) >> 55 if word > TAG else 0,
    ]  # fmt: skip


def ones(word: int) -> set[int]:
    return {k for k in range(64) if word >> k & 1}


def run_words(pairs: list[tuple[int, int]]) -> list[list[int]]:
    out = np.zeros((len(pairs), 8), np.int64)
    word_results(table(pairs, 2), out)
    return out.tolist()  # type: ignore[no-any-return]


def assert_same(pairs: list[tuple[int, int]]) -> None:
    for (word, other), found in zip(pairs, run_words(pairs), strict=True):
        assert found == meanings(word, other), (word, other)
        bit, there = other & 63, ones(word)
        assert found[0] == min(there, default=64) and found[1] == max(there, default=-1)
        assert ones(found[2]) == there | {bit} and ones(found[3]) == there - {bit}
        assert ones(found[4]) == {k for k in there if k < bit}
        assert ones(found[5]) == {k for k in there if k > bit}


def test_words_at_every_edge_and_bit() -> None:
    assert_same([(word, other) for word in EDGES for other in range(64)])


@given(st.lists(st.tuples(INT64, INT64), min_size=1, max_size=20))
def test_words_anywhere(pairs: list[tuple[int, int]]) -> None:
    assert_same(pairs)


@given(INT64, INT64)
def test_mix_tells_apart_what_differs_in_one_operand(state: int, value: int) -> None:
    """For one state the map is a bijection: no two values of a record give the same hash."""
    found = run_words([(state, value), (state, value ^ 1), (state, signed(value ^ LOW))])
    assert len({row[6] for row in found}) == 3


@loop
def loads(buffer: Any, out: Any) -> None:
    for at in range(len(buffer) - 7):
        out[at, 0] = load_u16(buffer, at)
        out[at, 1] = load_u32(buffer, at)
        out[at, 2] = load_i64(buffer, at)


@given(st.binary(min_size=8, max_size=40))
def test_big_endian_loads_at_every_alignment(raw: bytes) -> None:
    out = np.zeros((len(raw) - 7, 3), np.int64)
    loads(np.frombuffer(raw, np.uint8).copy(), out)
    for at, found in enumerate(out.tolist()):
        widths = ((2, False), (4, False), (8, True))
        assert found == [int.from_bytes(raw[at : at + w], "big", signed=s) for w, s in widths]


@loop
def stores(buffer: Any, at: int, width: int, value: int) -> None:
    if width == 2:
        store_u16(buffer, at, value)
    elif width == 4:
        store_u32(buffer, at, value)
    else:
        store_i64(buffer, at, value)


@given(INT64, st.sampled_from([2, 4, 8]), st.integers(0, 9))
def test_big_endian_stores_write_their_bytes_and_no_other(value: int, width: int, at: int) -> None:
    buffer = np.full(24, 0xA5, np.uint8)
    stores(buffer, at, width, value)
    expected = bytearray(b"\xa5" * 24)
    expected[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "big")
    assert buffer.tobytes() == expected


LOAD, STORE, ADD, SET_IF, IDLE = range(5)


@loop
def cell_results(cells: Any, operations: Any, out: Any) -> None:
    for i in range(len(operations)):
        what, at, value, other = operations[i, 0], operations[i, 1], operations[i, 2], operations[i, 3]
        if what == LOAD:
            out[i] = atomics.load_acquire(cells, at)
        elif what == STORE:
            atomics.store_release(cells, at, value)
        elif what == ADD:
            out[i] = atomics.fetch_add(cells, at, value)
        elif what == SET_IF:
            out[i] = atomics.compare_and_set(cells, at, value, other)
        else:
            atomics.pause()
            atomics.prefetch(cells, at)
            clock.fence()


def cell_meaning(cells: list[int], what: int, at: int, value: int, other: int) -> int:
    before = cells[at]
    if what == STORE or (what == SET_IF and before == value):
        cells[at] = value if what == STORE else other
    if what == ADD:
        cells[at] = (before + value - LOW) % (1 << 64) + LOW
    return {LOAD: before, ADD: before, SET_IF: int(before == value)}.get(what, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(range(5)), st.integers(0, 2), st.sampled_from(EDGES), st.sampled_from(EDGES)),
        min_size=1,
        max_size=60,
    )
)
def test_cells_hold_what_their_meaning_says(operations: list[tuple[int, int, int, int]]) -> None:
    cells, twin = np.zeros(3, np.int64), [0, 0, 0]
    found = np.zeros(len(operations), np.int64)
    cell_results(cells, table(operations, 4), found)
    assert found.tolist() == [cell_meaning(twin, *operation) for operation in operations]
    assert cells.tolist() == twin


def test_adding_wraps_at_64_bits_and_setting_needs_the_exact_value() -> None:
    operations = [(STORE, 0, HIGH), (ADD, 0, 1), (LOAD, 0), (SET_IF, 0, HIGH, 5), (SET_IF, 0, LOW, 5), (LOAD, 0)]
    found, cells = np.zeros(6, np.int64), np.zeros(1, np.int64)
    cell_results(cells, table(operations, 4), found)
    assert found.tolist() == [0, HIGH, LOW, 0, 1, 5]


def test_the_clock_goes_forward_at_its_calibrated_rate() -> None:
    first = clock.now()
    readings = column(clock.now() for _ in range(100))
    assert (np.diff(readings) >= 0).all() and readings[0] >= first
    assert 0.05 < clock.calibrate(5) < 100


@pytest.mark.jit_only
def test_the_order_asked_for_is_in_the_code_that_llvm_gets() -> None:
    """On x86 a plain load or store behaves as an ordered one, so that only the text tells them apart."""

    @njit(**FLAGS)
    def one_of_each(cells: Any) -> int:
        atomics.store_release(cells, 0, 1)
        atomics.fetch_add(cells, 1, 1)
        atomics.compare_and_set(cells, 2, 0, 1)
        return atomics.load_acquire(cells, 3)

    one_of_each(np.zeros(4, np.int64))
    (text,) = one_of_each.inspect_llvm().values()
    assert re.search(r"store atomic i64 1, .* release, align 8", text)
    assert re.search(r"atomicrmw add .* i64 1 acq_rel", text)
    assert re.search(r"cmpxchg .* i64 0, i64 1 acq_rel acquire", text)
    assert re.search(r"load atomic i64, .* acquire, align 8", text)


@pytest.mark.jit_only
@pytest.mark.parametrize("form", ["ring", "post", "fan", "crowd"])
def test_every_publication_is_a_release_and_every_look_an_acquire(form: str) -> None:
    """What `tests/broken.py` can't plant on x86: an order that is missing there shows only here."""
    ring = {
        "ring": lambda: rings.create(RECORD, 4),
        "post": lambda: posts.create(RECORD, 4),
        "fan": lambda: fans.create(RECORD, 4, [(), (0,)]),
        "crowd": lambda: crowds.create(RECORD, 4),
    }[form]()
    publish, look, release, refresh = ORDERED[form]
    for act, order in ((publish, "release"), (release, "release"), (look, "acquire"), (refresh, "acquire")):
        compiled = njit(**FLAGS)(act)
        compiled(ring)
        (text,) = compiled.inspect_llvm().values()
        assert re.search(rf"(store|load) atomic i64.* {order}, align 8", text), (form, order)


ORDERED: dict[str, tuple[Any, Any, Any, Any]] = {
    "ring": (
        lambda ring: rings.publish(ring, 1),
        lambda ring: rings.ready(ring),
        lambda ring: rings.release(ring, 1),
        lambda ring: rings.room(ring, 9),
    ),
    "post": (
        lambda post: posts.publish(post),
        lambda post: posts.poll(post),
        lambda post: posts.release(post),
        lambda post: posts.claim(post),
    ),
    "fan": (
        lambda fan: fans.publish(fan, 1),
        lambda fan: fans.ready(fan, 1),
        lambda fan: fans.release(fan, 0, 1),
        lambda fan: fans.room(fan, 9),
    ),
    "crowd": (
        lambda crowd: crowds.publish(crowd, 0, 1),
        lambda crowd: crowds.ready(crowd),
        lambda crowd: crowds.release(crowd, 1),
        lambda crowd: crowds.claim(crowd, 0, 9),
    ),
}
