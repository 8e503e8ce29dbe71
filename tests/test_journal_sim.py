"""The journal against a disk that fails: nothing that was called durable is lost, and nothing is told that was not.

One seed is one history: records come, are written and synced, the disk grows full or its sync fails, the process is
killed or the power cut at any call, it comes back, perhaps twice. `ultra.cold.journal` runs as it does in production,
on `sim_disk`. After every end the journal is read: without damage it must read (no false alarm), give every record
below what was acknowledged, and no other. Then a bit or a sector rots: it must refuse, or give at least what it can
prove.
A red seed says its number: `trial(seed)` in a debugger is that history again.
"""

import random
import secrets
from collections import Counter
from pathlib import Path

import pytest
from sim_disk import PowerCut, SimDisk, checksums_of_any_kind

from ultra.cold import journal as journals
from ultra.cold import segment, superblock
from ultra.cold.segment import JournalError
from ultra.wire import JOURNAL_DURABLE, JOURNAL_PROCESSED, RING_CELLS, RING_CURSOR, RING_GATE

FOLDER, CAPACITY, SEEDS = Path("sim"), 16, 100_000
MEMORY = bytearray(RING_CELLS * 8 + CAPACITY * 64)
RECORDS = [bytes([k]) * 8 + k.to_bytes(8, "little") + bytes([255 - k]) * 48 for k in range(256)]
DICE = random.Random()


@pytest.fixture(autouse=True, scope="module")
def as_it_was():
    yield from checksums_of_any_kind(journals, segment, superblock)


class World:
    """The ring, and what the engine knows."""

    def __init__(self) -> None:
        self.tap = journals.Tap(MEMORY, CAPACITY)
        self.published: list[int] = []  # sequences of records
        self.next = 0  # sequence; not every input is a record
        self.acked = 0  # what the journal called durable
        self.proven = 0  # what it can still prove, whatever rots
        self.gate = 0  # slots given back when somebody last published
        self.restart(0)

    def restart(self, through: int) -> None:
        """A new engine, with what was recovered."""
        for cell in (RING_CURSOR, RING_GATE, JOURNAL_PROCESSED, JOURNAL_DURABLE):
            self.tap.cells.store_release(cell, 0)
        self.published = [sequence for sequence in self.published if sequence < through]
        self.next, self.gate = through, 0

    def publish(self) -> None:
        cells, rand = self.tap.cells, DICE.random
        if self.next > 240:
            return
        self.gate = cells.load_acquire(RING_GATE)  # slots below it may be filled again from now on
        cursor = cells.load_acquire(RING_CURSOR)
        for _ in range(min(int(rand() * 5), CAPACITY - cursor + cells.load_acquire(RING_GATE))):
            self.next += int(rand() * 1.5)  # an input that is only referred to
            at = RING_CELLS * 8 + cursor % CAPACITY * 64
            MEMORY[at : at + 64] = RECORDS[self.next]
            self.published.append(self.next)
            self.next += 1
            cursor += 1
        cells.store_release(RING_CURSOR, cursor)
        if rand() < 0.5:
            self.next += int(rand() * 2)
            cells.store_release(JOURNAL_PROCESSED, self.next)

    def live(self, disk: SimDisk, segment_bytes: int, resume: bool) -> None:
        """One life of the journal's process; in some the engine goes on while it waits for the disk."""
        disk.meanwhile = self.publish if DICE.random() < 0.4 else None
        journal = journals.Journal(FOLDER, segment_bytes=segment_bytes, resume=resume, disk=disk)
        if resume:
            self.proven = max(self.proven, journal.durable)
        journals.begin(self.tap, journal, {})
        self.note()
        for _ in range(int(DICE.random() * 5)):
            self.publish()
            before, frames = journal.durable, journal._frame_index
            if journals.turn(self.tap, journal, 1 + int(DICE.random() * 4)):
                self.note()
                if journal._frame_index > frames:  # the first of them says it, and is on disk
                    self.proven = max(self.proven, before)
            elif DICE.random() < 0.5:
                journal.settle()
                self.proven = max(self.proven, journal.durable)
        if DICE.random() < 0.2:
            disk.meanwhile = None
            while journals.turn(self.tap, journal, 4):
                self.note()
            journal.close()
            self.proven = self.acked

    def killed(self) -> None:
        """Perhaps before the last slots that were written were given back."""
        cells = self.tap.cells
        gate = cells.load_acquire(RING_GATE)
        cells.store_release(RING_GATE, gate - int(DICE.random() * (gate - self.gate + 1)))

    def note(self) -> None:
        self.acked = max(self.acked, self.tap.cells.load_acquire(JOURNAL_DURABLE))


