"""The tape as a file (`.ulc`): chunks of market records, raw rows to map or packed columns, and an index by time.

    page      4,096 bytes: HEADER, its CRC, zeros
    chunks    back to back. RAW: rows of 64 bytes as in memory. PACKED: per column its length (u32), then one zstd frame
    index     64 bytes a chunk: where, how long, which records, from when to when, CRC-32
    meta      JSON: kind, instruments, what it was made of

Everything that is read is covered by a CRC and by a bound that holds before memory is taken for it. A file gets its
name when it is whole and synced, so a name that is there is a tape that is whole.
Known bad case: `rows` maps a raw tape without reading it, so a flipped bit there is seen by `verify` only.
"""

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..wire import RECORD
from .extra import need

MAGIC: Final = b"ULTRATAP"
VERSION: Final = 1
RAW: Final = 0
PACKED: Final = 1
PAGE_BYTES: Final = 4096
CHUNK_RECORDS: Final = 1 << 16
CHUNK_RECORDS_MAX: Final = 1 << 20
META_BYTES_MAX: Final = 1 << 26
# magic, version, layout, records, first ts, last ts, offset of the index, chunks, bytes of meta, CRC of index and meta
HEADER: Final = struct.Struct("<8sIIqqqqqII")
CHUNK: Final = np.dtype(
    [
        ("offset", "i8"),
        ("length", "i8"),  # bytes in the file
        ("first", "i8"),  # number of its first record
        ("count", "i8"),
        ("first_ts", "i8"),  # ts_event, ns
        ("last_ts", "i8"),
        ("crc", "i8"),  # CRC-32 of the bytes in the file
        ("spare", "i8"),
    ]
)
# How a column is written: as it is, as steps from one record to the next, as what it exceeds ts_event by. `sequence`
# is not written: it is 0 on a tape. Words of 8 bytes are laid byte by byte, all first bytes first: zstd finds more.
PLAIN, STEPS, BEYOND = "plain", "steps", "beyond"
COLUMNS: Final = (
    ("kind", PLAIN), ("side", PLAIN), ("flag", PLAIN), ("instrument", PLAIN), ("ts_event", STEPS), ("ts_recv", BEYOND),
    ("order_id", STEPS), ("price", STEPS), ("qty", PLAIN), ("aux", STEPS),
)  # fmt: skip
LEVEL: Final = 3  # of zstd: levels above cost much and give little here

assert CHUNK.itemsize == RECORD.itemsize == 64


class TapeError(Exception):
    """A tape can't be read or written: names the file, the chunk, the offset, and what to do."""


