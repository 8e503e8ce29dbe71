"""Who says that something was durable: a later frame, a later segment, the superblock. Each alone is enough.

And what none of them says may be gone after a power cut: it is cut, and the journal goes on.
"""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import forget

from ultra.cold import segment, superblock
from ultra.cold.disk import AHEAD, Folder
from ultra.cold.journal import Journal
from ultra.cold.segment import HEADER_BYTES, MARK, META, RECORDS, Frame, JournalError
from ultra.cold.superblock import Commit

COMMITS = st.builds(
    Commit, st.binary(min_size=16, max_size=16), st.integers(0, 9), *[st.integers(0, 1 << 31)] * 3, st.integers(0, 7)
)


@given(one=COMMITS, other=COMMITS, flipped=st.none() | st.integers(0, 8 * 8192 - 1))
def test_the_later_good_block_counts_and_no_other(one: Commit, other: Commit, flipped: int | None) -> None:
    data, blocks = bytearray(2 * superblock.STRIDE), {}
    for commit in (one, other):
        at = superblock.offset(commit.generation)
        data[at : at + superblock.BLOCK_BYTES] = superblock.encode(commit)
        blocks[at] = commit
    if flipped is not None:
        data[flipped // 8] ^= 1 << flipped % 8
        blocks = {at: commit for at, commit in blocks.items() if not at <= flipped // 8 < at + superblock.BLOCK_BYTES}
    assert superblock.best(bytes(data)) == max(blocks.values(), key=lambda c: c.generation, default=None)


def test_a_block_is_64_bytes_and_the_two_share_no_page() -> None:
    assert len(superblock.encode(Commit(bytes(16), 1, 2, 3, 4, 1))) == superblock.BLOCK_BYTES == 64
    assert superblock.offset(3) - superblock.offset(2) == 4096


# ---- what is said


def write(folder: Path, groups: list[int], segment_bytes: int = 1 << 12, settle: bool = False) -> Journal:
    """A journal at work, with a sync after each group of so many records of one frame each."""
    journal = Journal(folder, segment_bytes=segment_bytes)
    journal.append(META, 0, 0, 0, b"{}")
    for count in groups:
        for _ in range(count):
            sequence = journal.through
            journal.append(RECORDS, sequence, 1, sequence + 1, bytes([sequence]) * 64)
        journal.sync()
    if settle:
        journal.settle()
    return journal


def damaged(folder: Path, frame: Frame, size: int = 128) -> None:
    path = folder / frame.segment
    data = bytearray(path.read_bytes())
    data[frame.offset : frame.offset + size] = bytes(size)
    path.write_bytes(data)


def read(folder: Path) -> list[Frame]:
    return list(segment.read(folder))


def test_a_hole_in_what_was_not_durable_is_cut_and_the_journal_goes_on(tmp_path: Path) -> None:
    journal = write(tmp_path, [2])
    for sequence in (2, 3, 4):
        journal.append(RECORDS, sequence, 1, sequence + 1, bytes([sequence]) * 64)
    frames = read(tmp_path)
    damaged(tmp_path, frames[4])  # sequence 3; 4 is good, and nobody called either durable
    assert read(tmp_path) == frames[:4]
    again = Journal(tmp_path, segment_bytes=1 << 12, resume=True)
    assert again.durable == again.through == again.written == 3
    again.append(RECORDS, 3, 1, 4, b"x" * 64)
    again.close()
    assert [frame.first for frame in read(tmp_path)] == [0, 0, 1, 2, 3, 4], "not what stood behind the hole"


@pytest.mark.parametrize("lost", range(5))
def test_a_later_frame_says_what_was_durable_even_if_its_own_payload_is_torn(tmp_path: Path, lost: int) -> None:
    write(tmp_path, [2, 2, 1])
    forget(tmp_path)
    frames = read(tmp_path)
    damaged(tmp_path, frames[lost])
    path = tmp_path / frames[5].segment
    data = bytearray(path.read_bytes())
    data[frames[5].offset + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        JournalError, match=rf"offset {frames[lost].offset} \(frame {lost}\).*inputs below 4 were durable"
    ):
        read(tmp_path)


def test_the_superblock_says_that_the_last_frame_was_durable(tmp_path: Path) -> None:
    write(tmp_path, [3])
    frames = read(tmp_path)
    damaged(tmp_path, frames[-1])
    with pytest.raises(JournalError, match=r"\(frame 3\), behind input 2: 4 frames were durable, inputs below 3"):
        read(tmp_path)
    forget(tmp_path)
    assert read(tmp_path) == frames[:-1], "nobody says so"


def test_a_quiet_journal_says_it_in_a_frame_too(tmp_path: Path) -> None:
    journal = write(tmp_path, [3], settle=True)
    forget(tmp_path)
    frames = read(tmp_path)
    assert (frames[-1].kind, frames[-1].through, frames[-1].durable) == (MARK, 3, 3)
    journal.settle()
    assert read(tmp_path) == frames, "once is enough"
    damaged(tmp_path, frames[-2])
    with pytest.raises(JournalError, match="inputs below 3 were durable"):
        read(tmp_path)


def test_a_later_segment_says_which_frames_were_before_it(tmp_path: Path) -> None:
    write(tmp_path, [1] * 6, segment_bytes=HEADER_BYTES * 6)
    frames = read(tmp_path)
    path, frame = tmp_path / frames[1].segment, frames[1]
    data = path.read_bytes()
    payload = b"y" * 64  # another record, and every checksum right
    head = segment.frame_header(RECORDS, 0, 1, 1, frame.durable, 1, 64, segment.crc32c(payload))
    path.write_bytes(data[: frame.offset] + head + payload + data[frame.offset + 128 :])
    with pytest.raises(JournalError, match=r"segment-000000\.ulj is damaged.*segment-000001\.ulj follows on other"):
        read(tmp_path)


def test_a_last_segment_that_is_gone_is_missed(tmp_path: Path) -> None:
    write(tmp_path, [1] * 6, segment_bytes=HEADER_BYTES * 6)
    segment.segments(tmp_path)[-1].unlink()
    with pytest.raises(JournalError, match=r"segment-000003\.ulj is missing"):
        read(tmp_path)


def test_without_a_good_superblock_nothing_is_read(tmp_path: Path) -> None:
    write(tmp_path, [3], settle=True)
    path = tmp_path / superblock.NAME
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    assert len(read(tmp_path)) == 5, "one block is enough"
    data[4096 + 10] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalError, match="is damaged, both its blocks: `ultra journal repair`"):
        read(tmp_path)
    path.unlink()
    with pytest.raises(JournalError, match="is missing: `ultra journal repair`"):
        read(tmp_path)


def test_the_superblock_on_disk_is_never_written_over(tmp_path: Path) -> None:
    """Block by block: what was synced stays until the other is."""
    journal, path, seen = write(tmp_path, [1]), tmp_path / superblock.NAME, []
    for _ in range(4):
        journal.append(MARK, journal.through + 1, 0, journal.through + 1, b"")
        journal.sync()
        seen.append(superblock.best(path.read_bytes()))
        journal.settle()
        seen.append(superblock.best(path.read_bytes()))
    generations = [commit.generation for commit in seen if commit is not None]
    assert generations == [2, 2, 3, 3, 4, 4, 5, 5]
    assert [commit.through for commit in seen if commit is not None] == [2, 2, 3, 3, 4, 4, 5, 5]


class Racing:
    """A folder whose writer is at work: of what is read first, one sector is still old. Not a subclass: no class of
    the interpreter may be one of a compiled class."""

    def __init__(self, path: Path, offset: int) -> None:
        self._real = Folder(path)
        self.offset, self.reads = offset, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def read(self, name: str) -> bytes:
        data = self._real.read(name)
        if name.startswith("segment"):
            self.reads += 1
            if self.reads == 1:
                data = data[: self.offset] + bytes(64) + data[self.offset + 64 :]
        return data


def test_a_file_is_read_again_before_it_is_called_damaged(tmp_path: Path) -> None:
    write(tmp_path, [2, 2])
    frames = read(tmp_path)
    for frame in frames:
        racing = Racing(tmp_path, frame.offset)
        assert list(segment.read(tmp_path, racing)) == frames and racing.reads == 2


def test_segments_are_made_ahead_and_none_is_left_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1 << 20)
    journal.append(META, 0, 0, 0, b"{}")
    payload = os.urandom(64 * 512)
    for step in range(120):
        journal.append(RECORDS, 512 * step, 512, 512 * step + 512, payload)
        maker = journal._disk._maker
        if maker is not None:
            maker.join()
    journal.sync()
    assert journal.unprepared == 1 and len(segment.segments(tmp_path)) == 4
    assert (tmp_path / AHEAD).exists()
    journal.close()
    assert not (tmp_path / AHEAD).exists()
    assert [frame.count for frame in read(tmp_path)] == [0, *[512] * 120, 0]


def test_zeros_that_find_no_room_leave_what_there_is_to_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, pwrite, left = Folder(tmp_path), os.pwrite, [3 << 20]

    def limited(handle: int, data: bytes, at: int) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= len(data)
        return pwrite(handle, data, at)

    monkeypatch.setattr(os, "pwrite", limited)
    folder.prepare(8 << 20)
    assert folder._maker is not None
    folder._maker.join()
    assert folder.take("segment-000000.ulj") == -1 and folder.names() == []
    left[0] = 1 << 30
    folder.prepare(2 << 20)
    folder._maker.join()
    handle = folder.take("segment-000000.ulj")
    assert os.fstat(handle).st_size == 2 << 20 and folder.names() == ["segment-000000.ulj"]
    os.close(handle)


@given(commit=COMMITS, beyond=st.integers(-2, 2))
def test_a_writer_vouches_for_what_it_synced_and_no_further(commit: Commit, beyond: int) -> None:
    wanted = beyond <= 0 and not commit.state & superblock.UNSYNCED
    assert segment.vouched(commit, commit.through + beyond) == wanted and not segment.vouched(None, 0)
