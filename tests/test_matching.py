"""The matching engine against its twin: every report, every public record, every queue, after every entry.

Three accounts, two instruments, a dozen prices and lots so small that orders meet all the time; rings so small that
an entry has to wait in the middle. A book is built from the public records alone and must be the displayed book.
"""

import hashlib
import random

import numpy as np
import pytest
from conftest import MODE
from hypothesis import given
from hypothesis import strategies as st
from matching_parts import Listing
from matching_rig import FIELDS, Rig, Terms, rebuild
from matching_twin import LIT, Twin

from ultra.hot import book as books
from ultra.hot import door, memory
from ultra.venues import matching, matching_check
from ultra.venues import matching_models as models
from ultra.venues import matching_numbers as numbers
from ultra.wire import (
    ASK,
    AT_MARKET,
    AUCTION,
    BID,
    CANCEL_ORDER,
    END_OF_DAY,
    ENTRY,
    FILL_OR_KILL,
    GOOD_TILL_CANCEL,
    HALTED,
    HIDDEN,
    IMMEDIATE,
    MASS_CANCEL,
    NEW,
    NONE,
    ON_CLOSE,
    ON_OPEN,
    POST_ONLY,
    RECORD,
    REPLACE_ORDER,
    REPORT,
    SET_STATE,
    STOP,
    STP_BOTH,
    STP_NEWEST,
    STP_OLDEST,
    TRADING,
)  # fmt: skip

put, find, end, forget = (door(f) for f in (numbers.put, numbers.find, numbers.end, numbers.forget))
snapshot = door(matching_check.snapshot)
BLANK = dict.fromkeys(FIELDS, 0)
SOME = (-1, 0, *[1] * 20, 2, 63, 64, *range(98, 120))  # client numbers; those from 100 take a block each
TERMS = [Terms(), Terms(tick=2, lot=2, low=90, high=110, qty_max=40, reference=100)]
ACCOUNTS = 3
FLAGS = (
    *[0] * 12, *[IMMEDIATE] * 3, FILL_OR_KILL, FILL_OR_KILL, POST_ONLY, POST_ONLY, AT_MARKET, AT_MARKET, STOP, STOP,
    STOP | AT_MARKET, STOP | AT_MARKET, ON_OPEN, ON_CLOSE, ON_OPEN | AT_MARKET, ON_CLOSE | AT_MARKET, HIDDEN, HIDDEN,
    HIDDEN, STOP | IMMEDIATE, STOP | FILL_OR_KILL,
)  # fmt: skip
STPS = (0, 0, 0, STP_NEWEST, STP_OLDEST, STP_BOTH)


