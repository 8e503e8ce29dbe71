"""What must hold of a run that was killed piece by piece, held against the same run that nobody disturbed.

Its journal, read as it grows, says what the undisturbed one says, record for record: the hashes that the live engine
put there too. It has all that was called durable before a kill. Replayed, from its start and from its newest snapshot,
it is the engine that the undisturbed journal gives up to the same input; and its projections are the plain fold of its
records. Always true: what is compared was read from the files, not asked of those who wrote them.
Known bad case: both runs wrong in the same way; the fold, and the other tests, are there for that.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..cold import assembly, segment
from ..cold.projection import ProjectionError
from ..cold.replay import Replay, ReplayError
from ..cold.segment import JournalError
from ..cold.tail import Tail
from ..wire import CHECKPOINT, RECORD
from .fold import Fold
from .projections import project


class Reference(NamedTuple):
    """The run that nobody disturbed."""

    folder: Path
    records: Any  # of its journal, in order
    inputs: int
    state_hash: str
    decision_hash: str

    def engine_at(self, through: int) -> tuple[str, str]:
        """State and decision hash of its engine after so many inputs."""
        if through == self.inputs:
            return self.state_hash, self.decision_hash
        return _hashes(Replay(self.folder, until=through))


def reference(folder: Path, summary: dict[str, Any]) -> Reference:
    """Of a journal and of what its run printed."""
    frames = [frame.payload for frame in segment.read(folder) if frame.kind == segment.RECORDS]
    records = np.frombuffer(b"".join(frames), RECORD)
    return Reference(folder, records, summary["records"], summary["state_hash"], summary["decision_hash"])


class Witness:
    """One journal, read while its writers are killed."""

    def __init__(self, folder: Path, undisturbed: Reference) -> None:
        self._folder, self._undisturbed = folder, undisturbed
        self._tail: Tail | None = None
        self.through = self.read = self.hashes = 0  # inputs known, records compared, state hashes among them
        self.fold = Fold()

    def catch_up(self) -> Iterator[str]:
        """Read what has come; what is wrong with it, in words."""
        if self._tail is None and not segment.is_used(self._folder):
            return
        self._tail = self._tail or Tail(self._folder)
        try:
            for frame in self._tail.frames():
                self.through = max(self.through, frame.through)
                if frame.kind == segment.RECORDS:
                    yield from self._compare(np.frombuffer(frame.payload, RECORD))
        except JournalError as error:
            yield str(error)

    def _compare(self, records: Any) -> Iterator[str]:
        wanted = self._undisturbed.records[self.read : self.read + len(records)]
        if records.tobytes() != wanted.tobytes():
            pairs = zip(records.tolist(), wanted.tolist(), strict=False)
            at = next((k for k, (one, other) in enumerate(pairs) if one != other), len(wanted))
            yield f"record {self.read + at} of the journal is not that of the undisturbed run: {records[at]}"
        self.read += len(records)
        self.hashes += int((records["kind"] == CHECKPOINT).sum())
        self.fold.take(records)

    def close(self) -> None:
        """Let the file go."""
        if self._tail is not None:
            self._tail.close()


def proven(witness: Witness, undisturbed: Reference, folder: Path, database: Path, least: int) -> Iterator[str]:
    """Of a run that has ended: what does not hold, in words. `least` inputs were acknowledged."""
    yield from witness.catch_up()
    if witness.through < least:
        yield f"inputs below {least} were acknowledged, those below {witness.through} are in the journal"
    if not segment.is_used(folder) or not witness.through:
        return
    try:
        yield from _rebuilt(witness, undisturbed, folder, database)
    except (JournalError, ReplayError, ProjectionError) as error:
        yield str(error)


def _rebuilt(witness: Witness, undisturbed: Reference, folder: Path, database: Path) -> Iterator[str]:
    """Engines and projections that are made from it now."""
    wanted = undisturbed.engine_at(witness.through)
    for name, fast in (("from its start", False), ("from its newest snapshot", True)):
        replay = Replay(folder, fast=fast)
        found = _hashes(replay)
        if replay.result.skipped:
            yield f"a snapshot is of no use: {replay.result.skipped[0]}"
        if not replay.result.matches:
            yield f"replayed {name}: {replay.result.mismatch}"
        elif replay.result.records != witness.through:
            yield f"replayed {name} it has {replay.result.records} inputs, read it has {witness.through}"
        elif found != wanted:
            yield f"replayed {name} it is {found} at input {witness.through}, undisturbed {wanted}"
    project(folder, database)
    yield from witness.fold.differences(database, witness.through)


def _hashes(replay: Replay) -> tuple[str, str]:
    done = replay.play()
    return done.state_hash, assembly.decision_hash(done.machine.run.engine)
