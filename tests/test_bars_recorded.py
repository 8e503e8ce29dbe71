"""20 stocks of the S&P 500, 33 years of daily closes: backtested and searched, and reckoned again by other means."""

import numpy as np
import pytest
from recorded import ROOT, data

from ultra.lab import bar_tape
from ultra.lab.bars import Terms, run_bars
from ultra.lab.data import load
from ultra.lab.optimize import optimize_parameters
from ultra.lab.terms import Fees
from ultra.lab.validate import walk_forward
from ultra.strategies.whole_cross import WholeCross

pytestmark = pytest.mark.jit_only
TERMS = Terms(cash=1_000_000, fees=Fees(taker_bps=2))
SET = {"fast": 50, "slow": 200, "lots": 100}


@pytest.fixture(scope="module")
def stocks():
    return bar_tape.prepare(load(data("bars", "skfolio", "sp500_dataset.csv.gz"), lot=1))


def alone(stocks, index):
    """The bars of one of them, as a tape of its own."""
    records = np.array(stocks.records[stocks.records["instrument"] == index])
    records["instrument"] = 0
    return bar_tape.of_records(records.view(np.recarray), stocks.instruments[index : index + 1])


def test_a_portfolio_is_the_sum_of_its_stocks(stocks):
    """With cash for all, one stock's orders do not depend on another's: exact, to the last 1e-9 of a dollar."""
    assert len(stocks.instruments) == 20 and len(stocks.ts) > 8300
    whole = run_bars(WholeCross, stocks, [SET], terms=TERMS)
    start = 1_000_000 * 10**9
    parts = [run_bars(WholeCross, alone(stocks, k), [SET], terms=TERMS).accounts[0] for k in range(20)]
    assert int(whole.accounts[0]["equity"]) - start == sum(int(part["equity"]) - start for part in parts)
    assert int(whole.accounts[0]["fees"]) == sum(int(part["fees"]) for part in parts)
    assert int(whole.accounts[0]["rounds"]) == sum(int(part["rounds"]) for part in parts) > 400
    found = whole.performance()
    assert found.total_return == pytest.approx(whole.figures["total_return"][0]) and found.max_drawdown > 0
    # Both weigh a position by the time until the next close; the performance knows its value, the figures that it is.
    assert found.time_in_market == pytest.approx(whole.figures["time_in_market"][0], abs=1e-12)


def test_one_stock_is_what_numpy_reckons(stocks):
    for index in (0, 7, 19):
        one = alone(stocks, index)
        close, tick = one.records["price"].astype(np.int64), one.instruments[0].tick_e9 / 1e9
        sums = {n: np.convolve(close, np.ones(n, np.int64))[: len(close)] for n in (50, 200)}
        sign = np.sign(sums[50] * 200 - sums[200] * 50)
        sign[:199] = 0
        wanted, held = np.zeros(len(close)), 0
        for k in range(len(close)):  # an equal average keeps what there is
            held = {1: 100, -1: 0, 0: held}[int(sign[k])]
            wanted[k] = held
        position = np.concatenate([[0], wanted[:-1]])  # traded at the next close, which is the next open here
        traded = np.diff(position, prepend=0)
        cash = 1e6 - np.cumsum(traded * close * tick + np.abs(traded) * close * tick * 0.0002)
        equity = run_bars(WholeCross, one, [SET], terms=TERMS).course(0)[0] / 1e9
        np.testing.assert_allclose(equity, cash + position * close * tick, rtol=1e-12)


def test_a_search_and_a_walk_over_all_of_them(stocks):
    ranges = {"fast": (10, 50, 20), "slow": (100, 250, 50)}
    found = optimize_parameters(WholeCross, stocks, ranges, terms=TERMS, periods_per_year=252)
    assert len(found) == 12 and found.best_value == max(figures["sharpe"] for figures in found.figures)
    assert 0 <= found.deflated_sharpe() <= 1
    walked = walk_forward(WholeCross, stocks, ranges, splits=4, terms=TERMS, periods_per_year=252)
    assert len(walked.windows) == 4 and walked.performance.fill_count > 100
    assert walked.performance.first_ts > int(stocks.ts[0])


def test_what_the_page_says_runs_as_it_stands(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "optimize.md").read_text().split("```python\n")[1].split("```")[0]
    path = str(data("bars", "skfolio", "sp500_dataset.csv.gz"))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(page.replace("sp500.csv.gz", path), names)
    assert names["walked"].performance.fill_count > 0 and len(names["best"]) == 200
    assert {each.name for each in tmp_path.iterdir()} == {"sheet.html", "search.html", "search.parquet", "search.db"}
