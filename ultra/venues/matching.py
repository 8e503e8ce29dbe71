"""A matching engine: price-time priority over many instruments, one entry after the other, each to its end.

`build(models)` makes `enter(venue, entry)`, a function of the entries and of nothing else; time is the entry's. What an
entry causes is cut into steps that each emit at most ROOM records: match with one order, release one stop, cancel one
order, cross one pair of an auction. When a ring has less room, `enter` returns False; drain the rings and call it again
with the same entry: it goes on where it was, and what it emits does not depend on the size of the rings. So no limit is
put on what one order may trade. The rules are in docs/rulebook.md, each with its test.
Known bad cases: a mass cancel, an end of day and an auction look at every slot that was ever used; and FILL_OR_KILL
with self-trade prevention counts on FIFO, under another queue model it may trade in part before it is cancelled.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..hot import hot, rare
from ..hot import pool as pools
from ..hot.bits import mix
from ..wire import (
    ACCEPTED,
    ASK,
    AT_MARKET,
    BID,
    CANCEL_ORDER,
    FILL_OR_KILL,
    NEW,
    NONE,
    NOT_PRINTABLE,
    REPLACE_ORDER,
    STOP,
    STP_BOTH,
    STP_NEWEST,
    STP_OLDEST,
    TRADING,
)  # fmt: skip
from . import matching_desk as desk
from . import matching_queue as queues
from . import matching_rules as rules
from . import matching_tape as tape
from .matching_models import DRAW_BITS, Models
from .matching_models import load as load_models
from .matching_state import (
    CROSS_LEFT,
    CROSS_PRICE,
    ENTRIES,
    IDLE,
    INSTRUMENT_AT,
    JOIN,
    MATCHES,
    NOW,
    PHASE,
    ROUND_AT,
    ROUND_TOTAL,
    ROUND_WANTED,
    SELLS,
    SIDES,
    SWEEP,
    TAKE,
    TAKER,
    TRIGGER,
    UNCROSS,
    Venue,
    create,
    instrument_of,
    limit_of,
    list_instrument,
    next_ref,
    side_of,
)
from .matching_tape import REASONS

room = tape.room

__all__ = ["REASONS", "build", "build_stamp", "create", "list_instrument", "load_models", "room"]


@hot
def draw(one: int, other: int) -> int:
    """A number for a model that looks random, the same in every replay."""
    return mix(mix(one, 1), other) & ((1 << DRAW_BITS) - 1)


@hot
def accept(venue: Venue, entry: Any) -> int:
    """A new order gets its slot, or is refused; the slot, or NONE."""
    reason = rules.refusal(venue, entry)
    if reason == tape.NO_REASON and pools.live(venue.pool) == len(venue.pool.free):
        reason = np.int64(tape.ORDERS_FULL)
    slot = np.int64(NONE)
    if reason == tape.NO_REASON:
        slot = pools.take(venue.pool)
        reason = desk.remember(venue, np.int64(entry.owner), entry.order_id, slot)
        if reason != tape.NO_REASON:
            pools.put(venue.pool, slot)
    if reason != tape.NO_REASON:
        tape.refuse(venue, entry, reason)
        return NONE
    write(venue, slot, entry)
    return slot


@hot
def write(venue: Venue, slot: int, entry: Any) -> None:
    """The order of an entry, in no queue, wanting all."""
    order, flag = venue.orders[slot], np.int64(entry.flag)
    if entry.display > 0 or flag & STOP != 0:
        flag = desk.write_more(venue, slot, entry)
    order.order_id = entry.order_id
    order.ref = next_ref(venue)
    order.price = NONE if flag & AT_MARKET != 0 else entry.price
    order.shown = 0
    order.reserve = entry.qty
    order.side = SIDES * np.int64(entry.instrument)
    order.owner = entry.owner
    order.flag = flag | (np.int64(entry.side) << SELLS)
    venue.listings[entry.instrument].entered += entry.qty
    tape.say(venue, ACCEPTED, order, entry.qty)


@hot
def launch(venue: Venue, slot: int, least: int) -> int:
    """An order begins to trade, or ends because too little of it would; the next phase."""
    if least > 0 and queues.available(venue, slot, least) < least:
        whole = venue.orders[slot].flag & FILL_OR_KILL != 0
        queues.drop(venue, slot, tape.ALL_OR_NOTHING if whole else tape.LEAST_NOT_MET)
        return TRIGGER
    venue.cells[TAKER] = slot
    return TAKE


@hot
def least_of(order: Any, least: int) -> int:
    """How many lots must trade at once."""
    return order.reserve if order.flag & FILL_OR_KILL != 0 else least


@hot
def start(venue: Venue, slot: int, least: int) -> int:
    """Where an order that was accepted, replaced or triggered goes; the next phase."""
    order = venue.orders[slot]
    flag, listing = np.int64(order.flag), venue.listings[instrument_of(order)]
    venue.cells[INSTRUMENT_AT] = instrument_of(order)
    if listing.state == TRADING and flag & (rules.AUCTIONS | STOP) == 0:
        return launch(venue, slot, least_of(order, least))
    return desk.park(venue, slot)


@hot
def settle(venue: Venue, slot: int) -> int:
    """An order has traded as far as it can: what is left rests or is cancelled; the next phase."""
    order = venue.orders[slot]
    if order.reserve == 0:
        queues.end(venue, slot)
    elif order.flag & (rules.AT_ONCE | AT_MARKET) != 0:
        queues.drop(venue, slot, tape.UNFILLED)
    else:
        queues.rest(venue, slot)
    return TRIGGER


@rare
def self_trade(venue: Venue, slot: int, maker: int) -> bool:
    """An order met one of its owner: cancel what its flags say; whether it has come to its end itself."""
    flag = np.int64(venue.orders[slot].flag)
    if flag & STP_OLDEST != 0:
        queues.remove_apart(venue, maker, tape.SELF_TRADE)
    if flag & STP_NEWEST == 0:
        return False
    queues.drop(venue, slot, tape.SELF_TRADE)
    return True


def build(models: Models) -> Callable[[Venue, Any], bool]:
    """The engine with these models in it: `enter(venue, entry)`, hot; True when the entry is done with.

    False: the rings are full. Drain them and give the same entry again. A loop around it that Python calls is an
    `entry(..., key=models.key)`."""
    share, fee = models.queue, models.fee

    @hot
    def fill(venue: Venue, slot: int, price: int, lots: int, took: bool, match: int) -> None:
        order = venue.orders[slot]
        tape.filled(venue, order, price, lots, np.int64(took), match)
        venue.fees[order.owner] += fee(price, lots, took)

    @hot
    def trade(venue: Venue, slot: int, maker: int, lots: int) -> None:
        """An incoming order meets a resting one, at the resting one's price."""
        cells, other = venue.cells, venue.orders[maker]
        price, listing = other.price, venue.listings[instrument_of(other)]
        cells[MATCHES] += 1
        fill(venue, slot, price, lots, True, cells[MATCHES])
        fill(venue, maker, price, lots, False, cells[MATCHES])
        tape.trades(venue, other, NONE, lots, 0, cells[MATCHES])
        listing.last = price
        listing.traded += 2 * lots
        queues.take_off(venue, maker, lots)

    @hot
    def take(venue: Venue) -> int:
        """The incoming order trades, level by level; TAKE again if the rings are full, else the next phase.

        A round is one pass over the best level: `wanted` lots are to come from the `total` of the orders from `at`."""
        cells, slot = venue.cells, venue.cells[TAKER]
        order = venue.orders[slot]
        side, base, limit = side_of(order), np.int64(order.side) & ~7, limit_of(order)
        at, wanted, total, left = cells[ROUND_AT], cells[ROUND_WANTED], cells[ROUND_TOTAL], order.reserve
        if wanted != 0:
            cells[ROUND_AT], cells[ROUND_WANTED], cells[ROUND_TOTAL] = 0, 0, 0
        while left > 0:
            if wanted == 0:
                s = queues.facing(venue, base, side)
                if not queues.reaches(venue.ladder.sides[s].price, side, limit):
                    break
                row = venue.ladder.levels[np.int64(venue.ladder.sides[s].level)]
                at, total = np.int64(row.head), row.qty
                wanted = min(left, total)
            if not tape.room(venue):
                cells[ROUND_AT], cells[ROUND_WANTED], cells[ROUND_TOTAL] = at, wanted, total
                order.reserve = left
                return TAKE
            maker = venue.orders[at]
            after, shown = np.int64(maker.next), maker.shown
            if maker.owner == order.owner and order.flag & STP_BOTH != 0:
                order.reserve = left
                if self_trade(venue, slot, at):
                    return TRIGGER
                wanted = np.int64(0)
                continue
            lots = share(shown, wanted, total, draw(cells[MATCHES], maker.ref))
            lots = min(max(lots, wanted - total + shown), min(wanted, shown))
            if lots > 0:
                trade(venue, slot, at, lots)
            at, total, wanted, left = after, total - shown, wanted - lots, left - lots
        order.reserve = left
        return settle(venue, slot)

    @rare
    def uncross(venue: Venue) -> int:
        """Bids and asks of an auction meet, best first, all at its price; UNCROSS again if the rings are full."""
        cells, instrument = venue.cells, venue.cells[INSTRUMENT_AT]
        price, base = cells[CROSS_PRICE], SIDES * instrument
        while cells[CROSS_LEFT] > 0:
            if not tape.room(venue):
                return UNCROSS
            bid = queues.head(venue, queues.facing(venue, base, ASK))
            ask = queues.head(venue, queues.facing(venue, base, BID))
            lots = min(cells[CROSS_LEFT], min(venue.orders[bid].shown, venue.orders[ask].shown))
            cells[MATCHES] += 1
            cells[CROSS_LEFT] -= lots
            venue.listings[instrument].traded += 2 * lots
            for slot in (bid, ask):
                fill(venue, slot, price, lots, False, cells[MATCHES])
                tape.trades(venue, venue.orders[slot], price, lots, NOT_PRINTABLE, cells[MATCHES])
            queues.take_off(venue, bid, lots)
            queues.take_off(venue, ask, lots)
        return desk.crossed(venue)

    @hot
    def begin(venue: Venue, entry: Any) -> int:
        """The first step of an entry; the next phase."""
        venue.cells[NOW] = entry.ts_event
        venue.cells[ENTRIES] += 1
        if entry.kind == NEW:
            slot = accept(venue, entry)
            return start(venue, slot, entry.aux) if slot >= 0 else IDLE
        if entry.kind == CANCEL_ORDER:
            desk.cancel(venue, entry)
            return IDLE
        if entry.kind == REPLACE_ORDER:
            slot = desk.replace(venue, entry)
            return start(venue, slot, 0) if slot >= 0 else IDLE
        return desk.govern(venue, entry)

    @hot
    def enter(venue: Venue, entry: Any) -> bool:
        """Handle an entry to its end; False when the rings are full.

        `take` looks for room itself, before each trade: what comes before the first and behind the last fits."""
        if not tape.room(venue):
            return False
        phase = venue.cells[PHASE]
        if phase == IDLE:
            phase = begin(venue, entry)
        while phase != IDLE:
            if phase == TAKE:
                phase = take(venue)
                if phase != TAKE:
                    continue
            elif phase == TRIGGER and venue.listings[venue.cells[INSTRUMENT_AT]].stops == 0:
                break
            if not tape.room(venue):
                venue.cells[PHASE] = phase
                return False
            if phase == TRIGGER:
                slot = desk.release(venue)
                phase = start(venue, slot, 0) if slot >= 0 else IDLE
            elif phase == UNCROSS:
                phase = uncross(venue)
            elif phase != TAKE:
                phase = onward(venue, phase)
        venue.cells[PHASE] = IDLE
        return True

    return enter


@rare
def onward(venue: Venue, phase: int) -> int:
    """The phases in which nothing trades; the next one."""
    if phase == SWEEP:
        return desk.sweep(venue)
    return desk.join_auction(venue) if phase == JOIN else desk.opened(venue)


def build_stamp(models: Models) -> Callable[[Any], None]:
    """`stamp(entry)`, hot: an entry takes effect a latency after its time. For whoever puts entries in a queue."""
    latency = models.latency

    @hot
    def stamp(entry: Any) -> None:
        entry.ts_event += latency(draw(entry.ts_event, entry.order_id))

    return stamp
