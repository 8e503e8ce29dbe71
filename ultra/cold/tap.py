"""The engine's end of a journal: the shared ring, and the process on its other side, which the engine starts.

The ring is memory of the engine's under a name, so others can watch it; the journal inherits it, and it outlives the
engine there. A pipe tells the journal that the engine lives. When the journal fails or dies the engine hears of it at
its next look, and stops: what it may still say is durable is what the ring says, no more.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final

from .. import cache
from ..config import Config
from ..hot import ring as rings
from ..hot.wait import wake_now
from ..wire import JOURNAL_CLOSE, JOURNAL_DURABLE, JOURNAL_FAILED, RECORD
from . import shared
from .journal import sole_writer
from .pages import GIANT_BYTES, HUGE_BYTES, Backing
from .segment import JournalError, refuse_used

# Not `-m`: Python can't run a compiled module as a program.
JOURNAL: Final = "from ultra.cold.journal import process; raise SystemExit(process())"
_RUNS: Final = itertools.count()  # of this process; two may be under way


class Tap:
    """The journal process and our end of its ring."""

    def __init__(self, config: Config, folder: Path, name: str = "journal", *, resume: bool = False) -> None:
        """With `resume` the journal goes on where that of a dead engine ended (see `bury`)."""
        if not resume:
            refuse_used(folder)
        self.folder = folder
        self._resume = resume
        self._config = config
        self.segment = _segment(config, name)
        self.ring = rings.over(self.segment.body, RECORD, config.journal.ring_records)
        self._process: subprocess.Popen[bytes] | None = None
        self._meta: dict[str, object] = {}
        self.restarts = 0
        self.lost = ""  # why nothing more is journaled, once it was decided to go on without

    def start(self, meta: dict[str, object]) -> None:
        """Start the journal's process. It need not be ready when the first record comes: the ring holds them."""
        self._meta = meta
        self._spawn()

    def _spawn(self) -> None:
        resume = self._resume or self.restarts > 0
        self._process = _journal(self._config, self.folder, self.segment.handle, self._meta, resume=resume)

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
        """JournalError when the journal failed or is gone. One that was killed is started again where it was: the ring
        has what it did not write. One that failed is not: a write or sync is never tried twice."""
        if self.lost:
            self.ring.cells[rings.GATE] = self.ring.cells[rings.CURSOR]  # nobody else takes them any more
            return
        failed = int(self.ring.cells[JOURNAL_FAILED])
        ended = None if self._process is None else self._process.poll()
        if not failed and ended is not None and ended < 0 and self.restarts < self._config.journal.restart_max:
            self.restarts += 1
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
            self._spawn()
        elif failed or ended is not None:
            reason = os.strerror(failed) if failed else f"its process ended with code {ended}"
            raise JournalError(
                f"journal {self.folder}: {reason}; on disk up to input {self.durable}. Free space or choose another "
                "folder, then run again; `ultra replay` shows what is there."
            )

    def give_up(self, why: str) -> None:
        """Go on without a journal that failed: what comes now is in memory only, and is never called durable."""
        self.lost = why
        self.check()

    def hurry(self) -> None:
        """Somebody waits until it is on disk: wake the journal, if it sleeps."""
        wake_now(self.ring.cells)

    def wait_room(self) -> None:
        """The ring is full: wait for the journal."""
        time.sleep(0.0002)

    def close(self) -> None:
        """Let the journal write what is left, and wait until it is on disk. The ring's name goes."""
        self.ring.cells[JOURNAL_CLOSE] = 1
        assert self._process is not None
        try:
            while self._process.wait():
                self.check()  # killed: once more; else it raises
        finally:
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
            self.segment.close_handle()
            self.segment.remove()

    def abandon(self) -> None:
        """Close our end; the journal writes what it has and ends. The ring's name goes."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
            self._process.wait()
        self.segment.close_handle()
        self.segment.remove()


def _journal(
    config: Config, folder: Path, handle: int, meta: dict[str, object], *, resume: bool
) -> subprocess.Popen[bytes]:
    """A journal's process for the ring in this file."""
    command = [
        sys.executable, "-P", "-c", JOURNAL, "--folder", str(folder), "--ring-file", str(handle),
        "--segment-bytes", str(config.journal.segment_bytes), "--batch-max", str(config.journal.batch_record_max),
        "--code", cache.key()[:16],
    ]  # fmt: skip
    if not config.journal.sync:
        command.append("--no-sync")
    if resume:
        command.append("--resume")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(handle,), env=environment())
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended at once: whoever looks at it says so
        process.stdin.write(json.dumps(meta).encode() + b"\n")
        process.stdin.flush()
    return process


def bury(config: Config, folder: Path, meta: dict[str, object], name: str = "journal") -> None:
    """When this returns, all that a dead engine had published to its journal's ring is in the files, and nobody writes
    them any more. Its journal does that by itself; if that is dead too, the ring is still there under its name.

    JournalError when it could not be written."""
    if folder.is_dir():
        os.close(sole_writer(folder))
    ring = f"{session_of(config)}.{name}"
    if not shared.path_of(ring).exists():
        return  # it had no name, or somebody has cleaned up
    left = shared.attach(ring, kind="ring", dtype=RECORD)
    if failed := int(rings.over(left.body, RECORD, left.header.capacity).cells[JOURNAL_FAILED]):
        raise JournalError(f"journal {folder}: {os.strerror(failed)}; a write or sync is never tried twice")
    handle = os.open(shared.path_of(ring), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        code = -1
        for _ in range(1 + config.journal.restart_max):  # one that was killed is started again, as `Tap.check` does
            code = _written_out(_journal(config, folder, handle, meta, resume=True))
            if code >= 0:
                break
    finally:
        os.close(handle)
    if code:
        raise JournalError(f"journal {folder}: what the dead engine left could not be written (code {code})")


def _written_out(process: subprocess.Popen[bytes]) -> int:
    """Exit code of a journal's process whose engine is dead: it writes what the ring holds, and ends."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    return process.wait()


def session_of(config: Config) -> str:
    """Name of the shared memory of a run."""
    return config.engine.session or f"run-{os.getpid()}-{next(_RUNS)}"


def backing_of(config: Config) -> Backing:
    """What is wished of the pages under the shared rings."""
    wished = config.engine
    huge_bytes = {"none": 0, "2M": HUGE_BYTES, "1G": GIANT_BYTES}[wished.huge_pages]
    return Backing(wished.prefault, wished.lock_memory, huge_bytes, wished.numa_node)


def _segment(config: Config, name: str) -> shared.Segment:
    """Memory of the ring, under a name if it may have one. What earlier engines left, killed before their end, goes."""
    shared.clean()
    records, backing = config.journal.ring_records, backing_of(config)
    try:
        return shared.create(f"{session_of(config)}.{name}", "ring", RECORD, records, backing=backing)
    except shared.NoRoomError as error:  # what the journal needs is the memory; the name is for those who watch
        found = shared.create_nameless("ring", RECORD, records, backing=backing)
        found.notes.append(f"{error}. The ring has no name, nobody can watch it")
        return found


def environment() -> dict[str, str]:
    """For a process that must import the package that we run, wherever it lies."""
    package = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": package + (os.pathsep + path if path else "")}
