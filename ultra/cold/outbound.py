"""A journal as the shipper reads it: what is durable of it, from any input on, while it grows.

The journal's own superblock says what is durable, in memory that all processes share, so nothing is synced here while
its writer is at work. When the writer is dead, and has not said it of what he left, we make it so ourselves.
Nothing of a journal without syncs is ever called durable; of that everything whole is taken.
Invariant: what is handed to the stream is on disk here before, so a power cut here never leaves the stream ahead.
Known bad case: a disk that lies about its syncs. Then the stream is ahead of the journal, and that is an alarm.
"""

from __future__ import annotations

import collections
import os
from pathlib import Path
from typing import Final

import numpy as np

from ..wire import RECORD
from . import segment, superblock
from .disk import Folder
from .journal import only_writer
from .shipment import Shipment
from .tail import Tail, since

NEVER: Final = 1 << 62
QUIET_NS: Final = 1_000_000_000  # so long without a word of the writer, and we sync ourselves
CHECK_NS: Final = 2_000_000_000  # so long without a frame, and it is looked whether the next one is damaged
NOTHING: Final = np.zeros(0, RECORD)


class Outbound:
    """One journal. JournalError from every call when it is damaged, or was retired before it was read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tail = Tail(folder)
        self._scout: Tail | None = None
        self._scouted = -1  # the last file when it was begun
        first = next(self._tail.frames(), None)
        if first is None:
            self._tail.check()
            raise segment.JournalError(f"{folder}: there is no journal to ship yet")
        self.journal_id, self.meta = self._tail.journal_id, first.payload
        self.reach = first.through  # inputs below are known, durable or not
        self._from = self._upto = 0  # the next frame begins where; inputs below may be handed on
        self._held: collections.deque[segment.Frame] = collections.deque()
        self._changed = self._looked = -NEVER
        self.rewind(0)

    def rewind(self, start: int) -> None:
        """Go on from this input."""
        self._tail.close()
        self._tail, self._from = since(self.folder, start), start
        self._held.clear()

    def scan(self) -> int:
        """How far the journal is, durable or not: looked up in its last file. Those that came and went since it was
        last looked may be retired, and nobody needs them for this."""
        last = segment.segment_names(self.folder, Folder(self.folder))[-1][0]
        if self._scout is None or last != self._scouted:
            if self._scout is not None:
                self._scout.close()
            self._scout, self._scouted = since(self.folder, NEVER), last
        for frame in self._scout.frames():
            self.reach = max(self.reach, frame.through)
        return self.reach

    @property
    def durable(self) -> int:
        """Inputs below this may be handed on, as far as was looked."""
        return self._upto

    @property
    def has_ended(self) -> bool:
        """Whether its run ended in good order, and all of it was handed on."""
        commit = self._said()
        return commit is not None and bool(commit.state & superblock.CLOSED) and self._from >= commit.through

    def fill(self, shipment: Shipment, now: int) -> bool:
        """Put into the shipment what is durable, while there is room; whether there was something. `now` in ns."""
        self._look(now)
        put = False
        while shipment.room > 0:
            frame = self._held.popleft() if self._held else self._tail.poll()
            if frame is None:
                self._check(now)
                break
            self.reach = max(self.reach, frame.through)
            if frame.through > self._upto:
                self._held.appendleft(frame)
                break
            self._put(shipment, frame, now)
            put = True
            self._looked = now
        return put

    def _put(self, shipment: Shipment, frame: segment.Frame, now: int) -> None:
        if frame.kind == segment.META:
            if frame.through > self._from:  # it stands for what was retired
                shipment.put(frame.through, NOTHING, frame.through, now)
                self._from = frame.through
            return
        records = np.frombuffer(frame.payload, RECORD) if frame.kind == segment.RECORDS else NOTHING
        shipment.put(self._from, records, frame.through, now)
        self._from = max(self._from, frame.through)

    def _look(self, now: int) -> None:
        """What its writer says is durable. Of one that is dead: make it so, then all that we have seen is."""
        commit, upto = self._said(), self._upto  # a journal of format 1 says nothing: it is always silent
        if commit is not None:
            upto = commit.through if segment.synced(commit) else NEVER
        if upto > self._upto:
            self._upto, self._changed = upto, now
        elif self._held and now - self._changed > QUIET_NS and self._is_secured():
            self._upto, self._changed = max(self._upto, self._held[0].through), now - QUIET_NS

    def _is_secured(self) -> bool:
        """Make durable what a dead writer left, by writing it again: his last sync may have failed, and ours would then
        succeed and mean nothing. False while he lives: he will say so himself."""
        alone = only_writer(self.folder)
        if alone < 0:
            return False
        try:
            self._tail.write_again()
        finally:
            os.close(alone)
        return True

    def _said(self) -> superblock.Commit | None:
        try:
            return superblock.best((self.folder / superblock.NAME).read_bytes())
        except FileNotFoundError:
            return None

    def _check(self, now: int) -> None:
        if now - self._looked > CHECK_NS:
            self._tail.check()
            self._looked = now

    def close(self) -> None:
        """Let the files go."""
        self._tail.close()
        if self._scout is not None:
            self._scout.close()
