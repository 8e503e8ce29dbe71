"""The morning of a synthetic day: which stocks there are, how active each is, and when every phase ends.

Stocks are dealt by rank: the r-th most active has a share of the messages near r^-0.9, and with it more live orders,
a usual spread and a daily range. Every limit follows from these. Only + - * / sqrt on floats, and sums on integers:
the same seed gives the same bytes on every machine.

Known bad case: with few messages a stock, books are thin (live orders are at most a thirteenth of the messages).
"""

from typing import Any, Final

import numpy as np

from ..hot import book as books
from ..hot import entry, memory
from ..hot.atomics import Cells
from ..wire import NONE
from .flow_state import (
    CELLS,
    CLOSE_AT,
    CROSS,
    CROSSES,
    DIRECTORY,
    EVENING,
    EVENING_END,
    FAREWELL,
    HOUR,
    OPEN_AT,
    PLAN,
    PLANS,
    PREMARKET,
    SEED,
    SESSION,
    STOCK,
    STRIDE,
    TOTAL,
    Flow,
    word,
)
from .itch import FIELD_MAX

INSTRUMENTS_MAX: Final = 65535  # a stock locate has 16 bits and 0 means none
MESSAGES_MAX: Final = 1 << 40
BUFFER_BYTES: Final = 1 << 18
BUCKETS: Final = 78  # of five minutes each
ZIPF_16: Final = 58982  # the exponent, 0.9, in 1/65536
OCTAVES: Final = np.array([0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8])  # price = 2 dollars * 2^octave * 1..2
BUSY_OCTAVES: Final = np.array([4, 5, 5, 6])


@entry
def _deal(seed: int, words: Any) -> int:
    """Random words for every stock; returns the seed of the day (near seeds become far ones)."""
    scrambled = word(seed, len(words))
    for row in range(len(words)):
        for column in range(4):
            words[row, column] = word(scrambled, -1 - 4 * row - column)
    return scrambled


