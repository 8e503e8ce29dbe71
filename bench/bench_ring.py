"""The rings between two pinned processes, held against C and the standard library on the same cores, in one run.

    pytest bench/bench_ring.py --benchmark-only

`peers.c` is the limit: the same records, the same check, the same waiting, compiled by gcc. Ours and C take turns round
by round, so that what the machine does meanwhile happens to both; medians of rounds, and their ratios, are in the extra
info. A ratio is worth something only where both consumers saw like batches: one that is a ring behind is several times
as fast as one at the producer's heels, in any language.
Known bad case: a busy machine. Look at the hiccups beside the figures before believing them.
"""

import collections
import json
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import bench_chain
import numpy as np
import pytest

from ultra.cache import fingerprint
from ultra.cold import shared
from ultra.hot import drill, entry
from ultra.hot import ring as rings
from ultra.hot.atomics import store_release
from ultra.ops import bench
from ultra.wire import RECORD

ROUNDS = 9
CORES = sorted(os.sched_getaffinity(0))[-2:]
pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="two pinned processes need two cores")
RECORDS, TRIPS, OBJECTS = 2_000_000, 200_000, 20_000
CASES = [
    *bench.cases("ring"),
    bench.Case("ring", "saturated", 1024, 16),
    bench.Case("fan", "saturated", 8192, 16),
    bench.Case("diamond", "saturated", 8192, 16),
    bench.Case("crowd", "saturated", 8192, 16),
    bench.Case("crowd", "unbatched", 1024, 1),
    bench.Case("crowd, two producers", "saturated", 8192, 16),
]


