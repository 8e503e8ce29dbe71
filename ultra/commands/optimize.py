"""`ultra optimize`: which parameters were best on past data, and how they do on data that did not choose them."""

import argparse
import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..config import ConfigError
from . import DONE, NO, command, show_compiling
from .figures import shown

SHOWN = 10


def add(commands: Any) -> None:
    """The one."""
    parser = command(
        commands, "optimize", _optimize,
        "Search the parameters of a strategy on recorded data. Exit 1 when no set has an objective.",
        "ultra optimize ultra.strategies.golden_cross:GoldenCross prices.csv --range fast=5:50:5 "
        "--range slow=60:200:10",
    )  # fmt: skip
    parser.add_argument("strategy", metavar="SPEC", help="package.module:Class or path/to/file.py:Class")
    parser.add_argument("data", type=Path, metavar="DATA", help="bars, or whatever ultra data reads")
    parser.add_argument(
        "--range", action="append", default=[], metavar="NAME=WORDS", dest="ranges",
        help="low:high:step, low:high, or values as 1,2,5 (repeatable); one value fixes a parameter",
    )  # fmt: skip
    parser.add_argument("--method", choices=["grid", "random", "bayes"], default="grid", help="default grid")
    parser.add_argument("--trials", type=int, metavar="N", help="of random and bayes (default 100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random and bayes (default 0)")
    parser.add_argument(
        "--objective", default="sharpe", metavar="FIGURE", help="-FIGURE for the lowest (default sharpe)"
    )
    parser.add_argument("--walk-forward", type=int, metavar="N", help="search N windows, each trades the next")
    parser.add_argument("--anchored", action="store_true", help="with it: all windows begin at the first bar")
    parser.add_argument("--cross-validate", type=int, metavar="N", help="N folds, purged and embargoed")
    parser.add_argument("--purge", type=int, default=0, metavar="BARS", help="left out before a test (default 0)")
    parser.add_argument("--embargo", type=float, default=0.01, metavar="SHARE", help="behind a test (default 0.01)")
    parser.add_argument("--cash", default="1000000", metavar="AMOUNT", help="to begin with (default 1000000)")
    parser.add_argument("--fees", default="", metavar="WORDS", help="as of ultra backtest: maker=BPS,taker=BPS, ...")
    parser.add_argument("--slippage", default="", metavar="WORDS", help="of takers: ticks=N,bps=BPS (default none)")
    parser.add_argument("--interest", default="", metavar="WORDS", help="borrow=,debit= percent a year; margin=PERCENT")
    parser.add_argument("--touch", action="store_true", help="bars: a limit trades when its price is only reached")
    parser.add_argument("--periods-per-year", type=float, metavar="N", help="as 252 of days (default: by the calendar)")
    for name in ("symbol", "tick", "lot", "interval"):
        parser.add_argument(f"--{name}", metavar=name.upper(), help=f"{name} of the data, if they do not say")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="keep what was run there, and never run it again")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the table as Parquet")
    parser.add_argument("--html", type=Path, metavar="FILE", help="a page with maps of the parameters")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _optimize(given: argparse.Namespace) -> int:
    from ..lab import optimize

    tests = given.walk_forward or given.cross_validate
    useless = [word for word in ("resume", "output", "html") if tests and getattr(given, word)]
    if useless or (given.walk_forward and given.cross_validate):
        said = f"--{useless[0]}: is of a search" if useless else "--walk-forward, --cross-validate: one at a time"
        raise ConfigError("command line", (said,))
    if given.cross_validate and (given.method != "grid" or given.trials):
        raise ConfigError("command line", ("--method, --trials: --cross-validate tests the whole grid",))
    ranges = dict(range_of(words) for words in given.ranges)
    show_compiling()
    data, terms = _data(given), None
    bars = getattr(data, "kind", "") == "bars"
    terms = _terms(given, bars)
    search: dict[str, Any] = {
        "objective": given.objective, "terms": terms, "periods_per_year": given.periods_per_year,
    }  # fmt: skip
    more = {
        "method": given.method, "trials": given.trials, "seed": given.seed,
        "progress": sys.stderr.isatty() and not given.json and find_spec("tqdm") is not None,
    }  # fmt: skip
    if tests:
        return _validated(given, data, ranges, search, more)
    found = optimize.optimize_parameters(given.strategy, data, ranges, resume=given.resume, **search, **more)
    if given.output:
        found.parquet(given.output)
    known = not all(math.isnan(value) for value in found.values.tolist())
    if given.html and known:
        found.html(given.html)
    answer = {
        "strategy": found.strategy, "method": found.method, "objective": found.objective, "sets": len(found),
        "best": found.best if known else None, "best_value": found.best_value if known else None,
        "figures": plain(found.best_figures) if known else None,
        "deflated_sharpe": _or_none(found.deflated_sharpe()) if known else None,
    }  # fmt: skip
    print(json.dumps(answer) if given.json else as_text(found, answer))
    return DONE if known else NO


