"""What a search found: a table of every set and its figures, the best of them, and pictures of how it lies.

The best is the highest objective; of equals the first. Tables are columns of NumPy, as DataFrame or as Parquet on
demand. A map of two parameters shows the best that the others reach at each point, so a lonely peak looks lonely.
Known bad case: `sharpe` in the table is annualised, and what is deflated is not: `deflated_sharpe` reckons a period.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import strategy as strategies
from . import bars as bar_runs
from . import heat, overfit
from .extra import need
from .jobs import Job
from .ledger import Figures
from .performance import Performance
from .ranges import Choice, SearchError

Objective = str | Callable[[Mapping[str, Any]], float]


def score(objective: Objective, figures: Mapping[str, Any]) -> float:
    """The objective of one set; nan where it has none. SearchError when there is no such figure."""
    if callable(objective):
        return float(objective(figures))
    name = objective.removeprefix("-")
    if name not in figures:
        raise SearchError(f"objective {name!r}: there is no such figure; there are {', '.join(figures)}")
    value = figures[name]
    value = math.nan if value is None else float(value)
    return -value if objective.startswith("-") else value


@dataclass(frozen=True, eq=False)
class Optimization:
    """A search, done. `sets` and `figures` are in the order of the search."""

    strategy: str
    method: str
    objective: str
    sets: list[dict[str, Any]] = field(repr=False)
    figures: list[Figures] = field(repr=False)
    values: Any = field(repr=False)  # float64[sets]: the objective, higher is better
    choices: tuple[Choice, ...] = field(repr=False)
    job: Job = field(repr=False)

    @staticmethod
    def of(
        loaded: strategies.Loaded, job: Job, found: tuple[Choice, ...], sets: Sequence[dict[str, Any]],
        figures: list[Figures], objective: Objective, method: str,
    ) -> "Optimization":  # fmt: skip
        """Score every set."""
        values = np.array([score(objective, each) for each in figures], np.float64)
        name = objective if isinstance(objective, str) else getattr(objective, "__name__", "objective")
        return Optimization(loaded.spec, method, name, list(sets), figures, values, found, job)

    def __len__(self) -> int:
        return len(self.sets)

    @property
    def best_index(self) -> int:
        """Which set has the highest objective. SearchError when none has one."""
        if np.isnan(self.values).all():
            raise SearchError(f"no set has a {self.objective}: nothing was traded, or the data are too short")
        return int(np.nanargmax(self.values))

    @property
    def best(self) -> dict[str, Any]:
        """Its parameters."""
        return dict(self.sets[self.best_index])

    @property
    def best_value(self) -> float:
        """Its objective, as the figure is (of "-max_drawdown" the drawdown itself)."""
        value = float(self.values[self.best_index])
        return -value if self.objective.startswith("-") else value

    @property
    def best_figures(self) -> Figures:
        """All its figures."""
        return dict(self.figures[self.best_index])

    def table(self) -> dict[str, Any]:
        """Columns: parameters, `objective`, figures (`figure_NAME` where a parameter has the name)."""
        names = [choice.name for choice in self.choices]
        found = {name: np.array([each[name] for each in self.sets]) for name in names}
        found["objective"] = self.values
        for name in self.figures[0] if self.figures else ():
            found[f"figure_{name}" if name in found else name] = np.array([each[name] for each in self.figures])
        return found

    def frame(self) -> Any:
        """The table as a pandas DataFrame."""
        return need("pandas").DataFrame(self.table())

    def parquet(self, path: Path | str) -> Path:
        """The table as a Parquet file; returns its path."""
        arrow, writer = need("pyarrow"), need("pyarrow.parquet")
        about = {"strategy": self.strategy, "objective": self.objective, "method": self.method}
        made = arrow.table({name: arrow.array(values) for name, values in self.table().items()})
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        writer.write_table(made.replace_schema_metadata(about), str(path))
        return Path(path)

    def performance(self, index: int | None = None) -> Performance:
        """A set (the best) in full, run again."""
        chosen = self.sets[self.best_index if index is None else index]
        if self.job.bars is not None:
            found = bar_runs.run_bars(
                self.job.strategy, self.job.bars, [chosen], terms=self.job.terms,
                periods_per_year=self.job.periods_per_year,
            )  # fmt: skip
            return found.performance()
        from .backtest import backtest

        return backtest(
            self.job.strategy, self.job.path, parameters=chosen, terms=self.job.terms,
            periods_per_year=self.job.periods_per_year, **self.job.given,
        ).performance  # fmt: skip

    def deflated_sharpe(self, index: int | None = None) -> float:
        """Probability that a set's (the best's) Sharpe ratio is above what the best of as many sets without any skill
        would show (`ultra.lab.overfit`). nan where the figures lack the moments of the returns, or there are none."""
        at = self.best_index if index is None else index
        if "skew" not in self.figures[at] or not self.figures[at]["returns"]:
            return math.nan
        yearly = _yearly(self.job)
        trials = np.array([each["sharpe"] for each in self.figures], np.float64) / math.sqrt(yearly)
        mine = self.figures[at]
        return overfit.deflated_sharpe(
            mine["sharpe"] / math.sqrt(yearly), trials[np.isfinite(trials)],
            periods=int(mine["returns"]), skew=mine["skew"], kurtosis=mine["kurtosis"],
        )  # fmt: skip

    def heat(self, x: str | None = None, y: str | None = None) -> str:
        """A map of two parameters (the first two) as SVG."""
        return heat.svg_of(self, *self._axes(x, y))

    def html(self, path: Path | str) -> Path:
        """A page of it: the best, a map of every pair of parameters, the table's head. Returns its path."""
        return heat.page(self, Path(path))

    def _repr_html_(self) -> str:
        return heat.brief(self)

    def _axes(self, x: str | None, y: str | None) -> tuple[str, str]:
        names = [choice.name for choice in self.choices]
        x = x or names[0]
        y = y or next((name for name in names if name != x), x)
        unknown = [name for name in (x, y) if name not in names]
        if unknown:
            raise SearchError(f"{', '.join(unknown)}: is no range of this search; there are {', '.join(names)}")
        return x, y


def _yearly(job: Job) -> float:
    """Periods a year of the job's bars, as their figures have them."""
    if job.periods_per_year:
        return float(job.periods_per_year)
    assert job.bars is not None
    ts = job.bars.ts
    return bar_runs.yearly(ts)
