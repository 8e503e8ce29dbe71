"""The owner of a shared ring in a process of its own: what the tests of watchers start, and kill.

    shared_writer.py NAME CAPACITY BATCH BEHIND PAUSES

Every field of a record holds its sequence, so a torn record shows by itself. It publishes BATCH at a time, its consumer
is always BEHIND behind, and it spins PAUSES times between two batches: 0 is as fast as it goes. BATCH 0 publishes
nothing. It ends when its stdin does.
"""

import os
import select
import sys
from typing import Any

import numpy as np
from loops import loop

from ultra.cold import shared
from ultra.hot import ring as rings
from ultra.hot.atomics import pause
from ultra.wire import RECORD, TIMER

CHUNK = 20_000
HOLDS = ("sequence", "ts_event", "ts_recv", "order_id", "price", "qty", "aux")


@loop
def write(ring: rings.Ring, batches: int, batch: int, behind: int, pauses: int) -> None:
    """The producer's batches, and the consumer's releases."""
    for _ in range(batches):
        at = ring.cells[rings.CURSOR]
        if rings.room(ring, batch) < batch:
            return
        for offset in range(batch):
            record = ring.slots[rings.claimed(ring, offset)]
            record.kind = TIMER
            record.sequence = at + offset
            record.ts_event = at + offset
            record.ts_recv = at + offset
            record.order_id = at + offset
            record.price = at + offset
            record.qty = at + offset
            record.aux = at + offset
        rings.publish(ring, batch)
        over = ring.cells[rings.CURSOR] - ring.cells[rings.GATE] - behind
        if over > 0:
            rings.release(ring, over)
        for _ in range(pauses):
            pause()


def torn(first: int, records: Any) -> int:
    """How many of these records are not what was published as `first` and on."""
    sequences = np.arange(first, first + len(records))
    wrong = np.zeros(len(records), bool)
    for field in HOLDS:
        wrong |= records[field] != sequences
    return int(wrong.sum())


def main() -> None:
    name, (capacity, batch, behind, pauses) = sys.argv[1], map(int, sys.argv[2:])
    # Apart from the watcher: on one core they would take turns for milliseconds, and never race.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    segment = shared.create(name, "ring", RECORD, capacity, batch_max=max(batch, 1))
    ring = rings.over(segment.body, RECORD, capacity)
    write(ring, 0, 1, 0, 0)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0 if batch else None)[0]:
        write(ring, CHUNK, batch, behind, pauses)


if __name__ == "__main__":
    main()
