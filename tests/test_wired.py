"""The engine at the ends of real sockets: a feed of packets, a session's stream, a venue in plain Python behind both.

The loop is called step by step in this thread, so what comes when is the test's choice. What the engine was told is in
its journal's ring: an engine that is given those records one by one must be the same, whatever the sockets did.
"""

import socket
from functools import cache
from typing import Any

import numpy as np
import pytest
from order_rig import Venue, down, up, want_all
from runs import EAGER, IMBALANCE, bodies, market

from ultra import inline, strategy, wired
from ultra.cold import assembly, multicast
from ultra.config import load
from ultra.hot import JIT, clock
from ultra.hot import book as books
from ultra.hot import orders as own
from ultra.hot import ring as rings
from ultra.hot import risk as risks
from ultra.venues import link as links
from ultra.venues import mold_receiver as receivers
from ultra.venues import order_session, soupbin
from ultra.wire import FEED_STATE, JOURNAL_DURABLE, LIVE, NONE, RECORD, SESSION_STATE, STALE, SYNCING

MESSAGES = 1500 if JIT else 200
SMALL = {
    "engine.instrument_max": 8, "engine.order_live_max": 1024, "engine.level_page_max": 256, "engine.own_order_max": 64,
    "engine.prefault": False, "engine.feed_ring_records": 64, "engine.output_ring_records": 64,
    "engine.reply_ring_records": 128, "journal.market_data": "full", "engine.timer_ns": 50_000_000, **EAGER,
}  # fmt: skip
QUIET = receivers.Limits(wait_ns=1, backoff_ns=1, tries_max=1, silence_ns=1 << 60)
NOTHING = np.zeros(8, np.uint8)


@cache
def loaded() -> strategy.Loaded:
    return strategy.load(IMBALANCE)


@cache
def pump() -> Any:
    """One for all tests: each new one would be loaded from the compile cache."""
    return inline.build(loaded().hooks, loaded().fingerprint + "-wired", wired.WIRED)


class Street:
    """An engine, its sockets, and who is at their other ends."""

    def __init__(self, venue: Venue, **more: Any) -> None:
        self.config = load(None, {**SMALL, **more})
        self.line = multicast.listen("127.0.0.1", 0)
        self.out = multicast.speak("127.0.0.1", self.line.port)
        self.venue, self.first = venue, 1
        self.peer: Any = None
        self.ours: Any = None
        self.session = order_session.create(8, 64 + 8, rate=10**6, whole_day=True)
        feed = receivers.create([self.line.fd, NONE, NONE], limits=QUIET)
        self.wire = wired.create(feed, assembly.decoder_of(self.config), self.session, 128)
        clock.set_wall(self.wire.wall, clock.calibrate())
        self.journal = rings.create(RECORD, 1 << 14)
        self.machine = assembly.assemble(self.config, loaded(), [self.journal], self.wire)._replace(pump=pump())
        self.run, self.engine = self.machine.run, self.machine.run.engine
        self.run.cells[inline.PATIENCE] = 0
        assembly.introduce(self.machine)
        for kind, state in ((FEED_STATE, SYNCING), (SESSION_STATE, order_session.CLOSED)):
            assembly.command(self.run, kind=kind, aux=state)
        self.step()

    def packet(self, *messages: bytes) -> None:
        """The next messages of the feed, sent."""
        self.out.socket.send(self.lost(*messages))

    def lost(self, *messages: bytes) -> bytes:
        """The same, but never sent."""
        raw = b"STREET    " + self.first.to_bytes(8, "big") + len(messages).to_bytes(2, "big")
        self.first += len(messages)
        return raw + b"".join(len(body).to_bytes(2, "big") + body for body in messages)

    def log_in(self) -> None:
        """A connection, and the login on it."""
        for index in range(3):
            wired.define_now(self.run, index)
        self.ours, self.peer = socket.socketpair()
        self.ours.setblocking(False)
        self.peer.setblocking(False)
        self.venue.link()
        raw = soupbin.login("DESK", "secret", "", int(self.session.cells[order_session.SEQUENCE]))
        self.session.link.outbox[: len(raw)] = np.frombuffer(raw, np.uint8)
        self.session.link.cells[links.OUT_AT], self.session.link.cells[links.OUT_END] = 0, len(raw)
        up(self.session, self.ours.fileno(), int(self.wire.cells[wired.NOW]))
        while self.closed() and self.session.link.cells[links.FAULT] != links.FROM_START:
            self.step()
        if self.closed():
            self.hang_up()
            self.log_in()

    def closed(self) -> bool:
        return bool(self.session.cells[order_session.PHASE] != order_session.UP)

    def hang_up(self) -> None:
        """The connection is cut."""
        self.peer.close()
        self.ours.close()
        self.peer = self.ours = None
        down(self.session)

    def step(self) -> None:
        """The engine does what it can, then the venue."""
        self.machine.pump(self.run, self.machine.intake, NOTHING, 0, 0)
        if self.peer is not None:
            try:
                raw = self.peer.recv(1 << 16)
            except BlockingIOError:
                raw = b""
            self.peer.sendall(self.venue.read(raw) + self.venue.send())

    def settle(self) -> None:
        """Until nothing more comes of anything."""
        for _ in range(40):
            self.step()

    @property
    def position(self) -> int:
        return int(self.engine.market.position.sum())

    @property
    def told(self) -> list[Any]:
        """All that the engine was given, in order."""
        return self.journal.slots[: int(self.journal.cells[rings.CURSOR])]

    def check(self) -> None:
        """Invariants, and that the journal is the engine."""
        books.check(self.engine.book)
        own.check(self.engine.orders, self.engine.market)
        order_session.check(self.session)
        assert self.told.sequence.tolist() == list(range(int(self.run.cells[inline.NEXT])))
        again = rebuilt(self.config, self.told)
        assert assembly.state_hash(again) == assembly.state_hash(self.engine)
        assert assembly.decision_hash(again) == assembly.decision_hash(self.engine)

    def close(self) -> None:
        for each in (self.line, self.out, self.peer, self.ours):
            if each is not None:
                each.close()


