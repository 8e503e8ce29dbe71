"""The course of a run in a fixed number of points: time, P&L and gross position.

A point is taken every `stride` records. When the rows are full every second one is dropped and the stride doubles, so
a run of any length fills between half and all of them.
"""

from typing import Any, NamedTuple

import numpy as np

from . import hot
from . import market as markets
from .atomics import Cells

POINT = np.dtype([("ts", "i8"), ("pnl", "i8"), ("gross", "i8")], align=True)
COUNT, STRIDE, SKIP = 0, 1, 2


class Curve(NamedTuple):
    """Points of a run, the oldest first."""

    points: Any  # POINT[even number]
    cells: Cells


def create(points: int = 2048) -> Curve:
    """An empty curve."""
    assert points % 2 == 0, points
    cells = np.zeros(4, np.int64)
    cells[STRIDE] = 16
    return Curve(np.zeros(points, POINT).view(np.recarray), cells)


@hot
def due(curve: Curve) -> bool:
    """Count a record; True when a point is to be taken at it."""
    curve.cells[SKIP] += 1
    return curve.cells[SKIP] >= curve.cells[STRIDE]


@hot
def sample(curve: Curve, ts: int, market: Any, instruments: int) -> None:
    """Take a point: P&L (ticks x lots) and gross position over the first `instruments`."""
    cells = curve.cells
    cells[SKIP] = 0
    point = curve.points[cells[COUNT]]
    point.ts = ts
    pnl = np.int64(0)
    gross = np.int64(0)
    for index in range(instruments):
        if market[index].fills > 0:
            pnl += markets.pnl(market[index])
            gross += abs(market[index].position)
    point.pnl = pnl
    point.gross = gross
    cells[COUNT] += 1
    if cells[COUNT] == len(curve.points):  # at once, while the last point lies on the doubled stride too
        for k in range(len(curve.points) // 2):
            curve.points[k] = curve.points[2 * k + 1]
        cells[COUNT] = len(curve.points) // 2
        cells[STRIDE] *= 2
