"""What happens next in a synthetic market: who acts, and on which order. It only decides; `flow_day` then does it.

Every stock has a worth that nobody sees: a random walk with a mild pull home, rare jumps, and a push from every
aggressive order. Quotes are placed around it, aggressive orders lean to it, quotes it has left behind are pulled
first. So prices follow the order flow, and the imbalance at the touch says something, not much, about the next move.
No order is placed at or through the other side's best, and every execution takes the head of the best queue.

Known bad case: a jump leaves one side behind; until its orders are gone the other side joins one tick away.
"""

from typing import Any

import numpy as np

from ..hot import hot
from ..hot.atomics import Cells
from ..hot.bits import lowest
from ..wire import ASK, BID, NONE
from .flow_clock import candidate, wait
from .flow_state import BURST, KIND, PRICE, QTY, REF, SIDE, SLOT, STOCK_AT, SWEEP, SWEEP_END, Flow, draw, under, unit

_A, _F, _D, _U, _E, _C, _X, _P = (ord(c) for c in "AFDUECXP")
# Chances in 1/65536; the rest is adds and deletes, in the proportion that keeps live orders near their target.
TRADES, REPLACES, CANCELS, HIDDEN = 1520, 5850, 1000, 1150
BIRTHS = 0.5234  # share of adds among the two when live orders are on target: executions end some
FAR = 1 << 10  # of an order far from the market
NORMAL_MEAN, NORMAL_SD = 131070, 37837.0  # of the sum of four numbers in 0..65535
IMPACT = 0.5  # of an aggressive order on the worth, in its usual steps
WORTH_MIN, WORTH_MAX = 0.8, 1.2  # of home
FINE_MAX = 9999  # no price of the fine grid reaches a dollar


@hot
def choose(flow: Flow) -> None:
    """The next action of continuous trading."""
    cells, action, orders = flow.cells, flow.action, flow.book.orders
    sides, levels = flow.book.ladder.sides, flow.book.ladder.levels
    if cells[SWEEP] > 0 and _sweeps_on(cells, action, flow.stocks[cells[STOCK_AT]], sides):
        action[KIND] = _E
    else:
        plan = flow.plans[wait(flow)]
        at = plan.stock
        stock, bids, asks = flow.stocks[at], sides[2 * at + BID], sides[2 * at + ASK]
        bits = draw(cells)
        _drift(cells, stock, bits)
        lean = _lean(stock, bids.price, asks.price)
        action[REF] = plan.reference
        action[KIND] = _kind(cells, stock, (bits >> 34) & 65535)
        if action[KIND] == _E:
            action[SIDE] = ASK if unit(bits) < 0.5 + 0.4 * lean else BID
            if resting(stock, action[SIDE]) < 2:
                action[KIND] = _A
        if action[KIND] == _E:
            _aggress(cells, action, stock, orders[_head(sides, levels, 2 * at + action[SIDE])].qty, sides, lean)
        elif action[KIND] == _P:
            _hidden(cells, action, stock, bids.price, asks.price)
        elif action[KIND] == _A:
            _enter(cells, action, stock, bids.price, asks.price, lean)
        else:
            _give_up(flow, plan, stock, bids, asks, lean)
    if action[KIND] == _E:
        _execute(cells, action, orders, sides, levels)


@hot
def _drift(cells: Cells, stock: Any, bits: int) -> None:
    """One step of the worth of a stock."""
    normal = draw(cells)
    total = (normal & 65535) + ((normal >> 16) & 65535) + ((normal >> 32) & 65535) + ((normal >> 48) & 65535)
    step = stock.noise * ((total - NORMAL_MEAN) / NORMAL_SD) + stock.pull * (stock.home - stock.fair)
    if (bits & 0xFFFFFFFF) < stock.jump:
        step += stock.leap if bits & (1 << 33) else -stock.leap
    stock.fair = max(WORTH_MIN * stock.home, min(WORTH_MAX * stock.home, stock.fair + step))


@hot
def _lean(stock: Any, bid: int, ask: int) -> float:
    """How far the worth is above the middle of the quotes, in usual spreads: -1 .. 1; 0 when a side is empty."""
    if bid == NONE or ask == NONE:
        return 0.0
    return max(-1.0, min(1.0, (stock.fair - 0.5 * (bid + ask) / stock.tick) / stock.gap))