@pytest.fixture(scope="session")
def peers(tmp_path_factory):
    """`peers(words)`: what the C program says."""
    compiler = next((found for name in ("gcc", "cc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("there is no C compiler (gcc, cc, clang) to build bench/peers.c with")
    program = tmp_path_factory.mktemp("peers") / "peers"
    source = Path(__file__).with_name("peers.c")
    subprocess.run([compiler, "-O3", "-march=native", "-pthread", str(source), "-o", str(program)], check=True)

    def ask(what, *words):
        said = subprocess.run([program, what, *map(str, (*CORES, *words))], capture_output=True, check=True, text=True)
        return json.loads(said.stdout)

    return ask


def middle(rounds, key):
    return round(statistics.median(each[key] for each in rounds), 2)


def test_rings_against_c(benchmark, peers):
    """Each ring, and a ring in C of the same capacity and batch."""
    ours, theirs = [[] for _ in CASES], [[] for _ in CASES]
    with bench.Sides(CASES, CORES) as sides:
        sides.wait_until_ready()
        numbers = iter(range(ROUNDS + 1))

        def each_in_turn():
            number = next(numbers)
            for index, case in enumerate(CASES):
                records = RECORDS if case.regime != "chasing" else RECORDS // 4
                ours[index].append(sides.play(index, records, number))
                theirs[index].append(peers("spsc", records, case.capacity, case.batch, bench.least(case)))

        benchmark.pedantic(each_in_turn, rounds=ROUNDS, warmup_rounds=1)
        benchmark.extra_info["hiccup_ns"] = sides.hiccups()
    for case, mine, other in zip(CASES, ours, theirs, strict=True):
        assert not sum(each["bad"] for each in mine + other)
        benchmark.extra_info[f"{case.form} {case.regime} {case.capacity}/{case.batch}"] = {
            "m_per_s": middle(mine[1:], "m_per_s"), "batch_seen": middle(mine[1:], "batch_seen"),
            "c_ring_m_per_s": middle(other[1:], "m_per_s"), "c_batch_seen": middle(other[1:], "batch_seen"),
            "ratio": round(middle(mine[1:], "m_per_s") / middle(other[1:], "m_per_s"), 3),
        }  # fmt: skip


def test_round_trip_against_a_cache_line_in_c(benchmark, peers):
    """64 bytes each way, through rings and through posts; and one line each way in C: what the two cores can do."""
    cases, theirs = bench.cases("pingpong"), []
    ours = [[] for _ in cases]
    with bench.Sides(cases, CORES) as sides:
        sides.wait_until_ready()
        numbers = iter(range(ROUNDS + 1))

        def one_after_the_other():
            number = next(numbers)
            for index in range(len(cases)):
                ours[index].append(sides.play(index, TRIPS, number))
            theirs.append(peers("pingpong", TRIPS))

        benchmark.pedantic(one_after_the_other, rounds=ROUNDS, warmup_rounds=1)
        benchmark.extra_info["hiccup_ns"] = sides.hiccups()
    benchmark.extra_info["c_line_ns"] = {name: middle(theirs[1:], name) for name in theirs[0]}
    for case, mine in zip(cases, ours, strict=True):
        assert not sum(each["bad"] for each in mine)
        trips = {name: middle([each["trip_ns"] for each in mine[1:]], name) for name in bench.PERCENTILES}
        ratio = round(trips["p50"] / benchmark.extra_info["c_line_ns"]["p50"], 3)
        benchmark.extra_info[case.form] = {**trips, "p50_ratio": ratio}


# ---- The standard library.


def send_queue(core, queue):
    os.sched_setaffinity(0, {core})
    for _ in iter(queue[1].get, None):
        for number in range(OBJECTS):
            queue[0].put(number.to_bytes(64, "little"))


def send_pipe(core, ends):
    os.sched_setaffinity(0, {core})
    while ends[0].recv():
        for number in range(OBJECTS):
            ends[0].send_bytes(number.to_bytes(64, "little"))


def through_deque():
    """Two threads, a deque, a lock."""
    waiting, lock, taken = collections.deque(), threading.Lock(), 0

    def send():
        for number in range(OBJECTS):
            with lock:
                waiting.append(number.to_bytes(64, "little"))

    thread = threading.Thread(target=send)
    began = time.perf_counter()
    thread.start()
    while taken < OBJECTS:
        with lock:
            if waiting:
                assert int.from_bytes(waiting.popleft(), "little") == taken
                taken += 1
    thread.join()
    return time.perf_counter() - began


def received(take):
    began = time.perf_counter()
    for number in range(OBJECTS):
        assert int.from_bytes(take(), "little") == number
    return time.perf_counter() - began


def test_the_standard_library(benchmark):
    """64 bytes a message through what Python brings along, beside one batch of the ring."""
    spawn, seen = multiprocessing.get_context("spawn"), {"queue": [], "pipe": [], "deque": [], "ultra": []}
    queues, (near, far) = (spawn.Queue(), spawn.Queue()), spawn.Pipe()
    senders = [spawn.Process(target=send_queue, args=(CORES[0], queues)),
               spawn.Process(target=send_pipe, args=(CORES[0], (far,)))]  # fmt: skip
    for sender in senders:
        sender.start()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORES[1]})
    with bench.Sides(CASES[1:2], CORES) as sides:
        sides.wait_until_ready()
        numbers = iter(range(ROUNDS + 1))

        def each_in_turn():
            queues[1].put(1)
            seen["queue"].append(received(queues[0].get))
            near.send(1)
            seen["pipe"].append(received(near.recv_bytes))
            os.sched_setaffinity(0, before)
            seen["deque"].append(through_deque())
            os.sched_setaffinity(0, {CORES[1]})
            ns = sides.play(0, RECORDS, next(numbers))["ns_per_record"]
            seen["ultra"].append(ns * OBJECTS / 1e9)

        benchmark.pedantic(each_in_turn, rounds=ROUNDS, warmup_rounds=1)
    os.sched_setaffinity(0, before)
    queues[1].put(None)
    near.send(0)
    for sender in senders:
        sender.join()
    rates = {name: OBJECTS / statistics.median(each[1:]) / 1e6 for name, each in seen.items()}
    for name, rate in rates.items():
        benchmark.extra_info[name] = {"m_per_s": round(rate, 3), "ultra_is_faster": round(rates["ultra"] / rate)}


# ---- What it costs to be seen.


def loop(function):
    return entry(function, key=fingerprint(function))


@loop
def turns(ring, records, out):
    """Both ends of a ring on one core, sixteen records a turn."""
    for at in range(0, records, 16):
        rings.room(ring, 16)
        for offset in range(16):
            drill.fill(ring.slots[rings.claimed(ring, offset)], at + offset)
        rings.publish(ring, 16)
        for offset in range(rings.ready(ring)):
            out[drill.BAD] += int(drill.bad(ring.slots[rings.polled(ring, offset)], at + offset))
        rings.release(ring, 16)


@loop
def turns_with_a_heartbeat(ring, records, out):
    for at in range(0, records, 16):
        rings.room(ring, 16)
        for offset in range(16):
            drill.fill(ring.slots[rings.claimed(ring, offset)], at + offset)
        rings.publish(ring, 16)
        for offset in range(rings.ready(ring)):
            out[drill.BAD] += int(drill.bad(ring.slots[rings.polled(ring, offset)], at + offset))
        rings.release(ring, 16)
        store_release(ring.cells, rings.GATE + 2 * drill.OUT, at)


WATCH = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[2])})
from ultra.cold import shared
from ultra.cold.view import View
view = View(shared.attach_handle(int(sys.argv[1])))
print(len(view.read().records), flush=True)
for piece in view.follow(view.cursor):
    pass
