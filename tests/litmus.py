"""One of two processes that race over shared cells: what `test_litmus.py` starts twice.

Both play the same phases, side 0 and side 1, each with the compiled operations of `ultra.hot.atomics` or with the C
ones of `ultra.cold.native`. Data cells are written and read plainly: only the flag's order holds them in place.
"""

import json
import mmap
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from loops import loop

from ultra.hot.atomics import compare_and_set, fetch_add, load_acquire, store_release

LINE = 16
FLAG, DATA, MORE, STOP, SUM, CLAIMED, PHASE = (k * LINE for k in range(7))
CELLS = 8 * LINE
CONTEST_S = 0.7  # long enough for both to be there, however busy the machine
CHUNK = 10_000
PATIENCE_S = 60
SEEN, FRESH, FORBIDDEN = range(3)


@loop
def write(cells: Any, start: int, stop: int) -> None:
    for number in range(start, stop):
        cells[DATA] = number
        cells[MORE] = number
        store_release(cells, FLAG, number)


@loop
def read(cells: Any, out: Any) -> None:
    for _ in range(CHUNK):
        flag = load_acquire(cells, FLAG)
        if cells[DATA] < flag or cells[MORE] < flag:
            out[FORBIDDEN] += 1
        if flag != out[SEEN]:
            out[SEEN] = flag
            out[FRESH] += 1


@loop
def add(cells: Any) -> int:
    """Returns how often the sum did not grow between two of our additions."""
    last, wrong = -1, 0
    for _ in range(CHUNK):
        before = fetch_add(cells, SUM, 1)
        if before <= last:
            wrong += 1
        last = before
    return wrong


@loop
def claim(cells: Any) -> int:
    """Returns how many attempts lost to the other side."""
    lost = 0
    for _ in range(CHUNK):
        while True:
            held = load_acquire(cells, CLAIMED)
            if compare_and_set(cells, CLAIMED, held, held + 1):
                break
            lost += 1
    return lost


class Compiled:
    """The four loops as machine code."""

    def __init__(self, buffer: Any) -> None:
        self.cells = np.frombuffer(buffer, np.int64)

    def write(self, start: int, stop: int) -> None:
        write(self.cells, start, stop)

    def read(self, out: Any) -> None:
        read(self.cells, out)

    def add(self) -> int:
        return int(add(self.cells))

    def claim(self) -> int:
        return int(claim(self.cells))


class Native:
    """The same four in Python over the C functions."""

    def __init__(self, buffer: Any) -> None:
        from ultra.cold.native import Cells

        self.plain, self.cells = memoryview(buffer).cast("q"), Cells(buffer)

    def write(self, start: int, stop: int) -> None:
        plain, store = self.plain, self.cells.store_release
        for number in range(start, stop):
            plain[DATA] = plain[MORE] = number
            store(FLAG, number)

    def read(self, out: Any) -> None:
        plain, load = self.plain, self.cells.load_acquire
        seen, fresh, forbidden = out.tolist()
        for _ in range(CHUNK):
            flag = load(FLAG)
            forbidden += plain[DATA] < flag or plain[MORE] < flag
            fresh += flag != seen
            seen = flag
        out[:] = seen, fresh, forbidden

    def add(self) -> int:
        befores = [self.cells.fetch_add(SUM, 1) for _ in range(CHUNK)]
        return sum(later <= earlier for earlier, later in pairwise(befores))

    def claim(self) -> int:
        lost = 0
        for _ in range(CHUNK):
            held = self.cells.load_acquire(CLAIMED)
            while not self.cells.compare_and_set(CLAIMED, held, held + 1):
                lost += 1
                held = self.cells.load_acquire(CLAIMED)
        return lost


def meet(cells: Any, side: int, phase: int) -> None:
    """Wait until the other side is as far."""
    store_phase(cells, side, phase)
    end = time.monotonic() + PATIENCE_S
    while phase_of(cells, 1 - side) < phase and time.monotonic() < end:
        time.sleep(0)


@loop
def store_phase(cells: Any, side: int, phase: int) -> None:
    store_release(cells, PHASE + side, phase)


@loop
def phase_of(cells: Any, side: int) -> int:
    return load_acquire(cells, PHASE + side)


@loop
def store_stop(cells: Any, value: int) -> None:
    store_release(cells, STOP, value)


@loop
def stopped(cells: Any) -> bool:
    return load_acquire(cells, STOP) != 0


def pass_messages(player: Compiled | Native, cells: Any, writes: bool, rounds: int) -> dict[str, int]:
    """One direction, until the reader has seen so many messages that were new to it."""
    first = int(cells[FLAG])
    end, at, out = time.monotonic() + PATIENCE_S, first, np.array([first, 0, 0], np.int64)
    while writes and not stopped(cells):
        player.write(at + 1, at + 1 + CHUNK)
        at += CHUNK
    while not writes and out[FRESH] < rounds and time.monotonic() < end:
        player.read(out)
    store_stop(cells, 1)
    return {} if writes else {"rounds": int(out[FRESH]), "forbidden": int(out[FORBIDDEN])}


def contest(chunk: Callable[[], int], cells: Any = None) -> tuple[int, int]:
    """Repeat until the time is over: how many operations, and the sum of what they returned.

    With `cells`, also until either side has had something returned: on a busy machine they may miss each other."""
    end, patience = time.monotonic() + CONTEST_S, time.monotonic() + PATIENCE_S
    done, returned = 0, 0
    while (now := time.monotonic()) < end or (cells is not None and not stopped(cells) and now < patience):
        returned += chunk()
        done += CHUNK
        if cells is not None and returned:
            store_stop(cells, 1)
    return done, returned


def main() -> None:
    path, side, kind, rounds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    # On one core they would take turns for milliseconds, and never race.
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[side]})
    with open(path, "r+b") as file:
        buffer = mmap.mmap(file.fileno(), CELLS * 8)
    cells = np.frombuffer(buffer, np.int64)
    player = Compiled(buffer) if kind == "compiled" else Native(buffer)
    found: dict[str, int] = {}
    for phase, writer in enumerate((0, 1)):
        meet(cells, side, 3 * phase + 1)
        found |= pass_messages(player, cells, side == writer, rounds)
        meet(cells, side, 3 * phase + 2)
        store_stop(cells, 0)
        meet(cells, side, 3 * phase + 3)
    meet(cells, side, 7)
    found["added"], found["disordered"] = contest(player.add)
    meet(cells, side, 8)
    found["claimed"], found["lost"] = contest(player.claim, cells)
    meet(cells, side, 9)
    print(json.dumps(found | {"sum": int(cells[SUM]), "claims": int(cells[CLAIMED])}))
