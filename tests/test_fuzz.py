"""A million bad messages through the decoder and the engine: all of them counted, none of them believed too far.

The engine here is so small that every limit is met all the time. Every array of it stands between two guards, so a
write beside an array is seen in compiled code too; with NUMBA_BOUNDSCHECK=1 reads are held to the arrays as well.
The streams are made by a seed: a failure names it.
"""

from typing import Any

import numpy as np
import pytest
from itch_streams import Domain, bodies, counted, framed, mutated, strange, stream
from loops import loop
from numba import config

from ultra import inline
from ultra.hot import JIT, memory
from ultra.hot import book as books
from ultra.hot import engine as engines
from ultra.hot import orders as own
from ultra.hot import pool as pools
from ultra.hot import ring as rings
from ultra.hot import table as tables
from ultra.strategy import Idle, load, parameters, states
from ultra.venues import itch, paper
from ultra.wire import RECORD

GUARD, PATTERN = 4096, 0xA5
ROUND = 25_000 if JIT else 200  # messages a stream
ROUNDS = 10 if JIT else 2
WIDE = Domain(locates=4, refs=1 << 30, levels=6000, shares=100, oddity=0.002)
STREAMS = {
    "structured": lambda seed, count: stream(seed, count),
    "wild": lambda seed, count: stream(seed, count, Domain(oddity=0.2)),
    "prices of many pages": lambda seed, count: stream(seed, count, Domain(levels=30_000, refs=48)),
    "bytes set to anything": lambda seed, count: mutated(seed, stream(seed, count), 0.02, frames=False),
    "lengths too": lambda seed, count: mutated(seed, stream(seed, count), 0.0005, frames=True),
    "strange frames": lambda seed, count: strange(seed, count),
    "noise": lambda seed, count: np.random.default_rng(seed).integers(0, 256, 40 * count).astype(np.uint8),
}

idle = load(Idle)
pump = inline.build(idle.hooks, idle.fingerprint)


class Rig:
    """A small engine with its decoder, every array of it between two guards."""

    def __init__(self, *, orders: int = 64, pages: int = 16, ring: int = 16, instruments: int = 4) -> None:
        engine = engines.create(
            instruments,
            books.create(instruments, orders, pages, order_start=16),
            own_max=8,
            output_records=8,
            state=states(idle, instruments),
            params=parameters(idle, {}),
        )
        feed, commands, journal = (rings.create(RECORD, size) for size in (ring, 16, 4096))
        self.guards: list[Any] = []
        run = inline.create(
            engine, paper.create(instruments, 8, 256, 0), feed, commands, journal, rings.create(RECORD, 1)
        )
        self.run: inline.Run = self.fenced(run)
        self.decoder: itch.Decoder = self.fenced(itch.create(instruments, [], selective=False))
        self.run.cells[inline.JOURNAL_ALL] = 1
        self.run.cells[inline.TIMER_NS] = 1_000_000
        self.journalled = 0

    def fenced(self, value: Any) -> Any:
        """The same tuple of arrays, each array in the middle of its own larger one."""
        if isinstance(value, tuple):
            return type(value)(*(self.fenced(part) for part in value))
        if not isinstance(value, np.ndarray):
            return value
        whole = np.full(value.nbytes + 2 * GUARD, PATTERN, np.uint8)
        inside = whole[GUARD : GUARD + value.nbytes].view(value.dtype).reshape(value.shape)
        inside[...] = value
        self.guards += [whole[:GUARD], whole[GUARD + value.nbytes :]]
        return inside.view(type(value))

    def feed(self, raw: Any, stop: int, at: int = 0) -> int:
        """Everything up to `stop`; the journal is emptied whenever it is full. Returns where the decoder stopped."""
        while True:
            at = pump(self.run, self.decoder, raw, at, stop)
            cells = self.run.journal.cells
            self.journalled += int(cells[rings.CURSOR] - cells[rings.GATE])
            cells[rings.GATE] = cells[rings.CURSOR_SEEN] = cells[rings.CURSOR]
            if self.run.cells[inline.STOPPED_FOR] != inline.JOURNAL_FULL:
                assert self.run.cells[inline.STOPPED_FOR] == inline.NEED_BYTES
                return at

    def check(self) -> None:
        """Every invariant of everything."""
        run, engine = self.run, self.run.engine
        books.check(engine.book)
        own.check(engine.orders, engine.market)
        paper.check(run.venue)
        for ring in (run.feed, run.commands, run.venue.replies, engine.output):
            rings.check(ring)
        assert int(engine.orders.pool.cells[pools.FRESH] - engine.orders.pool.cells[pools.FREE]) == 8, (
            "an order of ours appeared from nowhere"
        )
        for index, view in enumerate(engine.market):
            sides = engine.book.ladder.sides[2 * index : 2 * index + 2]
            assert (view.bid, view.ask) == (sides[0].price, sides[1].price)
        assert all((guard == PATTERN).all() for guard in self.guards), "memory outside an array was written"

    def check_counts(self, messages: list[bytes]) -> None:
        """Every message is in one count: its type's, or one of the two errors of framing."""
        decoder, engine, cells = self.decoder, self.run.engine, self.run.cells
        by_type, unknown, bad = counted(messages)
        assert itch.counts(decoder) == by_type and int(decoder.cells[itch.MESSAGES]) == len(messages)
        assert (int(decoder.cells[itch.UNKNOWN_TYPE]), int(decoder.cells[itch.BAD_LENGTH])) == (unknown, bad)
        assert self.journalled == int(cells[inline.NEXT]) >= int(cells[inline.MARKET_RECORDS])
        about_orders = sum(count for letter, count in by_type.items() if letter in "AFECXDU")
        left_out = sum(int(decoder.cells[at]) for at in (itch.FILTERED, itch.INSTRUMENTS_FULL, itch.UNKNOWN_LOCATE))
        in_book = int(engine.book.outcomes.sum())
        assert about_orders - left_out <= in_book <= about_orders + by_type.get("Q", 0)
        assert int(engine.cells[engines.UNKNOWN_RECORDS]) == 0


