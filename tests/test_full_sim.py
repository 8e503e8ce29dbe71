"""Journal, snapshots, shipper and projections together, on a disk and a network that fail: one seed is one history.

After each power cut and death, and at the end, it must hold: what was acknowledged is in the journal, and nothing else;
an engine from the journal's start, and one from its newest snapshot, are the engine that was; the stream is a beginning
of the journal without hole or repetition, or an alarm was raised over what the net lost, and none over anything else;
projections are the plain fold. Once the faults stop, all of it comes to its end.
A red seed says its number: `trial(seed)` in a debugger is that history again.
"""

import secrets
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from numba import config as numba
from sim_disk import checksums_of_any_kind
from sim_engine import Plain, replay
from sim_net import DELETED, PURGED, ROLLED_BACK
from sim_readers import FOLDER, Follower, Shipper, newest
from sim_world import World

from ultra.cold import delivery, image, journal, parcel, retention, segment, shipment, superblock
from ultra.cold.segment import JournalError
from ultra.cold.shipment import STOP, Cursor

SEEDS = 150 if numba.DISABLE_JIT else 200 if numba.BOUNDSCHECK else 2000
FAULTS = ("kill", "power", "full", "cut", "leader", "down", "purge", "delete", "rival")
OFTEN = {"purge": 0.02, "delete": 0.02}  # else in a third of all histories
ACTORS = ("engine", "engine", "journal", "journal", "follower", "projector", "shipper", "shipper")
END_STEPS = 3000


@pytest.fixture(autouse=True, scope="module")
def as_it_was() -> Iterator[None]:
    yield from checksums_of_any_kind(image, journal, parcel, retention, segment, superblock)


def trial(seed: int) -> set[str]:
    """One history; what it met."""
    world = World(seed)
    secrets.token_bytes = world.dice.randbytes  # the journal's id, too; put back by the fixture
    rand = world.rand
    faults = [fault for fault in FAULTS if rand() < OFTEN.get(fault, 0.33)]
    for _ in range(30 + int(rand() * 60)):
        world.now += int(rand() * 3_000_000)
        if faults and rand() < 0.12:
            befall(world, world.dice.choice(faults))
        else:
            who = world.dice.choice(ACTORS)
            world.guarded(world.actor(who), who)
    to_the_end(world)
    holds(world)
    if rand() < 0.3:
        rotten(world)
    return world.met


def befall(world: World, fault: str) -> None:
    """One of the things that go wrong."""
    disk, net, rand = world.disk, world.net, world.rand
    if fault in ("kill", "power"):
        who = world.dice.choice(ACTORS)
        disk.cut_after, world.power = int(rand() * 12), fault == "power"
        world.guarded(world.actor(who), who)
        if world.disk is disk and disk.cut_after < 1 << 59:  # between two calls, then
            disk.cut_after = 1 << 60
            world.power_cut() if world.power else world.kill(who)
            world.met.add("power cut" if world.power else f"killed {who}")
    elif fault == "full":
        disk.fail_after = int(rand() * 6)
        world.guarded(world.writer.step, "journal")
        disk.fail_after = 1 << 60
    elif fault == "cut":
        net.cut()
    elif fault == "leader":
        net.lose_leader(world.now)
    elif fault == "down":
        net.down_until = world.now + int(rand() * 100_000_000)
    elif fault == "purge":
        net.purge()
    elif fault == "delete":
        net.delete()
    else:
        world.rival = world.rival or Shipper(world, Cursor())
        world.rival.step()
    world.met.add(fault)


def to_the_end(world: World) -> None:
    """No fault from now on: everybody comes to the end, in so many steps at most."""
    world.net.calm()
    if not segment.is_used(FOLDER, world.disk):
        world.writer.step()
    for _ in range(1 + int(world.rand() * 9)):
        world.engine.finish()
        world.writer.step()
    world.writer.finish()
    world.projector.step(all_of_it=True)
    world.follower = world.follower if world.follower.toy is not None else Follower(world)
    world.follower.step()
    shipped_to_the_end(world)


