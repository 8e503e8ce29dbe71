"""What an operator and the engine's own services put in: limits, parameters, gates, orders by hand, the kill switch.

Each is a record of the one sequence, so a replay is told the same at the same place; what an operator asked is answered
by an ACK with the reason that risk would give. Checkpoints, and what is said about commands, pass by: they are not of
the state. Known bad case: a mass cancel that does not fit into the output ring says so, and whoever asked asks again.
"""

from typing import Any

import numpy as np

from ..wire import (
    ACK,
    ALTER,
    ASKED,
    CANCEL_ORDER,
    CHECKPOINT,
    FEED_STATE,
    HALT,
    KILL,
    LIMIT,
    NEW,
    NONE,
    PARAMETER,
    SEED,
    SESSION_STATE,
    SIGNAL,
    SOURCE,
    STRATEGY,
    SUBMIT,
    TAKE_BACK,
    TEXT,
)  # fmt: skip
from . import hot, rare
from . import orders as own
from . import pool as pools
from . import ring as rings
from . import risk as risks
from .engine_requests import judge, leave, prepare, refused, withdraw
from .engine_state import ACKS, COMMANDS, DICE, NOW, UNKNOWN_RECORDS, Engine


@hot
def on_command(engine: Engine, record: Any) -> None:
    """What the operator puts in. Checkpoints, and what is said about commands, pass by: they are not of the state."""
    kind, reason = record.kind, risks.PASS
    if kind == LIMIT:
        if not risks.set_limit(engine.risk, np.int64(record.instrument), record.order_id, record.aux):
            reason = risks.BAD_COMMAND
    elif kind == PARAMETER:
        if 0 <= record.order_id < len(engine.params_words):
            engine.params_words[record.order_id] = record.aux
        else:
            reason = risks.BAD_COMMAND
    elif kind == HALT:
        reason = halt(engine, np.int64(record.instrument), record.aux)
    elif kind == FEED_STATE:
        engine.risk.gates[risks.FEED] = record.aux
    elif kind == SESSION_STATE:
        engine.risk.gates[risks.SESSION] = record.aux
    elif kind == SEED:
        engine.cells[DICE] = record.aux
    elif SUBMIT <= kind <= KILL:
        return ask(engine, record)
    elif not is_mark(kind) and kind != TEXT and kind != ACK:
        reason = risks.BAD_COMMAND
    if reason == risks.BAD_COMMAND:
        engine.cells[UNKNOWN_RECORDS] += 1
    if (record.flag == ASKED and LIMIT <= kind <= HALT) or kind == SIGNAL:  # of an instrument that there is not
        acknowledge(engine, record, reason, np.int64(NONE), np.int64(0))
    return None


@hot
def is_mark(kind: int) -> bool:
    """CHECKPOINT, END and SOURCE are numbered, but nothing happens at them."""
    return CHECKPOINT <= kind <= SOURCE


@hot
def halt(engine: Engine, instrument: int, halted: int) -> int:
    """Refuse new orders of one instrument, or of all (NONE), until resumed. Cancels pass. What was killed stays so."""
    if instrument >= len(engine.market):
        return risks.BAD_COMMAND
    if instrument >= 0:
        engine.market[instrument].halted = halted
    elif engine.risk.gates[risks.KILL] == risks.KILLED:
        return risks.HALTED if halted == 0 else risks.PASS
    else:
        engine.risk.gates[risks.KILL] = halted
    return risks.PASS


@rare
def ask(engine: Engine, record: Any) -> None:
    """What only an operator can ask. He is answered with the reason that risk would give."""
    kind, instrument = record.kind, np.int64(record.instrument)
    reason, handle, cancels = risks.PASS, np.int64(NONE), np.int64(0)
    if instrument < NONE or instrument >= len(engine.market) or (kind == SUBMIT and instrument < 0):
        reason = risks.BAD_COMMAND
    elif kind == SUBMIT:
        handle = engine.outbox[0].handles[0]
        reason = submit(engine, record, instrument, np.int64(record.side), np.int64(NONE))
    elif kind == TAKE_BACK or kind == ALTER:
        handle, slot = record.order_id, pools.slot_of(engine.orders.pool, record.order_id)
        if slot == pools.NO_SLOT or engine.orders.rows[slot].handle != handle:
            reason = risks.UNKNOWN_ORDER
        elif kind == TAKE_BACK:
            reason = take_back(engine, slot)
        else:
            handle = engine.outbox[0].handles[0]
            row = engine.orders.rows[slot]
            reason = submit(engine, record, np.int64(row.instrument), np.int64(row.side), slot)
        cancels = np.int64(kind != SUBMIT and reason == risks.PASS)
    elif kind == STRATEGY:
        if instrument < 0:
            engine.risk.gates[risks.STRATEGY] = record.aux == 0
        else:
            engine.market[instrument].off = record.aux == 0
    else:
        if kind == KILL:
            engine.risk.gates[risks.KILL] = risks.KILLED
        for slot in range(engine.orders.pool.cells[pools.FRESH]):
            row = engine.orders.rows[slot]
            if (row.state == own.SENT or row.state == own.LIVE) and (instrument < 0 or row.instrument == instrument):
                reason = take_back(engine, slot)
                if reason != risks.PASS:
                    break
                cancels += 1
    acknowledge(engine, record, reason, handle if reason == risks.PASS else np.int64(NONE), cancels)


@hot
def take_back(engine: Engine, slot: int) -> int:
    """Cancel the order of this row."""
    request, row = engine.outbox[0].rows[1], engine.orders.rows[slot]
    request.kind = CANCEL_ORDER
    request.side = 0
    request.flag = 0
    request.price = NONE
    request.qty = 0
    request.order_id = row.handle
    prepare(engine, np.int64(row.instrument), request)
    return withdraw(engine, request)


@hot
def submit(engine: Engine, record: Any, instrument: int, side: int, instead: int) -> int:
    """An order of the operator's, through risk as any. In place of the order in row `instead`, if there is one: until
    that is cancelled risk counts both, and when either can't be sent, neither is."""
    orders = engine.outbox[0]
    request = orders.rows[0]
    request.kind = NEW
    request.side = side
    request.flag = record.flag
    request.price = record.price
    request.qty = record.qty
    request.order_id = orders.handles[0]
    prepare(engine, instrument, request)
    reason = judge(engine, request, own.OPERATOR) if request.order_id != NONE else risks.NO_ROOM
    if reason == risks.PASS and instead >= 0:
        reason = risks.NO_ROOM if rings.room(engine.output, 2) < 2 else take_back(engine, instead)
    if reason == risks.PASS:
        leave(engine, request, own.OPERATOR)
    else:
        refused(engine, request, reason)
    orders.handles[0] = pools.acquire(engine.orders.pool)
    return reason


@hot
def acknowledge(engine: Engine, record: Any, reason: int, handle: int, cancels: int) -> None:
    """Answer a command, for whoever put it in."""
    ack = engine.acks[engine.cells[COMMANDS] & (ACKS - 1)]
    engine.cells[COMMANDS] += 1
    ack.kind = ACK
    ack.instrument = record.instrument
    ack.ts_event = engine.cells[NOW]
    ack.order_id = handle
    ack.price = record.sequence
    ack.qty = cancels
    ack.aux = reason
