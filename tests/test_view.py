"""Watching a ring: every record handed out is whole and stands where its sequence says; what is not is counted.

The writer's steps are put between the two looks at the sequences by hand (where the copy is made, `np.empty`), so that
each case is met exactly; then a process writes as fast as it can, and a copy without the looks is shown to be torn.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import environment
from shared_writer import HOLDS, torn

import ultra
from ultra.cold import shared
from ultra.cold import view as views
from ultra.cold.native import Cells
from ultra.cold.shared import Kind, SharedError
from ultra.cold.view import View
from ultra.hot import ring as rings
from ultra.wire import RECORD, REQUEST, RING_CELLS, TIMER

PATIENCE_S = 60
WHOLE_MIN = 50_000
WRITER = str(Path(__file__).with_name("shared_writer.py"))


class Bench:
    """A ring and its watcher, both here."""

    def __init__(self, capacity: int = 16, batch_max: int = 1) -> None:
        segment = shared.create_nameless("ring", RECORD, capacity, batch_max=batch_max)
        self.ring, self.capacity = rings.over(segment.body, RECORD, capacity), capacity
        self.view = View(shared.attach_handle(segment.handle))
        segment.close_handle()

    def fill(self, count: int) -> None:
        """Write slots beyond the cursor, as a producer does before it publishes them."""
        cursor = int(self.ring.cells[rings.CURSOR])
        for at in range(cursor, cursor + count):
            slot = self.ring.slots[at % self.capacity]
            slot.kind = TIMER
            for field in HOLDS:
                setattr(slot, field, at)

    def publish(self, count: int) -> None:
        self.fill(count)
        self.ring.cells[rings.CURSOR] += count

    def release(self, count: int) -> None:
        self.ring.cells[rings.GATE] += count

    def lap(self, count: int) -> None:
        """Published and given back at once."""
        self.publish(count)
        self.ring.cells[rings.GATE] = self.ring.cells[rings.CURSOR]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Do something between the first look of the next read and its copy."""
    real = np.empty

    def plan(act: Callable[[], None]) -> None:
        def empty(*given: Any, **named: Any) -> Any:
            monkeypatch.setattr(np, "empty", real)
            act()
            return real(*given, **named)

        monkeypatch.setattr(np, "empty", empty)

    yield plan


def assert_whole(piece: views.Piece, first: int, after: int) -> None:
    assert (piece.first, piece.after) == (first, after)
    assert torn(piece.first, piece.records) == 0
    assert piece.sequences.tolist() == list(range(first, after))


# ---- standing still


def test_what_is_published_and_not_yet_written_over_can_be_read() -> None:
    bench = Bench()
    assert_whole(bench.view.read(), 0, 0)
    bench.publish(5)
    bench.fill(1)
    assert_whole(bench.view.read(), 0, 5)
    assert_whole(bench.view.read(3), 3, 5)
    assert_whole(bench.view.read(9), 5, 5)
    assert_whole(bench.view.read(-9), 0, 5)
    bench.release(5)
    assert_whole(bench.view.read(), 0, 5)
    assert bench.view.dropped == 0


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_history_ends_where_the_next_batch_may_be(batch: int) -> None:
    """The slots of the next batch are not handed out: the writer may have begun there."""
    bench = Bench(16, batch)
    bench.lap(100)
    bench.fill(batch)
    piece = bench.view.read()
    assert_whole(piece, 84 + batch, 100)
    assert piece.lost == 84 + batch == bench.view.dropped


def test_a_full_ring_is_read_in_full() -> None:
    bench = Bench(16, 16)
    bench.lap(5)
    bench.publish(16)
    piece = bench.view.read()
    assert_whole(piece, 5, 21)
    sequences, records = bench.view.as_numpy()
    assert sequences.tolist() == list(range(5, 21)) and records.dtype == RECORD and (records == piece.records).all()


def test_records_are_copies_and_the_memory_is_only_read() -> None:
    bench = Bench()
    bench.publish(3)
    _, records = bench.view.as_numpy()
    bench.lap(16)
    assert torn(0, records) == 0
    records[:] = 0
    assert bench.view.cursor == 19
    with pytest.raises(ValueError, match="only read"):
        bench.view._cells.store_release(rings.CURSOR, 0)
    with pytest.raises(ValueError, match="read-only"):
        bench.view._slots[0] = 0
    with pytest.raises(ValueError, match="need a writable buffer"):
        Cells(memoryview(bytes(64)))


