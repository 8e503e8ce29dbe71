"""A configuration and a strategy made into a machine that can run: every array taken, every limit on its way in.

The same machine serves the live run and the replay. What differs between two runs enters it as records (limits and
parameters are commands), so the journal of those records rebuilds it.
"""

import datetime
import hashlib
import struct
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numba.core.errors import NumbaError

from .. import apart, inline, strategy, wired
from ..config import Config
from ..hot import book as books
from ..hot import engine as engines
from ..hot import fan as fans
from ..hot import memory
from ..hot import pool as pools
from ..hot import ring as rings
from ..hot import risk as risks
from ..hot.atomics import Cells
from ..venues import itch, paper
from ..wire import LIMIT, NONE, PARAMETER, RECORD, SEED, symbol_to_int

COMMAND_RECORDS: Final = 4096


class Machine(NamedTuple):
    """Everything of one run that lives in this process."""

    config: Config
    loaded: strategy.Loaded
    run: inline.Run
    decoder: itch.Decoder
    intake: Any  # what the loop decodes with: the decoder, or the way to the feed's process
    pump: Callable[..., int]


class Apart(NamedTuple):
    """The ends of an engine whose feed and venue are other processes."""

    feed: fans.Fan
    link: Cells
    requests: rings.Ring
    replies: rings.Ring


def assemble(
    config: Config, loaded: strategy.Loaded, journals: Sequence[rings.Ring], ends: Apart | wired.Wire | None = None
) -> Machine:
    """Take the memory, and compile the loop (or find it in the cache). One journal's ring, or two."""
    sizes = config.engine
    instruments = sizes.instrument_max
    book = books.create(instruments, sizes.order_live_max, sizes.level_page_max)
    engine = engines.create(
        instruments,
        book,
        own_max=sizes.own_order_max,
        output_records=sizes.output_ring_records,
        state=strategy.states(loaded, instruments),
        params=strategy.parameters(loaded, dict(config.strategy.parameters)),
        bar_ns=sizes.bar_ns,
    )
    run = inline.create(
        engine,
        paper.create(instruments, sizes.own_order_max, sizes.reply_ring_records, config.venue.latency_ns),
        rings.create(RECORD, sizes.feed_ring_records),
        rings.create(RECORD, COMMAND_RECORDS),
        journals[0],
        journals[1] if len(journals) > 1 else rings.create(RECORD, 1),
    )
    run.cells[inline.TIMER_NS] = sizes.timer_ns
    run.cells[inline.CHECKPOINT_AT] = sizes.checkpoint_records
    run.cells[inline.SAMPLE_EVERY] = sizes.latency_sample_every
    run.cells[inline.JOURNAL_ALL] = config.journal.market_data == "full"
    run.cells[inline.MIRRORED] = len(journals) > 1
    run.cells[inline.GATE_OUTPUT] = config.journal.durability == "gated"
    if sizes.prefault:
        prefault(run)
    if ends is None:
        decoder = decoder_of(config)
        return Machine(config, loaded, run, decoder, decoder, inline.build(loaded.hooks, loaded.fingerprint))
    run.cells[inline.PATIENCE], run.cells[inline.SPINS] = waiting(config)
    if isinstance(ends, Apart):
        decoder = decoder_of(config)
        pump = inline.build(loaded.hooks, loaded.fingerprint + "-apart", apart.APART)
        return joined(Machine(config, loaded, run, decoder, decoder, pump), ends)
    pump = inline.build(loaded.hooks, loaded.fingerprint + "-wired", wired.WIRED)
    return Machine(config, loaded, run._replace(venue=ends), ends.decoder, ends, pump)


def joined(machine: Machine, ends: Apart) -> Machine:
    """The same engine and the same loop, with these ends of a feed and a venue in other processes."""
    run = machine.run
    venue = apart.Venue(ends.feed, ends.link, ends.replies, run.venue.cells)
    run = run._replace(engine=run.engine._replace(output=ends.requests), venue=venue)
    return machine._replace(run=run, intake=venue)


def decoder_of(config: Config) -> itch.Decoder:
    """A decoder that knows the instruments of the configuration."""
    known = [symbol_to_int(symbol) for symbol in known_symbols(config)]
    return itch.create(
        config.engine.instrument_max,
        known,
        selective=bool(config.feed.instruments),
        ts_base=midnight_ns(config.feed.date),
    )


def waiting(config: Config) -> tuple[int, int]:
    """Turns of waiting after which a loop looks after itself, and how many of them spin before it yields the core."""
    return (100_000, 100_000) if config.host.wait == "spin" else (300, 200)


def compile_loop(machine: Machine, nothing: Any = None) -> None:
    """Compile the loop, or load what was compiled. StrategyError when the strategy is not code for the hot path.

    `nothing` is an empty piece of what it will be given; bytes, if not said."""
    try:
        machine.pump(machine.run, machine.intake, np.zeros(8, np.uint8) if nothing is None else nothing, 0, 0)
    except (NumbaError, KeyError) as error:
        raise strategy.untold(machine.loaded, error) from error


def prefault(run: inline.Run) -> None:
    """Touch what the first minutes of a session need, so that they don't fault."""
    for array in (
        run.feed.slots,
        run.journal.slots,
        run.engine.market,
        run.engine.orders.rows,
        run.engine.state,
    ):
        memory.touch(array, len(array))
    prefault_books(run.engine.book)


def prefault_books(book: books.Book) -> None:
    """Touch what some ten thousand resting orders need."""
    memory.touch(book.orders, min(len(book.orders), 1 << 16))
    memory.touch(book.ids.rows, min(len(book.ids.rows), 1 << 17))
    memory.touch(book.ladder.levels, min(len(book.ladder.levels), 1 << 16))
    memory.touch(book.ladder.nodes, min(len(book.ladder.nodes), 1 << 16))
    memory.touch(book.ladder.directory.rows, min(len(book.ladder.directory.rows), 1 << 16))
    memory.touch(book.ladder.sides, len(book.ladder.sides))


