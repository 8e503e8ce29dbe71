"""The journal's files: segments of frames, every frame with its own checksum. The format, and nothing else.

    segment   SEGMENT header (64 B), then frames back to back, then zeros (written ahead, so that a sync need not
              change the file system's own tables)
    frame     FRAME header (64 B), then a payload padded with zeros to a multiple of 64 B

A frame says up to which sequence all inputs are known once it is read (`through`), so that a run whose market data
is only referred to can be rebuilt to the last input that was taken. A reader stops at the first frame that does not
check; if a whole frame of the same journal follows, it was not a torn tail but damage, and reading refuses.
Known bad case: damage in the very last frames looks like a torn tail.
"""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from .native import crc32c

MAGIC: Final = b"ULTRAJNL"
VERSION: Final = 1
SEGMENT: Final = struct.Struct("<8sIIq16s16sI4x")  # magic, version, index, first sequence, journal id, unused, crc
FRAME: Final = struct.Struct("<4sIqqqqIIq8x")  # magic, kind, first, count, through, durable, bytes, payload crc, index
FRAME_MAGIC: Final = b"FRAM"
HEADER_BYTES: Final = 64
RECORD_BYTES: Final = 64
META: Final = 1  # payload: JSON about the run
RECORDS: Final = 2  # payload: records of ultra.wire
MARK: Final = 3  # no payload: `through` moved on


class JournalError(Exception):
    """A journal can't be written or read: names the file, the offset and sequence, and what to do."""


@dataclass(frozen=True)
class Frame:
    """One frame as read. `first` and `count` are about its records; `through` about all inputs."""

    kind: int
    first: int
    count: int
    through: int
    durable: int
    payload: bytes
    segment: str
    offset: int

    def meta(self) -> dict[str, object]:
        """The payload of a META frame."""
        found: dict[str, object] = json.loads(self.payload.rstrip(b"\0"))
        return found


def segment_path(folder: Path, index: int) -> Path:
    """File of a segment."""
    return folder / f"segment-{index:06d}.ulj"


def segment_header(index: int, first: int, journal_id: bytes) -> bytes:
    """Header of a segment."""
    body = SEGMENT.pack(MAGIC, VERSION, index, first, journal_id, bytes(16), 0)
    return SEGMENT.pack(MAGIC, VERSION, index, first, journal_id, bytes(16), crc32c(body[:56]))


def frame_header(kind: int, first: int, count: int, through: int, durable: int, index: int, payload_bytes: int,
                 payload_crc: int) -> bytes:  # fmt: skip
    """Header of a frame; the last 8 bytes are its own CRC32C and the magic again."""
    head = FRAME.pack(FRAME_MAGIC, kind, first, count, through, durable, payload_bytes, payload_crc, index)
    return head[:56] + struct.pack("<I4s", crc32c(head[:56]), FRAME_MAGIC)


def padded(size: int) -> int:
    """Bytes that a payload takes in the file."""
    return (size + HEADER_BYTES - 1) // HEADER_BYTES * HEADER_BYTES


def segments(folder: Path) -> list[Path]:
    """The segment files of a journal, in order; JournalError when there are none or one is missing."""
    found = sorted(folder.glob("segment-*.ulj"))
    if not found:
        raise JournalError(f"{folder} holds no journal (no segment-*.ulj file)")
    for index, path in enumerate(found):
        if path != segment_path(folder, index):
            raise JournalError(f"{folder}: {segment_path(folder, index).name} is missing; restore it from a copy")
    return found


def is_used(folder: Path) -> bool:
    """Whether there is a file of a journal."""
    return any(folder.glob("segment-*.ulj"))


def refuse_used(folder: Path) -> None:
    """JournalError when the folder holds a journal: one is never written over, nor continued by another run."""
    if is_used(folder):
        raise JournalError(f"{folder} holds a journal already: choose another folder, or move it away")


def read(folder: Path) -> Iterator[Frame]:
    """Every good frame of a journal in order. Stops at a torn tail; JournalError on damage."""
    expected_id: bytes | None = None
    paths = segments(folder)
    index = 0
    for number, path in enumerate(paths):
        data = path.read_bytes()
        last = number + 1 == len(paths)
        if last and not any(data[:HEADER_BYTES]) and _later_frame(data, 0, index) < 0:
            break  # the writer ended while it began this file
        journal_id = _check_segment(path, data, number)
        if expected_id is not None and journal_id != expected_id:
            raise JournalError(f"{path} belongs to another journal")
        expected_id = journal_id
        at = HEADER_BYTES
        while True:
            frame = _frame_at(data, at, index, path.name)
            if frame is None:
                break
            yield frame
            index += 1
            at += HEADER_BYTES + padded(len(frame.payload))
        later = _later_frame(data, at, index)
        if later >= 0:
            raise JournalError(
                f"{path} is damaged at offset {at} (frame {index}): a good frame follows at {later}. "
                "This is not a torn tail; restore the file from a copy."
            )
        if not last and (at != len(data) or _first_index(paths[number + 1]) not in (index, -1)):
            raise JournalError(
                f"{path} is damaged or ends early at offset {at} (frame {index}), but {paths[number + 1].name} "
                "follows; restore the file from a copy."
            )


