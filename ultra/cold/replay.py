"""`ultra replay`: rebuild an engine from its journal, and prove that it is the same engine.

The journal's records are fed to the same compiled loop under their own numbers; where a number is missing, the next
message of the source file belongs there. At every checkpoint the state hash is computed again and must be equal, and so
must the hash of the source file. A run that was killed has no END: it is rebuilt to the last input the journal
knows of.
"""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from .. import config as configs
from .. import inline, strategy
from ..hot import engine as engines
from ..hot import ring as rings
from ..wire import CHECKPOINT, END, NONE, RECORD, SOURCE
from . import assembly, segment, source
from . import image as images
from .tail import Tail, since

NEVER: Final = 1 << 62


class ReplayError(Exception):
    """A journal that can't be replayed here: says what differs from the run and how to get it back."""


@dataclass
class Replayed:
    """What a replay found."""

    machine: assembly.Machine
    records: int = 0
    start: int = 0  # inputs that came out of a snapshot
    skipped: list[str] = field(default_factory=list)  # why newer snapshots were of no use
    unproven: str = ""  # what of the source nobody looked at
    wall_s: float = 0.0
    state_hash: str = ""
    matches: bool = True
    complete: bool = False
    checkpoints: int = 0
    verified: int = 0  # sequence of the last one whose hash agreed
    mismatch: str = ""


def _survey(folder: Path, whole: bool) -> tuple[dict[str, object], int]:
    """What the journal says about its run, and the sequence up to which all inputs are known: by its first frame and
    its last, and by all between if `whole`."""
    meta, through = None, 0
    for frame in segment.read(folder) if whole else _outermost(folder):
        if frame.kind == segment.META and meta is None:
            meta = frame.meta()
        through = max(through, frame.through)
    if meta is None:
        raise ReplayError(f"{folder}: the journal does not say what run it is of (no META frame)")
    return meta, through


def _outermost(folder: Path) -> Iterator[segment.Frame]:
    yield from itertools.islice(Tail(folder).rest(), 1)
    yield from since(folder, NEVER).rest()


