"""The trading floor: clients' bytes in, matching, replies and the public feed out, in one compiled loop.

Whatever happens here is an item: a client's message, an order of an agent or of a recording, a word of the operator.
An item is written to the log first, then done from the log; so the floor is a function of its log, and a venue that
was killed comes back by doing the log again (REPLAYING). Entries wait in one queue for the moment they take effect, and
an item is done only after all entries of before its time. `turn` does work and says nothing; whoever drives it writes
the log to a file and then calls `speak`: what a client or the feed was told is always in the file.

Always: times of items, and of entries that take effect, never go back. The same log gives the same bytes.
Known bad case: a feed that has outgrown its archive stops the floor (FEED_FULL): the day is over, nothing is lost.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import entry, hot, memory, rare
from ..hot import histogram as histograms
from ..hot import ring as rings
from ..hot.atomics import Cells
from ..hot.clock import ticks
from ..wire import (
    AUCTION,
    ENTRY,
    INSTRUMENT,
    NONE,
    ON_CLOSE,
    ON_OPEN,
    RECORD,
    SET_STATE,
    TRADING,
)  # fmt: skip
from . import agents as traders
from . import background as backgrounds
from . import itch_feed, matching, order_entry, order_reports, ouch, soupbin
from . import link as links
from . import mold_archive as archives
from . import mold_sender as senders
from . import mold_server as servers
from . import order_desk as desks
from .matching_models import Models
from .matching_state import SIDES, Venue

# Kinds of items beside those of an ENTRY, which are small.
MESSAGE: Final = 100  # owner; qty = bytes, which lie in the slots behind
LEFT: Final = 101  # owner: its connection is gone
EVENT: Final = 102  # aux = code of a system event of the feed
DIRECTORY: Final = 103  # every instrument is announced
SLOT_BYTES: Final = 64
ITEM_SLOTS: Final = 1 + -(-ouch.MESSAGE_MAX // SLOT_BYTES)  # of the longest item
ENTRIES: Final = 256  # that wait for their time; no item makes more than one
BATCHES_MAX: Final = 64  # of packets in one `speak`

# Cells.
CLIENTS, TIME, EFFECT, REPLAYING, LOG_AT, LOG_END, ITEM_TS, ITEM_AT, CLIENT_AT = range(9)
ITEMS, ENTERED, FEED_FULL, HEARTBEAT_NS, SILENCE_NS, DEAF, TIMED, FAILED, LAST_EVENT = range(9, 18)
CELLS: Final = 32
# Where the next item comes from.
NOTHING, REPLAYED, COMMANDED, ACTED, RECORDED, ASKED = range(6)


class Floor(NamedTuple):
    """Everything of a venue but its sockets and files."""

    venue: Venue
    desk: desks.Desk  # of the accounts that log in; those of agents have the indices behind them
    agents: traders.Agents
    background: backgrounds.Background
    publisher: itch_feed.Publisher
    archive: archives.Archive
    entries: rings.Ring  # ENTRY, waiting for their time
    commands: rings.Ring  # ENTRY: items of the operator
    log: Any  # ENTRY[log_slots]: items since it was written to the file, or those to be done again
    log_bytes: Any  # uint8: the same memory
    bank: links.Bank  # connections of clients
    owners: Cells  # int64[connections]: whose each is; negative = nobody's who may trade
    note: Any  # RECORD[1]
    service: histograms.Histogram  # ticks from an entry's begin to its end
    cells: Cells


def create(
    venue: Venue,
    desk: desks.Desk,
    agents: traders.Agents,
    background: backgrounds.Background,
    publisher: itch_feed.Publisher,
    archive: archives.Archive,
    bank: links.Bank,
    owners: Cells,
    *,
    log_slots: int = 1 << 14,
    heartbeat_ns: int = 1_000_000_000,
    silence_ns: int = 15_000_000_000,
) -> Floor:
    """A floor on which nothing has happened yet."""
    assert log_slots >= 2 * ITEM_SLOTS and bank.inbox.shape[1] >= 2 * ouch.MESSAGE_MAX
    clients = len(desk.accounts)
    cells = np.zeros(CELLS, np.int64)
    cells[CLIENTS], cells[HEARTBEAT_NS], cells[SILENCE_NS], cells[TIMED] = clients, heartbeat_ns, silence_ns, 1
    # Everybody may leave between two turns, and every instrument change its state twice.
    commands = 1 << (2 * (len(owners) + len(publisher.symbols)) + 64).bit_length()
    log = memory.zeros(log_slots, ENTRY)
    return Floor(
        venue, desk, agents, background, publisher, archive,
        rings.create(ENTRY, ENTRIES), rings.create(ENTRY, commands),
        log, log.view(np.ndarray).view(np.uint8),
        bank, owners, memory.zeros(1, RECORD), histograms.create(), cells,
    )  # fmt: skip


@hot
def _client(floor: Floor) -> int:
    """The next connection in turn with a message to take, NONE. Packets without one are dealt with here."""
    cells, places = floor.cells, len(floor.owners)
    for step in range(places):
        index = (cells[CLIENT_AT] + 1 + step) % places
        waits = floor.bank.cells[index, links.IN_AT] < floor.bank.cells[index, links.IN_END]
        if waits and floor.owners[index] >= 0 and _listen(floor, index):
            return index
    return NONE


@hot
def _listen(floor: Floor, index: int) -> bool:
    """Whether a whole message is at the front of a connection's inbox."""
    link = links.of(floor.bank, index)
    while links.readable(link):
        at = link.cells[links.IN_AT]
        length = soupbin.packet(link.inbox, at, link.cells[links.IN_END], ouch.MESSAGE_MAX)
        if length == soupbin.INCOMPLETE:
            return False
        if length == soupbin.BAD:
            links.fail(link, links.BAD_PACKET)
            return False
        kind = np.int64(link.inbox[at + 2])
        if kind == soupbin.UNSEQUENCED:
            if desks.room(floor.desk, floor.owners[index]):
                return True
            links.fail(link, links.STORE_FULL)
            return False
        if kind == soupbin.LOGOUT:
            links.fail(link, links.LOGGED_OUT)
        elif kind != soupbin.CLIENT_HEARTBEAT and kind != soupbin.DEBUG:
            links.fail(link, links.BAD_PACKET)
        link.cells[links.IN_AT] = at + length
    return False


