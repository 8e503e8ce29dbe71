"""Journals of earlier days are replayed to the same state, bit for bit. When it is meant to change: `golden.py`."""

import json
import shutil
from pathlib import Path

import pytest
from golden import FOLDER, KEYS
from runs import replayed

from ultra.cold import segment
from ultra.cold.journal import Journal
from ultra.ops import journal as journals

EXPECTED = json.loads((FOLDER / "expected.json").read_text())
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def test_there_is_one_of_each_form_in_the_present_format_and_of_an_older_format() -> None:
    assert {f"v{segment.VERSION}-reference", f"v{segment.VERSION}-full"} <= set(NAMES)
    assert f"v{segment.OLD}-reference" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_journal_replays_bit_exactly(tmp_path: Path, name: str) -> None:
    shutil.copytree(FOLDER / name, tmp_path / name)
    # --force: a strategy may be written otherwise, as long as it decides the same.
    found = replayed(tmp_path / name, "--source", str(FOLDER / "day.itch50"), "--force")
    assert found.code == 0 and found.found["matches"] and found.found["complete"], found.said
    wanted = EXPECTED[name.replace(f"v{segment.OLD}-", f"v{segment.VERSION}-")]
    assert {key: found.found[key] for key in KEYS} == wanted
    assert journals.check(tmp_path / name)["format"] == int(name[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_journal_is_the_same_bytes_when_it_is_written_again(name: str) -> None:
    """The format did not change unseen: the frames of these records are those that are there."""
    data = (FOLDER / name / "segment-000000.ulj").read_bytes()
    for number, frame in enumerate(segment.read(FOLDER / name)):
        crc = segment.crc32c(frame.payload)
        size = len(frame.payload)
        facts = (frame.kind, frame.first, frame.count, frame.through, frame.durable, number, size, crc)
        assert data[frame.offset : frame.offset + 64] == segment.frame_header(*facts)
    if name.startswith(f"v{segment.VERSION}"):
        head = segment.read_head(data, name, 0)
        assert data[:64] == segment.segment_header(0, head.first, head.journal_id, head.code, head.chain)


def test_nothing_is_added_to_a_journal_of_the_old_format(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "v1-reference", tmp_path / "old")
    before = (tmp_path / "old" / "segment-000000.ulj").read_bytes()
    with pytest.raises(segment.JournalError, match="has format 1: it is read, but nothing is added to it"):
        Journal(tmp_path / "old", segment_bytes=1 << 20, resume=True)
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "old").iterdir()] == [("segment-000000.ulj", before)]
