"""`ultra run`: a recorded stream through the engine, its inputs journaled by a process beside it.

Order of things: limits checked, journal folder and process ready, code compiled, memory touched, core pinned, then the
first record. At the end the inputs still under way are answered, a last hash of the state is journaled, and the
journal process is waited for: what the summary calls `local` is on disk.
"""

import contextlib
import gc
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from .. import inline, strategy
from ..config import Config
from ..hot import engine as engines
from ..hot import hiccup
from ..hot import ring as rings
from ..wire import CHECKPOINT, END, JOURNAL_CLOSE, JOURNAL_DURABLE, JOURNAL_FAILED, RECORD, SOURCE
from . import assembly, shared, source
from .assembly import Machine
from .pages import Backing
from .segment import JournalError, refuse_used

# Not `-m`: Python can't run a compiled module as a program.
JOURNAL: Final = "from ultra.cold.journal import process; raise SystemExit(process())"
FRAME_BYTES_MAX: Final = 2 + 65535
HICCUP_MS: Final = 120
RING_NAME: Final = "journal"
SOURCE_MARK_BYTES: Final = 64 << 20
QUIET_GAP_NS: Final = 60_000_000_000  # longer silences of a recording are skipped when it is paced
_RUNS: Final = itertools.count()  # of this process; two may be under way


class RunError(Exception):
    """A run that can't go on: says what stopped it, how far it got, and what to do."""


@dataclass
class Outcome:
    """What a run leaves behind, for the summary."""

    machine: Machine
    folder: Path
    source: Path
    stream_bytes: int = 0
    wall_s: float = 0.0  # from the first byte to the last answer
    loop_s: float = 0.0  # of it, inside the compiled loop
    startup_s: float = 0.0
    processed: int = 0
    durable: int = 0
    state_hash: str = ""
    truncated_at: int = -1
    source_error: str = ""
    hiccup: dict[str, int] = field(default_factory=dict)
    ring: str = ""  # name of the journal's ring while the run lasted, "" when it had none
    notes: list[str] = field(default_factory=list)  # what was wished of its memory and not granted


