"""Order entry: ns to write an order, to read a fill; a round trip over TCP on loopback, beside plain Python sockets.

    pytest bench/bench_ouch.py --benchmark-only

Writing and reading are loops over memory, without sockets. The round trip is one order to an order server that answers
at once and its acceptance back, both ends in one thread; the plain one sends and receives the same bytes by `socket`.
"""

import socket
from typing import Any

import numpy as np

from ultra import cache, wire
from ultra.hot import entry
from ultra.hot import ring as rings
from ultra.venues import link as links
from ultra.venues import order_desk as desks
from ultra.venues import order_replies, order_serving, ouch, soupbin
from ultra.venues import order_session as sessions
from ultra.venues.order_client import step

ORDERS, OWN, ROUNDS, TRIPS = 1_000_000, 512, 9, 2_000


def loop(function: Any) -> Any:
    """A compiled loop of this file."""
    return entry(function, key=cache.fingerprint(function))


@loop
def write_orders(session: sessions.Session, request: Any, count: int) -> int:
    """Write orders one behind the other; the outbox and the rows are given back when they are full."""
    sent = 0
    for k in range(count):
        slot = k & (OWN - 1)
        if slot == 0:
            session.link.cells[links.OUT_END] = 0
            for row in range(len(session.rows)):
                session.rows[row].state = sessions.FREE
            session.cells[sessions.LIVE_ROWS] = 0
        request.order_id = (k + OWN) << 32 | slot
        sent += sessions.enter(session, request, k << 20) == 0
    return sent


@loop
def read_fills(session: sessions.Session, replies: rings.Ring, count: int, stop: int) -> int:
    """Read the same block of fills again and again."""
    taken = 0
    while taken < count:
        session.link.cells[links.IN_AT], session.link.cells[links.IN_END] = 0, stop
        taken += order_replies.poll(session, replies, taken)
        replies.cells[rings.GATE] = replies.cells[rings.CURSOR]
        replies.cells[rings.CURSOR_SEEN] = replies.cells[rings.CURSOR]
    return taken


@loop
def trips(
    session: sessions.Session, desk: desks.Desk, bank: links.Bank, owners: Any, requests: rings.Ring,
    replies: rings.Ring, entries: rings.Ring, reports: rings.Ring, count: int,
) -> int:  # fmt: skip
    """Orders there and acceptances back, one at a time."""
    for k in range(count):
        slot = rings.claimed(requests, 0)
        request = requests.slots[slot]
        request.kind, request.side, request.flag, request.instrument, request.qty, request.price = 1, 0, 0, 0, 100, 5000
        request.order_id = session.cells[sessions.NEXT_REF] << 32 | k & (OWN - 1)
        session.rows[session.refs[k & (OWN - 1)] & (len(session.rows) - 1)].state = sessions.FREE
        session.cells[sessions.LIVE_ROWS] = 0
        rings.publish(requests, 1)
        before = session.counts[sessions.ACCEPTED]
        now = 1_000_000_000 + k * 1_000_000
        session.link.cells[links.HEARD_NS], session.link.cells[links.SENT_NS] = now, now
        while session.counts[sessions.ACCEPTED] == before:
            step(session, requests, replies, now)
            order_serving.attend(desk, bank, owners, entries, reports, now, 1 << 62, 1 << 62)
            while rings.ready(entries) > 0:
                entry_ = entries.slots[rings.polled(entries, 0)]
                report = reports.slots[rings.claimed(reports, 0)]
                report.kind, report.owner, report.order_id, report.qty = 16, 0, entry_.order_id, entry_.qty
                report.price, report.ref, report.ts_event = entry_.price, k, k
                rings.publish(reports, 1)
                rings.release(entries, 1)
            replies.cells[rings.GATE] = replies.cells[rings.CURSOR]
            replies.cells[rings.CURSOR_SEEN] = replies.cells[rings.CURSOR]
        if desk.accounts[0].live > OWN:
            for row in range(len(desk.rows)):
                if desk.rows[row].stage != desks.FREE:
                    desks.free_row(desk, row)
    return count


def session_of() -> sessions.Session:
    session = sessions.create(1, OWN, rate=4096)
    sessions.define(session, 0, "AAPL")
    session.cells[sessions.PHASE] = sessions.UP
    return session


def report(benchmark: Any, act: Any, setup: Any, count: int, what: str) -> None:
    done = benchmark.pedantic(act, setup=setup, rounds=ROUNDS, warmup_rounds=1)
    assert done is None or done >= count, "what was refused costs less"
    for name in ("min", "median", "max"):
        benchmark.extra_info[f"{name}_ns_per_{what}"] = round(getattr(benchmark.stats.stats, name) / count * 1e9, 1)


def test_write_an_order(benchmark: Any) -> None:
    request = np.zeros(1, wire.REQUEST).view(np.recarray)
    request[0].kind, request[0].qty, request[0].price = wire.NEW, 100, 5_000_000
    report(benchmark, write_orders, lambda: ((session_of(), request[0], ORDERS), {}), ORDERS, "order")


def test_read_a_fill(benchmark: Any) -> None:
    fields = {"type": "E", "ts": 1, "ref": 7, "qty": 1, "price": 5000, "liquidity": "A", "match": 1}
    raw = soupbin.framed("S", ouch.compose(fields, outbound=True)) * 1024

    def setup() -> Any:
        session = session_of()
        row = session.rows[7]
        row.ref, row.state, row.open, row.handle = 7, sessions.LIVE, 1 << 60, 5
        session.link.inbox[: len(raw)] = np.frombuffer(raw, np.uint8)
        return (session, rings.create(wire.RECORD, 4096), ORDERS, len(raw)), {}

    report(benchmark, read_fills, setup, ORDERS, "fill")


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def test_round_trip(benchmark: Any) -> None:
    ends = []

    def setup() -> Any:
        ours, theirs = pair()
        ends.extend((ours, theirs))
        session = session_of()
        session.link.cells[links.FD] = ours.fileno()
        desk, bank = desks.create(1, 1, 4096, store_bytes=1 << 20, rate=1 << 20), links.bank(1, 1 << 14, 256)
        desks.list_instrument(desk, 0, "AAPL")
        bank.cells[0, links.FD] = theirs.fileno()
        made = (rings.create(d, 64) for d in (wire.REQUEST, wire.RECORD, wire.ENTRY, wire.REPORT))
        return (session, desk, bank, np.zeros(1, np.int64), *made, TRIPS), {}

    report(benchmark, trips, setup, TRIPS, "round_trip")
    for end in ends:
        end.close()


def test_round_trip_of_plain_sockets(benchmark: Any) -> None:
    ours, theirs = pair()
    there, back = bytes(50), bytes(67)

    def act() -> None:
        for _ in range(TRIPS):
            ours.send(there)
            theirs.recv(4096)
            theirs.send(back)
            ours.recv(4096)

    report(benchmark, act, None, TRIPS, "round_trip")
    for end in (ours, theirs):
        end.close()
