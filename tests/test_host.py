"""A run as several processes: the same hashes as in one, whoever is killed, stopped or told to end.

Engines are small and markets short; `--pace` makes a run last, so that what is done falls into it. ULTRA_KILLS sets how
many times a stage is killed in the long test.
"""

import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import (
    IMBALANCE,
    MAKER,
    assert_same,
    command,
    environment,
    market,
    ran,
    replayed,
    run_words,
    through,
    ultra,
    until,
)

from ultra.cold import shared
from ultra.cold.control import STAGES, Control
from ultra.wire import RUNNING, STAGE_AT, STAGE_PID, STAGE_STATE

pytestmark = [pytest.mark.jit_only, pytest.mark.slow]
MESSAGES = 4000
KILLS = int(os.environ.get("ULTRA_KILLS", "6"))
REPORT = re.compile(r"progress messages=(\d+) memory=(\d+)")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.itch50"
    path.write_bytes(market(MESSAGES))  # two seconds
    return path


@pytest.fixture(autouse=True)
def apart_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Segments of these tests lie where nobody else's do, and none is left."""
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setenv("ULTRA_SHM_DIR", str(folder))
    yield folder
    assert shared.stale() == [] and [one.name() for one in shared.found()] == []


class Hosted:
    """A paced run of a preset, and its processes."""

    def __init__(self, day: Path, folder: Path, spec: str = MAKER, *, pace: str = "2x", **more: Any) -> None:
        self.folder = folder
        # Their stages share two cores with everything else here: none is stuck for being late.
        settings = {"host__preset": "pipeline", "engine__session": "desk", "host__stall_ms": 2000} | more
        words = run_words(day, folder, spec, **settings)
        self.process = subprocess.Popen(
            command(*words, "--pace", pace, "--progress"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def control(self) -> Control:
        """The control block, once every stage runs."""
        assert self.process.poll() is None
        until(lambda: self.process.poll() is not None or shared.path_of("desk.control").exists(), "there is a control")
        control = Control(shared.attach("desk.control", kind="control", writable=True))
        stages = range(len(STAGES))
        until(lambda: all(control.of(k, STAGE_STATE) >= RUNNING for k in stages), "every stage runs")
        return control

    def pid(self, stage: str) -> int:
        return self.control().of(STAGES.index(stage), STAGE_PID)

    def at_work(self, records: int) -> Control:
        """The control block, once the engine is through with so many records."""
        control = self.control()
        until(lambda: control.of(1, STAGE_AT) >= records or self.process.poll() is not None, "the engine is at work")
        return control

    def end(self) -> tuple[int, dict[str, Any], str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, json.loads(out or "{}"), err


@pytest.fixture
def hosted(day: Path, tmp_path: Path) -> Iterator[Callable[..., Hosted]]:
    started: list[Hosted] = []

    def start(name: str = "journal", *given: Any, **more: Any) -> Hosted:
        started.append(Hosted(day, tmp_path / name, *given, **more))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            run.process.kill()
        run.process.communicate()
    until(lambda: all(not shared.alive(one.header) for one in shared.found() if one.header), "no stage is left")
    shared.clean()


@pytest.mark.parametrize("spec", [IMBALANCE, MAKER])
@pytest.mark.parametrize("preset", ["pipeline", "diamond"])
def test_every_preset_is_the_same_engine(day: Path, tmp_path: Path, preset: str, spec: str) -> None:
    settings = {"engine__checkpoint_records": 1000, "engine__timer_ns": 100_000_000, "journal__market_data": "full"}
    one = ran(day, tmp_path / "inline", spec, **settings)
    code, many, said = ultra(*run_words(day, tmp_path / preset, spec, host__preset=preset, **settings))
    assert code == 0, said
    for key in ("messages", "records", "orders", "cancels", "fills", "rejects_by_reason", "pnl", "state_hash",
                "decision_hash", "errors"):  # fmt: skip
        assert many[key] == one[key], key
    assert many["durability"] == {"memory": one["records"], "local": one["records"]}
    for folder in (tmp_path / preset, *([tmp_path / "diamond-mirror"] if preset == "diamond" else [])):
        assert_same(many, replayed(folder))


def test_gated_output_is_the_same_engine(day: Path, tmp_path: Path) -> None:
    found = [
        ultra(*run_words(day, tmp_path / f"{preset}-{durability}", MAKER, host__preset=preset,
                         journal__durability=durability)).found["state_hash"]
        for preset, durability in (("inline", "async"), ("inline", "gated"), ("diamond", "gated"))
    ]  # fmt: skip
    assert len(set(found)) == 1


def test_a_killed_feed_goes_on_where_it_was(day: Path, tmp_path: Path, hosted: Callable[..., Hosted]) -> None:
    one = ran(day, tmp_path / "inline", MAKER)
    run, kills = hosted(host__feed_restart_max=1000), 0
    while kills < 6:
        control = run.at_work(200 + 300 * kills)
        if run.process.poll() is not None or control.state(0) == "done":
            break
        os.kill(control.of(0, STAGE_PID), signal.SIGKILL)
        kills += 1
        until(lambda: control.state(0) in ("running", "done") or run.process.poll() is not None, "it is back")  # noqa: B023
    code, found, said = run.end()
    assert code == 0, said
    assert found["host"]["feed_restarts"] >= kills > 2
    assert (found["state_hash"], found["decision_hash"]) == (one["state_hash"], one["decision_hash"])
    assert_same(found, replayed(run.folder))


def test_any_stage_may_be_killed_anywhere(day: Path, tmp_path: Path, hosted: Callable[..., Hosted]) -> None:
    """A dead feed or journal comes back, nothing is sent or written twice; without engine or venue the run ends, and
    nothing that was reported is lost.

    ULTRA_KILLS=200 is the long form."""
    one, dice = ran(day, tmp_path / "inline", MAKER), random.Random(KILLS)
    for number in range(KILLS):
        stage = ("feed", "engine", "venue", "journal")[number % 4]
        run = hosted(f"run{number}", engine__session="desk", pace="4x")
        control = run.at_work(dice.randrange(50, 3500))
        pid = journal_of(control) if stage == "journal" else control.of(STAGES.index(stage), STAGE_PID)
        last = control.of(1, STAGE_AT)
        if shared.start_of(pid) and control.state(1) == "running":
            os.kill(pid, signal.SIGKILL)
        code, found, said = run.end()
        replay = replayed(run.folder)
        assert replay.code == 0 and replay.found["matches"] and "Traceback" not in said, said
        if code == 0:  # it came back, or the run had ended before
            assert found["state_hash"] == one["state_hash"]
            assert_same(found, replay)
        else:
            assert code == 5 and stage in ("engine", "venue"), said
            assert replay.found["records"] == through(run.folder) >= last
        assert shared.found() == [] or shared.clean(), "nothing is left but what the next start removes"


def journal_of(control: Control) -> int:
    pid = control.of(1, STAGE_PID)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


@pytest.mark.parametrize("stage", ["engine", "venue"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_without_engine_or_venue_the_run_ends_and_the_journal_has_what_was(
    hosted: Callable[..., Hosted], stage: str, number: signal.Signals
) -> None:
    run = hosted(host__stall_ms=100 if number == signal.SIGSTOP else 2000)
    control = run.at_work(1000)
    last = control.of(1, STAGE_AT)
    os.kill(run.pid(stage), number)
    code, found, said = run.end()
    assert code == 5 and found == {}, said
    wanted = "was stuck (it is stopped)" if number == signal.SIGSTOP else "ended with code -9"
    assert re.search(rf"the {stage} {re.escape(wanted)}", said) and "Traceback" not in said
    replay = replayed(run.folder)
    assert replay.code == 0 and replay.found["matches"] and not replay.found["complete"], replay.said
    assert replay.found["records"] == through(run.folder) >= last


@pytest.mark.parametrize("policy", ["drain", "halt"])
def test_a_feed_that_does_not_come_back_ends_the_run_as_told(hosted: Callable[..., Hosted], policy: str) -> None:
    run = hosted(host__feed_restart_max=0, host__on_feed_loss=policy)
    control = run.at_work(1000)
    os.kill(control.of(0, STAGE_PID), signal.SIGKILL)
    code, found, said = run.end()
    replay = replayed(run.folder)
    assert code == 5 and "the feed ended with code -9" in said and "Traceback" not in said
    assert replay.found["matches"] and replay.found["complete"] == (policy == "drain")
    if policy == "drain":
        assert_same(found, replay)
        assert found["errors"]["feed_lost"] == "ended with code -9" and found["messages"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_drains(hosted: Callable[..., Hosted], number: signal.Signals) -> None:
    run = hosted(host__preset="diamond")
    run.at_work(1000)
    run.process.send_signal(number)
    code, found, said = run.end()
    assert code == 0, said
    assert found["drained"] and found["records"] > 0
    assert_same(found, replayed(run.folder))
    assert_same(found, replayed(run.folder.with_name(run.folder.name + "-mirror")))


def test_a_killed_host_leaves_no_process_and_a_whole_journal(hosted: Callable[..., Hosted]) -> None:
    run = hosted()
    control = run.at_work(1000)
    pids, last = [control.of(k, STAGE_PID) for k in range(len(STAGES))], control.of(1, STAGE_AT)
    run.process.kill()
    until(lambda: not any(shared.start_of(pid) for pid in pids), "no stage is left")
    assert {one.name() for one in shared.stale()} >= {"desk.control", "desk.feed", "desk.requests", "desk.replies"}
    found = replayed(run.folder)
    assert found.code == 0 and found.found["matches"] and found.found["records"] >= last
    assert ultra("ring", "clean", "--json").found["removed"]


def test_a_mirror_that_cannot_be_written_stops_the_run(day: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("not a folder")
    words = run_words(day, tmp_path / "journal", host__preset="diamond", journal__mirror=str(tmp_path / "taken"))
    done = subprocess.run(command(*words), capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 4 and done.stdout == "" and "Traceback" not in done.stderr
    assert f"journal {tmp_path / 'taken'}: File exists; on disk up to input 0" in done.stderr


def test_what_cannot_start_says_why_in_one_line(day: Path, tmp_path: Path) -> None:
    strategy = tmp_path / "bad.py"
    strategy.write_text(
        "from ultra import Strategy\nclass Bad(Strategy):\n    @staticmethod\n"
        "    def on_book(state, params, event, market, orders):\n        state.x = [1]\n"
    )
    done = subprocess.run(command(*run_words(day, tmp_path / "a", f"{strategy}:Bad", host__preset="pipeline")),
                          capture_output=True, text=True, env=environment(), timeout=120)  # fmt: skip
    assert done.returncode == 2 and "names the field 'x', which neither it nor" in done.stderr, done.stderr
    code, _, said = ultra(*run_words(day, tmp_path / "b", host__preset="pipeline", host__feed_core=1000))
    assert code == 2 and "host.feed_core = 1000: not a core we may use" in said


def test_a_damaged_file_is_told_by_the_feed(day: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.itch50"
    cut.write_bytes(day.read_bytes()[:-7])
    one = ultra(*run_words(cut, tmp_path / "inline"))
    code, found, said = ultra(*run_words(cut, tmp_path / "pipeline", host__preset="pipeline"))
    assert code == one.code == 3 and "cut inside a message at offset" in said
    assert found["errors"] == one.found["errors"] and found["state_hash"] == one.found["state_hash"]


def test_an_open_loop_measures_from_the_moment_a_record_was_due(day: Path, tmp_path: Path) -> None:
    free = ran(day, tmp_path / "free")
    for preset in ("inline", "pipeline"):
        code, found, said = ultra(*run_words(day, tmp_path / preset, host__preset=preset), "--pace", "20000/s")
        assert code == 0, said
        assert found["state_hash"] == free["state_hash"] and found["records"] == free["records"]
        assert 0 < found["late_ns"]["samples"] <= found["messages"]
        assert found["wall_s"] > 0.9 * found["late_ns"]["samples"] / 20_000


def test_what_the_machine_does_not_grant_is_noted(day: Path, tmp_path: Path) -> None:
    wishes = {"engine__lock_memory": "true", "engine__huge_pages": "1G", "engine__numa_node": 1000}
    for preset in ("inline", "pipeline"):
        code, found, said = ultra(*run_words(day, tmp_path / preset, host__preset=preset, **wishes))
        assert code == 0, said
        notes = " ".join(found["ring"]["notes"] + found.get("host", {}).get("notes", []))
        assert "pages of 1024 MiB" in notes and "NUMA node 1000: there are only" in notes, notes
