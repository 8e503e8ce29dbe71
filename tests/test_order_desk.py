"""A venue's desk between clients who write anything and an engine in plain Python that is the truth.

Clients read what they were told as the specification says. When the engine is done, what a client believes to be open
is what the engine has open, every number it used was answered exactly once, and what it traded is what traded.
"""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from order_rig import REASONS, Engine, drained, packets, put, written

from ultra import wire
from ultra.hot import door
from ultra.hot import ring as rings
from ultra.venues import link as links
from ultra.venues import order_desk as desks
from ultra.venues import order_entry, order_reports, ouch, soupbin

serve, take, send = door(order_entry.serve), door(order_reports.take), door(order_reports.send)
attach, detach, ask_mass, up = door(desks.attach), door(desks.detach), door(desks.ask_mass), door(links.up)
TERMS = {"tif": "0", "display": "Y", "iso": "N", "clordid": "mine"}


class Client:
    """What one account believes after reading everything it was told."""

    def __init__(self, raw: bytes) -> None:
        self.open: dict[int, int] = {}
        self.traded: dict[int, int] = {}
        self.answers: list[int] = []
        self.letters: list[str] = []
        found, rest = packets(raw)
        assert not rest
        for kind, body in found:
            assert kind == "S"
            message = ouch.describe(body, outbound=True)
            assert ouch.compose(message, outbound=True) == body
            self.letters.append(message["type"])
            self.read(message["type"], message)

    def read(self, letter: str, message: dict[str, Any]) -> None:
        ref = message.get("ref", 0)
        if letter in "AUJXGK":
            assert ref not in self.answers, "a number was answered twice"
            self.answers.append(ref)
        if letter in "AU":
            if letter == "U":
                del self.open[message["old_ref"]]
            assert message["clordid"] == "mine" and message["state"] == "L"
            self.open[ref] = message["qty"] // (10 if message["symbol"] == "MSFT" else 1)
        elif letter in "EC":
            lots = message["qty"] // (10 if (ref % 2) == 0 else 1)
            self.open[ref] -= lots
            if letter == "E":
                self.traded[ref] = self.traded.get(ref, 0) + lots
            if self.open[ref] == 0:
                del self.open[ref]


class Rig:
    """A desk with two accounts, their links, and the engine."""

    def __init__(self, orders: int = 8, entries: int = 4, rate: int = 1000) -> None:
        self.desk = desks.create(2, 2, orders, store_bytes=1 << 15, rate=rate, reasons=REASONS)
        desks.list_instrument(self.desk, 0, "AAPL")
        desks.list_instrument(self.desk, 1, "MSFT", price_scale=100, lot=10)
        self.links = [links.create(4096, 256) for _ in range(2)]
        self.entries, self.engine, self.now = rings.create(wire.ENTRY, entries), Engine(), 10**9
        self.numbers: list[list[int]] = [[], []]
        self.next = [1, 1]

    def write(self, owner: int, message: dict[str, Any]) -> None:
        """A client writes a message; `serve` takes it when there is room."""
        put(self.links[owner], soupbin.framed("U", ouch.compose(message, outbound=False)))

    def number(self, owner: int, instrument: int) -> int:
        """The next number; even ones are for MSFT, so that a reader knows the lot."""
        self.next[owner] += 1 + (self.next[owner] + 1 - (1 - instrument)) % 2
        self.numbers[owner].append(self.next[owner])
        return self.next[owner]

    def enter(self, owner: int, lots: int, instrument: int = 0, **change: Any) -> int:
        ref = self.number(owner, instrument)
        message = {"type": "O", "ref": ref, "side": "B", "qty": lots * (10 if instrument else 1), "price": 700, **TERMS}
        message |= {"symbol": "MSFT" if instrument else "AAPL", "capacity": "P", "cross": "N"}
        self.write(owner, message | change)
        return ref

    def replace(self, owner: int, old: int, qty: int, **change: Any) -> int:
        instrument = 1 - old % 2
        ref = self.number(owner, instrument)
        size = qty * (10 if instrument else 1)
        self.write(owner, {"type": "U", "old_ref": old, "ref": ref, "qty": size, "price": 800, **TERMS} | change)
        return ref

    def serve(self) -> None:
        self.now += 1
        for owner, link in enumerate(self.links):
            serve(self.desk, owner, link, self.entries, self.now)
        desks.check(self.desk)

    def work(self, count: int = 1 << 30) -> None:
        """The engine takes some entries, and the desk tells what came of them."""
        self.engine.work(self.entries, count)
        take(self.desk, self.engine.reports)
        desks.check(self.desk)

    def settle(self) -> None:
        for _ in range(60):
            self.serve()
            self.work()

    def told(self, owner: int) -> bytes:
        raw: bytes = self.desk.store[owner, : int(self.desk.accounts[owner].end)].tobytes()
        return raw

    def counts(self) -> dict[str, int]:
        return {name: int(n) for name, n in zip(desks.COUNTERS, self.desk.counts, strict=False) if n}

    def check(self) -> None:
        for owner in range(2):
            client = Client(self.told(owner))
            assert client.open == {key[1]: row[1] for key, row in self.engine.open.items() if key[0] == owner}
            assert client.traded == {key[1]: lots for key, lots in self.engine.traded.items() if key[0] == owner}
            assert sorted(client.answers) == self.numbers[owner]
            assert int(self.desk.accounts[owner].live) == len(client.open)
        assert "lost_reports" not in self.counts() and "bad_messages" not in self.counts()


