"""One recorded hour of AAPL through the matching engine: does it fill what the recorded market filled?

The recorded file is turned back into what its participants must have sent. An ADD is a limit order of account 0, with
the recorded reference as its number. An EXECUTE is an IOC order of account 1 on the other side, at the resting order's
price and for the executed lots. CANCEL and DELETE are cancels to what the recording says is left. Hidden trades (`P`)
touch no displayed order and are left out. The rule: every recorded execution is one fill, of the recorded order, for
the recorded lots, at the recorded price; and the touch is the recorded one after every message.

What differs is what the recording itself does not order by time: 24 of 4,067 executions are of an order that was not
the first of its level (LOBSTER has no replacements, so one that kept its place under an older number, or was shown
late, stands elsewhere; the paper venue meets the same 24). There the engine fills the first order, by its rule, and the
recorded one is cancelled to what the recording leaves it. The one that was filled instead is short of those lots for
the rest of its life: its own executions come out smaller or fill the next, its cancel finds nothing. Each is counted,
and the counts are exact: the flow is the same every time.
"""

from typing import Any

import numpy as np
from loops import loop
from recorded import content

from ultra.hot import JIT, hot, memory
from ultra.hot import book as books
from ultra.hot import ring as rings
from ultra.venues import itch, matching, matching_check
from ultra.wire import (
    ADD,
    CANCEL,
    CANCEL_ORDER,
    DELETE,
    ENTRY,
    EXECUTE,
    FILL,
    IMMEDIATE,
    NEW,
    RECORD,
    REJECTED,
    REPORT,
    SET_STATE,
    TRADING,
)  # fmt: skip

FILE = "derived_AAPL_20120621_0930_1030.itch50.gz"
ADDS, EXECUTIONS, FILLS, WANTED, FILLED, OTHER, AWAY, LATE_CANCELS, REFUSED, OTHER_TOUCH, RECORDS, TAKEN_BACK = range(
    12
)
enter = matching.build(matching.load_models())


@hot
def entry_of(record: Any, book: Any, entry: Any, number: int) -> bool:
    """What must have been sent to cause a record; False if nothing was."""
    slot = books.find(book, record.order_id)
    entry.instrument = 0
    entry.ts_event = record.ts_event
    entry.flag = 0
    entry.aux = 0
    entry.owner = 0
    entry.order_id = record.order_id
    entry.price = record.price
    entry.qty = record.qty
    entry.side = record.side
    entry.kind = NEW
    if record.kind == ADD:
        return True
    if slot < 0 or record.kind > DELETE or record.kind == 0:
        return False
    if record.kind == EXECUTE:
        entry.owner = 1
        entry.flag = IMMEDIATE
        entry.order_id = number
        entry.side = 1 - (book.orders[slot].side & 1)
        entry.price = books.price_of(book, slot)
        return True
    entry.kind = CANCEL_ORDER
    entry.qty = book.orders[slot].qty - record.qty if record.kind == CANCEL else 0
    return True


@hot
def look(venue: Any, record: Any, entry: Any, counts: Any) -> None:
    """Count what the engine answered against what was recorded."""
    for k in range(rings.ready(venue.reports)):
        report = venue.reports.slots[rings.polled(venue.reports, k)]
        if report.kind == REJECTED:
            counts[LATE_CANCELS if entry.kind == CANCEL_ORDER else REFUSED] += 1
        elif report.kind == FILL and report.flag == 0:
            counts[FILLS] += 1
            counts[FILLED] += report.qty
            counts[OTHER] += report.order_id != record.order_id
            counts[AWAY] += report.price != entry.price
    rings.release(venue.reports, rings.ready(venue.reports))
    rings.release(venue.public, rings.ready(venue.public))


@hot
def take_back(venue: Any, book: Any, record: Any, entry: Any) -> None:
    """The recorded order is cancelled to what the recording leaves it."""
    slot = books.find(book, record.order_id)
    entry.kind = CANCEL_ORDER
    entry.owner = 0
    entry.order_id = record.order_id
    entry.qty = book.orders[slot].qty if slot >= 0 else 0
    enter(venue, entry)


@loop
def replay(venue: Any, book: Any, records: Any, entries: Any, counts: Any) -> None:
    entry = entries[0]
    while not enter(venue, entry):
        counts[REFUSED] += 1
    for k in range(len(records)):
        record = records[k]
        sent = entry_of(record, book, entry, (1 << 40) + k)
        counts[ADDS] += record.kind == ADD
        if record.kind == EXECUTE:
            counts[EXECUTIONS] += 1
            counts[WANTED] += record.qty
        books.apply(book, record)
        if sent:
            others = counts[OTHER]
            enter(venue, entry)
            look(venue, record, entry, counts)
            counts[RECORDS] += 1
            if record.kind == EXECUTE and counts[OTHER] > others:
                take_back(venue, book, record, entry)
                counts[TAKEN_BACK] += 1
                look(venue, record, entry, counts)
            for side in range(2):
                counts[OTHER_TOUCH] += venue.ladder.sides[side].price != book.ladder.sides[side].price


def test_a_recorded_hour_fills_as_it_did() -> None:
    raw = content("itch", FILE)
    raw = raw if JIT else raw[:120_000]
    ring = rings.create(RECORD, 1 << 17)
    itch.decode(itch.create(4, [], selective=False), raw, 0, len(raw), ring)
    records = ring.slots[: int(ring.cells[rings.CURSOR])]
    venue = matching.create(1, 1 << 13, 2, rings.create(REPORT, 1 << 10), rings.create(RECORD, 1 << 10))
    matching.list_instrument(venue, 0, tick=100)
    entries, counts = memory.zeros(1, ENTRY), np.zeros(16, np.int64)
    entries[0].kind, entries[0].aux = SET_STATE, TRADING
    replay(venue, books.create(1, 1 << 13, 256), records, entries, counts)
    matching_check.check(venue)
    if not JIT:
        assert counts[EXECUTIONS] == counts[FILLS] > 100 and counts[WANTED] == counts[FILLED]
        assert counts[[OTHER, AWAY, LATE_CANCELS, REFUSED, OTHER_TOUCH]].tolist() == [2, 0, 1, 0, 11]
        return
    assert (counts[RECORDS], counts[ADDS], counts[EXECUTIONS]) == (89_877, 44_336, 4_067)
    assert counts[REFUSED] == counts[AWAY] == 0, "an order was refused, or traded at a price of its own"
    assert (counts[FILLS], counts[OTHER], counts[TAKEN_BACK], counts[LATE_CANCELS]) == (4_068, 19, 18, 6)
    assert (counts[WANTED], counts[FILLED]) == (350_494, 349_768)
    assert counts[OTHER_TOUCH] == 39
