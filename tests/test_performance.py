"""What a course of equity comes to: against definitions written out, by hand, and where nothing is defined."""

import itertools
import json
import math
import statistics
import xml.etree.ElementTree as ElementTree
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultra.lab import fills as traded
from ultra.lab import performance
from ultra.wire import ASK, BID

DAY = 86_400_000_000_000
E9 = 10**9


class Stock(NamedTuple):
    symbol: str = "AAPL"
    tick_e9: int = 10_000_000  # a cent
    lot_e9: int = E9


class Coin(NamedTuple):
    """A tick x lot of it is less than 1e-9 of the currency."""

    symbol: str = "COIN"
    tick_e9: int = 1000
    lot_e9: int = 1000


INSTRUMENTS = (Stock(), Coin())
FILL = st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(1, 40), st.integers(1, 6), st.integers(-30, 90))


def filled(rows: list[tuple[int, int, int, int, int]], step: int = DAY) -> Any:
    found = traded.empty(len(rows))
    for k, (instrument, side, price, qty, fee) in enumerate(rows):
        found[k] = (k * step, instrument, side, 1, price, qty, fee, k, -1, -1)
    return found


def cents(*values: float) -> Any:
    return np.array([round(value * E9) for value in values], np.int64)


def measured(*equity: float, step: int = DAY, **more: Any) -> performance.Performance:
    ts = np.arange(len(equity), dtype=np.int64) * step
    return performance.measure(ts, cents(*equity), initial_cash_e9=round(equity[0] * E9), **more)


def twin_trips(rows: list[tuple[int, int, int, int, int]]) -> list[tuple[int, ...]]:
    """One lot at a time: FIFO needs no sharing then. Pieces are (instrument, side, price, price, opened, closed)."""
    queues: dict[int, list[tuple[int, int, int]]] = {0: [], 1: []}
    found = []
    for k, (instrument, side, price, qty, _) in enumerate(rows):
        queue = queues[instrument]
        for _ in range(qty):
            if queue and queue[0][0] != side:
                opened_side, opened_price, opened = queue.pop(0)
                found.append((instrument, opened_side, opened_price, price, opened, k))
            else:
                queue.append((side, price, k))
    return found


@given(st.lists(FILL, max_size=24))
def test_round_trips_are_first_in_first_out_lot_by_lot(rows: list[tuple[int, int, int, int, int]]) -> None:
    trips = traded.trips_of(filled(rows), INSTRUMENTS)
    lots = [
        (int(t.instrument), int(t.side), int(t.opened_price), int(t.closed_price), int(t.opened_by), int(t.closed_by))
        for t in trips
        for _ in range(t.qty)
    ]
    assert lots == twin_trips(rows)
    for trip in trips:
        sign = 1 if trip.side == BID else -1
        won = sign * int(trip.closed_price - trip.opened_price) * int(trip.qty)
        found = INSTRUMENTS[trip.instrument]
        assert int(trip.pnl_e9) == won * found.tick_e9 * found.lot_e9 // E9 - int(trip.fee_e9)


@given(st.lists(FILL, max_size=24))
def test_the_fees_of_trips_and_of_what_is_open_are_those_of_all_fills(
    rows: list[tuple[int, int, int, int, int]],
) -> None:
    flat = list(rows)
    for instrument in (0, 1):
        left = sum((qty if side == BID else -qty) for k, side, _, qty, _ in rows if k == instrument)
        if left:
            flat.append((instrument, ASK if left > 0 else BID, 7, abs(left), 11))
    fills = filled(flat)
    trips = traded.trips_of(fills, INSTRUMENTS)
    assert int(trips.fee_e9.sum()) == int(fills.fee_e9.sum())
    stock = fills[fills.instrument == 0]
    only = trips[trips.instrument == 0]
    assert int(only.pnl_e9.sum()) == traded.cash_e9(stock, traded.scale_of(INSTRUMENTS)), "flat: P&L is the cash"


def test_a_fill_that_turns_the_position_closes_and_opens() -> None:
    trips = traded.trips_of(filled([(0, BID, 100, 4, 8), (0, ASK, 103, 6, 9), (0, BID, 101, 2, 1)]), INSTRUMENTS)
    assert [(int(t.side), int(t.qty), int(t.pnl_e9), int(t.fee_e9)) for t in trips] == [
        (BID, 4, 12 * 10_000_000 - 14, 14),  # all 8 of the first fee, 6 of the second
        (ASK, 2, 4 * 10_000_000 - 4, 4),
    ]