# What may happen, how often, and the three numbers that say more.
HAPPENS = (
    ("enter", 8, 2, (1, 2, 5), (0, 1)),
    ("again", 1, 2, range(10), (0,)),
    ("bad", 1, 2, range(5), (0,)),
    ("cancel", 4, 2, range(5), (0, 0, 1, 3)),
    ("modify", 2, 2, range(5), (0, 1, 3)),
    ("replace", 5, 2, range(5), (1, 2, 5)),
    ("mass", 1, 2, range(3), (0,)),
    ("switch", 1, 2, (0, 1, 1, 1), (0,)),
    ("detach", 1, 2, (0,), (0,)),
    ("serve", 8, 1, (0,), (0,)),
    ("work", 6, 4, (0,), (0,)),
    ("fill", 6, 10, (1, 2, 4), (0,)),
)


def story(seed: int, length: int) -> list[tuple[str, int, int, int]]:
    """Steps in the proportions of HAPPENS."""
    dice = random.Random(seed)
    steps = dice.choices(HAPPENS, [row[1] for row in HAPPENS], k=length)
    return [(row[0], dice.randrange(row[2]), dice.choice(row[3]), dice.choice(row[4])) for row in steps]


BAD = ({"symbol": "NONE"}, {"tif": "6"}, {"display": "Z"}, {"qty": 0}, {"side": "X"})


def act(rig: Rig, step: tuple[str, int, int, int]) -> None:
    what, first, second, third = step
    numbers = rig.numbers[first] if first < 2 else []
    some = numbers[-1 - second % len(numbers)] if numbers else 0
    if what == "enter":
        rig.enter(first, second, third)
    elif what == "again" and numbers:
        rig.enter(first, 1)
        rig.write(first, {"type": "X", "ref": 0, "qty": 0})
        twice = {"type": "O", "ref": some, "side": "S", "qty": 5, "price": 1, "symbol": "AAPL", "capacity": "P"}
        rig.write(first, {"cross": "N", **twice, **TERMS})
    elif what == "bad":
        rig.enter(first, 1, 0, **BAD[second])
    elif what in ("cancel", "modify") and numbers:
        qty = third * (10 if some % 2 == 0 else 1)
        rig.write(first, {"type": "X" if what == "cancel" else "M", "ref": some, "qty": qty, "side": "B"})
    elif what == "replace" and numbers:
        rig.replace(first, some, third)
    elif what == "mass":
        rig.write(first, {"type": "C", "ref": rig.number(first, 0), "firm": "", "symbol": ("", "AAPL", "MSFT")[second]})
    elif what == "switch":
        rig.write(first, {"type": "DE"[second], "ref": rig.number(first, 0), "firm": ""})
    elif what == "detach":
        detach(rig.desk, first)
    elif what == "serve":
        rig.serve()
    elif what == "work":
        rig.work(1 + first)
    elif what == "fill" and rig.engine.open:
        rig.engine.fill(sorted(rig.engine.open)[first % len(rig.engine.open)], second)
        take(rig.desk, rig.engine.reports)


