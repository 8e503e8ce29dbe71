"""Our side of an order session over OUCH 5.0: which orders are out, and the bytes that go to the venue.

An order's number at the venue (`ref`) is also its place: row `ref & mask`. Numbers only have to increase, so one whose
row is still held by a live order is skipped; there are at least twice as many rows as live orders. Nothing waits: a new
order that can't leave now is refused at once, so none is ever sent late; a cancel that can't leave is a mark on its row
and leaves by `sweep`. A lost link leaves every row as it is; `order_replies` settles them with the venue.
Always: ref numbers written are strictly increasing over all links, and a row is live from its order to its last answer.
Known bad case: an earlier run of this account that replaced orders: only orders that were accepted as new are adopted.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot, memory
from ..hot.atomics import Cells
from ..hot.bits import store_i64, store_u16, store_u32
from ..hot.risk import (
    BAD_PRICE,
    BAD_QTY,
    BAD_SIDE,
    DUPLICATE,
    NO_ROOM,
    NO_SESSION,
    RATE_LIMIT,
    UNKNOWN_ORDER,
    VENUE_FULL,
    VENUE_REFUSED,
    VENUE_UNKNOWN_ORDER,
    WOULD_TRADE,
)  # fmt: skip
from ..wire import ASK, AT_MARKET, BID, CLOSED, IMMEDIATE, OPEN, POST_ONLY, RECONCILING, symbol_to_int
from . import link as links
from . import ouch, soupbin
from . import throttle as throttles

ROW = np.dtype(
    [
        ("handle", "i8"),
        ("ref", "i8"),
        ("open", "i8"),  # lots not yet filled or taken off
        ("cut", "i8"),  # lots the venue took off while others stayed
        ("instrument", "i4"),
        ("side", "i1"),
        ("state", "i1"),
        ("cancel", "i2"),
        ("pad", "i8", (3,)),
    ],
    align=True,
)
TERMS = np.dtype([("symbol", "i8"), ("price_scale", "i8"), ("lot", "i8"), ("pad", "i8")])
FREE, SENT, LIVE = 0, 1, 2  # states of a row
WANTED, ASKED_FOR = 1, 2  # of a cancel: not sent on this link yet, sent

# Phases of the link.
DOWN, LOGGING_IN, CATCHING_UP, ASKING, SETTLING, UP = range(6)
# Cells.
PHASE, NEXT_REF, SEQUENCE, QUESTIONS, NEEDED, SETTLE_AT, SETTLE_REF, WANTING, LIVE_ROWS, TOLD = range(10)
HEARTBEAT_NS, SILENCE_NS, RATE, RESERVE, TS_BASE, FIRM, HEAD = range(10, 17)
CELLS = 24
NOT_KNOWN = -1  # of HEAD: the day is wanted from its start, and its end must be known first
# Counters.
COUNTERS: Final = (
    "entered", "cancels", "accepted", "fills", "cancelled", "rejected", "refused", "late_cancels", "unknown_refs",
    "unexpected", "bad_messages", "inexact_prices", "partial_cuts", "never_arrived", "links", "broken_trades",
    "system_events", "ignored_messages", "heartbeats", "adopted",
)  # fmt: skip
(ENTERED, CANCELS, ACCEPTED, FILLS, CANCELLED, REJECTED, REFUSED, LATE_CANCELS, UNKNOWN_REFS,
 UNEXPECTED, BAD_MESSAGES, INEXACT_PRICES, PARTIAL_CUTS, NEVER_ARRIVED, LINKS, BROKEN_TRADES, SYSTEM_EVENTS,
 IGNORED_MESSAGES, HEARTBEATS, ADOPTED) = range(20)  # fmt: skip

# Our reason for what a venue calls its own; anything else is VENUE_REFUSED.
MEANINGS: Final = {
    "would_trade": WOULD_TRADE, "orders_full": VENUE_FULL, "ids_full": VENUE_FULL, "levels_full": VENUE_FULL,
    "unknown_order": VENUE_UNKNOWN_ORDER, "duplicate_id": DUPLICATE,
}  # fmt: skip
BUFFER_BYTES = 1 << 16
REFUSALS = 256
PRICE_MAX = 1 << 45  # as `risk.SANE_MAX`
SCALE_MAX = 1 << 17  # so that no product leaves int64
ORDER_BYTES, CANCEL_BYTES = 50, 12  # packets, without an appendage
FIRM_BYTES = 6
_ENTER = ord("U") << 8 | ord("O")
_CANCEL = ord("U") << 8 | ord("X")
_QUERY = 2 << 16 | ord("U") << 8 | ord("Q")
_SPACES = 0x2020202020202020
_SIDES = ord("B"), ord("S")
_TERMS = ord("0") << 24 | ord("Y") << 16 | ord("P") << 8 | ord("N")  # tif, display, capacity, iso
_IOC, _POST = 3 << 24, (ord("P") - ord("Y")) << 16  # what a flag adds to it
_CROSS = ord("N") << 56 | (_SPACES >> 8)  # continuous market, then the first seven characters of the client's id
NO_SLOT = -1


class Session(NamedTuple):
    """One account at one venue."""

    rows: Any  # ROW[power of two >= 2 * own_max], index = ref & mask
    refs: Cells  # int64[own_max]: slot of a handle -> ref of its last order
    terms: Any  # TERMS[instruments]
    link: links.Link
    name: Any  # uint8[10]: the venue's name of the session; zeros = not known
    refusals: Cells  # int64[REFUSALS]: the venue's code of a rejected order -> our reason
    throttle: throttles.Throttle
    cells: Cells  # int64[CELLS]
    counts: Cells  # int64[32], by COUNTERS


def create(
    instruments: int,
    own_max: int,
    *,
    rate: int,
    ts_base: int = 0,
    whole_day: bool = False,
    heartbeat_ns: int = 1_000_000_000,
    silence_ns: int = 15_000_000_000,
    firm: str = "",
) -> Session:
    """A session without a link and without orders.

    Handles are those of a pool of `own_max` slots. The venue allows `rate` messages a second, of which an eighth is
    left to cancels. `whole_day`: be told of all that happened on this account before us, which is our position then;
    else only of what is new. `ts_base`: the venue's midnight, ns since the epoch; `firm` (4 characters) goes with each
    order."""
    assert own_max > 0 and len(firm) in (0, 4), (own_max, firm)
    rows = 1 << max(4, (2 * own_max - 1).bit_length())
    cells = np.zeros(CELLS, np.int64)
    cells[[NEXT_REF, HEAD, TOLD]] = 1, NOT_KNOWN if whole_day else 0, -1
    cells[[HEARTBEAT_NS, SILENCE_NS, RATE, RESERVE]] = heartbeat_ns, silence_ns, rate, rate // 8
    cells[[TS_BASE, FIRM]] = ts_base, int.from_bytes(firm.encode("ascii"), "big")
    return Session(
        memory.zeros(rows, ROW),
        np.zeros(own_max, np.int64),
        memory.zeros(instruments, TERMS),
        links.create(BUFFER_BYTES, BUFFER_BYTES),
        np.zeros(soupbin.SESSION_BYTES, np.uint8),
        np.full(REFUSALS, VENUE_REFUSED, np.int64),
        throttles.create(1, rate),
        cells,
        np.zeros(32, np.int64),
    )


def define(session: Session, index: int, symbol: str, *, price_scale: int = 1, lot: int = 1) -> None:
    """Say what instrument `index` is called there, how many 1/10000 a tick is, and how many shares a lot."""
    assert 0 < price_scale <= SCALE_MAX and 0 < lot <= SCALE_MAX, (price_scale, lot)
    session.terms[index] = (symbol_to_int(symbol), price_scale, lot, 0)


def explain(session: Session, reasons: Sequence[str]) -> None:
    """Say what the venue's codes of rejected orders are called, in their order; those of MEANINGS get our reason."""
    for code, name in enumerate(reasons):
        session.refusals[code] = MEANINGS.get(name, VENUE_REFUSED)


