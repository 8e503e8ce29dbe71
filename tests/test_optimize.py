"""The search over parameters: what is tried, that it is the same wherever it runs, and that it goes on when killed."""

import contextlib
import itertools
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from bar_rig import trend
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import MAKER, market
from test_backtest import settings as settings_of

from ultra import strategy
from ultra.lab import bars as bar_runs
from ultra.lab import jobs, ranges
from ultra.lab.backtest import Terms as EventTerms
from ultra.lab.backtest import backtest
from ultra.lab.bars import Terms, run_bars
from ultra.lab.ledger import Ledger
from ultra.lab.optimize import SearchError, optimize_parameters
from ultra.lab.terms import Fees, Latency
from ultra.strategies.whole_cross import WholeCross

RANGES = {"fast": range(2, 8, 2), "slow": (5, 20, 5)}
TERMS = Terms(cash=100_000, fees=Fees(taker_bps=1))
SETS = [{"fast": fast, "slow": slow} for fast in (2, 4, 6) for slow in (5, 10, 15, 20)]
TAPE = trend(80)


def search(**more):
    return optimize_parameters(WholeCross, TAPE, more.pop("ranges", RANGES), terms=TERMS, **more)


# ---- Ranges.


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ([3, 5], (3, 5)),
        (range(2, 8, 3), (2, 5)),
        ((2, 4), (2, 3, 4)),
        ((2, 9, 3), (2, 5, 8)),
        (np.arange(1, 4), (1, 2, 3)),
        (np.linspace(2, 4, 3), (2, 3, 4)),
        ([7, 7, 8], (7, 8)),
    ],
)
def test_a_range_is_what_it_looks_like(given, values):
    found = ranges.choices(strategy.load(WholeCross), {"fast": given})
    assert found[0].values == values and all(type(value) is int for value in found[0].values)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fst": [1]}, "no such parameter"),
        ({}, "no ranges"),
        ({"fast": "123"}, "wanted a list"),
        ({"fast": [1.5]}, "is not int"),
        ({"fast": (9, 3)}, "low first"),
        ({"fast": (3, 9, -1)}, "step above 0"),
        ({"fast": []}, "has no values"),
        ({"short": [2]}, "is not bool"),
    ],
)
def test_a_range_that_is_none_says_what_to_write(given, said):
    with pytest.raises(SearchError, match=said):
        ranges.choices(strategy.load(WholeCross), given)


def test_a_range_outside_its_parameter_is_the_strategys_own_error():
    with pytest.raises(strategy.StrategyError, match="fast = 0: must be 1"):
        search(ranges={"fast": [0, 1]})


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_sets_are_numbered_as_an_odometer_turns(sizes):
    found = [ranges.Choice(f"p{k}", tuple(range(size))) for k, size in enumerate(sizes)]
    wanted = list(itertools.product(*(range(size) for size in sizes)))
    assert [tuple(each.values()) for each in ranges.grid(found)] == wanted


@given(st.integers(1, 30), st.integers(0, 99))
def test_draws_are_different_sets_of_the_grid(trials, seed):
    found = [ranges.Choice("a", (1, 2, 3)), ranges.Choice("b", tuple(range(4)))]
    sets = ranges.drawn(found, trials, seed, lambda p: p["a"] != p["b"])
    assert sets == ranges.drawn(found, trials, seed, lambda p: p["a"] != p["b"])
    assert len({ranges.key(each) for each in sets}) == len(sets) == min(trials, 9)
    assert all(each["a"] != each["b"] for each in sets)


def test_draws_without_a_step_are_from_the_whole_range():
    found = [ranges.Choice("a", None, 2.0, 4.0), ranges.Choice("b", (1, 2))]
    sets = ranges.drawn(found, 200, 1)
    assert 2.0 <= min(each["a"] for each in sets) < 2.1 and 3.9 < max(each["a"] for each in sets) < 4.0
    with pytest.raises(SearchError, match="needs a step"):
        ranges.grid(found)


# ---- Searches.


def test_a_grid_is_every_set_and_the_best_is_the_best():
    found = search()
    assert found.sets == SETS
    alone = [run_bars(WholeCross, TAPE, [each], terms=TERMS).figures["sharpe"][0] for each in SETS]
    assert found.values.tolist() == alone
    assert found.best == SETS[int(np.argmax(alone))] and found.best_value == max(alone)
    assert found.performance().total_return == pytest.approx(found.best_figures["total_return"], rel=1e-12)


def test_an_objective_is_a_figure_its_opposite_or_a_function():
    least = search(objective="-max_drawdown")
    assert least.best_value == min(each["max_drawdown"] for each in least.figures)
    own = search(objective=lambda figures: figures["total_return"] - figures["fees"] / 1e6)
    assert own.best_value == max(each["total_return"] - each["fees"] / 1e6 for each in own.figures)
    with pytest.raises(SearchError, match="no such figure; there are total_return"):
        search(objective="sharp")


