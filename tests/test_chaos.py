"""Chaos finds nothing in a run that is as it must be, and each kind of harm that is planted in one."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from runs import MAKER, market, ran, replayed, ultra

from ultra.cold import image as images
from ultra.cold import segment
from ultra.cold.journal import Journal
from ultra.hot import JIT
from ultra.ops import chaos
from ultra.ops.proofs import Reference, Witness, proven, reference
from ultra.wire import FILL, RECORD

MESSAGES = 3000 if JIT else 600


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("undisturbed")
    source = folder / "day.itch50"
    source.write_bytes(market(MESSAGES))
    found = ran(source, folder / "journal", MAKER, engine__checkpoint_records=1000, journal__batch_record_max=16)
    ultra("follow", str(folder / "journal"), "--every", "300", "--json")
    return reference(folder / "journal", found)


@pytest.fixture
def copy(undisturbed: Reference, tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "journal"))


def wrong(folder: Path, undisturbed: Reference, least: int = 0) -> Iterator[str]:
    witness = Witness(folder, undisturbed)
    yield from proven(witness, undisturbed, folder, folder.parent / "projections.db", least)
    witness.close()


def written(folder: Path, undisturbed: Reference, frames: list[segment.Frame]) -> None:
    """A journal of these frames in the place of the one there."""
    shutil.rmtree(folder)
    writer = Journal(folder, segment_bytes=1 << 20)
    for frame in frames:
        writer.append(frame.kind, frame.first, frame.count, frame.through, frame.payload)
    writer.close()


def test_a_run_that_nobody_disturbed_is_as_it_must_be(undisturbed: Reference, copy: Path) -> None:
    assert list(wrong(copy, undisturbed, undisturbed.inputs)) == []
    frames = list(segment.read(copy))[:20]  # so is a part of one
    written(copy, undisturbed, frames)
    assert list(wrong(copy, undisturbed, frames[-1].through)) == []


def test_what_was_acknowledged_and_is_not_there_is_seen(undisturbed: Reference, copy: Path) -> None:
    frames = list(segment.read(copy))[:20]
    written(copy, undisturbed, frames)
    (found,) = wrong(copy, undisturbed, frames[-1].through + 1)
    assert found.startswith(f"inputs below {frames[-1].through + 1} were acknowledged")


def test_another_record_is_seen_and_so_is_what_it_does(undisturbed: Reference, copy: Path) -> None:
    frames = list(segment.read(copy))
    for at, frame in enumerate(frames):
        records = np.frombuffer(bytearray(frame.payload), RECORD) if frame.kind == segment.RECORDS else ()
        fills = [k for k, record in enumerate(records) if record["kind"] == FILL]
        if fills:
            records["qty"][fills[0]] += 1
            frames[at] = segment.Frame(frame.kind, frame.first, frame.count, frame.through, 0, records.tobytes(), "", 0)
            break
    written(copy, undisturbed, frames)
    found = list(wrong(copy, undisturbed))
    assert any("is not that of the undisturbed run" in what for what in found)
    assert any("replayed from its start" in what for what in found)


def test_projections_that_say_otherwise_are_seen(undisturbed: Reference, copy: Path) -> None:
    assert list(wrong(copy, undisturbed)) == []
    database = copy.parent / "projections.db"
    for table, change, text in (
        ("blotter", "DELETE FROM blotter WHERE sequence = (SELECT max(sequence) FROM blotter)", "the blotter has"),
        ("positions", "UPDATE positions SET position = position + 1 WHERE fills != 0", "has (position, cash, fills)"),
    ):
        with sqlite3.connect(database) as db:
            db.execute(change)
        db.close()
        assert any(text in what for what in wrong(copy, undisturbed)), table


def test_a_snapshot_that_is_of_no_use_is_seen(undisturbed: Reference, copy: Path) -> None:
    newest = images.snapshots(copy, 1 << 62)[0]
    data = bytearray(newest.read_bytes())
    data[-100] ^= 1
    newest.write_bytes(data)
    (found,) = wrong(copy, undisturbed)
    assert found.startswith("a snapshot is of no use")


@pytest.mark.jit_only
@pytest.mark.slow
def test_chaos_kills_and_proves(tmp_path: Path) -> None:
    words = ("chaos", "--kills", "3", "--seed", "4", "--folder", str(tmp_path / "runs"), "--json")
    done = ultra(*words)
    assert done.code == 0, done.said
    assert done.found["kills"] >= 3 and done.found["wrong"] == [] and len(done.found["list"]) >= 3
    assert list((tmp_path / "runs").iterdir()) == [], "what served its purpose is gone"


@pytest.mark.jit_only
@pytest.mark.slow
def test_a_proof_that_fails_ends_it_with_seed_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "proven", lambda *_: iter(["a planted wrong"]))
    words = ("chaos", "--kills", "2", "--seed", "6", "--preset", "inline", "--folder", str(tmp_path), "--json")
    done = ultra(*words)
    assert done.code == 1 and done.found["runs"] == 1
    assert "a planted wrong (seed 6; its files are in" in done.said and (tmp_path / "run0").is_dir()
    kept = replayed(tmp_path / "run0" / "journal")
    assert kept.code == 0 and kept.found["matches"], "whoever looks at it finds a journal"


@pytest.mark.parametrize("words", [("--kills", "0"), ("--pace", "-1"), ("--messages", "1"), ("--seed", "-1")])
def test_words_that_mean_nothing_are_refused(words: tuple[str, str]) -> None:
    done = ultra("chaos", *words)
    assert done.code == 2 and words[0] in done.said


def test_who_is_killed_when_is_drawn_from_the_seed(tmp_path: Path, undisturbed: Reference,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def plans(seed: int, steps: bool) -> list[str]:
        job = chaos.Job(Path("f"), MAKER, chaos_config(), 1.0, seed, 9, steps)
        one = chaos.Chaos(job, tmp_path)
        plan = one._steps if steps else one._inputs
        return [f"{kill.who} {kill.wished} {kill.step}" for run in range(5) for kill in plan(run, 9)]

    monkeypatch.setattr(chaos.Chaos, "_reference", lambda self: undisturbed)
    for steps in (False, True):
        assert plans(1, steps) == plans(1, steps) != plans(2, steps)


def chaos_config() -> object:
    from ultra.config import load

    return load(None, {**chaos.SIZES, **chaos.LIMITS, "host.preset": "pipeline"})


def test_a_generated_day_says_how_long_it_is(tmp_path: Path) -> None:
    path, seconds = chaos.market(tmp_path, 2, 1000, 1)
    assert os.path.getsize(path) > 20_000 and 3600 < seconds < 24 * 3600