class Writer:
    """A new tape. `append` records in order of time, then `close`; until then the file has another name."""

    def __init__(
        self, path: Path, meta: dict[str, Any], *, packed: bool = False, chunk_records: int = CHUNK_RECORDS
    ) -> None:
        """`meta` is written as JSON at the end, so it may still be filled. TapeError when zstandard is missing."""
        self._path, self._meta, self._packed = path, meta, packed
        self._rows, self._waiting = min(chunk_records, CHUNK_RECORDS_MAX), 0
        self._held: list[Any] = []
        self._chunks: list[tuple[int, ...]] = []
        self._at, self.records, self._last_ts = PAGE_BYTES, 0, 0
        self._pack = need("zstandard").ZstdCompressor(level=LEVEL, write_checksum=False) if packed else None
        self._part = path.with_name(f"{path.name}.{os.getpid()}.part")
        self._file = self._part.open("wb")
        self._file.write(bytes(PAGE_BYTES))

    def append(self, records: Any) -> None:
        """RECORD array, any length. TapeError when time goes back in it."""
        found = np.array(records, RECORD, copy=True).view(np.ndarray)
        if not len(found):
            return
        found["sequence"] = 0
        ts = found["ts_event"]
        steps = np.diff(ts, prepend=self._last_ts if self.records + self._waiting else ts[0])
        if steps.min() < 0:
            at = int(np.argmax(steps < 0))
            raise TapeError(
                f"{self._path}: record {self.records + self._waiting + at} is {-int(steps[at])} ns before the one in "
                "front of it, and a tape is in order of time: `ultra data check` shows the row of the source"
            )
        self._last_ts = int(ts[-1])
        self._held.append(found)
        self._waiting += len(found)
        while self._waiting >= self._rows:
            self._flush(self._rows)

    def _flush(self, count: int) -> None:
        whole = np.concatenate(self._held)
        rows, rest = whole[:count], whole[count:]
        self._held, self._waiting = [rest], len(rest)
        data = packed(rows, self._pack) if self._pack is not None else rows.tobytes()
        first_ts, last_ts = int(rows["ts_event"][0]), int(rows["ts_event"][-1])
        self._file.write(data)
        self._chunks.append((self._at, len(data), self.records, count, first_ts, last_ts, zlib.crc32(data), 0))
        self._at += len(data)
        self.records += count

    def close(self) -> None:
        """Write what is left, the index and the header; sync; give the file its name."""
        if self._waiting:
            self._flush(self._waiting)
        meta = json.dumps(self._meta, sort_keys=True).encode()
        tail = np.array(self._chunks, CHUNK).tobytes() + meta
        first_ts, last_ts = (self._chunks[0][4], self._chunks[-1][5]) if self._chunks else (0, 0)
        layout, count = PACKED if self._packed else RAW, len(self._chunks)
        head = HEADER.pack(
            MAGIC, VERSION, layout, self.records, first_ts, last_ts, self._at, count, len(meta), zlib.crc32(tail)
        )
        self._file.write(tail)
        self._file.seek(0)
        self._file.write(head + struct.pack("<I", zlib.crc32(head)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._part.unlink(missing_ok=True)


class File:
    """A tape on disk, opened: its header, meta and index have been checked, its chunks are when they are read."""

    def __init__(self, path: Path) -> None:
        """TapeError when it is no tape, was cut, is of another version, or a checksum differs."""
        self.path = path
        self.size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEADER.size + 4)
            if head[:8] != MAGIC:
                raise TapeError(f"{path} is no tape: it does not begin with {MAGIC.decode()}")
            if len(head) < HEADER.size + 4 or struct.unpack_from("<I", head, HEADER.size)[0] != zlib.crc32(head[:-4]):
                raise TapeError(f"{path}: the header is damaged (offset 0): convert the source again")
            fields = HEADER.unpack_from(head)
            _, version, self.layout, self.records, self.first_ts, self.last_ts, at, count, meta_bytes, crc = fields
            if version != VERSION or self.layout not in (RAW, PACKED):
                raise TapeError(f"{path} has version {version}, layout {self.layout}; this program reads {VERSION}")
            end = at + count * CHUNK.itemsize + meta_bytes
            if meta_bytes > META_BYTES_MAX or at < PAGE_BYTES or end != self.size:
                raise TapeError(f"{path}: {self.size} bytes, and its header says {end}: it was cut or added to")
            file.seek(at)
            tail = file.read(end - at)
        if zlib.crc32(tail) != crc:
            raise TapeError(f"{path}: the index is damaged (offset {at}): convert the source again")
        self.chunks = np.frombuffer(tail, CHUNK, count)
        self._check_index(at)
        self.meta: dict[str, Any] = json.loads(tail[count * CHUNK.itemsize :])

    def _check_index(self, end: int) -> None:
        """Bounds first: nothing below takes memory for a number that was not held against the file."""
        chunks = self.chunks
        good = (chunks["count"] > 0) & (chunks["count"] <= CHUNK_RECORDS_MAX) & (chunks["length"] > 0)
        good &= chunks["length"] <= self.size
        if good.all():
            offsets = PAGE_BYTES + np.cumsum(chunks["length"]) - chunks["length"]
            firsts = np.cumsum(chunks["count"]) - chunks["count"]
            good = (chunks["offset"] == offsets) & (chunks["first"] == firsts)
            if self.layout == RAW:
                good &= chunks["length"] == chunks["count"] * RECORD.itemsize
            whole = PAGE_BYTES + int(chunks["length"].sum()) == end and int(chunks["count"].sum()) == self.records
            if good.all() and whole:
                return
        at = int(np.argmin(good))
        raise TapeError(f"{self.path}: chunk {at} of the index does not fit the file: convert the source again")

    def read(self, number: int) -> Any:
        """The records of one chunk, new memory: RECORD array. TapeError names the chunk and its offset."""
        chunk = self.chunks[number]
        offset, length, count = int(chunk["offset"]), int(chunk["length"]), int(chunk["count"])
        with self.path.open("rb", buffering=0) as file:
            data = bytearray(length)
            file.seek(offset)
            got = file.readinto(data) or 0
            while 0 < got < length:
                more = file.readinto(memoryview(data)[got:]) or 0
                got = got + more if more else -1
        if got != length or zlib.crc32(data) != int(chunk["crc"]):
            raise self._damage(number, offset, "its checksum differs")
        if self.layout == RAW:
            return np.frombuffer(data, RECORD)
        try:
            return unpacked(data, count)
        except (ValueError, struct.error) as error:
            raise self._damage(number, offset, str(error)) from error

    def _damage(self, number: int, offset: int, why: str) -> TapeError:
        chunk = self.chunks[number]
        first, count = int(chunk["first"]), int(chunk["count"])
        return TapeError(
            f"{self.path}: chunk {number} at offset {offset} (records {first} to {first + count - 1}) is damaged: "
            f"{why}. Convert the source again, or take the file from a copy"
        )

    def rows(self) -> Any:
        """All records of a raw tape, mapped: one copy in memory for every process that maps it. What is written to them
        stays in this process (copy on write). TapeError when the tape is packed."""
        if self.layout != RAW:
            raise TapeError(f"{self.path} is packed: only a raw tape can be mapped")
        if not self.records:
            return np.zeros(0, RECORD)
        with self.path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return np.frombuffer(mapping, RECORD, self.records, PAGE_BYTES)

    def verify(self) -> Iterator[int]:
        """Read every chunk; numbers of those that are whole, as it goes. TapeError at the first that is not."""
        for number in range(len(self.chunks)):
            self.read(number)
            yield number


def packed(rows: Any, compressor: Any) -> bytes:
    """The columns of some records, each its length and a zstd frame."""
    parts = []
    for name, form in COLUMNS:
        values = np.ascontiguousarray(rows[name])
        if form == STEPS:
            values = np.diff(values, prepend=values.dtype.type(0))
        elif form == BEYOND:
            values = values - rows["ts_event"]
        if values.itemsize == 8:
            values = np.ascontiguousarray(values.view(np.uint8).reshape(-1, 8).T)
        frame = compressor.compress(values.tobytes())
        parts += [struct.pack("<I", len(frame)), frame]
    return b"".join(parts)


def unpacked(data: bytes | bytearray, count: int) -> Any:
    """The inverse: RECORD[count]. ValueError when it is not that."""
    zstandard = need("zstandard")
    unpacker, found, at = zstandard.ZstdDecompressor(), np.zeros(count, RECORD), 0
    for name, form in COLUMNS:
        kind = RECORD.fields[name][0]
        (length,) = struct.unpack_from("<I", data, at)
        frame, at = data[at + 4 : at + 4 + length], at + 4 + length
        try:
            if len(frame) != length or zstandard.frame_content_size(frame) != count * kind.itemsize:
                raise ValueError(f"column {name} is not of {count} values")
            raw = unpacker.decompress(frame)
        except zstandard.ZstdError as error:
            raise ValueError(f"column {name}: {error}") from error
        values = np.frombuffer(raw, np.uint8)
        values = values.reshape(8, count).T.copy().view(np.int64)[:, 0] if kind.itemsize == 8 else values.view(kind)
        if form == STEPS:
            values = np.cumsum(values)
        elif form == BEYOND:
            values = values + found["ts_event"]
        found[name] = values
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes too many")
    return found
