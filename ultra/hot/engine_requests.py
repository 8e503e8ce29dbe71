"""A request on its way out: stamped, hashed, judged by risk, and sent, or refused with a reason.

Every request goes into the decision hash, whatever becomes of it. What is sent is booked first, so an order is known
before the venue can answer it; what is refused ends its handle. A cancel is never judged.
Known bad case: the output ring is full; then nothing leaves, and the reason is NO_ROOM. A replay has no venue to wait
for, so there it is never full, and from that refusal on the state hashes differ: size it for `venue.latency_ns`.
"""

from typing import Any

import numpy as np

from ..wire import AT_MARKET, CANCEL_ORDER, IMMEDIATE, NEW, NONE, REJECTED, REPLACE_ORDER
from . import hot, rare
from . import orders as own
from . import outbox as outboxes
from . import pool as pools
from . import ring as rings
from . import risk as risks
from .atomics import Cells
from .bits import mix
from .engine_state import (
    CANCELS_SENT,
    DECISION_HASH,
    DECISIONS,
    INSTRUMENTS,
    NOW,
    ORDERS_SENT,
    REFUSED,
    SEQUENCE,
    Engine,
)  # fmt: skip


@hot
def prepare(engine: Engine, instrument: int, request: Any) -> None:
    """Say when and why a request was made. Every one goes into the decision hash."""
    cells = engine.cells
    request.instrument = instrument
    request.sequence = cells[SEQUENCE]
    request.ts_event = cells[NOW]
    request.reason = 0
    request.aux = 0
    remember(cells, request)


@hot
def judge(engine: Engine, request: Any, owner: int) -> int:
    """PASS, or why this new order must not be sent."""
    engine.cells[ORDERS_SENT] += 1
    view = engine.market[request.instrument]
    if owner == own.STRATEGY and (engine.risk.gates[risks.STRATEGY] != 0 or view.off != 0):
        return risks.STRATEGY_OFF
    reason = risks.check(engine.risk, view, request, engine.cells[NOW])
    if reason == risks.PASS and rings.room(engine.output) <= 0:
        return risks.NO_ROOM
    return reason


@hot
def leave(engine: Engine, request: Any, owner: int) -> None:
    """Book an order that may be sent, and send it: there is room."""
    own.open_order(engine.orders, engine.market[request.instrument], request)
    if owner != own.STRATEGY:
        engine.orders.rows[pools.slot_of(engine.orders.pool, request.order_id)].owner = owner
    risks.sent(engine.risk, request, engine.cells[NOW])
    engine.output.slots[rings.claimed(engine.output, 0)] = request
    rings.publish(engine.output, 1)


@hot
def withdraw(engine: Engine, request: Any) -> int:
    """Send a cancel, or say why not."""
    engine.cells[CANCELS_SENT] += 1
    slot = rings.claim(engine.output)
    if slot < 0 or not own.ask_cancel(engine.orders, request.order_id, np.int64(request.instrument)):
        reason = risks.NO_ROOM if slot < 0 else risks.UNKNOWN_ORDER
        engine.risk.reasons[reason] += 1
        return reason
    risks.count_message(engine.risk, engine.cells[NOW])
    engine.output.slots[slot] = request
    rings.publish(engine.output, 1)
    return risks.PASS


@hot
def place(engine: Engine, request: Any, instrument: int) -> int:
    """A new order of the strategy's, or one in the place of another: PASS when it left, or the reason why not.

    `instrument`: of the event, for a request that names none. In place of another: a cancel leaves before it, and when
    either can't be sent, neither is."""
    index, instead, reason = np.int64(request.instrument), np.int64(pools.NO_SLOT), risks.PASS
    if request.kind == REPLACE_ORDER:
        request.kind = NEW
        instead = own.live(engine.orders, request.aux)
        if instead == pools.NO_SLOT or engine.orders.rows[instead].owner != own.STRATEGY:
            index, reason = instrument, risks.UNKNOWN_ORDER
        else:
            index, request.side = np.int64(engine.orders.rows[instead].instrument), engine.orders.rows[instead].side
    elif index == outboxes.THIS:
        index = instrument
    elif index < 0 or index >= len(engine.market):
        index, reason = instrument, risks.BAD_COMMAND
    elif index >= engine.cells[INSTRUMENTS]:
        engine.cells[INSTRUMENTS] = index + 1  # it is told what becomes of the order: its state is of the hash
    if request.flag & AT_MARKET != 0:
        request.flag |= IMMEDIATE  # what is left would rest at the worst price that there is
        request.price = at_market(engine, index, np.int64(request.side))
        reason = risks.NO_REFERENCE if request.price == 0 and reason == risks.PASS else reason
    prepare(engine, index, request)
    if reason == risks.PASS:
        reason = judge(engine, request, own.STRATEGY)
    if reason == risks.PASS and instead != pools.NO_SLOT:
        reason = risks.NO_ROOM if rings.room(engine.output, 2) < 2 else recall(engine, instead)
    if reason == risks.PASS:
        leave(engine, request, own.STRATEGY)
    else:
        refused(engine, request, reason)
    return reason


