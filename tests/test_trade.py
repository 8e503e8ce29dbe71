"""`ultra run --venue` on `ultra venue`, both as processes, with everything between them going wrong once.

The truth is neither side's: a client in plain Python logs in on the account, is told the day from its first message,
and adds up what was executed. The engine must have that position, however often it, the venue or the line was killed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
from runs import IMBALANCE, SMALL, assert_same, environment, replayed, ultra, until, words

from ultra.config_link import host_port
from ultra.venues import ouch, soupbin

pytestmark = [pytest.mark.jit_only, pytest.mark.slow]
ULTRA = [sys.executable, "-m", "ultra"]
VENUE = """
[exchange]
order_live_max = 4096
message_max = 262144
reply_bytes = 4194304
client_max = 4
feed_a = "udp://127.0.0.1:{0}"
feed_b = "udp://127.0.0.1:{1}"
request = "request://127.0.0.1:{2}"
orders = "tcp://127.0.0.1:{3}"
[exchange.account.ANN]
[exchange.generator.noise]
rate_per_s = 400
[exchange.generator.maker]
kind = "maker"
account = "MAKER"
rate_per_s = 100
"""
KEEN = {"strategy.parameters.edge": 0.0, "strategy.parameters.order_qty": 5, "strategy.parameters.wait_ns": 0}
PATIENT = {"link.feed_silence_ms": 600, "link.reconnect_ms": 20, "link.request_max": 4, "link.gap_wait_ms": 1}


class World:
    """A venue and an engine in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0
        self.env = environment(ULTRA_PASSWORD="secret", ULTRA_OUCH_PASSWORD="secret")
        (folder / "venue.toml").write_text(VENUE.format(*free_ports()))
        self.venue: Any = None
        self.engine: Any = None
        self.said: Path = folder / "nothing"

    def open(self) -> None:
        """Start the venue, or start it again."""
        ports = self.folder / "ports.json"
        ports.unlink(missing_ok=True)
        given = ["venue", "--config", str(self.folder / "venue.toml"), "--journal", str(self.folder / "log"), "--json"]
        self.venue = self._start([*given, "--port-file", str(ports)], self.folder / "venue.out", self.folder / "errors")
        until(lambda: ports.exists() or self.venue.poll() is not None, "the venue is open")
        assert self.venue.poll() is None, (self.folder / "errors").read_text()
        self.at = json.loads(ports.read_text())

    def run(self, **more: Any) -> Path:
        """Start an engine; the folder of its journal."""
        self.runs += 1
        journal = self.folder / f"journal-{self.runs}"
        self.said = self.folder / f"said-{self.runs}"
        given = words({**SMALL, **KEEN, **PATIENT, **more})
        self.engine = self._start(
            ["run", "--venue", self.at["venue"], "--strategy", IMBALANCE, "--journal", str(journal), "--json", *given],
            self.folder / f"out-{self.runs}", self.said,
        )  # fmt: skip
        return journal

    def _start(self, given: list[str], out: Path, said: Path) -> Any:
        with out.open("w") as stdout, said.open("a") as stderr:
            return subprocess.Popen([*ULTRA, *given], stdout=stdout, stderr=stderr, env=self.env)

    def ctl(self, *given: str) -> Any:
        done = ultra("venue", "ctl", "--socket", self.at["operator"], *given)
        assert done.code == 0, done.said
        return done.found

    @property
    def orders(self) -> int:
        """How many the venue has had."""
        return int(self.ctl("status")["desk"].get("orders", 0))  # only what happened is counted

    def trades(self, more: int = 15) -> None:
        """Wait until so many more orders came."""
        wanted = self.orders + more
        until(lambda: self.orders >= wanted or self.engine.poll() is not None, f"{more} more orders came")
        assert self.engine.poll() is None, self.said.read_text()

    def hears(self, text: str, times: int = 1) -> None:
        """Wait until the engine said so."""
        until(lambda: self.said.read_text().count(text) >= times, f"it says {text}")

    def end(self) -> dict[str, Any]:
        """The engine ends in good order; what it came to."""
        self.engine.send_signal(signal.SIGTERM)
        assert self.engine.wait(timeout=60) == 0, self.said.read_text()
        return dict(json.loads((self.folder / f"out-{self.runs}").read_text()))

    def ledger(self) -> tuple[int, set[int]]:
        """Position and open orders of the account, as the venue tells them to whoever asks."""
        head, _ = self._told(0)
        last, messages = self._told(1, head - 1)
        assert last >= head
        sides: dict[int, int] = {}
        open_lots: dict[int, int] = {}
        position = 0
        for message in messages:
            ref = message.get("ref", 0)
            if message["type"] == "A":
                sides[ref], open_lots[ref] = 1 if message["side"] == "B" else -1, message["qty"]
                if message["state"] == "D":
                    open_lots[ref] = 0
            elif message["type"] == "E":
                position += sides[ref] * message["qty"]
                open_lots[ref] -= message["qty"]
            elif message["type"] == "C":
                open_lots[ref] -= message["qty"]
        return position, {ref for ref, lots in open_lots.items() if lots > 0}

    def _told(self, sequence: int, count: int = 0) -> tuple[int, list[dict[str, Any]]]:
        """Log in, take so many messages; the number of the next one at the login, and the messages."""
        with socket.create_connection(host_port(self.at["orders"][0]), timeout=20) as link:
            link.sendall(soupbin.login("ANN", "secret", "", sequence))
            stream, found, following = link.makefile("rb"), [], 0
            while following == 0 or len(found) < count:
                kind, body = packet(stream)
                if kind == "A":
                    following = int(body[10:])
                elif kind == "S":
                    found.append(ouch.describe(body, outbound=True))
                assert kind != "J", body
            return following + len(found), found

    def close(self) -> None:
        for process in (self.engine, self.venue):
            if process is not None:
                process.kill()
                process.wait()


