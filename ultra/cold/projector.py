"""`ultra project`: a journal made into projections, from the start, or on from where they stand, or as it grows.

An engine replays the journal frame by frame, and at the end of a frame its state and the frame's records are what a
commit writes. It is not the engine that trades: it reads the journal's files, in a process of its own, whenever it
likes. A projector that was killed replays again up to where its last commit was, and goes on from there.

Invariant: what is committed was read in the journal. Each frame is hashed into a chain; a journal that says otherwise
than it did when the projections were written (a power cut took its end) makes them start again.
Known bad case: going on costs a replay of all that was; the projections are not read back.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from .. import inline
from ..wire import RECORD
from . import segment
from .projection import Projection
from .replay import Replay, ReplayError
from .tail import Tail

COMMIT_S: Final = 0.5  # of a journal that is there already
POLL_S: Final = 0.02


@dataclass
class Projected:
    """What was done."""

    path: Path
    sequence: int = 0
    records: int = 0  # inputs that an engine took
    commits: int = 0
    wall_s: float = 0.0
    complete: bool = False  # the run had ended in good order
    resumed_at: int = 0


class Projector:
    """One journal, on its way into one database."""

    def __init__(
        self, replay: Replay, folder: Path, path: Path, *, commit_s: float = COMMIT_S, rebuild: bool = False
    ) -> None:
        self._replay, self._tail, self._commit_s = replay, Tail(folder), commit_s
        self._engine = replay.machine.run.engine
        replay.begin(iter(()))
        self._result = replay.result
        first = next(self._tail.frames())
        self._projection = Projection(path, self._tail.journal_id.hex(), replay.machine.loaded.spec)
        if rebuild or not self._agrees(folder):
            self._projection.clear(self._tail.journal_id.hex(), replay.machine.loaded.spec)
        self.projected = Projected(path, resumed_at=self._projection.sequence)
        self._through, self._chain, self._dirty = 0, chained(0, first), False

    def _agrees(self, folder: Path) -> bool:
        tail = Tail(folder)
        try:
            return agrees(tail.frames(), self._projection.sequence, self._projection.chain)
        finally:
            tail.close()

    def follow(self) -> Projected:
        """As `play`, then whatever comes, until the run has ended in good order."""
        while not self.play().complete:
            time.sleep(POLL_S)
        return self.projected

    def play(self, frames_max: int = 1 << 62) -> Projected:
        """Everything that is there, or so many frames of it; ReplayError when it is not the engine that ran."""
        begun = committed = time.perf_counter()
        for number, frame in enumerate(self._tail.frames(), 1):
            self._take(frame)
            now = time.perf_counter()
            if number >= frames_max:
                break
            if now - committed >= self._commit_s:
                self._commit()
                committed = now
        self._commit()
        done = self.projected
        done.records, done.sequence = int(self._replay.machine.run.cells[inline.NEXT]), self._through
        done.wall_s += time.perf_counter() - begun
        done.complete = self._result.complete
        return done

    def _take(self, frame: segment.Frame) -> None:
        held = [np.frombuffer(frame.payload, RECORD)] if frame.kind == segment.RECORDS else []
        self._replay.take(iter(held), frame.through)
        if not self._result.matches:
            raise ReplayError(f"{self._result.mismatch}: nothing is projected from there on")
        for records in held:
            self._projection.see(records, self._engine.market)
        self._through, self._chain = max(self._through, frame.through), chained(self._chain, frame)
        self._dirty = self._through > self._projection.sequence

    def _commit(self) -> None:
        if self._dirty:
            self._projection.commit(self._engine, self._through, self._chain, complete=self._result.complete)
            self.projected.commits += 1
        self._dirty = False

    def close(self) -> None:
        """Let the database go."""
        self._tail.close()
        self._projection.close()


def chained(chain: int, frame: segment.Frame) -> int:
    """A hash over all frames so far."""
    head = f"{chain},{frame.kind},{frame.first},{frame.count},{frame.through}".encode()
    return zlib.crc32(frame.payload, zlib.crc32(head))


def agrees(frames: Iterable[segment.Frame], sequence: int, chain: int) -> bool:
    """Whether a journal still says what it said when projections of all inputs below `sequence` had this chain."""
    found, through = 0, 0
    for frame in frames:
        found, through = chained(found, frame), max(through, frame.through)
        if through > sequence:
            break
        if through == sequence and found == chain:
            return True
    return sequence == 0
