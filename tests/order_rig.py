"""What the tests of order sessions share: a venue in plain Python, and links whose bytes a test moves by hand.

The venue knows nothing of arrays: orders in a dict, what it told as a list of messages. It is told what to do with
each order by the test, and keeps what it did, which is the truth that the other side is held to.
"""

from typing import Any, NamedTuple

import numpy as np

from ultra import wire
from ultra.hot import door
from ultra.hot import ring as rings
from ultra.venues import link as links
from ultra.venues import order_replies, order_session, ouch, soupbin
from ultra.venues.order_client import carry, turn

pull, up, down, tend = (door(f) for f in (links.pull, order_session.up, order_session.down, order_session.tend))
carry_all, poll, want_all = door(carry), door(order_replies.poll), door(order_session.want_all)
__all__ = ["carry_all", "down", "poll", "pull", "tend", "turn", "up", "want_all"]


def written(link: links.Link) -> bytes:
    """Take what waits in a link's outbox, as its socket would."""
    cells = link.cells
    raw: bytes = link.outbox[int(cells[links.OUT_AT]) : int(cells[links.OUT_END])].tobytes()
    cells[links.OUT_AT] = cells[links.OUT_END] = 0
    return raw


def put(link: links.Link, raw: bytes) -> None:
    """Bytes arrive in a link's inbox."""
    fd, link.cells[links.FD] = int(link.cells[links.FD]), -1
    pull(link, 0)  # makes room at the end, reads nothing
    link.cells[links.FD] = fd
    end = int(link.cells[links.IN_END])
    link.inbox[end : end + len(raw)] = np.frombuffer(raw, np.uint8)
    link.cells[links.IN_END] = end + len(raw)


def write(link: links.Link, raw: bytes) -> None:
    """Bytes wait in a link's outbox."""
    end = int(link.cells[links.OUT_END])
    link.outbox[end : end + len(raw)] = np.frombuffer(raw, np.uint8)
    link.cells[links.OUT_END] = end + len(raw)


def drained(ring: rings.Ring) -> list[Any]:
    """Copies of what waits in a ring, which is empty afterwards."""
    cells, mask = ring.cells, len(ring.slots) - 1
    found = [ring.slots[k & mask].copy() for k in range(int(cells[rings.GATE]), int(cells[rings.CURSOR]))]
    cells[rings.GATE] = cells[rings.CURSOR_SEEN] = cells[rings.CURSOR]
    return found


def push(ring: rings.Ring, **fields: int) -> None:
    """One record into a ring that has room."""
    row = ring.slots[int(ring.cells[rings.CURSOR]) & (len(ring.slots) - 1)]
    for name in row.dtype.names:
        row[name] = fields.get(name, 0)
    ring.cells[rings.CURSOR] += 1