@hot
def wire_state(session: Session) -> int:
    """OPEN, RECONCILING or CLOSED."""
    phase = session.cells[PHASE]
    return OPEN if phase == UP else CLOSED if phase <= LOGGING_IN else RECONCILING


@hot
def up(session: Session, fd: int, now: int) -> None:
    """A link is there, and the login waits in its outbox: what comes next is the answer to it."""
    links.up(session.link, fd, now)
    session.cells[PHASE] = LOGGING_IN
    session.counts[LINKS] += 1


@hot
def down(session: Session) -> None:
    """The link is gone. What became of what was sent is settled on the next one."""
    links.down(session.link)
    session.cells[PHASE] = DOWN


@hot
def enter(session: Session, request: Any, now: int) -> int:
    """Write a new order into the outbox: 0, or the reason of `ultra.hot.risk` why it does not leave."""
    cells, counts = session.cells, session.counts
    slot = request.order_id & 0xFFFFFFFF
    reason = _refusal(session, request, slot, now)
    at = links.space(session.link, ORDER_BYTES + FIRM_BYTES) if reason == 0 else NO_SLOT
    if at < 0:
        counts[REFUSED] += 1
        return reason if reason != 0 else NO_ROOM
    ref, mask = cells[NEXT_REF], len(session.rows) - 1
    while session.rows[ref & mask].state != FREE:
        ref += 1
    row = session.rows[ref & mask]
    row.handle, row.ref, row.open, row.cut = request.order_id, ref, request.qty, 0
    row.instrument, row.side, row.state, row.cancel = request.instrument, request.side, SENT, 0
    session.refs[slot] = ref
    cells[NEXT_REF] = ref + 1
    cells[LIVE_ROWS] += 1
    session.link.cells[links.OUT_END] = at + _write(session, at, request, ref)
    throttles.note(session.throttle, 0, now)
    counts[ENTERED] += 1
    return 0


