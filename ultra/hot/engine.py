"""THE data path, top to bottom: record -> book -> strategy -> risk -> order -> output ring.

The engine is a function of the sequence of its input records and of nothing else: no clock, no randomness, no order
of arrival but the sequence. So a journal of the records is the engine, and `replay` proves it by the state hash.
`build` binds one strategy into the path, so that its code is inlined, not looked up.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..wire import (
    ACCEPTED,
    ACK,
    ALTER,
    ASKED,
    CANCEL_ORDER,
    CHECKPOINT,
    EXECUTE,
    FEED_STATE,
    FILL,
    HALT,
    INSTRUMENT,
    KILL,
    LIMIT,
    MARKET_LAST,
    NEW,
    NONE,
    NOT_PRINTABLE,
    PARAMETER,
    RECORD,
    REJECTED,
    REPLACE,
    REPLY_LAST,
    REQUEST,
    SESSION_STATE,
    SOURCE,
    STATUS,
    STRATEGY,
    SUBMIT,
    TAKE_BACK,
    TEXT,
    TIMER,
    TRADE,
)  # fmt: skip
from . import book as books
from . import door, hot, memory, rare
from . import market as markets
from . import orders as own
from . import outbox as outboxes
from . import pool as pools
from . import ring as rings
from . import risk as risks
from .atomics import Cells
from .bits import mix

# Cells of the engine.
SEQUENCE, NOW, INSTRUMENTS, DECISION_HASH, DECISIONS = 0, 1, 2, 3, 4
ORDERS_SENT, CANCELS_SENT, REFUSED, VENUE_REJECTS, UNKNOWN_RECORDS = 5, 6, 7, 8, 9
OUTCOME = 10  # what became of the last market record in the book
COMMANDS = 11  # of an operator, answered in `acks`
CELLS = 16
ACKS = 64


class Engine(NamedTuple):
    """Everything the engine is: what a state hash covers, and the rings at its end."""

    book: books.Book
    market: Any  # MARKET[instruments]
    orders: own.Orders
    risk: risks.Risk
    output: rings.Ring  # REQUEST: what passed risk, on its way to a venue
    outbox: Any  # OUTBOX[1]
    note: Any  # RECORD[1]: tells the strategy of an order that risk refused
    acks: Any  # RECORD[ACKS]: answers to the operator's last commands, as ACK; that of command k in row k % ACKS
    state: Any  # the strategy's state, one record per instrument
    params: Any  # the strategy's parameters, one record
    params_words: Any  # the same memory as int64, one word a parameter
    cells: Cells


class Hooks(NamedTuple):
    """A strategy as compiled functions `(state, params, event, market, orders)`, and how deep it looks."""

    on_book: Callable[..., None]
    on_trade: Callable[..., None]
    on_fill: Callable[..., None]
    on_order: Callable[..., None]
    on_timer: Callable[..., None]
    depth: int


def create(instruments: int, book: books.Book, *, own_max: int, output_records: int, state: Any, params: Any) -> Engine:
    """An engine that has seen nothing. `state` and `params` are recarrays of the strategy's dtypes."""
    engine = Engine(
        book,
        markets.create(instruments),
        own.create(own_max + outboxes.REQUESTS_MAX),
        risks.create(instruments),
        rings.create(REQUEST, output_records),
        memory.zeros(1, outboxes.OUTBOX),
        memory.zeros(1, RECORD),
        memory.zeros(ACKS, RECORD),
        state,
        params,
        params.view(np.ndarray).view(np.int64),
        np.zeros(CELLS, np.int64),
    )
    acquire = door(pools.acquire)
    for row in range(outboxes.REQUESTS_MAX):
        engine.outbox[0].handles[row] = acquire(engine.orders.pool)
    return engine


