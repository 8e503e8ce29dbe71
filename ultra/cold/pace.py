"""How fast a recorded file passes: as fast as can be, at a multiple of its own time, or as an open loop."""

import time
from typing import Final, NamedTuple

from ..hot import clock
from ..hot import ring as rings

QUIET_GAP_NS: Final = 60_000_000_000  # longer silences of a recording are skipped


class Pace(NamedTuple):
    """How fast time passes: `factor` times as fast as it did, or so many records a second; 0 = as fast as can be."""

    factor: float = 0.0
    per_s: int = 0


AT_ONCE: Final = Pace()


class Clock:
    """The time of the recording, as it goes on at a multiple of ours."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._from: tuple[float, int] | None = None

    def wait(self, feed: rings.Ring, until: int) -> int:
        """Sleep a little if the ring's next record is not due. Up to which time records may pass; `until` was it."""
        due = int(feed.slots[int(feed.cells[rings.GATE]) & (len(feed.slots) - 1)].ts_event)
        now = time.perf_counter()
        if self._from is None or due - until > QUIET_GAP_NS:
            self._from = (now, due)
        begun, first = self._from
        until = first + int((now - begun) * self._factor * 1e9)
        if until < due:
            time.sleep(min(0.001, (due - until) / self._factor / 1e9))
        return until


def due_step(per_s: int) -> int:
    """Ticks between two records of an open loop, times 2^16."""
    return round(1e9 / per_s / clock.calibrate() * 65536)
