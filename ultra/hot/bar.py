"""A bar as one record: open, high, low, close and volume in the eight fields that every input has.

    price = close      order_id = open      qty = volume, in lots      ts_event = the moment it ended
    aux = (high - close) << 32 | (close - low)

Both distances are from the close, so 0 <= distance < 2^31 ticks always holds and one int64 has room for both. It is
stamped at its end: whoever is told of it by then knows nothing that had not happened.
Known bad case: a bar whose range is 2^31 ticks or more can't be written down; `fits` says so.
"""

from typing import Any

from ..wire import BAR, NONE
from . import hot

RANGE_MAX = (1 << 31) - 1
_LOW = (1 << 32) - 1


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
