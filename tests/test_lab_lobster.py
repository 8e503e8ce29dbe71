"""LOBSTER: after every row the engine's book shows the levels of the recorded row, all of them, from the first to the
last; and what had to be inferred is counted."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import loop
from recorded import data as recorded

from ultra.hot import JIT
from ultra.hot import book as books
from ultra.lab.data import DataError, load
from ultra.lab.tape import Tape
from ultra.wire import ADD, ASK, BID, EXECUTE, HALTED, REPLACE, SIDED, STATUS, TRADE, TRADING

DEPTH = 1  # so that most of what happens is out of view


@loop
def unequal(book: Any, records: Any, rows: Any, prices: Any, qtys: Any, counts: Any) -> int:
    """Records into the book; the first row whose levels are not the recorded ones, or -1."""
    at = 0
    for row in range(1, len(rows) + 1):
        while at < len(records) and records[at].sequence <= row:
            if records[at].kind <= REPLACE:
                counts[books.apply(book, records[at])] += 1
            at += 1
        for side in (BID, ASK):
            found = books.top(book, 0, side, prices, qtys)
            for k in range(rows.shape[1] // 4):
                column = 4 * k + (0 if side == ASK else 2)
                if rows[row - 1, column + 1] == 0:
                    if k < found:
                        return row
                elif k >= found or prices[k] != rows[row - 1, column] or qtys[k] != rows[row - 1, column + 1]:
                    return row
    return -1


def held(tape: Tape, rows: Any, room: int = 8) -> Any:
    """How often each outcome came; the book is that of every row."""
    parts = list(tape.read(1 << 16))
    everything = np.concatenate(parts).view(np.recarray)
    everything = everything[everything["kind"] != 8]
    book, counts, depth = books.create(1, 1 << room, 1 << 9, step=100), np.zeros(16, np.int64), rows.shape[1] // 4
    row = unequal(book, everything, rows, np.zeros(depth, np.int64), np.zeros(depth, np.int64), counts)
    assert row == -1, f"row {row}: {rows[row - 2 : row].tolist()}"
    assert counts[books.OK] + counts[books.CROSSED] + counts[books.LOCKED] == counts.sum()
    books.check(book)
    return counts


# ---- Made up: a book of which only the top is told. ----


class Market:
    """Orders by id, and the two files that LOBSTER would write of them."""

    def __init__(self) -> None:
        self.orders: dict[int, list[int]] = {}  # id -> side, price, size
        self.messages: list[str] = []
        self.books: list[str] = []
        self.next_id = 100

    def levels(self, side: int) -> list[tuple[int, int]]:
        found: dict[int, int] = {}
        for own, price, size in self.orders.values():
            if own == side:
                found[price] = found.get(price, 0) + size
        return sorted(found.items(), reverse=side == BID)[:DEPTH]

    def in_view(self, side: int, price: int) -> bool:
        levels = self.levels(side)
        return len(levels) < DEPTH or (price >= levels[-1][0] if side == BID else price <= levels[-1][0])

    def row(self) -> str:
        cells: list[int] = []
        bids, asks = self.levels(BID), self.levels(ASK)
        for k in range(DEPTH):
            cells += asks[k] if k < len(asks) else (9999999999, 0)
            cells += bids[k] if k < len(bids) else (-9999999999, 0)
        return ",".join(map(str, cells))

    def say(self, kind: int, order_id: int, size: int, price: int, side: int) -> None:
        at = len(self.messages)
        self.messages.append(f"34200.{at:09d},{kind},{order_id},{size},{price},{1 if side == BID else -1}")
        self.books.append(self.row())

    def act(self, action: int, pick: int, price: int, size: int) -> None:
        """What happens is told if it happens in view, before or after."""
        if action <= 1 or not self.orders:
            side = pick & 1
            price = 1000 + 100 * price if side == ASK else 1000 - 100 * price
            self.next_id += 1
            self.orders[self.next_id] = [side, price, size]
            if self.in_view(side, price):
                self.say(1, self.next_id, size, price, side)
            return
        if action == 4:
            self.say(5, 0, size, 1000, pick & 1)
            return
        order_id = list(self.orders)[pick % len(self.orders)]
        side, price, left = self.orders[order_id]
        seen, lots = self.in_view(side, price), min(size, left)
        self.orders[order_id][2] -= lots
        if lots == left:
            del self.orders[order_id]
        if seen:
            kind = 4 if action == 3 else 3 if lots == left else 2
            self.say(kind, order_id, lots, price, side)


ACTS = st.tuples(st.integers(0, 4), st.integers(0, 50), st.integers(1, 4), st.integers(1, 3))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lobster")


def written(place: Path, messages: list[str], rows: list[str]) -> Path:
    path = place / "XY_2012-06-21_34200000_57600000_message_2.csv"
    path.write_text("".join(f"{row}\n" for row in messages))
    (place / "XY_2012-06-21_34200000_57600000_orderbook_2.csv").write_text("".join(f"{row}\n" for row in rows))
    return path


def numbers(rows: list[str]) -> Any:
    return np.array([row.split(",") for row in rows]).astype(np.int64)


@settings(max_examples=200)
@given(st.lists(ACTS, max_size=12), st.lists(ACTS, min_size=10, max_size=40))
def test_the_levels_in_view_are_those_of_every_row(
    place: Path, before: list[tuple[int, ...]], acts: list[tuple[int, ...]]
) -> None:
    market = Market()
    for action, *rest in before:
        if action != 4:
            market.act(action, *rest)
    market.messages.clear()
    market.books.clear()
    for action, *rest in acts:
        market.act(action, *rest)
    if not market.messages:
        return
    tape = load(written(place, market.messages, market.books))
    held(tape, numbers(market.books))
    found = tape.array()
    traded = {kind: int(found["qty"][found["kind"] == kind].sum()) for kind in (EXECUTE, TRADE)}
    kinds = [row.split(",") for row in market.messages]
    assert traded == {k: sum(int(r[3]) for r in kinds if r[1] == t) for k, t in ((EXECUTE, "4"), (TRADE, "5"))}


# ---- By hand. ----


def test_hidden_trades_halts_and_names(tmp_path: Path) -> None:
    messages = [
        "34200.5,1,7,10,5853300,1",
        "34200.5,5,0,3,5853400,-1",
        "34201,7,0,0,-1,-1",
        "34202.000000001,7,0,0,1,-1",
    ]
    rows = ["9999999999,0,5853300,10"] * 4
    tape = load(written(tmp_path, messages, rows))
    found = tape.array()[1:]
    assert [vars(i) for i in tape.instruments] == [
        {"symbol": "XY", "tick_e9": 100_000, "lot_e9": 10**9, "venue": "XNAS", "step": 100}
    ]
    assert found["kind"].tolist() == [ADD, TRADE, STATUS, STATUS]
    assert found["aux"][2:].tolist() == [HALTED, TRADING] and found["ts_event"][-1] % 10**9 == 1
    assert (int(found[1]["side"]), int(found[1]["flag"]), int(found[1]["price"])) == (ASK, SIDED, 5853400)
    assert load(written(tmp_path, messages, rows), date="1970-01-01").first_ts == 34_200_500_000_000
    assert not tape.notes


def test_orders_that_rested_before_are_seeded(tmp_path: Path) -> None:
    """One that rows name, 5 lots of 8 at its level; one that came late is there without a book file only."""
    messages = ["34200.1,1,50,1,100,1", "34200.2,4,20,5,100,1", "34200.3,1,70,1,100,1", "34200.4,3,60,4,100,1"]
    rows = [f"9999999999,0,100,{size}" for size in (9, 4, 5, 1)]
    path = written(tmp_path, messages, rows)
    alone = tmp_path / "alone.csv"
    alone.write_text(path.read_text())
    tape = load(path)
    held(tape, numbers(rows))
    assert tape.notes["orders seeded"] == 1 and tape.notes["levels seeded"] == 1
    tape = load(alone, symbol="Q")
    ids = [int(record["order_id"]) for record in tape.array()[1:] if record["kind"] == ADD]
    assert ids == [20, 50, 60, 70] and tape.notes == {"orders seeded": 1, "orders seeded late": 1}


def test_what_is_wrong_is_named_by_its_row(tmp_path: Path) -> None:
    good = ["34200.1,1,50,1,100,1"] * 3
    for messages, rows, said in (
        ([*good, "34200.2,x,1,1,1,1"], ["1,1,1,1"] * 4, "row 4: '34200.2,x,1,1,1,1' is no LOBSTER message"),
        (good, ["9999999999,0,100,1", "9999999999,0,100,a", ""], "row 2: '9999999999,0,100,a' is no row of a book"),
        (good, ["9999999999,0,100,1"], "has more rows than its partner, which ends at 1"),
    ):
        with pytest.raises(DataError) as caught:
            load(written(tmp_path, messages, rows)).array()
        assert said in str(caught.value)
    path = written(tmp_path, good, [])
    with pytest.raises(DataError, match="which one is the book file"):
        load([path, path])


# ---- Recorded. ----


def rows_of(name: str) -> Any:
    lines = gzip.decompress(recorded("lobster", name).read_bytes()).decode().splitlines()
    lines = lines if lines[0][0].isdigit() else lines[1:]
    return numbers(lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("messages", "count"),
    [
        ("AAPL_2012-06-21_head1000_message_10.csv.gz", 999),
        ("AMZN_2012-06-21_34200000_57600000_message_1.csv.gz", 57_515),
    ],
)
def test_a_recorded_book_is_that_of_every_row(messages: str, count: int) -> None:
    rows = rows_of(messages.replace("message", "orderbook"))
    assert len(rows) == count and JIT
    held(load(recorded("lobster", messages)), rows, 14)


@pytest.mark.slow
def test_a_recorded_hour_without_its_book_needs_the_orders_that_are_known_to_be_missing() -> None:
    tape = load(recorded("lobster", "AAPL_2012-06-21_34200000_37800000_message_50.csv.gz"))
    found = tape.array()
    assert tape.notes == {"orders seeded": 36, "orders seeded late": 44}
    assert int((found["kind"] == ADD).sum()) == 44_336 and int((found["kind"] == EXECUTE).sum()) == 4_067
