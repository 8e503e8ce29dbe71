"""The journal's files give back every frame exactly as it was written, or say where they can't.

The writer is `ultra.cold.journal.Journal`. Its files are then cut, flipped, swapped and lost: whatever is read must be
the beginning of what was written, and only a torn tail may end it without a word.
"""

import os
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultra.cold import segment
from ultra.cold.journal import Journal
from ultra.cold.native import crc32c
from ultra.cold.segment import HEADER_BYTES, MARK, META, RECORDS, Frame, JournalError
from ultra.hot import JIT

PAYLOADS = [b'{"run": 1}', bytes(range(128)), b"", bytes(64), b"\xff" * 192]
ONE, MANY = 1 << 12, 320  # bytes of a segment: all frames in one file, one or two in each


def write(
    folder: Path, payloads: list[bytes] = PAYLOADS, segment_bytes: int = ONE, sync: bool = False, died: bool = False
) -> list[Frame]:
    """A journal with one frame a payload: META first, then RECORDS, a MARK where it is empty. What must be read.

    Its writer closed it, which adds a MARK where there are syncs, or died and left it as it was."""
    journal = Journal(folder, segment_bytes=segment_bytes, sync=sync)
    frames: list[Frame] = []
    through, index, at = 0, 0, HEADER_BYTES
    for number, payload in enumerate(payloads):
        kind = META if number == 0 else RECORDS if payload else MARK
        first, durable, count = through, through if sync else 0, len(payload) // 64
        through += count + 1
        room = HEADER_BYTES + segment.padded(len(payload))
        if at + room > segment_bytes and at > HEADER_BYTES:
            index, at = index + 1, HEADER_BYTES
        journal.append(kind, first, count, through, payload)
        journal.sync()
        name = segment.segment_path(folder, index).name
        frames.append(Frame(kind, first, count, through, durable, payload, name, at))
        at += room
    if died:
        os.truncate(segment.segment_path(folder, index), at)
        os.close(journal._file)
        os.close(journal._block)
        return frames
    journal.close()
    if sync:
        if at + HEADER_BYTES > segment_bytes and at > HEADER_BYTES:
            index, at = index + 1, HEADER_BYTES
        name = segment.segment_path(folder, index).name
        frames.append(Frame(MARK, through, 0, through, through, b"", name, at))
    return frames


def read(folder: Path) -> list[Frame]:
    return list(segment.read(folder))


def refusal(folder: Path) -> str:
    """The error that reading ends in, and nothing but the beginning of the journal before it."""
    with pytest.raises(JournalError) as caught:
        read(folder)
    return str(caught.value)


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


# ---- as written


@pytest.mark.parametrize("segment_bytes", [ONE, MANY, HEADER_BYTES])
def test_every_frame_comes_back_as_it_was_written(tmp_path: Path, segment_bytes: int) -> None:
    frames = write(tmp_path, segment_bytes=segment_bytes, sync=True)
    assert read(tmp_path) == frames
    files = segment.segments(tmp_path)
    assert len(files) == {ONE: 1, MANY: 5, HEADER_BYTES: len(frames)}[segment_bytes]
    assert frames[0].meta() == {"run": 1}


@given(sizes=st.lists(st.integers(0, 200), max_size=6), segment_bytes=st.sampled_from([128, 192, 400, 1024]))
def test_payloads_and_segments_of_any_size_come_back(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], segment_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    frames = write(folder, [bytes([1 + size % 255]) * size for size in [10, *sizes]], segment_bytes)
    assert read(folder) == frames
    shutil.rmtree(folder)


def test_a_closed_segment_has_no_zeros_behind_its_last_frame(tmp_path: Path) -> None:
    frames = write(tmp_path)
    end = frames[-1].offset + HEADER_BYTES + len(frames[-1].payload)
    assert segment.segment_path(tmp_path, 0).stat().st_size == end


