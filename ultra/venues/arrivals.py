"""When an agent acts next: a Poisson stream, or one that excites itself (Hawkes), in whole numbers only.

The rate is `calm + excited`; every arrival adds `jump` to what is excited, and that halves each `half_life`. The next
arrival is drawn by thinning (Ogata 1981): nothing raises the rate between two arrivals, so the rate of now bounds it.
No logarithm at run time: -ln(1 - u) is a table of 256 steps whose last one draws again, since the exponential has no
memory; 2^-x is one of 64, with straight lines between. So the same seed gives the same times with and without the
compiler, on any machine.

Always: `due` grows. Known bad case: rates under 0.001/s are taken as that, or a gap would not fit 64 bits; half lives
over a minute would not either.
"""

import math
from typing import Any, Final

import numpy as np

from ..hot import hot
from .flow_state import word

UNIT: Final = 1_000_000  # rates are in 1e-6 a second
RATE_MIN: Final = 1000
RATE_MAX: Final = 10**12
HALF_LIFE_MIN_NS: Final = 10**6
HALF_LIFE_MAX_NS: Final = 60 * 10**9
EXCITED_MAX: Final = 10**13
_NS: Final = 1_000_000_000
_LN2_E6: Final = 693_147
_STEPS: Final = 256
_LN_STEPS: Final = round(65536 * math.log(_STEPS))
_MINUS_LOG: Final = np.array([round(-65536 * math.log(1 - k / _STEPS)) for k in range(_STEPS)] + [0], np.int64)
_HALVES: Final = np.array([round((1 << 20) * 2 ** (-k / 64)) for k in range(65)], np.int64)

# Fields that a record needs to have arrivals.
FIELDS: Final = [
    ("seed", "i8"),
    ("draws", "i8"),
    ("due", "i8"),  # ns
    ("calm", "i8"),  # 1e-6 a second
    ("excited", "i8"),
    ("jump", "i8"),
    ("half_life", "i8"),  # ns
]


def start(row: Any, seed: int, rate_e6: int, burst_permille: int, half_life_ns: int, now: int) -> None:
    """Arrivals at `rate_e6` on average, `burst_permille` of them caused by an earlier one; the first is drawn."""
    assert 0 <= burst_permille < 1000 and HALF_LIFE_MIN_NS <= half_life_ns <= HALF_LIFE_MAX_NS
    assert 0 < rate_e6 <= RATE_MAX
    row.seed, row.draws, row.due, row.excited = seed, 0, now, 0
    row.calm = max(RATE_MIN, rate_e6 * (1000 - burst_permille) // 1000)
    row.jump = burst_permille * _LN2_E6 * (_NS // 1000) // half_life_ns
    row.half_life = half_life_ns


@hot
def draw(row: Any) -> int:
    """The next 64 random bits of this record."""
    row.draws += 1
    return word(row.seed, row.draws)


@hot
def exponential(row: Any) -> int:
    """An exponential of mean 1, in 1/65536."""
    total = np.int64(0)
    bits = draw(row)
    while bits & (_STEPS - 1) == _STEPS - 1:
        total += _LN_STEPS
        bits = draw(row)
    low = _MINUS_LOG[bits & (_STEPS - 1)]
    high = _MINUS_LOG[(bits & (_STEPS - 1)) + 1]
    return total + low + ((high - low) * ((bits >> 8) & 65535) >> 16)


@hot
def decayed(value: int, gap: int, half_life: int) -> int:
    """What is left of `value` after `gap` ns."""
    whole = gap // half_life
    if whole > 60:
        return 0
    part = ((gap - whole * half_life) << 24) // half_life
    high, low = _HALVES[part >> 18], _HALVES[(part >> 18) + 1]
    factor = high - ((high - low) * (part & 0x3FFFF) >> 18)
    return (value >> whole >> 4) * factor >> 16


@hot
def advance(row: Any) -> None:
    """Move `due` to the next arrival."""
    while True:
        bound = row.calm + row.excited
        gap = max(1, exponential(row) * (UNIT * _NS // bound) >> 16)
        left = decayed(row.excited, gap, row.half_life)
        row.due += gap
        row.excited = left
        if row.jump == 0:
            return
        if (draw(row) & 0xFFFFF) * (bound >> 10) < (row.calm + left) << 10:
            row.excited = min(row.excited + row.jump, EXCITED_MAX)
            return