def symbol(index: int) -> str:
    """The name of a stock: XQA, XQB .. XQZ, XQAA .. XQZZZ, then ZQA ..: three to five letters, nobody's ticker."""
    block, at = divmod(index, 26 + 26**2 + 26**3)
    letters = 1
    while at >= 26**letters:
        at -= 26**letters
        letters += 1
    tail = "".join(chr(65 + at // 26**k % 26) for k in reversed(range(letters)))
    return "XZUY"[block] + "Q" + tail


def create(instruments: int, messages: int, seed: int) -> Flow:
    """The morning of a day of exactly `messages` messages; ValueError when they can't even name the stocks."""
    if not 1 <= instruments <= INSTRUMENTS_MAX:
        raise ValueError(f"instruments = {instruments} must be in 1..{INSTRUMENTS_MAX} (a stock locate is 16 bits)")
    least = 6 + 3 * instruments
    if not least <= messages <= MESSAGES_MAX:
        raise ValueError(f"messages = {messages} must be in {least}..{MESSAGES_MAX} for {instruments} instruments")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed = {seed} must be in 0..2^63 - 1")
    trading = messages - least
    words = np.zeros((instruments, 4), np.int64)
    cells = np.zeros(CELLS, np.int64)
    cells[SEED] = _deal(seed, words)
    weights = _weights(instruments)
    by_rank = np.argsort(words[:, 0], kind="stable")
    stocks = memory.zeros(instruments, STOCK)
    stocks[by_rank] = _stocks(weights, trading, words)
    names = b"".join(symbol(index).encode().ljust(8) for index in range(instruments))
    stocks.name = np.frombuffer(names, ">i8")
    stocks.start = np.cumsum(stocks.room) - stocks.room
    order_max = 1 << (int(stocks.room.sum()) - 1).bit_length()  # a power of two, for its table
    book = books.create(instruments, order_max, _pages(stocks), order_start=2 * int(stocks.target.sum()))
    buckets, stops = _schedule(instruments, messages, int(stocks.target.sum()), cells)
    return Flow(
        book=book,
        stocks=stocks,
        by_rank=by_rank,
        odds=_alias(weights),
        live=memory.zeros(order_max, np.int32),
        place=memory.zeros(order_max, np.int32),
        plans=memory.zeros(PLANS, PLAN),
        buckets=buckets,
        bells=_bells(),
        stops=stops,
        cells=cells,
        action=np.zeros(8, np.int64),
        values=np.zeros(FIELD_MAX, np.int64),
        by_type=np.zeros(256, np.int64),
        buffer=np.zeros(BUFFER_BYTES, np.uint8),
    )


def _bells() -> Any:
    """The system events: start of messages, of system hours, of market hours, and the three ends."""
    times = (3 * HOUR, 4 * HOUR, OPEN_AT, CLOSE_AT, EVENING_END, EVENING_END + HOUR // 12)
    return np.array([(ord(event), ts) for event, ts in zip("OSQMEC", times, strict=True)])


def _weights(instruments: int) -> Any:
    """Activity by rank, as integers: their sums are exact. The power is a product of repeated square roots."""
    root = np.arange(1, instruments + 1, dtype=np.float64)
    power = np.ones(instruments)
    for bit in reversed(range(16)):
        root = np.sqrt(root)
        if ZIPF_16 >> bit & 1:
            power = power * root
    return (float(1 << 40) / power).astype(np.int64)


def _alias(weights: Any) -> Any:
    """Walker's table: column 0 is the chance in 2^-32 that a rank is itself, column 1 who it is otherwise."""
    count, total = len(weights), int(weights.sum())
    left = [int(weight) * count for weight in weights]  # `total` is the average
    table = np.zeros((count, 2), np.int64)
    poor = [rank for rank in range(count) if left[rank] < total]
    rich = [rank for rank in range(count) if left[rank] >= total]
    while poor and rich:
        rank, giver = poor.pop(), rich[-1]
        table[rank] = (left[rank] << 32) // total, giver
        left[giver] -= total - left[rank]
        if left[giver] < total:
            poor.append(rich.pop())
    for rank in poor + rich:
        table[rank] = 1 << 32, rank
    return table


def _unit(words: Any, column: int, shift: int) -> Any:
    """Uniform in [0, 1) from 24 bits."""
    return ((words[:, column] >> shift) & 0xFFFFFF) / float(1 << 24)


def _stocks(weights: Any, trading: int, words: Any) -> Any:
    """The stocks by rank."""
    count, rank = len(weights), np.arange(len(weights))
    expected = trading * (weights / float(int(weights.sum())))  # messages
    octave = np.where(rank < 10, BUSY_OCTAVES[words[:, 1] & 3], OCTAVES[words[:, 1] & 15])
    dollars = 2.0 * (1 << octave) * (1.0 + _unit(words, 1, 8))
    dollars = np.where(dollars > 800.0, dollars * 0.5, dollars)
    cheap = (rank % 50 == 37) & (count >= 50)  # below a dollar, on the fine grid
    spread = _unit(words, 2, 0) * dollars / np.where(rank < 10 + count // 10, 100.0, 40.0)
    rows = memory.zeros(count, STOCK)
    rows.tick = np.where(cheap, 1, 100)
    rows.home = np.where(cheap, 2000.0 + 6000.0 * _unit(words, 1, 8), np.floor(dollars * 100.0) + 0.5)
    rows.gap = np.where(cheap, 10.0 + 30.0 * _unit(words, 2, 0), 1.0 + spread).astype(np.int64)
    day = rows.home * (0.006 + 0.018 * _unit(words, 2, 24))  # its range, in ticks
    rows.noise = np.minimum(day / np.sqrt(expected + 1.0), 0.1 * rows.gap)
    rows.pull = 2.0 / (expected + 400.0)
    rows.leap = np.minimum(0.2 * day, 6.0 * rows.gap)
    rows.jump = (3.0 * float(1 << 32) / (expected + 3000.0)).astype(np.int64)
    rows.fair = rows.home
    rows.odd = np.where(dollars > 200.0, 60, 13)
    rows.target = _targets(weights, trading)
    rows.room = 2 * rows.target + 16
    return rows


def _targets(weights: Any, trading: int) -> Any:
    """Live orders by rank: about 110 on average (600 for a single stock), more for the active ones."""
    count = len(weights)
    average = min(110.0 + 490.0 / float(np.sqrt(float(count))), trading / (13.0 * count))
    share = np.sqrt(np.sqrt(weights / float(int(weights[0]))))
    parts = (share * float(1 << 20)).astype(np.int64)
    return np.maximum(1, (average * count / float(int(parts.sum())) * parts).astype(np.int64))


def _pages(stocks: Any) -> int:
    """Pages of 64 levels: a few around each best price, and one for most orders far away."""
    return 4096 + 12 * len(stocks) + int(stocks.target.sum()) // 12


def _schedule(instruments: int, messages: int, opening: int, cells: Cells) -> tuple[Any, Any]:
    """When each phase and each five minutes of the session end, in messages; the day is busy at both ends."""
    trading = messages - 6 - 3 * instruments
    crosses = min(instruments, trading // 256)
    stops = np.full(FAREWELL + 2, NONE, np.int64)
    stops[DIRECTORY] = 3 * instruments + 2
    stops[PREMARKET] = stops[DIRECTORY] + min(opening, trading // 13)
    stops[EVENING], stops[FAREWELL] = messages - 2, messages
    stops[SESSION] = stops[EVENING] - trading // 400 - 3 * crosses - 1
    first = int(stops[PREMARKET]) + 1 + 2 * crosses
    buckets = np.zeros((BUCKETS + 1, 2), np.int64)
    busy = _busy()
    for bucket in range(BUCKETS):
        buckets[bucket, 0] = first + (int(stops[SESSION]) - first) * sum(busy[: bucket + 1]) // sum(busy)
        buckets[bucket, 1] = OPEN_AT + (CLOSE_AT - OPEN_AT) // BUCKETS * (bucket + 1)
    buckets[BUCKETS] = stops[EVENING], EVENING_END
    cells[TOTAL], cells[CROSSES], cells[CROSS] = messages, crosses, NONE
    cells[STRIDE] = next(
        s for s in range(max(1, instruments * 5 // 8), 2 * instruments + 1) if np.gcd(s, instruments) == 1
    )
    return buckets, stops


def _busy() -> list[int]:
    """How busy each five minutes are: a U, higher at the open. Integers, as sums of floats differ between Pythons."""
    found = []
    for bucket in range(BUCKETS):
        after = (bucket + 0.5) / BUCKETS
        before = 1.0 - after
        late = after * after * after * after
        early = before * before * before * before * before * before
        found.append(int(float(1 << 20) * (1.0 + 2.5 * early + 1.5 * late)))
    return found
