"""Walk-forward and cross-validation: nothing of a test is trained on, and what comes out is what a plain run gives."""

import math

import numpy as np
import pytest
from bar_rig import T0, closes, trend
from hypothesis import given
from hypothesis import strategies as st

from ultra.lab import bar_figures, bar_tape, folds, validate
from ultra.lab.bars import Terms, run_bars, yearly
from ultra.lab.fills import cash_e9, scale_of
from ultra.lab.optimize import optimize_parameters
from ultra.lab.ranges import SearchError
from ultra.lab.terms import Fees
from ultra.lab.validate import cross_validate, walk_forward
from ultra.strategies.whole_cross import WholeCross

RANGES = {"fast": [2, 4], "slow": [6, 12]}
TERMS = Terms(cash=100_000, fees=Fees(taker_bps=1))
TAPE = trend(120)
DAY = 86_400_000_000_000


@given(st.integers(2, 200), st.integers(1, 8), st.sampled_from([0.2, 0.5, 0.9]), st.booleans())
def test_tests_that_walk_are_what_is_left_once_each_and_follow_their_training(moments, splits, train, anchored):
    first = round(moments * train)
    if first < 1 or moments - first < splits:
        with pytest.raises(SearchError):
            folds.walking(moments, splits, train=train, anchored=anchored)
        return
    found = folds.walking(moments, splits, train=train, anchored=anchored)
    assert [at for fold in found for at in range(*fold.test)] == list(range(first, moments))
    for fold in found:
        ((begin, end),) = fold.train
        assert end == fold.test[0] and begin == (0 if anchored else end - first)


@given(st.integers(4, 120), st.integers(2, 6), st.integers(0, 9), st.sampled_from([0, 0.01, 0.05, 0.1]))
def test_folds_are_everything_once_and_keep_their_distance(moments, count, purge, embargo):
    if moments < count:
        return
    try:
        found = folds.purged(moments, count, purge=purge, embargo=embargo)
    except SearchError as error:
        assert "nothing to train on" in str(error)
        return
    assert [at for fold in found for at in range(*fold.test)] == list(range(moments))
    behind = int(moments * embargo)
    for fold in found:
        first, last = fold.test
        kept = {at for stretch in fold.train for at in range(*stretch)}
        assert kept == {at for at in range(moments) if at < first - purge or at >= last + behind}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), min_size=3, max_size=40), st.sampled_from([0, 0.1, 0.2])
)
def test_no_label_that_is_trained_on_touches_the_test(labels, embargo):
    begins, ends = (np.array(column) for column in zip(*sorted((b, b + d) for b, d in labels), strict=True))
    behind = int(len(begins) * embargo)
    tested = []
    for train, test in folds.purged_labels(begins, ends, 3, embargo=embargo):
        tested += test.tolist()
        until = max(ends[t] for t in test)
        later = [r for r in range(len(begins)) if r not in test and r > test[0] and begins[r] > until]
        wanted = [r for r in range(test[0]) if all(ends[r] < begins[t] or begins[r] > ends[t] for t in test)]
        wanted = [r for r in wanted if ends[r] < begins[test[0]]] + later[behind:]
        assert train.tolist() == wanted
    assert tested == list(range(len(begins)))


def test_a_walk_is_its_windows_run_by_hand():
    walked = walk_forward(WholeCross, TAPE, RANGES, splits=3, train=0.4, terms=TERMS, objective="total_return")
    bars = bar_tape.prepare(TAPE)
    cash, total = 100_000.0, 0
    for window, fold in zip(walked.windows, folds.walking(120, 3, train=0.4), strict=True):
        (first, last), (begin, end) = fold.train[0], fold.test
        assert (window.train_from, window.test_from) == (T0 + first * DAY, T0 + begin * DAY)
        train = bars.between(T0 + first * DAY, T0 + last * DAY)
        sets = [{"fast": f, "slow": s} for f in (2, 4) for s in (6, 12)]
        values = run_bars(WholeCross, train, sets, terms=TERMS).figures["total_return"]
        assert window.best == sets[int(np.argmax(values))] and window.train_value == max(values)
        test = bars.between(T0 + first * DAY, T0 + end * DAY)
        terms = Terms(cash=f"{cash:.9f}", fees=TERMS.fees, trade_from=T0 + begin * DAY)
        run = run_bars(WholeCross, test, [window.best], terms=terms)
        assert window.test_value == pytest.approx(run.figures["total_return"][0], abs=1e-12)
        cash, total = run.figures["final_equity"][0], total + int(run.figures["fill_count"][0])
    assert float(walked.performance.final_equity) == pytest.approx(cash, rel=1e-12)
    assert walked.performance.fill_count >= total > 0  # and what was closed at a border
    course = walked.performance
    assert cash_e9(course.fills, scale_of(course.instruments)) == int(course.equity_e9[-1]) - int(course.equity_e9[0])
    assert len(course.ts) == 120 - 48 + 1


