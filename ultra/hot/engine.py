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
    BAR,
    EXECUTE,
    FILL,
    INSTRUMENT,
    LEVEL,
    MARKET_LAST,
    NEW,
    NONE,
    NOT_PRINTABLE,
    REJECTED,
    REPLACE,
    REPLACE_ORDER,
    REPLY_LAST,
    SIDED,
    SIGNAL,
    STATUS,
    TIMER,
    TRADE,
)  # fmt: skip
from . import bar as bars
from . import book as books
from . import hot, rare
from . import market as markets
from . import orders as own
from . import outbox as outboxes
from . import pool as pools
from . import risk as risks
from .atomics import Cells
from .engine_command import acknowledge, is_mark, on_command
from .engine_requests import place, refill, take
from .engine_state import (
    ACKS,
    BAR_AT,
    BAR_NS,
    CANCELS_SENT,
    CELLS,
    COMMANDS,
    DECISION_HASH,
    DECISIONS,
    DICE,
    INSTRUMENTS,
    NOW,
    ORDERS_SENT,
    OUTCOME,
    REFUSED,
    SEQUENCE,
    UNKNOWN_RECORDS,
    VENUE_REJECTS,
    Engine,
    create,
)  # fmt: skip

__all__ = [
    "ACKS", "BAR_AT", "BAR_NS", "CANCELS_SENT", "CELLS", "COMMANDS", "DECISIONS", "DECISION_HASH", "DICE",
    "INSTRUMENTS", "NOW", "ORDERS_SENT", "OUTCOME", "REFUSED", "SEQUENCE", "UNKNOWN_RECORDS", "VENUE_REJECTS",
    "Desk", "Engine", "Hooks", "applied", "build", "create", "is_mark", "on_command",
]  # fmt: skip


class Hooks(NamedTuple):
    """A strategy as compiled functions `(state, params, event, market, orders, desk)`, and how deep it looks."""

    on_book: Callable[..., None]
    on_trade: Callable[..., None]
    on_bar: Callable[..., None]
    on_fill: Callable[..., None]
    on_order: Callable[..., None]
    on_timer: Callable[..., None]
    on_command: Callable[..., None]
    depth: int
    hears_bars: bool = True  # whether on_bar is the strategy's own: without it a bar costs no compilation


class Desk(NamedTuple):
    """What a hook with a sixth argument sees: every instrument, not only the one that the event is of."""

    markets: Any  # MARKET[instruments]
    states: Any  # the strategy's state of each
    cells: Cells  # of the engine; `ultra.random` draws from one


