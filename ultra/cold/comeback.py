"""An engine that comes back: rebuilt from its journal, it goes on where the dead one stood, and nobody notices.

The journal's ring outlives an engine, so the journal has every input that it numbered and the source does not have;
`Replay` makes an engine of it that is at some input T. The dead one may have been further, by market records only: the
fan has them still (`apart.take`). What it did meanwhile, the others have seen: requests published, questions asked. A
pure function does the same again, so the new one first *rehearses*: the same loop on the real fan and journal, with a
private ring of requests, no replies, and a private block of questions. When it comes to the last question of the dead
one (`LINK_ASK_NEXT` says at which input that was) or to one that was never asked, the real ends take the place of the
private ones, the requests that are not yet out are published, and it is the engine.

Where it may die, in the order of the loop, and what then is true:

    before `keep` publishes an input   nobody knows of it: it is still in its ring, in the fan, or made again
    after, before its slot is free     T is behind it: replayed, and its slot given back here (replies), or by `take`
    between two requests of one step   the step is done again; those that are out already are not published again
    before a question is out           it is asked when the new engine comes to it, and nothing of it is known before:
                                       LINK_DONE does not go ahead of it, or the venue's answer came early
    after, and before its replies      it is not asked again; its replies are seen when the new one comes to it
    between two replies                T is behind one: the question is past, and the rest of them are next
    `processed` to `release` in `take` T is behind what the fan forgets
    between journal and mirror         the mirror gets what the journal has (`even_out`)
    END journaled, result not told     nothing is done again but the telling

Always true: T is at least what the fan and the replies ring have forgotten, else ComebackError. A question before the
last one had no replies, or T would be behind it. Only one question is under way at a time.
Known bad cases: a strategy whose source was changed since the start does not come back. Service times, and how often
the core was taken away, are those of the last engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from .. import apart, inline, strategy
from ..config import Config
from ..hot import book as books
from ..hot import door
from ..hot import engine as engines
from ..hot import fan as fans
from ..hot import histogram as histograms
from ..hot import ring as rings
from ..wire import (
    CHECKPOINT,
    CONTROL_CELLS,
    END,
    LEVEL,
    LINK_ANSWER,
    LINK_ASK,
    LINK_ASK_AT,
    LINK_ASK_NEXT,
    LINK_ASK_NOW,
    LINK_ASK_TAKEN,
    MARKET_LAST,
    NONE,
    RECORD,
    REPLACE,
    REPLY_LAST,
    SIDED,
    SOURCE,
    TIMER,
    TRADE,
)
from . import assembly, labels, segment
from .native import Cells
from .replay import Replay

SETTLE_S: Final = 10.0
changed = door(books.changed)


class ComebackError(Exception):
    """The engine can't go on where the dead one stood: says what does not fit together."""


class Question(NamedTuple):
    """What an engine asked the venue, and when; those of one run are in this order."""

    next: int  # its next input then
    due: bool  # whether requests were to take effect: the second of two at one input
    at: int
    now: int
    taken: int


class Journaled(NamedTuple):
    """What the files say of the dead engine's inputs."""

    through: int  # T: all below it are known
    market: int
    sources: int
    replies: int
    checkpoint: int  # sequence of the last one, NONE
    timer_ts: int  # when the last timer was due, NONE
    last: Any  # the last record, None
    begun: bool  # it says what run it is of


def journaled(folder: Path) -> Journaled:
    """Read it through; JournalError when it is damaged."""
    through, market, sources, replies, checkpoint, timer_ts, last, begun = 0, 0, 0, 0, NONE, NONE, None, False
    segment.refuse_retired(folder)
    for frame in segment.read(folder) if segment.is_used(folder) else ():
        through, begun = max(through, frame.through), begun or frame.kind == segment.META
        if frame.kind != segment.RECORDS:
            continue
        records: Any = np.frombuffer(frame.payload, RECORD)
        kinds, last = records["kind"], records[-1]
        market += int((kinds <= MARKET_LAST).sum())
        sources += int((kinds == SOURCE).sum())
        replies += int(((kinds > MARKET_LAST) & (kinds <= REPLY_LAST)).sum())
        for record in records[kinds == CHECKPOINT]:
            checkpoint = int(record["sequence"])
        for record in records[kinds == TIMER]:
            timer_ts = int(record["ts_event"])
    return Journaled(through, market, sources, replies, checkpoint, timer_ts, last, begun)


