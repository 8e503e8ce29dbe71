"""One pinned thread: feed -> engine -> paper venue -> engine, and a copy of every input to the journal's ring.

This is where the one sequence is made: a market record, the venue's replies to what it caused, timers and commands
get their numbers in the order in which the engine sees them. Nothing reaches the engine that is not numbered, and
nothing is numbered that the journal's ring has no room for: then the loop stops and says so, and no record is lost.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .hot import book as books
from .hot import curve as curves
from .hot import engine as engines
from .hot import entry, hot, memory
from .hot import histogram as histograms
from .hot import ring as rings
from .hot import table as tables
from .hot.atomics import Cells, store_release
from .hot.clock import ticks
from .venues import itch, paper
from .wire import JOURNAL_PROCESSED, MARKET_LAST, NONE, RECORD, REPLACE, TIMER

# What `pump` stopped for.
NEED_BYTES, JOURNAL_FULL, CHECKPOINT_DUE, PACED, NEED_RECORDS = range(5)

# Cells of a run.
NEXT, CHECKPOINT_AT, PACE_UNTIL, TIMER_NS, TIMER_AT, SAMPLE_EVERY, SAMPLE_IN, JOURNAL_ALL = range(8)
MARKET_RECORDS, STOPPED_FOR, ENDED, REPLAYING, UNTIL = range(8, 13)
CELLS = 16
NEVER = 1 << 62
# Where an input came from.
NOWHERE, FEED, REPLY, COMMAND, NOTE = range(5)
# More live orders than this don't fit in a core's cache: warm what the next messages need.
PREFETCH_FROM = 1 << 14
AHEAD_FIRST, AHEAD_SECOND, AHEAD_THIRD = 24, 16, 8


class Run(NamedTuple):
    """One run: the engine, its venue, and the rings between them."""

    engine: engines.Engine
    venue: paper.Paper
    feed: rings.Ring  # RECORD: decoded, not yet numbered
    commands: rings.Ring  # RECORD: from the operator; in a replay, from the journal and numbered
    journal: rings.Ring  # RECORD: numbered inputs on their way to the journal, in shared memory
    note: Any  # RECORD[1], for records made here
    service: histograms.Histogram  # ticks from taking a record to the end of the engine's step
    curve: curves.Curve
    cells: Cells


def create(
    engine: engines.Engine, venue: paper.Paper, feed: rings.Ring, commands: rings.Ring, journal: rings.Ring
) -> Run:
    """A run that has not begun: no checkpoint, no pace, no timer, every record's service time taken."""
    cells = np.zeros(CELLS, np.int64)
    cells[CHECKPOINT_AT] = cells[PACE_UNTIL] = cells[UNTIL] = NEVER
    cells[SAMPLE_EVERY] = 1
    note = memory.zeros(1, RECORD)
    return Run(engine, venue, feed, commands, journal, note, histograms.create(), curves.create(), cells)


def build(hooks: engines.Hooks, key: str) -> Callable[..., int]:
    """Bind a strategy into the loop. `key` is its fingerprint, under which the machine code is kept."""
    step = engines.build(hooks)

    @entry(key=key)
    def pump(run: Run, decoder: itch.Decoder, buffer: Any, start: int, stop: int) -> int:
        """Decode and handle `buffer[start:stop]`; returns the offset reached, and why in cells[STOPPED_FOR]."""
        cells, at, source = run.cells, start, np.int64(NOWHERE)
        while True:
            if rings.ready(run.feed) == 0:
                at = itch.decode_some(decoder, buffer, at, stop, run.feed)
            source = next_source(run)
            if source < NOWHERE:
                break
            if source == NOWHERE:
                continue
            record = head(run, source)
            record.sequence = cells[NEXT]
            if cells[REPLAYING] == 0 and not keep(run, record):
                if source == NOTE:
                    cells[TIMER_AT] = record.ts_event  # due again when there is room
                source = -np.int64(JOURNAL_FULL) - 1
                break
            timed = timing(cells, source)
            before = ticks() if timed else 0
            step(run.engine, record)
            if timed:
                histograms.record(run.service, ticks() - before)
            done(run, record, source)
        cells[STOPPED_FOR] = -source - 1
        store_release(run.journal.cells, JOURNAL_PROCESSED, cells[NEXT])
        return at

    return pump


@entry
def books_only(book: books.Book, decoder: itch.Decoder, feed: rings.Ring, buffer: Any, start: int, stop: int) -> int:
    """Decode `buffer[start:stop]` into the books and nothing else; returns the offset reached."""
    at = start
    while True:
        at = itch.decode_some(decoder, buffer, at, stop, feed)
        waiting = rings.ready(feed)
        if waiting == 0:
            return at
        ahead = book.ids.cells[tables.USED] > PREFETCH_FROM
        for offset in range(waiting):
            slot = rings.polled(feed, offset)
            if feed.slots[slot].kind <= REPLACE:
                books.apply(book, feed.slots[slot])
            if ahead:
                look_ahead(book, feed, slot)
        rings.release(feed, waiting)


