"""One process of a run: feed, engine or venue. Started by the host, which it outlives by no more than a moment.

The order of a start: segments mapped, code compiled, memory touched; then the stage says READY and waits for GO; then
it is pinned, raised to SCHED_FIFO if that was asked for, and Python's collector is off. Children of a process with
that priority would inherit it and starve each other: `SCHED_RESET_ON_FORK` forbids it.
The host's end of a pipe closes when the host is gone, however it went; a stage that sees that ends.
Known bad case: SCHED_FIFO without a core of its own starves everything else there; the kernel then stops it for 50 ms
in each second (`sched_rt_runtime_us`).
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .. import config as configs
from ..config import Config
from ..hot import fan as fans
from ..hot import ring as rings
from ..wire import (
    BUSY,
    CONTROL_ABORT,
    CONTROL_GO,
    DONE,
    FAILED,
    READY,
    RECORD,
    REQUEST,
    RUNNING,
    STAGE_PID,
    STAGE_STATE,
)
from . import shared
from .control import STAGES, Control
from .drive import quiet
from .segment import JournalError

LOOK_S: Final = 0.02  # between two looks for the host, while the loop turns
# Exit codes of a stage: done; the host is gone or said abort; the journal failed; anything else.
ENDED, ABORTED, JOURNAL, BROKEN = 0, 5, 4, 1


class AbortedError(Exception):
    """The host is gone, or told every stage to end at once."""


class Stage:
    """What every stage has."""

    def __init__(self, name: str) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # of a terminal or a service manager: for the host
        self._pipe = sys.stdin.fileno()
        self.spec: dict[str, Any] = json.loads(_line(self._pipe))
        self.number = STAGES.index(name)
        self.config: Config = configs.parse(str(self.spec["config"]), "the host's configuration")
        self.control = Control(shared.attach(self._named("control"), kind="control", writable=True))
        self.control.say(self.number, STAGE_PID, os.getpid())
        self._looked = 0.0

    def _named(self, what: str) -> str:
        return f"{self.spec['session']}.{what}"

    def fan(self) -> fans.Fan:
        """The feed's records, on their way to engine and venue."""
        found = shared.attach(self._named("feed"), kind="fan", dtype=RECORD, writable=True)
        return fans.over(found.body, RECORD, found.header.capacity)

    def requests(self) -> rings.Ring:
        """What the engine asks of the venue."""
        found = shared.attach(self._named("requests"), kind="ring", dtype=REQUEST, writable=True)
        return rings.over(found.body, REQUEST, found.header.capacity)

    def replies(self) -> rings.Ring:
        """What the venue answers."""
        found = shared.attach(self._named("replies"), kind="ring", dtype=RECORD, writable=True)
        return rings.over(found.body, RECORD, found.header.capacity)

    def work(self, core: int, act: Callable[[], None]) -> int:
        """Say READY, wait for GO, then act, pinned; the exit code."""
        say = self.control.say
        try:
            with quiet(core):
                say(self.number, STAGE_STATE, READY)
                while not self.control.get(CONTROL_GO):
                    self.turn(0)
                    time.sleep(0.001)
                self.turn(0)
                say(self.number, STAGE_STATE, RUNNING)
                raise_priority(self.config.host.fifo_priority)
                act()
                raise_priority(0)
        except AbortedError:
            return ABORTED
        except BaseException:
            say(self.number, STAGE_STATE, FAILED)
            raise
        say(self.number, STAGE_STATE, DONE)
        return ENDED

    def turn(self, through: int) -> None:
        """Beat; now and then look whether we are still wanted. AbortedError if not."""
        self.control.beat(self.number, through)
        if self.control.of(self.number, STAGE_STATE) == BUSY:
            self.control.say(self.number, STAGE_STATE, RUNNING)
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        if self.control.get(CONTROL_ABORT) or select.select([self._pipe], [], [], 0)[0]:
            raise AbortedError

    def busy(self) -> None:
        """Something long comes; the next turn ends it."""
        if self.control.of(self.number, STAGE_STATE) == RUNNING:
            self.control.say(self.number, STAGE_STATE, BUSY)


def _line(pipe: int) -> bytes:
    """The host's first line. After it, only the pipe's end is awaited."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(pipe, 1 << 16)
        if not piece:
            raise SystemExit(ABORTED)
        line += piece
    return line


def raise_priority(priority: int) -> None:
    """SCHED_FIFO at this priority for this process, not for its children; 0 = as everybody. Without the right to it,
    things stay as they are: `Host` has said so before it started us."""
    if priority == 0 and os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER:
        return
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK if priority else os.SCHED_OTHER
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except PermissionError:
        return


def process(act: Callable[[], int]) -> int:
    """A stage's program: its failures in one line, and as an exit code."""
    try:
        return act()
    except AbortedError:
        return ABORTED
    except JournalError as error:
        print(f"ultra: {error}", file=sys.stderr)
        return JOURNAL
    except (OSError, shared.SharedError, configs.ConfigError) as error:
        print(f"ultra: {Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return BROKEN
