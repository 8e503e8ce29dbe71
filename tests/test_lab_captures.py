"""Captures: the book that a tape's levels make is the venue's own, by its best bid and ask, by its checksums, and by
a dict that applies everything; a missing update is seen, and the book is then empty until the next snapshot."""

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loops import loop
from recorded import data as recorded

from ultra.hot import JIT
from ultra.hot import book as books
from ultra.lab.data import DataError, load
from ultra.lab.readers import bars, capture, fast, scale, venues
from ultra.lab.readers.feed import Book
from ultra.lab.readers.lines import Lines
from ultra.lab.tape import Tape
from ultra.wire import ASK, BID, LEVEL, RECORD, TRADE

SYMBOL = "XY"
ROUNDED = "instruments whose quantities are rounded"


class Message(NamedTuple):
    """A depth update as it was recorded: bids and asks as (price, qty), 0 takes away; or a snapshot, or nothing."""

    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    ids: int  # how many numbers it takes


def level(pair: tuple[int, int]) -> list[str]:
    return [f"{pair[0] / 10:.2f}", f"{pair[1] / 100:.3f}"]


def depth(message: Message, first: int, before: int, spot: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "e": "depthUpdate",
        "E": 1000 + first,
        "s": SYMBOL,
        "U": first,
        "u": first + message.ids - 1,
    }
    found |= {} if spot else {"pu": before}
    return found | {"b": [level(p) for p in message.bids], "a": [level(p) for p in message.asks]}


def applied(book: list[dict[int, int]], message: Message) -> None:
    for side, changes in zip(book, (message.bids, message.asks), strict=True):
        for price, qty in changes:
            side[price] = qty
            if not qty:
                del side[price]


def snapshot(book: list[dict[int, int]], last: int) -> dict[str, Any]:
    bids, asks = ([level(pair) for pair in side.items()] for side in book)
    return {"lastUpdateId": last, "E": 1000 + last, "symbol": SYMBOL, "bids": bids, "asks": asks}


def line(at: int, said: dict[str, Any]) -> str:
    body = {"stream": "xy@depth", "data": said} if "e" in said else said
    return f"{1_700_000_000_000_000_000 + at} {json.dumps(body, separators=(',', ':'))}\n"


def final(tape: Tape, every: Any = None) -> list[dict[int, int]]:
    """What the LEVELs of a tape leave. A level is never said twice with the same quantity."""
    found: list[dict[int, int]] = [{}, {}]
    for record in tape.array():
        if record["kind"] == LEVEL:
            side, price, qty = (int(record[name]) for name in ("side", "price", "qty"))
            assert found[side].get(price, 0) != qty
            found[side][price] = qty
            if not qty:
                del found[side][price]
    return found


CHANGES = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), max_size=3, unique_by=lambda pair: pair[0])
MESSAGES = st.lists(st.builds(Message, CHANGES, CHANGES, st.integers(1, 3)), min_size=2, max_size=12)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captures") / "xy"


