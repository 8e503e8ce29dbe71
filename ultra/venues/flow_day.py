"""The phases of a synthetic day, and the one step that makes a message.

Directory, orders before the open, opening cross, session, closing cross, evening, farewell. One step is one message:
the phase decides, `_perform` changes the book, `_emit` writes. The book is the engine's own, so what is written is
what an engine must find. A cross executes displayed orders as C messages that are not printable, then says all in Q.

Known bad case: an order that finds no page left is not placed; a hidden trade or a delete is written instead (counted
in REFUSED; `flow_setup` makes enough pages).
"""

from typing import Any

import numpy as np

from ..hot import book as books
from ..hot import entry, hot, rare
from ..hot.atomics import Cells
from ..wire import BID, NONE
from .flow_clock import forget_plans
from .flow_market import choose, quote
from .flow_state import (
    BELLS, CLOSING, CROSS, CROSS_FILLS, CROSS_PRICE, CROSS_SHARES, CROSSES, DIRECTORY, EVENING, FAREWELL, FILLED,
    HOUR, KIND, MADE, MATCH, MESSAGE_ROOM, NOW, NS, OPEN_AT, OPENING, PHASE, PREMARKET, PRICE, QTY, REF,
    REFERENCE, REFUSED, ROBIN, SESSION, SIDE, SLOT, STOCK_AT, STRIDE, SWEEP, TOTAL, Flow, draw, store_i64, under,
)  # fmt: skip
from .itch import FIELD_MAX, FIELDS, LAYOUT, LENGTHS

_S, _R, _H, _Y, _A, _F, _D, _U, _E, _C, _X, _P, _Q, _O = (ord(c) for c in "SRHYAFDUECXPQO")
_BUY, _SELL, _YES, _NO = (ord(c) for c in "BSYN")
_MPID = int.from_bytes(b"SYNT", "big")
_BODY = 4  # the first field of a message behind the header


def _constants(letter: str, **texts: str) -> Any:
    """Fields of a message of the morning that are the same for every stock; text as the specification gives it."""
    row = np.zeros(FIELD_MAX, np.int64)
    for index, (name, _, width) in enumerate(LAYOUT[letter][2]):
        row[_BODY + index] = int.from_bytes(texts.get(name, "").encode().ljust(width), "big")
    return row


# The authenticity T marks a test instrument.
_DIRECTORY_FIELDS = _constants(
    "R", market_category="Q", financial_status="N", round_lots_only="N", issue_class="C", issue_subtype="Z",
    authenticity="T", short_sale_threshold="N", ipo=" ", luld_tier="2", etp="N", inverse="N",
)  # fmt: skip
_DIRECTORY_FIELDS[_BODY + 3], _DIRECTORY_FIELDS[_BODY + 12] = 100, 0  # round lot, leverage
_ACTION_FIELDS = _constants("H", state="T")
_SHORT_FIELDS = _constants("Y", action="0")


@entry
def fill(flow: Flow) -> int:
    """The next messages into the buffer; returns how many bytes, 0 when the day is over."""
    cells = flow.cells
    cells[FILLED] = 0
    while cells[MADE] < cells[TOTAL] and cells[FILLED] + MESSAGE_ROOM <= len(flow.buffer):
        if cells[PHASE] == SESSION or cells[PHASE] == EVENING:
            choose(flow)
        else:
            _script(flow)
        _perform(flow)
        _emit(cells, flow.action[KIND], flow.values, flow.by_type, flow.buffer)
        if cells[MADE] == flow.stops[cells[PHASE]] or cells[CROSS] == cells[CROSSES]:
            _next_phase(cells, flow.stops)
    return cells[FILLED]


@hot
def _next_phase(cells: Cells, stops: Cells) -> None:
    """On to the next phase that has messages."""
    cells[SWEEP] = 0
    forget_plans(cells)
    cells[CROSS] = NONE
    cells[PHASE] += 1
    while cells[MADE] == stops[cells[PHASE]]:
        cells[PHASE] += 1


@rare
def _script(flow: Flow) -> None:
    """The next action of a phase that is not continuous trading."""
    cells = flow.cells
    phase = cells[PHASE]
    if phase == DIRECTORY:
        _directory(flow)
    elif phase == PREMARKET:
        _opening_order(flow)
    elif phase == FAREWELL:
        flow.action[KIND] = _S
    elif cells[CROSS] == NONE:
        flow.action[KIND] = _S
        cells[CROSS] = 0
    else:
        _cross(flow)
    if flow.action[KIND] == _S:
        _system(cells, flow.values, flow.bells)


@hot
def _system(cells: Cells, values: Cells, bells: Any) -> None:
    """The next system event."""
    values[_BODY] = bells[cells[BELLS], 0]
    cells[NOW] = bells[cells[BELLS], 1]
    cells[BELLS] += 1


