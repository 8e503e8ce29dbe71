"""The configuration of an exchange to a trading floor that can run, and the log that it is a function of.

Indices of instruments and accounts are those of the sorted names, so two starts agree whatever order a file has. The
first frame of the log (`META`) says what the exchange was; one that is something else now is refused, because the same
entries would not give the same venue. Every further frame holds items, 64 bytes a slot (`ultra.venues.floor`).
Known bad case: a power cut takes what the kernel had not written yet, unless `exchange.sync` is on; kill -9 does not.
"""

from __future__ import annotations

import datetime
import functools
import json
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..config_exchange import Exchange, Generator, contradictions
from ..hot import ring as rings
from ..venues import agents as traders
from ..venues import arrivals, itch_feed, matching, mold_sender, mold_server, ouch
from ..venues import background as backgrounds
from ..venues import floor as floors
from ..venues import link as links
from ..venues import mold_archive as archives
from ..venues import order_desk as desks
from ..venues.matching_models import ModelError
from ..wire import ENTRY, RECORD, REPORT, symbol_to_int
from . import order_server, segment
from .journal import Journal

RING_SLOTS: Final = 1024  # of what one step may say
RECORDED_MAX: Final = 1 << 17  # open orders of a recording
RECORDED_RING: Final = 1 << 12
MESSAGE_BYTES: Final = 40  # of the feed, with its length: more than they have on average
IN_BYTES: Final = 1 << 16
OUT_BYTES: Final = 256
SEGMENT_BYTES: Final = 1 << 26
LOG_SLOTS: Final = 1 << 14
BURST_USUAL: Final = 500  # in 1000, of a Hawkes generator that does not say
# Keys that may change between two starts on the same log: they say how it is reached, not what it is.
FREE: Final = (
    "feed_a", "feed_b", "interface", "request", "orders", "socket", "client_max", "login_ms", "heartbeat_ms",
    "silence_ms", "sync",
)  # fmt: skip


class ExchangeError(Exception):
    """The exchange can't be what its configuration or its log says: names the thing and the next step."""


def check(exchange: Exchange) -> None:
    """ExchangeError for keys that contradict each other."""
    found = list(contradictions(exchange))
    if found:
        raise ExchangeError("\n  ".join((f"the exchange can't be: {len(found)} problems", *found)))


