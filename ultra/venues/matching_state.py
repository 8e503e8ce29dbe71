"""Everything a matching venue remembers: orders in queues, instruments, numbers used; and the rings it speaks into.

An order is one cache line, in one queue of its instrument: shown, hidden (behind the shown of its price), waiting for
a trigger, or held for an auction. All queues are sides of one ladder, so one code joins and leaves them all. Side
8 * instrument + 2 * queue + (0: best is highest, 1: best is lowest). While an order trades it is in no queue, and what
it wants is its `reserve`. Always: lots entered = traded + cancelled + open, per instrument (`matching_check.check`).
Known bad case: a slot is looked at by every sweep once it was used, so one burst of orders makes them slower for good.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot, memory
from ..hot import ladder as ladders
from ..hot import pool as pools
from ..hot import ring as rings
from ..hot.atomics import Cells
from ..wire import BID, NONE, UNKNOWN_STATE
from . import matching_numbers as numbers

ORDER: Final = np.dtype(
    [
        ("order_id", "i8"),  # the client's number
        ("ref", "i8"),  # the public one; a new one with every slice of an iceberg
        ("price", "i8"),  # NONE: at market
        ("shown", "i8"),  # lots in the queue
        ("reserve", "i8"),  # lots of an iceberg behind them; while the order trades: all
        ("level", "i4"),
        ("next", "i4"),
        ("prev", "i4"),
        ("side", "i4"),  # of the ladder
        ("owner", "i4"),  # NONE: the slot is free
        ("flag", "i4"),  # of the ENTRY, and the two bits below
    ]
)
MORE: Final = np.dtype([("display", "i8"), ("stop", "i8")])
LISTING: Final = np.dtype(
    [
        ("tick", "i8"),  # every price is a multiple of it
        ("lot", "i8"),  # every quantity is a multiple of it
        ("low", "i8"),  # the band in which orders are taken, both included
        ("high", "i8"),
        ("qty_max", "i8"),
        ("state", "i8"),
        ("last", "i8"),  # price of the last trade; before it the reference price that was given; NONE
        ("stops", "i8"),  # how many orders wait for their trigger
        ("entered", "i8"),  # lots of accepted orders
        ("traded", "i8"),  # lots traded, of both sides
        ("cancelled", "i8"),
        ("auction", "i8"),  # which auction this is: ON_OPEN, ON_CLOSE or 0
        ("pad", "i8", (4,)),
    ]
)
assert ORDER.itemsize == 64 and LISTING.itemsize == 128

# Internal bits of an order's flag, above those of the wire.
WIRE_FLAGS: Final = 0xFFFF
SELLS: Final = 16  # which bit: 1 = it sells
ICEBERG: Final = 1 << 17

# Queues of an instrument.
LIT, DARK, WAITING, HELD = 0, 1, 2, 3
SIDES: Final = 8  # of the ladder, an instrument

# Cells of a venue.
REF, MATCHES, SEQUENCE, NOW, ENTRIES = 0, 1, 2, 3, 4
PHASE, TAKER, ROUND_AT, ROUND_WANTED, ROUND_TOTAL = 5, 6, 7, 8, 9
REPLACED_REF = 10  # of an order that is replaced and shown again: the number it was shown under; 0 = none
SWEEP_AT, SWEEP_WHY, SWEEP_OWNER, SWEEP_INSTRUMENT = 11, 12, 13, 14
CROSS_PRICE, CROSS_LEFT, CROSS_QTY, INSTRUMENT_AT, NEXT_STATE = 15, 16, 17, 18, 19
CELLS: Final = 32
# What an entry waits in when the rings were full.
IDLE, TAKE, TRIGGER, SWEEP, JOIN, UNCROSS, OPENED = range(7)

QTY_MAX: Final = 1 << 31  # keeps every sum, and the product of two, inside int64
ROOM: Final = 8  # slots in each ring that no single step exceeds


class Venue(NamedTuple):
    """One exchange."""

    orders: Any  # ORDER[orders_max + 1]; the last row stands for nobody's neighbour
    more: Any  # MORE[orders_max]: of icebergs and stops
    pool: pools.Pool
    numbers: numbers.Numbers  # (owner, client's number) -> slot
    ladder: ladders.Ladder
    listings: Any  # LISTING[instruments]
    fees: Cells  # int64[accounts]: what each has to pay, in the money of price x qty
    reasons: Cells  # int64[32]: how often each reason was given
    reports: rings.Ring  # REPORT
    public: rings.Ring  # RECORD
    cells: Cells


def create(
    instruments: int,
    orders_max: int,
    accounts_max: int,
    reports: rings.Ring,
    public: rings.Ring,
    *,
    ids_max: int = 1 << 20,
    pages_max: int = 1 << 12,
) -> Venue:
    """A venue without instruments that trade: `list_instrument` says of each what it is, SET_STATE opens it.

    `reports` and `public` are rings of REPORT and RECORD with at least ROOM slots. `ids_max` (a power of two) is
    how many blocks of 64 client numbers can be used in a day."""
    assert 0 < accounts_max <= numbers.ACCOUNTS_MAX and orders_max > 0 and instruments > 0
    assert min(len(reports.slots), len(public.slots)) >= ROOM, f"a ring needs {ROOM} slots"
    orders = memory.zeros(orders_max + 1, ORDER)
    orders.owner = NONE
    listings = memory.zeros(instruments, LISTING)
    listings.state, listings.last = UNKNOWN_STATE, NONE
    return Venue(
        orders,
        memory.zeros(orders_max, MORE),
        pools.create(orders_max, tagged=False),
        numbers.create(ids_max),
        ladders.create(instruments * SIDES // 2, pages_max, 1),
        listings,
        np.zeros(accounts_max, np.int64),
        np.zeros(32, np.int64),
        reports,
        public,
        np.zeros(CELLS, np.int64),
    )


def list_instrument(
    venue: Venue,
    instrument: int,
    *,
    tick: int = 1,
    lot: int = 1,
    low: int = 0,
    high: int = 0,
    qty_max: int = QTY_MAX,
    reference: int = NONE,
) -> None:
    """What an instrument is: price step, lot, price band (default: all there is), largest order, reference price.

    Prices below two ticks are kept for orders at market. AssertionError for what contradicts itself."""
    low, high = low or 2 * tick, high or tick * (ladders.KEY_MAX - 2)
    assert tick > 0 and lot > 0 and 2 * tick <= low <= high <= tick * (ladders.KEY_MAX - 2), "band, tick or lot"
    assert (0 < qty_max <= QTY_MAX and reference % tick == 0) or reference == NONE, "qty_max or reference"
    row = venue.listings[instrument]
    row.tick, row.lot, row.low, row.high, row.qty_max, row.last = tick, lot, low, high, qty_max, reference
    sides = venue.ladder.sides[SIDES * instrument : SIDES * (instrument + 1)]
    sides.step, sides.inverse = tick, (1 << 32) // tick + 1


@hot
def side_of(order: Any) -> int:
    """BID or ASK."""
    return (np.int64(order.flag) >> SELLS) & 1


@hot
def instrument_of(order: Any) -> int:
    """The instrument of an order, in a queue or not."""
    return np.int64(order.side) >> 3


@hot
def queue_of(order: Any) -> int:
    """LIT, DARK, WAITING or HELD, of an order in a queue."""
    return (np.int64(order.side) >> 1) & 3


@hot
def find(venue: Venue, owner: int, order_id: int) -> int:
    """The slot of a live order by its owner's number, or NONE."""
    slot = numbers.find(venue.numbers, owner, order_id)
    if slot < 0:
        return NONE
    order = venue.orders[slot]
    return slot if order.order_id == order_id and order.owner == owner else NONE


@hot
def next_ref(venue: Venue) -> int:
    """A public number that nobody has had."""
    venue.cells[REF] += 1
    return venue.cells[REF]


@hot
def open_lots(order: Any) -> int:
    """What an order still wants."""
    return order.shown + order.reserve


@hot
def limit_of(order: Any) -> int:
    """The worst price an order takes."""
    if order.price != NONE:
        return order.price
    return (1 << 62) if side_of(order) == BID else 0
