"""DBN: the book that our records make is the one that A, C, M and R make, every lot traded is counted once, and every
execution names an order that had the lots."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import loop
from recorded import data as recorded

from ultra.hot import book as books
from ultra.hot import memory
from ultra.lab.data import DataError, load
from ultra.lab.tape import Tape
from ultra.venues import dbn
from ultra.wire import ADD, ASK, BID, CANCEL, DELETE, EXECUTE, INSTRUMENT, LEVEL, RECORD, REPLACE, SIDED, TRADE

TICK = 250_000_000
NUMBERS = (17077, 99)  # of two instruments
MBO = struct.Struct("<BBHIQQqIBbccQiI")
LEVELS = struct.Struct("<qqIIII")
assert MBO.size == 56


def mbo(action: str, side: str, number: int, order_id: int, ticks: int, size: int, ts: int) -> bytes:
    price = ticks * TICK if ticks > 0 else dbn.UNDEFINED
    return MBO.pack(
        14, 0xA0, 1, number, ts, order_id, price, size, 0x80, 0, action.encode(), side.encode(), ts + 5, 0, 0
    )


def head(version: int = 1) -> bytes:
    width = 22 if version == 1 else 71
    fixed = b"TEST".ljust(16, b"\0") + struct.pack("<HQQQ", 0, 0, 0, 0)
    fixed += struct.pack("<Q", 0) + bytes([1, 0, 0]) if version == 1 else bytes([1, 0, 0]) + struct.pack("<H", width)
    names = struct.pack("<IIIII", 0, 0, 0, 0, 2)
    for number in NUMBERS:
        name, text = f"S{number}".encode().ljust(width, b"\0"), str(number).encode().ljust(width, b"\0")
        names += name + struct.pack("<III", 1, 20230101, 20240101) + text
    meta = fixed.ljust(100, b"\0") + names
    return b"DBN" + bytes([version]) + struct.pack("<I", len(meta)) + meta


class Twin:
    """What the venue's book shows: orders by id as [instrument, side, price, size], from A, C, M and R alone."""

    def __init__(self) -> None:
        self.orders: dict[int, list[Any]] = {}
        self.messages: list[bytes] = []
        self.volume = 0
        self.ends: list[tuple[int, dict[int, list[Any]]]] = []  # messages so far, and the book then
        self.next_id = 1

    def say(self, action: str, side: str, number: int, order_id: int, price: int, size: int) -> None:
        self.messages.append(mbo(action, side, number, order_id, price, size, 1000 + len(self.messages)))

    def end(self) -> None:
        self.ends.append((len(self.messages), {key: list(order) for key, order in self.orders.items()}))

    def add(self, number: int, side: str, price: int, size: int) -> None:
        self.say("A", side, number, self.next_id, price, size)
        self.orders[self.next_id] = [number, side, price, size]
        self.next_id += 1

    def cancel(self, order_id: int, size: int) -> None:
        number, side, price, left = self.orders[order_id]
        self.say("C", side, number, order_id, price, min(size, left))
        self.orders[order_id][3] -= size
        if size >= left:
            del self.orders[order_id]

    def modify(self, order_id: int, price: int, size: int) -> None:
        number, side, _, _ = self.orders[order_id]
        self.say("M", side, number, order_id, price, size)
        self.orders[order_id][2:] = [price, size]

    def clear(self, number: int) -> None:
        self.say("R", "N", number, 0, 0, 0)
        self.orders = {key: order for key, order in self.orders.items() if order[0] != number}

    def trade(self, number: int, side: str, sizes: list[int], extra: int, refill: bool) -> None:
        """Somebody takes from the orders of the other side; `extra` lots more than the orders that are named had."""
        resting = [key for key, order in self.orders.items() if order[:2] == [number, "A" if side == "B" else "B"]]
        taken = [(key, min(size, self.orders[key][3])) for key, size in zip(resting, sizes, strict=False)]
        total = sum(size for _, size in taken) + extra
        if not total:
            return
        price = self.orders[taken[0][0]][2] if taken else 5
        self.say("T", side, number, 0, price, total)
        self.volume += total
        for key, size in taken:
            self.say("F", self.orders[key][1], number, key, self.orders[key][2], size)
        for key, size in taken:
            left = self.orders[key][3] - size
            if refill:
                self.modify(key, self.orders[key][2], left + 2)
            elif left and key % 2:
                self.modify(key, self.orders[key][2], left)
            else:
                self.cancel(key, size)


STEP = st.tuples(
    st.sampled_from("AAAATTTTCMMRX"), st.integers(0, 99), st.integers(1, 6), st.integers(1, 4), st.booleans()
)


