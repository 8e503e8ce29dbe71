"""The engine as a process: records from the fan, requests to the venue's process, its journals beside it.

The same loop, journals and hashes as `live`; it starts its journals itself, so that they outlive it as they always do.
One that takes the place of a dead engine is rebuilt from them first (`comeback`).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from .. import inline, strategy
from ..hot import curve as curves
from ..hot import ring as rings
from ..wire import CONTROL_BEGUN, CONTROL_DECODER, CONTROL_FEED_END, CONTROL_FROM_NS, CONTROL_STEP
from . import assembly, labels
from .answers import remembered
from .comeback import Comeback, ComebackError, even_out
from .drive import NOTHING, Drive, Outcome, describe, folders_of, taps_of
from .replay import ReplayError
from .stage import BROKEN, Stage, process
from .summary import buckets_ns, of_run
from .tap import bury


class Core:
    """The engine and its journals."""

    def __init__(self) -> None:
        self.stage = stage = Stage("engine")
        config, spec = stage.config, stage.spec
        source, folder = Path(str(spec["source"])), Path(str(spec["folder"]))
        loaded = strategy.load(str(spec["strategy"]))
        about, again = describe(config, loaded, source), int(self.stage.spec["again"]) > 0
        self._back: Comeback | None = None
        if again:
            for name, place in folders_of(config, folder).items():
                bury(config, place, about, name)
            labels.at("engine.bury.after")
        self._taps = taps_of(config, folder, resume=again)
        try:
            ends = assembly.Apart(stage.fan(), stage.control.link, stage.requests(), stage.replies())
            if again:
                self._come_back(loaded, ends, about, folder, source)
            else:
                machine = assembly.assemble(config, loaded, [tap.ring for tap in self._taps], ends)
                self._at_wheel(machine, folder, source)
                assembly.compile_loop(machine)
                self.drive.begin(about)
        except BaseException:
            for tap in self._taps:
                tap.abandon()
            raise

    def _at_wheel(self, machine: assembly.Machine, folder: Path, source: Path) -> None:
        self.outcome = Outcome(machine, folder, str(source))
        self.drive = Drive(machine, self._taps, self.outcome, self._turn, self.stage.busy)

    def _come_back(
        self, loaded: strategy.Loaded, ends: assembly.Apart, about: dict[str, object], folder: Path, source: Path
    ) -> None:
        """In the place of an engine that died."""
        config, journals = self.stage.config, [tap.ring for tap in self._taps]
        back = Comeback(config, loaded, folder, ends, journals, lambda: self.stage.turn(0))
        self._at_wheel(back.machine, folder, source)
        self.drive.checkpoint_at, self._back = back.checkpoint_at, back
        for tap, place in zip(self._taps, folders_of(config, folder).values(), strict=True):
            if place != folder:
                even_out(folder, place, tap.ring)
            tap.start(about)
        self._listen()

    def _listen(self) -> None:
        """Operators are heard again once the engine is where the dead one was."""
        if self._back is not None and not self._back.rehearsing and not self._back.ended:
            self.drive.listen(remembered(self.outcome.folder))

    def play(self) -> None:
        """Until the feed has ended and all is answered."""
        drive, control, cells = self.drive, self.stage.control, self.drive.run.cells
        try:
            while int(self.stage.spec["per_s"]) and not control.get(CONTROL_BEGUN):
                self.stage.turn(0)  # of an open loop we must know from when on it counts, before the first record
                time.sleep(0.001)
            cells[inline.DUE_FROM], cells[inline.DUE_STEP] = control.get(CONTROL_BEGUN), control.get(CONTROL_STEP)
            if self._back is not None and self._back.ended:
                self.outcome.state_hash = self._back.state_hash  # the dead one had only to say so
            else:
                while not self._ended():
                    drive.pump(NOTHING, 0, 0)
                drive.finish()
            self._time()
            drive.machine.decoder.cells[:] = control.link[CONTROL_DECODER : CONTROL_DECODER + 16]
            self.stage.busy()
        except BaseException:
            drive.abandon()
            raise
        drive.close()

    def _time(self) -> None:
        """From the feed's first byte to the last answer; the loop's own time would count its waiting."""
        began_ns = self.stage.control.get(CONTROL_FROM_NS)
        self.outcome.startup_s = began_ns / 1e9 - float(self.stage.spec["started"])
        self.outcome.wall_s = self.outcome.loop_s = (time.monotonic_ns() - began_ns) / 1e9

    def _ended(self) -> bool:
        """The feed said how many records it has, and all of them are here and done."""
        end = self.stage.control.get(CONTROL_FEED_END)
        return bool(end > 0 and self.drive.run.feed.cells[rings.GATE] == end - 1)

    def _turn(self, drive: Drive) -> None:
        self.stage.turn(int(drive.run.cells[inline.NEXT]))
        if self._back is not None and self._back.rehearsing:
            self._back.look(self._ended())
            drive.machine = self._back.machine
            self._listen()


def result(outcome: Outcome) -> dict[str, Any]:
    """What the host prints and draws: the summary, and what a report needs beside it."""
    curve = outcome.machine.run.curve
    points = curve.points[: int(curve.cells[curves.COUNT])]
    return {
        "summary": of_run(outcome),
        "histogram": buckets_ns(outcome.machine.run.service),
        "curve": [(int(point.ts), int(point.pnl), int(point.gross)) for point in points],
    }


def main() -> int:
    """The program."""
    try:
        core = Core()
    except strategy.StrategyError as error:
        print(f"ultra: {error}", file=sys.stderr)
        return 2
    except (ComebackError, ReplayError) as error:
        print(f"ultra: the engine can't come back: {error}", file=sys.stderr)
        return BROKEN
    code = core.stage.work(core.stage.config.engine.core, core.play)
    if code == 0:
        print(json.dumps(result(core.outcome)))
    return code


def program() -> int:
    """`main`, its failures in one line."""
    return process(main)
