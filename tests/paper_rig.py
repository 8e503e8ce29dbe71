"""The paper venue over a small book, driven by a list of events in one compiled loop, as the engine would drive it."""

from typing import Any

import numpy as np
from loops import column, loop
from paper_twin import FOREVER, ORDER, Event, Reply, timed

from ultra.hot import book as books
from ultra.hot import hot, memory
from ultra.hot import ring as rings
from ultra.venues import paper
from ultra.wire import CANCEL_ORDER, KIND_NAMES, NEW, NONE, RECORD, REQUEST

OWN_MAX, INSTRUMENTS, REPLIES = 6, 2, 128


@hot
def drain(venue: Any, out: Any, causes: Any, count: int, cause: int) -> int:
    """Take the replies off the ring, as the engine would; returns how many there are by now."""
    waiting = rings.ready(venue.replies)
    for k in range(waiting):
        out[count] = venue.replies.slots[rings.polled(venue.replies, k)]
        causes[count] = cause
        count += 1
    rings.release(venue.replies, waiting)
    return count


@loop
def drive(venue: Any, book: Any, ring: Any, records: Any, requests: Any, after: Any, out: Any, causes: Any) -> int:
    """Every record and, behind record `after[k]`, request k; at the end whatever waits. Returns the replies."""
    count, sent = 0, 0
    for index in range(len(records)):
        record = records[index]
        while True:
            paper.advance(venue, book, ring, record.ts_event)
            if rings.ready(venue.replies) == 0:
                break
            count = drain(venue, out, causes, count, NONE)
        if record.kind == 0:
            break
        outcome = books.apply(book, record)
        if outcome == books.OK or outcome >= books.CROSSED:
            paper.observe(venue, record)
            count = drain(venue, out, causes, count, index)
        while sent < len(requests) and after[sent] == index:
            ring.slots[rings.claim(ring)] = requests[sent]
            rings.publish(ring, 1)
            sent += 1
    return count


def rows(dtype: Any, values: list[tuple[int, ...]], names: str) -> Any:
    found = memory.zeros(len(values), dtype)
    for k, name in enumerate(names.split()):
        found[name] = column(value[k] for value in values)
    return found


class Rig:
    """The venue over a small book, driven by events."""

    def __init__(self, events: list[Event], latency: int = 0) -> None:
        self.venue = paper.create(INSTRUMENTS, OWN_MAX, REPLIES, latency)
        self.book = books.create(INSTRUMENTS, 128, 64)
        self.events = timed(events)
        market = [(k, e) for k, e in enumerate(self.events) if e.kind < ORDER]
        place = {k: row for row, (k, _) in enumerate(market)}
        records = [(e.kind, e.ts, e.instrument, e.side, e.id, e.price, e.qty, e.more) for _, e in market]
        ours = [(k, e) for k, e in enumerate(self.events) if e.kind >= ORDER]
        requests = [
            (NEW if e.kind == ORDER else CANCEL_ORDER, e.ts, e.instrument, e.side, e.id, e.price, e.qty, e.more)
            for _, e in ours
        ]
        names = "kind ts_event instrument side order_id price qty "
        out, causes = memory.zeros(1024, RECORD), np.zeros(1024, np.int64)
        count = drive(
            self.venue,
            self.book,
            rings.create(REQUEST, 128),
            rows(RECORD, [*records, (0, FOREVER, 0, 0, 0, 0, 0, 0)], names + "aux"),
            rows(REQUEST, requests, names + "flag"),
            column(place[max(p for p in place if p < k)] for k, _ in ours),
            out,
            causes,
        )
        indices = [*(k for k, _ in market), NONE]  # the last stands for NONE itself
        columns = "kind order_id side price qty aux ts_event instrument"
        self.replies = [
            Reply(*(int(out[name][row]) for name in columns.split()), cause=indices[causes[row]])
            for row in range(count)
        ]
        paper.check(self.venue)
        books.check(self.book)

    @property
    def said(self) -> list[tuple[Any, ...]]:
        """The replies in short: what, of which order, at which price, how many."""
        return [(KIND_NAMES[r.kind], r.handle, r.price, r.qty) for r in self.replies]
