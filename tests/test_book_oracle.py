"""The book over an hour of a real order flow, against two oracles that are not ours.

One is the book that the publisher of the data recorded: the best level of every row, ten levels at the open. The other
is `check_book.py`, an independent reader beside the data, made of dictionaries only: all levels at many points, and
every order with its place in its queue at the end.
"""

import importlib.util
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from loops import loop
from recorded import content, data, table

from ultra.hot import JIT
from ultra.hot import book as books
from ultra.hot import engine as engines
from ultra.hot import ring as rings
from ultra.hot import table as tables
from ultra.hot.bits import load_u16
from ultra.strategy import Idle, load, parameters, states
from ultra.venues import itch
from ultra.wire import ASK, BID, RECORD, int_to_symbol, symbol_to_int

HOUR, HEAD = "derived_AAPL_20120621_0930_1030", "derived_AAPL_20120621_head"
REPLACES, PAIR = HOUR + "_replaces", "derived_AAPL_AMZN_20120621_0930_1030"
FILES = [HEAD, HOUR, REPLACES, PAIR] if JIT else [HEAD]
COUNTS = {
    HEAD: {"A": 764, "D": 381, "E": 98, "P": 61, "S": 3, "R": 1, "H": 1},
    HOUR: {"A": 44_336, "D": 41_005, "E": 4_067, "P": 2_201, "X": 469, "S": 3, "R": 1, "H": 1},
    REPLACES: {
        "U": 3_926,
        "A": 40_410,
        "D": 37_079,
        "E": 4_067,
        "P": 2_201,
        "X": 469,
        "S": 3,
        "R": 1,
        "H": 1,
    },
    PAIR: {"A": 50_951, "D": 46_418, "E": 5_395, "P": 2_717, "X": 499, "S": 3, "R": 2, "H": 2},
}
ORACLES = [
    (HEAD, "bbo", "AAPL", 546),
    (HEAD, "top10", "AAPL", 999),
    (HOUR, "bbo", "AAPL", 25_641),
    (HOUR, "top10", "AAPL", 999),
    (REPLACES, "bbo", "AAPL", 25_051),
    (REPLACES, "top10", "AAPL", 999),
    (PAIR, "AAPL.bbo", "AAPL", 25_641),
    (PAIR, "AAPL.top10", "AAPL", 999),
    (PAIR, "AMZN.bbo", "AMZN", 10_803),
]
DEEP = 512  # more levels than any side of these files has


class Replayed(NamedTuple):
    decoder: itch.Decoder
    engine: engines.Engine
    messages: int
    levels: Any  # int64[snapshots, side, price or qty, depth]
    touches: Any  # int64[snapshots, 4]: bid, its qty, ask, its qty as the strategy sees them


step = engines.build(load(Idle).hooks)


@loop
def replay(
    decoder: Any, engine: Any, ring: Any, raw: Any, instrument: int, wanted: Any, levels: Any, touches: Any
) -> int:
    """One message at a time; levels and touch of an instrument after each wanted one. Returns how many messages."""
    at, index, row = 0, 0, 0
    while at + 2 <= len(raw):
        end = at + 2 + load_u16(raw, at)
        at = itch.decode_some(decoder, raw, at, end, ring)
        if at != end:
            break
        if rings.ready(ring) > 0:
            step(engine, ring.slots[rings.polled(ring, 0)])
            rings.release(ring, 1)
        if row < len(wanted) and wanted[row] == index:
            for side in (BID, ASK):
                books.top(engine.book, instrument, side, levels[row, side, 0], levels[row, side, 1])
            view = engine.market[instrument]
            touches[row, 0], touches[row, 1] = view.bid, view.bid_qty
            touches[row, 2], touches[row, 3] = view.ask, view.ask_qty
            row += 1
        index += 1
    return index


def run(name: str, symbol: str, wanted: Any, depth: int) -> Replayed:
    raw, names = content("itch", name + ".itch50.gz"), ["AAPL", "AMZN"]
    loaded, levels = load(Idle), np.zeros((len(wanted), 2, 2, depth), np.int64)
    decoder = itch.create(2, [symbol_to_int(s) for s in names], selective=True)
    engine = engines.create(
        2,
        books.create(2, 1024, 256),
        own_max=8,
        output_records=8,
        state=states(loaded, 2),
        params=parameters(loaded, {}),
    )
    ring, touches = rings.create(RECORD, 4), np.zeros((len(wanted), 4), np.int64)
    messages = replay(decoder, engine, ring, raw, names.index(symbol), wanted, levels, touches)
    return Replayed(decoder, engine, messages, levels, touches)


