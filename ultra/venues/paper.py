"""A paper venue in process: our orders against the recorded book, by a rule that can be stated in full.

1. A request takes effect `latency_ns` after the record that caused it.
2. What crosses the recorded book on arrival trades with the shown quantity, best price first, at the recorded prices.
   What we took from a level stays taken until that level's shown quantity changes.
3. What rests queues behind everything shown at its price on arrival. An execution, cancel or delete of an order that
   was there before ours (its id is not newer than the last of the queue we joined) moves us forward.
4. A recorded execution at our price fills us with what is left of it after the queue ahead; an execution at a worse
   price, or a recorded order arriving at or through our price from the other side, would have met us first: it fills us
   up to its quantity, at our price. Several orders of ours share that quantity, best price first, then oldest first.
5. The recorded market does not react to us, and our own orders don't trade with each other.
6. Where the feed shows whole levels only (LEVEL), nobody knows who left a level that shrank: those behind us, as long
   as what is left can hold those ahead. A trade whose side is known (SIDED) moves us forward by its quantity and fills
   us with the rest; what a level on the other side, at or through our price, grew by would have met us first.

Known bad cases: rule 5; and ids that are not handed out in time order make rule 3 approximate (24 of 4,067 executions
of a recorded hour). A full matching venue takes this place behind the same three functions.
"""

from typing import Any, NamedTuple

import numpy as np

from ..hot import book as books
from ..hot import hot, memory
from ..hot import ladder as ladders
from ..hot import pool as pools
from ..hot import ring as rings
from ..hot.atomics import Cells
from ..hot.risk import VENUE_FULL, VENUE_UNKNOWN_ORDER, WOULD_TRADE
from ..wire import (
    ACCEPTED,
    ADD,
    BID,
    CANCELLED,
    EXECUTE,
    FILL,
    IMMEDIATE,
    LEVEL,
    NEW,
    NONE,
    POST_ONLY,
    RECORD,
    REJECTED,
    REPLACE,
    SIDED,
    TRADE,
)  # fmt: skip

RESTING = np.dtype(
    [
        ("handle", "i8"),
        ("price", "i8"),
        ("qty", "i8"),
        ("ahead", "i8"),  # lots before us in the queue
        ("newest_id", "i8"),  # of the recorded orders that were there before us
        ("side", "i4"),
        ("next", "i4"),  # next resting order of the instrument; those of a side by price, then by time
    ],
    align=True,
)
TAKEN = np.dtype([("price", "i8"), ("taken", "i8"), ("shown", "i8")])
TAKEN_ROWS = 8
WALK_MAX = 64  # levels one order may walk
LATENCY_NS, MATCHES, REQUESTS, DROPPED = 0, 1, 2, 3
REPLIES_PER_REQUEST = WALK_MAX + 3


class Paper(NamedTuple):
    """Our orders at the venue, and its answers."""

    rows: Any  # RESTING
    pool: pools.Pool
    first: Any  # int32[instruments]: the first resting order, NONE
    taken: Any  # TAKEN[2 * instruments, TAKEN_ROWS]
    replies: rings.Ring  # RECORD: what we answer, on its way into the engine
    cells: Cells


def create(instruments: int, own_max: int, reply_records: int, latency_ns: int) -> Paper:
    """A venue without orders."""
    cells = np.zeros(8, np.int64)
    cells[LATENCY_NS] = latency_ns
    taken = memory.zeros(2 * instruments * TAKEN_ROWS, TAKEN).reshape(2 * instruments, TAKEN_ROWS)
    return Paper(
        memory.zeros(own_max, RESTING),
        pools.create(own_max, tagged=False),
        np.full(instruments, NONE, np.int32),
        taken,
        rings.create(RECORD, reply_records),
        cells,
    )


@hot
def advance(paper: Paper, book: books.Book, requests: rings.Ring, now: int) -> None:
    """Let every request whose time has come take effect on the book as it stands."""
    while rings.ready(requests) > 0:
        request = requests.slots[rings.polled(requests, 0)]
        if (
            request.ts_event + paper.cells[LATENCY_NS] > now
            or rings.room(paper.replies, REPLIES_PER_REQUEST) < REPLIES_PER_REQUEST
        ):
            break
        act(paper, book, request, request.ts_event + paper.cells[LATENCY_NS])
        rings.release(requests, 1)


