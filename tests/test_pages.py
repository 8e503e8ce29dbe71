"""The pages under a shared segment: all there before it has a name, and a note for each wish that was not granted.

What a machine may not have is made: file systems of a size and with huge pages are mounted where that is allowed, and a
process gives up its right to lock memory.
"""

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import environment

from ultra import config
from ultra.cold import live, pages, shared
from ultra.cold.pages import GIANT_BYTES, HUGE_BYTES, Backing
from ultra.cold.shared import NoRoomError
from ultra.wire import RECORD

NAME, RECORDS = "desk.journal", 64
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(autouse=True)
def folder(shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = shared_folder / f"pages-{tmp_path.name}"
    place.mkdir()
    monkeypatch.setenv("ULTRA_SHM_DIR", str(place))
    yield place


def make(name: str = NAME, **more: Any) -> shared.Segment:
    return shared.create(name, "ring", RECORD, RECORDS, **more)


# ---- room


def test_a_full_folder_is_an_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    real = os.fstatvfs

    def full(handle: int) -> Any:
        found = list(real(handle))
        found[4] = 2  # f_bavail
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "fstatvfs", full)
    with pytest.raises(NoRoomError, match=r"needs 12,288 bytes, [0-9,]+ bytes free; ultra ring clean"):
        make()
    assert list(folder.iterdir()) == []


@pytest.fixture
def tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 256 KiB."""
    yield from mounted(folder / "tiny", "size=256k", monkeypatch)


@pytest.fixture
def huge(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system that follows the advice of huge pages."""
    yield from mounted(folder / "huge", "size=64m,huge=advise", monkeypatch)


def mounted(place: Path, options: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    monkeypatch.setenv("ULTRA_SHM_DIR", str(place))
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("prefault", [True, False])
def test_every_page_is_there_before_the_name_is(tiny: Path, monkeypatch: pytest.MonkeyPatch, prefault: bool) -> None:
    """Free space is a moment's; that the pages were taken is what counts. Else this process died of SIGBUS here."""
    monkeypatch.setattr(os, "fstatvfs", lambda handle: os.statvfs("/"))
    with pytest.raises(NoRoomError, match="No space left"):
        shared.create(NAME, "ring", RECORD, 1 << 13, backing=Backing(prefault=prefault))
    assert list(tiny.iterdir()) == []
    made = shared.create(NAME, "ring", RECORD, 1 << 11, backing=Backing(prefault=prefault))
    with pytest.raises(OSError, match="No space left"):
        (tiny / "rest").write_bytes(bytes(256 << 10))
    made.body[:] = bytes(len(made.body))


def test_a_folder_that_can_not_be_written_is_no_room(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("ULTRA_SHM_DIR", str(folder / "nowhere"))
    with pytest.raises(NoRoomError, match="can't be written: No such file"):
        make()


def test_a_run_without_room_for_a_name_runs_without_one(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("ULTRA_SHM_DIR", str(folder / "nowhere"))
    tap = live.Tap(config.load(None, {"journal.ring_records": 4096}), tmp_path / "journal")
    assert tap.segment.header.name == "" and tap.segment.path is None
    (note,) = tap.segment.notes
    assert "can't be written" in note and "nobody can watch it" in note
    tap.abandon()


# ---- wishes


def wished(script: str) -> str:
    """What a process of its own prints, with no right to lock more than a page."""
    limits = """
import os, resource
resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, 4096))
from ultra.cold import pages, shared
from ultra.cold.pages import Backing
from ultra.wire import RECORD
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
"""
    done = subprocess.run(
        [sys.executable, "-c", limits + script], capture_output=True, text=True, env=environment(), check=True
    )
    return done.stdout


def test_a_limit_on_locked_memory_is_a_note() -> None:
    said = wished("print(*shared.create_nameless('ring', RECORD, 1024, backing=Backing(lock=True)).notes, sep='|')")
    assert "RLIMIT_MEMLOCK is 4,096 bytes" in said and "LimitMEMLOCK=infinity" in said and said.count("|") == 0


@ROOT_ONLY
def test_locked_memory_is_locked() -> None:
    before = locked_kib()
    made = make(backing=Backing(lock=True))
    assert made.notes == [] and locked_kib() - before == 12


def locked_kib() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck"))
    return int(line.split()[1])


@pytest.mark.parametrize("size", [HUGE_BYTES, GIANT_BYTES])
def test_huge_pages_that_are_not_there_are_a_note_and_the_memory_is(size: int) -> None:
    reserved = Path(f"/sys/kernel/mm/hugepages/hugepages-{size >> 10}kB/free_hugepages")
    if reserved.exists() and int(reserved.read_text()):
        pytest.skip("this machine has reserved huge pages")
    size_kept, note = pages.hugetlb("ultra", size, size)
    assert size_kept == -1 and f"1 reserved pages of {size >> 20} MiB" in note and "nr_hugepages" in note
    if size == HUGE_BYTES:
        made = shared.create_nameless("ring", RECORD, RECORDS, backing=Backing(huge_bytes=size))
        assert made.notes[0] == note and made.header.total_bytes == size
        made.body[:] = bytes(len(made.body))


def test_huge_pages_under_a_name_are_mapped_or_a_note_says_how_many_are() -> None:
    made = shared.create(NAME, "ring", RECORD, 1 << 17, backing=Backing(huge_bytes=HUGE_BYTES))
    made.body[:] = bytes(len(made.body))
    assert made.notes == [] or (len(made.notes) == 1 and "shmem_enabled" in made.notes[0]), made.notes
    giant = shared.create("a.b", "ring", RECORD, RECORDS, backing=Backing(huge_bytes=GIANT_BYTES))
    assert "tmpfs has 2 MiB at most" in giant.notes[0]


def test_huge_pages_are_mapped_where_the_file_system_gives_them(huge: Path) -> None:
    """18 MiB and a header: nine huge pages, and what is over on small ones."""
    made = shared.create(NAME, "ring", RECORD, 9 << 15, backing=Backing(huge_bytes=HUGE_BYTES))
    if made.notes and "of 18 MiB are on them" in made.notes[0]:
        pytest.skip("no free memory in one piece")
    assert made.notes == [] and shared.attach(NAME).header == made.header


def test_a_node_that_is_not_there_is_a_note() -> None:
    (note,) = make(backing=Backing(node=1000)).notes
    assert note.startswith("NUMA node 1000: ") and note.endswith("memory comes from anywhere")
    if pages.NODES.exists():
        assert make("a.b", backing=Backing(node=0)).notes == []


def test_an_old_kernel_takes_the_pages_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(mmap.mmap):
        def madvise(self, *_: Any) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Old)
    made = make()
    assert len(made.notes) == 1 and made.notes[0].startswith("prefault: ")
    made.body[:] = bytes(len(made.body))
