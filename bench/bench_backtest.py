"""Event-driven backtests: recorded events a second, beside hftbacktest on the same events and the same strategy.

    pytest bench/bench_backtest.py --benchmark-only
    ULTRA_PEERS=peers/bin/python pytest bench/bench_backtest.py --benchmark-only

The events are those of a recorded Binance capture (snapshot, diffs, trades), in memory; the strategy quotes both sides
at the touch. The figure of ours is all of the loop (book, strategy, risk, orders, venue, account), in processor time of
its thread, as that of the peer: on a busy machine that is nearer to the truth than the clock on the wall. hftbacktest
runs in a process of its own: of ULTRA_PEERS, the Python of an environment that has it, or of this one if it is here.
"""

import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import recorded

from ultra.lab import course as courses
from ultra.lab import data
from ultra.lab.backtest import backtest
from ultra.lab.tape import Tape
from ultra.wire import BID, LEVEL, RECORD, TRADE

MAKER = "ultra.strategies.maker:MarketMaker"
PARAMETERS = {"order_qty": 1, "drift": 10, "spread_min": 1, "position_max": 10}
CAPTURE = Path("binance") / "usdm" / "btcusdt_20240808.gz"
ROUNDS = 7


@pytest.fixture(scope="module")
def capture():
    path = recorded() / CAPTURE
    if not path.is_file():
        pytest.skip(f"no recorded data: {path} is not there (set ULTRA_DATA)")
    tape = data.load(path)
    return Tape.of(tape.array(), tape.instruments)


def loop_s(tape, monkeypatch):
    """Processor time of the loop, and the result."""
    with monkeypatch.context() as patch:
        patch.setattr(courses.time, "perf_counter", time.thread_time)
        result = backtest(MAKER, tape, parameters=PARAMETERS)
    return result.loop_s, result


def test_event_driven_replay(benchmark, capture, monkeypatch):
    found = []
    benchmark.pedantic(lambda: found.append(loop_s(capture, monkeypatch)), rounds=ROUNDS, warmup_rounds=1)
    best = min(seconds for seconds, _ in found)
    benchmark.extra_info["events"] = found[0][1].records
    benchmark.extra_info["million_events_per_s"] = round(found[0][1].records / best / 1e6, 2)
    benchmark.extra_info["median_million_events_per_s"] = round(
        found[0][1].records / float(np.median([seconds for seconds, _ in found])) / 1e6, 2
    )
    benchmark.extra_info["orders_fills"] = [found[0][1].orders, len(found[0][1].fills)]


def events_of(records, tick, lot):
    """Records as hftbacktest's events: side of a trade is that of who took."""
    kept = records[(records["kind"] == LEVEL) | (records["kind"] == TRADE)]
    found = np.zeros(
        len(kept),
        np.dtype([("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"),
                  ("order_id", "u8"), ("ival", "i8"), ("fval", "f8")], align=True),
    )  # fmt: skip
    traded = kept["kind"] == TRADE
    bought = (kept["side"] == BID) != traded
    found["ev"] = np.where(traded, 2, 1) | (3 << 30) | np.where(bought, 1 << 29, 1 << 28)
    found["exch_ts"] = found["local_ts"] = kept["ts_event"]
    found["px"], found["qty"] = kept["price"] * tick, kept["qty"] * lot
    return found


def test_hftbacktest_on_the_same_events(benchmark, capture, tmp_path):
    python = os.environ.get("ULTRA_PEERS") or (sys.executable if importlib.util.find_spec("hftbacktest") else "")
    if not python:
        pytest.skip("hftbacktest is not here, and ULTRA_PEERS does not name the Python of an environment that has it")
    known = capture.instruments[0]
    tick, lot = known.tick_e9 / 1e9, known.lot_e9 / 1e9
    np.savez(tmp_path / "events.npz", data=events_of(capture.array(), tick, lot))
    words = [
        python,
        str(Path(__file__).parent / "peer_hftbacktest.py"),
        str(tmp_path / "events.npz"),
        str(tick),
        str(lot),
    ]
    done = []
    benchmark.pedantic(
        lambda: done.append(subprocess.run([*words, str(ROUNDS)], capture_output=True, text=True, check=True)), rounds=1
    )
    found = json.loads(done[0].stdout)
    for name in ("idle", "make"):
        benchmark.extra_info[f"{name}_million_events_per_s"] = round(found["events"] / found[f"{name}_s"] / 1e6, 2)
    benchmark.extra_info["seen_sent"] = [found["seen"], found["sent"]]


class Repeated:
    """A capture again and again, each time later: as long as one likes, a batch at a time."""

    kind, source = "levels", "repeated"

    def __init__(self, tape, times):
        self.instruments, self.times, self.once = tape.instruments, times, tape.array().copy()
        self.span = int(self.once["ts_event"][-1] - self.once["ts_event"][0]) + 1

    def batches(self, size):
        batch = np.zeros(size, RECORD)
        for k in range(self.times):
            for at in range(0, len(self.once), size):
                part = self.once[at : at + size]
                batch[: len(part)] = part
                batch["ts_event"][: len(part)] += k * self.span
                yield batch[: len(part)]


def test_a_long_tape_with_flat_memory(benchmark, capture):
    """A capture ULTRA_BENCH_TIMES times, each later than the one before: thirty days of this one are 7,500 times,
    some minutes. What grows is the list of fills, 120 bytes each; memory is what the operating system says."""
    times = int(os.environ.get("ULTRA_BENCH_TIMES", "100"))
    long = Repeated(capture, times)
    backtest(MAKER, Repeated(capture, 2), parameters=PARAMETERS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = []
    benchmark.pedantic(lambda: results.append(backtest(MAKER, long, parameters=PARAMETERS)), rounds=1)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    benchmark.extra_info["events"] = results[0].records
    benchmark.extra_info["days"] = round(times * long.span / 86_400e9, 2)
    benchmark.extra_info["grown_mb"] = round((after - before) / 1024, 1)
    benchmark.extra_info["points"] = len(results[0].equity)
