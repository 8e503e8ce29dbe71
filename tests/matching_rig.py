"""A matching engine under test: entries in, what it said out as tuples, through rings as small as one likes."""

from typing import Any, NamedTuple

import numpy as np
from loops import loop

from ultra import cache
from ultra.hot import book as books
from ultra.hot import entry as compiled
from ultra.hot import hot, memory
from ultra.hot import ring as rings
from ultra.venues import matching
from ultra.wire import ENTRY, RECORD, REPORT

FIELDS = tuple(ENTRY.names)


class Terms(NamedTuple):
    """What an instrument is."""

    tick: int = 1
    lot: int = 1
    low: int = 2
    high: int = 200
    qty_max: int = 100
    reference: int = -1


@hot
def drain(ring: Any, out: Any, count: int) -> int:
    waiting = rings.ready(ring)
    for k in range(waiting):
        if count < len(out):
            out[count] = ring.slots[rings.polled(ring, k)]
        count += 1
    rings.release(ring, waiting)
    return count


def _driver(queue: str) -> Any:
    models = matching.load_models(queue, fee="maker-taker")
    enter = matching.build(models)

    def drive(venue: Any, entries: Any, reports: Any, public: Any, counts: Any) -> int:
        """Every entry to its end; how many reports and records there were, and how often the rings were full."""
        said, shown, full = 0, 0, 0
        for k in range(len(entries)):
            while not enter(venue, entries[k]):
                said = drain(venue.reports, reports, said)
                shown = drain(venue.public, public, shown)
                full += 1
        counts[0] = drain(venue.reports, reports, said)
        counts[1] = drain(venue.public, public, shown)
        return full

    return compiled(drive, key=models.key + cache.fingerprint(drive, drain))


DRIVERS: dict[str, Any] = {}


@loop
def rebuild(book: Any, records: Any) -> int:
    """Public records into a book; how many it refused."""
    refused = 0
    for k in range(len(records)):
        if records[k].kind < 6:
            outcome = books.apply(book, records[k])
            refused += not books.changed(outcome) or outcome == books.OVER_REDUCED
    return refused


def entries_of(dicts: list[dict[str, int]]) -> Any:
    """Entries as an array of ENTRY."""
    found = memory.zeros(len(dicts), ENTRY)
    rows = [tuple(row.get(name, 0) for name in FIELDS) for row in dicts]
    found[:] = np.array(rows, ENTRY)
    return found


class Rig:
    """A venue and the book of those who listen."""

    def __init__(
        self, terms: list[Terms], orders_max: int = 64, *, slots: int = 64, queue: str = "fifo", capacity: int = 4096
    ) -> None:
        if queue not in DRIVERS:
            DRIVERS[queue] = _driver(queue)
        self.drive = DRIVERS[queue]
        reports, public = rings.create(REPORT, slots), rings.create(RECORD, slots)
        self.venue = matching.create(len(terms), orders_max, 3, reports, public, ids_max=1 << 10, pages_max=256)
        for k, row in enumerate(terms):
            matching.list_instrument(self.venue, k, **row._asdict())
        self.book = books.create(len(terms), 1 << 12, 256, step=1)
        self.reports, self.public = memory.zeros(capacity, REPORT), memory.zeros(capacity, RECORD)
        self.full = 0

    def enter(self, *dicts: dict[str, int]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """What these entries caused: reports and public records."""
        reports, public = self.enter_raw(list(dicts))
        return reports.tolist(), public.tolist()

    def enter_raw(self, dicts: list[dict[str, int]]) -> tuple[Any, Any]:
        """The same as arrays."""
        counts = np.zeros(2, np.int64)
        self.full += self.drive(self.venue, entries_of(dicts), self.reports, self.public, counts)
        said, shown = counts.tolist()
        assert max(said, shown) <= len(self.reports)
        assert rebuild(self.book, self.public[:shown].copy()) == 0, "a book refuses what was published"
        return self.reports[:said], self.public[:shown]