def rebuilt(config: Any, records: Any) -> Any:
    """The engine that these records make."""
    machine = assembly.assemble(config, loaded(), [rings.create(RECORD, 16)])
    run, ring = machine.run, machine.run.commands
    run.cells[inline.REPLAYING], run.cells[inline.UNTIL] = 1, len(records)
    for first in range(0, len(records), len(ring.slots)):
        part = records[first : first + len(ring.slots)]
        ring.slots[: len(part)] = part
        ring.cells[rings.CURSOR] = first + len(part)
        machine.pump(run, machine.intake, NOTHING, 0, 0)
    assert int(run.cells[inline.NEXT]) == len(records)
    return run.engine


@pytest.fixture
def street() -> Any:
    made: list[Street] = []

    def make(venue: Venue | None = None, **more: Any) -> Street:
        made.append(Street(venue or Venue(), **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def day(one: Street, messages: int = MESSAGES, seed: int = 1, act: Any = None) -> None:
    """A market, a few messages a packet; the session opens after the first."""
    raw = bodies(market(messages, seed))
    for at in range(0, len(raw), 5):
        one.packet(*raw[at : at + 5])
        one.step()
        if act is not None:
            act(one)
        if one.peer is None and at == 0:
            one.log_in()
    one.settle()


def trade(one: Street) -> None:
    """The venue fills the oldest order, half of it at a time."""
    if one.venue.open:
        ref = min(one.venue.open)
        one.venue.fill(ref, 1 + one.venue.open[ref] // 2)


def test_a_day_over_the_wire_is_the_engine_that_its_journal_rebuilds(street: Any) -> None:
    one = street()
    day(one, act=trade)
    assert one.venue.matches > 10 and one.position == one.venue.position
    assert int(one.engine.risk.gates[risks.FEED]) == LIVE and one.venue.duplicates == 0
    kinds = set(one.told.kind.tolist())
    assert {FEED_STATE, SESSION_STATE} <= kinds
    assert int(one.wire.inside.counts.sum()) == int(one.session.counts[order_session.ENTERED])
    one.check()


def test_a_held_request_waits_for_the_disk_and_the_market_does_not(street: Any) -> None:
    one = street(**{"journal.durability": "gated"})
    held = 0

    def look(one: Street) -> None:
        nonlocal held
        if one.run.cells[inline.HELD]:
            held += 1
            output = one.engine.output
            slot = output.slots[int(output.cells[rings.GATE]) & (len(output.slots) - 1)]
            assert int(one.journal.cells[JOURNAL_DURABLE]) <= int(slot.sequence)
            before, entered = int(one.run.cells[inline.NEXT]), int(one.session.counts[order_session.ENTERED])
            one.step()
            assert int(one.session.counts[order_session.ENTERED]) == entered
            if held % 3 == 0:  # sometimes the market goes on for a while
                one.journal.cells[JOURNAL_DURABLE] = before
                one.step()

    day(one, act=look)
    one.journal.cells[JOURNAL_DURABLE] = inline.NEVER
    one.settle()
    assert held > 10 and not one.run.cells[inline.HELD] and len(one.venue.deeds) > 3
    one.check()


def test_nothing_is_traded_on_a_book_with_a_hole(street: Any) -> None:
    one = street()
    raw = bodies(market(MESSAGES))
    half = len(raw) // 2
    for at in range(0, half, 5):
        one.packet(*raw[at : min(at + 5, half)])
        one.step()
        if at == 0:
            one.log_in()
    one.settle()
    known, sent = int(one.run.cells[inline.NEXT]), len(one.venue.deeds)
    one.lost(raw[half])
    for body in raw[half + 1 :]:
        one.packet(body)
        one.step()
    one.settle()
    assert int(one.engine.risk.gates[risks.FEED]) == STALE and len(one.venue.deeds) == sent
    assert one.told.kind[known:].tolist().count(FEED_STATE) >= 1, "and nothing behind the hole came in"
    assert not (one.told.kind[known:] < FEED_STATE - 32).any()
    # It comes after all: everything behind it was kept, and is taken in order.
    one.first = half + 1
    one.packet(raw[half])
    one.settle()
    assert int(one.engine.risk.gates[risks.FEED]) == LIVE
    one.check()


def test_without_a_session_new_orders_are_refused_and_told_so(street: Any) -> None:
    one = street()
    raw = bodies(market(MESSAGES))
    cut = [len(raw) // 3, 2 * len(raw) // 3]
    for at in range(0, len(raw), 3):
        one.packet(*raw[at : at + 3])
        if at == 0:
            one.step()
            one.log_in()
        if cut[0] <= at < cut[0] + 3:
            one.hang_up()
            sent = len(one.venue.deeds)
        if cut[0] <= at < cut[1]:
            assert len(one.venue.deeds) == sent
        elif cut[1] <= at < cut[1] + 3:
            one.log_in()
        else:
            trade(one)
        one.step()
    one.settle()
    refused = one.engine.risk.reasons[risks.NO_SESSION]
    assert refused > 0 and len(one.venue.deeds) > sent and one.venue.duplicates == 0
    assert one.position == one.venue.position
    one.check()


def test_a_fresh_run_on_an_account_that_traded_has_its_position_and_may_cancel_its_orders(street: Any) -> None:
    venue = Venue()
    first = street(venue)
    day(first, act=lambda one: trade(one) if one.run.cells[inline.NEXT] % 2 else None)
    first.venue.plan = []
    first.hang_up()
    assert venue.position != 0 or venue.matches > 10
    again = street(venue)
    raw = bodies(market(MESSAGES))
    again.packet(*raw[:5])
    again.step()
    again.log_in()
    again.settle()
    assert again.position == venue.position
    assert int(again.session.cells[order_session.LIVE_ROWS]) == len(venue.open)
    assert int(again.session.counts[order_session.UNKNOWN_REFS]) == 0
    want_all(again.session)
    again.settle()
    assert venue.open == {} and int(again.session.cells[order_session.LIVE_ROWS]) == 0
    again.check()
