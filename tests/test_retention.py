"""Segments go when nobody needs them, whole, whoever dies on the way; and a journal without them goes on."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from runs import MAKER, assert_same, environment, forget, market, ran, replayed, ultra
from sim_engine import Toy, row
from test_follow import SKIP, small, texts

from ultra.cold import image as images
from ultra.cold import labels, retention, segment, waybill
from ultra.cold.disk import Folder
from ultra.cold.journal import Journal
from ultra.cold.segment import MARK, RETIRED, JournalError
from ultra.ops import journal as journals
from ultra.wire import TIMER


def retired(folder: Path, below: int) -> int:
    return retention.retire(folder, Folder(folder), below)


# ---- what is left is a journal


def emptied(folder: Path, how: str) -> None:
    """The last segment as a power cut may leave it, whose frames nobody could yet call durable."""
    last = segment.segments(folder)[-1]
    data = last.read_bytes()
    last.write_bytes({"nothing": b"", "zeros": bytes(640), "head": data[:64], "half a head": data[:31],
                      "torn": data[:100] + b"x" * 60}[how])  # fmt: skip
    forget(folder)


@pytest.mark.parametrize("how", ["nothing", "zeros", "head", "half a head", "torn"])
@pytest.mark.parametrize("before", ["retired", "packed", "both"])
def test_a_journal_goes_on_when_all_that_is_left_is_packed_or_retired(tmp_path: Path, how: str, before: str) -> None:
    frames = small(tmp_path)
    if before != "retired":
        pytest.importorskip("zstandard", reason=SKIP)
        journals.compact(tmp_path)
    if before != "packed":
        assert retired(tmp_path, 1000 if before == "retired" else 4) > 0
    emptied(tmp_path, how)
    end = segment.end_of(tmp_path)
    left = [frame for frame in segment.read(tmp_path)]
    assert end is not None and end.at == segment.SEALED and end.through == end.written == left[-1].through
    again = Journal(tmp_path, segment_bytes=640, resume=True)
    assert again.durable == again.through == again.written == end.through
    again.append(segment.RECORDS, end.through, 2, end.through + 1, b"9" * 128)
    again.close()
    found = [frame for frame in segment.read(tmp_path) if frame.kind != MARK]
    assert texts(found[:-1]) == texts(frame for frame in left if frame.kind != MARK)
    assert found[-1].payload == b"9" * 128
    assert segment.end_of(tmp_path) is not None and len(frames) > len(left)
    third = Journal(tmp_path, segment_bytes=640, resume=True)
    third.append(MARK, end.through + 2, 0, end.through + 2, b"")
    third.close()
    assert max(frame.through for frame in segment.read(tmp_path)) == end.through + 2


class Meddled:
    """A folder in which somebody does something just before a file is read, once. Compiled, it can't be a base."""

    def __init__(self, path: Path, name: str, act: Callable[[], object]) -> None:
        self.folder, self.name, self.act = Folder(path), name, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self.folder, name)

    def read(self, name: str) -> bytes:
        if name == self.name:
            self.name = ""
            self.act()
        return self.folder.read(name)


@pytest.mark.parametrize("at", ["superblock.ulj", "segment-000000.ulj", "segment-000001.ulj", "segment-000003.ulj"])
def test_who_reads_while_segments_are_packed_reads_them_all(tmp_path: Path, at: str) -> None:
    pytest.importorskip("zstandard", reason=SKIP)
    frames = small(tmp_path)
    disk = Meddled(tmp_path, at, lambda: journals.compact(tmp_path))
    assert texts(segment.read(tmp_path, disk)) == texts(frames)


