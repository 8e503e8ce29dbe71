"""Readers and tapes: messages a second of each reader, records a second of a tape, and how large it is.

    pytest bench/bench_data.py --benchmark-only

A round reads everything once, from disk to records in memory. `first` is the reading that finds instruments and units.
The tape of the last cases is made up: 30 days of a feed, each day the same length.
"""

import os
import resource

import numpy as np
import pytest
from conftest import recorded

from ultra.lab import tape as tapes
from ultra.lab.data import load
from ultra.lab.tape import Instrument, Tape
from ultra.wire import LEVEL, NONE, RECORD

ROUNDS = 3
FILES = {
    "itch": ("itch/derived_AAPL_20120621_0930_1030.itch50.gz", 92_083),
    "lobster": ("lobster/AMZN_2012-06-21_34200000_57600000_message_1.csv.gz", 57_515),
    "dbn mbo": ("dbn/esh4-glbx-mdp3-20231225.mbo.dbn.zst", 68_792),
    "binance usdm": ("binance/usdm/btcusdt_20240808.gz", 93_954),
    "binance spot": ("binance/spot/btcusdt_20240808.gz", 41_249),
    "kraken": ("cryptofeed/KRAKEN.ws.50.0.gz", 4_323),
    "csv bars": ("bars/nautilus/btc-perp-20211231-20220201_1m.csv.gz", 45_031),
}
DAYS, PER_DAY = 30, 400_000


def source(name):
    path = recorded() / FILES[name][0]
    if not path.is_file():
        pytest.skip(f"no recorded data: {path} is not there (set ULTRA_DATA)")
    return path


def report(benchmark, count, what):
    median = benchmark.stats.stats.median
    benchmark.extra_info[f"{what}_per_s"] = round(count / median)
    benchmark.extra_info[f"ns_per_{what[:-1]}"] = round(median / count * 1e9, 1)


def drain(tape):
    return sum(len(batch) for batch in tape.batches())


@pytest.mark.parametrize("name", FILES)
def test_first(benchmark, name):
    path = source(name)
    benchmark.pedantic(lambda: load(path), rounds=ROUNDS, warmup_rounds=1)
    report(benchmark, FILES[name][1], "messages")


@pytest.mark.parametrize("name", FILES)
def test_read(benchmark, name):
    tape = load(source(name))
    records = benchmark.pedantic(lambda: drain(tape), rounds=ROUNDS, warmup_rounds=1)
    report(benchmark, FILES[name][1], "messages")
    benchmark.extra_info["records"] = records


def day(number):
    """A day of a lively feed of levels, made up."""
    rng, found = np.random.default_rng(number), np.zeros(PER_DAY, RECORD)
    found["kind"], found["order_id"], found["side"] = LEVEL, NONE, rng.integers(0, 2, PER_DAY)
    start = number * 86_400 * 10**9
    found["ts_event"] = start + np.sort(rng.integers(0, 86_400 * 10**9, PER_DAY))
    found["ts_recv"] = found["ts_event"] + rng.integers(1_000, 900_000, PER_DAY)
    found["price"] = 600_000 + np.cumsum(rng.integers(-2, 3, PER_DAY)) + 10 * found["side"]
    found["qty"] = rng.integers(0, 500, PER_DAY)
    return found


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """The same 30 days raw and packed."""
    tape = Tape((Instrument("XY", 10_000_000, 1_000_000),), "levels", lambda size: (day(k) for k in range(DAYS)))
    folder = tmp_path_factory.mktemp("month")
    for packed in (False, True):
        tapes.write(folder / f"{packed}.ulc", tape, compress=packed)
    return folder


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "packed"])
def test_month(benchmark, month, packed):
    path = month / f"{packed}.ulc"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records = benchmark.pedantic(lambda: drain(tapes.open(path)), rounds=ROUNDS, warmup_rounds=1)
    report(benchmark, records, "records")
    benchmark.extra_info["bytes_per_record"] = round(os.path.getsize(path) / records, 1)
    benchmark.extra_info["memory_grew_mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10


def test_month_mapped(benchmark, month):
    """The prices of all records, summed: every page of the map is touched."""
    tape = tapes.open(month / "False.ulc")
    benchmark.pedantic(lambda: int(tape.array()["price"].sum()), rounds=ROUNDS, warmup_rounds=1)
    report(benchmark, tape.records, "records")