def ticks_of(tape: Tape, book: list[dict[int, int]]) -> list[dict[int, int]]:
    """A twin's book in the ticks and lots that the reader found."""
    tick, lot = tape.instruments[0].tick_e9, tape.instruments[0].lot_e9
    return [{p * 10**8 // tick: q * 10**7 // lot for p, q in side.items()} for side in book]


@settings(max_examples=200 if JIT else 60)
@given(MESSAGES, st.booleans(), st.integers(0, 6), st.integers(0, 6), st.integers(-3, 4))
def test_a_book_follows_its_updates_and_is_empty_after_a_hole(
    place: Path, messages: list[Message], spot: bool, taken: int, seen: int, off: int
) -> None:
    """The snapshot is taken after `taken` updates and recorded after `seen` more; one beside it may not be recorded."""
    taken, book, last = min(taken, len(messages) - 1), [{}, {}], 100
    lost = taken + off if off < 4 else -1
    recorded_at = min(taken + seen, len(messages))
    said: list[dict[str, Any]] = []
    answer: dict[str, Any] = {}
    for number, message in enumerate(messages):
        if number == taken:
            answer = snapshot(book, last)
        said.append(depth(message, last + 1, last, spot))
        last += message.ids
        applied(book, message)
    kept = [update for number, update in enumerate(said) if number != lost]
    at = recorded_at - (0 <= lost < recorded_at)
    rows = [*kept[:at], answer, *kept[at:]]
    place.write_text("".join(line(k, row) for k, row in enumerate(rows)))
    tape = load(place)
    found = final(tape)
    # A hole is seen when an update behind it comes, and nothing was lost if the snapshot held it.
    hole = taken <= lost < len(messages) - 1
    assert tape.notes.get("sequence gap", 0) == int(hole)
    if hole:
        assert found == [{}, {}]
    elif lost != len(messages) - 1:
        assert found == ticks_of(tape, book)
    times = tape.array()["ts_event"]
    assert (np.diff(times) >= 0).all()


def test_a_snapshot_heals_a_book_and_says_only_what_differs(tmp_path: Path) -> None:
    book = [{1: 5, 2: 5}, {4: 5}]
    first, gap = Message([(3, 1)], [], 1), Message([(3, 2)], [], 1)
    healed = [{1: 5}, {4: 6}]
    rows = [snapshot(book, 100), depth(first, 101, 100, False), depth(gap, 105, 104, False), snapshot(healed, 104)]
    path = tmp_path / "xy"
    path.write_text("".join(line(k, row) for k, row in enumerate(rows)))
    tape = load(path, symbol=SYMBOL)
    applied(healed, gap)
    assert final(tape) == ticks_of(tape, healed) and tape.notes == {"sequence gap": 1}
    twice = [snapshot(book, 100), snapshot([{1: 5}, {4: 6}], 100)]
    path.write_text("".join(line(k, row) for k, row in enumerate(twice)))
    tape = load(path)
    assert [(int(r["side"]), int(r["price"]), int(r["qty"])) for r in tape.array()[4:]] == [(BID, 2, 0), (ASK, 4, 6)]


def test_nothing_is_crossed_inside_a_message(tmp_path: Path) -> None:
    path, moved = tmp_path / "xy", Message([(5, 1), (6, 1)], [(5, 0), (9, 1), (4, 0)], 1)
    path.write_text(line(0, snapshot([{1: 5}, {4: 5, 5: 5}], 100)) + line(1, depth(moved, 101, 100, False)))
    found = [(int(r["side"]), int(r["price"]), int(r["qty"])) for r in load(path).array()[4:]]
    assert found == [(ASK, 5, 0), (ASK, 4, 0), (BID, 5, 1), (BID, 6, 1), (ASK, 9, 1)]


def trade(kind: str, price: str = "0.4", maker: bool = True) -> dict[str, Any]:
    return {"e": kind, "E": 1, "s": SYMBOL, "p": price, "q": "0.01", "m": maker}


def test_trades_are_told_once_with_the_side_that_rested(tmp_path: Path) -> None:
    path, book = tmp_path / "xy", snapshot([{1: 5}, {4: 5}], 100)
    rows = [book, trade("trade"), trade("aggTrade"), trade("trade", maker=False), {**trade("trade"), "X": "NA"}]
    path.write_text("".join(line(k, row) for k, row in enumerate(rows)))
    found = load(path).array()
    assert found[found["kind"] == TRADE]["side"].tolist() == [BID, ASK]
    path.write_text("".join(line(k, row) for k, row in enumerate([book, trade("aggTrade")])))
    assert (load(path).array()["kind"] == TRADE).sum() == 1


def test_quotes_alone_make_a_tape_of_ticks(tmp_path: Path) -> None:
    path = tmp_path / "xy"
    quotes = [{"u": k, "s": SYMBOL, "b": f"{k}", "B": "1", "a": f"{k + 1}", "A": "2"} for k in (1, 2, 2)]
    path.write_text("".join(line(k, {"e": "bookTicker", **row}) for k, row in enumerate(quotes)))
    tape = load(path)
    assert tape.kind == "ticks" and len(tape) == 1 + 2 + 4 and final(tape) == [{2: 1}, {3: 2}]


WRONG = {
    "line 2: Expecting": [line(0, snapshot([{}, {}], 1)), "1700000000000000000 {x}\n"],
    "line 2: b'hello": [line(0, snapshot([{}, {}], 1)), "hello\n"],
    "line 2: no message of BINANCE: KeyError 's'": [line(0, snapshot([{}, {}], 1)), line(1, {"e": "trade", "m": 1})],
    "has 1 updates and no snapshot": [line(0, depth(Message([], [], 1), 1, 0, True))],
    "no message of BINANCE, KRAKEN": ['1700000000000000000 {"a":1}\n'],
    "line 1: XY: '1x' is no number": [line(0, {**snapshot([{}, {}], 1), "bids": [["1x", "1"]]})],
    "digits behind the ninth decimal": [line(0, {**snapshot([{}, {}], 1), "bids": [["0.0000000001", "1"]]})],
}  # fmt: skip


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_named_by_its_line(said: str, tmp_path: Path) -> None:
    path = tmp_path / "xy"
    path.write_text("".join(WRONG[said]))
    with pytest.raises(DataError) as caught:
        load(path).array()
    assert said in str(caught.value) and str(path) in str(caught.value)


def test_a_tick_that_does_not_fit_is_refused_and_a_symbol_chosen(tmp_path: Path) -> None:
    path = tmp_path / "xy"
    path.write_text(line(0, snapshot([{1: 5}, {4: 5}], 100)))
    with pytest.raises(DataError, match=r"line 1: XY: price 0.10 is no whole number of 0.25"):
        load(path, tick="0.25").array()
    assert load(path, tick="0.25", snap=True, symbol="XY").array()["price"][1:].tolist() == [1, 2]
    with pytest.raises(DataError, match="nothing of ZZ"):
        load(path, symbol="ZZ")
    assert len(load(path, partial=True)) == 3


def test_a_lot_is_as_coarse_as_the_largest_quantity_needs(tmp_path: Path) -> None:
    path = tmp_path / "xy"
    rows = {"lastUpdateId": 1, "symbol": SYMBOL, "bids": [["1", "0.00000001"], ["2", "9000000"]], "asks": []}
    path.write_text(line(0, rows))
    tape = load(path)
    assert tape.notes == {ROUNDED: 1}
    lot, qty = tape.instruments[0].lot_e9, tape.array()["qty"].tolist()[1:]
    assert qty == [1, 9_000_000 * 10**9 // lot] and qty[1] <= scale.QTY_MAX
    with pytest.raises(DataError, match=r"more than 2.40 lots of 1E-8"):
        load(path, lot="0.00000001")
    with pytest.raises(DataError, match=r"line 1: XY: quantity 0.00000001 is no whole number of 1"):
        load(path, lot=1).array()


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_cut_gives_what_it_holds(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "xy"
    text = "".join(line(k, row) for k, row in enumerate([snapshot([{1: 5}, {4: 5}], 100), trade("trade")])).encode()
    whole = gzip.compress(text) if packed else text
    path.write_bytes(whole[: len(whole) - 9])
    tape = load(path)
    assert len(tape.array()) >= 3 and tape.notes == {"cut": 1}


def test_checksums_are_those_of_published_examples() -> None:
    book = Book(0, scale.Texts(1, ""), scale.Texts(1, ""))
    bids, asks = ({3366: ("3366.1", "7"), 3365: ("3366", "6")}, {3367: ("3366.8", "9"), 3368: ("3368", "8")})
    book.texts[BID].update(bids)
    book.texts[ASK].update(asks)
    assert venues.okx_checksum(book) == -1881014294  # of "3366.1:7:3366.8:9:3366:6:3368:8", OKX's documentation
    book.texts[ASK].clear()
    assert venues.kraken_checksum(book) == 0xFFFFFFFF & __import__("zlib").crc32(b"3366173366" + b"6")


# ---- The scanner of plain lines, held against the reader that knows every rule. ----


NOISE = [
    trade("trade"), trade("aggTrade", maker=False), {**trade("trade"), "X": "NA"}, {"e": "kline", "k": {"s": "]}"}},
    {**trade("trade"), "s": "ZZ"}, {**trade("trade"), "q": "0"}, {"result": None, "id": 1},
    {**trade("aggTrade"), "s": "ZZ"},
    {**trade("trade"), "X": "MARKET"},
]  # fmt: skip
QUOTES = st.tuples(st.integers(-2, 2), st.integers(1, 4), st.integers(0, 1))


def both(place: Path, monkeypatch: pytest.MonkeyPatch, block: int, **given: Any) -> list[Any]:
    """What a file comes to without and with the scanner: records with their rows, what was counted; or why it can't."""
    found = []
    monkeypatch.setattr(fast, "BLOCK_BYTES", block)
    for quick in (False, True):
        monkeypatch.setattr(capture, "is_fast", lambda files, venue, quick=quick: quick)
        try:
            tape = load(place, **given)
            parts = [np.zeros(0, RECORD), *tape.read(1 << 10)]
            found.append((np.concatenate(parts).tolist(), tape.notes, tape.instruments))
        except DataError as error:
            found.append(str(error))
    return found


@settings(max_examples=100 if JIT else 40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MESSAGES, st.booleans(), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 8)), max_size=6),
       st.lists(st.tuples(st.integers(0, 12), QUOTES), max_size=6), st.integers(-1, 12),
       st.integers(30, 400))  # fmt: skip
def test_the_scanner_says_what_the_reader_says(
    place: Path, monkeypatch: pytest.MonkeyPatch, messages: list[Message], spot: bool, noise: list[tuple[int, int]],
    quotes: list[tuple[int, tuple[int, int, int]]], lost: int, block: int,
) -> None:  # fmt: skip
    rows, last = [snapshot([{}, {}], 100)], 100
    for number, message in enumerate(messages):
        if number != lost:
            rows.append(depth(message, last + 1, last, spot))
        last += message.ids
    for at, pick in noise:
        rows.insert(min(at, len(rows)), NOISE[pick])
    for at, (off, price, named) in quotes:
        quote = {"e": "bookTicker", "E": 1105} if named else {}
        best = {"u": 101 + at + off, "s": SYMBOL, "b": f"{price / 10}", "B": "0.01", "a": "0.7", "A": "0.020"}
        rows.insert(min(at, len(rows)), quote | best)
    text = "".join(f"{1_700_000_000_000_000_000 + k} {json.dumps(row if k % 3 else {'stream': 'x', 'data': row})}\n"
                   if k % 4 == 1 else line(k, row) for k, row in enumerate(rows))  # fmt: skip
    place.write_text(text)
    slow, quick = both(place, monkeypatch, block)
    assert quick == slow


STRANGE_LINES = [
    line(9, {**trade("trade"), "p": "0.3"}).replace('"0.3"', "0.3"), line(9, trade("trade", price="-1")),
    line(9, trade("trade", price="0.0000000001")), line(9, trade("trade", price="99999999999")), "17 {\n",
    line(9, {"e": "depthUpdate", "s": SYMBOL}),
    line(9, depth(Message([(1, 1), (1, 2), (1, 0)], [], 1), 102, 101, True)),
    line(9, depth(Message([(1, 1), (3, 1), (2, 0)], [], 1), 102, 101, True)),
    line(9, trade("trade"))[:-9], "\n", "x\n",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(STRANGE_LINES)))