@given(st.integers(0, 1 << 32))
def test_clients_believe_what_the_engine_knows(seed: int) -> None:
    rig = Rig()
    rig.engine.plan = random.Random(seed).choices([True, True, True, False], k=60)
    for step in story(seed, 60):
        act(rig, step)
        desks.check(rig.desk)
    rig.settle()
    rig.check()


def test_a_number_that_does_not_increase_is_ignored() -> None:
    rig = Rig()
    ref = rig.enter(0, 5)
    rig.settle()
    again = {
        "type": "O",
        "ref": ref,
        "side": "B",
        "qty": 5,
        "price": 700,
        "symbol": "AAPL",
        "capacity": "P",
        "cross": "N",
    }
    rig.write(0, again | TERMS)
    rig.settle()
    assert rig.counts()["duplicates"] == 1 and len(rig.engine.open) == 1
    rig.check()


def test_every_field_of_an_order_reaches_the_engine() -> None:
    rig = Rig(entries=16)
    tags = [("min_qty", 20), ("display_qty", 30)]
    rig.enter(0, 9, 1, side="T", tif="3", display="N", cross="C", price=4200, appendage=tags)
    rig.enter(0, 9, 0, price=ouch.MARKET, display="P", cross="O")
    rig.enter(0, 9, 0, appendage=[("max_floor", 4)])
    rig.settle()
    first, second, third = rig.engine.seen
    assert (first.side, first.instrument, first.qty, first.price) == (wire.ASK, 1, 9, 42)
    assert first.flag == wire.IMMEDIATE | wire.HIDDEN | wire.ON_CLOSE and (first.aux, first.display) == (2, 3)
    assert second.flag == wire.AT_MARKET | wire.POST_ONLY | wire.ON_OPEN and second.price == wire.NONE
    assert third.display == 4 and third.stop == wire.NONE
    told, _ = packets(rig.told(0))
    accepted = ouch.describe(told[0][1], outbound=True)
    echo = {name: accepted[name] for name in ("side", "qty", "symbol", "price", "tif", "display", "capacity", "cross")}
    assert echo == {"side": "T", "qty": 90, "symbol": "MSFT", "price": 4200, "tif": "3", "display": "N",
                    "capacity": "P", "cross": "C"}  # fmt: skip


def test_a_replacement_inherits_what_was_executed() -> None:
    rig = Rig()
    old = rig.enter(0, 10)
    rig.settle()
    rig.engine.fill((0, old), 4)
    rig.settle()
    new = rig.replace(0, old, 9)
    rig.settle()
    assert rig.engine.open == {(0, new): [0, 5]}
    rig.write(0, {"type": "X", "ref": new, "qty": 6})
    rig.settle()
    assert rig.engine.open == {(0, new): [0, 2]}
    last = rig.replace(0, new, 9)
    rig.serve()
    rig.engine.fill((0, new), 1)  # while the replacement is on its way
    rig.settle()
    rig.write(0, {"type": "X", "ref": last, "qty": 6})
    rig.settle()
    assert rig.engine.open == {(0, last): [0, 1]}
    rig.check()


def test_an_order_that_ends_takes_its_replacement_with_it() -> None:
    rig = Rig(entries=16)
    old = rig.enter(0, 3)
    rig.settle()
    middle = rig.replace(0, old, 5)
    rig.serve()
    last = rig.replace(0, middle, 6)
    rig.serve()
    rig.engine.fill((0, old), 3)
    rig.settle()
    client = Client(rig.told(0))
    assert client.letters == ["A", "E", "J", "J"] and client.answers == [old, middle, last]
    rig.check()


