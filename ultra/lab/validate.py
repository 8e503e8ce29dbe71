"""How parameters do on data that did not choose them: walk-forward, and cross-validation with purge and embargo.

    walked = walk_forward(GoldenCross, tape, ranges, splits=8)
    walked.performance.sharpe, walked.efficiency           # out of sample; as a share of what training promised

Walk-forward: each window's best trades the next stretch, with the cash that the one before left. A strategy sees its
training data first, without trading, so that it is warm. Positions end with their stretch, at its last close, free of
charge. Cross-validation: every set trains on all folds but one; each fold is tested by what was best on the others.
Known bad case: bars only; the books of a tape of orders can't begin in the middle.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np

from .. import strategy as strategies
from ..ops.page import table
from ..ops.svg import text
from ..wire import NONE
from . import bar_figures, folds, jobs
from . import bars as bar_runs
from .bar_tape import Bars
from .extra import need
from .fills import FILLS, held
from .folds import Stretch
from .optimization import Objective, score
from .optimize import optimize_parameters
from .performance import Performance, measure
from .ranges import SearchError, Where, choices, grid
from .terms import money_e9

__all__ = ["CrossValidation", "Tested", "WalkForward", "cross_validate", "walk_forward"]


@dataclass(frozen=True)
class Tested:
    """One test: what was best before it (or beside it), and what that came to in it."""

    train_from: int  # ts
    train_to: int
    test_from: int
    test_to: int
    best: dict[str, Any] | None  # None: nothing had an objective, and nothing was traded
    train_value: float
    test_value: float


@dataclass(frozen=True, eq=False)
class WalkForward:
    """All windows, and the course of what was traded in their tests."""

    objective: str
    windows: list[Tested]
    performance: Performance = field(repr=False)

    @property
    def efficiency(self) -> float:
        """Mean objective of the tests as a share of that of the training; nan where training promised nothing."""
        return _share(self.windows)

    def frame(self) -> Any:
        """The windows as a pandas DataFrame."""
        return _frame(self.windows)

    def _repr_html_(self) -> str:
        return _html(self.windows)


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """All folds; `values` float64[folds, sets]: every set's objective in every test."""

    objective: str
    sets: list[dict[str, Any]] = field(repr=False)
    folds: list[Tested]
    values: Any = field(repr=False)

    @property
    def best(self) -> dict[str, Any]:
        """The set with the highest mean objective over all tests."""
        return dict(self.sets[int(np.argmax(np.nan_to_num(self.values, nan=-np.inf).mean(axis=0)))])

    @property
    def efficiency(self) -> float:
        """As that of a walk."""
        return _share(self.folds)

    def frame(self) -> Any:
        """The folds as a pandas DataFrame."""
        return _frame(self.folds)

    def _repr_html_(self) -> str:
        return _html(self.folds)


