"""The full chain: decode -> ring -> book -> strategy -> risk -> order -> ring -> paper venue -> engine, one core.

    pytest bench/bench_chain.py --benchmark-only

Throughput and latency are two figures: timing every message doubles its cost. Latency is the engine's service time of
each record timed alone (closed loop), beside the hiccup reading of the same core in the same run.
"""

import pytest

from ultra import inline, strategy
from ultra.cold import assembly, summary
from ultra.config import load
from ultra.hot import hiccup
from ultra.hot import ring as rings
from ultra.venues import itch
from ultra.wire import RECORD

IMBALANCE = "ultra.strategies.imbalance:Imbalance"
SMALL = {"engine.order_live_max": 1 << 14, "engine.level_page_max": 1 << 12, "engine.instrument_max": 64}
LARGE = {"engine.order_live_max": 1 << 20, "engine.level_page_max": 1 << 18, "engine.instrument_max": 16_384}


def machine(sizes, every, journal=None):
    config = load(None, {**sizes, "engine.latency_sample_every": every, "engine.checkpoint_records": 10**9})
    made = assembly.assemble(config, strategy.load(IMBALANCE), [journal or rings.create(RECORD, 1 << 20)])
    assembly.compile_loop(made)
    assembly.introduce(made)
    return made


KEPT = []  # machines already used: giving their memory back must not fall into a measurement


def play(made, stream):
    """The whole stream; the journal's ring is emptied as a journal would."""
    at = 0
    KEPT.append(made)
    while True:
        at = made.pump(made.run, made.decoder, stream, at, len(stream))
        if made.run.cells[inline.STOPPED_FOR] != inline.JOURNAL_FULL:
            return itch.messages(made.decoder)
        made.run.journal.cells[rings.GATE] = made.run.journal.cells[rings.CURSOR]


def measure(benchmark, stream, sizes):
    KEPT.clear()
    messages = benchmark.pedantic(play, setup=lambda: ((machine(sizes, 64), stream), {}), rounds=9, warmup_rounds=1)
    for name in ("min", "median", "max"):
        seconds = getattr(benchmark.stats.stats, name)
        benchmark.extra_info[f"{name}_ns_per_message"] = round(seconds / messages * 1e9, 1)
    benchmark.extra_info["median_m_msgs_per_s"] = round(messages / benchmark.stats.stats.median / 1e6, 2)


def test_chain_aapl(benchmark, aapl):
    measure(benchmark, aapl, SMALL)


@pytest.mark.parametrize(("instruments", "messages"), [(1, 2_000_000), (500, 4_000_000), (8000, 10_000_000)])
def test_chain_generated(benchmark, generated, instruments, messages):
    measure(benchmark, generated(instruments, messages), SMALL if instruments == 1 else LARGE)


@pytest.mark.parametrize("instruments", [1, 500])
def test_service_time_of_each_record(benchmark, generated, instruments):
    """Every record timed alone; the mean that pytest-benchmark shows is of the whole stream."""
    stream = generated(instruments, {1: 2_000_000, 500: 4_000_000}[instruments])
    made = []

    def setup():
        made[:] = [machine(SMALL if instruments == 1 else LARGE, 1)]
        return (made[0], stream), {}

    benchmark.pedantic(play, setup=setup, rounds=3, warmup_rounds=1)
    benchmark.extra_info["service_ns"] = summary.service_ns(made[0].run.service)
    benchmark.extra_info["hiccup_ns"] = hiccup.measure(200)
