"""A stand-in for the engine, small enough for thousands of histories: a pure fold of 64-byte records, with a hash.

It numbers inputs, some of which only the source has (`MARKET`, by their number) and some of which come anew each time
somebody comes back (replies: another life, another price), as with the real one. State is what a fold of all records
gives; a checkpoint holds its hash. `Plain` is that fold once more, written to be read: projections are held to it.
"""

import hashlib
import struct
import zlib
from typing import Any

import numpy as np

from ultra.cold import image as images
from ultra.cold.image import Image, Stored
from ultra.wire import ACCEPTED, ADD, CANCELLED, CHECKPOINT, FILL, LIMIT, NONE, RECORD, TIMER

ROW = struct.Struct(
    "<bbhiqqqqqqq"
)  # as RECORD: kind, side, flag, instrument, sequence, two times, order, price, qty, aux
STATE = struct.Struct("<qqqqI")
INPUTS, EVERY, SPARE = 200, 11, 56  # at most so many inputs; a checkpoint each; and those that end a history
KINDS = (ADD, ACCEPTED, ADD, FILL, ADD, TIMER, ADD, CANCELLED, LIMIT, ADD, FILL)
assert ROW.size == RECORD.itemsize


def row(kind: int, sequence: int, life: int) -> bytes:
    """An input: of the market it is what the source says, of the others what came in this life."""
    mixed = (sequence * 2654435761 + (0 if kind == ADD else life * 40503)) & 0xFFFF
    words = (100 + sequence % 7, mixed, 1 + mixed % 90, NONE)
    return ROW.pack(kind, mixed & 1, 0, sequence % 3, sequence, sequence, sequence, *words)


MARKET = [row(ADD, sequence, 0) for sequence in range(INPUTS + SPARE)]


class Toy:
    """The state after `next` inputs."""

    def __init__(self, state: bytes = bytes(STATE.size)) -> None:
        self.next, self.position, self.cash, self.fills, self.chain = STATE.unpack(state)

    def step(self, record: bytes) -> None:
        kind, side, _, _, sequence, _, _, _, price, qty, _ = ROW.unpack(record)
        assert sequence == self.next, f"input {sequence} in the place of {self.next}"
        if kind == FILL:
            lots = -qty if side else qty
            self.position += lots
            self.cash -= lots * price
            self.fills += 1
        self.chain = zlib.crc32(record, self.chain)
        self.next += 1

    def packed(self) -> bytes:
        return STATE.pack(self.next, self.position, self.cash, self.fills, self.chain)

    def digest(self) -> str:
        return hashlib.blake2b(self.packed(), digest_size=16).hexdigest()

    def checkpoint(self) -> bytes:
        """The record that says what the state is before it."""
        first, second = struct.unpack("<qq", bytes.fromhex(self.digest()))
        return ROW.pack(CHECKPOINT, 0, 0, NONE, self.next, self.next, self.next, second, 0, 0, first)

    # ---- as a snapshot

    def image(self, journal_id: bytes) -> Image:
        rows = np.frombuffer(self.packed(), np.uint8).reshape(1, -1)
        return Image(
            self.next, self.next, self.digest(), journal_id, NONE, {"run": {}}, {"state": Stored("s", rows, 1)}
        )


def restored(image: Image) -> Toy:
    """The state of a snapshot; ImageError when it is not what it says."""
    found = Toy(image.parts["state"].rows.tobytes())
    if found.digest() != image.state_hash or found.next != image.sequence:
        raise images.ImageError("a snapshot of another state")
    return found


def replay(toy: Toy, frames: Any, until: int = 1 << 60) -> int:
    """Take the records of these frames behind what the state has; what the journal has not comes from the source.

    How many checkpoints agreed. Ends where the journal ends."""
    agreed = 0
    for frame in frames:
        for at in range(0, len(frame.payload) if frame.count else 0, ROW.size):
            record = frame.payload[at : at + ROW.size]
            sequence = int.from_bytes(record[8:16], "little")
            if sequence < toy.next:
                continue
            if sequence >= until:
                break
            while toy.next < sequence:
                toy.step(MARKET[toy.next])
            if record[0] == CHECKPOINT:
                assert record == toy.checkpoint(), f"state hash at input {sequence} is another"
                agreed += 1
            toy.step(record)
        while toy.next < min(frame.through, until):
            toy.step(MARKET[toy.next])
    return agreed


class Plain:
    """What projections must say: replies one by one, and what they come to."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int]] = []
        self.position: dict[int, int] = {}

    def take(self, payload: bytes) -> None:
        for at in range(0, len(payload), ROW.size):
            kind, side, _, instrument, sequence, _, _, order, price, qty, _ = ROW.unpack_from(payload, at)
            if kind in (ACCEPTED, FILL, CANCELLED):
                self.rows.append((sequence, kind, order, price))
            if kind == FILL:
                self.position[instrument] = self.position.get(instrument, 0) + (-qty if side else qty)

    def state(self) -> tuple[Any, ...]:
        return tuple(self.rows), tuple(sorted(self.position.items()))
