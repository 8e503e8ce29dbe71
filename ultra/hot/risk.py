"""The last check before an order leaves. It can only refuse, for one of a closed set of reasons.

Fail closed: an instrument that is not known to be trading, a missing price to compare with, a missing limit, all
refuse. Cancels are never refused. Time is the time of the input record, so a replay decides the same.
Rate: messages are counted in slices of time, and the last sixteen are a little more than a second; so no second
ever holds more than the limit (a leaky bucket lets nearly twice as many through).
Sources: SEC rule 15c3-5, MiFID II RTS 6 article 15.
"""

from typing import Any, NamedTuple

import numpy as np

from ..wire import ASK, BID, LIVE, NONE, OPEN, TRADING
from . import hot
from .atomics import Cells

PASS = 0
HALTED, NOT_TRADING, BAD_QTY, BAD_PRICE, QTY_LIMIT, NOTIONAL_LIMIT, NO_REFERENCE, PRICE_COLLAR = range(1, 9)
POSITION_LIMIT, OPEN_ORDER_LIMIT, RATE_LIMIT, DUPLICATE, NO_ROOM, UNKNOWN_ORDER, BAD_SIDE = range(9, 16)
# What a venue may answer.
WOULD_TRADE, VENUE_FULL, VENUE_UNKNOWN_ORDER = 16, 17, 18
# The books are not whole; the venue and we don't agree yet on what is open, or there is no session; anything else that
# a venue may say.
STALE_BOOK, NO_SESSION, VENUE_REFUSED = 19, 20, 21
# The operator switched the strategy off; what he asks names no instrument, limit or order that there is.
STRATEGY_OFF, BAD_COMMAND = 22, 23
REASONS = (
    "pass", "halted", "not_trading", "bad_qty", "bad_price", "qty_limit", "notional_limit", "no_reference",
    "price_collar", "position_limit", "open_order_limit", "rate_limit", "duplicate", "no_room", "unknown_order",
    "bad_side", "would_trade", "venue_full", "venue_unknown_order", "stale_book", "no_session", "venue_refused",
    "strategy_off", "bad_command",
)  # fmt: skip

# Limits, by column. A value of 0 or less refuses everything: a limit nobody set is not a licence. The exception
# is the duplicate window, where 0 asks for nothing.
ORDER_QTY_MAX, NOTIONAL_MAX, COLLAR_BPS, POSITION_QTY_MAX, OPEN_ORDER_MAX, DUPLICATE_WINDOW_NS = range(6)
MESSAGE_RATE_MAX = 6  # per second, over all instruments: only row 0 counts
LIMITS = (
    "order_qty_max", "order_notional_max", "collar_bps", "position_qty_max", "open_order_max",
    "duplicate_window_ns", "message_rate_max_per_s",
)  # fmt: skip
SLICE_BITS = 26  # a slice is 67 ms; SLICES - 1 whole ones are a second
SLICES = 16
SANE_MAX = 1 << 45  # a price or quantity beyond it is a mistake, and the sums below would leave int64
COLLAR_BPS_MAX = 100_000

# What stands between all orders and the venue: halt (1) or kill switch (KILLED), the state of the feed, that of the
# session. And between the strategy's orders and the venue: the operator.
KILL, FEED, SESSION, STRATEGY = range(4)
KILLED = 2

LAST = np.dtype([("ts", "i8"), ("price", "i8"), ("qty", "i8"), ("side", "i8")])


class Risk(NamedTuple):
    """Limits, and what they need to remember."""

    limits: Any  # int64[instruments, 8]
    last: Any  # LAST[instruments]: the order sent last, for duplicates
    recent: Cells  # int64[2 * SLICES]: numbers of the last slices of time, then the messages in each
    reasons: Cells  # int64[32]: how often each reason was given
    gates: Cells  # int64[4]: by KILL, FEED, SESSION, STRATEGY; 0 = open


def create(instruments: int) -> Risk:
    """No limit is set yet, so nothing passes."""
    last = np.zeros(instruments, LAST).view(np.recarray)
    last.side = NONE
    return Risk(
        np.zeros((instruments, 8), np.int64),
        last,
        np.zeros(2 * SLICES, np.int64),
        np.zeros(32, np.int64),
        np.zeros(4, np.int64),
    )


