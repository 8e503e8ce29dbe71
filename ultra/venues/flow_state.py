"""The state of a synthetic day: its stocks, its books, its clock, and where everything lies.

A stock has a worth that nobody is told, a run of slots in `live`, and limits that never change: memory is constant.
`live[start : start + count]` are the slots of a stock's orders in no order, `place[slot]` is where in that run: any
one of them is found and taken out in one step. Randomness is a hash of a counter, in int64.

Known bad case: none of its own; `flow_setup` decides every size.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numba import types

from ..hot import book as books
from ..hot import hot
from ..hot.atomics import Cells
from ..hot.bits import mix
from ..hot.instruction import I64, byte_pointer, instruction

# Cells.
SEED, DRAWS, NOW, MADE, TOTAL, PHASE, STOCK_AT, REFERENCE, MATCH, REFUSED = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
PLANNED, TAKEN, PLAN_TS, BURST, BURSTS, BUCKET, BURST_STOCK = 10, 11, 12, 13, 14, 15, 16
SWEEP, SWEEP_END = 17, 18  # shares an aggressive order still wants, and up to which price
CROSS, CROSSES, CROSS_FILLS, CROSS_PRICE, CROSS_SHARES = 19, 20, 21, 22, 23
ROBIN, STRIDE = 24, 25  # the turn of the stocks before the open
BELLS, FILLED = 26, 27  # system events so far; bytes of the buffer
CELLS: Final = 32
# Phases of the day, in order.
DIRECTORY, PREMARKET, OPENING, SESSION, CLOSING, EVENING, FAREWELL = 0, 1, 2, 3, 4, 5, 6
# Cells of the next action.
KIND, SIDE, SLOT, QTY, PRICE, REF = 0, 1, 2, 3, 4, 5

NS: Final = 1_000_000_000
HOUR: Final = 3600 * NS
OPEN_AT, CLOSE_AT, EVENING_END = 9 * HOUR + HOUR // 2, 16 * HOUR, 20 * HOUR
PLANS: Final = 16  # a power of two
MESSAGE_ROOM: Final = 64  # bytes, more than any framed message

STOCK: Final = np.dtype(
    [
        ("name", "i8"),  # eight ASCII bytes
        ("fair", "f8"),  # what it is worth, in ticks: nobody is told
        ("home", "f8"),  # where `fair` is pulled back to
        ("noise", "f8"),  # standard deviation of one step of `fair`
        ("pull", "f8"),
        ("leap", "f8"),  # size of a jump, in ticks
        ("jump", "i8"),  # its chance at one message, in 2^-32
        ("tick", "i8"),  # in units of the protocol, 1/10000 of a dollar
        ("gap", "i8"),  # usual spread, in ticks
        ("odd", "i8"),  # share of odd lots, in 1/256
        ("target", "i8"),  # live orders it tends to
        ("start", "i8"),  # its run in `live`
        ("room", "i8"),
        ("count", "i8"),  # live orders
        ("bids", "i8"),  # of them
        ("pad", "i8"),
    ]
)
PLAN: Final = np.dtype([("ts", "i8"), ("stock", "i8"), ("reference", "i8"), ("bits", "i8"), ("slot", "i8")])

_ALL = (1 << 64) - 1


class Flow(NamedTuple):
    """A day in the making."""

    book: books.Book
    stocks: Any  # STOCK[instruments]; the locate is the index + 1
    by_rank: Any  # int64[instruments]: the most active first
    odds: Any  # int64[instruments, 2]: Walker's alias table of the ranks
    live: Any  # int32[sum of room]
    place: Any  # int32[order_max]
    plans: Any  # PLAN[PLANS]: when and where the next messages come
    buckets: Any  # int64[BUCKETS + 1, 2]: number of messages and time at its end; the last is the evening
    bells: Any  # int64[6, 2]: the system events and their times
    stops: Cells  # int64[8]: number of messages at the end of each phase that has a fixed one, else NONE
    cells: Cells
    action: Cells
    values: Cells  # fields of the message, in the order of its layout
    by_type: Cells
    buffer: Any  # uint8[]


@hot
def word(seed: int, count: int) -> int:
    """64 random bits: a hash of a counter."""
    return mix(mix(mix(seed, count), 0x5851F42D4C957F2D), 0x14057B7EF767814F)


@hot
def draw(cells: Cells) -> int:
    """The next 64 random bits."""
    cells[DRAWS] += 1
    return word(cells[SEED], cells[DRAWS])


@hot
def under(bits: int, limit: int) -> int:
    """A number in [0, limit) from the low 32 bits; limit < 2^31."""
    return ((bits & 0xFFFFFFFF) * limit) >> 32


@hot
def unit(bits: int) -> float:
    """Uniform in (0, 1] from the low 24 bits."""
    return ((bits & 0xFFFFFF) + 1) * (1.0 / (1 << 24))


def _store(buffer: Any, at: int, value: int) -> None:
    buffer[at : at + 8] = np.frombuffer((int(value) & _ALL).to_bytes(8, "big"), np.uint8)


@instruction(_store)
def store_i64(typingctx: Any, buffer: Any, at: Any, value: Any) -> Any:
    """Eight bytes, big-endian, anywhere in a uint8 array. The caller has left room for them."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = byte_pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(builder.bswap(args[2]), builder.bitcast(where, I64.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.none(buffer, types.intp, types.int64), codegen
