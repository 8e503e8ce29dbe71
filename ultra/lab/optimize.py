"""`optimize_parameters`: which parameters were best on past data. What that is worth is for `ultra.lab.overfit` to say.

    found = optimize_parameters(GoldenCross, tape, {"fast": (5, 50, 5), "slow": (20, 200, 10)}, objective="sharpe")
    found.best, found.best_value, found.frame(), found.html("search.html")

    method    "grid" every set of the ranges; "random" `trials` different ones; "bayes" `trials` that Optuna's TPE
              proposes from what it has seen, in batches
    executor  any `concurrent.futures.Executor`: processes, a cluster's (`distributed.Client.get_executor()`), threads
    resume    a file: what is in it is not run again, so a search that was killed goes on

Bars are run in this process on all cores, thousands of sets a second; of other data each set is a `backtest`, in worker
processes over one mapped tape (but for a class of a notebook's cell: no worker sees it, so it runs in this process).
The same call gives the same table, wherever and in whatever order its sets were run.
Known bad case: the best of many is best by luck too; `Optimization.deflated_sharpe` says how much of it may be. And
worker processes begin by importing the script that asked: it needs the usual `if __name__ == "__main__":`.
"""

import contextlib
import math
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from .. import strategy as strategies
from ..wire import RECORD
from . import jobs
from .extra import need
from .jobs import Job
from .ledger import Figures, Ledger
from .optimization import Optimization, score
from .ranges import Choice, SearchError, Where, choices, drawn, grid, key

__all__ = ["Optimization", "SearchError", "optimize_parameters"]

METHODS: Final = ("grid", "random", "bayes")
TRIALS: Final = 100
BATCH_WORK: Final = 20_000_000  # bars x sets of a batch of bars: a fraction of a second
BATCH_SETS: Final = 512
BATCHES: Final = 32  # at least, if there are as many sets
HERE: Final = 8  # times as many where all cores share a batch
AHEAD: Final = 32  # batches handed out to an executor that does not say how many workers it has
ASKED: Final = 8  # sets that TPE proposes at a time
Objective = str | Callable[[Mapping[str, Any]], float]
Set = dict[str, Any]


def optimize_parameters(
    strategy: str | type,
    data: Any,
    ranges: Mapping[str, Any],
    *,
    objective: Objective = "sharpe",
    method: str = "grid",
    trials: int | None = None,
    where: Where | None = None,
    terms: Any = None,
    executor: Executor | None = None,
    resume: str | Path | None = None,
    seed: int = 0,
    periods_per_year: float | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
    **given: Any,
) -> Optimization:
    """Search `ranges` (`ultra.lab.ranges`) for the highest objective. SearchError, StrategyError, BarError, DataError.

    `objective`: a figure by name, with "-" in front for the lowest; or a function of a set's figures. What has none
    (nan) is last. `where`: a function of a set that says whether to try it, as `lambda p: p["fast"] < p["slow"]`.
    `terms`: `ultra.lab.bars.Terms` for bars, `ultra.lab.backtest.Terms` else; `given` are more words of `backtest`.
    `folder`: where workers find the tape, if not in this machine's temporary folder. `progress`: a bar of tqdm."""
    if method not in METHODS:
        raise SearchError(f"method {method!r}: there are {', '.join(METHODS)}")
    loaded = strategies.load(strategy)
    found = choices(loaded, ranges)
    job = jobs.of(strategy, data, terms, periods_per_year, given)
    job = replace(job, threads=None)
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger(resume, jobs.identity(job, loaded) if resume is not None else {}))
        plan = None if method == "bayes" else grid(found, where) if method == "grid" else None
        if method == "random":
            plan = drawn(found, trials or TRIALS, seed, where)
        count = len(plan) if plan is not None else trials or TRIALS
        shown = stack.enter_context(_bar(count)) if progress else None
        runner = stack.enter_context(_runner(job, ledger, executor, folder, count, shown))
        sets = plan if plan is not None else _proposed(found, objective, count, seed, where, runner)
        figures = runner(sets)
    return Optimization.of(loaded, job, found, sets, figures, objective, method)


Runner = Callable[[Sequence[Set]], list[Figures]]


