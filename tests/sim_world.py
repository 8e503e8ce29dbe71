"""Engine, journal, follower, projector and shipper in one thread, on a disk and a network that fail, by dice.

Each is an actor with one verb, `step`; what it does on files goes through `sim_disk`, what it sends through `sim_net`,
and the time is `World.now`. The journal's process, its reading, snapshots as files, the rule by which projections are
trusted, and the shipper's head are the product's own code; the engine is `sim_engine`. While a write or a sync takes
its time the others go on. A power cut inside a call of the disk ends one process, or all of them.
"""

import random
from collections.abc import Callable

from sim_disk import PowerCut, SimDisk
from sim_engine import EVERY, INPUTS, KINDS, MARKET, SPARE, Toy, replay, restored, row
from sim_net import MS, Net
from sim_readers import CAPACITY, FOLDER, Follower, Projector, Shipper, newest

from ultra.cold import image as images
from ultra.cold import journal as journals
from ultra.cold import segment
from ultra.cold.segment import META, RECORDS, Frame
from ultra.cold.shipment import Cursor, Limits
from ultra.wire import ADD, JOURNAL_DURABLE, JOURNAL_PROCESSED, RING_CELLS, RING_CURSOR, RING_GATE

MEMORY = bytearray(RING_CELLS * 8 + CAPACITY * 64)
RUN: dict[str, object] = {"run": "simulated"}
LIMITS = Limits(
    records_max=6, window=4, linger_ns=MS, ack_ns=20 * MS, retry_ns=2 * MS, retry_max_ns=16 * MS, doubt_ns=30 * MS
)


class Engine:
    """Numbers inputs and puts them into the journal's ring, as the loop does."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.tap = journals.Tap(MEMORY, CAPACITY)
        self.full = world.rand() < 0.5  # whether market data is journaled too
        self.life, self.hashes = 0, [Toy().digest()]  # [n]: after n inputs
        self.published: list[tuple[int, bytes]] = []
        self.comes_back(Toy())

    def comes_back(self, toy: Toy) -> None:
        """In this state, on a ring that is new. What was known of inputs behind it is forgotten."""
        assert toy.digest() == self.hashes[toy.next], "recovered as another engine"
        for cell in (RING_CURSOR, RING_GATE, JOURNAL_PROCESSED, JOURNAL_DURABLE):
            self.tap.cells.store_release(cell, 0)
        self.toy, self.life = toy, self.life + 1
        del self.hashes[toy.next + 1 :]
        self.published = [each for each in self.published if each[0] < toy.next]

    def step(self, most: int = INPUTS) -> None:
        cells, toy, rand = self.tap.cells, self.toy, self.world.rand
        room = CAPACITY - cells.load_acquire(RING_CURSOR) + cells.load_acquire(RING_GATE)
        for _ in range(int(rand() * 7)):
            if toy.next >= most or room == 0:
                break
            room -= self._take(toy)
        if rand() < 0.7:
            cells.store_release(JOURNAL_PROCESSED, toy.next)

    def finish(self) -> None:
        """The last inputs, and that all of them are known."""
        self.step(INPUTS + SPARE)
        self.tap.cells.store_release(JOURNAL_PROCESSED, self.toy.next)

    def _take(self, toy: Toy) -> int:
        """One input; how many slots it took."""
        kind = KIND_AT[toy.next]
        record = toy.checkpoint() if not kind else MARKET[toy.next] if kind == ADD else row(kind, toy.next, self.life)
        kept = self.full or kind != ADD
        if kept:
            cursor = self.tap.cells.load_acquire(RING_CURSOR)
            at = RING_CELLS * 8 + cursor % CAPACITY * 64
            MEMORY[at : at + 64] = record
            self.published.append((toy.next, record))
            self.tap.cells.store_release(RING_CURSOR, cursor + 1)
        toy.step(record)
        self.hashes.append(toy.digest())
        return int(kept)


# Of each input; 0 is a checkpoint.
KIND_AT = [0 if at % EVERY == EVERY - 1 else KINDS[at * 7 % len(KINDS)] for at in range(INPUTS + SPARE)]


class Writer:
    """The journal's process."""

    def __init__(self, world: "World") -> None:
        self.world, self.journal = world, None
        self.batch = 1 + int(world.rand() * 5)

    def step(self) -> None:
        world = self.world
        tap = world.engine.tap
        if self.journal is None:
            resume = segment.is_used(FOLDER, world.disk)
            self.journal = journals.Journal(FOLDER, segment_bytes=world.segment_bytes, resume=resume, disk=world.disk)
            journals.begin(tap, self.journal, world.about)
        elif not journals.turn(tap, self.journal, self.batch) and world.rand() < 0.5:
            self.journal.settle()
        world.acked = max(world.acked, tap.cells.load_acquire(JOURNAL_DURABLE))

    def finish(self) -> None:
        """All that the ring holds, and the end."""
        if self.journal is None:
            self.step()
        assert self.journal is not None
        while journals.turn(self.world.engine.tap, self.journal, 4):
            pass
        self.journal.close()
        self.world.acked = max(self.world.acked, self.world.engine.tap.cells.load_acquire(JOURNAL_DURABLE))


