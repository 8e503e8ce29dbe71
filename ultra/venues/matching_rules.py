"""Whether an entry is taken at all: the first rule that it breaks, in the order in which they stand here.

Only numbers are compared, and nothing is changed; `docs/rulebook.md` says the same in words. Most orders ask for
nothing special, so whatever needs a flag, a slice or a least quantity is looked at apart (`special`).
Known bad case: a post-only order is refused for a hidden order too, which tells its owner that there is one.
"""

from typing import Any

import numpy as np

from ..hot import hot, rare
from ..wire import (
    ASK,
    AT_MARKET,
    AUCTION,
    BID,
    FILL_OR_KILL,
    GOOD_TILL_CANCEL,
    HIDDEN,
    IMMEDIATE,
    ON_CLOSE,
    ON_OPEN,
    POST_ONLY,
    STOP,
    STP_BOTH,
    TRADING,
)  # fmt: skip
from .matching_queue import facing, reaches
from .matching_state import SIDES, Venue
from .matching_tape import (
    BAD_DISPLAY,
    BAD_FLAG,
    BAD_ID,
    BAD_INSTRUMENT,
    BAD_LEAST,
    BAD_OWNER,
    BAD_QTY,
    BAD_SIDE,
    BAD_STOP,
    BAD_TICK,
    NO_REASON,
    ODD_LOT,
    PRICE_BAND,
    WOULD_TRADE,
    WRONG_STATE,
)  # fmt: skip

AT_ONCE = IMMEDIATE | FILL_OR_KILL
AUCTIONS = ON_OPEN | ON_CLOSE
KNOWN = AT_ONCE | POST_ONLY | AT_MARKET | STOP | GOOD_TILL_CANCEL | AUCTIONS | HIDDEN | STP_BOTH
PLAIN = GOOD_TILL_CANCEL | HIDDEN | STP_BOTH | IMMEDIATE  # with nothing else, an order in TRADING is simple


@hot
def refusal(venue: Venue, entry: Any) -> int:
    """Why a new order is refused; NO_REASON if it is taken."""
    instrument, owner, side = np.int64(entry.instrument), np.int64(entry.owner), np.int64(entry.side)
    flag, qty = np.int64(entry.flag), entry.qty
    if instrument < 0 or instrument >= len(venue.listings):
        return BAD_INSTRUMENT
    if owner < 0 or owner >= len(venue.fees):
        return BAD_OWNER
    if side != BID and side != ASK:
        return BAD_SIDE
    if entry.order_id <= 0:
        return BAD_ID
    listing = venue.listings[instrument]
    wrong = bad_qty(listing, qty)
    if wrong == NO_REASON and (flag & AT_MARKET == 0 or flag & ~KNOWN != 0):
        wrong = bad_price(listing, entry.price)
    if wrong != NO_REASON:
        return wrong
    if listing.state == TRADING and flag & ~PLAIN == 0 and entry.display == 0 and entry.aux == 0:
        return NO_REASON
    return special(venue, entry)


@hot
def bad_qty(listing: Any, qty: int) -> int:
    """Whether a quantity is none of the instrument's."""
    if qty <= 0 or qty > listing.qty_max:
        return BAD_QTY
    return ODD_LOT if listing.lot != 1 and qty % listing.lot != 0 else NO_REASON


@hot
def bad_price(listing: Any, price: int) -> int:
    """Whether a price is none of the instrument's."""
    if price < listing.low or price > listing.high:
        return PRICE_BAND
    return BAD_TICK if listing.tick != 1 and price % listing.tick != 0 else NO_REASON


@rare
def special(venue: Venue, entry: Any) -> int:
    """The rest of `refusal`, for what is not plain or comes outside of trading."""
    flag = np.int64(entry.flag)
    listing = venue.listings[entry.instrument]
    if not _flags_agree(flag):
        return BAD_FLAG
    if flag & STOP != 0 and bad_price(listing, entry.stop) != NO_REASON:
        return BAD_STOP
    shown = np.int64(entry.display)
    if shown < 0 or shown % listing.lot != 0 or (shown > 0 and flag & (HIDDEN | AT_MARKET | AUCTIONS) != 0):
        return BAD_DISPLAY
    least = entry.aux
    if least < 0 or least > entry.qty or (least > 0 and flag & (POST_ONLY | FILL_OR_KILL | STOP | AUCTIONS) != 0):
        return BAD_LEAST
    if listing.state != TRADING and listing.state != AUCTION:
        return WRONG_STATE
    if listing.state == AUCTION and flag & STOP == 0 and (flag & (AT_ONCE | POST_ONLY) != 0 or least > 0):
        return WRONG_STATE
    if flag & POST_ONLY != 0:
        return would_trade(venue, np.int64(entry.instrument), np.int64(entry.side), entry.price)
    return NO_REASON


@hot
def _flags_agree(flag: int) -> bool:
    if flag & ~KNOWN != 0 or flag & AUCTIONS == AUCTIONS:
        return False
    if flag & POST_ONLY != 0 and flag & (AT_ONCE | AT_MARKET | STOP) != 0:
        return False
    return not (flag & AUCTIONS != 0 and flag & (AT_ONCE | POST_ONLY | STOP) != 0)


@hot
def would_trade(venue: Venue, instrument: int, side: int, price: int) -> int:
    """WOULD_TRADE if an order at this price met one, shown or hidden."""
    s = facing(venue, SIDES * instrument, side)
    return WOULD_TRADE if reaches(venue.ladder.sides[s].price, side, price) else NO_REASON


@hot
def waits_for(listing: Any, flag: int) -> bool:
    """Whether an order for an auction is held, because this is not that auction."""
    return flag & AUCTIONS != 0 and (listing.state != AUCTION or listing.auction & flag & AUCTIONS == 0)
