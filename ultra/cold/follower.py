"""`ultra follow`: a second engine that replays the journal as it grows, off the hot core, and takes snapshots.

The live engine never stops for one: what it journaled is all there is to know. At every checkpoint the two must have
the same state; when they have not, one of them is wrong, and somebody has to look before more is traded. A snapshot is
written only when the journal says that what it stands on is durable, since one that is ahead of its journal after a
power cut would be a state that nobody can explain. Those behind the last hash that agreed are put aside as `.suspect`
when one differs. Segments that all its snapshots have it may let go (`retention`).
Known bad case: a follower slower than the engine falls behind without a bound; nothing waits for it.
"""

import collections
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from . import image as images
from . import retention, segment
from .disk import Folder
from .journal import only_writer
from .replay import Replay, Replayed, ReplayError
from .tail import Tail, since

IDLE_S: Final = 0.02
QUIET_S: Final = 2.0  # so long without a frame, and it is looked whether the next one is damaged
SAID_S: Final = 2.0  # so long a writer may take to say that what it wrote is on disk
SAID_POLL_S: Final = 0.002
FRAMES: Final = 256  # read at once


class Arrivals:
    """Records of the journal that have come and are not replayed yet; it has an end, and then more."""

    def __init__(self) -> None:
        self.waiting: collections.deque[Any] = collections.deque()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self.waiting:
            raise StopIteration
        return self.waiting.popleft()


class Follower:
    """One journal, followed once."""

    def __init__(
        self,
        folder: Path,
        *,
        every: int,
        keep: int,
        once: bool = False,
        source_path: Path | None = None,
        force: bool = False,
        told: Callable[[str], None] | None = None,
    ) -> None:
        """A snapshot after each multiple of `every` inputs, the newest `keep` of them kept. It ends with the run, at a
        signal, or with `once` where the journal ends now; there, unless the run did, with a snapshot more. `told` hears
        of each in one line."""
        self._folder, self._every, self._keep, self._once = folder, every, keep, once
        self._source, self._force, self._told = source_path, force, told
        self._tail, self._disk = Tail(folder), Folder(folder)
        self._arrivals = Arrivals()
        self._through = 0
        self._stopped = False
        self.taken: list[int] = []

    def play(self) -> Replayed:
        """Follow to the end. JournalError, ReplayError; a hash that differs is in the result, and ends it too."""
        images.sweep(self._folder)
        with self._ended_by_signals():
            self._await_run()
            replay = Replay(self._folder, source_path=self._source, force=self._force, fast=True)
            self._leave_core(replay.core)
            for why in replay.result.skipped:
                self._tell(f"passed over: {why}")
            self._tail.close()
            self._tail = since(self._folder, replay.next)
            replay.begin(self._arrivals)
            self._follow(replay)
        self._tail.close()
        return replay.finish()

    def _await_run(self) -> None:
        """Wait until the journal says what it is of."""
        while not self._stopped:
            frame = self._tail.poll()
            if frame is not None:
                return
            if self._once:
                break
            time.sleep(IDLE_S)
        self._tail.check()
        raise ReplayError(f"{self._folder}: there is no journal to follow yet")

    def _follow(self, replay: Replay) -> None:
        due = self._next_due(replay)
        heard = time.monotonic()
        while _goes_on(replay):
            if self._collect(replay):
                heard = time.monotonic()
            elif self._once or self._stopped:
                break
            else:
                if time.monotonic() - heard > QUIET_S:
                    self._tail.check()
                    heard = time.monotonic()
                time.sleep(IDLE_S)
            while replay.next < self._through and _goes_on(replay) and not self._stopped:
                replay.advance(min(due, self._through))
                if replay.next == due and _goes_on(replay):
                    self._snapshot(replay)
                    due = self._next_due(replay)
        if self._once:
            self._tail.check()
        if not replay.result.matches:
            self._suspect(replay.result)
        elif replay.result.complete:
            self._retire(replay)
        elif replay.next > replay.result.start and replay.next not in self.taken:
            self._snapshot(replay)

    def _next_due(self, replay: Replay) -> int:
        return (replay.next // self._every + 1) * self._every

    def _collect(self, replay: Replay) -> bool:
        """Read what has come; False when nothing has."""
        for count in range(FRAMES):
            frame = self._tail.poll()
            if frame is None:
                return count > 0
            records = replay.wanted(frame)
            if len(records):
                self._arrivals.waiting.append(records)
            self._through = max(self._through, frame.through)
        return True

    def _snapshot(self, replay: Replay) -> None:
        begun = time.perf_counter()
        if not self._is_durable(replay.next):
            self._tell(f"no snapshot after {replay.next} inputs: the journal does not say that they are on disk")
            return
        path = images.write(self._folder, replay.image())
        self.taken.append(replay.next)
        for old in images.snapshots(self._folder, replay.next)[self._keep :]:
            old.unlink(missing_ok=True)
        self._retire(replay)
        took = time.perf_counter() - begun
        self._tell(f"{path.name}: {path.stat().st_size:,} bytes in {took * 1000:.0f} ms")

    def _is_durable(self, sequence: int) -> bool:
        """What a snapshot stands on must be there after a power cut. Who writes the journal says so in a moment; what a
        dead one left without a word is written again, since his last sync may have failed."""
        deadline = time.monotonic() + SAID_S
        while not segment.vouched(commit := segment.witness(self._disk), sequence):
            if not segment.synced(commit):
                self._tail.sync()  # nobody ever called it durable
                return True
            alone = only_writer(self._folder)
            if alone >= 0:
                try:
                    self._tail.write_again()
                finally:
                    os.close(alone)
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(SAID_POLL_S)
        return True

    def _retire(self, replay: Replay) -> None:
        gone = retention.keep(self._folder, replay.machine.config, replay.result.complete)
        if gone:
            self._tell(f"{gone} segments retired: snapshots have their inputs")

    def _suspect(self, result: Replayed) -> None:
        """No state behind the last hash that agreed is to be trusted, nor the one we began with if none did."""
        good = result.verified if result.verified else result.start - 1
        for path in images.snapshots(self._folder, self._through):
            if images.sequence_of(path) > good:
                path.rename(path.with_name(path.name + ".suspect"))
                self._tell(f"{path.name} is put aside as {path.name}.suspect")

    def _tell(self, text: str) -> None:
        if self._told is not None:
            self._told(text)

    def _leave_core(self, core: int) -> None:
        """Not on the engine's core, if there is another."""
        others = os.sched_getaffinity(0) - {core}
        if others:
            os.sched_setaffinity(0, others)

    @contextlib.contextmanager
    def _ended_by_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end it in good order, with a snapshot of where it is."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python takes signals in the main thread only
            return

        def on_signal(number: int, frame: FrameType | None) -> None:
            self._stopped = True

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _goes_on(replay: Replay) -> bool:
    """Every hash agreed so far, and the run has not ended."""
    return replay.result.matches and not replay.result.complete
