"""A snapshot and what came after it are the whole: for every cut, in every form, or it says what is wrong with it."""

import errno
import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import golden_day
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import IMBALANCE, MAKER, assert_same, market, ran, replayed

from ultra.cold import assembly, comeback, segment
from ultra.cold import image as images
from ultra.cold.replay import Replay, ReplayError
from ultra.hot import JIT
from ultra.hot import book as books
from ultra.ops.journal import compact

MESSAGES = 1200 if JIT else 250
CHUNK = 4096  # the source comes in many blocks
FORMS = ("reference", "gzip", "full")


def day(form: str) -> bytes:
    """A day with an instrument that nobody follows until its end, so that the file goes on behind the last record."""
    raw = market(MESSAGES, symbols=("AAA", "BBB", "CCC"))
    return gzip.compress(raw) if form == "gzip" else raw


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Of each form a journal, and what its run came to."""
    found = {}
    for form, strategy in zip(FORMS, (MAKER, IMBALANCE, MAKER), strict=True):
        folder = tmp_path_factory.mktemp(form)
        source = folder / "day.itch50"
        source.write_bytes(day(form))
        run = ran(
            source, folder / "journal", strategy, journal__market_data="full" if form == "full" else "reference",
            engine__checkpoint_records=1000, feed__chunk_bytes=CHUNK, engine__timer_ns=30_000_000,
            journal__batch_record_max=64,
        )  # fmt: skip
        found[form] = folder / "journal", run
    return found


def started(folder: Path) -> Any:
    replay = Replay(folder)
    replay.begin(replay.journaled())
    return replay


def hashes(replay: Replay) -> tuple[str, str]:
    engine = replay._machine.run.engine
    books.check(engine.book)
    return assembly.state_hash(engine), assembly.decision_hash(engine)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12 if JIT else 5)
@given(shares=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_for_any_cut_a_snapshot_and_its_tail_are_the_whole(
    journals: dict[str, tuple[Path, dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    shares: list[float],
) -> None:
    folder, run = journals[form]
    at, until = sorted(int(share * run["records"]) for share in shares)
    whole = started(folder)
    whole.advance(at)
    path = images.write(tmp_path_factory.mktemp("image"), whole.image())
    whole.advance(until)
    tail = Replay(folder, snapshot=path, until=until)
    assert tail.next == at and tail.finish().start == at
    tail.begin(tail.journaled())
    books.check(tail._machine.run.engine.book)
    tail.advance(until)
    assert hashes(tail) == hashes(whole)
    whole.advance(run["records"])
    assert whole.finish().state_hash == run["state_hash"] and hashes(whole)[1] == run["decision_hash"]


# ---- damage


@pytest.fixture(scope="module")
def taken(journals: dict[str, tuple[Path, dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of the middle of a run."""
    folder, run = journals["reference"]
    replay = started(folder)
    replay.advance(run["records"] // 2)
    return images.write(tmp_path_factory.mktemp("taken"), replay.image())


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_no_flipped_bit_of_a_snapshot_passes(taken: Path, share: float, bit: int) -> None:
    data = bytearray(taken.read_bytes())
    flipped(taken, data, int(share * len(data)), bit)


def test_no_byte_of_it_is_without_a_check(taken: Path) -> None:
    data = bytearray(taken.read_bytes())
    for at in range(0, len(data), 7) if JIT else range(0, 700, 23):
        flipped(taken, data, at, at % 8)


def test_no_flipped_bit_between_its_parts_passes(taken: Path) -> None:
    data = bytearray(taken.read_bytes())
    table_bytes = int.from_bytes(data[80:84], "little")
    start = images.HEADER_BYTES + segment.padded(table_bytes)
    gaps = [(images.HEADER_BYTES + table_bytes, start)]
    for *_, at, length, _ in json.loads(data[images.HEADER_BYTES :][:table_bytes])["parts"]:
        gaps.append((start + at + length, start + segment.padded(at + length)))
    places = [place for first, stop in gaps if first < stop for place in (first, stop - 1)]
    assert len(places) > 10
    for place in places:
        flipped(taken, data, place, 0)


def flipped(taken: Path, data: bytearray, at: int, bit: int) -> None:
    data[at] ^= 1 << bit
    with pytest.raises(images.ImageError, match=taken.name):
        images.unpacked(bytes(data), taken)
    data[at] ^= 1 << bit


def test_a_snapshot_that_was_cut_grew_or_was_renamed_is_refused(taken: Path, tmp_path: Path) -> None:
    data = taken.read_bytes()
    for wrong in (b"", data[:60], data[:300], data[:-64], data[:-1], data + b"\0", data + bytes(64)):
        with pytest.raises(images.ImageError):
            images.unpacked(wrong, taken)
    other = images.path_of(tmp_path, images.sequence_of(taken) + 1)
    other.write_bytes(data)
    with pytest.raises(images.ImageError, match="renamed"):
        images.read(other)


def test_a_snapshot_of_another_layout_or_version_is_refused_and_says_so(
    journals: dict[str, tuple[Path, dict[str, Any]]], taken: Path, tmp_path: Path
) -> None:
    image = images.read(taken)
    few = dict(image.parts)
    del few["own"]
    wide = image.parts | {"market": image.parts["market"]._replace(dtype="another")}
    for parts, said in ((few, "own"), (wide, "market")):
        path = images.write(tmp_path, image._replace(parts=parts))
        with pytest.raises(ReplayError, match=f"another layout .{said}."):
            Replay(journals["reference"][0], snapshot=path)
    head = bytearray(taken.read_bytes()[: images.HEADER_BYTES - 4])
    head[8] += 1
    newer = bytes(head) + segment.crc32c(head).to_bytes(4, "little") + taken.read_bytes()[images.HEADER_BYTES :]
    with pytest.raises(images.ImageError, match=f"format {images.VERSION + 1}; this version reads {images.VERSION}"):
        images.unpacked(newer, taken)
    with pytest.raises(ReplayError, match="of another run"):
        Replay(journals["full"][0], snapshot=taken)


def test_a_disk_that_fails_leaves_no_half_one_and_says_so(
    taken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    image = images.read(taken)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(images.ImageError, match=r"can't be written \(No space left"):
        images.write(tmp_path, image)
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_that_does_not_hold_what_it_says_is_refused(
    journals: dict[str, tuple[Path, dict[str, Any]]], taken: Path, tmp_path: Path
) -> None:
    """Its checksums are right: somebody wrote it wrongly."""
    image = images.read(taken)
    for name in ("orders", "levels", "leaves", "sides", "own", "cells", "market", "handles generation"):
        rows = image.parts[name].rows.copy()
        rows.reshape(-1)[0] ^= 1
        wrong = image._replace(parts=image.parts | {name: image.parts[name]._replace(rows=rows)})
        path = images.write(tmp_path, wrong)
        with pytest.raises(ReplayError, match="does not give the state"):
            Replay(journals["reference"][0], snapshot=path)


# ---- a journal and a snapshot of each version, committed


@pytest.mark.parametrize("version", sorted(path.name for path in golden_day.FOLDER.iterdir() if path.name.isdigit()))
@pytest.mark.parametrize("form", golden_day.FORMS)
def test_what_a_version_wrote_replays_bit_for_bit(version: str, form: str) -> None:
    """Should this fail after a change: see the beginning of `golden_day.py`."""
    folder = golden_day.FOLDER / version
    expected = json.loads((folder / "expected.json").read_text())[form]
    # Another version of Python compiles the same strategy to other bytecode; the hashes say that it is the same.
    words = ("--source", str(folder / "day.itch50"), "--force")
    for more in ((), ("--fast",), ("--fast", "--prove")):
        found = replayed(folder / form, *words, *more)
        assert found.code == 0 and found.found["matches"] and not found.found.get("skipped"), found
        assert golden_day.outcome(found.found) == expected
        assert bool(found.found.get("start")) == bool(more)


def test_the_golden_files_are_tiny_and_name_no_machine() -> None:
    paths = [path for path in golden_day.FOLDER.rglob("*") if path.is_file() and "journals" not in path.parts]
    assert sum(path.stat().st_size for path in paths) < 200_000
    assert all(
        b'"source": "day.itch50"' in path.read_bytes()
        for path in paths
        if path.suffix in (".ulj", ".uls") and path.name != "superblock.ulj"
    )


# ---- the command line


def test_a_damaged_snapshot_is_named_and_an_older_one_is_used(
    journals: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    folder, run = journals["full"]
    folder = Path(shutil.copytree(folder, tmp_path / "journal"))
    replay = started(folder)
    paths = []
    for at in (100, 200):
        replay.advance(at)
        paths.append(images.write(folder, replay.image()))
    bad: list[Path] = []
    for start in (200, 100, 0):
        found = replayed(folder, "--fast")
        assert_same(run, found)
        assert found.found["start"] == start
        assert [path.name in why for path, why in zip(bad, found.found["skipped"], strict=True)] == [True] * len(bad)
        if start:
            bad.append(images.path_of(folder, start))
            damage(bad[-1])
    strict = replayed(folder, "--from-snapshot", str(paths[0]))
    assert strict.code == 4 and paths[0].name in strict.said and "--fast" in strict.said
    images.path_of(folder, 200).unlink()
    assert replayed(folder, "--fast", "--until", "99").found["skipped"] == [], "it holds more than was asked for"


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-40] ^= 4
    path.write_bytes(data)


def test_what_lies_before_a_snapshot_is_read_only_to_prove_it(
    journals: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    whole, run = journals["full"]
    folder = tmp_path / "journal"
    golden_day.copy(whole, folder, 4096)  # as many segments as it has frames
    paths = segment.segments(folder)
    assert len(paths) > 3
    replay = started(folder)
    replay.advance(run["records"] * 3 // 4)
    images.write(folder, replay.image())
    assert_same(run, replayed(folder, "--fast"))
    for path, behind in ((paths[1], False), (paths[-2], True)):
        good = path.read_bytes()
        path.write_bytes(good[:200] + bytes([good[200] ^ 1]) + good[201:])
        assert replayed(folder).code == replayed(folder, "--fast", "--prove").code == 4
        assert replayed(folder, "--fast").code == (4 if behind else 0)
        path.write_bytes(good)


def test_a_journal_whose_beginning_was_retired_is_replayed_from_a_snapshot_only(
    journals: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    pytest.importorskip("zstandard", reason="optional: pip install 'ultra-engine[journal]'")
    whole, run = journals["full"]
    folder = tmp_path / "journal"
    golden_day.copy(whole, folder, 4096)
    replay = started(folder)
    replay.advance(run["records"] * 3 // 4)
    images.write(folder, replay.image())
    assert compact(folder, replay.next)["retired"] > 1
    assert_same(run, replayed(folder, "--fast"))
    refused = replayed(folder)
    assert refused.code == 4 and "were retired: begin at a snapshot" in refused.said
    with pytest.raises(segment.JournalError, match="were retired"):
        comeback.journaled(folder)


def test_until_ends_a_replay_there(journals: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    folder, run = journals["reference"]
    some = replayed(folder, "--until", "150")
    assert some.code == 0 and some.found["records"] == 150 and not some.found["complete"]
    assert some.found["state_hash"] != run["state_hash"]
    assert_same(run, replayed(folder, "--until", str(10**12)))
    assert replayed(folder, "--until", "-1").code == 2


@pytest.mark.parametrize("form", ["reference", "gzip"])
def test_what_lies_before_a_snapshot_is_proven_or_said_not_to_be(
    journals: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path, form: str
) -> None:
    folder, run = journals[form]
    folder = Path(shutil.copytree(folder, tmp_path / "journal"))
    replay = started(folder)
    replay.advance(run["records"] // 2)
    images.write(folder, replay.image())
    fast, proven = replayed(folder, "--fast"), replayed(folder, "--fast", "--prove")
    for found in (fast, proven):
        assert_same(run, found)
        assert found.found["start"] == run["records"] // 2
    assert bool(fast.found["unproven"]) == (form == "reference") and proven.found["unproven"] == ""
    content = bytearray(market(MESSAGES, symbols=("AAA", "BBB", "CCC")))
    content[5] ^= 1  # a tracking number of the first message
    source = tmp_path / "other"
    source.write_bytes(gzip.compress(content) if form == "gzip" else content)
    other = ("--source", str(source))
    assert replayed(folder, "--fast", "--prove", *other).code == 1
    assert replayed(folder, "--fast", *other).code == (0 if form == "reference" else 1)
    content[-9] ^= 1  # and of the last
    source.write_bytes(content)
    assert replayed(folder, "--fast", *other).code == 0