def test_sequences_and_lag_are_told() -> None:
    bench = Bench()
    bench.publish(9)
    bench.release(4)
    view = bench.view
    assert (view.capacity, view.cursor, view.gates, view.lag, view.alive) == (16, 9, (4,), (5,), True)
    assert view.cells() == {"capacity": 16, "cursor": 9, "gates": [4], "lag": [5]}


def test_the_slowest_of_many_consumers_counts_and_one_that_is_not_there_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(shared.KINDS, "fan", Kind(RING_CELLS, 0, (32, 48, 64)))
    segment = shared.create_nameless("fan", RECORD, 16, batch_max=16)
    cells = np.frombuffer(segment.body, np.int64, RING_CELLS)
    view = View(shared.attach_handle(segment.handle, kind="fan"))
    cells[[0, 32, 48, 64]] = 20, 15, -1, 11
    assert (view.gates, view.lag) == ((15, 11), (5, 9))
    assert (view.read().first, view.read().after) == (11, 20)
    cells[[32, 64]] = -1
    assert (view.gates, view.lag, view.read().first) == ((), (), 20), (
        "without consumers a whole lap may be written over"
    )


def test_a_watcher_that_is_closed_says_so_and_what_it_gave_stays() -> None:
    bench = Bench()
    bench.publish(3)
    with bench.view as view:
        _, records = view.as_numpy()
    with pytest.raises(IndexError):
        view.read()
    assert torn(0, records) == 0


# ---- the writer moves on in the middle


def test_what_is_written_over_during_the_copy_is_dropped(meanwhile: Any) -> None:
    bench = Bench(16, 1)
    bench.lap(20)
    meanwhile(lambda: bench.lap(6))
    piece = bench.view.read()
    assert_whole(piece, 11, 20)
    assert piece.lost == 11


def test_a_whole_lap_during_the_copy_leaves_nothing_but_the_place_to_go_on_from(meanwhile: Any) -> None:
    bench = Bench(16, 1)
    bench.lap(16)
    meanwhile(lambda: bench.lap(40))
    piece = bench.view.read(2)
    assert_whole(piece, 16, 16)
    assert piece.lost == 14
    assert_whole(bench.view.read(piece.after), 41, 56)


def test_a_slot_that_a_consumer_holds_is_whole_however_far_the_writer_is(meanwhile: Any) -> None:
    bench = Bench(16, 16)
    bench.publish(10)
    meanwhile(lambda: bench.publish(6))
    assert_whole(bench.view.read(), 0, 10)
    meanwhile(lambda: bench.release(4))
    assert_whole(bench.view.read(), 4, 16)


@pytest.mark.parametrize("check", ["held", "not held"])
def test_a_writer_that_has_not_yet_published_is_caught(meanwhile: Any, check: str) -> None:
    """It has begun the batch beyond its cursor: the copy is torn, the cursor has not moved."""
    bench = Bench(16, 4)
    bench.lap(32)
    meanwhile(lambda: bench.fill(4))
    copy = bench.view._copy(16, 32)
    assert torn(16, copy) == 4, "a copy without the check is torn"
    meanwhile(lambda: bench.fill(4))
    assert_whole(bench.view.read(), 20, 32)


STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=30)


@given(st.sampled_from((4, 8, 16)), st.integers(1, 4), STEPS)
def test_any_interleaving_hands_out_whole_records_only(
    capacity: int, batch_max: int, steps: list[tuple[int, int, int]]
) -> None:
    bench, at, real = Bench(capacity, batch_max), 0, np.empty
    seen = lost = 0

    def move(published: int, released: int) -> None:
        """A legal step of the writer and its consumer, and a batch begun."""
        cells = bench.ring.cells
        bench.release(min(released, int(cells[rings.CURSOR] - cells[rings.GATE])))
        for _ in range(published):
            free = capacity - int(cells[rings.CURSOR] - cells[rings.GATE])
            bench.publish(min(batch_max, free))
        bench.fill(min(batch_max, capacity - int(cells[rings.CURSOR] - cells[rings.GATE])))

    for published, released, during in steps:
        move(published, released)

        def empty(*given: Any, during: int = during, released: int = released) -> Any:
            np.empty = real
            move(during, released)
            return real(*given)

        np.empty = empty
        try:
            piece = bench.view.read(at)
        finally:
            np.empty = real
        assert torn(piece.first, piece.records) == 0
        seen, lost, at = seen + len(piece.records), lost + piece.lost, piece.after
    assert seen + lost == at and lost == bench.view.dropped