def test_who_reads_while_segments_are_retired_begins_behind_them_or_is_told(tmp_path: Path) -> None:
    frames = small(tmp_path)
    early = Meddled(tmp_path, "superblock.ulj", lambda: retired(tmp_path, 4))
    found = list(segment.read(tmp_path, early))
    assert found[0].segment == RETIRED and texts(found[1:]) == texts(frames)[-len(found) + 1 :]
    between = Meddled(tmp_path, RETIRED, lambda: retired(tmp_path, 7))
    found = list(segment.read(tmp_path, between))
    assert found[0].segment == RETIRED and texts(found[1:]) == texts(frames)[-len(found) + 1 :]
    late = Meddled(tmp_path, segment.segments(tmp_path)[0].name, lambda: retired(tmp_path, 9))
    with pytest.raises(JournalError, match="was retired while it was read"):
        list(segment.read(tmp_path, late))


# ---- whoever dies on the way


@pytest.mark.parametrize("step", [step for step in labels.STEPS if step.startswith("retention")])
def test_a_retirement_may_be_killed_at_each_step(tmp_path: Path, step: str) -> None:
    frames = small(tmp_path)
    script = (
        "import sys; from pathlib import Path; from ultra.cold import retention; from ultra.cold.disk import Folder"
    )
    script += "; folder = Path(sys.argv[1]); print(retention.retire(folder, Folder(folder), 9))"
    command = [sys.executable, "-P", "-c", script, str(tmp_path)]
    dead = subprocess.run(command, env=environment(ULTRA_DIE_AT=f"{step}:1"), capture_output=True, timeout=60)
    assert dead.returncode == -9, dead.stderr
    found = list(segment.read(tmp_path))
    assert texts(found)[-1:] == texts(frames)[-1:] and max(frame.through for frame in found) == frames[-1].through
    retired(tmp_path, 9)
    assert retired(tmp_path, 9) == 0
    assert len(segment.segments(tmp_path)) == len(list(tmp_path.glob("segment-*"))), "what it left is gone too"
    left = list(segment.read(tmp_path))
    assert left[0].segment == RETIRED and texts(left[1:]) == texts(frames)[-len(left) + 1 :]


# ---- what may go


def wished(preset: str = "inline", **journal: Any) -> Any:
    """A configuration, for segments as small as these."""
    keys = {"retention_bytes": 600, "retention_ms": 0, "retention_replicated": False} | journal
    return SimpleNamespace(journal=SimpleNamespace(**keys), host=SimpleNamespace(preset=preset))


def day(folder: Path, inputs: int = 40) -> None:
    """A journal of two inputs a segment, with snapshots after 10, 20 and 30 of them."""
    writer = Journal(folder, segment_bytes=400)
    writer.append(segment.META, 0, 0, 0, b"{}")
    toy = Toy()
    for sequence in range(inputs):
        record = row(TIMER, sequence, 1)
        writer.append(segment.RECORDS, sequence, 1, sequence + 1, record)
        toy.step(record)
        if toy.next in (10, 20, 30):
            images.write(folder, toy.image(segment.journal_id(folder)))
    writer.close()


def begins(folder: Path) -> int:
    first = next(segment.read(folder))
    return first.through if first.segment == RETIRED else 0


def test_a_segment_goes_when_every_snapshot_has_it_and_enough_is_behind_it(tmp_path: Path) -> None:
    day(tmp_path)
    assert retention.keep(tmp_path, wished(retention_bytes=0), True) == 0
    assert retention.keep(tmp_path, wished(retention_bytes=1 << 40), True) == 0
    assert retention.keep(tmp_path, wished(retention_ms=3_600_000), True) == 0, "it is young"
    assert retention.keep(tmp_path, wished(preset="pipeline"), False) == 0, "an engine may have to come back"
    assert retention.keep(tmp_path, wished(retention_replicated=True), True) == 0, "nothing ships it"
    assert begins(tmp_path) == 0
    assert retention.keep(tmp_path, wished(), False) > 0 and 8 <= begins(tmp_path) <= 10, "the oldest snapshot's"
    assert retention.keep(tmp_path, wished(), False) == 0
    images.path_of(tmp_path, 10).unlink()
    assert retention.keep(tmp_path, wished(preset="diamond"), True) > 0 and 18 <= begins(tmp_path) <= 20
    data = bytearray(images.path_of(tmp_path, 20).read_bytes())
    data[150] ^= 1
    images.path_of(tmp_path, 20).write_bytes(data)
    assert retention.keep(tmp_path, wished(), True) > 0 and 28 <= begins(tmp_path) <= 30, "one that is damaged is none"
    images.path_of(tmp_path, 30).unlink()
    assert retention.covered(tmp_path, wished()) == 0


