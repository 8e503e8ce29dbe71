"""A grid of moving-average crosses over one tape: combination-bars a second, and memory, beside vectorbt's.

    pytest bench/bench_bars.py --benchmark-only          make peers: with vectorbt, in an environment of its own

Ours: `run_bars` of `ultra.strategies.whole_cross:WholeCross`, all cores, each set with cash, fees, drawdown and moments
of its returns: the general path, nothing of the strategy is known to the engine. Theirs: `MA.run` of all windows,
crosses, `Portfolio.from_signals` with the same fees, as many sets at a time as fit into memory, `sharpe_ratio` and
`total_return` read. Memory is what the process grew to (VmHWM), its tape and parameters taken off.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ultra.lab import bar_tape
from ultra.lab.bars import Terms, run_bars
from ultra.lab.tape import Instrument, Tape
from ultra.lab.terms import Fees
from ultra.strategies.whole_cross import WholeCross
from ultra.wire import BAR, RECORD

BARS, SETS = 100_000, 10_000
THEIRS = 100  # sets at a time: 100,000 bars x 100 sets x 8 bytes is 80 MB an array, of which there are many
MINUTE = 60_000_000_000


def closes(count: int = BARS):
    steps = np.random.default_rng(7).integers(-8, 9, count)
    return (10_000 + np.cumsum(steps)).clip(1000)


def tape():
    """Minute bars that open where the last one closed."""
    close = closes()
    opened = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    records = np.zeros(len(close), RECORD)
    records["kind"], records["side"] = BAR, -1
    records["ts_event"] = 1_700_000_000_000_000_000 + MINUTE * np.arange(len(close))
    records["order_id"], records["price"], records["aux"] = opened, close, ((high - close) << 32) | (close - low)
    return bar_tape.prepare(Tape.of(records, [Instrument("X", 10_000_000, 1_000_000_000)]))


def grid(sets: int):
    """Windows of `sets` crosses, fast below slow, evenly over all of them."""
    every = np.array([(fast, slow) for fast in range(5, 145) for slow in range(fast + 5, 300)])
    return every[np.linspace(0, len(every) - 1, sets).astype(int)]


def columns(sets: int):
    chosen = grid(sets)
    return {"fast": chosen[:, 0], "slow": chosen[:, 1], "short": np.ones(sets, np.int64)}


TERMS = Terms(cash=1_000_000, fees=Fees(taker_bps=1))


@pytest.mark.parametrize("threads", [1, 2])
def test_grid(benchmark, threads):
    bars, given = tape(), columns(SETS)
    run_bars(WholeCross, bars, {name: values[:1] for name, values in given.items()}, terms=TERMS)
    timed(benchmark, lambda: run_bars(WholeCross, bars, given, terms=TERMS, threads=threads), SETS * BARS)


def timed(benchmark, act, work, rounds=3):
    """Run, and say what a bar of a combination cost: by the clock, and of a core, which a busy machine changes less."""
    spent = []

    def once():
        before = time.process_time()
        act()
        spent.append(time.process_time() - before)

    benchmark.pedantic(once, rounds=rounds, warmup_rounds=0)
    median = benchmark.stats.stats.median
    benchmark.extra_info["cpu_ns_per_combination_bar"] = round(sorted(spent)[len(spent) // 2] / work * 1e9, 2)
    benchmark.extra_info["combination_bars_per_s"] = round(work / median)
    benchmark.extra_info["ns_per_combination_bar"] = round(median / work * 1e9, 2)


def test_memory(benchmark):
    """In a process of its own: what a grid adds, a set."""
    grown = benchmark.pedantic(lambda: grown_by("ours"), rounds=1)
    benchmark.extra_info["bytes_per_set"] = round(grown / SETS)


@pytest.mark.filterwarnings("ignore")
def test_vectorbt(benchmark):
    vectorbt = pytest.importorskip("vectorbt", reason="vectorbt is not installed here: make peers")
    assert vectorbt
    theirs(THEIRS)
    timed(benchmark, lambda: theirs(THEIRS), THEIRS * BARS)


def test_vectorbt_memory(benchmark):
    pytest.importorskip("vectorbt", reason="vectorbt is not installed here: make peers")
    grown = benchmark.pedantic(lambda: grown_by("theirs"), rounds=1)
    benchmark.extra_info["bytes_per_set"] = round(grown / THEIRS)


def theirs(sets: int):
    """The same crosses by vectorbt; what it reads of them."""
    import pandas
    import vectorbt

    chosen, close = grid(sets), closes() / 100
    index = pandas.to_datetime(1_700_000_000_000_000_000 + MINUTE * np.arange(len(close)))
    price = pandas.Series(close, index=index)
    fast = vectorbt.MA.run(price, window=chosen[:, 0].tolist(), short_name="fast")
    slow = vectorbt.MA.run(price, window=chosen[:, 1].tolist(), short_name="slow")
    up, down = fast.ma_crossed_above(slow), fast.ma_crossed_below(slow)
    found = vectorbt.Portfolio.from_signals(
        price, up, short_entries=down, size=100, fees=0.0001, init_cash=1_000_000, freq="1min"
    )
    return found.total_return(), found.sharpe_ratio()


def grown_by(which: str) -> int:
    """Bytes by which a process grows while it runs its grid."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bench_bars; bench_bars.{which}_grown()"
    )
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def high_water() -> int:
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def ours_grown() -> None:
    bars, given = tape(), columns(SETS)
    run_bars(WholeCross, bars, {name: values[:40] for name, values in given.items()}, terms=TERMS)
    before = high_water()
    found = run_bars(WholeCross, bars, given, terms=TERMS)
    assert len(found.figures["sharpe"]) == SETS
    print(high_water() - before)


def theirs_grown() -> None:
    theirs(2)
    before = high_water()
    theirs(THEIRS)
    print(high_water() - before)