@hot
def act(paper: Paper, book: books.Book, request: Any, ts: int) -> int:
    """Let one request take effect at `ts`; the replies have room for REPLIES_PER_REQUEST. Returns the row of an order
    that rests now, or NONE."""
    paper.cells[REQUESTS] += 1
    if request.kind == NEW:
        return _enter(paper, book, request, ts)
    _take_back(paper, request, ts)
    return NONE


@hot
def _answer(paper: Paper, kind: int, request: Any, ts: int, price: int, qty: int, aux: int) -> None:
    slot = rings.claim(paper.replies)
    if slot < 0:
        paper.cells[DROPPED] += 1  # the room was checked before; a test holds this at 0
        return
    record = paper.replies.slots[slot]
    record.kind = kind
    record.side = request.side
    record.flag = 0
    record.instrument = request.instrument
    record.ts_event = ts
    record.ts_recv = ts
    record.order_id = request.order_id
    record.price = price
    record.qty = qty
    record.aux = aux
    rings.publish(paper.replies, 1)


@hot
def _enter(paper: Paper, book: books.Book, request: Any, ts: int) -> int:
    s = 2 * np.int64(request.instrument) + np.int64(request.side)
    other = book.ladder.sides[s ^ 1].price
    bid = request.side == BID
    crosses = other != NONE and (request.price >= other if bid else request.price <= other)
    if crosses and request.flag & POST_ONLY != 0:
        _answer(paper, REJECTED, request, ts, request.price, request.qty, WOULD_TRADE)
        return NONE
    if pools.live(paper.pool) == len(paper.rows):
        _answer(paper, REJECTED, request, ts, request.price, request.qty, VENUE_FULL)
        return NONE
    _answer(paper, ACCEPTED, request, ts, request.price, request.qty, NONE)
    left = request.qty
    if crosses:
        left = _walk(paper, book, request, s ^ 1, ts)
    if left > 0 and request.flag & IMMEDIATE != 0:
        _answer(paper, CANCELLED, request, ts, request.price, left, NONE)
    elif left > 0:
        return _rest(paper, book, request, s, left)
    return NONE


@hot
def _walk(paper: Paper, book: books.Book, request: Any, s: int, ts: int) -> int:
    """Trade with the shown levels of side `s`, best first (rule 2); returns what is left."""
    left = request.qty
    level = np.int64(book.ladder.sides[s].level)
    walked = 0
    while left > 0 and level >= 0 and walked < WALK_MAX:
        price = ladders.price_of(book.ladder, s, level)
        if price > request.price if request.side == BID else price < request.price:
            break
        row = _taken_row(paper, s, price, book.ladder.levels[level].qty)
        qty = min(left, row.shown - row.taken)
        if qty > 0:
            row.taken += qty
            left -= qty
            paper.cells[MATCHES] += 1
            _answer(paper, FILL, request, ts, price, qty, paper.cells[MATCHES])
        level = ladders.worse(book.ladder, s, level)
        walked += 1
    return left


@hot
def _taken_row(paper: Paper, s: int, price: int, shown: int) -> Any:
    """What we took from this level already; forgotten when the level changed. The least taken row makes room."""
    least = 0
    for k in range(TAKEN_ROWS):
        if paper.taken[s, k].price == price:
            least = k
            break
        if paper.taken[s, k].taken < paper.taken[s, least].taken:
            least = k
    row = paper.taken[s, least]
    if row.price != price or row.shown != shown:
        row.price = price
        row.shown = shown
        row.taken = 0
    return row


@hot
def _rest(paper: Paper, book: books.Book, request: Any, s: int, left: int) -> int:
    at = pools.take(paper.pool)
    row = paper.rows[at]
    row.handle = request.order_id
    row.price = request.price
    row.qty = left
    row.side = request.side
    row.ahead = 0
    row.newest_id = 0
    level = ladders.level_at(book.ladder, s, request.price)
    if level >= 0 and book.ladder.levels[level].qty > 0:
        row.ahead = book.ladder.levels[level].qty
        row.newest_id = book.orders[book.ladder.levels[level].tail].order_id
    _link(paper, np.int64(request.instrument), at)
    return at


@hot
def _link(paper: Paper, instrument: int, at: int) -> None:
    """Put an order before the first one of its side with a worse price."""
    row = paper.rows[at]
    before, after = np.int64(NONE), np.int64(paper.first[instrument])
    while after >= 0:
        other = paper.rows[after]
        if other.side == row.side and (other.price < row.price if row.side == BID else other.price > row.price):
            break
        before = after
        after = np.int64(other.next)
    row.next = after
    if before >= 0:
        paper.rows[before].next = at
    else:
        paper.first[instrument] = at


