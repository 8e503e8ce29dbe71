"""A DBN file (.dbn, .dbn.zst) or its older container (.dbz) as a tape: MBO as orders, MBP as levels.

A first reading finds the instruments and the tick of each: what divides all its prices. A lot is one contract or share.
Known bad case: a file that ends inside a record gives what it holds, and `notes` says how many bytes are left.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ...hot import memory
from ...venues import dbn
from ...wire import RECORD
from ..extra import need
from ..tape import Instrument, Tape, introduced
from . import DamagedError, DataError, noted
from .bars import Wish

MAGIC: Final = b"DBN"
VERSIONS: Final = (1, 2, 3)
SYMBOL_V1: Final = 22
FIXED_V1, FIXED_V2 = 100, 100
META_BYTES_MAX: Final = 1 << 26
BLOCK_BYTES: Final = 1 << 20
INSTRUMENT_MAX: Final = 1 << 12
ORDER_MAX: Final = 1 << 20
OUT_RECORDS: Final = 1 << 14
LOT_E9: Final = 1_000_000_000
DBZ_SKIP: Final = 8  # magic and length of the skippable frame before its header


class Head(NamedTuple):
    """What stands before the records."""

    version: int
    dataset: str
    symbols: dict[int, str]  # instrument number -> symbol


def tape(path: Path, wish: Wish) -> Tape:
    """The tape of a file. DataError when it is damaged, or a tick is given that is not its own."""
    head, notes = head_of(path), dict[str, int]()
    decoder = dbn.create(INSTRUMENT_MAX, 16)
    for words in _words(path, notes):
        dbn.survey(decoder, words)
    known = int(decoder.cells[dbn.KNOWN])
    if not known:
        raise DataError(f"{path} holds no MBO or MBP record")
    numbers, units = decoder.ids[:known].tolist(), decoder.ticks[:known].tolist()
    if wish.tick_e9:
        wrong = [unit for unit in units if unit % wish.tick_e9]
        if wrong:
            raise DataError(f"{path}: its prices are whole numbers of {wrong[0]}e-9: give a tick that divides it")
        units = [wish.tick_e9] * known
    units = [max(1, unit) for unit in units]  # of one that has no price
    names = [head.symbols.get(number, str(number)) for number in numbers]
    instruments = tuple(Instrument(name, unit, LOT_E9, head.dataset) for name, unit in zip(names, units, strict=True))
    if wish.symbols and set(wish.symbols) != set(names):
        raise DataError(f"{path} is of {', '.join(names)}: take symbols out when it is converted")
    kind = "levels" if decoder.cells[dbn.BY_PRICE] else "orders"

    def read(size: int) -> Iterator[Any]:
        return introduced(instruments, _records(path, numbers, units, notes))

    return Tape(instruments, kind, read, None, str(path), notes)  # type: ignore[arg-type]


def _records(path: Path, numbers: list[int], units: list[int], notes: dict[str, int]) -> Iterator[Any]:
    """Every record again, with the number of its message in `sequence`."""
    decoder, out = dbn.create(len(numbers), ORDER_MAX), memory.zeros(OUT_RECORDS, RECORD)
    decoder.ids[:], decoder.ticks[:], decoder.cells[dbn.KNOWN] = numbers, units, len(numbers)
    notes.clear()
    for words in _words(path, notes):
        at = 0
        while True:
            reached = int(dbn.decode(decoder, words, at, out))
            filled = int(decoder.cells[dbn.FILLED])
            if filled:
                yield out[:filled].copy()
            elif reached == at:
                break
            at = reached
    if dbn.finish(decoder, out):
        yield out[:1].copy()
    for name, count in dbn.errors(decoder).items():
        noted(notes, name, count)


def _stream(path: Path) -> Any:
    """The file, unpacked if it is zstd; of the older container what lies behind its header."""
    file = path.open("rb")
    try:
        head = file.read(12)
        file.seek(0)
        if head[8:11] == b"DBZ":
            file.seek(DBZ_SKIP + struct.unpack_from("<I", head, 4)[0])
        elif head[:3] == MAGIC:
            return file
        return need("zstandard").ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=True)
    except BaseException:
        file.close()
        raise


def head_of(path: Path) -> Head:
    """DataError when it is none."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[8:11] == b"DBZ":
            raw = file.read(struct.unpack_from("<I", head, 4)[0] - 4)
            return _older(path, raw)
    with _stream(path) as stream:
        begin = _exactly(path, stream, 8)
        version, (length,) = begin[3], struct.unpack_from("<I", begin, 4)
        if begin[:3] != MAGIC or version not in VERSIONS or length > META_BYTES_MAX:
            raise DataError(f"{path}: no DBN file of version 1, 2 or 3")
        raw = _exactly(path, stream, length)
    width = SYMBOL_V1 if version == 1 else struct.unpack_from("<H", raw, 45)[0]
    return Head(version, _text(raw[:16]), _mappings(raw[FIXED_V1:], width, path))


