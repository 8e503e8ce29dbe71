"""One pinned thread: feed -> engine -> paper venue -> engine, and a copy of every input to the journal's ring.

This is where the one sequence is made: a market record, the venue's replies to what it caused, timers and commands
get their numbers in the order in which the engine sees them. Nothing reaches the engine that is not numbered, and
nothing is numbered that the journal's ring has no room for: then the loop stops and says so, and no record is lost.
A request leaves for the venue when its time has come and, if the output is gated, its cause is on disk.

`ultra.apart` puts the feed and the venue into processes of their own: other `Parts`, the same loop, the same sequence.
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
from .hot.atomics import Cells, load_acquire, store_release
from .hot.clock import ticks
from .hot.wait import idle
from .venues import itch, paper
from .wire import JOURNAL_DURABLE, JOURNAL_PROCESSED, LEVEL, MARKET_LAST, NONE, RECORD, REPLACE, SOURCE, TIMER

# What `pump` stopped for.
NEED_BYTES, JOURNAL_FULL, CHECKPOINT_DUE, PACED, NEED_RECORDS, GATED, UNSETTLED = range(7)

# Cells of a run.
NEXT, CHECKPOINT_AT, PACE_UNTIL, TIMER_NS, TIMER_AT, SAMPLE_EVERY, SAMPLE_IN, JOURNAL_ALL = range(8)
MARKET_RECORDS, STOPPED_FOR, ENDED, REPLAYING, UNTIL = range(8, 13)
# Requests wait until their cause is on disk; a second journal is kept; turns of waiting before the loop gives up, and
# how many of them spin; open loop: the tick at which record 0 is due, and 2^16 times the ticks between two records.
GATE_OUTPUT, MIRRORED, PATIENCE, SPINS, DUE_FROM, DUE_STEP = range(13, 19)
HELD = 19  # 1: a request waits for the disk, but the inputs go on (`ultra.wired`): no patience, wake the journal
CELLS = 24
WAITS_MAX = 1 << 14  # turns of waiting in one call, however short each wait was
NEVER = 1 << 62
# Where an input came from.
NOWHERE, FEED, REPLY, COMMAND, NOTE, VENUE = range(6)
# More live orders than this don't fit in a core's cache: warm what the next messages need.
PREFETCH_FROM = 1 << 14
AHEAD_FIRST, AHEAD_SECOND, AHEAD_THIRD = 24, 16, 8


class Run(NamedTuple):
    """One run: the engine, its venue, and the rings between them."""

    engine: engines.Engine
    venue: Any  # paper.Paper, or what stands for it here (`ultra.apart.Venue`): `replies`, and `cells` with LATENCY_NS
    feed: rings.Ring  # RECORD: decoded, not yet numbered
    commands: rings.Ring  # RECORD: from the operator; in a replay, from the journal and numbered
    journal: rings.Ring  # RECORD: numbered inputs on their way to the journal, in shared memory
    mirror: rings.Ring  # the same to a second journal, when there is one
    note: Any  # RECORD[1], for records made here
    service: histograms.Histogram  # ticks from taking a record to the end of the engine's step
    late: histograms.Histogram  # open loop: ticks from the moment a record was due to the end of the engine's step
    curve: curves.Curve
    cells: Cells


@hot
def nothing_due(run: Run) -> bool:
    """A venue that does nothing but what a request makes it do."""
    return False


class Parts(NamedTuple):
    """What differs between arrangements of the same loop, as hot functions."""

    decode: Callable[..., int]  # (decoder, buffer, at, stop, feed) -> at: fill the feed ring, which is empty
    advance: Callable[..., None]  # (run, now): let requests whose time has come take effect
    observe: Callable[..., None]  # (run, record): a market record happened to our resting orders
    settled: Callable[..., bool]  # (run): both of these have their answers in the replies ring
    due: Callable[..., bool] = nothing_due  # (run): `advance` has something to do before the next market record


def create(
    engine: engines.Engine, venue: Any, feed: rings.Ring, commands: rings.Ring, journal: rings.Ring, mirror: rings.Ring
) -> Run:
    """A run that has not begun: no checkpoint, no pace, no timer, every record's service time taken."""
    cells = np.zeros(CELLS, np.int64)
    cells[CHECKPOINT_AT] = cells[PACE_UNTIL] = cells[UNTIL] = NEVER
    cells[SAMPLE_EVERY] = 1
    note = memory.zeros(1, RECORD)
    service, late = histograms.create(), histograms.create()
    return Run(engine, venue, feed, commands, journal, mirror, note, service, late, curves.create(), cells)


