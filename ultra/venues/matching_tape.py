"""What the venue says: REPORTs to the owner of an order, RECORDs to everybody.

Public records are numbered from 0 without a gap and are what the ITCH decoder gives of a venue's feed, so a book built
from them is the displayed book. What was never shown trades as TRADE. Nothing here looks for room: every step of the
engine has looked for ROOM slots before it began. Known bad case: a report to an account that does not exist is written
like any other; who delivers it has to know its accounts.
"""

from typing import Any, Final

from ..hot import hot
from ..hot import ring as rings
from ..wire import ADD, CANCEL, DELETE, EXECUTE, FILL, NONE, REJECTED, REPLACE, STATUS, TRADE
from .matching_state import LIT, NOW, REPLACED_REF, ROOM, SEQUENCE, WIRE_FLAGS, Venue, instrument_of, queue_of, side_of

# Why an entry was refused, or an order ended. Numbers are on the wire: none is ever used again.
NO_REASON = 0
BAD_KIND, BAD_INSTRUMENT, BAD_OWNER, BAD_SIDE, BAD_FLAG, BAD_ID, BAD_QTY, ODD_LOT = range(1, 9)
BAD_TICK, PRICE_BAND, BAD_STOP, BAD_DISPLAY, BAD_LEAST, WRONG_STATE, WOULD_TRADE, DUPLICATE_ID = range(9, 17)
UNKNOWN_ORDER, ORDERS_FULL, IDS_FULL, LEVELS_FULL, BAD_STATE = range(17, 22)
BY_OWNER, UNFILLED, ALL_OR_NOTHING, LEAST_NOT_MET, SELF_TRADE, MASS, DAY_OVER, AUCTION_OVER = range(22, 30)
REASONS: Final = (
    "none", "bad_kind", "bad_instrument", "bad_owner", "bad_side", "bad_flag", "bad_id", "bad_qty", "odd_lot",
    "bad_tick", "price_band", "bad_stop", "bad_display", "bad_least", "wrong_state", "would_trade", "duplicate_id",
    "unknown_order", "orders_full", "ids_full", "levels_full", "bad_state",
    "by_owner", "unfilled", "all_or_nothing", "least_not_met", "self_trade", "mass", "day_over", "auction_over",
)  # fmt: skip


@hot
def room(venue: Venue) -> bool:
    """Whether the next step fits both rings, whatever it is."""
    return rings.room(venue.reports, ROOM) >= ROOM and rings.room(venue.public, ROOM) >= ROOM


@hot
def report(venue: Venue, kind: int, order: Any, price: int, qty: int, flag: int, reason: int, aux: int) -> None:
    """Tell the owner of an order what happened to it."""
    row = venue.reports.slots[rings.claimed(venue.reports, 0)]
    row.kind = kind
    row.side = side_of(order)
    row.flag = flag
    row.instrument = instrument_of(order)
    row.owner = order.owner
    row.reason = reason
    row.order_id = order.order_id
    row.ts_event = venue.cells[NOW]
    row.price = price
    row.qty = qty
    row.ref = order.ref
    row.aux = aux
    rings.publish(venue.reports, 1)


@hot
def say(venue: Venue, kind: int, order: Any, qty: int) -> None:
    """An order was accepted or triggered: what it is, and what of it is open."""
    report(venue, kind, order, order.price, qty, order.flag & WIRE_FLAGS, NO_REASON, NONE)


@hot
def filled(venue: Venue, order: Any, price: int, lots: int, took: int, match: int) -> None:
    """An order traded; `took`: it came last."""
    report(venue, FILL, order, price, lots, took, NO_REASON, match)


@hot
def ended(venue: Venue, kind: int, order: Any, lots: int, reason: int) -> None:
    """Lots were taken off an order, which is counted."""
    venue.reasons[reason] += 1
    report(venue, kind, order, order.price, lots, order.flag & WIRE_FLAGS, reason, NONE)


@hot
def refuse(venue: Venue, entry: Any, reason: int) -> None:
    """An entry changes nothing, for a reason, which is counted."""
    venue.reasons[reason] += 1
    row = venue.reports.slots[rings.claimed(venue.reports, 0)]
    row.kind = REJECTED
    row.side = entry.side
    row.flag = entry.flag
    row.instrument = entry.instrument
    row.owner = entry.owner
    row.reason = reason
    row.order_id = entry.order_id
    row.ts_event = entry.ts_event
    row.price = entry.price
    row.qty = entry.qty
    row.ref = NONE
    row.aux = NONE
    rings.publish(venue.reports, 1)


@hot
def announce(
    venue: Venue, kind: int, instrument: int, side: int, order_id: int, price: int, qty: int, flag: int, aux: int
) -> None:
    """One public record."""
    row = venue.public.slots[rings.claimed(venue.public, 0)]
    row.kind = kind
    row.side = side
    row.flag = flag
    row.instrument = instrument
    row.sequence = venue.cells[SEQUENCE]
    row.ts_event = venue.cells[NOW]
    row.ts_recv = venue.cells[NOW]
    row.order_id = order_id
    row.price = price
    row.qty = qty
    row.aux = aux
    venue.cells[SEQUENCE] += 1
    rings.publish(venue.public, 1)


@hot
def shows(venue: Venue, order: Any) -> None:
    """An order, or its next slice, is displayed at the end of its level; if it replaces a displayed one, as that."""
    side, instrument, before = side_of(order), instrument_of(order), venue.cells[REPLACED_REF]
    if before != 0:
        venue.cells[REPLACED_REF] = 0
        announce(venue, REPLACE, instrument, side, before, order.price, order.shown, 0, order.ref)
    else:
        announce(venue, ADD, instrument, side, order.ref, order.price, order.shown, 0, NONE)


@hot
def hides(venue: Venue, instrument: int, side: int, ref: int) -> None:
    """A displayed order is gone."""
    announce(venue, DELETE, instrument, side, ref, NONE, 0, 0, NONE)


@hot
def shrinks(venue: Venue, order: Any, lots: int) -> None:
    """A displayed order has less, without having traded."""
    announce(venue, CANCEL, instrument_of(order), side_of(order), order.ref, NONE, lots, 0, NONE)


@hot
def trades(venue: Venue, order: Any, price: int, lots: int, flag: int, match: int) -> None:
    """A resting order traded: as an execution if it was displayed. `price` NONE: at its own."""
    if queue_of(order) == LIT:
        announce(venue, EXECUTE, instrument_of(order), side_of(order), order.ref, price, lots, flag, match)
    elif flag == 0:
        announce(venue, TRADE, instrument_of(order), 0, NONE, order.price, lots, 0, match)


@hot
def crossed(venue: Venue, instrument: int, price: int, lots: int, match: int) -> None:
    """All that traded in an auction, as one print."""
    announce(venue, TRADE, instrument, 0, NONE, price, lots, 0, match)


@hot
def stands(venue: Venue, instrument: int, state: int) -> None:
    """An instrument has this trading state."""
    announce(venue, STATUS, instrument, 0, NONE, NONE, 0, 0, state)
