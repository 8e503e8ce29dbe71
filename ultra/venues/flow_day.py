"""The phases of a synthetic day, and the loop that makes its messages.

Directory, orders before the open, opening cross, session, closing cross, evening, farewell. One step is one message,
so a day has exactly as many as it was told: a phase decides, `flow_message` changes the book and writes.
A cross executes displayed bids at one price as C messages that are not printable, and then says its volume in a Q.

Known bad case: nothing is deleted when the day ends; what rests then stays.
"""

from typing import Any

import numpy as np

from ..hot import entry, hot, rare
from ..hot.atomics import Cells
from ..wire import BID, NONE
from .flow_clock import forget_plans
from .flow_market import choose, quote
from .flow_message import BODY, emit, perform
from .flow_state import (
    BELLS,
    CROSS,
    CROSS_FILLS,
    CROSS_PRICE,
    CROSS_SHARES,
    CROSSES,
    DIRECTORY,
    EVENING,
    FAREWELL,
    FILLED,
    HOUR,
    KIND,
    MADE,
    MATCH,
    MESSAGE_ROOM,
    NOW,
    NS,
    OPEN_AT,
    OPENING,
    PHASE,
    PREMARKET,
    PRICE,
    QTY,
    REF,
    REFERENCE,
    ROBIN,
    SESSION,
    SIDE,
    SLOT,
    STOCK_AT,
    STRIDE,
    SWEEP,
    TOTAL,
    Flow,
    draw,
    under,
)
from .itch import FIELD_MAX, LAYOUT

_S, _R, _H, _Y, _A, _C, _Q, _O = (ord(c) for c in "SRHYACQO")


def _morning(letter: str, **texts: str) -> Any:
    """What a message of the morning says of every stock alike; text as the specification has it."""
    row = np.zeros(FIELD_MAX, np.int64)
    row[0] = ord(letter)
    for index, (name, _, width) in enumerate(LAYOUT[letter][2]):
        row[BODY + index] = int.from_bytes(texts.get(name, "").encode().ljust(width), "big")
    return row


# The authenticity T marks a test instrument; the round lot of 100 and the leverage of 0 are numbers.
_MORNING = np.stack([
    _morning(
        "R", market_category="Q", financial_status="N", round_lot="\0\0\0d", round_lots_only="N", issue_class="C",
        issue_subtype="Z", authenticity="T", short_sale_threshold="N", luld_tier="2", etp="N",
        etp_leverage="\0\0\0\0", inverse="N",
    ),
    _morning("H", state="T"),
    _morning("Y", action="0"),
])  # fmt: skip


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
        perform(flow)
        emit(cells, flow.action[KIND], flow.values, flow.by_type, flow.buffer)
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
    flow.action[KIND] = _S
    if phase == DIRECTORY:
        _directory(flow)
    elif phase == PREMARKET:
        _opening_order(flow)
    elif cells[CROSS] >= 0:
        _cross(flow)
    elif phase != FAREWELL:
        cells[CROSS] = 0
    if flow.action[KIND] == _S:
        _system(cells, flow.values, flow.bells)


@hot
def _system(cells: Cells, values: Cells, bells: Any) -> None:
    """The next system event."""
    values[BODY] = bells[cells[BELLS], 0]
    cells[NOW] = bells[cells[BELLS], 1]
    cells[BELLS] += 1


@hot
def _directory(flow: Flow) -> None:
    """Directory, trading action and short sale restriction of every stock; the first and the last are the system's."""
    cells = flow.cells
    count = cells[MADE] - 1
    if count < 0 or count == 3 * len(flow.stocks):
        return
    cells[STOCK_AT] = count // 3
    cells[NOW] += 1 + under(draw(cells), HOUR // (4 * len(flow.stocks)) >> 10) * 1024
    for k in range(FIELD_MAX):
        flow.values[k] = _MORNING[count % 3, k]
    flow.action[KIND] = flow.values[0]
    flow.values[BODY] = flow.stocks[cells[STOCK_AT]].name


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
    stock = flow.stocks[at]
    if cells[CROSS_FILLS] == 0:
        cells[CROSS_PRICE] = bids.price
        cells[CROSS_SHARES] = 0
    if cells[CROSS_FILLS] < 2 and stock.bids > 2 and bids.price == cells[CROSS_PRICE] and bits >> 62 != 0:
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
    values[BODY] = 0 if empty else cells[CROSS_SHARES] + 100 * (bits & 63)
    values[BODY + 1] = stock.name
    values[BODY + 2] = 0 if empty else cells[CROSS_PRICE]
    values[BODY + 3] = cells[MATCH]
    values[BODY + 4] = _O if cells[PHASE] == OPENING else _C
    cells[CROSS_FILLS] = 0
    cells[CROSS] += 1