def test_a_header_checks_itself_and_a_payload_is_checked_by_its_header(tmp_path: Path) -> None:
    payload = b"x" * 64
    header = segment.frame_header(RECORDS, 7, 1, 8, 5, 3, 64, crc32c(payload))
    assert len(header) == HEADER_BYTES and header[:4] == header[-4:] == segment.FRAME_MAGIC
    assert struct.unpack_from("<I", header, 56)[0] == crc32c(header[:56])
    assert crc32c(b"123456789") == 0xE3069283


def test_zeros_written_ahead_are_the_end_of_a_journal_not_damage(tmp_path: Path) -> None:
    frames = write(tmp_path)
    with segment.segment_path(tmp_path, 0).open("ab") as file:
        file.write(bytes(10_000))
    assert read(tmp_path) == frames


# ---- the torn tail


@pytest.mark.parametrize("rest", [b"", bytes(64), b"\xa5" * 77], ids=["nothing", "zeros", "garbage"])
def test_a_tail_torn_at_any_byte_is_cut_and_all_before_it_is_read(tmp_path: Path, rest: bytes) -> None:
    frames = write(tmp_path, died=True)
    path = segment.segment_path(tmp_path, 0)
    whole, last = path.read_bytes(), frames[-1].offset
    for cut in range(last, len(whole), 1 if JIT else 7):
        path.write_bytes(whole[:cut] + rest)
        assert read(tmp_path) == frames[:-1], f"cut at {cut}"


def test_a_tail_torn_in_its_padding_gives_the_payload_or_nothing(tmp_path: Path) -> None:
    frames = write(tmp_path, [b"{}", b"abc"])
    path = segment.segment_path(tmp_path, 0)
    whole, end = path.read_bytes(), frames[-1].offset + HEADER_BYTES + 3
    for cut in range(end, len(whole)):
        path.write_bytes(whole[:cut])
        assert read(tmp_path) == frames


@pytest.mark.parametrize("rest", [b"", bytes(17), bytes(64), bytes(4096)])
def test_a_segment_that_was_begun_and_no_more_is_the_end(tmp_path: Path, rest: bytes) -> None:
    frames = write(tmp_path, segment_bytes=MANY)
    segment.segment_path(tmp_path, 4).write_bytes(rest)
    assert read(tmp_path) == frames


@pytest.mark.parametrize("size", [64, 65, 127, 128, 200, 4096])
def test_a_segment_whose_first_frame_is_torn_is_the_end(tmp_path: Path, size: int) -> None:
    frames = write(tmp_path, segment_bytes=MANY, died=True)
    path = segment.segment_path(tmp_path, 3)
    path.write_bytes((path.read_bytes() if size < 4096 else path.read_bytes()[:64])[:size].ljust(size, b"\0"))
    assert read(tmp_path) == [frame for frame in frames if frame.segment != path.name]


# ---- damage


@pytest.mark.parametrize("segment_bytes", [ONE, MANY])
def test_a_flipped_bit_before_the_last_frame_is_damage_with_file_and_offset(tmp_path: Path, segment_bytes: int) -> None:
    frames = write(tmp_path, segment_bytes=segment_bytes)
    for number, frame in enumerate(frames[:-1]):
        path = tmp_path / frame.segment
        for byte in range(HEADER_BYTES + segment.padded(len(frame.payload))):
            if not JIT and byte % 5:
                continue
            flip(path, frame.offset + byte, byte % 8)
            found = refusal(tmp_path)
            assert str(path) in found and f"offset {frame.offset} (frame {number})" in found, found
            flip(path, frame.offset + byte, byte % 8)
    assert read(tmp_path) == frames


def test_a_flipped_bit_in_the_header_of_a_segment_is_named(tmp_path: Path) -> None:
    frames = write(tmp_path, segment_bytes=MANY)
    for number, path in enumerate(segment.segments(tmp_path)):
        for byte in range(HEADER_BYTES):
            flip(path, byte, byte % 8)
            found = refusal(tmp_path)
            assert str(path) in found and f"segment {number}" in found, found
            flip(path, byte, byte % 8)
    assert read(tmp_path) == frames


