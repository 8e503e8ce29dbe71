"""What the records of a journal come to, added up in plain Python: what projections are held to.

It knows nothing of the engine: a fill moves a position and cash, an acceptance opens an order, the last fill, a cancel
and a reject end it. Positions, fills, open orders and the blotter must be the same in the database, whoever was killed
while it was written. Always true: it reads no more than kind, instrument, order, side, price and quantity.
Known bad case: what an engine knows and no record says (an order on its way, a mark price) can't be held to it.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..wire import ACCEPTED, BID, CANCELLED, FILL, KIND_NAMES, REJECTED, REPLY_LAST


class Fold:
    """Positions, cash, fills and open orders of all records so far, by instrument and by order."""

    def __init__(self) -> None:
        self.position, self.cash, self.fills = Counter[int](), Counter[int](), Counter[int]()
        self.open: dict[int, int] = {}  # order -> lots left
        self.blotter: list[tuple[int, str, int, int, int]] = []  # sequence, kind, instrument, order, lots

    def take(self, records: Any) -> None:
        """Records of the journal, in order."""
        kinds = records["kind"]
        for record in records[(kinds >= ACCEPTED) & (kinds <= REPLY_LAST)]:
            self._step(*(int(record[name]) for name in ("kind", "sequence", "instrument", "order_id", "side", "price",
                                                        "qty")))  # fmt: skip

    def _step(self, kind: int, sequence: int, instrument: int, order: int, side: int, price: int, qty: int) -> None:
        self.blotter.append((sequence, KIND_NAMES[kind], instrument, order, qty))
        if kind == ACCEPTED:
            self.open[order] = qty
        elif kind == FILL:
            lots = qty if side == BID else -qty
            self.position[instrument] += lots
            self.cash[instrument] -= lots * price
            self.fills[instrument] += 1
            self.open[order] = self.open.get(order, qty) - qty
            if not self.open[order]:
                del self.open[order]
        elif kind in (CANCELLED, REJECTED):
            self.open.pop(order, None)

    def differences(self, database: Path, sequence: int) -> Iterator[str]:
        """What projections say otherwise, in words; they must be of all inputs below `sequence`."""
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
            reached = db.execute("SELECT sequence FROM progress").fetchone()[0]
            blotter = db.execute("SELECT sequence, kind, instrument, order_id, qty FROM blotter ORDER BY 1").fetchall()
            rows = db.execute("SELECT instrument, position, cash, fills FROM positions WHERE fills != 0").fetchall()
            shown = db.execute("SELECT order_id, qty - filled FROM open_orders WHERE state != 'sent'").fetchall()
        db.close()
        if reached != sequence:
            yield f"the projections are of {reached} inputs, the journal has {sequence}"
        if blotter != self.blotter:
            yield f"the blotter has {len(blotter)} rows, the journal {len(self.blotter)} replies, and they differ"
        for instrument, position, cash, fills in rows:
            found = (self.position[instrument], self.cash[instrument], self.fills[instrument])
            if (position, cash, fills) != found:
                yield f"instrument {instrument} has (position, cash, fills) {(position, cash, fills)}, folded {found}"
        if {row[0] for row in rows} != set(self.fills):
            yield f"instruments {sorted(set(self.fills) ^ {row[0] for row in rows})} have fills on one side only"
        left = {order: lots for order, lots in shown if order in self.open}
        if left != self.open:
            yield f"open orders are {left}, folded {self.open}"
