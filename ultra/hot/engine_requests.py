"""A request on its way out: stamped, hashed, judged by risk, and sent, or refused with a reason.

Every request goes into the decision hash, whatever becomes of it. What is sent is booked first, so an order is known
before the venue can answer it; what is refused ends its handle. A cancel is never judged.
Known bad case: the output ring is full; then nothing leaves, and the reason is NO_ROOM.
"""

from typing import Any

import numpy as np

from ..wire import NONE, REJECTED
from . import hot
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
