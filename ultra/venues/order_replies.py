"""What the venue says, as records for the engine: each answer once, under our own handle, over any number of links.

The place in the venue's sequence moves on with each sequenced message, so a new link asks for exactly what is missing.
Then we ask which number the venue expects next: what it never received is reported as REJECTED, and only then is the
session OPEN. An answer proves that only if it is certainly to a question of this link; answers to questions of lost
links may still come first, so with q of those possible we ask q + 1 times, one after the other.
Always: records are written only when all that one message can cause have room; a message is taken whole or not at all.
Known bad case: a trade that the venue breaks or corrects later has no record; it is counted, a person must look.
"""

from typing import Any

import numpy as np

from ..hot import hot, rare
from ..hot import ring as rings
from ..hot.bits import load_i64, load_u16, load_u32
from ..hot.risk import NO_SESSION
from ..wire import ACCEPTED, ASK, BID, CANCELLED, FILL, NONE, REJECTED, SESSION_STATE
from . import layout as layouts
from . import link as links
from . import order_session as sessions
from . import ouch, soupbin

RECORDS_MAX = 2  # that one message can cause
OUT = ouch.OUT
_A, _C, _D, _E, _J, _Q, _S, _B, _F, _M, _R = (ord(letter) for letter in "ACDEJQSBFMR")
_DEAD, _SELL = ord("D"), ord("S")  # short sales do not come: we never mark one


@hot
def poll(session: sessions.Session, replies: rings.Ring, now: int) -> int:
    """Turn what lies in the inbox into records until it is empty or the ring is full; returns the packets taken."""
    link, cells, taken = session.link, session.cells, 0
    tell(session, replies, now)
    while links.readable(link) and rings.room(replies, RECORDS_MAX) >= RECORDS_MAX:
        if cells[sessions.PHASE] == sessions.SETTLING:
            _settle(session, replies, now)
            continue
        at = link.cells[links.IN_AT]
        length = soupbin.packet(link.inbox, at, link.cells[links.IN_END], ouch.MESSAGE_MAX)
        if length == soupbin.INCOMPLETE:
            break
        if length == soupbin.BAD:
            links.fail(link, links.BAD_PACKET)
            break
        link.cells[links.IN_AT] = at + length
        taken += 1
        kind = np.int64(link.inbox[at + 2])
        if kind == soupbin.SEQUENCED and cells[sessions.PHASE] > sessions.LOGGING_IN:
            cells[sessions.SEQUENCE] += 1
            message(session, replies, at + soupbin.HEAD, length - soupbin.HEAD, now)
            _caught_up(session)
        else:
            _other(session, replies, kind, at, length, now)
    tell(session, replies, now)
    return taken


@hot
def tell(session: sessions.Session, replies: rings.Ring, now: int) -> None:
    """Put the session's state into the engine's input when it is another than the one told last."""
    state = sessions.wire_state(session)
    if state != session.cells[sessions.TOLD] and rings.room(replies) > 0:
        session.cells[sessions.TOLD] = state
        record = _next(replies, SESSION_STATE, now, now)
        record.side, record.instrument, record.order_id = 0, NONE, NONE
        record.price, record.qty, record.aux = session.cells[sessions.SEQUENCE], 0, state
        rings.publish(replies, 1)


@hot
def _next(replies: rings.Ring, kind: int, ts: int, now: int) -> Any:
    record = replies.slots[rings.claimed(replies, 0)]
    record.kind, record.flag, record.ts_event, record.ts_recv = kind, 0, ts, now
    return record


@hot
def answer(replies: rings.Ring, kind: int, ts: int, now: int, row: Any, price: int, qty: int, aux: int) -> None:
    """A record about a row's order. There is room: whoever calls has looked. Of an order of an earlier run, which the
    engine does not know, only fills matter."""
    if row.handle < 0 and kind != FILL:
        return
    record = _next(replies, kind, ts, now)
    record.side, record.instrument, record.order_id = row.side, row.instrument, max(row.handle, np.int64(NONE))
    record.price, record.qty, record.aux = price, qty, aux
    rings.publish(replies, 1)


@rare
def _other(session: sessions.Session, replies: rings.Ring, kind: int, at: int, length: int, now: int) -> None:
    """Everything but sequenced data."""
    link, phase = session.link, session.cells[sessions.PHASE]
    if kind == soupbin.ACCEPTED and length == soupbin.ACCEPTED_BYTES and phase == sessions.LOGGING_IN:
        _logged_in(session, at)
    elif kind == soupbin.REJECTED:
        links.fail(link, links.LOGIN_REJECTED)
    elif kind == soupbin.END:
        links.fail(link, links.SESSION_ENDED)
    elif kind == soupbin.UNSEQUENCED and phase > sessions.LOGGING_IN:
        message(session, replies, at + soupbin.HEAD, length - soupbin.HEAD, now)
    elif kind != soupbin.SERVER_HEARTBEAT and kind != soupbin.DEBUG:
        links.fail(link, links.BAD_PACKET)