def midnight_ns(now: int) -> int:
    """The last midnight in New York, ns since the epoch: ITCH and OUCH count time from it."""
    zone = zoneinfo.ZoneInfo("America/New_York")
    day = datetime.datetime.fromtimestamp(now // 1_000_000_000, zone).date()
    return int(datetime.datetime.combine(day, datetime.time(), zone).timestamp()) * 1_000_000_000


def clients(exchange: Exchange) -> list[str]:
    """Who may log in, by index."""
    return [name for name in exchange.accounts() if name in exchange.account]


def build(exchange: Exchange) -> Callable[[Any, int, int], int]:
    """The floor's `turn` with the models of this exchange, compiled, and `speak` too: neither waits in the day."""
    turn = _turn_of(exchange.queue, exchange.fee, exchange.latency)
    small = replace(
        exchange, order_live_max=64, order_day_max=256, level_page_max=64, message_max=256, reply_bytes=4096
    )
    floor = assemble(small, 0)
    turn(floor, 0, 0)
    floors.speak(floor, mold_sender.create([(-1, 0)], "NONE"), mold_server.create(-1, "NONE"), 0)
    if len(floor.desk.accounts):
        order_server.warm(floor.desk, links.Link(*(part[0] for part in floor.bank)))
    return turn


@functools.cache
def _turn_of(queue: str, fee: str, latency: str) -> Callable[[Any, int, int], int]:
    try:
        return floors.build(matching.load_models(queue, fee, latency))
    except ModelError as error:
        raise ExchangeError(str(error)) from error


def assemble(exchange: Exchange, midnight: int) -> floors.Floor:
    """The floor: nothing has happened on it yet, and its agents have no time yet (`wake`)."""
    accounts, instruments, users = exchange.accounts(), exchange.instruments(), clients(exchange)
    venue = matching.create(
        len(instruments), exchange.order_live_max, max(1, len(accounts)),
        rings.create(REPORT, RING_SLOTS), rings.create(RECORD, RING_SLOTS),
        ids_max=max(1024, exchange.order_day_max // 16), pages_max=exchange.level_page_max,
    )  # fmt: skip
    desk = desks.create(
        len(users), len(instruments), exchange.order_live_max, store_bytes=exchange.reply_bytes,
        rate=exchange.order_rate_max_per_s, ts_base=midnight, reasons=matching.REASONS,
    )  # fmt: skip
    for owner, user in enumerate(users):
        desk.accounts[owner].keeps = int(not accounts[user].cancel_on_disconnect)
    for index, (symbol, instrument) in enumerate(instruments.items()):
        low, high = instrument.band_units
        matching.list_instrument(
            venue, index, tick=instrument.tick_units, lot=instrument.lot, low=low, high=high,
            qty_max=min(instrument.order_qty_max * instrument.lot, ouch.QTY_MAX), reference=instrument.price_units,
        )  # fmt: skip
        desks.list_instrument(desk, index, symbol)
    publisher = itch_feed.create(
        [symbol_to_int(symbol) for symbol in instruments], [row.lot for row in instruments.values()], midnight
    )
    messages = exchange.message_max
    bank = links.bank(exchange.client_max, IN_BYTES, OUT_BYTES)
    found = floors.create(
        venue, desk, traders.create(len(_living(exchange))), backgrounds.create(RECORDED_RING, RECORDED_MAX), publisher,
        archives.create(messages, messages * MESSAGE_BYTES + RING_SLOTS * itch_feed.ROOM), bank,
        np.full(exchange.client_max, -1, np.int64), log_slots=LOG_SLOTS,
        heartbeat_ns=exchange.heartbeat_ms * 1_000_000, silence_ns=exchange.silence_ms * 1_000_000,
    )  # fmt: skip
    _staff(found, exchange)
    return found


def _staff(floor: floors.Floor, exchange: Exchange) -> None:
    """Say who the agents are: before anything is done again, so that reports find them."""
    names, symbols = list(exchange.accounts()), list(exchange.instruments())
    for row, given in zip(floor.agents.rows, _living(exchange), strict=True):
        listed = exchange.instruments()[given.instrument]
        row.kind = traders.MAKER if given.kind == "maker" else traders.ZERO_INTELLIGENCE
        row.instrument, row.owner = symbols.index(given.instrument), names.index(given.account)
        row.reference, row.step = listed.price_units, listed.tick_units
        row.lot, row.lots, row.depth, row.lean = listed.lot, given.lots_max, given.depth_ticks, given.lean_lots
        row.cancels, row.moves, row.takes = given.cancel_permille, given.move_permille, given.take_permille


def wake(floor: floors.Floor, exchange: Exchange, now: int) -> None:
    """Give the agents their clocks, from now on. The seed moves on with what an agent has done before."""
    for row, given in zip(floor.agents.rows, _living(exchange), strict=True):
        seed = (given.seed + 0x9E3779B9 * int(row.made)) & ((1 << 62) - 1)
        half_life = given.half_life_ms * 1_000_000
        burst = given.burst_permille or (BURST_USUAL if given.kind == "hawkes" else 0)
        arrivals.start(row, seed, given.rate_per_s * arrivals.UNIT, burst, half_life, now)


def _living(exchange: Exchange) -> list[Generator]:
    return [row for row in exchange.generators().values() if row.kind != "replay"]


def recorded(exchange: Exchange) -> Generator | None:
    """The generator that replays a file, if there is one."""
    found = [row for row in exchange.generators().values() if row.kind == "replay"]
    return found[0] if found else None


def identity(exchange: Exchange) -> dict[str, Any]:
    """What an exchange is, for the log: every key but those that only say how it is reached."""
    return {f.name: _plain(getattr(exchange, f.name)) for f in fields(exchange) if f.name not in FREE}


def _plain(value: Any) -> Any:
    return {key: _plain(value[key]) for key in sorted(value)} if isinstance(value, Mapping) else value


class EntryLog:
    """The file of a floor's log, in a folder of its own: new, or that of a venue that died."""

    def __init__(self, folder: Path, exchange: Exchange, now: int) -> None:
        """JournalError or ExchangeError when the folder holds something that this exchange can't continue."""
        self.folder = folder
        self.resumed = any(folder.glob("segment-*.ulj"))
        self.slots = 0
        self._failed = False
        self._sync = exchange.sync
        midnight = midnight_ns(now)
        self.meta: dict[str, Any] = {
            "venue": identity(exchange), "midnight": midnight, "started": now,
            "session": f"{exchange.name}{(now - midnight) // 1_000_000_000:06d}",
        }  # fmt: skip
        if self.resumed:
            self.meta = self._read_meta(exchange)
        self._journal = Journal(folder, segment_bytes=SEGMENT_BYTES, sync=self._sync, resume=self.resumed)
        if not self.resumed:
            payload = json.dumps(self.meta).encode()
            self._journal.append(segment.META, 0, 0, 0, payload)
            self._journal.sync()

    def _read_meta(self, exchange: Exchange) -> dict[str, Any]:
        first = next(iter(segment.read(self.folder)), None)
        meta: dict[str, Any] = {} if first is None or first.kind != segment.META else first.meta()
        if "venue" not in meta:
            raise ExchangeError(f"{self.folder} holds a journal, but not of a venue: choose another folder")
        before, after = meta["venue"], json.loads(json.dumps(identity(exchange)))
        differ = [key for key in after if before.get(key) != after[key]]
        if differ:
            raise ExchangeError(
                f"{self.folder} is of an exchange with another {', '.join(differ)}: start with its configuration, "
                "or in another folder"
            )
        return meta

    def again(self, floor: floors.Floor, turn: Callable[[Any, int, int], int]) -> None:
        """Do everything that the log says on a fresh floor."""
        segment.refuse_retired(self.folder)
        floor.cells[floors.REPLAYING] = 1
        for frame in segment.read(self.folder):
            if frame.kind == segment.RECORDS:
                at, data = 0, np.frombuffer(frame.payload, np.uint8)
                while at < len(data):
                    size = min(len(data) - at, len(floor.log_bytes))
                    floor.log_bytes[:size] = data[at : at + size]
                    floor.cells[floors.LOG_AT], floor.cells[floors.LOG_END] = 0, size // floors.SLOT_BYTES
                    turn(floor, 0, 1 << 40)
                    at += size
                self.slots += len(data) // floors.SLOT_BYTES
        floor.cells[floors.REPLAYING] = floor.cells[floors.LOG_AT] = floor.cells[floors.LOG_END] = 0

    def write(self, floor: floors.Floor) -> None:
        """Put what the floor has logged into the file. JournalError when the disk refuses: then nothing may be said."""
        count = int(floor.cells[floors.LOG_END])
        if count == 0:
            return
        payload = floor.log_bytes[: count * floors.SLOT_BYTES].data
        try:
            self._journal.append(segment.RECORDS, self.slots, count, self.slots + count, payload)
            self._journal.sync()
        except OSError as error:
            self._failed = True
            raise segment.JournalError(
                f"{self.folder}: {error.strerror}; the venue has ended and said nothing that is not written: make "
                "room, then start it in this folder again"
            ) from error
        self.slots += count
        floor.cells[floors.LOG_END] = 0

    def close(self) -> None:
        """End the file in good order; one that can't be written any more is left as it is."""
        if not self._failed:
            self._journal.close()


assert ENTRY.itemsize == floors.SLOT_BYTES