@pytest.mark.parametrize("again", [False, True])
def test_a_strange_line_is_read_as_the_reader_reads_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: int, again: bool
) -> None:
    begin = line(0, snapshot([{2: 5}, {4: 5}], 100)) + line(1, depth(Message([], [], 1), 101, 100, True))
    begin += line(1, trade("trade"))
    place.write_text(begin + STRANGE_LINES[number] + (line(10, trade("trade")) if again else ""))
    slow, quick = both(place, monkeypatch, 1 << 20)
    assert quick == slow
    place.write_text(begin)
    slow, quick = both(place, monkeypatch, 1 << 20, tick="0.25")
    assert quick == slow and "no whole number" in quick


@pytest.mark.slow
def test_a_recorded_capture_is_scanned_as_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "x"
    with gzip.open(recorded("binance", "cm", "btcusd_perp_20240808.gz")) as file:
        path.write_bytes(b"".join(islice(file, 20_000)))
    slow, quick = both(path, monkeypatch, 1 << 20)
    assert quick == slow and len(quick[0]) > 80_000


# ---- Recorded days. ----

BEST = np.dtype([("row", "i8"), ("bid", "i8"), ("bid_qty", "i8"), ("ask", "i8"), ("ask_qty", "i8")])


@loop
def play(book: Any, records: Any, out: Any, counts: Any) -> int:
    """Records into the engine's book; the best of both sides after each message. Returns how many messages."""
    at = -1
    for k in range(len(records)):
        record = records[k]
        if record.kind == LEVEL:
            counts[books.set_level(book, record)] += 1
            if at < 0 or out[at].row != record.sequence:
                at += 1
                out[at].row = record.sequence
            out[at].bid = books.best(book, 0, BID)
            out[at].bid_qty = books.best_qty(book, 0, BID)
            out[at].ask = books.best(book, 0, ASK)
            out[at].ask_qty = books.best_qty(book, 0, ASK)
    return at + 1


