"""Bars out of a seed: markets whose nature is known, so that a strategy can be held against the truth.

A bar is made of STEPS small moves. What moves the price is said by four numbers: chance (`volatility`), a drift that
wanders (`trend`: there is something to follow), a pull back to a slow mean (`pull`: there is something to fade), and
nothing else; with both at 0 it is a random walk, on which no strategy has an edge before costs and each loses its
costs. The draws are sums of uniform ones out of a hash of (seed, number): whole numbers, so the same seed gives the
same bytes on every machine, and no library is asked for a logarithm.
Known bad case: no jumps, no clusters of volatility, no gaps over night. What works here has passed the easy test.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..hot import bar as bars
from ..hot import entry, hot, memory
from ..hot.bits import mix
from ..wire import BAR, NONE, RECORD
from .tape import Instrument, Tape, TapeError

STEPS: Final = 8
TICK_E9: Final = 10_000_000  # a cent
LOT_E9: Final = 1_000_000_000
DAY_S: Final = 86_400
START_NS: Final = 1_577_836_800_000_000_000  # 2020-01-01
PIECES: Final = 12  # uniform draws in one normal one
SHARE: Final = 1 << 16
APART: Final = 1_000_003  # of the seeds of two instruments
SALT: Final = 0x5851F42D4C957F2D
LN_2: Final = 0.6931471805599453


@hot
def normal(seed: int, number: int) -> float:
    """Draw `number` of a seed: mean 0, variance 1, never beyond 6 (the sum of twelve uniform draws, less 6)."""
    total, word = np.int64(0), np.int64(0)
    for piece in range(PIECES):
        if piece % 3 == 0:
            word = mix(mix(mix(mix(mix(seed, SALT), number), piece + 1), SALT), SALT)  # fewer leave a pattern
        total += word & (SHARE - 1)
        word = word >> 16
    return (total - PIECES * (SHARE - 1) * 0.5) / SHARE


@entry
def wander(rows: Any, seed: int, start: float, numbers: Any) -> None:
    """Fill BAR records with prices and volumes. `numbers`: volatility, trend and pull of a bar, and how long they
    last."""
    volatility, trend, pull, memory_bars = numbers
    price = slow = start
    drift, number = 0.0, np.int64(0)
    for row in range(len(rows)):
        first = ticks_of(price)
        high = low = close = first
        drift += -drift / memory_bars + trend * normal(seed, number)
        number += 1
        slow += (price - slow) / memory_bars
        for _ in range(STEPS):
            chance = volatility * normal(seed, number) / math.sqrt(STEPS)
            number += 1
            price *= 1.0 + chance + drift / STEPS + pull * (slow / price - 1.0) / STEPS
            price = max(price, 1.0)
            close = ticks_of(price)
            high, low = max(high, close), min(low, close)
        bars.pack(rows[row], first, high, low, close, 1000 + (mix(seed, number) & 1023))


@hot
def ticks_of(price: float) -> int:
    """A price in whole ticks."""
    return np.int64(price * (1_000_000_000 / TICK_E9) + 0.5)


@entry
def follow(rows: Any, leader: Any, seed: int, numbers: Any) -> None:
    """Fill BAR records of a second instrument: ratio * leader + apart, plus a spread that returns."""
    ratio, apart, width, half_life = numbers
    spread, number = 0.0, np.int64(0)
    keep = 1.0 - LN_2 / half_life  # of the spread, from bar to bar
    chance = width * math.sqrt(1.0 - keep * keep)
    before = np.int64(NONE)
    for row in range(len(rows)):
        spread = keep * spread + chance * normal(seed, number)
        number += 1
        close = ticks_of(max(ratio * (leader[row].price * (TICK_E9 / 1e9)) + apart + spread, 1.0))
        first = close if before < 0 else before
        bars.pack(rows[row], first, max(first, close), min(first, close), close, 1000 + (mix(seed, number) & 1023))
        before = close


def _tape(parts: Sequence[Any], symbols: Sequence[str], step_s: int) -> Tape:
    count = len(parts[0])
    for index, rows in enumerate(parts):
        rows.instrument = index
        rows.ts_event = rows.ts_recv = START_NS + np.arange(1, count + 1) * (step_s * 1_000_000_000)
    table = np.stack([rows.view(np.ndarray) for rows in parts], axis=1).reshape(-1)
    return Tape.of(table, [Instrument(symbol, TICK_E9, LOT_E9, "synthetic") for symbol in symbols], "bars", "synthetic")


def _rows(count: int, step_s: int) -> Any:
    if not 0 < count <= 1 << 27 or not 0 < step_s <= 366 * DAY_S:
        raise TapeError(f"{count} bars of {step_s} s: must be 1 to {1 << 27} bars, each 1 s to a year")
    rows = memory.zeros(count, RECORD)
    rows.kind, rows.side = BAR, NONE
    return rows


def one(
    count: int,
    *,
    seed: int = 1,
    symbol: str = "SYN",
    start: float = 100.0,
    step_s: int = DAY_S,
    volatility: float = 0.01,
    trend: float = 0.0,
    pull: float = 0.0,
    memory_bars: float = 50.0,
) -> Tape:
    """A tape of `count` bars of one instrument, a cent a tick, TapeError when there can be none.

    `volatility`: standard deviation of a bar's return. `trend`: that of the change of its drift from bar to bar, which
    fades over `memory_bars`. `pull`: share of the distance from its slow mean (also of `memory_bars`) that a bar goes
    back."""
    rows = _rows(count, step_s)
    numbers = (float(volatility), float(trend), float(pull), float(memory_bars))
    if not (0.0 <= volatility <= 0.1 and 0.0 <= trend <= 0.01 and 0.0 <= pull <= 1.0 and memory_bars >= 2.0):
        raise TapeError(f"volatility, trend, pull, memory {numbers}: at most 0.1, 0.01, 1, and at least 2 bars")
    wander(rows, seed, float(start), numbers)
    return _tape([rows], [symbol], step_s)


def several(count: int, instruments: int, *, seed: int = 1, **numbers: Any) -> Tape:
    """A tape of independent instruments S1, S2, ... with a bar of each at every moment; `numbers` are those of `one`.

    The first is the one that `one` makes of the same seed."""
    if instruments < 1 or instruments * count > 1 << 27:
        raise TapeError(f"{instruments} instruments of {count} bars: must be 1 or more, and at most {1 << 27} bars")
    made = [one(count, seed=seed + index * APART, **numbers) for index in range(instruments)]
    rows = []
    for tape in made:
        records = tape.array()
        rows.append(records[records["kind"] == BAR].copy().view(np.recarray))
    return _tape(rows, [f"S{index + 1}" for index in range(instruments)], numbers.get("step_s", DAY_S))


def pair(
    count: int,
    *,
    seed: int = 1,
    symbols: tuple[str, str] = ("Y", "X"),
    start: float = 50.0,
    step_s: int = DAY_S,
    volatility: float = 0.01,
    ratio: float = 1.5,
    apart: float = 10.0,
    width: float = 0.5,
    half_life: float = 5.0,
) -> Tape:
    """A tape of two instruments that belong together: x (index 1) is a random walk, y (index 0) = ratio * x + apart + a
    spread with standard deviation `width` (in the currency) of which half is gone after about `half_life`
    bars."""
    if not (half_life >= 1.0 and width >= 0.0 and 0.0 <= volatility <= 0.1 and len(set(symbols)) == 2):
        raise TapeError(f"half_life {half_life}, width {width}, volatility {volatility}, {symbols}: out of bounds")
    leader, second = _rows(count, step_s), _rows(count, step_s)
    wander(leader, seed, float(start), (float(volatility), 0.0, 0.0, 50.0))
    follow(second, leader, seed + 1, (float(ratio), float(apart), float(width), float(half_life)))
    return _tape([second, leader], symbols, step_s)
