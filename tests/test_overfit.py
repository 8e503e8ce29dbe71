"""Statistics against over-fitting: published numbers, obvious twins, and what must be so for any data."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultra.lab import overfit

# ---- Bailey and Lopez de Prado, The Deflated Sharpe Ratio (2014), section "A numerical example": 100 trials whose
# annual ratios have variance 1/2, the best 2.5 a year over 1,250 days, skew -3, kurtosis 10.


def test_the_published_example_of_a_deflated_sharpe_ratio():
    best = overfit.expected_best(1 / 2 / 250, 100)
    assert best == pytest.approx(0.1132, abs=5e-5)
    shape = {"periods": 1250, "skew": -3.0, "kurtosis": 10.0}
    assert overfit.probabilistic_sharpe(2.5 / math.sqrt(250), best, **shape) == pytest.approx(0.9004, abs=5e-5)
    fewer = overfit.expected_best(1 / 2 / 250, 46)
    assert overfit.probabilistic_sharpe(2.5 / math.sqrt(250), fewer, **shape) == pytest.approx(0.9505, abs=5e-5)
    normal = overfit.expected_best(1 / 2 / 250, 88)
    assert overfit.probabilistic_sharpe(2.5 / math.sqrt(250), normal, periods=1250) == pytest.approx(0.9505, abs=5e-4)


def test_a_deflated_ratio_takes_variance_and_number_from_its_trials():
    trials = np.random.default_rng(1).normal(0, math.sqrt(1 / 2 / 250), 100)
    trials = (trials - trials.mean()) / trials.std(ddof=1) * math.sqrt(1 / 2 / 250)
    found = overfit.deflated_sharpe(2.5 / math.sqrt(250), trials, periods=1250, skew=-3, kurtosis=10)
    assert found == pytest.approx(0.9004, abs=5e-5)
    assert overfit.deflated_sharpe(0.1, trials, periods=1250, count=10) > overfit.deflated_sharpe(
        0.1, trials, periods=1250
    )


def test_a_normal_return_has_the_plain_test():
    # Without skew and fat tails PSR is a normal test with variance 1 + SR^2 / 2 (Lo, 2002).
    z = 0.1 * math.sqrt(499) / math.sqrt(1 + 0.1**2 / 2)
    assert overfit.probabilistic_sharpe(0.1, periods=500) == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))))
    assert overfit.probabilistic_sharpe(0.0, periods=500) == 0.5
    assert math.isnan(overfit.probabilistic_sharpe(0.1, periods=1))
    assert math.isnan(overfit.probabilistic_sharpe(math.nan, periods=100))


@given(st.floats(0.01, 0.5), st.floats(-1, 1), st.floats(3, 9))
def test_after_the_least_periods_the_confidence_is_reached(sharpe, skew, kurtosis):
    periods = overfit.least_periods(sharpe, skew=skew, kurtosis=kurtosis)
    reached = overfit.probabilistic_sharpe(sharpe, periods=math.ceil(periods), skew=skew, kurtosis=kurtosis)
    assert reached >= 0.95 - 1e-12
    if periods > 3:
        assert overfit.probabilistic_sharpe(sharpe, periods=int(periods) - 1, skew=skew, kurtosis=kurtosis) < 0.95


def test_no_record_is_long_enough_for_what_is_not_better():
    assert overfit.least_periods(0.1, 0.1) == math.inf


# ---- Bootstrap and White's reality check.


def plain_bootstrap(periods, samples, block, seed):
    """The same in loops, with the same draws."""
    draw = np.random.default_rng(seed)
    starts = draw.integers(0, periods, (samples, periods)).tolist()
    fresh = (draw.random((samples, periods)) < 1 / block).tolist()
    rows = []
    for s in range(samples):
        row = []
        for t in range(periods):
            row.append(starts[s][t] if t == 0 or fresh[s][t] else (row[-1] + 1) % periods)
        rows.append(row)
    return rows


@given(st.integers(1, 12), st.integers(1, 5), st.sampled_from([1.0, 2.5, 100.0]), st.integers(0, 99))
def test_a_bootstrap_is_the_one_in_loops(periods, samples, block, seed):
    found = overfit.stationary_bootstrap(periods, samples, block=block, seed=seed)
    assert found.tolist() == plain_bootstrap(periods, samples, block, seed)


def test_runs_of_a_bootstrap_are_as_long_as_asked():
    rows = overfit.stationary_bootstrap(500, 200, block=8.0, seed=3)
    breaks = np.count_nonzero(np.diff(rows, axis=1) % 500 != 1) + len(rows)
    assert rows.size / breaks == pytest.approx(8.0, rel=0.05)
    assert np.bincount(rows.ravel(), minlength=500).std() / 200 < 0.2  # every period as often as another


@given(st.integers(2, 8), st.integers(1, 4), st.integers(0, 99))
def test_a_reality_check_is_the_one_in_loops(periods, strategies, seed):
    draw = random.Random(seed)
    table = [[draw.gauss(0, 1) for _ in range(strategies)] for _ in range(periods)]
    found = overfit.reality_check(table, 0.1, block=2.0, samples=50, seed=seed)
    means = [sum(row[k] - 0.1 for row in table) / periods for k in range(strategies)]
    beyond = 1
    for rows in plain_bootstrap(periods, 50, 2.0, seed):
        again = [sum(table[t][k] - 0.1 for t in rows) / periods - means[k] for k in range(strategies)]
        beyond += max(again) >= max(means) - 1e-12
    assert found == pytest.approx(beyond / 51, abs=2 / 51)  # a tie may fall either way in the last digit


def test_a_reality_check_knows_luck_from_skill():
    draws = [np.random.default_rng(seed).normal(0, 1, (200, 30)) for seed in range(40)]
    values = [overfit.reality_check(draw, samples=100) for draw in draws]
    assert 0.3 < np.median(values) < 0.7 and np.mean(np.array(values) < 0.2) < 0.4  # even from 0 to 1, of luck
    luck = np.random.default_rng(4).normal(0, 1, (400, 50))
    skill = luck.copy()
    skill[:, 7] += 0.3
    assert overfit.reality_check(skill, samples=300) < 0.02
    assert overfit.reality_check(skill, skill[:, 7], samples=300) > 0.5


def test_half_of_what_is_luck_is_overfitted_and_nothing_of_skill():
    luck = np.random.default_rng(2).normal(0, 1, (240, 30))
    assert 0.25 < overfit.overfitting(luck, parts=8) < 0.75
    skill = luck + np.where(np.arange(30) == 4, 0.5, 0.0)
    assert overfit.overfitting(skill, parts=8) == 0.0


def plain_overfitting(table, parts):
    size = len(table) // parts
    below = []
    for chosen in itertools.combinations(range(parts), parts // 2):
        halves = [[row for k in range(parts) if (k in chosen) == side for row in table[k * size : (k + 1) * size]]
                  for side in (True, False)]  # fmt: skip
        sharpes = []
        for half in halves:
            columns = list(zip(*half, strict=True))
            means = [sum(c) / len(c) for c in columns]
            sharpes.append([m / math.sqrt(sum((v - m) ** 2 for v in c) / (len(c) - 1))
                            for c, m in zip(columns, means, strict=True)])  # fmt: skip
        best = max(range(len(sharpes[0])), key=lambda k: sharpes[0][k])
        below.append(sum(s < sharpes[1][best] for s in sharpes[1]) < len(sharpes[1]) / 2)
    return sum(below) / len(below)


@given(st.integers(0, 999))
def test_overfitting_is_the_one_in_loops(seed):
    table = np.random.default_rng(seed).normal(0, 1, (24, 5))
    assert overfit.overfitting(table, parts=4) == pytest.approx(plain_overfitting(table.tolist(), 4))


def test_what_can_not_be_measured_says_so():
    with pytest.raises(ValueError, match="even part"):
        overfit.overfitting(np.zeros((10, 1)))
    with pytest.raises(ValueError, match="periods x strategies"):
        overfit.reality_check(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="at least 1"):
        overfit.stationary_bootstrap(5, 5, block=0.5)
