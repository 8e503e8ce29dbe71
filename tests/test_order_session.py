"""An order session against a venue in plain Python: links are cut anywhere, and both sides end with the same truth.

The engine is a dict of handles. What each side did is compared order by order: everything the venue did to an order was
reported once, in order, under its handle; what it never received was refused once; nothing else was said.
"""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from order_rig import (
    Deed,
    Venue,
    carry_all,
    down,
    drained,
    packets,
    poll,
    push,
    put,
    tend,
    up,
    want_all,
    write,
    written,
)

from ultra import wire
from ultra.hot import ring as rings
from ultra.hot import risk as risks
from ultra.venues import link as links
from ultra.venues import order_session as sessions
from ultra.venues import ouch, soupbin

OWN = 4
NAMES = {wire.ACCEPTED: "accepted", wire.FILL: "fill", wire.CANCELLED: "cancelled", wire.REJECTED: "rejected"}
SECOND = 1_000_000_000


class Rig:
    """A session, its engine, its venue, and what is on the way between them."""

    def __init__(self, *, rate: int = 1000, replies: int = 8, own: int = OWN) -> None:
        self.session = sessions.create(2, own, rate=rate)
        sessions.define(self.session, 0, "AAPL")
        sessions.define(self.session, 1, "MSFT", price_scale=100, lot=10)
        self.requests, self.replies = rings.create(wire.REQUEST, 16), rings.create(wire.RECORD, replies)
        self.venue, self.now = Venue(), SECOND
        self.to_venue, self.to_client = b"", b""
        self.free, self.used = list(range(own)), [0] * own
        self.live: dict[int, tuple[int, int]] = {}  # handle -> side, qty
        self.refs: dict[int, int] = {}  # handle -> ref
        self.said: dict[int, list[Deed]] = {}
        self.reasons: dict[int, int] = {}
        self.states: list[int] = []
        self.position = 0

    def connect(self) -> None:
        """A new link, the login on its way."""
        if int(self.session.link.cells[links.FD]) >= 0:
            self.cut()
        self.venue.link()
        write(self.session.link, soupbin.login("user", "secret", "", int(self.session.cells[sessions.SEQUENCE])))
        up(self.session, 99, self.now)

    def cut(self, delivered: int = 0) -> None:
        """The link is lost; of what is on its way to the venue some bytes still arrive."""
        self.to_venue += written(self.session.link)
        self.venue.read(self.to_venue[:delivered])
        self.to_venue = self.to_client = b""
        down(self.session)

    def new(self, side: int, qty: int, flag: int = 0, price: int = 5000, instrument: int = 0) -> int:
        if not self.free:
            return 0
        slot = self.free.pop()
        self.used[slot] += 2
        handle = (self.used[slot] - 1) << 32 | slot
        self.live[handle], self.said[handle] = (side, qty), []
        push(
            self.requests,
            kind=wire.NEW,
            side=side,
            qty=qty,
            price=price,
            order_id=handle,
            flag=flag,
            instrument=instrument,
        )
        return handle

    def cancel(self, handle: int) -> None:
        push(self.requests, kind=wire.CANCEL_ORDER, order_id=handle, price=-1)

    def turn(self) -> None:
        """One turn of the session, without its socket."""
        self.now += 1
        poll(self.session, self.replies, self.now)
        self.hear()
        carry_all(self.session, self.requests, self.replies, self.now)
        tend(self.session, self.now)
        for handle in self.live:
            ref = int(self.session.refs[handle & 0xFFFFFFFF])
            row = self.session.rows[ref & (len(self.session.rows) - 1)]
            if int(row.handle) == handle and row.state != sessions.FREE:
                self.refs[handle] = ref
        self.hear()
        sessions.check(self.session)
        rings.check(self.replies)

    def hear(self) -> None:
        """The engine takes its replies."""
        for record in drained(self.replies):
            if record.kind == wire.SESSION_STATE:
                self.states.append(int(record.aux))
                continue
            handle, kind = int(record.order_id), NAMES[int(record.kind)]
            side, qty = self.live[handle]
            self.said[handle].append(Deed(kind, int(record.qty), int(record.aux) if kind == "fill" else -1))
            if kind == "fill":
                self.position += int(record.qty) * (1 if side == wire.BID else -1)
            if kind == "rejected":
                self.reasons[handle] = int(record.aux)
            filled = sum(deed.qty for deed in self.said[handle] if deed.kind == "fill")
            if kind in ("rejected", "cancelled") or filled == qty:
                del self.live[handle]
                self.free.append(handle & 0xFFFFFFFF)

    def move(self, to_venue: int = 1 << 30, to_client: int = 1 << 30) -> None:
        """Some of what is on its way arrives."""
        self.to_venue += written(self.session.link)
        if int(self.session.link.cells[links.FD]) < 0:
            self.to_venue = b""
            return
        self.to_client += self.venue.read(self.to_venue[:to_venue])
        self.to_venue = self.to_venue[to_venue:]
        put(self.session.link, self.to_client[:to_client])
        self.to_client = self.to_client[to_client:]

    def settle(self) -> None:
        """Both sides talk until neither has anything to say."""
        for _ in range(60):
            self.turn()
            self.move()
            self.to_client += self.venue.send()
        assert int(self.session.cells[sessions.PHASE]) == sessions.UP and self.states[-1] == wire.OPEN

    def check(self) -> None:
        """Order by order, the truth of the venue is what the engine was told."""
        refs = {ref: handle for handle, ref in self.refs.items()}
        assert set(self.venue.deeds) <= set(refs), "the venue has an order that nobody sent"
        assert self.venue.duplicates == 0
        for handle, said in self.said.items():
            ref = self.refs.get(handle, 0)
            if ref in self.venue.deeds:
                assert said == expected(self.venue.deeds[ref], ref in self.venue.open), (handle, ref)
            else:
                assert [deed.kind for deed in said] == ["rejected"]
                assert self.reasons[handle] in (risks.NO_SESSION, risks.NO_ROOM, risks.RATE_LIMIT)
        assert self.position == self.venue.position
        assert set(self.venue.open) == {self.refs[handle] for handle in self.live}


