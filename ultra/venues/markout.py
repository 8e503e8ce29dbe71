"""What became of the market after each fill: the middle of the touch 1 ms to 1 minute later.

A ring of rows, one a fill; each horizon has its own cursor into it, so a look costs what is due and nothing else, and
`next_ts` is one load. A row is whole when the last horizon has passed it: then its owner takes it (`cells[GATE]`).
Always: cells[GATE] <= cursor of the longest horizon <= ... <= cursor of the shortest <= cells[COUNT].
Known bad case: more fills in a minute than there are rows: the later ones have no markout, which is counted.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot, memory
from ..hot.atomics import Cells
from ..wire import NONE

HORIZONS_NS: Final = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000, 60_000_000_000)
HORIZONS: Final = len(HORIZONS_NS)
MARKOUT: Final = np.dtype(
    [
        ("ts", "i8"),
        ("number", "i8"),  # of the fill, from 0
        ("instrument", "i8"),
        ("before", "i8"),  # twice the middle when it was filled, NONE where a side was empty
        ("twice", "i8", (HORIZONS,)),  # at each horizon; NONE: not reached, or a side was empty
    ],
    align=True,
)
COUNT, GATE, NEXT_TS, MISSED, FILLS = range(5)
CURSOR: Final = 8  # + k: of horizon k
NEVER: Final = 1 << 62


class Markouts(NamedTuple):
    """Fills whose later prices are waited for."""

    rows: Any  # MARKOUT[power of two]
    cells: Cells


def create(rows: int = 1 << 13) -> Markouts:
    """Nothing is waited for."""
    assert rows & (rows - 1) == 0
    cells = np.zeros(16, np.int64)
    cells[NEXT_TS] = NEVER
    return Markouts(memory.zeros(rows, MARKOUT), cells)


@hot
def twice_mid(view: Any) -> int:
    """Twice the middle of the touch, NONE where a side is empty."""
    return view.bid + view.ask if view.bid >= 0 and view.ask >= 0 else NONE


@hot
def add(marks: Markouts, view: Any, instrument: int, ts: int) -> None:
    """A fill."""
    cells = marks.cells
    cells[FILLS] += 1
    if cells[COUNT] - cells[GATE] >= len(marks.rows):
        cells[MISSED] += 1
        return
    row = marks.rows[cells[COUNT] & (len(marks.rows) - 1)]
    row.ts = ts
    row.number = cells[FILLS] - 1
    row.instrument = instrument
    row.before = twice_mid(view)
    for k in range(HORIZONS):
        row.twice[k] = NONE
    cells[COUNT] += 1
    cells[NEXT_TS] = min(cells[NEXT_TS], ts + HORIZONS_NS[0])


@hot
def look(marks: Markouts, market: Any, ts: int) -> None:
    """Time comes to `ts`: write down the middle for every horizon that ends by then."""
    cells, soonest = marks.cells, np.int64(NEVER)
    for k in range(HORIZONS):
        while cells[CURSOR + k] < cells[COUNT]:
            row = marks.rows[cells[CURSOR + k] & (len(marks.rows) - 1)]
            if row.ts + HORIZONS_NS[k] > ts:
                soonest = min(soonest, row.ts + HORIZONS_NS[k])
                break
            row.twice[k] = twice_mid(market[row.instrument])
            cells[CURSOR + k] += 1
    cells[NEXT_TS] = soonest


def taken(marks: Markouts, *, all_of_it: bool = False) -> Any:
    """Rows that are whole (at the end: all), as a copy, oldest first; they are not given again."""
    cells = marks.cells
    start, end = int(cells[GATE]), int(cells[COUNT] if all_of_it else cells[CURSOR + HORIZONS - 1])
    found = marks.rows[np.arange(start, end) & (len(marks.rows) - 1)].copy()
    cells[GATE] = end
    if all_of_it:
        cells[CURSOR : CURSOR + HORIZONS], cells[NEXT_TS] = end, NEVER
    return found


def check(marks: Markouts) -> None:
    """The invariant, for tests."""
    cells = marks.cells.tolist()
    cursors = [cells[GATE], *cells[CURSOR + HORIZONS - 1 : CURSOR - 1 : -1], cells[COUNT]]
    assert cursors == sorted(cursors) and cells[COUNT] - cells[GATE] <= len(marks.rows)