class End(NamedTuple):
    """Where a journal stands that its writer left in the middle."""

    journal_id: bytes
    segment_index: int
    frames: int  # in all segments
    at: int  # behind the last whole frame of the segment
    through: int
    written: int  # every record below this sequence that had to be written is there


def end_of(folder: Path) -> End | None:
    """Where to go on; None when there is no frame yet. JournalError on damage."""
    frames, through, written, last = 0, 0, 0, None
    for last in read(folder) if is_used(folder) else ():
        frames += 1
        through = max(through, last.through)
        if last.kind == RECORDS:
            written = last.through
    if last is None:
        return None
    data = (folder / last.segment).read_bytes()
    index = int(last.segment.removeprefix("segment-").removesuffix(".ulj"))
    at = last.offset + HEADER_BYTES + padded(len(last.payload))
    return End(_check_segment(folder / last.segment, data, index), index, frames, at, through, written)


class Reader:
    """A journal read on while it grows: `frames` gives what has become whole since the last time.

    What is not whole is waited for: that it is damage is found by `read` only."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number, self._index, self._at = folder, 0, 0, 0
        self.journal_id = b""

    def frames(self) -> Iterator[Frame]:
        """The next frames, in order. No file is open while the caller has one: it may never come back for more."""
        while (path := segment_path(self._folder, self._number)).exists():
            if self._at == 0 and not self._begin(path):
                return
            ended = segment_path(self._folder, self._number + 1).exists()  # before the look: none comes after it
            while (frame := self._next(path)) is not None:
                yield frame
            if not ended:
                return
            self._number, self._at = self._number + 1, 0

    def _begin(self, path: Path) -> bool:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        if len(head) < HEADER_BYTES or not any(head):
            return False
        journal_id = _check_segment(path, head, self._number)
        if self.journal_id not in (b"", journal_id):
            raise JournalError(f"{path} belongs to another journal")
        self.journal_id, self._at = journal_id, HEADER_BYTES
        return True

    def _next(self, path: Path) -> Frame | None:
        with path.open("rb", buffering=0) as file:
            file.seek(self._at)
            head = file.read(HEADER_BYTES)
            header = _header_at(head, 0, self._index)
            if header is None:
                return None
            room = padded(header[5])
            frame = _frame_at(head + file.read(room), 0, self._index, path.name)
        if frame is not None:
            self._index += 1
            self._at += HEADER_BYTES + room
        return frame


def _check_segment(path: Path, data: bytes, number: int) -> bytes:
    if len(data) < HEADER_BYTES:
        raise JournalError(f"{path} is shorter than its header: not a segment")
    magic, version, index, _, journal_id, _, crc = SEGMENT.unpack_from(data)
    if magic != MAGIC or crc != crc32c(data[:56]) or any(data[60:HEADER_BYTES]) or index != number:
        raise JournalError(f"{path} does not begin with the header of segment {number}")
    if version != VERSION:
        raise JournalError(f"{path} has format {version}; this version reads {VERSION}")
    return bytes(journal_id)


def _first_index(path: Path) -> int:
    """Number of the first frame of a segment file, -1 when it has none (it was begun and no more, or is damaged)."""
    with path.open("rb") as file:
        data = file.read(2 * HEADER_BYTES)
    if len(data) < 2 * HEADER_BYTES:
        return -1
    index: int = struct.unpack_from("<q", data, HEADER_BYTES + 48)[0]
    return -1 if _header_at(data, HEADER_BYTES, index) is None else index


def _header_at(data: bytes, at: int, index: int) -> tuple[int, int, int, int, int, int, int] | None:
    if at + HEADER_BYTES > len(data) or data[at : at + 4] != FRAME_MAGIC:
        return None
    crc, tail = struct.unpack_from("<I4s", data, at + 56)
    if tail != FRAME_MAGIC or crc != crc32c(data[at : at + 56]):
        return None
    _, kind, first, count, through, durable, size, payload_crc, found = FRAME.unpack_from(data, at)
    return None if found != index else (kind, first, count, through, durable, size, payload_crc)


def _frame_at(data: bytes, at: int, index: int, name: str) -> Frame | None:
    header = _header_at(data, at, index)
    if header is None:
        return None
    kind, first, count, through, durable, size, payload_crc = header
    end = at + HEADER_BYTES + size
    payload = data[at + HEADER_BYTES : end]
    if len(payload) != size or crc32c(payload) != payload_crc or any(data[end : at + HEADER_BYTES + padded(size)]):
        return None
    return Frame(kind, first, count, through, durable, payload, name, at)


def _later_frame(data: bytes, at: int, index: int) -> int:
    """Offset of a whole frame behind `at` with this number or a higher one, -1 when there is none."""
    found = data.find(FRAME_MAGIC, at)
    while found >= 0:
        if found + HEADER_BYTES <= len(data):  # at any offset: bytes may have been lost or put in before it
            number = struct.unpack_from("<q", data, found + 48)[0]
            if number >= index and _frame_at(data, found, number, "") is not None:
                return found
        found = data.find(FRAME_MAGIC, found + 4)
    return -1


def sync_folder(folder: Path) -> None:
    """Make new file names durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