def packet(stream: IO[bytes]) -> tuple[str, bytes]:
    raw = stream.read(int.from_bytes(stream.read(2), "big"))
    return chr(raw[0]), raw[1:]


def free_ports() -> list[int]:
    """Four that nobody has at the moment."""
    held = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM,) * 3 + (socket.SOCK_STREAM,)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    found = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return found


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    made.open()
    yield made
    made.close()


def position_of(found: dict[str, Any]) -> int:
    return sum(int(row["position"]) for row in found["by_instrument"].values())


def test_a_bad_line_a_cut_session_and_a_killed_engine_leave_both_sides_agreed(world: World) -> None:
    first = world.run()
    world.hears("the session is open")
    world.trades()
    for word in ("drop", "duplicate", "reorder"):
        world.ctl(word, "30")
    world.trades()
    world.ctl("disconnect", "ANN")
    world.hears("the session is open", 2)
    world.trades()
    os.kill(world.engine.pid, signal.SIGKILL)
    world.engine.wait()
    again = replayed(first)
    assert again.code == 0 and again.found["matches"] and not again.found["complete"]
    until(lambda: world.ctl("status")["clients"] == 0, "the venue has seen that it is gone")
    assert world.ledger()[1] == set(), "what was open went with the connection"
    second = world.run()
    world.hears("the session is open")
    world.trades()
    found = world.end()
    assert (position_of(found), set()) == world.ledger()
    assert found["venue"]["session"]["adopted"] > 0 and found["venue"]["open_orders"] == 0
    feed = found["venue"]["feed"]
    assert feed["recovered"] > 0 and feed["duplicates"] > 0 and found["venue"]["recovery_ns"]["max"] > 0
    assert "unknown_refs" not in found["venue"]["session"]
    assert_same(found, replayed(second))


def test_nothing_is_sent_on_stale_books_and_a_killed_venue_comes_back_to_the_same_session(world: World) -> None:
    journal = world.run()
    world.hears("the session is open")
    world.trades()
    world.ctl("request-server", "off")
    world.ctl("drop", "400")
    world.hears("the feed is stale")
    sent = world.orders
    until(lambda: world.ctl("status")["messages"] > 0 and world.said.read_text().count("stale") > 0, "time passes")
    assert world.orders == sent, "no new order on books with a hole"
    world.ctl("drop", "0")
    world.ctl("request-server", "on")
    lives = world.said.read_text().count("the feed is live")
    world.hears("the feed is live", lives + 1)
    world.trades()
    opened = world.said.read_text().count("the session is open")
    os.kill(world.venue.pid, signal.SIGKILL)
    world.venue.wait()
    world.hears("the session is closed")
    world.open()
    assert world.at["resumed"]
    world.hears("the session is open", opened + 1)
    world.trades()
    found = world.end()
    assert (position_of(found), set()) == world.ledger()
    assert found["venue"]["losses"] and found["rejects_by_reason"]["stale_book"] > 0
    assert "unexpected" not in found["venue"]["session"]
    assert_same(found, replayed(journal))
    world.venue.send_signal(signal.SIGTERM)
    assert world.venue.wait(timeout=60) == 0
