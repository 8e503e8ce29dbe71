"""A replay says when it is not the same engine: another strategy, another file, another state, damage on the way."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
from runs import (
    MAKER,
    ROOT,
    START_NS,
    assert_same,
    forget,
    journaled,
    market,
    message,
    ran,
    replayed,
    run_words,
    ultra,
    ultra_apart,
)

from ultra.cold import segment
from ultra.hot import JIT
from ultra.strategies import imbalance
from ultra.wire import CHECKPOINT, END, REPLY_LAST

MESSAGES = 1200 if JIT else 300
OWN = """from typing import Any
from ultra.hot.outbox import IMMEDIATE, buy, sell
from ultra.strategy import Strategy, parameter, state
"""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.itch50"
    path.write_bytes(market(MESSAGES))
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The shipped strategy as a file of the user's. It is the same code, so it is compiled already."""
    text = Path(imbalance.__file__).read_text()
    path = tmp_path / "mine.py"
    path.write_text(OWN + text[text.index("class Imbalance") :])
    return path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


# ---- another strategy


def test_a_strategy_in_a_file_is_found_again_from_any_folder(
    day: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ran(day, Path("journal"), "mine.py:Imbalance")
    assert_same(run, replayed(tmp_path / "journal"))
    monkeypatch.chdir("/")
    assert_same(run, replayed(tmp_path / "journal"))


@pytest.mark.jit_only
@pytest.mark.slow
def test_a_strategy_that_moved_is_not_compiled_again(day: Path, mine: Path, tmp_path: Path) -> None:
    """Nor does the loop that is kept miss the file it was compiled from, nor the folder that it was imported from."""
    away, kept = tmp_path / "away", str(tmp_path / "cache")
    package = away / "desk"
    package.mkdir(parents=True)
    first = ultra_apart(*run_words(day, tmp_path / "first", f"{mine}:Imbalance"), ULTRA_CACHE_DIR=kept)
    assert first.code == 0 and "compiled build.pump" in first.said, first.said
    for number, moved in enumerate((away / "theirs.py", package / "alpha.py")):
        mine.rename(moved)
        mine = moved
        spec = f"{moved}:Imbalance" if number == 0 else "desk.alpha:Imbalance"
        words = run_words(day, tmp_path / f"again{number}", spec)
        paths = os.pathsep.join([str(ROOT), str(away)])
        again = ultra_apart(*words, ULTRA_CACHE_DIR=kept, PYTHONPATH=paths)
        assert again.code == 0 and "compiled build.pump" not in again.said, again.said
        assert again.found["decision_hash"] == first.found["decision_hash"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("- 0.5\n", "- 0.51\n"),
        ("if lean > params.edge", "if lean >= params.edge"),
        ("sent_ts: int = state()", "sent_ts: int = state(1)"),
        ("class Imbalance(Strategy):", "class Imbalance(Strategy):\n    depth = 2"),
    ],
)
def test_a_strategy_that_changed_since_is_refused(day: Path, mine: Path, tmp_path: Path, old: str, new: str) -> None:
    run = ran(day, tmp_path / "journal", f"{mine}:Imbalance")
    edit(mine, old, new)
    refused = replayed(tmp_path / "journal")
    assert refused.code == 4 and refused.found == {}
    assert "has changed since the run" in refused.said and "--force" in refused.said
    edit(mine, new, old)
    assert_same(run, replayed(tmp_path / "journal"))


def test_what_is_not_code_may_change(day: Path, mine: Path, tmp_path: Path) -> None:
    run = ran(day, tmp_path / "journal", f"{mine}:Imbalance")
    edit(mine, "edge: float = parameter(0.35,", "edge: float = parameter(0.45,")  # the run's value is in its journal
    mine.write_text("# Mine.\n" + mine.read_text())
    assert_same(run, replayed(tmp_path / "journal"))


@pytest.mark.jit_only
def test_forced_a_changed_strategy_shows_where_it_differs(day: Path, mine: Path, tmp_path: Path) -> None:
    run = ran(day, tmp_path / "journal", f"{mine}:Imbalance", engine__checkpoint_records=1000)
    edit(mine, "- 0.5\n", "- 0.51\n")
    # In the interpreter: this engine is worth no compilation.
    forced = ultra_apart("replay", str(tmp_path / "journal"), "--json", "--force", NUMBA_DISABLE_JIT="1")
    assert forced.code == 1 and not forced.found["matches"], forced.said
    assert re.match(r"state hash at input 10\d\d is ", forced.found["mismatch"])
    assert forced.found["records"] == run["records"]
    assert forced.found["state_hash"] != run["state_hash"] and forced.found["decision_hash"] != run["decision_hash"]


# ---- another state


