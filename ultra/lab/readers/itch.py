"""A Nasdaq ITCH 5.0 day file as a tape: exactly the records that an engine of `ultra run` gets, in blocks.

The first reading finds the instruments (a decoder numbers them as they come); every later one decodes again with the
same numbers. Known bad case: a file that ends inside a message gives what it holds, and says so in `notes`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...cold import source
from ...hot import ring as rings
from ...venues import itch
from ...wire import RECORD, int_to_symbol, symbol_to_int
from ..tape import Instrument, Tape, introduced, unintroduced
from . import DamagedError, DataError, noted

RING_RECORDS: Final = 1 << 14
BLOCK_BYTES: Final = 1 << 20
INSTRUMENT_MAX: Final = 1 << 14


def midnight_ns(date: str | None) -> int:
    """The session's midnight; 0 when no date is given, as of `ultra run` without one."""
    if not date:
        return 0
    try:
        moment = datetime.fromisoformat(date).replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(f"date {date!r}: as 2019-12-30") from error
    return round(moment.timestamp()) * 1_000_000_000


def tape(path: Path, symbols: tuple[str, ...] = (), date: str | None = None) -> Tape:
    """The tape of a day file, plain or gzip; only `symbols` if any are given. DataError when it holds no message."""
    base, notes = midnight_ns(date), dict[str, int]()
    decoder = _decoder(symbols, base)
    count, last, begun = 0, 0, np.zeros(0, RECORD)
    for found in _decoded(path, decoder, notes):
        begun = begun if count else found
        count, last = count + len(found), int(found["ts_event"][-1])
    if not itch.messages(decoder):
        raise DataError(f"{path} holds no ITCH message")
    for name, errors in itch.errors(decoder).items():
        noted(notes, name, errors)
    known = int(decoder.cells[itch.KNOWN])
    names = [int_to_symbol(symbol) for symbol in decoder.symbols[:known].tolist()]
    instruments = tuple(Instrument(name, itch.TICK_E9, itch.LOT_E9, "XNAS", itch.PRICE_STEP) for name in names)

    def read(size: int) -> Iterator[Any]:
        return introduced(instruments, _decoded(path, _decoder(symbols, base), {}))

    first = int(begun["ts_event"][0]) if count else 0
    count += len(unintroduced(known, begun)) if count else 0
    return Tape(instruments, "orders", read, None, str(path), notes, (count, first, last))


def _decoder(symbols: tuple[str, ...], base: int) -> itch.Decoder:
    codes = [symbol_to_int(symbol) for symbol in symbols]
    return itch.create(max(INSTRUMENT_MAX, len(codes)), codes, selective=bool(codes), ts_base=base)


def _decoded(path: Path, decoder: itch.Decoder, notes: dict[str, int]) -> Iterator[Any]:
    """Records as decoded, in new memory. What ends inside a message is counted."""
    ring, held = rings.create(RECORD, RING_RECORDS), b""
    try:
        for block in source.ahead(path, BLOCK_BYTES, hashed=False):
            data = np.frombuffer(bytearray(held + block.data), np.uint8)  # writable: one type to Numba
            at = 0
            while True:
                reached = int(itch.decode(decoder, data, at, len(data), ring))
                gate, cursor = int(ring.cells[rings.GATE]), int(ring.cells[rings.CURSOR])
                if cursor > gate:
                    yield ring.slots.view(np.ndarray)[np.arange(gate, cursor) % RING_RECORDS]
                    ring.cells[rings.GATE] = cursor
                elif reached == at:
                    break
                at = reached
            held = data[at:].tobytes()
    except source.SourceError as error:
        raise DamagedError(str(error)) from error
    if held:
        noted(notes, "bytes behind the last whole message", len(held))
