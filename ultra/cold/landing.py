"""A stream made into a journal again: for an empty machine, or as the copy that mends a damaged one.

What comes is proven by `delivery` message by message, and written as any journal is, under the identity of the one it
came from: so it is replayed, checked, followed and shipped on as that one would be. A connection that fails is opened
again and reading goes on behind the last message that was whole.
Known bad case: the stream ends inside a stretch (its shipper was killed). The journal then ends before that stretch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .delivery import Delivery, Stretch
from .journal import Journal
from .segment import MARK, META, RECORDS
from .shipper import Line, LineError, Place

SEGMENT_BYTES: Final = 1 << 26
PATIENCE_S: Final = 30.0  # without a message


class LandingError(Exception):
    """A stream can't be made into a journal: says which, and what is missing."""


class Landing:
    """One stream into one folder."""

    def __init__(self, place: Place, folder: Path, told: Callable[[int, int], None] | None = None) -> None:
        """`told` hears of each step: messages read, messages in all."""
        if not place.stream:
            raise LandingError(f"{place}: say which stream, as nats://{place}/STREAM")
        self._place, self._folder, self._told = place, folder, told
        self._delivery = Delivery(f"stream {place.stream}")
        self._journal: Journal | None = None
        self._heard = time.monotonic()

    def play(self) -> dict[str, Any]:
        """Read all that is there now. DeliveryError when it has a hole, LineError when NATS can't be reached."""
        asyncio.run(self._read())
        if self._journal is None:
            raise LandingError(f"stream {self._place.stream}: there is nothing in it")
        try:
            self._journal.close()
        except OSError as error:
            raise self._failed(error) from error
        found = self._delivery
        return {
            "folder": str(self._folder), "stream": self._place.stream, "journal": found.journal_id.hex(),
            "messages": found.sequence, "records": found.records, "inputs": found.through, "void": found.void,
        }  # fmt: skip

    async def _read(self) -> None:
        last = 0
        while last == 0 or self._delivery.sequence < last:
            line = Line(self._place)
            try:
                await line.open()
                if not last:
                    last = await self._last(line)
                    if last == 0:
                        return
                await line.read(self._place.stream, self._delivery.sequence + 1, last + 1, self._take)
            except LineError:
                if not last or time.monotonic() - self._heard > PATIENCE_S:
                    raise
                await asyncio.sleep(0.1)
            finally:
                await line.close()

    async def _last(self, line: Line) -> int:
        found = await line.info(self._place.stream)
        if found is None:
            raise LandingError(f"{self._place}: there is no stream {self._place.stream}")
        state = found["state"]
        if int(state["messages"]) != int(state["last_seq"]):
            raise LandingError(
                f"stream {self._place.stream}: of {state['last_seq']} messages {state['messages']} are left: it was "
                "purged, and is no copy any more"
            )
        return int(state["last_seq"])

    def _take(self, sequence: int, payload: bytes) -> None:
        if sequence <= self._delivery.sequence:
            return  # asked for again on another connection
        self._heard = time.monotonic()
        stretch = self._delivery.take(sequence, payload)
        if self._told is not None:
            self._told(sequence, stretch.through if stretch is not None else -1)
        if stretch is None:
            return
        try:
            self._write(stretch)
        except OSError as error:  # ours, not the connection's: read again behind it, the journal would have a hole
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> LandingError:
        return LandingError(f"{self._folder}: {error.strerror or error}; remove it, and read again")

    def _write(self, stretch: Stretch) -> None:
        if self._journal is None:
            identity = self._delivery.journal_id
            self._journal = Journal(self._folder, segment_bytes=SEGMENT_BYTES, identity=identity)
            self._journal.append(META, stretch.first, 0, stretch.through, stretch.meta)
            return
        reach = stretch.first
        if len(stretch.records):
            numbers = stretch.records["sequence"]
            first, reach = int(numbers[0]), int(numbers[-1]) + 1
            self._journal.append(RECORDS, first, len(numbers), reach, stretch.records.tobytes())
        if stretch.through > reach:
            self._journal.append(MARK, stretch.through, 0, stretch.through, b"")
