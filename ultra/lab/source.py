"""Where a backtest's records come from: a file of ITCH as `ultra run` reads it, or a tape.

Both hand batches of RECORD to a course, in order, each once, and hold one batch at a time: memory is flat however
long the data is. A file also says where a run numbers a hash of it, so that the numbers that follow are the same.
Known bad case: a file that ends inside a message is played up to there, which `damage` says.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from ..cold import assembly
from ..cold.frames import Frames
from ..config import Config
from ..hot import ring as rings
from ..venues import itch
from ..wire import INSTRUMENT, RECORD, STATUS, TRADING, symbol_to_int
from .course import BacktestError, Course, readied
from .fills import Priced

BATCH_RECORDS: Final = 1 << 16


class Tape(Protocol):
    """What a tape (`ultra.lab.tape.Tape`) is to a backtest."""

    @property
    def instruments(self) -> Sequence[Priced]:
        """Those of its records, by index."""

    def batches(self, size: int) -> Iterable[Any]:
        """Its records, in order, so many at a time."""


class Source(Protocol):
    """What can be played."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    @property
    def instruments(self) -> Sequence[Priced]:
        """Known before the first record, or empty."""

    @property
    def damage(self) -> str:
        """What was wrong with it, '' when nothing was."""

    def play(self, config: Config, course: Course) -> None:
        """Hand all of it to the course."""


class ItchFile:
    """A recorded day, decoded block by block."""

    instruments: Sequence[Priced] = ()

    def __init__(self, path: Path) -> None:
        self.name, self.damage, self._path = str(path), "", path
        if not path.is_file():
            raise FileNotFoundError(2, "No such file", str(path))

    def play(self, config: Config, course: Course) -> None:
        """As `cold.live` plays it, mark by mark."""
        decoder, ring = assembly.decoder_of(config), rings.create(RECORD, BATCH_RECORDS)

        def take(buffer: Any, stop: int) -> int:
            at = 0
            while True:
                ring.cells[:] = 0
                reached = int(itch.decode(decoder, buffer, at, stop, ring))
                if decoded := int(ring.cells[rings.CURSOR]):
                    course.pump(readied(ring.slots[:decoded]))
                if reached == at:
                    return at
                at = reached

        frames = Frames(self._path, config.feed.chunk_bytes)
        frames.play(take, lambda block: course.mark())
        if frames.truncated_at >= 0:
            self.damage = f"{self._path}: cut inside a message at offset {frames.truncated_at}"
        self.damage = frames.source_error or self.damage


class TapeSource:
    """A tape; an instrument of which it says no trading state trades from the start."""

    damage = ""

    def __init__(self, tape: Tape, name: str) -> None:
        self._tape, self.name = tape, name
        self.instruments: Sequence[Priced] = tuple(tape.instruments)
        if not self.instruments:
            raise BacktestError(f"{name} has no instruments: what its ticks and lots are worth is not known")

    def play(self, config: Config, course: Course) -> None:
        """Batch by batch."""
        first = True
        for batch in self._tape.batches(BATCH_RECORDS):
            records = readied(batch)
            if first and len(records):
                first = False
                course.pump(self._introduction(records))
            course.pump(records)

    def _introduction(self, records: Any) -> Any:
        """INSTRUMENT and STATUS records for whatever the first batch does not introduce."""
        found = np.zeros(2 * len(self.instruments), RECORD).view(np.recarray)
        count, ts = 0, int(records["ts_event"][0])
        named = set(records["instrument"][records["kind"] == INSTRUMENT].tolist())
        stated = set(records["instrument"][records["kind"] == STATUS].tolist())
        for index, known in enumerate(self.instruments):
            for kind, there in ((INSTRUMENT, index in named), (STATUS, index in stated)):
                if there:
                    continue
                row = found[count]
                row.kind, row.instrument, row.ts_event, row.ts_recv = kind, index, ts, ts
                row.order_id = symbol_to_int(known.symbol[:8]) if kind == INSTRUMENT else -1
                row.price, row.qty, row.aux = (known.tick_e9, known.lot_e9, 0) if kind == INSTRUMENT else (-1, 0, TRADING)
                count += 1
        return readied(found[:count])


class Records:
    """Records in memory as a tape."""

    def __init__(self, records: Any, instruments: Sequence[Priced]) -> None:
        self._records, self.instruments = records, instruments

    def batches(self, size: int) -> Iterator[Any]:
        """Slices of them."""
        for start in range(0, len(self._records), size):
            yield self._records[start : start + size]


def source_of(data: Any) -> Source:
    """What to play: an ITCH file by its name, a tape, or what `ultra.lab.data.load` makes a tape of."""
    if isinstance(data, ItchFile | TapeSource):
        return data
    if isinstance(data, str | Path):
        path = Path(data)
        if path.name.endswith((".itch50", ".itch50.gz")):
            return ItchFile(path)
    if hasattr(data, "batches") and hasattr(data, "instruments"):
        return TapeSource(data, str(getattr(data, "name", "") or "tape"))
    raise BacktestError(f"{data!r} is nothing that can be played: wanted a path, a Tape, or records")
