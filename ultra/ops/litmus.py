"""Do the rings keep their promises between two pinned processes? Outcomes are counted, in the manner of jcstress.

A game is one ring and two compiled loops that race over it. Every round ends as `acceptable` (a record seen once, in
order, whole) or as one of the outcomes that are forbidden; `met` counts how often a side found the ring empty or full:
interesting, because a race in which nobody ever waits tries little.
`python -m ultra.ops.litmus --rounds 50000000` prints the table; `tests/broken.py` plants the bugs it must see.
Known bad case: x86 forgives a missing acquire or release, so this proves the protocol, not the order; that is read from
the code LLVM gets (`tests/test_instructions.py`). Both sides on one core take turns and prove little.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import cache
from ..hot import crowd as crowds
from ..hot import entry, hot
from ..hot import fan as fans
from ..hot import ring as rings
from ..hot.atomics import load_acquire, pause, store_release
from ..hot.wait import keep_order
from ..wire import ADD, NONE, RECORD, RING_LINE
from . import apart

# What a loop counts, in `out`; behind that, what it expects of each producer.
ACCEPTABLE, MET, TORN, OVERWRITTEN, PARTIAL, HUNG = range(6)
FORBIDDEN = {TORN: "torn", OVERWRITTEN: "overwritten", PARTIAL: "partial", HUNG: "hung"}
EXPECTED, OUT = 8, 16
PATIENCE = 2_000  # spins before a loop goes back to Python, which looks at the time
STILL_S = 10.0  # without progress for so long, a side is hung
PAGE = 4096
GAMES_MAX = 64
Loop = Callable[[Any, int, int, int, Any], int]


class Game(NamedTuple):
    """One ring, and who plays which loop on it: (ring, at, end, batch, out) -> how far it came."""

    form: str
    name: str
    ring: Callable[[Any], Any]  # over a buffer
    configure: Callable[[Any], None]
    size: int
    batch: int
    loops: tuple[Loop, Loop]


class Verbs(NamedTuple):
    """What a form of ring calls the same acts; sequences say which slot."""

    claim: Any  # (ring, count) -> first sequence, or NONE
    publish: Any  # (ring, first, count)
    ready: Any  # (ring) -> how many
    polled: Any  # (ring, offset) -> slot
    release: Any  # (ring, count)


@hot
def _ring_claim(ring: rings.Ring, count: int) -> int:
    return int(ring.cells[rings.CURSOR]) if rings.room(ring, count) >= count else NONE


@hot
def _ring_publish(ring: rings.Ring, first: int, count: int) -> None:
    rings.publish(ring, count)


@hot
def _fan_claim(fan: fans.Fan, count: int) -> int:
    return int(fan.cells[fans.CURSOR]) if fans.room(fan, count) >= count else NONE


@hot
def _fan_publish(fan: fans.Fan, first: int, count: int) -> None:
    fans.publish(fan, count)


@hot
def _fan_ready(fan: fans.Fan) -> int:
    return fans.ready(fan, 0)


@hot
def _fan_polled(fan: fans.Fan, offset: int) -> int:
    return fans.polled(fan, 0, offset)


@hot
def _fan_release(fan: fans.Fan, count: int) -> None:
    fans.release(fan, 0, count)


@hot
def _crowd_claim(crowd: crowds.Crowd, count: int) -> int:
    return crowds.claim(crowd, 0, count)


RING = Verbs(_ring_claim, _ring_publish, rings.ready, rings.polled, rings.release)
FAN = Verbs(_fan_claim, _fan_publish, _fan_ready, _fan_polled, _fan_release)
CROWD = Verbs(_crowd_claim, crowds.publish, crowds.ready, crowds.polled, crowds.release)


def loop(function: Callable[..., Any], *parts: Any) -> Loop:
    """A compiled loop over `parts`, which its closure holds; kept under its own text."""
    key = cache.fingerprint(function, *parts)
    function.__qualname__ = f"litmus.{function.__name__}.{key}"  # a cache file of its own
    compiled: Loop = entry(function, key=key)
    return compiled


@hot
def fill(record: Any, number: int, producer: int) -> None:
    """Every field tells the number, so that a part of it is seen to be a part."""
    record.kind, record.instrument = ADD, producer
    record.sequence, record.order_id, record.aux, record.qty = number, ~number, number * 3, 0


@hot
def whole(record: Any, number: int) -> bool:
    """Whether this is that record, all of it."""
    return bool(record.sequence == number and record.order_id == ~number and record.aux == number * 3)


def producing(verbs: Verbs, producer: int = 0) -> Loop:
    """The loop that publishes the numbers `at` .. `end`."""
    claim, publish = verbs.claim, verbs.publish

    def produce(ring: Any, at: int, end: int, batch: int, out: Any) -> int:
        spins = 0
        while at < end and spins < PATIENCE:
            first = claim(ring, batch)
            if first < 0:
                out[MET] += 1
                spins += 1
                pause()
                continue
            spins = 0
            for offset in range(batch):
                fill(ring.slots[(first + offset) & (len(ring.slots) - 1)], at + offset, producer)
            publish(ring, first, batch)
            at += batch
        return at

    return loop(produce, claim, publish, producer)


def consuming(verbs: Verbs) -> Loop:
    """The loop that wants every number once and whole, twice the same before it is given back, in whole batches."""
    ready, polled, release = verbs.ready, verbs.polled, verbs.release

    def consume(ring: Any, at: int, end: int, batch: int, out: Any) -> int:
        spins = 0
        while at < end and spins < PATIENCE:
            waiting = ready(ring)
            if waiting == 0:
                out[MET] += 1
                spins += 1
                pause()
                continue
            spins = 0
            if waiting % batch != 0:
                out[PARTIAL] += 1
            for offset in range(waiting):
                good = whole(ring.slots[polled(ring, offset)], at + offset)
                out[ACCEPTABLE] += int(good)
                out[TORN] += int(not good)
            keep_order()  # or the compiler would believe what it read before
            for offset in range(waiting):
                if not whole(ring.slots[polled(ring, offset)], at + offset):
                    out[OVERWRITTEN] += 1
            release(ring, waiting)
            at += waiting
        return at

    return loop(consume, ready, polled, release)


def leading() -> Loop:
    """The producer of a fan and its last consumer, which wants to see what the one between them wrote."""

    def lead(fan: Any, at: int, end: int, batch: int, out: Any) -> int:
        for _ in range(PATIENCE):
            sent = fan.cells[fans.CURSOR]
            if sent < end and fans.room(fan, batch) >= batch:
                for offset in range(batch):
                    fill(fan.slots[fans.claimed(fan, offset)], sent + offset, 0)
                fans.publish(fan, batch)
            waiting = fans.ready(fan, 1)
            if waiting == 0:
                out[MET] += 1
                pause()
            for offset in range(waiting):
                record = fan.slots[fans.polled(fan, 1, offset)]
                good = whole(record, at + offset) and record.qty == (at + offset) * 7
                out[ACCEPTABLE] += int(good)
                out[TORN] += int(not good)
            fans.release(fan, 1, waiting)
            at += waiting
        return at

    return loop(lead)


def stamping() -> Loop:
    """The consumer between them."""

    def stamp(fan: Any, at: int, end: int, batch: int, out: Any) -> int:
        for _ in range(PATIENCE):
            waiting = fans.ready(fan, 0)
            if waiting == 0:
                out[MET] += 1
                pause()
            for offset in range(waiting):
                record = fan.slots[fans.polled(fan, 0, offset)]
                record.qty = (at + offset) * 7
            fans.release(fan, 0, waiting)
            at += waiting
        return at

    return loop(stamp)


def contending(claim: Any) -> tuple[Loop, Loop]:
    """Two producers of one crowd; the first also reads, and wants every number of both once and in order."""

    @hot
    def claim_second(crowd: Any, count: int) -> int:
        return int(claim(crowd, 1, count))

    def contend(crowd: Any, at: int, end: int, batch: int, out: Any) -> int:
        for _ in range(PATIENCE):
            number = out[EXPECTED + 2]
            if number < end:
                first = claim(crowd, 0, batch)
                if first >= 0:
                    for offset in range(batch):
                        fill(crowd.slots[crowds.slot_of(crowd, first + offset)], number + offset, 0)
                    crowds.publish(crowd, first, batch)
                    out[EXPECTED + 2] += batch
            waiting = crowds.ready(crowd)
            if waiting == 0:
                out[MET] += 1
            for offset in range(waiting):
                record = crowd.slots[crowds.polled(crowd, offset)]
                expected = EXPECTED + (record.instrument & 1)
                good = whole(record, out[expected])
                out[ACCEPTABLE] += int(good)
                out[TORN] += int(not good)
                out[expected] += 1
            crowds.release(crowd, waiting)
            at = min(out[EXPECTED], out[EXPECTED + 1])
        return at

    second = Verbs(claim_second, *CROWD[1:])
    return loop(contend, claim), producing(second, 1)


def ring_game(name: str, capacity: int, batch: int, verbs: Verbs = RING) -> Game:
    """One producer, one consumer."""
    return Game(
        "ring", name, lambda buffer: rings.over(buffer, RECORD, capacity), lambda ring: None,
        rings.size_bytes(RECORD, capacity), batch, (producing(verbs), consuming(verbs)),
    )  # fmt: skip


def fan_game(
    name: str, capacity: int, batch: int, depends: Sequence[Sequence[int]] = ((),), verbs: Verbs = FAN
) -> Game:
    """One producer, and a consumer on the other side; with two, the last is on the producer's side."""
    loops = (producing(verbs), consuming(verbs)) if len(depends) == 1 else (leading(), stamping())
    return Game(
        "fan", name, lambda buffer: fans.over(buffer, RECORD, capacity), lambda fan: fans.configure(fan, depends),
        fans.size_bytes(RECORD, capacity), batch, loops,
    )  # fmt: skip