def recovered(disk: SimDisk) -> tuple[list[int], int]:
    """Sequences of what is read, each held against what was sent; and how far all is known."""
    found, through = [], 0
    if not any(name.startswith("segment") for name in disk.files):
        return found, 0
    for frame in segment.read(FOLDER, disk):
        assert frame.durable <= through <= frame.through <= 256, "a header that nobody wrote"
        through = frame.through
        if frame.kind == segment.RECORDS:
            said = (frame.first, frame.count, through)
            assert said == (frame.payload[8], len(frame.payload) // 64, frame.payload[-56] + 1), "another header"
            for at in range(0, len(frame.payload), 64):
                sequence = frame.payload[at + 8]
                assert frame.payload[at : at + 64] == RECORDS[sequence], "a record that nobody sent"
                found.append(sequence)
    return found, through


def assert_holds(world: World, disk: SimDisk, least: int) -> tuple[list[int], int]:
    found, through = recovered(disk)
    assert found == world.published[: len(found)], "other records, or in another order"
    assert len(found) == len(world.published) or world.published[len(found)] >= through, "a record is missing"
    assert through >= least, f"lost: {least} was durable, {through} is there"
    return found, through


def trial(seed: int) -> str:
    """One history; what became of it."""
    DICE.seed(seed)
    secrets.token_bytes = DICE.randbytes  # the journal's id, too; put back by the fixture
    rand, world, disk = DICE.random, World(), SimDisk(DICE)
    segment_bytes = (256, 448, 1024)[int(rand() * 3)]
    end = ""
    for life in range(1 + int(rand() * 2.5)):
        if rand() < 0.7:
            disk.cut_after = int(rand() * 50)
        if rand() < 0.2:
            disk.fail_after = int(rand() * 50)
        try:
            world.live(disk, segment_bytes, resume=life > 0)
            end = "ended"
        except PowerCut:
            end = "cut"
        except OSError as error:
            end = error.strerror
        world.note()
        if rand() < 0.4:
            disk = disk.killed()
            if end == "cut":
                world.killed()
            assert_holds(world, disk, world.acked)
        else:
            disk = disk.powered_again()
            world.restart(assert_holds(world, disk, world.acked)[1])
    if rand() < 0.6 and disk.files:
        end = rotten(world, disk, world.proven)
    return end


def rotten(world: World, disk: SimDisk, proven: int) -> str:
    before = recovered(disk)
    disk.rot()
    try:
        after = assert_holds(world, disk, proven)
    except JournalError:
        return "refused"
    return "harmless" if after == before else "undecided"


def play(seeds: range) -> Counter[str]:
    ends: Counter[str] = Counter()
    for seed in seeds:
        try:
            ends[trial(seed)] += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return ends


def test_no_seed_loses_what_was_durable_or_invents_what_was_not() -> None:
    ends = play(range(2000))
    assert len(ends) == 7, f"some fate was never met: {ends}"


@pytest.mark.slow
def test_no_seed_of_very_many_does() -> None:
    assert sum(play(range(2000, 2000 + SEEDS)).values()) == SEEDS
