"""A journal read while it is written: each frame once, as soon as it is whole.

A frame that does not check may be half written, so it is looked at again; it is damage only when somebody says that it
was durable (`segment.proof`), or the next segment has begun. The writer that dies and comes back writes over what was
torn, so a place once reached stays good. Segments may be packed, or retired, while we are at it: a packed one is read
from memory, and one that was retired before its turn is refused. What was read is not yet on disk: `sync` makes it so.
Known bad case: damage in the last frames looks like a writer that pauses, until a superblock or what follows proves it.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from . import segment
from .disk import Folder

UNKNOWN: Final = -1


def since(folder: Path, sequence: int) -> "Tail":
    """From the segment on that every record from `sequence` on lies in, or behind: what is before it is not read."""
    for index, _ in reversed(segment.segment_names(folder, Folder(folder))):
        head = segment.beginning(folder, index)
        begun = segment.first_index(head) >= 0 and segment.good_head(head, index)
        if begun and segment.read_head(head, str(folder), index).first <= sequence:
            return Tail(folder, index)
    return Tail(folder)


class Tail:
    """One journal, from one of its segments on; from 0 on it begins with what describes the run."""

    def __init__(self, folder: Path, number: int = 0) -> None:
        self._folder, self._disk = folder, Folder(folder)
        self._file = -1
        self._packed: bytes | None = None  # the segment, where it has no plain file
        self._name = ""
        self._number, self._at = number, 0
        self._frames = max(0, segment.first_index(segment.beginning(folder, number))) if number else 0
        self._through, self._chain = 0, UNKNOWN if number else 0
        self._old = False
        self.journal_id = b""

    def poll(self) -> segment.Frame | None:
        """The next frame, None when there is none for now. JournalError when it is damaged, or was retired."""
        if not self._is_open and not self._open():
            return self._behind_retired()
        found = self._frame()
        if found is None and segment.beginning(self._folder, self._number + 1):
            found = self._frame()  # the writer may have put it there between our two looks, before it went on
            if found is None:
                return self.poll() if self._leave() else None
        if found is None:
            self._look_if_removed()
            return None
        self._frames += 1
        self._through = max(self._through, found.through)
        self._chain = segment.link(self._bytes(segment.HEADER_BYTES, self._at), self._chain)
        self._at += segment.HEADER_BYTES + segment.padded(len(found.payload))
        return found

    def frames(self) -> Iterator[segment.Frame]:
        """What there is for now; called again, it goes on."""
        while (found := self.poll()) is not None:
            yield found

    def check(self) -> None:
        """JournalError when what is waited for is damaged: somebody says that it was durable."""
        commit = segment.witness(self._disk)  # before the look: what it says is durable is then there
        if self._is_open or self._open():
            if commit is None and not self._old:
                raise segment.JournalError(f"{self._folder} has no superblock: `ultra journal repair` makes it new")
            if self._frame() is not None:
                return
            rest = self._bytes(self._size() - self._at, self._at)
            if self._frame() is None and (why := segment.proof(commit, self._frames, self._through, rest, 0, True)):
                raise self._damaged(why)
            return
        path = segment.segment_path(self._folder, self._number)
        data = path.read_bytes() if path.exists() else b""
        if segment.good_head(data, self._number):
            return  # by now it has begun
        if why := segment.proof(commit, self._frames, self._through, data, 0, True):
            raise segment.damaged(str(path), 0, self._frames, self._through, why)
        if any(data[segment.HEADER_BYTES :]) and not segment.synced(commit):
            segment.read_head(data, str(path), self._number)

    def sync(self) -> None:
        """Make durable what was read."""
        if self._file >= 0:
            os.fdatasync(self._file)

    def write_again(self) -> None:
        """Make durable what was read, though a sync of its writer failed: by writing it once more. Nobody else may be
        writing."""
        if self._file < 0:
            return
        file, data, at = os.open(self._folder / self._name, os.O_RDWR | os.O_CLOEXEC), self._bytes(self._at, 0), 0
        try:
            while at < len(data):
                written = os.pwrite(file, data[at:], at)  # on a line of its own: in a sum, mypyc calls it twice
                at += written
            os.fdatasync(file)
        finally:
            os.close(file)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._packed = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def rest(self) -> Iterator[segment.Frame]:
        """What there is for now, and no more. JournalError when it ends in damage."""
        try:
            yield from self.frames()
            self.check()
        finally:
            self.close()

    @property
    def _is_open(self) -> bool:
        return self._file >= 0 or self._packed is not None

    def _open(self) -> bool:
        path = segment.segment_path(self._folder, self._number)
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            path = path.with_name(path.name + segment.PACKED)
            if not path.exists():
                return False
            self._packed = segment.unpacked(path.read_bytes(), str(path))
        data = self._bytes(segment.HEADER_BYTES, 0)
        try:
            head = segment.read_head(data, str(path), self._number)
        except segment.JournalError:
            self.close()  # begun, and no more yet; or `check` says what it is
            return False
        self._name, self._old = path.name, head.version == segment.OLD
        if self.journal_id and head.journal_id != self.journal_id and self._frames:
            raise segment.JournalError(f"{path} belongs to another journal")
        if not self._old and self._chain not in (UNKNOWN, head.chain):
            raise segment.damaged(str(path), 0, self._frames, self._through, "it follows on other frames")
        self.journal_id, self._chain, self._at = head.journal_id, segment.link(data, 0), segment.HEADER_BYTES
        return True

    def _behind_retired(self) -> segment.Frame | None:
        """The frame that stands for all that were retired, when we are at the beginning; then go on behind them."""
        gone = segment.retired(self._disk)
        if gone is None or gone.head.number <= self._number or segment.beginning(self._folder, self._number):
            return None
        if self._frames:
            raise self._lost(self._number)
        self.journal_id, self._chain, self._number = gone.head.journal_id, gone.head.chain, gone.head.number
        self._frames, self._through = gone.frames, gone.frame.through
        return gone.frame

    def _bytes(self, size: int, at: int) -> bytes:
        return self._packed[at : at + size] if self._packed is not None else os.pread(self._file, size, at)

    def _size(self) -> int:
        return len(self._packed) if self._packed is not None else os.fstat(self._file).st_size

    def _frame(self) -> segment.Frame | None:
        head = self._bytes(segment.HEADER_BYTES, self._at)
        header = segment.header_at(head, 0, self._frames)
        if header is None:
            return None
        payload = self._bytes(segment.padded(header[5]), self._at + segment.HEADER_BYTES)
        found = segment.frame_at(head + payload, 0, self._frames, self._name)
        if found is None or len(payload) < segment.padded(header[5]):
            return None
        return dataclasses.replace(found, offset=self._at)

    def _leave(self) -> bool:
        """Go on to the next segment; False when that one has not begun. It was cut behind its last frame."""
        if segment.first_index(segment.beginning(self._folder, self._number + 1)) < 0:
            return False
        if self._size() != self._at:
            raise self._damaged(f"{segment.segment_name(self._number + 1)} follows")
        self.sync()
        self.close()
        self._number += 1
        return True

    def _look_if_removed(self) -> None:
        """The file is no longer under its name: its writer died before his first frame, and the next one began it anew;
        or it was packed, or retired."""
        if self._file >= 0 and os.fstat(self._file).st_nlink > 0:
            return
        gone = segment.retired(self._disk)
        if gone is not None and gone.head.number > self._number + 1:
            raise self._lost(self._number + 1)
        if self._file >= 0 and self._at == segment.HEADER_BYTES:
            self._chain = UNKNOWN
            self.close()

    def _lost(self, number: int) -> segment.JournalError:
        name = segment.segment_name(number)
        return segment.JournalError(f"{self._folder}: {name} was retired before it was read: begin at a snapshot")

    def _damaged(self, why: str) -> segment.JournalError:
        where = str(self._folder / self._name)
        return segment.damaged(where, self._at, self._frames, self._through, why)