def expected(deeds: list[Deed], is_open: bool) -> list[Deed]:
    """What an engine that knows only whole cancels is told: lots taken off are told when none is left."""
    found, cut = [], 0
    for deed in deeds:
        if deed.kind == "cut":
            cut += deed.qty
        else:
            found.append(deed)
    if cut and not is_open:
        found.append(Deed("cancelled", cut))
    return found


PLANS = ("accept", "accept", "accept", "reject", "dead", "fill first", "late")
# What may happen, how often, and the two numbers that say more.
HAPPENS = (
    ("new", 8, (0, 1), (1, 2, 4)),
    ("cancel", 3, (0, 1, 2, 3), (0,)),
    ("fill", 4, (0, 1, 2, 3), (1, 2, 4)),
    ("cut", 2, (0, 1, 2, 3), (1, 2)),
    ("move", 10, (0, 7, 60, 1 << 20), (0, 5, 40, 1 << 20, 1 << 20)),
    ("send", 8, (1, 2, 9), (0,)),
    ("turn", 12, (0,), (0,)),
    ("wake", 2, (0,), (0,)),
    ("lose", 2, (0, 4, 30, 54, 120, 1 << 20), (0,)),
    ("connect", 2, (0,), (0,)),
    ("settle", 1, (0,), (0,)),
)


def story(seed: int, length: int) -> list[tuple[str, int, int]]:
    """Steps in the proportions of HAPPENS: such a story gets further than one made of even chances."""
    dice = random.Random(seed)
    steps = dice.choices(HAPPENS, [row[1] for row in HAPPENS], k=length)
    return [(what, dice.choice(first), dice.choice(second)) for what, _, first, second in steps]


