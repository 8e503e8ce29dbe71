"""A run as several processes: the same hashes as in one, whoever is killed, stopped or told to end.

Engines are small and markets short; `--pace` makes a run last, so that what is done falls into it.
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import Hosted, none_left, two_seconds
from runs import (
    IMBALANCE,
    MAKER,
    assert_same,
    command,
    environment,
    journaled,
    ran,
    replayed,
    run_words,
    through,
    ultra,
    until,
)

from ultra.cold import shared
from ultra.cold.control import STAGES
from ultra.wire import STAGE_AT, STAGE_PID

pytestmark = [pytest.mark.jit_only, pytest.mark.slow]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_seconds(tmp_path_factory.mktemp("day"))


@pytest.fixture(autouse=True)
def apart_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with none_left(tmp_path, monkeypatch):
        yield


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
        pid = control.of(0, STAGE_PID)
        os.kill(pid, signal.SIGKILL)
        kills += 1
        until(lambda: control.of(0, STAGE_PID) not in (0, pid) or run.process.poll() is not None, "it is back")  # noqa: B023
        until(lambda: control.state(0) in ("running", "done") or run.process.poll() is not None, "it is at work")  # noqa: B023
    code, found, said = run.end()
    assert code == 0, said
    assert found["host"]["feed_restarts"] >= kills > 2
    assert (found["state_hash"], found["decision_hash"]) == (one["state_hash"], one["decision_hash"])
    assert_same(found, replayed(run.folder))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_stuck_engine_comes_back_and_is_the_same(
    day: Path, tmp_path: Path, hosted: Callable[..., Hosted], number: signal.Signals
) -> None:
    """Three times in one run: a diamond with gated output, so that everything there is is under way."""
    settings = {"host__preset": "diamond", "journal__durability": "gated", "engine__checkpoint_records": 1000}
    one = ran(day, tmp_path / "inline", MAKER, **settings | {"host__preset": "inline"})
    run = hosted(host__engine_restart_max=1000, host__stall_ms=300 if number == signal.SIGSTOP else 2000, **settings)
    for kill in range(3):
        control = run.at_work(300 + 900 * kill)
        pid = control.of(1, STAGE_PID)
        if control.state(1) == "running":
            os.kill(pid, number)
            until(lambda: control.of(1, STAGE_PID) not in (0, pid) or run.process.poll() is not None, "it is back")  # noqa: B023
    code, found, said = run.end()
    assert code == 0, said
    assert found["host"]["engine_restarts"] == len(found["host"]["engine_away_ms"]) >= 2
    assert (found["state_hash"], found["decision_hash"]) == (one["state_hash"], one["decision_hash"])
    mirror = run.folder.with_name(run.folder.name + "-mirror")
    for folder in (run.folder, mirror):
        assert_same(found, replayed(folder))
    assert journaled(run.folder).tobytes() == journaled(mirror).tobytes() == journaled(tmp_path / "inline").tobytes()


@pytest.mark.parametrize(("stage", "number"), [("engine", signal.SIGKILL), ("engine", signal.SIGSTOP),
                                               ("venue", signal.SIGKILL), ("venue", signal.SIGSTOP)])  # fmt: skip
def test_without_engine_or_venue_the_run_ends_and_the_journal_has_what_was(
    hosted: Callable[..., Hosted], stage: str, number: signal.Signals
) -> None:
    run = hosted(host__stall_ms=100 if number == signal.SIGSTOP else 2000, host__engine_restart_max=0)
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


def test_what_cannot_start_says_why(day: Path, tmp_path: Path) -> None:
    strategy = tmp_path / "bad.py"
    strategy.write_text(
        "from ultra import Strategy\nclass Bad(Strategy):\n    @staticmethod\n"
        "    def on_book(state, params, event, market, orders):\n        state.x = [1]\n"
    )
    done = subprocess.run(command(*run_words(day, tmp_path / "a", f"{strategy}:Bad", host__preset="pipeline")),
                          capture_output=True, text=True, env=environment(), timeout=120)  # fmt: skip
    assert done.returncode == 2 and "names state.x, which does not exist" in done.stderr, done.stderr
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