def test_a_walk_that_is_ruined_ends_with_the_money_of_its_fills():
    """What the ruin left open is closed at the close of the ruin, not at that of the window's end."""
    tape = closes([100, 101] * 10 + list(range(110, 150)) + [10, 12, 14, 16, 18, 20] * 4)
    search = {"fast": [1], "slow": [2], "lots": [100]}
    course = walk_forward(WholeCross, tape, search, splits=1, train=0.25, terms=Terms(cash=50)).performance
    assert course.equity_e9[-1] <= 0
    assert cash_e9(course.fills, scale_of(course.instruments)) == int(course.equity_e9[-1]) - int(course.equity_e9[0])


def test_nothing_is_traded_before_the_terms_say_so():
    late = Terms(cash=100_000, trade_from=int(T0 + 100 * DAY))
    fills = walk_forward(WholeCross, TAPE, RANGES, splits=3, terms=late, objective="total_return").performance.fills
    assert len(fills) > 0 and fills["ts_event"].min() > T0 + 100 * DAY


def test_a_walk_never_sees_its_tests():
    changed = trend(120)
    changed.records["price"][90:] += 300
    changed.records["order_id"][90:] += 300
    one = walk_forward(WholeCross, TAPE, RANGES, splits=4, train=0.5, terms=TERMS)
    two = walk_forward(WholeCross, changed, RANGES, splits=4, train=0.5, terms=TERMS)
    # Tests are 15 moments from 60 on: those of the first two end before 90, and the third is trained before it.
    assert one.windows[:2] == two.windows[:2]
    assert one.windows[2].best == two.windows[2].best and one.windows[2].train_value == two.windows[2].train_value


def test_the_seed_of_a_walk_is_that_of_its_searches(monkeypatch):
    heard = []

    def search(*given, **words):
        heard.append((words["seed"], words["terms"].seed))
        return optimize_parameters(*given, **words)

    monkeypatch.setattr(validate, "optimize_parameters", search)
    walk_forward(WholeCross, TAPE, RANGES, splits=2, terms=TERMS, method="random", trials=2, seed=3)
    assert heard == [(3, 0), (3, 0)]


def test_a_window_without_a_best_trades_nothing():
    walked = walk_forward(
        WholeCross, TAPE, {"slow": [500]}, splits=2, terms=TERMS, objective=lambda f: math.nan
    )  # fmt: skip
    assert all(window.best is None for window in walked.windows) and walked.performance.fill_count == 0
    assert math.isnan(walked.efficiency)


def test_folds_are_trained_and_tested_as_by_hand():
    found = cross_validate(WholeCross, TAPE, RANGES, splits=3, purge=2, embargo=0.05, terms=TERMS)
    bars, sets = bar_tape.prepare(TAPE), [{"fast": f, "slow": s} for f in (2, 4) for s in (6, 12)]
    assert found.sets == sets and found.values.shape == (3, 4)
    for fold, tested, values in zip(
        folds.purged(120, 3, purge=2, embargo=0.05), found.folds, found.values, strict=True
    ):
        gains = [[] for _ in sets]
        for first, last in fold.train:
            run = run_bars(WholeCross, bars.between(T0 + first * DAY, T0 + last * DAY), sets, terms=TERMS)
            for k in range(len(sets)):
                equity = run.course(k)[0].astype(float)
                gains[k] += (equity[1:] / equity[:-1] - 1).tolist()
        sharpes = [np.mean(g) / np.std(g, ddof=1) * math.sqrt(yearly(bars.ts)) for g in gains]
        assert tested.best == sets[int(np.argmax(sharpes))]
        assert tested.train_value == pytest.approx(max(sharpes), rel=1e-9)
        test = run_bars(WholeCross, bars.between(T0 + fold.test[0] * DAY, T0 + fold.test[1] * DAY), sets, terms=TERMS)
        assert values.tolist() == pytest.approx((test.figures["sharpe"]).tolist(), rel=1e-9, nan_ok=True)
    assert found.best in sets and len(found.frame()) == 3 and "<table" in found._repr_html_()


def test_one_stretch_joined_is_itself():
    run = run_bars(WholeCross, TAPE, [{"fast": 2, "slow": 6}], terms=TERMS)
    joined = bar_figures.joined([(run.accounts, run.bars.ts, 0)], 100_000 * 10**9, yearly(run.bars.ts))
    for name, values in joined.items():
        assert values[0] == pytest.approx(run.figures[name][0], rel=1e-12), name


def test_what_has_no_bars_is_refused():
    tape = trend(10)
    tape.kind = "orders"
    with pytest.raises((SearchError, AttributeError)):
        walk_forward(WholeCross, tape, RANGES)
    with pytest.raises(SearchError, match="would be empty"):
        walk_forward(WholeCross, trend(4), RANGES, splits=9)
