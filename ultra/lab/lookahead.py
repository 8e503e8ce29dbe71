"""Does a strategy, or the venue it trades on, know the future? Change the future and see whether the past changes.

At several cuts a second run gets another future behind the record of the cut (other prices, sides and quantities at
the same times), and must have come to the same decisions, fills and money when the cut is reached, although the
changed records lie in the feed's ring already. What a strategy reads beside the tape is changed too: every array and
tuple of numbers among the globals that its functions read gets another tail, from the place of the cut on. Values at
or before the cut's place may be read; whoever reads behind it decides differently, and is named.

The machine code of a strategy holds its globals as constants, so that part runs in the interpreter (JIT off), over at
most PREFIX records. A table that has nothing to do with time and is read at its end looks like a future: `allow` it.
Known bad case: what is read through a function of Python's own (a file, a socket) can't compile, and is not looked for.
"""

import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np

from .. import inline
from .. import strategy as strategies
from ..config import Config
from ..hot import JIT
from ..hot import engine as engines
from ..hot import ring as rings
from ..venues import account as accounts
from ..wire import BAR, LEVEL, NONE, RECORD, REPLACE, TRADE
from .backtest import Terms, course_of
from .course import Course, readied
from .source import source_of

CUTS: Final = 5
PREFIX: Final = 20_000  # records that the interpreter plays
COMPILED: Final = 2_000_000  # records that machine code plays
BEHIND: Final = 1 << 16  # records behind a cut that are changed: the loop takes no more at once
NOT_THEIRS: Final = ("ultra.hot", "ultra.wire", "ultra.venues", "ultra.strategy", "numpy", "numba", "math")


class Cut(NamedTuple):
    """One future changed, and what became of the past."""

    records: int  # taken when it was looked at
    changed: str  # "tape", or the name of what the strategy reads
    decisions: int
    same: bool


class Verdict(NamedTuple):
    """What was found."""

    cuts: list[Cut]
    unseen: tuple[str, ...]  # globals that could not be changed: the JIT is on

    @property
    def clean(self) -> bool:
        """No past changed."""
        return all(cut.same for cut in self.cuts)

    @property
    def guilty(self) -> list[str]:
        """What knew the future: "tape" (then it is the engine's fault, or the venue's), or globals by name."""
        return sorted({cut.changed for cut in self.cuts if not cut.same})

    def as_text(self) -> str:
        """In words."""
        if self.guilty:
            at = ", ".join(f"{cut.records:,}" for cut in self.cuts if not cut.same)
            said = f"LOOKS AHEAD: other values behind record {at} in {', '.join(self.guilty)} changed past decisions"
        else:
            said = f"no look-ahead: {len(self.cuts)} futures were changed and no past changed with them"
            if not any(cut.decisions for cut in self.cuts):
                said += ", which proves nothing: no order was asked for in any of these pasts"
        if self.unseen:
            said += f". Not looked at, compiled in: {', '.join(self.unseen)} (NUMBA_DISABLE_JIT=1 looks at them)"
        return said


class Span(NamedTuple):
    """What series are held against: all of the data."""

    records: int
    first_ts: int
    last_ts: int


class _Recorder:
    """Where a source plays to when its first records are wanted, and how many there are."""

    def __init__(self, most: int) -> None:
        self.parts: list[Any] = [np.zeros(0, RECORD)]
        self.left, self.span = most, Span(0, 0, 0)

    def pump(self, records: Any) -> None:
        self.parts.append(np.array(records[: self.left], RECORD))
        self.left -= len(self.parts[-1])
        first = self.span.first_ts if self.span.records else int(records["ts_event"][0])
        self.span = Span(self.span.records + len(records), first, int(records["ts_event"][-1]))

    def mark(self) -> None:
        """What a file was is of no matter here."""


