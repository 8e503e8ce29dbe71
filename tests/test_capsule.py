"""A capsule runs again what happened around a moment, without the day it was cut from; what it can't pack it names."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import MAKER, Ran, command, environment, journaled, market, ran, replayed, ultra, ultra_apart

from ultra.cold import capsule, segment
from ultra.cold import image as images
from ultra.cold.inputs import Inputs
from ultra.hot import JIT

MESSAGES = 1500 if JIT else 300
SETTINGS = {
    "engine__checkpoint_records": 1000, "engine__timer_ns": 30_000_000, "feed__chunk_bytes": 4096,
    "journal__batch_record_max": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.itch50"
    path.write_bytes(market(MESSAGES))
    return path


@pytest.fixture(scope="module")
def journal(day: Path) -> tuple[Path, dict[str, Any]]:
    """A journal that refers to its source, with snapshots on the way, and what its run came to."""
    folder = day.parent / "journal"
    run = ran(day, folder, MAKER, **SETTINGS)
    assert ultra("follow", str(folder), "--json", "--every", "100", "--keep", "3").code == 0
    return folder, run


@pytest.fixture(scope="module")
def records(day: Path) -> Any:
    """The same run with every input in its journal."""
    ran(day, day.parent / "full", MAKER, journal__market_data="full", **SETTINGS)
    return journaled(day.parent / "full")


def packed(folder: Path, target: Path, around: int | str, *more: str) -> Ran:
    return ultra("capsule", str(folder), "--around", str(around), "-o", str(target), "--json", *more)


# ---- every input, in order


@settings(max_examples=10 if JIT else 4)
@given(st.floats(0, 1), st.floats(0, 1))
def test_inputs_are_those_of_a_journal_that_has_them_all(
    journal: tuple[Path, dict[str, Any]], records: Any, some: float, other: float
) -> None:
    start, stop = sorted(int(share * len(records)) for share in (some, other))
    inputs = Inputs(journal[0])
    inputs.begin(inputs.journaled())
    inputs.advance(start)
    found = [np.zeros(0, records.dtype), *inputs.rest(stop)]
    assert np.concatenate(found).tobytes() == records[start:stop].tobytes()


def test_a_journal_with_all_of_its_inputs_has_no_other(day: Path, records: Any) -> None:
    inputs = Inputs(day.parent / "full")
    inputs.begin(inputs.journaled())
    assert np.concatenate(list(inputs.rest(len(records)))).tobytes() == records.tobytes()


# ---- packed, and run again


@settings(max_examples=6 if JIT else 2)
@given(share=st.floats(0, 1, exclude_max=True), before=st.integers(0, 150), after=st.integers(1, 150))
def test_a_capsule_comes_to_what_the_run_came_to(
    journal: tuple[Path, dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
    share: float,
    before: int,
    after: int,
) -> None:
    folder, run = journal
    around = int(share * run["records"])
    target = tmp_path_factory.mktemp("capsule") / "c.capsule"
    made = packed(folder, target, around, "--before", str(before), "--after", str(after))
    assert made.code == 0, made.said
    start, stop = max(0, around - before), min(run["records"], around + after)
    assert (made.found["start"], made.found["stop"], made.found["around"]) == (start, stop, around)
    found, whole = replayed(target), replayed(folder, "--until", str(stop))
    assert found.code == 0 and found.found["start"] == start and found.found["records"] == stop, found.said
    for key in ("state_hash", "decision_hash", "orders", "fills", "complete"):
        assert found.found[key] == whole.found[key], key
    middle = str((start + stop) // 2)
    assert (
        replayed(target, "--until", middle).found["state_hash"]
        == replayed(folder, "--until", middle).found["state_hash"]
    )


@pytest.fixture(scope="module")
def made(journal: tuple[Path, dict[str, Any]]) -> Path:
    target = journal[0].parent / "made.capsule"
    assert packed(journal[0], target, 200, "--before", "60", "--after", "60").code == 0
    return target


@pytest.mark.jit_only
def test_a_capsule_in_the_interpreter_is_the_compiled_one(made: Path) -> None:
    compiled = replayed(made)
    plain = ultra_apart("replay", str(made), "--json", NUMBA_DISABLE_JIT="1", ULTRA_PURE="1")
    assert plain.code == compiled.code == 0
    for key in ("state_hash", "decision_hash", "records", "fills"):
        assert plain.found[key] == compiled.found[key]


@pytest.mark.slow
def test_the_debugger_stands_where_the_input_enters_the_engine(made: Path) -> None:
    words = command("replay", str(made), "--until", "210", "--pdb", "--json")
    keys = "p 'it is', int(record.sequence)\nn\nn\np 'now', int(engine.cells[SEQUENCE])\nc\n"
    done = subprocess.run(words, input=keys, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert "('it is', 210)" in done.stdout and "('now', 210)" in done.stdout and "engine.py" in done.stdout
    assert '"records": 211' in done.stdout
    assert ultra("replay", str(made), "--pdb").code == 2, "it has to be told where"


def test_a_time_is_the_first_input_at_or_after_it(journal: tuple[Path, dict[str, Any]], records: Any) -> None:
    for sequence in (len(records) // 3, len(records) - 40):
        ns = int(records["ts_event"][sequence])
        first = int(np.flatnonzero(records["ts_event"] >= ns)[0])
        seconds, rest = divmod(ns, 10**9)
        text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:09}"
        target = journal[0].parent / f"at{sequence}.capsule"
        found = packed(journal[0], target, text, "--before", "5", "--after", "5")
        assert found.code == 0 and found.found["around"] == first, found.said


def test_a_capsule_holds_what_a_reader_needs(made: Path, journal: tuple[Path, dict[str, Any]]) -> None:
    with zipfile.ZipFile(made) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert {"manifest.json", "config.toml", "segment-000000.ulj"} < set(archive.namelist())
        assert "[engine]" in archive.read("config.toml").decode()
    assert manifest["versions"] == images.versions()
    assert manifest["journal"] == segment.journal_id(journal[0]).hex()
    assert manifest["run"]["strategy"] == MAKER


def test_a_capsule_has_the_text_of_a_strategy_and_is_told_where_it_is_now(day: Path, tmp_path: Path) -> None:
    import ultra.strategies.maker as maker

    mine = tmp_path / "mine.py"
    text = Path(maker.__file__).read_text().replace("from ..", "from ultra.")
    mine.write_text(text)
    ran(day, tmp_path / "journal", f"{mine}:MarketMaker")
    target = tmp_path / "c.capsule"
    assert packed(tmp_path / "journal", target, 100, "--before", "10", "--after", "10").code == 0
    with zipfile.ZipFile(target) as archive:
        assert archive.read("strategy.py").decode() == text
    moved = mine.rename(tmp_path / "theirs.py")
    assert "does not exist" in replayed(target).said
    assert replayed(target, "--strategy", f"{moved}:MarketMaker").code == 0


# ---- refused


def test_what_can_not_be_packed_is_named_in_one_line(journal: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, run = journal
    target = tmp_path / "c.capsule"
    missing = tmp_path / "nowhere"
    for words, said in (
        ((10, "--source", str(missing)), f"refers to {missing}, which is not there"),
        ((run["records"],), "is not among them"),
        (("half past nine",), "wanted the number of an input, or a time"),
        (("23:59:59",), "no input at or after"),
    ):
        refused = packed(folder, target, words[0], *words[1:])
        assert refused.code == 4 and said in refused.said and refused.said.count("\n") == 1, refused.said
    assert packed(folder, target, 10, "--after", "0").code == 2
    assert list(tmp_path.iterdir()) == [], "nothing half made is left"
    target.write_text("mine")
    assert "is there already" in packed(folder, target, 10).said and target.read_text() == "mine"


def test_a_damaged_capsule_is_refused(made: Path, tmp_path: Path) -> None:
    data = made.read_bytes()
    wrong = tmp_path / "wrong.capsule"
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 8
    for text in (b"no archive", data[: len(data) // 2], bytes(flipped)):
        wrong.write_bytes(text)
        refused = replayed(wrong)
        assert refused.code == 4 and str(wrong) in refused.said, refused.said
    assert replayed(made, "--fast").code == 2


def test_a_capsule_that_comes_to_something_else_says_so(made: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(made, tmp_path / "other.capsule"))
    with zipfile.ZipFile(other, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        manifest = json.loads(archive.read(capsule.MANIFEST)) | {"state_hash": "0" * 32}
        archive.writestr(capsule.MANIFEST, json.dumps(manifest))
    found = replayed(other)
    assert found.code == 1 and "the capsule's another" in found.found["mismatch"]
    assert replayed(other, "--until", "150").code == 0, "nothing is known of the middle"
