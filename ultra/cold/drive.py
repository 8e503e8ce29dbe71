"""The engine's loop, driven: called again and again, and seen to in whatever it stops for.

One engine, its one or two journals, and what a run leaves behind. Where the records come from is the caller's business:
`live` decodes a file in this thread, a stage of `host` takes them from another process.
"""

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from .. import inline, strategy
from ..config import Config
from ..hot import engine as engines
from ..hot import hiccup
from ..wire import CHECKPOINT, END, HALT
from . import assembly, labels, waybill
from .answers import Entry
from .assembly import Machine
from .desk import Desk, DeskError
from .segment import JournalError
from .tap import Tap, session_of

HICCUP_MS: Final = 120
NOTHING: Final = np.zeros(8, np.uint8)
GATED_S: Final = 0.00005
LOOK_RECORDS: Final = 1 << 16  # after so many the loop comes back, whatever it could still take


class RunError(Exception):
    """A run that can't go on: says what stopped it, how far it got, and what to do."""


@dataclass
class Outcome:
    """What a run leaves behind, for the summary."""

    machine: Machine
    folder: Path
    source: str  # the file, or the address of the feed
    wall_s: float = 0.0  # from the first byte to the last answer
    loop_s: float = 0.0  # of it, inside the compiled loop
    startup_s: float = 0.0
    processed: int = 0
    durable: int = 0
    state_hash: str = ""
    truncated_at: int = -1
    source_error: str = ""
    drained: bool = False  # SIGTERM ended it before the file did
    hiccup: dict[str, int] = field(default_factory=dict)
    ring: str = ""  # name of the journal's ring while the run lasted, "" when it had none
    notes: list[str] = field(default_factory=list)  # what was wished of its memory and not granted
    venue: dict[str, Any] = field(default_factory=dict)  # how it went with a real one


class Drive:
    """A machine at work. `turn` is called whenever the loop comes back, `busy` before a state is hashed."""

    def __init__(
        self,
        machine: Machine,
        taps: list[Any],  # `tap.Tap`s, or what stands for them where all is in one thread
        outcome: Outcome,
        turn: Callable[["Drive"], None] | None = None,
        busy: Callable[[], None] | None = None,
    ) -> None:
        self.machine, self.outcome = machine, outcome
        self._taps, self._turn, self._busy = taps, turn, busy
        self._desk: Desk | None = None
        self.checkpoint_at = int(self.run.cells[inline.CHECKPOINT_AT])
        outcome.ring = taps[0].segment.header.name
        outcome.notes += [note for tap in taps for note in tap.segment.notes]

    @property
    def run(self) -> inline.Run:
        """What the loop works on."""
        return self.machine.run

    def begin(self, about: dict[str, object]) -> None:
        """Start the journals, put the limits and parameters in, and listen to the operator."""
        for tap in self._taps:
            tap.start(about)
        assembly.introduce(self.machine)
        self.pump(NOTHING, 0, 0)
        self.listen()

    def pump(self, buffer: Any, start: int, stop: int) -> int:
        """Call the loop until it has taken these bytes, seeing to whatever it stops for."""
        cells, at = self.run.cells, start
        while True:
            if self._desk is not None:  # here only: what it puts in is taken before anything else, a checkpoint too
                self._desk.turn()
            cells[inline.CHECKPOINT_AT] = min(self.checkpoint_at, int(cells[inline.NEXT]) + LOOK_RECORDS)
            labels.at("engine.pump.before")
            begun, machine = time.perf_counter(), self.machine  # `turn` may put another in its place
            at = machine.pump(machine.run, machine.intake, buffer, at, stop)
            self.outcome.loop_s += time.perf_counter() - begun
            labels.at("engine.pump.after")
            self._look()
            if self._desk is not None:
                self._desk.answer()
            if self._turn is not None:
                self._turn(self)
            why = int(cells[inline.STOPPED_FOR])
            if cells[inline.HELD]:
                for tap in self._taps:
                    tap.hurry()
            if why in (inline.NEED_BYTES, inline.PACED):
                return at
            if why == inline.JOURNAL_FULL:
                self._taps[0].wait_room()
            elif why == inline.CHECKPOINT_DUE and int(cells[inline.NEXT]) >= self.checkpoint_at:
                self._checkpoint(CHECKPOINT)
            elif why == inline.GATED:
                for tap in self._taps:
                    tap.hurry()
                time.sleep(GATED_S)

    def _look(self) -> None:
        """Hear of a journal that failed. By policy that ends the run; or new orders end, and what rests can be taken
        back. Not when requests wait for the journal: none could leave."""
        wished = self.machine.config.journal
        for tap in self._taps:
            try:
                tap.check()
            except JournalError as error:
                if wished.on_failure != "shed" or wished.durability == "gated":
                    raise
                number = int(self.run.cells[inline.NEXT])
                tap.give_up(f"{error} New orders were refused from input {number} on, which is not journaled.")
                now = int(self.run.engine.cells[engines.NOW])
                assembly.command(self.run, kind=HALT, ts_event=now, ts_recv=now, aux=1)
                if self._desk is not None:
                    self._desk.lose(str(error))

    def _checkpoint(self, kind: int) -> str:
        if self._busy is not None:
            self._busy()
        labels.at("engine.checkpoint.before")
        found = assembly.state_hash(self.run.engine)
        first, second = assembly.hash_words(found)
        now = int(self.run.engine.cells[engines.NOW])
        assembly.command(self.run, kind=kind, ts_event=now, ts_recv=now, aux=first, order_id=second)
        labels.at("engine.checkpoint.after")
        self.checkpoint_at = int(self.run.cells[inline.NEXT]) + self.machine.config.engine.checkpoint_records
        return found

    def finish(self) -> None:
        """Nothing more comes: answer what is under way, then put the last hash in behind everything else."""
        self.run.cells[inline.ENDED] = 1
        self.pump(NOTHING, 0, 0)
        if self._desk is not None:
            self._desk.stop()
            self.pump(NOTHING, 0, 0)
        labels.at("engine.end.before")
        self.outcome.state_hash = self._checkpoint(END)
        self.pump(NOTHING, 0, 0)
        labels.at("engine.end.after")

    def close(self) -> None:
        """Wait until all is on disk, and note how the core behaved. JournalError when a journal was given up."""
        lost = [tap for tap in self._taps if tap.lost]
        for tap in self._taps:
            if tap.lost:
                tap.abandon()
            else:
                tap.close()
        self._close_desk()
        self.outcome.processed, self.outcome.durable = int(self.run.cells[inline.NEXT]), self.durable
        if lost:
            raise JournalError(lost[0].lost)
        self.outcome.hiccup = hiccup.measure(HICCUP_MS, self.machine.config.engine.core)

    def abandon(self) -> None:
        """The journals write what they have, and end."""
        for tap in self._taps:
            tap.abandon()
        self._close_desk()

    def listen(self, known: dict[str, Entry] | None = None) -> None:
        """Open the operator's desk; `known` are the commands that an engine before this one took. DeskError when a
        session that has a name can't be commanded; of one without, a note says so."""
        config = self.machine.config
        session = self.outcome.ring.partition(".")[0] or session_of(config)
        try:
            shipped = waybill.Reader(self._taps[0].folder)
            self._desk = Desk(self.machine, session, lambda: self.durable, known, shipped.through)
        except DeskError as error:
            if config.engine.session:
                raise
            self.outcome.notes.append(f"nobody can command it: {error}")

    def _close_desk(self) -> None:
        if self._desk is not None:
            self._desk.close()
            self._desk = None

    @property
    def durable(self) -> int:
        """Every input below this sequence is on disk, in every journal."""
        durable: int = min(tap.durable for tap in self._taps)
        return durable


