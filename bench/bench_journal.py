"""The journal: what an append costs the hot core, when it is durable, how much it carries, how fast it is read again.

    pytest bench/bench_journal.py --benchmark-only

The journal is its own process, as in production. Each round measures, in turn and on the same disk: a bare pwrite and
fdatasync of 64 KiB over zeros; records at a fixed rate, from hand-over to durable; as many as go; SQLite (WAL, FULL)
and LMDB with as many records in each commit (`pip install lmdb`, or it is left out). Medians of the rounds.
Known bad case: with fewer free cores than spinning processes the fixed rates measure the scheduler (hence the calm
case, which sees no less than its own millisecond of sleep), and on a disk that others use the tails are theirs.
"""

import importlib.util
import os
import sqlite3
import statistics
import time

import numpy as np
import pytest

from ultra import config
from ultra.cache import fingerprint
from ultra.cold import segment
from ultra.cold.journal import Journal
from ultra.cold.tap import Tap
from ultra.hot import clock, entry
from ultra.hot import histogram as histograms
from ultra.hot import ring as rings
from ultra.hot.atomics import load_acquire
from ultra.wire import JOURNAL_DURABLE, RECORD, TIMER

ROUNDS, RATES, POURED, RING = 3, (50_000, 650_000), 4_000_000, 1 << 20
COMMITS = {512: 400, 4096: 100}  # records in a commit: commits
WAIT_TICKS = 1 << 37  # half a minute or so


def loop(function):
    return entry(function, key=fingerprint(function))


@loop
def hand_over(ring, count, step, times, appends, durable_in):
    """Append `count` records, one each `step` ticks; what an append costs, and when it was durable."""
    first, seen, full = load_acquire(ring.cells, rings.CURSOR), 0, 0
    due = clock.now()
    for k in range(count):
        while clock.now() < due:
            durable, now = load_acquire(ring.cells, JOURNAL_DURABLE) - first, clock.now()
            while seen < min(durable, k):
                histograms.record(durable_in, now - times[seen])
                seen += 1
        begun = clock.now()
        slot = rings.claim(ring)
        while slot < 0:
            full += 1
            slot = rings.claim(ring)
            begun = clock.now()
        record = ring.slots[slot]
        record.kind = TIMER
        record.sequence = first + k
        record.order_id = k
        record.price = k
        rings.publish(ring, 1)
        times[k] = clock.now()
        histograms.record(appends, times[k] - begun)
        due += step
    limit = clock.now() + WAIT_TICKS
    while seen < count and clock.now() < limit:
        durable, now = load_acquire(ring.cells, JOURNAL_DURABLE) - first, clock.now()
        while seen < min(durable, count):
            histograms.record(durable_in, now - times[seen])
            seen += 1
    return seen


@loop
def burst(ring, count):
    """Ticks that `count` appends take, where there is room for all of them."""
    first, begun = load_acquire(ring.cells, rings.CURSOR), clock.now()
    for k in range(count):
        record = ring.slots[rings.claim(ring)]
        record.kind = TIMER
        record.sequence = first + k
        record.order_id = k
        record.price = k
        rings.publish(ring, 1)
    return clock.now() - begun


@loop
def nothing(empty, count):
    """What two readings of the clock see of themselves."""
    for _ in range(count):
        begun = clock.now()
        histograms.record(empty, clock.now() - begun)


def percentiles(histogram, ticks_per_ns):
    return {f"p{p:g}": round(histograms.percentile(histogram, p) / ticks_per_ns, 1) for p in (50, 99, 99.9)}