def packets(raw: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """Whole packets as (type, payload), and what is left."""
    found = []
    while len(raw) >= 2 and len(raw) >= 2 + int.from_bytes(raw[:2], "big"):
        end = 2 + int.from_bytes(raw[:2], "big")
        found.append((chr(raw[2]), raw[3:end]))
        raw = raw[end:]
    return found, raw


REASONS = ("none", "refused", "unknown_order", "by_owner", "mass", "would_trade")
REFUSED, UNKNOWN, BY_OWNER, MASS = 1, 2, 3, 4


class Engine:
    """A matching engine without a book: it accepts or refuses as it is told, and trades when it is told."""

    def __init__(self) -> None:
        self.open: dict[tuple[int, int], list[int]] = {}  # owner, number -> instrument, lots
        self.traded: dict[tuple[int, int], int] = {}
        self.sides: dict[tuple[int, int], int] = {}
        self.position = 0
        self.plan: list[bool] = []
        self.reports, self.refs, self.seen = rings.create(wire.REPORT, 256), 0, []

    def work(self, entries: rings.Ring, count: int = 1 << 30) -> None:
        """Take some entries of a ring."""
        cells = entries.cells
        while count > 0 and int(cells[rings.CURSOR]) > int(cells[rings.GATE]):
            slot = int(cells[rings.GATE]) & (len(entries.slots) - 1)
            self.take(entries.slots[slot].copy())
            cells[rings.GATE] += 1
            count -= 1
        cells[rings.CURSOR_SEEN] = cells[rings.GATE]

    def report(self, kind: int, owner: int, order_id: int, **fields: int) -> None:
        push(self.reports, kind=kind, owner=owner, order_id=order_id, ts_event=5, **fields)

    def take(self, entry: Any) -> None:
        owner, number, kind = int(entry.owner), int(entry.order_id), int(entry.kind)
        self.seen.append(entry)
        key, good = (owner, number), self.plan.pop(0) if self.plan else True
        if kind == wire.MASS_CANCEL:
            for other in [k for k in self.open if k[0] == owner and entry.instrument in (wire.NONE, self.open[k][0])]:
                self.cancel(other, 0, MASS)
        elif kind == wire.NEW:
            if good:
                self.refs += 1
                self.open[key], self.sides[key] = [int(entry.instrument), int(entry.qty)], int(entry.side)
                self.report(wire.ACCEPTED, owner, number, qty=entry.qty, price=entry.price, ref=self.refs)
            else:
                self.report(wire.REJECTED, owner, number, reason=REFUSED, qty=entry.qty)
        elif key not in self.open or (kind == wire.REPLACE_ORDER and not good):
            self.report(wire.REJECTED, owner, number, reason=UNKNOWN if key not in self.open else REFUSED)
        elif kind == wire.CANCEL_ORDER:
            self.cancel(key, int(entry.qty), BY_OWNER)
        else:
            self.refs += 1
            instrument, _ = self.open.pop(key)
            self.open[owner, int(entry.aux)] = [instrument, int(entry.qty)]
            self.report(
                wire.REPLACED, owner, int(entry.aux), qty=entry.qty, price=entry.price, ref=self.refs, aux=number
            )

    def cancel(self, key: tuple[int, int], left: int, reason: int) -> None:
        lots = self.open[key][1] - left
        if lots > 0:
            self.report(wire.CANCELLED, *key, qty=lots, reason=reason)
            self.less(key, lots)

    def fill(self, key: tuple[int, int], lots: int) -> None:
        lots = min(lots, self.open[key][1])
        self.traded[key] = self.traded.get(key, 0) + lots
        self.position += lots * (1 if self.sides.get(key, wire.BID) == wire.BID else -1)
        self.report(wire.FILL, *key, qty=lots, price=7, flag=lots & 1, aux=99)
        self.less(key, lots)

    def less(self, key: tuple[int, int], lots: int) -> None:
        self.open[key][1] -= lots
        if self.open[key][1] == 0:
            del self.open[key]


class Deed(NamedTuple):
    """Something that a venue did to an order: kind of the record it must become, lots, match number or NONE."""

    kind: str
    qty: int
    match: int = -1


class Venue:
    """One account at a venue: what it received, did and told."""

    def __init__(self) -> None:
        self.next_ref = 1
        self.open: dict[int, int] = {}  # ref -> lots
        self.deeds: dict[int, list[Deed]] = {}  # ref -> everything that was done to the order
        self.told: list[bytes] = []
        self.rest, self.sent, self.matches, self.position, self.duplicates = b"", 0, 0, 0, 0
        self.side: dict[int, int] = {}
        self.late: list[tuple[int, dict[str, Any]]] = []  # received, and not answered yet
        self.plan: list[str] = []  # what is done with orders to come; then they are accepted

    def link(self) -> None:
        """A new connection: what was half read of the last is gone."""
        self.rest = b""

    def read(self, raw: bytes) -> bytes:
        """Bytes arrive; returns what is answered at once outside the sequence."""
        found, self.rest = packets(self.rest + raw)
        answer = b""
        for kind, payload in found:
            if kind == "L":
                told = soupbin.describe(soupbin.framed("L", payload), outbound=False)
                wanted = int(told["sequence"])
                self.sent = min(wanted, len(self.told) + 1) - 1 if wanted else len(self.told)
                answer += soupbin.accepted("TODAY", self.sent + 1)
            elif kind == "U":
                self.take(ouch.describe(payload, outbound=False))
        return answer

    def take(self, message: dict[str, Any]) -> None:
        """One message of the client."""
        ref = message.get("ref", 0)
        if message["type"] == "Q":
            self.tell(type="Q", next_ref=self.next_ref)
        elif message["type"] == "X":
            if self.open.get(ref):
                self.cut(ref, self.open[ref])
        elif message["type"] == "O":
            if ref < self.next_ref:
                self.duplicates += 1
                return
            self.next_ref = ref + 1
            self.enter(ref, message)

    def enter(self, ref: int, message: dict[str, Any]) -> None:
        plan = self.plan.pop(0) if self.plan else "accept"
        if plan == "late":
            self.late.append((ref, message))
            return
        qty = message["qty"]
        self.deeds[ref], self.side[ref] = [], 1 if message["side"] == "B" else -1
        if plan == "reject":
            self.tell(type="J", ref=ref, reason=7, clordid=message["clordid"])
            self.deeds[ref].append(Deed("rejected", qty))
            return
        self.open[ref] = qty
        echo = {name: message[name] for name in ("side", "qty", "symbol", "price", "tif", "display", "capacity")}
        echo |= {"iso": "N", "cross": "N", "clordid": message["clordid"]}
        if plan == "fill first":
            self.fill(ref, max(1, qty // 2))
        if ref in self.open:
            self.tell(type="A", ref=ref, order=1000 + ref, state="D" if plan == "dead" else "L", **echo)
            self.deeds[ref].append(Deed("accepted", qty))
        if plan == "dead":
            self.deeds[ref].append(Deed("cancelled", self.open.pop(ref)))

    def wake(self) -> None:
        """Answer what was received and not answered yet."""
        late, self.late = self.late, []
        for ref, message in late:
            self.enter(ref, message)

    def fill(self, ref: int, lots: int) -> None:
        """Trade some lots of an open order."""
        lots = min(lots, self.open[ref])
        self.matches += 1
        self.position += self.side[ref] * lots
        self.tell(type="E", ref=ref, qty=lots, price=5000, liquidity="A", match=self.matches)
        self.deeds[ref].append(Deed("fill", lots, self.matches))
        self.less(ref, lots)

    def cut(self, ref: int, lots: int) -> None:
        """Take some lots off an open order."""
        lots = min(lots, self.open[ref])
        self.tell(type="C", ref=ref, qty=lots, reason="U")
        self.deeds[ref].append(Deed("cut", lots))
        self.less(ref, lots)

    def less(self, ref: int, lots: int) -> None:
        self.open[ref] -= lots
        if self.open[ref] == 0:
            del self.open[ref]

    def tell(self, **message: Any) -> None:
        self.told.append(ouch.compose({"ts": len(self.told), **message}, outbound=True))

    def send(self, count: int = 1 << 30) -> bytes:
        """The next messages that this link has not got."""
        rows = self.told[self.sent : self.sent + count]
        self.sent += len(rows)
        return b"".join(soupbin.framed("S", body) for body in rows)