@cache
def reader() -> Any:
    """The independent reader, by its path: it is not part of this project."""
    spec = importlib.util.spec_from_file_location("check_book", data("tools", "check_book.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_row(levels: Any) -> Any:
    """Snapshots in the order of the oracle's columns: bid, size, ask, size of the best level, then of the next."""
    return levels.transpose(0, 3, 1, 2).reshape(len(levels), -1)


@pytest.mark.parametrize(("name", "kind", "symbol", "rows"), [o for o in ORACLES if o[0] in FILES])
def test_every_row_of_the_recorded_book_is_met(name: str, kind: str, symbol: str, rows: int) -> None:
    oracle = table("itch", f"{name}.{kind}.csv.gz")
    depth = (oracle.shape[1] - 1) // 4
    found = run(name, symbol, oracle[:, 0], depth)
    wrong = np.flatnonzero((by_row(found.levels) != oracle[:, 1:]).any(axis=1))
    assert len(oracle) == rows and len(wrong) == 0, f"{len(wrong)} rows, first at message {oracle[wrong[0], 0]}"
    shown = oracle[:, 1:5].copy()
    shown[:, 0::2][shown[:, 1::2] == 0] = -1  # no price is 0 there and NONE here
    assert (found.touches == shown).all(), "the strategy sees something else than the book says"
    books.check(found.engine.book)


@pytest.mark.parametrize("name", FILES)
def test_nothing_in_a_clean_file_is_counted_as_wrong(name: str) -> None:
    found = run(name, "AAPL", np.zeros(0, np.int64), 1)
    assert itch.counts(found.decoder) == COUNTS[name] and found.messages == sum(COUNTS[name].values())
    assert itch.errors(found.decoder) == {} and found.decoder.cells[itch.FILTERED] == 0
    in_book = sum(count for letter, count in COUNTS[name].items() if letter in "AFECXDU")
    outcomes = dict(zip(books.OUTCOMES, found.engine.book.outcomes.tolist(), strict=False))
    assert outcomes.pop("ok") == in_book and not any(outcomes.values()), outcomes
    assert found.engine.cells[engines.UNKNOWN_RECORDS] == 0


@pytest.mark.parametrize(("name", "symbol"), [(n, s) for n in FILES for s in ("AAPL", "AMZN")[: 1 + (n == PAIR)]])
def test_all_levels_are_those_of_an_independent_reader(name: str, symbol: str) -> None:
    messages = list(reader().read_frames(content("itch", name + ".itch50.gz").tobytes()))
    wanted = np.array([*range(500, len(messages) - 1, 1000), len(messages) - 1])
    found = run(name, symbol, wanted, DEEP)
    market, stops = reader().Market(), {int(index): row for row, index in enumerate(wanted)}
    for index, message in enumerate(messages):
        market.apply(message)
        if index in stops:
            expected = market.book(locates(found)[symbol]).top(DEEP)
            assert by_row(found.levels)[stops[index]].reshape(-1, 4).tolist() == [list(row) for row in expected]
    assert not market.anomalies and market.counts == COUNTS[name]


@pytest.mark.parametrize("name", FILES)
def test_every_order_and_queue_at_the_end_is_that_of_an_independent_reader(name: str) -> None:
    found, market = run(name, "AAPL", np.zeros(0, np.int64), 1), reader().Market()
    for message in reader().read_frames(content("itch", name + ".itch50.gz").tobytes()):
        market.apply(message)
    book, where = found.engine.book, locates(found)
    assert {ref: described(book, slot) for ref, slot in tables.items(book.ids).items()} == {
        ref: (found.decoder.locates[o[0]], "BS".index(o[1]), o[3]) for ref, o in market.orders.items()
    }
    for symbol, locate in where.items():
        index = int(found.decoder.locates[locate])
        assert int(found.engine.market[index].volume) == market.volume[locate]
        queues: dict[tuple[int, int], list[int]] = {}
        for ref, (_, side, price, _, _) in sorted(market.orders.items(), key=lambda item: item[1][4]):
            if market.orders[ref][0] == locate:
                queues.setdefault(("BS".index(side), price), []).append(ref)
        assert queues_of(book, index) == queues, symbol
    assert len(tables.items(book.ids)) == len(market.orders)
    books.check(book)


def locates(found: Replayed) -> dict[str, int]:
    """Symbol -> stock locate, of the instruments that came."""
    seen = np.flatnonzero(found.decoder.locates >= 0)
    return {int_to_symbol(found.decoder.symbols[found.decoder.locates[at]]): int(at) for at in seen}


def described(book: books.Book, slot: int) -> tuple[int, int, int]:
    order = book.orders[slot]
    return int(order.side) >> 1, int(order.side) & 1, int(order.qty)


def queues_of(book: books.Book, instrument: int) -> dict[tuple[int, int], list[int]]:
    """(side, price) -> references in the order of the queue."""
    return {
        (side, price): [int(book.orders[slot].order_id) for slot in books.queue(book, level)]
        for side in (BID, ASK)
        for price, level in books.levels(book, 2 * instrument + side).items()
    }