def build(hooks: Hooks) -> Callable[[Engine, Any], None]:
    """The path with one strategy in it: `step(engine, record)`."""
    on_book, on_trade, on_fill, on_order, on_timer, depth = hooks

    @hot
    def step(engine: Engine, record: Any) -> None:
        cells, kind, instrument = engine.cells, record.kind, np.int64(record.instrument)
        cells[SEQUENCE] = record.sequence
        cells[NOW] = record.ts_event
        first, last = instrument, instrument + 1  # whose strategies run
        if kind == TIMER:
            first, last = np.int64(0), cells[INSTRUMENTS]
        elif kind > REPLY_LAST:
            return on_command(engine, record)
        elif instrument < 0 or instrument >= len(engine.market) or kind <= 0:
            cells[UNKNOWN_RECORDS] += 1
            return None
        elif kind <= MARKET_LAST:
            on_market(engine, record)
        else:
            on_reply(engine, record)
        for index in range(first, last):
            if kind == TIMER:
                view, orders = engine.market[index], engine.outbox[0]
                on_timer(engine.state[index], engine.params[0], record, view, orders)
            if engine.outbox[0].count > 0:
                flush(engine, index)

    @hot
    def on_market(engine: Engine, record: Any) -> None:
        instrument = np.int64(record.instrument)
        view = engine.market[instrument]
        if instrument >= engine.cells[INSTRUMENTS]:
            engine.cells[INSTRUMENTS] = instrument + 1
        outcome = books.apply(engine.book, record) if record.kind <= REPLACE else inform(engine.book, view, record)
        engine.cells[OUTCOME] = outcome
        moved = markets.refresh(view, engine.book, instrument)
        if depth > 1 and record.kind <= REPLACE:
            markets.refresh_depth(view, engine.book, instrument, depth)
            moved = True
        state, params, orders = engine.state[instrument], engine.params[0], engine.outbox[0]
        if (record.kind == EXECUTE or record.kind == TRADE) and outcome == books.OK:
            traded(view, record)
            on_trade(state, params, record, view, orders)
        if moved:
            on_book(state, params, record, view, orders)

    @hot
    def on_reply(engine: Engine, record: Any) -> None:
        instrument = np.int64(record.instrument)
        view = engine.market[instrument]
        state, params, orders = engine.state[instrument], engine.params[0], engine.outbox[0]
        heard = not own.is_operators(engine.orders, record.order_id)
        if record.kind == FILL:
            own.fill(engine.orders, view, record.order_id, instrument, record.side, record.price, record.qty)
            refill(engine)
            if heard:
                on_fill(state, params, record, view, orders)
            return
        event = own.ON_ACCEPTED if record.kind == ACCEPTED else own.ON_CANCELLED
        if record.kind == REJECTED:
            event = own.ON_REJECTED
            engine.cells[VENUE_REJECTS] += 1
            engine.risk.reasons[record.aux & 31] += 1
        legal = own.reply(engine.orders, view, record.order_id, instrument, event)
        refill(engine)
        if legal and heard:
            on_order(state, params, record, view, orders)

    @hot
    def flush(engine: Engine, instrument: int) -> None:
        """Check every request of the strategy, and send what passes."""
        orders = engine.outbox[0]
        count = orders.count
        orders.count = outboxes.REQUESTS_MAX  # what a strategy asks for while it is told of a refusal is dropped
        for row in range(count):
            request = orders.rows[row]
            prepare(engine, instrument, request)
            reason = withdraw(engine, request) if request.kind != NEW else judge(engine, request, own.STRATEGY)
            if request.kind == NEW:
                if reason == risks.PASS:
                    leave(engine, request, own.STRATEGY)
                else:
                    refused(engine, request, reason)
                    view, note = engine.market[instrument], engine.note[0]
                    on_order(engine.state[instrument], engine.params[0], note, view, orders)
                orders.handles[row] = pools.acquire(engine.orders.pool)
        orders.count = 0

    return step


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
    elif SUBMIT <= kind <= KILL:
        return ask(engine, record)
    elif not is_mark(kind) and kind != TEXT and kind != ACK:
        reason = risks.BAD_COMMAND
    if reason == risks.BAD_COMMAND:
        engine.cells[UNKNOWN_RECORDS] += 1
    if record.flag == ASKED and LIMIT <= kind <= HALT:
        acknowledge(engine, record, reason, np.int64(NONE), np.int64(0))
    return None


@hot
def is_mark(kind: int) -> bool:
    """CHECKPOINT, END and SOURCE are numbered, but nothing happens at them."""
    return CHECKPOINT <= kind <= SOURCE


@hot
def inform(book: books.Book, view: Any, record: Any) -> int:
    """A market record that touches no resting order."""
    if record.kind == TRADE:
        record.side = NONE
        if record.qty < 0 or record.qty > books.QTY_MAX:  # a cross has 64 bits of shares: the volume would overflow
            book.outcomes[books.BAD_QTY] += 1
            return books.BAD_QTY
    elif record.kind == STATUS:
        view.status = record.aux
    elif record.kind == INSTRUMENT:
        view.symbol = record.order_id
        view.tick_e9 = record.price
        view.lot_e9 = record.qty
    return books.OK


@hot
def traded(view: Any, record: Any) -> None:
    """A trade was printed. One that is not printable (its volume comes in a cross trade) changes nothing here."""
    if record.qty > 0 and record.flag & NOT_PRINTABLE == 0:
        view.last_price = record.price
        view.last_qty = record.qty
        view.last_side = record.side
        view.volume += record.qty


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


@hot
def applied(engine: Engine) -> bool:
    """The last market record changed what it was meant to change."""
    return books.changed(engine.cells[OUTCOME])
