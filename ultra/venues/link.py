"""One TCP connection as two blocks of bytes and a socket's number, for either side of a SoupBinTCP session.

Bytes come into `inbox` by `pull` and leave from `outbox` by `flush`; who reads and writes them never meets the socket.
What is whole is taken from the front, what is left is moved to the front when the end is reached. A link that failed
keeps the first reason in FAULT, is not read any more, and waits to be closed by whoever opened it.
Always: 0 <= IN_AT <= IN_END <= len(inbox), and the same of the outbox.
Known bad case: an outbox that is full has a peer that does not read; `space` says so and nothing is written.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot, memory, net
from ..hot.atomics import Cells
from ..hot.bits import store_u16

# Cells.
FD, FAULT, IN_AT, IN_END, OUT_AT, OUT_END, SENT_NS, HEARD_NS, BYTES_IN, BYTES_OUT = range(10)
CELLS = 16
# Why a link must be closed. After the first four, what has come is still good.
(NO_FAULT, CLOSED_BY_PEER, SILENT, BROKEN, BAD_PACKET, LOGIN_REJECTED, SESSION_ENDED, OTHER_SESSION, OTHER_SEQUENCE,
 LOGGED_OUT, STORE_FULL, PUSHED_OUT, FROM_START) = range(13)  # fmt: skip
FAULTS: Final = (
    "none", "closed by the peer", "silent", "socket error", "bad packet", "login rejected", "session ended",
    "another session", "another sequence", "logged out", "message store full", "a newer login",
    "again, from the start",
)  # fmt: skip
NO_SPACE = -1
CONTROL_BYTES = 3  # a packet without payload


class Link(NamedTuple):
    """A connection, or the place for one."""

    inbox: Any  # uint8: cells[IN_AT] .. cells[IN_END] was not read yet
    outbox: Any  # uint8: cells[OUT_AT] .. cells[OUT_END] was not sent yet
    cells: Cells  # int64[CELLS]


class Bank(NamedTuple):
    """Room for many connections, so that one compiled call may serve them all."""

    inbox: Any  # uint8[links, in_bytes]
    outbox: Any  # uint8[links, out_bytes]
    cells: Any  # int64[links, CELLS]


def bank(count: int, in_bytes: int, out_bytes: int) -> Bank:
    """Room for `count` connections; there are none yet."""
    cells = np.zeros((count, CELLS), np.int64)
    cells[:, FD] = -1
    return Bank(
        memory.zeros(count * in_bytes, np.uint8).reshape(count, in_bytes),
        memory.zeros(count * out_bytes, np.uint8).reshape(count, out_bytes),
        cells,
    )


@hot
def of(many: Bank, index: int) -> Link:
    """One link of a bank: the same memory."""
    return Link(many.inbox[index], many.outbox[index], many.cells[index])


def create(in_bytes: int, out_bytes: int) -> Link:
    """Room for a connection; there is none yet."""
    cells = np.zeros(CELLS, np.int64)
    cells[FD] = -1
    return Link(memory.zeros(in_bytes, np.uint8), memory.zeros(out_bytes, np.uint8), cells)


@hot
def up(link: Link, fd: int, now: int) -> None:
    """A connected socket is there. What waits in the outbox goes first."""
    cells = link.cells
    cells[FD], cells[FAULT] = fd, NO_FAULT
    cells[IN_AT], cells[IN_END] = 0, 0
    cells[SENT_NS], cells[HEARD_NS] = now, now


@hot
def down(link: Link) -> None:
    """The connection is gone, and with it what was neither read nor sent."""
    cells = link.cells
    cells[FD] = -1
    cells[IN_AT], cells[IN_END], cells[OUT_AT], cells[OUT_END] = 0, 0, 0, 0


@hot
def fail(link: Link, fault: int) -> None:
    """Remember why the link must be closed; the first reason stays."""
    if link.cells[FAULT] == NO_FAULT:
        link.cells[FAULT] = fault


@hot
def readable(link: Link) -> bool:
    """Whether what lies in the inbox may be taken for what it says."""
    return link.cells[FAULT] <= BROKEN


@hot
def space(link: Link, count: int) -> int:
    """Where `count` bytes may be written into the outbox, or NO_SPACE. The writer moves OUT_END."""
    cells = link.cells
    if cells[OUT_END] + count > len(link.outbox):
        waiting = cells[OUT_END] - cells[OUT_AT]
        if cells[OUT_AT] == 0 or waiting + count > len(link.outbox):
            return NO_SPACE
        _to_front(link.outbox, cells, OUT_AT)
    return cells[OUT_END]


@hot
def _to_front(buffer: Any, cells: Cells, at: int) -> None:
    """Move what waits in a box to its front; `at` and `at + 1` are its cells."""
    first, waiting = cells[at], cells[at + 1] - cells[at]
    for k in range(waiting):
        buffer[k] = buffer[first + k]
    cells[at], cells[at + 1] = 0, waiting


@hot
def control(link: Link, kind: int) -> bool:
    """Write a packet without payload; False when there is no room."""
    at = space(link, CONTROL_BYTES)
    if at == NO_SPACE:
        return False
    store_u16(link.outbox, at, 1)
    link.outbox[at + 2] = kind
    link.cells[OUT_END] = at + CONTROL_BYTES
    return True


@hot
def idle(link: Link) -> bool:
    """Whether nothing waits to be sent."""
    return link.cells[OUT_AT] == link.cells[OUT_END]


@hot
def pull(link: Link, now: int) -> int:
    """Take what the socket has into the inbox, as far as there is room; returns how many bytes came."""
    cells = link.cells
    if cells[IN_AT] > 0 and (cells[IN_AT] == cells[IN_END] or cells[IN_END] == len(link.inbox)):
        _to_front(link.inbox, cells, IN_AT)
    if cells[FD] < 0 or cells[FAULT] != NO_FAULT or cells[IN_END] == len(link.inbox):
        return 0
    got = net.tcp_receive(cells[FD], link.inbox, cells[IN_END], len(link.inbox))
    if got < 0:
        fail(link, CLOSED_BY_PEER if got == net.CLOSED else BROKEN)
        return 0
    if got > 0:
        cells[IN_END] += got
        cells[BYTES_IN] += got
        cells[HEARD_NS] = now
    return got


@hot
def flush(link: Link, now: int) -> int:
    """Hand what waits in the outbox to the socket; returns how many bytes went."""
    cells = link.cells
    if cells[OUT_AT] == cells[OUT_END] or cells[FD] < 0:
        return 0
    sent = push(link, link.outbox, cells[OUT_AT], cells[OUT_END], now)
    cells[OUT_AT] += sent
    if cells[OUT_AT] == cells[OUT_END]:
        cells[OUT_AT], cells[OUT_END] = 0, 0
    return sent


@hot
def push(link: Link, buffer: Any, start: int, stop: int, now: int) -> int:
    """Hand `buffer[start:stop]` to the socket; returns how many bytes went, 0 also when the link failed."""
    cells = link.cells
    sent = net.tcp_send(cells[FD], buffer, start, stop)
    if sent < 0:
        fail(link, CLOSED_BY_PEER if sent == net.CLOSED else BROKEN)
        return 0
    if sent > 0:
        cells[SENT_NS] = now
        cells[BYTES_OUT] += sent
    return sent


def check(link: Link) -> None:
    """The invariant, for tests."""
    cells = link.cells
    assert 0 <= int(cells[IN_AT]) <= int(cells[IN_END]) <= len(link.inbox)
    assert 0 <= int(cells[OUT_AT]) <= int(cells[OUT_END]) <= len(link.outbox)
    assert 0 <= int(cells[FAULT]) < len(FAULTS)