def walk_forward(
    strategy: str | type,
    data: Any,
    ranges: Mapping[str, Any],
    *,
    splits: int = 5,
    train: float = 0.5,
    anchored: bool = False,
    objective: Objective = "sharpe",
    terms: bar_runs.Terms | None = None,
    periods_per_year: float | None = None,
    **search: Any,
) -> WalkForward:
    """Search each window, trade the next. `search`: more words of `optimize_parameters` (method, where, cash, ...).

    SearchError when a window would be empty, or the data are no bars."""
    # `seed` is the search's, as everywhere: that of `ultra.random` is given with `terms`.
    words = {name: search.pop(name) for name in (bar_runs.WORDS - {"seed"}) & search.keys()}
    bars, terms = _bars_of(strategy, data), bar_runs.terms_of(terms, words)
    loaded = strategies.load(strategy)
    windows: list[Tested] = []
    parts: list[tuple[Any, Any, Any]] = []
    cash_e9 = start_e9 = money_e9(terms.cash)
    for fold in folds.walking(len(bars.ts), splits, train=train, anchored=anchored):
        past = fold.train[0]
        found = optimize_parameters(
            strategy, _cut(bars, past), ranges, objective=objective, terms=terms,
            periods_per_year=periods_per_year, **search,
        )  # fmt: skip
        best = None if np.isnan(found.values).all() else found.best
        begin = max(terms.trade_from, int(bars.ts[fold.test[0]]))
        money = replace(terms, cash=Decimal(cash_e9).scaleb(-9), trade_from=begin)
        if best is None or cash_e9 <= 0:
            ts = bars.ts[fold.test[0] : fold.test[1]]
            parts.append((ts, np.full(len(ts), cash_e9), np.zeros(0, FILLS)))
            windows.append(_tested(bars, past, fold.test, best, float("nan"), float("nan")))
            continue
        run = bar_runs.run_bars(
            loaded, _cut(bars, (past[0], fold.test[1])), [best], terms=money, periods_per_year=periods_per_year
        )
        equity, fills = run.course(0)
        fills = _closed(run.bars, fills, int(run.accounts["ended_at"][0]) if run.accounts["ended"][0] else -1)
        at = fold.test[0] - past[0]
        course = (bars.ts[fold.test[0] - 1 : fold.test[1]], equity[at - 1 :], fills)
        tested = _measured(course, bars, cash_e9, periods_per_year)
        value = score(objective, {**found.best_figures, **jobs.plain(tested.figures())})
        windows.append(_tested(bars, past, fold.test, best, score(objective, found.best_figures), value))
        parts.append((course[0][1:], course[1][1:], fills))
        cash_e9 = int(equity[-1])
    first = bars.ts[folds.walking(len(bars.ts), splits, train=train)[0].test[0] - 1]
    whole = (
        np.concatenate([[first], *(part[0] for part in parts)]),
        np.concatenate([[start_e9], *(part[1] for part in parts)]),
        np.concatenate([np.asarray(part[2]) for part in parts]).view(np.recarray),
    )
    name = objective if isinstance(objective, str) else getattr(objective, "__name__", "objective")
    return WalkForward(name, windows, _measured(whole, bars, start_e9, periods_per_year))


def cross_validate(
    strategy: str | type,
    data: Any,
    ranges: Mapping[str, Any],
    *,
    splits: int = 5,
    purge: int = 0,
    embargo: float = 0.01,
    warmup: int = 0,
    objective: Objective = "sharpe",
    where: Where | None = None,
    terms: bar_runs.Terms | None = None,
    periods_per_year: float | None = None,
    threads: int | None = None,
    **words: Any,
) -> CrossValidation:
    """Every set of the grid on every fold, without leaks (`ultra.lab.folds.purged`).

    `warmup`: moments before a test that a strategy sees without trading. The objective is one of the figures of
    `ultra.lab.bar_figures.joined`, or a function of them. `words`: of the terms, as cash and fees."""
    bars, terms = _bars_of(strategy, data), bar_runs.terms_of(terms, words)
    loaded = strategies.load(strategy)
    sets = grid(choices(loaded, ranges), where)
    yearly = bar_runs.yearly(bars.ts, periods_per_year)

    def figures(stretches: Sequence[Stretch], warm: int = 0) -> list[dict[str, Any]]:
        parts = []
        for first, last in stretches:
            own = replace(terms, trade_from=max(terms.trade_from, int(bars.ts[first]))) if warm else terms
            cut = _cut(bars, (max(0, first - warm), last))
            run = bar_runs.run_bars(loaded, cut, sets, terms=own, threads=threads)
            parts.append((run.accounts, cut.ts, min(warm, first)))
        columns = bar_figures.joined(parts, money_e9(terms.cash), yearly)
        return [{name: values[k].item() for name, values in columns.items()} for k in range(len(sets))]

    tested, values = [], []
    for fold in folds.purged(len(bars.ts), splits, purge=purge, embargo=embargo):
        trained = np.array([score(objective, each) for each in figures(fold.train)])
        there = np.array([score(objective, each) for each in figures([fold.test], warmup)])
        values.append(there)
        at = None if np.isnan(trained).all() else int(np.nanargmax(trained))
        past = (fold.train[0][0], fold.train[-1][1])
        if at is None:
            tested.append(_tested(bars, past, fold.test, None, float("nan"), float("nan")))
        else:
            tested.append(_tested(bars, past, fold.test, sets[at], float(trained[at]), float(there[at])))
    name = objective if isinstance(objective, str) else getattr(objective, "__name__", "objective")
    return CrossValidation(name, sets, tested, np.array(values))


