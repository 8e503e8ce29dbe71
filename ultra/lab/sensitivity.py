"""What if: every order later, or larger. Whole backtests again, side by side, nothing extrapolated.

`latencies` adds 0, 1, 10, 100 us and 1 ms to every way to the venue. `capacity` makes each lot of the strategy 1, 2, 5,
10, 20, 50 at the venue, where an order that must trade at once walks the book as deep as it needs, and one that rests
gets no more than the recorded market brought. The strategy decides as it did; only the account differs.
Known bad case: a book that grows back at once after we took it is the recording's, not what a market would do.
"""

import dataclasses
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ..config import Config
from . import terms as costs
from .backtest import Result, Terms, backtest

LATER_NS: Final = (0, 1_000, 10_000, 100_000, 1_000_000)
MULTIPLES: Final = (1, 2, 5, 10, 20, 50)


class Later(NamedTuple):
    """One backtest with every order so much later."""

    more_ns: int
    pnl: Decimal
    total_return: float
    sharpe: float
    fills: int


class Larger(NamedTuple):
    """One backtest with every order so many times as large."""

    multiple: int
    pnl: Decimal
    pnl_per_lot: Decimal  # of what was traded
    traded_lots: int
    filled: float  # traded lots / (multiple * those of multiple 1)


def latencies(
    strategy: Any,
    data: Any,
    *,
    more_ns: Sequence[int] = LATER_NS,
    terms: Terms | None = None,
    config: Config | None = None,
    told: Callable[[str], None] | None = None,
    **given: Any,
) -> list[Later]:
    """The same backtest with `more_ns` added to the latency of every order and cancel."""
    wanted, given = _terms(terms, given)
    rows = []
    base = wanted.latency or costs.Latency(order_ns=(config or Config()).venue.latency_ns)
    for more in more_ns:
        if told is not None:
            told(f"latency + {more} ns")
        late = dataclasses.replace(wanted, latency=base.later(more))
        found = backtest(strategy, data, terms=late, config=config, **given)
        performance = found.performance
        rows.append(Later(more, won(found), performance.total_return, performance.sharpe, performance.fill_count))
    return rows


def capacity(
    strategy: Any,
    data: Any,
    *,
    multiples: Sequence[int] = MULTIPLES,
    terms: Terms | None = None,
    config: Config | None = None,
    told: Callable[[str], None] | None = None,
    **given: Any,
) -> list[Larger]:
    """The same backtest with orders so many times as large."""
    wanted, given = _terms(terms, given)
    rows: list[Larger] = []
    single = 0
    for multiple in multiples:
        if told is not None:
            told(f"orders x {multiple}")
        larger = dataclasses.replace(wanted, multiple=multiple, walks=True)
        found = backtest(strategy, data, terms=larger, config=config, **given)
        lots = int(found.fills["qty"].sum())
        single = single or lots // multiple
        each = won(found) / lots if lots else Decimal(0)
        rows.append(Larger(multiple, won(found), each, lots, lots / (multiple * single) if single else 0.0))
    return rows


def _terms(terms: Terms | None, given: dict[str, Any]) -> tuple[Terms, dict[str, Any]]:
    """The terms, with those of their fields that were given one by one; and what else was given."""
    names = {field.name for field in dataclasses.fields(Terms)}
    own = {name: value for name, value in given.items() if name in names}
    return dataclasses.replace(terms or Terms(), **own), {k: v for k, v in given.items() if k not in names}


def won(result: Result) -> Decimal:
    """Profit and loss, after fees and interest."""
    return result.performance.final_equity - result.performance.initial_cash
