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
    CHECKPOINT,
    EXECUTE,
    FEED_STATE,
    FILL,
    HALT,
    INSTRUMENT,
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
    TIMER,
    TRADE,
)  # fmt: skip
from . import book as books
from . import door, hot, memory
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
CELLS = 16


class Engine(NamedTuple):
    """Everything the engine is: what a state hash covers, and the rings at its end."""

    book: books.Book
    market: Any  # MARKET[instruments]
    orders: own.Orders
    risk: risks.Risk
    output: rings.Ring  # REQUEST: what passed risk, on its way to a venue
    outbox: Any  # OUTBOX[1]
    note: Any  # RECORD[1]: tells the strategy of an order that risk refused
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
        if record.kind == FILL:
            own.fill(engine.orders, view, record.order_id, instrument, record.side, record.price, record.qty)
            on_fill(state, params, record, view, orders)
            return
        event = own.ON_ACCEPTED if record.kind == ACCEPTED else own.ON_CANCELLED
        if record.kind == REJECTED:
            event = own.ON_REJECTED
            engine.cells[VENUE_REJECTS] += 1
            engine.risk.reasons[record.aux & 31] += 1
        if own.reply(engine.orders, view, record.order_id, instrument, event):
            on_order(state, params, record, view, orders)

    @hot
    def flush(engine: Engine, instrument: int) -> None:
        """Check every request of the strategy, and send what passes."""
        orders = engine.outbox[0]
        count = orders.count
        orders.count = outboxes.REQUESTS_MAX  # what a strategy asks for while it is told of a refusal is dropped
        for row in range(count):
            request = orders.rows[row]
            reason = decide(engine, instrument, request)
            if request.kind == NEW:
                if reason != risks.PASS:
                    refused(engine, request, reason)
                    view, note = engine.market[instrument], engine.note[0]
                    on_order(engine.state[instrument], engine.params[0], note, view, orders)
                orders.handles[row] = pools.acquire(engine.orders.pool)
        orders.count = 0

    return step


@hot
def on_command(engine: Engine, record: Any) -> None:
    """What the operator puts in. Checkpoints pass by: they are about the state, not part of it."""
    if record.kind == LIMIT:
        if not risks.set_limit(engine.risk, np.int64(record.instrument), record.order_id, record.aux):
            engine.cells[UNKNOWN_RECORDS] += 1
    elif record.kind == PARAMETER and 0 <= record.order_id < len(engine.params_words):
        engine.params_words[record.order_id] = record.aux
    elif record.kind == HALT:
        halt(engine, np.int64(record.instrument), record.aux)
    elif record.kind == FEED_STATE:
        engine.risk.gates[risks.FEED] = record.aux
    elif record.kind == SESSION_STATE:
        engine.risk.gates[risks.SESSION] = record.aux
    elif not is_mark(record.kind):
        engine.cells[UNKNOWN_RECORDS] += 1


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
def decide(engine: Engine, instrument: int, request: Any) -> int:
    """Send one request, or say why not. Every decision goes into the decision hash."""
    cells = engine.cells
    request.instrument = instrument
    request.sequence = cells[SEQUENCE]
    request.ts_event = cells[NOW]
    request.reason = 0
    request.aux = 0
    remember(cells, request)
    view = engine.market[instrument]
    if request.kind == NEW:
        cells[ORDERS_SENT] += 1
        reason = risks.check(engine.risk, view, request, cells[NOW])
        slot = rings.claim(engine.output)
        if reason == risks.PASS and slot < 0:
            reason = risks.NO_ROOM
        if reason != risks.PASS:
            return reason
        own.open_order(engine.orders, view, request)
        risks.sent(engine.risk, request, cells[NOW])
    else:
        cells[CANCELS_SENT] += 1
        slot = rings.claim(engine.output)
        if slot < 0 or not own.ask_cancel(engine.orders, request.order_id, instrument):
            engine.risk.reasons[risks.NO_ROOM if slot < 0 else risks.UNKNOWN_ORDER] += 1
            return risks.UNKNOWN_ORDER
        risks.count_message(engine.risk, cells[NOW])
    engine.output.slots[slot] = request
    rings.publish(engine.output, 1)
    return risks.PASS


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
def halt(engine: Engine, instrument: int, halted: int) -> None:
    """Refuse new orders of one instrument, or of all (NONE), until resumed. Cancels pass."""
    if instrument < 0:
        engine.risk.gates[risks.KILL] = halted
    elif instrument < len(engine.market):
        engine.market[instrument].halted = halted


@hot
def applied(engine: Engine) -> bool:
    """The last market record changed what it was meant to change."""
    return books.changed(engine.cells[OUTCOME])