# A checkpoint comes every 1000 inputs at the earliest.
@pytest.mark.parametrize("kind", [pytest.param(CHECKPOINT, marks=pytest.mark.jit_only), END])
def test_every_state_hash_in_the_journal_is_checked(
    day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    run = ran(day, tmp_path / "journal", engine__checkpoint_records=1000)
    forge(tmp_path / "journal", kind)
    found = replayed(tmp_path / "journal")
    assert found.code == 1 and not found.found["matches"] and "state hash at input" in found.found["mismatch"]
    assert found.found["state_hash"] == run["state_hash"], "the engine itself is the same"


def forge(folder: Path, kind: int) -> None:
    """Change one bit of the hash in the last record of a kind, and make every checksum right again."""
    path = segment.segments(folder)[-1]
    data = bytearray(path.read_bytes())
    for frame in [f for f in segment.read(folder) if f.kind == segment.RECORDS][::-1]:
        for at in range(len(frame.payload) - 64, -1, -64):
            if frame.payload[at] == kind:
                payload = bytearray(frame.payload)
                payload[at + 56] ^= 1
                index = int.from_bytes(data[frame.offset + 48 : frame.offset + 56], "little")
                checksum = segment.crc32c(bytes(payload))
                head = (frame.kind, frame.first, frame.count, frame.through, frame.durable, index)
                data[frame.offset : frame.offset + 64] = segment.frame_header(*head, len(payload), checksum)
                data[frame.offset + 64 : frame.offset + 64 + len(payload)] = payload
                path.write_bytes(data)
                return
    raise AssertionError("no such record")


def test_a_fill_that_did_not_happen_makes_another_engine(day: Path, tmp_path: Path) -> None:
    run = ran(day, tmp_path / "journal", MAKER)
    records = journaled(tmp_path / "journal")
    assert np.count_nonzero(records["kind"] <= REPLY_LAST) > run["fills"]
    forge(tmp_path / "journal", REPLY_LAST - 2)  # FILL: the match number, which nobody remembers
    assert_same(run, replayed(tmp_path / "journal"))


# ---- another source


@pytest.mark.parametrize("packed", [False, True])
def test_a_source_that_changed_since_is_named(day: Path, tmp_path: Path, packed: bool) -> None:
    source, journal = tmp_path / "day", tmp_path / "journal"
    content = bytearray(day.read_bytes())
    source.write_bytes(gzip.compress(content) if packed else content)
    run = ran(source, journal)
    content[-60] ^= 1  # a tracking number, say: the engine does not care
    source.write_bytes(gzip.compress(content) if packed else content)
    found = replayed(journal)
    assert found.code == 1 and found.found["records"] == run["records"]
    assert found.found["mismatch"].startswith(f"{source} is not the file of the run")


def test_a_source_that_changed_is_named_even_when_the_state_differs_first(day: Path, tmp_path: Path) -> None:
    source = tmp_path / "day"
    content = bytearray(day.read_bytes())
    source.write_bytes(content)
    ran(source, tmp_path / "journal", engine__checkpoint_records=1000)
    at = content.index(b"A", 200)
    content[at + 23] ^= 1  # shares of an order
    source.write_bytes(content)
    found = replayed(tmp_path / "journal")
    assert found.code == 1 and found.found["mismatch"].startswith(f"{source} is not the file of the run")


def test_a_source_that_moved_is_given_and_one_that_is_gone_or_short_is_named(day: Path, tmp_path: Path) -> None:
    source, moved = tmp_path / "day", tmp_path / "moved"
    source.write_bytes(day.read_bytes())
    run = ran(source, tmp_path / "journal")
    source.rename(moved)
    gone = replayed(tmp_path / "journal")
    assert gone.code == 4 and str(source) in gone.said and "--source" in gone.said
    assert_same(run, replayed(tmp_path / "journal", "--source", str(moved)))
    moved.write_bytes(day.read_bytes()[: -len(day.read_bytes()) // 3])
    short = replayed(tmp_path / "journal", "--source", str(moved))
    assert short.code == 4 and f"{moved} ends before input" in short.said


def test_a_journal_that_holds_its_market_data_needs_no_source(day: Path, tmp_path: Path) -> None:
    source = tmp_path / "day"
    source.write_bytes(day.read_bytes())
    run = ran(source, tmp_path / "journal", journal__market_data="full")
    source.unlink()
    assert_same(run, replayed(tmp_path / "journal"))


def test_a_file_that_ends_in_instruments_nobody_followed_is_read_to_its_end(day: Path, tmp_path: Path) -> None:
    source = tmp_path / "day"
    late = START_NS + 3_600_000_000_000
    others = (
        message("A", 9, late + k, ref=10**9 + k, side=b"B", shares=1, stock=b"CCC", price=100) for k in range(800)
    )
    source.write_bytes(day.read_bytes() + b"".join(others))
    code, run, said = ultra(*run_words(source, tmp_path / "journal", feed__chunk_bytes=4096), "--instrument", "AAA")
    assert code == 0, said
    assert_same(run, replayed(tmp_path / "journal"))


# ---- a journal that ends early


def test_a_journal_cut_anywhere_is_rebuilt_to_the_last_input_it_knows(day: Path, tmp_path: Path) -> None:
    run = ran(day, tmp_path / "journal", engine__checkpoint_records=1000, journal__batch_record_max=16)
    frames = list(segment.read(tmp_path / "journal"))
    path = segment.segment_path(tmp_path / "journal", 0)
    whole, step = path.read_bytes(), len(frames) // 5
    forget(tmp_path / "journal")
    for frame in frames[1 + step :: step]:
        path.write_bytes(whole[: frame.offset + 70])
        through = max(f.through for f in segment.read(tmp_path / "journal"))
        found = replayed(tmp_path / "journal")
        assert found.code == 0 and found.found["matches"] and not found.found["complete"]
        assert found.found["records"] == through < run["records"]
    path.write_bytes(whole[:100])
    assert "does not say what run it is of" in replayed(tmp_path / "journal").said
    path.write_bytes(whole)
    assert_same(run, replayed(tmp_path / "journal"))
