"""How far a journal certainly is in its stream, in a small file beside it: what makes an input `replicated`.

Two blocks are written in turns, so a reader always finds one that checks. The shipper writes it after acks, never
before; it is not synced, since the stream itself is what counts: after a power cut it may be late, which is safe. The
next shipper takes it as the least that the stream must hold, so a stream that lost its end is noticed.
Known bad case: the file is of one stream. Whoever ships to another begins a new one, and `replicated` starts again.

    block   0 "ULTRAWAY" | 8 version u32 | 12 R of the stream u32 | 16 journal id, 16 B | 32 generation i64 |
            40 through i64 | 48 stream sequence i64 | 56 ns since the epoch i64 | 64 stream's name, 56 B |
            120 state u32 | 124 CRC32C
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from pathlib import Path
from typing import Final, NamedTuple

from .native import crc32c

NAME: Final = "shipped.ulj"
MAGIC: Final = b"ULTRAWAY"
VERSION: Final = 1
BLOCK: Final = struct.Struct("<8sII16sqqqq56sI")
BLOCK_BYTES: Final = 128
STREAM_BYTES_MAX: Final = 56
GOOD: Final = 0
ALARMED: Final = 1  # its shipper ended with an alarm: the stream may no longer hold what it acked


class Waybill(NamedTuple):
    """What one says: inputs below `through` are in the stream, up to its message `sequence`."""

    journal_id: bytes
    stream: str
    replicas: int
    through: int
    sequence: int
    generation: int = 0
    ts_ns: int = 0
    state: int = GOOD


def encode(bill: Waybill) -> bytes:
    """One block."""
    body = BLOCK.pack(
        MAGIC, VERSION, bill.replicas, bill.journal_id, bill.generation, bill.through, bill.sequence, bill.ts_ns,
        bill.stream.encode(), bill.state,
    )  # fmt: skip
    return body + struct.pack("<I", crc32c(body))


def best(data: bytes) -> Waybill | None:
    """The later of the blocks that check; None when neither does."""
    found: Waybill | None = None
    for at in (0, BLOCK_BYTES):
        body = data[at : at + BLOCK_BYTES - 4]
        if len(data) < at + BLOCK_BYTES or crc32c(body) != struct.unpack_from("<I", data, at + BLOCK_BYTES - 4)[0]:
            continue
        magic, version, replicas, journal_id, generation, through, sequence, ts_ns, name, state = BLOCK.unpack(body)
        if magic == MAGIC and version == VERSION and (found is None or generation > found.generation):
            stream = name.rstrip(b"\0").decode("utf-8", "replace")
            found = Waybill(journal_id, stream, replicas, through, sequence, generation, ts_ns, state)
    return found


def read(folder: Path) -> Waybill | None:
    """That of a journal; None when it was never shipped."""
    with contextlib.suppress(FileNotFoundError):
        return best((folder / NAME).read_bytes())
    return None


class Writer:
    """The shipper's side."""

    def __init__(self, folder: Path, journal_id: bytes, stream: str, replicas: int) -> None:
        if len(stream.encode()) > STREAM_BYTES_MAX:
            raise ValueError(f"the stream's name {stream!r} has more than {STREAM_BYTES_MAX} bytes")
        before = read(folder)
        self._generation = before.generation if before is not None else 0
        self._bill = Waybill(journal_id, stream, replicas, 0, 0)
        self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, through: int, sequence: int, state: int = GOOD) -> None:
        """The stream has acked so much."""
        self._generation += 1
        bill = self._bill._replace(
            through=through, sequence=sequence, generation=self._generation, ts_ns=time.time_ns(), state=state
        )
        os.pwrite(self._file, encode(bill), self._generation % 2 * BLOCK_BYTES)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)


class Reader:
    """Anybody else's: the desk of a run asks at every turn in which somebody waits."""

    def __init__(self, folder: Path) -> None:
        self._path, self._file = folder / NAME, -1

    def through(self) -> int:
        """Every input below this is in the stream; -1 when the journal is not shipped."""
        if self._file < 0:
            try:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return -1
        bill = best(os.pread(self._file, 2 * BLOCK_BYTES, 0))
        return bill.through if bill is not None else 0

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
