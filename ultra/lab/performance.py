"""How good a course of equity was: returns and their ratios, drawdowns, round trips, fees. One definition each.

Money is exact (int64 in 1e-9 of the currency inside, Decimal outside); floats are statistics only. A ratio whose
numerator is 0 is 0, one whose denominator is 0 is not defined: nan, null in JSON. So without a trade, or of a single
point, every figure is 0. Ruin (equity of 0 or less) ends the series of returns; the total return says how deep it went.

    return k       equity[k] / equity[k - 1] - 1, of successive points
    Sharpe         mean(return - rf) / std(return, n - 1) * sqrt(periods a year)   Sharpe, The Sharpe Ratio, 1994
    Sortino        mean(return - rf) / sqrt(mean(min(return - rf, 0)^2)) * the same   Sortino and Price, 1994
    drawdown       1 - equity / highest equity so far, the initial cash among them
    CAGR           (final / initial) ^ (1 / years) - 1, of 365.25 days   Calmar: CAGR / max drawdown, Young 1991
    turnover       value of all fills / mean equity, not annualised

Known bad case: of one session the periods a year that time stamps give are those of a market that never sleeps; say
`periods_per_year` (252 * 390 of minutes of NYSE) to have them of trading time.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np

from .extra import need
from .fills import Priced, empty, held, scale_of, total_of, traded_e9, trips_of

DAY_NS: Final = 86_400_000_000_000
YEAR_NS: Final = 31_557_600_000_000_000  # of 365.25 days
NAN: Final = math.nan
extra = need  # a package of the extra `lab`, or LabError


class PerformanceError(ValueError):
    """A course that can't be measured: says which of its parts is wrong, and what was wanted."""


