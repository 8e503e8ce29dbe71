"""A venue's side of OUCH sessions: accounts, what each was told, and which orders are theirs.

What an account is told is kept for the day as finished packets in one block of bytes per account, so sending is one
call on that block, and a client that comes back gets it again from any message on. `order_entry` reads what clients
ask, `order_reports` writes what the matching engine says; `cold/order_server.py` owns the sockets.
Always: a row is live from an order's entry to its last report, and is found under (owner, ref); nothing an account was
told is lost or changed.
Known bad case: a block that is full ends the account's day (`store_full`); new orders stop before, while what is open
can still be reported.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import door, hot, memory
from ..hot import pool as pools
from ..hot import ring as rings
from ..hot import table as tables
from ..hot.atomics import Cells
from ..hot.bits import load_u16, store_u16
from ..wire import MASS_CANCEL, NONE, symbol_to_int
from . import throttle as throttles
from .order_session import SCALE_MAX, TERMS

ACCOUNT = np.dtype(
    [
        ("next_ref", "i8"),  # the least number that its next order may have
        ("told", "i8"),  # sequenced messages so far
        ("end", "i8"),  # their bytes
        ("sent", "i8"),  # how many of them the present link took
        ("live", "i8"),  # rows in use
        ("mass", "i8"),  # 1 = all its orders must be cancelled, which the engine was not asked yet
        ("keeps", "i8"),  # 1 = its orders outlive a lost link
        ("disabled", "i8"),  # 1 = it asked that no order of its be taken
        ("rate", "i8"),  # orders and replacements a second
        ("linked", "i8"),
        ("lost", "i8"),  # 1 = a message found no room: what was told is no longer the whole truth
        ("pad", "i8", (5,)),
    ]
)
ORDER = np.dtype(
    [
        ("ref", "i8"),
        ("price", "i8"),  # as the client wrote it
        ("open", "i8"),  # lots
        ("executed", "i8"),  # lots, of those it replaced too
        ("id_head", "i8"),  # the client's own id: 8 characters
        ("id_tail", "i8"),  # its last 8, of which it shares 2 with the head
        ("letters", "i8"),  # side, tif, display, capacity, iso, cross: a byte each, the last lowest
        ("owner", "i4"),
        ("instrument", "i4"),
        ("heir", "i4"),  # row of the order that is to replace it; NONE
        ("stage", "i4"),
    ]
)
FREE, ASKED, WAITS, LIVE = range(4)  # of a row: asked the engine; as the replacement of another; accepted

# Reasons of our own for a refused order, above those of any engine.
UNSUPPORTED, BAD_SYMBOL, BAD_ORDER, THROTTLED, NO_ROOM, DISABLED, BEING_REPLACED, NOT_LIVE = range(200, 208)
CODES = 256
# Letters of a canceled message by the name that an engine gives the reason; any other is Z, system.
LETTERS: Final = {
    "by_owner": "U", "mass": "U", "unfilled": "I", "all_or_nothing": "I", "least_not_met": "I", "self_trade": "Q",
    "day_over": "E", "auction_over": "C", "would_trade": "F",
}  # fmt: skip

COUNTERS: Final = (
    "orders", "replaces", "cancels", "mass_cancels", "queries", "duplicates", "refused", "throttled", "unknown_refs",
    "bad_messages", "reports", "unknown_reports", "lost_reports", "switches", "ignored",
)  # fmt: skip
(ORDERS, REPLACES, CANCELS, MASS_CANCELS, QUERIES, DUPLICATES, REFUSED, THROTTLES, UNKNOWN_REFS, BAD_MESSAGES, REPORTS,
 UNKNOWN_REPORTS, LOST_REPORTS, SWITCHES, IGNORED) = range(15)  # fmt: skip
PACKET_MAX = 96  # bytes of a packet that we write
REPORTS_PER_ORDER = 4  # for which room is kept
TS_BASE = 0


class Desk(NamedTuple):
    """Every account of one venue."""

    accounts: Any  # ACCOUNT[accounts]
    store: Any  # uint8[accounts, store_bytes]: packets told, one behind the other
    rows: Any  # ORDER[orders_max]
    pool: pools.Pool
    ids: tables.Table  # owner << 32 | ref -> row
    terms: Any  # TERMS[instruments]
    symbols: tables.Table  # symbol -> instrument
    letters: Cells  # int64[CODES]: an engine's reason -> the letter of a canceled message
    throttle: throttles.Throttle
    cells: Cells  # int64[8]
    counts: Cells  # int64[32], by COUNTERS


def create(
    accounts: int,
    instruments: int,
    orders_max: int,
    *,
    store_bytes: int = 1 << 26,
    rate: int = 10_000,
    ts_base: int = 0,
    reasons: Sequence[str] = (),
) -> Desk:
    """Accounts without orders that were told nothing yet.

    `reasons` are the engine's names of its reasons, in their order; `ts_base` is midnight, ns since the epoch."""
    table = memory.zeros(accounts, ACCOUNT)
    table.next_ref, table.rate = 1, rate
    keys = 1 << max(4, (orders_max - 1).bit_length())
    letters = np.full(CODES, ord("Z"), np.int64)
    for index, name in enumerate(reasons):
        letters[index] = ord(LETTERS.get(name, "Z"))
    cells = np.zeros(8, np.int64)
    cells[TS_BASE] = ts_base
    return Desk(
        table,
        memory.zeros(accounts * store_bytes, np.uint8).reshape(accounts, store_bytes),
        memory.zeros(orders_max, ORDER),
        pools.create(orders_max, tagged=False),
        tables.create(keys),
        memory.zeros(instruments, TERMS),
        tables.create(1 << max(4, (instruments - 1).bit_length())),
        letters,
        throttles.create(accounts, rate),
        cells,
        np.zeros(32, np.int64),
    )


