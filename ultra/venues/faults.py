"""A bad network, on purpose: packets dropped, sent twice, overtaken or held back, before they reach the socket.

What happens to a packet is drawn from the seed, its line and its number on that line, so the same seed gives the same
faults whatever the machine does meanwhile, and two lines fail independently. Held packets wait for later packets of
their line, not for a time. Every fault is counted.
Known bad case: with no packet behind it a held one waits; heartbeats are packets too, so it is not for ever.
"""

from typing import Final, NamedTuple

import numpy as np

from ..hot import hot, net, rare
from ..hot.atomics import Cells
from ..hot.bits import mix

SEED, DROP, DUPLICATE, REORDER, DELAY, DELAY_PACKETS, HELD = range(7)
DROPPED, DUPLICATED, REORDERED, DELAYED, PASSED = range(8, 13)
COUNTS: Final = {
    "dropped": DROPPED, "duplicated": DUPLICATED, "reordered": REORDERED, "delayed": DELAYED, "passed": PASSED,
}  # fmt: skip
HELD_MAX: Final = 64


class Faults(NamedTuple):
    """How bad, and what is held back."""

    cells: Cells  # int64[16]
    numbers: Cells  # int64[lines]: packets seen
    held: net.Packets
    due: Cells  # int64[HELD_MAX]: goes out once its line has seen so many packets; 0 = the place is free
    line_of: Cells  # int64[HELD_MAX]


def create(lines: int) -> Faults:
    """A good network, for so many lines."""
    due, line_of = np.zeros(HELD_MAX, np.int64), np.zeros(HELD_MAX, np.int64)
    return Faults(np.zeros(16, np.int64), np.zeros(lines, np.int64), net.create(HELD_MAX), due, line_of)


def set_faults(
    faults: Faults, seed: int, *, drop: int = 0, duplicate: int = 0, reorder: int = 0, delay: int = 0, packets: int = 8
) -> None:
    """From now on, in packets of a thousand; a delayed one lets `packets` others go first, a reordered one one.

    ValueError if they are not 0 to 1000, together."""
    if min(drop, duplicate, reorder, delay) < 0 or drop + duplicate + reorder + delay > 1000 or packets < 1:
        raise ValueError("faults are permille: each 0 or more, together at most 1000; a delay is 1 packet or more")
    faults.cells[SEED : DELAY_PACKETS + 1] = seed, drop, duplicate, reorder, delay, packets


def counts(faults: Faults) -> dict[str, int]:
    """What was done so far."""
    return {name: int(faults.cells[cell]) for name, cell in COUNTS.items()}


@hot
def send(faults: Faults, line: int, fd: int, packets: net.Packets, first: int, count: int) -> int:
    """As `net.udp_send`, through the bad network; what it has dropped or held counts as sent."""
    cells = faults.cells
    if cells[DROP] + cells[DUPLICATE] + cells[REORDER] + cells[DELAY] + cells[HELD] == 0:
        return net.udp_send(fd, packets, first, count)
    return _send_badly(faults, line, fd, packets, first, count)


@hot
def _fate(cells: Cells, line: int, number: int) -> int:
    """What happens to packet `number` of a line: DROP, DUPLICATE, REORDER, DELAY, or SEED = nothing."""
    lot = (mix(mix(mix(cells[SEED], line + 1), number + 1), number) >> 8) % 1000
    for fault in range(DROP, DELAY + 1):
        if lot < cells[fault]:
            return fault
        lot -= cells[fault]
    return SEED


@rare
def _send_badly(faults: Faults, line: int, fd: int, packets: net.Packets, first: int, count: int) -> int:
    cells = faults.cells
    for k in range(first, first + count):
        number = faults.numbers[line]
        fate = _fate(cells, line, number)
        waits = 1 if fate == REORDER else cells[DELAY_PACKETS] if fate == DELAY else 0
        if fate == DROP:
            cells[DROPPED] += 1
        elif waits > 0 and _keep(faults, line, packets, k, number + 1 + waits):
            cells[REORDERED if fate == REORDER else DELAYED] += 1
        else:
            sent = net.udp_send(fd, packets, k, 1)
            if sent <= 0:
                return sent if k == first else k - first
            cells[PASSED] += 1
            if fate == DUPLICATE and net.udp_send(fd, packets, k, 1) > 0:
                cells[DUPLICATED] += 1
        faults.numbers[line] = number + 1
        if cells[HELD] > 0:
            _let_go(faults, line, fd)
    return count


@hot
def _keep(faults: Faults, line: int, packets: net.Packets, k: int, due: int) -> bool:
    """Hold a copy back until its line has seen `due` packets; False when every place is taken."""
    held, place = faults.held, 0
    while place < HELD_MAX and faults.due[place] != 0:
        place += 1
    if place == HELD_MAX or packets.lengths[k] > held.stride:
        return False
    for byte in range(packets.lengths[k]):
        held.block[place * held.stride + byte] = packets.block[k * packets.stride + byte]
    held.lengths[place], held.names[2 * place] = packets.lengths[k], packets.names[2 * k]
    faults.due[place], faults.line_of[place] = due, line
    faults.cells[HELD] += 1
    return True


@hot
def _let_go(faults: Faults, line: int, fd: int) -> None:
    for place in range(HELD_MAX):
        due = faults.due[place]
        if due != 0 and faults.line_of[place] == line and due <= faults.numbers[line]:
            if net.udp_send(fd, faults.held, place, 1) == 0:
                return  # the socket is full: with the next packet
            faults.due[place] = 0
            faults.cells[HELD] -= 1


def check(faults: Faults) -> None:
    """The invariant, for tests."""
    assert np.count_nonzero(faults.due) == faults.cells[HELD]
    net.check(faults.held)
