"""The examples that trade on the book, on days that `ultra gen itch` makes: what each share cost, and what time costs.

Four stocks, a day each, through the engine's own step and its paper venue. All figures are dollars for 1,000 shares
traded, the mean of the four stocks: how far fills were from the middle of the touch at that moment (positive: in our
favour), how far the middle had moved our way a second and a minute later, what was won or lost, and the same after fees
as a US exchange has them.
Known bad case: the made day's traders do not look for us; real ones pick off stale quotes on purpose.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import chart
import numpy as np
import on_bars

from ultra.lab.backtest import Result, backtest
from ultra.lab.terms import Fees, Latency
from ultra.strategies.imbalance import Imbalance
from ultra.strategies.inventory_maker import InventoryMaker
from ultra.venues import flow
from ultra.venues.markout import HORIZONS_NS

SEEDS = (1, 2, 3, 4)
MESSAGES = 300_000
LATENCIES = {"0": 0, "10 us": 10_000, "100 us": 100_000, "1 ms": 1_000_000, "10 ms": 10_000_000, "100 ms": 100_000_000}
DRAWN = ("0", "10 us", "1 ms", "100 ms")
FEES = Fees(taker_per_lot="0.003", maker_per_lot="-0.002")
FREE = Fees()
CASH = 1_000_000
LATER = (HORIZONS_NS.index(1_000_000_000), HORIZONS_NS.index(60_000_000_000))
DOLLARS = 1e-4  # a tick
POINTS = 120


class Study(NamedTuple):
    """One strategy."""

    page: str
    strategy: type
    parameters: dict[str, Any]


STUDIES = (Study("imbalance", Imbalance, {}), Study("inventory_maker", InventoryMaker, {}))


class Found(NamedTuple):
    """What one day came to, in dollars for 1,000 shares."""

    shares: int
    spread: float
    second: float
    minute: float
    result: float
    after_fees: float


def days(folder: Path, seeds: Sequence[int] = SEEDS, messages: int = MESSAGES) -> list[Path]:
    """A day of one stock for every seed."""
    paths = [folder / f"{seed}.itch50" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        flow.write(path, instruments=1, messages=messages, seed=seed)
    return paths


def run(study: Study, path: Path, latency_ns: int, fees: Fees = FREE) -> Result:
    """One day at one latency."""
    latency = Latency(order_ns=latency_ns)
    return backtest(study.strategy, path, parameters=study.parameters, cash=CASH, latency=latency, fees=fees)


def measured(free: Result, charged: Result) -> Found:
    """The figures of a day."""
    fills, marks = free.fills, free.marks
    shares = int(fills["qty"].sum())
    if shares == 0:
        return Found(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    own = fills[marks["number"]]
    signed = np.where(own["side"] == 0, own["qty"], -own["qty"])
    distance = signed * (marks["before"] / 2 - own["price"])
    spread = each_lot(distance, own["qty"], marks["before"] >= 0)
    moved = [
        each_lot(signed * (marks["twice"][:, k] - marks["before"]) / 2, own["qty"], known(marks, k)) for k in LATER
    ]
    gains = [float(each.performance.final_equity - each.performance.initial_cash) for each in (free, charged)]
    result, after = (1000 * gain / shares for gain in gains)
    spread, second, minute = (1000 * DOLLARS * ticks for ticks in (spread, *moved))
    return Found(shares, spread, second, minute, result, after)


def known(marks: Any, horizon: int) -> Any:
    """Of which fills the middle was there, then and later."""
    return (marks["before"] >= 0) & (marks["twice"][:, horizon] >= 0)


def each_lot(values: Any, lots: Any, chosen: Any) -> float:
    """Mean of what was multiplied by lots, for each of them."""
    return float(values[chosen].sum()) / max(1, int(lots[chosen].sum()))


def table(rows: dict[str, list[Found]]) -> str:
    """The figures as Markdown."""
    head = ["latency", "shares a day", "from the middle", "1 s later", "60 s later", "result", "after fees"]
    lines = [head, ["---"] * len(head)]
    for name, found in rows.items():
        means = [float(np.mean([getattr(day, field) for day in found])) for field in Found._fields]
        lines.append([name, f"{means[0]:,.0f}", *(f"{mean:+.2f}" for mean in means[1:])])
    return on_bars.markdown(lines)


def course(found: Result) -> tuple[list[float], list[float]]:
    """Hours, and dollars won since the beginning."""
    points = found.equity[np.linspace(0, len(found.equity) - 1, POINTS).astype(int)]
    hours = (points["ts"] - found.equity["ts"][0]) / 3.6e12
    return hours.tolist(), (points["equity_e9"] / 1e9 - CASH).tolist()


def study_of(study: Study) -> tuple[str, str]:
    """The figures and the picture of a page."""
    rows: dict[str, list[Found]] = {}
    series: dict[str, list[float]] = {}
    hours: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for path in days(Path(folder)):
            for name, latency_ns in LATENCIES.items():
                free = run(study, path, latency_ns)
                rows.setdefault(name, []).append(measured(free, run(study, path, latency_ns, FEES)))
                if name in DRAWN and name not in series:
                    hours, series[name] = course(free)
    title = f"{study.strategy.__name__}: one made day, before fees, by latency"
    return table(rows), chart.lines(title, "hours", "dollars", hours, series)
