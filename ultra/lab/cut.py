"""A piece of a tape, from one moment to another: it begins with the book as it stood.

What came before `first_ts` is folded: of orders, those that rest still, in the order in which they queue; of levels,
those that are not empty; the trading state of each instrument. They are stamped `first_ts`, so a book made of the piece
is the book made of the whole.
Known bad case: the fold holds every order that rests, in Python: seconds for a day, not for a month.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..wire import ADD, CANCEL, EXECUTE, INSTRUMENT, LEVEL, NONE, RECORD, REPLACE, STATUS
from .tape import Tape, introduced


def between(tape: Tape, first_ts: int, last_ts: int) -> Tape:
    """The records of a tape with first_ts <= ts_event < last_ts, ns, behind what was there at `first_ts`."""

    def read(size: int) -> Iterator[Any]:
        return introduced(tape.instruments, _pieces(tape, size, first_ts, last_ts))

    return Tape(tape.instruments, tape.kind, read, None, tape.source, tape.notes)


def _pieces(tape: Tape, size: int, first_ts: int, last_ts: int) -> Iterator[Any]:
    fold: Fold | None = Fold()
    for batch in tape.read(size):
        ts = batch["ts_event"]
        before = int(np.searchsorted(ts, first_ts))
        stop = int(np.searchsorted(ts, last_ts))
        if fold is not None:
            fold.take(batch[:before])
            if before < len(batch):
                rest = fold.records(first_ts)
                fold = None
                if len(rest):
                    yield rest
        if before < stop:
            yield batch[before:stop]
        if stop < len(batch):
            return


class Fold:
    """What some records leave."""

    def __init__(self) -> None:
        self._orders: dict[int, Any] = {}  # id -> record, in order of arrival
        self._levels: dict[tuple[int, int, int], Any] = {}  # instrument, side, price -> record
        self._instruments: dict[int, Any] = {}
        self._states: dict[int, Any] = {}  # instrument -> STATUS: a halted one is not taken for one that trades

    def take(self, records: Any) -> None:
        """Some records more."""
        for record in records[np.isin(records["kind"], (LEVEL, INSTRUMENT, STATUS)) | (records["kind"] <= REPLACE)]:
            kind, key = int(record["kind"]), int(record["order_id"])
            if kind == LEVEL:
                level = (int(record["instrument"]), int(record["side"]), int(record["price"]))
                self._levels.pop(level, None)
                if record["qty"] > 0:
                    self._levels[level] = record.copy()
            elif kind == INSTRUMENT:
                self._instruments[int(record["instrument"])] = record.copy()
            elif kind == STATUS:
                self._states[int(record["instrument"])] = record.copy()
            elif kind == ADD:
                self._orders[key] = record.copy()
            elif key in self._orders:
                self._change(kind, key, record)

    def _change(self, kind: int, key: int, record: Any) -> None:
        order = self._orders[key]
        left = int(order["qty"]) - int(record["qty"])
        if kind in (EXECUTE, CANCEL) and left > 0:
            order["qty"] = left
            return
        del self._orders[key]
        if kind == REPLACE:
            new = record.copy()
            new["side"], new["order_id"] = order["side"], record["aux"]
            self._orders[int(record["aux"])] = new

    def records(self, ts: int) -> Any:
        """All of it, stamped `ts`: RECORD array."""
        rows = [*self._instruments.values(), *self._states.values(), *self._orders.values(), *self._levels.values()]
        found = np.array([tuple(row) for row in rows], RECORD)
        resting = np.isin(found["kind"], (ADD, REPLACE))
        found["kind"][resting], found["aux"][resting] = ADD, NONE
        found["ts_event"] = found["ts_recv"] = ts
        return found