DAYS = [
    (["usdm", "btcusdt_20240808.gz"], (503, 629)), (["usdm", "ethusdt_20240808.gz"], (471, 551)),
    (["cm", "btcusd_perp_20240808.gz"], (1_124, 1_124)),
    (["spot", "btcusdt_20240808.gz"], (564, 564)), (["spot", "ethusdt_20240808.gz"], (577, 577)),
    (["spot", "btcusdt_20240808.gz", "btcusdt_20240809.gz"], (1_072, 1_072)),
    (["cm", "btcusd_perp_20240808.gz", "btcusd_perp_20240809.gz"], (1_885, 1_885)),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("names", "expected"), DAYS, ids=[" ".join(names) for names, _ in DAYS])
def test_a_recorded_book_is_the_recorded_best_wherever_ids_are_equal(
    names: list[str], expected: tuple[int, int]
) -> None:
    paths = [recorded("binance", names[0], name) for name in names[1:]]
    tape = load(paths)
    parts = [batch for batch in tape.read(1 << 16)]
    everything = np.concatenate(parts).view(np.recarray)
    assert not tape.notes, "a gap, or a cut file"
    out, counts = np.zeros(len(everything), BEST).view(np.recarray), np.zeros(16, np.int64)
    book = books.create(1, 1 << 12, 1 << 12, step=1)
    found = out[: play(book, everything, out, counts)]
    assert counts[books.OK] == counts.sum(), "the book refused a level, or was crossed"
    assert ((found["bid"] < found["ask"]) | (found["ask"] < 0)).all()
    assert compared(paths, tape, found) == expected
    books.check(book)


