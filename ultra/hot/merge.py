"""One consumer over several rings, each with its own producer: which of them is next.

The plain alternative to `crowd.py`: no producer waits for another, and one that dies leaves nothing behind but the end
of its ring. The rings come as a tuple; the choice is made by what is at their heads now.
Known bad case: `earliest` orders what is there. An empty ring may bring something older later; who needs one total
order waits until no ring is empty, or lets the engine number what comes, as `inline.py` does.
"""

from typing import Any

from ..wire import NONE
from . import hot
from . import ring as rings


@hot
def earliest(inputs: Any) -> int:
    """The ring whose oldest record has the smallest `ts_event`, the first of equals; -1 when all are empty."""
    found, least = NONE, 0
    for k in range(len(inputs)):
        ring = inputs[k]
        if rings.ready(ring) > 0:
            ts = ring.slots[rings.polled(ring, 0)].ts_event
            if found < 0 or ts < least:
                found, least = k, ts
    return found


@hot
def in_turn(inputs: Any, last: int) -> int:
    """The first ring after `last`, round and round, that has something; -1 when all are empty. -1 starts at 0.

    Between two records of one ring every other that has one is asked once: none starves."""
    for step in range(1, len(inputs) + 1):
        k = (last + step) % len(inputs)
        if rings.ready(inputs[k]) > 0:
            return k
    return NONE
