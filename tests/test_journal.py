"""The journal loses nothing that it called durable, and says so once when it can't go on.

The parts run here, with a disk that forgets whatever was not synced; the process itself is stopped, killed, left alone
and given no room. It is stopped by SIGSTOP, so that what it has not seen is known, not guessed.
"""

import errno
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import journaled, through, until

from ultra import config
from ultra.cold import journal as journals
from ultra.cold import segment
from ultra.cold import tap as taps
from ultra.cold.segment import MARK, META, RECORDS, JournalError
from ultra.hot import memory
from ultra.hot import ring as rings
from ultra.wire import JOURNAL_CLOSE, JOURNAL_DURABLE, JOURNAL_FAILED, JOURNAL_PROCESSED, RECORD, TIMER

ABOUT = {"config": "", "strategy": "none"}


def records(first: int, count: int) -> Any:
    made = memory.zeros(count, RECORD)
    made.kind, made.sequence = TIMER, np.arange(first, first + count)
    made.order_id = made.sequence * 7919
    return made


def publish(ring: rings.Ring, first: int, count: int) -> None:
    sent, capacity = 0, len(ring.slots)
    while sent < count:
        cursor = int(ring.cells[rings.CURSOR])
        until(lambda: int(ring.cells[rings.CURSOR] - ring.cells[rings.GATE]) < capacity, "the ring has room")
        room = capacity - cursor + int(ring.cells[rings.GATE])
        size = min(room, count - sent, capacity - cursor % capacity)
        ring.slots[cursor % capacity : cursor % capacity + size] = records(first + sent, size)
        ring.cells[rings.CURSOR] = cursor + size
        sent += size


def assert_holds(folder: Path, count: int) -> None:
    assert (journaled(folder) == records(0, count)).all()


# ---- the parts, here


@pytest.mark.parametrize("held", [0, 5, 24])
def test_a_journal_resumed_anywhere_holds_every_record_once(tmp_path: Path, held: int) -> None:
    """Its writer died at any byte of what it wrote, and with any of its slots given back."""
    whole, count, moved = tmp_path / "whole", 40, 24
    memory_of = bytearray(rings.size_bytes(RECORD, 64))
    ring = rings.over(memory_of, RECORD, 64)
    publish(ring, 0, moved)
    first = journals.Journal(whole, segment_bytes=2048)
    first.append(segment.META, 0, 0, 0, b"{}")
    journals.Tap(memory_of, 64).move(first, 4)
    publish(ring, moved, count - moved)
    os.close(first._file)
    last = segment.segments(whole)[-1]
    content = last.read_bytes()
    for cut in (0, *range(segment.HEADER_BYTES, first._at + 1, 8)):
        folder = tmp_path / f"cut{cut}"
        shutil.copytree(whole, folder)
        torn = bytes([255] * 16) if cut % 3 and cut else b""
        (folder / last.name).write_bytes((content[:cut] + torn).ljust(len(content), b"\0"))
        again = journals.Journal(folder, segment_bytes=2048, resume=True)
        assert again.durable == again.through <= moved
        ring.cells[rings.GATE] = min(held, again.written)  # a slot is given back once it is written
        journals.Tap(memory_of, 64).move(again, 4)
        again.close()
        assert_holds(folder, count)
        assert int(ring.cells[rings.GATE]) == count


