"""Where we stand in a queue that shows only its total: estimates for aggregated (L2) feeds.

An L2 feed says what a level holds now (LEVEL) and what traded (TRADE), not whose orders left. A trade at our price
comes off the front. What else a level loses was before or behind us, by one of these rules:

    risk-averse   behind us, unless there is not so much: only trades move us
    power n       behind us with the share  b^n / (b^n + f^n),  f lots before us, b behind
    log           behind us with the share  log(1 + b) / (log(1 + b) + log(1 + f))

The last two follow hftbacktest's queue models (Huang, Lehalle and Rosenbaum 2015 gives the reasoning); they take the
expected number of lots, rounded down behind us: nothing is drawn. What joins a level is behind us.
A trade at a worse price, or lots shown at or through our price on the other side, would have met us first.
Known bad case: a feed that shows a trade and the level it changed in the wrong order moves us twice.
"""

import math
from typing import Any, Final

import numpy as np

from ..hot import hot, memory
from ..wire import BID, LEVEL, TRADE

RISK_AVERSE, POWER, LOG = range(3)
MODELS: Final = {"risk-averse": RISK_AVERSE, "power": POWER, "log": LOG}
# Cells of a model.
MODEL, EXPONENT = range(2)
PLACE: Final = np.dtype([("handle", "i8"), ("shown", "i8"), ("traded", "i8")], align=True)


def create(own_max: int) -> Any:
    """PLACE, one for each row of the venue's orders."""
    return memory.zeros(own_max, PLACE)


def model(name: str, exponent: int = 2) -> Any:
    """The cells of a model: `risk-averse`, `power` with its exponent (1 to 9), or `log`."""
    assert name in MODELS and 1 <= exponent <= 9, name
    return np.array([MODELS[name], exponent], np.int64)


@hot
def reached(cells: Any, place: Any, row: Any, record: Any) -> int:
    """Lots of this record that would have traded with our order; moves it forward in its queue."""
    if place.handle != row.handle:  # its first record since it joined: all that was shown then was before us
        place.handle = row.handle
        place.shown = row.ahead
        place.traded = 0
    kind, price, bid = record.kind, record.price, row.side == BID
    if kind == TRADE:
        if price == row.price:
            moved = min(row.ahead, record.qty)
            row.ahead -= moved
            place.traded += record.qty
            return record.qty - moved
        return record.qty if (price < row.price if bid else price > row.price) else 0
    if kind != LEVEL:
        return 0
    if record.side != row.side:
        return record.qty if (price <= row.price if bid else price >= row.price) else 0
    if price == row.price:
        _changed(cells, place, row, record.qty)
    return 0


@hot
def _changed(cells: Any, place: Any, row: Any, shown: int) -> None:
    """Our level shows so much now. What traded since it was last shown has moved us already."""
    ahead, behind = row.ahead, max(place.shown - place.traded - row.ahead, 0)
    lost = place.shown - place.traded - shown
    place.shown = shown
    place.traded = 0
    if lost > 0:
        after = np.int64(share(cells, float(ahead), float(behind)) * lost)
        before = lost - min(after, behind)
        ahead = max(ahead - before, 0)
    row.ahead = min(ahead, shown)


@hot
def share(cells: Any, ahead: float, behind: float) -> float:
    """Of lots that left a level without a trade: the share that was behind us."""
    if cells[MODEL] == RISK_AVERSE:
        return 1.0
    if cells[MODEL] == LOG:
        front, back = math.log(1.0 + ahead), math.log(1.0 + behind)
    else:
        front, back = ahead, behind
        for _ in range(cells[EXPONENT] - 1):
            front *= ahead
            back *= behind
    return back / (front + back) if front + back > 0.0 else 1.0
