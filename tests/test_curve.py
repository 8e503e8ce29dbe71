"""The curve: evenly spaced points of any run, however long, and the sums that a point holds."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import curve as curves
from ultra.hot import market as markets

FIRST_STRIDE = 16


@loop
def run(curve: Any, market: Any, instruments: int, start: int, stop: int) -> None:
    """Records start + 1 .. stop, each with its own number as its time."""
    for number in range(start, stop):
        if curves.due(curve):
            curves.sample(curve, number + 1, market, instruments)


def times(curve: curves.Curve) -> list[int]:
    return curve.points.ts[: int(curve.cells[curves.COUNT])].tolist()  # type: ignore[no-any-return]


@given(st.sampled_from((2, 4, 6, 16)), st.lists(st.integers(0, 400), min_size=1, max_size=5))
def test_points_are_evenly_spaced_however_long_the_run(points: int, parts: list[int]) -> None:
    curve, market, done = curves.create(points), markets.create(1), 0
    for part in parts:
        run(curve, market, 1, done, done + part)
        done += part
        stride = int(curve.cells[curves.STRIDE])
        assert times(curve) == list(range(stride, done + 1, stride))
        assert len(times(curve)) < points
        assert stride == FIRST_STRIDE or len(times(curve)) >= points // 2


def test_a_point_holds_what_the_instruments_that_traded_are_worth() -> None:
    curve, market = curves.create(4), markets.create(4)
    market.fills, market.position, market.cash = column([1, 2, 0, 1]), column([3, -2, 5, 9]), column([-290, 220, 9, 9])
    market.bid, market.ask = column([99, 100, 10, 1]), column([101, -1, 12, 2])
    market.last_price = column([7, 110, 1, 1])
    run(curve, market, 3, 0, FIRST_STRIDE)
    point = curve.points[0]
    assert (int(point.ts), int(point.gross)) == (FIRST_STRIDE, 3 + 2)
    assert int(point.pnl) == (-290 + 3 * 100) + (220 - 2 * 110)
