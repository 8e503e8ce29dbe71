"""A follower sees what the live engine did, says when the two differ, and leaves snapshots that are whole, or none."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import MAKER, assert_same, command, environment, forget, journaled, market, ran, replayed, ultra, until
from test_replay import forge

from ultra.cold import image as images
from ultra.cold import segment, superblock
from ultra.cold.journal import Journal, only_writer
from ultra.cold.segment import JournalError
from ultra.cold.tail import Tail, since
from ultra.hot import JIT
from ultra.ops import journal as journals
from ultra.wire import CHECKPOINT

MESSAGES = 3000 if JIT else 600
EVERY = 250


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A journal that ended in good order, and what its run came to."""
    folder = tmp_path_factory.mktemp("whole")
    source = folder / "day.itch50"
    source.write_bytes(market(MESSAGES))
    run = ran(
        source, folder / "journal", MAKER, engine__checkpoint_records=1000, feed__chunk_bytes=4096,
        journal__batch_record_max=16,
    )  # fmt: skip
    return folder / "journal", run


@pytest.fixture
def journal(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "journal"))


def follow(folder: Path, *more: str) -> Any:
    return ultra("follow", str(folder), "--json", "--every", str(EVERY), *more)


# ---- the journal, read while it grows


FRAMES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300)), min_size=1, max_size=12)


