"""A command's round trip, from a client's socket into a running engine and back; and how fast projections are rebuilt.

    pytest bench/bench_desk.py --benchmark-only

The run is paced, as a real day would be, with other processes on the same cores: what is timed is one `call.ask`, with
its connection. A rebuild is a replay with tables: `inputs_per_s` stands in the extra info.
"""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from ultra.cold import call, desk
from ultra.cold.projector import Projector
from ultra.cold.replay import Replay

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from runs import MAKER, command, environment, market, ran, run_words, until

ROUNDS = 300
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "day").write_bytes(market(60_000))
    words = [*run_words(folder / "day", folder / "journal", MAKER, engine__session="bench"), "--pace", "0.3x"]
    with subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, env=environment()) as process:
        until(lambda: process.poll() is not None or desk.path_of("bench").exists(), "the desk is open")
        yield process
        process.terminate()


@pytest.mark.parametrize("words", [{"command": "resume"}, {"command": "kill"}], ids=["resume", "kill"])
@pytest.mark.parametrize("wait", ["memory", "local"])
def test_round_trip(benchmark, running, words, wait):
    def ask():
        found = call.ask("bench", {**words, "wait": wait, "id": str(next(NUMBERS)), "who": "bench", "why": "bench"})
        assert "error" not in found

    benchmark.pedantic(ask, rounds=ROUNDS, warmup_rounds=5)
    assert running.poll() is None


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("journal")
    (folder / "day").write_bytes(market(400_000))
    ran(folder / "day", folder / "journal", MAKER)
    return folder / "journal"


def test_rebuild(benchmark, journal, tmp_path):
    made = []

    def fresh():
        return (Projector(Replay(journal), journal, tmp_path / f"{next(NUMBERS)}.db"),), {}

    def rebuild(one):
        made.append(one.play())
        one.close()

    benchmark.pedantic(rebuild, setup=fresh, rounds=3)
    benchmark.extra_info["inputs"] = made[0].records
    benchmark.extra_info["inputs_per_s"] = round(made[0].records / benchmark.stats.stats.median)
