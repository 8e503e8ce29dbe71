"""The matching engine against its twin: every report, every public record, every queue, after every entry.

Three accounts, two instruments, a dozen prices and lots so small that orders meet all the time; rings so small that
an entry has to wait in the middle. A book is built from the public records alone and must be the displayed book.
"""

import random

from hypothesis import given
from hypothesis import strategies as st
from matching_parts import Listing
from matching_rig import FIELDS, Rig, Terms
from matching_twin import LIT, Twin

from ultra.hot import book as books
from ultra.venues import matching_check
from ultra.wire import (
    AT_MARKET,
    AUCTION,
    CANCEL_ORDER,
    END_OF_DAY,
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
    REPLACE_ORDER,
    SET_STATE,
    STOP,
    STP_BOTH,
    STP_NEWEST,
    STP_OLDEST,
    TRADING,
)  # fmt: skip

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
    twin.enter({name: 0 for name in FIELDS} | entry)
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