def played(steps: list[tuple[str, int, int, int, bool]]) -> Twin:
    twin = Twin()
    for action, pick, price, size, flag in steps:
        number, keys = NUMBERS[pick % 11 == 0], list(twin.orders)
        if action == "A":
            twin.add(number, "AB"[pick % 2], price, size)
        elif action == "T":
            twin.trade(number, "AB"[pick % 2], [size] * (pick % 4), (pick % 5) // 4, flag)
        elif action == "R" and pick < 30:
            twin.clear(number)
        elif action == "X":
            twin.say("C", "B", number, 1 << 50, price, size)
        elif keys and action == "C":
            twin.cancel(keys[pick % len(keys)], size)
        elif keys and action == "M":
            twin.modify(keys[pick % len(keys)], price, size)
        twin.end()
    return twin


def after(tape: Tape, twin: Twin) -> None:
    """Our records, each held against what its order had; at the end of each of the venue's events the books agree."""
    names = [int(instrument.symbol[1:]) for instrument in tape.instruments]
    orders: dict[int, list[Any]] = {}
    records = [record for batch in tape.read(64) for record in batch if record["kind"] != INSTRUMENT]
    at = volume = 0
    for messages, expected in twin.ends:
        while at < len(records) and records[at]["sequence"] < messages:
            record = records[at]
            at += 1
            kind, key, qty, price = (int(record[name]) for name in ("kind", "order_id", "qty", "price"))
            if kind in (ADD, REPLACE):
                assert (key in orders) == (kind == REPLACE) and qty > 0 and price > 0
                assert kind == ADD or int(record["aux"]) == key
                orders[key] = [names[record["instrument"]], "BA"[record["side"]], price, qty]
                continue
            if kind == TRADE:
                volume += qty
                assert record["flag"] == SIDED
                continue
            assert orders[key][1] == "BA"[record["side"]]
            lots = orders[key][3] if kind == DELETE else qty
            assert 0 < lots <= orders[key][3] - (kind == CANCEL)
            volume += lots if kind == EXECUTE else 0
            orders[key][3] -= lots
            if not orders[key][3]:
                del orders[key]
        # A trade is settled by what follows it; only the last may still be open.
        assert orders == expected
    assert sum(int(record["qty"]) for record in records[at:] if record["kind"] == TRADE) + volume == twin.volume


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dbn") / "x.dbn"


@settings(max_examples=200)
@given(st.lists(STEP, min_size=8, max_size=30), st.integers(1, 3))
def test_the_book_is_that_of_a_c_m_and_r_and_volume_is_counted_once(
    place: Path, steps: list[tuple[str, int, int, int, bool]], version: int
) -> None:
    twin = played(steps)
    if not twin.messages:
        return
    place.write_bytes(head(version) + b"".join(twin.messages))
    tape = load(place, tick="0.25")
    assert tape.kind == "orders" and all(i.tick_e9 == TICK and i.venue == "TEST" for i in tape.instruments)
    after(tape, twin)
    assert set(tape.notes) <= {"unknown order"}


def test_a_clear_goes_on_where_the_room_ended() -> None:
    twin = Twin()
    for price in range(1, 40):
        twin.add(NUMBERS[0], "B", price, 1)
    twin.clear(NUMBERS[0])
    twin.add(NUMBERS[0], "B", 5, 7)
    words = np.frombuffer(bytearray(b"".join(twin.messages)), np.uint32)
    decoder, out, kinds, at = dbn.create(2, 64), memory.zeros(dbn.ROOM + 2, RECORD), list[int](), 0
    decoder.ids[0], decoder.ticks[0], decoder.cells[dbn.KNOWN] = NUMBERS[0], TICK, 1
    dbn_calls = 0
    while at < len(words):
        at = int(dbn.decode(decoder, words, at, out))
        kinds += out[: int(decoder.cells[dbn.FILLED])]["kind"].tolist()
        dbn_calls += 1
    assert kinds == [ADD] * 39 + [DELETE] * 39 + [ADD] and dbn_calls > 2


def mbp(bids: list[tuple[int, int]], asks: list[tuple[int, int]], ts: int, action: bytes = b"A") -> bytes:
    raw = struct.pack("<BBHIQqIccBBQiI", 92, 10, 1, NUMBERS[0], ts, 5 * TICK, 3, action, b"B", 0, 0, ts + 5, 0, 0)
    for k in range(10):
        bid, ask = (side[k] if k < len(side) else (0, 0) for side in (bids, asks))
        prices = [price * TICK if price else dbn.UNDEFINED for price, _ in (bid, ask)]
        raw += LEVELS.pack(*prices, bid[1], ask[1], 1, 1)
    return raw


SIDE = st.dictionaries(st.integers(1, 14), st.integers(1, 3), max_size=10)


@given(st.lists(st.tuples(SIDE, SIDE, st.booleans()), min_size=1, max_size=6))
def test_levels_are_those_of_the_last_record(
    place: Path, rows: list[tuple[dict[int, int], dict[int, int], bool]]
) -> None:
    raw = [
        mbp(sorted(b.items(), reverse=True), sorted(a.items()), k, b"T" if t else b"A")
        for k, (b, a, t) in enumerate(rows)
    ]
    place.write_bytes(head() + b"".join(raw))
    tape = load(place, tick="0.25")
    found: list[dict[int, int]] = [{}, {}]
    for record in tape.array():
        if record["kind"] == LEVEL:
            assert found[record["side"]].get(int(record["price"]), 0) != record["qty"]
            found[record["side"]][int(record["price"])] = int(record["qty"])
            if not record["qty"]:
                del found[record["side"]][int(record["price"])]
    assert tape.kind == "levels" and found == [rows[-1][0], rows[-1][1]]
    trades = tape.array()[tape.array()["kind"] == TRADE]
    assert trades["side"].tolist() == [ASK] * sum(t for *_, t in rows) and set(trades["price"].tolist()) <= {5}


def test_what_is_damaged_or_cut_says_so(tmp_path: Path) -> None:
    path, good = tmp_path / "x.dbn", head() + mbo("A", "B", NUMBERS[0], 1, 5, 1, 9)
    for bad, said in (
        (good[:100], "cut inside its header"), (head(), "no MBO or MBP"), (b"DBN\x09" + good[4:], "version 1, 2 or 3"),
        (good + bytes(8), "length 0"), (b"\x28\xb5\x2f\xfd" + b"\xff" * 40, "zstd data are damaged"),
        (b"DBN\x01" + struct.pack("<I", 1 << 31) + good[8:], "version 1, 2 or 3"),
        (b"DBN\x01" + struct.pack("<I", 110) + good[8:], "list of symbols is cut"),
    ):  # fmt: skip
        path.write_bytes(bad)
        with pytest.raises(DataError) as caught:
            load(path).array()
        assert said in str(caught.value)
    path.write_bytes(good + good[-20:-10])
    tape = load(path)
    assert len(tape.array()) == 2 and tape.notes == {"bytes behind the last whole record": 10}
    with pytest.raises(DataError, match="a tick that divides it"):
        load(path, tick=1)
    with pytest.raises(DataError, match="is of S17077"):
        load(path, symbol="X")


# ---- Recorded. ----


@loop
def play(book: Any, records: Any, counts: Any) -> None:
    for k in range(len(records)):
        if records[k].kind <= REPLACE:
            counts[books.apply(book, records[k])] += 1


@pytest.mark.slow
def test_a_recorded_day_ends_as_it_is_known_to() -> None:
    tape = load(recorded("dbn", "esh4-glbx-mdp3-20231225.mbo.dbn.zst"))
    records, book, counts = tape.array(), books.create(1, 1 << 15, 1 << 12, step=1), np.zeros(16, np.int64)
    play(book, records, counts)
    assert not tape.notes and tape.instruments[0].symbol == "ESH4" and tape.instruments[0].tick_e9 == TICK
    # Crossed and locked are no refusals: the opening auction.
    assert counts.sum() == counts[books.OK] + counts[books.CROSSED] + counts[books.LOCKED]
    sides = book.ladder.sides
    assert (int(sides[0].levels), int(sides[1].levels)) == (922, 565)
    assert (int(sides[0].price) * TICK, int(sides[1].price) * TICK) == (4_810_000_000_000, 4_810_250_000_000)
    assert int(book.pool.cells[1] - book.pool.cells[0]) == 11_217
    done = records[(records["kind"] == TRADE) | (records["kind"] == EXECUTE)]
    assert int(done["qty"].sum()) == 9_892, "lots of all T records"
    books.check(book)


VECTORS = {
    "test_data.mbo.dbn": 2, "test_data.mbo.dbz": 2, "test_data.mbo.v1.dbn.zst": 2, "test_data.mbo.v2.dbn.zst": 2,
    "test_data.mbo.v3.dbn": 2, "test_data.mbo.v3.dbn.zst": 2, "test_data.mbp-10.dbn": 0, "test_data.mbp-10.dbz": 0,
    "test_data.mbp-10.v1.dbn.zst": 0, "test_data.mbp-10.v2.dbn.zst": 0, "test_data.mbp-10.v3.dbn.zst": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_of_every_version_say_the_same(name: str) -> None:
    """Two records each: cancels of orders that were not added, or two whole books."""
    tape = load(recorded("dbn", "vectors", name))
    found = tape.array()
    assert [(i.symbol, i.tick_e9, i.venue) for i in tape.instruments] == [("ESH1", TICK, "GLBX.MDP3")]
    assert tape.notes.get("unknown order", 0) == VECTORS[name]
    if not VECTORS[name]:
        assert tape.kind == "levels" and len(found) == 22
        first = [int(found[1][field]) for field in ("ts_event", "ts_recv", "side", "price", "qty")]
        assert first == [1_609_160_400_000_429_831, 1_609_160_400_000_704_060, BID, 14_881, 24]