@hot
def _next(floor: Floor, now: int) -> int:
    """Where the next item comes from; its time in ITEM_TS."""
    cells = floor.cells
    if cells[REPLAYING] != 0:
        if cells[LOG_AT] == cells[LOG_END]:
            return NOTHING
        cells[ITEM_TS] = floor.log[cells[LOG_AT]].ts_event
        return REPLAYED
    cells[ITEM_TS] = max(now, cells[TIME])
    if rings.ready(floor.commands) > 0:
        return COMMANDED
    agent = traders.earliest(floor.agents, now)
    due = floor.agents.rows[agent].due if agent >= 0 else backgrounds.NEVER
    recorded = backgrounds.due(floor.background)
    if min(due, recorded) <= now:
        cells[ITEM_TS] = max(min(due, recorded), cells[TIME])
        cells[ITEM_AT] = agent
        return ACTED if due <= recorded else RECORDED
    cells[ITEM_AT] = _client(floor)
    return ASKED if cells[ITEM_AT] >= 0 else NOTHING


@hot
def _write(floor: Floor, source: int) -> int:
    """Put the next item at the end of the log; how many slots it takes, 0 when there is none after all."""
    cells, item = floor.cells, floor.log[floor.cells[LOG_END]]
    slots = 1
    if source == COMMANDED:
        floor.log[cells[LOG_END]] = floor.commands.slots[rings.polled(floor.commands, 0)]
        rings.release(floor.commands, 1)
    elif source == ACTED:
        slots = _act(floor, cells[ITEM_AT], item)
    elif source == RECORDED:
        slots = np.int64(backgrounds.take(floor.background, item, cells[ITEM_TS]))
    else:
        slots = _copy(floor, cells[ITEM_AT], item)
    item.ts_event = cells[ITEM_TS]
    return slots


@hot
def _act(floor: Floor, at: int, item: Any) -> int:
    """An agent's turn. Before trading it knows no prices; when nothing trades it does nothing."""
    row = floor.agents.rows[at]
    state = floor.venue.listings[row.instrument].state
    bid, ask = np.int64(NONE), np.int64(NONE)
    if state == TRADING:
        bid = floor.venue.ladder.sides[SIDES * row.instrument].price
        ask = floor.venue.ladder.sides[SIDES * row.instrument + 1].price
    elif state != AUCTION or row.kind == traders.MAKER:
        traders.skip(floor.agents, at)
        return 0
    return np.int64(traders.act(floor.agents, at, bid, ask, item))