def paced(folder, count, step_ns):
    """Through the journal's process: percentiles of an append and of hand-over to durable, ns; records a second; then a
    burst that the ring holds: ns of an append, and records a second until all of it is durable."""
    keys = {"journal.ring_records": RING, "engine.prefault": True}
    tap, per_ns = Tap(config.load(None, keys), folder), clock.calibrate()
    tap.start({"config": "", "strategy": "none"})
    while not (folder / segment.segment_name(0)).exists():
        time.sleep(0.01)
    time.sleep(0.2)
    appends, durable_in, times = histograms.create(), histograms.create(), np.full(count, 0, np.int64)
    begun = time.perf_counter()
    seen = hand_over(tap.ring, count, int(step_ns * per_ns), times, appends, durable_in)
    wall = time.perf_counter() - begun
    assert seen == count, f"only {seen} of {count} became durable"
    begun = time.perf_counter()
    each = burst(tap.ring, RING // 2) / per_ns / (RING // 2)
    while tap.durable < count + RING // 2:
        time.sleep(0.0002)
    poured = RING // 2 / (time.perf_counter() - begun)
    tap.close()
    return percentiles(appends, per_ns), percentiles(durable_in, per_ns), count / wall, each, poured


def calm(folder, steps=1000, each=50):
    """Fifty records a millisecond from a producer that sleeps in between, so the journal has a core: ns to durable."""
    tap, waiting, took = Tap(config.load(None, {"journal.ring_records": RING}), folder), [], []
    tap.start({"config": "", "strategy": "none"})
    while not (folder / segment.segment_name(0)).exists():
        time.sleep(0.01)
    time.sleep(0.2)
    cells, slots = tap.ring.cells, tap.ring.slots
    for step in range(steps):
        slots["kind"][step * each : (step + 1) * each] = TIMER
        slots["sequence"][step * each : (step + 1) * each] = np.arange(step * each, (step + 1) * each)
        cells[rings.CURSOR] = (step + 1) * each
        waiting.append(time.perf_counter_ns())
        time.sleep(0.001)
        durable, now = int(cells[JOURNAL_DURABLE]) // each, time.perf_counter_ns()
        took += [now - waiting[k] for k in range(len(took), durable)]
    tap.close()
    return {"p50": float(np.percentile(took, 50)), "p99": float(np.percentile(took, 99))}


def bare(path, count=400, size=1 << 16):
    """The disk's own pwrite and fdatasync over zeros: ns."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    for at in range(0, count * size, 1 << 22):
        os.pwrite(handle, bytes(1 << 22), at)
    os.fsync(handle)
    data, took = os.urandom(size), []
    for number in range(count):
        begun = time.perf_counter_ns()
        os.pwrite(handle, data, number * size)
        os.fdatasync(handle)
        took.append(time.perf_counter_ns() - begun)
    os.close(handle)
    return {"p50": float(np.percentile(took, 50)), "p99": float(np.percentile(took, 99))}


def sqlite_wal(path, size, count):
    """Records a second, and ns of a commit: one blob of `size` records each."""
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("pragma journal_mode = wal")
    base.execute("pragma synchronous = full")
    base.execute("create table frames (first integer primary key, payload blob)")
    data, took = os.urandom(64 * size), []
    for number in range(count):
        begun = time.perf_counter_ns()
        base.execute("insert into frames values (?, ?)", (number * size, data))
        took.append(time.perf_counter_ns() - begun)
    base.close()
    return size * count / sum(took) * 1e9, float(np.percentile(took, 50))


def lmdb_commits(path, size, count):
    import lmdb

    data, took = os.urandom(64 * size), []
    with lmdb.open(str(path), map_size=1 << 30) as base:
        for number in range(count):
            begun = time.perf_counter_ns()
            with base.begin(write=True) as transaction:
                transaction.put((number * size).to_bytes(8, "big"), data, append=True)
            took.append(time.perf_counter_ns() - begun)
    return size * count / sum(took) * 1e9, float(np.percentile(took, 50))


ALTERNATIVES = {"sqlite": sqlite_wal} | ({"lmdb": lmdb_commits} if importlib.util.find_spec("lmdb") else {})


def test_durable_and_alternatives(benchmark, tmp_path):
    found = {}

    def note(key, value):
        found.setdefault(key, []).append(value)

    def rounds():
        for number in range(ROUNDS):
            for key, value in bare(tmp_path / f"bare{number}").items():
                note(f"bare fdatasync 64 KiB {key} us", value / 1000)
            for key, value in calm(tmp_path / f"calm{number}").items():
                note(f"hand-over to durable, calm {key} us", value / 1000)
            for per_s in RATES:
                appends, durable, _, _, _ = paced(tmp_path / f"{per_s}-{number}", per_s, 1e9 / per_s)
                for key, value in appends.items():
                    note(f"append at {per_s}/s {key} ns", value)
                for key, value in durable.items():
                    note(f"hand-over to durable at {per_s}/s {key} us", value / 1000)
            _, _, rate, each, burst_rate = paced(tmp_path / f"poured{number}", POURED, 0)
            note("sustained durable M records/s", rate / 1e6)
            note("append in a burst that the ring holds, ns each", each)
            note("burst until durable M records/s", burst_rate / 1e6)
            empty = histograms.create()
            nothing(empty, 100_000)
            note("two clock readings p50 ns", percentiles(empty, clock.calibrate())["p50"])
            for size, count in COMMITS.items():
                for name, alternative in ALTERNATIVES.items():
                    rate, p50 = alternative(tmp_path / f"{name}{number}-{size}", size, count)
                    note(f"{name} {size} a commit M records/s", rate / 1e6)
                    note(f"{name} {size} a commit p50 us", p50 / 1000)

    benchmark.pedantic(rounds, rounds=1)
    for key, values in found.items():
        benchmark.extra_info[key] = round(statistics.median(values), 2)


def a_journal(folder):
    """10 M records in frames of 4096; what is in them means nothing."""
    journal, payload = Journal(folder, segment_bytes=1 << 26), os.urandom(64 * 4096)
    journal.append(segment.META, 0, 0, 0, b"{}")
    for first in range(0, 10_000_000, 4096):
        journal.append(segment.RECORDS, first, 4096, first + 4096, payload)
    journal.close()


def scan(folder):
    """All of it read, every checksum looked at."""
    return sum(frame.count for frame in segment.read(folder))


def project(folder):
    """The same, and what is held of each of 1024 instruments, as a toy of a projection."""
    held, total = np.zeros(1024), 0
    for frame in segment.read(folder):
        records = np.frombuffer(frame.payload, RECORD) if frame.count else ()
        if frame.count:
            signed = np.where(records["side"] & 1, -1, 1) * (records["qty"] & 0xFFFF)
            held += np.bincount(records["instrument"] & 1023, signed, 1024)
        total += frame.count
    return total


@pytest.mark.parametrize("act", [scan, project])
def test_recovery(benchmark, tmp_path, act):
    """10 M records read, checked and numbered, without and with a projection; the files are in the page cache. How fast
    an engine replays is in bench_snapshot.py."""
    a_journal(tmp_path / "journal")
    began = time.process_time()
    total = benchmark.pedantic(act, (tmp_path / "journal",), rounds=3)
    benchmark.extra_info["cpu_s"] = round((time.process_time() - began) / 3, 3)
    benchmark.extra_info["m_records_per_s"] = round(total / benchmark.stats.stats.median / 1e6, 1)
