"""Parameter sets to be run, as a value that travels: to a thread, a process, or a machine of a cluster.

A tape travels as the name of a file that every worker maps, so that all processes of a machine share one copy of it.
Bars are run by `ultra.lab.bars`, many sets in a call; everything else by `ultra.lab.backtest`, one set at a time.
What comes back is figures by name, the same from both where both have them.
Known bad case: a worker on another machine needs the file under the same name; JobError says which one it misses.
"""

import atexit
import functools
import hashlib
import inspect
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import strategy as strategies
from ..wire import RECORD
from . import bar_tape
from . import bars as bar_runs
from . import tape as tapes
from .bar_tape import Bars
from .fills import Priced
from .tape import Tape

BLOCK = 1 << 22


class JobError(Exception):
    """A worker that can't do its part: says what it misses, and where."""


@dataclass(frozen=True)
class Job:
    """What is the same for all sets of a search."""

    strategy: str | type
    path: str  # of the data; "" while the bars are at hand
    terms: Any
    instruments: tuple[Priced, ...] = ()  # of bars
    periods_per_year: float | None = None
    given: Mapping[str, Any] = field(default_factory=dict)  # more words for `backtest`
    bars: Bars | None = field(default=None, repr=False, compare=False)
    threads: int | None = 1

    @property
    def of_bars(self) -> bool:
        """Whether sets are run over bars, many at a time."""
        return bool(self.instruments)


def of(strategy: str | type, data: Any, terms: Any, periods_per_year: float | None, given: Mapping[str, Any]) -> Job:
    """A job over data: a path, a tape, bars, or anything that `ultra.lab.data.load` takes."""
    if isinstance(data, Bars):
        found = data
    else:
        tape = data if isinstance(data, Tape) or hasattr(data, "array") else _loaded(data)
        if getattr(tape, "kind", "bars") != "bars":
            return Job(strategy, _file_of(data, tape), terms, (), periods_per_year, given)
        found = bar_tape.prepare(tape)
    # As in a backtest: no limit of a configuration holds for bars.
    wanted = bar_runs.terms_of(terms, {name: value for name, value in given.items() if name != "config"})
    return Job(strategy, "", wanted, found.instruments, periods_per_year, {}, found)


def _loaded(data: Any) -> Tape:
    from .data import load

    return load(data)


def _file_of(data: Any, tape: Any) -> str:
    """A file of a tape that is not of bars: its own, or one made here."""
    if isinstance(data, str | Path):
        return str(Path(data).resolve())
    folder = Path(tempfile.mkdtemp(prefix="ultra-search-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # until then the best may be run again
    tapes.write(folder / "tape.ulc", tape)
    return str(folder / "tape.ulc")


def shared(job: Job, folder: Path) -> Job:
    """The same job with its bars in a file, for workers that are not threads of this process."""
    if job.bars is None:
        return job
    path = folder / "bars.records"
    np.asarray(job.bars.records).tofile(path)
    return Job(
        strategy=named(job.strategy), path=str(path), terms=job.terms, instruments=job.instruments,
        periods_per_year=job.periods_per_year, threads=1,
    )  # fmt: skip


def named(strategy: str | type) -> str | type:
    """A strategy as another process finds it: by the name of its file, unless it is of an installed module."""
    if isinstance(strategy, str):
        return strategies.absolute(strategy)
    module = inspect.getmodule(strategy)
    path = getattr(module, "__file__", None)
    if module is None or path is None or "<locals>" in strategy.__qualname__:
        return strategy  # of a notebook: a cluster's own way to send a class may do, a plain process can't
    return f"{Path(path).resolve()}:{strategy.__qualname__}" if module.__name__ == "__main__" else strategy


def travels(strategy: str | type) -> bool:
    """Whether another process finds it by name; a class of a notebook's cell it does not."""
    found = named(strategy)
    return isinstance(found, str) or (found.__module__ != "__main__" and "<locals>" not in found.__qualname__)


def identity(job: Job, loaded: strategies.Loaded) -> dict[str, str]:
    """What a search is of, for its ledger."""
    digest = hashlib.blake2b(digest_size=16)
    if job.bars is not None:
        digest.update(np.ascontiguousarray(job.bars.records).view(np.uint8).data)
        digest.update(repr(job.instruments).encode())
    else:
        where = Path(job.path)
        for path in sorted(where.rglob("*")) if where.is_dir() else [where]:
            if path.is_file():
                _digest(digest, path)
    return {
        "strategy": loaded.fingerprint,
        "data": digest.hexdigest(),
        "terms": _spelled((job.terms, job.periods_per_year, sorted(job.given.items()))),
    }


def _spelled(value: Any) -> str:
    """All of a value as text: NumPy would leave out the middle of a long recording, and two would look the same."""
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return repr(value)


def _digest(digest: Any, path: Path) -> None:
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)


def run(job: Job, sets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The figures of each set, in order. Runs in whatever worker it was sent to."""
    if job.of_bars:
        return over_bars(job, sets)
    from .backtest import backtest

    words = {"terms": job.terms, "periods_per_year": job.periods_per_year, **job.given}
    return [plain(backtest(job.strategy, job.path, parameters=dict(each), **words).performance
                  .figures()) for each in sets]  # fmt: skip


def over_bars(job: Job, sets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of bars, all in one call."""
    bars = job.bars if job.bars is not None else mapped(job.path, job.instruments)
    found = bar_runs.run_bars(
        loaded_of(job.strategy), bars, sets, terms=job.terms, threads=job.threads, periods_per_year=job.periods_per_year
    )
    columns = {name: values.tolist() for name, values in found.figures.items()}
    return [{name: values[k] for name, values in columns.items()} for k in range(len(sets))]


@functools.lru_cache(maxsize=4)
def mapped(path: str, instruments: tuple[Priced, ...]) -> Bars:
    """Bars of a file, mapped once a process."""
    try:
        records = np.memmap(path, RECORD, mode="c")  # as an array of our own: one compiled loop for both
    except FileNotFoundError as error:
        raise JobError(
            f"{path} is not on this machine: give optimize_parameters a folder= that all workers see"
        ) from error
    return bar_tape.of_records(np.asarray(records).view(np.recarray), instruments)


@functools.lru_cache(maxsize=4)
def loaded_of(strategy: str | type) -> strategies.Loaded:
    """A strategy, loaded once a process."""
    return strategies.load(strategy)


def plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as Python's numbers; money as a float, for it is a statistic here."""
    return {name: value if isinstance(value, int | float) else float(value) for name, value in figures.items()}
