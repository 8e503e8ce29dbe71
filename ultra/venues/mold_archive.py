"""A whole session, from message 1: what a sender sends from and a request server answers from.

The messages lie one behind the other, each with its length before it, as they do in a packet and in an ITCH file, so
filling a packet is one copy. Message `n` begins at `starts[n - 1]`, and `starts[COUNT]` is where the next one will.
Known bad case: it is memory, and a session that outgrows it is refused message by message (`append` says 0).
"""

from typing import Any, NamedTuple

import numpy as np

from ..hot import entry, hot, memory, net
from ..hot.atomics import Cells
from ..hot.bits import load_u16
from . import moldudp64 as mold

COUNT, REFUSED = 0, 1
MESSAGE_MAX = mold.PAYLOAD_MAX - mold.HEADER - 2  # bytes of a message that fits into any packet


class Archive(NamedTuple):
    """One session."""

    block: Any  # uint8[bytes_max]
    starts: Cells  # int64[messages_max + 1]
    cells: Cells  # int64[8]


def create(messages_max: int, bytes_max: int) -> Archive:
    """An empty session with room for so many messages and bytes (two more for each message)."""
    return Archive(memory.zeros(bytes_max, np.uint8), memory.zeros(messages_max + 1, np.int64), np.zeros(8, np.int64))


def over(framed: Any, messages_max: int) -> Archive:
    """The session that these frames are (uint8, each message behind its length); nothing is copied.

    ValueError when they end inside a message, or one is too long for a packet, or there are too many."""
    archive = Archive(framed, memory.zeros(messages_max + 1, np.int64), np.zeros(8, np.int64))
    reached = _index(archive)
    if reached != len(framed):
        raise ValueError(
            f"at byte {reached}, after {archive.cells[COUNT]} messages: an incomplete message, one of more than "
            f"{MESSAGE_MAX} bytes, or more than {messages_max} messages"
        )
    return archive


@entry
def _index(archive: Archive) -> int:
    at = np.int64(0)
    while at + 2 <= len(archive.block) and archive.cells[COUNT] + 1 < len(archive.starts):
        length = load_u16(archive.block, at)
        if length > MESSAGE_MAX or at + 2 + length > len(archive.block):
            break
        at += 2 + length
        archive.cells[COUNT] += 1
        archive.starts[archive.cells[COUNT]] = at
    return at


@hot
def append(archive: Archive, buffer: Any, at: int, length: int) -> int:
    """Keep the message `buffer[at : at + length]`; returns its number, or 0 when there is no room for it, or ever."""
    count = archive.cells[COUNT]
    start = archive.starts[count]
    end = start + 2 + length
    if length > MESSAGE_MAX or end > len(archive.block) or count + 1 >= len(archive.starts):
        archive.cells[REFUSED] += 1
        return 0
    mold.put(archive.block, start, length, 2)
    for k in range(length):
        archive.block[start + 2 + k] = buffer[at + k]
    archive.starts[count + 1] = end
    archive.cells[COUNT] = count + 1
    return count + 1


@hot
def pack(archive: Archive, packets: net.Packets, k: int, high: int, low: int, first: int, end: int) -> int:
    """Fill packet `k` with messages from `first` on, below `end`, as many as fit; returns the one that is next.

    There is at least one: first < end <= COUNT + 1."""
    starts, at = archive.starts, k * packets.stride
    begin = starts[first - 1]
    most = begin + min(packets.stride, mold.PAYLOAD_MAX) - mold.HEADER
    following = first + 1
    while following < end and starts[following] <= most and following - first < mold.COUNT_MAX:
        following += 1
    length = starts[following - 1] - begin
    body = mold.write_header(packets.block, at, high, low, first, following - first)
    for byte in range(length):
        packets.block[body + byte] = archive.block[begin + byte]
    packets.lengths[k] = mold.HEADER + length
    return following


def check(archive: Archive) -> None:
    """The invariant, for tests."""
    count = int(archive.cells[COUNT])
    assert archive.starts[0] == 0 and archive.starts[count] <= len(archive.block)
    for k in range(count):
        start = int(archive.starts[k])
        assert archive.starts[k + 1] == start + 2 + int.from_bytes(bytes(archive.block[start : start + 2]), "big")
