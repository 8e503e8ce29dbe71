"""Memory over a long day: resident size and page faults of a whole run, message by message in millions.

    pytest bench/bench_memory.py --benchmark-only

A day of 100 million messages (3 GB in the temporary folder) through `ultra run`'s own code, journal and file reading
included. What is taken is taken in the first tenth; a leak of one byte a message would show as 90 MB.
"""

import resource
import shutil
from pathlib import Path

from ultra import strategy
from ultra.cold import live
from ultra.config import load
from ultra.venues import flow

MESSAGES = 100_000_000
SIZES = {"engine.instrument_max": 512, "engine.latency_sample_every": 64, "engine.checkpoint_records": 10**9}
IMBALANCE = "ultra.strategies.imbalance:Imbalance"


def resident_bytes():
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


def test_memory_is_flat_over_100_million_messages(benchmark, tmp_path):
    day, seen = tmp_path / "day.itch50", []
    flow.write(day, instruments=500, messages=MESSAGES, seed=1)

    def note(now):
        seen.append((now["messages"], resident_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt))

    def whole_day():
        run = live.Live(load(None, SIZES), strategy.load(IMBALANCE), day, tmp_path / "journal", progress=note)
        return run.play()

    benchmark.pedantic(whole_day, rounds=1)
    shutil.rmtree(tmp_path)
    first, middle, last = (seen[len(seen) * part // 100] for part in (10, 50, 99))
    for messages, size, faults in (first, middle, last):
        benchmark.extra_info[f"at_{messages // 10**6}_m"] = {"resident_mib": size >> 20, "page_faults": faults}
    grown = (last[1] - first[1]) / (last[0] - first[0])
    benchmark.extra_info["bytes_per_message_after_the_first_tenth"] = round(grown, 3)
    assert grown < 0.1, seen
