"""Those who read the journal in a simulated world: the follower, the projector and the shipper, an actor each.

A follower replays and takes snapshots, each only of what the journal calls durable. A projector commits its tables
together with their sequence and chain, and trusts them by the product's own rule. A shipper ships no more than that,
as the product's head says. What of them is only memory is gone when they are killed.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sim_disk import SimDisk
from sim_engine import Plain, Toy, replay, restored
from sim_net import LinkError

from ultra.cold import image as images
from ultra.cold import projector, retention, segment
from ultra.cold.segment import META, RECORDS, Frame
from ultra.cold.shipment import LOOK, SHIP, Cursor, Shipment
from ultra.wire import RECORD

if TYPE_CHECKING:
    from sim_world import World

FOLDER, CAPACITY = Path("sim"), 16
KEEP = 2


class Follower:
    """A second engine on the journal, which takes the snapshots."""

    def __init__(self, world: "World") -> None:
        self.world, self.toy, self.due = world, None, 0
        self.agreed = 0

    def step(self) -> None:
        world = self.world
        if not segment.is_used(FOLDER, world.disk):
            return
        if self.toy is None:
            images.sweep(FOLDER, world.disk)
            self.toy, _ = newest(world.disk, world)
            self.due = self.toy.next + 8
        frames = world.frames()
        self.agreed += replay(self.toy, frames)
        if self.toy.next >= self.due and segment.vouched(segment.witness(world.disk), self.toy.next):
            self.due = self.toy.next + 5 + int(world.rand() * 20)
            if world.rand() < 0.1:
                world.disk.fail_after = int(world.rand() * 8)
            try:
                images.write(FOLDER, self.toy.image(frames_id(world.disk)), world.disk)
            except images.ImageError:
                return  # no room, or the disk failed: the older ones are as they were
            finally:
                world.disk.fail_after = 1 << 60
            world.taken[self.toy.next] = self.toy.digest()
            for old in images.snapshots(FOLDER, self.toy.next, world.disk)[KEEP:]:
                world.disk.unlink(old.name)
                world.taken.pop(images.sequence_of(old), None)
            if world.retires:
                oldest = images.sequence_of(images.snapshots(FOLDER, self.toy.next, world.disk)[-1])
                if retention.retire(FOLDER, world.disk, min(oldest, world.shipper.kept)):
                    world.met.add("retired")


def frames_id(disk: SimDisk) -> bytes:
    _, name = segment.segment_names(FOLDER, disk)[0]
    return segment.read_head(disk.read(name), name, -1).journal_id


def newest(disk: SimDisk, world: "World") -> tuple[Toy, list[str]]:
    """The state of the newest good snapshot, and why newer ones were passed over."""
    skipped, through = [], max((frame.through for frame in world.frames()), default=0)
    for path in images.snapshots(FOLDER, 1 << 60, disk):
        try:
            image = images.read(path, disk)
            if image.journal_id != frames_id(disk) or image.sequence > through:
                raise images.ImageError(f"{path} is of {image.sequence} inputs, the journal has {through}")
            return restored(image), skipped
        except images.ImageError as error:
            skipped.append(str(error))
    return Toy(), skipped


class Projector:
    """Tables that are committed together with their sequence and chain."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.commits: list[tuple[int, int, Plain]] = [(0, 0, Plain())]
        self.started = self.refused = False  # refused: what it needs was retired
        self.taken = self.chain = 0  # frames that it is through with, and their chain

    def step(self, all_of_it: bool = False) -> None:
        frames, base = self.world.frames(), self.world.base
        if not frames or self.refused:
            return
        if not self.started:
            self._start(frames)
        if self.refused or self.taken < base:
            self.refused = True
            return
        sequence, _, committed = self.commits[-1]
        most = len(frames) if all_of_it else int(self.world.rand() * (len(frames) + 1))
        plain, taken, chain, through = copied(committed), self.taken, self.chain, sequence
        for frame in frames[self.taken - base : most]:
            taken, chain, through = taken + 1, projector.chained(chain, frame), max(through, frame.through)
            if frame.kind == RECORDS and frame.through > sequence:
                plain.take(frame.payload if frame.first >= sequence else behind(frame, sequence))
        if all_of_it or self.world.rand() < 0.8:  # else it dies before the commit
            self.taken, self.chain = taken, chain
            if through > sequence:
                self.commits.append((through, chain, plain))

    def _start(self, frames: list[Frame]) -> None:
        """Where its last commit was, if the journal still says what it said then; else at the beginning."""
        if self.world.base:
            self.refused = True
            return
        sequence, chain, _ = self.commits[-1]
        if not projector.agrees(iter(frames), sequence, chain):
            self.commits = [(0, 0, Plain())]
        self.taken = self.chain = 0
        while self.commits[-1][0] and (self.chain != chain or frames[self.taken - 1].through != sequence):
            self.chain = projector.chained(self.chain, frames[self.taken])
            self.taken += 1
        self.started = True

    def power_cut(self) -> None:
        """The database is that of one of the last commits."""
        back = int(self.world.rand() * min(3, len(self.commits)))
        del self.commits[len(self.commits) - back :]
        self.started = False


