"""Orders and instruments of the matching twin, and how the lots of a level are shared."""

from ultra.wire import AT_MARKET, BID, NONE, UNKNOWN_STATE


def mix(state: int, value: int) -> int:
    product = (state ^ value) * 0x9E3779B97F4A7C15 & (1 << 64) - 1
    return product ^ product >> 32


def draw(one: int, other: int) -> int:
    return mix(mix(one, 1), other) & 0xFFFFFF


def fifo(shown: int, wanted: int, total: int, draw: int) -> int:
    return min(shown, wanted)


def pro_rata(shown: int, wanted: int, total: int, draw: int) -> int:
    return -(-wanted * shown // total)


def probabilistic(shown: int, wanted: int, total: int, draw: int) -> int:
    return min(shown, wanted) if draw * total < wanted << 24 else 0


SHARES = {"fifo": fifo, "pro-rata": pro_rata, "probabilistic": probabilistic}


class Order:
    """One order; `queue` is where it is, or None while it trades."""

    def __init__(self, entry: dict[str, int], ref: int, slot: int) -> None:
        self.id, self.owner, self.side = entry["order_id"], entry["owner"], entry["side"]
        self.instrument, self.flag, self.slot, self.ref = entry["instrument"], entry["flag"], slot, ref
        self.price = NONE if self.flag & AT_MARKET else entry["price"]
        self.display, self.stop = entry["display"], entry["stop"]
        self.shown, self.reserve = 0, entry["qty"]
        self.queue: int | None = None
        self.rank = 0

    @property
    def open(self) -> int:
        return self.shown + self.reserve

    def takes(self, price: int) -> bool:
        """Whether it would trade at a price."""
        return self.price == NONE or (price <= self.price if self.side == BID else price >= self.price)


class Listing:
    """What an instrument is, and its queues: [queue][0 = highest first, 1 = lowest first]."""

    def __init__(self, tick: int, lot: int, low: int, high: int, qty_max: int, reference: int) -> None:
        self.tick, self.lot, self.low, self.high, self.qty_max, self.last = tick, lot, low, high, qty_max, reference
        self.state, self.auction = UNKNOWN_STATE, 0
        self.queues: list[list[list[Order]]] = [[[], []] for _ in range(4)]