def _older(path: Path, raw: bytes) -> Head:
    """The header of a dbz: fixed fields, then its symbols in a zstd frame."""
    at = raw.find(b"\x28\xb5\x2f\xfd")
    if at < 0:
        raise DamagedError(f"{path}: no symbols in its header")
    packed = need("zstandard").ZstdDecompressor().decompressobj().decompress(raw[at:])
    return Head(0, _text(raw[:16]), _mappings(packed, SYMBOL_V1, path))


def _exactly(path: Path, stream: Any, count: int) -> bytes:
    try:
        found: bytes = stream.read(count)
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise DamagedError(f"{path}: the zstd data are damaged in the header: {error}") from error
    if len(found) < count:
        raise DamagedError(f"{path}: cut inside its header")
    return found


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("ascii", "replace")


def _mappings(raw: bytes, width: int, path: Path) -> dict[int, str]:
    """Instrument number -> symbol: a schema definition, three lists of symbols, then what each was called when."""
    try:
        (skip,) = struct.unpack_from("<I", raw, 0)
        at = 4 + skip
        for _ in range(3):
            (count,) = struct.unpack_from("<I", raw, at)
            at += 4 + count * width
        (count,) = struct.unpack_from("<I", raw, at)
        at += 4
        found: dict[int, str] = {}
        for _ in range(min(count, INSTRUMENT_MAX)):
            name, (intervals,) = _text(raw[at : at + width]), struct.unpack_from("<I", raw, at + width)
            at += width + 4
            for _ in range(intervals):
                number = _text(raw[at + 8 : at + 8 + width])
                struct.unpack_from("<II", raw, at)
                at += 8 + width
                if number.isdigit():
                    found[int(number)] = name
        return found
    except struct.error as error:
        raise DamagedError(f"{path}: its list of symbols is cut") from error


def _words(path: Path, notes: dict[str, int]) -> Iterator[Any]:
    """The records as words of 4 bytes, a block of whole ones at a time."""
    head = path.open("rb")
    with head:
        older = head.read(12)[8:11] == b"DBZ"
    with _stream(path) as stream:
        if not older:
            begin = _exactly(path, stream, 8)
            _exactly(path, stream, struct.unpack_from("<I", begin, 4)[0])
        held = b""
        while True:
            try:
                block = stream.read(BLOCK_BYTES)
            except Exception as error:
                if type(error).__name__ != "ZstdError":
                    raise
                raise DamagedError(f"{path}: the zstd data are damaged: {error}") from error
            held += block
            stop = _whole(held)
            if stop:
                yield np.frombuffer(bytearray(held[:stop]), np.uint32)
            held = held[stop:]
            if not block:
                break
    if held:
        noted(notes, "bytes behind the last whole record", len(held))


def _whole(data: bytes) -> int:
    """How far whole records reach. DataError at what is no record."""
    at = 0
    while at < len(data):
        length = data[at] * dbn.WORD_BYTES
        if length == 0:
            raise DamagedError(f"a record of length 0 at {at} of a block: the file is damaged")
        if at + length > len(data):
            break
        at += length
    return at
