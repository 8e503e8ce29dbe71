"""The journal's files: segments of frames, every frame with its own checksum. The format, and how it is read.

    segment   SEGMENT header (64 B), then frames back to back, then zeros (written ahead, so that a sync need not
              change the file system's own tables)
    frame     FRAME header (64 B), then a payload padded with zeros to a multiple of 64 B

A frame is what was written at once: its records need no CRC and no watermark of their own, and stay the 64 bytes that
the engine takes. It says up to which sequence all inputs are known once it is read (`through`), and up to which they
were on disk before it was written (`durable`). A segment's header carries the CRC of all headers of the one before, so
no frame can be taken from the middle of a journal unseen, nor a segment replaced.

A reader stops at the first frame that does not check. After a power cut that is a torn tail, cut without a word,
unless somebody says that it was durable: a later frame, the superblock, a later segment. Then it is damage, and
reading refuses. A journal without syncs, and format 1, has no such witness: any good frame behind a bad one is damage.
Known bad case: damage in the last batch before a power cut under load looks like a torn tail (see `superblock`).
"""

import contextlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from . import superblock
from .disk import Disk, Folder
from .native import crc32c

MAGIC: Final = b"ULTRAJNL"
VERSION: Final = 2
OLD: Final = 1  # without code version, chain and superblock
# magic, version, index, first sequence, journal id, code version, CRC of the headers before, crc
SEGMENT: Final = struct.Struct("<8sIIq16s8sI4xI4x")
FRAME: Final = struct.Struct("<4sIqqqqIIq8x")  # magic, kind, first, count, through, durable, bytes, payload crc, index
FRAME_MAGIC: Final = b"FRAM"
HEADER_BYTES: Final = 64
RECORD_BYTES: Final = 64
META: Final = 1  # payload: JSON about the run
RECORDS: Final = 2  # payload: records of ultra.wire
MARK: Final = 3  # no payload: `through` moved on, or what stands before it is durable
RETIRED: Final = "retired.ulj"  # stands for all segments before its own: their META, their chain
PACKED: Final = ".zst"
SEALED: Final = 0
LOOKS: Final = 3  # a file is read again before it is called damaged: its writer may be at work


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


class End(NamedTuple):
    """Where a journal stands that its writer left in the middle."""

    journal_id: bytes
    segment_index: int
    frames: int  # in all segments
    at: int  # behind the last whole frame of the segment; SEALED when it is packed or retired, and the next one begins
    through: int
    written: int  # every record below this sequence that had to be written is there
    chain: int  # CRC of the headers of the segment, up to there
    generation: int  # of the superblock that is there


class Head(NamedTuple):
    """Header of a segment, as read."""

    version: int
    number: int
    first: int
    journal_id: bytes
    code: bytes
    chain: int


class Retired(NamedTuple):
    """What is left of the segments before `head.number`: how many frames they had, and one in place of them all."""

    head: Head
    frames: int
    frame: Frame


def segment_name(index: int) -> str:
    """File name of a segment."""
    return f"segment-{index:06d}.ulj"


def segment_path(folder: Path, index: int) -> Path:
    """File of a segment."""
    return folder / segment_name(index)


def segment_header(index: int, first: int, journal_id: bytes, code: bytes = bytes(8), chain: int = 0) -> bytes:
    """Header of a segment: `code` is the version of the code that wrote it, `chain` the CRC of the headers before."""
    body = SEGMENT.pack(MAGIC, VERSION, index, first, journal_id, code, chain, 0)[:56]
    return body + struct.pack("<I4x", crc32c(body))


def frame_header(kind: int, first: int, count: int, through: int, durable: int, index: int, payload_bytes: int,
                 payload_crc: int) -> bytes:  # fmt: skip
    """Header of a frame; the last 8 bytes are its own CRC32C and the magic again."""
    head = FRAME.pack(FRAME_MAGIC, kind, first, count, through, durable, payload_bytes, payload_crc, index)
    return head[:56] + struct.pack("<I4s", crc32c(head[:56]), FRAME_MAGIC)


def link(header: bytes, chain: int) -> int:
    """The CRC of the headers up to this one. Without its own CRC: with it, every header would leave the same."""
    return crc32c(header[:56], chain)


def padded(size: int) -> int:
    """Bytes that a payload takes in the file."""
    return (size + HEADER_BYTES - 1) // HEADER_BYTES * HEADER_BYTES


def segments(folder: Path) -> list[Path]:
    """The segment files of a journal, in order; JournalError when there are none or one is missing."""
    return [folder / name for _, name in segment_names(folder, Folder(folder))]


