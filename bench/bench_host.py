"""The main job in its presets: throughput, and the time from when a record was due to the end of the engine's step.

    pytest bench/bench_host.py --benchmark-only

Whole commands, `ultra run`, interleaved in rounds: one process beside its journal; feed, engine and venue apart; and
these with two journals. The open loops send at a fixed rate whatever the engine does, so a late record counts from when
it should have come. With fewer cores than hot processes the figures are of the scheduler: each row has its hiccups.
Every run must end with the same state hash.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from ultra.venues import flow

ROOT = Path(__file__).parent.parent
PRESETS, PACES, ROUNDS = ("inline", "pipeline", "diamond"), ("max", "100000/s", "1000000/s"), 3
IMBALANCE = "ultra.strategies.imbalance:Imbalance"
KEYS = ("p50", "p90", "p99", "p99.9", "max")


def run(day, folder, preset, pace):
    words = ["run", "--itch", day, "--strategy", IMBALANCE, "--journal", folder, "--preset", preset, "--pace", pace]
    done = subprocess.run(
        [sys.executable, "-m", "ultra", *map(str, words), "--json"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_presets(benchmark, tmp_path):
    day, found, hashes = tmp_path / "day.itch50", {}, set()
    flow.write(day, instruments=1, messages=400_000, seed=1)

    def rounds():
        for number in range(ROUNDS):
            for preset in PRESETS:
                for pace in PACES:
                    folder = tmp_path / f"{number}-{preset}-{pace.replace('/', '-')}"
                    one = run(day, folder, preset, pace)
                    hashes.add(one["state_hash"])
                    found.setdefault((preset, pace), []).append(one)

    benchmark.pedantic(rounds, rounds=1)
    assert len(hashes) == 1, "the presets are not the same engine"
    for (preset, pace), runs in found.items():
        row = {"m_msgs_per_s": statistics.median(r["throughput_msgs_per_s"] for r in runs) / 1e6}
        if pace != "max":
            row = {key: statistics.median(r["late_ns"][key] for r in runs) for key in KEYS}
        row["hiccup_p99_ns"] = statistics.median(r["hiccup_ns"]["p99"] for r in runs)
        benchmark.extra_info[f"{preset} {pace}"] = row
    benchmark.extra_info["cores"] = len(os.sched_getaffinity(0))
