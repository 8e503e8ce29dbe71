"""The exchange: an order from its OUCH bytes to its OUCH answer and its ITCH message; and a client's round trip.

    pytest bench/bench_venue.py --benchmark-only

`test_floor` puts orders where a socket would have put them and times `floor.turn` alone: unpack, log, match, tell the
client, tell the public. `ns_per_order` stands in the extra info. `test_round_trip` is one order and its answer over
the loopback address, the venue in a thread of this process: two cores, or the scheduler is what is measured.
"""

import threading
import time

import numpy as np
import pytest

from ultra.cold.floor_assembly import assemble, build
from ultra.cold.house import House
from ultra.config import parse
from ultra.hot import ring as rings
from ultra.ops import load
from ultra.venues import floor as floors
from ultra.venues import link as links
from ultra.venues import mold_archive as archives
from ultra.venues import ouch, soupbin
from ultra.wire import ENTRY, SET_STATE, TRADING

ORDERS = 1000  # to a turn
TURNS = 50
START = 1_700_000_000_000_000_000
CONFIG = """
[exchange]
generator = {}
message_max = 4194304
reply_bytes = 268435456
client_max = 1
[exchange.instrument.ULTRA]
[exchange.account.ANN]
"""


def orders(first: int, mix: str) -> bytes:
    """Orders that rest near the price, or come in pairs of which the second takes the first."""
    rng, raw = np.random.default_rng(first), b""
    for k in range(ORDERS):
        ref, side = first + k, "BS"[k % 2]
        price = 1_000_000 if mix == "trade" else 1_000_000 + (100 + 100 * int(rng.integers(20))) * (1 if k % 2 else -1)
        message = dict(type="O", ref=ref, side=side, qty=100, symbol="ULTRA", price=price, tif="0", display="Y",
                       capacity="P", iso="N", cross="N", clordid="")  # fmt: skip
        if mix == "cancel" and k % 2:
            message = dict(type="X", ref=ref - 1, qty=0)
        raw += soupbin.framed("U", ouch.compose(message, outbound=False))
    return raw


@pytest.mark.parametrize("mix", ["rest", "cancel", "trade"])
def test_floor(benchmark, mix):
    exchange = parse(CONFIG, "bench").exchange
    turn, raws = build(exchange), [np.frombuffer(orders(1 + k * ORDERS, mix), np.uint8) for k in range(TURNS)]

    def fresh():
        floor = assemble(exchange, START)
        floor.owners[0] = 0
        entry = np.zeros(1, ENTRY)
        entry["kind"], entry["aux"] = SET_STATE, TRADING
        floor.commands.slots[0] = entry[0]
        floor.commands.cells[rings.CURSOR] = 1
        floor.cells[floors.TIMED] = 0
        turn(floor, START, 10)
        floor.archive.block[::4096] = 0
        floor.desk.store[0, ::4096] = 0
        return (floor,), {}

    spent = []

    def play(floor):
        total = 0
        for number, raw in enumerate(raws):
            floor.bank.inbox[0, : len(raw)] = raw
            floor.bank.cells[0, links.IN_AT], floor.bank.cells[0, links.IN_END] = 0, len(raw)
            floor.cells[floors.LOG_END] = 0
            before = time.perf_counter_ns()
            turn(floor, START + number, ORDERS + 1)
            total += time.perf_counter_ns() - before
        spent.append(total)
        assert int(floor.archive.cells[archives.COUNT]) >= ORDERS * TURNS // 2

    benchmark.pedantic(play, setup=fresh, rounds=7, warmup_rounds=1)
    benchmark.extra_info["ns_per_order"] = round(float(np.median(spent)) / (ORDERS * TURNS), 1)


def test_round_trip(benchmark, tmp_path):
    house = House(parse(CONFIG, "bench").exchange, tmp_path)
    thread = threading.Thread(target=serve, args=(house,))
    thread.start()
    (client,) = load.wanted(house.addresses()["orders"][0], 1, tmp_path / "passwords")
    connection, number = load.log_in(client)
    connection.setblocking(True)
    message = dict(type="O", ref=number, side="B", qty=1, symbol="ULTRA", price=900_000, tif="3", display="Y",
                   capacity="P", iso="N", cross="N", clordid="")  # fmt: skip

    def once():
        connection.sendall(soupbin.framed("U", ouch.compose(message, outbound=False)))
        message["ref"] += 1
        got = b""
        while len(got) < 67 + 21:  # accepted, and cancelled because nobody was there
            got += connection.recv(4096)

    benchmark.pedantic(once, rounds=2000, warmup_rounds=50)
    benchmark.extra_info["median_us"] = round(benchmark.stats.stats.median * 1e6, 1)
    connection.close()
    house.stopping = True
    thread.join()
    house.close()


def serve(house):
    while not house.stopping:
        house.turn()
