"""What a venue tells its clients: the matching engine's reports become OUCH messages in the account's block.

Every message is appended once, in the order of the reports, and sent to whoever is linked; `send` goes on where the
link is. A replacement that the engine refused, or whose order ended before, is refused under its own number.
Always: after an order's last message its row is free, and its number is not used again.
Known bad case: a report about an order that nobody entered here is counted (`unknown_reports`) and told nobody.
"""

from typing import Any

import numpy as np

from ..hot import hot, rare
from ..hot import ring as rings
from ..hot.bits import store_i64, store_u16, store_u32
from ..wire import ACCEPTED, CANCELLED, FILL, NONE, REJECTED, REPLACED
from . import link as links
from . import order_desk as desks
from . import ouch, soupbin

A_BYTES, U_BYTES, C_BYTES, E_BYTES, J_BYTES, Q_BYTES, X_BYTES, G_BYTES = 64, 68, 18, 36, 29, 13, 27, 19
_A, _U, _C, _E, _J, _Q, _X, _G, _K = (ord(letter) for letter in "AUCEJQXGK")
_ADDED, _REMOVED = ord("A"), ord("R")
_LIVE = ord("L")


@hot
def take(desk: desks.Desk, reports: rings.Ring) -> int:
    """Tell the clients what the engine reported; returns how many reports were taken."""
    count = rings.ready(reports)
    for k in range(count):
        report(desk, reports.slots[rings.polled(reports, k)])
    rings.release(reports, count)
    return count


@hot
def report(desk: desks.Desk, record: Any) -> None:
    """One report of the engine."""
    desk.counts[desks.REPORTS] += 1
    owner, kind = np.int64(record.owner), np.int64(record.kind)
    if owner < 0 or owner >= len(desk.accounts):
        desk.counts[desks.UNKNOWN_REPORTS] += 1
        return
    ts = record.ts_event - desk.cells[desks.TS_BASE]
    slot = desks.row_of(desk, owner, record.aux if kind == REPLACED else record.order_id)
    stage = np.int64(desk.rows[slot].stage) if slot != NONE else desks.FREE
    if (
        stage == desks.FREE
        or (stage == desks.WAITS and kind != REJECTED)
        or (stage != desks.ASKED and kind == ACCEPTED)
    ):
        desk.counts[desks.UNKNOWN_REPORTS] += 1
    elif kind == FILL:
        _executed(desk, owner, slot, record, ts)
    elif kind == ACCEPTED:
        desk.rows[slot].stage = desks.LIVE
        _accepted(desk, owner, slot, record, ts, NONE)
    elif kind == CANCELLED:
        _canceled(desk, owner, slot, record, ts)
    elif kind == REPLACED:
        _replaced(desk, owner, slot, record, ts)
    elif kind == REJECTED:
        _rejected(desk, owner, slot, np.int64(record.reason), ts)
    else:
        desk.counts[desks.IGNORED] += 1


@hot
def _head(desk: desks.Desk, owner: int, kind: int, length: int, ts: int, ref: int) -> int:
    """Type, time and number of a message; returns where it begins in the account's block, or NONE."""
    at = desks.begin(desk, owner, length)
    if at != NONE:
        block = desk.store[owner]
        block[at] = kind
        store_i64(block, at + 1, ts)
        store_u32(block, at + 9, ref)
    return at


@hot
def _executed(desk: desks.Desk, owner: int, slot: int, record: Any, ts: int) -> None:
    row = desk.rows[slot]
    terms = desk.terms[row.instrument]
    at = _head(desk, owner, _E, E_BYTES, ts, row.ref)
    if at != NONE:
        block = desk.store[owner]
        store_u32(block, at + 13, record.qty * terms.lot)
        store_i64(block, at + 17, record.price * terms.price_scale)
        block[at + 25] = _REMOVED if record.flag == 1 else _ADDED
        store_i64(block, at + 26, record.aux)
        store_u16(block, at + 34, 0)
        desks.finish(desk, owner, E_BYTES)
    row.executed += record.qty
    if row.heir != NONE:
        desk.rows[row.heir].executed += record.qty
    _take_off(desk, owner, slot, record.qty, ts)


@hot
def _take_off(desk: desks.Desk, owner: int, slot: int, lots: int, ts: int) -> None:
    """Lots are no longer open; with the last of them the order ends, and with it what was to replace it."""
    row = desk.rows[slot]
    row.open -= lots
    if row.open <= 0:
        _end(desk, owner, slot, ts)


@hot
def _end(desk: desks.Desk, owner: int, slot: int, ts: int) -> None:
    heir = np.int64(desk.rows[slot].heir)
    desks.free_row(desk, slot)
    while heir != NONE:
        row = desk.rows[heir]
        after = np.int64(row.heir)
        refuse(desk, owner, row.ref, desks.NOT_LIVE, row.id_head, row.id_tail, ts + desk.cells[desks.TS_BASE])
        desks.free_row(desk, heir)
        heir = after


@hot
def _canceled(desk: desks.Desk, owner: int, slot: int, record: Any, ts: int) -> None:
    row = desk.rows[slot]
    at = _head(desk, owner, _C, C_BYTES, ts, row.ref)
    if at != NONE:
        block, reason = desk.store[owner], np.int64(record.reason)
        store_u32(block, at + 13, record.qty * desk.terms[row.instrument].lot)
        block[at + 17] = desk.letters[reason if 0 <= reason < desks.CODES else 0]
        desks.finish(desk, owner, C_BYTES)
    _take_off(desk, owner, slot, record.qty, ts)