def folders_of(config: Config, folder: Path) -> dict[str, Path]:
    """The journal of a run, and its mirror if there is one, by the names of their rings."""
    return {"journal": folder, **({"mirror": Path(config.journal.mirror)} if config.journal.mirror else {})}


def taps_of(config: Config, folder: Path, *, resume: bool = False) -> list[Tap]:
    """Our ends of them."""
    taps: list[Tap] = []
    for name, place in folders_of(config, folder).items():
        try:
            taps.append(Tap(config, place, name, resume=resume))
        except BaseException:
            for tap in taps:
                tap.abandon()
            raise
    return taps


def check_core(core: int, key: str) -> None:
    """RunError unless this process may use the core; -1 asks for none."""
    allowed = os.sched_getaffinity(0)
    if core >= 0 and core not in allowed:
        raise RunError(f"{key} = {core}: not a core we may use ({sorted(allowed)})")


@contextlib.contextmanager
def quiet(core: int) -> Iterator[None]:
    """Pinned, and without Python's garbage collector, while the engine runs."""
    before = os.sched_getaffinity(0)
    if core >= 0:
        os.sched_setaffinity(0, {core})
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
        os.sched_setaffinity(0, before)


def describe(config: Config, loaded: strategy.Loaded, path: Path) -> dict[str, object]:
    """What the journal says about a run over a file: enough to rebuild it."""
    return described(config, loaded, str(path.resolve()), path.stat().st_size)


def described(config: Config, loaded: strategy.Loaded, source: str, source_bytes: int) -> dict[str, object]:
    """The same of any source. `source_bytes` is 0 when it is no file; then the journal holds all of it."""
    return {
        "format": 1,
        "config": config.to_toml(),
        "strategy": strategy.absolute(loaded.spec),
        "strategy_fingerprint": loaded.fingerprint,
        "source": source,
        "source_bytes": source_bytes,
    }