class Tap:
    """The journal process and our end of its ring."""

    def __init__(self, config: Config, folder: Path) -> None:
        refuse_used(folder)
        self.folder = folder
        self._config = config
        self.segment = _segment(config)
        self.ring = rings.over(self.segment.body, RECORD, config.journal.ring_records)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, meta: dict[str, object]) -> None:
        """Start the journal's process. It need not be ready when the first record comes: the ring holds them."""
        config, folder, handle = self._config, self.folder, self.segment.handle
        command = [
            sys.executable, "-P", "-c", JOURNAL, "--folder", str(folder), "--ring-file", str(handle),
            "--segment-bytes", str(config.journal.segment_bytes), "--batch-max", str(config.journal.batch_record_max),
        ]  # fmt: skip
        if not config.journal.sync:
            command.append("--no-sync")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(handle,), env=_environment())
        self.segment.close_handle()
        with contextlib.suppress(BrokenPipeError):  # it ended at once: `check` says so
            self._pipe.write(json.dumps(meta).encode() + b"\n")
            self._pipe.flush()

    @property
    def _pipe(self) -> IO[bytes]:
        """Our end of the pipe: while it is open, the journal knows that we live."""
        assert self._process is not None and self._process.stdin is not None, "the journal was not started"
        return self._process.stdin

    @property
    def durable(self) -> int:
        """Every input below this sequence is on disk."""
        return int(self.ring.cells[JOURNAL_DURABLE])

    def check(self) -> None:
        """JournalError when the journal failed or is gone."""
        failed = int(self.ring.cells[JOURNAL_FAILED])
        ended = None if self._process is None else self._process.poll()
        if failed or ended is not None:
            reason = os.strerror(failed) if failed else f"its process ended with code {ended}"
            raise JournalError(
                f"journal {self.folder}: {reason}; on disk up to input {self.durable}. Free space or choose another "
                "folder, then run again; `ultra replay` shows what is there."
            )

    def wait_room(self) -> None:
        """The ring is full: wait for the journal."""
        time.sleep(0.0002)

    def close(self) -> None:
        """Let the journal write what is left, and wait until it is on disk. The ring's name goes."""
        self.ring.cells[JOURNAL_CLOSE] = 1
        assert self._process is not None
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self.segment.remove()
        if self._process.returncode:
            self.check()

    def abandon(self) -> None:
        """Close our end; the journal writes what it has and ends. The ring's name goes."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
            self._process.wait()
        self.segment.close_handle()
        self.segment.remove()


def _segment(config: Config) -> shared.Segment:
    """Memory of the ring, under a name if it may have one. What earlier engines left, killed before their end, goes."""
    shared.clean()
    session = config.engine.session or f"run-{os.getpid()}-{next(_RUNS)}"
    records, backing = config.journal.ring_records, Backing(prefault=config.engine.prefault)
    try:
        return shared.create(f"{session}.{RING_NAME}", "ring", RECORD, records, backing=backing)
    except shared.NoRoomError as error:  # what the journal needs is the memory; the name is for those who watch
        found = shared.create_nameless("ring", RECORD, records, backing=backing)
        found.notes.append(f"{error}. The ring has no name, nobody can watch it")
        return found


def _environment() -> dict[str, str]:
    """The journal imports the package that we run, wherever it lies."""
    package = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": package + (os.pathsep + path if path else "")}


class Live:
    """One run over one recorded file."""

    def __init__(
        self,
        config: Config,
        loaded: strategy.Loaded,
        path: Path,
        folder: Path,
        *,
        pace: float = 0.0,
        progress: Callable[[dict[str, int]], None] | None = None,
        started: float = 0.0,
    ) -> None:
        self._config, self._path = config, path
        self._pace, self._progress = pace, progress
        self._started = started or time.perf_counter()
        self._reported = 0.0
        core, allowed = config.engine.core, os.sched_getaffinity(0)
        if core >= 0 and core not in allowed:
            raise RunError(f"engine.core = {core}: not a core we may use ({sorted(allowed)})")
        self._about = describe(config, loaded, path)
        self._tap = Tap(config, folder)
        try:
            self._machine = assembly.assemble(config, loaded, self._tap.ring)
        except BaseException:
            self._tap.abandon()
            raise
        self._run = self._machine.run
        self.outcome = Outcome(self._machine, folder, path)
        self.outcome.ring, self.outcome.notes = self._tap.segment.header.name, self._tap.segment.notes
        self._pace_from: tuple[float, int] | None = None

    def play(self) -> Outcome:
        """Run to the end of the file. RunError, JournalError; a damaged source is in the outcome."""
        try:
            assembly.compile_loop(self._machine)
            self._tap.start(self._about)
            with _quiet(self._config.engine.core):
                assembly.introduce(self._machine)
                self._pump(np.zeros(8, np.uint8), 0, 0)
                if self._pace:
                    self._run.cells[inline.PACE_UNTIL] = -1
                self._stream()
                self._finish()
        except BaseException:
            self._tap.abandon()
            raise
        self._tap.close()
        outcome = self.outcome
        outcome.processed, outcome.durable = int(self._run.cells[inline.NEXT]), self._tap.durable
        outcome.hiccup = hiccup.measure(HICCUP_MS, self._config.engine.core)
        return outcome

    def _stream(self) -> None:
        """The file through the loop, block by block; a cut tail and a broken file are noted, not hidden."""
        outcome = self.outcome
        size = self._config.feed.chunk_bytes
        buffer = np.zeros(2 * size + FRAME_BYTES_MAX, np.uint8)
        held, marked, begun = 0, 0, 0.0
        last: source.Block | None = None
        try:
            for block in source.ahead(self._path, size):
                begun = begun or self._begin()
                data = np.frombuffer(block.data, np.uint8)
                buffer[held : held + len(data)] = data
                stop = held + len(data)
                reached = self._pump(buffer, 0, stop)
                outcome.stream_bytes += reached
                held = stop - reached
                buffer[:held] = buffer[reached:stop].copy()
                last = block
                if block.file_offset - marked >= SOURCE_MARK_BYTES:
                    marked = block.file_offset
                    self._mark_source(block)
        except source.SourceError as error:
            outcome.source_error = str(error)
        if last is not None and last.file_offset > marked:
            self._mark_source(last)
        if held:
            outcome.truncated_at = outcome.stream_bytes
        self._run.cells[inline.ENDED] = 1
        self._pump(buffer, 0, 0)
        outcome.wall_s = time.perf_counter() - (begun or time.perf_counter())

    def _mark_source(self, block: source.Block) -> None:
        """Journal what the file was, up to here: a replay reads it again and must find the same."""
        first, second = assembly.hash_words(block.sha256[:32])
        now = int(self._run.engine.cells[engines.NOW])
        assembly.command(
            self._run,
            kind=SOURCE,
            ts_event=now,
            ts_recv=now,
            price=block.file_offset,
            aux=first,
            order_id=second,
        )

    def _begin(self) -> float:
        now = time.perf_counter()
        self.outcome.startup_s = now - self._started
        return now

    def _pump(self, buffer: Any, start: int, stop: int) -> int:
        """Call the loop until it has taken these bytes, seeing to whatever it stops for."""
        machine, cells = self._machine, self._run.cells
        at = start
        while True:
            begun = time.perf_counter()
            at = machine.pump(self._run, machine.decoder, buffer, at, stop)
            self.outcome.loop_s += time.perf_counter() - begun
            self._tap.check()
            self._report()
            why = int(cells[inline.STOPPED_FOR])
            if why == inline.NEED_BYTES:
                return at
            if why == inline.JOURNAL_FULL:
                self._tap.wait_room()
            elif why == inline.CHECKPOINT_DUE:
                self._checkpoint(CHECKPOINT)
            elif why == inline.PACED:
                self._wait_for_time()

    def _checkpoint(self, kind: int) -> str:
        found = assembly.state_hash(self._run.engine)
        first, second = assembly.hash_words(found)
        now = int(self._run.engine.cells[engines.NOW])
        assembly.command(self._run, kind=kind, ts_event=now, ts_recv=now, aux=first, order_id=second)
        self._run.cells[inline.CHECKPOINT_AT] = self._run.cells[inline.NEXT] + self._config.engine.checkpoint_records
        return found

    def _finish(self) -> None:
        """The last hash goes in behind everything else."""
        self.outcome.state_hash = self._checkpoint(END)
        self._pump(np.zeros(8, np.uint8), 0, 0)

    def _wait_for_time(self) -> None:
        """Let the next record's moment come; silences of a minute and more are skipped."""
        feed, cells = self._run.feed, self._run.cells
        due = int(feed.slots[int(feed.cells[rings.GATE]) & (len(feed.slots) - 1)].ts_event)
        now = time.perf_counter()
        if self._pace_from is None or due - int(cells[inline.PACE_UNTIL]) > QUIET_GAP_NS:
            self._pace_from = (now, due)
        begun, first = self._pace_from
        until = first + int((now - begun) * self._pace * 1e9)
        if until < due:
            time.sleep(min(0.001, (due - until) / self._pace / 1e9))
        cells[inline.PACE_UNTIL] = until

    def _report(self) -> None:
        """At most four times a second: how far we are, and how far each level of durability is."""
        now = time.perf_counter()
        if self._progress is None or now - self._reported < 0.25:
            return
        self._reported = now
        cells = self._run.cells
        self._progress(
            {
                "messages": int(self._machine.decoder.cells[0]),
                "memory": int(cells[inline.NEXT]),
                "local": self._tap.durable,
            }
        )


@contextlib.contextmanager
def _quiet(core: int) -> Iterator[None]:
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
    """What the journal says about its run: enough to rebuild it."""
    return {
        "format": 1,
        "config": config.to_toml(),
        "strategy": strategy.absolute(loaded.spec),
        "strategy_fingerprint": loaded.fingerprint,
        "source": str(path.resolve()),
        "source_bytes": path.stat().st_size,
    }