@hot
def _copy(floor: Floor, index: int, item: Any) -> int:
    """A client's message as an item: its bytes go into the slots behind."""
    link, cells = links.of(floor.bank, index), floor.cells
    at = link.cells[links.IN_AT]
    length = soupbin.packet(link.inbox, at, link.cells[links.IN_END], ouch.MESSAGE_MAX)
    link.cells[links.IN_AT] = at + length
    length -= soupbin.HEAD
    item.kind, item.owner, item.qty = MESSAGE, floor.owners[index], length
    start = SLOT_BYTES * (cells[LOG_END] + 1)
    for k in range(length):
        floor.log_bytes[start + k] = link.inbox[at + soupbin.HEAD + k]
    cells[CLIENT_AT] = index
    return 1 + (length + SLOT_BYTES - 1) // SLOT_BYTES


@rare
def _announce(floor: Floor, kind: int, code: int, ts: int) -> None:
    """A system event, or every instrument."""
    archive = floor.archive
    if kind == EVENT:
        count = archive.cells[archives.COUNT]
        archive.starts[count + 1] = itch_feed.event(floor.publisher, code, ts, archive.block, archive.starts[count])
        archive.cells[archives.COUNT] = count + 1
        floor.cells[LAST_EVENT] = code
        return
    for instrument in range(len(floor.publisher.symbols)):
        floor.note[0].kind = INSTRUMENT
        floor.note[0].instrument = instrument
        floor.note[0].ts_event = ts
        _publish(floor, floor.note[0])


@hot
def _publish(floor: Floor, record: Any) -> None:
    """A public record becomes the feed's next message."""
    archive = floor.archive
    count = archive.cells[archives.COUNT]
    start = archive.starts[count]
    end = itch_feed.write(floor.publisher, record, archive.block, start)
    if end > start:
        archive.starts[count + 1] = end
        archive.cells[archives.COUNT] = count + 1


@hot
def _drain(floor: Floor) -> None:
    """Reports to whom they concern, public records to the feed."""
    reports, public = floor.venue.reports, floor.venue.public
    count = rings.ready(reports)
    for k in range(count):
        report = reports.slots[rings.polled(reports, k)]
        if report.owner < floor.cells[CLIENTS]:
            order_reports.report(floor.desk, report)
        elif report.owner != floor.background.cells[backgrounds.OWNER]:
            traders.observe(floor.agents, report)
    rings.release(reports, count)
    count = rings.ready(public)
    for k in range(count):
        _publish(floor, public.slots[rings.polled(public, k)])
    rings.release(public, count)


@hot
def _room(floor: Floor) -> bool:
    """Whether the feed's archive takes whatever one step may say."""
    count = floor.archive.cells[archives.COUNT]
    most = max(len(floor.venue.public.slots), len(floor.publisher.symbols)) + 1
    fits = count + most < len(floor.archive.starts)
    if fits and floor.archive.starts[count] + most * itch_feed.ROOM <= len(floor.archive.block):
        return True
    floor.cells[FEED_FULL] = 1
    return False