def test_a_fill_beyond_int64_or_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="int64 ends"):
        traded.trips_of(filled([(0, BID, 1 << 40, 1 << 20, 0)]), INSTRUMENTS)
    with pytest.raises(ValueError, match="not there"):
        traded.trips_of(filled([(2, BID, 1, 1, 0)]), INSTRUMENTS)
    with pytest.raises(ValueError, match="more than 0"):
        traded.scale_of([Stock(tick_e9=0)])


def test_a_turnover_beyond_int64_is_exact_and_the_scales_of_others_are_no_limit() -> None:
    scale = traded.scale_of(INSTRUMENTS)
    many = filled([(1, k % 2, 1 << 30, 1 << 30, 1 << 60) for k in range(16)])
    assert traded.traded_e9(many, scale) == 16 * (1 << 60) // 1000
    assert traded.cash_e9(many, scale) == -16 * (1 << 60), "as much bought as sold: the fees alone"
    cheap_and_dear = filled([(0, BID, 1 << 38, 1, 0), (1, BID, 1, 1 << 38, 0), (1, ASK, 2, 1 << 38, 0)])
    assert len(traded.trips_of(cheap_and_dear, INSTRUMENTS)) == 1


# ---- By hand. ----


def test_a_course_by_hand() -> None:
    """100, 110, 99, 121: returns 10 %, -10 %, 22.2 %; a fall of a tenth from 110 that lasts until 121, two days."""
    found = measured(100, 110, 99, 121, periods_per_year=252)
    returns = [0.1, -0.1, 121 / 99 - 1]
    assert found.total_return == pytest.approx(0.21)
    assert found.sharpe == pytest.approx(statistics.mean(returns) / statistics.stdev(returns) * math.sqrt(252))
    assert found.volatility == pytest.approx(statistics.stdev(returns) * math.sqrt(252))
    assert found.sortino == pytest.approx(statistics.mean(returns) / math.sqrt(0.01 / 3) * math.sqrt(252))
    assert found.max_drawdown == pytest.approx(0.1) and found.max_drawdown_ns == 2 * DAY
    assert found.cagr == pytest.approx(1.21 ** (365.25 / 3) - 1)
    assert found.calmar == pytest.approx(found.cagr / 0.1)
    assert (found.initial_cash, found.final_equity) == (Decimal(100), Decimal(121))


