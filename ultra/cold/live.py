"""`ultra run`: a recorded stream through the engine, its inputs journaled by a process beside it.

Order of things: limits checked, journal folder and process ready, code compiled, memory touched, core pinned, then the
first record. At the end the inputs still under way are answered, a last hash of the state is journaled, and the
journal process is waited for: what the summary calls `local` is on disk.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from .. import inline, strategy
from ..config import Config
from ..hot import clock
from ..hot import engine as engines
from ..wire import SOURCE
from . import assembly
from .drive import Drive, Outcome, check_core, describe, quiet, taps_of
from .frames import Frames
from .pace import AT_ONCE, Clock, Pace, due_step
from .source import Block


class Live:
    """One run over one recorded file, in this thread."""

    def __init__(
        self,
        config: Config,
        loaded: strategy.Loaded,
        path: Path,
        folder: Path,
        *,
        pace: Pace = AT_ONCE,
        progress: Callable[[dict[str, int]], None] | None = None,
        started: float = 0.0,
    ) -> None:
        self._config, self._path = config, path
        self._pace, self._progress = pace, progress
        self._started = started or time.perf_counter()
        self._reported = self._begun = 0.0
        check_core(config.engine.core, "engine.core")
        self._about = describe(config, loaded, path)
        taps = taps_of(config, folder)
        try:
            machine = assembly.assemble(config, loaded, [tap.ring for tap in taps])
        except BaseException:
            for tap in taps:
                tap.abandon()
            raise
        self._run = machine.run
        self.outcome = Outcome(machine, folder, str(path))
        self._drive = Drive(machine, taps, self.outcome, self._report)
        self._clock = Clock(pace.factor)

    def play(self) -> Outcome:
        """Run to the end of the file. RunError, JournalError; a damaged source is in the outcome."""
        drive, outcome = self._drive, self.outcome
        try:
            assembly.compile_loop(drive.machine)
            with quiet(self._config.engine.core):
                drive.begin(self._about)
                self._set_pace()
                frames = Frames(self._path, self._config.feed.chunk_bytes)
                with drained_by_sigterm(self._drain):
                    frames.play(self._take, self._mark_source, lambda: outcome.drained)
                outcome.truncated_at, outcome.source_error = frames.truncated_at, frames.source_error
                drive.finish()
                outcome.wall_s = time.perf_counter() - (self._begun or time.perf_counter())
        except BaseException:
            drive.abandon()
            raise
        drive.close()
        return outcome

    def _drain(self) -> None:
        self.outcome.drained = True

    def _set_pace(self) -> None:
        cells = self._run.cells
        if self._pace.factor:
            cells[inline.PACE_UNTIL] = -1
        if self._pace.per_s:
            cells[inline.DUE_STEP] = due_step(self._pace.per_s)
            cells[inline.DUE_FROM] = clock.now()

    def _take(self, buffer: Any, stop: int) -> int:
        """Bytes of the file through the loop; how many were taken."""
        if not self._begun:
            self._begun = time.perf_counter()
            self.outcome.startup_s = self._begun - self._started
        cells, at = self._run.cells, self._drive.pump(buffer, 0, stop)
        while int(cells[inline.STOPPED_FOR]) == inline.PACED and not self.outcome.drained:
            cells[inline.PACE_UNTIL] = self._clock.wait(self._run.feed, int(cells[inline.PACE_UNTIL]))
            at = self._drive.pump(buffer, at, stop)
        return at

    def _mark_source(self, block: Block) -> None:
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

    def _report(self, drive: Drive) -> None:
        """At most four times a second: how far we are, and how far each level of durability is."""
        now = time.perf_counter()
        if self._progress is None or now - self._reported < 0.25:
            return
        self._reported = now
        messages, memory = int(drive.machine.decoder.cells[0]), int(drive.run.cells[inline.NEXT])
        self._progress({"messages": messages, "memory": memory, "local": drive.durable})


@contextlib.contextmanager
def drained_by_sigterm(act: Callable[[], None]) -> Iterator[None]:
    """What a service manager sends ends the file early and the run in good order. SIGINT stays an interrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python takes signals in the main thread only
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        act()

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