@contextlib.contextmanager
def _runner(
    job: Job, ledger: Ledger, executor: Executor | None, folder: str | Path | None, count: int, shown: Any
) -> Iterator[Runner]:
    """A function that gives the figures of sets, and runs those that nobody has run yet."""
    with contextlib.ExitStack() as stack:
        pool = executor
        if isinstance(pool, ProcessPoolExecutor) and not jobs.travels(job.strategy):
            raise SearchError(
                f"{job.strategy}: worker processes don't see what is in a cell or in a function: write it to a file "
                "(%%writefile mine.py) and give 'mine.py:NAME', or no executor"
            )
        if pool is None and not job.of_bars and count > 1 and jobs.travels(job.strategy):
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(_cores(), mp_context=context))
            job = replace(job, strategy=jobs.named(job.strategy))
        if pool is not None and job.of_bars:
            where = Path(folder) if folder else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ultra-")))
            where.mkdir(parents=True, exist_ok=True)
            job = jobs.shared(job, where)

        def runner(sets: Sequence[Set]) -> list[Figures]:
            missing = list({key(each): each for each in sets if ledger.get(key(each)) is None}.values())
            if shown is not None:
                shown.update(len(sets) - len(missing))
            size = _batch(job, len(missing), pool is not None)
            batches = [missing[at : at + size] for at in range(0, len(missing), size)]
            for batch, figures in _results(job, batches, pool):
                ledger.add([(key(each), found) for each, found in zip(batch, figures, strict=True)])
                if shown is not None:
                    shown.update(len(batch))
            return [_known(ledger, each) for each in sets]

        yield runner


def _known(ledger: Ledger, each: Set) -> Figures:
    found = ledger.get(key(each))
    assert found is not None
    return found


def _results(job: Job, batches: list[list[Set]], pool: Executor | None) -> Iterator[tuple[list[Set], list[Figures]]]:
    """Each batch with its figures, as they come. No more are handed out than keep the workers busy, so that a search
    that is stopped stops soon."""
    if pool is None:
        for batch in batches:
            yield batch, jobs.run(job, batch)
        return
    waiting, running = list(reversed(batches)), dict[Future[list[Figures]], list[Set]]()
    workers = getattr(pool, "_max_workers", None)
    ahead = 2 * workers if workers else AHEAD
    try:
        while waiting or running:
            while waiting and len(running) < ahead:
                batch = waiting.pop()
                running[pool.submit(jobs.run, job, batch)] = batch
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    finally:
        for future in running:
            future.cancel()


def _batch(job: Job, missing: int, apart: bool) -> int:
    """How many sets are handed out at a time: enough to be worth the way, few enough that all workers have some."""
    if not job.of_bars:
        return 1
    bars = len(job.bars.records) if job.bars is not None else os.path.getsize(job.path) // RECORD.itemsize
    most = max(1, min(BATCH_SETS, BATCH_WORK // max(1, bars)))
    return max(1, min(most, -(-missing // BATCHES))) if apart else max(1, HERE * most)


def _proposed(
    found: Sequence[Choice], objective: Objective, count: int, seed: int, where: Where | None, runner: Runner
) -> list[Set]:
    """Sets that TPE asks for, told of each batch before it asks for the next. The same for the same seed and data."""
    optuna = need("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    kept: list[Set] = []
    asked = 0
    while len(kept) < count and asked < 20 * count:
        trials = [study.ask() for _ in range(min(ASKED, count - len(kept)))]
        asked += len(trials)
        sets = [_asked(trial, found) for trial in trials]
        fit = [where is None or bool(where(each)) for each in sets]
        figures = iter(runner([each for each, good in zip(sets, fit, strict=True) if good]))
        for trial, each, good in zip(trials, sets, fit, strict=True):
            value = score(objective, next(figures)) if good else math.nan
            if math.isnan(value):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, value)
            if good:
                kept.append(each)
    if not kept:
        raise SearchError(f"`where` lets none of {asked} proposals through")
    return list({key(each): each for each in kept}.values())


def _asked(trial: Any, found: Sequence[Choice]) -> Set:
    chosen: Set = {}
    for choice in found:
        if choice.values is None:
            chosen[choice.name] = trial.suggest_float(choice.name, choice.low, choice.high)
        else:
            chosen[choice.name] = choice.values[trial.suggest_int(choice.name, 0, len(choice.values) - 1)]
    return chosen


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _bar(count: int) -> Any:
    return need("tqdm").tqdm(total=count, unit="set", smoothing=0.1)
