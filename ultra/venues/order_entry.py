"""What clients ask of a venue: OUCH messages of a link become entries for the matching engine, in the order they came.

A number that does not increase is ignored and counted, as the specification has it: what is sent twice acts once. What
can't be asked of the engine at all is refused here with a code of ours; all else is the engine's to decide.
Always: an order that was not refused here has a row before the engine hears of it. Nothing is taken from the link while
the ring of entries is full, so nothing is dropped.
Known bad case: the size that a cancel or replacement names counts what was executed, and lots that trade while it is
on its way to the engine are not yet known here: they come on top.
"""

from typing import Any

import numpy as np

from ..hot import hot, rare
from ..hot import ring as rings
from ..hot import table as tables
from ..hot.bits import load_i64, load_u16, load_u32
from ..wire import (
    ASK,
    AT_MARKET,
    BID,
    CANCEL_ORDER,
    HIDDEN,
    IMMEDIATE,
    NEW,
    NONE,
    ON_CLOSE,
    ON_OPEN,
    POST_ONLY,
    REPLACE_ORDER,
)  # fmt: skip
from . import layout as layouts
from . import link as links
from . import order_desk as desks
from . import order_reports as reports
from . import ouch, soupbin
from . import throttle as throttles

IN = ouch.IN
_O, _U, _X, _M, _C, _D, _E, _Q = (ord(letter) for letter in "OUXMCDEQ")
_BUY, _SELL, _SHORT, _EXEMPT = (ord(letter) for letter in "BSTE")
_DAY, _IOC, _YES, _NO, _POST, _ATTRIBUTED = (ord(letter) for letter in "03YNPA")
_CLOSING, _OPENING = ord("C"), ord("O")
BAD_FLAG = -1
_SPACES = 0x2020202020202020


@hot
def serve(desk: desks.Desk, owner: int, link: links.Link, entries: rings.Ring, now: int) -> int:
    """Take whole packets of an account's link while there is room for what they cause; returns how many."""
    taken = 0
    while links.readable(link) and desks.ask_mass(desk, owner, entries, now) and rings.room(entries) > 0:
        at = link.cells[links.IN_AT]
        length = soupbin.packet(link.inbox, at, link.cells[links.IN_END], ouch.MESSAGE_MAX)
        if length == soupbin.INCOMPLETE:
            break
        if length == soupbin.BAD:
            links.fail(link, links.BAD_PACKET)
            break
        if not desks.room(desk, owner):
            links.fail(link, links.STORE_FULL)
            break
        link.cells[links.IN_AT] = at + length
        taken += 1
        kind = np.int64(link.inbox[at + 2])
        if kind == soupbin.UNSEQUENCED:
            message(desk, owner, link.inbox, at + soupbin.HEAD, length - soupbin.HEAD, entries, now)
        elif kind == soupbin.LOGOUT:
            links.fail(link, links.LOGGED_OUT)
        elif kind != soupbin.CLIENT_HEARTBEAT and kind != soupbin.DEBUG:
            links.fail(link, links.BAD_PACKET)
    return taken


@hot
def message(desk: desks.Desk, owner: int, buffer: Any, at: int, length: int, entries: rings.Ring, now: int) -> None:
    """One OUCH message of a client; the ring has room for an entry."""
    counts = desk.counts
    if layouts.whole(IN, buffer, at, length) != layouts.WHOLE:
        counts[desks.BAD_MESSAGES] += 1
        return
    kind = np.int64(buffer[at])
    if kind == _O:
        _enter(desk, owner, buffer, at, length, entries, now)
    elif kind == _X:
        _reduce(desk, owner, load_u32(buffer, at + 1), load_u32(buffer, at + 5), entries, now)
    elif kind == _U:
        _replace(desk, owner, buffer, at, length, entries, now)
    elif kind == _M:
        _reduce(desk, owner, load_u32(buffer, at + 1), load_u32(buffer, at + 6), entries, now)
    elif kind == _Q:
        counts[desks.QUERIES] += 1
        reports.next_ref(desk, owner, now)
    else:
        _switch(desk, owner, buffer, at, kind, entries, now)


@hot
def _number(desk: desks.Desk, owner: int, ref: int) -> bool:
    """Take a client's number, or count it as one that was used before."""
    account = desk.accounts[owner]
    if ref < account.next_ref:
        desk.counts[desks.DUPLICATES] += 1
        return False
    account.next_ref = ref + 1
    return True


