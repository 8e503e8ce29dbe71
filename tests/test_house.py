"""The exchange as a process, in this one: real sockets on the loopback address, and a clock that the test moves.

What a crash leaves is made by letting a house go without closing its log, and another one begin in the same folder.
"""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mold_rig
import numpy as np
import pytest
from itch_streams import bodies, fields_of
from runs import forget

from ultra.cold import multicast, operator
from ultra.cold.floor_assembly import ExchangeError, check
from ultra.cold.house import House
from ultra.cold.segment import JournalError
from ultra.config import parse
from ultra.config_exchange import Exchange
from ultra.hot import ring as rings
from ultra.ops.venue import Run
from ultra.venues import floor as floors
from ultra.venues import itch, ouch, soupbin
from ultra.venues import mold_archive as archives
from ultra.venues import mold_receiver as receivers
from ultra.wire import AUCTION, HALTED, MARKET_LAST, RECORD, TRADING, symbol_to_int

START = 1_700_000_000_000_000_000
MS = 1_000_000
SMALL = """
order_live_max = 1024
order_day_max = 4096
level_page_max = 256
message_max = 16384
reply_bytes = 65536
client_max = 4
heartbeat_ms = 60000
silence_ms = 600000
"""
PLAIN = f"""[exchange]
{SMALL}generator = {{}}
[exchange.instrument.ULTRA]
[exchange.account.ANN]
[exchange.account.BOB]
"""
BUSY = f"[exchange]\n{SMALL}[exchange.account.ANN]\n"


SOCKETS: list[socket.socket] = []


@pytest.fixture(autouse=True)
def sockets() -> Iterator[None]:
    yield
    while SOCKETS:
        SOCKETS.pop().close()


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