@hot
def at_market(engine: Engine, instrument: int, side: int) -> int:
    """What an order at any price is sent with. The price step is known where a book has levels."""
    one, other = engine.book.ladder.sides[2 * instrument], engine.book.ladder.sides[2 * instrument + 1]
    step = one.step if one.levels + other.levels > 0 else 1
    return risks.worst(engine.risk, engine.market[instrument], instrument, side, step)


@hot
def take(engine: Engine, request: Any, instrument: int) -> None:
    """A cancel of the strategy's, of whichever instrument its order is; or all its orders of one, or of every one."""
    index = np.int64(request.instrument)
    if request.kind == CANCEL_ORDER:
        slot = own.live(engine.orders, request.order_id)
        prepare(engine, instrument if slot == pools.NO_SLOT else np.int64(engine.orders.rows[slot].instrument), request)
        withdraw(engine, request)
    else:
        take_all(engine, instrument if index == outboxes.THIS else index)


@rare
def take_all(engine: Engine, instrument: int) -> None:
    """Cancel the strategy's orders of an instrument, or of EVERY one, as far as there is room for requests."""
    for slot in range(engine.orders.pool.cells[pools.FRESH]):
        row = engine.orders.rows[slot]
        mine = (row.state == own.SENT or row.state == own.LIVE) and row.owner == own.STRATEGY
        if mine and (instrument == outboxes.EVERY or row.instrument == instrument):
            if rings.room(engine.output) <= 0:
                engine.risk.reasons[risks.NO_ROOM] += 1
                break
            recall(engine, slot)


@hot
def recall(engine: Engine, slot: int) -> int:
    """Cancel the order of this row: there is room. The request is written where it leaves from."""
    row, request = engine.orders.rows[slot], engine.output.slots[rings.claimed(engine.output, 0)]
    request.kind = CANCEL_ORDER
    request.side = 0
    request.flag = 0
    request.price = NONE
    request.qty = 0
    request.order_id = row.handle
    prepare(engine, np.int64(row.instrument), request)
    engine.cells[CANCELS_SENT] += 1
    if not own.ask_cancel(engine.orders, row.handle, np.int64(row.instrument)):
        engine.risk.reasons[risks.UNKNOWN_ORDER] += 1
        return risks.UNKNOWN_ORDER
    risks.count_message(engine.risk, engine.cells[NOW])
    rings.publish(engine.output, 1)
    return risks.PASS


@hot
def refill(engine: Engine) -> None:
    """Handles for requests to come, where there were none left: one may have come back."""
    handles = engine.outbox[0].handles
    for row in range(outboxes.REQUESTS_MAX):
        if handles[row] == NONE and pools.live(engine.orders.pool) < len(engine.orders.rows):
            handles[row] = pools.acquire(engine.orders.pool)


@hot
def remember(cells: Cells, request: Any) -> None:
    """Fold a request into the hash of all decisions."""
    what = (np.int64(request.kind) << 8) | (np.int64(request.side) << 16) | (np.int64(request.flag) << 24)
    value = mix(cells[DECISION_HASH], request.sequence)
    value = mix(value, (np.int64(request.instrument) << 32) | what)
    value = mix(value, request.price)
    value = mix(value, request.qty)
    cells[DECISION_HASH] = mix(value, request.order_id)
    cells[DECISIONS] += 1


@hot
def refused(engine: Engine, request: Any, reason: int) -> None:
    """Risk said no: count it, end the handle, and write the note for the strategy."""
    note = engine.note[0]
    engine.cells[REFUSED] += 1
    engine.risk.reasons[reason] += 1
    request.reason = reason
    pools.give_back(engine.orders.pool, request.order_id)
    note.kind = REJECTED
    note.side = request.side
    note.instrument = request.instrument
    note.sequence = request.sequence
    note.ts_event = request.ts_event
    note.order_id = request.order_id
    note.price = request.price
    note.qty = request.qty
    note.aux = reason
