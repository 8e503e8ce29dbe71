"""Load for a venue: many OUCH clients, each message due at a time that no answer changes (an open loop).

Message k is due at `begin + k * step`, its client is k modulo the clients. It leaves as soon as it may; its latency is
counted from when it was due, so a venue that stalls is charged for every message that it made wait (Gil Tene,
coordinated omission). New orders, replacements and cancels are mixed by fixed chances from a seed; every new number is
answered exactly once (accepted, replaced or rejected), which is how an answer is told from its due time.
Always: `due[ref & mask]` of a client is not 0 exactly while that number waits for its answer.
Known bad case: more than a ring of numbers without an answer; then nothing more is sent until the oldest is in.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import entry, hot, memory
from ..hot import histogram as histograms
from ..hot.atomics import Cells
from ..hot.bits import load_u16, load_u32, store_i64, store_u16, store_u32
from ..hot.clock import ticks
from . import link as links
from . import ouch, soupbin
from .flow_state import under, word

WAITING_MAX: Final = 1 << 16  # numbers of a client without an answer; a power of two
OPEN_MAX: Final = 256  # orders that a client may take back or move
CANCELS, MOVES, TAKES = 300, 150, 200  # in 1000
SPREAD: Final = 20  # ticks around the price
O_BYTES, U_BYTES, X_BYTES = 50, 43, 12  # packets
PULLS: Final = 64  # messages sent between two looks at the sockets

# Cells.
STEP_E16, BEGIN, SENT, LIMIT, SEED, SYMBOLS, PRICE, TICK, LOTS = range(9)
ORDERS, REPLACES, CANCELLED, ANSWERED, ACCEPTED, REPLACED, REJECTED, FILLS, TAKEN_OFF = range(9, 18)
LOST, UNSENT, BEATS, OTHER = range(18, 22)
COUNTS: Final = {
    "orders": ORDERS, "replaces": REPLACES, "cancels": CANCELLED, "answered": ANSWERED, "accepted": ACCEPTED,
    "replaced": REPLACED, "rejected": REJECTED, "fills": FILLS, "taken_off": TAKEN_OFF, "disconnects": LOST,
    "unsent": UNSENT, "other": OTHER,
}  # fmt: skip
_O, _U, _X = (ord(letter) for letter in "OUX")
_A, _R, _C, _E, _J = (ord(letter) for letter in "AUCEJ")
_BUY, _SELL, _DAY, _IOC = (ord(letter) for letter in "BS03")
_TERMS: Final = int.from_bytes(b"YPNN", "big")  # display, capacity, iso, cross
_SHOWN: Final = int.from_bytes(b"YN", "big")
_SPACES: Final = 0x2020202020202020

CLIENT: Final = np.dtype([("next_ref", "i8"), ("opened", "i8"), ("waiting", "i8"), ("linked", "i8")])


class Volley(NamedTuple):
    """All clients."""

    bank: links.Bank
    clients: Any  # CLIENT[clients]
    due: Any  # int64[clients, WAITING_MAX]: tick at which a number was due; 0 = answered, or never sent
    opened: Any  # int64[clients, OPEN_MAX]: numbers of orders that may still rest
    symbols: Cells  # int64[symbols]
    latency: histograms.Histogram  # ticks
    cells: Cells


def create(clients: int, symbols: list[int], *, price: int, tick: int, seed: int) -> Volley:
    """Clients without a connection; prices in 1/10000."""
    cells = np.zeros(32, np.int64)
    cells[[PRICE, TICK, LOTS, SEED]] = price, tick, 100, seed
    return Volley(
        links.bank(clients, 1 << 16, 1 << 16),
        memory.zeros(clients, CLIENT),
        memory.zeros(clients * WAITING_MAX, np.int64).reshape(clients, WAITING_MAX),
        np.zeros((clients, OPEN_MAX), np.int64),
        np.array(symbols, np.int64),
        histograms.create(),
        cells,
    )


def counts(volley: Volley) -> dict[str, int]:
    """Every count by name."""
    return {name: int(volley.cells[cell]) for name, cell in COUNTS.items()}


@hot
def due_tick(volley: Volley) -> int:
    """When the next message is due."""
    cells = volley.cells
    return cells[BEGIN] + (cells[SENT] * cells[STEP_E16] >> 16)


@hot
def drive(volley: Volley, now: int) -> bool:
    """Send what is due and take what has come; whether anything happened."""
    cells, moved, sent = volley.cells, False, 0
    while cells[SENT] < cells[LIMIT] and sent < PULLS and due_tick(volley) <= now:
        if not _send(volley, cells[SENT] % len(volley.clients), due_tick(volley)):
            break
        cells[SENT] += 1
        sent += 1
    for at in range(len(volley.clients)):
        client = volley.clients[at]
        if client.linked != 0:
            link = links.of(volley.bank, at)
            moved |= links.flush(link, now) > 0
            moved |= links.pull(link, now) > 0
            _hear(volley, at, link, ticks())
            if link.cells[links.FAULT] != links.NO_FAULT:
                client.linked = 0
                cells[LOST] += 1
    return moved or sent > 0


@hot
def _send(volley: Volley, at: int, due: int) -> bool:
    """The next message of a client; False when it has to wait. A client without a connection sends nothing."""
    cells, client = volley.cells, volley.clients[at]
    if client.linked == 0:
        cells[UNSENT] += 1
        return True
    link = links.of(volley.bank, at)
    bits = word(cells[SEED], cells[SENT] + 1)
    dice = under(bits, 1000)
    place = links.space(link, O_BYTES + 8)
    if place < 0 or volley.due[at, client.next_ref & (WAITING_MAX - 1)] != 0:
        return False
    size, own = 0, volley.opened[at]
    if dice < CANCELS + MOVES and client.opened > 0:
        pick = under(bits >> 20, client.opened)
        old = own[pick]
        client.opened -= 1  # it is not asked for twice; what replaces it is added when it is accepted
        own[pick] = own[client.opened]
        if dice < CANCELS:
            size = _cancel(link.outbox, place, old)
            cells[CANCELLED] += 1
        else:
            size = _replace(volley, link.outbox, place, old, client.next_ref, bits)
            cells[REPLACES] += 1
    else:
        size = _order(volley, link.outbox, place, client.next_ref, bits, dice >= 1000 - TAKES)
        cells[ORDERS] += 1
    link.cells[links.OUT_END] = place + size
    if size != X_BYTES:
        volley.due[at, client.next_ref & (WAITING_MAX - 1)] = due
        client.next_ref += 1
        client.waiting += 1
    return True


@hot
def _price(volley: Volley, bits: int) -> int:
    cells = volley.cells
    return cells[PRICE] + (under(bits >> 12, 2 * SPREAD + 1) - SPREAD) * cells[TICK]


@hot
def _order(volley: Volley, out: Any, at: int, ref: int, bits: int, takes: bool) -> int:
    store_u32(out, at, (O_BYTES - 2) << 16 | soupbin.UNSEQUENCED << 8 | _O)
    store_u32(out, at + 4, ref)
    out[at + 8] = _BUY if bits & (1 << 40) else _SELL
    store_u32(out, at + 9, 1 + under(bits >> 28, volley.cells[LOTS]))
    store_i64(out, at + 13, volley.symbols[under(bits >> 31, len(volley.symbols))])
    store_i64(out, at + 21, _price(volley, bits))
    out[at + 29] = _IOC if takes else _DAY
    store_u32(out, at + 30, _TERMS)
    store_i64(out, at + 34, _SPACES)
    store_i64(out, at + 40, _SPACES)
    store_u16(out, at + 48, 0)
    return O_BYTES


@hot
def _replace(volley: Volley, out: Any, at: int, old: int, ref: int, bits: int) -> int:
    store_u32(out, at, (U_BYTES - 2) << 16 | soupbin.UNSEQUENCED << 8 | _U)
    store_u32(out, at + 4, old)
    store_u32(out, at + 8, ref)
    store_u32(out, at + 12, 1 + under(bits >> 28, volley.cells[LOTS]))
    store_i64(out, at + 16, _price(volley, bits))
    out[at + 24] = _DAY
    store_u16(out, at + 25, _SHOWN)
    store_i64(out, at + 27, _SPACES)
    store_i64(out, at + 33, _SPACES)
    store_u16(out, at + 41, 0)
    return U_BYTES


@hot
def _cancel(out: Any, at: int, ref: int) -> int:
    store_u32(out, at, (X_BYTES - 2) << 16 | soupbin.UNSEQUENCED << 8 | _X)
    store_u32(out, at + 4, ref)
    store_u32(out, at + 8, 0)
    return X_BYTES


@hot
def _hear(volley: Volley, at: int, link: links.Link, now: int) -> None:
    """Take every whole packet of a client."""
    cells = link.cells
    while links.readable(link):
        place = cells[links.IN_AT]
        length = soupbin.packet(link.inbox, place, cells[links.IN_END], ouch.MESSAGE_MAX)
        if length == soupbin.INCOMPLETE:
            return
        if length == soupbin.BAD:
            links.fail(link, links.BAD_PACKET)
            return
        cells[links.IN_AT] = place + length
        kind = np.int64(link.inbox[place + 2])
        if kind == soupbin.SEQUENCED:
            _answer(volley, at, link.inbox, place + soupbin.HEAD, length - soupbin.HEAD, now)
        elif kind == soupbin.SERVER_HEARTBEAT:
            volley.cells[BEATS] += 1
        elif kind == soupbin.END:
            links.fail(link, links.SESSION_ENDED)


@hot
def _answer(volley: Volley, at: int, inbox: Any, place: int, length: int, now: int) -> None:
    cells, kind = volley.cells, np.int64(inbox[place])
    if length < 18 or load_u16(inbox, place + 1) > 0x7FFF:
        cells[OTHER] += 1
        return
    if kind == _A:
        cells[ACCEPTED] += 1
        _settle(volley, at, load_u32(inbox, place + 9), now, inbox[place + 34] == _DAY)
    elif kind == _R:
        cells[REPLACED] += 1
        _settle(volley, at, load_u32(inbox, place + 13), now, inbox[place + 38] == _DAY)
    elif kind == _J:
        cells[REJECTED] += 1
        _settle(volley, at, load_u32(inbox, place + 9), now, False)
    elif kind == _E:
        cells[FILLS] += 1
        _forget(volley, at, load_u32(inbox, place + 9))
    elif kind == _C:
        cells[TAKEN_OFF] += 1
        _forget(volley, at, load_u32(inbox, place + 9))
    else:
        cells[OTHER] += 1


@hot
def _settle(volley: Volley, at: int, ref: int, now: int, rests: bool) -> None:
    """A number has its answer."""
    client, slot = volley.clients[at], ref & (WAITING_MAX - 1)
    due = volley.due[at, slot]
    if due == 0:
        volley.cells[OTHER] += 1
        return
    volley.due[at, slot] = 0
    client.waiting -= 1
    volley.cells[ANSWERED] += 1
    histograms.record(volley.latency, now - due)
    if rests and client.opened < OPEN_MAX:
        volley.opened[at, client.opened] = ref
        client.opened += 1


@hot
def _forget(volley: Volley, at: int, ref: int) -> None:
    """An order has traded or is gone: it is left alone."""
    client, own = volley.clients[at], volley.opened[at]
    for k in range(client.opened):
        if own[k] == ref:
            client.opened -= 1
            own[k] = own[client.opened]
            return


@entry
def play(volley: Volley, until: int) -> int:
    """`drive` until this tick, or until nothing is left to send and all is answered; how many wait for an answer."""
    while True:
        now = ticks()
        drive(volley, now)
        waiting = volley.cells[ORDERS] + volley.cells[REPLACES] - volley.cells[ANSWERED]
        if now >= until or (volley.cells[SENT] == volley.cells[LIMIT] and waiting == 0):
            return waiting


def check(volley: Volley) -> None:
    """The invariant, for tests."""
    for at, client in enumerate(volley.clients):
        assert int((volley.due[at] != 0).sum()) == int(client.waiting)
        assert 0 <= int(client.opened) <= OPEN_MAX
    sent = int(volley.cells[ORDERS] + volley.cells[REPLACES])
    assert sent - int(volley.cells[ANSWERED]) == int(volley.clients.waiting.sum())
    assert histograms.count(volley.latency) == int(volley.cells[ANSWERED])
