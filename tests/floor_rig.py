"""A trading floor without sockets for tests: one size for all of them, so that it is compiled once.

Bytes of clients are put where a socket would have put them; what they are told is read where a socket would send it.
"""

from typing import Any, NamedTuple

import numpy as np

from ultra.hot import ring as rings
from ultra.venues import agents as traders
from ultra.venues import arrivals, itch, itch_feed, matching, ouch, soupbin
from ultra.venues import background as backgrounds
from ultra.venues import floor as floors
from ultra.venues import link as links
from ultra.venues import mold_archive as archives
from ultra.venues import order_desk as desks
from ultra.wire import AUCTION, ENTRY, RECORD, REPORT, SET_STATE, TRADING, symbol_to_int

SYMBOLS = ("AAPL", "MSFT")
CLIENTS = 2
AGENTS_OWNER, BACKGROUND_OWNER = 2, 3
START = 1_700_000_000_000_000_000
MIDNIGHT = START - 10 * 3600 * 10**9
SECOND = 10**9
MODELS = matching.load_models()
TURN = floors.build(MODELS)


class Sizes(NamedTuple):
    ring: int = 64
    messages: int = 1 << 14
    log: int = 1 << 10
    store: int = 1 << 18


USUAL = Sizes()


def floor(seed: int = 1, sizes: Sizes = USUAL, *, noise: bool = True) -> floors.Floor:
    """Two instruments at 100.00, two clients, and with `noise` two agents in the first instrument."""
    ring = sizes.ring
    venue = matching.create(2, 1 << 12, 4, rings.create(REPORT, ring), rings.create(RECORD, ring), ids_max=1 << 14,
                            pages_max=1 << 8)  # fmt: skip
    desk = desks.create(CLIENTS, 2, 1 << 10, store_bytes=sizes.store, ts_base=MIDNIGHT, reasons=matching.REASONS)
    for index, symbol in enumerate(SYMBOLS):
        matching.list_instrument(venue, index, tick=100, low=500_000, high=1_500_000, reference=1_000_000)
        desks.list_instrument(desk, index, symbol)
    agents = traders.create(2 if noise else 0)
    for at, row in enumerate(agents.rows):
        arrivals.start(row, seed + at, 2000 * arrivals.UNIT, 300, 20_000_000, START)
        row.kind, row.owner = (traders.ZERO_INTELLIGENCE, traders.MAKER)[at], AGENTS_OWNER
        row.reference, row.step, row.lot, row.lots, row.depth = 1_000_000, 100, 1, 100, 4
        row.cancels, row.moves, row.takes, row.lean = 400, 60, 60, 500
    publisher = itch_feed.create([symbol_to_int(symbol) for symbol in SYMBOLS], [1, 1], MIDNIGHT)
    archive = archives.create(sizes.messages, sizes.messages * 48)
    background = backgrounds.create(64, 256)
    bank, owners = links.bank(CLIENTS, 1 << 12, 256), np.arange(CLIENTS)
    found = floors.create(venue, desk, agents, background, publisher, archive, bank, owners, log_slots=sizes.log)
    found.cells[floors.TIMED] = 0
    return found


def command(found: floors.Floor, kind: int, **fields: int) -> None:
    """An item of the operator."""
    ring = found.commands
    slot = int(ring.cells[rings.CURSOR]) & (len(ring.slots) - 1)
    entry = np.zeros(1, ENTRY)
    entry["kind"] = kind
    for name, value in fields.items():
        entry[name] = value
    ring.slots[slot] = entry[0]
    ring.cells[rings.CURSOR] += 1


def record(found: floors.Floor, **fields: int) -> None:
    """A recorded event on its way in."""
    ring = found.background.feed
    row = np.zeros(1, RECORD)
    for name, value in fields.items():
        row[name] = value
    ring.slots[int(ring.cells[rings.CURSOR]) & (len(ring.slots) - 1)] = row[0]
    ring.cells[rings.CURSOR] += 1


def open_day(found: floors.Floor) -> None:
    """The feed begins, and both instruments trade."""
    command(found, floors.EVENT, aux=itch_feed.START_OF_MESSAGES)
    command(found, floors.DIRECTORY)
    for instrument in range(len(SYMBOLS)):
        command(found, SET_STATE, instrument=instrument, aux=TRADING)