@hot
def _directory(flow: Flow) -> None:
    """Start of messages; directory, trading action and short sale restriction of every stock; start of the system."""
    cells = flow.cells
    count = cells[MADE] - 1
    if count < 0 or count == 3 * len(flow.stocks):
        flow.action[KIND] = _S
    else:
        cells[STOCK_AT] = count // 3
        cells[NOW] += 1 + under(draw(cells), HOUR // (4 * len(flow.stocks)) >> 10) * 1024
        third = count % 3
        flow.action[KIND] = _R if third == 0 else (_H if third == 1 else _Y)
        for k in range(FIELD_MAX):
            if third == 0:
                flow.values[k] = _DIRECTORY_FIELDS[k]
            else:
                flow.values[k] = _ACTION_FIELDS[k] if third == 1 else _SHORT_FIELDS[k]
        flow.values[_BODY] = flow.stocks[cells[STOCK_AT]].name


@hot
def _opening_order(flow: Flow) -> None:
    """The stocks in turn, until each has its target."""
    cells = flow.cells
    action = flow.action
    while True:
        cells[ROBIN] = (cells[ROBIN] + cells[STRIDE]) % len(flow.stocks)
        stock = flow.stocks[cells[ROBIN]]
        if stock.count < stock.target:
            break
    cells[STOCK_AT] = cells[ROBIN]
    bits = draw(cells)
    left = flow.stops[PREMARKET] - cells[MADE]
    cells[NOW] += (((OPEN_AT - NS - cells[NOW]) // (left + 1)) >> 8) * (bits & 511)
    action[KIND] = _A
    action[SIDE] = (bits >> 10) & 1
    cells[REFERENCE] += 1 + ((bits >> 12) & 15)
    action[REF] = cells[REFERENCE]
    quote(cells, action, stock, flow.book.ladder.sides[2 * cells[STOCK_AT] + (action[SIDE] ^ 1)].price)


@hot
def _cross(flow: Flow) -> None:
    """Displayed bids that take part, at the best price; then the whole auction of this stock as one message."""
    cells = flow.cells
    action = flow.action
    at = flow.by_rank[cells[CROSS]]
    cells[STOCK_AT] = at
    bits = draw(cells)
    cells[NOW] += under(bits, NS // (8 * (cells[CROSSES] + 1)))
    bids = flow.book.ladder.sides[2 * at + BID]
    if cells[CROSS_FILLS] == 0:
        cells[CROSS_PRICE] = bids.price
        cells[CROSS_SHARES] = 0
    if cells[CROSS_FILLS] < 2 and bids.orders > 2 and bids.price == cells[CROSS_PRICE] and bits >> 62 != 0:
        slot = np.int64(flow.book.ladder.levels[bids.level].head)
        action[KIND] = _C
        action[SLOT] = slot
        action[QTY] = flow.book.orders[slot].qty
        action[PRICE] = bids.price
        cells[CROSS_FILLS] += 1
        cells[CROSS_SHARES] += action[QTY]
        return
    action[KIND] = _Q
    cells[MATCH] += 1
    values = flow.values
    empty = cells[CROSS_PRICE] == NONE
    values[_BODY] = 0 if empty else cells[CROSS_SHARES] + 100 * (bits & 63)
    values[_BODY + 1] = flow.stocks[at].name
    values[_BODY + 2] = 0 if empty else cells[CROSS_PRICE]
    values[_BODY + 3] = cells[MATCH]
    values[_BODY + 4] = _O if cells[PHASE] == OPENING else _C
    cells[CROSS_FILLS] = 0
    cells[CROSS] += 1


@hot
def _perform(flow: Flow) -> None:
    """Change the book as the action says, and write the fields of its message."""
    action = flow.action
    values = flow.values
    kind = action[KIND]
    if kind == _D or kind == _E or kind == _U or kind == _X or kind == _C:
        order = flow.book.orders[action[SLOT]]
        values[_BODY] = order.order_id
        values[_BODY + 1] = action[QTY]
        held = order.qty
        qty = held if kind == _D or kind == _U else action[QTY]
        books.reduce(flow.book, action[SLOT], qty)
        if qty == held:
            _forget(flow.stocks[flow.cells[STOCK_AT]], flow.live, flow.place, action[SLOT])
    if kind == _A or kind == _U or kind == _F:
        _rest(flow)
    elif kind == _E or kind == _C:
        flow.cells[MATCH] += 1
        values[_BODY + 2] = flow.cells[MATCH]
        values[_BODY + 3] = _NO if flow.cells[PHASE] == OPENING or flow.cells[PHASE] == CLOSING else _YES
        values[_BODY + 4] = action[PRICE]
    if action[KIND] == _P:
        flow.cells[MATCH] += 1
        values[_BODY] = 0
        values[_BODY + 1] = _BUY
        values[_BODY + 2] = action[QTY]
        values[_BODY + 3] = flow.stocks[flow.cells[STOCK_AT]].name
        values[_BODY + 4] = action[PRICE]
        values[_BODY + 5] = flow.cells[MATCH]


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
    if replaces:
        values[_BODY + 1] = reference
        values[_BODY + 2] = action[QTY]
        values[_BODY + 3] = action[PRICE]
        return
    values[_BODY] = reference
    values[_BODY + 1] = _BUY if action[SIDE] == BID else _SELL
    values[_BODY + 2] = action[QTY]
    values[_BODY + 3] = stock.name
    values[_BODY + 4] = action[PRICE]
    values[_BODY + 5] = _MPID


@hot
def _forget(stock: Any, live: Any, place: Any, slot: int) -> None:
    """An order is no longer live: the last of its stock takes its place in the list."""
    stock.count -= 1
    last = np.int64(live[stock.start + stock.count])
    gap = np.int64(place[slot])
    live[stock.start + gap] = last
    place[last] = gap


@hot
def _pack(buffer: Any, at: int, values: Cells) -> int:
    """As `itch.pack`, a field at a time: each is written left-justified in eight bytes, and the next covers the rest."""
    kind = values[0]
    for count in range(FIELD_MAX):
        width = FIELDS[kind, count, 1]
        if width == 0:
            break
        store_i64(buffer, at + FIELDS[kind, count, 0], values[count] << (64 - 8 * width))
    return LENGTHS[kind]


@hot
def _emit(cells: Cells, kind: int, values: Cells, by_type: Cells, buffer: Any) -> None:
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