@hot
def next_source(run: Run) -> int:
    """Which ring holds the next input; NOWHERE to look again; -1 - reason when the loop must stop."""
    cells = run.cells
    if cells[REPLAYING] != 0:
        return next_replayed(run)
    if rings.ready(run.commands) > 0:
        return COMMAND
    if rings.ready(run.venue.replies) > 0:
        return REPLY
    now = NEVER
    if rings.ready(run.feed) > 0:
        now = run.feed.slots[rings.polled(run.feed, 0)].ts_event
    elif cells[ENDED] == 0:
        return -1 - NEED_BYTES
    if now > cells[PACE_UNTIL] and cells[ENDED] == 0:
        return -1 - PACED
    if cells[NEXT] >= cells[CHECKPOINT_AT]:
        return -1 - CHECKPOINT_DUE
    if cells[TIMER_NS] > 0 and timer_due(run, now):
        return NOTE
    if rings.ready(run.engine.output) > 0:
        paper.advance(run.venue, run.engine.book, run.engine.output, now)
        if rings.ready(run.venue.replies) > 0:
            return REPLY
    return FEED if rings.ready(run.feed) > 0 else -1 - NEED_BYTES


@hot
def timer_due(run: Run, now: int) -> bool:
    """A timer fires before the market record of this moment: its record is then in `note`."""
    cells, due = run.cells, run.cells[TIMER_AT]
    if now < due or now >= NEVER:
        return False
    cells[TIMER_AT] = (now // cells[TIMER_NS] + 1) * cells[TIMER_NS]
    run.note[0].kind = TIMER
    run.note[0].instrument = NONE
    run.note[0].ts_event = due
    return due > 0


@hot
def next_replayed(run: Run) -> int:
    """The journal's record when its number is due, else the feed's. The venue's answers are in the journal."""
    cells = run.cells
    rings.release(run.engine.output, rings.ready(run.engine.output))
    if cells[NEXT] >= cells[UNTIL]:
        return -1 - NEED_RECORDS
    if rings.ready(run.commands) > 0:
        record = run.commands.slots[rings.polled(run.commands, 0)]
        if record.sequence == cells[NEXT]:
            return COMMAND if record.kind <= engines.LAST_KIND else -1 - CHECKPOINT_DUE
    elif cells[ENDED] == 0:
        return -1 - NEED_RECORDS
    return FEED if rings.ready(run.feed) > 0 else -1 - NEED_BYTES


@hot
def head(run: Run, source: int) -> Any:
    """The next record of a source."""
    if source == FEED:
        return run.feed.slots[rings.polled(run.feed, 0)]
    if source == REPLY:
        return run.venue.replies.slots[rings.polled(run.venue.replies, 0)]
    if source == COMMAND:
        return run.commands.slots[rings.polled(run.commands, 0)]
    return run.note[0]


@hot
def keep(run: Run, record: Any) -> bool:
    """Hand a numbered input to the journal. False, and nothing done, when the journal's ring is full."""
    cells = run.cells
    if record.kind > MARKET_LAST or cells[JOURNAL_ALL] != 0:
        slot = rings.claim(run.journal)
        if slot < 0:
            return False
        run.journal.slots[slot] = record
        rings.publish(run.journal, 1)
    return True


@hot
def timing(cells: Cells, source: int) -> bool:
    """Whether this record's service time is taken: one market record in SAMPLE_EVERY."""
    if source != FEED:
        return False
    cells[SAMPLE_IN] -= 1
    if cells[SAMPLE_IN] > 0:
        return False
    cells[SAMPLE_IN] = cells[SAMPLE_EVERY]
    return True


@hot
def done(run: Run, record: Any, source: int) -> None:
    """The engine has seen it: give the slot back; our resting orders and the curve see market records too."""
    cells = run.cells
    cells[NEXT] += 1
    if source == FEED:
        cells[MARKET_RECORDS] += 1
        if cells[REPLAYING] == 0 and engines.applied(run.engine):
            paper.observe(run.venue, record)
        if curves.due(run.curve):
            known = run.engine.cells[engines.INSTRUMENTS]
            curves.sample(run.curve, record.ts_event, run.engine.market, known)
        if run.engine.book.ids.cells[tables.USED] > PREFETCH_FROM:
            look_ahead(run.engine.book, run.feed, rings.polled(run.feed, 0))
        rings.release(run.feed, 1)
    elif source == REPLY:
        rings.release(run.venue.replies, 1)
    elif source == COMMAND:
        rings.release(run.commands, 1)


@hot
def look_ahead(book: books.Book, feed: rings.Ring, slot: int) -> None:
    """Ask for the memory that later records of the feed ring will need (a stale slot only wastes a request)."""
    mask = len(feed.slots) - 1
    books.ahead_first(book, feed.slots[(slot + AHEAD_FIRST) & mask])
    books.ahead_second(book, feed.slots[(slot + AHEAD_SECOND) & mask])
    books.ahead_third(book, feed.slots[(slot + AHEAD_THIRD) & mask])
