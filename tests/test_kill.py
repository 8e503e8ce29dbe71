"""kill -9 of the engine in the middle of a run: whatever it had reported as in memory is in the journal."""

import re
import subprocess
from pathlib import Path

import pytest
from runs import command, environment, market, run_words, ultra

KILL_AT = (1, 30_000, 70_000)


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
