"""A recorded market as background flow: its records become orders of one house account, at the times they had.

What was added is entered as a limit order; what was executed comes as an order of the other side, at the price of the
recorded one, that takes what it finds and rests nowhere; cancels, deletes and replacements stay what they are. Time is
the recording's, moved to a beginning of ours and stretched by `speed`.

Always: `ids` holds exactly the recorded orders of which something is open by the recording's own count.
Known bad case: the recording does not react. Where others trade with its orders, what it does to them later finds less
or nothing (the venue refuses a cancel of an order that is gone), and its executions may meet somebody else.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot, memory
from ..hot import pool as pools
from ..hot import ring as rings
from ..hot import table as tables
from ..hot.atomics import Cells
from ..wire import (
    ADD,
    CANCEL_ORDER,
    DELETE,
    EXECUTE,
    IMMEDIATE,
    NEW,
    NONE,
    RECORD,
    REPLACE,
    REPLACE_ORDER,
)  # fmt: skip

TAKER: Final = 1 << 43  # the orders that execute have numbers from here on
NEVER: Final = 1 << 62
# Cells.
OWNER, INSTRUMENT, FIRST_TS, BEGIN_TS, SPEED, TAKERS = 0, 1, 2, 3, 4, 5
ENTERED, EXECUTED, UNKNOWN, FULL, SKIPPED = 8, 9, 10, 11, 12
OUTCOMES: Final = {
    "entered": ENTERED, "executed": EXECUTED, "unknown": UNKNOWN, "full": FULL, "skipped": SKIPPED,
}  # fmt: skip
ROW: Final = np.dtype([("price", "i8"), ("qty", "i8"), ("side", "i8")])


class Background(NamedTuple):
    """A recording on its way into the venue."""

    feed: rings.Ring  # RECORD, decoded by whoever reads the file
    rows: Any  # ROW[orders_max]: recorded orders
    pool: pools.Pool
    ids: tables.Table  # recorded id -> row
    cells: Cells


def create(feed_records: int, orders_max: int) -> Background:
    """Nothing recorded; `play` says whose orders they are."""
    keys = 1 << max(4, (orders_max - 1).bit_length())
    cells = np.zeros(16, np.int64)
    cells[SPEED], cells[FIRST_TS], cells[OWNER] = 1000, NONE, NONE
    pool = pools.create(orders_max, tagged=False)
    return Background(
        rings.create(RECORD, feed_records), memory.zeros(orders_max, ROW), pool, tables.create(keys), cells
    )


def play(background: Background, owner: int, instrument: int, begin_ts: int, speed_permille: int) -> None:
    """From now on: for this account, in this instrument, its first record at `begin_ts`."""
    cells = background.cells
    cells[OWNER], cells[INSTRUMENT], cells[BEGIN_TS], cells[SPEED] = owner, instrument, begin_ts, speed_permille
    cells[FIRST_TS] = NONE


@hot
def due(background: Background) -> int:
    """When the next record takes effect; NEVER when there is none."""
    if rings.ready(background.feed) == 0:
        return NEVER
    cells, ts = background.cells, background.feed.slots[rings.polled(background.feed, 0)].ts_event
    if cells[FIRST_TS] == NONE:
        cells[FIRST_TS] = ts
    return cells[BEGIN_TS] + max(0, ts - cells[FIRST_TS]) * 1000 // cells[SPEED]


@hot
def take(background: Background, entry: Any, ts: int) -> bool:
    """Turn the next record into an entry at `ts`; False when the venue need not know of it."""
    record = background.feed.slots[rings.polled(background.feed, 0)]
    entry.owner = background.cells[OWNER]
    entry.instrument = background.cells[INSTRUMENT]
    entry.ts_event = ts
    entry.order_id = record.order_id
    entry.price, entry.qty, entry.side, entry.flag = record.price, record.qty, record.side, 0
    entry.display, entry.stop, entry.aux = 0, 0, 0
    made = _convert(background, record, entry)
    rings.release(background.feed, 1)
    return made


@hot
def _convert(background: Background, record: Any, entry: Any) -> bool:
    cells = background.cells
    if record.kind == ADD:
        return _enter(background, record.order_id, record.side, record.price, record.qty, entry)
    if record.kind < EXECUTE or record.kind > REPLACE:
        cells[SKIPPED] += 1
        return False
    slot = tables.find(background.ids, record.order_id)
    if slot < 0:
        cells[UNKNOWN] += 1  # of before the recording, or another instrument
        return False
    row = background.rows[slot]
    entry.side = row.side
    if record.kind == REPLACE:
        side = row.side
        _forget(background, record.order_id, slot)
        kept = _enter(background, record.aux, side, record.price, record.qty, entry)
        entry.order_id = record.order_id
        entry.kind = REPLACE_ORDER if kept else CANCEL_ORDER
        entry.aux = record.aux
        entry.qty = record.qty if kept else 0
        return True
    lots = row.qty if record.kind == DELETE else min(record.qty, row.qty)
    row.qty -= lots
    if record.kind == EXECUTE:
        cells[TAKERS] += 1
        cells[EXECUTED] += 1
        entry.kind, entry.flag, entry.side = NEW, IMMEDIATE, row.side ^ 1
        entry.order_id, entry.price, entry.qty = TAKER | cells[TAKERS], row.price, lots
    else:
        entry.kind, entry.qty = CANCEL_ORDER, row.qty
    if row.qty == 0:
        _forget(background, record.order_id, slot)
    return lots > 0 or record.kind != EXECUTE


@hot
def _enter(background: Background, order_id: int, side: int, price: int, qty: int, entry: Any) -> bool:
    """Remember a recorded order; False when there are too many, or its number is taken."""
    slot = pools.take(background.pool)
    if slot == pools.NO_SLOT:
        background.cells[FULL] += 1
        return False
    if order_id <= 0 or order_id >= TAKER or tables.put(background.ids, order_id, slot) != tables.ADDED:
        pools.put(background.pool, slot)
        background.cells[SKIPPED] += 1
        return False
    row = background.rows[slot]
    row.price, row.qty, row.side = price, qty, side
    entry.kind = NEW
    background.cells[ENTERED] += 1
    return True


@hot
def _forget(background: Background, order_id: int, slot: int) -> None:
    tables.remove(background.ids, order_id)
    pools.put(background.pool, slot)


def check(background: Background) -> None:
    """Every invariant: for tests."""
    pools.check(background.pool)
    tables.check(background.ids)
    slots = list(tables.items(background.ids).values())
    assert len(slots) == len(set(slots)) == int(background.pool.cells[pools.FRESH] - background.pool.cells[pools.FREE])
    assert all(int(background.rows[slot].qty) > 0 for slot in slots)