def check_lookahead(
    strategy: Any,
    data: Any,
    *,
    cuts: int = CUTS,
    terms: Terms | None = None,
    config: Config | None = None,
    allow: Sequence[str] = (),
    told: Callable[[str], None] | None = None,
    records_max: int | None = None,
    **given: Any,
) -> Verdict:
    """Change the future at `cuts` places, evenly over the first `records_max` records (COMPILED; in the interpreter
    PREFIX). `allow` names globals that are tables, not series. Takes what `backtest` takes."""
    source = source_of(data)
    loaded = strategy if isinstance(strategy, strategies.Loaded) else strategies.load(strategy)

    def fresh() -> Course:
        course, _ = course_of(loaded, source, terms=terms, config=config, **given)
        course.begin()
        return course

    recorder, course = _Recorder(records_max or (COMPILED if JIT else PREFIX)), fresh()
    source.play(course.config, recorder)
    records = np.concatenate(recorder.parts)
    series = {name: held for name, held in series_of(loaded).items() if name not in allow}
    found, at = [], 0
    for place in sorted({len(records) * (k + 1) // (cuts + 1) for k in range(cuts)} - {0}):
        course.pump(readied(records[at:place]))
        at, number, before = place, int(course.run.cells[inline.NEXT]), past(course)
        if told is not None:
            told(f"other futures from record {place:,}")
        changed = {"tape": None, **({} if JIT else series)}
        for name, held in changed.items():
            other = fresh()
            ts = int(records["ts_event"][place - 1])
            with other_tail(held or [], place, ts, recorder.span):
                other.pump(readied(other_future(records, place, itself=held is not None)), until=number)
            found.append(Cut(place, name, before[0], past(other) == before))
    return Verdict(found, tuple(series) if JIT else ())


def past(course: Course) -> tuple[int, ...]:
    """All that was decided, sent, filled and earned so far, as numbers."""
    cells, account = course.engine.cells, course.account
    return (
        int(cells[engines.DECISIONS]),
        int(cells[engines.DECISION_HASH]),
        int(course.engine.output.cells[rings.CURSOR]),
        int(account.cells[accounts.FILLS]),
        int(account.cells[accounts.FEES_E9]),
        int(account.cash.sum()),
        int(np.abs(account.lots).sum()),
    )


def other_future(records: Any, place: int, *, itself: bool = False) -> Any:
    """The records up to `place` and as many behind it as the loop takes at once: those with other prices, sides and
    quantities at the same times, or `itself`."""
    found = np.array(records[: place + BEHIND])
    later = found[place:]
    if itself or len(later) == 0:
        return found
    priced = (later["kind"] <= TRADE) | (later["kind"] == LEVEL) | (later["kind"] == BAR)
    shown = priced & (later["price"] != NONE)
    later["price"][shown] += later["price"][shown] // 20
    later["qty"][priced & (later["qty"] > 0)] += 1
    later["side"][(later["kind"] < REPLACE) & priced] ^= 1
    return found


class Held(NamedTuple):
    """Where a function finds a series: a dict of globals, by name."""

    names: dict[str, Any]
    name: str


def series_of(loaded: strategies.Loaded) -> dict[str, list[Held]]:
    """The arrays and tuples of numbers that a strategy's functions read, through whatever they call."""
    found: dict[str, list[Held]] = {}
    seen: set[int] = set()
    waiting: list[Any] = list(loaded.hooks)
    while waiting:
        value = waiting.pop()
        function = getattr(value, "py_func", value)
        if not isinstance(function, types.FunctionType) or id(function) in seen:
            continue
        seen.add(id(function))
        waiting += [cell.cell_contents for cell in function.__closure__ or ()]
        if (function.__module__ or "").startswith(NOT_THEIRS):
            continue
        for names in (function.__globals__, *modules_of(function)):
            for name in function.__code__.co_names:
                if is_series(names.get(name)):
                    found.setdefault(name, []).append(Held(names, name))
                elif callable(names.get(name)):
                    waiting.append(names[name])
    return found


def modules_of(function: types.FunctionType) -> list[dict[str, Any]]:
    """The names of the modules that a function names."""
    read = [function.__globals__.get(name) for name in function.__code__.co_names]
    return [vars(value) for value in read if isinstance(value, types.ModuleType)]


def is_series(value: Any) -> bool:
    """Numbers in an order: an array, or a tuple, of more than one."""
    if isinstance(value, np.ndarray):
        return value.size > 1 and value.dtype.kind in "iuf"
    return isinstance(value, tuple) and len(value) > 1 and all(isinstance(each, int | float) for each in value)


@contextmanager
def other_tail(held: Sequence[Held], place: int, ts: int, span: Span) -> Iterator[None]:
    """While this holds, a series has other values from the cut (so many records, the last of this time) on."""
    before = [each.names[each.name] for each in held]
    for each, value in zip(held, before, strict=True):
        changed = np.array(value)
        tail = changed[tail_of(len(changed), place, ts, span) :]
        tail += tail // 20 + 1
        each.names[each.name] = tuple(changed.tolist()) if isinstance(value, tuple) else changed
    try:
        yield
    finally:
        for each, value in zip(held, before, strict=True):
            each.names[each.name] = value


def tail_of(length: int, place: int, ts: int, span: Span) -> int:
    """Where the future begins in a series of this length that spans the data: with a row a record, at the cut; else as
    far as the cut is in the records, or in their time, the later of both and one more, so that nobody is blamed who
    reads what has been."""
    if length == span.records:
        return place
    passed, whole = ts - span.first_ts, max(1, span.last_ts - span.first_ts)
    return min(length, max(-(-length * place // span.records), -(-length * passed // whole)) + 1)
