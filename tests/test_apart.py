"""Feed, engine and venue apart, in one thread and in any order of steps: the same engine as inline.

Each actor does a little when its turn comes, and Hypothesis deals the turns. What must not matter: who is ahead, how
small the rings are, where a feed died and began again. The oracle is the inline run over the same bytes.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import EAGER, IMBALANCE, MAKER, market

from ultra import apart, inline, strategy
from ultra.cold import assembly
from ultra.config import load
from ultra.hot import JIT, clock, memory
from ultra.hot import book as books
from ultra.hot import fan as fans
from ultra.hot import ring as rings
from ultra.venues import paper
from ultra.wire import CONTROL_CELLS, JOURNAL_DURABLE, LINK_ASK, LINK_ASK_AT, LINK_DONE, RECORD, REQUEST

MESSAGES = 1500 if JIT else 250
SMALL = {
    "engine.instrument_max": 8, "engine.order_live_max": 1024, "engine.level_page_max": 256, "engine.own_order_max": 64,
    "engine.prefault": False, "engine.timer_ns": 50_000_000, "engine.feed_ring_records": 64,
    "engine.output_ring_records": 64, "engine.reply_ring_records": 128, "host.fan_ring_records": 64,
    "venue.latency_ns": 400_000,
}  # fmt: skip
FEED, ENGINE, VENUE = range(3)


@cache
def stream() -> Any:
    return np.frombuffer(market(MESSAGES) + bytes(8), np.uint8)


@cache
def loaded_of(spec: str) -> strategy.Loaded:
    return strategy.load(spec)


@cache
def pump_of(spec: str) -> Any:
    """One for all examples: each new one would be loaded from the compile cache."""
    loaded = loaded_of(spec)
    return inline.build(loaded.hooks, loaded.fingerprint + "-apart", apart.APART)


def settings_of(spec: str, **more: Any) -> Any:
    eager = EAGER if spec == IMBALANCE else {}
    return load(None, {**SMALL, **eager, **more})


def end(machine: assembly.Machine) -> tuple[str, str, int]:
    engine = machine.run.engine
    return assembly.state_hash(engine), assembly.decision_hash(engine), int(machine.run.cells[inline.NEXT])


@cache
def inline_end(spec: str) -> tuple[str, str, int]:
    machine = assembly.assemble(settings_of(spec), strategy.load(spec), [rings.create(RECORD, 1 << 16)])
    assembly.introduce(machine)
    raw = stream()
    at = machine.pump(machine.run, machine.intake, raw, 0, len(raw) - 8)
    machine.run.cells[inline.ENDED] = 1
    machine.pump(machine.run, machine.intake, raw, at, len(raw) - 8)
    assert machine.run.engine.market.fills.sum() > 0
    return end(machine)


class Apart:
    """The three processes of a pipeline, as one object."""

    def __init__(self, spec: str) -> None:
        config = settings_of(spec)
        sizes = config.engine
        self.fan = fans.create(RECORD, config.host.fan_ring_records, [(), ()])
        self.link = np.zeros(CONTROL_CELLS, np.int64)
        requests, replies = rings.create(REQUEST, 64), rings.create(RECORD, 128)
        ends = assembly.Apart(self.fan, self.link, requests, replies)
        machine = assembly.assemble(config, loaded_of(spec), [rings.create(RECORD, 1 << 16)], ends)
        self.machine = machine._replace(pump=pump_of(spec))
        self.machine.run.cells[inline.PATIENCE] = 0
        assembly.introduce(self.machine)
        book = books.create(sizes.instrument_max, sizes.order_live_max, sizes.level_page_max)
        venue = paper.create(sizes.instrument_max, sizes.own_order_max, 128, config.venue.latency_ns)
        venue = venue._replace(replies=replies)
        self.exchange = apart.Exchange(book, venue, self.fan, self.link, requests, memory.zeros(1, RECORD))
        self.config, self.at, self.stop = config, 0, 0
        self.born()

    def born(self) -> None:
        """A feed at the beginning of the file, which knows how much was sent before it."""
        self.decoder = assembly.decoder_of(self.config)
        self.own = rings.create(RECORD, self.config.engine.feed_ring_records)
        self.cells = np.zeros(apart.FEED_CELLS, np.int64)
        self.cells[apart.UNTIL], self.cells[apart.SKIP] = inline.NEVER, self.fan.cells[fans.CURSOR]
        self.at = 0

    def feed(self, some: int) -> bool:
        """Some bytes more; whether there are any left."""
        raw = stream()
        self.stop = min(max(self.stop, self.at + some), len(raw) - 8)
        self.at = apart.send(self.decoder, raw, self.at, self.stop, self.own, self.fan, self.cells, 0)
        return self.at < len(raw) - 8 or self.own.cells[rings.CURSOR] != self.own.cells[rings.GATE]

    def engine(self) -> int:
        """Until it can't go on; why."""
        self.machine.pump(self.machine.run, self.machine.intake, np.zeros(8, np.uint8), 0, 0)
        return int(self.machine.run.cells[inline.STOPPED_FOR])

    def venue(self) -> None:
        """A few looks."""
        apart.serve(self.exchange, 2, 0)
        taken = self.fan.cells[fans.GATE + apart.VENUE * fans.STRIDE]
        given, done = self.fan.cells[fans.GATE + apart.ENGINE * fans.STRIDE], self.machine.run.feed.cells[rings.GATE]
        asked = self.link[LINK_ASK_AT + 2 * (self.link[LINK_ASK] & 1)]
        assert taken <= max(self.link[LINK_DONE], asked) <= done and given <= done

    def check(self) -> None:
        fans.check(self.fan)
        rings.check(self.exchange.requests)
        rings.check(self.exchange.paper.replies)
        paper.check(self.exchange.paper)

    def finish(self) -> tuple[str, str, int]:
        left = True
        while left:
            left = self.feed(1 << 20)
            self.engine()
            self.venue()
        idle = 0
        while idle < 3:
            idle = idle + 1 if self.engine() == inline.NEED_BYTES else 0
            self.venue()
        self.machine.run.cells[inline.ENDED] = 1
        while self.engine() != inline.NEED_BYTES:
            self.venue()
        return end(self.machine)


