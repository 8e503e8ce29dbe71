"""The journal: a process beside the engine that takes numbered inputs from a shared ring and makes them durable.

The engine stores into memory only. This process writes what has come since the last time with one pwrite, then one
fdatasync, then says so (`durable`), and begins again: records group themselves by the length of a sync. Slots are given
back after the write, since a written page outlives the engine. When the engine dies, killed or not, its end of the
pipe closes; the ring outlives it in our mapping, so everything it published is still written.

Invariant: `durable` never says more than a successful sync covered. A write or sync that fails ends the journal with
its errno in the ring; it is never tried again (PostgreSQL's lesson of 2018).
Known bad case: records published between a power cut and their sync are lost; that is what level `local` is for.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import secrets
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..wire import (
    JOURNAL_CLOSE,
    JOURNAL_DURABLE,
    JOURNAL_FAILED,
    JOURNAL_PROCESSED,
    RECORD,
    RING_CELLS,
    RING_CURSOR,
    RING_GATE,
)
from . import segment, shared
from .native import Bell, Cells, crc32c

if TYPE_CHECKING:
    from typing_extensions import Buffer

ZERO_AHEAD_BYTES: Final = 4 << 20
IDLE_NS: Final = 500_000
WRITER_S: Final = 30.0  # in which one whose engine is dead must have written all and ended


class Journal:
    """Appends frames to the segments of a folder."""

    def __init__(self, folder: Path, *, segment_bytes: int, sync: bool = True, resume: bool = False) -> None:
        """A new journal in this folder, or with `resume` the one there, whose writer died, behind its last whole frame.

        JournalError when there is one and it is not to be resumed, or when it is damaged."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._file = -1
        self._at = 0
        self._zeroed = 0
        self.durable = 0
        end = self._left() if resume else None
        if end is None:
            segment.refuse_used(folder)
            new = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            for path in new:
                segment.sync_folder(path.parent)  # else a power cut could take the folder, and all in it
            end = segment.End(secrets.token_bytes(16), 0, 0, 0, 0, 0)
        self._id, self._segment_index, self._frame_index = end.journal_id, end.segment_index, end.frames
        self.through = end.through
        self.written = end.written  # records below this sequence are here already, whatever the ring still holds
        if end.frames:
            self._reopen(end.at)
        else:
            self._open(0)

    def _left(self) -> segment.End | None:
        """Where a dead writer stopped; None, and nothing is left of him, when he wrote no frame."""
        end = segment.end_of(self._folder)
        for index, path in enumerate(segment.segments(self._folder) if segment.is_used(self._folder) else ()):
            if end is None or index > end.segment_index:
                path.unlink()  # begun, and without a frame
        return end

    def _reopen(self, at: int) -> None:
        """Cut what is torn, and make durable what he wrote and did not sync."""
        path = segment.segment_path(self._folder, self._segment_index)
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(self._file, at)
        self._at = self._zeroed = at
        segment.sync_folder(self._folder)
        self.sync()

    def append(self, kind: int, first: int, count: int, through: int, payload: bytes | memoryview) -> None:
        """Write one frame (not yet durable). OSError when the file system refuses."""
        size = len(payload)
        room = segment.HEADER_BYTES + segment.padded(size)
        if self._at + room > self._segment_bytes and self._at > segment.HEADER_BYTES:
            self._seal()
            self._segment_index += 1
            self._open(first)
        self._zero_ahead(self._at + room)
        header = segment.frame_header(
            kind, first, count, through, self.durable, self._frame_index, size, crc32c(payload)
        )
        self._write(header, payload)
        self._at += room
        self._frame_index += 1
        self.through = max(self.through, through)

    def sync(self) -> None:
        """Make everything appended durable."""
        if self._sync:  # without it nothing is ever called durable
            os.fdatasync(self._file)
            self.durable = self.through

    def close(self) -> None:
        """Cut the zeros written ahead, sync and close."""
        self._seal()

    def _open(self, first: int) -> None:
        path = segment.segment_path(self._folder, self._segment_index)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self._at, self._zeroed = 0, 0
        self._zero_ahead(segment.HEADER_BYTES)
        self._write(segment.segment_header(self._segment_index, first, self._id), b"")
        self._at = segment.HEADER_BYTES
        segment.sync_folder(self._folder)

    def _seal(self) -> None:
        os.ftruncate(self._file, self._at)
        self.sync()
        os.close(self._file)

    def _zero_ahead(self, needed: int) -> None:
        """Keep zeros in front of the writer: overwriting them needs no change of the file's own tables."""
        while self._zeroed < needed + ZERO_AHEAD_BYTES // 2 and self._zeroed < max(needed, self._segment_bytes):
            step = min(ZERO_AHEAD_BYTES, max(needed, self._segment_bytes) - self._zeroed)
            self._write_at(bytes(step), self._zeroed)
            self._zeroed += step

    def _write(self, header: bytes, payload: bytes | memoryview) -> None:
        self._write_at(header, self._at)
        if len(payload):
            self._write_at(payload, self._at + len(header))

    def _write_at(self, data: bytes | memoryview, at: int) -> None:
        view = memoryview(data)
        while len(view):
            written = os.pwrite(self._file, view, at)
            view = view[written:]
            at += written


