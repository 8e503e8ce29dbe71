"""JetStream: persisted events a second through `ultra ship`, one server and three replicas, and how far it lags behind.

    pytest bench/bench_ship.py --benchmark-only

Real servers on loopback, which share the machine's cores with the shipper: nats-server from the PATH. 2.9.10 writes to
the page cache and syncs every two minutes, and can do nothing else; `extra_info` says what the server is. Closed loop:
a journal that is there is shipped as fast as acks come. Open loop: a journal grows by 650,000 records a second, and for
a sample of its batches it is noted when they were appended and when the stream had acked them.
"""

import asyncio
import itertools
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import nats_rig
from ship_rig import rows

from ultra.cold import segment, shipper, shipping
from ultra.cold.journal import Journal
from ultra.cold.shipment import Limits
from ultra.wire import ADD, CHECKPOINT, FILL

RECORDS = 3_000_000
RATE, SECONDS, BATCH = 650_000, 4, 650
WATCH_S = 0.0005  # how often is looked at how far the stream has acked
NUMBERS = itertools.count()


def body(at: int, count: int) -> bytes:
    """Market data, one reply in a hundred, a checkpoint in two thousand: three messages a stretch, one is large."""
    made, number = rows(at, count), np.arange(at, at + count)
    made["kind"] = ADD
    made["kind"][number % 100 == 0] = FILL
    made["kind"][number % 2000 == 0] = CHECKPOINT
    return made.tobytes()


def journal(folder: Path) -> Journal:
    made = Journal(folder, segment_bytes=1 << 26, sync=False)
    made.append(segment.META, 0, 0, 0, b'{"run": "bench"}')
    return made


@pytest.fixture(scope="module", params=[1, 3], ids=["R1", "R3"])
def servers(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nats")
    more = ""
    opened = nats_rig.single(folder, more) if request.param == 1 else nats_rig.cluster(folder)
    with opened as found:
        all_of_them = [found] if request.param == 1 else found
        url = "nats://" + ",".join(f"127.0.0.1:{server.port}" for server in all_of_them)
        nats_rig.patient(lambda: nats_rig.api(url, "INFO"))
        yield request.param, url


def ship(folder: Path, url: str, replicas: int) -> shipping.Shipper:
    options = shipping.Options(replicas=replicas, limits=Limits(), once=True)
    return shipping.Shipper(folder, shipper.place_of(url), options)


def test_persisted_events_a_second(benchmark, servers, tmp_path):
    replicas, url = servers
    found = {}

    def setup():
        folder = tmp_path / f"j{next(NUMBERS)}"
        made = journal(folder)
        for at in range(0, RECORDS, 8192):
            count = min(8192, RECORDS - at)
            made.append(segment.RECORDS, at, count, at + count, body(at, count))
        made.close()
        return (ship(folder, url, replicas),), {}

    def act(shipper_of_all):
        found.update(asyncio.run(shipper_of_all.run()))
        nats_rig.api(url, f"STREAM.DELETE.{found['stream']}")

    benchmark.pedantic(act, setup=setup, rounds=3)
    assert found["replicated"] == RECORDS
    benchmark.extra_info |= {
        "events_per_s": round(RECORDS / benchmark.stats.stats.median), "replicas": replicas,
        "sync": found["durability"]["sync"], "server": found["durability"]["server"],
    }  # fmt: skip


def test_lag_at_650000_a_second(benchmark, servers, tmp_path):
    replicas, url = servers
    folder = tmp_path / f"j{next(NUMBERS)}"
    made = journal(folder)
    shipping_now = ship(folder, url, replicas)
    shipping_now._options.once = False
    due, lags = [], []

    def write():
        begun = time.perf_counter()
        for step in range(RATE * SECONDS // BATCH):
            wait = begun + (step + 1) * BATCH / RATE - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            at = step * BATCH
            made.append(segment.RECORDS, at, BATCH, at + BATCH, body(at, BATCH))
            # Of when its middle record was due: what comes late is late, whoever is to blame.
            due.append((at + BATCH, begun + (step + 0.5) * BATCH / RATE))
        made.close()

    over = threading.Event()

    def watch():
        while not over.wait(WATCH_S):
            now, through = time.perf_counter(), shipping_now.shipment.cursor.through
            while len(lags) < len(due) and due[len(lags)][0] <= through:
                lags.append(now - due[len(lags)][1])

    def act():
        others = [threading.Thread(target=each) for each in (write, watch)]
        for each in others:
            each.start()
        asyncio.run(shipping_now.run())
        others[0].join()
        over.wait(10 * WATCH_S)
        over.set()
        others[1].join()

    benchmark.pedantic(act, rounds=1)
    p50, p99 = np.percentile(np.array(lags) * 1e3, [50, 99])
    benchmark.extra_info |= {
        "lag_ms_p50": round(float(p50), 2), "lag_ms_p99": round(float(p99), 2), "replicas": replicas,
        "held_per_s": round(RATE * SECONDS / benchmark.stats.stats.median), "server": shipping_now.durability["server"],
    }  # fmt: skip