def build(models: Models) -> Callable[[Floor, int, int], int]:
    """`turn(floor, now, items_max)` with these models in it; how many items it did.

    It takes what the sockets hold, then does items in the order of their times, those of `now` last, until there is
    none, or the log or the feed is full. Time (ns since the epoch) must not go back."""
    enter, stamp = matching.build(models), matching.build_stamp(models)

    @hot
    def process(floor: Floor) -> None:
        """The entry that is next takes effect, or goes on to."""
        slot = rings.polled(floor.entries, 0)
        before = ticks() if floor.cells[TIMED] != 0 else 0
        done = enter(floor.venue, floor.entries.slots[slot])
        if done:
            if floor.cells[TIMED] != 0:
                histograms.record(floor.service, ticks() - before)
            rings.release(floor.entries, 1)
            floor.cells[ENTERED] += 1
        _drain(floor)

    @hot
    def perform(floor: Floor, at: int) -> None:
        """Do the item at a place of the log. What it asks of the engine gets the time at which that takes effect."""
        item, entries, cells = floor.log[at], floor.entries, floor.cells
        kind, ts, slot = np.int64(item.kind), item.ts_event, rings.claimed(entries, 0)
        before = entries.cells[rings.CURSOR]
        if kind == MESSAGE:
            place = SLOT_BYTES * (at + 1)
            order_entry.message(floor.desk, np.int64(item.owner), floor.log_bytes, place, item.qty, entries, ts)
        elif kind == LEFT:
            desks.detach(floor.desk, np.int64(item.owner))
            desks.ask_mass(floor.desk, np.int64(item.owner), entries, ts)
        elif kind == EVENT or kind == DIRECTORY:
            _announce(floor, kind, item.aux, ts)
        else:
            if kind == SET_STATE and item.aux == AUCTION:
                itch_feed.will_cross(floor.publisher, np.int64(item.instrument), item.flag & (ON_OPEN | ON_CLOSE))
            entries.slots[slot] = item
            rings.publish(entries, 1)
        if entries.cells[rings.CURSOR] != before:
            stamp(entries.slots[slot])
            cells[EFFECT] = max(cells[EFFECT], entries.slots[slot].ts_event)
            entries.slots[slot].ts_event = cells[EFFECT]

    @entry(key=models.key)
    def turn(floor: Floor, now: int, items_max: int) -> int:
        cells, done, source = floor.cells, 0, NOTHING
        if cells[REPLAYING] == 0:
            for index in range(len(floor.owners)):
                if floor.owners[index] >= 0:
                    links.pull(links.of(floor.bank, index), now)
        while _room(floor):
            waits = rings.ready(floor.entries) > 0
            if source == NOTHING and done < items_max and rings.room(floor.entries) > 0:
                source = _next(floor, now)
                if source > REPLAYED and cells[LOG_END] + ITEM_SLOTS > len(floor.log):
                    source = NOTHING
                    items_max = done
            until = cells[ITEM_TS] if source != NOTHING else now
            if cells[REPLAYING] != 0 and source == NOTHING:
                until = cells[TIME]
            if waits and floor.entries.slots[rings.polled(floor.entries, 0)].ts_event <= until:
                process(floor)
                continue
            if source == NOTHING:
                break
            slots = np.int64(0)
            if source == REPLAYED:
                at = cells[LOG_AT]
                item = floor.log[at]
                slots = 1 + (item.qty + SLOT_BYTES - 1) // SLOT_BYTES if item.kind == MESSAGE else np.int64(1)
                cells[LOG_AT] += slots
            else:
                at = cells[LOG_END]
                slots = _write(floor, source)
                cells[LOG_END] += slots
            if slots > 0:
                cells[TIME] = cells[ITEM_TS]
                cells[ITEMS] += 1
                perform(floor, at)
            done += 1
            source = NOTHING
        return done

    return turn


@entry
def speak(floor: Floor, sender: senders.Sender, server: servers.Server, now: int) -> int:
    """Say what has happened: replies to clients, the feed on its lines, answers to whoever lost packets.

    Returns how many bytes and packets went: 0 = there was nothing to say. FAILED counts links that must be closed."""
    cells, went = floor.cells, np.int64(0)
    cells[FAILED] = 0
    for index in range(len(floor.owners)):
        if floor.owners[index] >= 0:
            link = links.of(floor.bank, index)
            went += order_reports.send(floor.desk, floor.owners[index], link, now, cells[HEARTBEAT_NS])
            if now - link.cells[links.HEARD_NS] >= cells[SILENCE_NS]:
                links.fail(link, links.SILENT)
            cells[FAILED] += link.cells[links.FAULT] != links.NO_FAULT
    batches, made = 0, senders.send(sender, floor.archive, now)
    while made > 0 and batches < BATCHES_MAX:
        went += made
        batches += 1
        made = senders.send(sender, floor.archive, now)
    if cells[DEAF] == 0 and server.cells[servers.FD] >= 0:
        went += max(0, servers.serve(server, floor.archive))
    return went


def check(floor: Floor) -> None:
    """What always holds: for tests. The parts have checks of their own."""
    cells = floor.cells
    assert 0 <= int(cells[LOG_AT]) <= int(cells[LOG_END]) <= len(floor.log)
    archives.check(floor.archive)
    desks.check(floor.desk)
    traders.check(floor.agents)
    backgrounds.check(floor.background)
    rings.check(floor.entries)
    assert int(floor.publisher.cells[itch_feed.MESSAGES]) == int(floor.archive.cells[archives.COUNT])