def test_a_lost_link_takes_the_orders_along_unless_they_are_kept() -> None:
    rig = Rig()
    rig.enter(0, 3)
    rig.enter(1, 3)
    rig.settle()
    rig.desk.accounts[1].keeps = 1
    for owner in range(2):
        detach(rig.desk, owner)
    assert ask_mass(rig.desk, 0, rig.entries, rig.now) and ask_mass(rig.desk, 1, rig.entries, rig.now)
    rig.settle()
    assert [key[0] for key in rig.engine.open] == [1]
    assert Client(rig.told(0)).letters == ["A", "C"]
    rig.check()


def test_orders_above_the_rate_are_refused_and_cancels_are_not() -> None:
    rig = Rig(rate=3, entries=16)
    refs = [rig.enter(0, 1) for _ in range(5)]
    rig.settle()
    assert [refs.index(ref) for _, ref in rig.engine.open] == [0, 1, 2]
    for ref in refs:
        rig.write(0, {"type": "X", "ref": ref, "qty": 0})
    rig.settle()
    assert not rig.engine.open and rig.counts()["throttled"] == 2
    rig.check()


@pytest.mark.parametrize("sequence", [0, 1, 2, 4, 5, 99])
def test_a_client_that_comes_back_gets_what_it_asks_for(sequence: int) -> None:
    rig = Rig()
    ref = rig.enter(0, 3)
    rig.settle()
    for _ in range(3):
        rig.engine.fill((0, ref), 1)
    rig.settle()
    got = attach(rig.desk, 0, sequence)
    assert got == (5 if sequence == 0 else min(sequence, 5))
    rest, _ = packets(rig.told(0)[int(rig.desk.accounts[0].sent) :])
    assert len(rest) == 4 - (got - 1)


def test_a_block_that_is_nearly_full_ends_the_link_before_anything_is_lost() -> None:
    rig = Rig(orders=4)
    rig.desk = rig.desk._replace(store=rig.desk.store[:, :2048].copy())
    while int(rig.links[0].cells[links.FAULT]) == 0:
        rig.enter(0, 2)
        rig.settle()
        for key in list(rig.engine.open):
            rig.engine.fill(key, 1)
            rig.engine.fill(key, 1)
        rig.work()
    rig.numbers[0].pop()
    assert int(rig.links[0].cells[links.FAULT]) == links.STORE_FULL
    rig.check()


@pytest.mark.parametrize(
    "raw", [b"\0\0", b"\xff\xff", soupbin.framed("S", b"x"), soupbin.framed("?"), soupbin.login("a", "b")]
)
def test_a_client_that_writes_what_no_client_may_is_cut_off(raw: bytes) -> None:
    rig = Rig()
    put(rig.links[0], raw)
    rig.serve()
    assert int(rig.links[0].cells[links.FAULT]) == links.BAD_PACKET


def test_logging_out_and_debug_and_messages_that_are_none() -> None:
    rig = Rig()
    put(
        rig.links[0],
        soupbin.framed("+", b"hello") + soupbin.framed("R") + soupbin.framed("U", b"O") + soupbin.framed("U"),
    )
    put(rig.links[0], soupbin.framed("O"))
    rig.serve()
    assert int(rig.links[0].cells[links.FAULT]) == links.LOGGED_OUT and rig.counts()["bad_messages"] == 2


def test_reports_about_nobody_are_counted() -> None:
    rig = Rig()
    for owner, number in ((0, 5), (7, 1), (-1, 1)):
        rig.engine.report(wire.FILL, owner, number, qty=1)
    rig.work()
    assert rig.counts() == {"reports": 3, "unknown_reports": 3} and rig.told(0) == b""


def test_nothing_is_sent_without_a_link() -> None:
    rig = Rig()
    rig.enter(0, 1)
    rig.settle()
    assert send(rig.desk, 0, rig.links[0], rig.now, 1) == 0 and written(rig.links[0]) == b""
    assert not drained(rig.entries) and np.all(rig.desk.accounts.sent == 0)