class Disk:
    """A disk that forgets: `after_power_cut` is the folder as the last sync left it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder, self.after_power_cut, self.fail_from, self.syncs = folder, folder.with_name("cut"), -1, 0
        self.names: list[Path] = []  # folders whose entries were made durable
        monkeypatch.setattr(os, "fdatasync", self.sync)
        monkeypatch.setattr(os, "fsync", lambda handle: self.names.append(Path(f"/proc/self/fd/{handle}").resolve()))

    def sync(self, handle: int) -> None:
        self.syncs += 1
        if 0 <= self.fail_from < self.syncs:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        shutil.rmtree(self.after_power_cut, ignore_errors=True)
        shutil.copytree(self.folder, self.after_power_cut)


class Bench:
    """`journal.run` over a ring in this process."""

    def __init__(self, folder: Path, capacity: int = 64, batch_max: int = 8, segment_bytes: int = 4096) -> None:
        self.folder, self.capacity, self.batch_max = folder, capacity, batch_max
        self.memory = mmap(-1, rings.size_bytes(RECORD, capacity))
        self.ring = rings.over(self.memory, RECORD, capacity)
        self.journal = journals.Journal(folder, segment_bytes=segment_bytes)

    def run(self) -> None:
        """Serve the ring until it is empty; the engine is there and has said that it ends."""
        self.ring.cells[JOURNAL_CLOSE] = 1
        reading, writing = os.pipe()
        try:
            journals.run(self.memory, self.capacity, self.journal, self.batch_max, ABOUT, reading)
        finally:
            os.close(reading)
            os.close(writing)


def test_what_is_durable_is_what_a_power_cut_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "journal"
    disk = Disk(monkeypatch, folder)
    bench = Bench(folder, segment_bytes=1024)
    tap = journals.Tap(bench.memory, bench.capacity)
    bench.journal.append(META, 0, 0, 0, b"{}")
    for step in range(12):
        publish(bench.ring, 5 * step, 5)
        bench.ring.cells[JOURNAL_PROCESSED] = 5 * step + 5 + step % 3
        assert tap.move(bench.journal, bench.batch_max)
        assert bench.journal.durable <= through(disk.after_power_cut) if step else bench.journal.durable == 0
        bench.journal.sync()
        assert bench.journal.durable == through(disk.after_power_cut) == max(5 * step + 5 + step % 3, 5 * step + 5)
    assert len(segment.segments(folder)) > 3
    bench.journal.close()
    assert_holds(disk.after_power_cut, 60)
    assert disk.names.count(folder) == 1 + len(segment.segments(folder))  # the superblock's name is one more
    assert {tmp_path, folder.parent} <= set(disk.names), "the names of the folders themselves are not durable"


def test_records_go_to_disk_in_order_in_batches_and_marks_say_how_far_the_engine_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal")
    publish(bench.ring, 0, 50)
    bench.ring.cells[JOURNAL_PROCESSED] = 70
    bench.run()
    assert_holds(bench.folder, 50)
    frames = list(segment.read(bench.folder))
    assert [frame.kind for frame in frames] == [META, *[RECORDS] * 7, MARK, MARK]
    assert [frame.count for frame in frames] == [0, *[8] * 6, 2, 0, 0] and frames[0].meta() == ABOUT
    assert [frame.through for frame in frames] == [0, 8, 16, 24, 32, 40, 48, 50, 70, 70]
    assert frames[-1].durable == 70, "the last frame says that all before it is durable"
    assert int(bench.ring.cells[JOURNAL_DURABLE]) == 70 and int(bench.ring.cells[JOURNAL_FAILED]) == 0


def test_a_sync_that_fails_is_told_once_never_tried_again_and_nothing_is_called_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, tmp_path / "journal")
    bench = Bench(disk.folder)
    disk.fail_from = 2  # those of the superblock and the META frame still work
    publish(bench.ring, 0, 20)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        bench.run()
    assert int(bench.ring.cells[JOURNAL_FAILED]) == errno.EIO
    assert int(bench.ring.cells[JOURNAL_DURABLE]) == bench.journal.durable == 0 and disk.syncs == 3
    assert through(disk.after_power_cut) == 0


@pytest.mark.parametrize("full_after", [0, 1, 700, 1024, 1500, 2048, 2100])
def test_a_full_disk_ends_the_journal_and_everything_before_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_after: int
) -> None:
    bench, pwrite, left = Bench(tmp_path / "journal", segment_bytes=1024), os.pwrite, [full_after]

    def limited(handle: int, data: memoryview, at: int) -> int:
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = pwrite(handle, data[: left[0]], at)
        left[0] -= written
        return written

    monkeypatch.setattr(os, "pwrite", limited)
    publish(bench.ring, 0, 60)
    with pytest.raises(OSError, match="No space"):
        bench.run()
    assert int(bench.ring.cells[JOURNAL_FAILED]) == errno.ENOSPC
    found = journaled(bench.folder)
    assert (found == records(0, len(found))).all()
    assert int(bench.ring.cells[JOURNAL_DURABLE]) <= through(bench.folder) == len(found)
    assert full_after < 2048 or len(segment.segments(bench.folder)) > 1


def test_a_folder_that_holds_a_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal")
    publish(bench.ring, 0, 3)
    bench.run()
    before = {path.name: path.read_bytes() for path in bench.folder.iterdir()}
    with pytest.raises(JournalError, match="holds a journal already"):
        journals.Journal(bench.folder, segment_bytes=4096)
    with pytest.raises(JournalError, match="holds a journal already"):
        taps.Tap(config.load(None), bench.folder)
    assert {path.name: path.read_bytes() for path in bench.folder.iterdir()} == before


# ---- the process


class Process:
    """The journal's process, and the engine's end of its ring."""

    def __init__(self, folder: Path, ring_records: int = 1024) -> None:
        keys = {"journal.ring_records": ring_records, "journal.batch_record_max": 64, "journal.segment_bytes": 1 << 20}
        self.folder, self.tap = folder, taps.Tap(config.load(None, keys), folder)
        self.tap.start(ABOUT)
        assert self.tap._process is not None
        self.child = self.tap._process
        until(lambda: self.child.poll() is not None or self.began(), "the journal began")
        assert self.child.poll() is None

    def began(self) -> bool:
        return (self.folder / "segment-000000.ulj").exists() and bool(list(segment.read(self.folder)))

    def stop(self) -> None:
        """Returns when it stands still."""
        self.child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.child.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        self.child.send_signal(signal.SIGCONT)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path / "journal")
    yield made
    made.go_on()
    made.tap.abandon()


@pytest.mark.jit_only
def test_what_is_called_durable_can_be_read_at_any_moment(process: Process) -> None:
    sent = 0
    for burst in (1, 700, 3000, 6000, 9300):
        publish(process.tap.ring, sent, burst)
        sent += burst
        process.stop()
        durable = process.tap.durable
        found = journaled(process.folder)
        assert (found == records(0, len(found))).all()
        assert durable <= len(found) <= sent
        process.go_on()
    until(lambda: process.tap.durable == sent, "everything is durable")
    process.tap.close()
    assert_holds(process.folder, sent)
    assert process.child.returncode == 0 and len(segment.segments(process.folder)) == 2


@pytest.mark.jit_only
@pytest.mark.parametrize("way", ["the engine is gone", "the engine closes"])
def test_what_is_in_the_ring_is_written_when(process: Process, way: str) -> None:
    publish(process.tap.ring, 0, 10)
    until(lambda: process.tap.durable == 10, "the first are durable")
    process.stop()
    publish(process.tap.ring, 10, 1000)
    process.tap.ring.cells[JOURNAL_PROCESSED] = 1234
    if way == "the engine is gone":
        process.tap._pipe.close()
    process.go_on()
    process.tap.abandon() if way == "the engine is gone" else process.tap.close()
    assert process.child.returncode == 0
    assert_holds(process.folder, 1010)
    assert process.tap.durable == through(process.folder) == 1234


@pytest.mark.jit_only
def test_signals_of_a_terminal_or_a_service_manager_do_not_end_it(process: Process) -> None:
    publish(process.tap.ring, 0, 10)
    until(lambda: process.tap.durable == 10, "it serves")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.child.send_signal(number)
    publish(process.tap.ring, 10, 3000)
    process.tap.close()
    assert process.child.returncode == 0
    assert_holds(process.folder, 3010)


@pytest.mark.jit_only
def test_a_journal_without_room_says_so_and_keeps_what_it_called_durable(
    capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    process: Process = request.getfixturevalue("process")  # its stderr is the one that is captured by now
    publish(process.tap.ring, 0, 500)
    until(lambda: process.tap.durable == 500, "the first are durable")
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    publish(process.tap.ring, 500, 1500)  # no more than the ring holds beyond those that still fit
    until(lambda: process.child.poll() is not None, "the journal gave up")
    with pytest.raises(JournalError, match=os.strerror(errno.EFBIG)) as caught:
        process.tap.close()
    durable = process.tap.durable
    assert int(process.tap.ring.cells[JOURNAL_FAILED]) == errno.EFBIG and process.child.returncode == 4
    assert f"on disk up to input {durable}" in str(caught.value)
    assert capfd.readouterr().err.count("nothing more is written") == 1
    found = journaled(process.folder)
    assert (found == records(0, len(found))).all() and 500 <= durable <= len(found) < 2000


@pytest.mark.jit_only
def test_a_journal_that_is_killed_or_can_not_begin_is_noticed(process: Process, tmp_path: Path) -> None:
    process.child.kill()
    until(lambda: process.child.poll() is not None, "it is gone")
    process.tap.restarts = config.load(None).journal.restart_max
    with pytest.raises(JournalError, match="its process ended with code -9"):
        process.tap.check()
    (tmp_path / "file").touch()
    tap = taps.Tap(config.load(None), tmp_path / "file")
    tap.start(ABOUT)
    with pytest.raises(JournalError, match=os.strerror(errno.EEXIST)):
        tap.close()
