"""Rings with one bug each, for the litmus to see: what never finds anything proves nothing.

What x86 can't show is a missing release: `test_instructions.py` reads it from the code that LLVM gets. A missing
acquire shows where the compiler lifts the load out of a loop: `test_ring_litmus.py` has one that never sees its flag.
A batch in parts is a matter of two nanoseconds; a pause between the parts makes them some hundred.
"""

from typing import Any

from ultra.hot import crowd as crowds
from ultra.hot import fan as fans
from ultra.hot import hot
from ultra.hot import ring as rings
from ultra.hot.atomics import load_acquire, pause, store_release
from ultra.ops.litmus import CROWD, FAN, RING, Game, crowd_game, fan_game, ring_game
from ultra.wire import NONE


@hot
def ring_claim_one_more(ring: Any, count: int) -> int:
    return int(ring.cells[rings.CURSOR]) if rings.room(ring, count) + 1 >= count else NONE


@hot
def fan_claim_one_more(fan: Any, count: int) -> int:
    return int(fan.cells[fans.CURSOR]) if fans.room(fan, count) + 1 >= count else NONE


@hot
def crowd_claim_one_more(crowd: Any, count: int) -> int:
    """The first claim of a producer, with the gate off by one."""
    first = crowd.cells[crowds.CURSOR]
    if first + count - len(crowd.slots) > load_acquire(crowd.cells, crowds.GATE) + 1:
        return NONE
    crowd.cells[crowds.CURSOR] = first + count
    return int(first)


@hot
def nothing(ring: Any, first: int, count: int) -> None:
    pass


@hot
def ring_claim_published(ring: Any, count: int) -> int:
    first = ring.cells[rings.CURSOR]
    if rings.room(ring, count) < count:
        return NONE
    rings.publish(ring, count)
    return int(first)


@hot
def fan_claim_published(fan: Any, count: int) -> int:
    first = fan.cells[fans.CURSOR]
    if fans.room(fan, count) < count:
        return NONE
    fans.publish(fan, count)
    return int(first)


@hot
def crowd_claim_published(crowd: Any, count: int) -> int:
    first = crowds.claim(crowd, 0, count)
    if first >= 0:
        crowds.publish(crowd, first, count)
    return first


@hot
def ring_publish_one_by_one(ring: Any, first: int, count: int) -> None:
    for _ in range(count):
        rings.publish(ring, 1)
        pause()


@hot
def fan_publish_one_by_one(fan: Any, first: int, count: int) -> None:
    for _ in range(count):
        fans.publish(fan, 1)
        pause()


@hot
def crowd_publish_first_first(crowd: Any, first: int, count: int) -> None:
    for sequence in range(first, first + count):
        store_release(crowd.available, crowds.slot_of(crowd, sequence), sequence + 1)
        pause()


@hot
def claim_in_two_steps(crowd: Any, p: int, count: int) -> int:
    """Without the atomic compare-and-set."""
    first = load_acquire(crowd.cells, crowds.CURSOR)
    if first + count - len(crowd.slots) > load_acquire(crowd.cells, crowds.GATE):
        return NONE
    store_release(crowd.cells, crowds.CURSOR, first + count)
    return first


def games() -> list[Game]:
    return [
        ring_game("gate off by one", 2, 1, RING._replace(claim=ring_claim_one_more)),
        fan_game("gate off by one", 2, 1, verbs=FAN._replace(claim=fan_claim_one_more)),
        crowd_game("gate off by one", 2, 1, CROWD._replace(claim=crowd_claim_one_more)),
        ring_game("publish before fill", 8, 1, RING._replace(claim=ring_claim_published, publish=nothing)),
        fan_game("publish before fill", 8, 1, verbs=FAN._replace(claim=fan_claim_published, publish=nothing)),
        crowd_game("publish before fill", 8, 1, CROWD._replace(claim=crowd_claim_published, publish=nothing)),
        ring_game("batch in parts", 64, 8, RING._replace(publish=ring_publish_one_by_one)),
        fan_game("batch in parts", 64, 8, verbs=FAN._replace(publish=fan_publish_one_by_one)),
        crowd_game("batch in parts", 64, 8, CROWD._replace(publish=crowd_publish_first_first)),
        fan_game("nobody waits", 64, 4, ((), ())),
        crowd_game("claim in two steps", 64, 4, claim=claim_in_two_steps),
    ]
