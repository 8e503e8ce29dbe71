"""Random draws for a strategy, the same in every replay: a number in the engine's state, and what it is mixed to.

SplitMix64: a counter goes on by the golden ratio and is mixed (Steele, Lea, Flood, OOPSLA 2014, with the constants of
Stafford's variant 13). The counter is a cell of the engine, so it is part of the state hash; it begins at the seed,
which comes in as a record (`strategy.seed` of the configuration).
Invariant: k draws after a seed give the same numbers on every machine, compiled or not.
Known bad case: not for secrets. Instruments draw from one sequence: a draw for one moves those of the others on.
"""

from typing import Any

from .hot import hot
from .hot.bits import GOLDEN, folded, plus, signed, times
from .hot.engine_state import DICE
from .math import normal_quantile

_FIRST, _SECOND = signed(0xBF58476D1CE4E5B9), signed(0x94D049BB133111EB)
_UNIT = 1.0 / (1 << 53)


@hot
def bits(desk: Any) -> int:
    """64 random bits, as int64."""
    cells = desk.cells
    cells[DICE] = plus(cells[DICE], GOLDEN)
    value = times(folded(cells[DICE], 30), _FIRST)
    value = times(folded(value, 27), _SECOND)
    found: int = folded(value, 31)
    return found


@hot
def uniform(desk: Any) -> float:
    """A number from 0 up to but not including 1, a multiple of 2^-53."""
    return ((bits(desk) >> 11) & ((1 << 53) - 1)) * _UNIT


@hot
def integer(desk: Any, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included; of no more than 2^53 of them, or some never come."""
    return low + int(uniform(desk) * (high - low + 1))


@hot
def normal(desk: Any) -> float:
    """A number of the standard normal distribution: one draw, through the inverse of its distribution function."""
    return normal_quantile((((bits(desk) >> 11) & ((1 << 53) - 1)) + 0.5) * _UNIT)