@hot
def _refusal(session: Session, request: Any, slot: int, now: int) -> int:
    cells, instrument = session.cells, np.int64(request.instrument)
    if cells[PHASE] != UP:
        return NO_SESSION
    if instrument < 0 or instrument >= len(session.terms):
        return VENUE_REFUSED
    terms = session.terms[instrument]
    if terms.lot <= 0 or request.flag & ~np.int64(IMMEDIATE | POST_ONLY | AT_MARKET) != 0:
        return VENUE_REFUSED
    if request.order_id <= 0 or slot >= len(session.refs) or 2 * cells[LIVE_ROWS] >= len(session.rows):
        return NO_ROOM
    if row_of(session, session.refs[slot]) != NO_SLOT:
        return DUPLICATE
    if request.side != BID and request.side != ASK:
        return BAD_SIDE
    if request.qty <= 0 or request.qty > ouch.QTY_MAX or request.qty * terms.lot > ouch.QTY_MAX:
        return BAD_QTY
    if request.price <= 0 or request.price > PRICE_MAX or request.price * terms.price_scale > PRICE_MAX:
        return BAD_PRICE
    if request.price * terms.price_scale == ouch.MARKET:
        return BAD_PRICE
    if cells[NEXT_REF] + len(session.rows) > ouch.REF_MAX:
        return NO_ROOM
    if not throttles.allowed(session.throttle, 0, cells[RATE] - cells[RESERVE], now):
        return RATE_LIMIT
    return 0


@hot
def _write(session: Session, at: int, request: Any, ref: int) -> int:
    """The bytes of an order; returns how many."""
    out, terms = session.link.outbox, session.terms[request.instrument]
    firm = session.cells[FIRM]
    more = FIRM_BYTES if firm != 0 else 0
    flag = np.int64(request.flag)
    store_u32(out, at, (ORDER_BYTES - 2 + more) << 16 | _ENTER)
    store_u32(out, at + 4, ref)
    out[at + 8] = _SIDES[0] if request.side == BID else _SIDES[1]
    store_u32(out, at + 9, request.qty * terms.lot)
    store_i64(out, at + 13, terms.symbol)
    store_i64(out, at + 21, request.price * terms.price_scale)
    store_u32(
        out,
        at + 29,
        _TERMS + (_IOC if flag & IMMEDIATE != 0 else 0) + (_POST if flag & POST_ONLY != 0 else 0),
    )
    store_i64(out, at + 33, _CROSS)
    store_i64(out, at + 40, _SPACES)
    store_u16(out, at + 48, more)
    if more != 0:
        store_u16(out, at + 50, (FIRM_BYTES - 1) << 8 | ouch.FIRM)
        store_u32(out, at + 52, firm)
    return ORDER_BYTES + more


@hot
def row_of(session: Session, ref: int) -> int:
    """The row of a live order by its number at the venue, or NO_SLOT."""
    at = ref & (len(session.rows) - 1)
    row = session.rows[at]
    return at if row.state != FREE and row.ref == ref else NO_SLOT


@hot
def free(session: Session, at: int) -> None:
    """The last answer about an order has come."""
    row = session.rows[at]
    if row.cancel == WANTED:
        session.cells[WANTING] -= 1
    row.state = FREE
    session.cells[LIVE_ROWS] -= 1


