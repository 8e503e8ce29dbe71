"""What happens seldom: orders that wait, replacements, and what whoever runs the venue asks for.

All of it is compiled apart, so that the path of a plain order stays short. What may emit more than ROOM records
(`sweep`, `join_auction`) does as much as the rings take and returns its own phase to be called again.
Known bad case: see `matching`: sweeps look at every slot that was ever used.
"""

from typing import Any

import numpy as np

from ..hot import hot, rare
from ..hot import ladder as ladders
from ..hot import pool as pools
from ..wire import (
    AT_MARKET,
    AUCTION,
    BID,
    CANCELLED,
    END_OF_DAY,
    GOOD_TILL_CANCEL,
    MASS_CANCEL,
    NONE,
    ON_OPEN,
    POST_ONLY,
    REPLACED,
    SET_STATE,
    STOP,
    TRADING,
    TRIGGERED,
)  # fmt: skip
from . import matching_auction as auctions
from . import matching_numbers as numbers
from . import matching_queue as queues
from . import matching_rules as rules
from . import matching_tape as tape
from .matching_state import (
    CROSS_PRICE,
    CROSS_QTY,
    DARK,
    HELD,
    ICEBERG,
    IDLE,
    INSTRUMENT_AT,
    JOIN,
    LIT,
    MATCHES,
    OPENED,
    REPLACED_REF,
    SIDES,
    SWEEP,
    SWEEP_AT,
    SWEEP_INSTRUMENT,
    SWEEP_OWNER,
    SWEEP_WHY,
    TRIGGER,
    UNCROSS,
    WAITING,
    WIRE_FLAGS,
    Venue,
    find,
    instrument_of,
    next_ref,
    open_lots,
    queue_of,
    side_of,
)


@hot
def remember(venue: Venue, owner: int, order_id: int, slot: int) -> int:
    """A client's number is used from now on, for this slot; or why it can't be."""
    if order_id <= 0:
        return tape.BAD_ID
    put = numbers.put(venue.numbers, owner, order_id, slot)
    if put == numbers.ADDED:
        return tape.NO_REASON
    return tape.DUPLICATE_ID if put == numbers.PRESENT else tape.IDS_FULL


@rare
def write_more(venue: Venue, slot: int, entry: Any) -> int:
    """Slice and trigger price of an order; returns its flags."""
    more, flag = venue.more[slot], np.int64(entry.flag)
    more.stop = entry.stop
    more.display = entry.display
    return flag | ICEBERG if entry.display > 0 else flag


@rare
def park(venue: Venue, slot: int) -> int:
    """An order that does not trade now joins where it waits; the next phase."""
    order = venue.orders[slot]
    flag, side, listing = np.int64(order.flag), side_of(order), venue.listings[instrument_of(order)]
    if flag & STOP != 0:
        queues.put_aside(venue, slot, WAITING, side ^ 1, venue.more[slot].stop)
        return TRIGGER
    if rules.waits_for(listing, flag):
        queues.put_aside(venue, slot, HELD, 0 if flag & ON_OPEN != 0 else 1, listing.tick)
    elif flag & (rules.AUCTIONS | AT_MARKET) != 0:
        price = order.price
        if price == NONE:
            price = listing.tick * (ladders.KEY_MAX - 1) if side == BID else listing.tick
        queues.put_aside(venue, slot, DARK, side, price)
    else:
        queues.rest(venue, slot)
    return IDLE


@hot
def cancel(venue: Venue, entry: Any) -> None:
    """An owner takes an order back, or all but `qty` lots of it."""
    slot, left = find(venue, np.int64(entry.owner), entry.order_id), entry.qty
    if slot < 0:
        tape.refuse(venue, entry, tape.UNKNOWN_ORDER)
    elif left == 0:
        queues.remove(venue, slot, tape.BY_OWNER)
    else:
        reduce(venue, entry, slot)


@rare
def reduce(venue: Venue, entry: Any, slot: int) -> None:
    """A partial cancel: the order keeps its place."""
    order = venue.orders[slot]
    listing, off = venue.listings[instrument_of(order)], open_lots(order) - entry.qty
    if entry.qty < 0 or off <= 0:
        tape.refuse(venue, entry, tape.BAD_QTY)
    elif entry.qty % listing.lot != 0:
        tape.refuse(venue, entry, tape.ODD_LOT)
    else:
        queues.shrink(venue, slot, entry.qty)
        listing.cancelled += off
        tape.ended(venue, CANCELLED, order, off, tape.BY_OWNER)


@hot
def _keeps_place(venue: Venue, slot: int, entry: Any) -> bool:
    """Only an order that wants less, at the same price, stays where it is."""
    order = venue.orders[slot]
    same = order.price == NONE or order.price == entry.price
    if queue_of(order) == WAITING:
        same = same and venue.more[slot].stop == entry.stop
    return same and entry.qty <= open_lots(order)


