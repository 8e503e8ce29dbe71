"""When the next message of a synthetic day comes, and about which stock: planned a few messages ahead.

Messages come in bursts. A burst has a Pareto length, most of it is about one stock, and it begins after a Lomax gap
(tail exponents 2) scaled by the time and the messages left in these five minutes: the day always ends on time.
An aggressive order prolongs the burst it belongs to. A plan depends on no book, so the memory that its message will
need is asked for while earlier messages are made; the books of 8,000 stocks do not fit a cache.

Known bad case: a plan names an order to give up before its turn comes; when that one is gone by then, it is drawn anew.
"""

import math
from typing import Any

import numpy as np

from ..hot import hot
from ..hot import table as tables
from ..hot.atomics import Cells, prefetch
from ..wire import NONE
from .flow_state import (
    BUCKET,
    BURST,
    BURST_STOCK,
    BURSTS,
    MADE,
    NOW,
    PLAN_TS,
    PLANNED,
    PLANS,
    REFERENCE,
    STOCK_AT,
    TAKEN,
    Flow,
    draw,
    under,
    unit,
)

LEAST_MEAN = 4.0  # a burst is int(LEAST_MEAN / sqrt(u)) messages
BURST_MAX, GAP_MAX, NEWEST = 500, 60.0, 8
# How many messages before its turn one is planned, its stock seen, an order of it, and that order's neighbours.
AHEAD, LOOK, REACH, NEAR = 10, 7, 4, 2


@hot
def wait(flow: Flow) -> int:
    """Move to the next message: its time, its stock, its reference if it adds an order. Returns its plan."""
    cells, stocks, live, plans = flow.cells, flow.stocks, flow.live, flow.plans
    orders, ladder = flow.book.orders, flow.book.ladder
    sides, levels, nodes = ladder.sides, ladder.levels, ladder.nodes
    while cells[PLANNED] < cells[TAKEN] + AHEAD:
        plan = plans[cells[PLANNED] & (PLANS - 1)]
        _plan(cells, flow.buckets, flow.odds, flow.by_rank, plan)
        prefetch(stocks, plan.stock)
        prefetch(sides, 2 * plan.stock)
        prefetch(sides, 2 * plan.stock + 1)
        tables.ahead(flow.book.ids, plan.reference)
    turn = cells[TAKEN]
    _look(plans[(turn + LOOK) & (PLANS - 1)], stocks, live, sides, levels)
    _reach(plans[(turn + REACH) & (PLANS - 1)], stocks, live, flow.place, orders, sides, levels, nodes)
    _near(plans[(turn + NEAR) & (PLANS - 1)], orders, levels, nodes, flow.book.ids)
    at = turn & (PLANS - 1)
    cells[TAKEN] += 1
    cells[NOW] = plans[at].ts
    cells[STOCK_AT] = plans[at].stock
    return at


@hot
def forget_plans(cells: Cells) -> None:
    """A phase begins: nothing is planned."""
    cells[PLANNED] = cells[TAKEN]
    cells[PLAN_TS] = cells[NOW]
    cells[BURST] = 0


@hot
def _plan(cells: Cells, buckets: Any, odds: Any, by_rank: Any, plan: Any) -> None:
    """One more message behind those already planned."""
    due = cells[MADE] + cells[PLANNED] - cells[TAKEN]
    while due >= buckets[cells[BUCKET], 0] and cells[BUCKET] + 1 < len(buckets):
        cells[BUCKET] += 1
    left = max(1, buckets[cells[BUCKET], 0] - due)
    room = buckets[cells[BUCKET], 1] - cells[PLAN_TS]
    bits = draw(cells)
    moves = (bits >> 52) & 15 == 0
    if cells[BURST] > 0:
        cells[BURST] -= 1
        gap = (room // (4 * left)) >> (bits & 15)
        gap -= (gap * ((bits >> 4) & 255)) >> 9
    else:
        cells[BURSTS] += 1
        cells[BURST] = min(int(LEAST_MEAN / math.sqrt(unit(bits))), BURST_MAX) - 1
        lomax = min(1.0 / math.sqrt(unit(bits >> 26)) - 1.0, GAP_MAX)
        gap = min(int((room / left) * ((cells[PLANNED] + 1) / cells[BURSTS]) * lomax), room >> 1)
        moves = True
    if moves:
        pick = draw(cells)
        rank = under(pick, len(odds))
        if ((pick >> 32) & 0xFFFFFFFF) >= odds[rank, 0]:
            rank = odds[rank, 1]
        cells[BURST_STOCK] = by_rank[rank]
    cells[PLAN_TS] += gap
    cells[PLANNED] += 1
    cells[REFERENCE] += 1 + ((bits >> 56) & 15)
    plan.ts = cells[PLAN_TS]
    plan.stock = cells[BURST_STOCK]
    plan.reference = cells[REFERENCE]
    plan.bits = draw(cells)
    plan.slot = NONE


@hot
def candidate(count: int, bits: int) -> int:
    """Which live order of a stock is given up: half of the time one of the newest, most orders die young."""
    if bits & (1 << 40):
        return count - 1 - under(bits, count if count < NEWEST else NEWEST)
    return under(bits, count)


@hot
def _look(plan: Any, stocks: Any, live: Any, sides: Any, levels: Any) -> None:
    """Ask for the best levels of a stock, and for the list entry of its order."""
    stock = stocks[plan.stock]
    if stock.count > 0:
        prefetch(live, stock.start + candidate(stock.count, plan.bits))
        prefetch(live, stock.start + stock.count - 1)
    for s in range(2 * plan.stock, 2 * plan.stock + 2):
        if sides[s].level >= 0:
            prefetch(levels, sides[s].level)


@hot
def _reach(plan: Any, stocks: Any, live: Any, place: Any, orders: Any, sides: Any, levels: Any, nodes: Any) -> None:
    """Name the order that this message gives up if it gives up any, and ask for it."""
    stock = stocks[plan.stock]
    if stock.count > 0:
        slot = np.int64(live[stock.start + candidate(stock.count, plan.bits)])
        plan.slot = slot
        prefetch(orders, slot)
        prefetch(place, slot)
        prefetch(place, live[stock.start + stock.count - 1])
    for s in range(2 * plan.stock, 2 * plan.stock + 2):
        if sides[s].level >= 0:
            prefetch(orders, levels[sides[s].level].tail)
            prefetch(nodes, sides[s].level >> 6)


@hot
def _near(plan: Any, orders: Any, levels: Any, nodes: Any, ids: tables.Table) -> None:
    """Ask for all that its removal touches."""
    if plan.slot >= 0:
        order = orders[plan.slot]
        prefetch(levels, order.level)
        prefetch(nodes, order.level >> 6)
        tables.ahead(ids, order.order_id)
        if order.prev >= 0:
            prefetch(orders, order.prev)
        if order.next >= 0:
            prefetch(orders, order.next)
