"""Feed and venue in processes of their own, in lockstep: the same sequence as `inline`, whoever is faster.

The feed's records go to a fan with two readers, the engine and the venue, which keeps a book of its own. The engine
takes copies: it completes records in place. What the venue does depends on nothing but what it is asked: either to see
the feed up to a record (the last one, when an order of ours may rest in its book), or that and to let the requests due
at a moment take effect. The engine waits for the answer before it goes on, so replies come where they come inline.
With no order of ours out there, nothing is asked, and the venue follows up to LINK_DONE at its own pace.

Invariant: the venue is never ahead of LINK_DONE and of the last question, which are never ahead of the engine.
Known bad case: with orders resting in a lively book every record of it costs a round trip between two cores.
"""

from typing import Any, NamedTuple

from .hot import book as books
from .hot import entry, hot
from .hot import fan as fans
from .hot import ring as rings
from .hot.atomics import Cells, load_acquire, store_release
from .hot.clock import ticks
from .hot.wait import idle
from .inline import NEXT, WAITS_MAX, Parts, Run
from .venues import itch, paper
from .wire import (
    LEVEL,
    LINK_ANSWER,
    LINK_ASK,
    LINK_ASK_AT,
    LINK_ASK_NEXT,
    LINK_ASK_NOW,
    LINK_ASK_TAKEN,
    LINK_DONE,
    NONE,
    REPLACE,
)

ENGINE, VENUE = 0, 1  # readers of the feed's fan
BATCH = 64  # records the venue follows between two looks for a question
# Cells of a feed: records its predecessor sent; records sent, marks not counted; time of the last one; paced: nothing
# later than UNTIL is sent, and whether that holds it up; open loop: as in `inline`; turns of waiting for room.
SKIP, SENT, LAST_TS, UNTIL, HELD, DUE_FROM, DUE_STEP, PATIENCE, FEED_CELLS = range(9)
ROUNDS_MAX = 1 << 16  # of `serve`, until the venue looks after itself


class Venue(NamedTuple):
    """What stands for the venue in the engine's process."""

    feed: fans.Fan
    link: Cells  # the control block
    replies: rings.Ring  # RECORD: what the venue answers
    cells: Cells  # as in `paper.Paper`


@hot
def take(venue: Venue, buffer: Any, at: int, stop: int, feed: rings.Ring) -> int:
    """Copy what the fan has into the engine's own ring, which is empty. Says first that all before it is done.

    Both count alike: a record has the same sequence in both. The fan's slots are given back when their records are done
    and the journal's ring says so, not before: an engine that dies is rebuilt from the journal and reads on from here.
    """
    done = feed.cells[rings.GATE]
    fans.release(venue.feed, ENGINE, done - venue.feed.cells[fans.GATE + ENGINE * fans.STRIDE])
    store_release(venue.link, LINK_DONE, done)
    count = min(fans.ready(venue.feed, ENGINE), len(feed.slots))
    for offset in range(count):
        feed.slots[rings.claimed(feed, offset)] = venue.feed.slots[fans.polled(venue.feed, ENGINE, offset)]
    if count > 0:
        rings.room(feed)  # so that the ring's own view of its gate is fresh
        rings.publish(feed, count)
    return at


@hot
def advance(run: Run, now: int) -> None:
    """Ask the venue to let requests take effect on the book as it stands."""
    _ask(run, now)


@hot
def observe(run: Run, record: Any) -> None:
    """Ask the venue to see this record, if an order of ours may be in its book."""
    if run.engine.market[record.instrument].open_orders > 0:
        _ask(run, NONE)


@hot
def _ask(run: Run, now: int) -> None:
    link, at, number = run.venue.link, run.feed.cells[rings.GATE], run.venue.link[LINK_ASK] + 1
    row = 2 * (number & 1)  # not that of the question before: dead in the middle of this, the engine had asked that one
    link[LINK_ASK_AT + row] = at
    link[LINK_ASK_NOW + row] = now
    link[LINK_ASK_NEXT + row] = run.cells[NEXT]
    link[LINK_ASK_TAKEN + row] = run.engine.output.cells[rings.GATE]
    # LINK_DONE follows with the next `take`, not here: the venue would answer what was never asked, if we died between.
    # Pairs with the acquire in `serve`.
    store_release(link, LINK_ASK, number)


@hot
def settled(run: Run) -> bool:
    """Whether the last question is answered. The acquire pairs with the release in `serve`: its replies are there."""
    link: Cells = run.venue.link
    return bool(load_acquire(link, LINK_ANSWER) == link[LINK_ASK])


