"""One action of a synthetic day done: the book changed, the message written.

The book is the engine's own, so what is written is what an engine must find. Fields go to `values` in the order of
the type's layout, and from there to the buffer as the table of `itch` says.

Known bad case: an order that finds no page left is not placed; a hidden trade, or a delete for a replace, is written
instead (counted in REFUSED; `flow_setup` makes enough pages).
"""

from typing import Any

import numpy as np

from ..hot import book as books
from ..hot import hot
from ..hot.atomics import Cells
from ..wire import BID
from .flow_state import (
    CLOSING,
    FILLED,
    KIND,
    MADE,
    MATCH,
    NOW,
    OPENING,
    PHASE,
    PRICE,
    QTY,
    REF,
    REFUSED,
    SIDE,
    SLOT,
    STOCK_AT,
    Flow,
    store_i64,
)
from .itch import FIELD_MAX, FIELDS, LENGTHS

BODY = 4  # the first field behind the header
_S, _A, _F, _D, _U, _E, _C, _X, _P = (ord(c) for c in "SAFDUECXP")
_BUY, _SELL, _YES, _NO = (ord(c) for c in "BSYN")
_MPID = int.from_bytes(b"SYNT", "big")


@hot
def perform(flow: Flow) -> None:
    """Change the book as the action says, and write the fields of its message."""
    action = flow.action
    values = flow.values
    kind = action[KIND]
    if kind == _D or kind == _E or kind == _U or kind == _X or kind == _C:
        order = flow.book.orders[action[SLOT]]
        values[BODY] = order.order_id
        values[BODY + 1] = action[QTY]  # of E, C and X
        held, side = order.qty, np.int64(order.side) & 1
        qty = held if kind == _D or kind == _U else action[QTY]
        books.reduce(flow.book, action[SLOT], qty)
        if qty == held:
            _forget(flow.stocks[flow.cells[STOCK_AT]], flow.live, flow.place, action[SLOT], side)
    if kind == _A or kind == _U or kind == _F:
        _rest(flow)
    elif kind == _E or kind == _C:
        flow.cells[MATCH] += 1
        values[BODY + 2] = flow.cells[MATCH]
        values[BODY + 3] = _NO if flow.cells[PHASE] == OPENING or flow.cells[PHASE] == CLOSING else _YES
        values[BODY + 4] = action[PRICE]
    if action[KIND] == _P:
        flow.cells[MATCH] += 1
        values[BODY] = 0
        values[BODY + 1] = _BUY
        values[BODY + 2] = action[QTY]
        values[BODY + 3] = flow.stocks[flow.cells[STOCK_AT]].name
        values[BODY + 4] = action[PRICE]
        values[BODY + 5] = flow.cells[MATCH]


@hot
def _rest(flow: Flow) -> None:
    """A new order joins its queue; where no page is left for its price, say something else."""
    cells = flow.cells
    action = flow.action
    values = flow.values
    at = cells[STOCK_AT]
    reference = action[REF]
    replaces = action[KIND] == _U
    if books.add(flow.book, at, action[SIDE], reference, action[PRICE], action[QTY]) != books.OK:
        cells[REFUSED] += 1
        action[KIND] = _D if replaces else _P
        return
    stock = flow.stocks[at]
    slot = books.find(flow.book, reference)
    flow.live[stock.start + stock.count] = slot
    flow.place[slot] = stock.count
    stock.count += 1
    stock.bids += 1 - action[SIDE]
    if replaces:
        values[BODY + 1] = reference
        values[BODY + 2] = action[QTY]
        values[BODY + 3] = action[PRICE]
        return
    values[BODY] = reference
    values[BODY + 1] = _BUY if action[SIDE] == BID else _SELL
    values[BODY + 2] = action[QTY]
    values[BODY + 3] = stock.name
    values[BODY + 4] = action[PRICE]
    values[BODY + 5] = _MPID


@hot
def _forget(stock: Any, live: Any, place: Any, slot: int, side: int) -> None:
    """An order is no longer live: the last of its stock takes its place in the list."""
    stock.count -= 1
    stock.bids -= 1 - side
    last = np.int64(live[stock.start + stock.count])
    gap = np.int64(place[slot])
    live[stock.start + gap] = last
    place[last] = gap


@hot
def _pack(buffer: Any, at: int, values: Cells) -> int:
    """As `itch.pack`, a field at a time: each is written as the top of eight bytes, and the next covers the rest."""
    kind = values[0]
    for count in range(FIELD_MAX):
        width = FIELDS[kind, count, 1]
        if width == 0:
            break
        store_i64(buffer, at + FIELDS[kind, count, 0], values[count] << (64 - 8 * width))
    return LENGTHS[kind]


@hot
def emit(cells: Cells, kind: int, values: Cells, by_type: Cells, buffer: Any) -> None:
    """The message behind its length."""
    at = cells[FILLED]
    values[0] = kind
    values[1] = 0 if kind == _S else cells[STOCK_AT] + 1
    values[2] = 0
    values[3] = cells[NOW]
    length = _pack(buffer, at + 2, values)
    buffer[at] = 0
    buffer[at + 1] = length
    by_type[kind] += 1
    cells[MADE] += 1
    cells[FILLED] = at + 2 + length