def test_periods_a_year_come_from_the_time_stamps() -> None:
    assert measured(*range(100, 200)).periods_per_year == pytest.approx(365.25)
    assert measured(*range(100, 200), step=DAY // 1440).periods_per_year == pytest.approx(365.25 * 1440)


def test_a_rate_without_risk_is_taken_off_each_return() -> None:
    plain, less = measured(100, 101, 103, 104), measured(100, 101, 103, 104, risk_free=365.25 * 0.001)
    assert less.sharpe * less.volatility == pytest.approx(plain.sharpe * plain.volatility - 0.001 * 365.25)


def test_trades_fees_turnover_and_exposure_by_hand() -> None:
    fills = filled([(0, BID, 1000, 10, E9), (0, ASK, 1200, 10, E9), (0, BID, 1200, 5, 0), (0, ASK, 1100, 5, -E9)])
    ts = np.arange(5, dtype=np.int64) * DAY
    equity = cents(1000, 999, 1018, 1018, 1014)
    found = performance.measure(ts, equity, fills, instruments=INSTRUMENTS[:1], initial_cash_e9=1000 * E9)
    assert (found.trade_count, found.fill_count, found.hit_rate) == (2, 4, 0.5)
    assert found.profit_factor == pytest.approx(18 / 4)
    assert found.fees == Decimal(1)
    assert found.turnover == pytest.approx((100 + 120 + 60 + 55) / np.mean([1000, 999, 1018, 1018, 1014]))
    assert found.exposure == pytest.approx((100 / 1000 + 0 + 60 / 1018 + 0) / 4)
    assert found.time_in_market == 0.5
    assert json.loads(found.json())["fees"] == "1.000000000"


# ---- Against the definitions, written out. ----

COURSE = st.lists(st.integers(1, 400), min_size=1, max_size=30)


def twin_drawdowns(equity: list[int], steps: list[int]) -> tuple[float, int, int]:
    """The deepest, how long it lasted, and the longest, point by point."""
    deepest, lasted, longest = 0.0, 0, 0
    for start in range(len(equity)):
        if any(value > equity[start] for value in equity[:start]):
            continue  # not a peak
        end = next((k for k in range(start + 1, len(equity)) if equity[k] >= equity[start]), None)
        under = equity[start + 1 : end]
        if not under:
            continue
        depth = 1 - min(under) / equity[start]
        spent = steps[len(equity) - 1 if end is None else end] - steps[start]
        if depth > deepest:
            deepest, lasted = depth, spent
        longest = max(longest, spent)
    return deepest, lasted, longest


@given(COURSE, st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_drawdowns_are_those_found_point_by_point(values: list[int], gaps: list[int]) -> None:
    steps = np.cumsum(gaps)[: len(values)].astype(np.int64)
    found = performance.fallen(steps, np.array(values, np.int64), values[0])
    assert found == pytest.approx(twin_drawdowns(values, steps.tolist()))


@given(COURSE)
def test_sharpe_and_sortino_are_those_written_out(values: list[int]) -> None:
    found = measured(*map(float, values), periods_per_year=4)
    returns = [b / a - 1 for a, b in itertools.pairwise(values)]
    mean = statistics.mean(returns) if returns else 0.0
    spread = statistics.stdev(returns) if len(returns) > 1 else 0.0
    below = math.sqrt(statistics.mean([min(r, 0.0) ** 2 for r in returns])) if returns else 0.0
    for got, under in ((found.sharpe, spread), (found.sortino, below)):
        if abs(mean) < 1e-13 or under < 1e-13:
            assert math.isnan(got) or abs(got) < 1e-6 or under < 1e-13
        else:
            assert got == pytest.approx(mean / under * 2, rel=1e-6)


# ---- Where little or nothing is defined: stated answers, no warning (pytest makes each an error). ----


def test_without_trades_every_figure_is_zero() -> None:
    found = measured(100, 100, 100)
    for name, value in found.figures().items():
        if name not in ("last_ts", "initial_cash", "final_equity", "periods_per_year"):
            assert value == 0, name


def test_one_point_is_a_course_of_nothing() -> None:
    found = measured(100)
    assert found.total_return == found.sharpe == found.cagr == found.exposure == found.periods_per_year == 0


def test_equal_returns_have_no_spread_and_no_ratio() -> None:
    found = measured(100, 110, 121, 133.1)
    assert found.volatility == 0 and math.isnan(found.sharpe) and math.isnan(found.sortino)
    assert json.loads(found.json())["sharpe"] is None


def test_a_session_is_not_called_a_year() -> None:
    found = measured(100, 101, step=1000)
    assert math.isnan(found.cagr) and found.total_return == pytest.approx(0.01)
    assert measured(1, 10**6, step=DAY).cagr == math.inf


@pytest.mark.parametrize("end", [0.0, -50.0])
def test_ruin_ends_the_returns_and_is_not_hidden(end: float) -> None:
    found = measured(100, 90, end, 200, 0)
    assert found.total_return == -1 and found.cagr == -1
    assert found.max_drawdown == pytest.approx(1 - end / 100)
    assert math.isfinite(found.sharpe) and found.sharpe < 0
    assert len(performance.returns(cents(100, 90, end, 200, 0))) == 2


@pytest.mark.parametrize(
    ("ts", "equity", "cash", "said"),
    [
        ([], [], 1, "not empty"),
        ([1, 2], [1], 1, "equal length"),
        ([2, 1], [1, 1], 1, "goes back at point 1"),
        ([1], [1], 0, "more than 0"),
    ],
)
def test_what_cannot_be_measured_is_said(ts: list[int], equity: list[int], cash: int, said: str) -> None:
    with pytest.raises(performance.PerformanceError, match=said):
        performance.measure(ts, equity, initial_cash_e9=cash)


def test_a_performance_is_a_frame_a_page_and_a_line(tmp_path: Path) -> None:
    fills = filled([(0, BID, 1000, 10, 0), (0, ASK, 1100, 10, 0)])
    found = performance.measure(
        np.arange(3) * DAY, cents(100, 100, 110), fills, instruments=INSTRUMENTS, initial_cash_e9=100 * E9
    )
    page = found.html(tmp_path / "a" / "sheet.html").read_text()
    ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert "script" not in page and "10.000 %" in page
    ElementTree.fromstring(found._repr_html_())
    frame = pytest.importorskip("pandas") and found.frame()
    assert frame["equity"].tolist() == [100, 100, 110] and frame["drawdown"].tolist() == [0, 0, 0]
    trades = found.trades_frame()[["symbol", "side", "qty", "opened_price", "pnl"]]
    assert trades.values.tolist() == [["AAPL", "long", 10, 10.0, 10.0]]