@loop
def beyond(cells: Any, index: int) -> int:
    return cells[index]


@pytest.mark.skipif(not (JIT and config.BOUNDSCHECK), reason="only with NUMBA_BOUNDSCHECK=1")
def test_a_bounds_checked_run_does_check_bounds() -> None:
    with pytest.raises(IndexError):
        beyond(np.zeros(3, np.int64), 3)


def test_a_write_beside_an_array_would_be_seen() -> None:
    rig = Rig()
    rig.check()
    rig.guards[5][GUARD - 1] = 0
    with pytest.raises(AssertionError, match="outside an array"):
        rig.check()


@pytest.mark.parametrize("kind", STREAMS)
def test_every_message_is_counted_once_and_nothing_breaks(kind: str) -> None:
    for seed in range(ROUNDS):
        rig, random = Rig(), np.random.default_rng(1000 + seed)
        raw = STREAMS[kind](seed, ROUND)
        at = 0
        for stop in [*np.sort(random.integers(0, len(raw), 8)).tolist(), len(raw)]:
            at = rig.feed(raw, stop, at)
            rig.check()
        messages = bodies(raw)
        assert at == sum(2 + len(message) for message in messages), f"seed {seed}"
        rig.check_counts(messages)


def test_the_small_engine_meets_every_limit() -> None:
    met = np.zeros(16, np.int64)
    for seed, (levels, oddity) in enumerate(((10, 0.01), (30_000, 0.2))):
        rig, raw = Rig(), stream(seed, 6000, Domain(levels=levels, refs=400, oddity=oddity))
        rig.feed(raw, len(raw))
        rig.check()
        met += rig.run.engine.book.outcomes
    never = {name for name, count in zip(books.OUTCOMES, met, strict=False) if count == 0}
    # The decoder lets only known instruments pass, and ITCH has no whole levels.
    assert never <= {"bad_instrument", "mixed"}
    assert set(itch.errors(rig.decoder)) >= {"instruments_full", "time_backwards"}


def test_a_trade_of_impossible_size_is_counted_and_not_added_to_the_volume() -> None:
    first = b"R" + bytes(10) + b"SYM     " + bytes(20)
    cross = [b"Q" + bytes(10) + shares.to_bytes(8, "big") + bytes(21) for shares in (7, 1 << 62, 1 << 63, 1 << 41)]
    rig, raw = Rig(), framed(first, *cross)
    rig.feed(raw, len(raw))
    assert int(rig.run.engine.market[0].volume) == 7
    assert int(rig.run.engine.book.outcomes[books.BAD_QTY]) == 3


@pytest.mark.skipif(not JIT, reason="40,000 live orders: compiled only")
def test_many_live_orders_are_looked_up_ahead() -> None:
    rig = Rig(orders=1 << 16, pages=1024, ring=64)
    raw = stream(6, 160_000, WIDE)
    rig.feed(raw, len(raw))
    assert int(rig.run.engine.book.ids.cells[tables.USED]) > inline.PREFETCH_FROM
    rig.check()
    rig.check_counts(bodies(raw))


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_cut_anywhere_gives_the_same_state(seed: int) -> None:
    raw, random = mutated(seed, stream(seed, ROUND // 10), 0.001, frames=True), np.random.default_rng(seed)
    whole, parts = Rig(), Rig(ring=1)
    whole.feed(raw, len(raw))
    rest = memory.zeros(0, np.uint8)
    cuts = np.sort(random.integers(0, len(raw), 200)).tolist()
    for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        rest = np.concatenate((rest, raw[start:stop]))  # its last byte is the last of the memory
        rest = rest[parts.feed(rest, len(rest)) :]
    for ours, theirs in ((parts.decoder, whole.decoder), (parts.run.engine.book, whole.run.engine.book)):
        assert contents(ours) == contents(theirs)
    assert contents(parts.run.engine.cells) == contents(whole.run.engine.cells)


def contents(value: Any) -> Any:
    """Everything in a tuple of arrays, as bytes."""
    if isinstance(value, tuple):
        return [contents(part) for part in value]
    return value.tobytes() if isinstance(value, np.ndarray) else value