def test_what_the_stream_has_not_is_kept(tmp_path: Path) -> None:
    day(tmp_path)
    bill = waybill.Writer(tmp_path, segment.journal_id(tmp_path), "S", 1)
    assert retention.covered(tmp_path, wished()) == 0
    bill.write(5, 3)
    assert retention.covered(tmp_path, wished()) == 0, "the stretch before that may be compared yet"
    bill.write(5, 4)
    assert retention.covered(tmp_path, wished()) == 0
    bill.write(8, 5)
    assert retention.covered(tmp_path, wished()) == 5
    assert retention.keep(tmp_path, wished(retention_replicated=True), True) > 0 and begins(tmp_path) <= 5
    bill.write(90, 8)
    bill.write(100, 9)
    bill.close()
    assert retention.covered(tmp_path, wished()) == 10
    bill = waybill.Writer(tmp_path, segment.journal_id(tmp_path), "S", 1)
    bill.write(100, 9, waybill.ALARMED)
    assert retention.covered(tmp_path, wished()) == 0, "a stream that lost its end gets it from here"
    bill.write(110, 10)
    assert retention.covered(tmp_path, wished()) == 0
    bill.write(120, 11)
    bill.close()
    assert retention.covered(tmp_path, wished()) == 10
    other = waybill.Writer(tmp_path, bytes(16), "S", 1)
    other.write(100, 9)
    other.write(101, 10)
    other.close()
    assert retention.covered(tmp_path, wished()) == 0, "that of another journal says nothing"


def test_who_compacts_keeps_what_the_stream_has_not(tmp_path: Path) -> None:
    pytest.importorskip("zstandard", reason=SKIP)
    day(tmp_path)
    bill = waybill.Writer(tmp_path, segment.journal_id(tmp_path), "S", 1)
    found = journals.compact(tmp_path, 30)
    assert found["retired"] == 0 and found["kept_for_stream_from"] == 0
    bill.write(10, 1)
    bill.write(20, 2)
    bill.close()
    assert journals.compact(tmp_path, 30)["retired"] > 0 and 8 <= begins(tmp_path) <= 10
    (tmp_path / waybill.NAME).unlink()
    found = journals.compact(tmp_path, 30)
    assert found["retired"] > 0 and 28 <= begins(tmp_path) <= 30 and "kept_for_stream_from" not in found


def test_enough_is_kept_whatever_the_sizes(tmp_path: Path) -> None:
    day(tmp_path)
    sizes = [path.stat().st_size for path in segment.segments(tmp_path)]
    for kept in np.cumsum(sizes[::-1]).tolist():
        for wanted in (kept - 1, kept, kept + 1):
            most = retention.outlived(tmp_path, wished(retention_bytes=wanted))
            assert most == max(k for k in range(len(sizes)) if k == 0 or sum(sizes[k:]) >= wanted)


@pytest.mark.jit_only
@pytest.mark.slow
def test_a_follower_retires_what_its_snapshots_have(tmp_path: Path) -> None:
    source, folder = tmp_path / "day.itch50", tmp_path / "journal"
    source.write_bytes(market(42_000))
    run = ran(
        source, folder, MAKER, journal__market_data="full", journal__retention_bytes=1 << 20,
        engine__checkpoint_records=1000,
    )  # fmt: skip
    followed = ultra("follow", str(folder), "--every", "10000", "--keep", "2", "--json")
    assert_same(run, followed)
    assert begins(folder) > 10_000 and len(segment.segments(folder)) == 2
    assert_same(run, replayed(folder, "--fast"))
    refused = replayed(folder)
    assert refused.code == 4 and "were retired: begin at a snapshot" in refused.said