def segment_names(folder: Path, disk: Disk) -> list[tuple[int, str]]:
    """Index and file of each segment that was not retired, in order; JournalError when none is, or one is missing."""
    present = disk.names()
    found: dict[int, str] = {}
    for name in present:
        digits, _, ending = name.removeprefix("segment-").partition(".")
        if name.startswith("segment-") and digits.isdigit() and ending in ("ulj", "ulj" + PACKED):
            found.setdefault(int(digits), name)  # sorted: the plain file comes before its packed copy
    if not found:
        raise JournalError(f"{folder} holds no journal (no segment-*.ulj file)")
    base = read_head(disk.read(RETIRED), disk.where(RETIRED), -1).number if RETIRED in present else 0
    for index in range(base, max(found)):
        if index not in found:
            raise JournalError(f"{folder}: {segment_name(index)} is missing; restore it from a copy")
    return [(index, found[index]) for index in sorted(found) if index >= base]


def is_used(folder: Path, disk: Disk | None = None) -> bool:
    """Whether there is a file of a journal."""
    return any(name.startswith("segment-") for name in (Folder(folder) if disk is None else disk).names())


def refuse_used(folder: Path, disk: Disk | None = None) -> None:
    """JournalError when the folder holds a journal: one is never written over, nor continued by another run."""
    if is_used(folder, disk):
        raise JournalError(f"{folder} holds a journal already: choose another folder, or move it away")


def refuse_retired(folder: Path, start: int = 0) -> None:
    """JournalError when inputs from `start` on were retired: whoever is to take them all can't go on without."""
    gone = retired(Folder(folder))
    if gone is not None and gone.frame.through > start:
        raise JournalError(
            f"{folder}: inputs below {gone.frame.through} were retired: begin at a snapshot that has them "
            "(`ultra replay --fast`), or copy their segments back"
        )


def journal_id(folder: Path) -> bytes:
    """What tells this journal from every other; JournalError when there is none."""
    index, name = segment_names(folder, Folder(folder))[0]
    return read_head(beginning(folder, index), str(folder / name), index).journal_id


def beginning(folder: Path, index: int) -> bytes:
    """The headers of a segment, packed or not, and of its first frame, or what there is of them."""
    path = segment_path(folder, index)
    if path.exists():
        with path.open("rb") as file:
            return file.read(2 * HEADER_BYTES)
    path = path.with_name(path.name + PACKED)
    return unpacked(path.read_bytes(), str(path))[: 2 * HEADER_BYTES] if path.exists() else b""


def retired(disk: Disk) -> "Retired | None":
    """What stands for the segments that were retired; None when none were. JournalError when it is damaged."""
    if RETIRED not in disk.names():
        return None
    data, where = disk.read(RETIRED), disk.where(RETIRED)
    head = read_head(data, where, -1)
    number: int = struct.unpack_from("<q", data, HEADER_BYTES + 48)[0] if len(data) >= 2 * HEADER_BYTES else 0
    frame = frame_at(data, HEADER_BYTES, number, RETIRED)
    if frame is None:
        raise JournalError(f"{where} is damaged: restore it from a copy")
    return Retired(head, number + 1, frame)


def witness(disk: Disk) -> superblock.Commit | None:
    """What the superblock says; None when there is none. JournalError when it is damaged."""
    if superblock.NAME not in disk.names():
        return None
    commit = superblock.best(disk.read(superblock.NAME))
    if commit is None:
        where = disk.where(superblock.NAME)
        raise JournalError(f"{where} is damaged, both its blocks: `ultra journal repair` makes it new")
    return commit


def synced(commit: superblock.Commit | None) -> bool:
    """Whether its writer synced, so that a good frame behind a bad one may be what a power cut left."""
    return commit is not None and not commit.state & superblock.UNSYNCED


def vouched(commit: superblock.Commit | None, sequence: int) -> bool:
    """Whether its writer says that every input below this is on disk. A sync of ours would prove less: after one of his
    that failed, the kernel calls clean what it gave up, and the next one says that all is well."""
    return synced(commit) and commit is not None and commit.through >= sequence


def proof(commit: superblock.Commit | None, frames: int, through: int, data: bytes, at: int, last: bool) -> str:
    """Why what does not check at `at`, behind these frames, was once on disk; "" when nobody says so. `last`: of the
    last segment, the one that the superblock is about."""
    if last and commit is not None and commit.frames > frames:
        return f"{commit.frames} frames were durable, inputs below {commit.through}"
    if synced(commit):
        durable = _later_durable(data, at)
        return f"inputs below {durable} were durable" if durable > through else ""
    later = _later_frame(data, at, frames)
    return f"a good frame follows at {later}" if later >= 0 else ""


def damaged(where: str, at: int, frames: int, through: int, why: str) -> JournalError:
    """What is said of a place where more was durable than checks."""
    return JournalError(
        f"{where} is damaged at offset {at} (frame {frames}), behind input {through}: "
        f"{why}. This is not a torn tail; `ultra journal repair` takes what is missing from a copy."
    )


