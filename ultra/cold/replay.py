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
from .live import FRAME_BYTES_MAX


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


class Replay:
    """One journal, read once."""

    def __init__(self, folder: Path, *, source_path: Path | None = None, force: bool = False) -> None:
        self._frames = list(segment.read(folder))
        if not self._frames or self._frames[0].kind != segment.META:
            raise ReplayError(f"{folder}: the journal does not say what run it is of (no META frame)")
        meta = self._frames[0].meta()
        config = configs.parse(str(meta["config"]), f"{folder}: journaled configuration")
        loaded = strategy.load(str(meta["strategy"]))
        if loaded.fingerprint != meta["strategy_fingerprint"] and not force:
            raise ReplayError(
                f"{loaded.spec} has changed since the run (code {loaded.fingerprint}, then "
                f"{meta['strategy_fingerprint']}): check out the version "
                "that ran, or replay with --force to see where it differs"
            )
        self._source = source_path or Path(str(meta["source"]))
        self._machine = assembly.assemble(config, loaded, rings.create(RECORD, 16))
        self._run = self._machine.run
        self._through = max(frame.through for frame in self._frames)
        self._hashes: dict[int, str] = {}
        self._refers = config.journal.market_data == "reference"
        self._result = Replayed(self._machine)

    def play(self) -> Replayed:
        """Replay to the end of the journal. ReplayError when its source is missing or another."""
        cells, result = self._run.cells, self._result
        cells[inline.REPLAYING], cells[inline.UNTIL] = 1, self._through
        self._machine.pump(self._run, self._machine.decoder, np.zeros(8, np.uint8), 0, 0)  # compile, or load
        begun = time.perf_counter()
        records = self._records()
        stream = self._stream()
        self._refill(records)
        held: Any = np.zeros(8, np.uint8)
        at = stop = 0
        while int(cells[inline.NEXT]) < self._through:
            at = self._machine.pump(self._run, self._machine.decoder, held, at, stop)
            why = int(cells[inline.STOPPED_FOR])
            if why == inline.CHECKPOINT_DUE:
                self._pass_mark()
            elif why == inline.NEED_RECORDS:
                self._refill(records)
            else:
                held, at, stop = self._more(stream, held, at, stop)
        result.wall_s = time.perf_counter() - begun
        result.records = int(cells[inline.NEXT])
        if not result.complete:
            result.state_hash = assembly.state_hash(self._run.engine)
        return result

    def _records(self) -> Iterator[Any]:
        for frame in self._frames:
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
        digest = self._hashes.get(offset)
        if digest is None or assembly.hash_words(digest[:32]) != words:
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

    def _more(self, stream: Iterator[source.Block], held: Any, at: int, stop: int) -> tuple[Any, int, int]:
        """The undecoded rest and the next block of the source."""
        try:
            block = next(stream)
        except (StopIteration, source.SourceError) as error:
            why = str(error) or "end of file"
            raise ReplayError(
                f"{self._source} ends before input {self._through}, which the run had taken: {why}"
            ) from error
        self._hashes[block.file_offset] = block.sha256
        rest = held[at:stop]
        joined = np.concatenate([rest, np.frombuffer(block.data, np.uint8), np.zeros(8, np.uint8)])
        assert len(rest) <= FRAME_BYTES_MAX
        return joined, 0, len(joined) - 8