def compared(paths: list[Path], tape: Tape, found: Any) -> tuple[int, int]:
    """Cases in which a best bid and ask has the number of a depth update, each held against the book after it: those
    that came before the update, and all."""
    files = Lines(paths)
    price, qty = (scale.Texts(unit, "") for unit in (tape.instruments[0].tick_e9, tape.instruments[0].lot_e9))
    tickers, updates, live, told = {}, {}, 0, {}
    for row in files:
        for event in venues.binance(row.said, ""):
            if isinstance(event, capture.Quote):
                told[event.last_id] = row.row
                tickers[event.last_id] = [f(t) for f, t in zip((price, qty) * 2, (*event.bid, *event.ask), strict=True)]
            elif isinstance(event, capture.Update):
                updates[row.row] = event.last_id
            elif isinstance(event, capture.Snapshot):
                live = event.last_id
    rows, best = found["row"].tolist(), [[int(x) for x in list(row)[1:]] for row in found.view(np.ndarray)]
    after = dict(zip(rows, best, strict=True))
    last: list[int] | None = None
    before = cases = 0
    for row, last_id in updates.items():
        last = after.get(row, last)
        if last_id in tickers and last_id > live:
            assert last == tickers[last_id], files.where(row)
            cases += 1
            before += told[last_id] < row
    return before, cases


CHECKED = [
    ("KRAKEN.ws.50.0.gz", venues.KRAKEN, 4_269),
    ("OKX.ws.1.0.gz", venues.OKX, 290),
    ("BITGET.ws.1.0.gz", venues.BITGET, 443),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "venue", "expected"), CHECKED, ids=[row[0] for row in CHECKED])
def test_every_recorded_checksum_is_that_of_the_book(
    name: str, venue: venues.Venue, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = [0]

    def counted(book: Book) -> int:
        count[0] += 1
        return int(venue.checksum(book))  # type: ignore[misc]

    monkeypatch.setitem(venues.VENUES, venue.name, venues.Venue(venue.name, venue.parse, counted, venue.depth))
    tape = load(recorded("cryptofeed", name), venue=venue.name.lower())
    assert len(list(tape.read(1 << 16))) > 0 and count == [expected]
    assert set(tape.notes) <= {ROUNDED}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "instruments"), [("BINANCE_DELIVERY", 10), ("BINANCE_FUTURES", 4), ("COINBASE", 10)], ids=str
)
def test_dialogues_without_checksums_have_no_gap_and_never_cross(name: str, instruments: int) -> None:
    number = "28" if name == "COINBASE" else "1"
    tape = load(recorded("cryptofeed", f"{name}.ws.{number}.0.gz"))
    everything = tape.array()
    assert len(tape.instruments) == instruments and set(tape.notes) <= {ROUNDED}
    assert set(everything["instrument"].tolist()) == set(range(instruments))
    for index in range(instruments):
        own = everything[everything["instrument"] == index].copy()
        own["instrument"], own["sequence"] = 0, np.arange(len(own))
        book, out = books.create(1, 64, 1 << 10, step=1), np.zeros(len(own) + 1, BEST).view(np.recarray)
        if JIT:
            found = out[: play(book, own.view(np.recarray), out, np.zeros(16, np.int64))][-1]
            assert 0 < found.bid < found.ask or found.ask < 0 or found.bid < 0


def test_a_record_is_what_a_row_of_numbers_says() -> None:
    """The order of a row in `Feed.rows` is that of the fields."""
    ids = ("ts_event", "ts_recv", "order_id")
    assert RECORD.names == ("kind", "side", "flag", "instrument", "sequence", *ids, "price", "qty", "aux")
    assert bars.Wish().stamped == "start"
