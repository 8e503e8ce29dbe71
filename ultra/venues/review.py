"""A tape through the engine's book, for whoever wants to know what is wrong with it: what is refused, where, how often.

Counts everything, and keeps the first EXAMPLES places of each kind. A book may be crossed inside one message of an
aggregated feed, so it is looked at when the next message begins: a record with another row, or of another time.
Known bad case: the kinds are those of `ultra.hot.book`, so a tape of bars is only looked at for its times.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import book as books
from ..hot import entry, hot, memory
from ..hot.atomics import Cells
from ..wire import ASK, BID, LEVEL, REPLACE

EXAMPLES: Final = 5
TIME_BACK: Final = 30
KINDS: Final = 32
NAMES: Final = {
    **{code: name for code, name in enumerate(books.OUTCOMES) if code > books.OK}, TIME_BACK: "time going back",
}  # fmt: skip
PLACE: Final = np.dtype([("row", "i8"), ("record", "i8"), ("ts", "i8"), ("instrument", "i8")])
RECORDS, LAST_TS, OPEN, OPEN_ROW, OPEN_TS, STATES = 0, 1, 2, 3, 4, 5  # cells; OPEN: instrument + 1 whose message runs


class Review(NamedTuple):
    """What was found so far."""

    book: books.Book
    counts: Cells  # int64[KINDS]
    places: Any  # PLACE[KINDS * EXAMPLES]
    cells: Cells


def create(instruments: int, step: int) -> Review:
    """Nothing was found yet."""
    book = books.create(instruments, 1 << 21, 1 << 18, step=step)
    places = memory.zeros(KINDS * EXAMPLES, PLACE)
    return Review(book, np.zeros(KINDS, np.int64), places, np.zeros(16, np.int64))


@hot
def note(review: Review, kind: int, row: int, record: int, ts: int, instrument: int) -> None:
    """One case more."""
    seen = review.counts[kind]
    review.counts[kind] = seen + 1
    if seen < EXAMPLES:
        place = review.places[kind * EXAMPLES + seen]
        place.row, place.record, place.ts, place.instrument = row, record, ts, instrument


@hot
def end_message(review: Review) -> None:
    """The message whose records came last is over: its book should not be crossed, nor locked."""
    cells = review.cells
    if cells[OPEN] > 0:
        instrument = cells[OPEN] - 1
        bid, ask = books.best(review.book, instrument, BID), books.best(review.book, instrument, ASK)
        cells[STATES] += 1
        if bid >= 0 and ask >= 0 and bid >= ask:
            kind = books.CROSSED if bid > ask else books.LOCKED
            note(review, kind, cells[OPEN_ROW], cells[RECORDS] - 1, cells[OPEN_TS], instrument)
        cells[OPEN] = 0


@entry
def review(review: Review, records: Any) -> None:
    """Some records more. They are completed by the book."""
    cells = review.cells
    for k in range(len(records)):
        record = records[k]
        instrument = np.int64(record.instrument)
        if cells[OPEN] > 0:
            same = record.sequence == cells[OPEN_ROW] and record.ts_event == cells[OPEN_TS]
            if not same or cells[OPEN] != instrument + 1:
                end_message(review)
        if record.ts_event < cells[LAST_TS]:
            note(review, TIME_BACK, record.sequence, cells[RECORDS], record.ts_event, instrument)
        cells[LAST_TS] = record.ts_event
        if record.kind <= REPLACE or record.kind == LEVEL:
            outcome = books.set_level(review.book, record) if record.kind == LEVEL else books.apply(review.book, record)
            if outcome != books.OK and outcome != books.CROSSED and outcome != books.LOCKED:
                note(review, outcome, record.sequence, cells[RECORDS], record.ts_event, instrument)
            cells[OPEN], cells[OPEN_ROW], cells[OPEN_TS] = instrument + 1, record.sequence, record.ts_event
        cells[RECORDS] += 1


@entry
def finish(review: Review) -> None:
    """There are no more."""
    end_message(review)