"""


def test_a_heartbeat(benchmark):
    ring, out, seen = rings.create(RECORD, 1024), np.zeros(drill.OUT, np.int64), {}
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORES[0]})

    def in_turn():
        for act in (turns, turns_with_a_heartbeat):
            began = time.perf_counter()
            act(ring, RECORDS, out)
            seen.setdefault(act.__name__, []).append((time.perf_counter() - began) / RECORDS * 1e9)

    benchmark.pedantic(in_turn, rounds=3 * ROUNDS, warmup_rounds=2)
    os.sched_setaffinity(0, before)
    assert out[drill.BAD] == 0
    for name, each in seen.items():
        benchmark.extra_info[f"{name}_ns"] = round(statistics.median(each[2:]), 3)


def chain(stream, journal, every):
    """The full chain over a stream; ns a message."""
    made = bench_chain.machine(bench_chain.SMALL, every, journal)
    began = time.perf_counter()
    messages = bench_chain.play(made, stream)
    return (time.perf_counter() - began) / messages * 1e9


def test_what_it_costs_the_chain_to_be_seen(benchmark, generated):
    """Without; with one record in 64 timed into the histogram; with a watcher who copies the journal's ring.

    The ring holds what it does by default, no market data. With all of it the watcher would be its only reader here,
    where a run has the journal's process too: another measurement."""
    stream, seen = generated(1, 2_000_000), {"plain": [], "timed": [], "watched": []}
    segment = shared.create_nameless("ring", RECORD, 1 << 16)
    journal = rings.over(segment.body, RECORD, 1 << 16)
    watcher = subprocess.Popen(
        [sys.executable, "-P", "-c", WATCH, str(segment.handle), str(CORES[1])],
        pass_fds=[segment.handle], stdout=subprocess.PIPE,
    )  # fmt: skip
    watcher.stdout.readline()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORES[0]})

    def in_turn():
        for name, every in (("plain", 1 << 20), ("timed", 64), ("watched", 1 << 20)):
            watcher.send_signal(signal.SIGCONT if name == "watched" else signal.SIGSTOP)
            seen[name].append(chain(stream, journal, every))

    benchmark.pedantic(in_turn, rounds=ROUNDS, warmup_rounds=1)
    os.sched_setaffinity(0, before)
    watcher.kill()
    watcher.communicate()
    plain = statistics.median(seen["plain"][1:])
    for name, each in seen.items():
        ns = statistics.median(each[1:])
        benchmark.extra_info[name] = {"ns_per_message": round(ns, 2), "percent": round((ns / plain - 1) * 100, 2)}
