"""What the sums of an account come to: the figures of `ultra.lab.performance`, a column for thousands of sets at once.

The definitions are those of `performance.measure`, which is held against these to twelve digits; they differ in the
last few because a sum in order of time is not NumPy's pairwise one. A drawdown that the tape cuts off ends with it.
Known bad case: of a course of one moment every ratio is 0, as there.
"""

import math
from typing import Any

import numpy as np

from . import bar_account as accounts
from . import bar_rules as rule
from .bar_rules import Rules
from .performance import YEAR_NS, cagr


def of_accounts(found: Any, ts: Any, rules: Rules, periods_per_year: float | None = None) -> dict[str, Any]:
    """A column a figure. `found` ACCOUNT[sets], `ts` int64[moments]."""
    cash, span = int(rules.cells[rule.CASH]), int(ts[-1] - ts[0])
    yearly = float(periods_per_year or (0.0 if span == 0 else (len(ts) - 1) * YEAR_NS / span))
    ended = found["ended"] != 0
    moments = np.where(ended, found["ended_at"] + 1, len(ts))
    count = np.where(ended & (found["equity"] > 0), len(ts), moments) - 1  # returns; what ended alive stands still
    lasted = np.where(found["under"] != 0, ts[-1] - found["peak_ts"], 0)
    equity_sum = found["equity_sum"] + (len(ts) - moments) * found["equity"].astype(np.float64)
    held = found["held_ns"] + np.where(found["held"] != 0, ts[-1] - found["held_from"], 0)
    mean, spread, skew, kurtosis = moments_of(found, count)
    below = np.sqrt(quotient(found["below2"], count))
    grown = np.array([cagr(cash, int(final), span) for final in found["equity"].tolist()])
    return {
        "total_return": found["equity"] / cash - 1.0,
        "cagr": grown,
        "volatility": spread * math.sqrt(yearly),
        "sharpe": defined(mean, spread) * math.sqrt(yearly),
        "sortino": defined(mean, below) * math.sqrt(yearly),
        "calmar": defined(grown, found["drawdown"]),
        "max_drawdown": found["drawdown"].copy(),
        "max_drawdown_ns": np.where(found["under"] == 2, lasted, found["drawdown_ns"]),
        "longest_drawdown_ns": np.maximum(found["longest_ns"], lasted),
        "turnover": defined(found["turnover"], equity_sum / len(ts)),
        "fees": found["fees"] / 1e9,
        "carry": found["carry"] / 1e9,
        "time_in_market": held / span if span else np.zeros(len(found)),
        "rounds": found["rounds"].copy(),
        "round_hit_rate": quotient(found["won"], found["rounds"]),
        "fill_count": found["fills"].copy(),
        "refused": found["refused"].copy(),
        "final_equity": found["equity"] / 1e9,
        "skew": skew,
        "kurtosis": kurtosis,
        "returns": count,
        "ended": found["ended"].copy(),
    }


def joined(parts: Any, cash: int, yearly: float) -> dict[str, Any]:
    """Figures of stretches that were run apart, as if one followed the other: (ACCOUNT[sets], ts, moments before it
    traded) of each. Returns are put together, drawdowns are not: the deepest of any stretch counts."""
    found = {name: sum(part[0][name] for part in parts) for name in ("sum1", "sum2", "sum3", "sum4", "below2")}
    count, grown = np.zeros(len(parts[0][0])), np.ones(len(parts[0][0]))
    for part, ts, warm in parts:
        moments = np.where(part["ended"] != 0, part["ended_at"] + 1, len(ts))
        count += np.maximum(moments - 1 - max(warm - 1, 0), 0)
        grown *= np.maximum(part["equity"] / cash, 0.0)
    mean, spread, skew, kurtosis = moments_of(found, count)
    return {
        "total_return": grown - 1.0,
        "volatility": spread * math.sqrt(yearly),
        "sharpe": defined(mean, spread) * math.sqrt(yearly),
        "sortino": defined(mean, np.sqrt(quotient(found["below2"], count))) * math.sqrt(yearly),
        "max_drawdown": np.max([part[0]["drawdown"] for part in parts], axis=0),
        "fees": sum(part[0]["fees"] for part in parts) / 1e9,
        "rounds": sum(part[0]["rounds"] for part in parts),
        "fill_count": sum(part[0]["fills"] for part in parts),
        "skew": skew,
        "kurtosis": kurtosis,
        "returns": count,
    }


def moments_of(found: Any, count: Any) -> tuple[Any, Any, Any, Any]:
    """Mean and standard deviation (n - 1) of the returns, their skewness, their kurtosis (3 of a normal one)."""
    mean, square, cube, fourth = (quotient(found[name], count) for name in ("sum1", "sum2", "sum3", "sum4"))
    second = np.maximum(square - mean * mean, 0.0)
    second[second <= 1e-15 * square] = 0.0
    third = cube - 3.0 * mean * square + 2.0 * mean**3
    last = fourth - 4.0 * mean * cube + 6.0 * mean * mean * square - 3.0 * mean**4
    spread = np.sqrt(second * quotient(count, count - 1))
    return mean, spread, quotient(third, second**1.5), quotient(last, second * second)


def quotient(above: Any, below: Any) -> Any:
    """0 where there is nothing to divide by."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


def defined(above: Any, below: Any) -> Any:
    """0 over anything is 0, anything else over 0 is not defined: nan."""
    found = np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0)
    found[above == 0] = 0.0
    return found


ENDED = {0: "", accounts.RUINED: "ruined", accounts.TOO_MUCH: "too much money for int64"}