def crowd_game(name: str, capacity: int, batch: int, verbs: Verbs = CROWD, claim: Any = None) -> Game:
    """One producer and one consumer; with a `claim`, a producer on both sides."""
    loops = (producing(verbs), consuming(verbs)) if claim is None else contending(claim)
    return Game(
        "crowd", name, lambda buffer: crowds.over(buffer, RECORD, capacity), crowds.configure,
        crowds.size_bytes(RECORD, capacity), batch, loops,
    )  # fmt: skip


def games() -> list[Game]:
    """All that must hold."""
    found = [
        make(name, capacity, batch)
        for make in (ring_game, fan_game, crowd_game)
        for name, capacity, batch in (("message passing", 1024, 1), ("gate wrap", 2, 1), ("batch publish", 64, 8))
    ]
    return [
        *found,
        fan_game("one after the other", 64, 4, ((), (0,))),
        crowd_game("claim overlap", 64, 4, claim=crowds.claim),
        crowd_game("claim overlap, narrow", 2, 1, claim=crowds.claim),
    ]


class Row(NamedTuple):
    """What came of one game."""

    form: str
    name: str
    rounds: int
    acceptable: int
    met: int
    forbidden: dict[str, int]
    seconds: float


def run(target: str, rounds: int, still_s: float = STILL_S) -> list[Row]:
    """Play the games that `module:function` returns, `rounds` each, in two processes."""
    played: list[Game] = apart.named(target)()
    assert len(played) <= GAMES_MAX
    with apart.shared(_start_of(played, len(played))) as path:
        memory = apart.mapped(path)
        for index, game in enumerate(played):
            ring = _ring_of(memory, played, index)
            game.configure(ring)
            for each in game.loops:
                # Compiled here, so that both sides find it and neither waits for the other's compiler.
                each(game.ring(bytearray(game.size)), 0, 0, game.batch, np.zeros(OUT, np.int64))
        words = [(path, k, target, rounds, still_s) for k in (0, 1)]
        with apart.Processes("ultra.ops.litmus:side", words) as processes:
            sides = processes.results(timeout_s=60 + len(played) * (rounds / 500_000 + 2 * still_s))
    rows = []
    for game, first, second in zip(played, *sides, strict=True):
        both = [a + b for a, b in zip(first["out"], second["out"], strict=True)]
        forbidden = {name: both[outcome] for outcome, name in FORBIDDEN.items()}
        seconds = max(first["seconds"], second["seconds"])
        rows.append(Row(game.form, game.name, first["at"], both[ACCEPTABLE], both[MET], forbidden, seconds))
    return rows