@hot
def resting(stock: Any, side: int) -> int:
    """Live orders of a side."""
    return stock.bids if side == BID else stock.count - stock.bids


@hot
def _kind(cells: Cells, stock: Any, dice: int) -> int:
    """What is done to a stock; E stands for an aggressive order."""
    if stock.count == 0:
        return _A
    if dice < TRADES:
        return _E
    if dice < TRADES + REPLACES:
        return _U
    if dice < TRADES + REPLACES + CANCELS:
        return _X
    if dice < TRADES + REPLACES + CANCELS + HIDDEN:
        return _P
    births = BIRTHS + 0.5 * (stock.target - stock.count) / (stock.target + 4)
    return _A if stock.count < stock.room and unit(draw(cells)) < max(0.05, min(0.95, births)) else _D


@hot
def _enter(cells: Cells, action: Cells, stock: Any, bid: int, ask: int, lean: float) -> None:
    """A new order, more often on the side that has fewer."""
    bits = draw(cells)
    buys = 0.5 + 0.3 * lean - 0.5 * (2 * stock.bids - stock.count) / (stock.count + 4)
    action[SIDE] = BID if unit(bits) < buys else ASK
    action[KIND] = _F if (bits >> 24) & 127 == 0 else _A
    quote(cells, action, stock, ask if action[SIDE] == BID else bid)


@hot
def quote(cells: Cells, action: Cells, stock: Any, other: int) -> None:
    """Size and price of a new order of `action[SIDE]`: mostly within a few ticks of what the stock is worth, never
    crossing or locking `other`, the best price of the other side."""
    bits = draw(cells)
    action[QTY] = shares(stock, draw(cells))
    tick = stock.tick
    scale = 1 + (stock.gap >> 1)
    depth = (min(lowest(bits), 20) + min(lowest(bits >> 20), 20)) * scale + under(bits, scale)
    if (bits >> 40) & 65535 < FAR:
        depth += 8 + under(draw(cells), 40 + int(stock.fair * 0.0625))
    half = 0.5 * (stock.gap - 1)
    if action[SIDE] == BID:
        price = (int(stock.fair - half) - depth) * tick
        action[PRICE] = max(tick, price if other == NONE else min(price, other - tick))
        return
    price = (int(stock.fair + half) + 1 + depth) * tick
    price = price if other == NONE else max(price, other + tick)
    action[PRICE] = price if tick > 1 else min(price, FINE_MAX)


@hot
def shares(stock: Any, bits: int) -> int:
    """A size: mostly one round lot, some more, some odd."""
    if bits & 255 < stock.odd:
        return 1 + (((bits >> 9) & 0xFFFF) * 99 >> 16)
    if bits & 256:
        return 100
    return 100 * (1 + min(lowest(bits >> 9), 9) + ((bits >> 20) & 1) * ((bits >> 21) & 3))


