"""Whichever process dies or stands still, what was reported is in the journal, and the other one says what happened.

The market comes at the pace of a clock, so that whatever is done falls into the run; the journal is stopped by SIGSTOP,
so that what it has not written when the engine is killed is known to lie in the ring only.
"""

import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import (
    EAGER,
    IMBALANCE,
    SMALL,
    assert_same,
    command,
    environment,
    journaled,
    market,
    replayed,
    run_words,
    through,
    ultra,
    until,
)

from ultra import inline, strategy
from ultra.cold import journal, live, segment
from ultra.cold.segment import JournalError
from ultra.cold.summary import reasons
from ultra.config import load

pytestmark = pytest.mark.jit_only
REPORT = re.compile(r"progress messages=(\d+) memory=(\d+) local=(\d+)")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.itch50"
    path.write_bytes(market(20_000))  # ten seconds
    return path


class Engine:
    """A paced `ultra run` that reports its progress, and its journal's process."""

    def __init__(self, day: Path, journal: Path, **settings: Any) -> None:
        self.folder = journal
        words = run_words(day, journal, engine__checkpoint_records=1000, **settings)
        self.process = subprocess.Popen(
            command(*words, "--pace", "2x", "--progress"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.said = ""

    def report(self, **at_least: int) -> dict[str, int]:
        """The next report that says at least this."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            found = REPORT.match(line)
            if found:
                now = dict(zip(("messages", "memory", "local"), map(int, found.groups()), strict=True))
                if all(now[key] >= value for key, value in at_least.items()):
                    return now
        raise AssertionError(f"the run ended: {self.said}")

    def journal(self) -> int:
        """Process id of the journal."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def end(self) -> int:
        """Wait until both processes have ended (both hold the pipe that is read here); the engine's exit code."""
        assert self.process.stderr is not None
        self.said += self.process.stderr.read()
        self.process.stderr.close()
        return self.process.wait()


@pytest.fixture
def engines(day: Path, tmp_path: Path) -> Iterator[Any]:
    started: list[Engine] = []

    def start(name: str = "journal", **settings: Any) -> Engine:
        started.append(Engine(day, tmp_path / name, **settings))
        return started[-1]

    yield start
    for engine in started:
        engine.process.kill()
        if engine.process.stderr is not None and not engine.process.stderr.closed:
            engine.end()


@pytest.mark.parametrize("form", ["reference", "full"])
def test_what_only_the_ring_holds_outlives_the_engine(engines: Any, form: str) -> None:
    """The engine is killed while the journal stands still and lags behind."""
    engine = engines(journal__market_data=form)
    engine.report(local=100)
    journal = engine.journal()
    os.kill(journal, signal.SIGSTOP)
    before = engine.report()
    last = engine.report(memory=before["memory"] + 1000)
    assert last["local"] < last["memory"] and through(engine.folder) < last["memory"]
    engine.process.kill()
    engine.process.wait()
    assert through(engine.folder) < last["memory"], "the journal stands still"
    os.kill(journal, signal.SIGCONT)
    assert engine.end() == -signal.SIGKILL
    found = replayed(engine.folder)
    assert found.code == 0 and found.found["matches"] and not found.found["complete"], found.said
    assert found.found["records"] == through(engine.folder) >= last["memory"]
    assert found.found["checkpoints"] >= last["memory"] // 1000


@pytest.mark.parametrize("form", ["reference", "full"])
def test_a_killed_journal_goes_on_where_it_was(engines: Any, day: Path, tmp_path: Path, form: str) -> None:
    engine = engines(journal__market_data=form, journal__durability="gated")
    for kill in range(3):
        engine.report(memory=2000 * (kill + 1))
        os.kill(engine.journal(), signal.SIGKILL)
    assert engine.end() == 0, engine.said
    one = ultra(*run_words(day, tmp_path / "one", journal__market_data=form, engine__checkpoint_records=1000))
    assert_same(one.found, replayed(engine.folder))
    if form == "full":
        assert (journaled(engine.folder)["sequence"] == range(one.found["records"])).all()


def test_a_journal_killed_before_it_wrote_anything_begins_again(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    journal.Journal(folder, segment_bytes=1 << 20, resume=True).close()
    assert segment.end_of(folder) is None and segment.is_used(folder)
    journal.Journal(folder, segment_bytes=1 << 20, resume=True).close()


def test_a_journal_killed_too_often_ends_the_run_at_once_with_4(engines: Any) -> None:
    engine = engines(journal__restart_max=0)
    last = engine.report(local=100)
    os.kill(engine.journal(), signal.SIGKILL)
    assert engine.end() == 4
    assert engine.said.count("its process ended with code -9; on disk up to input") == 1
    assert "Traceback" not in engine.said and len(REPORT.findall(engine.said)) < 10
    found = replayed(engine.folder)
    assert found.code == 0 and found.found["matches"] and found.found["records"] >= last["local"]


def test_a_terminated_run_drains(engines: Any) -> None:
    engine = engines()
    last = engine.report(local=100)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.end() == 0, engine.said
    found = replayed(engine.folder)
    assert found.code == 0 and found.found["matches"] and found.found["complete"], found.said
    assert last["memory"] <= found.found["records"] < 20_000


def test_an_interrupted_run_ends_with_130_and_keeps_what_it_took(engines: Any) -> None:
    engine = engines()
    last = engine.report(local=100)
    engine.process.send_signal(signal.SIGINT)
    assert engine.end() == 130
    assert "interrupted; what was journaled is kept" in engine.said and "Traceback" not in engine.said
    found = replayed(engine.folder)
    assert found.code == 0 and found.found["matches"] and found.found["records"] >= last["memory"]


@pytest.mark.parametrize("policy", ["halt", "shed"])
def test_a_run_whose_journal_has_no_room_stops_or_sheds_with_one_clear_error(
    day: Path, tmp_path: Path, policy: str
) -> None:
    keys = {**SMALL, "engine.prefault": False, "journal.market_data": "full", "journal.ring_records": 64,
            "journal.batch_record_max": 64, "journal.on_failure": policy, **EAGER}  # fmt: skip
    folder, limited = tmp_path / "journal", []

    def limit(_: dict[str, int]) -> None:
        """Once the journal has begun: no byte of a file beyond this."""
        assert run._drive._taps[0]._process is not None
        begun = folder / "segment-000000.ulj"
        until(lambda: limited or (begun.exists() and through(folder) > 0), "the first inputs are on disk")
        limited.append(resource.prlimit(run._drive._taps[0]._process.pid, resource.RLIMIT_FSIZE, (300_000, 300_000)))

    run = live.Live(load(None, keys), strategy.load(IMBALANCE), day, folder, progress=limit)
    with pytest.raises(JournalError, match=r"File too large; on disk up to input [1-9]") as caught:
        run.play()
    durable, found = run._drive.durable, journaled(folder)
    assert (found["sequence"] == range(len(found))).all()
    assert 0 < durable <= len(found) == through(folder) < 300_000 // 64
    engine, given = run._drive.run.engine, reasons(run._drive.run.engine)
    if policy == "halt":
        assert "halted" not in given and int(run._drive.run.cells[inline.NEXT]) < 20_000
    else:
        assert given["halted"] > 10 and int(run._drive.run.cells[inline.NEXT]) > 20_000, "it went on, without orders"
        assert engine.market.open_orders.sum() == 0, "what rested could leave"
        assert "New orders were refused from input" in str(caught.value)
    again = replayed(folder)
    assert again.code == 0 and again.found["records"] == len(found)


def test_the_same_folder_is_not_used_twice_at_once(engines: Any, day: Path) -> None:
    engine = engines()
    engine.report(local=100)
    second = ultra(*run_words(day, engine.folder))
    assert second.code == 4 and "holds a journal already" in second.said
    engine.process.send_signal(signal.SIGINT)
    assert engine.end() == 130
    assert replayed(engine.folder).found["matches"]


def test_a_run_that_was_paced_is_the_same_as_one_that_was_not(day: Path, tmp_path: Path) -> None:
    paced = ultra(*run_words(day, tmp_path / "paced"), "--pace", "50x")
    free = ultra(*run_words(day, tmp_path / "free"))
    assert paced.found["decision_hash"] == free.found["decision_hash"]
    assert paced.found["wall_s"] >= 9.9 / 50 > free.found["loop_s"]
    assert_same(paced.found, replayed(tmp_path / "paced"))