class World:
    """One history: its dice, its time, and who is in it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.rand = self.dice.random
        self.now, self.about = 0, RUN
        self.disk = SimDisk(self.dice)
        self.segment_bytes = (448, 1024, 4096)[int(self.rand() * 3)]
        self.acked = 0  # what the journal called durable
        self.taken: dict[int, str] = {}  # snapshots whose writer was told that they are there
        self.writers = 0
        self.limits = LIMITS._replace(partitions=1 + int(self.rand() * 2), packed=False)
        self.net = Net(self.dice, always=self.rand() < 0.5)
        self.engine = Engine(self)
        self.writer, self.follower, self.projector = Writer(self), Follower(self), Projector(self)
        self.shipper = Shipper(self, Cursor())
        self.rival: Shipper | None = None  # another one on the same stream, by mistake
        self.met: set[str] = set()  # what befell it
        self._read: tuple[SimDisk, int, list[Frame]] = (self.disk, -1, [])
        self.base = 0  # number of the first frame that is read: those before it were retired
        self.retires = self.rand() < 0.25
        self.active: set[str] = set()
        self.power = False  # a cut is one of the power

    # ---- who goes on, and what happens to it

    def guarded(self, act: Callable[[], None], who: str) -> None:
        """One step; a cut inside it ends that process, or all. A disk that fails ends the journal for this life."""
        self.active.add(who)
        self.disk.meanwhile = self.meanwhile
        try:
            act()
        except PowerCut:
            self.disk.cut_after = 1 << 60
            if self.power:
                self.power_cut()
            else:
                self.met.add(f"killed {who}")
                self.kill(who)
        except OSError as error:
            self.met.add(str(error.strerror))
            self.disk.fail_after = 1 << 60
            self.all_stop()
        finally:
            self.active.clear()
            self.disk.meanwhile = None

    def meanwhile(self) -> None:
        """While the disk works: time passes, sometimes a second, and the others go on."""
        disk = self.disk
        disk.meanwhile = None
        self.now += int(self.rand() * (1000 * MS if self.rand() < 0.05 else MS))
        cut, fail = disk.cut_after, disk.fail_after
        disk.cut_after = disk.fail_after = 1 << 60
        who = self.dice.choice(("engine", "engine", "projector", "follower", "journal"))
        if who not in self.active:
            self.active.add(who)
            self.actor(who)()
            self.active.discard(who)
        disk.cut_after, disk.fail_after, disk.meanwhile = cut, fail, self.meanwhile

    def frames(self) -> list[Frame]:
        """The journal as it is read now."""
        if self._read[:2] != (self.disk, self.disk.changes):
            used = segment.is_used(FOLDER, self.disk)
            self._read = (self.disk, self.disk.changes, list(segment.read(FOLDER, self.disk)) if used else [])
            gone = segment.retired(self.disk) if used else None
            self.base = gone.frames - 1 if gone is not None else 0
        return self._read[2]

    def actor(self, who: str) -> Callable[[], None]:
        """What it does when it is its turn."""
        actors = {"engine": self.engine, "journal": self.writer, "follower": self.follower,
                  "projector": self.projector, "shipper": self.shipper}  # fmt: skip
        return actors[who].step

    def kill(self, who: str) -> None:
        """kill -9 of one process. What only it had is gone."""
        if who == "journal":
            self.writer = Writer(self)
        elif who == "follower":
            self.follower = Follower(self)
        elif who == "projector":
            self.projector.started = False
        elif who == "shipper":
            self.shipper = Shipper(self, self.shipper.cursor)
            self.net.cut()
        else:
            self.engine_dies()

    def engine_dies(self) -> None:
        """Its journal writes what the ring holds; a new engine is made of that. Nothing published is lost."""
        self.writer.finish()
        self.writer = Writer(self)
        toy = self.recovered(self.disk)
        kept = [sequence for sequence, _ in self.engine.published]
        assert toy.next > max(kept, default=-1), "what was in memory is lost with the engine"
        self.engine.comes_back(toy)

    def all_stop(self) -> None:
        """The journal failed: the run ends, somebody sees to the disk, all begin again on what is there."""
        toy = self.recovered(self.disk)
        assert toy.next >= self.acked, f"{self.acked} inputs were durable, {toy.next} are there"
        self.engine.comes_back(toy)
        self.writer, self.follower = Writer(self), Follower(self)
        self.projector.started = False

    def power_cut(self) -> None:
        """All of them end, and the disk has what it must."""
        self.met.add("power cut")
        self.disk = self.disk.powered_again()
        self.projector.power_cut()
        self.shipper = Shipper(self, self.shipper.cursor)
        self.net.cut()
        for sequence, digest in self.taken.items():
            toy = restored(images.read(images.path_of(FOLDER, sequence), self.disk))
            assert toy.digest() == digest, "a snapshot that was there is another"
        self.all_stop()

    def recovered(self, disk: SimDisk) -> Toy:
        """The engine that the files give, from their start and from the newest snapshot: one and the same."""
        frames = self.frames()
        if not frames:
            return Toy()
        fast, skipped = newest(disk, self)
        assert not skipped, skipped
        assert fast.next <= max(frame.through for frame in frames), "a snapshot is ahead of its journal"
        assert not self.base or fast.next >= frames[0].through, "retired, and no snapshot has it"
        replay(fast, frames)
        if not self.base:
            whole = Toy()
            replay(whole, frames)
            assert fast.packed() == whole.packed(), "another engine from a snapshot"
        self.compare(frames)
        return fast

    def compare(self, frames: list[Frame]) -> None:
        """The records are those that were sent, in order, up to where the journal ends."""
        found = b"".join(frame.payload for frame in frames if frame.kind == RECORDS)
        through = max((frame.through for frame in frames), default=0)
        begun = frames[0].through if self.base else 0
        wanted = b"".join(record for sequence, record in self.engine.published if begun <= sequence < through)
        assert found == wanted, "other records than were sent"
        assert not frames or frames[0].kind == META