def known_symbols(config: Config) -> list[str]:
    """Instruments whose index is fixed from the start: those followed, and those with limits of their own."""
    chosen = list(config.feed.instruments)
    if not chosen:
        chosen = sorted(config.risk.instrument)
    return chosen


def midnight_ns(date: str) -> int:
    """Start of a session's day in New York, ns since the epoch; 0 when no date is set."""
    if not date:
        return 0
    day = datetime.date.fromisoformat(date)
    midnight = datetime.datetime.combine(day, datetime.time(), zoneinfo.ZoneInfo("America/New_York"))
    return int(midnight.timestamp()) * 1_000_000_000


def command(run: inline.Run, **fields: int) -> None:
    """Put one record into the command ring; RuntimeError when it is full (nobody pumps)."""
    cells, slots = run.commands.cells, run.commands.slots
    cursor = int(cells[rings.CURSOR])
    if cursor - int(cells[rings.GATE]) >= len(slots):
        raise RuntimeError(f"the command ring holds {len(slots)} records and none is taken")
    slots[cursor & (len(slots) - 1)] = tuple(fields.get(name, _DEFAULTS.get(name, 0)) for name in RECORD.names)
    cells[rings.CURSOR] = cursor + 1


_DEFAULTS: Final = {"instrument": NONE, "order_id": NONE, "price": NONE, "aux": NONE}


def introduce(machine: Machine) -> None:
    """Send the limits of the configuration and the strategy's parameters in, as commands."""
    config, run = machine.config, machine.run
    for which, value in enumerate(limits(config, "")):
        command(run, kind=LIMIT, order_id=which, aux=value)
    for index, symbol in enumerate(known_symbols(config)):
        if symbol in config.risk.instrument:
            for which, value in enumerate(limits(config, symbol)[: risks.MESSAGE_RATE_MAX]):
                command(run, kind=LIMIT, instrument=index, order_id=which, aux=value)
    for index, word in enumerate(run.engine.params_words.tolist()):
        command(run, kind=PARAMETER, order_id=index, aux=word)
    if config.strategy.seed:
        command(run, kind=SEED, aux=config.strategy.seed)


def limits(config: Config, symbol: str) -> list[int]:
    """The limits of a symbol in the order of `ultra.hot.risk.LIMITS`, money in ticks x lots."""
    own = config.risk.of(symbol) if symbol else config.risk
    notional = own.order_notional_max_e9 * 1_000_000_000 // (itch.TICK_E9 * itch.LOT_E9)
    return [
        own.order_qty_max, notional, own.collar_bps, own.position_qty_max, own.open_order_max,
        own.duplicate_window_ns, own.message_rate_max_per_s,
    ]  # fmt: skip


def state_hash(engine: engines.Engine) -> str:
    """BLAKE2b-128 over everything the engine remembers: equal exactly when two engines are in the same state.

    Only what was ever used is read (pools up to their high-water mark, instruments seen), so the hash of a small
    session is quick whatever the limits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in state_parts(engine).values():
        raw = part.tobytes()
        digest.update(struct.pack("<q", len(raw)))
        digest.update(raw)
    return digest.hexdigest()


def state_parts(engine: engines.Engine) -> dict[str, Any]:
    """The arrays that make up the state, by name: what a mismatch is looked for in."""
    book, ladder = engine.book, engine.book.ladder
    known = int(engine.cells[engines.INSTRUMENTS])
    pages, inner = int(ladder.pages.cells[pools.FRESH]), int(ladder.inner.cells[pools.FRESH])
    leaves = len(ladder.levels) >> 6
    parts = {
        "orders": book.orders[: int(book.pool.cells[pools.FRESH])],
        "outcomes": book.outcomes,
        "levels": ladder.levels[: 64 * pages],
        "leaves": ladder.nodes[:pages],
        "inner": ladder.nodes[leaves : leaves + inner],
        "sides": ladder.sides[: 2 * known],
        "ladder": ladder.cells,
        "market": engine.market[:known],
        "own": engine.orders.rows[: int(engine.orders.pool.cells[pools.FRESH])],
        "own counters": engine.orders.counters,
        "limits": engine.risk.limits[: known + 1],
        "last": engine.risk.last[:known],
        "recent": engine.risk.recent,
        "reasons": engine.risk.reasons,
        "gates": engine.risk.gates,
        "outbox": engine.outbox,
        "state": engine.state[:known],
        "params": engine.params,
        "cells": engine.cells,
    }
    if engine.cells[engines.BAR_NS]:
        parts["bars"] = engine.bars[:known]
    for name, pool in (("book", book.pool), ("pages", ladder.pages), ("handles", engine.orders.pool)):
        parts[f"{name} free"] = pool.free[: int(pool.cells[pools.FREE])]
        parts[f"{name} generation"] = pool.generation[: int(pool.cells[pools.FRESH])]
        parts[f"{name} cells"] = pool.cells
    return parts


def hash_words(text: str) -> tuple[int, int]:
    """The two int64 of a state hash, as they stand in a CHECKPOINT record."""
    first, second = struct.unpack("<qq", bytes.fromhex(text))
    return int(first), int(second)


def decision_hash(engine: engines.Engine) -> str:
    """The running hash over every request of the strategy, and how many there were."""
    value, count = int(engine.cells[engines.DECISION_HASH]), int(engine.cells[engines.DECISIONS])
    return f"{value & (1 << 64) - 1:016x}-{count}"
