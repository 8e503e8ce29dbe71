"""The paper venue a second time, written to be read: dictionaries and lists, and the five rules in order.

Events are market records and requests of ours in one list; a request was caused by the record before it. Both sides,
this one and `ultra.venues.paper`, are given the same events and must answer the same.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from ultra.hot.risk import VENUE_FULL, VENUE_UNKNOWN_ORDER, WOULD_TRADE
from ultra.wire import (
    ACCEPTED,
    ADD,
    BID,
    CANCEL,
    CANCELLED,
    DELETE,
    EXECUTE,
    FILL,
    IMMEDIATE,
    NONE,
    POST_ONLY,
    REJECTED,
    REPLACE,
)  # fmt: skip

ORDER, WITHDRAW = 101, 102  # kinds of our own events
FOREVER = 1 << 62


class Event(NamedTuple):
    kind: int
    ts: int = 0  # of a request: that of its cause, filled in by `timed`
    instrument: int = 0
    side: int = 0
    id: int = 0  # the market's, or our handle
    price: int = NONE
    qty: int = 0
    more: int = 0  # REPLACE: the new id; ORDER: its flags


class Reply(NamedTuple):
    kind: int
    handle: int
    side: int
    price: int
    qty: int
    aux: int
    ts: int
    instrument: int
    cause: int  # index of the market event that filled a resting order; NONE for an answer to a request


@dataclass
class Own:
    event: Event
    left: int
    ahead: int
    newest: int


@dataclass
class Twin:
    latency: int
    own_max: int
    market: dict[int, Event] = field(default_factory=dict)  # resting orders, each level's in the order of its queue
    own: list[Own] = field(default_factory=list)  # ours that rest, oldest first
    taken: dict[tuple[int, int, int], tuple[int, int]] = field(default_factory=dict)  # level -> shown, taken of it
    replies: list[Reply] = field(default_factory=list)
    matches: int = 0

    def level(self, instrument: int, side: int, price: int) -> list[Event]:
        return [e for e in self.market.values() if (e.instrument, e.side, e.price) == (instrument, side, price)]

    def prices(self, instrument: int, side: int) -> list[int]:
        """Prices of a side, best first."""
        found = {e.price for e in self.market.values() if (e.instrument, e.side) == (instrument, side)}
        return sorted(found, reverse=side == BID)

    def answer(self, kind: int, e: Event, price: int, qty: int, aux: int = NONE, side: int | None = None) -> None:
        ts = e.ts + self.latency  # rule 1
        self.replies.append(
            Reply(kind, e.id, e.side if side is None else side, price, qty, aux, ts, e.instrument, NONE)
        )

    def enter(self, e: Event) -> None:
        reach = [p for p in self.prices(e.instrument, e.side ^ 1) if (p <= e.price if e.side == BID else p >= e.price)]
        if reach and e.more & POST_ONLY:
            return self.answer(REJECTED, e, e.price, e.qty, WOULD_TRADE)
        if len(self.own) == self.own_max:
            return self.answer(REJECTED, e, e.price, e.qty, VENUE_FULL)
        self.answer(ACCEPTED, e, e.price, e.qty)
        left = e.qty
        for price in reach:  # rule 2
            if left == 0:
                break
            level = (e.instrument, e.side ^ 1, price)
            shown = sum(other.qty for other in self.level(*level))
            before, taken = self.taken.get(level, (shown, 0))
            taken = taken if before == shown else 0
            qty = min(left, shown - taken)
            self.taken[level] = (shown, taken + qty)
            left -= qty
            if qty:
                self.matches += 1
                self.answer(FILL, e, price, qty, self.matches)
        if left and e.more & IMMEDIATE:
            return self.answer(CANCELLED, e, e.price, left)
        if left:  # rule 3
            queue = self.level(e.instrument, e.side, e.price)
            ahead, newest = sum(other.qty for other in queue), queue[-1].id if queue else 0
            self.own.append(Own(e, left, ahead, newest))
        return None

    def withdraw(self, e: Event) -> None:
        for mine in self.own:
            if (mine.event.id, mine.event.instrument) == (e.id, e.instrument):
                self.own.remove(mine)
                return self.answer(CANCELLED, e, mine.event.price, mine.left, side=mine.event.side)
        return self.answer(REJECTED, e, NONE, 0, VENUE_UNKNOWN_ORDER)

    def apply(self, e: Event) -> Event | None:
        """The record into the book; completed by what the book knows, or None when it could not be applied in full."""
        if e.kind == ADD:
            if e.id in self.market:
                return None
            self.market[e.id] = e
            return e
        old = self.market.get(e.id)
        if old is None or old.instrument != e.instrument:
            return None
        if e.kind == REPLACE:
            del self.market[e.id]
            if e.more in self.market:
                return None
            e = e._replace(side=old.side)
            self.market[e.more] = e._replace(id=e.more)
            return e
        qty = old.qty if e.kind == DELETE else e.qty
        if qty < old.qty:
            self.market[e.id] = old._replace(qty=old.qty - qty)
        else:
            del self.market[e.id]
        price = old.price if e.price == NONE else e.price
        return e._replace(side=old.side, price=price, qty=qty) if qty <= old.qty else None

    def observe(self, e: Event, cause: int) -> None:
        """What a record does to our resting orders (rules 3 and 4)."""
        used = 0
        mine = [own for own in self.own if own.event.instrument == e.instrument]
        for own in sorted(mine, key=lambda own: -own.event.price if own.event.side == BID else own.event.price):
            qty = min(self.reached(own, e) - used, own.left)
            if qty > 0:
                used += qty
                own.left -= qty
                self.matches += 1
                o = own.event
                self.replies.append(Reply(FILL, o.id, o.side, o.price, qty, self.matches, e.ts, o.instrument, cause))
        self.own = [own for own in self.own if own.left]

    @staticmethod
    def reached(own: Own, e: Event) -> int:
        """Lots of a record that would have met this order of ours."""
        worse = (own.event.price - e.price) * (1 if own.event.side == BID else -1)  # by how much the record's price is
        if e.kind in (ADD, REPLACE):
            return e.qty if e.side != own.event.side and worse >= 0 else 0
        if e.side != own.event.side or worse < 0:
            return 0
        if worse > 0:
            return e.qty if e.kind == EXECUTE else 0
        if e.kind in (CANCEL, DELETE) and e.id > own.newest:
            return 0
        moved = min(own.ahead, e.qty)
        own.ahead -= moved
        return e.qty - moved if e.kind == EXECUTE else 0


def timed(events: list[Event]) -> list[Event]:
    """Requests get the time of the record before them."""
    found, ts = [], 0
    for e in events:
        ts = e.ts if e.kind < ORDER else ts
        found.append(e._replace(ts=ts))
    return found


def play(events: list[Event], latency: int, own_max: int) -> Twin:
    """All events in order; a request takes effect before the first record that is not earlier than that."""
    twin, waiting = Twin(latency, own_max), list[Event]()
    for index, e in enumerate([*timed(events), Event(0, FOREVER)]):
        if e.kind >= ORDER:
            waiting.append(e)
            continue
        while waiting and waiting[0].ts + latency <= e.ts:
            request = waiting.pop(0)
            (twin.enter if request.kind == ORDER else twin.withdraw)(request)
        done = twin.apply(e) if e.kind else None
        if done is not None:
            twin.observe(done, index)
    return twin
