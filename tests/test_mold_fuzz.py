"""A receiver under packets wrong in every way: held to a plain reading of the protocol, then under a million of them.

No socket here: the packets are laid into the receiver's block, as a kernel bypass would. The decoder of the first test
keeps a hash of every message, so what was delivered is compared byte for byte and in order.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop
from numba import config

from ultra.hot import JIT, hot
from ultra.hot import ring as rings
from ultra.hot.bits import load_u16, mix
from ultra.venues import itch
from ultra.venues import mold_receiver as receivers
from ultra.venues import mold_window as windows
from ultra.venues import moldudp64 as mold
from ultra.wire import ADD, FEED_STATE, RECORD

SESSION = "FUZZ"
CAPACITY, STRIDE = 8, 16
ROUND = 20_000 if JIT and not config.BOUNDSCHECK else 2_000 if JIT else 300
ROUNDS = 50 if JIT and not config.BOUNDSCHECK else 2
LIMITS = receivers.Limits(wait_ns=5, backoff_ns=5, strangers_max=1 << 40, silence_ns=1 << 60)


@hot
def nothing(fd: int, packets: Any) -> int:
    return 0


@hot
def hashes(decoder: Any, buffer: Any, at: int, stop: int, ring: Any, received: int) -> int:
    """Each frame as a record: its length and a hash of its bytes."""
    while at < stop and rings.room(ring) > 0:
        length = load_u16(buffer, at)
        record = ring.slots[rings.claimed(ring, 0)]
        record.kind, record.price, record.aux = ADD, length, received
        record.qty = 0
        for k in range(length):
            record.qty = mix(record.qty, np.int64(buffer[at + 2 + k]))
        rings.publish(ring, 1)
        at += 2 + length
    return at


take_hashes = receivers.build(nothing, hashes)
take_itch = receivers.build(nothing, itch.decode_received)


@loop
def feed(receiver: Any, ring: Any, lengths: Any, out: Any, now: int) -> int:
    """Work through the packets that lie in the block until all are taken; returns how many messages came out."""
    for k in range(len(lengths)):
        receiver.packets.lengths[k] = lengths[k]
    receivers.took(receiver, len(lengths))
    found = 0
    for _ in range(200):
        take_hashes(receiver, receiver.cells, ring, now)
        waiting = rings.ready(ring)
        for k in range(waiting):
            record = ring.slots[rings.polled(ring, k)]
            if record.kind != FEED_STATE:
                out[found, 0], out[found, 1] = record.price, record.qty
                found += 1
        rings.release(ring, waiting)
        if waiting == 0 and receiver.cells[receivers.INDEX] == receiver.cells[receivers.COUNT]:
            break
    return found


@loop
def hash_of(body: Any) -> int:
    value = np.int64(0)
    for k in range(len(body)):
        value = mix(value, np.int64(body[k]))
    return value


class Twin:
    """The protocol, read plainly: which messages a receiver must have delivered after these packets."""

    def __init__(self) -> None:
        self.next, self.held, self.delivered = 1, dict[int, bytes](), list[bytes]()
        self.malformed = self.strange = self.signals = self.duplicates = 0

    def packet(self, raw: bytes) -> None:
        first, count, bodies = int.from_bytes(raw[10:18], "big"), int.from_bytes(raw[18:20], "big"), list[bytes]()
        at = 20
        while count != 0xFFFF and len(bodies) < count and at + 2 <= len(raw):
            end = at + 2 + int.from_bytes(raw[at : at + 2], "big")
            bodies.append(raw[at + 2 : end])
            at = end
        whole = len(bodies) == count or count == 0xFFFF
        if len(raw) < 20 or not 1 <= first <= 1 << 62 or not whole or at != len(raw):
            self.malformed += 1
        elif raw[:10] != SESSION.encode().ljust(10):
            self.strange += 1
        elif not bodies:
            self.signals += 1
        else:
            ahead = first > self.next
            for sequence, body in enumerate(bodies, first):
                self.message(sequence, body, ahead)

    def message(self, sequence: int, body: bytes, ahead: bool) -> None:
        if sequence < self.next:
            self.duplicates += 1
        elif not ahead:
            # In order: straight from the packet, whatever is held.
            self.duplicates += self.held.pop(sequence, None) is not None
            self.deliver(body)
        elif sequence < self.next + CAPACITY:
            if sequence in self.held:
                self.duplicates += 1
            elif len(body) + 2 <= STRIDE:
                self.held[sequence] = body

    def deliver(self, body: bytes) -> None:
        self.delivered.append(body)
        self.next += 1

    def settle(self) -> None:
        while self.next in self.held:
            self.deliver(self.held.pop(self.next))


PACKET = st.tuples(
    st.sampled_from(("good", "good", "good", "good", "cut", "longer", "stranger", "count", "zero", "heartbeat", "end")),
    st.integers(-4, 10),
    st.integers(1, 5),
)


def body_of(sequence: int) -> bytes:
    """A message is always the same; some are empty, some too long to be held."""
    return bytes([sequence & 255] * (sequence * 7 % (STRIDE + 2)))


def encode(kind: str, first: int, count: int) -> bytes:
    bodies = [body_of(sequence) for sequence in range(first, first + count)]
    session = b"OTHER     " if kind == "stranger" else SESSION.encode().ljust(10)
    counts = {"count": len(bodies) + 1, "heartbeat": 0, "end": 0xFFFF}
    number = 0 if kind == "zero" else first
    head = session + number.to_bytes(8, "big") + counts.get(kind, len(bodies)).to_bytes(2, "big")
    if kind in ("heartbeat", "end"):
        return head
    raw = head + b"".join(len(body).to_bytes(2, "big") + body for body in bodies)
    return raw[:-1] if kind == "cut" else raw + b"!" if kind == "longer" else raw


@given(slots=st.sampled_from((2, 4, 16)), steps=st.lists(st.lists(PACKET, max_size=6), min_size=5, max_size=20))
def test_a_receiver_delivers_what_a_plain_reading_delivers(slots: int, steps: list[Any]) -> None:
    receiver = receivers.create([-1, -1, -1], SESSION, limits=LIMITS, capacity=CAPACITY, stride=STRIDE, batch=8)
    ring, twin, out = rings.create(RECORD, slots), Twin(), np.zeros((500, 2), np.int64)
    for now, batch in enumerate(steps, 1):
        raws = []
        for k, (kind, ahead, count) in enumerate(batch):
            raws.append(encode(kind, max(1, twin.next + ahead), count))
            twin.packet(raws[-1])
            twin.settle()
            start = k * receiver.packets.stride
            receiver.packets.block[start : start + len(raws[-1])] = np.frombuffer(raws[-1], np.uint8)
        found = feed(receiver, ring, np.array([len(raw) for raw in raws], np.int64), out, now * 10)
        expected, twin.delivered = twin.delivered, []
        assert [tuple(row) for row in out[:found].tolist()] == [
            (len(body), hash_of(np.frombuffer(body, np.uint8))) for body in expected
        ]
        windows.check(receiver.window)
        counts = receivers.outcomes(receiver)
        assert receiver.window.cells[windows.NEXT] == twin.next
        assert receiver.window.cells[windows.HELD] == len(twin.held)
        assert (counts["malformed"], counts["wrong_session"]) == (twin.malformed, twin.strange)
        assert (counts["heartbeats"], counts["duplicates"]) == (twin.signals, twin.duplicates)


@loop
def attack(receiver: Any, decoder: Any, ring: Any, seed: int, packets: int, messages: Any) -> int:
    """So many packets around what is expected next, each with a chance to be damaged; returns how many were."""
    state, damaged, batch = np.int64(seed), 0, receiver.packets
    count = len(batch.lengths)
    for round_at in range(packets // count):
        for k in range(count):
            at = k * batch.stride
            state = mix(state, round_at * count + k + 1)
            following = receiver.window.cells[windows.NEXT]
            first = following + (0 if state & 3 else ((state >> 2) & 15) - 7)
            many = (state >> 8) & 7
            body = mold.write_header(batch.block, at, receiver.cells[receivers.HIGH], receiver.cells[receivers.LOW],
                                     max(first, 1), many)  # fmt: skip
            for _ in range(many):
                which = ((state >> 16) + body) & 31
                length = messages[which, 0]
                mold.put(batch.block, body, length, 2)
                for byte in range(length):
                    batch.block[body + 2 + byte] = messages[which, 1 + byte]
                body += 2 + length
            batch.lengths[k] = body - at
            if (state >> 24) & 3 != 0:
                damaged += 1
                for hit in range((state >> 26) & 3):
                    place = ((state >> 30) + hit * 977) % max(body - at, 1)
                    batch.block[at + place] = (state >> (40 + hit)) & 255
                if (state >> 28) & 3 == 0:
                    batch.lengths[k] = (state >> 32) % (batch.stride + 1)  # what the kernel says can be no more
        receivers.took(receiver, count)
        for _ in range(100):
            take_itch(receiver, decoder, ring, round_at + 1)
            waiting = rings.ready(ring)
            rings.release(ring, waiting)
            if waiting == 0 and receiver.cells[receivers.INDEX] == receiver.cells[receivers.COUNT]:
                break
    return damaged


@pytest.mark.parametrize("slots", [4, 1024])
def test_a_million_damaged_packets_are_counted_and_none_is_believed_too_far(slots: int) -> None:
    messages = np.zeros((32, 64), np.int64)
    for row, letter in zip(messages, "ADEUXFPC" * 4, strict=True):
        row[0] = itch.LAYOUT[letter][1]
        row[1] = ord(letter)
        row[2:40] = np.arange(38) % 7
    total = damaged = 0
    for seed in range(1, ROUNDS // 2 + 1):
        receiver = receivers.create([-1, -1, -1], SESSION, limits=LIMITS, capacity=64, batch=50)
        decoder, ring = itch.create(4, [], selective=False), rings.create(RECORD, slots)
        damaged += attack(receiver, decoder, ring, seed * 7919, ROUND, messages)
        counts = receivers.outcomes(receiver)
        assert counts["packets"] == ROUND
        assert counts["malformed"] > 0 and counts["wrong_session"] > 0 and counts["messages"] > 0
        assert counts["malformed"] + counts["wrong_session"] + counts["heartbeats"] < ROUND
        assert itch.messages(decoder) == counts["messages"], "each delivered message was decoded once"
        windows.check(receiver.window)
        rings.check(ring)
        total += ROUND
    assert damaged > total // 2
