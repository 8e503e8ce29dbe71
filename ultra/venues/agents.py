"""Traders who live in the venue: seeded, each with one instrument, one account and a clock of its own.

ZERO_INTELLIGENCE places, moves and takes back limit orders around the best prices and now and then takes what is
there, by fixed chances (Farmer, Patelli, Zovko 2005); most of its orders end cancelled, as real ones do. MAKER keeps a
quote on either side, leans it against its position, and moves it by cancel/replace. An agent knows of its orders only
what the venue reported, and acts only when its time has come: what it does depends on nothing but its seed and these.

Always: `own[first : first + live]` are its open orders, each once, with what is open of them. An order's number is
`agent + 1` in the bits above 32, so that a report finds its agent.
Known bad cases: a maker alone in an instrument quotes around its own quotes; it needs others, or it stays at home. Who
is due next is found by looking at all of them: for tens, not for thousands.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot, memory
from ..hot.atomics import Cells
from ..hot.bits import lowest
from ..wire import (
    ACCEPTED,
    ASK,
    BID,
    CANCEL_ORDER,
    CANCELLED,
    FILL,
    IMMEDIATE,
    NEW,
    NONE,
    POST_ONLY,
    REJECTED,
    REPLACE_ORDER,
    REPLACED,
    STP_OLDEST,
)
from . import arrivals
from .arrivals import draw
from .flow_state import under

ZERO_INTELLIGENCE: Final = 1
MAKER: Final = 2
OWN_MAX: Final = 64  # open orders of one agent
ID_BITS: Final = 32
PULL: Final = 8  # one aggressive order in so many goes towards the reference price, whatever the dice say
# Cells: outcomes of all agents.
PLACED, MOVED, TAKEN_BACK, REFUSED, FILLED, UNKNOWN = 0, 1, 2, 3, 4, 5
OUTCOMES: Final = {
    "placed": PLACED, "moved": MOVED, "taken_back": TAKEN_BACK, "refused": REFUSED, "filled": FILLED,
    "unknown": UNKNOWN,
}  # fmt: skip

AGENT_MAX: Final = 4000  # their numbers stay below 2^44, as the matching engine wants

AGENT: Final = np.dtype(
    [
        *arrivals.FIELDS,
        ("kind", "i8"),
        ("instrument", "i8"),
        ("owner", "i8"),
        ("live", "i8"),  # open orders
        ("made", "i8"),  # order numbers so far
        ("position", "i8"),  # lots
        ("reference", "i8"),  # price it calls home
        ("step", "i8"),  # between two prices
        ("lot", "i8"),  # quantities are multiples of it
        ("lots", "i8"),  # most of these in one order
        ("depth", "i8"),  # steps from the other side's best: usual scale of a new order; of a maker half its spread
        ("cancels", "i8"),  # chances in 1/1000: to take an order back, to move one, to take what is there
        ("moves", "i8"),
        ("takes", "i8"),
        ("lean", "i8"),  # of a maker: lots of position that move its quotes by a step
        ("hurry", "i8"),  # of a maker: its other quote is due at once
    ],
    align=True,
)
OWN: Final = np.dtype([("order_id", "i8"), ("price", "i8"), ("qty", "i8"), ("side", "i8")])


class Agents(NamedTuple):
    """All agents of a venue."""

    rows: Any  # AGENT[agents]
    own: Any  # OWN[agents * OWN_MAX]
    cells: Cells


def create(count: int) -> Agents:
    """Agents that `arrivals.start` and a few fields make into somebody."""
    assert 0 <= count <= AGENT_MAX, count
    return Agents(memory.zeros(count, AGENT), memory.zeros(count * OWN_MAX, OWN), np.zeros(8, np.int64))


@hot
def earliest(agents: Agents, until: int) -> int:
    """The agent who is due first, not later than `until`; NONE. Of several at the same time the first."""
    found, least = np.int64(NONE), until
    for at in range(len(agents.rows)):
        due = agents.rows[at].due
        if due < least or (due == least and found < 0):
            found, least = at, due
    return found


@hot
def skip(agents: Agents, at: int) -> None:
    """Its time has come, and there is nothing to trade in."""
    arrivals.advance(agents.rows[at])


@hot
def act(agents: Agents, at: int, bid: int, ask: int, entry: Any) -> bool:
    """What this agent does at its time, with these best prices (NONE = nobody there); False when nothing."""
    row = agents.rows[at]
    entry.ts_event = row.due
    entry.instrument = row.instrument
    entry.owner = row.owner
    entry.flag = 0
    entry.display = 0
    entry.stop = 0
    entry.aux = 0
    if row.kind == MAKER:
        acted = _quote(agents, at, row, bid, ask, entry)
        row.hurry = acted and row.live < 2 and row.hurry == 0
        if row.hurry != 0:
            row.due += 1  # the other quote, at once; but what is refused is not tried again at once
            return acted
    else:
        acted = _roll(agents, at, row, bid, ask, entry)
    arrivals.advance(row)
    return acted


@hot
def _number(row: Any, at: int) -> int:
    row.made += 1
    return ((at + 1) << ID_BITS) | row.made


@hot
def _roll(agents: Agents, at: int, row: Any, bid: int, ask: int, entry: Any) -> bool:
    """One throw of the dice of zero intelligence."""
    bits = draw(row)
    dice = under(bits, 1000)
    side = (bits >> 40) & 1
    entry.qty = row.lot * (1 + min(under(bits >> 32, row.lots), lowest(draw(row))))
    if row.live == OWN_MAX or (dice < row.cancels and row.live > 0):
        victim = agents.own[at * OWN_MAX + under(draw(row), row.live)]
        entry.kind = CANCEL_ORDER
        entry.side = victim.side
        entry.order_id = victim.order_id
        entry.price = 0
        entry.qty = 0
        agents.cells[TAKEN_BACK] += 1
        return True
    if row.cancels <= dice < row.cancels + row.moves and row.live > 0:
        victim = agents.own[at * OWN_MAX + under(draw(row), row.live)]
        entry.kind = REPLACE_ORDER
        entry.side = victim.side
        entry.order_id = victim.order_id
        entry.aux = _number(row, at)
        entry.price = _passive(row, victim.side, bid, ask)
        agents.cells[MOVED] += 1
        return True
    entry.kind = NEW
    entry.order_id = _number(row, at)
    if dice >= 1000 - row.takes and bid != NONE and ask != NONE:
        if under(draw(row), PULL) == 0:
            side = BID if ask < row.reference else ASK
        entry.flag = IMMEDIATE
        entry.price = ask if side == BID else bid
    else:
        entry.price = _passive(row, side, bid, ask)
    entry.side = side
    agents.cells[PLACED] += 1
    return True


@hot
def _passive(row: Any, side: int, bid: int, ask: int) -> int:
    """A price some steps behind the other side's best; on either side of home when nobody is there."""
    steps = 1 + under(draw(row), row.depth) + row.depth * min(lowest(draw(row)), 6) // 2
    other, same = (ask, bid) if side == BID else (bid, ask)
    if other == NONE:
        other = row.reference if same == NONE else same
        if same == NONE and draw(row) & 1 != 0:
            steps = -steps
    price = other - steps * row.step if side == BID else other + steps * row.step
    return max(row.step, price - price % row.step)


