"""Every process of a run dies at every labelled step, as by kill -9, and nothing acknowledged is lost.

ULTRA_KILLS is how many deaths there are in all; 500 is the long form, drawn from the same seed.
"""

import os
import random
import re
import signal
import subprocess
from pathlib import Path

import nats_rig
import pytest
from runs import MAKER, ROOT, command, environment, market
from ship_rig import Grown, assert_holds

from ultra.cold import labels, segment
from ultra.config import load
from ultra.ops import chaos

KILLS = int(os.environ.get("ULTRA_KILLS", "24"))
SHARES = {"pipeline": 0.5, "diamond": 0.2, "inline": 0.3}
MESSAGES, PACE = 18_000, 5.0
SEED = 5
MET: set[str] = set()  # steps, of all presets


@pytest.fixture(autouse=True)
def as_it_was() -> None:
    yield
    labels.arm("")


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: found.append(f"{pid == os.getpid()} {number}"))
    monkeypatch.setattr(signal, "pause", lambda: None)
    return found


def test_who_is_told_to_dies_there_and_nowhere_else(dead: list[str]) -> None:
    labels.arm("journal.sync.before:3,journal.sync.after:1")
    for _ in range(2):
        labels.at("journal.sync.before")
        labels.at("journal.append.mid")
    assert dead == []
    labels.at("journal.sync.before")
    assert dead == [f"True {int(signal.SIGKILL)}"]
    labels.at("journal.sync.before")
    assert len(dead) == 1
    assert labels.is_due("journal.sync.after") and not labels.is_due("journal.sync.after")


def test_a_file_says_that_it_was_done_and_it_is_not_done_again(tmp_path: Path, dead: list[str]) -> None:
    order = f"image.rename.before:1:{tmp_path / 'once'}"
    for _ in range(3):  # three processes, one after the other
        labels.arm(order)
        labels.at("image.rename.before")
    assert len(dead) == 1 and (tmp_path / "once").exists()


@pytest.mark.parametrize("text", ["journal.sinc.before:1", "journal.sync.before", "journal.sync.before:0", "a,b:x"])
def test_an_order_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(labels.LabelError, match="ULTRA_DIE_AT"):
        labels.arm(text)


def test_every_step_is_in_the_code_once_and_belongs_to_a_process() -> None:
    placed: list[str] = []
    for path in (ROOT / "ultra" / "cold").glob("*.py"):
        placed += re.findall(r"labels\.(?:at|is_due)\(\"([a-z.]+)\"\)", path.read_text())
    assert sorted(placed) == sorted(labels.STEPS)


@pytest.mark.jit_only
@pytest.mark.slow
@pytest.mark.parametrize("preset", SHARES)
def test_whoever_dies_at_whatever_step_nothing_is_lost(tmp_path: Path, preset: str) -> None:
    source = tmp_path / "day.itch50"
    source.write_bytes(market(MESSAGES))
    keys = {**chaos.SIZES, **chaos.LIMITS, "host.preset": preset, "journal.market_data": "full"}
    kills = max(1, round(KILLS * SHARES[preset]))
    job = chaos.Job(source, MAKER, load(None, keys), PACE, SEED, kills, True)
    found = chaos.Chaos(job, tmp_path).play()
    again = f"ULTRA_KILLS={KILLS} pytest tests/test_labels.py -k {preset}; its files are in {tmp_path}"
    assert found["wrong"] == [] and found["kills"] >= kills, again
    MET.update(found["by_step"])


@pytest.mark.jit_only
@pytest.mark.slow
def test_a_shipper_may_die_at_each_step_and_nothing_is_lost_or_comes_twice(tmp_path: Path) -> None:
    dice, grown = random.Random(SEED), Grown(tmp_path / "journal").grow(3000).close()
    steps = [step for step, (who, _) in labels.STEPS.items() if who == labels.SHIPPER]
    orders = [f"{step}:{dice.randint(1, 9)}:{tmp_path / step}" for step in steps]
    (tmp_path / "nats").mkdir()
    with nats_rig.single(tmp_path / "nats") as server:
        words = command("ship", str(grown.folder), "--to", server.url, "--records", "16")
        for _ in range(3 * len(steps)):
            done = subprocess.run(words, env=environment(ULTRA_DIE_AT=",".join(orders)), capture_output=True, text=True)
            if done.returncode != -signal.SIGKILL:
                break
        assert done.returncode == 0, done.stderr
        assert all((tmp_path / step).exists() for step in steps), "each of them was met"
        stream = f"ultra-{segment.journal_id(grown.folder).hex()}"
        assert_holds(server.url, stream, tmp_path / "back", 3000)


@pytest.mark.jit_only
@pytest.mark.slow
@pytest.mark.skipif(KILLS < 400, reason="too few to meet every step")
def test_every_step_was_met() -> None:
    assert {name for name in labels.STEPS if chaos.reachable(name, "pipeline")} == MET