def side(path: str, number: str, target: str, rounds: str, still_s: str) -> list[dict[str, Any]]:
    """One of the two: every game in turn, at the same time as the other."""
    played: list[Game] = apart.named(target)()
    memory, mine, found = apart.mapped(path), int(number), []
    arrived = np.frombuffer(memory, np.int64, PAGE // 8)
    for index, game in enumerate(played):
        ring, end = _ring_of(memory, played, index), int(rounds) // game.batch * game.batch
        # Loaded from the cache before the start is called.
        game.loops[mine](game.ring(bytearray(game.size)), 0, 0, game.batch, np.zeros(OUT, np.int64))
        _arrive(arrived, mine, index + 1)
        out, at, began = np.zeros(OUT, np.int64), 0, time.monotonic()
        moved = began
        while at < end and time.monotonic() - moved < float(still_s):
            reached = game.loops[mine](ring, at, end, game.batch, out)
            moved = time.monotonic() if reached != at else moved
            at = reached
            os.sched_yield()
        out[HUNG] += int(at < end)
        found.append({"at": at, "out": out[:EXPECTED].tolist(), "seconds": time.monotonic() - began})
    return found


def _arrive(arrived: Any, mine: int, index: int) -> None:
    """Wait until the other is as far; who started both bounds that."""
    _say(arrived, mine * RING_LINE, index)
    while _heard(arrived, (1 - mine) * RING_LINE) < index:
        os.sched_yield()


def _store(cells: Any, at: int, value: int) -> None:
    store_release(cells, at, value)


def _load(cells: Any, at: int) -> int:
    return int(load_acquire(cells, at))


_say, _heard = entry(_store, key="litmus"), entry(_load, key="litmus")


def _start_of(played: Sequence[Game], index: int) -> int:
    return PAGE + sum(-(-game.size // PAGE) * PAGE for game in played[:index])


def _ring_of(memory: Any, played: Sequence[Game], index: int) -> Any:
    start = _start_of(played, index)
    return played[index].ring(memoryview(memory)[start : start + played[index].size])


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [f"{'ring':6} {'game':22} {'rounds':>11} {'acceptable':>11} {'met':>11} {'forbidden':>10} {'seconds':>8}"]
    for row in rows:
        bad = ", ".join(f"{name} {count}" for name, count in row.forbidden.items() if count)
        lines.append(
            f"{row.form:6} {row.name:22} {row.rounds:>11,} {row.acceptable:>11,} {row.met:>11,}"
            f" {sum(row.forbidden.values()):>10,} {row.seconds:>8.2f}{'  ' + bad if bad else ''}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if anything forbidden came."""
    parser = argparse.ArgumentParser(prog="python -m ultra.ops.litmus", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=1_000_000, help="of each game (default 1,000,000)")
    parser.add_argument("--games", default="ultra.ops.litmus:games", help="module:function that returns them")
    given = parser.parse_args(arguments)
    rows = run(given.games, given.rounds)
    print(table(rows))
    if len(os.sched_getaffinity(0)) < 2:
        print("one core only: the two sides took turns, which proves little")
    return int(any(sum(row.forbidden.values()) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
