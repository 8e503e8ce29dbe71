"""The price of an auction: one price at which the most lots trade.

Candidates are the prices of all limit orders and the reference price. Of those with the most lots, the ones that leave
the fewest without a counterpart; of these the nearest to the reference price; of these the higher. Orders count with
all they have, hidden lots and orders at market too. The reference price is that of the last trade. Because every limit
price is a candidate, nothing that is left over crosses. Cost: every order of the instrument is looked at twice.
Known bad case: with orders at market only and no reference price there is no price, and they are cancelled.
"""

import numpy as np

from ..hot import hot, rare
from ..hot import ladder as ladders
from ..wire import NONE
from .matching_state import CROSS_LEFT, CROSS_PRICE, CROSS_QTY, DARK, LIT, SIDES, Venue, open_lots


@hot
def lots_of(venue: Venue, level: int) -> int:
    """Everything that rests at a level, shown or not."""
    total = np.int64(0)
    at = np.int64(venue.ladder.levels[level].head)
    while at >= 0:
        total += open_lots(venue.orders[at])
        at = np.int64(venue.orders[at].next)
    return total


@hot
def lots_of_side(venue: Venue, s: int) -> int:
    """Everything that rests on a side of the ladder."""
    total = np.int64(0)
    level = np.int64(venue.ladder.sides[s].level)
    while level >= 0:
        total += lots_of(venue, level)
        level = ladders.worse(venue.ladder, s, level)
    return total


@hot
def worst(venue: Venue, s: int) -> int:
    """The last level of a side, or NONE."""
    level = np.int64(venue.ladder.sides[s].level)
    behind = level
    while behind >= 0:
        level = behind
        behind = ladders.worse(venue.ladder, s, level)
    return level


@hot
def _price(venue: Venue, s: int, level: int, other: int) -> int:
    """The lower of a level's price and another price."""
    return min(ladders.price_of(venue.ladder, s, level), other) if level >= 0 else other


@hot
def _is_at(venue: Venue, s: int, level: int, price: int) -> bool:
    return level >= 0 and ladders.price_of(venue.ladder, s, level) == price


@rare
def find_price(venue: Venue, instrument: int) -> None:
    """Write the auction's price and how many lots trade at it into the cells; 0 lots when nothing does.

    One walk from the lowest price up, over four lists of levels: bids from their worst to their best (`worse` told the
    other side goes back), asks from their best to their worst."""
    base, ladder, highest = SIDES * instrument, venue.ladder, venue.listings[instrument].tick * (ladders.KEY_MAX - 1)
    lowest, reference = venue.listings[instrument].tick, venue.listings[instrument].last
    lit_bid, dark_bid, lit_ask, dark_ask = base + 2 * LIT, base + 2 * DARK, base + 2 * LIT + 1, base + 2 * DARK + 1
    demand = lots_of_side(venue, lit_bid) + lots_of_side(venue, dark_bid)  # of bids at this price or above
    supply, best_lots, best_surplus, best_price = np.int64(0), np.int64(0), np.int64(0), np.int64(NONE)
    bid, hidden_bid = worst(venue, lit_bid), worst(venue, dark_bid)
    ask, hidden_ask = np.int64(ladder.sides[lit_ask].level), np.int64(ladder.sides[dark_ask].level)
    next_reference = reference if reference != NONE else highest
    while True:
        price = _price(venue, dark_ask, hidden_ask, _price(venue, lit_ask, ask, next_reference))
        price = _price(venue, dark_bid, hidden_bid, _price(venue, lit_bid, bid, price))
        if price == highest:
            break
        if _is_at(venue, lit_ask, ask, price):
            supply += lots_of(venue, ask)
            ask = ladders.worse(ladder, lit_ask, ask)
        if _is_at(venue, dark_ask, hidden_ask, price):
            supply += lots_of(venue, hidden_ask)
            hidden_ask = ladders.worse(ladder, dark_ask, hidden_ask)
        lots, surplus = min(demand, supply), abs(demand - supply)
        if price != lowest and _better(
            lots - best_lots, best_surplus - surplus, _nearer(reference, best_price, price), lots
        ):
            best_lots, best_surplus, best_price = lots, surplus, price
        if _is_at(venue, lit_bid, bid, price):
            demand -= lots_of(venue, bid)
            bid = ladders.worse(ladder, lit_bid ^ 1, bid)
        if _is_at(venue, dark_bid, hidden_bid, price):
            demand -= lots_of(venue, hidden_bid)
            hidden_bid = ladders.worse(ladder, dark_bid ^ 1, hidden_bid)
        if price == next_reference:
            next_reference = highest
    venue.cells[CROSS_PRICE], venue.cells[CROSS_LEFT], venue.cells[CROSS_QTY] = best_price, best_lots, best_lots


@hot
def _nearer(reference: int, before: int, price: int) -> int:
    """How much nearer to the reference a price is than another; 0 = as near, and without a reference always."""
    return abs(before - reference) - abs(price - reference) if reference != NONE else 0


@hot
def _better(more: int, fewer: int, nearer: int, lots: int) -> bool:
    """Whether the price of a walk upwards is better than the best so far."""
    if lots == 0 or more != 0:
        return more > 0
    return fewer > 0 if fewer != 0 else nearer >= 0