@hot
def advance_here(run: Run, now: int) -> None:
    """The paper venue of this thread."""
    paper.advance(run.venue, run.engine.book, run.engine.output, now)


@hot
def observe_here(run: Run, record: Any) -> None:
    """The same."""
    paper.observe(run.venue, record)


@hot
def settled_here(run: Run) -> bool:
    """Its answers are there when it returns."""
    return True


INLINE = Parts(itch.decode_some, advance_here, observe_here, settled_here)


def build(hooks: engines.Hooks, key: str, parts: Parts = INLINE) -> Callable[..., int]:
    """Bind a strategy into the loop. `key` is its fingerprint, under which the machine code is kept."""
    step = engines.build(hooks)
    decode, advance, observe, settled, due = parts

    @entry(key=key)
    def pump(run: Run, decoder: Any, buffer: Any, start: int, stop: int) -> int:
        """Decode and handle `buffer[start:stop]`; returns the offset reached, and why in cells[STOPPED_FOR]."""
        cells, at, source, turns, waited = run.cells, start, np.int64(NOWHERE), 0, 0
        while True:
            if not settled(run):
                source = -1 - np.int64(UNSETTLED)
            else:
                if rings.ready(run.feed) == 0:
                    processed(run)  # before `decode` gives back in another process what these were copied from
                    at = decode(decoder, buffer, at, stop, run.feed)
                source = next_source(run)
                if (source == FEED or source == -1 - NEED_BYTES) and due(run):
                    source = np.int64(VENUE)
            if source < NOWHERE:
                if turns >= cells[PATIENCE] or waited >= WAITS_MAX or not waits(cells, source):
                    break
                waited += 1
                turns = idle(turns, cells[SPINS])
                continue
            turns = 0
            if source == NOWHERE:
                continue  # an open loop: the next record is not due yet
            if source == VENUE:
                advance(run, head_ts(run))
                continue
            record = head(run, source)
            record.sequence = cells[NEXT]
            if cells[REPLAYING] == 0 and not keep(run, record):
                if source == NOTE:
                    cells[TIMER_AT] = record.ts_event  # due again when there is room
                source = -1 - np.int64(JOURNAL_FULL)
                break
            timed = timing(cells, source)
            before = ticks() if timed else 0
            step(run.engine, record)
            if timed:
                histograms.record(run.service, ticks() - before)
            done(run, record, source)
            if source == FEED and cells[REPLAYING] == 0 and paper.sees(record) and engines.applied(run.engine):
                observe(run, record)
        cells[STOPPED_FOR] = -source - 1
        processed(run)
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
            elif feed.slots[slot].kind == LEVEL:
                books.set_level(book, feed.slots[slot])
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
        first = run.feed.slots[rings.polled(run.feed, 0)]
        if first.kind == SOURCE:
            return FEED  # about the file, not the market: as if it had come as a command
        now = first.ts_event
    elif cells[ENDED] == 0:
        return -1 - NEED_BYTES
    if now > cells[PACE_UNTIL] and cells[ENDED] == 0:
        return -1 - PACED
    if cells[NEXT] >= cells[CHECKPOINT_AT]:
        return -1 - CHECKPOINT_DUE
    if cells[TIMER_NS] > 0 and timer_due(run, now):
        return NOTE
    if output_waits(run.engine.output) and request_ts(run) + run.venue.cells[paper.LATENCY_NS] <= now:
        return VENUE if cells[GATE_OUTPUT] == 0 or covered(run, now) else -1 - GATED
    if rings.ready(run.feed) == 0:
        return -1 - NEED_BYTES
    return FEED if cells[DUE_STEP] == 0 or ticks() >= due_tick(cells) else NOWHERE


