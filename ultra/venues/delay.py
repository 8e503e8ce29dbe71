"""How long a request is on its way to the venue, and its answer on its way back: constant, by side, recorded, jittered.

A time is a base (of a buy, a sell, a cancel; of an answer), plus what a recording said last at or before that moment,
plus a jitter, even from 0 to its most, drawn from a seed and the number of the draw: the same in every replay.
Requests don't overtake each other, as on one connection; who calls this holds each to the one before.
Known bad case: what a recording says is looked up forwards only: a time that goes back is given the later row.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot
from ..hot.atomics import Cells
from ..hot.bits import mix
from ..wire import ASK, NEW

BUY_NS, SELL_NS, CANCEL_NS, ANSWER_NS, JITTER_NS, SEED, ROW, DRAWS = range(8)
TS, ORDER, ANSWER = range(3)  # columns of a recording
DRAW_BITS: Final = 24


class Delay(NamedTuple):
    """One way to the venue and back."""

    recorded: Any  # int64[n, 3]: from this moment on, ns to the venue, ns back; sorted by time; n = 0 without one
    cells: Cells


def create(
    buy_ns: int, sell_ns: int, cancel_ns: int, answer_ns: int, jitter_ns: int = 0, seed: int = 0, recorded: Any = None
) -> Delay:
    """Every time 0 or more; `jitter_ns` under 2^38."""
    cells = np.zeros(8, np.int64)
    cells[:6] = buy_ns, sell_ns, cancel_ns, answer_ns, jitter_ns, seed
    cells[ROW] = -1
    rows = np.zeros((0, 3), np.int64) if recorded is None else np.ascontiguousarray(recorded, np.int64)
    assert min(cells[:5]) >= 0 and rows.ndim == 2 and rows.shape[1] == 3 and (np.diff(rows[:, TS]) >= 0).all()
    return Delay(rows, cells)


@hot
def order_ns(delay: Delay, request: Any) -> int:
    """From when a request was decided to when it takes effect."""
    cells = delay.cells
    base = cells[CANCEL_NS]
    if request.kind == NEW:
        base = cells[SELL_NS] if request.side == ASK else cells[BUY_NS]
    return base + _said(delay, request.ts_event, ORDER) + _jitter(cells)


@hot
def answer_ns(delay: Delay, ts: int) -> int:
    """From when the venue says something to when we hear it."""
    return delay.cells[ANSWER_NS] + _said(delay, ts, ANSWER) + _jitter(delay.cells)


@hot
def at_once(delay: Delay) -> bool:
    """Whether every answer is heard when it is said."""
    return delay.cells[ANSWER_NS] == 0 and delay.cells[JITTER_NS] == 0 and len(delay.recorded) == 0


@hot
def _said(delay: Delay, ts: int, column: int) -> int:
    cells, rows = delay.cells, delay.recorded
    while cells[ROW] + 1 < len(rows) and rows[cells[ROW] + 1, TS] <= ts:
        cells[ROW] += 1
    return rows[cells[ROW], column] if cells[ROW] >= 0 else 0


@hot
def _jitter(cells: Cells) -> int:
    if cells[JITTER_NS] == 0:
        return 0
    cells[DRAWS] += 1
    draw = mix(mix(cells[SEED], 1), cells[DRAWS]) & ((1 << DRAW_BITS) - 1)
    return (draw * (cells[JITTER_NS] + 1)) >> DRAW_BITS