class Rig:
    """A house, its clock, and clients that log in."""

    def __init__(self, exchange: Exchange, folder: Path, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.house = House(exchange, folder, self.clock)

    def turn(self, ms: int = 0, times: int = 3) -> None:
        """Time passes, and the house does what there is."""
        for _ in range(times):
            self.clock.now += ms * MS // times + 1
            self.house.turn()

    def client(self, user: str, sequence: int = 0, password: str | None = None) -> "Client":
        found = Client(self, user, sequence, password)
        self.turn(2)
        return found

    def crash(self) -> None:
        """As kill -9: nothing more is done, said or logged, whoever is connected."""
        self.house.close()

    def feed(self) -> bytes:
        archive = self.house.floor.archive
        return bytes(archive.block[: int(archive.starts[int(archive.cells[archives.COUNT])])].tobytes())

    def events(self) -> str:
        found = bodies(np.frombuffer(self.feed(), np.uint8))
        return "".join(chr(fields_of(body)["event"]) for body in found if body[:1] == b"S")


class Client:
    """A plain client: a socket, and what it was told."""

    def __init__(self, rig: Rig, user: str, sequence: int, password: str | None) -> None:
        self.rig = rig
        known = dict(rig.house._passwords())
        self.socket = socket.create_connection(rig.house.orders)
        SOCKETS.append(self.socket)
        self.socket.settimeout(5)
        self.socket.sendall(soupbin.login(user, known[user] if password is None else password, "", sequence))

    def say(self, *messages: dict[str, Any]) -> None:
        self.socket.sendall(b"".join(soupbin.framed("U", ouch.compose(m, outbound=False)) for m in messages))
        self.rig.turn()

    def packet(self) -> dict[str, Any]:
        head = self._exactly(2)
        return soupbin.describe(head + self._exactly(int.from_bytes(head, "big")), outbound=True)

    def told(self, count: int) -> list[dict[str, Any]]:
        """The next messages, by name."""
        packets = [self.packet() for _ in range(count)]
        assert {packet["type"] for packet in packets} <= {"S"}, packets
        return [ouch.describe(packet["payload"], outbound=True) for packet in packets]

    def _exactly(self, count: int) -> bytes:
        raw = b""
        while len(raw) < count:
            more = self.socket.recv(count - len(raw))
            assert more, "the venue hung up"
            raw += more
        return raw


def order(ref: int, side: str, qty: int, price: int) -> dict[str, Any]:
    return dict(type="O", ref=ref, side=side, qty=qty, symbol="ULTRA", price=price, tif="0", display="Y",
                capacity="P", iso="N", cross="N", clordid=f"C{ref}")  # fmt: skip


def exchange(text: str = PLAIN, **keys: Any) -> Exchange:
    return replace(parse(text, "here.toml").exchange, **keys)


@contextlib.contextmanager
def opened(folder: Path, text: str = PLAIN, **keys: Any) -> Iterator[Rig]:
    rig = Rig(exchange(text, **keys), folder)
    try:
        yield rig
    finally:
        rig.house.close()


def test_two_clients_trade_and_each_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as rig:
        ann, bob = rig.client("ANN"), rig.client("BOB")
        for client in (ann, bob):
            accepted = client.packet()
            assert (accepted["type"], accepted["session"], accepted["sequence"].strip()) == (
                "A",
                rig.house.session,
                "1",
            )
        ann.say(order(1, "B", 100, 1_000_000))
        bob.say(order(1, "S", 40, 999_000))
        ours, theirs = ann.told(2), bob.told(2)
        assert [m["type"] for m in ours] == [m["type"] for m in theirs] == ["A", "E"]
        assert ours[1]["match"] == theirs[1]["match"] and ours[1]["qty"] == 40 and ours[1]["price"] == 1_000_000
        counts = rig.house.counts()
        assert (counts["clients"], counts["logins"], counts["traded_lots"]) == (2, 2, 40)


def test_a_wrong_password_is_refused_and_a_made_up_one_is_for_its_owner_only(tmp_path: Path) -> None:
    with opened(tmp_path) as rig:
        assert rig.client("ANN", password="wrong").packet()["type"] == "J"
        assert (tmp_path / "passwords").stat().st_mode & 0o777 == 0o600
        assert "passwords" not in json.dumps(rig.house.addresses())
        assert rig.house.counts()["closed"] == {"login refused": 1}


def test_who_leaves_takes_the_orders_along_and_finds_every_message_again(tmp_path: Path) -> None:
    with opened(tmp_path) as rig:
        ann = rig.client("ANN")
        ann.packet()
        ann.say(order(1, "B", 100, 1_000_000), order(2, "B", 50, 990_000))
        first = ann.told(2)
        ann.socket.close()
        rig.turn(5)
        assert rig.house.counts()["closed"] == {"closed by the peer": 1}
        again = rig.client("ANN", sequence=2)
        assert again.packet()["sequence"].strip() == "2"
        found = again.told(3)
        assert found[0] == first[1]
        assert sorted((m["type"], m["ref"]) for m in found[1:]) == [("C", 1), ("C", 2)]


def test_a_killed_venue_comes_back_with_the_same_books_and_numbers(tmp_path: Path) -> None:
    rig = Rig(exchange(), tmp_path)
    ann, bob = rig.client("ANN"), rig.client("BOB")
    ann.packet()
    ann.say(order(1, "B", 100, 1_000_000), order(2, "B", 50, 990_000))
    bob.say(order(1, "S", 30, 1_000_000))
    first, feed = ann.told(3), rig.feed()
    rig.crash()
    other = Rig(exchange(heartbeat_ms=10_000), tmp_path, rig.clock)
    try:
        assert other.house.log.resumed and other.house.session == rig.house.session
        assert other.feed() == feed
        ann = other.client("ANN", sequence=1)
        assert ann.packet()["sequence"].strip() == "1" and ann.told(3) == first
        # What was sent twice acts once; what is left of the order is there.
        ann.say(order(2, "B", 50, 990_000), dict(type="X", ref=1, qty=0), order(3, "B", 1, 980_000))
        assert [(m["type"], m["ref"]) for m in ann.told(2)] == [("C", 1), ("A", 3)]
        assert other.feed()[: len(feed)] == feed
        floors.check(other.house.floor)
    finally:
        other.house.close()


def test_agents_go_on_after_a_crash_with_their_orders(tmp_path: Path) -> None:
    rig = Rig(exchange(BUSY), tmp_path)
    rig.turn(60, times=12)
    floor = rig.house.floor
    live = floor.agents.rows.live.tolist()
    assert min(live) > 0 and int(floor.agents.cells[2]) > 0
    rig.crash()
    other = Rig(exchange(BUSY), tmp_path, rig.clock)
    try:
        assert other.house.floor.agents.rows.live.tolist() == live
        other.turn(60, times=12)
        assert int(other.house.floor.agents.cells[5]) == 0, "a report that no agent knows"
        assert len(other.feed()) > len(rig.feed())
        floors.check(other.house.floor)
    finally:
        other.house.close()


def test_half_a_frame_at_the_end_is_what_the_crash_cut_and_nobody_was_told(tmp_path: Path) -> None:
    rig = Rig(exchange(), tmp_path)
    ann = rig.client("ANN")
    ann.packet()
    ann.say(order(1, "B", 100, 1_000_000))
    whole = rig.house.log._journal._at
    ann.say(order(2, "B", 100, 1_000_000))
    rig.crash()
    with (tmp_path / "segment-000000.ulj").open("r+b") as file:
        file.truncate(whole + 100)
    forget(tmp_path)
    other = Rig(exchange(), tmp_path, rig.clock)
    try:
        assert other.house.floor.desk.accounts.next_ref.tolist() == [2, 1]
    finally:
        other.house.close()


def test_what_the_disk_refuses_is_not_said(tmp_path: Path) -> None:
    rig = Rig(exchange(), tmp_path)
    ann = rig.client("ANN")
    ann.packet()
    os.close(rig.house.log._journal._file)  # as a disk that is gone
    with pytest.raises(JournalError, match="said nothing that is not written"):
        ann.say(order(1, "B", 100, 1_000_000))
    rig.house.close()
    other = Rig(exchange(), tmp_path, rig.clock)
    try:
        ann = other.client("ANN", sequence=1)
        assert ann.packet()["sequence"].strip() == "1"
        ann.say(order(1, "B", 100, 1_000_000))
        assert [m["ref"] for m in ann.told(1)] == [1]
    finally:
        other.house.close()


def test_the_day_passes_by_itself(tmp_path: Path) -> None:
    with opened(tmp_path, pre_open_ms=100, trading_ms=200, pre_close_ms=100) as rig:
        ann, bob = rig.client("ANN"), rig.client("BOB")
        ann.packet(), bob.packet()
        states = []
        for ms in (10, 100, 100, 120, 80, 20):
            rig.turn(ms)
            states.append(int(rig.house.floor.venue.listings[0].state))
            if ms == 10:
                ann.say(order(1, "B", 100, 1_001_000), order(2, "B", 10, 900_000))
                bob.say(order(1, "S", 60, 999_000))
        assert states == [AUCTION, TRADING, TRADING, AUCTION, HALTED, HALTED]
        assert [m["type"] for m in ann.told(5)] == ["A", "A", "E", "C", "C"]
        rig.house.end()
        assert rig.events() == "OSQMEC"
    with pytest.raises(ExchangeError, match="is over"):
        Rig(exchange(pre_open_ms=100, trading_ms=200, pre_close_ms=100), tmp_path)


def test_lost_packets_are_asked_for_unless_the_server_is_off(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    listener.settimeout(5)
    feed_a = f"udp://127.0.0.1:{listener.getsockname()[1]}"
    with opened(tmp_path, feed_a=feed_a, feed_b="") as rig:
        rig.house.fault("drop", 1000, 8)
        ann = rig.client("ANN")
        ann.say(order(1, "B", 100, 1_000_000))
        rig.house.fault("drop", 0, 8)
        ann.say(order(2, "B", 100, 1_000_000))
        packet = listener.recv(2048)
        first = int.from_bytes(packet[10:18], "big")
        assert packet[:10].decode() == rig.house.session and first > 1
        said = bodies(np.frombuffer(rig.feed(), np.uint8))
        assert bodies(np.frombuffer(packet[20:], np.uint8)) == said[first - 1 :]
        question = packet[:10] + (1).to_bytes(8, "big") + (first - 1).to_bytes(2, "big")
        assert rig.house.request is not None
        server = (rig.house.request.host, rig.house.request.port)
        rig.house.deafen(True)
        listener.sendto(question, server)
        rig.turn()
        assert rig.house.counts()["requests"]["requests"] == 0
        rig.house.deafen(False)
        rig.turn()
        assert bodies(np.frombuffer(listener.recv(2048)[20:], np.uint8)) == said[: first - 1]
        rig.house.end()
        last = listener.recv(2048)
        while last[18:20] != b"\xff\xff":
            last = listener.recv(2048)
        assert int.from_bytes(last[10:18], "big") == len(bodies(np.frombuffer(rig.feed(), np.uint8))) + 1
    listener.close()


def test_the_engines_own_receiver_gets_every_message_over_a_bad_network(tmp_path: Path) -> None:
    with contextlib.ExitStack() as closing:
        lines = [multicast.listen("127.0.0.1", 0) for _ in range(2)]
        addresses = {f"feed_{name}": f"udp://127.0.0.1:{line.port}" for name, line in zip("ab", lines, strict=True)}
        rig = closing.enter_context(opened(tmp_path, BUSY, **addresses))
        assert rig.house.request is not None
        lines.append(multicast.speak("127.0.0.1", rig.house.request.port))
        for line in lines:
            closing.callback(line.close)
        for what, permille in (("drop", 200), ("duplicate", 50), ("reorder", 50), ("delay", 50)):
            rig.house.fault(what, permille, 3)
        receiver = receivers.create([line.fd for line in lines], rig.house.session, limits=mold_rig.LIMITS)
        decoder = itch.create(1, [symbol_to_int("ULTRA")], selective=True, ts_base=int(rig.house.log.meta["midnight"]))
        ring, house = rings.create(RECORD, 1 << 12), rig.house
        heard: list[tuple[int, ...]] = []

        def listen() -> None:
            mold_rig.step(house.sender, house.resender, house.floor.archive, receiver, decoder, ring, rig.clock.now, 4)
            for k in range(int(ring.cells[rings.GATE]), int(ring.cells[rings.CURSOR])):
                record = ring.slots[k & 4095]
                if record.kind <= MARKET_LAST:
                    heard.append(tuple(int(record[name]) for name in ("kind", "order_id", "price", "qty", "ts_event")))
            ring.cells[rings.GATE] = ring.cells[rings.CURSOR]

        for _ in range(60):
            rig.turn(2, times=1)
            listen()
        for _ in range(200):
            rig.clock.now += 20_000 * MS  # heartbeats show that there is more, and what is missing is asked for
            house.floor.agents.rows.due = 1 << 62
            house.turn()
            listen()
        decoded = itch.create(1, [symbol_to_int("ULTRA")], selective=True, ts_base=int(house.log.meta["midnight"]))
        said, raw = rings.create(RECORD, 1 << 12), np.frombuffer(rig.feed(), np.uint8).copy()
        itch.decode(decoded, raw, 0, len(raw), said)
        wanted = [
            tuple(int(record[name]) for name in ("kind", "order_id", "price", "qty", "ts_event"))
            for record in said.slots[: int(said.cells[rings.CURSOR])]
        ]
        outcomes = receivers.outcomes(receiver)
        assert heard == wanted and len(heard) > 50, outcomes
        assert house.counts()["feed"]["dropped"] > 0 and house.counts()["requests"]["requests"] > 0, outcomes


def test_a_recording_is_background_flow_and_is_not_begun_again_after_a_crash(tmp_path: Path) -> None:
    prices = [(1_000_000 + 100 * (k % 7 - 3), 1 if k % 7 < 3 else -1) for k in range(50)]
    rows = "".join(f"34200.{k:06d},1,{k + 1},10,{price},{side}\n" for k, (price, side) in enumerate(prices))
    (tmp_path / "day.csv").write_text(rows + "34200.1,4,1,10,999700,1\n34200.2,3,2,10,999800,1\n")
    text = f"""[exchange]
{SMALL}[exchange.account.ANN]
[exchange.generator.day]
kind = "replay"
account = "PAST"
file = "{tmp_path / "day.csv"}"
"""
    rig = Rig(exchange(text), tmp_path / "log")
    rig.turn(150, times=10)
    counts = rig.house.counts()["background"]
    assert (counts["entered"], counts["executed"], counts["unknown"]) == (50, 1, 0)
    assert rig.house.counts()["traded_lots"] == 10
    rig.turn(100, times=10)
    feed = rig.feed()
    rig.crash()
    other = Rig(exchange(text), tmp_path / "log", rig.clock)
    try:
        other.turn(300, times=10)
        assert other.feed() == feed
    finally:
        other.house.close()


def test_one_venue_a_folder_and_only_as_what_it_was(tmp_path: Path) -> None:
    with opened(tmp_path / "a"), pytest.raises(ExchangeError, match="another venue runs there"):
        Rig(exchange(), tmp_path / "a")
    with pytest.raises(ExchangeError, match="another pre_open_ms, instrument, account: start"):
        Rig(exchange(BUSY.replace("[exchange.account.ANN]", "[exchange.account.EVE]"), pre_open_ms=5,
                     generator=exchange().generator), tmp_path / "a")  # fmt: skip
    with pytest.raises(ExchangeError, match="there are ULTRA"):
        check(exchange('[exchange.generator.g]\ninstrument = "NONE"'))


def test_a_feed_that_outgrows_its_room_ends_the_day_with_a_reason(tmp_path: Path) -> None:
    with (
        opened(tmp_path, BUSY, message_max=1200) as rig,
        pytest.raises(ExchangeError, match="message_max = 1200"),
    ):
        for _ in range(100):
            rig.turn(20)


def test_the_operator_is_understood_or_told_why_not(tmp_path: Path) -> None:
    run = Run(parse(PLAIN, "here.toml"), tmp_path)
    try:
        assert run.operator.path.stat().st_mode & 0o777 == 0o600
        found: list[Any] = []

        def talk() -> None:
            for words in (["status"], ["halt", "ULTRA"], ["dance"], ["drop", "50"], ["request-server", "off"]):
                try:
                    found.append(operator.ask(run.operator.path, words))
                except operator.OperatorError as error:
                    found.append(str(error))

        thread = threading.Thread(target=talk)
        thread.start()
        while thread.is_alive():
            run.operator.turn()
            run.house.turn()
        thread.join()
        assert found[0]["phase"] == "open" and found[1] == {"done": "halt ULTRA"}
        assert "wanted halt, resume" in found[2]
        run.house.turn()
        assert int(run.house.floor.venue.listings[0].state) == HALTED
        assert int(run.house.floor.cells[floors.DEAF]) == 1 and int(run.house.sender.faults.cells[1]) == 50
        for words in (["auction", "ULTRA", "open"], ["uncross", "all"], ["stop"]):
            run.act(words)
        for words in (["halt", "NONE"], ["auction", "ULTRA", "noon"], ["drop"], ["drop", "1001"], ["disconnect", "ANN"],
                      ["request-server"], []):  # fmt: skip
            with pytest.raises(operator.OperatorError):
                run.act(words)
        assert run.house.stopping
    finally:
        run.close()
    with pytest.raises(operator.OperatorError, match="is that venue running"):
        operator.ask(tmp_path / "operator.sock", ["status"])