class Flow:
    """Random entries that mostly make sense; numbers of clients are few enough to be used twice."""

    def __init__(self, seed: int, spread: int = 5, operator: float = 0.04) -> None:
        self.dice = random.Random(seed)
        self.ts, self.number, self.spread, self.operator = 0, 0, spread, operator
        self.known = [(0, 1)]  # accounts and their numbers

    def entry(self) -> dict[str, int]:
        dice = self.dice
        self.ts += dice.randint(0, 3)
        instrument, owner = int(dice.random() < 0.3), dice.randrange(ACCOUNTS)
        tick, lot = TERMS[instrument].tick, TERMS[instrument].lot
        entry = {
            "ts_event": self.ts, "instrument": instrument, "owner": owner, "side": dice.randrange(2),
            "price": 100 + tick * dice.randint(-self.spread, self.spread), "qty": lot * dice.randint(1, 6),
            "stop": 100 + tick * dice.randint(-self.spread, self.spread),
        }  # fmt: skip
        chance = dice.random()
        if chance < self.operator:
            return entry | self.operate()
        if chance < 0.62:
            entry |= self.order(lot)
            self.known.append((entry["owner"], entry["order_id"]))
        else:
            entry["owner"], entry["order_id"] = self.known[-1 - min(len(self.known) - 1, int(dice.expovariate(0.15)))]
            entry["kind"] = CANCEL_ORDER if chance < 0.8 else REPLACE_ORDER
            if entry["kind"] == CANCEL_ORDER:
                entry["qty"] = dice.choice((0, 0, lot, 2 * lot))
            else:
                self.number += 1
                entry["aux"] = self.number
                self.known.append((entry["owner"], self.number))
        if dice.random() < 0.03:
            name, value = dice.choice(BAD)
            entry[name] = value
        return entry

    def order(self, lot: int) -> dict[str, int]:
        dice = self.dice
        self.number += dice.random() < 0.97
        flag = dice.choice(FLAGS) | dice.choice(STPS) | dice.choice((0, 0, GOOD_TILL_CANCEL))
        found = {"kind": NEW, "order_id": self.number, "flag": flag}
        if dice.random() < 0.2 and not flag & (HIDDEN | AT_MARKET | ON_OPEN | ON_CLOSE):
            found |= {"display": lot * dice.randint(1, 2), "qty": lot * dice.randint(2, 9)}
        if dice.random() < 0.06:
            found["aux"] = lot * dice.randint(1, 4)
        return found

    def operate(self) -> dict[str, int]:
        chance = self.dice.random()
        if chance < 0.25:
            return {"kind": MASS_CANCEL, "instrument": self.dice.choice((NONE, 0, 1))}
        if chance < 0.35:
            return {"kind": END_OF_DAY}
        state = self.dice.choice((*[TRADING] * 6, *[AUCTION] * 4, HALTED))
        return {"kind": SET_STATE, "aux": state, "flag": self.dice.choice((0, ON_OPEN, ON_CLOSE))}


BAD = [
    ("instrument", 2), ("instrument", -1), ("owner", 3), ("owner", -1), ("side", 2), ("side", -1), ("flag", 2048),
    ("flag", ON_OPEN | ON_CLOSE), ("order_id", 0), ("order_id", 1), ("qty", 0), ("qty", -2), ("qty", 101), ("qty", 3),
    ("price", 1), ("price", 201), ("price", 97), ("stop", 0), ("display", -1), ("display", 5), ("aux", -1), ("aux", 99),
    ("kind", 9), ("flag", POST_ONLY | IMMEDIATE), ("flag", STOP | ON_OPEN), ("aux", 6),
]  # fmt: skip


def twin_of(terms: list[Terms], orders_max: int, queue: str = "fifo") -> Twin:
    return Twin([Listing(*row) for row in terms], orders_max, ACCOUNTS, queue)


def same(rig: Rig, twin: Twin, entry: dict[str, int]) -> None:
    """One entry to both; everything that can be compared is."""
    twin.reports, twin.public = [], []
    twin.enter(BLANK | entry)
    reports, public = rig.enter(entry)
    assert reports == twin.reports
    assert public == twin.public
    matching_check.check(rig.venue)
    assert matching_check.rows(rig.venue).tolist() == twin.rows()
    assert rig.venue.listings.state.tolist() == [row.state for row in twin.listings]
    assert rig.venue.listings["last"].tolist() == [row.last for row in twin.listings]
    same_book(rig, twin)


def same_book(rig: Rig, twin: Twin) -> None:
    """The book of who only listens is what is displayed, order by order."""
    for s in range(2 * len(twin.listings)):
        queues = twin.listings[s >> 1].queues[LIT][s & 1]
        levels = books.levels(rig.book, s)
        found = [
            (int(rig.book.orders[slot].order_id), price, int(rig.book.orders[slot].qty))
            for price in sorted(levels, reverse=s & 1 == 0)
            for slot in books.queue(rig.book, levels[price])
        ]
        assert found == [(o.ref, o.price, o.shown) for o in queues]


def open_all(count: int) -> list[dict[str, int]]:
    return [{"kind": SET_STATE, "instrument": k, "aux": TRADING} for k in range(count)]