@hot
def cancel(session: Session, handle: int, now: int) -> int:
    """Take an order back: 0, or UNKNOWN_ORDER (counted) when it is not out, or no longer."""
    slot = handle & 0xFFFFFFFF
    at = NO_SLOT
    if handle > 0 and slot < len(session.refs):
        at = row_of(session, session.refs[slot])
    if at == NO_SLOT or session.rows[at].handle != handle:
        session.counts[LATE_CANCELS] += 1
        return UNKNOWN_ORDER
    want(session, at)
    if session.cells[PHASE] == UP:
        _cancel_row(session, at, now)
    return 0


@hot
def want(session: Session, at: int) -> None:
    """Mark a row as one to be cancelled on this link."""
    row = session.rows[at]
    if row.cancel == 0:
        row.cancel = WANTED
        session.cells[WANTING] += 1


@hot
def want_again(session: Session) -> None:
    """A new link: what was asked on the last one may never have arrived, so it is asked again."""
    for at in range(len(session.rows)):
        row = session.rows[at]
        if row.state != FREE and row.cancel == ASKED_FOR:
            row.cancel = WANTED
            session.cells[WANTING] += 1


@hot
def want_all(session: Session) -> int:
    """Mark every live order as one to be cancelled; returns how many are out."""
    for at in range(len(session.rows)):
        if session.rows[at].state != FREE:
            want(session, at)
    return session.cells[LIVE_ROWS]


@hot
def _cancel_row(session: Session, at: int, now: int) -> bool:
    """Ask the venue to cancel a row's order, if it was wanted and may leave now."""
    row = session.rows[at]
    if row.cancel != WANTED or not throttles.allowed(session.throttle, 0, session.cells[RATE], now):
        return False
    place = links.space(session.link, CANCEL_BYTES)
    if place < 0:
        return False
    store_u32(session.link.outbox, place, (CANCEL_BYTES - 2) << 16 | _CANCEL)
    store_u32(session.link.outbox, place + 4, row.ref)
    store_u32(session.link.outbox, place + 8, 0)
    session.link.cells[links.OUT_END] = place + CANCEL_BYTES
    throttles.note(session.throttle, 0, now)
    row.cancel = ASKED_FOR
    session.cells[WANTING] -= 1
    session.counts[CANCELS] += 1
    return True


@hot
def sweep(session: Session, now: int) -> None:
    """Send the cancels that could not leave before, as many as may."""
    at = 0
    while session.cells[WANTING] > 0 and at < len(session.rows):
        row = session.rows[at]
        if row.state != FREE and row.cancel == WANTED and not _cancel_row(session, at, now):
            break
        at += 1


@hot
def ask(session: Session) -> None:
    """Ask the venue which number it expects next (`order_replies` says what the answer proves)."""
    at = links.space(session.link, 4)
    if at < 0:
        links.fail(session.link, links.BROKEN)
        return
    store_u32(session.link.outbox, at, _QUERY)
    session.link.cells[links.OUT_END] = at + 4
    session.cells[QUESTIONS] += 1


@hot
def tend(session: Session, now: int) -> None:
    """Heartbeats, silence, and cancels that wait. Outside a link it does nothing."""
    cells = session.cells
    if cells[PHASE] == DOWN:
        return
    if cells[WANTING] > 0 and cells[PHASE] == UP:
        sweep(session, now)
    link = session.link
    if cells[PHASE] > LOGGING_IN and now - link.cells[links.SENT_NS] >= cells[HEARTBEAT_NS] and links.idle(link):
        session.counts[HEARTBEATS] += links.control(link, soupbin.CLIENT_HEARTBEAT)
    if now - link.cells[links.HEARD_NS] >= cells[SILENCE_NS]:
        links.fail(link, links.SILENT)


def check(session: Session) -> None:
    """Every invariant, in O(rows): for tests."""
    cells, mask = session.cells, len(session.rows) - 1
    live = session.rows[session.rows.state != FREE]
    assert len(live) == int(cells[LIVE_ROWS]) <= len(session.rows) // 2
    assert len(set(live.handle.tolist())) == len(set(live.ref.tolist())) == len(live)
    for at, row in enumerate(session.rows):
        if row.state != FREE:
            assert int(row.ref) & mask == at and int(row.ref) < int(cells[NEXT_REF])
            assert int(row.open) > 0 and int(row.cut) >= 0
            known = int(row.handle) < 0 or int(session.refs[int(row.handle) & 0xFFFFFFFF]) == int(row.ref)
            assert known, "a row of ours is where its handle says"
    assert int((live.cancel == WANTED).sum()) == int(cells[WANTING])
    links.check(session.link)
    throttles.check(session.throttle, int(cells[RATE]))
