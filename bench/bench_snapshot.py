"""Snapshots of a full book, replays, and a restart from a snapshot against one from the start.

    pytest bench/bench_snapshot.py --benchmark-only

`bytes`, `orders` and `records_per_s` stand in the extra info. Writing syncs, so it also measures the disk.
"""

import shutil
import statistics
import time

import pytest

from ultra import config as configs
from ultra import inline, strategy
from ultra.cold import assembly, live
from ultra.cold import image as images
from ultra.cold.replay import Replay
from ultra.hot import ring as rings
from ultra.hot import table as tables
from ultra.wire import NONE, RECORD

ROUNDS = 5
BOOK, DAY = (500, 2_000_000), (20, 1_000_000)
IDLE, TAKER = "ultra.strategy:Idle", "ultra.strategies.imbalance:Imbalance"


def empty():
    config = configs.load(None, {"engine.prefault": False})
    return assembly.assemble(config, strategy.load(IDLE), [rings.create(RECORD, 16)])


@pytest.fixture(scope="module")
def full(generated):
    """A machine with the books of a whole day in it."""
    machine, stream = empty(), generated(*BOOK)
    inline.books_only(machine.run.engine.book, machine.decoder, machine.run.feed, stream, 0, len(stream))
    return machine


def taken(machine):
    return images.take(machine, NONE, bytes(16), {})


def write(folder, machine):
    return images.write(folder, taken(machine))


def test_take_and_write_a_full_book(benchmark, full, tmp_path):
    path = benchmark.pedantic(write, (tmp_path, full), rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["bytes"] = path.stat().st_size
    benchmark.extra_info["orders"] = int(full.run.engine.book.ids.cells[tables.USED])


def test_read_and_restore_a_full_book(benchmark, full, tmp_path):
    path = write(tmp_path, full)

    def act(machine):
        images.restore(images.read(path), machine, str(path))

    benchmark.pedantic(act, setup=lambda: ((empty(),), {}), rounds=ROUNDS, warmup_rounds=1)


@pytest.fixture(scope="module")
def journals(generated, tmp_path_factory):
    """`journals(form, spec)`: the folder of a run over a generated day, with a snapshot at nine tenths of it."""
    folder = tmp_path_factory.mktemp("journals")
    day, made = folder / "day.itch50", {}
    generated(*DAY).tofile(day)

    def make(form, spec):
        if (form, spec) not in made:
            target = folder / f"{form}{len(made)}"
            settings = {"journal.market_data": form, "journal.sync": False, "engine.prefault": False}
            outcome = live.Live(configs.load(None, settings), strategy.load(spec), day, target).play()
            replay = Replay(target)
            replay.begin(replay.journaled())
            replay.advance(outcome.processed * 9 // 10)
            images.write(target, replay.image())
            made[form, spec] = target
        return made[form, spec]

    yield make
    shutil.rmtree(folder)


def measured(benchmark, folder, fast):
    """Everything a restart does: the survey of the journal, the memory, the code, and the inputs."""
    spent = []

    def act():
        before = time.process_time()
        replay = Replay(folder, fast=fast)
        replay.begin(replay.journaled())
        begun = time.process_time()
        replay.advance(replay.through)
        spent.append((time.process_time() - begun, begun - before))
        return replay.finish()

    found = benchmark.pedantic(act, rounds=ROUNDS, warmup_rounds=1)
    assert found.matches and found.complete and bool(found.start) == fast
    records, cpu_s = found.records - found.start, statistics.median(replaying for replaying, _ in spent)
    benchmark.extra_info["records"] = records
    benchmark.extra_info["records_per_s"] = round(records / found.wall_s)
    benchmark.extra_info["records_per_cpu_s"] = round(records / cpu_s)  # of all threads; a busy machine can't lie here
    benchmark.extra_info["ready_cpu_ms"] = round(1000 * statistics.median(ready for _, ready in spent))


@pytest.mark.parametrize("spec", [IDLE, TAKER], ids=["idle", "taker"])
@pytest.mark.parametrize("form", ["reference", "full"])
def test_restart_from_the_start(benchmark, journals, form, spec):
    measured(benchmark, journals(form, spec), False)


@pytest.mark.parametrize("form", ["reference", "full"])
def test_restart_from_a_snapshot(benchmark, journals, form):
    measured(benchmark, journals(form, TAKER), True)