@dataclass(frozen=True)
class Performance:
    """What a course of equity comes to. Shares of one (0.05 is 5 %), money in the currency, time in ns."""

    total_return: float  # final equity / initial cash - 1
    cagr: float  # nan of less than a day: it would call a session a year; -1 after ruin
    volatility: float  # standard deviation of the returns (n - 1), annualised
    sharpe: float
    sortino: float
    calmar: float
    max_drawdown: float  # 0.2: it fell by a fifth from its peak
    max_drawdown_ns: int  # of that drawdown: from its peak to when that was reached again, or to the end
    longest_drawdown_ns: int  # of all drawdowns
    hit_rate: float  # share of round trips (FIFO) that won after fees
    profit_factor: float  # what winning trips won / what losing ones lost
    turnover: float
    fees: Decimal  # paid, less what was rebated
    exposure: float  # mean over time of (gross value of positions / equity)
    time_in_market: float  # share of the time with a position
    trade_count: int  # round trips
    fill_count: int
    first_ts: int
    last_ts: int
    initial_cash: Decimal
    final_equity: Decimal
    periods_per_year: float
    ts: Any = field(repr=False, compare=False)  # int64[n]: the course that was measured
    equity_e9: Any = field(repr=False, compare=False)  # int64[n]
    fills: Any = field(repr=False, compare=False)  # FILLS
    instruments: tuple[Priced, ...] = field(repr=False, compare=False)

    def trades(self) -> Any:
        """Round trips, first in first out: `ultra.lab.fills.TRIPS`, in the order in which they closed."""
        return trips_of(self.fills, self.instruments)

    def figures(self) -> dict[str, Any]:
        """Every figure by its name: floats, ints, Decimals."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.repr}

    def as_json(self) -> dict[str, Any]:
        """The same with money as decimal strings and null for what is not defined."""
        return {name: plain(value) for name, value in self.figures().items()}

    def json(self) -> str:
        """The same as text."""
        return json.dumps(self.as_json())

    def frame(self) -> Any:
        """The course as a pandas DataFrame: index time (UTC), columns equity and drawdown."""
        pandas = extra("pandas")
        return pandas.DataFrame(
            {"equity": self.equity_e9 / 1e9, "drawdown": drawdowns(self.equity_e9, _e9(self.initial_cash))},
            index=pandas.to_datetime(self.ts, unit="ns", utc=True),
        )

    def trades_frame(self) -> Any:
        """The round trips as a pandas DataFrame: prices and money in the currency, time in UTC."""
        pandas = extra("pandas")
        trips, ticks = self.trades(), [found.tick_e9 / 1e9 for found in self.instruments]
        tick = np.array(ticks or [0.0])[trips["instrument"]]
        return pandas.DataFrame(
            {
                "symbol": [self.instruments[k].symbol for k in trips["instrument"]],
                "side": np.where(trips["side"] == 0, "long", "short"),
                "qty": trips["qty"],
                "opened": pandas.to_datetime(trips["opened_ts"], unit="ns", utc=True),
                "closed": pandas.to_datetime(trips["closed_ts"], unit="ns", utc=True),
                "opened_price": trips["opened_price"] * tick,
                "closed_price": trips["closed_price"] * tick,
                "pnl": trips["pnl_e9"] / 1e9,
                "fees": trips["fee_e9"] / 1e9,
            }
        )

    def html(self, path: Path | str) -> Path:
        """Write a page of it: self-contained, no script. Returns its path."""
        from . import sheet

        return sheet.write(Path(path), sheet.of_performance(self))

    def _repr_html_(self) -> str:
        from . import sheet

        return sheet.brief(self)


def measure(
    ts: Any,
    equity_e9: Any,
    fills: Any = None,
    *,
    instruments: Sequence[Priced] = (),
    initial_cash_e9: int,
    exposure: Any = None,
    periods_per_year: float | None = None,
    risk_free: float = 0.0,
) -> Performance:
    """Measure a course: `ts` int64[n] ns, not falling; `equity_e9` int64[n]; n at least 1; `fills` of FILLS.

    The first point is where it begins, before anything was traded. `exposure` is the gross value of positions at each
    point (int64[n], 1e-9); without it a position is worth its last fill. `risk_free` is a rate a year.
    `periods_per_year`: how many points a year has; without it (n - 1) / years between the first and the last."""
    ts, equity, instruments = np.asarray(ts, np.int64), np.asarray(equity_e9, np.int64), tuple(instruments)
    fills = empty() if fills is None else fills
    _check(ts, equity, fills, instruments, initial_cash_e9)
    span = int(ts[-1] - ts[0])
    yearly = float(periods_per_year or (0.0 if span == 0 else (len(ts) - 1) * YEAR_NS / span))
    scale = scale_of(instruments)
    excess = returns(equity) - (risk_free / yearly if yearly else 0.0)
    mean = float(excess.mean()) if len(excess) else 0.0
    spread = spread_of(excess)
    below = math.sqrt(float(np.minimum(excess, 0.0) @ np.minimum(excess, 0.0)) / max(1, len(excess)))
    total, growth = int(equity[-1]) / initial_cash_e9 - 1, cagr(initial_cash_e9, int(equity[-1]), span)
    deepest, deepest_ns, longest_ns = fallen(ts, equity, initial_cash_e9)
    gross = _gross(ts, fills, scale) if exposure is None else np.abs(np.asarray(exposure, np.float64))
    weights = np.diff(ts).astype(np.float64) if span else np.ones(1)
    trips = trips_of(fills, instruments)
    won, lost = trips["pnl_e9"][trips["pnl_e9"] > 0], trips["pnl_e9"][trips["pnl_e9"] < 0]
    return Performance(
        total_return=total,
        cagr=growth,
        volatility=spread * math.sqrt(yearly),
        sharpe=ratio(mean, spread) * math.sqrt(yearly),
        sortino=ratio(mean, below) * math.sqrt(yearly),
        calmar=ratio(growth, deepest),
        max_drawdown=deepest,
        max_drawdown_ns=deepest_ns,
        longest_drawdown_ns=longest_ns,
        hit_rate=len(won) / len(trips) if len(trips) else 0.0,
        profit_factor=ratio(total_of(won), -total_of(lost)),
        turnover=ratio(traded_e9(fills, scale), float(np.mean(equity.astype(np.float64)))),
        fees=money(total_of(fills["fee_e9"])),
        exposure=float(np.average(_share(gross, equity)[: len(weights)], weights=weights)),
        time_in_market=float(np.average(gross[: len(weights)] != 0, weights=weights)),
        trade_count=len(trips),
        fill_count=len(fills),
        first_ts=int(ts[0]),
        last_ts=int(ts[-1]),
        initial_cash=money(initial_cash_e9),
        final_equity=money(int(equity[-1])),
        periods_per_year=yearly,
        ts=ts,
        equity_e9=equity,
        fills=fills,
        instruments=instruments,
    )


def _check(ts: Any, equity: Any, fills: Any, instruments: tuple[Priced, ...], initial_cash_e9: int) -> None:
    if ts.ndim != 1 or len(ts) == 0 or ts.shape != equity.shape:
        raise PerformanceError(f"ts {ts.shape}, equity {equity.shape}: wanted two columns of equal length, not empty")
    if (np.diff(ts) < 0).any():
        raise PerformanceError(f"ts goes back at point {int(np.argmax(np.diff(ts) < 0)) + 1}: sort the points by time")
    if initial_cash_e9 <= 0:
        raise PerformanceError(f"initial cash {money(initial_cash_e9)}: returns need more than 0 to begin with")
    if len(fills) and not instruments:
        raise PerformanceError("there are fills, but no instruments to say what a tick and a lot are")


def returns(equity: Any) -> Any:
    """float64[n - 1]: the return of each period, up to and with the one that ruined it."""
    broken = np.flatnonzero(equity <= 0)
    alive = equity[: broken[0] + 1] if len(broken) else equity
    if len(alive) < 2 or alive[0] <= 0:
        return np.zeros(0)
    values = alive.astype(np.float64)
    return values[1:] / values[:-1] - 1.0


def spread_of(values: Any) -> float:
    """Standard deviation over n - 1; 0 of less than two. What rounding alone makes of equal values is 0 too."""
    if len(values) < 2:
        return 0.0
    found = float(np.std(values, ddof=1))
    return found if found > 1e-15 * max(1.0, float(np.abs(values).max())) else 0.0


def cagr(initial_e9: int, final_e9: int, span_ns: int) -> float:
    """Growth a year; nan of less than a day, -1 when nothing is left, infinite where a float ends."""
    if final_e9 <= 0:
        return -1.0
    if final_e9 == initial_e9:
        return 0.0
    if span_ns < DAY_NS:
        return NAN
    power = math.log(final_e9 / initial_e9) * YEAR_NS / span_ns
    return math.expm1(power) if power < 700 else math.inf


def drawdowns(equity: Any, initial_e9: int) -> Any:
    """float64[n]: how far each point is below the highest until then, as a share of that."""
    peaks = np.maximum(np.maximum.accumulate(equity), initial_e9).astype(np.float64)
    return 1.0 - equity / peaks


def fallen(ts: Any, equity: Any, initial_e9: int) -> tuple[float, int, int]:
    """The deepest drawdown, how long that one lasted, and the longest of all.

    One lasts from the last point at its peak (the first point, if that is the initial cash) to the first at or above
    it again, or to the end."""
    peaks = np.maximum(np.maximum.accumulate(equity), initial_e9)
    under = equity < peaks
    if not under.any():
        return 0.0, 0, 0
    edges = np.diff(np.concatenate(([0], under.astype(np.int8), [0])))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lasted = ts[np.minimum(ends, len(ts) - 1)] - ts[np.maximum(begins - 1, 0)]
    depth = drawdowns(equity, initial_e9)
    deepest = int(np.argmax(depth))
    which = int(np.searchsorted(begins, deepest, side="right")) - 1
    return float(depth[deepest]), int(lasted[which]), int(lasted.max())


def ratio(above: float, below: float) -> float:
    """0 over anything is 0; anything else over 0 is not defined."""
    if above == 0:
        return 0.0
    return above / below if below else NAN


def money(units_e9: int) -> Decimal:
    """1e-9 of the currency, exact."""
    return Decimal(units_e9).scaleb(-9)


def plain(value: Any) -> Any:
    """A figure for JSON: money as a decimal string; nan and infinity as null."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _e9(value: Decimal) -> int:
    return int(value.scaleb(9))


def _gross(ts: Any, fills: Any, scale: Any) -> Any:
    """float64[n]: value of all positions without sign, each at its last fill."""
    lots, last = held(fills, len(scale), ts)
    unit = scale[:, 0] / scale[:, 1] if len(scale) else np.zeros(0)
    return (np.abs(lots) * last.astype(np.float64) * unit).sum(axis=1)


def _share(gross: Any, equity: Any) -> Any:
    """Of the equity; of none it is counted as 0."""
    found = np.zeros(len(equity))
    np.divide(gross, equity, out=found, where=equity > 0)
    return found
