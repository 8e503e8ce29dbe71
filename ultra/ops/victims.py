"""The processes of one run that is to be killed piece by piece: who they are, how far they are, and who starts again.

The run itself (`ultra run`, of any preset), a projector (`ultra project --follow`) and a follower (`ultra follow`) are
started as a user would start them. A dead feed, engine or journal is its host's business; projector and follower are
ours, because nobody else is there to do it. How far the run is, and what it says is durable, is read from the
journal's ring, as any watcher may. Always true: what was said to be durable is noted before anybody is killed.
Known bad case: a process that dies between being found and being killed; the signal then goes to nobody.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cold import shared
from ..cold.control import STAGES, Control
from ..cold.native import Cells
from ..cold.tap import environment
from ..wire import JOURNAL_DURABLE, JOURNAL_PROCESSED, RECORD, RING_CELLS, RUNNING, STAGE_PID, STAGE_STATE

BESIDE = ("projector", "follower")
AGAIN_MAX = 100  # starts of one of these, each after a kill
END_S = 120.0


class Victims:
    """One run, and those beside it."""

    def __init__(
        self, folder: Path, words: Sequence[str], session: str, every: int, orders: Mapping[str, str] | None = None
    ) -> None:
        """`words` of `ultra run`, without its journal, which is in `folder`; `orders` are environment variables."""
        self.folder, self.journal, self.db = folder, folder / "journal", folder / "projections.db"
        self._session = session
        self._environment = environment() | dict(orders or {})
        folder.mkdir(parents=True)
        self._started = dict.fromkeys(BESIDE, 0)
        self.killed = dict.fromkeys(BESIDE, 0)  # times that we found one dead by SIGKILL
        self.failed: list[str] = []  # what no kill explains
        self._words = {
            "projector": ["project", str(self.journal), "--db", str(self.db), "--follow", "--json"],
            "follower": ["follow", str(self.journal), "--every", str(every), "--keep", "3", "--json"],
        }
        self._run = self._start("run", [*words, "--journal", str(self.journal), "--session", session, "--json"])
        self._beside = {name: self._start(name, self._words[name]) for name in BESIDE}
        self.durable = self.processed = 0

    def _start(self, name: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("wb") as out, (self.folder / f"{name}.err").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "ultra", *words], stdout=out, stderr=said, env=self._environment
            )

    # ---- how far it is

    def look(self) -> bool:
        """Note how far the run is, and what it calls durable; start again whom a kill took. False when it has ended."""
        ended = self._run.poll() is not None
        self._note()
        for name in BESIDE:
            self._tend(name)
        return not ended

    def _note(self) -> None:
        with contextlib.suppress(OSError, shared.SharedError):
            ring = shared.attach(f"{self._session}.journal", kind="ring", dtype=RECORD)
            cells = Cells(memoryview(ring.body)[: RING_CELLS * 8], writable=False)
            self.durable = max(self.durable, cells.load_acquire(JOURNAL_DURABLE))
            self.processed = max(self.processed, cells.load_acquire(JOURNAL_PROCESSED))
            cells.release()

    def _tend(self, name: str) -> None:
        process = self._beside[name]
        if process.poll() is None or process.returncode == 0 or self.failed:
            return
        if process.returncode != -signal.SIGKILL:
            self.failed.append(f"the {name} ended with code {process.returncode}: {self._said(name)}")
        elif self._started[name] < AGAIN_MAX:
            self.killed[name] += 1
            self._started[name] += 1
            self._beside[name] = self._start(name, self._words[name])

    def _said(self, name: str) -> str:
        lines = (self.folder / f"{name}.err").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing was said"

    # ---- who they are

    def pids(self, who: str) -> list[int]:
        """Processes of a stage that are at work now; of "engine and journal" both."""
        found = [self._pid(name) for name in who.split(" and ")]
        return [pid for pid in found if pid > 0 and shared.start_of(pid)]

    def _pid(self, name: str) -> int:
        if name in BESIDE:
            return self._beside[name].pid if self._beside[name].poll() is None else 0
        if self._run.poll() is not None:
            return 0
        if name in ("journal", "mirror"):
            return self._journal_of(self._stage("engine"), self.journal if name == "journal" else None)
        return self._stage(name)

    def _stage(self, name: str) -> int:
        """In one process there is no host, and the run is the engine."""
        try:
            control = Control(shared.attach(f"{self._session}.control", kind="control", writable=True))
        except (OSError, shared.SharedError):
            return self._run.pid if name == "engine" else 0
        stage = STAGES.index(name)
        return control.of(stage, STAGE_PID) if control.of(stage, STAGE_STATE) >= RUNNING else 0

    def _journal_of(self, engine: int, folder: Path | None) -> int:
        """The process that writes this journal for an engine; without a folder, its mirror."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            for pid in Path(f"/proc/{engine}/task/{engine}/children").read_text().split():
                said = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                writes = Path(said[said.index("--folder") + 1]) == self.journal
                if writes == (folder is not None):
                    return int(pid)
        return 0

    def kill(self, who: str) -> int:
        """kill -9; how many processes it met."""
        pids = self.pids(who)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    # ---- the end

    def end(self) -> tuple[int, dict[str, Any]]:
        """Wait for the run, then for those beside it, as long as they have something to do; the run's code and result.

        Of a run that did not end in good order they are told to stop where the journal ends."""
        deadline = time.monotonic() + END_S
        while self.look() and time.monotonic() < deadline:
            time.sleep(0.005)
        code = self._run.poll()
        if code is None:
            self.failed.append(f"the run did not end in {END_S:.0f} s")
        while code == 0 and time.monotonic() < deadline and not self.failed and self._busy():
            self.look()
            time.sleep(0.005)
        self.stop()
        text = (self.folder / "run.out").read_text()
        return -1 if code is None else code, json.loads(text) if code == 0 and text else {}

    def _busy(self) -> bool:
        return any(process.poll() != 0 for process in self._beside.values())

    def stop(self) -> None:
        """Nobody is left."""
        for process in (self._run, *self._beside.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM if process is not self._beside["projector"] else signal.SIGINT)
        for process in (self._run, *self._beside.values()):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._await_journals()

    def _await_journals(self) -> None:
        """Of an engine that was killed the journal still writes what the ring holds."""
        deadline = time.monotonic() + END_S
        while _writers(self.journal) and time.monotonic() < deadline:
            time.sleep(0.005)

    def refused(self) -> str:
        """What the run said when it could not begin."""
        return re.sub(r"^ultra: ", "", self._said("run"))


def _writers(folder: Path) -> list[int]:
    """Processes that write this journal."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            said = path.read_bytes().split(b"\0")
            if b"--ring-file" in said and os.fsencode(folder) in said:
                found.append(int(path.parent.name))
    return found