@hot
def _bad_change(venue: Venue, slot: int, entry: Any) -> int:
    """Why an order can't become what an entry says; NO_REASON if it can."""
    order = venue.orders[slot]
    listing, flag = venue.listings[instrument_of(order)], np.int64(order.flag)
    if listing.state != TRADING and listing.state != AUCTION:
        return tape.WRONG_STATE
    wrong = rules.bad_qty(listing, entry.qty)
    if wrong == tape.NO_REASON and order.price != NONE:
        wrong = rules.bad_price(listing, entry.price)
    if wrong != tape.NO_REASON:
        return wrong
    if queue_of(order) == WAITING and rules.bad_price(listing, entry.stop) != tape.NO_REASON:
        return tape.BAD_STOP
    if flag & POST_ONLY != 0 and listing.state == TRADING and not _keeps_place(venue, slot, entry):
        return rules.would_trade(venue, instrument_of(order), side_of(order), entry.price)
    return tape.NO_REASON


@rare
def replace(venue: Venue, entry: Any) -> int:
    """An order gets a new number, price and size (what is to be open); its slot if it has to start again, else NONE.

    Side, flags and slice stay."""
    slot, owner = find(venue, np.int64(entry.owner), entry.order_id), np.int64(entry.owner)
    reason = np.int64(tape.UNKNOWN_ORDER)
    if slot >= 0:
        reason = _bad_change(venue, slot, entry)
    if reason == tape.NO_REASON:
        reason = remember(venue, owner, entry.aux, slot)
    if reason != tape.NO_REASON:
        tape.refuse(venue, entry, reason)
        return NONE
    order, stays = venue.orders[slot], _keeps_place(venue, slot, entry)
    listing, off = venue.listings[instrument_of(order)], open_lots(order) - entry.qty
    numbers.end(venue.numbers, owner, entry.order_id)
    listing.cancelled += max(off, 0)
    listing.entered += max(-off, 0)
    order.order_id = entry.aux
    if stays:
        queues.shrink(venue, slot, entry.qty)
    else:
        _start_again(venue, slot, entry)
    tape.report(venue, REPLACED, order, order.price, entry.qty, order.flag & WIRE_FLAGS, 0, entry.order_id)
    return NONE if stays else slot


@hot
def _start_again(venue: Venue, slot: int, entry: Any) -> None:
    """Take an order out of its queue with a new size and price. Shown without a trade between, it is one public
    record; else the old one goes and the new one comes."""
    order = venue.orders[slot]
    was_lit, before = queue_of(order) == LIT, order.ref
    queues.pull(venue, slot)
    order.reserve = entry.qty
    order.ref = next_ref(venue)
    if order.price != NONE:
        order.price = entry.price
    if order.flag & STOP != 0:
        venue.more[slot].stop = entry.stop
    if was_lit:
        trading = venue.listings[instrument_of(order)].state == TRADING
        if trading and rules.would_trade(venue, instrument_of(order), side_of(order), order.price) != tape.NO_REASON:
            tape.hides(venue, instrument_of(order), side_of(order), before)
        else:
            venue.cells[REPLACED_REF] = before


@rare
def release(venue: Venue) -> int:
    """The next order whose trigger the last trade has reached becomes an ordinary one; its slot, or NONE.

    Buys first, from the lowest trigger up; then sells, from the highest down; equal triggers in order of arrival."""
    base, listing = SIDES * venue.cells[INSTRUMENT_AT], venue.listings[venue.cells[INSTRUMENT_AT]]
    last, s = listing.last, base + 2 * WAITING + 1
    if listing.state != TRADING or listing.stops == 0 or last == NONE:
        return NONE
    up, down = venue.ladder.sides[s].price, venue.ladder.sides[s ^ 1].price
    if up == NONE or up > last:
        s ^= 1
        if down == NONE or down < last:
            return NONE
    slot = queues.head(venue, s)
    order = venue.orders[slot]
    queues.pull(venue, slot)
    order.flag &= ~STOP
    order.ref = next_ref(venue)
    tape.say(venue, TRIGGERED, order, order.reserve)
    return slot


