"""The host: one run as a set of processes, started in order, watched, and ended together.

    feed --> [feed, a fan] --> engine --> [requests] --> venue         pipeline
                    |             |  <-- [replies] <---    |
                    +-------------|------------------------+
                                  +--> [journal] --> its process (and [mirror] --> a second one: diamond)

The host makes every segment, starts the stages, waits until each is READY, and says GO. Then it only looks: who has
ended, who beats. A dead or stuck feed or engine is started again where it was (`comeback`); when the venue dies, or one
of them too often, all end and the journal has what was. A stage is stuck when it did not beat for `stall_ms` although
it ran, or was stopped; one that only waited for a core is late, which is counted, not punished.
SIGTERM or SIGINT drains: the feed ends, the engine answers what is under way and writes its last hash. A second one
aborts.
Known bad case: the host itself killed with -9. Its pipes close, the stages end, the journal is whole up to there; the
segments are found stale and removed at the next start.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

from ..config import Config
from ..hot import fan as fans
from ..wire import (
    BUSY,
    CONTROL_ABORT,
    CONTROL_FEED_END,
    CONTROL_GO,
    CONTROL_STOP,
    DONE,
    READY,
    RECORD,
    REQUEST,
    RUNNING,
    STAGE_AT,
    STAGE_BEAT,
    STAGE_STATE,
)
from . import shared
from .control import STAGES, Control
from .drive import RunError, check_core
from .pace import Pace
from .pages import Backing
from .segment import JournalError, refuse_used
from .tap import backing_of, environment, session_of

PROGRAM: Final = "from ultra.cold.{0} import program; raise SystemExit(program())"
PROGRAMS: Final = ("feed", "core", "exchange")  # by STAGES
FEED, ENGINE, VENUE = range(3)
LOOK_S: Final = 0.01
READY_S: Final = 300.0  # the first start of a strategy compiles
END_S: Final = 10.0  # after an abort
BUSY_FACTOR: Final = 100  # a state of a million orders is hashed in a tenth of a second


class HostError(Exception):
    """A stage is gone and can't come back: says which, how it ended, and what is on disk."""


class Watch:
    """How long ago a stage last turned, and whether it could have."""

    def __init__(self) -> None:
        self.beat = -1
        self.since = time.monotonic()
        self.ran = 0
        self.late = 0  # looks at which it had not turned for too long for want of a core

    def look(self, pid: int, beat: int, limit_s: float) -> str:
        """Why it is stuck; nothing when it turns, or could not."""
        now = time.monotonic()
        if beat != self.beat:
            self.beat, self.since, self.ran = beat, now, _ran(pid)[1]
            return ""
        if now - self.since < limit_s:
            return ""
        state, ran = _ran(pid)
        if state in "Tt":
            return "it is stopped"
        if ran - self.ran >= limit_s * 1e9:
            return f"it ran {(ran - self.ran) / 1e9:.2f} s without turning"
        self.late += 1
        return ""


def _ran(pid: int) -> tuple[str, int]:
    """State of a process, and nanoseconds that its main thread ran."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        ran_ns = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except OSError:
        return "X", 0
    return text[text.rindex(")") + 2], ran_ns


def fifo_note(priority: int) -> list[str]:
    """Why the hot processes won't have this priority; nothing if they will, or need not."""
    if priority == 0 or os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_RTPRIO)[0] >= priority:
        return []
    return [f"SCHED_FIFO {priority}: not allowed; ordinary priority. LimitRTPRIO={priority}, or ulimit -r {priority}"]