@given(st.integers(0, 1 << 40), st.integers(1, 120), st.sampled_from((8, 16, 64)), st.sampled_from((64, 6)))
def test_the_engine_and_its_twin_say_the_same(seed: int, length: int, slots: int, orders_max: int) -> None:
    flow = Flow(seed)
    rig, twin = Rig(TERMS, orders_max, slots=slots), twin_of(TERMS, orders_max)
    for entry in open_all(2):
        same(rig, twin, entry)
    for _ in range(length):
        same(rig, twin, flow.entry())


@pytest.mark.parametrize("queue", ["pro-rata", "probabilistic"])
@given(st.integers(0, 1 << 40), st.integers(1, 80))
def test_other_queue_models_say_the_same_as_theirs(queue: str, seed: int, length: int) -> None:
    flow = Flow(seed)
    rig, twin = Rig(TERMS, queue=queue), twin_of(TERMS, 64, queue)
    for entry in (*open_all(2), *(flow.entry() for _ in range(length))):
        same(rig, twin, entry)


def played(seed: int, count: int, batch: int) -> tuple[str, str]:
    """Hashes of all that the engine and the twin say over a long flow, and of the queues they end with."""
    flow, digests = Flow(seed, operator=0.005), (hashlib.blake2b(), hashlib.blake2b())
    rig, twin = Rig(TERMS, 512, slots=64, capacity=1 << 17), twin_of(TERMS, 512)
    for start in range(0, count, batch):
        entries = [flow.entry() for _ in range(batch)] if start else open_all(2)
        twin.reports, twin.public = [], []
        for entry in entries:
            twin.enter(BLANK | entry)
        reports, public = rig.enter_raw(entries)
        for digest, said, shown in ((digests[0], reports, public), (digests[1], twin.reports, twin.public)):
            digest.update(np.array(said, REPORT).tobytes())
            digest.update(np.array(shown, RECORD).tobytes())
    matching_check.check(rig.venue)
    same_book(rig, twin)
    rows = (matching_check.rows(rig.venue), np.array(twin.rows(), matching_check.ROW))
    for digest, row in zip(digests, rows, strict=True):
        digest.update(row.tobytes())
    return digests[0].hexdigest(), digests[1].hexdigest()


def test_a_long_flow_leaves_the_same_state() -> None:
    engine, twin = played(1, 20_000 if MODE == "compiled" else 1_000, 500)
    assert engine == twin


@pytest.mark.jit_only
@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
def test_a_million_entries_leave_the_same_state(seed: int) -> None:
    engine, twin = played(seed, 1_000_000, 20_000)
    assert engine == twin


@given(st.lists(st.tuples(st.sampled_from("pfe"), st.integers(0, 2), st.sampled_from(SOME)), min_size=40, max_size=80))
def test_numbers_behave_as_a_dict(steps: list[tuple[str, int, int]]) -> None:
    known, twin = numbers.create(16), dict[tuple[int, int], int | None]()
    for slot, (act, owner, number) in enumerate(steps):
        number = number if number < 100 else number << 40
        blocks = {(o, n >> 6) for o, n in twin}
        if act == "p" and number > 0:
            full = len(blocks | {(owner, number >> 6)}) > 16
            expected = 1 if (owner, number) in twin else 2 if full else 0
            assert put(known, owner, number, slot) == expected
            if expected == 0:
                twin[owner, number] = slot
        elif act == "e" and twin.get((owner, number)) is not None:
            end(known, owner, number)
            twin[owner, number] = None
        found = twin.get((owner, number))
        assert find(known, owner, number) == (NONE if found is None else found)
        numbers.check(known)
        assert numbers.live(known) == {key: slot for key, slot in twin.items() if slot is not None}
    forget(known)
    assert numbers.live(known) == {} and find(known, 0, 1) == NONE