@hot
def _enter(desk: desks.Desk, owner: int, buffer: Any, at: int, length: int, entries: rings.Ring, now: int) -> None:
    ref = load_u32(buffer, at + 1)
    if not _number(desk, owner, ref):
        return
    instrument = tables.find(desk.symbols, load_i64(buffer, at + 10))
    qty, price = load_u32(buffer, at + 6), load_i64(buffer, at + 18)
    flag = _flag(np.int64(buffer[at + 26]), np.int64(buffer[at + 27]), np.int64(buffer[at + 30]))
    side = _side(np.int64(buffer[at + 5]))
    reason = _wrong(desk, owner, instrument, flag, side, qty, price, now)
    slot = desks.take_row(desk, owner, ref) if reason == 0 else NONE
    if slot == NONE:
        reports.refuse(desk, owner, ref, reason if reason != 0 else desks.NO_ROOM, load_i64(buffer, at + 31),
                       load_i64(buffer, at + 37), now)  # fmt: skip
        return
    row, terms = desk.rows[slot], desk.terms[instrument]
    row.instrument, row.price, row.open = instrument, price, qty // terms.lot
    row.id_head, row.id_tail = load_i64(buffer, at + 31), load_i64(buffer, at + 37)
    row.letters = np.int64(buffer[at + 5]) << 40 | load_u32(buffer, at + 26) << 8 | np.int64(buffer[at + 30])
    shown, least = _tags(buffer, at, length)
    _ask(desk, slot, entries, NEW, ref, row.open, flag, now, shown // terms.lot, least // terms.lot)
    desk.counts[desks.ORDERS] += 1


@hot
def _tags(buffer: Any, at: int, length: int) -> tuple[int, int]:
    """Shares that are shown at a time, and the least that must trade at once; 0 = not said."""
    if length == IN.lengths[_O]:
        return 0, 0
    shown = layouts.tag_at(IN, buffer, at, length, ouch.DISPLAY_QTY, 4)
    if shown == layouts.ABSENT:
        shown = layouts.tag_at(IN, buffer, at, length, ouch.MAX_FLOOR, 4)
    least = layouts.tag_at(IN, buffer, at, length, ouch.MIN_QTY, 4)
    shares = load_u32(buffer, shown) if shown != layouts.ABSENT else 0
    return shares & 0x7FFFFFFF, load_u32(buffer, least) if least != layouts.ABSENT else 0


@hot
def _flag(tif: int, display: int, cross: int) -> int:
    """The flags of an entry, or BAD_FLAG for what the engine has no word for."""
    if (tif != _DAY and tif != _IOC) or (display != _YES and display != _NO and display != _POST
                                         and display != _ATTRIBUTED):  # fmt: skip
        return BAD_FLAG
    if cross != _NO and cross != _CLOSING and cross != _OPENING:
        return BAD_FLAG
    flag = IMMEDIATE if tif == _IOC else 0
    flag |= HIDDEN if display == _NO else 0
    flag |= POST_ONLY if display == _POST else 0
    flag |= ON_CLOSE if cross == _CLOSING else 0
    return flag | (ON_OPEN if cross == _OPENING else 0)


@hot
def _side(letter: int) -> int:
    if letter == _BUY:
        return BID
    return ASK if letter == _SELL or letter == _SHORT or letter == _EXEMPT else NONE


@hot
def _wrong(desk: desks.Desk, owner: int, instrument: int, flag: int, side: int, qty: int, price: int, now: int) -> int:
    """Why an order can't be asked of the engine; 0 = it can."""
    account = desk.accounts[owner]
    if not throttles.allowed(desk.throttle, owner, account.rate, now):
        desk.counts[desks.THROTTLES] += 1
        return desks.THROTTLED
    throttles.note(desk.throttle, owner, now)
    if account.disabled != 0:
        return desks.DISABLED
    if instrument < 0:
        return desks.BAD_SYMBOL
    if flag == BAD_FLAG:
        return desks.UNSUPPORTED
    return desks.BAD_ORDER if side == NONE else _bad_terms(desk.terms[instrument], qty, price)


@hot
def _bad_terms(terms: Any, qty: int, price: int) -> int:
    good = 0 < qty <= ouch.QTY_MAX and qty % terms.lot == 0
    return 0 if good and price > 0 and price % terms.price_scale == 0 else desks.BAD_ORDER


@hot
def _ask(desk: desks.Desk, slot: int, entries: rings.Ring, kind: int, order_id: int, qty: int, flag: int, now: int,
         display: int, aux: int) -> None:  # fmt: skip
    """An entry at the terms of a row's order."""
    row = desk.rows[slot]
    entry = entries.slots[rings.claimed(entries, 0)]
    entry.kind, entry.side, entry.instrument, entry.owner = kind, _side(row.letters >> 40), row.instrument, row.owner
    market = row.price == ouch.MARKET
    entry.flag = flag | AT_MARKET if market else flag
    entry.price = NONE if market else row.price // desk.terms[row.instrument].price_scale
    entry.display, entry.order_id, entry.ts_event = display, order_id, now
    entry.qty, entry.stop, entry.aux = qty, NONE, aux
    rings.publish(entries, 1)


@hot
def _reduce(desk: desks.Desk, owner: int, ref: int, qty: int, entries: rings.Ring, now: int) -> None:
    """Cancel an order down to a size that counts what was executed; of an order that is gone it is ignored."""
    slot = desks.row_of(desk, owner, ref)
    if slot == NONE:
        desk.counts[desks.UNKNOWN_REFS] += 1
        return
    row = desk.rows[slot]
    left = max(qty // desk.terms[row.instrument].lot - row.executed, 0)
    if left >= row.open and row.stage == desks.LIVE:
        desk.counts[desks.IGNORED] += 1
        return
    desk.counts[desks.CANCELS] += 1
    _ask(desk, slot, entries, CANCEL_ORDER, ref, left, 0, now, 0, 0)


@hot
def _replace(desk: desks.Desk, owner: int, buffer: Any, at: int, length: int, entries: rings.Ring, now: int) -> None:
    """An order gives way to a new one; until the engine says so both have a row."""
    ref = load_u32(buffer, at + 5)
    if not _number(desk, owner, ref):
        return
    head, tail = load_i64(buffer, at + 24), load_i64(buffer, at + 30)
    old = desks.row_of(desk, owner, load_u32(buffer, at + 1))
    if old == NONE:
        reports.refuse(desk, owner, ref, desks.NOT_LIVE, head, tail, now)
        return
    before = desk.rows[old]
    instrument, side = np.int64(before.instrument), _side(before.letters >> 40)
    qty, price = load_u32(buffer, at + 9), load_i64(buffer, at + 13)
    flag = _flag(np.int64(buffer[at + 21]), np.int64(buffer[at + 22]), before.letters & 255)
    reason = _wrong(desk, owner, instrument, flag, side, qty, price, now)
    lots = qty // desk.terms[instrument].lot - before.executed
    if reason == 0 and (lots <= 0 or before.heir != NONE):
        reason = desks.BAD_ORDER if lots <= 0 else desks.BEING_REPLACED
    slot = desks.take_row(desk, owner, ref) if reason == 0 else NONE
    if slot == NONE:
        reports.refuse(desk, owner, ref, reason if reason != 0 else desks.NO_ROOM, head, tail, now)
        return
    row = desk.rows[slot]
    row.instrument, row.price, row.open, row.executed = instrument, price, lots, before.executed
    row.id_head, row.id_tail, row.stage = head, tail, desks.WAITS
    letters = load_u16(buffer, at + 21) << 8 | (before.letters >> 16 & 255)
    row.letters = (before.letters >> 40) << 40 | letters << 16 | np.int64(buffer[at + 23]) << 8 | before.letters & 255
    before.heir = slot
    _ask(desk, slot, entries, REPLACE_ORDER, before.ref, lots, flag, now, 0, ref)
    desk.counts[desks.REPLACES] += 1


@rare
def _switch(desk: desks.Desk, owner: int, buffer: Any, at: int, kind: int, entries: rings.Ring, now: int) -> None:
    """Mass cancel, and the switch that keeps an account from entering orders."""
    ref = load_u32(buffer, at + 1)
    if not _number(desk, owner, ref):
        return
    firm = load_u32(buffer, at + 5)
    if kind == _C:
        symbol = load_i64(buffer, at + 9)
        instrument = np.int64(NONE) if symbol == _SPACES else tables.find(desk.symbols, symbol)
        if symbol != _SPACES and instrument < 0:
            reports.refuse(desk, owner, ref, desks.BAD_SYMBOL, _SPACES, _SPACES, now)
            return
        desks.mass_entry(entries, owner, instrument, now)
        desk.counts[desks.MASS_CANCELS] += 1
        reports.mass_cancelled(desk, owner, ref, firm, symbol, now)
    else:
        desk.accounts[owner].disabled = 1 if kind == _D else 0
        desk.counts[desks.SWITCHES] += 1
        reports.switched(desk, owner, kind == _D, ref, firm, now)