def build(hooks: Hooks) -> Callable[[Engine, Any], None]:
    """The path with one strategy in it: `step(engine, record)`."""
    on_book, on_trade, on_bar, on_fill, on_order, on_timer, on_signal, depth, _ = hooks

    @hot
    def step(engine: Engine, record: Any) -> None:
        cells, kind, instrument = engine.cells, record.kind, np.int64(record.instrument)
        cells[SEQUENCE] = record.sequence
        cells[NOW] = record.ts_event
        if cells[BAR_NS] != 0 and kind <= TIMER and border_passed(cells):
            end_bars(engine)
        first, last = instrument, instrument + 1  # whose strategies run
        if kind == TIMER:
            first, last = np.int64(0), cells[INSTRUMENTS]
        elif kind > REPLY_LAST:
            if kind != SIGNAL or instrument < NONE or instrument >= len(engine.market):
                return on_command(engine, record)
            acknowledge(engine, record, risks.PASS, np.int64(NONE), np.int64(0))
            if instrument == NONE:
                first, last = np.int64(0), cells[INSTRUMENTS]
            elif instrument >= cells[INSTRUMENTS]:
                cells[INSTRUMENTS] = last  # what its strategy remembers is of the state hash from now on
        elif instrument < 0 or instrument >= len(engine.market) or kind <= 0:
            cells[UNKNOWN_RECORDS] += 1
            return None
        elif kind <= MARKET_LAST:
            on_market(engine, record)
        else:
            on_reply(engine, record)
        for index in range(first, last):
            if kind >= TIMER:
                for_itself(engine, record, index)
            if engine.outbox[0].count > 0:
                flush(engine, index)
        return None

    @hot
    def for_itself(engine: Engine, record: Any, index: int) -> None:
        """What the strategy of each instrument is told that is not of its market: a timer, or an operator's word."""
        state, view, orders = engine.state[index], engine.market[index], engine.outbox[0]
        if record.kind == TIMER:
            on_timer(state, engine.params[0], record, view, orders, desk_of(engine))
        else:
            on_signal(state, engine.params[0], record, view, orders, desk_of(engine))

    @rare
    def tell_bars(engine: Engine) -> None:
        """Tell every instrument's strategy of the bar that has ended, before the input that ended it."""
        for index in range(engine.cells[INSTRUMENTS]):
            if bar_ended(engine, index):
                state, view, orders = engine.state[index], engine.market[index], engine.outbox[0]
                on_bar(state, engine.params[0], engine.note[0], view, orders, desk_of(engine))
                if orders.count > 0:
                    flush(engine, index)
        next_border(engine.cells)

    end_bars = tell_bars if hooks.hears_bars else drop_bars

    @hot
    def on_market(engine: Engine, record: Any) -> None:
        instrument, kind = np.int64(record.instrument), record.kind
        view = engine.market[instrument]
        if instrument >= engine.cells[INSTRUMENTS]:
            engine.cells[INSTRUMENTS] = instrument + 1
        if kind <= REPLACE:
            outcome = books.apply(engine.book, record)
        elif kind == LEVEL:
            outcome = books.set_level(engine.book, record)
        else:
            outcome = inform(engine.book, view, record)
        engine.cells[OUTCOME] = outcome
        moved = markets.refresh(view, engine.book, instrument)
        if depth > 1 and books.touched_by(kind):
            markets.refresh_depth(view, engine.book, instrument, depth)
            moved = True
        state, params, orders = engine.state[instrument], engine.params[0], engine.outbox[0]
        if (kind == EXECUTE or kind == TRADE) and outcome == books.OK:
            traded(view, record)
            if engine.cells[BAR_NS] != 0 and record.flag & NOT_PRINTABLE == 0:
                bars.trade(engine.bars[instrument], record.price, record.qty)
            on_trade(state, params, record, view, orders, desk_of(engine))
        if moved:
            on_book(state, params, record, view, orders, desk_of(engine))
        if kind == BAR and outcome == books.OK:
            traded(view, record)
            on_bar(state, params, record, view, orders, desk_of(engine))

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
                on_fill(state, params, record, view, orders, desk_of(engine))
            return
        event = own.ON_ACCEPTED if record.kind == ACCEPTED else own.ON_CANCELLED
        if record.kind == REJECTED:
            event = own.ON_REJECTED
            engine.cells[VENUE_REJECTS] += 1
            engine.risk.reasons[record.aux & 31] += 1
        legal = own.reply(engine.orders, view, record.order_id, instrument, event)
        refill(engine)
        if legal and heard:
            on_order(state, params, record, view, orders, desk_of(engine))

    @hot
    def flush(engine: Engine, instrument: int) -> None:
        """Check every request of the strategy, and send what passes."""
        orders = engine.outbox[0]
        count = orders.count
        orders.count = outboxes.REQUESTS_MAX  # what a strategy asks for while it is told of a refusal is dropped
        for row in range(count):
            request = orders.rows[row]
            if request.kind == NEW or request.kind == REPLACE_ORDER:
                if place(engine, request, instrument) != risks.PASS:
                    index, note = np.int64(request.instrument), engine.note[0]
                    view, state = engine.market[index], engine.state[index]
                    on_order(state, engine.params[0], note, view, orders, desk_of(engine))
                orders.handles[row] = pools.acquire(engine.orders.pool)
            else:
                take(engine, request, instrument)
        orders.count = 0

    return step


@hot
def border_passed(cells: Cells) -> bool:
    """Whether this input is at or after the border that the bars end at. The first input only says where that is."""
    if cells[BAR_AT] == 0:
        next_border(cells)
        return False
    return cells[NOW] >= cells[BAR_AT]


@hot
def next_border(cells: Cells) -> None:
    """Bars of all instruments end at the multiples of their length since the epoch."""
    cells[BAR_AT] = (cells[NOW] // cells[BAR_NS] + 1) * cells[BAR_NS]


@rare
def drop_bars(engine: Engine) -> None:
    """The same where nobody listens: the bars end all the same."""
    for index in range(engine.cells[INSTRUMENTS]):
        bar_ended(engine, index)
    next_border(engine.cells)


@hot
def bar_ended(engine: Engine, instrument: int) -> bool:
    """Write the bar that has ended into the note and begin the next; False when nothing was traded in it."""
    row, note = engine.bars[instrument], engine.note[0]
    if row.volume == 0:
        return False
    bars.finish(row, note)
    note.instrument = instrument
    note.sequence = engine.cells[SEQUENCE]
    note.ts_event = engine.cells[BAR_AT]
    note.ts_recv = engine.cells[NOW]
    return True


@hot
def desk_of(engine: Engine) -> Desk:
    """What a hook sees of all instruments."""
    return Desk(engine.market, engine.state, engine.cells)


@hot
def inform(book: books.Book, view: Any, record: Any) -> int:
    """A market record that touches no resting order."""
    if record.kind == TRADE or record.kind == BAR:
        if record.flag & SIDED == 0 or record.kind == BAR:
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
    """A trade was printed, or those of a bar. One not printable (its volume is in a cross trade) changes nothing."""
    if record.qty > 0 and record.flag & NOT_PRINTABLE == 0:
        view.last_price = record.price
        view.last_qty = record.qty
        view.last_side = record.side
        view.volume += record.qty


@hot
def applied(engine: Engine) -> bool:
    """The last market record changed what it was meant to change."""
    return books.changed(engine.cells[OUTCOME])