def test_a_frame_lost_at_the_end_of_a_full_segment_is_damage(tmp_path: Path) -> None:
    frames = write(tmp_path, segment_bytes=MANY)
    for index in (0, 1):
        lost = [frame for frame in frames if frame.segment == segment.segment_path(tmp_path, index).name][-1]
        path = tmp_path / lost.segment
        whole = path.read_bytes()
        for rest in (b"", bytes(len(whole) - lost.offset), whole[lost.offset : lost.offset + 40]):
            path.write_bytes(whole[: lost.offset] + rest)
            found = refusal(tmp_path)
            assert str(path) in found and f"offset {lost.offset}" in found, found
        path.write_bytes(whole)
    assert read(tmp_path) == frames


@pytest.mark.parametrize("segment_bytes", [ONE, MANY])
def test_a_last_segment_without_its_header_is_damage_while_it_holds_frames(tmp_path: Path, segment_bytes: int) -> None:
    write(tmp_path, segment_bytes=segment_bytes)
    path = segment.segments(tmp_path)[-1]
    path.write_bytes(bytes(HEADER_BYTES) + path.read_bytes()[HEADER_BYTES:])
    assert f"{path} does not begin with the header" in refusal(tmp_path)


@given(data=st.data())
def test_whatever_is_done_to_a_file_only_a_beginning_is_ever_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    frames = write(folder, segment_bytes=data.draw(st.sampled_from([ONE, MANY])))
    path = data.draw(st.sampled_from(segment.segments(folder)))
    whole = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start, len(whole)))
    whole[start:stop] = data.draw(st.binary(max_size=80) | st.just(bytes(stop - start)))
    path.write_bytes(whole)
    found: list[Frame] = []
    try:
        found += segment.read(folder)
    except JournalError as error:
        assert path.name in str(error)
    else:
        intact = [frame for frame in frames[len(found) :] if frame.segment != path.name or frame.offset > stop]
        assert not intact, "frames behind the damage were dropped without a word"
    assert found == frames[: len(found)]
    shutil.rmtree(folder)


# ---- other files


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    write(tmp_path, segment_bytes=MANY)
    for index in (0, 1):
        path = segment.segment_path(tmp_path, index)
        path.rename(tmp_path / "elsewhere")
        assert f"{path.name} is missing" in refusal(tmp_path)
        (tmp_path / "elsewhere").rename(path)


def test_a_segment_of_another_journal_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", segment_bytes=MANY)
    write(tmp_path / "b", segment_bytes=MANY)
    foreign = segment.segment_path(tmp_path / "a", 1)
    shutil.copy(segment.segment_path(tmp_path / "b", 1), foreign)
    assert refusal(tmp_path / "a") == f"{foreign} belongs to another journal"


def test_a_segment_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    write(tmp_path, segment_bytes=MANY)
    first, second = (segment.segment_path(tmp_path, index) for index in (0, 1))
    shutil.copy(second, first)
    assert f"{first} does not begin with the header of segment 0" in refusal(tmp_path)


def test_a_format_of_another_version_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    path = segment.segment_path(tmp_path, 0)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 8, 3)
    struct.pack_into("<I", data, 56, crc32c(data[:56]))
    path.write_bytes(data)
    assert refusal(tmp_path) == f"{path} has format 3; this version reads 2"


def test_what_is_no_journal_is_said_to_be_none(tmp_path: Path) -> None:
    assert "holds no journal" in refusal(tmp_path / "nowhere")
    path = segment.segment_path(tmp_path, 0)
    path.write_bytes(bytes(4096))
    assert read(tmp_path) == []
    path.write_bytes(b"short")
    assert "not a segment" in refusal(tmp_path)
    path.write_bytes(b"no journal" * 100)
    assert "does not begin with the header of segment 0" in refusal(tmp_path)
