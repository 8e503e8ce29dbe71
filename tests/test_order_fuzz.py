"""A million bad messages to either side of an order session: all are counted, none is believed too far.

Packets are made of good messages with bytes set to anything, of lengths that lie, and of noise. Every array of both
sides stands between two guards, so that a write beside an array is seen in compiled code too; with NUMBA_BOUNDSCHECK=1
reads are held to the arrays as well. Streams are made by a seed: a failure names it.
"""

from typing import Any

import numpy as np
import pytest
from loops import loop

from ultra import wire
from ultra.hot import JIT
from ultra.hot import ring as rings
from ultra.venues import link as links
from ultra.venues import order_desk as desks
from ultra.venues import order_entry, order_replies, order_reports, ouch
from ultra.venues import order_session as sessions

GUARD, PATTERN = 4096, 0xA5
PACKETS = 25_000 if JIT else 150  # a stream
ROUNDS = 5 if JIT else 1
RATES = {"bytes set to anything": 0.02, "hardly anything wrong": 0.0005, "mostly wrong": 0.3}


ORDER = {"type": "O", "ref": 0, "side": "B", "qty": 5, "symbol": "AAPL", "price": 100, "tif": "0", "display": "Y"}
ORDER |= {"capacity": "P", "iso": "N", "cross": "N", "clordid": ""}
GOOD = {
    letter: np.frombuffer(ouch.compose(ORDER | {"type": letter, "old_ref": 0}, outbound=False), np.uint8)
    for letter in "OU"
}


