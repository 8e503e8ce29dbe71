"""Where we stand in a queue that shows only its total: estimates for aggregated (L2) feeds, in place of paper's rule 6.

An L2 feed says what a level holds now (LEVEL) and what traded (TRADE), not whose orders left. A trade at our price
comes off the front, as `paper` has it. What else a level loses was before or behind us, by one of these rules:

    risk-averse   behind us, unless there is not so much: only trades move us (paper's rule 6, nothing is added here)
    power n       behind us with the share  b^n / (b^n + f^n),  f lots before us, b behind
    log           behind us with the share  log(1 + b) / (log(1 + b) + log(1 + f))

The last two are the ideas of hftbacktest's queue models; they take the expected number of lots, rounded down behind us:
nothing is drawn. What joins a level is behind us. A share is a float, lots are whole.
Known bad case: a feed that shows a level before the trade that changed it moves us twice.
"""

import math
from typing import Any, Final

import numpy as np

from ..hot import hot, memory
from ..wire import LEVEL, TRADE
from . import paper as papers

RISK_AVERSE, POWER, LOG = range(3)
MODELS: Final = {"risk-averse": RISK_AVERSE, "power": POWER, "log": LOG}
# Cells of a model.
MODEL, EXPONENT = range(2)
PLACE: Final = np.dtype([("handle", "i8"), ("traded", "i8")], align=True)


def create(own_max: int) -> Any:
    """PLACE, one for each row of the venue's orders: what traded at its price since the level was shown last."""
    return memory.zeros(own_max, PLACE)


def model(name: str, exponent: int = 2) -> Any:
    """The cells of a model: `risk-averse`, `power` with its exponent (1 to 9), or `log`."""
    assert name in MODELS and 1 <= exponent <= 9, name
    return np.array([MODELS[name], exponent], np.int64)


@hot
def shift(cells: Any, places: Any, paper: papers.Paper, record: Any) -> None:
    """A record that the book has taken (LEVEL: aux = what it showed before) moves our orders forward in its queue."""
    kind = record.kind
    if cells[MODEL] == RISK_AVERSE or (kind != LEVEL and kind != TRADE):
        return
    at = np.int64(paper.first[record.instrument])
    while at >= 0:
        row, place = paper.rows[at], places[at]
        if place.handle != row.handle:
            place.handle = row.handle
            place.traded = 0
        if row.side == record.side and row.price == record.price:
            if kind == TRADE:
                place.traded += record.qty
            else:
                row.ahead = moved(cells, row.ahead, record.aux - place.traded, record.qty)
                place.traded = 0
        at = np.int64(row.next)


@hot
def moved(cells: Any, ahead: int, before: int, now: int) -> int:
    """Lots ahead of us when a level that held `before` (trades taken off) holds `now`, nothing else having traded."""
    behind, lost = max(before - ahead, 0), before - now
    if lost > 0:
        after = min(np.int64(share(cells, float(ahead), float(behind)) * lost), behind)
        ahead = max(ahead - (lost - after), 0)
    return min(ahead, now)


@hot
def share(cells: Any, ahead: float, behind: float) -> float:
    """Of lots that left a level without a trade: the share that was behind us."""
    if cells[MODEL] == LOG:
        front, back = math.log(1.0 + ahead), math.log(1.0 + behind)
    else:
        front, back = ahead, behind
        for _ in range(cells[EXPONENT] - 1):
            front *= ahead
            back *= behind
    return back / (front + back) if front + back > 0.0 else 1.0