def act(rig: Rig, step: tuple[str, int, int]) -> None:
    """One step of a story."""
    what, first, second = step
    live, resting = sorted(rig.live), sorted(rig.venue.open)
    if what == "new" and int(rig.requests.cells[rings.CURSOR] - rig.requests.cells[rings.GATE]) < 12:
        rig.new(first, second)
    elif what == "cancel" and live and int(rig.requests.cells[rings.CURSOR] - rig.requests.cells[rings.GATE]) < 12:
        rig.cancel(live[first % len(live)])
    elif what == "fill" and resting:
        rig.venue.fill(resting[first % len(resting)], second)
    elif what == "cut" and resting:
        rig.venue.cut(resting[first % len(resting)], second)
    elif what == "move":
        rig.move(first, second)
    elif what == "send":
        rig.to_client += rig.venue.send(first) if int(rig.session.cells[sessions.PHASE]) > sessions.LOGGING_IN else b""
    elif what == "turn":
        rig.turn()
    elif what == "wake":
        rig.venue.wake()
    elif what == "lose":
        rig.cut(first)
    elif what == "connect":
        rig.connect()
    elif what == "settle":
        rig.connect()
        rig.settle()


@given(st.integers(0, 1 << 32), st.sampled_from([2, 4, 16]))
def test_after_any_losses_both_sides_know_the_same(seed: int, replies: int) -> None:
    rig = Rig(replies=replies)
    rig.venue.plan = random.Random(seed).choices(PLANS, k=200)
    rig.connect()
    rig.settle()
    for step in story(seed, 120):
        act(rig, step)
        sessions.check(rig.session)
    rig.venue.plan = []
    rig.connect()
    rig.venue.wake()
    rig.settle()
    rig.check()


def opened(**kwargs: Any) -> Rig:
    rig = Rig(**kwargs)
    rig.connect()
    rig.settle()
    return rig


def test_an_answer_to_a_question_of_a_lost_link_proves_nothing() -> None:
    rig = opened()
    rig.connect()
    rig.turn()
    rig.move()
    rig.turn()
    rig.move()  # the venue has the question and answers it
    rig.cut()  # which nobody hears
    rig.connect()
    for _ in range(3):
        rig.turn()
        rig.move()
    rig.to_client += rig.venue.send(1)  # the answer to the first question, after the second was asked
    rig.move()
    rig.turn()
    handle = rig.new(wire.BID, 3)
    rig.turn()
    assert not rig.refs, "an order left on the word of an answer that was not to this link's question"
    assert rig.reasons[handle] == risks.NO_SESSION
    rig.settle()
    rig.check()


def test_what_the_venue_never_received_is_refused_and_what_it_did_is_not() -> None:
    rig = opened()
    kept, lost = rig.new(wire.BID, 2), rig.new(wire.ASK, 3)
    rig.turn()
    rig.cut(delivered=50)  # the first order, to the byte
    rig.turn()
    assert rig.states[-1] == wire.CLOSED
    refused = rig.new(wire.BID, 1)
    rig.turn()
    assert rig.reasons == {refused: risks.NO_SESSION}
    rig.connect()
    rig.settle()
    assert rig.reasons == {refused: risks.NO_SESSION, lost: risks.NO_SESSION}
    assert [deed.kind for deed in rig.said[kept]] == ["accepted"]
    assert int(rig.session.counts[sessions.NEVER_ARRIVED]) == 1
    rig.check()


def test_an_order_that_the_venue_has_not_answered_yet_is_not_refused() -> None:
    rig = opened()
    rig.venue.plan = ["late"]
    handle = rig.new(wire.BID, 2)
    rig.turn()
    rig.cut(delivered=1 << 20)
    rig.connect()
    rig.settle()
    assert handle in rig.live and rig.said[handle] == []
    rig.venue.wake()
    rig.settle()
    assert [deed.kind for deed in rig.said[handle]] == ["accepted"]
    rig.check()


