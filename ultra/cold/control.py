"""The control block: what the processes of one run tell each other about themselves.

Cells in a shared segment. Each stage writes its own two lines (state, process id, beat, progress) and the host writes
what it wants of all (go, drain, abort); nobody waits for a lock. A beat is a count, not a time: whoever watches it has
a clock of his own. What the engine asks the venue lies there too (`ultra.apart`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ..wire import (
    CONTROL_CELLS,
    CONTROL_STAGE,
    CONTROL_STRIDE,
    STAGE_AT,
    STAGE_BEAT,
    STAGE_PID,
    STAGE_STATE,
)
from . import shared
from .native import Cells

STAGES: Final = ("feed", "engine", "venue")
STATES: Final = ("starting", "ready", "running", "busy", "done", "failed")


class Control:
    """The block, from any of its processes."""

    def __init__(self, segment: shared.Segment) -> None:
        self.segment = segment
        self.cells = Cells(segment.body[: CONTROL_CELLS * 8])
        self.link: Any = np.frombuffer(segment.body, np.int64, CONTROL_CELLS)  # the same, for hot code

    def get(self, cell: int) -> int:
        """One of the cells that belong to no stage."""
        return self.cells.load_acquire(cell)

    def put(self, cell: int, value: int) -> None:
        """The same."""
        self.cells.store_release(cell, value)

    def of(self, stage: int, what: int) -> int:
        """What a stage says of itself."""
        return self.cells.load_acquire(_at(stage, what))

    def say(self, stage: int, what: int, value: int) -> None:
        """Say it; only the stage itself does, and the host before it starts it."""
        self.cells.store_release(_at(stage, what), value)

    def state(self, stage: int) -> str:
        """In a word."""
        return STATES[self.of(stage, STAGE_STATE)]

    def beat(self, stage: int, through: int) -> None:
        """My loop turned, and I am through with so many records."""
        self.say(stage, STAGE_AT, through)
        self.say(stage, STAGE_BEAT, self.of(stage, STAGE_BEAT) + 1)

    def restart(self, stage: int) -> None:
        """Forget what a dead stage said."""
        for what in (STAGE_STATE, STAGE_PID, STAGE_BEAT):
            self.say(stage, what, 0)


def _at(stage: int, what: int) -> int:
    return CONTROL_STAGE + stage * CONTROL_STRIDE + what