@hot
def _quote(agents: Agents, at: int, row: Any, bid: int, ask: int, entry: Any) -> bool:
    """Bring one quote where it should be: the bid first."""
    middle = (bid + ask) >> 1 if bid != NONE and ask != NONE else row.reference
    middle -= row.position // row.lean * row.step
    low = middle - row.depth * row.step
    low = max(row.step, min(low - low % row.step, (ask if ask != NONE else low + row.step) - row.step))
    high = middle + row.depth * row.step
    high = max(high + (row.step - high % row.step) % row.step, max(bid, low) + row.step)
    for side in range(2):
        wanted = low if side == BID else high
        k = _own_side(agents, at, row, side)
        entry.side = side
        entry.price = wanted
        entry.qty = row.lot * row.lots
        entry.flag = POST_ONLY | STP_OLDEST
        if k < 0:
            entry.kind = NEW
            entry.order_id = _number(row, at)
            agents.cells[PLACED] += 1
            return True
        if agents.own[k].price != wanted or 2 * agents.own[k].qty < entry.qty:
            entry.kind = REPLACE_ORDER
            entry.order_id = agents.own[k].order_id
            entry.aux = _number(row, at)
            agents.cells[MOVED] += 1
            return True
    return False


@hot
def _own_side(agents: Agents, at: int, row: Any, side: int) -> int:
    for k in range(at * OWN_MAX, at * OWN_MAX + row.live):
        if agents.own[k].side == side:
            return k
    return NONE


@hot
def _find(agents: Agents, at: int, order_id: int) -> int:
    first = at * OWN_MAX
    for k in range(first, first + agents.rows[at].live):
        if agents.own[k].order_id == order_id:
            return k
    return NONE


@hot
def observe(agents: Agents, report: Any) -> None:
    """The venue told one of them something about its order."""
    at = (report.order_id >> ID_BITS) - 1
    if at < 0 or at >= len(agents.rows) or report.owner != agents.rows[at].owner:
        agents.cells[UNKNOWN] += 1
        return
    row = agents.rows[at]
    row.made = max(row.made, report.order_id & ((1 << ID_BITS) - 1))  # also when these are read from a journal
    if report.kind == ACCEPTED:
        if row.live < OWN_MAX:
            own = agents.own[at * OWN_MAX + row.live]
            own.order_id = report.order_id
            own.price = report.price
            own.qty = report.qty
            own.side = report.side
            row.live += 1
        return
    if report.kind == REJECTED:
        agents.cells[REFUSED] += 1
        return
    k = _find(agents, at, report.aux if report.kind == REPLACED else report.order_id)
    if k < 0:
        agents.cells[UNKNOWN] += 1
        return
    own = agents.own[k]
    if report.kind == REPLACED:
        own.order_id = report.order_id
        own.price = report.price
        own.qty = report.qty
    elif report.kind == FILL:
        agents.cells[FILLED] += 1
        row.position += report.qty if report.side == BID else -report.qty
        own.qty -= report.qty
    elif report.kind == CANCELLED:
        own.qty -= report.qty
    if own.qty <= 0:
        row.live -= 1
        last = agents.own[at * OWN_MAX + row.live]
        own.order_id = last.order_id
        own.price = last.price
        own.qty = last.qty
        own.side = last.side


def check(agents: Agents) -> None:
    """Every invariant: for tests."""
    for at, row in enumerate(agents.rows):
        assert 0 <= int(row.live) <= OWN_MAX
        own = agents.own[at * OWN_MAX : at * OWN_MAX + int(row.live)]
        assert len(set(own.order_id.tolist())) == len(own), "an order is there twice"
        assert all(qty > 0 for qty in own.qty.tolist()), "an order with nothing open"
        assert all(order_id >> ID_BITS == at + 1 for order_id in own.order_id.tolist())
        if row.kind == MAKER:
            assert len(set(own.side.tolist())) == len(own), "two quotes on one side"