def auction(found: floors.Floor, instrument: int, flag: int = 0) -> None:
    command(found, SET_STATE, instrument=instrument, aux=AUCTION, flag=flag)


def say(found: floors.Floor, owner: int, *messages: dict[str, Any]) -> None:
    """What a client sends: OUCH messages by name."""
    hear(found, owner, b"".join(soupbin.framed("U", ouch.compose(message, outbound=False)) for message in messages))


def hear(found: floors.Floor, owner: int, raw: bytes) -> None:
    """Bytes arrive on an account's connection."""
    cells = found.bank.cells[owner]
    end = int(cells[links.IN_END])
    assert end + len(raw) <= found.bank.inbox.shape[1]
    found.bank.inbox[owner, end : end + len(raw)] = np.frombuffer(raw, np.uint8)
    cells[links.IN_END] += len(raw)


def order(
    ref: int, side: str, qty: int, price: int, symbol: str = "AAPL", tif: str = "0", **more: Any
) -> dict[str, Any]:
    """An enter order message."""
    return dict(type="O", ref=ref, side=side, qty=qty, symbol=symbol, price=price, tif=tif, display="Y",
                capacity="P", iso="N", cross="N", clordid=f"C{ref}") | more  # fmt: skip


def told(found: floors.Floor, owner: int) -> list[dict[str, Any]]:
    """Every message an account was told, by name."""
    raw, said = found.desk.store[owner, : int(found.desk.accounts[owner].end)].tobytes(), []
    while raw:
        length = 2 + int.from_bytes(raw[:2], "big")
        said.append(ouch.describe(raw[3:length], outbound=True))
        raw = raw[length:]
    return said


def feed(found: floors.Floor) -> bytes:
    """The public feed so far, each message behind its length."""
    count = int(found.archive.cells[archives.COUNT])
    return bytes(found.archive.block[: int(found.archive.starts[count])].tobytes())


def records(found: floors.Floor) -> Any:
    """The feed as our decoder reads it."""
    raw = np.frombuffer(feed(found), np.uint8).copy()
    decoder = itch.create(len(SYMBOLS), [symbol_to_int(symbol) for symbol in SYMBOLS], selective=True, ts_base=MIDNIGHT)
    ring = rings.create(RECORD, 1 << 15)
    assert itch.decode(decoder, raw, 0, len(raw), ring) == len(raw)
    assert itch.errors(decoder) == {}
    return ring.slots[: int(ring.cells[rings.CURSOR])]


def logged(found: floors.Floor) -> bytes:
    """The log so far, which is then written to the file."""
    size = int(found.cells[floors.LOG_END]) * floors.SLOT_BYTES
    found.cells[floors.LOG_END] = 0
    return bytes(found.log_bytes[:size].tobytes())


def run(found: floors.Floor, until: int, step: int = SECOND, items: int = 10_000) -> bytes:
    """Turns up to a time; the log."""
    log, now = b"", max(START, int(found.cells[floors.TIME]))
    while True:
        while TURN(found, now, items) == items or int(found.cells[floors.LOG_END]) + floors.ITEM_SLOTS > len(found.log):
            log += logged(found)
        log += logged(found)
        if now >= until:
            return log
        now = min(until, now + step)


def again(found: floors.Floor, log: bytes) -> None:
    """Do a log again on a fresh floor, as many whole items at a time as fit."""
    found.cells[floors.REPLAYING] = 1
    entries, at = np.frombuffer(log, ENTRY), 0
    while at < len(entries):
        end = at
        while end < len(entries) and end + floors.ITEM_SLOTS - at <= len(found.log):
            message = int(entries[end]["kind"]) == floors.MESSAGE
            end += 1 + -(-int(entries[end]["qty"]) // floors.SLOT_BYTES) if message else 1
        found.log[: end - at] = entries[at:end]
        found.cells[floors.LOG_AT], found.cells[floors.LOG_END] = 0, end - at
        TURN(found, 0, 1 << 30)
        at = end
    found.cells[floors.REPLAYING] = found.cells[floors.LOG_AT] = found.cells[floors.LOG_END] = 0