class Comeback:
    """The new engine, and how far it has caught up with the dead one."""

    def __init__(
        self,
        config: Config,
        loaded: strategy.Loaded,
        folder: Path,
        ends: assembly.Apart,
        journals: list[rings.Ring],
        turn: Callable[[], None] | None = None,
    ) -> None:
        """ComebackError, ReplayError, JournalError when it can't. `turn` is called while the venue is waited for."""
        self._ends, found = ends, journaled(folder)
        self.ended, self.state_hash = found.last is not None and int(found.last["kind"]) == END, ""
        self._settle(turn)
        machine = self._replay(folder) if found.begun else assembly.assemble(config, loaded, journals)
        self.machine = self._private(machine, journals, found)
        self.checkpoint_at = (
            config.engine.checkpoint_records if found.checkpoint < 0 else found.checkpoint
            + config.engine.checkpoint_records
        )  # fmt: skip
        self.rehearsing = True
        self._load()
        self._introduce(found.through)
        if self._caught_up(found.through, observed=True):
            self._go_on(self._unobserved(found))

    def _replay(self, folder: Path) -> assembly.Machine:
        """The engine as it was at T."""
        replayed = Replay(folder).play()
        if not replayed.matches:
            raise ComebackError(f"{folder}: {replayed.mismatch}")
        self.state_hash = replayed.state_hash
        return replayed.machine

    def _settle(self, turn: Callable[[], None] | None) -> None:
        """Until the venue has answered: from then on nobody but us moves anything."""
        link, deadline = self._ends.link, time.monotonic() + SETTLE_S
        while int(link[LINK_ANSWER]) != int(link[LINK_ASK]):
            if time.monotonic() > deadline:
                raise ComebackError(f"the venue did not answer question {int(link[LINK_ASK])} in {SETTLE_S:.0f} s")
            time.sleep(0.0005)
            if turn is not None:
                turn()
        self._last = question(link) if int(link[LINK_ASK]) else None

    def _private(self, machine: assembly.Machine, journals: list[rings.Ring], found: Journaled) -> assembly.Machine:
        """The rebuilt engine with ends of its own, at the places of the sequences where it stands."""
        config, loaded, run, ends = machine.config, machine.loaded, machine.run, self._ends
        cells, taken = run.cells, self._forgotten(found)
        output, feed = run.engine.output, run.feed
        if not taken <= int(output.cells[rings.CURSOR]) <= taken + len(output.slots):
            raise ComebackError(f"the venue has taken {taken} requests, {int(output.cells[rings.CURSOR])} were made")
        output.cells[rings.GATE] = output.cells[rings.GATE_SEEN] = taken
        output.cells[rings.CURSOR_SEEN] = output.cells[rings.CURSOR]
        feed.cells[:] = 0
        for cell in (rings.CURSOR, rings.CURSOR_SEEN, rings.GATE, rings.GATE_SEEN):
            feed.cells[cell] = found.market + found.sources + int(cells[inline.MARKET_RECORDS])
        cells[inline.MARKET_RECORDS] += found.market  # one of them is 0: they come from the journal, or from the file
        self._check_feed(int(feed.cells[rings.GATE]))
        cells[inline.NEXT], cells[inline.REPLAYING], cells[inline.ENDED] = found.through, 0, 0
        cells[inline.CHECKPOINT_AT] = cells[inline.UNTIL] = cells[inline.PACE_UNTIL] = inline.NEVER
        cells[inline.MIRRORED] = len(journals) > 1
        self._set_timer(run, found)
        mirror = journals[1] if len(journals) > 1 else run.mirror
        service, late = histograms.create(), histograms.create()
        run = run._replace(journal=journals[0], mirror=mirror, service=service, late=late)
        pump = inline.build(loaded.hooks, loaded.fingerprint + "-apart", apart.APART)
        replies = rings.create(RECORD, config.engine.reply_ring_records)
        mine = assembly.Apart(ends.feed, np.zeros(CONTROL_CELLS, np.int64), output, replies)
        return assembly.joined(machine._replace(run=run, pump=pump), mine)

    def _forgotten(self, found: Journaled) -> int:
        """Give back the reply that the dead engine had journaled and not given back. How many requests the venue had
        taken at T: of those it took since, the replies are still to come."""
        ends, last = self._ends, self._last
        gate = int(ends.replies.cells[rings.GATE])
        if not gate <= found.replies <= min(gate + 1, int(ends.replies.cells[rings.CURSOR])):
            raise ComebackError(f"{found.replies} replies are in the journal, {gate} were taken from the ring")
        cells_of(ends.replies).store_release(rings.GATE, found.replies)
        if last is not None and last.due and last.next >= found.through:
            return last.taken
        return int(ends.requests.cells[rings.GATE])

    def _check_feed(self, fed: int) -> None:
        fan = self._ends.feed.cells
        gate, cursor = int(fan[fans.GATE + apart.ENGINE * fans.STRIDE]), int(fan[fans.CURSOR])
        if not gate <= fed <= cursor:
            raise ComebackError(
                f"the journal knows of {fed} records of the feed, which has those from {gate} to {cursor}"
            )

    def _set_timer(self, run: inline.Run, found: Journaled) -> None:
        """A timer that fired and whose market record did not come any more does not fire again."""
        cells, feed = run.cells, self._ends.feed
        if int(cells[inline.TIMER_NS]) and found.timer_ts >= 0 and int(cells[inline.TIMER_AT]) == found.timer_ts:
            due = feed.slots[int(run.feed.cells[rings.GATE]) & (len(feed.slots) - 1)]
            step = int(cells[inline.TIMER_NS])
            cells[inline.TIMER_AT] = (int(due.ts_event) // step + 1) * step

    def _load(self) -> None:
        """Compile the loop, or load what was compiled, on a feed without records."""
        run, nothing = self.machine.run, assembly.Apart(
            fans.create(RECORD, 64, [(), ()]), np.zeros(CONTROL_CELLS, np.int64), self.machine.run.engine.output,
            self.machine.run.venue.replies,
        )  # fmt: skip
        feed, cells = rings.create(RECORD, len(run.feed.slots)), run.cells.copy()
        idle = self.machine._replace(run=run._replace(feed=feed, cells=cells))
        cells[inline.PATIENCE], cells[inline.TIMER_NS] = 0, 0
        assembly.compile_loop(assembly.joined(idle, nothing))

    def _introduce(self, through: int) -> None:
        """Those of the first inputs, limits and parameters, that the dead engine did not come to."""
        cells = self.machine.run.commands.cells
        before = int(cells[rings.CURSOR])
        assembly.introduce(self.machine)
        given = int(cells[rings.CURSOR]) - before
        cells[rings.GATE] = cells[rings.CURSOR_SEEN] = before + min(given, through)

    def look(self, at_end: bool) -> None:
        """Whenever the loop comes back in the rehearsal; `at_end`: the feed has ended, and all of it is done."""
        run, why = self.machine.run, int(self.machine.run.cells[inline.STOPPED_FOR])
        link, following = run.venue.link, int(run.cells[inline.NEXT])
        if why == inline.UNSETTLED:
            asked, last = question(link), self._last
            if last is None or asked[:2] > last[:2]:
                self._go_on(asked)
            elif asked[:2] < last[:2] or (asked == last and self._published_more()):
                link[LINK_ANSWER] = link[LINK_ASK]  # answered long ago, with nothing: the dead one went on from there
            elif asked != last:
                raise ComebackError(f"the engine asks {asked}, the dead one asked {last}")
            else:
                self._go_on(None)
        elif why == inline.NEED_BYTES:
            if self._caught_up(following):
                self._go_on(None)
            elif not at_end or run.cells[inline.ENDED]:
                raise ComebackError(f"at input {following} the engine has done less than the dead one")

    def _caught_up(self, following: int, observed: bool = False) -> bool:
        """Whether all that the dead engine asked and published is behind us. `observed`: at T itself, where a question
        about the record before it was asked already."""
        last = self._last
        past = last is None or last.next < following or (observed and last.next == following and not last.due)
        return past and not self._published_more()

    def _published_more(self) -> bool:
        """Whether the dead engine had published requests that are still to come here."""
        return int(self._ends.requests.cells[rings.CURSOR]) > int(self.machine.run.engine.output.cells[rings.CURSOR])

    def _unobserved(self, found: Journaled) -> Question | None:
        """The question about the last record of the journal, if the dead engine had to ask it and did not."""
        run, record = self.machine.run, found.last
        if record is None or int(record["sequence"]) != found.through - 1 or not _seen_by_venue(record):
            return None
        if self._last is not None and self._last.next >= found.through:
            return None
        view = run.engine.market[int(record["instrument"])]
        if not changed(int(run.engine.cells[engines.OUTCOME])) or int(view.open_orders) == 0:
            return None
        at, taken = int(run.feed.cells[rings.GATE]), int(run.engine.output.cells[rings.GATE])
        return Question(found.through, False, at, NONE, taken)

    def _go_on(self, ask: Question | None) -> None:
        """The real ends take the place of the private ones, with what the dead engine did not publish, or ask."""
        labels.at("engine.back.before")
        run, ends = self.machine.run, self._ends
        made, out = run.engine.output, ends.requests
        published, cursor = int(out.cells[rings.CURSOR]), int(made.cells[rings.CURSOR])
        if published > cursor:
            raise ComebackError(f"the dead engine had published {published} requests, this one {cursor}")
        for number in range(published, cursor):
            out.slots[number & (len(out.slots) - 1)] = made.slots[number & (len(made.slots) - 1)]
        cells_of(out).store_release(rings.CURSOR, cursor)
        link = Cells(memoryview(ends.link))
        if ask is not None:
            number = int(ends.link[LINK_ASK]) + 1
            row = 2 * (number & 1)
            ends.link[LINK_ASK_AT + row], ends.link[LINK_ASK_NOW + row] = ask.at, ask.now
            ends.link[LINK_ASK_NEXT + row], ends.link[LINK_ASK_TAKEN + row] = ask.next, ask.taken
            link.store_release(LINK_ASK, number)
        run.cells[inline.PATIENCE], run.cells[inline.SPINS] = assembly.waiting(self.machine.config)
        self.machine = assembly.joined(self.machine, ends)
        self.rehearsing = False
        labels.at("engine.back.after")


def question(link: Any) -> Question:
    """The last one in a control block."""
    row = 2 * (int(link[LINK_ASK]) & 1)
    following, taken, at, now = (
        int(link[cell + row]) for cell in (LINK_ASK_NEXT, LINK_ASK_TAKEN, LINK_ASK_AT, LINK_ASK_NOW)
    )
    return Question(following, now != NONE, at, now, taken)


def cells_of(ring: rings.Ring) -> Cells:
    """Its sequences, as others read them too."""
    return Cells(memoryview(ring.cells))


def even_out(folder: Path, mirror: Path, ring: rings.Ring) -> None:
    """Put into the mirror's ring, which is new, what the journal has and the mirror does not: the engine died between
    the two."""
    end = segment.end_of(mirror)
    written, cursor = end.written if end is not None else 0, 0
    for frame in segment.read(folder):
        if frame.kind == segment.RECORDS and frame.through > written:
            for record in np.frombuffer(frame.payload, RECORD):
                if int(record["sequence"]) >= written:
                    if cursor == len(ring.slots):
                        raise ComebackError(f"{mirror} lacks more than {cursor} records that {folder} has")
                    ring.slots[cursor] = record
                    cursor += 1
    cells_of(ring).store_release(rings.CURSOR, cursor)


def _seen_by_venue(record: Any) -> bool:
    """What `paper.sees` says, of a record that may be none."""
    kind, sided = int(record["kind"]), int(record["flag"]) & SIDED != 0 and 0 <= int(record["qty"]) <= books.QTY_MAX
    return 0 < kind <= REPLACE or kind == LEVEL or (kind == TRADE and sided)
