"""The matching engine: a mixed flow as a loop (ns an entry), and each entry timed alone, by its type.

    pytest bench/bench_matching.py --benchmark-only

The flow: 40 % limit orders that rest, 10 % limit orders that cross, 3 % at market, 4 % IOC, 2 % FOK, 5 % post-only, 31
% cancels, 5 % replacements, around a price that wanders; prices lie mostly near it (exponential), one in five far away.
Some cancels come too late and are refused, as on a real venue. All reports and records are written; a consumer gives
the slots back every BATCH entries, which is not what is measured. Timed alone: a fence before, a fence behind.
"""

import numpy as np
import pytest

from ultra.cache import fingerprint
from ultra.hot import clock, entry, hot, memory
from ultra.hot import histogram as histograms
from ultra.hot import ring as rings
from ultra.venues import matching, matching_state
from ultra.wire import (
    AT_MARKET,
    CANCEL_ORDER,
    ENTRY,
    FILL_OR_KILL,
    IMMEDIATE,
    NEW,
    POST_ONLY,
    RECORD,
    REPLACE_ORDER,
    REPORT,
    SET_STATE,
    TRADING,
)

COUNT, BATCH, MID = 1_000_000, 64, 100_000
TYPES = ("limit", "crossing", "market", "ioc", "fok", "post_only", "cancel", "replace")
SHARES = (0.40, 0.10, 0.03, 0.04, 0.02, 0.05, 0.31, 0.05)
MODELS = matching.load_models()
enter = matching.build(MODELS)


def flow(count, instruments=1, seed=7):
    """Entries, and the type of each as an index into TYPES."""
    dice = np.random.default_rng(seed)
    kinds = dice.choice(len(TYPES), count, p=SHARES)
    entries = memory.zeros(count, ENTRY)
    mid = (MID + np.cumsum(dice.normal(0, 0.02, count))).astype(np.int64)
    far = np.where(dice.random(count) < 0.8, dice.exponential(3, count), dice.exponential(60, count)).astype(np.int64)
    side = dice.integers(0, 2, count)
    away = np.where(np.isin(kinds, (1, 3, 4)), -1 - far % 4, 1 + far)
    entries.kind = np.where(kinds == 6, CANCEL_ORDER, np.where(kinds == 7, REPLACE_ORDER, NEW))
    entries.side, entries.price = side, mid - np.where(side == 0, 1, -1) * away
    entries.qty = np.where(kinds == 6, 0, dice.integers(1, 10, count) * np.where(kinds == 4, 300, 100))
    entries.flag = np.array((0, 0, AT_MARKET, IMMEDIATE, FILL_OR_KILL, POST_ONLY, 0, 0))[kinds]
    numbers = np.arange(1, count + 1)
    earlier = np.maximum(1, numbers - 1 - dice.exponential(200, count).astype(np.int64))
    changes = kinds >= 6
    entries.order_id = np.where(changes, earlier, numbers)
    entries.instrument = (dice.integers(0, instruments, count))[np.where(changes, earlier - 1, numbers - 1)]
    entries.aux = np.where(kinds == 7, numbers, 0)
    entries.ts_event = numbers
    return entries, kinds


def venue(instruments=1):
    """A venue that trades, every page of its memory written once."""
    reports, public = rings.create(REPORT, 1 << 12), rings.create(RECORD, 1 << 12)
    made = matching.create(instruments, 1 << 20, 4, reports, public, ids_max=1 << 20, pages_max=1 << 14)
    for array in (made.orders, made.more, made.numbers.table.rows, made.ladder.levels, made.ladder.nodes):
        memory.touch(array, len(array))
    memory.touch(made.ladder.directory.rows, len(made.ladder.directory.rows))
    memory.touch(made.numbers.values, 2 * COUNT)
    opening = memory.zeros(instruments, ENTRY)
    opening.kind, opening.aux, opening.instrument = SET_STATE, TRADING, np.arange(instruments)
    for k in range(instruments):
        matching.list_instrument(made, k)
    run(made, opening)
    return made


@hot
def consume(made):
    rings.release(made.reports, rings.ready(made.reports))
    rings.release(made.public, rings.ready(made.public))


def loop(function):
    return entry(function, key=MODELS.key + fingerprint(function))


@loop
def run(made, entries):
    for k in range(len(entries)):
        while not enter(made, entries[k]):
            consume(made)
        if k % BATCH == 0:
            consume(made)


@loop
def run_timed(made, entries, kinds, counts, largest):
    """Every entry between two fences; ticks into the histogram of its type."""
    for k in range(len(entries)):
        consume(made)
        clock.fence()
        before = clock.ticks()
        clock.fence()
        enter(made, entries[k])
        clock.fence()
        took = clock.ticks() - before
        counts[kinds[k], histograms.bucket_of(took)] += 1
        largest[kinds[k]] = max(largest[kinds[k]], took)


@pytest.mark.parametrize("instruments", [1, 500])
def test_a_mixed_flow(benchmark, instruments):
    entries, _ = flow(COUNT, instruments)
    made = []

    def setup():
        made[:] = [venue(instruments)]
        return (made[0], entries), {}

    benchmark.pedantic(run, setup=setup, rounds=7, warmup_rounds=1)
    seconds = benchmark.stats.stats
    benchmark.extra_info["median_ns_an_entry"] = round(seconds.median / COUNT * 1e9, 1)
    benchmark.extra_info["min_ns_an_entry"] = round(seconds.min / COUNT * 1e9, 1)
    benchmark.extra_info["median_m_entries_per_s"] = round(COUNT / seconds.median / 1e6, 1)
    cells = made[0].cells
    benchmark.extra_info["trades"] = int(cells[matching_state.MATCHES])
    benchmark.extra_info["records"] = int(cells[matching_state.SEQUENCE])


def test_each_type_timed_alone(benchmark):
    entries, kinds = flow(COUNT)
    counts = np.zeros((len(TYPES), histograms.BUCKETS), np.int64)
    largest = np.zeros(len(TYPES), np.int64)
    benchmark.pedantic(
        run_timed, setup=lambda: ((venue(), entries, kinds, counts, largest), {}), rounds=3, warmup_rounds=1
    )
    ns = clock.calibrate()
    rows = [(name, counts[k]) for k, name in enumerate(TYPES)] + [("all", counts.sum(0))]
    for name, row in rows:
        histogram = histograms.Histogram(row, np.array([1 << 62]))
        benchmark.extra_info[name] = [round(histograms.percentile(histogram, p) * ns) for p in (50, 99, 99.9)]
    benchmark.extra_info["slowest"] = round(int(largest.max()) * ns)