def test_a_cancel_that_was_lost_is_asked_again() -> None:
    rig = opened()
    handle = rig.new(wire.BID, 2)
    rig.settle()
    rig.cancel(handle)
    rig.turn()
    rig.cut()
    rig.turn()
    rig.connect()
    rig.settle()
    assert [deed.kind for deed in rig.said[handle]] == ["accepted", "cancelled"]
    rig.check()


@pytest.mark.parametrize(("name", "reason"), [("would_trade", risks.WOULD_TRADE), ("moon", risks.VENUE_REFUSED)])
def test_a_venue_that_refuses_an_order_is_heard_with_our_reason(name: str, reason: int) -> None:
    rig = opened()
    sessions.explain(rig.session, ["none"] * 7 + [name])
    rig.venue.plan = ["reject"]
    handle = rig.new(wire.BID, 2)
    rig.settle()
    assert rig.reasons == {handle: reason}


def test_a_mass_cancel_leaves_nothing() -> None:
    rig = opened()
    for qty in (1, 2, 3):
        rig.new(wire.BID, qty)
    rig.settle()
    assert want_all(rig.session) == 3
    rig.settle()
    assert not rig.venue.open and not rig.live
    rig.check()


def test_an_order_is_written_as_the_specification_says() -> None:
    rig = Rig()
    rig.session.cells[sessions.FIRM] = int.from_bytes(b"LIME", "big")
    rig.connect()
    rig.settle()
    rig.new(wire.ASK, 7, wire.IMMEDIATE, price=12, instrument=1)
    rig.new(wire.BID, 1, wire.POST_ONLY)
    rig.turn()
    (first, second), rest = packets(written(rig.session.link))
    assert not rest and first[0] == second[0] == "U"
    assert ouch.describe(first[1], outbound=False) == {
        "type": "O", "name": "enter order", "ref": 1, "side": "S", "qty": 70, "symbol": "MSFT", "price": 1200,
        "tif": "3", "display": "Y", "capacity": "P", "iso": "N", "cross": "N",
        "clordid": "", "appendage": [("firm", "LIME")],
    }  # fmt: skip
    told = ouch.describe(second[1], outbound=False)
    assert (told["ref"], told["side"], told["tif"], told["display"]) == (2, "B", "0", "P")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"qty": 0}, risks.BAD_QTY),
        ({"qty": 1_000_000}, risks.BAD_QTY),
        ({"price": 0}, risks.BAD_PRICE),
        ({"price": ouch.MARKET}, risks.BAD_PRICE),
        ({"side": 2}, risks.BAD_SIDE),
        ({"flag": wire.STOP}, risks.VENUE_REFUSED),
        ({"instrument": 5}, risks.VENUE_REFUSED),
        ({"order_id": 1 << 32 | OWN}, risks.NO_ROOM),
        ({"order_id": 0}, risks.NO_ROOM),
    ],
)
def test_what_can_not_be_written_is_refused_with_its_reason(change: dict[str, int], reason: int) -> None:
    rig = opened()
    request = {"kind": wire.NEW, "side": 0, "qty": 1, "price": 5, "order_id": 1 << 32, "flag": 0, "instrument": 0}
    push(rig.requests, **(request | change))
    carry_all(rig.session, rig.requests, rig.replies, rig.now)
    (record,) = drained(rig.replies)
    assert (int(record.kind), int(record.aux)) == (wire.REJECTED, reason)
    assert written(rig.session.link) == b"" and int(rig.session.counts[sessions.REFUSED]) == 1


def test_a_handle_that_is_still_out_is_refused_as_a_duplicate() -> None:
    rig = opened()
    handle = rig.new(wire.BID, 2)
    rig.settle()
    push(rig.requests, kind=wire.NEW, side=0, qty=1, price=5, order_id=handle)
    carry_all(rig.session, rig.requests, rig.replies, rig.now)
    (record,) = drained(rig.replies)
    assert (int(record.kind), int(record.aux)) == (wire.REJECTED, risks.DUPLICATE)


