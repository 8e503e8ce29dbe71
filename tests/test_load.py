"""The load generator against a venue in a thread beside it: all that is sent is answered once, both count the same."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.cold.house import House
from ultra.config import parse
from ultra.hot import JIT
from ultra.ops import load
from ultra.venues import link as links
from ultra.venues import order_desk as desks
from ultra.venues import ouch, soupbin, volley
from ultra.venues.matching_state import MATCHES
from ultra.wire import symbol_to_int

CONFIG = """
[exchange]
generator = {}
order_live_max = 4096
message_max = 65536
reply_bytes = 4194304
client_max = 4
[exchange.instrument.ULTRA]
[exchange.account.ANN]
[exchange.account.BOB]
"""
MESSAGES, RATE = (1500, 3000) if JIT else (150, 300)


class Venue:
    """A house that turns until it is told to stop."""

    def __init__(self, folder: Path) -> None:
        self.house = House(parse(CONFIG, "here.toml").exchange, folder)
        self.failed: list[BaseException] = []
        self.wishes: list[Callable[[], object]] = []  # for the venue's own thread
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def _play(self) -> None:
        try:
            while not self.house.stopping:
                while self.wishes:
                    self.wishes.pop()()
                if not self.house.turn():
                    self.house.wait([])
        except BaseException as error:
            self.failed.append(error)

    def stop(self) -> None:
        self.house.stopping = True
        self._thread.join()
        assert self.failed == []


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Venue]:
    found = Venue(tmp_path)
    yield found
    found.stop()
    found.house.close()


def addresses(venue: Venue) -> str:
    return ",".join(venue.house.addresses()["orders"])


def test_everything_is_answered_and_both_sides_count_the_same(venue: Venue, tmp_path: Path) -> None:
    clients = load.wanted(addresses(venue), None, tmp_path / "passwords")
    assert [client.name for client in clients] == ["ANN", "BOB"]
    found = load.run(clients, rate=RATE, seconds=MESSAGES / RATE, symbols=["ULTRA"], price="100", seed=5)
    venue.stop()
    assert found["orders"] + found["replaces"] + found["cancels"] == MESSAGES and found["behind"] == 0
    assert found["sent"] == found["answered"] == found["accepted"] + found["replaced"] + found["rejected"]
    assert found["disconnects"] == found["unsent"] == found["unanswered"] == 0
    assert sum(count for _, _, count in found["hdr"]) == found["answered"]
    desk = venue.house.floor.desk
    counts = {name: int(count) for name, count in zip(desks.COUNTERS, desk.counts, strict=False)}
    assert (counts["bad_messages"], counts["duplicates"], counts["queries"]) == (0, 0, 2)
    assert counts["refused"] == found["rejected"] and counts["orders"] == found["orders"]
    # Who rested may be told of its last fills when all that was sent is answered already.
    assert 0 < found["fills"] <= 2 * int(venue.house.floor.venue.cells[MATCHES])
    assert "p99" in load.as_text(found) and "hdr" not in load.as_text(found)


def test_a_second_load_goes_on_with_the_numbers_of_the_first(venue: Venue, tmp_path: Path) -> None:
    (client,) = load.wanted(addresses(venue), 1, tmp_path / "passwords")
    for _ in range(2):
        found = load.run([client], rate=2000, seconds=0.02, symbols=["ULTRA"], price="100")
        assert found["answered"] == found["sent"] > 0


def test_a_venue_that_hangs_up_is_counted(venue: Venue, tmp_path: Path) -> None:
    clients = load.wanted(addresses(venue), 1, tmp_path / "passwords")
    timer = threading.Timer(0.3, venue.wishes.append, [lambda: venue.house.server.disconnect("ANN")])
    timer.start()
    found = load.run(clients, rate=500, seconds=3, symbols=["ULTRA"], price="100")
    timer.join()
    assert found["disconnects"] == 1 and found["answered"] <= found["sent"] < 1500


def test_what_can_not_be_done_is_said(venue: Venue, tmp_path: Path) -> None:
    for text in ("tcp://a:1", "ouch://TOOLONG@a:1", "ouch://A"):
        with pytest.raises(load.LoadError, match="wanted ouch://USER@HOST:PORT"):
            load.wanted(text, None, None)
    for text in ("0", "fast", "100000000/s"):
        with pytest.raises(load.LoadError, match="wanted 1/s"):
            load.rate(text)
    assert load.rate("2000") == load.rate("2000/s") == 2000
    with pytest.raises(load.LoadError, match="names 2"):
        load.wanted(addresses(venue), 3, None)
    stranger = load.Client(*venue.house.orders, "ANN", "wrong")
    with pytest.raises(load.LoadError, match="the login was refused"):
        load.log_in(stranger)
    with pytest.raises(load.LoadError, match="wanted a number"):
        load.run([stranger], rate=1, seconds=1, symbols=["ULTRA"], price="cheap")


@loop
def drive(found, now):
    return volley.drive(found, now)


def written(found: volley.Volley, at: int) -> list[dict[str, Any]]:
    """What a client has written since, by name."""
    cells = found.bank.cells[at]
    raw = found.bank.outbox[at, int(cells[links.OUT_AT]) : int(cells[links.OUT_END])].tobytes()
    cells[links.OUT_AT] = cells[links.OUT_END] = 0
    said = []
    while raw:
        size = 2 + int.from_bytes(raw[:2], "big")
        said.append(ouch.describe(raw[3:size], outbound=False))
        raw = raw[size:]
    return said


def answer(found: volley.Volley, at: int, message: dict[str, Any]) -> None:
    """A message of the venue arrives."""
    raw = np.frombuffer(soupbin.framed("S", ouch.compose(message, outbound=True)), np.uint8)
    end = int(found.bank.cells[at, links.IN_END])
    found.bank.inbox[at, end : end + len(raw)] = raw
    found.bank.cells[at, links.IN_END] += len(raw)


@given(st.integers(0, 1 << 30), st.lists(st.integers(0, 5), min_size=20, max_size=40))
def test_each_number_is_settled_once_and_only_what_rests_is_asked_for_again(seed: int, moves: list[int]) -> None:
    """Against a venue that is a set: some orders it refuses, some it fills, and it answers late and in any order."""
    found = volley.create(2, [symbol_to_int("ULTRA")], price=1_000_000, tick=100, seed=seed)
    found.cells[[volley.STEP_E16, volley.LIMIT, volley.BEGIN]] = 1 << 16, 4 * len(moves), 1
    found.clients.next_ref = found.clients.linked = 1
    resting: list[set[int]] = [set(), set()]
    waiting: list[list[dict[str, Any]]] = [[], []]
    last, settled = [0, 0], 0
    for turn, move in enumerate(moves, 1):
        drive(found, 4 * turn)
        for at in (0, 1):
            for message in written(found, at):
                if message["type"] == "X":
                    assert message["ref"] in resting[at]
                    resting[at].remove(message["ref"])
                    answer(found, at, dict(type="C", ts=1, ref=message["ref"], qty=1, reason="U"))
                    continue
                if message["type"] == "U":
                    assert message["old_ref"] in resting[at]
                    resting[at].remove(message["old_ref"])
                assert message["ref"] == last[at] + 1
                last[at] += 1
                waiting[at].append(message)
            while len(waiting[at]) > move:
                message, settled = waiting[at].pop(move % len(waiting[at])), settled + 1
                told = dict(ts=1, side="B", symbol="ULTRA", order=1, capacity="P", cross="N", state="L") | message
                if move == 5 or (message["ref"] + seed) % 7 == 0:
                    answer(found, at, dict(type="J", ts=1, ref=message["ref"], reason=9, clordid=""))
                    continue
                answer(found, at, told | dict(type="A" if message["type"] == "O" else "U"))
                if message["tif"] == "0" and (message["ref"] + seed) % 5:
                    resting[at].add(message["ref"])
                else:
                    answer(found, at, dict(type="E", ts=1, ref=message["ref"], qty=1, price=1, liquidity="A", match=1))
        drive(found, 4 * turn)
        volley.check(found)
        counts = volley.counts(found)
        assert counts["answered"] == settled and counts["other"] == 0
        for at in (0, 1):
            own = found.opened[at, : int(found.clients[at].opened)].tolist()
            assert sorted(own) == sorted(resting[at])


def test_a_load_without_a_connection_says_so() -> None:
    found = volley.create(2, [1], price=1_000_000, tick=100, seed=1)
    found.cells[volley.STEP_E16], found.cells[volley.LIMIT] = 1 << 16, 10
    volley.play(found, 1 << 62)
    assert volley.counts(found)["unsent"] == 10 and volley.counts(found)["orders"] == 0
    volley.check(found)
