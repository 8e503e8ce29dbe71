"""A journal read while it is written: each frame once, as soon as it is whole.

A frame that does not check may be half written, so it is looked at again; it is damage only when something stands
behind it: a good frame, or the next segment. The writer that dies and comes back writes over what was torn, so a place
once reached stays good. What was read is not yet on disk: `sync` makes it so, whatever the writer does.
Known bad case: damage in the last frames looks like a writer that pauses, for as long as nothing comes behind it.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from . import segment


def since(folder: Path, sequence: int) -> "Tail":
    """From the segment on that every record from `sequence` on lies in, or behind: what is before it is not read."""
    number = 0
    for index, path in enumerate(segment.segments(folder)):
        with path.open("rb") as file:
            head = file.read(segment.HEADER_BYTES)
        begun = len(head) == segment.HEADER_BYTES and any(head) and segment._first_index(path) >= 0
        if begun and int(segment.SEGMENT.unpack(head)[3]) <= sequence:
            number = index
    return Tail(folder, number)


class Tail:
    """One journal, from one of its segments on."""

    def __init__(self, folder: Path, number: int = 0) -> None:
        self._folder = folder
        self._file = -1
        self._number, self._at = number, 0
        self._frames = max(0, segment._first_index(segment.segment_path(folder, number))) if number else 0

    def poll(self) -> segment.Frame | None:
        """The next frame, None when there is none for now. JournalError when it is damaged."""
        if self._file < 0 and not self._open():
            return None
        found = self._frame()
        if found is None and segment.segment_path(self._folder, self._number + 1).exists():
            found = self._frame()  # the writer may have put it there between our two looks, before it went on
            if found is None:
                return self.poll() if self._leave() else None
        if found is not None:
            self._frames += 1
            self._at += segment.HEADER_BYTES + segment.padded(len(found.payload))
        return found

    def check(self) -> None:
        """JournalError when what is waited for is damaged: something stands behind it."""
        if self._file < 0:
            path = segment.segment_path(self._folder, self._number)
            data = path.read_bytes() if path.exists() else b""
            if any(data[segment.HEADER_BYTES :]):
                segment._check_segment(path, data, self._number)
        elif self._frame() is None:
            rest = os.pread(self._file, os.fstat(self._file).st_size - self._at, self._at)
            if self._frame() is None and segment._later_frame(rest, 0, self._frames) >= 0:
                raise self._damaged("a good frame follows")

    def sync(self) -> None:
        """Make durable what was read."""
        if self._file >= 0:
            os.fdatasync(self._file)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def rest(self) -> Iterator[segment.Frame]:
        """What there is for now, and no more. JournalError when it ends in damage."""
        try:
            while (found := self.poll()) is not None:
                yield found
            self.check()
        finally:
            self.close()

    def _open(self) -> bool:
        path = segment.segment_path(self._folder, self._number)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            segment._check_segment(path, os.pread(file, segment.HEADER_BYTES, 0), self._number)
        except segment.JournalError:
            os.close(file)  # begun, and no more yet; or `check` says what it is
            return False
        self._file, self._at = file, segment.HEADER_BYTES
        return True

    def _frame(self) -> segment.Frame | None:
        head = os.pread(self._file, segment.HEADER_BYTES, self._at)
        header = segment._header_at(head, 0, self._frames)
        if header is None:
            return None
        payload = os.pread(self._file, segment.padded(header[5]), self._at + segment.HEADER_BYTES)
        name = segment.segment_path(self._folder, self._number).name
        found = segment._frame_at(head + payload, 0, self._frames, name)
        if found is None or len(payload) < segment.padded(header[5]):
            return None
        return dataclasses.replace(found, offset=self._at)

    def _leave(self) -> bool:
        """Go on to the next segment; False when that one has not begun. It was cut behind its last frame."""
        after = segment.segment_path(self._folder, self._number + 1)
        if segment._first_index(after) < 0:
            return False
        if os.fstat(self._file).st_size != self._at:
            raise self._damaged(f"{after.name} follows")
        self.sync()
        self.close()
        self._number += 1
        return True

    def _damaged(self, why: str) -> segment.JournalError:
        path = segment.segment_path(self._folder, self._number)
        return segment.JournalError(
            f"{path} is damaged at offset {self._at} (frame {self._frames}): {why}. Restore the file from a copy."
        )