@hot
def _accepted(desk: desks.Desk, owner: int, slot: int, record: Any, ts: int, old: int) -> None:
    """An order as it was taken: accepted, or replaced when it has an `old` number."""
    row = desk.rows[slot]
    terms = desk.terms[row.instrument]
    more = 0 if old == NONE else 4
    at = _head(desk, owner, _A if old == NONE else _U, A_BYTES + more, ts, row.ref if old == NONE else old)
    if at == NONE:
        return
    block = desk.store[owner]
    store_u32(block, at + 9 + more, row.ref)
    at += more
    block[at + 13] = row.letters >> 40
    store_u32(block, at + 14, record.qty * terms.lot)
    store_i64(block, at + 18, terms.symbol)
    store_i64(block, at + 26, row.price)
    store_u16(block, at + 34, row.letters >> 24)
    store_i64(block, at + 36, record.ref)
    store_u16(block, at + 44, row.letters >> 8)
    block[at + 46] = row.letters & 255
    block[at + 47] = _LIVE
    store_i64(block, at + 48, row.id_head)
    store_i64(block, at + 54, row.id_tail)
    store_u16(block, at + 62, 0)
    desks.finish(desk, owner, A_BYTES + more)


@hot
def _replaced(desk: desks.Desk, owner: int, slot: int, record: Any, ts: int) -> None:
    heir = np.int64(desk.rows[slot].heir)
    if heir == NONE or desk.rows[heir].ref != record.order_id:
        desk.counts[desks.UNKNOWN_REPORTS] += 1
        return
    row = desk.rows[heir]
    row.stage, row.open = desks.LIVE, record.qty
    _accepted(desk, owner, heir, record, ts, desk.rows[slot].ref)
    desks.free_row(desk, slot)


@hot
def _rejected(desk: desks.Desk, owner: int, slot: int, reason: int, ts: int) -> None:
    """The engine refused the order, or, of one that is live, its replacement. A cancel it refuses changes nothing."""
    row = desk.rows[slot]
    if row.stage == desks.ASKED:
        refuse(desk, owner, row.ref, reason, row.id_head, row.id_tail, ts + desk.cells[desks.TS_BASE])
        _end(desk, owner, slot, ts)
    elif row.heir != NONE:
        heir = np.int64(row.heir)
        row.heir = NONE
        next_row = desk.rows[heir]
        refuse(desk, owner, next_row.ref, reason, next_row.id_head, next_row.id_tail, ts + desk.cells[desks.TS_BASE])
        _end(desk, owner, heir, ts)
    else:
        desk.counts[desks.IGNORED] += 1


@hot
def refuse(desk: desks.Desk, owner: int, ref: int, code: int, head: int, tail: int, now: int) -> None:
    """Tell an account that an order is not taken; `code` is a reason of the engine, or one of the desk's."""
    desk.counts[desks.REFUSED] += 1
    at = _head(desk, owner, _J, J_BYTES, now - desk.cells[desks.TS_BASE], ref)
    if at != NONE:
        block = desk.store[owner]
        store_u16(block, at + 13, code)
        store_i64(block, at + 15, head)
        store_i64(block, at + 21, tail)
        desks.finish(desk, owner, J_BYTES)


@hot
def next_ref(desk: desks.Desk, owner: int, now: int) -> None:
    """The answer to an account query: everything below this number was received."""
    number = min(desk.accounts[owner].next_ref, ouch.REF_MAX)
    if _head(desk, owner, _Q, Q_BYTES, now - desk.cells[desks.TS_BASE], number) != NONE:
        desks.finish(desk, owner, Q_BYTES)


@rare
def mass_cancelled(desk: desks.Desk, owner: int, ref: int, firm: int, symbol: int, now: int) -> None:
    """A mass cancel was passed on; each order's own message follows."""
    at = _head(desk, owner, _X, X_BYTES, now - desk.cells[desks.TS_BASE], ref)
    if at != NONE:
        block = desk.store[owner]
        store_u32(block, at + 13, firm)
        store_i64(block, at + 17, symbol)
        store_u16(block, at + 25, 0)
        desks.finish(desk, owner, X_BYTES)


@rare
def switched(desk: desks.Desk, owner: int, off: bool, ref: int, firm: int, now: int) -> None:
    """Order entry was switched off or on."""
    at = _head(desk, owner, _G if off else _K, G_BYTES, now - desk.cells[desks.TS_BASE], ref)
    if at != NONE:
        block = desk.store[owner]
        store_u32(block, at + 13, firm)
        store_u16(block, at + 17, 0)
        desks.finish(desk, owner, G_BYTES)


@hot
def send(desk: desks.Desk, owner: int, link: links.Link, now: int, heartbeat_ns: int) -> int:
    """Send a link what its account was told and it has not got; when there is nothing, a heartbeat that is due.

    Packets of our own go only between messages, never inside one. Returns how many bytes went."""
    account, went = desk.accounts[owner], links.flush(link, now)
    if link.cells[links.FD] < 0 or not links.idle(link):
        return went
    if account.sent < account.end:
        sent = links.push(link, desk.store[owner], account.sent, account.end, now)
        account.sent += sent
        return went + sent
    if account.lost != 0:
        links.fail(link, links.STORE_FULL)
    if now - link.cells[links.SENT_NS] >= heartbeat_ns:
        links.control(link, soupbin.SERVER_HEARTBEAT)
        went += links.flush(link, now)
    return went
