"""A gateway and an order server over real sockets, in one thread: cut, silent, refused, and never in disagreement.

Time is the test's own: it is handed to both sides, and moves on as the story wants. Only whether bytes have arrived yet
is the machine's, so a test turns both sides until what it waits for is there, and gives up after many turns.
"""

import contextlib
import random
import select
import socket
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from order_rig import REASONS, Engine, drained, push

from ultra import wire
from ultra.cold.gateway import Gateway, GatewayError, Login
from ultra.cold.order_server import OrderServer, OrderServerError
from ultra.hot import JIT
from ultra.hot import ring as rings
from ultra.hot import risk as risks
from ultra.venues import order_desk as desks
from ultra.venues import order_session as sessions
from ultra.venues import soupbin

SECOND = 1_000_000_000
TURNS_MAX = 20_000
OWN = 16


class Rig:
    """A server with its engine, and a gateway with its own."""

    def __init__(self, *, password: str = "secret", keeps: int = 0, links_max: int = 4) -> None:
        self.now, self.engine = 100 * SECOND, Engine()
        self.desk = desks.create(2, 1, 64, store_bytes=1 << 20, reasons=REASONS)
        self.desk.accounts.keeps = keeps
        desks.list_instrument(self.desk, 0, "AAPL")
        self.server = OrderServer(self.desk, [("me", "secret"), ("you", "other")], links_max=links_max)
        self.entries = rings.create(wire.ENTRY, 64)
        self.session = sessions.create(1, OWN, rate=100_000)
        sessions.define(self.session, 0, "AAPL")
        self.gateway = Gateway(self.session, Login("127.0.0.1", self.server.port, "me", password))
        self.requests, self.replies = rings.create(wire.REQUEST, 64), rings.create(wire.RECORD, 64)
        self.free, self.used, self.live = list(range(OWN)), [0] * OWN, {}  # handle -> side, open lots
        self.position, self.states, self.said, self.last_match = 0, [], [], 0

    def serve(self) -> None:
        self.now += 1_000_000
        self.engine.work(self.entries)
        self.server.turn(self.entries, self.engine.reports, self.now)

    def client(self) -> None:
        self.now += 1_000_000
        self.gateway.turn(self.requests, self.replies, self.now)
        self.hear()
        sessions.check(self.session)

    def both(self, done: Callable[[], bool]) -> None:
        """Turn both sides until something is so."""
        for turn in range(TURNS_MAX):
            self.client()
            self.serve()
            if done():
                return
            if turn > 100:
                time.sleep(0.0005)
        pytest.fail(f"{TURNS_MAX} turns were not enough: {self.gateway.counts()}, {self.server.closed}")

    def open(self) -> None:
        self.both(lambda: self.gateway.state == wire.OPEN)

    def hear(self) -> None:
        for record in drained(self.replies):
            kind, handle = int(record.kind), int(record.order_id)
            if kind == wire.SESSION_STATE:
                self.states.append(int(record.aux))
                continue
            self.said.append((kind, handle, int(record.qty), int(record.aux)))
            side, left = self.live[handle]
            if kind == wire.FILL:
                self.position += int(record.qty) * (1 if side == wire.BID else -1)
                left -= int(record.qty)
            if kind in (wire.CANCELLED, wire.REJECTED) or left == 0:
                del self.live[handle]
                self.free.append(handle & 0xFFFFFFFF)
            else:
                self.live[handle] = side, left

    def new(self, side: int, qty: int) -> int:
        slot = self.free.pop()
        self.used[slot] += 2
        handle = (self.used[slot] - 1) << 32 | slot
        self.live[handle] = side, qty
        push(self.requests, kind=wire.NEW, side=side, qty=qty, price=5000, order_id=handle)
        return handle

    def fill(self, lots: int, choice: int = 0) -> None:
        self.engine.fill(sorted(self.engine.open)[choice % len(self.engine.open)], lots)

    def quiet(self) -> bool:
        """Whether nothing is on the way."""
        account = self.desk.accounts[0]
        heard = int(self.session.cells[sessions.SEQUENCE]) == int(account.told) + 1
        return self.gateway.state == wire.OPEN and heard and len(self.live) == len(self.engine.open)

    def lose(self, *, server_side: bool) -> None:
        """The connection is cut, by one side or the other."""
        ours = self.server._sockets if server_side else [self.gateway._socket]
        for connection in ours:
            if connection is not None:
                with contextlib.suppress(OSError):  # it is not connected yet, or no longer
                    connection.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Both sides know the same orders and the same position; nothing was told twice."""
        traded = {key[1]: lots for key, lots in self.engine.traded.items()}
        fills = [entry for entry in self.said if entry[0] == wire.FILL]
        assert sum(traded.values()) == sum(entry[2] for entry in fills)
        assert self.position == self.engine.position
        assert len(self.live) == len(self.engine.open)
        assert sorted(left for _, left in self.live.values()) == sorted(row[1] for row in self.engine.open.values())
        assert "duplicates" not in self.server.counts() and "unknown_refs" not in self.gateway.counts()
        desks.check(self.desk)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.gateway.close()
    made.server.close()


@pytest.fixture
def keeping() -> Iterator[Rig]:
    made = Rig(keeps=1)
    yield made
    made.gateway.close()
    made.server.close()


def test_an_order_goes_there_and_its_fills_come_back(rig: Rig) -> None:
    rig.open()
    handle = rig.new(wire.BID, 5)
    rig.both(lambda: len(rig.engine.open) == 1 and bool(rig.said))
    rig.fill(2)
    rig.fill(3)
    rig.both(rig.quiet)
    assert [(kind, who, qty) for kind, who, qty, _ in rig.said] == [
        (wire.ACCEPTED, handle, 5), (wire.FILL, handle, 2), (wire.FILL, handle, 3)]  # fmt: skip
    assert rig.states == [wire.CLOSED, wire.RECONCILING, wire.OPEN] and rig.position == 5
    rig.check()


@pytest.mark.parametrize("server_side", [True, False])
def test_fills_during_a_lost_connection_are_told_once_on_the_next(keeping: Rig, server_side: bool) -> None:
    rig = keeping
    rig.open()
    rig.new(wire.ASK, 9)
    rig.both(lambda: bool(rig.said))
    rig.lose(server_side=server_side)
    rig.fill(4)
    rig.serve()
    rig.both(lambda: rig.quiet() and rig.position == -4)
    assert rig.gateway.counts()["links"] == 2 and rig.server.logins == 2
    assert rig.states[-3:] == [wire.CLOSED, wire.RECONCILING, wire.OPEN]
    rig.fill(5)
    rig.both(rig.quiet)
    rig.check()


def test_a_lost_connection_cancels_what_is_open(rig: Rig) -> None:
    rig.open()
    for qty in (1, 2, 3):
        rig.new(wire.BID, qty)
    rig.both(lambda: len(rig.said) == 3)
    rig.lose(server_side=False)
    rig.both(lambda: rig.quiet() and not rig.live)
    assert [entry[0] for entry in rig.said[3:]] == [wire.CANCELLED] * 3
    rig.check()


@pytest.mark.parametrize("seed", range(4 if JIT else 1))
def test_links_lost_at_any_time_leave_both_sides_agreed(keeping: Rig, seed: int) -> None:
    rig, dice = keeping, random.Random(seed)
    for _ in range(400 if JIT else 150):
        chance = dice.random()
        rig.now += 20_000_000
        if chance < 0.4 and rig.free:
            rig.new(dice.randrange(2), dice.randint(1, 9))
        elif chance < 0.5 and rig.live:
            push(rig.requests, kind=wire.CANCEL_ORDER, order_id=dice.choice(sorted(rig.live)), price=-1)
        elif chance < 0.7 and rig.engine.open:
            rig.fill(dice.randint(1, 5), dice.randrange(99))
        elif chance < 0.8:
            rig.lose(server_side=dice.random() < 0.5)
        for _ in range(dice.randrange(3)):
            rig.client()
        for _ in range(dice.randrange(3)):
            rig.serve()
    rig.both(rig.quiet)
    assert rig.gateway.counts()["links"] > 2
    rig.check()


def test_new_orders_without_a_session_are_refused_at_once(rig: Rig) -> None:
    handle = rig.new(wire.BID, 5)
    rig.gateway.turn(rig.requests, rig.replies, rig.now)
    rig.hear()
    assert rig.said == [(wire.REJECTED, handle, 5, risks.NO_SESSION)]


def test_a_peer_that_says_nothing_is_left_and_found_again(keeping: Rig) -> None:
    rig = keeping
    rig.open()
    rig.new(wire.BID, 5)
    rig.both(lambda: bool(rig.said))
    rig.now += 14 * SECOND
    rig.client()
    assert rig.gateway.state == wire.OPEN
    rig.now += 2 * SECOND
    rig.client()
    assert rig.gateway.losses == {"silent": 1} and rig.states[-1] == wire.OPEN
    rig.client()
    assert rig.states[-1] == wire.CLOSED
    rig.both(rig.quiet)
    rig.fill(5)
    rig.both(rig.quiet)
    rig.check()


def test_heartbeats_keep_a_quiet_session_alive(rig: Rig) -> None:
    rig.open()
    for _ in range(40):
        rig.now += SECOND
        rig.client()
        rig.serve()
        time.sleep(0.001)
    assert rig.gateway.losses == {} and rig.server.closed == {} and rig.gateway.counts()["heartbeats"] > 10


def test_a_client_that_says_nothing_loses_its_link(rig: Rig) -> None:
    rig.open()
    rig.now += 16 * SECOND
    for _ in range(3):
        rig.serve()
    assert rig.server.closed == {"silent": 1} and rig.server.linked() == 0


def test_a_newer_login_takes_the_account_over(rig: Rig) -> None:
    rig.open()
    other = Gateway(sessions.create(1, OWN, rate=10), rig.gateway.login)
    try:
        for _ in range(TURNS_MAX):
            other.turn(rings.create(wire.REQUEST, 4), rings.create(wire.RECORD, 4), rig.now)
            rig.serve()
            if other.state == wire.OPEN:
                break
        assert rig.server.closed == {"a newer login": 1}
    finally:
        other.close()


def test_a_wrong_password_is_final(rig: Rig) -> None:
    wrong = Gateway(rig.session, Login("127.0.0.1", rig.server.port, "me", "guess"))
    rig.gateway = wrong
    rig.both(lambda: wrong.ended != "")
    assert wrong.ended == "login rejected" and rig.server.closed == {"login refused": 1} and rig.server.logins == 0


def test_a_server_that_is_not_there_is_tried_ever_more_rarely() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    gateway = Gateway(sessions.create(1, OWN, rate=10), Login("127.0.0.1", port, "me", "secret"))
    requests, replies, now, tries = rings.create(wire.REQUEST, 4), rings.create(wire.RECORD, 4), SECOND, []
    while len(tries) < 9:
        before = sum(gateway.losses.values())
        gateway.turn(requests, replies, now)
        if sum(gateway.losses.values()) > before:
            tries.append(now)
        now += 50_000_000
    gaps = np.diff(tries) // 100_000_000
    assert gaps.tolist() == [1, 2, 4, 8, 16, 32, 64, 100]
    assert list(gateway.losses) == ["connect: ECONNREFUSED"]


def test_all_orders_are_cancelled_when_asked_and_goodbye_is_said(keeping: Rig) -> None:
    rig = keeping
    rig.open()
    for _ in range(5):
        rig.new(wire.BID, 2)
    rig.both(rig.quiet)
    assert rig.gateway.cancel_all() == 5
    rig.both(lambda: rig.quiet() and not rig.live)
    rig.gateway.logout(rig.now)
    for _ in range(50):
        rig.serve()
        if rig.server.closed:
            break
        time.sleep(0.001)
    assert rig.server.closed == {"logged out": 1} and rig.gateway.ended == "closed"
    rig.client()
    assert rig.gateway.state == wire.CLOSED


def test_the_end_of_the_session_is_final(rig: Rig) -> None:
    rig.open()
    rig.server.end_session(rig.now)
    for _ in range(50):
        rig.client()
        if rig.gateway.ended:
            break
        time.sleep(0.001)
    assert rig.gateway.ended == "session ended"


# ---- Strangers. ----


def said(connection: socket.socket) -> bytes:
    """What a connection was told before it was closed."""
    found = b""
    while select.select([connection], [], [], 0.5)[0]:
        try:
            raw = connection.recv(4096)
        except ConnectionResetError:
            break
        if not raw:
            break
        found += raw
    return found


@pytest.mark.parametrize(
    ("raw", "reason", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no login", b""),
        (b"\xff\xff" + b"x" * 100, "no login", b""),
        (b"\0\0", "no login", b""),
        (soupbin.framed("U", b"Q"), "no login", b""),
        (soupbin.framed("L"), "no login", b""),
        (soupbin.login("me", "wrong"), "login refused", soupbin.framed("J", b"A")),
        (soupbin.login("he", "secret"), "login refused", soupbin.framed("J", b"A")),
        (soupbin.login("me", "secret", "OTHER"), "login refused", soupbin.framed("J", b"S")),
        (soupbin.login("me", "secret")[:-20] + b"x" * 20, "login refused", soupbin.framed("J", b"S")),
        (b"\0", "left before login", b""),
        (soupbin.login("me", "secret") + b"\xff\xff", "bad packet", soupbin.accepted("ULTRA", 1)),
        (soupbin.login("me", "secret") * 2, "bad packet", soupbin.accepted("ULTRA", 1)),
    ],
)
def test_a_stranger_who_does_not_log_in_is_shown_the_door(rig: Rig, raw: bytes, reason: str, answer: bytes) -> None:
    with socket.create_connection(("127.0.0.1", rig.server.port)) as connection:
        connection.sendall(raw)
        if reason.startswith("left"):
            connection.shutdown(socket.SHUT_WR)
        for _ in range(TURNS_MAX):
            rig.serve()
            if rig.server.closed:
                break
            time.sleep(0.0005)
        assert rig.server.closed == {reason: 1} and said(connection) == answer
    assert rig.server.linked() == 0


def test_one_who_dribbles_his_login_is_cut_off_and_nobody_waits_for_him(rig: Rig) -> None:
    raw = soupbin.login("me", "secret")
    with socket.create_connection(("127.0.0.1", rig.server.port)) as slow:
        rig.open()
        for k in range(10):
            slow.sendall(raw[k : k + 1])
            rig.now += SECOND // 4
            rig.client()
            rig.serve()
        assert rig.gateway.state == wire.OPEN and rig.server.closed == {}
        rig.now += 4 * SECOND
        rig.client()
        rig.serve()
        assert rig.server.closed == {"login too late": 1} and rig.gateway.state == wire.OPEN


def test_no_more_connections_than_places(rig: Rig) -> None:
    crowd = [socket.create_connection(("127.0.0.1", rig.server.port)) for _ in range(7)]
    for _ in range(50):
        rig.serve()
    assert rig.server.closed == {"too many connections": 3}
    for connection in crowd:
        connection.close()
    rig.open()
    assert rig.server.closed["left before login"] == 4


def test_what_can_not_be_set_up_is_named() -> None:
    with pytest.raises(GatewayError, match="password"):
        Login("127.0.0.1", 1, "me", "far too long")
    with pytest.raises(GatewayError, match="no address"):
        Login("no such host.invalid", 1, "me", "secret")
    desk = desks.create(1, 1, 4, store_bytes=1 << 12)
    with pytest.raises(OrderServerError, match="2 users for a desk of 1"):
        OrderServer(desk, [("a", "b"), ("c", "d")])
    with pytest.raises(OrderServerError, match="session name"):
        OrderServer(desk, [("a", "b")], session="MUCH TOO LONG")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OrderServerError, match="another server"):
        OrderServer(desk, [("a", "b")], port=taken.getsockname()[1])
