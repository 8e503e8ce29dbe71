"""One strategy over one source of records, through the engine's own loop: `ultra run` without its journal process.

The same numbers are given in the same order as in `ultra run` (limits, parameters, records, replies, timers, a mark at
each checkpoint and each part of a file), so the same decisions come out and the same decision hash. What would be
journaled goes into a ring that nobody reads. Fills, markouts and points of equity are taken out each time the loop
comes back; everything else has a fixed size, however long the tape is.
Known bad case: a checkpoint is numbered but not hashed here, and what it would say is of no state.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from .. import impact, inline, strategy, trial
from ..cold import assembly
from ..cold.assembly import Machine
from ..config import Config
from ..hot import JIT
from ..hot import engine as engines
from ..hot import ring as rings
from ..hot import risk as risks
from ..venues import account as accounts
from ..venues import delay as delays
from ..venues import estimate
from ..venues import markout as markouts
from ..wire import CHECKPOINT, LIMIT, PARAMETER, RECORD, SEED, SOURCE

JOURNAL_RECORDS: Final = 1 << 13
LOOK_RECORDS: Final = 1 << 16  # after so many the loop comes back, whatever it could still take
# What a tape of unknown scale may do unless somebody sets limits: everything that is a number.
WIDE: Final = (risks.SANE_MAX, 1 << 62, risks.COLLAR_BPS_MAX, risks.SANE_MAX, 1 << 20, 0, 1 << 40)


class BacktestError(Exception):
    """A backtest that can't be made, or whose figures would be wrong: what, where, and what to do."""


class Setting(NamedTuple):
    """What a course is run with, beside strategy and configuration."""

    scale: Any  # int64[instruments, 2]
    terms: Any  # of the account
    initial_e9: int
    delay: delays.Delay
    step_ns: int  # between two points of equity, at first
    queue: str = "risk-averse"
    exponent: int = 2
    wide: bool = False  # no limits but sanity
    multiple: int = 1  # lots at the venue for each of the strategy's
    walks: bool = False  # an order that must trade at once takes any price
    steps: Any = None  # ticks between two prices of each instrument: then the flow is matched in one book with ours


