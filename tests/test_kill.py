"""kill -9 in the middle of a run: whatever was reported as in memory is in the journal, and who can come back does.

ULTRA_KILLS is how often any stage of a hosted run is killed; 200 is the long form.
"""

import os
import random
import re
import signal
import subprocess
from pathlib import Path

import pytest
from hosts import Hosted, journal_of, none_left, two_seconds
from runs import MAKER, assert_same, command, environment, journaled, market, ran, replayed, run_words, through, ultra

from ultra.cold import shared
from ultra.cold.control import STAGES
from ultra.wire import STAGE_AT, STAGE_PID

KILL_AT = (1, 30_000, 70_000)
KILLS = int(os.environ.get("ULTRA_KILLS", "6"))
WHO = ("engine", "feed", "engine", "journal", "engine and journal", "venue")


@pytest.mark.jit_only
@pytest.mark.parametrize("form", ["reference", "full"])
def test_nothing_reported_is_lost_when_the_engine_is_killed(tmp_path: Path, form: str) -> None:
    source = tmp_path / "day.itch50"
    source.write_bytes(market(60_000))
    for number, at in enumerate(KILL_AT):
        folder = tmp_path / f"j{number}"
        # Paced, so that the kill falls into the run.
        words = run_words(source, folder, journal__market_data=form, engine__checkpoint_records=10_000)
        reported = killed([*words, "--pace", "5x", "--progress"], at)
        replayed = ultra("replay", str(folder), "--json")
        assert replayed.code == 0, replayed.said
        assert replayed.found["matches"] and not replayed.found["complete"]
        assert replayed.found["records"] >= reported > 0


def killed(words: list[str], at: int) -> int:
    """Start a run, kill -9 it once it reports so many inputs, wait for its journal; the last input it had reported."""
    reported = 0
    with subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        for line in process.stderr:
            found = re.search(r"memory=(\d+)", line)
            reported = int(found[1]) if found else reported
            if reported >= at:
                break
        process.kill()
        process.stderr.read()  # ends when the journal, which holds the other end, has ended
    return reported


@pytest.mark.jit_only
@pytest.mark.slow
def test_any_stage_may_be_killed_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead feed, engine or journal comes back; without the venue the run ends, and nothing reported is lost.

    Nothing is lost, nor there twice: the journal is byte for byte that of a run without a death."""
    day, dice, back = two_seconds(tmp_path), random.Random(KILLS), 0
    one = ran(day, tmp_path / "inline", MAKER)
    for number in range(KILLS):
        folder, who = tmp_path / f"run{number}", WHO[number % len(WHO)]
        with none_left(folder, monkeypatch):
            run = Hosted(day, folder / "journal", pace="4x")
            control = run.at_work(dice.randrange(0, 3900))
            last, pids = control.of(1, STAGE_AT), [journal_of(control)] if "journal" in who else []
            pids += [control.of(STAGES.index(name), STAGE_PID) for name in who.split(" and ") if name != "journal"]
            for pid in pids:
                if shared.start_of(pid) and control.state(1) == "running":
                    os.kill(pid, signal.SIGKILL)
            code, found, said = run.end()
        assert "Traceback" not in said, said
        if code == 0:  # it came back, or the run had ended before
            back += found["host"]["engine_restarts"] + found["host"]["feed_restarts"]
            assert (found["state_hash"], found["decision_hash"]) == (one["state_hash"], one["decision_hash"]), number
            assert journaled(run.folder).tobytes() == journaled(tmp_path / "inline").tobytes(), number
            assert_same(found, replayed(run.folder))
        else:
            assert code == 5 and who == "venue", said
            replay = replayed(run.folder)
            assert replay.found["matches"] and replay.found["records"] == through(run.folder) >= last, replay.said
    assert back >= KILLS // 3, f"{back} of {KILLS} came back"