_put = door(tables.put)


def list_instrument(desk: Desk, index: int, symbol: str, *, price_scale: int = 1, lot: int = 1) -> None:
    """Say what instrument `index` is called, how many 1/10000 its tick is, and how many shares its lot."""
    assert 0 < price_scale <= SCALE_MAX and 0 < lot <= SCALE_MAX, (price_scale, lot)
    desk.terms[index] = (symbol_to_int(symbol), price_scale, lot, 0)
    _put(desk.symbols, symbol_to_int(symbol), index)


@hot
def key_of(owner: int, ref: int) -> int:
    """The key of an order in `ids`."""
    return owner << 32 | ref


@hot
def row_of(desk: Desk, owner: int, ref: int) -> int:
    """The row of a live order, or NONE."""
    return tables.find(desk.ids, key_of(owner, ref)) if ref > 0 else NONE


@hot
def room(desk: Desk, owner: int) -> bool:
    """Whether an account's block holds one more message, and all that can still come of its open orders."""
    account = desk.accounts[owner]
    return account.end + (1 + REPORTS_PER_ORDER * (account.live + 1)) * PACKET_MAX <= desk.store.shape[1]


@hot
def begin(desk: Desk, owner: int, length: int) -> int:
    """Where the body of an account's next message of `length` bytes goes in its block, or NONE (counted)."""
    at = desk.accounts[owner].end
    if at + 3 + length > desk.store.shape[1]:
        desk.counts[LOST_REPORTS] += 1
        desk.accounts[owner].lost = 1
        return NONE
    block = desk.store[owner]
    store_u16(block, at, length + 1)
    block[at + 2] = ord("S")
    return at + 3


@hot
def finish(desk: Desk, owner: int, length: int) -> None:
    """The body is written: from now on the account has been told."""
    account = desk.accounts[owner]
    account.end += 3 + length
    account.told += 1


@hot
def attach(desk: Desk, owner: int, sequence: int) -> int:
    """A client logged in and wants `sequence` next (0 = only what is new); returns which message it gets next."""
    account = desk.accounts[owner]
    block, at, number = desk.store[owner], np.int64(0), np.int64(1)
    wanted = account.told + 1 if sequence <= 0 else min(sequence, account.told + 1)
    while number < wanted:
        at += 2 + load_u16(block, at)
        number += 1
    account.sent = at
    account.linked = 1
    return wanted


@hot
def detach(desk: Desk, owner: int) -> None:
    """An account's link is gone: its orders go too, unless it keeps them."""
    account = desk.accounts[owner]
    account.linked = 0
    if account.keeps == 0 and account.live > 0:
        account.mass = 1


@hot
def ask_mass(desk: Desk, owner: int, entries: rings.Ring, now: int) -> bool:
    """Ask the engine to cancel all orders of an account, if that is due; False when the ring has no room now."""
    account = desk.accounts[owner]
    if account.mass == 0:
        return True
    if rings.room(entries) == 0:
        return False
    account.mass = 0
    mass_entry(entries, owner, NONE, now)
    desk.counts[MASS_CANCELS] += 1
    return True


@hot
def mass_entry(entries: rings.Ring, owner: int, instrument: int, now: int) -> None:
    """Every order of the owner, of one instrument or of all (NONE). There is room."""
    entry = entries.slots[rings.claimed(entries, 0)]
    entry.kind, entry.side, entry.flag, entry.instrument, entry.owner = MASS_CANCEL, 0, 0, instrument, owner
    entry.display, entry.order_id, entry.ts_event, entry.price = 0, 0, now, NONE
    entry.qty, entry.stop, entry.aux = 0, NONE, 0
    rings.publish(entries, 1)


@hot
def take_row(desk: Desk, owner: int, ref: int) -> int:
    """A row for a new order, or NONE when there are as many as may be."""
    slot = pools.take(desk.pool)
    if slot == pools.NO_SLOT:
        return NONE
    row = desk.rows[slot]
    row.ref, row.owner, row.heir, row.executed, row.stage = ref, owner, NONE, 0, ASKED
    tables.put(desk.ids, key_of(owner, ref), slot)
    desk.accounts[owner].live += 1
    return slot


@hot
def free_row(desk: Desk, slot: int) -> None:
    """The last report of an order was told."""
    row = desk.rows[slot]
    tables.remove(desk.ids, key_of(np.int64(row.owner), row.ref))
    row.stage = FREE
    desk.accounts[row.owner].live -= 1
    pools.put(desk.pool, slot)


def check(desk: Desk) -> None:
    """Every invariant, in O(orders + bytes told): for tests."""
    pools.check(desk.pool)
    tables.check(desk.ids)
    live = np.flatnonzero(desk.rows.stage != FREE).tolist()
    keys = {int(desk.rows[slot].owner) << 32 | int(desk.rows[slot].ref): slot for slot in live}
    assert tables.items(desk.ids) == keys
    heirs = [int(desk.rows[slot].heir) for slot in live if int(desk.rows[slot].heir) != NONE]
    waiting = [slot for slot in live if desk.rows[slot].stage == WAITS]
    assert sorted(heirs) == sorted(waiting), "a replacement without the order that it replaces"
    for owner, account in enumerate(desk.accounts):
        assert int(account.live) == sum(key >> 32 == owner for key in keys)
        assert all(int(desk.rows[slot].ref) < int(account.next_ref) for key, slot in keys.items() if key >> 32 == owner)
        at, told = 0, 0
        while at < int(account.end):
            at += 2 + int.from_bytes(desk.store[owner, at : at + 2].tobytes(), "big")
            told += 1
        assert at == int(account.end) and told == int(account.told)
        assert 0 <= int(account.sent) <= at
