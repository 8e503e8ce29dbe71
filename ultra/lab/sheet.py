"""A tear sheet: one page of what a backtest came to, self-contained, well-formed XML, without a script.

The drawing files of `ultra.ops` (svg, page, charts) know nothing of a run, so the lab uses them as they are. Money is
printed as exact decimals; floats are statistics and lines. The same result gives the same bytes.
Known bad case: a notebook that strips styles shows the tables plain.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ..ops.page import ABSENT, CSS, amount, says, section, table, tile
from ..ops.svg import Markup, duration, number, tag, text
from ..trial import RULES
from ..wire import BID, decimal
from . import around, pictures
from . import explain as reasons
from .fills import held
from .performance import DAY_NS, drawdowns, money

if TYPE_CHECKING:
    from .backtest import Result
    from .performance import Performance

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
PERCENT: Final = ("total_return", "cagr", "volatility", "max_drawdown", "hit_rate", "exposure", "time_in_market")
TIMES: Final = ("max_drawdown_ns", "longest_drawdown_ns")
MOMENTS: Final = ("first_ts", "last_ts")
DESK_PX, PHONE_PX = 920, 360
TRADES_MAX: Final = 20
DAYS_OF_MONTHS: Final = 90  # longer data have a heat map by month
HOUR_NS: Final = 3_600_000_000_000
MORE_CSS: Final = """
.won,.bought{fill:var(--blue)}.lost,.sold{fill:var(--orange)}.printed{fill:var(--axis)}
.asked{fill:none;stroke:var(--orange);stroke-width:1.4}.bought,.sold{stroke:var(--card);stroke-width:1.5}
"""


class Sheet(NamedTuple):
    """A page: its title, what it is of, and its sections, drawn."""

    title: str
    about: Sequence[tuple[str, str]]
    tiles: Sequence[Markup]
    sections: Sequence[Markup]


def write(path: Path, sheet: Sheet) -> Path:
    """Write the page; a reader sees the whole file or the one before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(document(sheet), encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
    return path


def document(sheet: Sheet) -> str:
    """The whole document; it is also well-formed XML."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", text(sheet.title)),
        tag("style", Markup(CSS + MORE_CSS)),
    )
    ran = tag("p", *[tag("span", tag("b", text(k)), text(f" {v}")) for k, v in sheet.about], class_="ran")
    header = tag("header", tag("h1", text(sheet.title)), ran, tag("dl", *sheet.tiles, class_="tiles"))
    body = tag("body", tag("main", header, *sheet.sections))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def of_performance(found: "Performance", title: str = "Backtest") -> Sheet:
    """The page of a course alone: whatever made it."""
    return Sheet(title, _when(found), _tiles(found), [*_course(found), _figures(found), _trades(found)])


def of_result(found: "Result", more: Mapping[str, Any]) -> Sheet:
    """The page of an event-driven backtest. `more` may have the rows `latency` and `capacity` of its JSON."""
    performance = found.performance
    given = ", ".join(f"{name} = {value}" for name, value in found.parameters.items())
    about = [("source", Path(found.source).name), *_when(performance), ("parameters", given or "as declared")]
    sections = [
        *_course(performance), _position(found), _figures(performance), _trades(performance), _replay(found),
        _markouts(found), _fills(found), _latency(more.get("latency", ())), _capacity(more.get("capacity", ())),
        _identity(found),
    ]  # fmt: skip
    return Sheet(found.strategy, about, _tiles(performance), sections)


def brief(found: "Performance") -> str:
    """The figures as a table, for a notebook."""
    return table(("figure", "value"), _rows(found))


def shown(name: str, value: object) -> Markup:
    """A figure as a person would write it; what is not defined is shown as absent."""
    if value is None:
        return text(ABSENT)
    if name in PERCENT and isinstance(value, float):
        return text(number(100 * value, 3) + " %")
    if name in TIMES and isinstance(value, int):
        return text(duration(value))
    if name in MOMENTS and isinstance(value, int):
        return text(clock(value))
    return amount(value)


def clock(ts: int) -> str:
    """A moment, UTC, to the millisecond."""
    return datetime.fromtimestamp(ts // 1_000_000 / 1000, UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")


def _rows(found: "Performance") -> list[list[Markup]]:
    return [[text(name.replace("_", " ").removesuffix(" ns")), shown(name, v)] for name, v in found.as_json().items()]


def _when(found: "Performance") -> list[tuple[str, str]]:
    names = ", ".join(known.symbol for known in found.instruments[:8])
    return [("instruments", names or ABSENT), ("from", clock(found.first_ts)), ("to", clock(found.last_ts) + " UTC")]


def _tiles(found: "Performance") -> list[Markup]:
    won = found.final_equity - found.initial_cash
    figures = found.as_json()
    names = ("total_return", "sharpe", "sortino", "max_drawdown", "hit_rate", "trade_count")
    return [
        tile("P&L after fees", amount(f"{won:f}")),
        *[tile(name.replace("_", " "), shown(name, figures[name])) for name in names],
        tile("fees", amount(f"{found.fees:f}")),
    ]


def twice(draw: Callable[[int], Markup]) -> Markup:
    """A chart for a desk and one for a phone; a media query shows one."""
    return tag("div", tag("div", draw(DESK_PX), class_="desk"), tag("div", draw(PHONE_PX), class_="phone"))


def _course(found: "Performance") -> list[Markup]:
    ts, equity = found.ts, found.equity_e9 / 1e9
    depth = drawdowns(found.equity_e9, int(found.initial_cash.scaleb(9)))
    apart = f"A point each {duration(int(np.median(np.diff(ts))))}. " if len(ts) > 1 else ""
    return [
        section(
            "Equity and drawdown",
            twice(lambda width: pictures.course(ts, equity, width, "equity")),
            twice(lambda width: pictures.under_water(ts, depth, width)),
            says(apart + "Times are UTC. Positions are worth the middle of the touch."),
        ),
        _heat(found),
    ]


def _heat(found: "Performance") -> Markup:
    """Returns by month, or by hour where the data are of days."""
    ts, equity = found.ts, found.equity_e9.astype(np.float64)
    months = found.last_ts - found.first_ts > DAYS_OF_MONTHS * DAY_NS
    stamps = ts.astype("datetime64[ns]")
    cell = stamps.astype("datetime64[M]" if months else "datetime64[h]").astype(np.int64)
    last = np.flatnonzero(np.diff(cell, append=cell[-1:] + 1))  # the last point of each
    before = np.concatenate(([equity[0]], equity[last[:-1]]))
    won = np.divide(equity[last], before, out=np.ones(len(last)), where=before > 0) - 1.0
    across = 12 if months else 24
    row, column = cell[last] // across, cell[last] % across
    names = np.unique(row)[-pictures.ROWS_MAX :]
    values = np.full((len(names), across), np.nan)
    for r, c, value in zip(row.tolist(), column.tolist(), won.tolist(), strict=True):
        if r >= names[0]:
            values[int(np.searchsorted(names, r)), c] = value
    if months:
        rows, columns = [str(1970 + int(name)) for name in names], [f"{k + 1:02d}" for k in range(12)]
    else:
        rows = [str(np.datetime64(int(name), "D")) for name in names]
        columns = [f"{k:02d}h" for k in range(24)]
    title = "Returns by month" if months else "Returns by hour"
    note = "Older ones are left out." if len(np.unique(row)) > len(names) else ""
    return section(title, twice(lambda width: pictures.heat(rows, columns, values, width, "return")), says(note))


def _position(found: "Result") -> Markup:
    """Of the instrument that was traded most."""
    if len(found.fills) == 0:
        return section("Position", says("No order was filled."))
    index, counts = np.unique(found.fills["instrument"], return_counts=True)
    most = int(index[np.argmax(counts)])
    ts = np.unique(np.concatenate((found.equity["ts"], found.fills["ts_event"])))
    lots = held(found.fills, len(found.instruments), ts)[0][:, most]
    name = f"{found.instruments[most].symbol}, lots"
    gross = found.equity["gross_e9"] / 1e9
    return section(
        "Position",
        twice(lambda width: pictures.course(ts, lots, width, name, steps=True)),
        twice(lambda width: pictures.course(found.equity["ts"], gross, width, "gross value of positions")),
    )


def _figures(found: "Performance") -> Markup:
    return section("Figures", table(("", ""), _rows(found)), says("Definitions: ultra/lab/performance.py."))


def _trades(found: "Performance") -> Markup:
    """The round trips that moved most money, either way."""
    trips = found.trades()
    if len(trips) == 0:
        return section("Round trips", says("No round trip was closed."))
    largest = np.argsort(-np.abs(trips["pnl_e9"]), kind="stable")[:TRADES_MAX]
    rows = []
    for trip in trips[largest]:
        known = found.instruments[int(trip["instrument"])]
        rows.append([
            text(f"{known.symbol} {'long' if trip['side'] == BID else 'short'}"),
            text(clock(int(trip["opened_ts"]))),
            text(duration(int(trip["closed_ts"] - trip["opened_ts"]))),
            amount(int(trip["qty"])),
            text(decimal(int(trip["opened_price"]), known.tick_e9)),
            text(decimal(int(trip["closed_price"]), known.tick_e9)),
            amount(f"{money(int(trip['pnl_e9'])):f}"),
        ])  # fmt: skip
    names = ("", "opened", "held", "lots", "in at", "out at", "P&L after fees")
    told = f"The {len(rows)} largest of {len(trips):,}, first in first out."
    return section("Round trips", table(names, rows), says(told))


def _replay(found: "Result") -> Markup:
    """The book around the fill that opened the round trip with the largest loss (or the smallest win)."""
    trips = found.performance.trades()
    if len(trips) == 0 or found.data.kind == "bars":
        return text("")
    worst = trips[int(np.argmin(trips["pnl_e9"]))]
    number = int(worst["opened_by"])
    fill = found.fills[number]
    index, ts = int(fill["instrument"]), int(fill["ts_event"])
    span = int(min(max(worst["closed_ts"] - ts, 200_000_000), 30_000_000_000))
    window = around.Window(index, ts - span // 4, ts + span * 5 // 4)
    touches = around.touches(found.data, found.config, window)
    if len(touches) < 2 or not ((touches["bid"] >= 0) & (touches["ask"] >= 0)).any():
        return text("")
    known = found.instruments[index]
    tick = known.tick_e9 / 1e9
    inside = found.fills[
        (found.fills["instrument"] == index)
        & (found.fills["ts_event"] >= touches["ts"][0])
        & (found.fills["ts_event"] <= touches["ts"][-1])
    ]
    ours = [(int(row["ts_event"]), float(row["price"] * tick), bool(row["side"] == BID)) for row in inside]
    return section(
        "The book around the worst trade",
        twice(lambda width: pictures.book(touches, ours, tick, width, known.symbol)),
        says(
            f"Best bid (blue), best ask (orange), trades (small dots), our fills (circles), "
            f"from {clock(window.start_ts)} to {clock(window.stop_ts)} UTC. {reasons.sentence(found, number)}."
        ),
    )


def _markouts(found: "Result") -> Markup:
    rows = reasons.horizons(found)
    if not rows or rows[0].fills == 0:
        return text("")
    labels = ["0" if row.after_ns == 0 else duration(row.after_ns) for row in rows]
    lines = [
        [text(label), amount(row.fills), text(number(row.mean_ticks, 2)), amount(row.total), text(f"{row.won:.0%}")]
        for label, row in zip(labels, rows, strict=True)
    ]
    return section(
        "Markouts",
        twice(lambda width: pictures.bars(labels, [row.mean_ticks for row in rows], width, "ticks a lot")),
        table(("after", "fills", "ticks a lot", "in all", "won"), lines),
        says("What fills had won so long after them, at the middle of the touch, before fees."),
    )


def _fills(found: "Result") -> Markup:
    """Which rule filled how many, and the first few in words."""
    counts = reasons.by_rule(found)
    if not counts:
        return text("")
    rows = [[text(rule), amount(count)] for rule, count in counts.items()]
    told = [tag("p", text(reasons.sentence(found, k)), class_="says") for k in range(min(5, len(found.fills)))]
    return section("What filled our orders", table(("rule", "fills"), rows), *told)


def _latency(rows: Sequence[Mapping[str, Any]]) -> Markup:
    if not rows:
        return text("")
    labels = ["as it is" if row["more_ns"] == 0 else f"+{duration(row['more_ns'])}" for row in rows]
    lines = [
        [text(label), amount(row["pnl"]), shown("total_return", row["total_return"]), amount(row["fills"])]
        for label, row in zip(labels, rows, strict=True)
    ]
    return section(
        "If orders were later",
        twice(lambda width: pictures.bars(labels, [float(row["pnl"]) for row in rows], width, "P&L")),
        table(("latency", "P&L", "return", "fills"), lines),
    )


def _capacity(rows: Sequence[Mapping[str, Any]]) -> Markup:
    if not rows:
        return text("")
    labels = [f"x {row['multiple']}" for row in rows]
    figures = ("pnl", "pnl_per_lot", "traded_lots")
    lines = [
        [text(label), *[amount(row[name]) for name in figures], text(f"{row['filled']:.0%}")]
        for label, row in zip(labels, rows, strict=True)
    ]
    return section(
        "If orders were larger",
        twice(lambda width: pictures.bars(labels, [float(row["pnl"]) for row in rows], width, "P&L")),
        table(("orders", "P&L", "P&L a lot", "lots traded", "of what was wanted"), lines),
    )


def _identity(found: "Result") -> Markup:
    """What makes it repeatable."""
    facts = [("decision hash", found.decision_hash), ("state hash", found.state_hash), ("terms", str(found.terms))]
    rules = "; ".join(RULES.values())
    lines = [part for k, v in facts for part in (tag("dt", text(k)), tag("dd", tag("code", text(v))))]
    return section("Identity", tag("dl", *lines, class_="facts"), says(f"Rules of fills: {rules}."))