def _words(records: Any) -> Any:
    """The same memory as rows of int64: NumPy copies records field by field, thirty times as long."""
    return records.view(np.ndarray).view(np.int64).reshape(-1, RECORD.itemsize // 8)


def _machine(config: configs.Config, loaded: strategy.Loaded) -> assembly.Machine:
    return assembly.assemble(config, loaded, [rings.create(RECORD, 16)])


class Replay:
    """One journal, read once."""

    def __init__(
        self,
        folder: Path,
        *,
        source_path: Path | None = None,
        force: bool = False,
        until: int | None = None,
        fast: bool = False,
        snapshot: Path | None = None,
        prove: bool = False,
        spec: str | None = None,
    ) -> None:
        """All inputs of a journal, or those below `until`. `fast` begins at the newest good snapshot, `snapshot` says
        at which; `prove` then hashes the source from its start all the same. `source_path` and `spec` say where source
        and strategy are, when they have moved. ReplayError when it can't be done here."""
        self._folder = folder
        self._prove, self._unhashed = prove, False
        self.meta, self._through = _survey(folder, prove or not (fast or snapshot))
        self._through = self._through if until is None else min(until, self._through)
        config = configs.parse(str(self.meta["config"]), f"{folder}: journaled configuration")
        loaded = strategy.load(spec or str(self.meta["strategy"]))
        if loaded.fingerprint != self.meta["strategy_fingerprint"] and not force:
            raise ReplayError(
                f"{loaded.spec} has changed since the run (code {loaded.fingerprint}, then "
                f"{self.meta['strategy_fingerprint']}): check out the version "
                "that ran, or replay with --force to see where it differs"
            )
        self._source = source_path or Path(str(self.meta["source"]))
        self._skipped: list[str] = []
        wanted = [snapshot] if snapshot else images.snapshots(folder, self._through) if fast else []
        found = self._restored(config, loaded, wanted)
        if snapshot and self._skipped:
            raise ReplayError(f"{self._skipped[0]}; --fast takes the newest that is good")
        self._machine, self._place = found or (_machine(config, loaded), 0)
        self._run = self._machine.run
        self._hashes: dict[int, str] = {}
        self._blocks: Iterator[source.Block] = iter(())
        self._records: Iterator[Any] = iter(())
        self._held: Any = np.zeros(8, np.uint8)  # of the source: what is not decoded yet is [at:stop]
        self._at = self._stop = 0
        self._ended = ""  # how the source ended when not in good order
        self._refers = config.journal.market_data == "reference"
        self.result = Replayed(self._machine, start=int(self._run.cells[inline.NEXT]), skipped=self._skipped)
        segment.refuse_retired(folder, self.result.start)

    def _restored(
        self, config: configs.Config, loaded: strategy.Loaded, wanted: list[Path]
    ) -> tuple[assembly.Machine, int] | None:
        """An engine out of the first of these snapshots that is good, and its place in the source."""
        for path in wanted:
            try:
                image = images.read(path)
                if image.journal_id != segment.journal_id(self._folder):
                    raise images.ImageError(f"{path} is of another run")
                if image.sequence > self._through:
                    raise images.ImageError(f"{path} holds {image.sequence} inputs, the journal {self._through}")
                machine = _machine(config, loaded)
                images.restore(image, machine, str(path))
                return machine, image.place
            except images.ImageError as error:
                self._skipped.append(str(error))
        return None

    def play(self) -> Replayed:
        """Replay to the end of the journal. ReplayError when its source is missing or another."""
        self.begin(self.journaled())
        self.advance(self._through)
        return self.finish()

    def begin(self, records: Iterator[Any]) -> None:
        """Make ready: these are the journal's records, an array at a time, from any input at or before the next."""
        self._run.cells[inline.REPLAYING] = 1
        self._run.cells[inline.UNTIL] = self.next
        assembly.compile_loop(self._machine)
        self._records = records
        self._blocks = self._stream() if self._refers else iter(())

    def advance(self, until: int) -> None:
        """Replay every input below `until`. All records of the journal below it must be among those of `begin`."""
        cells, begun = self._run.cells, time.perf_counter()
        cells[inline.UNTIL], cells[inline.ENDED] = until, 0
        while int(cells[inline.NEXT]) < until:
            self._at = self._machine.pump(self._run, self._machine.decoder, self._held, self._at, self._stop)
            why = int(cells[inline.STOPPED_FOR])
            if why == inline.CHECKPOINT_DUE:
                self._pass_mark()
            elif why == inline.NEED_RECORDS:
                self._refill(self._records)
            else:
                self._more()
        self.result.wall_s += time.perf_counter() - begun

    def take(self, records: Iterator[Any], until: int) -> None:
        """`advance`, with these records of the journal from here on."""
        self._records = records
        self.advance(until)

    def finish(self) -> Replayed:
        """What was found."""
        result = self.result
        result.records = self.next
        if not result.complete:
            result.state_hash = assembly.state_hash(self._run.engine)
        return result

    @property
    def next(self) -> int:
        """How many inputs the engine has had."""
        return int(self._run.cells[inline.NEXT])

    @property
    def machine(self) -> assembly.Machine:
        """The engine as it stands, and what drives it."""
        return self._machine

    @property
    def through(self) -> int:
        """Where it is to end."""
        return self._through

    @property
    def midnight_ns(self) -> int:
        """Where the session's day begins, in ns since the epoch; 0 when the run had no date."""
        return assembly.midnight_ns(self._machine.config.feed.date)

    @property
    def core(self) -> int:
        """The core of the engine that ran, -1 when it had none of its own."""
        return int(self._machine.config.engine.core)

    def image(self) -> images.Image:
        """The engine as it stands. It holds until the replay goes on."""
        place = self._place + self._at if self._refers else NONE
        return images.take(self._machine, place, segment.journal_id(self._folder), self.meta)

    def journaled(self) -> Iterator[Any]:
        """All records of the journal that the engine has not had, as `begin` wants them."""
        partly = self.result.start > 0 and not self._prove
        for frame in since(self._folder, self.result.start).rest() if partly else segment.read(self._folder):
            records = self.wanted(frame)
            if len(records):
                yield records

    def wanted(self, frame: segment.Frame) -> Any:
        """Records of a frame that the engine has not had when the replay began."""
        if frame.kind != segment.RECORDS or frame.through <= self.result.start:
            return ()
        records = np.frombuffer(frame.payload, RECORD)
        if frame.first >= self.result.start:
            return records
        return records[np.searchsorted(records["sequence"], self.result.start) :]

    def _refill(self, records: Iterator[Any]) -> None:
        """Keep the command ring filled with the journal's records; ENDED when there are no more."""
        ring = self._run.commands
        cells, capacity = ring.cells, len(ring.slots)
        room = capacity - int(cells[rings.CURSOR] - cells[rings.GATE])
        waiting = self._waiting
        words = _words(ring.slots)
        while room > 0:
            if not len(waiting):
                found = next(records, None)
                if found is None:
                    self._run.cells[inline.ENDED] = 1
                    break
                waiting = found
            cursor = int(cells[rings.CURSOR])
            count = min(room, len(waiting), capacity - cursor % capacity)
            words[cursor % capacity : cursor % capacity + count] = _words(waiting[:count])
            cells[rings.CURSOR] = cursor + count
            waiting, room = waiting[count:], room - count
        self._waiting = waiting

    _waiting: Any = ()

    def _pass_mark(self) -> None:
        """A record about the run itself: check what it says, then count it as the live engine did."""
        ring, engine, cells = self._run.commands, self._run.engine, self._run.cells
        gate = int(ring.cells[rings.GATE])
        record = ring.slots[gate & (len(ring.slots) - 1)]
        words, kind = (int(record.aux), int(record.order_id)), int(record.kind)
        if kind == SOURCE and self._unhashed:
            self.result.unproven = (
                f"bytes of {self._source} that changed no state: it was read from {self.result.start} inputs on, "
                "so its SHA-256 is not known (--prove)"
            )
        elif kind == SOURCE and self._refers:
            self._check_source(int(record.price), words)
        elif kind in (CHECKPOINT, END):
            found = assembly.state_hash(engine)
            self.result.checkpoints += 1
            if assembly.hash_words(found) != words:
                self._differs(f"state hash at input {int(record.sequence)} is {found}, the run's was another")
            else:
                self.result.verified = int(record.sequence)
            if kind == END:
                self.result.state_hash, self.result.complete = found, True
        engine.cells[engines.SEQUENCE] = record.sequence
        engine.cells[engines.NOW] = record.ts_event
        cells[inline.NEXT] += 1
        ring.cells[rings.GATE] = gate + 1

    def _check_source(self, offset: int, words: tuple[int, int]) -> None:
        while offset not in self._hashes and self._read():  # the rest of it holds no record of ours
            pass
        digest = self._hashes.get(offset, "")
        if not digest or assembly.hash_words(digest[:32]) != words:
            # It explains any difference of state before it.
            self.result.mismatch = ""
            self._differs(f"{self._source} is not the file of the run: its first {offset} bytes have another SHA-256")

    def _differs(self, what: str) -> None:
        self.result.mismatch = self.result.mismatch or what
        self.result.matches = False

    def _stream(self) -> Iterator[source.Block]:
        if not self._source.is_file():
            raise ReplayError(
                f"the journal refers to {self._source}, which is not there: give its place with --source FILE"
            )
        self._unhashed = self._place > 0 and not self._prove and not source.is_gzip(self._source)
        return source.ahead(self._source, self._machine.config.feed.chunk_bytes, self._place, not self._unhashed)

    def _more(self) -> None:
        """The feed's next record is due: read on until there is one. ReplayError when there is none left."""
        if not self._read():
            where = f"{self._source} ends" if self._refers else "the journal's records end"
            raise ReplayError(f"{where} before input {self._through}, which the run had taken{self._ended}")

    def _read(self) -> bool:
        """Put the next block of the source behind what is not decoded yet; False at its end."""
        try:
            block = next(self._blocks, None)
        except source.SourceError as error:
            block, self._ended = None, f": {error}"
        if block is None:
            return False
        self._hashes[block.file_offset] = block.sha256
        self._place += self._at
        rest = self._held[self._at : self._stop]
        self._held = np.concatenate([rest, np.frombuffer(block.data, np.uint8), np.zeros(8, np.uint8)])
        self._at, self._stop = 0, len(self._held) - 8
        return True