def test_sets_that_do_not_go_together_are_not_tried():
    found = search(where=lambda p: p["fast"] * 2 < p["slow"])
    assert found.sets == [each for each in SETS if each["fast"] * 2 < each["slow"]]
    with pytest.raises(SearchError, match="lets no set"):
        search(where=lambda p: False)


def test_what_never_traded_is_never_the_best():
    found = search(
        ranges={"fast": [3], "slow": [500, 20]}, objective=lambda f: f["sharpe"] if f["fill_count"] else math.nan
    )
    assert found.best == {"fast": 3, "slow": 20}
    nothing = search(ranges={"slow": [500]}, objective=lambda f: math.nan)
    with pytest.raises(SearchError, match="no set has"):
        _ = nothing.best


def test_bayes_finds_the_top_of_a_hill_and_is_the_same_twice():
    pytest.importorskip("optuna")
    more = {
        "method": "bayes", "trials": 40, "ranges": {"fast": (1, 60), "slow": (61, 200)},
        "objective": lambda f: -abs(f["returns"]),
    }  # fmt: skip
    assert len(search(**more)) <= 40
    ours = {**more, "objective": "total_return", "seed": 3}
    assert search(**ours).sets == search(**ours).sets


def test_the_table_is_that_of_the_sets(tmp_path):
    pandas = pytest.importorskip("pandas")
    found = search()
    frame = found.frame()
    assert frame["fast"].tolist() == [each["fast"] for each in SETS] and len(frame) == len(SETS)
    assert frame["sharpe"].tolist() == found.values.tolist()
    pandas.testing.assert_frame_equal(pandas.read_parquet(found.parquet(tmp_path / "t.parquet")), frame)


def test_a_map_has_a_cell_for_every_pair_and_a_page_is_whole(tmp_path):
    found = search()
    drawing = ElementTree.fromstring(found.heat())
    assert len(drawing.findall(".//{*}rect")) == len(SETS)
    assert len(ElementTree.fromstring(search(ranges={"fast": [2, 3]}).heat()).findall(".//{*}rect")) == 2
    page = found.html(tmp_path / "search.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "WholeCross" in page and page.count("<svg") == 1
    ElementTree.fromstring(page.split("\n", 1)[1])
    assert "<svg" in found._repr_html_()
    with pytest.raises(SearchError, match="is no range"):
        found.heat("lots")


def test_of_a_single_bar_there_is_no_luck_to_take_off():
    found = optimize_parameters(WholeCross, trend(1), RANGES, terms=TERMS)
    assert found.best_value == 0 and math.isnan(found.deflated_sharpe())


def test_luck_is_taken_off_the_best():
    found = search()
    assert 0.0 <= found.deflated_sharpe() <= 1.0
    one = search(ranges={"fast": [found.best["fast"]], "slow": [found.best["slow"]]})
    assert one.deflated_sharpe() >= found.deflated_sharpe()


# ---- Wherever it runs.


class Counting(Executor):
    """Runs at once, and counts sets."""

    _max_workers = 1

    def __init__(self, stop_after: int = 10**9) -> None:
        self.ran, self.stop_after = 0, stop_after

    def submit(self, call, /, job, sets):
        if self.ran >= self.stop_after:
            raise KeyboardInterrupt
        self.ran += len(sets)
        done: Future = Future()
        done.set_result(call(job, sets))
        return done


def rows_in(path):
    with contextlib.closing(sqlite3.connect(path)) as file:
        return file.execute("select count(*) from found").fetchone()[0]


def tables_in(path):
    with contextlib.closing(sqlite3.connect(path)) as file:
        return file.execute("select count(*) from sqlite_master where name = 'found'").fetchone()[0]


def test_a_search_that_was_stopped_goes_on_and_runs_nothing_twice(tmp_path):
    whole, path = search(), tmp_path / "search.db"
    stopped = Counting(stop_after=6)
    with pytest.raises(KeyboardInterrupt):
        search(executor=stopped, resume=path)
    kept = rows_in(path)
    rest = Counting()
    assert search(executor=rest, resume=path).values.tolist() == whole.values.tolist()
    assert 0 < kept <= stopped.ran and rest.ran == len(SETS) - kept
    nothing = Counting()
    assert search(executor=nothing, resume=path).values.tolist() == whole.values.tolist() and nothing.ran == 0


def test_a_ledger_of_another_search_is_refused(tmp_path):
    path = tmp_path / "search.db"
    search(resume=path)
    with pytest.raises(SearchError, match="another data"):
        optimize_parameters(WholeCross, trend(81), RANGES, terms=TERMS, resume=path)
    with pytest.raises(SearchError, match="another terms"):
        optimize_parameters(WholeCross, TAPE, RANGES, resume=path)
    (tmp_path / "text").write_text("what is this, it is long enough to be no database at all" * 10)
    with pytest.raises(SearchError, match="no file of a search"):
        search(resume=tmp_path / "text")


def test_a_search_with_another_recorded_latency_is_another_search(tmp_path):
    """However long the recording is: NumPy's own text of an array leaves out its middle."""
    (tmp_path / "day.itch50").write_bytes(b"")
    recorded = np.zeros((3000, 3), np.int64)
    other = recorded.copy()
    other[1500, 1] = 1
    told = [
        jobs.identity(jobs.Job(MAKER, str(tmp_path), EventTerms(latency=Latency(recorded=rows))), strategy.load(MAKER))
        for rows in (recorded, other, recorded.copy())
    ]
    assert told[0] != told[1] and told[0] == told[2]


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(allow_nan=False)), max_size=12))
def test_a_ledger_behaves_as_a_dict_that_outlives_its_process(rows):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path, twin = Path(folder) / "l.db", {}
        for name, value in rows:
            with Ledger(path, {"of": "this"}) as ledger:
                assert len(ledger) == len(twin) and ledger.get(str(name)) == twin.get(str(name))
                twin[str(name)] = {"x": value}
                ledger.add([(str(name), {"x": value})])


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import test_optimize as here
class Slow(here.Counting):
    def submit(self, call, /, job, sets):
        time.sleep(0.3)
        return super().submit(call, job, sets)