@settings(max_examples=25 if JIT else 8)
@given(FRAMES, st.lists(st.floats(0, 1), max_size=8), st.booleans())
def test_a_tail_gives_each_frame_once_as_soon_as_it_is_whole(
    tmp_path_factory: pytest.TempPathFactory, frames: list[tuple[int, int]], cuts: list[float], zeros: bool
) -> None:
    made, seen = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("seen")
    writer = Journal(made, segment_bytes=4096, sync=False)
    for number, (kind, size) in enumerate(frames):
        writer.append(
            segment.RECORDS + kind % 2, number, 0, number + 1, bytes([65 + number % 26]) * (64 * (size // 64))
        )
    writer.close()
    forget(made)
    shutil.copy(made / superblock.NAME, seen)
    paths = segment.segments(made)
    texts = [path.read_bytes() for path in paths]
    total = sum(len(text) for text in texts)
    tail, got = Tail(seen), []
    for share in [*sorted(cuts), 1.0]:
        left = int(share * total)
        for path, text in zip(paths, texts, strict=True):
            ends_here = left < len(text)
            pad = bytes(len(text) - left) if zeros and ends_here and left else b""
            if left > 0:  # in place, as the writer does: the tail has the file open
                with open(seen / path.name, "r+b" if (seen / path.name).exists() else "w+b") as file:
                    file.write(text[:left] + pad)
            left = max(0, left - len(text))
        while (frame := tail.poll()) is not None:
            got.append(frame)
        tail.check()
    assert got == list(segment.read(made))
    tail.close()


SKIP = "optional: pip install 'ultra-engine[journal]'"


def small(folder: Path, frames: int = 12) -> list[segment.Frame]:
    """A journal of three frames a segment."""
    writer = Journal(folder, segment_bytes=640)
    writer.append(segment.META, 0, 0, 0, b'{"run": 1}')
    for number in range(1, frames):
        writer.append(segment.RECORDS, number, 2, number + 1, bytes([64 + number]) * 128)
    writer.close()
    return list(segment.read(folder))


def texts(frames: Iterable[segment.Frame]) -> list[tuple[int, int, bytes]]:
    return [(frame.kind, frame.through, frame.payload) for frame in frames]


def test_a_tail_reads_segments_that_were_packed_before_their_turn_or_under_it(tmp_path: Path) -> None:
    pytest.importorskip("zstandard", reason=SKIP)
    for read in range(1, 12):
        folder = tmp_path / str(read)
        frames = small(folder)
        tail = Tail(folder)
        got = [tail.poll() for _ in range(read)]
        journals.compact(folder)
        got += tail.rest()
        assert texts(frame for frame in got if frame is not None) == texts(frames)
        for through in range(12):
            later = texts(since(folder, through).rest())
            assert later == texts(frames)[-len(later) :] and later[0][1] <= through + 1


def test_a_tail_begins_behind_what_was_retired_and_says_when_its_turn_was_lost(tmp_path: Path) -> None:
    pytest.importorskip("zstandard", reason=SKIP)
    frames = small(tmp_path)
    early, late = Tail(tmp_path), Tail(tmp_path)
    assert early.poll() is not None and early.poll() is not None
    journals.compact(tmp_path, 9)
    assert texts(Tail(tmp_path).rest()) == texts(segment.read(tmp_path)) == texts(late.rest())
    assert texts(since(tmp_path, 10).rest()) == texts(frames)[-len(texts(since(tmp_path, 10).rest())) :]
    with pytest.raises(JournalError, match="was retired before it was read"):
        list(early.frames())
    segment.refuse_retired(tmp_path, 9)
    with pytest.raises(JournalError, match=r"inputs below [1-9] were retired"):
        segment.refuse_retired(tmp_path)


def test_a_tail_does_not_go_on_in_a_segment_that_follows_on_other_frames(tmp_path: Path) -> None:
    frames = small(tmp_path)
    path = segment.segment_path(tmp_path, 1)
    data = path.read_bytes()
    head = segment.read_head(data, "", 1)
    path.write_bytes(segment.segment_header(1, head.first, head.journal_id, head.code, head.chain ^ 1) + data[64:])
    tail, got = Tail(tmp_path), []
    with pytest.raises(JournalError, match="follows on other frames"):
        got += tail.frames()
    with pytest.raises(JournalError, match="follows on other frames"):
        list(segment.read(tmp_path))
    assert len(frames) > 6


def test_a_tail_knows_a_torn_end_from_one_that_was_durable(tmp_path: Path) -> None:
    frames = small(tmp_path)
    path = tmp_path / frames[-1].segment
    path.write_bytes(path.read_bytes()[: frames[-1].offset])
    with pytest.raises(JournalError, match="were durable"):
        list(Tail(tmp_path).rest())
    forget(tmp_path)
    assert list(Tail(tmp_path).rest()) == frames[:-1]
    (tmp_path / superblock.NAME).unlink()
    with pytest.raises(JournalError, match="has no superblock"):
        list(Tail(tmp_path).rest())


def test_a_tail_follows_a_writer_that_began_anew(tmp_path: Path) -> None:
    dead = Journal(tmp_path, segment_bytes=640)
    tail = Tail(tmp_path)
    assert tail.poll() is None
    os.close(dead._file), os.close(dead._block)
    again = Journal(tmp_path, segment_bytes=640, resume=True)
    again.append(segment.META, 0, 0, 0, b"{}")
    again.close()
    assert tail.poll() is None, "the file it had open is gone"
    assert texts(tail.rest()) == texts(segment.read(tmp_path))


def test_damage_before_a_good_frame_is_not_waited_for(whole: tuple[Path, dict[str, Any]], journal: Path) -> None:
    frames = list(segment.read(journal))
    path = segment.segment_path(journal, 0)
    data = bytearray(path.read_bytes())
    data[frames[3].offset + 80] ^= 1
    path.write_bytes(data)
    refused = follow(journal, "--once")
    assert refused.code == 4 and f"damaged at offset {frames[3].offset}" in refused.said


# ---- the follower


def test_a_follower_checks_every_hash_and_keeps_the_newest(whole: tuple[Path, dict[str, Any]], journal: Path) -> None:
    found = follow(journal, "--keep", "3")
    assert_same(whole[1], found)
    assert found.found["checkpoints"] >= 1 and found.found["unproven"] == ""
    sequences = found.found["snapshots"]
    assert sequences == list(range(EVERY, whole[1]["records"], EVERY))
    kept = [images.sequence_of(path) for path in images.snapshots(journal, 10**9)]
    assert kept == sequences[:-4:-1]
    fast = replayed(journal, "--fast")
    assert_same(whole[1], fast)
    assert fast.found["start"] == kept[0] and fast.found["checkpoints"] < found.found["checkpoints"] + (not JIT)


def test_a_snapshot_waits_until_the_journal_says_that_it_is_durable(journal: Path) -> None:
    forget(journal)  # its superblock says nothing
    path = segment.segment_path(journal, 0)
    frames = list(segment.read(journal))
    path.write_bytes(path.read_bytes()[: frames[len(frames) // 2].offset])
    once = ("follow", str(journal), "--json", "--once", "--every", "1000000")
    writer = only_writer(journal)
    assert writer >= 0 and only_writer(journal) == -1
    assert ultra(*once).found["snapshots"] == [], "somebody writes, and has not said so"
    os.close(writer)
    assert ultra(*once).found["snapshots"] == [frames[len(frames) // 2 - 1].through], "he is dead: it is written again"


def test_what_was_read_is_written_again_as_it_was(journal: Path) -> None:
    before = segment.segment_path(journal, 0).read_bytes()
    tail = Tail(journal)
    frames = list(iter(tail.poll, None))
    tail.write_again()
    tail.close()
    assert frames and segment.segment_path(journal, 0).read_bytes() == before


def test_a_follower_goes_on_where_the_one_before_it_ended(whole: tuple[Path, dict[str, Any]], journal: Path) -> None:
    path = segment.segment_path(journal, 0)
    data, frames = path.read_bytes(), list(segment.read(journal))
    middle = frames[len(frames) // 2]
    path.write_bytes(data[: middle.offset])
    said = (journal / superblock.NAME).read_bytes()
    forget(journal)
    first = follow(journal, "--once")
    assert first.code == 0 and first.found["records"] == frames[len(frames) // 2 - 1].through
    assert first.found["snapshots"][-1] == first.found["records"] and not first.found["complete"]
    path.write_bytes(data)
    (journal / superblock.NAME).write_bytes(said)
    second = follow(journal)
    assert_same(whole[1], second)
    assert second.found["start"] == first.found["records"]


def test_a_follower_waits_for_a_journal_only_if_told_to(tmp_path: Path) -> None:
    empty = follow(tmp_path, "--once")
    assert empty.code == 4 and "no journal to follow" in empty.said
    assert follow(tmp_path, "--keep", "0").code == 2


@pytest.mark.jit_only
def test_a_state_that_differs_is_an_alarm_and_what_led_to_it_is_put_aside(
    whole: tuple[Path, dict[str, Any]], journal: Path
) -> None:
    forge(journal, CHECKPOINT)  # the last of them
    found = follow(journal, "--keep", "99")
    assert found.code == 1 and not found.found["matches"]
    assert found.said.startswith("ultra: ") and "state hash at input" in found.said
    records = journaled(journal)
    good = int(records["sequence"][records["kind"] == CHECKPOINT][-2])  # the last that agreed
    suspect = [sequence for sequence in found.found["snapshots"] if sequence > good]
    assert len(suspect) > 2
    assert sorted(path.name for path in journal.glob("*.suspect")) == [
        images.path_of(journal, sequence).name + ".suspect" for sequence in suspect
    ]
    kept = [images.sequence_of(path) for path in images.snapshots(journal, 10**9)]
    assert kept == [sequence for sequence in found.found["snapshots"][::-1] if sequence not in suspect]


@pytest.mark.jit_only
def test_a_follower_follows_a_run_that_is_under_way_and_ends_with_it(tmp_path: Path) -> None:
    source, folder = tmp_path / "day.itch50", tmp_path / "journal"
    source.write_bytes(market(20_000))
    words = ["follow", str(folder), "--json", "--every", "4000", "--keep", "2"]
    folder.mkdir()
    with subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True, env=environment()) as follower:
        run = ran(source, folder, MAKER, engine__checkpoint_records=5000)
        out, _ = follower.communicate(timeout=120)
    assert follower.returncode == 0
    assert f'"state_hash": "{run["state_hash"]}"' in out and '"complete": true' in out
    assert len(images.snapshots(folder, 10**9)) == 2
    assert_same(run, replayed(folder, "--fast"))


@pytest.mark.jit_only
@pytest.mark.slow
def test_a_signal_ends_a_follower_in_good_order(whole: tuple[Path, dict[str, Any]], journal: Path) -> None:
    path = segment.segment_path(journal, 0)
    path.write_bytes(path.read_bytes()[: list(segment.read(journal))[-3].offset])
    forget(journal)
    words = ["follow", str(journal), "--json", "--every", "1000000"]
    with subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True, env=environment()) as follower:
        until(lambda: sleeps(follower.pid), "it has nothing left to do")
        follower.send_signal(signal.SIGTERM)
        out, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0 and len(images.snapshots(journal, 10**9)) == 1, out


def sleeps(process: int) -> bool:
    """Whether it takes no processor time for a while, after some."""

    def spent() -> int:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = spent()
    time.sleep(0.5)
    return before > 50 and spent() - before <= 3


# ---- killed

# Forks a writer for each system call of a snapshot, and kills it there: the last line says what was found each time.
KILLED = """
import json, os, signal, sys
from collections.abc import Iterable
from pathlib import Path
from ultra.cold import image, segment
folder, newest = Path(sys.argv[1]), Path(sys.argv[2])
whole = image.read(newest)
found = []
for step in range(100):
    child = os.fork()
    if child == 0:
        left = [step]
        def mortal(call):
            def act(*given):
                if left[0] == 0:
                    if call is os_write:
                        call(given[0], memoryview(given[1])[: len(given[1]) // 2], given[2])  # torn
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return call(*given)
            return act
        os_write = os.pwrite
        for name in ("open", "pwrite", "fdatasync", "close", "rename", "fsync"):
            setattr(os, name, mortal(getattr(os, name)))
        image.write(folder, whole)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    path = image.path_of(folder, whole.sequence)
    older = [p for p in image.snapshots(folder, 10**9) if p != path]
    good = all(image.read(p) for p in image.snapshots(folder, 10**9))
    found.append([os.WIFSIGNALED(status), path.exists(), len(older), good])
    if path.exists():
        path.unlink()
    if not os.WIFSIGNALED(status):
        break
image.sweep(folder)
print(json.dumps([found, sorted(p.name for p in folder.iterdir() if p.name.startswith("."))]))
"""


@pytest.mark.slow
def test_a_writer_killed_at_any_system_call_leaves_the_older_ones_and_no_half_one(
    journal: Path, tmp_path: Path
) -> None:
    follow(journal, "--keep", "9", "--once")
    paths = images.snapshots(journal, 10**9)
    away = tmp_path / paths[0].name
    paths[0].rename(away)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(journal), str(away)], capture_output=True, text=True, env=environment(),
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, left = json.loads(done.stdout)
    assert left == []
    assert len(found) > 40, "every buffer of the file is a write"
    named = [there for _, there, _, _ in found]
    assert named == sorted(named), "once it has its name, it keeps it"
    assert found[-1] == [False, True, len(paths) - 1, True] and not named[-6]
    assert all(killed and older == len(paths) - 1 and good for killed, _, older, good in found[:-1])


@pytest.mark.jit_only
@pytest.mark.slow
def test_a_follower_killed_in_the_middle_is_followed_by_another(
    whole: tuple[Path, dict[str, Any]], journal: Path
) -> None:
    for count in (1, 9):
        words = ["follow", str(journal), "--json", "--every", "20", "--keep", "999"]
        with subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, env=environment()) as follower:
            begun = len(images.snapshots(journal, 10**9))
            until(lambda: len(images.snapshots(journal, 10**9)) >= begun + count, "it writes")  # noqa: B023
            follower.kill()
        for path in images.snapshots(journal, 10**9):
            assert images.read(path).sequence == images.sequence_of(path)
    last = follow(journal)
    assert_same(whole[1], last)
    assert last.found["start"] > 0 and last.found["skipped"] == []
    assert list(journal.glob(".*")) == []


@pytest.mark.slow
def test_a_recorded_hour_goes_on_from_any_of_its_snapshots(tmp_path: Path) -> None:
    source = recorded.data("itch", "derived_AAPL_20120621_0930_1030.itch50.gz")
    folder = tmp_path / "journal"
    run = ran(source, folder, MAKER, engine__order_live_max=1 << 16, engine__level_page_max=1 << 14)
    assert follow(folder, "--every", "30000", "--keep", "9").found["state_hash"] == run["state_hash"]
    paths = images.snapshots(folder, 10**9)
    assert len(paths) >= 3
    for path in paths:
        assert_same(run, replayed(folder, "--from-snapshot", str(path)))
