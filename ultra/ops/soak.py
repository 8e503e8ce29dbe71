"""The rings for as long as one likes, on fewer cores than processes: every record once, in order, whole.

Two producers share a crowd; a router numbers what comes and copies it into a fan; of the fan's three consumers the
first two write into every record, and the third, which sleeps when there is nothing, wants to find what both wrote. A
record tells its producer, its number and a checksum; every consumer keeps a running hash of all it saw, and the three
must agree. `python -m ultra.ops.soak --seconds 600` ends with 1 if anything was wrong.
Known bad case: it proves nothing about speed; six processes on two cores mostly wait for each other.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import cache
from ..cold.native import Bell, Cells, promise
from ..hot import crowd as crowds
from ..hot import entry, hot
from ..hot import fan as fans
from ..hot import wait as waits
from ..hot.bits import mix
from ..wire import ADD, FAN_CELLS, RECORD, RING_LINE
from . import apart

CAPACITY, BATCH = 256, 5
PRODUCERS, CONSUMERS = 2, 3
DEPENDS = ((), (), (0, 1))
ROLES = ("producer", "producer", "router", "consumer", "consumer", "sleeper")
# The shared file: cells of our own, the crowd, the fan.
PAGE = 4096
STOP, MADE, ROUTED = 0, RING_LINE, (1 + PRODUCERS) * RING_LINE
ENDLESS = 1 << 62
SPINS, TURNS = 200, 2_000  # turns before a yield; turns before a look at the clock
SEEN, WRONG, HASH, EXPECTED = 0, 1, 2, 3  # what a consumer counts; from EXPECTED on, the next number of each producer
STILL_S = 60.0  # without progress for so long, it hangs


@hot
def _fill(record: Any, producer: int, number: int) -> None:
    record.kind, record.instrument, record.order_id = ADD, producer, number
    record.price = mix(producer, number)
    record.aux = mix(record.price, ~number)
    record.qty = record.ts_recv = 0


@hot
def _wrong(record: Any, k: int, sequence: int, expected: int) -> bool:
    """Whether this is not the record of that sequence and number; the last consumer also wants both stamps."""
    producer, number = np.int64(record.instrument), record.order_id
    body = record.sequence == sequence and number == expected and record.price == mix(producer, number)
    stamps = k < 2 or (record.qty == sequence + 1 and record.ts_recv == sequence + 2)
    return not (body and stamps and record.aux == mix(record.price, ~number))


def _produce(crowd: crowds.Crowd, producer: int, at: int, end: int) -> int:
    turns = 0
    while at < end and turns < TURNS:
        count = min(1 + at % BATCH, end - at)
        first = crowds.claim(crowd, producer, count)
        if first < 0:
            turns = waits.idle(turns, SPINS)
            continue
        for offset in range(count):
            _fill(crowd.slots[crowds.slot_of(crowd, first + offset)], producer, at + offset)
        crowds.publish(crowd, first, count)
        at += count
    return at


def _route(crowd: crowds.Crowd, fan: fans.Fan, at: int) -> int:
    turns = 0
    while turns < TURNS:
        count = min(crowds.ready(crowd), BATCH)
        if count == 0 or fans.room(fan, count) < count:
            turns = waits.idle(turns, SPINS)
            continue
        for offset in range(count):
            slot = fans.claimed(fan, offset)
            fan.slots[slot] = crowd.slots[crowds.polled(crowd, offset)]
            fan.slots[slot].sequence = at + offset
        fans.publish(fan, count)
        waits.wake(fan.cells)
        crowds.release(crowd, count)
        at += count
    return at


def _consume(fan: fans.Fan, k: int, at: int, out: Any) -> int:
    turns = 0
    while turns < TURNS:
        waiting = fans.ready(fan, k)
        if waiting == 0:
            if k == 2:
                return at  # to sleep
            turns = waits.idle(turns, SPINS)
            continue
        for offset in range(waiting):
            record = fan.slots[fans.polled(fan, k, offset)]
            expected = EXPECTED + (np.int64(record.instrument) & 1)
            out[WRONG] += int(_wrong(record, k, at + offset, out[expected]))
            out[expected] += 1
            out[HASH] = mix(out[HASH], record.aux)
            if k == 0:
                record.qty = at + offset + 1
            elif k == 1:
                record.ts_recv = at + offset + 2
        fans.release(fan, k, waiting)
        waits.wake(fan.cells)
        at += waiting
    return at


def _waiting(fan: fans.Fan, k: int) -> int:
    return fans.ready(fan, k)


def _compiled(function: Any) -> Any:
    return entry(function, key=cache.fingerprint(function))


produce, route, consume, waiting = map(_compiled, (_produce, _route, _consume, _waiting))


class Shared:
    """The file as its three parts."""

    def __init__(self, path: str) -> None:
        self.memory = apart.mapped(path)
        view, start = memoryview(self.memory), PAGE + _crowd_bytes()
        self.cells = Cells(view[:PAGE])
        self.crowd = crowds.over(view[PAGE:start], RECORD, CAPACITY)
        self.fan = fans.over(view[start:], RECORD, CAPACITY)
        self.fan_cells = Cells(view[start : start + FAN_CELLS * 8])


def _crowd_bytes() -> int:
    return -(-crowds.size_bytes(RECORD, CAPACITY) // PAGE) * PAGE


def run(seconds: float) -> dict[str, Any]:
    """All roles for so long; what each counted, and `wrong`, which is what should be 0."""
    size = PAGE + _crowd_bytes() + fans.size_bytes(RECORD, CAPACITY)
    _warm()
    with apart.shared(size) as path:
        ours = Shared(str(path))
        crowds.configure(ours.crowd)
        fans.configure(ours.fan, DEPENDS)
        with apart.Processes("ultra.ops.soak:play", [(path, side) for side in range(len(ROLES))]) as processes:
            time.sleep(seconds)
            ours.cells.store_release(STOP, 1)
            found = processes.results(timeout_s=3 * STILL_S)
        made, routed, seen = found[:PRODUCERS], found[PRODUCERS], found[PRODUCERS + 1 :]
        fans.check(ours.fan)
        crowds.check(ours.crowd)
        total = sum(each["made"] for each in made)
        wrong = sum(each["wrong"] for each in seen) + (routed["routed"] != total)
        wrong += sum(each["seen"] != total for each in seen) + (len({each["hash"] for each in seen}) != 1)
        full = int(ours.crowd.cells[crowds.FULL]), int(ours.fan.cells[fans.FULL])
    return {"records": total, "wrong": wrong, "crowd_full": full[0], "fan_full": full[1], "roles": found}


def _warm() -> None:
    """Compile once, before six processes would."""
    crowd, fan = crowds.create(RECORD, 2), fans.create(RECORD, 2, DEPENDS)
    out = np.zeros(8, np.int64)
    produce(crowd, 0, 0, 0)
    route(crowd, fan, 0)
    consume(fan, 2, 0, out)
    waiting(fan, 2)


def play(path: str, side: str) -> dict[str, int]:
    """One role in its own process, until there is nothing left to do."""
    shared, role = Shared(path), ROLES[int(side)]
    if role == "producer":
        return _play_producer(shared, int(side))
    promise(shared.fan_cells)
    if role == "router":
        return _play_router(shared)
    return _play_consumer(shared, int(side) - PRODUCERS - 1)


def _play_producer(shared: Shared, producer: int) -> dict[str, int]:
    at = 0
    while not shared.cells.load_acquire(STOP):
        at = produce(shared.crowd, producer, at, at + 10_000)
    shared.cells.store_release(MADE + producer * RING_LINE, at + 1)
    return {"made": at}


def _play_router(shared: Shared) -> dict[str, int]:
    at, moved = 0, time.monotonic()
    while time.monotonic() - moved < STILL_S:
        # Asked first: then everything they made is in the crowd, or was routed.
        made = [shared.cells.load_acquire(MADE + p * RING_LINE) for p in range(PRODUCERS)]
        reached = route(shared.crowd, shared.fan, at)
        moved = time.monotonic() if reached != at else moved
        at = reached
        if all(made) and at == sum(made) - PRODUCERS:
            break
    shared.cells.store_release(ROUTED, at + 1)
    return {"routed": at}


def _play_consumer(shared: Shared, k: int) -> dict[str, int]:
    out, at, moved, sleeps = np.zeros(8, np.int64), 0, time.monotonic(), 0
    bell = Bell(shared.fan_cells, wakers=CONSUMERS)  # the router and the two before the sleeper
    while time.monotonic() - moved < STILL_S:
        routed = shared.cells.load_acquire(ROUTED)
        reached = consume(shared.fan, k, at, out)
        moved = time.monotonic() if reached != at else moved
        if routed and reached == routed - 1:
            at = reached
            break
        if k == 2 and reached == at:
            bell.wait(lambda: int(waiting(shared.fan, 2)) > 0, 100_000_000)
            sleeps += 1
        at = reached
    return {"seen": at, "wrong": int(out[WRONG]), "hash": int(out[HASH]), "sleeps": sleeps, "bounded": bell.bounded}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what came of it; 1 if a record was lost, torn, doubled or out of order."""
    parser = argparse.ArgumentParser(prog="python -m ultra.ops.soak", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long records are made (default 10)")
    given = parser.parse_args(arguments)
    found = run(given.seconds)
    print(f"{found['records']:,} records in {given.seconds:g} s over {len(os.sched_getaffinity(0))} cores")
    for role, each in zip(ROLES, found["roles"], strict=True):
        print(f"  {role:9}", ", ".join(f"{name} {value:,}" for name, value in each.items()))
    print(f"found full: crowd {found['crowd_full']:,}, fan {found['fan_full']:,}; wrong: {found['wrong']}")
    return int(found["wrong"] != 0)


if __name__ == "__main__":
    sys.exit(main())