TURNS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3000)), max_size=60 if JIT else 25)


@settings(max_examples=25 if JIT else 6)
@given(st.sampled_from((IMBALANCE, MAKER)), TURNS)
def test_whoever_is_ahead_it_is_the_same_engine(spec: str, turns: list[tuple[int, int]]) -> None:
    three = Apart(spec)
    for who, some in turns:
        if who == FEED:
            three.feed(some)
        elif who == ENGINE:
            three.engine()
        else:
            three.venue()
        three.check()
    assert three.finish() == inline_end(spec)


@settings(max_examples=15 if JIT else 4)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=6))
def test_a_feed_that_dies_anywhere_sends_nothing_twice(deaths: list[int]) -> None:
    three = Apart(MAKER)
    for some in deaths:
        three.feed(some)
        three.engine()
        three.venue()
        three.born()
        three.check()
    assert three.finish() == inline_end(MAKER)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_gated_request_waits_until_its_cause_is_on_disk(mirrored: bool) -> None:
    config = settings_of(IMBALANCE, **{"journal.durability": "gated"})
    journals = [rings.create(RECORD, 1 << 16) for _ in range(1 + mirrored)]
    machine = assembly.assemble(config, strategy.load(IMBALANCE), journals)
    assembly.introduce(machine)
    run, raw, at, waits, bunched = machine.run, stream(), 0, 0, 0
    while True:
        at = machine.pump(run, machine.intake, raw, at, len(raw) - 8)
        if run.cells[inline.STOPPED_FOR] != inline.GATED:
            break
        waits += 1
        causes = causes_due(run)
        bunched += causes[0] != causes[-1]
        assert min(int(journal.cells[JOURNAL_DURABLE]) for journal in journals) <= causes[-1]
        before = int(run.venue.cells[paper.REQUESTS])
        for cause in causes:  # all before it, but not it itself; and it itself, but not in all journals
            for journal in journals:
                journal.cells[JOURNAL_DURABLE] = cause
            machine.pump(run, machine.intake, raw, at, len(raw) - 8)
            assert run.cells[inline.STOPPED_FOR] == inline.GATED and run.venue.cells[paper.REQUESTS] == before
        for journal in journals:
            machine.pump(run, machine.intake, raw, at, len(raw) - 8)
            assert run.cells[inline.STOPPED_FOR] == inline.GATED and run.venue.cells[paper.REQUESTS] == before
            journal.cells[JOURNAL_DURABLE] = causes[-1] + 1
    run.cells[inline.ENDED] = 1
    for journal in journals:
        journal.cells[JOURNAL_DURABLE] = inline.NEVER
    machine.pump(run, machine.intake, raw, at, len(raw) - 8)
    assert waits > 10 and bunched > 0
    assert end(machine) == inline_end(IMBALANCE), "waiting changes nothing but the time of day"


def causes_due(run: inline.Run) -> list[int]:
    """What caused the requests that the venue would take at once."""
    output, latency_ns = run.engine.output, int(run.venue.cells[paper.LATENCY_NS])
    first, last = int(output.cells[rings.GATE]), int(output.cells[rings.CURSOR])
    slots = [output.slots[at & (len(output.slots) - 1)] for at in range(first, last)]
    now = int(run.feed.slots[int(run.feed.cells[rings.GATE]) & (len(run.feed.slots) - 1)].ts_event)
    return [int(slot.sequence) for slot in slots if int(slot.ts_event) + latency_ns <= now]


def test_an_open_loop_takes_no_record_before_its_time() -> None:
    machine = assembly.assemble(settings_of(IMBALANCE), strategy.load(IMBALANCE), [rings.create(RECORD, 1 << 16)])
    assembly.introduce(machine)
    run, raw = machine.run, stream()
    # Due one after the other from now on, some hundred nanoseconds apart: most are waited for.
    run.cells[inline.DUE_STEP], run.cells[inline.DUE_FROM] = 300 << 16, clock.now()
    at = machine.pump(run, machine.intake, raw, 0, len(raw) - 8)
    run.cells[inline.ENDED] = 1
    machine.pump(run, machine.intake, raw, at, len(raw) - 8)
    assert end(machine) == inline_end(IMBALANCE)
    assert int(run.late.counts.sum()) == int(run.cells[inline.MARKET_RECORDS]) > 0