@hot
def _take_back(paper: Paper, request: Any, ts: int) -> None:
    before = np.int64(NONE)
    at = np.int64(paper.first[request.instrument])
    while at >= 0:
        row = paper.rows[at]
        if row.handle == request.order_id:
            request.side = row.side
            _answer(paper, CANCELLED, request, ts, row.price, row.qty, NONE)
            _unlink(paper, np.int64(request.instrument), before, at)
            return
        before = at
        at = np.int64(row.next)
    _answer(paper, REJECTED, request, ts, NONE, 0, VENUE_UNKNOWN_ORDER)


@hot
def _unlink(paper: Paper, instrument: int, before: int, at: int) -> None:
    if before >= 0:
        paper.rows[before].next = paper.rows[at].next
    else:
        paper.first[instrument] = paper.rows[at].next
    pools.put(paper.pool, at)


@hot
def sees(record: Any) -> bool:
    """Whether a market record may be about our resting orders."""
    if record.kind <= REPLACE or record.kind == LEVEL:
        return True
    return record.kind == TRADE and record.flag & SIDED != 0 and 0 <= record.qty <= books.QTY_MAX


@hot
def observe(paper: Paper, record: Any) -> None:
    """A market record, as the engine completed it, happened to our resting orders (rules 3 and 4)."""
    instrument = np.int64(record.instrument)
    at = np.int64(paper.first[instrument])
    if at < 0 or not sees(record):
        return
    before, used = np.int64(NONE), np.int64(0)  # lots of this record that orders of ours took already
    while at >= 0:
        row = paper.rows[at]
        after = np.int64(row.next)
        filled = min(_reached(row, record) - used, row.qty)
        if filled > 0:
            used += filled
            row.qty -= filled
            _fill(paper, row, record, filled)
        if row.qty == 0:
            _unlink(paper, instrument, before, at)
        else:
            before = at
        at = after


@hot
def _reached(row: Any, record: Any) -> int:
    """Lots of this record that would have traded with our order; moves it forward in its queue."""
    kind, price, bid = record.kind, record.price, row.side == BID
    if kind == ADD or kind == REPLACE:
        if record.side == row.side:
            return 0
        return record.qty if (price <= row.price if bid else price >= row.price) else 0
    if kind == LEVEL:
        return _level_reached(row, record)
    if record.side != row.side or (price > row.price if bid else price < row.price):
        return 0
    took = kind == EXECUTE or kind == TRADE
    if price != row.price:
        return record.qty if took else 0
    before_us = record.order_id <= row.newest_id
    moved = min(row.ahead, record.qty) if before_us or took else 0
    row.ahead -= moved
    return record.qty - moved if took else 0


@hot
def _level_reached(row: Any, record: Any) -> int:
    """The same of a whole level (rule 6)."""
    price = record.price
    if record.side == row.side:
        if price == row.price:
            row.ahead = min(row.ahead, record.qty)
        return 0
    reached = price <= row.price if row.side == BID else price >= row.price
    return max(record.qty - record.aux, 0) if reached else 0


@hot
def _fill(paper: Paper, row: Any, record: Any, qty: int) -> None:
    slot = rings.claim(paper.replies)
    if slot < 0:
        paper.cells[DROPPED] += 1
        return
    paper.cells[MATCHES] += 1
    reply = paper.replies.slots[slot]
    reply.kind = FILL
    reply.side = row.side
    reply.flag = 0
    reply.instrument = record.instrument
    reply.ts_event = record.ts_event
    reply.ts_recv = record.ts_event
    reply.order_id = row.handle
    reply.price = row.price
    reply.qty = qty
    reply.aux = paper.cells[MATCHES]
    rings.publish(paper.replies, 1)


def check(paper: Paper) -> None:
    """Every invariant: for tests."""
    pools.check(paper.pool)
    seen = 0
    for start in paper.first.tolist():
        best: dict[int, int] = {}
        while start >= 0:
            row = paper.rows[start]
            assert int(row.qty) > 0 and int(row.ahead) >= 0
            rank = -int(row.price) if row.side == BID else int(row.price)
            assert best.get(int(row.side), rank) <= rank, "a worse price of ours stands before a better one"
            best[int(row.side)] = rank
            seen, start = seen + 1, int(row.next)
    assert seen == int(paper.pool.cells[pools.FRESH] - paper.pool.cells[pools.FREE])
    assert int(paper.cells[DROPPED]) == 0