def copied(plain: Plain) -> Plain:
    found = Plain()
    found.rows, found.position = list(plain.rows), dict(plain.position)
    return found


def behind(frame: Frame, sequence: int) -> bytes:
    return b"".join(frame.payload[at : at + 64] for at in range(0, len(frame.payload), 64)
                    if int.from_bytes(frame.payload[at + 8 : at + 16], "little") >= sequence)  # fmt: skip


class Shipper:
    """The shipper's process: reads the journal, makes sure of it, and sends what the head says."""

    def __init__(self, world: "World", cursor: Cursor, resend: bool = False) -> None:
        self.world, self.link, self.at = world, 0, 0
        self.ship: Shipment | None = None
        self.cursor, self.resend = cursor, resend
        self.kept = 0  # inputs from here on are kept: the stream's last stretch begins there or later
        world.writers += 1
        self.writer = world.writers

    def step(self, flush: bool = False) -> None:
        world = self.world
        frames = self._durable()
        if not frames:
            return
        if self.ship is None:
            self.ship = Shipment(
                frames_id(world.disk), "S", frames[0].payload, self.writer, limits=world.limits, cursor=self.cursor,
                resend=self.resend,
            )  # fmt: skip
        ship, now = self.ship, world.now
        if ship.state == LOOK and now >= ship.due():
            self._look(frames)
        if ship.state == SHIP:
            self._put(frames)
            while (message := ship.take(now, flush)) is not None:
                world.net.send(self.link, message, now)
            self._hear()
            ship.tick(now)
        ship.check_self()
        if world.rand() < 0.3 and ship.cursor.through > self.cursor.through:  # written down
            self.kept, self.cursor = self.cursor.through, ship.cursor

    def _durable(self) -> list[Frame]:
        """What the journal holds, and says itself that it goes on to hold."""
        if not self.world.frames():
            return []
        commit = segment.witness(self.world.disk)  # before the frames, as `outbound` does it
        reach = commit.through if commit is not None else -1
        return [frame for frame in self.world.frames() if frame.through <= reach]

    def _look(self, frames: list[Frame]) -> None:
        ship, world = self.ship, self.world
        assert ship is not None
        try:
            self.link = world.net.connect(world.now)
            seen = world.net.seen(self.link, world.now)
        except LinkError:
            ship.lost("nobody answers", world.now)
            return
        reach = max(frame.through for frame in world.frames())  # durable or not
        self.at = ship.look(seen, reach, world.now)

    def _put(self, frames: list[Frame]) -> None:
        ship, through = self.ship, 0
        assert ship is not None
        for frame in frames:
            before, through = through, max(through, frame.through)
            if through <= self.at or through == before:
                continue
            if frame.kind == META:  # it stands for what was retired
                ship.put(through, np.zeros(0, RECORD), through, self.world.now)
                self.at = through
                continue
            if ship.room < CAPACITY:
                break
            records = np.frombuffer(frame.payload, RECORD) if frame.kind == RECORDS else np.zeros(0, RECORD)
            ship.put(before, records, through, self.world.now)
            self.at = through

    def _hear(self) -> None:
        ship, world = self.ship, self.world
        assert ship is not None
        for answer in world.net.answers(self.link, world.now):
            if answer.code:
                ship.refused(answer.message, answer.code, "refused", world.now)
            else:
                ship.acked(answer.message, answer.sequence, answer.duplicate, world.now)

    def check(self) -> None:
        """Now and then it looks whether the stream is still what it was."""
        if self.ship is not None and self.ship.state == SHIP:
            try:
                self.ship.check(self.world.net.seen(self.link, self.world.now))
            except LinkError:
                self.ship.lost("nobody answers", self.world.now)

    @property
    def alarm(self) -> str:
        return self.ship.alarm if self.ship is not None else ""