class Tap:
    """The journal's side of the ring that it shares with the engine."""

    def __init__(self, memory: Buffer, capacity: int) -> None:
        self.cells = Cells(memoryview(memory)[: RING_CELLS * 8])
        self._slots = memoryview(memory)[RING_CELLS * 8 :]
        self._capacity = capacity

    def fail(self, error: OSError) -> None:
        """Tell the engine that nothing more is written, and why."""
        self.cells.store_release(JOURNAL_FAILED, error.errno or 5)

    def behind(self, journal: Journal) -> bool:
        """Whether there is something to write."""
        load = self.cells.load_acquire
        return load(RING_CURSOR) > load(RING_GATE) or load(JOURNAL_PROCESSED) > journal.through

    def move(self, journal: Journal, batch_max: int) -> bool:
        """Write what has come as frames; False when nothing had. Slots are given back once written."""
        # First how far the engine is, then its records: whatever it counts as processed is then in the ring.
        processed = self.cells.load_acquire(JOURNAL_PROCESSED)
        cursor = self.cells.load_acquire(RING_CURSOR)
        gate = self.cells.load_acquire(RING_GATE)
        moved = cursor > gate
        while cursor > gate and _sequence(self._slots, gate % self._capacity) < journal.written:
            gate += 1  # the one before us wrote it, and died before he could give it back
        self.cells.store_release(RING_GATE, gate)
        while cursor > gate:
            slot = gate % self._capacity
            count = min(cursor - gate, batch_max, self._capacity - slot)
            start = slot * segment.RECORD_BYTES
            payload = self._slots[start : start + count * segment.RECORD_BYTES]
            first, last = _sequence(payload, 0), _sequence(payload, count - 1)
            journal.append(segment.RECORDS, first, count, last + 1, payload)
            gate += count
            self.cells.store_release(RING_GATE, gate)
        if processed > journal.through:
            journal.append(segment.MARK, processed, 0, processed, b"")
            moved = True
        return moved


def _sequence(payload: memoryview, index: int) -> int:
    at = index * segment.RECORD_BYTES + 8
    return int.from_bytes(payload[at : at + 8], "little", signed=True)


def run(memory: Buffer, capacity: int, journal: Journal, batch_max: int, meta: dict[str, object], pipe: int) -> None:
    """Serve the ring until the engine says close, or is gone. OSError is told to the engine and raised."""
    tap = Tap(memory, capacity)
    try:
        if journal.through == 0:
            journal.append(segment.META, 0, 0, 0, json.dumps(meta).encode())
        journal.sync()
        if journal.durable > tap.cells.load_acquire(JOURNAL_DURABLE):  # resumed: an engine may be waiting for it
            tap.cells.store_release(JOURNAL_DURABLE, journal.durable)
        alive, bell = True, Bell(tap.cells)

        def waiting() -> bool:
            return tap.behind(journal)

        while True:
            closing = not alive or tap.cells.load_acquire(JOURNAL_CLOSE) != 0
            if tap.move(journal, batch_max):
                journal.sync()
                tap.cells.store_release(JOURNAL_DURABLE, journal.durable)
            elif closing:
                break
            else:
                # Nothing promises to wake us, but an engine whose output is gated does, and then waits for us.
                bell.wait(waiting, IDLE_NS)
            alive = alive and _is_open(pipe)
        journal.close()
    except OSError as error:
        tap.fail(error)
        raise


def _is_open(pipe: int) -> bool:
    """The engine holds the other end while it lives; a message on it is not expected and counts as its end."""
    return not select.select([pipe], [], [], 0)[0]


def sole_writer(folder: Path) -> int:
    """Wait until no other process writes this journal; a handle that keeps others waiting until it is closed, as it is
    when we die. JournalError when the other one does not end."""
    handle, deadline = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), time.monotonic() + WRITER_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(handle)
                raise segment.JournalError(f"{folder}: another process has written it for {WRITER_S:.0f} s") from None
            time.sleep(0.002)


def main(arguments: list[str] | None = None) -> int:
    """The process: started by the engine with the ring as an inherited file and the run's description on stdin."""
    parser = argparse.ArgumentParser(prog="ultra-journal")  # mypyc keeps no __doc__
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--ring-file", type=int, required=True)
    parser.add_argument("--segment-bytes", type=int, required=True)
    parser.add_argument("--batch-max", type=int, required=True)
    parser.add_argument("--no-sync", action="store_true")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args(arguments)
    # One line on the pipe is the description of the run; after it, only its end is awaited.
    pipe = sys.stdin.fileno()
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(pipe, 1 << 16)
        if not byte:
            return 4
        line += byte
    try:
        ring = shared.attach_handle(given.ring_file, kind="ring", dtype=RECORD, writable=True)
        capacity = ring.header.capacity
        try:
            size, sync, before = given.segment_bytes, not given.no_sync, given.resume and given.folder.is_dir()
            if before:
                sole_writer(given.folder)  # the one before us may still be at it
            journal = Journal(given.folder, segment_bytes=size, sync=sync, resume=given.resume)
            if not before:
                sole_writer(given.folder)
        except OSError as error:
            Tap(ring.body, capacity).fail(error)
            raise
        run(ring.body, capacity, journal, given.batch_max, json.loads(line), pipe)
    except (OSError, segment.JournalError, shared.SharedError) as error:
        print(f"ultra: journal {given.folder}: {error}; nothing more is written", file=sys.stderr)
        return 4
    return 0


def process() -> int:
    """`main` in a process of its own. Signals of a terminal or a service manager are for the engine: we end when it
    does, and all is written."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return main()
