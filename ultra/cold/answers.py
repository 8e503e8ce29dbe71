"""What operators asked and were answered, by the ids that they gave: what makes a command done once.

A command is told from another by the record that does it, so what a journal has is enough to know it again, and an
engine that comes back gives the answers that it gave before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from ..hot import risk as risks
from ..wire import ACK, NONE, RECORD, TEXT
from . import segment
from .command import Command, Said, is_asked

NAMES: Final = ("kind", "side", "flag", "instrument", "order_id", "price", "qty", "aux")
_DEFAULTS: Final = {"instrument": NONE, "order_id": NONE, "price": NONE, "aux": NONE}


class Ack:
    """The engine's answer to a command."""

    def __init__(self, sequence: int, reason: int, order: int, cancels: int) -> None:
        self.sequence, self.reason, self.order, self.cancels = sequence, reason, order, cancels


class Entry:
    """A command by its id: what it was, its answer once there is one, and who waits for it."""

    def __init__(self, id: str, words: tuple[int, ...]) -> None:
        self.id, self.words = id, words
        self.ack: Ack | None = None
        self.sequence = -1  # of one that a journal brought back
        self.waiting: list[tuple[Any, str, bool]] = []  # who, for which level, whether it was sent before
        self.command: Command | None = None

    @property
    def instrument(self) -> int:
        """That of its record."""
        return self.words[NAMES.index("instrument")]


def words_of(fields: dict[str, int]) -> tuple[int, ...]:
    """What tells two commands apart."""
    return tuple(fields.get(name, _DEFAULTS.get(name, 0)) for name in NAMES)


def ack_of(record: Any) -> Ack:
    """The answer that an ACK is."""
    return Ack(int(record["price"]), int(record["aux"]), int(record["order_id"]), int(record["qty"]))


def answer(id: str, ack: Ack, level: str, repeated: bool) -> dict[str, Any]:
    """What an operator reads."""
    return {
        "ok": ack.reason == risks.PASS, "id": id, "sequence": ack.sequence, "durability": level,
        "reason": "" if ack.reason == risks.PASS else risks.REASONS[ack.reason],
        "order": ack.order if ack.order != NONE else None, "cancels": ack.cancels, "repeated": repeated,
    }  # fmt: skip


def remembered(folder: Path) -> dict[str, Entry]:
    """The commands of a journal by their ids, with the answers they got: for an engine that comes back."""
    found: dict[str, Entry] = {}
    by_sequence: dict[int, Entry] = {}
    texts = Said()
    for frame in segment.read(folder):
        if frame.kind == segment.RECORDS:
            read_entries(frame.payload, texts, found, by_sequence)
    return found


def read_entries(payload: bytes, texts: Said, found: dict[str, Entry], by_sequence: dict[int, Entry]) -> None:
    """Those of one frame."""
    for record in np.frombuffer(payload, RECORD):
        kind = int(record["kind"])
        if kind == TEXT:
            texts.hear(record)
        elif is_asked(kind, int(record["flag"])):
            if id := texts.take()[0]:
                entry = Entry(id, tuple(int(record[name]) for name in NAMES))
                entry.sequence = int(record["sequence"])
                by_sequence[entry.sequence] = found.setdefault(id, entry)
        elif kind == ACK and int(record["price"]) in by_sequence:
            entry = by_sequence[int(record["price"])]
            entry.ack = entry.ack or ack_of(record)