class Host:
    """One run of one strategy over one recorded file."""

    def __init__(
        self,
        config: Config,
        spec: str,
        path: Path,
        folder: Path,
        *,
        pace: Pace,
        progress: Callable[[dict[str, int]], None] | None = None,
    ) -> None:
        refuse_used(folder)
        if not path.is_file():
            raise FileNotFoundError(2, "no such file", str(path))
        for key, core in (
            ("engine.core", config.engine.core),
            ("host.feed_core", config.host.feed_core),
            ("host.venue_core", config.host.venue_core),
        ):
            check_core(core, key)
        self._session = session_of(config)
        engine, journal = replace(config.engine, session=self._session), config.journal
        if config.host.preset == "diamond" and not journal.mirror:
            journal = replace(journal, mirror=f"{folder}-mirror")
        config = replace(config, engine=engine, journal=journal)
        self._config, self._folder, self._progress = config, folder, progress
        self._given = {
            "session": self._session, "config": config.to_toml(), "strategy": spec, "source": str(path.resolve()),
            "folder": str(folder), "pace": pace.factor, "per_s": pace.per_s, "started": time.monotonic(),
        }  # fmt: skip
        self._segments: list[shared.Segment] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._watches = [Watch() for _ in STAGES]
        self._signals = 0
        self._restarts = [0] * len(STAGES)
        self._died, self._back_s = 0.0, list[float]()  # when the engine did, and how long it was away each time
        self._reported = 0.0
        self.drained = False
        self.feed_lost = ""
        self._notes = fifo_note(config.host.fifo_priority)

    def play(self) -> dict[str, Any]:
        """The engine's result (`core.result`), with what the feed found; RunError, JournalError, HostError."""
        before = [signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            self._make()
            self._processes = [self._start(stage) for stage in range(len(STAGES))]
            self._await_ready()
            self._control.put(CONTROL_GO, 1)
            self._watch()
            return self._result()
        finally:
            self._end()
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _make(self) -> None:
        """Every segment; what earlier runs left, killed before their end, goes."""
        shared.clean()
        sizes, backing = self._config.engine, backing_of(self._config)
        capacity = self._config.host.fan_ring_records
        control = self._create("control", "control", RECORD, 0, 1, backing)
        feed = self._create("feed", "fan", RECORD, capacity, sizes.feed_ring_records, backing)
        self._create("requests", "ring", REQUEST, sizes.output_ring_records, 1, backing)
        self._create("replies", "ring", RECORD, sizes.reply_ring_records, 1, backing)
        self._fan = fans.over(feed.body, RECORD, capacity)
        fans.configure(self._fan, [(), ()])
        self._control = Control(control)

    def _create(
        self, name: str, kind: str, dtype: Any, capacity: int, batch_max: int, backing: Backing
    ) -> shared.Segment:
        largest = min(batch_max, max(capacity, 1))
        name = f"{self._session}.{name}"
        made = shared.create(name, kind, dtype, capacity, batch_max=largest, backing=backing)
        made.close_handle()
        self._segments.append(made)
        return made

    def _start(self, stage: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-c", PROGRAM.format(PROGRAMS[stage])]
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
        assert started.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once: whoever looks next says so
            started.stdin.write(json.dumps(self._given | {"again": self._restarts[stage]}).encode() + b"\n")
            started.stdin.flush()
        return started

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while any(self._control.of(stage, STAGE_STATE) != READY for stage in range(len(STAGES))):
            for stage in range(len(STAGES)):
                if self._processes[stage].poll() is not None:
                    self._lost(stage)
            if self._signals:
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                states = ", ".join(f"{name} {self._control.state(k)}" for k, name in enumerate(STAGES))
                raise HostError(f"not every stage was ready after {READY_S:.0f} s: {states}")
            time.sleep(LOOK_S)

    def _watch(self) -> None:
        """Until the engine has ended in good order."""
        while self._control.of(ENGINE, STAGE_STATE) != DONE:
            if self._signals and not self._control.get(CONTROL_STOP):
                self._control.put(CONTROL_STOP, 1)
                self.drained = True
            if self._signals > 1:
                raise KeyboardInterrupt
            for stage in range(len(STAGES)):
                self._look(stage)
            if self._died and self._control.of(ENGINE, STAGE_STATE) >= RUNNING:
                self._back_s.append(time.monotonic() - self._died)
                self._died = 0.0
            self._report()
            time.sleep(LOOK_S)

    def _look(self, stage: int) -> None:
        process, control = self._processes[stage], self._control
        state = control.of(stage, STAGE_STATE)
        if process.poll() is not None:
            if state != DONE and not (stage == FEED and control.get(CONTROL_FEED_END)):
                self._lost(stage)
            return
        if state not in (RUNNING, BUSY):
            return
        limit_s = self._config.host.stall_ms / 1000 * (BUSY_FACTOR if state == BUSY else 1)
        if why := self._watches[stage].look(process.pid, control.of(stage, STAGE_BEAT), limit_s):
            process.kill()
            process.wait()
            self._lost(stage, f"was stuck ({why}) and was killed")

    def _lost(self, stage: int, how: str = "") -> None:
        """A feed or an engine comes back. If not, what a feed had sent is brought to an end; without engine or venue
        nothing can go on.

        One that ended by itself said why, and would again. A drained run needs no feed any more."""
        config = self._config.host
        often = (0 if self._signals else config.feed_restart_max, config.engine_restart_max, 0)[stage]
        if self._processes[stage].returncode < 0 and self._restarts[stage] < often:
            self._restarts[stage] += 1
            if stage == ENGINE:
                self._died = self._died or time.monotonic()
            self._control.restart(stage)
            self._watches[stage] = Watch()
            self._close(self._processes[stage])
            self._processes[stage] = self._start(stage)
        elif stage != FEED or config.on_feed_loss == "halt":
            self._fail(stage, how)
        else:
            self.feed_lost = how or f"ended with code {self._processes[stage].returncode}"
            self._control.put(CONTROL_STOP, 1)
            self._control.put(CONTROL_FEED_END, 1 + int(self._fan.cells[fans.CURSOR]))

    def _close(self, process: subprocess.Popen[bytes]) -> None:
        """Our ends of the pipes of a dead stage."""
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _fail(self, stage: int, how: str = "") -> None:
        code = self._processes[stage].returncode
        how = how or f"ended with code {code}"
        if stage == ENGINE and code == 4:
            raise JournalError(f"journal {self._folder}: the engine stopped for the reason above")
        if code == 2:
            raise RunError(f"the {STAGES[stage]} can't start; it said why above")
        raise HostError(
            f"the {STAGES[stage]} {how}; the run is ended. What was journaled is in {self._folder}: "
            "`ultra replay` rebuilds the engine up to there"
        )

    def _report(self) -> None:
        now = time.monotonic()
        if self._progress is None or now - self._reported < 0.25:
            return
        self._reported = now
        fan, control = self._fan.cells, self._control
        self._progress({"messages": int(fan[fans.CURSOR]), "memory": control.of(ENGINE, STAGE_AT)})

    def _result(self) -> dict[str, Any]:
        """What engine and feed printed when they ended."""
        found: dict[str, Any] = json.loads(self._output(ENGINE))
        errors = found["summary"]["errors"]
        if self.feed_lost:
            errors["feed_lost"] = self.feed_lost
            found["summary"]["messages"] = int(self._fan.cells[fans.CURSOR])
        else:
            feed = json.loads(self._output(FEED))
            if feed["truncated_at"] >= 0:
                errors["truncated_at"] = feed["truncated_at"]
            if feed["source_error"]:
                errors["source"] = feed["source_error"]
        late = {name: self._watches[k].late for k, name in enumerate(STAGES) if self._watches[k].late}
        found["summary"]["drained"] = self.drained
        found["summary"]["host"] = {
            "preset": self._config.host.preset, "session": self._session,
            "feed_restarts": self._restarts[FEED], "engine_restarts": self._restarts[ENGINE],
            "engine_away_ms": [round(1000 * away_s, 1) for away_s in self._back_s], "late_looks": late,
            "notes": self._notes + [note for segment in self._segments for note in segment.notes],
        }  # fmt: skip
        return found

    def _output(self, stage: int) -> bytes:
        """All that a stage printed. A feed that was killed behind its last line has done its work; an engine that was
        comes back once more, to say so."""
        process = self._processes[stage]
        assert process.stdout is not None
        text = process.stdout.read()
        if process.wait() == 0 or (stage == FEED and text):
            return text
        self._lost(stage)
        self._watch()
        return self._output(stage)

    def _end(self) -> None:
        """Everybody ends; nobody is left, and no segment."""
        if self._segments:
            self._control_abort()
        deadline = time.monotonic() + END_S
        for process in self._processes:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):  # it is gone already
                    process.stdin.close()
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._close(process)
        for segment in self._segments:
            segment.remove()
        shared.clean()  # the rings of an engine that was killed

    def _control_abort(self) -> None:
        """Also for those that never saw GO."""
        link = Control(self._segments[0])
        link.put(CONTROL_ABORT, 1)
        if not link.get(CONTROL_FEED_END):
            link.put(CONTROL_STOP, 1)