def _validated(
    given: argparse.Namespace, data: Any, ranges: dict[str, Any], search: dict[str, Any], more: dict[str, Any]
) -> int:
    from ..lab import validate

    if given.walk_forward:
        walked = validate.walk_forward(
            given.strategy, data, ranges, splits=given.walk_forward, anchored=given.anchored, **search, **more
        )
        tests, efficiency, figures = walked.windows, walked.efficiency, walked.performance.as_json()
    else:
        crossed = validate.cross_validate(
            given.strategy, data, ranges, splits=given.cross_validate, purge=given.purge, embargo=given.embargo,
            **search,
        )  # fmt: skip
        tests, efficiency, figures = crossed.folds, crossed.efficiency, {"best": crossed.best}
    rows = [plain(vars(each)) for each in tests]
    answer = {"objective": given.objective, "tests": rows, "efficiency": _or_none(efficiency), "figures": figures}
    if given.json:
        print(json.dumps(answer))
    else:
        for row in rows:
            train, test = shown("", row["train_value"]), shown("", row["test_value"])
            print(f"{train:>12} in training {test:>12} after  {row['best']}")
        print(f"{given.objective} of the tests / of the training: {shown('', answer['efficiency'])}")
        for name, value in figures.items():
            print(f"{name:<22}{shown(name, value):>24}")
    return DONE if any(row["best"] is not None for row in rows) else NO


def range_of(words: str) -> tuple[str, Any]:
    """`fast=5:50:5`, `fast=5:50` or `fast=5,10,20` as a name and what `ultra.lab.ranges` takes. ConfigError."""
    name, _, text = words.partition("=")
    parts = text.split(":")
    try:
        numbers = [json.loads(part) for part in (parts if len(parts) > 1 else text.split(","))]
    except ValueError:
        numbers = []
    if not name or len(parts) > 3 or not numbers or not all(isinstance(n, int | float) for n in numbers):
        raise ConfigError("command line", (f"--range {words}: wanted NAME=LOW:HIGH:STEP, or NAME=1,2,5",))
    return name, tuple(numbers) if len(parts) > 1 else numbers


def _data(given: argparse.Namespace) -> Any:
    """The tape; a file that is no bars, and of which nothing is said, is left to whoever plays it."""
    from ..lab import data

    words = {name: getattr(given, name) for name in ("symbol", "tick", "lot", "interval") if getattr(given, name)}
    tape = data.load(given.data, **words)
    return tape if tape.kind == "bars" or words else given.data


def _terms(given: argparse.Namespace, bars: bool) -> Any:
    from ..lab import backtest
    from ..lab import bars as bar_runs
    from ..lab import terms as costs

    common = {
        "cash": given.cash, "fees": costs.fees_of(given.fees), "slippage": costs.slippage_of(given.slippage),
        "interest": costs.interest_of(given.interest),
    }  # fmt: skip
    if given.touch and not bars:
        raise ConfigError("command line", ("--touch: is of bars",))
    return bar_runs.Terms(**common, touch=given.touch) if bars else backtest.Terms(**common)


def as_text(found: Any, answer: dict[str, Any]) -> str:
    """The best sets as a page of text."""
    lines = [f"{answer['sets']:,} sets by {answer['method']}, {answer['objective']} the highest first", ""]
    order = sorted(range(len(found)), key=lambda k: (math.isnan(found.values[k]), -found.values[k], k))
    for index in order[:SHOWN]:
        own = ", ".join(f"{name} = {value}" for name, value in found.sets[index].items())
        lines.append(f"{shown('', float(found.values[index])):>14}  {own}")
    if answer["best"] is None:
        return "\n".join([*lines, "no set has an objective: nothing was traded, or the data are too short"])
    lines += ["", *(f"{name:<22}{shown(name, value):>24}" for name, value in answer["figures"].items())]
    if answer["deflated_sharpe"] is not None:
        lines.append(f"probability that the best of so many is no luck: {answer['deflated_sharpe']:.1%}")
    return "\n".join(lines)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """For JSON: what is not defined is null."""
    return {name: _or_none(value) for name, value in row.items()}


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
