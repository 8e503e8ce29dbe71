"""A shared ring as any Python process may watch it: mapped for reading, by a reader that nobody waits for.

The watcher has no gate, so the writer may fill a slot while it is being copied. It therefore looks at the sequences
before and after the copy, and keeps only what can't have been touched between: a slot that a consumer has not given
back, because the writer waits for it; and older ones that the writer can't have reached, which fills at most
`batch_max` slots beyond its cursor. The rest is counted as lost. The writer does not know that it is watched.

Invariant: every record handed out is whole, and its sequence is the one it was published under.
Known bad case: that the cursor is seen before the stores after it is a promise of x86-64. On other processors only
slots that were not given back are handed out. A watcher slower than a lap loses records, which it is told.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from . import shared
from .native import Cells, fence

STORES_IN_ORDER: Final = platform.machine() in ("x86_64", "AMD64")
POLL_S: Final = 0.001


class Piece(NamedTuple):
    """Whole records, one after the other: `records[i]` was published as sequence `first + i`."""

    first: int
    records: Any
    lost: int  # how many before `first` were asked for, and are overwritten or may be

    @property
    def after(self) -> int:
        """The sequence to go on from."""
        return self.first + len(self.records)

    @property
    def sequences(self) -> Any:
        """One for each record."""
        return np.arange(self.first, self.after)


class View:
    """A segment, mapped for reading."""

    def __init__(self, segment: shared.Segment) -> None:
        header, kind = segment.header, shared.KINDS[segment.header.kind]
        self.header, self.name, self.capacity = header, header.name, header.capacity
        self.dropped = 0  # records lost by all reads so far
        self._kind = kind
        self._cells = Cells(segment.body[: kind.cells * 8], writable=False)
        self._slots = np.frombuffer(segment.body, header.dtype(), header.capacity, kind.cells * 8)

    @property
    def cursor(self) -> int:
        """Every sequence below it is published."""
        return self._cells.load_acquire(self._kind.cursor)

    @property
    def gates(self) -> tuple[int, ...]:
        """For each consumer: every sequence below is given back."""
        return tuple(gate for gate in map(self._cells.load_acquire, self._kind.gates) if gate >= 0)

    @property
    def lag(self) -> tuple[int, ...]:
        """For each consumer: how many published records it has not given back."""
        gates = self.gates  # before the cursor: none is then found to be ahead of it
        cursor = self.cursor
        return tuple(cursor - gate for gate in gates)

    @property
    def alive(self) -> bool:
        """Whether the process that made the segment runs."""
        return shared.alive(self.header)

    def cells(self) -> dict[str, Any]:
        """Capacity, sequences and lag at this moment, by name."""
        gates = self.gates
        cursor = self.cursor
        return {
            "capacity": self.capacity, "cursor": cursor, "gates": list(gates), "lag": [cursor - gate for gate in gates],
        }  # fmt: skip

    def read(self, since: int = 0) -> Piece:
        """A copy of the records from sequence `since` on that are certainly whole."""
        cursor, since = self.cursor, max(since, 0)
        first = min(max(since, cursor - self.capacity), cursor)
        copy = self._copy(first, cursor)
        fence()  # the copy comes before the second look
        whole = min(max(first, self._safe_from()), cursor)
        piece = Piece(whole, copy[whole - first :], max(0, whole - since))
        self.dropped += piece.lost
        return piece

    def as_numpy(self) -> tuple[Any, Any]:
        """All that is whole now: the sequences, and the records as a structured array, both ours to keep."""
        piece = self.read()
        return piece.sequences, piece.records

    def follow(self, since: int = -1, poll_s: float = POLL_S) -> Iterator[Piece]:
        """New records as they come, each piece with how many were lost before it; from now on, or from `since`.

        Ends when the owner is gone and everything is read."""
        at = self.cursor if since < 0 else since
        while True:
            alive = self.alive  # before the read: what it published last is then still seen
            piece = self.read(at)
            at = piece.after
            if len(piece.records) or piece.lost:
                yield piece
            elif not alive:
                return
            else:
                time.sleep(poll_s)

    def close(self) -> None:
        """Let go of the memory. Records handed out are copies and stay."""
        self._cells.release()
        self._slots = self._slots[:0].copy()

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _copy(self, first: int, cursor: int) -> Any:
        """The slots of these sequences, torn ones among them."""
        copy = np.empty(cursor - first, self._slots.dtype)
        start = first % self.capacity
        head = min(len(copy), self.capacity - start)
        copy[:head] = self._slots[start : start + head]
        copy[head:] = self._slots[: len(copy) - head]
        return copy

    def _safe_from(self) -> int:
        """The lowest sequence whose slot the writer can't have touched so far."""
        held = min(self.gates, default=shared.NEVER)
        cursor = self.cursor
        behind = max(0, cursor + self.header.batch_max - self.capacity) if STORES_IN_ORDER else shared.NEVER
        return min(held, behind)


def attach(name: str) -> View:
    """Watch the segment of this name. SharedError says why not.

    >>> with ultra.attach("desk.journal") as ring:  # doctest: +SKIP
    ...     sequences, records = ring.as_numpy()
    """
    return View(shared.attach(name))
