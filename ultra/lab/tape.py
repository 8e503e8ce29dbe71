"""A tape: the market records of some instruments in order of time, wherever they are kept.

Every reader gives one, every backtest takes one. It is read by `batches`, as often as wanted, in memory that does not
grow with it; or whole, by `array`, which maps a raw tape file without copying it.

    order     ts_event never goes back; `sequence` is 0 (whoever plays a tape numbers its inputs)
    kinds     "orders"  ADD, EXECUTE, CANCEL, DELETE, REPLACE of single orders, and TRADE
              "levels"  LEVEL: whole price levels of an aggregated feed, and TRADE
              "ticks"   the best level of each side as LEVEL, and TRADE
              "bars"    BAR, stamped at its end
    first     of every instrument an INSTRUMENT record, before anything else of it

Known bad case: `array` of a tape that is not a raw file takes 64 bytes of memory a record.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ..hot import memory
from ..wire import BAR, INSTRUMENT, LEVEL, RECORD, REPLACE, symbol_to_int
from . import ulc
from .ulc import TapeError

__all__ = ["KINDS", "Instrument", "Kind", "Tape", "TapeError", "introduced", "open", "write"]

Kind = Literal["orders", "levels", "bars", "ticks"]
KINDS: Final[tuple[Kind, ...]] = ("orders", "levels", "bars", "ticks")
BATCH_RECORDS: Final = 1 << 16


@dataclass(frozen=True)
class Instrument:
    """What is traded, and in what units: a price of n is n * tick_e9 / 1e9 of the currency, a quantity of n lots is
    n * lot_e9 / 1e9. `step` is how many ticks usually lie between two prices."""

    symbol: str
    tick_e9: int
    lot_e9: int
    venue: str = ""
    step: int = 1

    def __post_init__(self) -> None:
        if self.tick_e9 <= 0 or self.lot_e9 <= 0 or self.step <= 0:
            raise TapeError(f"{self.symbol}: tick, lot and step must be above 0, and whole 1e-9ths")


Batches = Callable[[int], Iterator[Any]]


@dataclass
class Tape:
    """Market records in order. `records`, `first_ts` and `last_ts` of a source that does not say them are counted when
    they are asked for, by reading all of it once."""

    instruments: tuple[Instrument, ...]
    kind: Kind
    read: Batches = field(repr=False)  # arrays of about so many records; `sequence` may be a row of the source
    whole: Callable[[], Any] | None = field(default=None, repr=False)  # all of them, where that costs nothing
    source: str = ""
    notes: dict[str, int] = field(default_factory=dict)  # what a reader had to infer or leave out, counted
    facts: tuple[int, int, int] | None = field(default=None, repr=False)  # records, first ts, last ts

    @staticmethod
    def of(records: Any, instruments: Sequence[Instrument], kind: Kind | None = None, source: str = "") -> "Tape":
        """A tape of records in memory (RECORD array), with INSTRUMENT records put in front where there are none.

        Without `kind` the records tell it. TapeError when time goes back, or an instrument is not in the list."""
        found = np.array(records, RECORD)
        found["sequence"] = 0
        ts, index = found["ts_event"], found["instrument"]
        if len(found) and np.diff(ts).min(initial=0) < 0:
            at = int(np.argmax(np.diff(ts) < 0)) + 1
            raise TapeError(f"record {at} is {int(ts[at - 1] - ts[at])} ns before the one in front of it: sort by time")
        if len(found) and not 0 <= index.min() <= index.max() < len(instruments):
            raise TapeError(f"records of instrument {int(index.max())}, and {len(instruments)} instruments are given")
        parts = list(introduced(instruments, iter([found] if len(found) else [])))
        everything = np.concatenate(parts) if parts else found
        about = (len(everything), int(ts[0]), int(ts[-1])) if len(found) else (0, 0, 0)

        def read(size: int) -> Iterator[Any]:
            for at in range(0, len(everything), size):
                yield everything[at : at + size].copy()

        chosen = kind or kind_of(found)
        return Tape(tuple(instruments), chosen, read, lambda: everything, source or "memory", {}, about)

    @property
    def records(self) -> int:
        """How many there are, INSTRUMENT records too."""
        return self._facts()[0]

    @property
    def first_ts(self) -> int:
        """`ts_event` of the first record, ns since the epoch, UTC; 0 when there is none."""
        return self._facts()[1]

    @property
    def last_ts(self) -> int:
        """`ts_event` of the last."""
        return self._facts()[2]

    def _facts(self) -> tuple[int, int, int]:
        if self.facts is None:
            count, first, last = 0, 0, 0
            for batch in self.batches():
                first = first if count else int(batch["ts_event"][0])
                count, last = count + len(batch), int(batch["ts_event"][-1])
            self.facts = (count, first, last)
        return self.facts

    def batches(self, size: int = BATCH_RECORDS) -> Iterator[Any]:
        """All records from the first, at most `size` at a time: recarrays of RECORD, each yours to write."""
        if size <= 0:
            raise TapeError(f"a batch of {size} records: it takes at least one")
        for batch in self.read(size):
            batch["sequence"] = 0
            for at in range(0, len(batch), size):
                yield batch[at : at + size].view(np.recarray)

    def array(self) -> Any:
        """All records as one recarray. Of a raw tape file it is mapped: every process shares one copy in memory, and
        what is written to it stays in the process that writes."""
        if self.whole is not None:
            return self.whole().view(np.recarray)
        parts = list(self.batches())
        return (np.concatenate(parts) if parts else np.zeros(0, RECORD)).view(np.recarray)

    def __len__(self) -> int:
        return self.records

    def __str__(self) -> str:
        names = ", ".join(instrument.symbol for instrument in self.instruments[:5])
        more = f" and {len(self.instruments) - 5} more" if len(self.instruments) > 5 else ""
        return f"tape of {self.kind}: {names}{more}, {self.records:,} records, {self.source}"


def introduced(instruments: Sequence[Instrument], batches: Iterable[Any]) -> Iterator[Any]:
    """A stream of records with an INSTRUMENT record in front of whatever has none of its own there.

    Looked for in the first batch only: a feed's own come before its orders, so an instrument that is not introduced
    among its first records gets one from us."""
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        return
    missing = unintroduced(len(instruments), first)
    if missing:
        yield introductions(instruments, int(first["ts_event"][0]))[missing]
    yield first
    yield from stream


def unintroduced(count: int, first: Any) -> list[int]:
    """Of so many instruments those whose first record in the first batch is not INSTRUMENT."""
    index, places = np.unique(first["instrument"], return_index=True)
    own = set(index[first["kind"][places] == INSTRUMENT].tolist())
    return [number for number in range(count) if number not in own]


def introductions(instruments: Sequence[Instrument], ts: int) -> Any:
    """An INSTRUMENT record of each, in order of its index."""
    found = memory.zeros(len(instruments), RECORD)
    found.kind, found.ts_event, found.ts_recv = INSTRUMENT, ts, ts
    found.instrument = np.arange(len(instruments))
    found.order_id = short_symbols(instruments)
    found.price = [instrument.tick_e9 for instrument in instruments]
    found.qty = [instrument.lot_e9 for instrument in instruments]
    found.aux = [instrument.step for instrument in instruments]
    return found


def short_symbols(instruments: Sequence[Instrument]) -> list[int]:
    """Symbols as the eight bytes of a record. A longer one is cut, and numbered where that is taken."""
    taken: dict[int, None] = {}
    for instrument in instruments:
        name = instrument.symbol.encode("ascii", "replace").decode() or "?"
        code, number = symbol_to_int(name[:8]), 1
        while code in taken:
            number += 1
            code = symbol_to_int(name[: 8 - len(str(number))] + str(number))
        taken[code] = None
    return list(taken)


def kind_of(records: Any) -> Kind:
    """What kind of tape some records make."""
    kinds = set(np.unique(records["kind"]).tolist()) - {INSTRUMENT}
    if BAR in kinds:
        return "bars"
    if LEVEL in kinds:
        return "levels"
    return "orders" if any(kind <= REPLACE for kind in kinds) else "ticks"


def open(path: str | Path) -> Tape:
    """A tape file. TapeError when it is none, or damaged; what is in its chunks is checked as they are read."""
    file = ulc.File(Path(path))
    meta = file.meta
    try:
        instruments = tuple(Instrument(**fields) for fields in meta["instruments"])
        kind, notes = meta["kind"], {str(name): int(count) for name, count in meta["notes"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise TapeError(f"{path}: its meta data lack {error}: convert the source again") from error
    if kind not in KINDS:
        raise TapeError(f"{path}: a tape of kind {kind!r}; this version knows {', '.join(KINDS)}")

    def read(size: int) -> Iterator[Any]:
        for number in range(len(file.chunks)):
            yield from _pieces(file.read(number), size)

    whole = file.rows if file.layout == ulc.RAW else None
    return Tape(instruments, kind, read, whole, str(path), notes, (file.records, file.first_ts, file.last_ts))


def _pieces(records: Any, size: int) -> Iterator[Any]:
    for at in range(0, len(records), size):
        yield records[at : at + size]


def write(
    path: str | Path,
    tape: Tape,
    *,
    compress: bool = False,
    chunk_records: int = ulc.CHUNK_RECORDS,
    progress: Callable[[int], None] | None = None,
) -> Tape:
    """A tape as a file: raw, to be mapped, or with `compress` packed by zstd. `progress` is called with the records
    written so far. The name is there once the file is whole. TapeError when time goes back."""
    writer = ulc.Writer(Path(path), _meta_of(tape), packed=compress, chunk_records=chunk_records)
    try:
        done = 0
        for batch in tape.batches(min(chunk_records, BATCH_RECORDS)):
            writer.append(batch)
            done += len(batch)
            if progress is not None:
                progress(done)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return open(path)


def _meta_of(tape: Tape) -> dict[str, Any]:
    """By reference where it counts on while it is read: `notes` is written when the tape is through."""
    listed = [vars(instrument) for instrument in tape.instruments]
    return {"kind": tape.kind, "instruments": listed, "source": tape.source, "notes": tape.notes}