APART = Parts(take, advance, observe, settled)


class Exchange(NamedTuple):
    """The venue's own process: its book, our orders in it, and the ways in and out."""

    book: books.Book
    paper: paper.Paper
    feed: fans.Fan
    link: Cells
    requests: rings.Ring  # REQUEST: from the engine
    seen: Any  # RECORD[1]: the record in hand


@entry
def serve(exchange: Exchange, patience: int, spins: int) -> None:
    """Follow the feed and answer questions, until there was nothing to do `patience` times in a row, or for a while."""
    link, turns, rounds = exchange.link, 0, 0
    while turns < patience and rounds < ROUNDS_MAX:
        rounds += 1
        asked = load_acquire(link, LINK_ASK)
        if asked != link[LINK_ANSWER]:
            row = 2 * (asked & 1)
            _follow(exchange, link[LINK_ASK_AT + row])
            if link[LINK_ASK_NOW + row] != NONE:
                paper.advance(exchange.paper, exchange.book, exchange.requests, link[LINK_ASK_NOW + row])
            store_release(link, LINK_ANSWER, asked)
            turns = 0
            continue
        gate = exchange.feed.cells[fans.GATE + VENUE * fans.STRIDE]
        count = min(load_acquire(link, LINK_DONE) - gate, BATCH)
        if count > 0:
            _follow(exchange, gate + count)
            turns = 0
        else:
            turns = idle(turns, spins)


@hot
def _follow(exchange: Exchange, end: int) -> None:
    """See the feed up to a sequence that the engine has passed."""
    feed, seen = exchange.feed, exchange.seen[0]
    gate = feed.cells[fans.GATE + VENUE * fans.STRIDE]
    while gate < end:
        count = min(fans.ready(feed, VENUE), end - gate)
        for offset in range(count):
            exchange.seen[0] = feed.slots[fans.polled(feed, VENUE, offset)]
            outcome = books.OK
            if seen.kind <= REPLACE:
                outcome = books.apply(exchange.book, seen)
            elif seen.kind == LEVEL:
                outcome = books.set_level(exchange.book, seen)
            if paper.sees(seen) and books.changed(outcome):
                paper.observe(exchange.paper, seen)
        fans.release(feed, VENUE, count)
        gate += count


@entry
def send(
    decoder: itch.Decoder, buffer: Any, start: int, stop: int, own: rings.Ring, feed: fans.Fan, cells: Cells, spins: int
) -> int:
    """Decode `buffer[start:stop]` into the fan; the offset reached. Ends early when the fan is full, or when what comes
    next is held until its time (cells[HELD]); the records that wait are in `own`.

    They are decoded into a ring of the feed's own first: a restarted feed drops those that the dead one sent."""
    at, turns, waited = start, 0, 0
    cells[HELD] = 0
    while turns <= cells[PATIENCE] and waited < WAITS_MAX:
        if rings.ready(own) == 0:
            at = itch.decode_some(decoder, buffer, at, stop, own)
        waiting = rings.ready(own)
        if waiting == 0:
            break
        if cells[SKIP] > 0:
            count = min(waiting, cells[SKIP])
            cells[SKIP] -= count
        else:
            count = _due(own, cells, min(fans.room(feed, waiting), waiting))
            for offset in range(count):
                feed.slots[fans.claimed(feed, offset)] = own.slots[rings.polled(own, offset)]
            fans.publish(feed, count)
        if count > 0:
            cells[SENT] += count
            cells[LAST_TS] = own.slots[rings.polled(own, count - 1)].ts_event
            rings.release(own, count)
            turns = 0
        elif cells[HELD] != 0:
            break
        else:
            waited += 1
            turns = idle(turns, spins)
    return at


@hot
def _due(own: rings.Ring, cells: Cells, count: int) -> int:
    """How many of the next `count` records may be sent by now."""
    if cells[DUE_STEP] != 0:
        passed = ticks() - cells[DUE_FROM]
        return max(min(count, (passed << 16) // cells[DUE_STEP] + 1 - cells[SENT]), 0) if passed >= 0 else 0
    if count > 0 and own.slots[rings.polled(own, count - 1)].ts_event > cells[UNTIL]:
        fit = 0
        while fit < count and own.slots[rings.polled(own, fit)].ts_event <= cells[UNTIL]:
            fit += 1
        cells[HELD] = fit == 0
        return fit
    return count