here.search(executor=Slow(), resume={path!r})
"""


@pytest.mark.slow
def test_a_killed_search_goes_on_where_it_was(tmp_path):
    path = tmp_path / "search.db"
    code = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    child = subprocess.Popen([sys.executable, "-c", code])
    while child.poll() is None and not (path.exists() and tables_in(path) and rows_in(path)):
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    kept, rest = rows_in(path), Counting()
    assert search(executor=rest, resume=path).values.tolist() == search().values.tolist()
    assert 0 < kept < len(SETS) and rest.ran == len(SETS) - kept


def test_threads_give_the_same_table():
    with ThreadPoolExecutor(2) as pool:
        assert search(executor=pool).values.tolist() == search().values.tolist()


@pytest.mark.slow
def test_processes_give_the_same_table():
    import multiprocessing

    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert json.dumps(search(executor=pool).figures) == json.dumps(search().figures)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_same_table(tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        found = search(executor=client.get_executor(), folder=tmp_path)
    assert json.dumps(found.figures) == json.dumps(search().figures)


def test_bars_may_be_given_as_they_are():
    from ultra.lab import bar_tape

    assert optimize_parameters(WholeCross, bar_tape.prepare(TAPE), RANGES, terms=TERMS).values.tolist() == (
        search().values.tolist()
    )
    assert bar_runs.yearly(bar_tape.prepare(TAPE).ts) == pytest.approx(365.25)


# ---- Of a tape of orders each set is a backtest.


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("optimize") / "day.itch50"
    path.write_bytes(market(800, 5))
    return path


def test_a_set_over_orders_is_a_backtest(day, tmp_path):
    more = {"config": settings_of(MAKER), "ranges": {"order_qty": [1, 3]}}
    counting = Counting()
    found = optimize_parameters(
        MAKER, day, more["ranges"], objective="total_return", config=more["config"], executor=counting,
        resume=tmp_path / "s.db", periods_per_year=252,
    )  # fmt: skip
    assert counting.ran == 2 and found.performance().periods_per_year == 252
    for each, figures in zip(found.sets, found.figures, strict=True):
        alone = backtest(MAKER, day, parameters=each, config=more["config"]).performance
        assert figures["total_return"] == alone.total_return and figures["fill_count"] == alone.fill_count
        assert figures["periods_per_year"] == 252
    assert found.performance().total_return == found.best_value
    assert math.isnan(found.deflated_sharpe()) and "<svg" in found.heat()


@pytest.mark.slow
def test_workers_backtest_as_we_do(day):
    config = settings_of(MAKER)
    ranges = {"order_qty": [1, 3]}
    ours = optimize_parameters(MAKER, day, ranges, objective="total_return", config=config, executor=Counting())
    theirs = optimize_parameters(MAKER, day, ranges, objective="total_return", config=config)
    assert json.dumps(theirs.figures) == json.dumps(ours.figures)


def test_terms_are_given_whole_or_by_words_as_to_a_backtest():
    words = {"cash": 100_000, "fees": Fees(taker_bps=1)}
    whole = search().values.tolist()
    assert optimize_parameters(WholeCross, TAPE, RANGES, **words).values.tolist() == whole
    assert optimize_parameters(WholeCross, TAPE, RANGES, terms=EventTerms(**words)).values.tolist() == whole
    with pytest.raises(bar_runs.BarError, match="latency: bars have no such term; there are cash"):
        optimize_parameters(WholeCross, TAPE, RANGES, latency=1)


def test_a_class_that_no_worker_finds_runs_here_or_is_refused():
    class Mine(WholeCross):
        pass

    assert (
        jobs.travels(WholeCross) and jobs.travels("ultra.strategies.whole_cross:WholeCross") and not jobs.travels(Mine)
    )
    assert optimize_parameters(Mine, TAPE, RANGES, terms=TERMS).values.tolist() == search().values.tolist()
    with ProcessPoolExecutor(1) as pool, pytest.raises(SearchError, match=r"%%writefile mine\.py"):
        optimize_parameters(Mine, TAPE, RANGES, terms=TERMS, executor=pool)
