"""The journal: a process beside the engine that takes numbered inputs from a shared ring and makes them durable.

The engine stores into memory only. This process writes what has come since the last time as frames, then does one
fdatasync, then says so (`durable`), and begins again: records group themselves by the length of a sync. Slots are given
back after the write, since a written page outlives the engine. When the engine dies, killed or not, its end of the
pipe closes; the ring outlives it in our mapping, so everything it published is still written. When nothing comes for a
while it says durably, in a frame and in the superblock, that all of it is durable (`settle`). It reaches files only by
`disk.Disk`, so tests run it on a simulated one (tests/test_journal_sim.py).

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
from . import labels, segment, shared, superblock
from .disk import Disk, Folder
from .native import Bell, Cells, crc32c

if TYPE_CHECKING:
    from typing_extensions import Buffer

ZERO_AHEAD_BYTES: Final = 1 << 19
PREPARE_AT: Final = 4  # the next segment is made once this one is a quarter full
IDLE_NS: Final = 500_000
WRITER_S: Final = 30.0  # in which one whose engine is dead must have written all and ended
SETTLE_AFTER: Final = 32  # looks that found nothing


class Journal:
    """Appends frames to the segments of a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int,
        sync: bool = True,
        resume: bool = False,
        code: bytes = bytes(8),
        disk: Disk | None = None,
        identity: bytes = b"",
    ) -> None:
        """A new journal in this folder, or with `resume` the one there, whose writer died, behind its last whole frame.

        `code` says which version of the code writes; `identity` (16 bytes) that a new one is a copy of another, and
        goes by its name. JournalError when there is one and it is not to be resumed, or when it is damaged."""
        self._disk: Disk = Folder(folder) if disk is None else disk
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._code = code
        self._file = self._block = -1
        self._at = self._zeroed = self._chain = 0
        self._marked = 0  # frames, when the last MARK said that all of them are durable
        self.durable = 0
        self.unprepared = 0  # segments that had to be made while somebody waited
        end = self._left(folder) if resume else None
        if end is None:
            if not resume:
                segment.refuse_used(folder, self._disk)
            self._disk.make()
            end = segment.End(identity or secrets.token_bytes(16), 0, 0, 0, 0, 0, 0, 1)
        self._id, self._segment_index, self._frame_index = end.journal_id, end.segment_index, end.frames
        self.through = end.through
        self.written = end.written  # records below this sequence are here already, whatever the ring still holds
        self._generation = end.generation + 1
        self._durable_frames = 0
        if end.frames and end.at == segment.SEALED:
            self._succeed(end.chain)
        elif end.frames:
            self._reopen(end.at, end.chain)
        else:
            self._begin()

    def _left(self, folder: Path) -> segment.End | None:
        """Where a dead writer stopped; None, and nothing is left of him, when he wrote no frame."""
        if not any(name.startswith("segment-") for name in self._disk.names()):
            return None
        end = segment.end_of(folder, self._disk)
        if superblock.NAME not in self._disk.names():
            raise segment.JournalError(f"{folder} has format {segment.OLD}: it is read, but nothing is added to it")
        for index, name in segment.segment_names(folder, self._disk):
            if end is None or index > end.segment_index:
                self._disk.unlink(name)  # begun, and without a frame
        self._disk.abandon()
        self._disk.sync_names()  # else it could come back behind what is now written
        return end

    def _begin(self) -> None:
        """Superblock first: who finds a segment finds both its blocks good."""
        if superblock.NAME in self._disk.names():
            self._disk.unlink(superblock.NAME)
        self._block = self._disk.create(superblock.NAME)
        for generation in (0, 1):
            self._note(superblock.OPEN, generation)
        if self._sync:
            self._disk.fdatasync(self._block)
        self._disk.sync_names()
        labels.at("journal.begin.mid")
        self._open(0)

    def _reopen(self, at: int, chain: int) -> None:
        """Cut what is torn, and make durable what he wrote and did not sync.

        It is written again: if it was a sync of his that failed, the kernel holds it and calls it clean."""
        name = segment.segment_name(self._segment_index)
        self._file = self._disk.open(name)
        labels.at("journal.resume.before")
        self._disk.truncate(self._file, at)
        labels.at("journal.resume.mid")
        self._write_at(self._file, self._disk.read(name), 0)
        self._at = self._zeroed = at
        self._chain = chain
        self._block = self._disk.open(superblock.NAME)
        self._write_at(self._block, self._disk.read(superblock.NAME), 0)
        if self._sync:
            self._disk.fdatasync(self._block)  # the next one written is the other
        self.sync()
        self._keep_block()
        labels.at("journal.resume.after")

    def _succeed(self, chain: int) -> None:
        """Nothing is left of the segment that he wrote, and the one before it is packed or retired: begin the next."""
        self._block = self._disk.open(superblock.NAME)
        self._write_at(self._block, self._disk.read(superblock.NAME), 0)
        if self._sync:
            self._disk.fdatasync(self._block)
        self._segment_index += 1
        self._chain = chain
        self._open(self.through)
        self.sync()
        self._keep_block()

    def append(self, kind: int, first: int, count: int, through: int, payload: bytes | memoryview) -> None:
        """Write one frame (not yet durable). OSError when the file system refuses."""
        labels.at("journal.append.before")
        size = len(payload)
        room = segment.HEADER_BYTES + segment.padded(size)
        if self._at + room > self._segment_bytes and self._at > segment.HEADER_BYTES:
            labels.at("journal.roll.before")
            self._seal()
            labels.at("journal.roll.mid")
            self._segment_index += 1
            self._open(first)
            labels.at("journal.roll.after")
        self._zero_ahead(self._at + room)
        header = segment.frame_header(
            kind, first, count, through, self.durable, self._frame_index, size, crc32c(payload)
        )
        self._write(header, payload)
        self._at += room
        self._chain = segment.link(header, self._chain)
        self._frame_index += 1
        self.through = max(self.through, through)
        labels.at("journal.append.after")

    def sync(self) -> None:
        """Make everything appended durable."""
        labels.at("journal.sync.before")
        if self._sync:  # without it nothing is ever called durable
            self._disk.fdatasync(self._file)
            labels.at("journal.sync.after")
            self.durable = self.through
            self._durable_frames = self._frame_index
            self._note(superblock.OPEN, self._generation)

    def settle(self) -> None:
        """Nothing comes for a while: say durably, twice, that all of it is durable. Nothing when that was said."""
        if not self._sync or self._marked == self._frame_index:
            return
        labels.at("journal.settle.before")
        if self._durable_frames != self._frame_index:
            self.sync()
        self.append(segment.MARK, self.through, 0, self.through, b"")
        self.sync()
        self._marked = self._frame_index
        self._keep_block()
        labels.at("journal.settle.after")

    def close(self) -> None:
        """Cut the zeros written ahead, sync and close. Whatever is damaged from now on is told from a torn tail."""
        labels.at("journal.close.before")
        self.settle()
        self._disk.abandon()
        self._seal()
        self._durable_frames = self._frame_index
        self._note(superblock.CLOSED, self._generation)
        self._keep_block()
        self._disk.close(self._block)
        labels.at("journal.close.after")

    def _note(self, state: int, generation: int) -> None:
        """Write a superblock (not yet durable)."""
        index, through = self._segment_index, self.durable if self._sync else self.through
        state |= 0 if self._sync else superblock.UNSYNCED
        commit = superblock.Commit(self._id, generation, index, self._durable_frames, through, state)
        block, at = superblock.encode(commit), superblock.offset(generation)
        labels.at("journal.block.before")
        if labels.is_due("journal.block.mid"):
            self._write_half(self._block, block, at)
        self._write_at(self._block, block, at)
        labels.at("journal.block.after")

    def _keep_block(self) -> None:
        """Make the superblock durable; from now on the other block is the one written."""
        if self._sync:
            self._disk.fdatasync(self._block)
            labels.at("journal.block.kept")
            self._generation += 1

    def _open(self, first: int) -> None:
        name = segment.segment_name(self._segment_index)
        self._file = self._disk.take(name)
        self._zeroed = self._segment_bytes
        if self._file < 0:
            self._file, self._zeroed = self._disk.create(name), 0
            self.unprepared += 1
        self._at = 0
        self._zero_ahead(segment.HEADER_BYTES)
        header = segment.segment_header(self._segment_index, first, self._id, self._code, self._chain)
        self._write(header, b"")
        self._chain = segment.link(header, 0)
        self._at = segment.HEADER_BYTES
        self._disk.sync_names()

    def _seal(self) -> None:
        self._disk.truncate(self._file, self._at)
        self.sync()
        self._disk.close(self._file)

    def _zero_ahead(self, needed: int) -> None:
        """Keep zeros in front of the writer: overwriting them needs no change of the file's own tables."""
        while self._zeroed < needed + ZERO_AHEAD_BYTES // 2 and self._zeroed < max(needed, self._segment_bytes):
            step = min(ZERO_AHEAD_BYTES, max(needed, self._segment_bytes) - self._zeroed)
            self._write_at(self._file, bytes(step), self._zeroed)
            self._zeroed += step
        if needed > self._segment_bytes // PREPARE_AT:
            self._disk.prepare(self._segment_bytes)

    def _write(self, header: bytes, payload: bytes | memoryview) -> None:
        self._write_at(self._file, header, self._at)
        if len(payload):
            labels.at("journal.append.mid")
            self._write_at(self._file, payload, self._at + len(header))

    def _write_at(self, handle: int, data: bytes | memoryview, at: int) -> None:
        if labels.is_due("journal.pwrite.mid"):
            self._write_half(handle, data, at)
        written = self._disk.pwrite(handle, data, at)
        if written < len(data):
            view = memoryview(data)
            while written < len(view):
                written += self._disk.pwrite(handle, view[written:], at + written)

    def _write_half(self, handle: int, data: bytes | memoryview, at: int) -> None:
        self._disk.pwrite(handle, data[: len(data) // 2], at)
        labels.die()


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


def turn(tap: Tap, journal: Journal, batch_max: int) -> bool:
    """Write what has come, sync it, say so; False when nothing had."""
    if not tap.move(journal, batch_max):
        return False
    journal.sync()
    labels.at("journal.mark.before")
    tap.cells.store_release(JOURNAL_DURABLE, journal.durable)
    labels.at("journal.mark.after")
    return True


def begin(tap: Tap, journal: Journal, meta: dict[str, object]) -> None:
    """The first frame of a new journal; of one that was resumed, what is durable: an engine may be waiting for it."""
    if journal.through == 0:
        journal.append(segment.META, 0, 0, 0, json.dumps(meta).encode())
    journal.sync()
    if journal.durable > tap.cells.load_acquire(JOURNAL_DURABLE):
        tap.cells.store_release(JOURNAL_DURABLE, journal.durable)


def run(memory: Buffer, capacity: int, journal: Journal, batch_max: int, meta: dict[str, object], pipe: int) -> None:
    """Serve the ring until the engine says close, or is gone. OSError is told to the engine and raised."""
    tap = Tap(memory, capacity)
    try:
        begin(tap, journal, meta)
        alive, bell, looks = True, Bell(tap.cells), 0

        def waiting() -> bool:
            return tap.behind(journal)

        while True:
            closing = not alive or tap.cells.load_acquire(JOURNAL_CLOSE) != 0
            if turn(tap, journal, batch_max):
                looks = 0
            elif closing:
                break
            # Nothing promises to wake us, but an engine whose output is gated does, and then waits for us.
            elif not bell.wait(waiting, IDLE_NS):
                looks += 1
                if looks == SETTLE_AFTER:
                    journal.settle()
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
    deadline = time.monotonic() + WRITER_S
    while (handle := only_writer(folder)) < 0:
        if time.monotonic() > deadline:
            raise segment.JournalError(f"{folder}: another process has written it for {WRITER_S:.0f} s")
        time.sleep(0.002)
    return handle


def only_writer(folder: Path) -> int:
    """A handle as that of `sole_writer`, -1 when another process writes this journal."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return -1
    return handle


def main(arguments: list[str] | None = None) -> int:
    """The process: started by the engine with the ring as an inherited file and the run's description on stdin."""
    parser = argparse.ArgumentParser(prog="ultra-journal")  # mypyc keeps no __doc__
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--ring-file", type=int, required=True)
    parser.add_argument("--segment-bytes", type=int, required=True)
    parser.add_argument("--batch-max", type=int, required=True)
    parser.add_argument("--no-sync", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--code", type=bytes.fromhex, default=bytes(8))
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
            journal = Journal(given.folder, segment_bytes=size, sync=sync, resume=given.resume, code=given.code)
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
