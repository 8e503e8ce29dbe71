"""Wire to wire: a packet of the feed in, an order out, and what of it is the engine's.

    pytest bench/bench_wire.py --benchmark-only

`street.py` on one core, on the other in turns: `ultra run --venue` with `reflex.py` (packet -> book -> strategy -> risk
-> OUCH bytes), `loopback.c` (the same system calls and nothing between them) and `loopback.py` (asyncio). Open loop,
from the moment a packet was due. What the engine adds is the difference to C; `inside` is its own count, from a packet
in hand to the call of `send`.
The journal is at level `memory`: with fdatasync its process takes from a machine of two cores what is to be measured.
Known bad case: two cores. The journal's process and everything else share the street's core, and show in every tail.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import street

from ultra.hot import histogram as histograms

HERE = Path(__file__).parent
ROUNDS, COUNT, WARM = 3, 100_000, 5_000
RATES, ASYNCIO_PER_S = (10_000, 100_000), 10_000
CORES = sorted(os.sched_getaffinity(0))[-2:]
pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="two pinned processes need two cores")
PERCENTILES = (50.0, 99.0, 99.9)
SETTINGS = {
    "engine.core": CORES[-1], "engine.instrument_max": 64, "engine.order_live_max": 1 << 14,
    "engine.level_page_max": 256, "risk.message_rate_max_per_s": 10**7,
    "risk.duplicate_window_ns": 0, "risk.open_order_max": 4096,
    "risk.position_qty_max": 10**9, "link.order_rate_max_per_s": 10**7, "host.wait": "spin",
    "journal.sync": "false",
    "link.feed_silence_ms": 600_000, "link.session_silence_ms": 600_000, "engine.latency_sample_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def in_c(tmp_path_factory):
    compiler = next((found for name in ("gcc", "cc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("there is no C compiler (gcc, cc, clang) to build bench/loopback.c with")
    program = tmp_path_factory.mktemp("loopback") / "loopback"
    subprocess.run([compiler, "-O3", "-march=native", HERE / "loopback.c", "-o", program], check=True)
    return program


def row(late, ns):
    found = {f"p{p:g}": round(histograms.percentile(late, p) * ns) for p in PERCENTILES}
    return found | {"max": round(int(late.largest[0]) * ns)}


def shots(one, found, name):
    """Both rates after a few packets to warm up; nothing may be lost."""
    one.fire(WARM, 10_000, CORES[0])
    for per_s in RATES:
        if name == "asyncio" and per_s > ASYNCIO_PER_S:
            continue  # it falls behind for ever: then its latency is the length of the run
        heard, late, ns = one.fire(COUNT, per_s, CORES[0])
        assert heard == COUNT, f"{name}, {per_s} a second: {heard} of {COUNT} came back"
        found.setdefault((name, per_s), []).append(row(late, ns))


def bare(name, words, found):
    """One that measures the kernel only."""
    one = street.Street()
    process = subprocess.Popen([*words, str(CORES[-1]), str(one.feed_port), str(one.orders_port)])
    try:
        one.accept()
        shots(one, found, name)
        one.stop()
        process.wait(10)
    finally:
        process.kill()
        one.close()


def engine(folder, found, inside):
    one = street.Street()
    venue = f"udp://127.0.0.1:{one.feed_port},ouch://STREET@127.0.0.1:{one.orders_port}"
    words = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "ultra", "run", "--venue", venue, "--strategy", f"{HERE / 'reflex.py'}:Reflex"]
    process = subprocess.Popen(
        [*command, "--journal", str(folder), "--json", *words], stdout=subprocess.PIPE, text=True, cwd=HERE.parent,
        env=os.environ | {"ULTRA_OUCH_PASSWORD": "street"},
    )  # fmt: skip
    try:
        one.log_in()
        shots(one, found, "ultra")
        process.terminate()
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        one.close()
    inside.append(json.loads(said)["venue"]["inside_ns"])


def test_wire_to_wire(benchmark, tmp_path, in_c):
    """Rounds of all three in turn; medians of rounds."""
    found, inside = {}, []

    def rounds():
        for number in range(ROUNDS):
            bare("C", [in_c], found)
            engine(tmp_path / f"journal-{number}", found, inside)
            bare("asyncio", [sys.executable, HERE / "loopback.py"], found)

    benchmark.pedantic(rounds, rounds=1)
    middle = {
        key: {name: round(statistics.median(each[name] for each in rows)) for name in rows[0]}
        for key, rows in found.items()
    }
    for (name, per_s), figures in middle.items():
        own = {f"above C {key}": figures[key] - middle["C", per_s][key] for key in ("p50", "p99")}
        benchmark.extra_info[f"{name} {per_s}/s, ns"] = figures | ({} if name == "C" else own)
    benchmark.extra_info["inside, ns"] = {
        key: statistics.median(each[key] for each in inside) for key in ("p50", "p90", "p99", "p99.9", "max")
    }