@hot
def waits(cells: Cells, source: int) -> bool:
    """Whether what the loop would stop for may come by itself."""
    return (source == -1 - NEED_BYTES and cells[HELD] == 0) or source == -1 - UNSETTLED


@hot
def head_ts(run: Run) -> int:
    """Time of the next market record, NEVER when there is none."""
    return run.feed.slots[rings.polled(run.feed, 0)].ts_event if rings.ready(run.feed) > 0 else NEVER


@hot
def output_waits(output: rings.Ring) -> bool:
    """Whether a request is still on its way. Looks at the gate, which the venue may move in another process."""
    return output.cells[rings.CURSOR] != load_acquire(output.cells, rings.GATE)


@hot
def request_ts(run: Run) -> int:
    """When the oldest request on its way was decided."""
    output = run.engine.output
    return output.slots[rings.polled(output, 0)].ts_event


@hot
def covered(run: Run, now: int) -> bool:
    """Whether what caused the requests due at `now` is on disk, of all of them: the venue takes them at once."""
    output, cause = run.engine.output, np.int64(NONE)
    for offset in range(output.cells[rings.CURSOR] - load_acquire(output.cells, rings.GATE)):
        request = output.slots[rings.polled(output, offset)]
        if request.ts_event + run.venue.cells[paper.LATENCY_NS] > now:
            break
        cause = max(cause, request.sequence)
    return on_disk(run, cause)


@hot
def on_disk(run: Run, cause: int) -> bool:
    """Whether an input is on disk: in both journals, if there are two."""
    if cause >= load_acquire(run.journal.cells, JOURNAL_DURABLE):
        return False
    return run.cells[MIRRORED] == 0 or cause < load_acquire(run.mirror.cells, JOURNAL_DURABLE)


@hot
def processed(run: Run) -> None:
    """Tell the journals how far the engine is."""
    store_release(run.journal.cells, JOURNAL_PROCESSED, run.cells[NEXT])
    store_release(run.mirror.cells, JOURNAL_PROCESSED, run.cells[NEXT])


@hot
def due_tick(cells: Cells) -> int:
    """Open loop: when the next market record is due."""
    return cells[DUE_FROM] + (cells[MARKET_RECORDS] * cells[DUE_STEP] >> 16)


@hot
def timer_due(run: Run, now: int) -> bool:
    """A timer fires before the market record of this moment: its record is then in `note`."""
    cells, due = run.cells, run.cells[TIMER_AT]
    if now < due or now >= NEVER:
        return False
    pass_timer(cells, now)
    run.note[0].kind = TIMER
    run.note[0].instrument = NONE
    run.note[0].ts_event = due
    return due > 0


@hot
def pass_timer(cells: Cells, now: int) -> None:
    """When the next timer is due, behind a market record of this moment. A replay has its timers from the journal."""
    if cells[TIMER_NS] > 0 and now >= cells[TIMER_AT]:
        cells[TIMER_AT] = (now // cells[TIMER_NS] + 1) * cells[TIMER_NS]


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
            if record.kind <= MARKET_LAST:
                pass_timer(cells, record.ts_event)
            return COMMAND if not engines.is_mark(record.kind) else -1 - CHECKPOINT_DUE
    elif cells[ENDED] == 0:
        return -1 - NEED_RECORDS
    if rings.ready(run.feed) == 0:
        return -1 - NEED_BYTES
    pass_timer(cells, run.feed.slots[rings.polled(run.feed, 0)].ts_event)
    return FEED


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
        slot, other = rings.claim(run.journal), np.int64(0)
        if cells[MIRRORED] != 0:
            other = rings.claim(run.mirror)
        if slot < 0 or other < 0:
            return False
        run.journal.slots[slot] = record
        rings.publish(run.journal, 1)
        if cells[MIRRORED] != 0:
            run.mirror.slots[other] = record
            rings.publish(run.mirror, 1)
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
    """The engine has seen it: give the slot back; the curve sees market records too."""
    cells = run.cells
    cells[NEXT] += 1
    if source == FEED:
        if record.kind <= MARKET_LAST:
            if cells[DUE_STEP] != 0:
                histograms.record(run.late, ticks() - due_tick(cells))
            cells[MARKET_RECORDS] += 1
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
