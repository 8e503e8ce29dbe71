"""Bar backtests of one strategy, for one set of its parameters or for a million: one tape, all cores, a row each.

    found = run_bars(GoldenCross, tape, {"fast": fast, "slow": slow}, terms=Terms(fees=Fees(taker_bps=1)))
    found.table()["sharpe"]       found.performance(7)      # of the seventh set: the same, with equity and fills

The strategy is the class that `ultra run` takes; its `on_bar` runs compiled (`ultra.lab.bar_loop`), and fills are by
the rules of `ultra.lab.bar_rules`. A row is a few hundred bytes; only the few sets that are just at work have state.
The result of a set does not depend on which others run, on the number of threads, or on whether it is compiled.
Known bad case: threads share one interpreter; of a short tape (< 1,000 bars) most of the time is Python's.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

import numpy as np
from numba.core.errors import NumbaError

from .. import strategy as strategies
from ..hot import JIT
from ..venues import account as venue
from . import bar_account as accounts
from . import bar_figures, bar_loop, bar_rules, bar_tape
from . import terms as costs
from .bar_tape import BarError, Bars, Recorded
from .extra import need
from .fills import E9, FILLS, Priced, held
from .performance import YEAR_NS, Performance, measure
from .terms import NO_FEES, NO_INTEREST, NO_SLIPPAGE, Fees, Interest, Number, Slippage, money_e9

__all__ = ["BarError", "Grid", "Terms", "run_bars"]

BLOCK_SETS = 16
BLOCK_BARS = 1 << 19  # of a short tape a block has more sets: threads then meet less often
BLOCK_SETS_MAX = 1024


@dataclass(frozen=True)
class Terms:
    """What trading costs and allows, in the words of `ultra.lab.terms`; all of it exact.

    `interest.margin_percent` is enforced here: an order that would make a position larger than the equity covers is
    refused when it would trade. 100 is a cash account, 50 leverage of two, 0 no limit."""

    cash: Number = 1_000_000
    fees: Fees = NO_FEES
    slippage: Slippage = NO_SLIPPAGE
    interest: Interest = NO_INTEREST
    touch: bool = False  # a limit order trades when its price is only reached
    trade_from: int = 0  # ts before which orders are refused: a strategy warms up
    seed: int = 0  # of `ultra.random`, for every set the same

    def rules(self, instruments: Sequence[Priced], highest: Sequence[int]) -> bar_rules.Rules:
        """As whole numbers. BarError, TermsError."""
        cash, row = money_e9(self.cash), costs.terms(self.fees, self.slippage, self.interest)
        if not 0 < cash < bar_rules.MONEY_MAX:
            raise BarError(f"cash = {self.cash}: wanted more than 0, and less than {bar_rules.MONEY_MAX // E9}")
        if row[venue.MARGIN_PPM] > bar_rules.MARGIN_PPM_MAX:
            raise BarError(f"margin_percent = {self.interest.margin_percent}: wanted at most 200")
        worth = [int(each.tick_e9) * int(each.lot_e9) // E9 for each in instruments]
        rules = bar_rules.create(
            row,
            worth,
            highest,
            cash=cash,
            touch=int(self.touch),
            trade_from=int(self.trade_from),
            seed=int(self.seed),
        )
        for each, lots in zip(instruments, rules.lots_max.tolist(), strict=True):
            if lots < 1:
                raise BarError(f"{each.symbol}: one lot may be worth more than int64 holds: take a smaller lot")
        return rules


WORDS: Final = frozenset(one.name for one in fields(Terms))


def terms_of(given: Any, words: Mapping[str, Any]) -> Terms:
    """The terms of bars out of those of any backtest (None: the defaults), with these words in place of theirs.

    BarError when a word is none of bars."""
    unknown = sorted(set(words) - WORDS)
    if unknown:
        raise BarError(f"{', '.join(unknown)}: bars have no such term; there are {', '.join(sorted(WORDS))}")
    known = {name: getattr(given, name) for name in WORDS if hasattr(given, name)}
    return Terms(**{**known, **words})


def run_bars(
    strategy: str | type | strategies.Loaded,
    tape: Recorded | Bars,
    parameter_sets: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    *,
    terms: Terms | None = None,
    threads: int | None = None,
    periods_per_year: float | None = None,
    progress: Callable[[int], Any] | None = None,
) -> "Grid":
    """Run every parameter set over the tape.

    `parameter_sets`: a list of {name: value}, or columns {name: values}; none is one set of all defaults. What is not
    named keeps its default. `progress` is called with how many sets have just been done."""
    loaded = strategy if isinstance(strategy, strategies.Loaded) else strategies.load(strategy)
    bars = tape if isinstance(tape, Bars) else bar_tape.prepare(tape)
    terms = terms or Terms()
    params = rows_of(loaded, parameter_sets)
    rules = terms.rules(bars.instruments, bars.highest())
    found = Grid(loaded, bars, terms, rules, params, np.zeros(len(params), accounts.ACCOUNT), periods_per_year)
    through = loops(loaded, len(bars.instruments))
    size = max(BLOCK_SETS, min(BLOCK_SETS_MAX, BLOCK_BARS // max(1, len(bars.records))))
    workers = threads or len(os.sched_getaffinity(0))
    size = max(1, min(size, -(-len(params) // workers)))

    def one(first: int) -> int:
        block = begun(found, first, min(first + size, len(params)))
        try:
            through(block, rules, bars.records, bars.cuts)
        except (NumbaError, KeyError) as error:
            raise strategies.untold(loaded, error) from error
        found.accounts[first : first + size] = block.accounts.view(np.ndarray)
        return len(block.accounts)

    starts = range(0, len(params), size)
    if not JIT or workers == 1 or len(starts) < 2:
        done: Iterable[int] = map(one, starts)
        for count in done:
            if progress:
                progress(count)
        return found
    one_first = one(0)  # compiles, which threads can't do together
    if progress:
        progress(one_first)
    with ThreadPoolExecutor(workers, thread_name_prefix="ultra-bars") as pool:
        for count in pool.map(one, starts[1:]):
            if progress:
                progress(count)
    return found


def begun(grid: "Grid", first: int, last: int, *, told: int = 0, course: int = 0) -> accounts.Block:
    """A block of the sets `first` to before `last`, at their beginning."""
    sets, instruments = last - first, len(grid.bars.instruments)
    states = strategies.states(grid.loaded, sets * instruments)
    block = accounts.create(sets, instruments, states, grid.params[first:last].copy(), told=told, course=course)
    accounts.begin(block, grid.rules, bar_tape.faces(grid.bars.instruments))
    return block


_LOOPS: dict[str, tuple[bar_loop.Through, bar_loop.Through]] = {}


def loops(loaded: strategies.Loaded, instruments: int) -> bar_loop.Through:
    """The compiled loop of a strategy, bound once a process."""
    if loaded.hooks.on_bar is strategies.ignore:
        raise BarError(f"{loaded.spec} has no on_bar, so nothing of it can run on bars")
    if loaded.fingerprint not in _LOOPS:
        _LOOPS[loaded.fingerprint] = bar_loop.build(loaded.hooks, loaded.fingerprint + "-bars")
    return _LOOPS[loaded.fingerprint][instruments > 1]


def rows_of(loaded: strategies.Loaded, given: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Any:
    """Parameter records of all sets. StrategyError names every wrong value of the first set that has one."""
    if not isinstance(given, Mapping):
        names = sorted({name for each in given for name in each})
        if any(set(each) != set(names) for each in given):
            return np.concatenate([strategies.parameters(loaded, each) for each in given])
        count = len(given)
        columns = {name: np.array([each[name] for each in given]) for name in names}
    else:
        columns = {name: np.atleast_1d(np.asarray(values)) for name, values in given.items()}
        count = max((len(values) for values in columns.values()), default=1)
    if not count:
        count = 1
    bad = [name for name, values in columns.items() if len(values) != count]
    if bad:
        raise BarError(f"columns {', '.join(bad)} have not the {count} values that others have")
    for index in unlawful(loaded, columns):
        strategies.parameters(loaded, {name: values[index].item() for name, values in columns.items()})
    rows = np.repeat(strategies.parameters(loaded, {}), count)
    for name, values in columns.items():
        rows[name] = values
    return rows


def unlawful(loaded: strategies.Loaded, columns: Mapping[str, Any]) -> list[int]:
    """The sets to be checked one by one, so that what is wrong is said as everywhere: the first that may be wrong."""
    suspects = {0}
    for name, values in columns.items():
        field = loaded.fields.get(name)
        if field is None or field.kind != "parameter":
            continue
        wrong = np.zeros(len(values), bool)
        if field.low is not None:
            wrong |= values < field.low
        if field.high is not None:
            wrong |= values > field.high
        if isinstance(field.default, int) and values.dtype.kind not in "iub":
            wrong |= True
        if wrong.any():
            suspects.add(int(np.argmax(wrong)))
    return sorted(suspects)


def yearly(ts: Any, periods_per_year: float | None = None) -> float:
    """Periods a year of these moments, as `ultra.lab.performance` reckons them when nobody says."""
    span = int(ts[-1] - ts[0])
    return float(periods_per_year or (0.0 if span == 0 else (len(ts) - 1) * YEAR_NS / span))


@dataclass(frozen=True, eq=False)
class Grid:
    """What all parameter sets came to, in the order in which they were given."""

    loaded: strategies.Loaded
    bars: Bars
    terms: Terms
    rules: bar_rules.Rules
    params: Any  # records of the strategy's parameters
    accounts: Any  # ACCOUNT[sets]
    periods_per_year: float | None = None

    def __len__(self) -> int:
        return len(self.params)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """A column a figure, by the definitions of `ultra.lab.performance`; `rounds`: positions that came back to 0."""
        return bar_figures.of_accounts(self.accounts, self.bars.ts, self.rules, self.periods_per_year)

    def table(self) -> dict[str, Any]:
        """The same behind the parameters. A figure whose name a parameter has is found under `figure_NAME`."""
        columns = {name: np.asarray(self.params[name]) for name in self.loaded.params_dtype.names}
        columns.pop("unused", None)
        for name, values in self.figures.items():
            columns[f"figure_{name}" if name in columns else name] = values
        return columns

    def frame(self) -> Any:
        """The same as a pandas DataFrame."""
        return need("pandas").DataFrame(self.table())

    def parameters(self, index: int) -> dict[str, Any]:
        """The parameters of one set."""
        names = [name for name, field in self.loaded.fields.items() if field.kind == "parameter"]
        return {name: type(self.loaded.fields[name].default)(self.params[name][index]) for name in names}

    def course(self, index: int) -> tuple[Any, Any]:
        """Equity of one set at every moment (int64[moments], 1e-9 of the currency), and its fills (FILLS)."""
        account = self.accounts[index]
        block = begun(self, index, index + 1, told=int(account["fills"]), course=len(self.bars.ts))
        loops(self.loaded, len(self.bars.instruments))(block, self.rules, self.bars.records, self.bars.cuts)
        equity = block.course
        if block.accounts[0].ended:
            equity[int(block.accounts[0].ended_at) :] = block.accounts[0].equity
        fills = np.zeros(len(block.told), FILLS)
        for name, column in (
            ("ts_event", accounts.TS), ("instrument", accounts.INSTRUMENT), ("side", accounts.SIDE),
            ("took", accounts.TOOK), ("price", accounts.PRICE), ("qty", accounts.QTY), ("fee_e9", accounts.FEE),
            ("order_id", accounts.HANDLE), ("cause", accounts.CAUSE),
        ):  # fmt: skip
            fills[name] = block.told[:, column]
        fills["ahead"] = -1
        return equity, fills.view(np.recarray)

    def performance(self, index: int = 0) -> Performance:
        """One set in full."""
        equity, fills = self.course(index)
        return measure(
            self.bars.ts, equity, fills, instruments=self.bars.instruments,
            initial_cash_e9=int(self.rules.cells[bar_rules.CASH]), periods_per_year=self.periods_per_year,
            exposure=self.gross(index, fills),
        )  # fmt: skip

    def gross(self, index: int, fills: Any) -> Any:
        """int64[moments]: what these fills of a set leave in positions at the close of every moment, without sign;
        nothing from where its run ended, which closed them without a fill."""
        lots, _ = held(fills, len(self.bars.instruments), self.bars.ts)
        found = (np.abs(lots) * self.bars.closes() * self.rules.worth).sum(axis=1)
        if self.accounts["ended"][index]:
            found[int(self.accounts["ended_at"][index]) :] = 0
        return found
