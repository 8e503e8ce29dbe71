"""`backtest(strategy, data)`: the strategy as it stands, on recorded data, through the engine's own step.

    result = backtest("maker.py:Maker", "day.itch50.gz", cash=100_000, fees=Fees(taker_bps="0.3"))
    result.performance.sharpe, result.fills, result.decision_hash

Records, venue, latency and costs are one deterministic machine: the same call gives the same fills, and an ITCH file
gives the decisions of `ultra run` on it (equal `decision_hash`). What is measured: the account's equity on an even grid
of time, positions at the middle of the touch; fills with what filled them; the middle 1 ms to 1 minute after each.
Known bad case: the recorded market does not react (venue="paper"); venue="matching" lets it, by its own stated rules.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from .. import strategy as strategies
from ..cold import assembly
from ..cold import summary as summaries
from ..config import Config
from ..hot import engine as engines
from ..inline import MARKET_RECORDS
from ..rules import Table
from ..trial import FILLED, THROUGH, TOOK
from ..venues import account as accounts
from ..venues import estimate, itch
from ..venues.markout import MARKOUT
from ..wire import NONE, int_to_symbol
from . import explain as reasons
from . import terms as costs
from .course import BacktestError, Course, Setting
from .extra import need
from .fills import FILLS, Priced, scale_of
from .performance import Performance, measure, money
from .source import ItchFile, Source, source_of

__all__ = ["BacktestError", "Result", "Terms", "backtest"]

VENUES: Final = ("paper", "matching")
ITCH_STEP: Final = 100  # a cent
SECOND_NS: Final = 1_000_000_000


class Seen(NamedTuple):
    """An instrument as a feed introduced it."""

    symbol: str
    tick_e9: int
    lot_e9: int


@dataclass(frozen=True)
class Terms:
    """Everything that a backtest is made under, beside strategy and data."""

    cash: costs.Number = 1_000_000
    fees: costs.Fees = costs.NO_FEES
    latency: costs.Latency | None = None  # None: that of the configuration (venue.latency_ns)
    slippage: costs.Slippage = costs.NO_SLIPPAGE
    interest: costs.Interest = costs.NO_INTEREST
    queue: str = "risk-averse"  # or "power", "log": where we stand in a queue of a feed of levels
    exponent: int = 2  # of "power"
    venue: str = "paper"
    sample_ns: int = SECOND_NS  # between two points of equity, at first; doubled when there are 16,384
    multiple: int = 1  # lots at the venue for each that the strategy thinks it has: see `capacity`
    walks: bool = False  # an order that must trade at once takes any price, level by level
    seed: int = 0  # of `ultra.random`; 0: that of the configuration (strategy.seed)


@dataclass(frozen=True)
class Result:
    """What a backtest leaves behind."""

    strategy: str
    source: str
    parameters: dict[str, Any]
    terms: Terms
    performance: Performance
    fills: Any = field(repr=False)  # ultra.lab.fills.FILLS
    explained: Any = field(repr=False)  # ultra.trial.FILLED, a row a fill: why, by what, how long it waited
    marks: Any = field(repr=False)  # ultra.venues.markout.MARKOUT
    equity: Any = field(repr=False)  # ultra.venues.account.POINT
    instruments: tuple[Priced, ...] = field(repr=False)
    decision_hash: str
    state_hash: str
    records: int
    orders: int
    cancels: int
    rejects: dict[str, int]
    interest_e9: int
    margin_calls: int  # points of equity at which it did not cover the margin
    margin_called_ts: int  # the first, -1 when there was none
    damage: str  # what was wrong with the source, "" when nothing was
    loop_s: float = field(compare=False)
    data: Source = field(repr=False, compare=False)  # to look at the book around a fill again
    config: Config = field(repr=False, compare=False)

    def explain(self, number: int) -> str:
        """One fill in words: what, when, behind how much it stood, what filled it and by which rule."""
        return reasons.sentence(self, number)

    def markouts(self) -> list[reasons.Horizon]:
        """What fills were worth when they came, and 1 ms to 1 minute later."""
        return reasons.horizons(self)

    def frame(self) -> Any:
        """Every fill with its reason and its markouts, as a pandas DataFrame."""
        return reasons.frame(self, need("pandas"))

    def as_json(self) -> dict[str, Any]:
        """All figures, for `json.dumps`: money as decimal strings."""
        return {
            "strategy": self.strategy,
            "source": self.source,
            "parameters": self.parameters,
            "records": self.records,
            "orders": self.orders,
            "cancels": self.cancels,
            "fills": len(self.fills),
            "rejects_by_reason": self.rejects,
            "decision_hash": self.decision_hash,
            "state_hash": self.state_hash,
            "performance": self.performance.as_json(),
            "pnl": f"{self.performance.final_equity - self.performance.initial_cash:f}",
            "interest": f"{money(self.interest_e9):f}",
            "margin_calls": self.margin_calls,
            "fills_by_rule": reasons.by_rule(self),
            "markouts": [row._asdict() for row in self.markouts()],
            "damage": self.damage,
            "records_per_s": round(self.records / self.loop_s) if self.loop_s else 0,
        }

    def json(self) -> str:
        """The same as text."""
        return json.dumps(self.as_json())

    def html(self, path: Path | str, more: Mapping[str, Any] | None = None) -> Path:
        """Write the tear sheet: one page, self-contained, no script. Returns its path.

        `more` may have the rows of a latency sweep and of a capacity sweep, as `ultra backtest --json` prints them."""
        from . import sheet

        return sheet.write(Path(path), sheet.of_result(self, more or {}))

    def _repr_html_(self) -> str:
        from . import sheet

        return sheet.brief(self.performance)


def backtest(
    strategy: str | type | strategies.Loaded,
    data: Any,
    *,
    parameters: Mapping[str, Any] | None = None,
    terms: Terms | None = None,
    config: Config | None = None,
    progress: Callable[[dict[str, int]], None] | None = None,
    periods_per_year: float | None = None,
    **given: Any,
) -> Result:
    """Run a strategy over data, and measure it. BacktestError, TermsError, StrategyError.

    `data` is a path of ITCH 5.0, a `Tape`, or anything that `ultra.lab.data.load` takes. `given` are fields of Terms
    (cash=, fees=, latency=, ...) in place of those of `terms`. With a `config` its limits hold; without one an ITCH
    file has the default limits, as in `ultra run`, and any other data none but sanity. A tape of bars goes to
    `ultra.lab.bars`, by its rules. `periods_per_year`: see `ultra.lab.performance.measure`."""
    found = source_of(data)
    if found.kind == "bars":
        wanted = replace(terms or Terms(), **given)
        return of_bars(strategy, found, parameters or {}, wanted, config or Config(), periods_per_year)
    course, wanted = course_of(
        strategy, found, parameters=parameters, terms=terms, config=config, progress=progress, **given
    )
    course.begin()
    found.play(course.config, course)
    return _result(course, wanted, found, periods_per_year)


def course_of(
    strategy: str | type | strategies.Loaded,
    source: Source,
    *,
    parameters: Mapping[str, Any] | None = None,
    terms: Terms | None = None,
    config: Config | None = None,
    progress: Callable[[dict[str, int]], None] | None = None,
    **given: Any,
) -> tuple[Course, Terms]:
    """A course that has not begun, and the terms it is made under."""
    wanted = replace(terms or Terms(), **given)
    if wanted.venue not in VENUES or wanted.queue not in estimate.MODELS:
        raise BacktestError(
            f"venue {wanted.venue!r}, queue {wanted.queue!r}: there are {VENUES} and {tuple(estimate.MODELS)}"
        )
    loaded = strategy if isinstance(strategy, strategies.Loaded) else strategies.load(strategy)
    settings = _configured(config, source, parameters or {}, wanted.seed)
    return Course(settings, loaded, _setting(wanted, settings, source, config is None), progress), wanted


def _configured(config: Config | None, source: Source, parameters: Mapping[str, Any], seed: int) -> Config:
    """The configuration, with the parameters and, of a tape, room for its instruments."""
    made = config or Config()
    known = Table({**made.strategy.parameters, **parameters})
    made = replace(made, strategy=replace(made.strategy, parameters=known, seed=seed or made.strategy.seed))
    if not isinstance(source, ItchFile):
        made = replace(made, engine=replace(made.engine, instrument_max=max(1, len(source.instruments))))
    return made


def _setting(wanted: Terms, config: Config, source: Source, unlimited: bool) -> Setting:
    latency = wanted.latency or costs.Latency(order_ns=config.venue.latency_ns)
    if isinstance(source, ItchFile):
        instruments: Sequence[Priced] = [Seen("", itch.TICK_E9, itch.LOT_E9)]
        scale = np.repeat(scale_of(instruments), config.engine.instrument_max, axis=0)
    else:
        scale = scale_of(source.instruments)
    initial = costs.money_e9(wanted.cash)
    if initial <= 0:
        raise BacktestError(f"cash = {wanted.cash}: returns need more than 0 to begin with")
    if wanted.sample_ns <= 0 or wanted.sample_ns % accounts.MS_NS:
        raise BacktestError(f"sample_ns = {wanted.sample_ns}: wanted whole milliseconds, more than 0")
    return Setting(
        scale,
        costs.terms(wanted.fees, wanted.slippage, wanted.interest),
        initial,
        latency.delay(),
        wanted.sample_ns,
        wanted.queue,
        wanted.exponent,
        unlimited and not isinstance(source, ItchFile),
        wanted.multiple,
        wanted.walks,
        _steps(source, len(scale)) if wanted.venue == "matching" else None,
    )


def _steps(source: Source, count: int) -> Any:
    """Ticks between two prices of each instrument, for an exchange of our own."""
    if isinstance(source, ItchFile):
        return np.full(count, ITCH_STEP, np.int64)
    if source.kind != "orders":
        raise BacktestError(
            f"venue matching needs every order of the market; {source.name} is of {source.kind}: take venue paper"
        )
    return np.array([getattr(known, "step", 1) for known in source.instruments], np.int64)


def _result(course: Course, wanted: Terms, source: Source, periods_per_year: float | None) -> Result:
    state_hash = course.finish()
    engine, cells = course.engine, course.account.cells
    instruments = tuple(source.instruments or _introduced(engine))
    explained = np.concatenate(course.fills) if course.fills else np.zeros(0, course.venue.filled.slots.dtype)
    explained = explained.view(np.recarray)
    fills = np.zeros(len(explained), FILLS).view(np.recarray)
    for name in FILLS.names:
        fills[name] = explained[name]
    points = accounts.course(course.account)
    return Result(
        strategy=course.loaded.spec,
        source=source.name,
        parameters=dict(course.config.strategy.parameters),
        terms=wanted,
        performance=measure(
            points["ts"],
            points["equity_e9"],
            fills,
            instruments=instruments,
            initial_cash_e9=course.setting.initial_e9,
            exposure=points["gross_e9"],
            periods_per_year=periods_per_year,
        ),
        fills=fills,
        explained=explained,
        marks=np.concatenate(course.marks).view(np.recarray),
        equity=points,
        instruments=instruments,
        decision_hash=assembly.decision_hash(engine),
        state_hash=state_hash,
        records=int(course.run.cells[MARKET_RECORDS]),
        orders=int(engine.cells[engines.ORDERS_SENT]),
        cancels=int(engine.cells[engines.CANCELS_SENT]),
        rejects=summaries.reasons(engine),
        interest_e9=int(cells[accounts.INTEREST_E9]),
        margin_calls=int(cells[accounts.CALLS]),
        margin_called_ts=int(cells[accounts.CALLED_TS]),
        damage=source.damage,
        loop_s=course.loop_s,
        data=source,
        config=course.config,
    )


def _introduced(engine: engines.Engine) -> list[Priced]:
    """The instruments that a feed has introduced, by index."""
    views = engine.market[: int(engine.cells[engines.INSTRUMENTS])]
    return [
        Seen(
            int_to_symbol(view.symbol) if view.symbol else "",
            int(view.tick_e9) or itch.TICK_E9,
            int(view.lot_e9) or itch.LOT_E9,
        )
        for view in views
    ]


def of_bars(
    strategy: str | type | strategies.Loaded,
    source: Source,
    parameters: Mapping[str, Any],
    wanted: Terms,
    config: Config,
    periods_per_year: float | None = None,
) -> Result:
    """The same of a tape of bars, which `bars.run_bars` plays by its own rules: fills at prices of bars, no latency, no
    queue, no hash of decisions. BacktestError for terms that bars do not have."""
    from . import bars

    if wanted.multiple != 1 or wanted.venue != "paper" or wanted.latency is not None:
        raise BacktestError(
            f"{source.name} is of bars, where there is no book: no venue matching, no latency, no multiple or capacity"
        )
    loaded = strategy if isinstance(strategy, strategies.Loaded) else strategies.load(strategy)
    grid = bars.run_bars(
        loaded,
        source.tape,
        [{**config.strategy.parameters, **parameters}],
        terms=bars.Terms(
            wanted.cash, wanted.fees, wanted.slippage, wanted.interest, seed=wanted.seed or config.strategy.seed
        ),
        threads=1,
        periods_per_year=periods_per_year,
    )
    performance, account = grid.performance(0), grid.accounts[0]
    fills = performance.fills
    points = np.zeros(len(performance.ts), accounts.POINT)
    points["ts"], points["equity_e9"] = performance.ts, performance.equity_e9
    points["gross_e9"] = grid.gross(0, fills)
    return Result(
        strategy=loaded.spec,
        source=source.name,
        parameters=grid.parameters(0),
        terms=wanted,
        performance=performance,
        fills=fills,
        explained=_explained(fills),
        marks=np.zeros(0, MARKOUT).view(np.recarray),
        equity=points,
        instruments=performance.instruments,
        decision_hash="",
        state_hash="",
        records=len(grid.bars.records),
        orders=int(account["sent"]),
        cancels=0,
        rejects={"refused": int(account["refused"])} if account["refused"] else {},
        interest_e9=int(account["carry"]),
        margin_calls=0,
        margin_called_ts=-1,
        damage="",
        loop_s=0.0,
        data=source,
        config=config,
    )


def _explained(fills: Any) -> Any:
    """FILLED of fills at bars: which rule it was, and nothing of a book that there is not."""
    found = np.zeros(len(fills), FILLED).view(np.recarray)
    for name in FILLS.names:
        found[name] = fills[name]
    found["sent_ts"] = found["arrived_ts"] = fills["ts_event"]
    found["by_id"] = found["by_price"] = NONE
    found["rule"] = np.where(fills["took"] == 1, TOOK, THROUGH)
    return found
