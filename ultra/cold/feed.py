"""The feed as a process: a recorded file, decoded into the fan that engine and venue read.

Its state is a function of the file and of how many records it has sent, and the fan says how many those are. So a feed
that died is started again from the file's beginning, decodes it anew, and sends only what the dead one did not. What is
decoded and not yet published belongs to nobody: nothing is sent twice.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from .. import apart, inline
from ..hot import clock
from ..hot import fan as fans
from ..hot import ring as rings
from ..wire import (
    CONTROL_BEGUN,
    CONTROL_DECODER,
    CONTROL_FEED_END,
    CONTROL_FROM_NS,
    CONTROL_STEP,
    CONTROL_STOP,
    NONE,
    RECORD,
    SOURCE,
)
from . import assembly, labels
from .frames import Frames
from .native import Cells
from .pace import Clock, Pace, due_step
from .source import Block
from .stage import Stage, process

FULL_S: Final = 0.0001  # a fan of the default size lasts some milliseconds
HEAD_START_S: Final = 0.05  # an open loop begins so long after GO: by then everybody knows when


class Feed:
    """The file and the fan."""

    def __init__(self) -> None:
        self.stage = Stage("feed")
        spec, config = self.stage.spec, self.stage.config
        self._pace = Pace(float(spec["pace"]), int(spec["per_s"]))
        self._fan = self.stage.fan()
        self._decoder = assembly.decoder_of(config)
        self._own = rings.create(RECORD, config.engine.feed_ring_records)
        self._cells: Any = np.zeros(apart.FEED_CELLS, np.int64)
        self._cells[apart.UNTIL] = inline.NEVER
        self._cells[apart.SKIP] = self._fan.cells[0]
        self._cells[apart.PATIENCE], self._spins = assembly.waiting(config)
        self.frames = Frames(Path(str(spec["source"])), config.feed.chunk_bytes)
        # An open loop must not be late, and who spins has a core of his own.
        self._sleeps = config.host.wait == "yield" and not self._pace.per_s
        self._clock = Clock(self._pace.factor)
        self._send(np.zeros(8, np.uint8), 0, 0)  # compile, or load what was compiled

    def play(self) -> None:
        """The whole file, or as much of it as is wanted."""
        self._begin()
        self.frames.play(self._take, self._mark, self._stopped)
        control = self.stage.control
        control.link[CONTROL_DECODER : CONTROL_DECODER + 16] = self._decoder.cells
        self._tell()  # before anybody knows that we are through: then nothing of us is needed any more
        labels.at("feed.end.before")
        control.put(CONTROL_FEED_END, 1 + int(self._fan.cells[0]))
        labels.at("feed.end.after")

    def _tell(self) -> None:
        """What became of the file, for the host."""
        frames = self.frames
        found = {"truncated_at": frames.truncated_at, "source_error": frames.source_error}
        print(json.dumps(found), flush=True)

    def _begin(self) -> None:
        """An open loop has one clock: that of the first feed, also for those who follow it."""
        cells, control = self._cells, self.stage.control
        if not control.get(CONTROL_FROM_NS):
            control.put(CONTROL_FROM_NS, time.monotonic_ns())
        if self._pace.factor:
            cells[apart.UNTIL] = NONE
        if self._pace.per_s and not control.get(CONTROL_BEGUN):
            control.put(CONTROL_STEP, due_step(self._pace.per_s))
            control.put(CONTROL_BEGUN, clock.now() + round(HEAD_START_S * 1e9 / clock.calibrate()))
        cells[apart.DUE_FROM], cells[apart.DUE_STEP] = control.get(CONTROL_BEGUN), control.get(CONTROL_STEP)

    def _stopped(self) -> bool:
        return self.stage.control.get(CONTROL_STOP) != 0

    def _send(self, buffer: Any, at: int, stop: int) -> int:
        reached: int = apart.send(self._decoder, buffer, at, stop, self._own, self._fan, self._cells, self._spins)
        return reached

    def _take(self, buffer: Any, stop: int) -> int:
        """All whole messages of these bytes into the fan."""
        at = 0
        while True:
            labels.at("feed.send.before")
            at = self._send(buffer, at, stop)
            labels.at("feed.send.after")
            self.stage.turn(int(self._fan.cells[0]))
            if not self._waiting():
                return at
            if self._stopped():
                return at  # what is decoded and not sent is never missed: nobody has seen it
            if self._cells[apart.HELD]:
                self._cells[apart.UNTIL] = self._clock.wait(self._own, int(self._cells[apart.UNTIL]))
            elif self._sleeps:
                time.sleep(FULL_S)  # the fan is full: leave the core to those who empty it

    def _waiting(self) -> int:
        return int(self._own.cells[rings.CURSOR] - self._own.cells[rings.GATE])

    def _mark(self, block: Block) -> None:
        """What the file was up to here, in the place where it was so."""
        if self._waiting():
            return  # a drained feed: what is left of the block is not part of the run
        if self._cells[apart.SKIP] > 0:
            self._cells[apart.SKIP] -= 1
            return
        first, second = assembly.hash_words(block.sha256[:32])
        now = int(self._cells[apart.LAST_TS])
        record = {"kind": SOURCE, "instrument": NONE, "ts_event": now, "ts_recv": now, "price": block.file_offset,
                  "aux": first, "order_id": second}  # fmt: skip
        while not self._put(tuple(record.get(name, 0) for name in RECORD.names)):
            self.stage.turn(int(self._fan.cells[0]))
            time.sleep(0.0001)

    def _put(self, record: tuple[int, ...]) -> bool:
        """One record beside the loop's; False when the fan is full."""
        fan = self._fan
        cursor, capacity = int(fan.cells[fans.CURSOR]), len(fan.slots)
        if cursor - min(cursor - fans.lag(fan, k) for k in (apart.ENGINE, apart.VENUE)) >= capacity:
            return False
        fan.slots[cursor & (capacity - 1)] = record
        Cells(memoryview(fan.cells)).store_release(fans.CURSOR, cursor + 1)
        return True


def main() -> int:
    """The program."""
    feed = Feed()
    return feed.stage.work(feed.stage.config.host.feed_core, feed.play)


def program() -> int:
    """`main`, its failures in one line."""
    return process(main)
