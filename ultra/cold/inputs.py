"""Every input of a run in order, wherever it is kept: the journal's own records, and between them the source's.

A replay gives each missing number to the next record of the source. Here the same is done for arrays at a time, without
an engine, so what comes out is what a journal with all of its market data would hold: numbered, and as it was decoded.
Known bad case: it reads what a replay reads, so it fails where one would, with the same words.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from ..hot import ring as rings
from ..venues import itch
from ..wire import RECORD
from .replay import Replay

NOTHING: Final = np.zeros(0, RECORD)


class Inputs(Replay):
    """A replay that has begun, and need not use its engine."""

    def rest(self, until: int) -> Iterator[Any]:
        """The inputs from where it stands to `until`, an array at a time. Afterwards nothing can be replayed."""
        at, own, known, market = self.next, self._own(), NOTHING, NOTHING
        while at < until:
            if not len(known):
                known = next(own, NOTHING)
            first = int(known["sequence"][0]) if len(known) else until
            if first == at:
                steps = known["sequence"] - at - np.arange(len(known))
                count = min(int(np.searchsorted(steps, 1)), until - at)
                taken, known = known[:count], known[count:]
            else:
                if not len(market):
                    market = self._decoded()
                count = min(len(market), first - at, until - at)
                taken, market = market[:count].copy(), market[count:]
                taken["sequence"] = at + np.arange(count)
            yield taken
            at += count

    def _own(self) -> Iterator[Any]:
        """Records of the journal that are not replayed yet."""
        for records in (_unread(self._run.commands), self._waiting):
            if len(records):
                yield records
        yield from self._records

    def _decoded(self) -> Any:
        """Market records that are not replayed yet. ReplayError when the source has no more."""
        ring = self._run.feed
        while True:
            found = _unread(ring)
            ring.cells[rings.GATE] = ring.cells[rings.CURSOR]
            if len(found):
                return found
            self._at = int(itch.decode(self._machine.decoder, self._held, self._at, self._stop, ring))
            if int(ring.cells[rings.CURSOR]) == int(ring.cells[rings.GATE]):
                self._more()


def _unread(ring: rings.Ring) -> Any:
    at = np.arange(int(ring.cells[rings.GATE]), int(ring.cells[rings.CURSOR])) % len(ring.slots)
    return ring.slots.view(np.ndarray)[at]
