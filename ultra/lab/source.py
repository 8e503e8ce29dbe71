"""Where a backtest's records come from: a file of ITCH as `ultra run` reads it, or a tape.

Both hand batches of RECORD to a course, in order, each once, and hold one batch at a time: memory is flat however
long the data is. A file also says where a run numbers a hash of it, so that the numbers that follow are the same.
Known bad case: a file that ends inside a message is played up to there, which `damage` says.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from ..cold import assembly
from ..cold.frames import Frames
from ..config import Config
from ..hot import memory
from ..hot import ring as rings
from ..venues import itch
from ..wire import INSTRUMENT, NONE, RECORD, STATUS, TRADING
from . import tape as tapes
from .course import BacktestError, readied
from .fills import Priced

BATCH_RECORDS: Final = 1 << 16


class Tape(Protocol):
    """What a tape (`ultra.lab.tape.Tape`) is to a backtest."""

    @property
    def instruments(self) -> Sequence[Priced]:
        """Those of its records, by index."""

    def batches(self, size: int) -> Iterable[Any]:
        """Its records, in order, so many at a time."""


class Player(Protocol):
    """Who takes what is played: a course."""

    def pump(self, records: Any) -> None:
        """Take these records, in order."""

    def mark(self) -> None:
        """A part of a file is through."""


class Source(Protocol):
    """What can be played."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    @property
    def instruments(self) -> Sequence[Priced]:
        """Known before the first record, or empty."""

    @property
    def kind(self) -> str:
        """As a tape's: what its records say of the market."""

    @property
    def tape(self) -> Any:
        """The tape, None of a file."""

    @property
    def damage(self) -> str:
        """What was wrong with it, '' when nothing was."""

    def play(self, config: Config, course: Player) -> None:
        """Hand all of it to the course."""


class ItchFile:
    """A recorded day, decoded block by block."""

    kind, tape = "orders", None
    instruments: Sequence[Priced] = ()

    def __init__(self, path: Path) -> None:
        self.name, self.damage, self._path = str(path), "", path
        if not path.is_file():
            raise FileNotFoundError(2, "No such file", str(path))

    def play(self, config: Config, course: Player) -> None:
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
        self.tape, self.name, self.kind = tape, name, str(getattr(tape, "kind", "orders"))
        self.instruments: Sequence[Priced] = tuple(tape.instruments)
        if not self.instruments:
            raise BacktestError(f"{name} has no instruments: what its ticks and lots are worth is not known")

    def play(self, config: Config, course: Player) -> None:
        """Batch by batch."""
        first = True
        for batch in self.tape.batches(BATCH_RECORDS):
            records = readied(batch)
            if first and len(records):
                first = False
                course.pump(self._introduction(records))
            course.pump(records)

    def _introduction(self, records: Any) -> Any:
        """INSTRUMENT and STATUS records for whatever the first batch does not introduce."""
        ts, index, kind = int(records["ts_event"][0]), records["instrument"], records["kind"]
        every = set(range(len(self.instruments)))
        nameless = sorted(every - set(index[kind == INSTRUMENT].tolist()))
        stateless = sorted(every - set(index[kind == STATUS].tolist()))
        names = tapes.short_symbols([tapes.Instrument(k.symbol, k.tick_e9, k.lot_e9) for k in self.instruments])
        found = memory.zeros(len(nameless) + len(stateless), RECORD)
        found.ts_event = found.ts_recv = ts
        found.instrument = [*nameless, *stateless]
        for row, number in enumerate(nameless):
            known = self.instruments[number]
            found.kind[row], found.order_id[row] = INSTRUMENT, names[number]
            found.price[row], found.qty[row] = known.tick_e9, known.lot_e9
        states = found[len(nameless) :]
        states.kind, states.order_id, states.price, states.aux = STATUS, NONE, NONE, TRADING
        return readied(found)


def source_of(data: Any) -> Source:
    """What to play: an ITCH file by its name, a tape, or what `ultra.lab.data.load` makes a tape of."""
    if isinstance(data, ItchFile | TapeSource):
        return data
    if isinstance(data, str | Path):
        path = Path(data)
        if path.name.endswith((".itch50", ".itch50.gz")):
            return ItchFile(path)
    if hasattr(data, "batches") and hasattr(data, "instruments"):
        return TapeSource(data, str(getattr(data, "source", "") or "memory"))
    from . import data as files

    return TapeSource(files.load(data), str(data) if isinstance(data, str | Path) else type(data).__name__)
