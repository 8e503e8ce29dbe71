"""A damaged journal becomes whole again from whatever has what it lost, or it is said what nobody has.

Our journal and its mirror hold the same inputs in other frames. Either may be damaged anywhere.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import assert_same, journaled, market, ran, replayed, through, ultra

from ultra.cold import segment, superblock
from ultra.cold.journal import Journal
from ultra.cold.segment import MARK, META, RECORDS, JournalError
from ultra.ops import journal as journals
from ultra.ops.repair import damage, repair

INPUTS = 60
SEQUENCES = [sequence for sequence in range(INPUTS) if sequence % 5]  # every fifth input is only referred to


def record(sequence: int) -> bytes:
    return bytes([33]) * 8 + sequence.to_bytes(8, "little") + bytes([sequence]) * 48


def write(folder: Path, batch: int = 4, inputs: int = INPUTS, run: str = "a", small: int = 1024) -> None:
    journal = Journal(folder, segment_bytes=small)
    journal.append(META, 0, 0, 0, json.dumps({"run": run}).encode())
    left = [sequence for sequence in SEQUENCES if sequence < inputs]
    while left:
        now, left = left[:batch], left[batch:]
        journal.append(RECORDS, now[0], len(now), now[-1] + 1, b"".join(map(record, now)))
        journal.sync()
        if now[-1] % 3 == 0:
            journal.append(MARK, now[-1] + 1, 0, now[-1] + 1, b"")
    journal.append(MARK, inputs, 0, inputs, b"")
    journal.close()


def holds(folder: Path) -> int:
    """How far it reaches; it has every record below."""
    reach = through(folder)
    frames = [frame for frame in segment.read(folder) if frame.kind == RECORDS]
    payload = b"".join(frame.payload for frame in frames)
    assert payload == b"".join(record(sequence) for sequence in SEQUENCES if sequence < reach)
    return reach


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 4
    path.write_bytes(data)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    write(tmp_path / "desk")
    return tmp_path / "desk"


@pytest.mark.parametrize("batch", [4, 7, 100], ids=["backup", "mirror", "one frame"])
@pytest.mark.parametrize("what", ["a bit", "a segment", "the superblock", "the last frame", "the first segment"])
def test_what_is_lost_comes_back_from_a_copy(desk: Path, tmp_path: Path, batch: int, what: str) -> None:
    copy = tmp_path / "copy"
    write(copy, batch, small=1 << 14)
    paths = segment.segments(desk)
    assert len(paths) > 3
    if what == "a bit":
        flip(paths[2], 300)
    elif what == "a segment":
        paths[2].unlink()
    elif what == "the superblock":
        (desk / superblock.NAME).unlink()
    elif what == "the last frame":
        paths[-1].write_bytes(paths[-1].read_bytes()[:-100])
    else:
        flip(paths[0], 70)
    assert damage(desk)
    code, found, _ = ultra("journal", "repair", str(desk), "--from", str(copy), "--json")
    assert code == 0 and found["repaired"] and found["given_up"] == 0
    assert holds(desk) == INPUTS == found["inputs"] and not damage(desk)
    assert next(segment.read(desk)).meta() == {"run": "a"}
    assert damage(Path(found["damaged"])), "the damaged one is kept"
    assert not repair(desk)["repaired"], "there is nothing left to repair"


def test_what_nobody_has_is_said_and_given_up_only_when_told(desk: Path, tmp_path: Path) -> None:
    write(tmp_path / "short", 5, inputs=20)
    paths = segment.segments(desk)
    paths[2].write_bytes(paths[2].read_bytes()[:64])
    before = {path.name: path.read_bytes() for path in desk.iterdir()}
    code, _, said = ultra("journal", "repair", str(desk), "--from", str(tmp_path / "short"))
    assert code == 4 and "are in neither, and those below 60 were durable" in said and "--cut" in said
    assert {path.name: path.read_bytes() for path in desk.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desk", "short"]
    found = repair(desk, tmp_path / "short", cut=True)
    assert found["given_up"] == INPUTS - found["inputs"] > 0
    assert holds(desk) == found["inputs"] >= 20


def test_a_copy_of_another_run_or_with_other_records_is_refused(desk: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", run="b")
    write(tmp_path / "forged", small=1 << 14)
    path = segment.segment_path(tmp_path / "forged", 0)
    data = path.read_bytes().replace(record(6), record(6)[:-1] + b"\0")
    frame = next(f for f in segment.read(tmp_path / "forged") if record(6) in f.payload)
    payload = data[frame.offset + 64 : frame.offset + 64 + len(frame.payload)]
    index = int.from_bytes(data[frame.offset + 48 : frame.offset + 56], "little")
    head = segment.frame_header(
        RECORDS, frame.first, frame.count, frame.through, frame.durable, index, len(payload), segment.crc32c(payload)
    )
    path.write_bytes(data[: frame.offset] + head + data[frame.offset + 64 :])
    flip(segment.segments(desk)[3], 200)
    for name, wanted in (("other", "is of another run"), ("forged", "has other records")):
        with pytest.raises(JournalError, match=wanted):
            repair(desk, tmp_path / name)
        assert not (tmp_path / "desk.repaired").exists()


@given(data=st.data())
def test_whatever_is_damaged_the_result_is_whole_or_nothing_is_done(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("repair")
    desk, copy = folder / "desk", folder / "copy"
    write(desk, data.draw(st.integers(1, 9)), small=data.draw(st.sampled_from([512, 1 << 14])))
    write(copy, data.draw(st.integers(1, 9)), data.draw(st.sampled_from([20, INPUTS])), small=1 << 14)
    for place in (desk, desk, copy):
        if data.draw(st.booleans()):
            path = data.draw(st.sampled_from(segment.segments(place)))
            at = data.draw(st.integers(0, path.stat().st_size - 1))
            size = data.draw(st.sampled_from([1, 64, 700]))
            content = path.read_bytes()
            path.write_bytes(
                content[:at] + bytes(255 - byte for byte in content[at : at + size]) + content[at + size :]
            )
    try:
        found = repair(desk, copy)
    except JournalError:
        assert damage(desk), "it is as it was"
    else:
        assert holds(desk) == INPUTS and found.get("given_up", 0) == 0
    shutil.rmtree(folder)


# ---- checked, packed, retired, exported


def test_check_says_what_is_there_and_4_when_it_is_damaged(desk: Path) -> None:
    code, found, _ = ultra("journal", "check", str(desk), "--json")
    assert code == 0 and found["damage"] == "" and found["ended"] == "in good order" and found["synced"]
    assert (found["inputs"], found["durable"], found["records"]) == (INPUTS, INPUTS, len(SEQUENCES))
    assert found["format"] == 2 and found["segments"] == len(segment.segments(desk))
    path = segment.segments(desk)[2]
    flip(path, 100)
    code, found, said = ultra("journal", "check", str(desk), "--json")
    assert code == 4 and str(path) in said and "offset 64 (frame" in said and "ultra journal repair" in said
    assert found["inputs"] < INPUTS and found["damage"] in said
    assert ultra("journal", "check", str(desk.parent / "nowhere"), "--json").code == 4


def everything(folder: Path) -> list[Any]:
    return [(f.kind, f.first, f.count, f.through, f.payload) for f in segment.read(folder)]


def test_a_packed_journal_reads_the_same_and_is_resumed(desk: Path) -> None:
    pytest.importorskip("zstandard", reason="optional: pip install 'ultra-engine[journal]'")
    before, count = everything(desk), len(segment.segments(desk))
    code, found, said = ultra("journal", "compact", str(desk), "--json")
    assert code == 0, said
    assert found["packed"] == count - 1 and found["bytes_after"] < found["bytes_before"]
    assert everything(desk) == before and journals.check(desk)["packed"] == count - 1
    assert journals.compact(desk)["packed"] == 0
    again = Journal(desk, segment_bytes=1024, resume=True)
    again.append(MARK, INPUTS + 1, 0, INPUTS + 1, b"")
    again.close()
    assert everything(desk)[: len(before)] == before and through(desk) == INPUTS + 1
    flip(segment.segments(desk)[1], 99)
    with pytest.raises(JournalError, match=r"segment-000001\.ulj\.zst is damaged"):
        everything(desk)


def test_retired_segments_leave_the_run_s_description_and_the_chain(desk: Path) -> None:
    pytest.importorskip("zstandard", reason="optional: pip install 'ultra-engine[journal]'")
    before, ends = everything(desk), {f.segment: f.through for f in segment.read(desk)}
    for below in (0, 25, 40, 1000):
        journals.compact(desk, below)
        gone = sum(end <= below for end in list(ends.values())[:-1])
        assert len(segment.segments(desk)) == len(ends) - gone
        after = everything(desk)
        first = next(segment.read(desk))
        assert first.kind == META and first.meta() == {"run": "a"}
        assert after[1:] == before[len(before) - len(after) + 1 :] and through(desk) == INPUTS
    again = Journal(desk, segment_bytes=1024, resume=True)
    assert again.durable == INPUTS
    again.close()
    with pytest.raises(JournalError, match="holds a journal already"):
        Journal(desk, segment_bytes=1024)
    flip(desk / segment.RETIRED, 90)
    with pytest.raises(JournalError, match=segment.RETIRED):
        everything(desk)


def test_records_are_exported_as_columns(desk: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="optional: pip install 'ultra-engine[journal]'")
    code, found, said = ultra("journal", "export", str(desk), "-o", str(tmp_path / "all.parquet"), "--json")
    assert code == 0 and found["rows"] == len(SEQUENCES), said
    table, records = parquet.read_table(tmp_path / "all.parquet"), journaled(desk)
    assert table.column_names == list(records.dtype.names)
    for name in table.column_names:
        assert table[name].to_pylist() == records[name].tolist()


def test_a_run_is_replayed_from_a_journal_that_its_mirror_repaired(tmp_path: Path) -> None:
    day, desk, mirror = tmp_path / "day.itch50", tmp_path / "desk", tmp_path / "mirror"
    day.write_bytes(market(3000))
    run = ran(day, desk, journal__mirror=mirror, journal__batch_record_max=64)
    flip(segment.segments(desk)[0], 9000)
    refused = replayed(desk)
    assert refused.code == 4 and "segment-000000.ulj is damaged at offset" in refused.said
    code, found, said = ultra("journal", "repair", str(desk), "--from", str(mirror), "--json")
    assert code == 0 and found["inputs"] == run["records"], said
    assert_same(run, replayed(desk))