@hot
def check(risk: Risk, view: Any, request: Any, now: int) -> int:
    """PASS, or the reason why this new order must not be sent. Changes nothing."""
    limits = risk.limits[request.instrument]
    side, price, qty = request.side, request.price, request.qty
    if risk.gates[KILL] != 0 or view.halted != 0:
        return HALTED
    if risk.gates[FEED] != LIVE:
        return STALE_BOOK
    if risk.gates[SESSION] != OPEN:
        return NO_SESSION
    if view.status != TRADING:
        return NOT_TRADING
    if side != BID and side != ASK:
        return BAD_SIDE
    if qty <= 0 or qty > SANE_MAX:
        return BAD_QTY
    if price <= 0 or price > SANE_MAX:
        return BAD_PRICE
    if qty > limits[ORDER_QTY_MAX]:
        return QTY_LIMIT
    if price > limits[NOTIONAL_MAX] // qty:
        return NOTIONAL_LIMIT
    reason = _collar(view, price, limits[COLLAR_BPS])
    if reason != PASS:
        return reason
    held = view.position + view.open_bid_qty if side == BID else view.open_ask_qty - view.position
    if limits[POSITION_QTY_MAX] <= 0 or held + qty > limits[POSITION_QTY_MAX]:
        return POSITION_LIMIT
    if view.open_orders >= limits[OPEN_ORDER_MAX]:
        return OPEN_ORDER_LIMIT
    last = risk.last[request.instrument]
    same = last.side == side and last.price == price and last.qty == qty
    if same and now - last.ts < limits[DUPLICATE_WINDOW_NS] and limits[DUPLICATE_WINDOW_NS] > 0:
        return DUPLICATE
    rate = risk.limits[0, MESSAGE_RATE_MAX]
    if rate <= 0 or messages(risk, now) >= rate:
        return RATE_LIMIT
    return PASS


@hot
def _collar(view: Any, price: int, bps: int) -> int:
    twice = reference(view)
    if twice == 0:
        return NO_REFERENCE
    if bps <= 0 or abs(2 * price - twice) > twice * min(bps, COLLAR_BPS_MAX) // 10_000:
        return PRICE_COLLAR
    return PASS


@hot
def reference(view: Any) -> int:
    """Twice the price that others are held against: the sum of the touch, or twice the last trade when a side is empty.

    0 when there is none."""
    low, high = view.bid, view.ask
    if low < 0 or high < 0:
        low = high = view.last_price
    if low <= 0 or high <= 0 or max(low, high) > SANE_MAX:
        return 0
    return low + high


@hot
def worst(risk: Risk, view: Any, instrument: int, side: int, step: int) -> int:
    """The last price that the collar lets through, on the price step: what an order at market is sent with, so that a
    mistake has an end. Never less than a step, however wide the collar is. 0 when there is no reference."""
    twice = reference(view)
    if twice == 0:
        return 0
    away = twice * max(min(risk.limits[instrument, COLLAR_BPS], COLLAR_BPS_MAX), 0) // 10_000
    if side == BID:
        return (twice + away) // 2 // step * step
    return max((twice - away + 1) // 2 + step - 1, step) // step * step


@hot
def sent(risk: Risk, request: Any, now: int) -> None:
    """Remember an order that left, for the duplicate check and the rate."""
    last = risk.last[request.instrument]
    last.ts = now
    last.price = request.price
    last.qty = request.qty
    last.side = request.side
    count_message(risk, now)


@hot
def messages(risk: Risk, now: int) -> int:
    """Messages that left in the last second; those of up to 74 ms before it count too."""
    oldest = (now >> SLICE_BITS) - SLICES
    count = 0
    for k in range(SLICES):
        if risk.recent[k] > oldest:
            count += risk.recent[SLICES + k]
    return count


@hot
def count_message(risk: Risk, now: int) -> None:
    """A message left (an order or a cancel). When time went back, it counts in the later slice."""
    number = now >> SLICE_BITS
    k = number & (SLICES - 1)
    if risk.recent[k] < number:
        risk.recent[k] = number
        risk.recent[SLICES + k] = 0
    risk.recent[SLICES + k] += 1


@hot
def set_limit(risk: Risk, instrument: int, which: int, value: int) -> bool:
    """Set a limit of one instrument, or of all (NONE); False when there is no such limit or instrument."""
    if which < 0 or which > MESSAGE_RATE_MAX or instrument >= len(risk.limits):
        return False
    if instrument >= 0:
        risk.limits[instrument, which] = value
        return True
    for index in range(len(risk.limits)):
        risk.limits[index, which] = value
    return True
