"""Waiting: turns are counted, a sleeper is woken once and always, and who publishes to nobody asleep pays nothing."""

import os
import re
import threading
import time
from typing import Any

import numpy as np
import pytest
from loops import loop
from numba import njit

from ultra.cold import native
from ultra.cold.native import NATIVE, SLEEP_BOUND_NS, Bell, Cells, promise
from ultra.hot import FLAGS
from ultra.hot import ring as rings
from ultra.hot import wait as waits
from ultra.hot.atomics import store_release
from ultra.wire import RECORD, RING_BELL, RING_CELLS, RING_PROMPT, RING_SLEEPERS

LONG_NS = 20_000_000_000
needs_fence = pytest.mark.skipif(
    not NATIVE or not promise(Cells(bytearray(RING_CELLS * 8))),
    reason="no ultra._native, or a kernel without membarrier",
)


@loop
def turns(count: int, spins: int) -> int:
    turn = 0
    for _ in range(count):
        turn = waits.idle(turn, spins)
    return turn


@loop
def send(ring: Any, value: int) -> bool:
    slot = rings.claim(ring)
    if slot < 0:
        return False
    ring.slots[slot].aux = value
    rings.publish(ring, 1)
    waits.wake(ring.cells)
    return True


@loop
def receive(ring: Any) -> int:
    slot = rings.poll(ring)
    if slot < 0:
        return -1
    value = ring.slots[slot].aux
    rings.release(ring, 1)
    waits.wake(ring.cells)
    return value


@loop
def waiting(ring: Any) -> int:
    return rings.ready(ring)


def shared() -> tuple[Any, Cells]:
    buffer = bytearray(rings.size_bytes(RECORD, 2))
    return rings.over(buffer, RECORD, 2), Cells(memoryview(buffer)[: RING_CELLS * 8])


@pytest.mark.parametrize("spins", [0, 3, waits.BUSY])
def test_every_turn_counts_whether_it_spins_or_yields(spins: int) -> None:
    assert turns(10, spins) == 10


def test_a_bell_rings_only_for_somebody_and_once() -> None:
    ring, _ = shared()
    assert send(ring, 1) and ring.cells[RING_BELL] == 0
    ring.cells[RING_SLEEPERS] = 1
    assert send(ring, 2)
    assert (ring.cells[RING_SLEEPERS], ring.cells[RING_BELL]) == (0, 1)
    assert receive(ring) == 1 and ring.cells[RING_BELL] == 1


def test_nobody_sleeps_while_there_is_something() -> None:
    ring, cells = shared()
    send(ring, 1)
    assert Bell(cells).wait(lambda: waiting(ring) > 0, LONG_NS)
    assert ring.cells[RING_SLEEPERS] == 0


def test_something_that_comes_between_the_mark_and_the_last_look_is_seen() -> None:
    ring, cells = shared()
    looks = []

    def look() -> bool:
        looks.append(waiting(ring) > 0)
        if len(looks) == 1:
            ring.cells[rings.CURSOR] += 1  # as a publisher that saw no mark
        return looks[-1]

    assert Bell(cells).wait(look, LONG_NS) and looks == [False, True]


def test_without_a_promise_a_sleep_is_short_and_counted() -> None:
    ring, cells = shared()
    bell, began = Bell(cells), time.monotonic_ns()
    assert not bell.wait(lambda: waiting(ring) > 0, LONG_NS)
    assert SLEEP_BOUND_NS / 2 < time.monotonic_ns() - began < LONG_NS / 2 and bell.bounded == 1


def test_a_bell_that_was_heard_is_not_slept_on() -> None:
    _, cells = shared()
    began = time.monotonic_ns()
    cells.sleep(RING_BELL, 7, LONG_NS)
    assert time.monotonic_ns() - began < LONG_NS / 2


@needs_fence
def test_a_promise_makes_a_sleep_as_long_as_asked() -> None:
    ring, cells = shared()
    assert promise(cells) and ring.cells[RING_PROMPT] == 1
    bell, began = Bell(cells), time.monotonic_ns()
    assert not bell.wait(lambda: waiting(ring) > 0, 20_000_000)
    assert time.monotonic_ns() - began > 15_000_000 and bell.bounded == 0
    two = Bell(cells, wakers=2)
    assert not two.wait(lambda: waiting(ring) > 0, 20_000_000) and two.bounded == 1


@needs_fence
def test_no_wake_up_is_lost_in_either_direction() -> None:
    """The consumer sleeps on an empty ring, the producer on a full one. A wake-up that is lost takes LONG_NS."""
    ring, cells = shared()
    assert promise(cells)
    count, slept, cores = 20_000, [0], sorted(os.sched_getaffinity(0))

    def producer() -> None:
        os.sched_setaffinity(0, {cores[-1]})
        bell = Bell(cells)
        for value in range(count):
            while not send(ring, value):
                bell.wait(lambda: int(ring.cells[rings.CURSOR]) - cells.load_acquire(rings.GATE) < 2, LONG_NS)
                slept[0] += 1

    began, thread = time.monotonic_ns(), threading.Thread(target=producer, daemon=True)
    thread.start()
    os.sched_setaffinity(0, {cores[0]})
    bell, at = Bell(cells), 0
    while at < count and time.monotonic_ns() - began < 2 * LONG_NS:
        value = receive(ring)
        if value < 0:
            bell.wait(lambda: waiting(ring) > 0, LONG_NS)
            slept[0] += 1
            continue
        assert value == at
        at += 1
    os.sched_setaffinity(0, cores)
    thread.join()
    assert at == count and slept[0] > 0 and bell.bounded == 0
    assert time.monotonic_ns() - began < LONG_NS, "somebody slept through"


@pytest.mark.jit_only
def test_who_publishes_to_nobody_asleep_pays_one_load_and_no_fence() -> None:
    @njit(**FLAGS)
    def published(cells: Any) -> None:
        store_release(cells, rings.CURSOR, 1)
        waits.wake(cells)

    published(np.zeros(RING_CELLS, np.int64))
    (text,) = published.inspect_llvm().values()
    store, fence = text.index("store atomic i64 1"), text.index('fence syncscope("singlethread") seq_cst')
    assert store < fence < text.index("load i64", store), "the look at the sleepers comes after the cursor"
    (machine_code,) = published.inspect_asm().values()
    path = machine_code[: machine_code.index("ret")]
    assert not re.search(r"\b(mfence|lock|xchg)", path) and "syscall" not in path


def test_the_plain_meaning_wakes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the JIT off the same symbols of libc are called through ctypes."""
    _, cells = shared()
    buffer = np.zeros(RING_CELLS, np.int64)
    waits._futex_wake(buffer, RING_BELL)
    waits._sched_yield()
    waits._keep_order()
    monkeypatch.setattr(native, "NATIVE", False)
    assert not promise(cells)