class Course:
    """A machine with an account, and what it has done so far."""

    def __init__(
        self,
        config: Config,
        loaded: strategy.Loaded,
        setting: Setting,
        progress: Callable[[dict[str, int]], None] | None = None,
    ) -> None:
        quiet = replace(config.journal, durability="async", mirror="")
        config = replace(config, journal=quiet, engine=replace(config.engine, prefault=False))
        self.config, self.loaded, self.setting = config, loaded, setting
        machine = assembly.assemble(config, loaded, [rings.create(RECORD, JOURNAL_RECORDS)])
        account = accounts.create(setting.scale, setting.terms, setting.initial_e9, setting.step_ns)
        venue = trial.create(
            machine.run.venue,
            setting.delay,
            account,
            reply_records=config.engine.reply_ring_records,
            queue=estimate.create(config.engine.own_order_max),
            model=estimate.model(setting.queue, setting.exponent),
        )
        venue.cells[trial.MULTIPLE], venue.cells[trial.WALKS] = setting.multiple, setting.walks
        self.machine = _matching(machine, venue, setting.steps) if setting.steps is not None else _paper(machine, venue)
        self.run.cells[inline.SAMPLE_EVERY] = 1 << 30
        self.account, self.venue = account, venue
        self.fills: list[Any] = []
        self.marks: list[Any] = []
        self.loop_s = 0.0
        self._checkpoint_at = int(self.run.cells[inline.CHECKPOINT_AT])
        self._progress, self._told = progress, 0.0

    @property
    def run(self) -> inline.Run:
        """What the loop works on."""
        return self.machine.run

    @property
    def engine(self) -> engines.Engine:
        """The engine."""
        return self.machine.run.engine

    def begin(self) -> None:
        """Compile the loop (or find it), and put limits and parameters in. StrategyError."""
        assembly.compile_loop(self.machine, NO_RECORDS)
        if self.setting.wide:
            for which, value in enumerate(WIDE):
                assembly.command(self.run, kind=LIMIT, order_id=which, aux=value)
            for index, word in enumerate(self.engine.params_words.tolist()):
                assembly.command(self.run, kind=PARAMETER, order_id=index, aux=word)
            if self.config.strategy.seed:
                assembly.command(self.run, kind=SEED, aux=self.config.strategy.seed)
        else:
            assembly.introduce(self.machine)
        self.pump(NO_RECORDS)

    def pump(self, records: Any, until: int = inline.NEVER) -> None:
        """Take these records, in order (`readied`); or stop as soon as input `until` is the next one."""
        run, machine, at, stop = self.run, self.machine, 0, len(records)
        cells = run.cells
        while True:
            cells[inline.CHECKPOINT_AT] = min(self._checkpoint_at, until, int(cells[inline.NEXT]) + LOOK_RECORDS)
            begun = time.perf_counter()
            at = machine.pump(run, machine.intake, records, at, stop)
            self.loop_s += time.perf_counter() - begun
            run.journal.cells[rings.GATE] = run.journal.cells[rings.CURSOR]
            self._collect()
            why = int(cells[inline.STOPPED_FOR])
            if int(cells[inline.NEXT]) >= until:
                return
            if why == inline.CHECKPOINT_DUE and int(cells[inline.NEXT]) >= self._checkpoint_at:
                self.mark(CHECKPOINT)
                self._checkpoint_at = int(cells[inline.NEXT]) + self.config.engine.checkpoint_records
            elif why == inline.NEED_BYTES and at >= stop:
                return

    def mark(self, kind: int = SOURCE) -> None:
        """Use up a number as `ultra run` does for a hash of its source or its state."""
        now = int(self.engine.cells[engines.NOW])
        assembly.command(self.run, kind=kind, ts_event=now, ts_recv=now)

    def finish(self) -> str:
        """Nothing more comes: answer what is under way. The state hash; BacktestError when something was lost."""
        self.run.cells[inline.ENDED] = 1
        self.pump(NO_RECORDS)
        found = assembly.state_hash(self.engine)
        self.marks.append(markouts.taken(self.venue.marks, all_of_it=True))
        accounts.finish(self.account, self.engine.market, int(self.engine.cells[engines.NOW]))
        cells = self.run.venue.cells
        lost = int(cells[trial.LOST_FILLS]) + int(cells[trial.DROPPED]) + int(cells[trial.CROWDED])
        lost += int(self.venue.paper.cells[trial.DROPPED])
        if lost:
            raise BacktestError(
                f"{lost} times an answer of the venue had no room, so the figures would be wrong: more than "
                f"{trial.HELD_RECORDS} under way (a shorter latency), or more than engine.reply_ring_records = "
                f"{self.config.engine.reply_ring_records} at once (raise it)"
            )
        return found

    def _collect(self) -> None:
        """Take the fills, and the markouts that are whole, out of their rings."""
        filled = self.venue.filled
        start, end = int(filled.cells[rings.GATE]), int(filled.cells[rings.CURSOR])
        if end > start:
            self.fills.append(filled.slots[np.arange(start, end) & (len(filled.slots) - 1)].copy())
            filled.cells[rings.CURSOR_SEEN] = filled.cells[rings.GATE] = end
        found = markouts.taken(self.venue.marks)
        if len(found):
            self.marks.append(found)
        if self._progress is not None and time.perf_counter() - self._told > 0.25:
            self._told = time.perf_counter()
            self._progress({"records": int(self.run.cells[inline.MARKET_RECORDS]), "fills": end})


_LOOPS: dict[str, Callable[..., int]] = {}  # by key: a sweep of backtests loads its machine code once


def _loop(loaded: strategy.Loaded, which: str, parts: inline.Parts) -> Callable[..., int]:
    key = loaded.fingerprint + which
    if key not in _LOOPS or not JIT:  # the interpreter runs these very functions, which a reload makes anew
        _LOOPS[key] = inline.build(loaded.hooks, key, parts)
    return _LOOPS[key]


def _paper(machine: Machine, venue: trial.Trial) -> Machine:
    """The loop with the paper venue's rules."""
    pump = _loop(machine.loaded, "-trial", trial.TRIAL)
    run = machine.run._replace(venue=venue)
    return machine._replace(run=run, intake=trial.Intake(venue.replies, venue.filled), pump=pump)


def _matching(machine: Machine, venue: trial.Trial, steps: Any) -> Machine:
    """The loop with an exchange in which our orders meet the recorded ones."""
    market = impact.create(venue, machine.run.feed, steps, machine.config.engine.order_live_max)
    pump = _loop(machine.loaded, "-impact", impact.IMPACT)
    run = machine.run._replace(venue=market)
    return machine._replace(run=run, intake=impact.Seat(market, run.engine, run.feed, run.cells), pump=pump)


def readied(records: Any) -> Any:
    """Records as the loop takes them: a recarray of RECORD that it can't write, so that one kind of array, a tape on
    disk among them, means one machine code."""
    found = np.ascontiguousarray(records, RECORD).view(np.recarray)
    found.flags.writeable = False
    return found


NO_RECORDS: Final = readied(np.zeros(0, RECORD))
