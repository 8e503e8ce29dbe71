"""The book around a moment, looked at again: the touch of one instrument, from the data, without the strategy.

The records are applied to books of their own up to the end of the window, and each change of the touch, and each
trade, inside it is written down. Known bad case: a moment late in long data means reading all that came before it.
"""

import contextlib
from typing import Any, Final, NamedTuple

import numpy as np

from ..config import Config
from ..hot import book as books
from ..hot import entry, memory
from ..wire import EXECUTE, LEVEL, NONE, RECORD, REPLACE, TRADE
from .source import Source

TOUCH: Final = np.dtype(
    [
        ("ts", "i8"),
        ("bid", "i8"),  # NONE: the side is empty
        ("ask", "i8"),
        ("traded", "i8"),  # price of a trade then, NONE
        ("qty", "i8"),  # of it
    ],
    align=True,
)
ROWS: Final = 1 << 14
COUNT, OVER = 0, 1


class Window(NamedTuple):
    """What is looked at; both ends belong to it."""

    instrument: int
    start_ts: int
    stop_ts: int


class _EnoughError(Exception):
    """The window is over."""


@entry
def watch(book: books.Book, records: Any, hand: Any, window: Any, rows: Any, cells: Any) -> None:
    """Apply records to the book; write the touch down inside the window, until it is over or the rows are full."""
    instrument, sides = window[0], book.ladder.sides
    for k in range(len(records)):
        hand[0] = records[k]
        record = hand[0]
        if record.ts_event > window[2] or cells[COUNT] >= len(rows):
            cells[OVER] = 1
            return
        if record.kind <= REPLACE:
            books.apply(book, record)
        elif record.kind == LEVEL:
            books.set_level(book, record)
        if record.instrument != instrument or record.ts_event < window[1]:
            continue
        trade = record.kind == EXECUTE or record.kind == TRADE
        bid, ask = sides[2 * instrument].price, sides[2 * instrument + 1].price
        row, last = rows[cells[COUNT]], rows[cells[COUNT] - 1]
        if cells[COUNT] == 0 or trade or last.bid != bid or last.ask != ask:
            row.ts = record.ts_event
            row.bid = bid
            row.ask = ask
            row.traded = record.price if trade else NONE
            row.qty = record.qty if trade else 0
            cells[COUNT] += 1


class _Watcher:
    """Takes what a source plays, as far as the window goes."""

    def __init__(self, config: Config, window: Window) -> None:
        sizes = config.engine
        self.book = books.create(sizes.instrument_max, sizes.order_live_max, sizes.level_page_max)
        self.window, self.hand = np.array(window, np.int64), memory.zeros(1, RECORD)
        self.rows, self.cells = memory.zeros(ROWS, TOUCH), np.zeros(2, np.int64)

    def pump(self, records: Any) -> None:
        watch(self.book, records, self.hand, self.window, self.rows, self.cells)
        if self.cells[OVER]:
            raise _EnoughError

    def mark(self) -> None:
        """A part of a file is through."""


def touches(source: Source, config: Config, window: Window) -> Any:
    """TOUCH rows of the window, in order of time, at most ROWS."""
    watcher = _Watcher(config, window)
    with contextlib.suppress(_EnoughError):
        source.play(config, watcher)
    return watcher.rows[: int(watcher.cells[COUNT])].copy()
