"""Journals that grow, and shippers in threads: what the tests with a real server share."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
from runs import until

from ultra.cold import landing, segment, shipper, shipping
from ultra.cold.journal import Journal
from ultra.cold.shipment import Limits
from ultra.wire import ADD, CHECKPOINT, FILL, RECORD

# Few records a message, and acks that are soon late.
QUICK = Limits(
    records_max=64,
    ack_ns=1_500_000_000,
    retry_ns=20_000_000,
    retry_max_ns=200_000_000,
    doubt_ns=600_000_000,
    partitions=2,
)


def rows(first: int, count: int) -> Any:
    """Records that tell their place, of all families."""
    made = np.zeros(count, RECORD)
    number = np.arange(first, first + count)
    made["sequence"], made["qty"], made["order_id"] = number, number * 7, number ^ 5
    made["kind"], made["instrument"] = ADD, number % 5
    made["kind"][number % 7 == 0] = FILL
    made["kind"][number % 50 == 0] = CHECKPOINT
    return made


class Grown:
    """A journal that a test writes."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.journal = Journal(folder, segment_bytes=1 << 17, **more)
        self.through = self.journal.through
        if not self.through:
            self.journal.append(segment.META, 0, 0, 0, b'{"run": "x"}')

    def grow(self, count: int, batch: int = 40) -> "Grown":
        for at in range(self.through, self.through + count, batch):
            size = min(batch, self.through + count - at)
            self.journal.append(segment.RECORDS, at, size, at + size, rows(at, size).tobytes())
        self.through += count
        self.journal.sync()
        return self

    def close(self) -> "Grown":
        self.journal.close()
        return self


class Ship:
    """A shipper in a thread of its own. `end` stops it in good order; what it raised comes out there."""

    def __init__(self, folder: Path, url: str, **more: Any) -> None:
        options = shipping.Options(**({"limits": QUICK} | more))
        self.shipper = shipping.Shipper(folder, shipper.place_of(url), options)
        self.found: dict[str, Any] = {}
        self.raised: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        async def run() -> dict[str, Any]:
            self._loop = asyncio.get_running_loop()
            return await self.shipper.run()

        try:
            self.found = asyncio.run(run())
        except Exception as error:
            self.raised = error

    @property
    def through(self) -> int:
        return self.shipper.shipment.cursor.through

    def wait(self, through: int) -> "Ship":
        until(lambda: self.through >= through or self.is_over, f"{through} inputs are shipped, not {self.through}")
        return self

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def end(self) -> dict[str, Any]:
        until(lambda: self._loop is not None or self.is_over, "it runs")
        if not self.is_over and self._loop is not None:
            self._loop.call_soon_threadsafe(self.shipper.stop)
        return self.join()

    def join(self) -> dict[str, Any]:
        self._thread.join(60)
        assert self.is_over
        if self.raised is not None:
            raise self.raised
        return self.found


def read_back(url: str, stream: str, target: Path) -> Any:
    """The records of a stream, proven, through a journal made of it."""
    landing.Landing(shipper.place_of(f"{url}/{stream}"), target).play()
    frames = [frame.payload for frame in segment.read(target) if frame.kind == segment.RECORDS]
    return np.frombuffer(b"".join(frames), RECORD)


def assert_holds(url: str, stream: str, target: Path, count: int) -> None:
    assert read_back(url, stream, target).tobytes() == rows(0, count).tobytes()