def _bars_of(strategy: str | type, data: Any) -> Bars:
    job = jobs.of(strategy, data, None, None, {})
    if job.bars is None:
        raise SearchError("walk-forward and cross-validation take bars: a book can't begin in the middle of a tape")
    return job.bars


def _cut(bars: Bars, stretch: Stretch) -> Bars:
    """The moments of a stretch."""
    first, last = stretch
    end = int(bars.ts[last]) if last < len(bars.ts) else int(bars.ts[-1]) + 1
    return bars.between(int(bars.ts[first]), end)


def _closed(bars: Bars, fills: Any, moment: int) -> Any:
    """These fills and those that end what they leave open, at the close of each instrument at a moment (the last, or
    that of a ruin) and for nothing."""
    lots = held(fills, len(bars.instruments), bars.ts[-1:])[0][0]
    last = bars.closes()[moment]
    open_ones = np.flatnonzero(lots)
    ends = np.zeros(len(open_ones), FILLS)
    ends["ts_event"], ends["instrument"], ends["side"] = bars.ts[moment], open_ones, lots[open_ones] > 0
    ends["took"], ends["price"], ends["qty"] = 1, last[open_ones], np.abs(lots[open_ones])
    ends["order_id"] = ends["ahead"] = ends["cause"] = NONE
    return np.concatenate([np.asarray(fills), ends]).view(np.recarray)


def _measured(course: tuple[Any, Any, Any], bars: Bars, cash_e9: int, periods_per_year: float | None) -> Performance:
    ts, equity, fills = course
    return measure(
        ts, equity, fills, instruments=bars.instruments, initial_cash_e9=cash_e9, periods_per_year=periods_per_year
    )


def _tested(
    bars: Bars, train: Stretch, test: Stretch, best: dict[str, Any] | None, train_value: float, test_value: float
) -> Tested:
    ends = [int(bars.ts[min(at, len(bars.ts)) - 1]) for at in (train[1], test[1])]
    return Tested(int(bars.ts[train[0]]), ends[0], int(bars.ts[test[0]]), ends[1], best, train_value, test_value)


def _share(tests: Sequence[Tested]) -> float:
    """Of what training promised."""
    known = [each for each in tests if np.isfinite(each.train_value) and np.isfinite(each.test_value)]
    promised = statistics.fmean(each.train_value for each in known) if known else 0.0
    return statistics.fmean(each.test_value for each in known) / promised if promised > 0 else float("nan")


def _rows(tests: Sequence[Tested]) -> list[dict[str, Any]]:
    names = ("train_from", "train_to", "test_from", "test_to", "train_value", "test_value")
    return [{**{name: getattr(each, name) for name in names}, **(each.best or {})} for each in tests]


def _frame(tests: Sequence[Tested]) -> Any:
    pandas = need("pandas")
    found = pandas.DataFrame(_rows(tests))
    for name in ("train_from", "train_to", "test_from", "test_to"):
        found[name] = pandas.to_datetime(found[name], unit="ns", utc=True)
    return found


def _html(tests: Sequence[Tested]) -> str:
    rows = []
    for each in tests:
        times = [text(np.datetime64(ts, "ns").astype("datetime64[s]")) for ts in (each.test_from, each.test_to)]
        values = [text(f"{value:.4g}") for value in (each.train_value, each.test_value)]
        rows.append([*times, *values, text(each.best or "nothing")])
    return table(("test from", "to", "in training", "in the test", "parameters"), rows)
