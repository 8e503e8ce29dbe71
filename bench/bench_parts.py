"""The small parts: pool and histogram, ns an operation in a compiled loop.

pytest bench/bench_parts.py --benchmark-only
"""

import numpy as np

from ultra.cache import fingerprint
from ultra.hot import entry
from ultra.hot import histogram as histograms
from ultra.hot import pool as pools

OPERATIONS = 1_000_000


def loop(function):
    """An entry whose machine code is kept under its own text: an edited benchmark is compiled again."""
    return entry(function, key=fingerprint(function))


@loop
def churn(pool, count):
    """Acquire, look up, give back: one live handle at a time, then sixteen."""
    total = 0
    for _ in range(count // 32):
        first = pools.acquire(pool)
        total += pools.slot_of(pool, first)
        for _ in range(15):
            handle = pools.acquire(pool)
            total += pools.slot_of(pool, handle)
            pools.give_back(pool, handle)
        pools.give_back(pool, first)
    return total


@loop
def record_all(histogram, values):
    for index in range(len(values)):
        histograms.record(histogram, values[index])


def show(benchmark, count):
    benchmark.extra_info["median_ns_each"] = round(benchmark.stats.stats.median / count * 1e9, 2)


def test_pool_acquire_check_give_back(benchmark):
    pool = pools.create(1 << 16)
    benchmark.pedantic(churn, (pool, OPERATIONS), rounds=15, warmup_rounds=2)
    show(benchmark, OPERATIONS // 2)


def test_histogram_record(benchmark):
    values = np.random.default_rng(1).lognormal(4, 1, OPERATIONS).astype(np.int64)
    histogram = histograms.create()
    benchmark.pedantic(record_all, (histogram, values), rounds=15, warmup_rounds=2)
    show(benchmark, OPERATIONS)
