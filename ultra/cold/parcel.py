"""What one message of the stream holds: a stretch of the journal's inputs, or the part of it that is of one subject.

    header   80 B: 0 "ULTRASHP" | 8 version u16 | 10 kind, packing u8 | 12 part, parts u16 | 16 journal id 16 B |
             32 writer i64 | 40 epoch i64 | 48 first i64 | 56 through i64 | 64 count, partitions, bytes u32 |
             76 CRC32C u32 of 0..75 and of all that follows
    body     META: the JSON of the journal's first frame. RECORDS: `count` records of ultra.wire. MARK: nothing.

A stretch is all inputs from `first` to below `through`; what of them the journal holds is in its parts, which stand in
the stream one behind the other: `ultra.<journal>.<family>.<partition>`, the families being market data (`mkt`), what
venues replied (`evt`) and everything else (`cmd`), the partition that of the instrument. So a reader of one subject
gets nothing else, and a reader of all puts the parts of a stretch together by sequence, and proves by `first`,
`through`, `part` and `parts` that there is no hole. `ultra.<journal>.run` has the META and MARKs.
Known bad case: who reads one subject only can't tell that a message of it is missing; the stream as a whole can.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, Final

import numpy as np

from ..wire import MARKET_LAST, RECORD, TIMER
from .native import crc32c
from .segment import MARK, META, RECORDS

MAGIC: Final = b"ULTRASHP"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sHBBHH16sqqqqIIII")
HEADER_BYTES: Final = 80
PLAIN: Final = 0
ZSTD: Final = 1
FAMILIES: Final = ("mkt", "evt", "cmd")
PARTITIONS_MAX: Final = 8
UNPACKED_BYTES_MAX: Final = 1 << 26  # of a message; a reader makes no more of one


class ParcelError(Exception):
    """A message is none of ours, or is damaged: says what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Parcel:
    """One message. `body` is not packed."""

    kind: int
    part: int
    parts: int
    journal_id: bytes
    writer: int
    epoch: int
    first: int
    through: int
    count: int
    partitions: int
    body: bytes

    @property
    def is_last_part(self) -> bool:
        """Whether the stretch is whole with it."""
        return self.part + 1 == self.parts


def encode(parcel: Parcel, packed: bool = False) -> bytes:
    """The message's bytes; `packed` by zstd, if that makes it smaller. ParcelError when zstandard is missing."""
    body, packing = parcel.body, PLAIN
    if packed and body:
        smaller = _zstandard().ZstdCompressor(level=1).compress(body)
        if len(smaller) < len(body):
            body, packing = smaller, ZSTD
    head = HEADER.pack(
        MAGIC, VERSION, parcel.kind, packing, parcel.part, parcel.parts, parcel.journal_id, parcel.writer,
        parcel.epoch, parcel.first, parcel.through, parcel.count, parcel.partitions, len(parcel.body), 0,
    )[:76]  # fmt: skip
    return head + struct.pack("<I", crc32c(body, crc32c(head))) + body


def decode(data: bytes) -> Parcel:
    """The message that these bytes are; ParcelError when they are none."""
    if len(data) < HEADER_BYTES or data[:8] != MAGIC:
        raise ParcelError(f"{len(data)} bytes that are no message of a shipper")
    (_, version, kind, packing, part, parts, journal_id, writer, epoch, first, through, count, partitions, size, crc
     ) = HEADER.unpack_from(data)  # fmt: skip
    if version != VERSION:
        raise ParcelError(f"a message of format {version}; this version reads {VERSION}")
    body = data[HEADER_BYTES:]
    if crc != crc32c(body, crc32c(data[:76])):
        raise ParcelError(f"inputs from {first}: the message is damaged (its CRC32C is another)")
    if packing not in (PLAIN, ZSTD) or size > UNPACKED_BYTES_MAX:
        raise ParcelError(f"inputs from {first}: packed as {packing}, {size} bytes")
    if packing == ZSTD:
        body = _unpacked(body, size)
    wanted = count * RECORD.itemsize if kind == RECORDS else 0 if kind == MARK else len(body)
    if len(body) != size or size != wanted or kind not in (META, RECORDS, MARK):
        raise ParcelError(f"inputs from {first}: a message of kind {kind} with {count} records in {size} bytes")
    if not 0 <= first <= through or not part < parts or not 0 < partitions <= PARTITIONS_MAX:
        raise ParcelError(f"inputs {first} to {through}: part {part} of {parts}, {partitions} partitions")
    return Parcel(kind, part, parts, journal_id, writer, epoch, first, through, count, partitions, body)


def split(records: Any, partitions: int) -> list[tuple[str, bytes]]:
    """Records by where they belong, as the end of a subject and their bytes; in a fixed order, each part in theirs."""
    if not len(records):
        return []
    words = records.view(np.ndarray).view(np.int64).reshape(-1, RECORD.itemsize // 8)
    kinds = records["kind"]
    families = (kinds > MARKET_LAST).astype(np.int64) + (kinds >= TIMER)
    places = families * partitions + np.maximum(records["instrument"], 0) % partitions
    present = np.flatnonzero(np.bincount(places, minlength=1))
    found = []
    for place in present.tolist():
        rows = words if len(present) == 1 else words[places == place]
        found.append((f"{FAMILIES[place // partitions]}.{place % partitions}", rows.tobytes()))
    return found


def joined(bodies: list[bytes]) -> Any:
    """The records of all parts of a stretch, by their sequence."""
    rows = np.frombuffer(b"".join(bodies), RECORD)
    if len(bodies) < 2:
        return rows
    words = rows.view(np.int64).reshape(-1, RECORD.itemsize // 8)
    return words[np.argsort(rows["sequence"], kind="stable")].reshape(-1).view(RECORD)


def behind(body: bytes, sequence: int) -> bytes:
    """What of a part's records is not below this sequence."""
    rows = np.frombuffer(body, RECORD)
    return body[int(np.searchsorted(rows["sequence"], sequence)) * RECORD.itemsize :]


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ParcelError("packed messages need zstandard: pip install 'ultra-engine[journal]'") from error
    return zstandard


def _unpacked(body: bytes, size: int) -> bytes:
    zstandard = _zstandard()
    try:
        found: bytes = zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ParcelError(f"a message does not unpack ({error})") from error
    return found