def test_orders_above_the_rate_are_refused_and_cancels_still_leave() -> None:
    rig = opened(rate=8, own=16)
    handles = [rig.new(wire.BID, 1) for _ in range(8)]
    rig.turn()
    assert sum(reason == risks.RATE_LIMIT for reason in rig.reasons.values()) == 1
    for handle in handles[:3]:
        rig.cancel(handle)
    rig.turn()
    assert int(rig.session.counts[sessions.CANCELS]) == 1 and int(rig.session.cells[sessions.WANTING]) == 2
    rig.now += SECOND
    rig.turn()
    assert int(rig.session.counts[sessions.CANCELS]) == 3
    rig.settle()
    rig.check()


def test_a_number_whose_place_is_held_is_skipped() -> None:
    rig = opened(own=4)
    rows = len(rig.session.rows)
    resting = rig.new(wire.BID, 5)
    rig.settle()
    for _ in range(rows):
        rig.new(wire.ASK, 1, wire.IMMEDIATE)
        rig.turn()
        rig.move()
        rig.venue.fill(max(rig.venue.open), 1)
        rig.settle()
    assert rig.refs[resting] == 1 and 1 + rows not in rig.venue.deeds and 2 + rows in rig.venue.deeds
    rig.check()


def test_silence_and_heartbeats() -> None:
    rig = opened()
    rig.now += SECOND
    rig.turn()
    assert written(rig.session.link) == b"\0\1R"
    rig.session.link.cells[links.SENT_NS] = rig.now
    rig.turn()
    assert written(rig.session.link) == b""
    rig.now += 15 * SECOND
    rig.turn()
    assert int(rig.session.link.cells[links.FAULT]) == links.SILENT


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (soupbin.framed("J", b"A"), links.LOGIN_REJECTED),
        (soupbin.framed("Z"), links.SESSION_ENDED),
        (b"\0\0", links.BAD_PACKET),
        (b"\xff\xff", links.BAD_PACKET),
        (soupbin.framed("?"), links.BAD_PACKET),
        (soupbin.framed("S", b"x"), links.BAD_PACKET),
        (soupbin.accepted("TODAY", 2), links.OTHER_SEQUENCE),
        (soupbin.accepted("OTHER", 1), links.OTHER_SESSION),
        (soupbin.framed("A", b" " * 30), links.OTHER_SESSION),
    ],
)
def test_a_venue_that_says_something_else_ends_the_link(raw: bytes, fault: int) -> None:
    rig = Rig()
    rig.session.cells[sessions.SEQUENCE] = 1
    rig.connect()
    rig.session.name[:] = np.frombuffer(b"     TODAY", np.uint8)
    put(rig.session.link, raw)
    rig.turn()
    assert int(rig.session.link.cells[links.FAULT]) == fault and rig.states == [wire.CLOSED]


def test_messages_about_nothing_of_ours_are_counted() -> None:
    rig = opened()
    rig.venue.tell(type="E", ref=9, qty=1, price=1, liquidity="A", match=1)
    rig.venue.tell(type="S", event="S")
    rig.venue.tell(type="B", ref=9, match=1, reason="E", clordid="")
    rig.venue.tell(type="T", ref=9, price=1, display="Y", order=4)
    rig.venue.told.append(b"E" + bytes(3))
    rig.venue.told.append(b"")
    handle = rig.new(wire.BID, 4)
    rig.settle()
    rig.venue.tell(type="J", ref=rig.refs[handle], reason=1, clordid="")
    rig.settle()
    counts = {name: int(n) for name, n in zip(sessions.COUNTERS, rig.session.counts, strict=False) if n}
    assert {name: counts[name] for name in ("unknown_refs", "system_events", "broken_trades", "ignored_messages")} == {
        "unknown_refs": 1, "system_events": 1, "broken_trades": 1, "ignored_messages": 1}  # fmt: skip
    assert counts["bad_messages"] == 2 and counts["unexpected"] == 1
    assert handle in rig.live