def shipped_to_the_end(world: World) -> None:
    ship = world.shipper
    for step in range(END_STEPS):
        ship.step(flush=True)
        if ship.ship is not None and (ship.ship.state == STOP or ship.ship.is_drained):
            if step and world.rand() < 0.5:
                ship.check()
            if ship.ship.state == STOP or (ship.ship.is_drained and ship.at >= world.engine.toy.next):
                break
        due = [at for at in (ship.ship.due() if ship.ship else -1, world.net.next_due()) if at > world.now]
        world.now = min([world.now + 1_000_000_000, *due])
    else:
        raise AssertionError("the shipper does not come to an end")
    ship.check()
    if ship.alarm == shipment.FENCED and world.writers > 1:  # by one that is gone now: ours is started again
        world.met.add("fenced" if world.rival is not None else "fenced by its predecessor")
        world.shipper = Shipper(world, ship.cursor)
        shipped_to_the_end(world)
    elif ship.alarm == shipment.ROLLED_BACK:  # somebody looked, and told it to fill the stream up again
        world.met.add("rolled back, and filled again")
        assert world.net.harm & {ROLLED_BACK, DELETED}, "an alarm over nothing"
        world.net.harm -= {ROLLED_BACK, DELETED}
        world.shipper = Shipper(world, world.shipper.cursor, resend=True)
        shipped_to_the_end(world)


def holds(world: World) -> None:
    toy = world.recovered(world.disk)
    assert toy.next == world.engine.toy.next >= world.acked and toy.digest() == world.engine.hashes[toy.next]
    assert world.follower.toy is not None and world.follower.toy.packed() == toy.packed()
    plain = Plain()
    plain.take(b"".join(record for _, record in world.engine.published))
    sequence, _, committed = world.projector.commits[-1]
    if world.projector.refused:
        assert world.retires and world.base
        world.met.add("no projections behind what was retired")
    else:
        assert sequence == toy.next and committed.state() == plain.state(), "projections are not the fold"
    stream_holds(world)


def stream_holds(world: World) -> None:
    """Against the journal: whole, unless something was lost behind our back and an alarm says so."""
    net, alarm = world.net, world.shipper.alarm
    if alarm == shipment.HOLE and world.base and "rolled back, and filled again" in world.met:
        world.met.add("rolled back behind what was retired")
        return
    if alarm:
        assert alarm == shipment.PURGED and PURGED in net.harm, f"{alarm}: {world.shipper.ship.why}"
        world.met.add("purged, and said so")
        return
    wanted = b"".join(record for _, record in world.engine.published)
    reader = delivery.Delivery("the stream")
    found = [reader.take(at, stored.payload) for at, stored in enumerate(net.stream, 1)]
    records = b"".join(np.ascontiguousarray(one.records).tobytes() for one in found if one is not None)
    assert net.first == 1 and reader.through == world.engine.toy.next, "the stream is not whole, and nobody says so"
    assert records == wanted, "the stream has other records than the journal"
    assert b"".join(one.meta for one in found if one is not None) == world.frames()[0].payload
    if reader.void:
        world.met.add("void messages")


def rotten(world: World) -> None:
    """A bit or a sector rots: reading refuses, or it is still the same engine."""
    wanted = world.engine.toy.packed()
    world.disk.rot()
    try:
        frames = world.frames()
        toy, skipped = newest(world.disk, world)
        if world.base and toy.next < frames[0].through:
            raise JournalError("what is retired is in no snapshot")
        replay(toy, frames)
        assert toy.packed() == wanted, "another engine, and nobody says so"
        world.met.add("rotten, an older snapshot" if skipped else "rotten, harmless")
    except JournalError:
        world.met.add("rotten, refused")


def play(seeds: range) -> Counter[str]:
    met: Counter[str] = Counter()
    for seed in seeds:
        try:
            met.update(trial(seed))
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return met


def test_whatever_fails_all_of_it_holds_together() -> None:
    met = play(range(SEEDS))
    assert len(met) >= 20, met
