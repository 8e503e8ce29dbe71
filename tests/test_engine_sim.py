"""The real engine in the simulated world: its inputs through a journal on a disk that fails, into a stream that does.

`test_full_sim` with a compiled engine in the place of the stand-in, for a few seeds: a day passes in pieces, journal
and shipper are killed, the power is cut. What the disk has then is put into a real folder, where the real replay,
follower and projector must make of it what `ultra chaos` demands of a run that was killed: the undisturbed engine at
that input, and the plain fold of its records.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from runs import EAGER, IMBALANCE, market
from sim_readers import FOLDER, Shipper
from sim_world import World, Writer

from ultra import strategy
from ultra.cold import assembly, delivery, drive, frames, segment, shipment
from ultra.cold import journal as journals
from ultra.cold.follower import Follower
from ultra.config import Config, load
from ultra.hot import engine as engines
from ultra.hot import ring as rings
from ultra.ops import session
from ultra.ops.proofs import Reference, Witness, proven, reference
from ultra.wire import JOURNAL_DURABLE, RECORD, SOURCE

MESSAGES, SEEDS, RING = 1300, 3, 256
KEYS = {
    "engine.instrument_max": 8, "engine.order_live_max": 1024, "engine.level_page_max": 256, "engine.own_order_max": 64,
    "engine.prefault": False, "engine.checkpoint_records": 1000, "journal.segment_bytes": 1 << 20, **EAGER,
}  # fmt: skip
END_STEPS = 4000


class Ended(BaseException):
    """The power is cut: the history ends here."""


class Keeper:
    """The engine's end of a journal whose process is the world's."""

    def __init__(self, world: "RealWorld") -> None:
        self._world = world
        self.memory = bytearray(rings.size_bytes(RECORD, RING))
        self.ring, self.tap = rings.over(self.memory, RECORD, RING), journals.Tap(self.memory, RING)
        self.segment = SimpleNamespace(header=SimpleNamespace(name=""), notes=[])
        self.lost = ""

    @property
    def durable(self) -> int:
        return int(self.ring.cells[JOURNAL_DURABLE])

    def check(self) -> None:
        """It is killed, and comes back; it does not fail."""

    def hurry(self) -> None:
        self.wait_room()

    def wait_room(self) -> None:
        self._world.turn("journal")


class RealWorld(World):
    """With the engine that trades; it does not die before all do."""

    def __init__(self, seed: int, config: Config, source: Path) -> None:
        super().__init__(seed)
        loaded = strategy.load(IMBALANCE)
        self.segment_bytes, self.retires = 1 << 14, False
        self.keeper = Keeper(self)
        machine = assembly.assemble(config, loaded, [self.keeper.ring])
        self.drive = drive.Drive(machine, [self.keeper], drive.Outcome(machine, FOLDER, str(source)))
        self.about = drive.describe(config, loaded, source)
        self.engine = SimpleNamespace(tap=self.keeper.tap)
        self.writer = Writer(self)

    def meanwhile(self) -> None:
        self.now += int(self.rand() * 2_000_000)

    def turn(self, who: str) -> None:
        """One step of a process, which may be its last."""
        if self.rand() < 0.1:
            self.disk.cut_after, self.power = int(self.rand() * 12), self.rand() < 0.15
        self.guarded(self.actor(who), who)
        self.disk.cut_after = 1 << 60

    def power_cut(self) -> None:
        self.disk = self.disk.powered_again()
        raise Ended

    def engine_dies(self) -> None:
        raise AssertionError("nobody asked for that")


def play(world: RealWorld, source: Path) -> None:
    """The day, in pieces; Ended when the power is cut before its end."""
    run = world.drive.machine.run

    def take(buffer: Any, stop: int) -> int:
        at, before = 0, -1
        while at != before:  # what is left is no whole message
            before = at
            at = world.drive.pump(buffer, at, min(stop, at + 100 + int(world.rand() * 6000)))
            for _ in range(int(world.rand() * 4)):
                others(world)
        return at

    def mark(block: Any) -> None:
        first, second = assembly.hash_words(block.sha256[:32])
        now = int(run.engine.cells[engines.NOW])
        assembly.command(
            run, kind=SOURCE, ts_event=now, ts_recv=now, price=block.file_offset, aux=first, order_id=second
        )

    world.turn("journal")
    assembly.introduce(world.drive.machine)
    world.drive.pump(drive.NOTHING, 0, 0)
    frames.Frames(source, world.drive.machine.config.feed.chunk_bytes).play(take, mark, lambda: False)
    world.drive.finish()


def others(world: RealWorld) -> None:
    """The journal or the shipper has a turn, or the network has a bad moment."""
    world.now += int(world.rand() * 3_000_000)
    world.turn(world.dice.choice(("journal", "shipper")))
    if world.rand() < 0.05:
        world.dice.choice((world.net.cut, lambda: world.net.lose_leader(world.now)))()


@pytest.fixture(scope="module", params=["full", "reference"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Reference, Config, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    source = folder / "day.itch50"
    source.write_bytes(market(MESSAGES))
    config = load(None, {**KEYS, "journal.market_data": request.param})
    found = session.run(config, source, IMBALANCE, folder / "journal").summary
    return reference(folder / "journal", found), config, source


@pytest.mark.jit_only
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_real_engine_comes_out_of_whatever_fails(
    undisturbed: tuple[Reference, Config, Path], tmp_path: Path, seed: int
) -> None:
    wanted, config, source = undisturbed
    world = RealWorld(seed, config, source)
    world.net = type(world.net)(world.dice, always=True)  # a stream that keeps what it acks
    world.shipper = Shipper(world, world.shipper.cursor)
    try:
        play(world, source)
    except Ended:
        world.met.add("power cut")
        world.keeper.ring.cells[:] = 0  # memory is gone with it
    world.power = False
    world.writer = Writer(world)  # somebody starts it again, and it says what is there
    world.writer.finish()
    folder = tmp_path / "journal"
    folder.mkdir()
    for name, file in world.disk.files.items():
        (folder / name).write_bytes(bytes(file.now))
    least = world.acked if "power cut" in world.met else wanted.inputs
    Follower(folder, every=500, keep=2, once=True).play()
    witness = Witness(folder, wanted)
    assert list(proven(witness, wanted, folder, tmp_path / "tables.db", least)) == []
    witness.close()
    ship_all(world)


def ship_all(world: RealWorld) -> None:
    """Once nothing fails any more the stream is the journal, record for record."""
    world.net.calm()
    world.shipper = Shipper(world, world.shipper.cursor)
    records = b"".join(frame.payload for frame in world.frames() if frame.kind == segment.RECORDS)
    through = max((frame.through for frame in world.frames()), default=0)
    for _ in range(END_STEPS):
        world.shipper.step(flush=True)
        if world.shipper.alarm == shipment.FENCED:  # by a late message of one of those that were killed
            world.shipper = Shipper(world, world.shipper.cursor)
        ship = world.shipper.ship
        if not world.frames() or (ship is not None and ship.is_drained and ship.cursor.through == through):
            break
        due = [at for at in (ship.due() if ship else -1, world.net.next_due()) if at > world.now]
        world.now = min([world.now + 1_000_000_000, *due])
    assert world.shipper.alarm == "", world.shipper.ship
    reader = delivery.Delivery("the stream")
    found = [reader.take(at, stored.payload) for at, stored in enumerate(world.net.stream, 1)]
    assert b"".join(np.ascontiguousarray(one.records).tobytes() for one in found if one is not None) == records
    assert reader.through == through