class Fence:
    """Tuples of arrays, each array in the middle of its own larger one."""

    def __init__(self) -> None:
        self.guards: list[Any] = []

    def around(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return type(value)(*(self.around(part) for part in value))
        if not isinstance(value, np.ndarray):
            return value
        whole = np.full(value.nbytes + 2 * GUARD, PATTERN, np.uint8)
        inside = whole[GUARD : GUARD + value.nbytes].view(value.dtype).reshape(value.shape)
        inside[...] = value
        self.guards += [whole[:GUARD], whole[GUARD + value.nbytes :]]
        return inside.view(type(value))

    def check(self) -> None:
        assert all((guard == PATTERN).all() for guard in self.guards), "memory outside an array was written"


def packet_stream(seed: int, protocol: Any, kind: str, count: int, rate: float) -> Any:
    """`count` packets of any messages of a protocol as bytes, some of them damaged; framing is damaged rarely.

    Numbers of orders count upwards, as a client's do, and most messages are about one of the last."""
    random = np.random.default_rng(seed)
    outbound = protocol is ouch.OUTBOUND
    table = ouch.OUT if outbound else ouch.IN
    parts = []
    for number, letter in enumerate(random.choice([*protocol, "E" if outbound else "O"], count), 20):
        length, at = int(table.lengths[ord(letter)]), 9 if outbound else 1
        body = random.integers(0, 256, length).astype(np.uint8)
        if letter in "OU" and not outbound and random.random() < 0.8:
            body[:] = GOOD[letter]
        for place in range(at, min(at + 1 + 4 * (letter == "U"), length - 3), 4):
            fresh = letter == "O" or (letter == "U" and place > at)
            recent = number % 256 if outbound else number - (0 if fresh else int(random.integers(0, 12)))
            body[place : place + 4] = np.frombuffer(recent.to_bytes(4, "big"), np.uint8)
        body[0] = ord(letter)
        if table.tails[ord(letter)]:
            body[-2:] = 0
        body[random.random(length) < rate] = random.integers(0, 256)
        parts.append(np.concatenate((np.array([0, length + 1, ord(kind)], np.uint8), body)))
    raw = np.concatenate(parts)
    raw[random.random(len(raw)) < rate / 100] = random.integers(0, 256)
    return raw


@loop
def refill(link: links.Link, raw: Any, at: int) -> int:
    """Bytes of a stream arrive, as many as there is room for, and what was written leaves; a link that failed, or lies
    before a packet that never ends, goes on one byte later. Returns how far the stream has come."""
    cells = link.cells
    if cells[links.FAULT] != links.NO_FAULT or (at == len(raw) and cells[links.IN_AT] < cells[links.IN_END]):
        cells[links.FAULT] = links.NO_FAULT
        cells[links.IN_AT] = min(cells[links.IN_AT] + 1, cells[links.IN_END])
    links.pull(link, 0)
    while at < len(raw) and cells[links.IN_END] < len(link.inbox):
        link.inbox[cells[links.IN_END]] = raw[at]
        cells[links.IN_END] += 1
        at += 1
    cells[links.OUT_AT] = cells[links.OUT_END]
    return at


@loop
def hear(session: sessions.Session, replies: rings.Ring, request: Any, raw: Any) -> int:
    """A client reads a stream to its end, whatever it says, with as many orders out as it may have."""
    at, taken, generation = 0, 0, 1
    while at < len(raw) or session.link.cells[links.IN_AT] < session.link.cells[links.IN_END]:
        at = refill(session.link, raw, at)
        session.cells[sessions.PHASE] = sessions.UP
        for slot in range(len(session.refs)):
            request.order_id = generation << 32 | slot
            if sessions.row_of(session, session.refs[slot]) == sessions.NO_SLOT:
                sessions.enter(session, request, generation)
        generation += 1
        taken += order_replies.poll(session, replies, 5)
        replies.cells[rings.GATE] = replies.cells[rings.CURSOR]
        replies.cells[rings.CURSOR_SEEN] = replies.cells[rings.CURSOR]
    return taken


@loop
def end_all(desk: desks.Desk, reports: rings.Ring) -> None:
    """The engine cancels every order that it was asked to take."""
    for slot in range(len(desk.rows)):
        row = desk.rows[slot]
        if row.stage == desks.ASKED or row.stage == desks.LIVE:
            report = reports.slots[rings.claimed(reports, 0)]
            report.kind, report.owner, report.order_id, report.qty, report.reason = (
                wire.CANCELLED,
                0,
                row.ref,
                row.open,
                4,
            )
            rings.publish(reports, 1)
            order_reports.take(desk, reports)


@loop
def work(desk: desks.Desk, link: links.Link, entries: rings.Ring, reports: rings.Ring, raw: Any) -> int:
    """A venue reads a stream to its end, before an engine that reports anything about the orders it was asked of."""
    at, taken, turn, day = 0, 0, 0, 1
    while at < len(raw) or link.cells[links.IN_AT] < link.cells[links.IN_END]:
        at = refill(link, raw, at)
        account = desk.accounts[0]
        if not desks.room(desk, 0):
            account.end, account.told, account.sent, account.lost = 0, 0, 0, 0
        late = at >> 14 != day  # a new day, once nothing is open: a damaged number may have used up the last
        account.mass = 1 if late or account.live > 12 else 0
        if late and account.live == 0:
            day, account.next_ref, account.disabled = at >> 14, 1, 0
        taken += order_entry.serve(desk, 0, link, entries, turn)
        while rings.ready(entries) > 0:
            entry = entries.slots[rings.polled(entries, 0)]
            if entry.kind == wire.MASS_CANCEL:
                end_all(desk, reports)
            report = reports.slots[rings.claimed(reports, 0)]
            report.kind = 16 + (turn & 7)
            report.owner, report.order_id, report.qty, report.price = entry.owner, entry.order_id, entry.qty, 7
            report.aux, report.reason, report.ref, report.flag = entry.aux, turn & 511, turn, turn & 1
            if report.kind == wire.REPLACED:
                report.order_id, report.aux = entry.aux, entry.order_id
            rings.publish(reports, 1)
            rings.release(entries, 1)
            order_reports.take(desk, reports)
            turn += 5
        turn += 3
    return taken


@pytest.mark.parametrize("damage", RATES)
def test_a_client_survives_whatever_a_venue_says(damage: str) -> None:
    fence = Fence()
    session = sessions.create(2, 8, rate=8)
    for index, symbol in enumerate(("AAPL", "MSFT")):
        sessions.define(session, index, symbol, price_scale=1 + 9 * index, lot=1 + 9 * index)
    session = fence.around(session._replace(link=links.create(1024, 512)))
    session.cells[sessions.RATE], session.cells[sessions.RESERVE] = 8, 0
    replies = fence.around(rings.create(wire.RECORD, 64))
    request = np.zeros(1, wire.REQUEST).view(np.recarray)
    request[0].kind, request[0].qty, request[0].price = wire.NEW, 5, 100
    taken = 0
    for seed in range(ROUNDS):
        raw = packet_stream(seed, ouch.OUTBOUND, "S", PACKETS, RATES[damage])
        taken += hear(session, replies, request[0], raw)
        fence.check()
        sessions.check(session)
    assert taken > ROUNDS * PACKETS // 4
    counts = {name: int(n) for name, n in zip(sessions.COUNTERS, session.counts, strict=False) if n}
    assert not JIT or {"entered", "unknown_refs", "broken_trades", "bad_messages"} <= set(counts), counts


@pytest.mark.parametrize("damage", RATES)
def test_a_venue_survives_whatever_a_client_and_its_own_engine_say(damage: str) -> None:
    fence = Fence()
    desk = desks.create(1, 2, 16, store_bytes=1 << 14, rate=1 << 20)
    desks.list_instrument(desk, 0, "AAPL")
    desk = fence.around(desk)
    link, entries = fence.around(links.create(1024, 64)), fence.around(rings.create(wire.ENTRY, 4))
    reports = fence.around(rings.create(wire.REPORT, 4))
    taken = 0
    for seed in range(ROUNDS):
        raw = packet_stream(seed, ouch.INBOUND, "U", PACKETS, RATES[damage])
        taken += work(desk, link, entries, reports, raw)
        fence.check()
        desks.check(desk)
    assert taken > ROUNDS * PACKETS // 4
    counts = {name: int(n) for name, n in zip(desks.COUNTERS, desk.counts, strict=False) if n}
    assert (
        not JIT
        or damage == "mostly wrong"
        or {"orders", "replaces", "cancels", "duplicates", "unknown_refs", "refused", "bad_messages"} <= set(counts)
    ), counts
