"""What the engine is: its arrays, and its cells by name. What it does is in `engine`, and in the files beside this one.

Everything that a state hash covers is here, so two engines with equal arrays are one engine. A cell that is not used
is zero: a new one keeps its zero until it is used, and journals of before replay to the hash that they hold.
Known bad case: a new array is part of every hash; `assembly.state_parts` says when it counts.
"""

from typing import Any, NamedTuple

import numpy as np

from ..wire import RECORD, REQUEST
from . import bar as bars
from . import book as books
from . import door, memory
from . import market as markets
from . import orders as own
from . import outbox as outboxes
from . import pool as pools
from . import ring as rings
from . import risk as risks
from .atomics import Cells

# Cells of the engine.
SEQUENCE, NOW, INSTRUMENTS, DECISION_HASH, DECISIONS = 0, 1, 2, 3, 4
ORDERS_SENT, CANCELS_SENT, REFUSED, VENUE_REJECTS, UNKNOWN_RECORDS = 5, 6, 7, 8, 9
OUTCOME = 10  # what became of the last market record in the book
COMMANDS = 11  # of an operator, answered in `acks`
BAR_NS, BAR_AT = 12, 13  # length of the bars made here, 0 = none; the border at which those of now end
DICE = 14  # what the next draw of `ultra.random` comes from
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
    bars: Any  # OPEN[instruments]: the bars of now, when they are made here; else of one
    acks: Any  # RECORD[ACKS]: answers to the operator's last commands, as ACK; that of command k in row k % ACKS
    state: Any  # the strategy's state, one record per instrument
    params: Any  # the strategy's parameters, one record
    params_words: Any  # the same memory as int64, one word a parameter
    cells: Cells


def create(
    instruments: int, book: books.Book, *, own_max: int, output_records: int, state: Any, params: Any, bar_ns: int = 0
) -> Engine:
    """An engine that has seen nothing. `state` and `params` are recarrays of the strategy's dtypes.

    With `bar_ns` it makes bars of that length from the trades, and calls on_bar with each that has one."""
    engine = Engine(
        book,
        markets.create(instruments),
        own.create(own_max + outboxes.REQUESTS_MAX),
        risks.create(instruments),
        rings.create(REQUEST, output_records),
        memory.zeros(1, outboxes.OUTBOX),
        memory.zeros(1, RECORD),
        memory.zeros(instruments if bar_ns else 1, bars.OPEN),
        memory.zeros(ACKS, RECORD),
        state,
        params,
        params.view(np.ndarray).view(np.int64),
        np.zeros(CELLS, np.int64),
    )
    engine.cells[BAR_NS] = bar_ns
    acquire = door(pools.acquire)
    for row in range(outboxes.REQUESTS_MAX):
        engine.outbox[0].handles[row] = acquire(engine.orders.pool)
    return engine
