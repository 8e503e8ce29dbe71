"""A bar as one record: open, high, low, close and volume in the eight fields that every input has.

    price = close      order_id = open      qty = volume, in lots      ts_event = the moment it ended
    aux = (high - close) << 32 | (close - low)

Both distances are from the close, so 0 <= distance < 2^31 ticks always holds and one int64 has room for both. It is
stamped at its end: whoever is told of it by then knows nothing that had not happened.
Known bad case: a bar whose range is 2^31 ticks or more can't be written down; `fits` says so.
"""

from typing import Any

import numpy as np

from ..wire import BAR, NONE
from . import hot

RANGE_MAX = (1 << 31) - 1
_LOW = (1 << 32) - 1

# A bar that has not ended. No trade yet: volume 0.
OPEN = np.dtype([("opened", "i8"), ("high", "i8"), ("low", "i8"), ("close", "i8"), ("volume", "i8")], align=True)


def fits(high: Any, low: Any, close: Any) -> Any:
    """Whether a bar can be written down, in ticks. Numbers, or arrays of them."""
    return (high >= close) & (close >= low) & (high - close <= RANGE_MAX) & (close - low <= RANGE_MAX)


def spread(high: Any, low: Any, close: Any) -> Any:
    """The aux of a bar that `fits`, in ticks. Numbers, or int64 arrays."""
    return ((high - close) << 32) | (close - low)


@hot
def pack(record: Any, opened: int, high: int, low: int, close: int, volume: int) -> None:
    """Write a bar that `fits` into a record: everything but instrument, sequence and times."""
    record.kind = BAR
    record.side = NONE
    record.flag = 0
    record.order_id = opened
    record.price = close
    record.qty = volume
    record.aux = ((high - close) << 32) | (close - low)


@hot
def trade(row: Any, price: int, qty: int) -> None:
    """A trade into a bar that has not ended."""
    if qty <= 0:
        return
    if row.volume == 0:
        row.opened = row.high = row.low = price
    row.high = max(row.high, price)
    row.low = min(row.low, price)
    row.close = price
    row.volume += qty


@hot
def finish(row: Any, record: Any) -> None:
    """Write a bar that has ended into a record, and empty the row. What does not fit is written as far as it does."""
    high, low = min(row.high, row.close + RANGE_MAX), max(row.low, row.close - RANGE_MAX)
    pack(record, row.opened, high, low, row.close, row.volume)
    row.opened = row.high = row.low = row.close = row.volume = 0


@hot
def opened(event: Any) -> int:
    """Price of the first trade of a bar."""
    return event.order_id


@hot
def high(event: Any) -> int:
    """Its highest price."""
    return event.price + (event.aux >> 32)


@hot
def low(event: Any) -> int:
    """Its lowest price."""
    return event.price - (event.aux & _LOW)


@hot
def close(event: Any) -> int:
    """Price of its last trade."""
    return event.price


@hot
def volume(event: Any) -> int:
    """Lots traded in it."""
    return event.qty