@rare
def govern(venue: Venue, entry: Any) -> int:
    """A mass cancel, a trading state, the end of the day; the next phase."""
    instrument, kind = np.int64(entry.instrument), entry.kind
    everywhere = kind == END_OF_DAY or (kind == MASS_CANCEL and instrument == NONE)
    if kind != MASS_CANCEL and kind != SET_STATE and kind != END_OF_DAY:
        tape.refuse(venue, entry, tape.BAD_KIND)
    elif not everywhere and (instrument < 0 or instrument >= len(venue.listings)):
        tape.refuse(venue, entry, tape.BAD_INSTRUMENT)
    elif kind == MASS_CANCEL and (entry.owner < 0 or entry.owner >= len(venue.fees)):
        tape.refuse(venue, entry, tape.BAD_OWNER)
    elif kind == MASS_CANCEL:
        return _begin_sweep(venue, tape.MASS, np.int64(entry.owner), instrument)
    elif kind == END_OF_DAY:
        return _begin_sweep(venue, tape.DAY_OVER, NONE, NONE)
    else:
        return _set_state(venue, entry, instrument)
    return IDLE


@hot
def _begin_sweep(venue: Venue, why: int, owner: int, instrument: int) -> int:
    cells = venue.cells
    cells[SWEEP_AT], cells[SWEEP_WHY], cells[SWEEP_OWNER], cells[SWEEP_INSTRUMENT] = 0, why, owner, instrument
    return SWEEP


@hot
def _set_state(venue: Venue, entry: Any, instrument: int) -> int:
    state, listing = entry.aux, venue.listings[instrument]
    venue.cells[INSTRUMENT_AT] = instrument
    if listing.tick == 0 or state < TRADING or state > AUCTION:
        tape.refuse(venue, entry, tape.BAD_STATE)
        return IDLE
    if state == TRADING:
        auctions.find_price(venue, instrument)
        return UNCROSS
    listing.state = state
    listing.auction = np.int64(entry.flag) & rules.AUCTIONS if state == AUCTION else 0
    tape.stands(venue, instrument, state)
    return JOIN if listing.auction != 0 else IDLE


@rare
def join_auction(venue: Venue) -> int:
    """Orders that were held for this auction join it, in order of arrival; JOIN again if the rings are full."""
    instrument = venue.cells[INSTRUMENT_AT]
    s = SIDES * instrument + 2 * HELD + (0 if venue.listings[instrument].auction & ON_OPEN != 0 else 1)
    while venue.ladder.sides[s].price != NONE:
        if not tape.room(venue):
            return JOIN
        slot = queues.head(venue, s)
        queues.pull(venue, slot)
        park(venue, slot)
    return IDLE


@rare
def crossed(venue: Venue) -> int:
    """An auction is through: print it, then cancel what was for it only; the next phase."""
    cells, instrument = venue.cells, venue.cells[INSTRUMENT_AT]
    if cells[CROSS_QTY] > 0:
        cells[MATCHES] += 1
        venue.listings[instrument].last = cells[CROSS_PRICE]
        tape.crossed(venue, instrument, cells[CROSS_PRICE], cells[CROSS_QTY], cells[MATCHES])
    return _begin_sweep(venue, tape.AUCTION_OVER, NONE, instrument)


@hot
def opened(venue: Venue) -> int:
    """Trading begins; the next phase."""
    instrument = venue.cells[INSTRUMENT_AT]
    venue.listings[instrument].state = TRADING
    venue.listings[instrument].auction = 0
    tape.stands(venue, instrument, TRADING)
    return TRIGGER


@hot
def _is_swept(venue: Venue, order: Any) -> bool:
    cells = venue.cells
    why, instrument = cells[SWEEP_WHY], cells[SWEEP_INSTRUMENT]
    if order.owner == NONE or (instrument != NONE and instrument_of(order) != instrument):
        return False
    if why == tape.DAY_OVER:
        return order.flag & GOOD_TILL_CANCEL == 0
    if why == tape.AUCTION_OVER:
        return queue_of(order) == DARK and order.flag & (rules.AUCTIONS | AT_MARKET) != 0
    return order.owner == cells[SWEEP_OWNER]


@rare
def sweep(venue: Venue) -> int:
    """Cancel what is to be cancelled, slot by slot; SWEEP again if the rings are full, else the next phase."""
    cells = venue.cells
    while cells[SWEEP_AT] < venue.pool.cells[pools.FRESH]:
        if _is_swept(venue, venue.orders[cells[SWEEP_AT]]):
            if not tape.room(venue):
                return SWEEP
            queues.remove_apart(venue, cells[SWEEP_AT], cells[SWEEP_WHY])
        cells[SWEEP_AT] += 1
    if cells[SWEEP_WHY] == tape.DAY_OVER:
        _forget_numbers(venue)
    return OPENED if cells[SWEEP_WHY] == tape.AUCTION_OVER else IDLE


@hot
def _forget_numbers(venue: Venue) -> None:
    """A new day: only the numbers of live orders stay used."""
    numbers.forget(venue.numbers)
    for slot in range(venue.pool.cells[pools.FRESH]):
        order = venue.orders[slot]
        if order.owner != NONE:
            numbers.put(venue.numbers, np.int64(order.owner), order.order_id, slot)
