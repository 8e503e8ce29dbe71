"""`ultra replay`: rebuild an engine from its journal, and prove that it is the same engine.

The journal's records are fed to the same compiled loop under their own numbers; where a number is missing, the next
message of the source file belongs there. At every checkpoint the state hash is computed again and must be equal, and so
must the hash of the source file. A run that was killed has no END: it is rebuilt to the last input the journal
knows of.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import config as configs
from .. import inline, strategy
from ..hot import engine as engines
from ..hot import ring as rings
from ..wire import CHECKPOINT, END, RECORD, SOURCE
from . import assembly, segment, source


class ReplayError(Exception):
    """A journal that can't be replayed here: says what differs from the run and how to get it back."""


@dataclass
class Replayed:
    """What a replay found."""

    machine: assembly.Machine
    records: int = 0
    wall_s: float = 0.0
    state_hash: str = ""
    matches: bool = True
    complete: bool = False
    checkpoints: int = 0
    mismatch: str = ""


def _survey(folder: Path) -> tuple[dict[str, object], int]:
    """What the journal says about its run, and the sequence up to which all inputs are known."""
    meta, through = None, 0
    for frame in segment.read(folder):
        if frame.kind == segment.META and meta is None:
            meta = frame.meta()
        through = max(through, frame.through)
    if meta is None:
        raise ReplayError(f"{folder}: the journal does not say what run it is of (no META frame)")
    return meta, through


class Replay:
    """One journal, read once."""

    def __init__(self, folder: Path, *, source_path: Path | None = None, force: bool = False) -> None:
        self._folder = folder
        meta, self._through = _survey(folder)
        config = configs.parse(str(meta["config"]), f"{folder}: journaled configuration")
        loaded = strategy.load(str(meta["strategy"]))
        if loaded.fingerprint != meta["strategy_fingerprint"] and not force:
            raise ReplayError(
                f"{loaded.spec} has changed since the run (code {loaded.fingerprint}, then "
                f"{meta['strategy_fingerprint']}): check out the version "
                "that ran, or replay with --force to see where it differs"
            )
        self._source = source_path or Path(str(meta["source"]))
        self._machine = assembly.assemble(config, loaded, [rings.create(RECORD, 16)])
        self._run = self._machine.run
        self._hashes: dict[int, str] = {}
        self._blocks: Iterator[source.Block] = iter(())
        self._held: Any = np.zeros(8, np.uint8)  # of the source: what is not decoded yet is [at:stop]
        self._at = self._stop = 0
        self._ended = ""  # how the source ended when not in good order
        self._refers = config.journal.market_data == "reference"
        self._result = Replayed(self._machine)

    def play(self) -> Replayed:
        """Replay to the end of the journal. ReplayError when its source is missing or another."""
        self.begin()
        cells, result, begun = self._run.cells, self._result, time.perf_counter()
        self.take(self._records(), self._through)
        result.wall_s = time.perf_counter() - begun
        result.records = int(cells[inline.NEXT])
        if not result.complete:
            result.state_hash = assembly.state_hash(self._run.engine)
        return result

    @property
    def machine(self) -> assembly.Machine:
        """The engine, as far as it was replayed."""
        return self._machine

    def begin(self) -> Replayed:
        """Ready for `take`. What is returned grows with it."""
        self._run.cells[inline.REPLAYING], self._run.cells[inline.UNTIL] = 1, 0
        assembly.compile_loop(self._machine)
        self._blocks = self._stream() if self._refers else iter(())
        return self._result

    def take(self, records: Iterator[Any], through: int) -> None:
        """Take these records of the journal, and every input below `through`. ReplayError as `play`."""
        cells = self._run.cells
        cells[inline.ENDED], cells[inline.UNTIL] = 0, through
        self._refill(records)
        while int(cells[inline.NEXT]) < through:
            self._at = self._machine.pump(self._run, self._machine.decoder, self._held, self._at, self._stop)
            why = int(cells[inline.STOPPED_FOR])
            if why == inline.CHECKPOINT_DUE:
                self._pass_mark()
            elif why == inline.NEED_RECORDS:
                self._refill(records)
            else:
                self._more()

    def _records(self) -> Iterator[Any]:
        for frame in segment.read(self._folder):
            if frame.kind == segment.RECORDS:
                yield np.frombuffer(frame.payload, RECORD)

    def _refill(self, records: Iterator[Any]) -> None:
        """Keep the command ring filled with the journal's records; ENDED when there are no more."""
        ring = self._run.commands
        cells, capacity = ring.cells, len(ring.slots)
        room = capacity - int(cells[rings.CURSOR] - cells[rings.GATE])
        waiting = self._waiting
        while room > 0:
            if not len(waiting):
                found = next(records, None)
                if found is None:
                    self._run.cells[inline.ENDED] = 1
                    break
                waiting = found
            cursor = int(cells[rings.CURSOR])
            count = min(room, len(waiting), capacity - cursor % capacity)
            ring.slots[cursor % capacity : cursor % capacity + count] = waiting[:count]
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
        if kind == SOURCE and self._refers:
            self._check_source(int(record.price), words)
        elif kind in (CHECKPOINT, END):
            found = assembly.state_hash(engine)
            self._result.checkpoints += 1
            if assembly.hash_words(found) != words:
                self._differs(f"state hash at input {int(record.sequence)} is {found}, the run's was another")
            if kind == END:
                self._result.state_hash, self._result.complete = found, True
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
            self._result.mismatch = ""
            self._differs(f"{self._source} is not the file of the run: its first {offset} bytes have another SHA-256")

    def _differs(self, what: str) -> None:
        self._result.mismatch = self._result.mismatch or what
        self._result.matches = False

    def _stream(self) -> Iterator[source.Block]:
        if not self._source.is_file():
            raise ReplayError(
                f"the journal refers to {self._source}, which is not there: give its place with --source FILE"
            )
        return source.ahead(self._source, self._machine.config.feed.chunk_bytes)

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
        rest = self._held[self._at : self._stop]
        self._held = np.concatenate([rest, np.frombuffer(block.data, np.uint8), np.zeros(8, np.uint8)])
        self._at, self._stop = 0, len(self._held) - 8
        return True
