"""The last values of a series, with their sum and their first two moments, in O(1) a value.

The trick is what makes a running sum trustworthy: beside it a second one is kept of the current block of `length`
values, which is only ever added to. At the end of a block the window is that block, and the block's sum takes the place
of the running one. So a rounding error lives for at most two windows, however long the series, at no value does
anything take longer than at another, and whole numbers (ticks, lots) are exact. Mean and variance the same way, with
Welford's update (Technometrics 4, 1962) in both its growing and its sliding form; a window of equal values is exact.
Known bad case: behind a value a hundred million times its neighbours, up to `length` results have lost their last
digits.
"""

import math
from typing import Any

from .. import hot
from .definition import fresh, record


def sums(room: int) -> Any:
    """Memory of `slide`."""
    return record(("at", "i8"), ("total", "f8"), ("block", "f8"), ("past", "f8", (room,)))


def moments(room: int) -> Any:
    """Memory of `weigh`."""
    return record(
        ("at", "i8"),
        ("same", "i8"),  # how many of the last values are equal
        ("anchor", "f8"),  # a value of the series, from which averages are measured: then a high price costs no digits
        ("average", "f8"),  # less the anchor
        ("squares", "f8"),  # sum of squared distances from the average
        ("block_anchor", "f8"),  # the block's first value
        ("block_average", "f8"),
        ("block_squares", "f8"),
        ("past", "f8", (room,)),
    )


@hot
def slide(state: Any, x: float, length: int) -> bool:
    """Take a finite value into the sum of the last `length`; whether there are as many."""
    if length < 1 or length > len(state.past):
        return False
    if fresh(state, length):
        state.at = 0
        state.total = 0.0
        state.block = 0.0
    at = state.at
    state.block += x
    if state.seen < length:
        state.seen += 1
        state.total += x
    else:
        state.total += x - state.past[at]
    state.past[at] = x
    state.at = at + 1
    if at + 1 == length:
        state.total = state.block
        state.block = 0.0
        state.at = 0
    return state.seen >= length


@hot
def weigh(state: Any, x: float, length: int) -> bool:
    """Take a finite value into average and squares of the last `length`; whether there are as many."""
    if length < 1 or length > len(state.past):
        return False
    if fresh(state, length):
        state.at = 0
        state.same = 0
    at = state.at
    latest = state.past[at - 1] if at > 0 else state.past[length - 1]
    state.same = state.same + 1 if state.same > 0 and latest == x else 1
    lengthen(state, x, at)
    if state.seen < length:
        state.seen += 1
        adopt(state)
    else:
        old, new, before = state.past[at] - state.anchor, x - state.anchor, state.average
        state.average = before + (new - old) / length
        state.squares += (new - old) * ((new - state.average) + (old - before))
    state.past[at] = x
    state.at = at + 1
    if at + 1 == length:
        adopt(state)
        state.at = 0
    if state.same >= state.seen:
        state.anchor = x
        state.average = 0.0
        state.squares = 0.0
    elif state.squares < 0.0:
        state.squares = 0.0
    return state.seen >= length


@hot
def lengthen(state: Any, x: float, at: int) -> None:
    """The block with its value number `at`, from 0; with the first it begins anew."""
    if at == 0:
        state.block_anchor = x
        state.block_average = 0.0
        state.block_squares = 0.0
    new = x - state.block_anchor
    step = new - state.block_average
    state.block_average += step / (at + 1)
    state.block_squares += step * (new - state.block_average)


@hot
def adopt(state: Any) -> None:
    """The window is the block."""
    state.anchor = state.block_anchor
    state.average = state.block_average
    state.squares = state.block_squares


@hot
def mean(state: Any) -> float:
    """Of the window."""
    return state.anchor + state.average


@hot
def distance(state: Any, x: float) -> float:
    """From the mean of the window to a value."""
    return (x - state.anchor) - state.average


def check(state: Any) -> None:
    """What holds of either memory between two values: the block is the first `at` of the past, no square negative."""
    at, seen, length = int(state["at"]), int(state["seen"]), int(state["length"])
    past = [float(value) for value in state["past"][:at]]
    assert 0 <= seen <= length <= len(state["past"]) and (0 <= at < length or seen == 0)
    assert at == seen or seen == length, "a window that is not full is its block"
    if "total" in state.dtype.names:
        assert math.isclose(float(state["block"]), math.fsum(past), rel_tol=1e-12, abs_tol=1e-9)
        return
    assert float(state["squares"]) >= 0.0 and int(state["same"]) >= 0
    if at > 0:
        average = math.fsum(past) / at
        found = float(state["block_anchor"]) + float(state["block_average"])
        assert math.isclose(found, average, rel_tol=1e-12, abs_tol=1e-9)
