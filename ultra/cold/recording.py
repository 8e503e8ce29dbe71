"""A recorded file on its way onto a trading floor: ITCH 5.0, or LOBSTER messages, a ring full at a time.

ITCH is decoded by the engine's own decoder, one instrument of it; LOBSTER is text, a row an event, in prices of 1/10000
as ITCH has. Both become market records in the floor's ring, which `fill` keeps filled.
Known bad case: LOBSTER names orders that rested before its first row; what happens to those is skipped, and counted by
the floor. Source: LOBSTER sample files, read me of 2012.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..hot import ring as rings
from ..venues import itch
from ..wire import ADD, ASK, BID, CANCEL, DELETE, EXECUTE, NONE, RECORD, symbol_to_int
from .source import SourceError, blocks

# LOBSTER's types of events that move the visible book.
KINDS: Final = {1: ADD, 2: CANCEL, 3: DELETE, 4: EXECUTE}
ROWS: Final = 4096


class Recording:
    """One file, one instrument of it, into one ring."""

    def __init__(self, path: Path, symbol: str, ring: rings.Ring) -> None:
        self.path = path
        self.ended = False
        self._ring = ring
        self._rows: Any = np.zeros(0, RECORD)
        self._records: Iterator[Any] = lobster(path) if ".csv" in path.suffixes else decoded(path, symbol)
        if not path.exists():
            raise SourceError(f"{path}: there is no such file")

    def fill(self) -> None:
        """Put into the ring what there is room for. SourceError when the file is damaged."""
        cells, slots = self._ring.cells, self._ring.slots
        while not self.ended:
            cursor = int(cells[rings.CURSOR])
            room = len(slots) - (cursor - int(cells[rings.GATE]))
            if room == 0:
                return
            if len(self._rows) == 0:
                rows = next(self._records, None)
                self.ended = rows is None
                self._rows = self._rows if rows is None else rows
                continue
            at = cursor & (len(slots) - 1)
            count = min(room, len(self._rows), len(slots) - at)
            slots[at : at + count] = self._rows[:count]
            self._rows = self._rows[count:]
            cells[rings.CURSOR] = cursor + count


def decoded(path: Path, symbol: str) -> Iterator[Any]:
    """Market records of one symbol of an ITCH 5.0 file, plain or gzip, some at a time."""
    decoder = itch.create(1, [symbol_to_int(symbol)], selective=True)
    ring = rings.create(RECORD, ROWS)
    left = b""
    for block in blocks(path):
        data = left + block.data
        raw = np.frombuffer(data, np.uint8)
        at = reached = 0
        while True:
            reached = int(itch.decode(decoder, raw, at, len(raw), ring))
            count = int(ring.cells[rings.CURSOR]) - int(ring.cells[rings.GATE])
            if count:
                first = int(ring.cells[rings.GATE]) & (ROWS - 1)
                yield np.roll(ring.slots, -first)[:count].copy()
                ring.cells[rings.GATE] = ring.cells[rings.CURSOR]
            if reached == at:
                break
            at = reached
        left = data[reached:]


def lobster(path: Path) -> Iterator[Any]:
    """Market records of a LOBSTER message file, plain or gzip, some at a time."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as file:
        found: list[tuple[int, ...]] = []
        for number, line in enumerate(file, 1):
            try:
                when, event, order_id, size, price, direction = line.strip().split(",")[:6]
                seconds, _, fraction = when.partition(".")
                ts = int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))
                kind, resting = KINDS.get(int(event)), int(direction)
                row = (kind or 0, BID if resting > 0 else ASK, 0, 0, 0, ts, ts, int(order_id), int(price), int(size))
            except ValueError as error:
                if number == 1:
                    continue  # some files have a header
                raise SourceError(f"{path}: line {number} is no LOBSTER message: {line.strip()[:60]!r}") from error
            if kind is not None:
                found.append((*row, NONE))
            if len(found) == ROWS:
                yield np.array(found, RECORD)
                found = []
        if found:
            yield np.array(found, RECORD)
