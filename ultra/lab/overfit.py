"""How much of a result is luck: what the best of many trials shows without any skill at all.

    probabilistic Sharpe   P(true Sharpe > benchmark), of returns with skew and fat tails
                           Bailey and Lopez de Prado, The Sharpe Ratio Efficient Frontier, 2012
    deflated Sharpe        the same above the best that so many trials reach by luck
                           Bailey and Lopez de Prado, The Deflated Sharpe Ratio, 2014
    reality check          P(the best of these strategies would look as good if none beat the benchmark)
                           White, A Reality Check for Data Snooping, 2000; bootstrap: Politis and Romano, 1994
    overfitting (CSCV)     how often the best in one half of the data is below the median in the other
                           Bailey, Borwein, Lopez de Prado and Zhu, The Probability of Backtest Overfitting, 2015

Sharpe ratios here are those of one period, not annualised; kurtosis of a normal return is 3.
Known bad case: trials that are nearly the same count as many: then a deflated Sharpe is too strict, never too kind.
"""

import itertools
import math
from statistics import NormalDist
from typing import Any, Final

import numpy as np

EULER: Final = 0.5772156649015329
_NORMAL: Final = NormalDist()


def probabilistic_sharpe(
    sharpe: float, benchmark: float = 0.0, *, periods: int, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Probability that the true Sharpe ratio is above the benchmark; nan of less than two periods."""
    spread = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    if periods < 2 or spread <= 0.0 or not math.isfinite(sharpe):
        return math.nan
    return _NORMAL.cdf((sharpe - benchmark) * math.sqrt(periods - 1) / math.sqrt(spread))


def expected_best(variance: float, trials: int) -> float:
    """The Sharpe ratio to expect of the best of so many trials without skill, whose ratios have this variance."""
    if trials < 2:
        return 0.0
    first, second = _NORMAL.inv_cdf(1.0 - 1.0 / trials), _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - EULER) * first + EULER * second)


def deflated_sharpe(
    sharpe: float, trials: Any, *, periods: int, skew: float = 0.0, kurtosis: float = 3.0, count: int | None = None
) -> float:
    """Probability that the true Sharpe ratio is above the best that luck gives.

    `trials` float[n]: the ratios of all that was tried; `count`: how many of them are independent, if fewer."""
    ratios = np.asarray(trials, np.float64)
    variance = float(ratios.var(ddof=1)) if len(ratios) > 1 else 0.0
    best = expected_best(variance, count or len(ratios))
    return probabilistic_sharpe(sharpe, best, periods=periods, skew=skew, kurtosis=kurtosis)


def least_periods(
    sharpe: float, benchmark: float = 0.0, *, skew: float = 0.0, kurtosis: float = 3.0, confidence: float = 0.95
) -> float:
    """How many periods it takes until a Sharpe ratio is above the benchmark with this confidence; infinite if never."""
    if sharpe <= benchmark:
        return math.inf
    spread = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    return 1.0 + spread * (_NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


def stationary_bootstrap(periods: int, samples: int, *, block: float, seed: int = 0) -> Any:
    """int64[samples, periods]: rows drawn in runs that wrap around, of geometric length, `block` on average."""
    if not block >= 1.0:
        raise ValueError(f"block = {block}: runs are at least 1 period long")
    draw = np.random.default_rng(seed)
    starts = draw.integers(0, periods, (samples, periods))
    fresh = draw.random((samples, periods)) < 1.0 / block
    fresh[:, 0] = True
    steps = np.arange(periods)
    began = np.maximum.accumulate(np.where(fresh, steps, 0), axis=1)
    return (np.take_along_axis(starts, began, axis=1) + steps - began) % periods


def reality_check(
    returns: Any, benchmark: Any = 0.0, *, block: float = 10.0, samples: int = 1000, seed: int = 0
) -> float:
    """White's p-value: how likely the best mean of these strategies is if none truly beats the benchmark.

    `returns` float[periods, strategies]; `benchmark` float[periods], or one number. Small: the best is no luck."""
    excess = np.asarray(returns, np.float64) - np.reshape(np.asarray(benchmark, np.float64), (-1, 1))
    periods = len(excess)
    if excess.ndim != 2 or periods < 2:
        raise ValueError(f"returns {excess.shape}: wanted periods x strategies, at least two periods")
    means = excess.mean(axis=0)
    observed = math.sqrt(periods) * means.max()
    rows = stationary_bootstrap(periods, samples, block=block, seed=seed)
    weights = np.zeros((samples, periods))
    np.add.at(weights, (np.arange(samples)[:, None], rows), 1.0 / periods)
    drawn = math.sqrt(periods) * (weights @ excess - means).max(axis=1)
    return float((np.count_nonzero(drawn >= observed) + 1) / (samples + 1))


def overfitting(returns: Any, *, parts: int = 10) -> float:
    """Probability of backtest overfitting, by combinatorially symmetric cross-validation.

    `returns` float[periods, strategies], cut into an even number of parts; every half of them trains once. The share of
    splits in which the best by Sharpe ratio comes out at or below the median of the other half."""
    table = np.asarray(returns, np.float64)
    if parts % 2 or parts < 2 or table.ndim != 2 or len(table) < 2 * parts or table.shape[1] < 2:
        raise ValueError(f"returns {table.shape}, {parts} parts: wanted at least 2 strategies, 2 periods an even part")
    blocks = np.array_split(np.arange(len(table)), parts)
    below = total = 0
    for chosen in itertools.combinations(range(parts), parts // 2):
        inside = np.concatenate([blocks[k] for k in chosen])
        outside = np.concatenate([blocks[k] for k in range(parts) if k not in chosen])
        best = int(np.argmax(_sharpes(table[inside])))
        there = _sharpes(table[outside])
        rank = (np.count_nonzero(there < there[best]) + np.count_nonzero(there == there[best]) / 2 + 0.5) / (
            len(there) + 1
        )
        below += rank <= 0.5
        total += 1
    return below / total


def _sharpes(table: Any) -> Any:
    """Of every column; 0 where nothing varies."""
    spread = table.std(axis=0, ddof=1)
    return np.divide(table.mean(axis=0), spread, out=np.zeros(table.shape[1]), where=spread > 0)