def read(folder: Path, disk: Disk | None = None) -> Iterator[Frame]:
    """Every good frame of a journal in order. Stops at a torn tail; JournalError on damage."""
    return Reader(folder, disk).read()


def end_of(folder: Path, disk: Disk | None = None) -> End | None:
    """Where to go on; None when there is no frame yet. JournalError on damage."""
    if not is_used(folder, disk):
        return None
    reader = Reader(folder, disk)
    written, chain, last = 0, 0, None
    for last in reader.read():
        chain = reader.chain
        if last.kind == RECORDS or last.segment == RETIRED:
            written = last.through
    if last is None:
        return None
    if last.segment == RETIRED or last.segment.endswith(PACKED):  # nothing is left of what came behind it
        base = retired(reader._disk)
        index = base.head.number - 1 if last.segment == RETIRED and base is not None else int(last.segment[8:14])
        return _end(reader, index, SEALED, written, chain)
    at = last.offset + HEADER_BYTES + padded(len(last.payload))
    return _end(reader, int(last.segment[8:14]), at, written, chain)


def _end(reader: "Reader", index: int, at: int, written: int, chain: int) -> End:
    generation = reader.commit.generation if reader.commit is not None else 0
    return End(reader.journal_id, index, reader.frames, at, reader.through, written, chain, generation)


