"""Shared segments: whose they are, what lies in them, what is refused.

Owners that die are processes of their own, killed. Damage is planted in the file, one thing at a time, with the
checksum made good again where the checksum is not the thing.
"""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import environment

from ultra.cold import shared
from ultra.cold.shared import HEADER_BYTES, SharedError
from ultra.hot import ring as rings
from ultra.wire import RECORD, REQUEST, RING_CELLS

NAME, RECORDS = "desk.journal", 64
OTHER = np.dtype([("kind", "i8"), ("price", "i8"), ("rest", "i8"), ("more", "f8")])
WRITER = str(Path(__file__).with_name("shared_writer.py"))
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(autouse=True)
def folder(shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty one for each test, in memory."""
    place = shared_folder / tmp_path.name
    place.mkdir()
    monkeypatch.setenv("ULTRA_SHM_DIR", str(place))
    yield place


def make(name: str = NAME, **more: Any) -> shared.Segment:
    return shared.create(name, "ring", RECORD, RECORDS, **more)


def path() -> Path:
    return shared.path_of(NAME)


class Owner:
    """A process that owns a segment and publishes nothing."""

    def __init__(self, name: str = NAME) -> None:
        self.process = subprocess.Popen(
            [sys.executable, WRITER, name, "64", "0", "0", "0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        assert self.process.stdout is not None and self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """kill -9, and not waited for: it is a zombie until `end`."""
        self.process.kill()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def owner() -> Iterator[Owner]:
    made = Owner()
    yield made
    made.end()


# ---- made, found, mapped


def test_a_segment_holds_a_ring_that_both_sides_see() -> None:
    made = make(batch_max=7)
    assert stat.S_IMODE(path().stat().st_mode) == 0o600 and made.notes == []
    ring = rings.over(made.body, RECORD, RECORDS)
    ring.slots[0].price = 1234
    ring.cells[rings.CURSOR] = 1
    other = shared.attach(NAME, kind="ring", dtype=RECORD, writable=True)
    theirs = rings.over(other.body, RECORD, other.header.capacity)
    theirs.cells[rings.GATE] = 1
    assert theirs.slots[0].price == 1234 and int(ring.cells[rings.GATE]) == 1
    assert other.header == made.header and other.header.dtype() == RECORD
    assert other.header.total_bytes == path().stat().st_size == 4096 * -(-(4096 + 1024 + 64 * RECORDS) // 4096)
    assert (other.header.pid, other.header.epoch, other.header.batch_max) == (os.getpid(), 1, 7)


def test_what_over_needs_is_what_there_is() -> None:
    """`ultra.cold.shared` knows where a ring keeps its cells, so that watching needs no compiler."""
    kind = shared.KINDS["ring"]
    assert (kind.cells, kind.cursor, kind.gates) == (rings.CELLS, rings.CURSOR, (rings.GATE,))
    assert rings.size_bytes(RECORD, RECORDS) == kind.cells * 8 + RECORDS * RECORD.itemsize <= len(make().body)


def test_one_that_is_mapped_for_reading_can_not_be_written() -> None:
    make()
    body = shared.attach(NAME).body
    with pytest.raises(TypeError, match="read-only"):
        body[0] = 1


def test_a_removed_name_can_be_made_again_and_mappings_stay() -> None:
    made = make()
    made.body[-1] = 7
    other = shared.attach(NAME)
    assert made.remove() and not made.remove() and not path().exists()
    again = make()
    assert other.body[-1] == 7 and again.body[-1] == 0 and again.header.epoch == 1
    assert not made.remove(), "the new one is not the old one's to remove"
    assert path().exists()


def test_a_nameless_one_is_handed_on_by_its_descriptor() -> None:
    made = shared.create_nameless("ring", REQUEST, RECORDS)
    made.body[-1] = 9
    other = shared.attach_handle(made.handle, kind="ring", dtype=REQUEST)
    assert other.body[-1] == 9 and shared.found() == [] and not made.remove()


def test_of_many_who_want_a_name_one_gets_it() -> None:
    start, outcomes = threading.Barrier(8), []

    def contend() -> None:
        start.wait()
        try:
            outcomes.append(make())
        except SharedError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=contend) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    (made,) = (found for found in outcomes if isinstance(found, shared.Segment))
    assert shared.attach(NAME).header == made.header
    assert all("choose another" in found for found in outcomes if found is not made)


def test_many_map_it_at_once() -> None:
    made, found = make(), []
    threads = [threading.Thread(target=lambda: found.append(shared.attach(NAME, dtype=RECORD))) for _ in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    made.body[-1] = 3
    assert [one.body[-1] for one in found] == [3] * 16


@pytest.mark.parametrize("name", ["", "journal", "a.b.c", "../x.y", "a/b.c", "a b.c", "a." + 65 * "b", "é.b"])
def test_a_name_is_two_words(name: str) -> None:
    with pytest.raises(SharedError, match=r"SESSION\.RING"):
        make(name)
    with pytest.raises(SharedError, match=r"SESSION\.RING"):
        shared.attach(name)


# ---- owners


def test_the_name_of_a_live_owner_is_not_taken(owner: Owner) -> None:
    with pytest.raises(SharedError, match=f"process {owner.process.pid} has it .* lives"):
        make()
    assert shared.stale() == [] and shared.clean() == [] and path().exists()


def test_the_name_of_a_dead_owner_is_taken_over_and_the_epoch_says_so(owner: Owner) -> None:
    before = shared.attach(NAME)
    owner.kill()
    assert [one.name() for one in shared.stale()] == [NAME]
    made = make()
    assert (made.header.epoch, made.header.pid) == (2, os.getpid()) and shared.stale() == []
    assert before.header.epoch == 1 and before.body[-1] == 0


def test_what_a_dead_owner_left_is_cleaned_once(owner: Owner) -> None:
    make("own.ring")
    owner.kill()
    assert shared.clean() == [NAME] and shared.clean() == []
    assert [one.name() for one in shared.found()] == ["own.ring"]


def test_a_new_process_with_an_old_number_is_not_the_owner() -> None:
    made = make()
    assert shared.alive(made.header)
    path().write_bytes(shared.pack(made.header._replace(pid_start=made.header.pid_start - 1)) + bytes(made.body))
    assert [one.name() for one in shared.stale()] == [NAME]
    assert make().header.epoch == 2


def test_a_process_that_was_never_there_has_no_start() -> None:
    assert shared.start_of(1 << 22) == 0 and not shared.alive(make().header._replace(pid=1 << 22, pid_start=0))


def test_two_who_clean_do_not_remove_what_a_third_has_made(owner: Owner) -> None:
    """One waits for the other's lock; behind it lies another segment under the same name."""
    owner.kill()
    (old,) = shared.stale()
    held = path().open("rb")
    fcntl.flock(held, fcntl.LOCK_EX)
    removed: list[list[str]] = []
    second = threading.Thread(target=lambda: removed.append(shared.clean()))
    second.start()
    os.unlink(path())  # as the first does under its lock, and a third takes the name
    made = make()
    held.close()
    second.join()
    assert removed == [[]] and shared.attach(NAME).header == made.header and old.header is not None


# ---- refused


def replanted(change: Callable[[bytearray], None]) -> Callable[[], None]:
    """Change the header page and make its checksum good again."""

    def plant() -> None:
        page = bytearray(path().read_bytes())
        change(page)
        page[HEADER_BYTES - 4 : HEADER_BYTES] = zlib.crc32(page[: HEADER_BYTES - 4]).to_bytes(4, "little")
        path().write_bytes(page)

    return plant


def flip(at: int) -> Callable[[], None]:
    def plant() -> None:
        page = bytearray(path().read_bytes())
        page[at] ^= 1
        path().write_bytes(page)

    return plant


def put(at: int, value: bytes) -> Callable[[bytearray], None]:
    def change(page: bytearray) -> None:
        page[at : at + len(value)] = value

    return change


def linked() -> None:
    path().rename(path().with_name("elsewhere"))
    path().symlink_to(path().with_name("elsewhere"))


DAMAGE = {
    "no file": (lambda: path().unlink(), "No such file"),
    "a link": (linked, "symbolic links"),
    "a folder": (lambda: (path().unlink(), path().mkdir()), "a file of user"),
    "a pipe": (lambda: (path().unlink(), os.mkfifo(path())), "a file of user"),
    "others may write": (lambda: path().chmod(0o622), "mode -rw--w--w-.*expected one that only user"),
    "cut": (lambda: os.truncate(path(), HEADER_BYTES), r"found 4,096 bytes, expected 12,288"),
    "longer": (lambda: os.truncate(path(), 1 << 20), r"found 1,048,576 bytes"),
    "empty": (lambda: os.truncate(path(), 0), "found b'' at its start"),
    "not ours": (flip(0), "at its start, expected b'ULTRASHM'"),
    "another version": (replanted(put(8, b"\x02")), "found format 2, expected format 1"),
    "bit of capacity": (flip(25), "header checksum"),
    "bit of name": (flip(125), "header checksum"),
    "bit in the empty rest": (flip(4000), "header checksum"),
    "bit of the checksum": (flip(4094), "header checksum"),
    "capacity that does not fit": (replanted(put(24, (1 << 20).to_bytes(8, "little"))), "a size of 12,288 bytes"),
    "another layout": (replanted(put(72, b"\0")), "found layout 00"),
    "another kind": (replanted(put(88, b"bond")), "found kind 'bond', expected"),
    "another name": (replanted(put(104, b"bank")), r"the segment bank\.journal, expected its own"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_not_a_whole_segment_of_ours_is_refused(what: str) -> None:
    plant, said = DAMAGE[what]
    make()
    plant()
    with pytest.raises(SharedError, match=f"^segment desk.journal: .*{said}.*; ") as caught:
        shared.attach(NAME)
    assert "found" in str(caught.value) and "expected" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("what", sorted(set(DAMAGE) - {"no file", "another name"}))
def test_a_name_that_can_not_be_judged_is_left_alone(what: str) -> None:
    make()
    DAMAGE[what][0]()
    with pytest.raises(SharedError):
        make()
    (found,) = (one for one in shared.found() if one.name() == NAME)
    assert found.header is None and found.refused.startswith("segment desk.journal: found")
    assert shared.clean() == [] and os.path.lexists(path())


@ROOT_ONLY
def test_a_strangers_segment_is_refused() -> None:
    make()
    os.chown(path(), 12345, -1)
    with pytest.raises(SharedError, match=r"found a file of user 12345, .* expected one that only user 0 can write"):
        shared.attach(NAME)
    assert shared.clean() == []


def test_another_record_or_kind_is_refused() -> None:
    make()
    for dtype in (REQUEST, OTHER):
        with pytest.raises(SharedError, match=r"found layout [0-9a-f]{32} .*expected [0-9a-f]{32} .*same version"):
            shared.attach(NAME, dtype=dtype)
    with pytest.raises(SharedError, match="found a ring, expected a fan"):
        shared.attach(NAME, kind="fan")


def test_a_layout_is_the_names_the_formats_the_offsets_the_size_the_kind_and_the_cells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layouts = [
        shared.layout_of("ring", shared.described(np.dtype(form)))
        for form in (
            [("a", "i8"), ("b", "i8")],
            [("a", "i8"), ("c", "i8")],
            [("a", "i8"), ("b", "u8")],
            {"names": ["a", "b"], "formats": ["i8", "i8"], "offsets": [8, 0]},
            {"names": ["a", "b"], "formats": ["i8", "i8"], "offsets": [0, 8], "itemsize": 64},
        )
    ]
    fields = shared.described(np.dtype([("a", "i8"), ("b", "i8")]))
    monkeypatch.setitem(shared.KINDS, "fan", shared.Kind(RING_CELLS, 0, (32,)))
    layouts.append(shared.layout_of("fan", fields))
    for kind in ((RING_CELLS, 16, (32,)), (RING_CELLS, 0, (32, 48)), (2 * RING_CELLS, 0, (32,))):
        monkeypatch.setitem(shared.KINDS, "fan", shared.Kind(*kind))
        layouts.append(shared.layout_of("fan", fields))
    assert len(set(layouts)) == len(layouts) == 9


# ---- importing


def test_watching_needs_no_compiler_and_importing_the_package_not_even_that() -> None:
    script = """
import sys, ultra
assert not any(name.startswith("ultra.cold") for name in sys.modules)
ultra.attach
assert "numba" not in sys.modules and "ultra.cold.view" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=environment())


def test_signals_do_not_leave_the_owner_behind(owner: Owner) -> None:
    owner.process.send_signal(signal.SIGSTOP)
    assert shared.stale() == [], "an owner that stands still lives"