# ---- following


def test_following_says_what_was_lost_and_ends_with_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(16, 1)
    bench.lap(3)
    steps = iter([lambda: bench.lap(4), lambda: bench.lap(50), lambda: bench.lap(1)])
    living = [True]

    def wait(_: float) -> None:
        step = next(steps, None)
        step() if step else living.clear()

    monkeypatch.setattr(time, "sleep", wait)
    monkeypatch.setattr(Path, "read_text", lambda self: stat if living else "1 (x) Z")
    start = bench.view.header.pid_start
    stat = f"1 (a) b) S {' '.join(map(str, range(18)))} {start} 0"
    pieces = list(bench.view.follow())
    assert [(piece.first, piece.after, piece.lost) for piece in pieces] == [(3, 7, 0), (42, 57, 35), (57, 58, 0)]
    assert all(torn(piece.first, piece.records) == 0 for piece in pieces) and bench.view.dropped == 35
    assert [piece.after for piece in bench.view.follow(50)] == [58]


# ---- the whole way, by name


class Writer:
    """shared_writer.py, running."""

    def __init__(self, name: str, *numbers: int) -> None:
        command = [sys.executable, WRITER, name, *map(str, numbers)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
        assert self.process.stdout is not None and self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.jit_only
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core they take turns, and never race")
@pytest.mark.parametrize(
    ("capacity", "batch", "behind", "pauses"),
    [(1 << 12, 1, 0, 1), (1 << 14, 8, 0, 0), (1 << 12, 64, 3000, 20), (1 << 16, 512, 0, 0)],
)
def test_no_record_is_torn_however_fast_it_is_written(capacity: int, batch: int, behind: int, pauses: int) -> None:
    name = f"race.b{batch}"
    writer, cores = Writer(name, capacity, batch, behind, pauses), os.sched_getaffinity(0)
    whole = torn_naive = 0
    try:
        os.sched_setaffinity(0, {min(cores)})  # the writer is on the last
        with ultra.attach(name) as view:
            end = time.monotonic() + PATIENCE_S
            while (whole < WHOLE_MIN or torn_naive < 100 or view.dropped < 1000) and time.monotonic() < end:
                cursor = view.cursor
                first = max(0, cursor - capacity)
                torn_naive += torn(first, view._copy(first, cursor))
                for since in (0, cursor - capacity // 2, view.cursor - 50):
                    piece = view.read(since)
                    assert torn(piece.first, piece.records) == 0
                    whole += len(piece.records)
    finally:
        os.sched_setaffinity(0, cores)
        writer.kill()
        cleaned = shared.clean()
    assert whole >= WHOLE_MIN and torn_naive >= 100 and view.dropped >= 1000, (whole, torn_naive, view.dropped)
    assert cleaned == [name]


@pytest.mark.jit_only
def test_following_a_fast_writer_accounts_for_every_record() -> None:
    writer = Writer("race.follow", 1 << 12, 16, 0, 400)
    seen, at = 0, 0
    with ultra.attach("race.follow") as view:
        for piece in view.follow(0):
            assert piece.first == at + piece.lost and torn(piece.first, piece.records) == 0
            seen, at = seen + len(piece.records), piece.after
            if seen > 100_000 and view.alive:
                writer.kill()
        assert at == view.cursor == seen + view.dropped
    shared.clean()


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(SharedError, match=r"segment no\.where: found No such file"):
        ultra.attach("no.where")


def test_a_record_of_another_program_is_read_by_its_own_description() -> None:
    dtype = np.dtype({"names": ["a", "b"], "formats": ["<f8", "<i2"], "offsets": [8, 0], "itemsize": 32})
    segment = shared.create("other.ring", "ring", dtype, 4)
    slots = np.frombuffer(segment.body, dtype, 4, RING_CELLS * 8)
    slots[0]["a"], slots[0]["b"] = 2.5, -3
    np.frombuffer(segment.body, np.int64, 1)[0] = 1
    with ultra.attach("other.ring") as view:
        assert view.as_numpy()[1].tolist() == [(2.5, -3)]
        assert view.header.dtype() == dtype != REQUEST
    segment.remove()