class Reader:
    """One reading of a journal from its beginning, and how far it came."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._folder = folder
        self._disk: Disk = Folder(folder) if disk is None else disk
        self.commit: superblock.Commit | None = None
        self.journal_id = b""
        self.code = b""
        self.version = VERSION
        self.frames = 0
        self.through = 0
        self.chain = 0
        self.torn_at = 0  # where the last segment's good frames end
        self.segment = ""

    def read(self) -> Iterator[Frame]:
        """Every good frame in order. Stops at a torn tail; JournalError on damage."""
        # Before the segments: whatever it says is durable is then in what is read of them, though somebody writes.
        self.commit = witness(self._disk)
        gone, names = self._listed()
        if self.commit is not None and self.commit.segment > names[-1][0]:
            raise JournalError(f"{self._disk.where(segment_name(names[-1][0] + 1))} is missing; restore it from a copy")
        if gone is not None:
            self.journal_id, self.chain, self.frames = gone.head.journal_id, gone.head.chain, gone.frames
            self.through, self.segment = gone.frame.through, RETIRED
            yield gone.frame
        for number, (index, name) in enumerate(names):
            last = number + 1 == len(names)
            data = self._content(name)
            if not self._begin(index, name, data, last):
                break
            at = HEADER_BYTES
            while True:
                frame = frame_at(data, at, self.frames, name)
                if frame is None and last:
                    data = self._look_again(name, data, at)
                    frame = frame_at(data, at, self.frames, name)
                if frame is None:
                    break
                self.frames += 1
                self.through = max(self.through, frame.through)
                self.chain = link(data[at : at + HEADER_BYTES], self.chain)
                at += HEADER_BYTES + padded(len(frame.payload))
                self.torn_at = at
                yield frame
            self._end(name, data, at, "" if last else names[number + 1][1])
        if self.commit is not None and self.commit.frames > self.frames:
            raise self._damage(self.segment, self.torn_at, self._proof(b"", 0, True))

    def _listed(self) -> tuple[Retired | None, list[tuple[int, str]]]:
        """What was retired, and the files of the rest: of one moment, though somebody retires more meanwhile."""
        while True:
            gone = retired(self._disk)
            names = segment_names(self._folder, self._disk)
            if retired(self._disk) == gone:
                return gone, names

    def _content(self, name: str) -> bytes:
        """Of a segment that may have been packed since its name was read. JournalError when it was retired since."""
        plain = name.removesuffix(PACKED)
        for file in (name, plain + PACKED, plain):
            with contextlib.suppress(FileNotFoundError):
                data = self._disk.read(file)
                return unpacked(data, self._disk.where(file)) if file.endswith(PACKED) else data
        raise JournalError(f"{self._disk.where(name)} was retired while it was read: read again, or from a snapshot on")

    def _begin(self, index: int, name: str, data: bytes, last: bool) -> bool:
        """Check the header of a segment; False when its writer ended while he began it."""
        where = self._disk.where(name)
        may_be_torn = last and (synced(self.commit) or not any(data[:HEADER_BYTES]))
        if may_be_torn and not good_head(data, index) and not self._proof(data, 0, last):
            return False
        head = read_head(data, where, index)
        if self.journal_id and head.journal_id != self.journal_id:
            raise JournalError(f"{where} belongs to another journal")
        if head.version != OLD:
            if self.commit is None:
                missing = self._disk.where(superblock.NAME)
                raise JournalError(f"{missing} is missing: `ultra journal repair` makes it new")
            if self.commit.journal_id != head.journal_id:
                raise JournalError(f"{where} belongs to another journal")
            if head.chain != self.chain:
                raise self._damage(self.segment, self.torn_at, f"{name} follows on other frames")
        self.journal_id, self.code, self.version = head.journal_id, head.code, head.version
        self.segment, self.torn_at, self.chain = name, HEADER_BYTES, link(data[:HEADER_BYTES], 0)
        return True

    def _proof(self, data: bytes, at: int, last: bool) -> str:
        return proof(self.commit, self.frames, self.through, data, at, last)

    def _look_again(self, name: str, data: bytes, at: int) -> bytes:
        """The file as it is now, when what was read of it looks damaged: its writer may be at work."""
        for _ in range(LOOKS):
            if not self._proof(data, at, True) or frame_at(data, at, self.frames, name) is not None:
                break
            data = self._content(name)
        return data

    def _end(self, name: str, data: bytes, at: int, after: str) -> None:
        """JournalError unless a segment may end here."""
        proof = self._proof(data, at, not after)
        if not after:
            if proof:
                raise self._damage(name, at, proof)
        elif at != len(data) or proof:
            raise self._damage(name, at, proof or f"{after} follows")
        elif self.version == OLD and first_index(self._content(after)) not in (self.frames, -1):
            raise self._damage(name, at, f"{after} follows and begins with another frame")

    def _damage(self, name: str, at: int, why: str) -> JournalError:
        return damaged(self._disk.where(name), at, self.frames, self.through, why)


def good_head(data: bytes, index: int) -> bool:
    """Whether these bytes begin with the header of this segment (-1: of any)."""
    if len(data) < HEADER_BYTES:
        return False
    magic, _, found, _, _, _, _, crc = SEGMENT.unpack_from(data)
    good = magic == MAGIC and crc == crc32c(data[:56]) and not any(data[60:HEADER_BYTES])
    return bool(good and index in (found, -1))


def read_head(data: bytes, where: str, index: int) -> Head:
    """The header of a segment (-1: of any); JournalError when it is another."""
    if len(data) < HEADER_BYTES:
        raise JournalError(f"{where} is shorter than its header: not a segment")
    if not good_head(data, index):
        raise JournalError(f"{where} does not begin with the header of segment {index}; restore it from a copy")
    _, version, found, first, journal_id, code, chain, _ = SEGMENT.unpack_from(data)
    if version not in (OLD, VERSION):
        raise JournalError(f"{where} has format {version}; this version reads {VERSION}")
    return Head(version, found, first, journal_id, code, chain)


def unpacked(data: bytes, where: str) -> bytes:
    """A segment that `ultra journal compact` packed; JournalError when zstandard is missing, or it is damaged."""
    try:
        import zstandard
    except ImportError as error:
        raise JournalError(f"{where} is packed: pip install 'ultra-engine[journal]' to read it") from error
    try:
        found: bytes = zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise JournalError(f"{where} is damaged ({error}): restore it from a copy") from error
    return found


def first_index(data: bytes) -> int:
    """Number of the first frame of a segment, -1 when it has none (it was begun and no more, or is damaged)."""
    if len(data) < 2 * HEADER_BYTES:
        return -1
    index: int = struct.unpack_from("<q", data, HEADER_BYTES + 48)[0]
    return -1 if header_at(data, HEADER_BYTES, index) is None else index


def header_at(data: bytes, at: int, index: int) -> tuple[int, int, int, int, int, int, int] | None:
    """Of the frame of this number: kind, first, count, through, durable, bytes and CRC of its payload."""
    if at + HEADER_BYTES > len(data) or data[at : at + 4] != FRAME_MAGIC:
        return None
    crc, tail = struct.unpack_from("<I4s", data, at + 56)
    if tail != FRAME_MAGIC or crc != crc32c(data[at : at + 56]):
        return None
    _, kind, first, count, through, durable, size, payload_crc, found = FRAME.unpack_from(data, at)
    return None if found != index else (kind, first, count, through, durable, size, payload_crc)


def frame_at(data: bytes, at: int, index: int, name: str) -> Frame | None:
    """The frame of this number at an offset of a segment; None unless all of it is there and checks."""
    header = header_at(data, at, index)
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
            if number >= index and frame_at(data, found, number, "") is not None:
                return found
        found = data.find(FRAME_MAGIC, found + 4)
    return -1


def _later_durable(data: bytes, at: int) -> int:
    """The highest `durable` of any header behind `at`, -1 when there is none. It is true though the payload is torn."""
    highest = -1
    found = data.find(FRAME_MAGIC, at)
    while found >= 0:
        if found + HEADER_BYTES <= len(data):
            durable, _, _, number = struct.unpack_from("<qIIq", data, found + 32)
            if durable > highest and header_at(data, found, number) is not None:
                highest = durable
        found = data.find(FRAME_MAGIC, found + 4)
    return highest