@hot
def _logged_in(session: sessions.Session, at: int) -> None:
    """The venue lets us in, and says which sequenced message comes next: it must be the one we asked for."""
    cells, inbox = session.cells, session.link.inbox
    known, same = session.name[0] != 0, True
    for k in range(soupbin.SESSION_BYTES):
        same = same and session.name[k] == inbox[at + soupbin.SESSION_AT + k]
    sequence = soupbin.number(inbox, at + soupbin.SEQUENCE_AT, soupbin.SEQUENCE_BYTES)
    if known and not same:
        links.fail(session.link, links.OTHER_SESSION)
        return
    if sequence <= 0 or (cells[sessions.SEQUENCE] != 0 and sequence != cells[sessions.SEQUENCE]):
        links.fail(session.link, links.OTHER_SEQUENCE)
        return
    for k in range(soupbin.SESSION_BYTES):
        session.name[k] = inbox[at + soupbin.SESSION_AT + k]
    if cells[sessions.HEAD] == sessions.NOT_KNOWN:
        cells[sessions.HEAD] = sequence
        if sequence > 1:
            cells[sessions.SEQUENCE] = 1
            links.fail(session.link, links.FROM_START)
            return
    cells[sessions.SEQUENCE] = sequence
    cells[sessions.PHASE] = sessions.CATCHING_UP
    sessions.want_again(session)
    _caught_up(session)


@hot
def _caught_up(session: sessions.Session) -> None:
    """Ask once the answers to questions of earlier runs are behind us: HEAD is where the day stood when we came."""
    cells = session.cells
    if cells[sessions.PHASE] == sessions.CATCHING_UP and cells[sessions.SEQUENCE] >= cells[sessions.HEAD]:
        cells[sessions.PHASE] = sessions.ASKING
        cells[sessions.NEEDED] = cells[sessions.QUESTIONS] + 1
        sessions.ask(session)


@hot
def message(session: sessions.Session, replies: rings.Ring, at: int, length: int, now: int) -> None:
    """One OUCH message of the venue at `at` of the inbox; the ring has room for RECORDS_MAX records."""
    inbox, counts = session.link.inbox, session.counts
    if layouts.whole(OUT, inbox, at, length) != layouts.WHOLE:
        counts[sessions.BAD_MESSAGES] += 1
        return
    kind = np.int64(inbox[at])
    if kind != _E and kind != _A and kind != _C and kind != _D and kind != _J:
        _without_order(session, kind, at)
        return
    place = sessions.row_of(session, load_u32(inbox, at + 9))
    if place == sessions.NO_SLOT:
        if kind == _A:
            _adopt(session, at)
        else:
            counts[sessions.UNKNOWN_REFS] += 1
        return
    row = session.rows[place]
    terms = session.terms[row.instrument]
    ts = session.cells[sessions.TS_BASE] + load_i64(inbox, at + 1)
    if kind == _E:
        price = _ticks(session, load_i64(inbox, at + 17), terms.price_scale)
        _filled(session, replies, place, ts, now, _lots(load_u32(inbox, at + 13), terms.lot), price,
                load_i64(inbox, at + 26))  # fmt: skip
    elif kind == _A:
        price = _ticks(session, load_i64(inbox, at + 26), terms.price_scale)
        _accepted(session, replies, place, ts, now, _lots(load_u32(inbox, at + 14), terms.lot), price,
                  np.int64(inbox[at + 47]))  # fmt: skip
    elif kind == _J:
        _rejected(session, replies, place, ts, now, load_u16(inbox, at + 13))
    else:
        _cut(session, replies, place, ts, now, _lots(load_u32(inbox, at + 13), terms.lot))


@rare
def _adopt(session: sessions.Session, at: int) -> None:
    """An order of an earlier run on this account, of which we are told while we catch up: its fills are our position,
    and it may be cancelled. Its handle is -1 - ref: no handle of ours is negative."""
    cells, inbox, instrument = session.cells, session.link.inbox, np.int64(NONE)
    ref, side, symbol = load_u32(inbox, at + 9), inbox[at + 13], load_i64(inbox, at + 18)
    for index in range(len(session.terms)):
        if session.terms[index].symbol == symbol and session.terms[index].lot > 0:
            instrument = np.int64(index)
            break
    row = session.rows[ref & (len(session.rows) - 1)]
    full = row.state != sessions.FREE or 2 * cells[sessions.LIVE_ROWS] >= len(session.rows)
    if cells[sessions.PHASE] == sessions.UP or instrument == NONE or full:
        session.counts[sessions.UNKNOWN_REFS] += 1
        return
    session.counts[sessions.ADOPTED] += 1
    if np.int64(inbox[at + 47]) == _DEAD:
        return
    row.handle, row.ref, row.cut = -1 - ref, ref, 0
    row.open = _lots(load_u32(inbox, at + 14), session.terms[instrument].lot)
    row.instrument, row.side, row.state, row.cancel = instrument, ASK if side == _SELL else BID, sessions.LIVE, 0
    cells[sessions.LIVE_ROWS] += 1