@hot
def _give_up(flow: Flow, plan: Any, stock: Any, bids: Any, asks: Any, lean: float) -> None:
    """Delete, replace, or cancel part of an order; of a single share nothing is left."""
    cells, action = flow.cells, flow.action
    bits = draw(cells)
    slot = _victim(stock, plan, flow.live, flow.place)
    touch = _touch(stock, bids.price, asks.price, lean, bits)
    if touch == BID and bids.level >= 0:
        slot = np.int64(flow.book.ladder.levels[bids.level].tail)
    elif touch == ASK and asks.level >= 0:
        slot = np.int64(flow.book.ladder.levels[asks.level].tail)
    action[SLOT] = slot
    order = flow.book.orders[slot]
    if action[KIND] == _U:
        action[SIDE] = np.int64(order.side) & 1
        quote(cells, action, stock, asks.price if action[SIDE] == BID else bids.price)
        if bits < 0:
            action[QTY] = order.qty
    elif action[KIND] == _X:
        if order.qty > 100:
            action[QTY] = 100 * (1 + under(bits >> 20, (order.qty - 1) // 100))
        elif order.qty > 1:
            action[QTY] = 1 + under(bits >> 20, order.qty - 1)
        else:
            action[KIND] = _D


@hot
def _touch(stock: Any, bid: int, ask: int, lean: float, bits: int) -> int:
    """The side whose newest order at the best price is given up: one the worth has left behind, any, or NONE."""
    if bits & 7 == 0:
        return NONE
    worth = stock.fair * stock.tick
    slack = 0.2 * stock.gap * stock.tick
    if bid > worth + slack:
        return BID
    if ask != NONE and ask < worth - slack:
        return ASK
    if (bits >> 3) & 7 < 2:
        return ASK if unit(bits >> 6) < 0.5 + 0.45 * lean else BID
    return NONE


@hot
def _victim(stock: Any, plan: Any, live: Any, place: Any) -> int:
    """Any live order of a stock: the one the plan saw if it is still one of them."""
    if plan.slot >= 0:
        at = np.int64(place[plan.slot])
        if at < stock.count and live[stock.start + at] == plan.slot:
            return plan.slot
    return np.int64(live[stock.start + candidate(stock.count, plan.bits)])


@hot
def _aggress(cells: Cells, action: Cells, stock: Any, first: int, sides: Any, lean: float) -> None:
    """An aggressive order: how many shares it wants, and how far it goes. `first` is the size of the first it meets."""
    bits = draw(cells)
    style = bits & 15
    wanted = first
    if style > 9:
        wanted += shares(stock, bits >> 4)
        if style > 12:
            wanted += 100 * ((bits >> 40) & 7)
    elif style > 6:
        wanted = 1 + under(bits >> 16, first)
        if wanted > 100:
            wanted -= wanted % 100
    sign = 1 if action[SIDE] == ASK else -1
    if lean * sign >= 1.0:
        wanted += 200 * (1 + ((bits >> 44) & 3))
    end = sides[2 * cells[STOCK_AT] + action[SIDE]].price + sign * stock.gap * stock.tick
    worth = int(stock.fair) * stock.tick
    cells[SWEEP] = wanted
    cells[SWEEP_END] = worth if (worth > end) == (sign > 0) else end
    cells[BURST] += 2 + ((bits >> 60) & 3)
    stock.fair += IMPACT * sign * stock.noise


@hot
def _sweeps_on(cells: Cells, action: Cells, stock: Any, sides: Any) -> bool:
    """Whether the aggressive order of the last message finds more within its reach."""
    price = sides[2 * cells[STOCK_AT] + action[SIDE]].price
    inside = price <= cells[SWEEP_END] if action[SIDE] == ASK else price >= cells[SWEEP_END]
    if resting(stock, action[SIDE]) >= 2 and inside:
        return True
    cells[SWEEP] = 0
    return False


@hot
def _head(sides: Any, levels: Any, s: int) -> int:
    """The first order of the best queue of a side."""
    return np.int64(levels[sides[s].level].head)


@hot
def _execute(cells: Cells, action: Cells, orders: Any, sides: Any, levels: Any) -> None:
    """The aggressive order meets the head of the best queue; now and then at a better price than the displayed one."""
    low = 2 * cells[STOCK_AT]
    slot = _head(sides, levels, low + action[SIDE])
    qty = min(cells[SWEEP], orders[slot].qty)
    cells[SWEEP] -= qty
    action[SLOT] = slot
    action[QTY] = qty
    bid, ask = sides[low + BID].price, sides[low + ASK].price
    middle = (bid + ask) >> 1
    if draw(cells) & 15 == 0 and min(bid, ask) > 0 and bid < middle:
        action[KIND] = _C
        action[PRICE] = middle


@hot
def _hidden(cells: Cells, action: Cells, stock: Any, bid: int, ask: int) -> None:
    """A trade against an order nobody saw: in the middle, or at a quote."""
    bits = draw(cells)
    action[QTY] = shares(stock, bits)
    if bid == NONE or ask == NONE:
        action[PRICE] = int(stock.fair) * stock.tick
    elif bits & (1 << 40):
        action[PRICE] = bid if bits & (1 << 41) else ask
    else:
        action[PRICE] = (bid + ask) >> 1
