"""Feed, engine, venue and two journals apart, in one thread; the engine dies where it is told to, and comes back.

What processes share (fan, control block, rings) outlives an engine, what it has for itself does not. Without the JIT
each store that others can see is a place to die: before it, or after it. With the JIT an engine dies between two calls
of its loop, which then stops at any record.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from runs import MAKER, START_NS, market
from test_apart import SMALL, loaded_of, pump_of

from ultra import apart, inline
from ultra.cold import assembly, comeback, drive, journal, native, segment
from ultra.config import load
from ultra.hot import JIT, atomics, memory
from ultra.hot import book as books
from ultra.hot import fan as fans
from ultra.hot import ring as rings
from ultra.venues import paper
from ultra.wire import CONTROL_CELLS, JOURNAL_DURABLE, RECORD, REQUEST, SOURCE

MESSAGES = 1500 if JIT else 200
CHUNK, RING, BATCH = 4096, 64, 16
# Functions of others, or of an engine that nobody sees yet: the venue, the feed, a replay, the compiler's first call.
NOT_OF_AN_ENGINE = {"serve", "send", "_replay", "_load"}


class Died(BaseException):
    """kill -9."""


class Keeper:
    """A journal's process and the engine's end of it, as `drive` needs them."""

    def __init__(self, folder: Path, about: dict[str, object], *, durable: bool) -> None:
        self.folder, self.durable_at_once = folder, durable
        self.writer = journal.Journal(folder, segment_bytes=1 << 20, sync=False)
        self.writer.append(segment.META, 0, 0, 0, json.dumps(about).encode())
        self.segment = SimpleNamespace(header=SimpleNamespace(name=""), notes=[])
        self.born()

    def born(self) -> None:
        """A ring of a new engine."""
        self.memory = bytearray(rings.size_bytes(RECORD, RING))
        self.ring = rings.over(self.memory, RECORD, RING)
        self.tap = journal.Tap(self.memory, RING)

    def buried(self, *, dead: bool) -> None:
        """The engine is gone; so may be the journal, whose next one then goes on."""
        if dead:
            self.writer = journal.Journal(self.folder, segment_bytes=1 << 20, sync=False, resume=True)
        self.wait_room()
        self.born()

    def wait_room(self) -> None:
        self.tap.move(self.writer, BATCH)
        self.ring.cells[JOURNAL_DURABLE] = self.writer.through if self.durable_at_once else 0

    hurry = wait_room

    def check(self) -> None:
        """It never fails."""


class Desk:
    """One run. `turn` is called between two calls of an engine's loop, which takes `step_ns` of the market each."""

    def __init__(self, folder: Path, *, mirrored: bool = False, step_ns: int = 1 << 40, **more: Any) -> None:
        self.source = folder / "day.itch50"
        folder.mkdir()
        self.source.write_bytes(market(MESSAGES))
        names = ["journal", "mirror"] if mirrored else ["journal"]
        eager = {"strategy.parameters.drift": 0, "strategy.parameters.spread_min": 1}
        given = {"feed.chunk_bytes": CHUNK, "engine.checkpoint_records": 1000, **eager, **more}
        self.config = load(None, SMALL | given | ({"journal.mirror": str(folder / "mirror")} if mirrored else {}))
        sizes, self.loaded = self.config.engine, loaded_of(MAKER)
        about = drive.describe(self.config, self.loaded, self.source)
        gated = self.config.journal.durability == "gated"
        self.keepers = [Keeper(folder / name, about, durable=gated) for name in names]
        self.fan = fans.create(RECORD, self.config.host.fan_ring_records, [(), ()])
        self.link = np.zeros(CONTROL_CELLS, np.int64)
        self.requests, self.replies = rings.create(REQUEST, 64), rings.create(RECORD, 128)
        self.ends = assembly.Apart(self.fan, self.link, self.requests, self.replies)
        book = books.create(sizes.instrument_max, sizes.order_live_max, sizes.level_page_max)
        venue = paper.create(sizes.instrument_max, sizes.own_order_max, 128, self.config.venue.latency_ns)
        venue = venue._replace(replies=self.replies)
        self.exchange = apart.Exchange(book, venue, self.fan, self.link, self.requests, memory.zeros(1, RECORD))
        self.decoder, self.own = assembly.decoder_of(self.config), rings.create(RECORD, sizes.feed_ring_records)
        self.cells = np.zeros(apart.FEED_CELLS, np.int64)
        self.cells[apart.UNTIL] = inline.NEVER
        self.raw = np.frombuffer(self.source.read_bytes() + bytes(8), np.uint8)
        self.at = self.marked = 0
        self.step_ns, self.until, self.deaths = step_ns, START_NS, 0
        self.back: comeback.Comeback | None = None
        self.turn: Callable[[], None] = lambda: None

    # ---- the feed

    def feed(self) -> bool:
        """What has room, and a mark behind each block; whether there is more."""
        size = len(self.raw) - 8
        stop = min(self.marked + CHUNK, size)
        self.at = apart.send(self.decoder, self.raw, self.at, stop, self.own, self.fan, self.cells, 0)
        if self.own.cells[rings.CURSOR] != self.own.cells[rings.GATE] or self.marked == size:
            return self.marked < size
        record = memory.zeros(1, RECORD)
        digest = hashlib.sha256(self.source.read_bytes()[:stop]).hexdigest()
        record[0].kind, record[0].instrument, record[0].price = SOURCE, -1, stop
        record[0].aux, record[0].order_id = assembly.hash_words(digest[:32])
        record[0].ts_event = record[0].ts_recv = START_NS
        cursor, slots = int(self.fan.cells[fans.CURSOR]), self.fan.slots
        least = min(cursor - fans.lag(self.fan, k) for k in (apart.ENGINE, apart.VENUE))
        if cursor - least < len(slots):
            self.fan.cells[fans.GATE_SEEN] = least
            slots[cursor & (len(slots) - 1)] = record[0]
            self.fan.cells[fans.CURSOR] = cursor + 1
            self.marked = stop
        return self.marked < size

    # ---- the engine

    def first(self) -> None:
        """An engine that has seen nothing."""
        machine = assembly.assemble(self.config, self.loaded, [keeper.ring for keeper in self.keepers], self.ends)
        machine.run.cells[inline.PATIENCE] = 0 if JIT else 3
        self._wheel(machine._replace(pump=pump_of(MAKER)))
        assembly.introduce(self.drive.machine)

    def again(self) -> None:
        """One in the place of a dead one."""
        for number, keeper in enumerate(self.keepers):
            keeper.buried(dead=(self.deaths + number) % 3 == 0)
        journals = [keeper.ring for keeper in self.keepers]
        folder = self.keepers[0].folder
        self.back = comeback.Comeback(self.config, self.loaded, folder, self.ends, journals, self.venue)
        for keeper in self.keepers[1:]:
            comeback.even_out(folder, keeper.folder, keeper.ring)
        self._wheel(self.back.machine)
        self.drive.checkpoint_at = self.back.checkpoint_at

    def _wheel(self, machine: assembly.Machine) -> None:
        outcome = drive.Outcome(machine, self.source, str(self.source))
        self.drive = drive.Drive(machine, self.keepers, outcome, self._turned)

    def _turned(self, at_work: drive.Drive) -> None:
        if self.back is not None and self.back.rehearsing:
            self.back.look(self._ended())
            at_work.machine = self.back.machine
        self.turn()
        for keeper in self.keepers[1:]:
            if keeper.ring.cells[rings.CURSOR] - keeper.ring.cells[rings.GATE] == RING:
                keeper.wait_room()  # whoever waits for room waits for the first
        self.venue()
        self.check()

    def _ended(self) -> bool:
        feed = self.drive.run.feed.cells[rings.GATE]
        return self.marked == len(self.raw) - 8 and bool(feed == self.fan.cells[fans.CURSOR])

    def venue(self) -> None:
        apart.serve(self.exchange, 2, 0)

    def check(self) -> None:
        fans.check(self.fan)
        for ring in (self.requests, self.replies):
            rings.check(ring)
        paper.check(self.exchange.paper)

    def live(self) -> None:
        """To the end of the file, or of this engine."""
        while True:
            more, cells = self.feed(), self.drive.run.cells
            self.until += self.step_ns
            cells[inline.PACE_UNTIL] = self.until
            self.drive.pump(drive.NOTHING, 0, 0)
            if not more and self._ended():
                break
        self.drive.finish()

    def play(self) -> "Desk":
        """As many engines as it takes."""
        self.first()
        while True:
            try:
                if self.back is not None and self.back.ended:
                    self.drive.outcome.state_hash = self.back.state_hash
                else:
                    self.live()
                break
            except Died:
                self.deaths += 1
            while True:
                try:
                    self.again()
                    break
                except Died:
                    self.deaths += 1
        for keeper in self.keepers:
            keeper.wait_room()
        return self

    def found(self) -> dict[str, Any]:
        """What must not depend on who died when."""
        engine = self.drive.run.engine
        return {
            "state": self.drive.outcome.state_hash,
            "decisions": assembly.decision_hash(engine),
            "inputs": self.keepers[0].writer.through,
            "requests": int(self.requests.cells[rings.CURSOR]),
            "replies": int(self.replies.cells[rings.CURSOR]),
            "taken": int(self.exchange.paper.cells[paper.REQUESTS]),
        }