@hot
def _lots(shares: int, lot: int) -> int:
    return shares if lot == 1 else shares // lot


@hot
def _ticks(session: sessions.Session, price: int, scale: int) -> int:
    if scale == 1:
        return price
    session.counts[sessions.INEXACT_PRICES] += price % scale != 0
    return price // scale


@hot
def _filled(session: sessions.Session, replies: rings.Ring, place: int, ts: int, now: int, lots: int, price: int,
            match: int) -> None:  # fmt: skip
    row = session.rows[place]
    if lots <= 0:
        session.counts[sessions.UNEXPECTED] += 1
        return
    session.counts[sessions.FILLS] += 1
    answer(replies, FILL, ts, now, row, price, lots, match)
    row.open -= lots
    if row.open <= 0:
        if row.cut > 0:
            answer(replies, CANCELLED, ts, now, row, NONE, row.cut, NONE)
        sessions.free(session, place)


@hot
def _accepted(session: sessions.Session, replies: rings.Ring, place: int, ts: int, now: int, lots: int, price: int,
              state: int) -> None:  # fmt: skip
    row = session.rows[place]
    if row.state != sessions.SENT:
        session.counts[sessions.UNEXPECTED] += 1
        return
    row.state = sessions.LIVE
    session.counts[sessions.ACCEPTED] += 1
    answer(replies, ACCEPTED, ts, now, row, price, lots, NONE)
    if state == _DEAD:
        _cut(session, replies, place, ts, now, row.open)


@hot
def _cut(session: sessions.Session, replies: rings.Ring, place: int, ts: int, now: int, lots: int) -> None:
    """The venue took lots off: the engine hears of it when none is left, since it knows only whole cancels."""
    row = session.rows[place]
    if lots <= 0:
        session.counts[sessions.UNEXPECTED] += 1
    elif lots < row.open:
        row.open -= lots
        row.cut += lots
        session.counts[sessions.PARTIAL_CUTS] += 1
    else:
        session.counts[sessions.CANCELLED] += 1
        answer(replies, CANCELLED, ts, now, row, NONE, row.open + row.cut, NONE)
        sessions.free(session, place)


@hot
def _rejected(session: sessions.Session, replies: rings.Ring, place: int, ts: int, now: int, code: int) -> None:
    """Only an order without an answer can be refused: a second refusal is not about the first order of its number."""
    row = session.rows[place]
    if row.state != sessions.SENT:
        session.counts[sessions.UNEXPECTED] += 1
        return
    session.counts[sessions.REJECTED] += 1
    reason = session.refusals[code if code < len(session.refusals) else 0]
    answer(replies, REJECTED, ts, now, row, NONE, row.open, reason)
    sessions.free(session, place)


@rare
def _without_order(session: sessions.Session, kind: int, at: int) -> None:
    """Messages that give the engine no record."""
    counts = session.counts
    if kind == _Q:
        _answered(session, load_u32(session.link.inbox, at + 9))
    elif kind == _S:
        counts[sessions.SYSTEM_EVENTS] += 1
    elif kind == _B or kind == _F:
        counts[sessions.BROKEN_TRADES] += 1
    else:
        counts[sessions.IGNORED_MESSAGES] += 1


@hot
def _answered(session: sessions.Session, next_ref: int) -> None:
    """The venue says which number it expects next."""
    cells = session.cells
    cells[sessions.QUESTIONS] = max(cells[sessions.QUESTIONS] - 1, 0)
    cells[sessions.NEXT_REF] = max(cells[sessions.NEXT_REF], next_ref)
    if cells[sessions.PHASE] == sessions.ASKING:
        cells[sessions.NEEDED] -= 1
        if cells[sessions.NEEDED] > 0:
            sessions.ask(session)
        else:
            cells[sessions.SETTLE_REF], cells[sessions.SETTLE_AT] = next_ref, 0
            cells[sessions.PHASE] = sessions.SETTLING


@hot
def _settle(session: sessions.Session, replies: rings.Ring, now: int) -> None:
    """Report what the venue never received, as far as there is room; then the session is open."""
    cells = session.cells
    while cells[sessions.SETTLE_AT] < len(session.rows) and rings.room(replies, RECORDS_MAX) >= RECORDS_MAX:
        place = cells[sessions.SETTLE_AT]
        row = session.rows[place]
        if row.state == sessions.SENT and row.ref >= cells[sessions.SETTLE_REF]:
            session.counts[sessions.NEVER_ARRIVED] += 1
            answer(replies, REJECTED, now, now, row, NONE, row.open, NO_SESSION)
            sessions.free(session, place)
        cells[sessions.SETTLE_AT] = place + 1
    if cells[sessions.SETTLE_AT] == len(session.rows):
        cells[sessions.PHASE] = sessions.UP