def test_an_entry_that_fills_the_rings_goes_on_where_it_was() -> None:
    said = []
    for slots in (8, 64):
        rig = Rig([Terms()], slots=slots)
        book = [entry_of(k, 1, ASK, 1, 100 + k % 3) for k in range(1, 31)]
        rig.enter(*open_all(1), *book)
        before = rig.full
        said.append(rig.enter(entry_of(99, 0, BID, 40, 110)))
        assert (rig.full - before > 5) == (slots == 8)
    assert said[0] == said[1] and len(said[0][0]) == 61


def entry_of(number: int, owner: int, side: int, qty: int, price: int) -> dict[str, int]:
    return {"kind": NEW, "order_id": number, "owner": owner, "side": side, "qty": qty, "price": price}


def test_a_snapshot_and_what_follows_it_build_the_same_book() -> None:
    flow, rig, twin = Flow(5, operator=0), Rig(TERMS), twin_of(TERMS, 64)
    for entry in (*open_all(2), *(flow.entry() for _ in range(300))):
        same(rig, twin, entry)
    out, late = memory.zeros(64, RECORD), books.create(2, 1 << 12, 256, step=1)
    assert snapshot(rig.venue, 0, out[:1]) == NONE
    for instrument in range(2):
        count = snapshot(rig.venue, instrument, out)
        assert set(out.sequence[:count].tolist()) == {twin.sequence} and rebuild(late, out[:count]) == 0
    rig.book = late
    same_book(rig, twin)
    for _ in range(50):
        same(rig, twin, flow.entry())


def test_state_parts_of_two_venues_are_equal_exactly_when_they_saw_the_same() -> None:
    rigs = [Rig(TERMS, slots=slots) for slots in (8, 64)]
    flow = Flow(9)
    entries = [*open_all(2), *(flow.entry() for _ in range(100))]
    parts = []
    for rig in rigs:
        rig.enter(*entries)
        parts.append({name: part.tobytes() for name, part in matching_check.state_parts(rig.venue).items()})
    assert parts[0] == parts[1]
    rigs[0].enter(entry_of(9999, 0, BID, 1, 3))
    changed = matching_check.state_parts(rigs[0].venue)
    assert {"orders", "cells", "numbers"} <= {n for n, part in changed.items() if part.tobytes() != parts[1][n]}


def half(shown: int, wanted: int, total: int, draw: int) -> int:
    """A queue model of a user: everybody gives half of what is asked."""
    return wanted // 2


def test_models_are_found_by_name_or_where_they_are_and_have_a_key() -> None:
    assert models.load().key == models.load("fifo", "none", "none").key
    own = models.load("test_matching:half")
    assert own.key not in {models.load(name).key for name in models.QUEUES}
    assert own.key == models.load(half).key
    for wrong in ("lifo", "nowhere.at:all", "test_matching:nothing", 5):
        with pytest.raises(models.ModelError):
            models.load(wrong)


def test_a_model_that_gives_less_than_it_must_loses_nothing() -> None:
    rig = Rig([Terms()], queue="test_matching:half")
    rig.enter(*open_all(1), *(entry_of(k, 1, ASK, 8, 100) for k in (1, 2, 3)))
    reports, _ = rig.enter(entry_of(9, 0, BID, 20, 100))
    assert [(r[6], r[9]) for r in reports[2::2]] == [(1, 8), (2, 6), (3, 6)] or sum(r[9] for r in reports[2::2]) == 20
    matching_check.check(rig.venue)


def test_an_entry_is_stamped_with_the_latency_of_the_model() -> None:
    stamp = door(matching.build_stamp(models.load(latency="jitter")))
    rows = memory.zeros(2, ENTRY)
    rows.ts_event, rows.order_id = 1000, (1, 2)
    for k in range(2):
        stamp(rows[k])
    waits = [int(row.ts_event) - 1000 for row in rows]
    assert all(models.LATENCY_NS <= wait < models.LATENCY_NS + (1 << models.JITTER_BITS) for wait in waits)
    assert waits[0] != waits[1]
