"""`ultra ship`: a journal on its way into a stream, while it grows, in a process that nobody waits for.

It drives a `shipment.Shipment`, which decides what is sent, over an `outbound.Outbound`, which says what may be, and
`shipper.Line`, a new one for each epoch. It knows three times: when to look again, when an ack is late, and now.
Invariant: nothing of the engine waits for this process. It reads files, and writes two small ones of its own.
Known bad case: a server that takes messages and forgets them (a power cut without syncs): see docs/replication.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from . import berth, labels, waybill
from .outbound import Outbound
from .shipment import LOOK, SHIP, STOP, Cursor, Limits, Message, Seen, Shipment
from .shipper import Line, LineError, Place

POLL_S: Final = 0.001  # while records come; a stretch lingers no longer
IDLE_S: Final = 0.005
BUSY_NS: Final = 100_000_000  # so long after the last record it is polled as if more came
CHECK_NS: Final = 2_000_000_000  # how often it is looked whether the stream still has everything
STATUS_NS: Final = 500_000_000
DRAIN_S: Final = 10.0
MONITOR_S: Final = 2.0
STATUS: Final = "shipping.json"
GONE: Final = {"last_seq": 0, "messages": 0}  # the state of a stream that is no longer there
STATES: Final = ("looking", "shipping", "stopped")


class ShipError(Exception):
    """Nothing is shipped any more until somebody has looked: says the alarm, and what was found."""


@dataclass
class Options:
    """What a shipper is told."""

    replicas: int = 1
    limits: Limits = field(default_factory=Limits)
    resend: bool = False
    once: bool = False  # end when all that is there is shipped
    monitor: str = ""
    told: Callable[[str], None] | None = None


class Shipper:
    """One journal on its way into one stream, until the run has ended, or it is told to stop."""

    def __init__(self, folder: Path, place: Place, options: Options) -> None:
        self._folder, self._place, self._options = folder, place, options
        self._outbound = Outbound(folder)
        identity = self._outbound.journal_id
        self.stream = place.stream or berth.stream_name(identity)
        left = waybill.read(folder)
        known = left is not None and (left.journal_id, left.stream) == (identity, self.stream)
        cursor = Cursor(left.through, left.sequence) if left is not None and known else Cursor()
        self.shipment = Shipment(
            identity, self.stream, self._outbound.meta, secrets.randbits(62), limits=options.limits, cursor=cursor,
            resend=options.resend,
        )  # fmt: skip
        self._bill = waybill.Writer(folder, identity, self.stream, options.replicas)
        self._written = cursor
        self._line: Line | None = None
        self._wake: asyncio.Event | None = None
        self._stopping_at = 0.0
        self._next_status = self._next_check = 0
        self._checking: asyncio.Task[None] | None = None
        self._heard_at = 0  # when records came last
        self._begun_at = -1  # the input from which we shipped first
        self._said = ""
        self.durability: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.marks = Marks()

    def stop(self) -> None:
        """Ship what was read, and end; called by a signal, or by whoever has had enough."""
        self._stopping_at = self._stopping_at or time.monotonic()
        self._changed()

    def _changed(self) -> None:
        if self._wake is not None:
            self._wake.set()

    async def run(self) -> dict[str, Any]:
        """Ship to the end; what was shipped. ShipError on an alarm, JournalError when the journal is damaged,
        BerthError when the stream is none for a journal."""
        self._wake = asyncio.Event()
        try:
            while not await self._turn():
                pass
        finally:
            await self._hang_up()
            self._note(time.monotonic_ns(), True)
            self._bill.close()
            self._outbound.close()
        return self.status()

    async def _turn(self) -> bool:
        """Do what is to be done now, and wait for more; whether this was the end."""
        ship = self.shipment
        now = time.monotonic_ns()
        self._note(now)
        if ship.state == STOP:
            raise ShipError(f"{ship.alarm}: {ship.why}")
        if ship.state == LOOK:
            if self._stopping_at:
                return True
            await self._sleep((ship.due() - now) / 1e9)
            if time.monotonic_ns() >= ship.due():
                await self._look()
            return False
        line = self._line
        if line is None or not line.is_open:
            ship.lost((line.why if line is not None else "") or "the connection is gone", now)
            return False
        fresh = not self._stopping_at and self._outbound.fill(ship, now)
        self._heard_at = now if fresh else self._heard_at
        await self._send(line, now)
        ship.tick(now)
        self._check(line, now)
        if self._is_over(fresh):
            return True
        wait = IDLE_S if now - self._heard_at > BUSY_NS else POLL_S
        await self._sleep(min(wait, (ship.due() - now) / 1e9))
        return False

    def _is_over(self, fresh: bool) -> bool:
        if not self.shipment.is_drained or fresh:
            return bool(self._stopping_at) and time.monotonic() - self._stopping_at > DRAIN_S
        ended = self._outbound.has_ended or (
            self._options.once and self._outbound.scan() <= self.shipment.cursor.through
        )
        return bool(self._stopping_at) or ended

    async def _sleep(self, seconds: float) -> None:
        assert self._wake is not None
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), seconds)
        else:
            await asyncio.sleep(0)
        self._wake.clear()

    async def _look(self) -> None:
        """A new connection, a new epoch."""
        await self._hang_up()
        self._line = line = Line(self._place)
        try:
            await line.open(self._changed)
            found = await self._moor(line)
            seen = await line.seen(self.stream, found["state"])
            await line.listen(self._answered)
        except LineError as error:
            self.shipment.lost(str(error), time.monotonic_ns())
            if str(error) != self._said and self._options.told is not None:
                self._options.told(f"{error}; it is tried again")
            self._said = str(error)
            return
        self._said = ""
        self._judge(line, found["config"])
        reach = self._outbound.scan()
        start = self.shipment.look(seen, reach, time.monotonic_ns())
        if self.shipment.state == SHIP:
            self._outbound.rewind(start)
            self._begun_at = start if self._begun_at < 0 else self._begun_at
            self._next_check = time.monotonic_ns() + CHECK_NS

    async def _moor(self, line: Line) -> dict[str, Any]:
        """The stream, made if it is not there and never was."""
        found = await line.info(self.stream)
        if found is None and (not self.shipment.cursor.sequence or self._options.resend):
            settings = berth.wanted(self.stream, self.shipment.journal_id, self._options.replicas)
            await line.api(f"STREAM.CREATE.{self.stream}", settings)
            found = await line.info(self.stream)
        if found is None:
            gone = {"last_seq": 0, "messages": 0}
            return {
                "state": gone,
                "config": berth.wanted(self.stream, self.shipment.journal_id, self._options.replicas),
            }
        return found

    def _judge(self, line: Line, config: dict[str, Any]) -> None:
        """BerthError when the stream or the server can't take a journal."""
        limits, identity = self._options.limits, self.shipment.journal_id
        wrong = berth.refused(config, identity, self._options.replicas)
        most = limits.records_max * limits.partitions * 64 + 4096
        allowed = int(config.get("max_msg_size", -1))
        allowed = line.payload_max if allowed <= 0 else min(allowed, line.payload_max)
        if allowed < most:
            wrong.append(f"messages have {allowed} bytes at most: {most} are needed (fewer --records, or max_payload)")
        if wrong:
            raise berth.BerthError(f"stream {self.stream} of {self._place}: {'; '.join(wrong)}")
        warnings = berth.warned(config, line.version)
        if warnings == self.warnings and self.durability:
            return
        self.warnings = warnings
        self.durability = berth.durability(config, line.version, _jsz(self._options.monitor))
        if self._options.told is not None:
            about = ", ".join(f"{key} {value}" for key, value in self.durability.items())
            for line_of_text in (about, *warnings):
                self._options.told(f"stream {self.stream}: {line_of_text}")

    async def _hang_up(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            self._checking = None
        if self._line is not None:
            await self._line.close()
            self._line = None

    async def _send(self, line: Line, now: int) -> None:
        try:
            while (message := self.shipment.take(now, bool(self._stopping_at))) is not None:
                labels.at("ship.publish.before")
                await line.publish(message)
                labels.at("ship.publish.after")
        except LineError as error:
            self.shipment.lost(str(error), now)

    def _answered(self, message: Message, words: dict[str, Any]) -> None:
        now, wrong = time.monotonic_ns(), words.get("error")
        if wrong is None:
            labels.at("ship.ack.before")
            self.shipment.acked(message, int(words.get("seq", 0)), bool(words.get("duplicate")), now)
            labels.at("ship.ack.after")
        else:
            self.shipment.refused(message, int(wrong.get("err_code", 0)), str(wrong.get("description", "")), now)
        self._changed()

    def _check(self, line: Line, now: int) -> None:
        """Ask now and then whether the stream still has everything, without waiting for the answer."""
        if now < self._next_check or (self._checking is not None and not self._checking.done()):
            return
        self._next_check = now + CHECK_NS

        async def ask(epoch: int, least: int) -> None:
            with contextlib.suppress(LineError):
                found = await line.info(self.stream)
                state = found["state"] if found is not None else GONE
                if self.shipment.epoch == epoch:
                    seen = Seen(int(state["last_seq"]), int(state["messages"]), [])
                    self.shipment.check(seen, least, time.monotonic_ns())
                    self._changed()

        self._checking = asyncio.create_task(ask(self.shipment.epoch, self.shipment.highest))

    # ---- what it says

    def _note(self, now: int, last: bool = False) -> None:
        """Write down how far the stream certainly is, and now and then how we are."""
        cursor = self.shipment.cursor
        if cursor != self._written:
            labels.at("ship.bill.before")
            self._bill.write(cursor.through, cursor.sequence)
            labels.at("ship.bill.after")
            self._written = cursor
        if last and self.shipment.state == STOP and cursor.sequence:  # what is here may be needed: nothing is retired
            self._bill.write(cursor.through, cursor.sequence, waybill.ALARMED)
        is_due = now >= self._next_status
        if (
            is_due and not last and self.shipment.state != STOP and self.shipment.room <= 0
        ):  # nothing is read: how far it is must be looked up
            self._outbound.scan()
        self.marks.put(now, self._outbound.reach)
        if is_due or last:
            self._next_status = now + STATUS_NS
            part = self._folder / f"{STATUS}.part"
            part.write_text(json.dumps(self.status()))
            with contextlib.suppress(FileNotFoundError):  # another shipper of this folder took it; it says so itself
                part.rename(self._folder / STATUS)

    def status(self) -> dict[str, Any]:
        """Everything that can be said: how far, how late, how often what happened."""
        ship, reach = self.shipment, max(self._outbound.reach, self.shipment.cursor.through)
        behind, counts = reach - ship.cursor.through, ship.counts
        shipped = ship.cursor.through - self._begun_at  # by this process, as `counts` are
        per_input = counts["bytes"] / shipped if shipped > 0 and counts["bytes"] else 64.0
        return {
            "stream": self.stream, "servers": str(self._place), "state": STATES[ship.state],
            "alarm": ship.alarm, "why": ship.why, "epoch": ship.epoch, "inputs": reach,
            "replicated": ship.cursor.through,
            "messages": ship.cursor.sequence, "lag_records": behind, "lag_bytes": round(behind * per_input),
            "lag_s": round(self.marks.age(time.monotonic_ns(), ship.cursor.through), 3), "under_way": ship.under_way,
            "counts": counts, "durability": self.durability, "warnings": self.warnings, "ts": time.time_ns(),
        }  # fmt: skip


class Marks:
    """When the journal was known to reach where: how old what is not shipped yet is."""

    def __init__(self) -> None:
        self._marks: list[tuple[int, int]] = []  # ns, reach; both grow

    def put(self, now: int, reach: int) -> None:
        """It reaches so far now."""
        if not self._marks or (reach > self._marks[-1][1] and now - self._marks[-1][0] > 20_000_000):
            self._marks.append((now, reach))
            if len(self._marks) > 4096:
                del self._marks[1::2]  # coarser, the longer it lasts

    def age(self, now: int, through: int) -> float:
        """Seconds since it first reached beyond this; 0 when it does not."""
        while self._marks and self._marks[0][1] <= through:
            self._marks.pop(0)
        return (now - self._marks[0][0]) / 1e9 if self._marks else 0.0


def _jsz(monitor: str) -> dict[str, Any] | None:
    """What a server says of its JetStream on its monitoring port; None when it can't be asked."""
    if not monitor:
        return None
    try:
        with urlopen(f"{monitor.rstrip('/')}/jsz", timeout=MONITOR_S) as answer:
            found: dict[str, Any] = json.load(answer).get("config", {})
    except (OSError, ValueError):
        return None
    return found
