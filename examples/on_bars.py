"""The examples that trade on bars, on generated markets whose nature is known: what is left after costs, and where
nothing is.

A study runs one strategy on MARKETS seeds of every kind of market, ten years of daily bars each, at several costs. A
figure is the mean of the yearly results in percent of the cash, before compounding, with its standard error: what is
less than twice its error is no result. Fills are at the next bar's open, by `ultra.lab.bar_rules`.
Known bad case: the costs are a share of the price a side; a market that moves when we trade would take more.
"""

import math
from typing import Any, NamedTuple

import chart
import numpy as np

from ultra.lab import synthetic
from ultra.lab.bars import Terms, run_bars
from ultra.lab.terms import Fees
from ultra.strategies.breakout import Breakout
from ultra.strategies.golden_cross import GoldenCross
from ultra.strategies.pairs import Pairs
from ultra.strategies.reversion import Reversion

YEARS, DAYS, MARKETS = 10, 252, 20
COSTS = (0, 1, 2, 5, 10, 20)  # basis points of the value of a fill
CASH = 100_000
POINTS = 120  # of a line in a drawing


class Study(NamedTuple):
    """One strategy, and the markets that it meets."""

    page: str
    strategy: type
    parameters: dict[str, Any]
    markets: dict[str, dict[str, Any]]
    two: bool = False  # pairs of instruments


TREND = {"trend": 0.0003}
PULL = {"pull": 0.03}
FINE = {"volatility": 0.0005, "step_s": 60}  # bars of a minute: every move is a twentieth
MARKETS_TREND = {
    "trending": TREND,
    "random walk": {},
    "returning": PULL,
    "trending, minutes": {"trend": 1.5e-5, **FINE},
}
MARKETS_PULL = {"returning": PULL, "random walk": {}, "trending": TREND, "returning, minutes": {**PULL, **FINE}}
MARKETS_PAIR = {
    "close": {"width": 0.5, "half_life": 5.0},
    "loose": {"width": 0.5, "half_life": 50.0},
    "strangers": {"width": 50.0, "half_life": 1e5},  # what is between them hardly ever returns
}
STUDIES = (
    Study("golden_cross", GoldenCross, {"lots": 500, "short": True}, MARKETS_TREND),
    Study("reversion", Reversion, {"lots": 500}, MARKETS_PULL),
    Study("breakout", Breakout, {"lots": 500}, MARKETS_TREND),
    Study("pairs", Pairs, {"lots": 500}, MARKETS_PAIR, two=True),
)


class Found(NamedTuple):
    """What a kind of market came to at one cost, in percent of the cash a year."""

    mean: float
    error: float
    trades: float  # fills in a year of bars
    course: Any  # float64[bars]: mean over the markets, percent of the cash


def run(study: Study, market: dict[str, Any], cost: int, *, markets: int = MARKETS, years: int = YEARS) -> Found:
    """One kind of market at one cost, all seeds."""
    make: Any = synthetic.pair if study.two else synthetic.one
    terms = Terms(cash=CASH, fees=Fees(taker_bps=cost))
    ends, trades, courses = [], [], []
    for seed in range(1, markets + 1):
        grid = run_bars(study.strategy, make(years * DAYS, seed=seed, **market), study.parameters, terms=terms)
        equity, fills = grid.course(0)
        courses.append((equity / 1e9 / CASH - 1.0) * 100.0)
        ends.append(courses[-1][-1] / years)
        trades.append(len(fills) / years)
    error = float(np.std(ends, ddof=1)) / math.sqrt(markets) if markets > 1 else math.nan
    return Found(float(np.mean(ends)), error, float(np.mean(trades)), np.mean(courses, axis=0))


def table(study: Study, found: dict[tuple[str, int], Found]) -> str:
    """The figures as Markdown."""
    head = ["market", "fills", *(f"{cost} bp" if cost else "free" for cost in COSTS)]
    rows = [head, ["---"] * len(head)]
    for name in study.markets:
        cells = [f"{found[name, cost].mean:+.2f} ± {found[name, cost].error:.2f}" for cost in COSTS]
        rows.append([name, f"{found[name, 0].trades:.0f}", *cells])
    return markdown(rows)


def markdown(rows: list[list[str]]) -> str:
    """Rows of cells as a table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def picture(study: Study, found: dict[tuple[str, int], Found]) -> str:
    """The mean course of equity: free and at 5 bp."""
    count = YEARS * DAYS
    at = np.linspace(0, count - 1, POINTS).astype(int)
    series = {
        f"{name}, {'free' if cost == 0 else f'{cost} bp'}": found[name, cost].course[at].tolist()
        for name in list(study.markets)[:2]
        for cost in (0, 5)
    }
    title = f"{study.strategy.__name__}: mean of {MARKETS} markets, percent of the cash"
    return chart.lines(title, "years", "", (at / DAYS).tolist(), series)


def study_of(study: Study) -> tuple[str, str]:
    """The figures and the picture of a page."""
    found = {(name, cost): run(study, market, cost) for name, market in study.markets.items() for cost in COSTS}
    return table(study, found), picture(study, found)