def where(desk: Desk, cells: Any, index: int) -> str:
    """A store by the function of the loop that does it, and what it changes."""
    frame = sys._getframe(2)
    while frame.f_back is not None and (
        frame.f_globals["__name__"] in ("ultra.hot.ring", "ultra.hot.fan") or frame.f_code.co_name == "_ask"
    ):
        frame = frame.f_back
    shared = {
        "fan": desk.fan.cells, "link": desk.link, "requests": desk.requests.cells, "replies": desk.replies.cells,
        **{name: keeper.ring.cells for name, keeper in zip(("journal", "mirror"), desk.keepers, strict=False)},
    }  # fmt: skip
    what = next((name for name, known in shared.items() if known is cells), "own")
    return f"{frame.f_code.co_name} {what} {index}"


def fused(desk: Desk, monkeypatch: Any, burns: Callable[[str], str]) -> None:
    """Ask `burns` at each store of the engine that others can see; it says "before", "after" or "" (go on)."""

    def store(cells: Any, index: int, value: int) -> None:
        names = {frame.f_code.co_name for frame in frames()}
        said = "" if names & NOT_OF_AN_ENGINE else burns(where(desk, cells, index))
        if said == "before":
            raise Died
        atomics.store_release(cells, index, value)
        if said == "after":
            raise Died

    class Fused(native.Cells):
        """Of an engine on its way back."""

        def store_release(self, index: int, value: int) -> None:
            said = burns(f"{sys._getframe(1).f_code.co_name} {index}")
            if said == "before":
                raise Died
            super().store_release(index, value)
            if said == "after":
                raise Died

    def idle(turns: int, spins: int) -> int:
        desk.venue()  # the loop waits for it, and need not come back: the journal is told of many records at once
        return turns + 1

    for part in (inline, apart, rings, fans):
        monkeypatch.setattr(part, "store_release", store)
    monkeypatch.setattr(inline, "idle", idle)
    monkeypatch.setattr(apart, "idle", lambda turns, spins: turns + 1)
    monkeypatch.setattr(comeback, "Cells", Fused)


def frames() -> Any:
    frame = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back
