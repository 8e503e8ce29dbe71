"""One run on one page: a self-contained HTML file, inline SVG and CSS, no script, nothing fetched.

Figures are shown as the run counted them: P&L is summed and printed as exact decimals (digits are grouped,
never rounded, and `<data value>` keeps the plain string); floats only draw lines. The same report gives the
same bytes. What the run does not know is shown as absent, never as zero.

Known bad case: of more instruments than ROWS_MAX those with the fewest fills are left out; the page says so.
"""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from itertools import accumulate
from pathlib import Path

from . import charts, svg
from .charts import Bucket, Point
from .page import ABSENT, CSS, amount, says, section, table, tile
from .svg import Markup, join, tag, text

ROWS_MAX = 200
NAMES_MAX = 12
DESK_PX, PHONE_PX = 920, 360
LEVELS = ("memory", "local", "replicated")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a page is made of. `summary` is the JSON of `ultra run`; a key that is missing is shown as absent.

    `pnl` and `by_instrument` hold decimal strings; `durability` the number of records that reached each
    level; `replay`, where given, is the command shown instead of `ultra replay JOURNAL`.
    """

    strategy: str
    source: str
    session_date: str
    summary: Mapping[str, object]
    curve: Sequence[Point]  # ts_ns (UTC), P&L, gross position in lots: for drawing only
    histogram: Sequence[Bucket]  # lowest ns, highest ns (both inside the bucket), count


def write(path: Path, report: RunReport) -> None:
    """Write the page; a reader sees the whole file or the one before it."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(document(report), encoding="utf-8", newline="\n")
    os.replace(unfinished, path)


def document(report: RunReport) -> str:
    """The whole document; it is also well-formed XML."""
    title = f"{report.strategy}, {report.session_date}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", text(title)),
        tag("style", Markup(CSS)),
    )
    summary = report.summary
    sections = [
        _header(report), _profit(report), _instruments(summary), _latency(report),
        _counts(summary, "rejects_by_reason", "Rejects by reason", "reason"),
        _counts(summary, "errors", "Feed errors by kind", "kind"), _identity(summary),
    ]  # fmt: skip
    body = tag("body", tag("main", *sections))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def total(values: Mapping[str, object]) -> str:
    """The exact sum of decimal strings; the mark of absence when there are none or one is not a number."""
    if not values:
        return ABSENT
    with localcontext() as context:
        context.prec = 200
        try:
            result = sum((Decimal(str(value)) for value in values.values()), Decimal(0))
        except InvalidOperation:
            return ABSENT
    return f"{result:f}" if result.is_finite() else ABSENT


def _total_of(summary: Mapping[str, object]) -> str:
    """P&L over all instruments, from `pnl` or else from the rows of the instruments."""
    rows = _part(summary, "by_instrument")
    by_row = {name: row["pnl"] for name in rows if "pnl" in (row := _part(rows, name))}
    return total(_part(summary, "pnl") or by_row)


def _part(summary: Mapping[str, object], key: str) -> Mapping[str, object]:
    """A mapping inside the summary, in the order of its keys; empty where there is none."""
    found = summary.get(key)
    return {str(k): found[k] for k in sorted(found, key=str)} if isinstance(found, Mapping) else {}


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    found = {k: v for k, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {k: v for k, v in found.items() if math.isfinite(v)}


def _header(report: RunReport) -> Markup:
    summary = report.summary
    names = sorted({*_part(summary, "by_instrument"), *_part(summary, "pnl")})
    more = f" and {len(names) - NAMES_MAX:,} more" if len(names) > NAMES_MAX else ""
    ran = [
        ("source", report.source or ABSENT),
        ("instruments", ", ".join(names[:NAMES_MAX]) + more if names else ABSENT),
        ("session", report.session_date or ABSENT),
    ]
    tiles = [tile("P&L total", amount(_total_of(summary)))]
    tiles += [tile(key, amount(summary.get(key))) for key in ("messages", "orders", "fills", "rejects")]
    rate = summary.get("throughput_msgs_per_s")
    unit = [tag("small", text(" messages/s"))] if rate is not None else []
    tiles.append(tile("throughput", amount(rate), *unit))
    return tag(
        "header",
        tag("h1", text(report.strategy)),
        tag("p", *[tag("span", tag("b", text(k)), text(f" {v}")) for k, v in ran], class_="ran"),
        tag("dl", *tiles, *_durability(_part(summary, "durability")), class_="tiles"),
    )


def _durability(levels: Mapping[str, object]) -> list[Markup]:
    """How many records reached each level, the weakest promise first."""
    names = [name for name in LEVELS if name in levels] + [name for name in levels if name not in LEVELS]
    lines = [tag("span", tag("small", text(f"{name} ")), amount(levels[name])) for name in names]
    return [tile("durability reached, records", *lines or [text(ABSENT)])]


def _profit(report: RunReport) -> Markup:
    title = "P&L and position"
    points = charts.drawable(report.curve)
    idle = "No order was filled in this run." if report.summary.get("fills") == 0 else ""
    if not points:
        return section(title, says("No P&L was sampled in this run: there is no curve to draw.", idle))
    values = [p[1] for p in points]
    fall = max(peak - value for peak, value in zip(accumulate(values, max), values, strict=True))
    decimals = svg.decimals_of((min(values), max(values)), digits=3)
    highest, lowest, fallen = (svg.number(value, max(2, decimals)) for value in (max(values), min(values), fall))
    read = (
        f"Highest {highest}, lowest {lowest}, largest fall from a peak {fallen}: "
        "read off the curve, which is drawn in floating point; the table is exact."
    )
    single = "A single reading: a dot, not a curve." if len(points) == 1 else ""
    return section(
        title,
        tag("div", charts.curve(points, DESK_PX), class_="desk"),
        tag("div", charts.curve(points, PHONE_PX), class_="phone"),
        says(idle, single, "Times are UTC.", read),
    )


def _instruments(summary: Mapping[str, object]) -> Markup:
    """The table of instruments, exact."""
    profits, known = _part(summary, "pnl"), _part(summary, "by_instrument")
    facts = {name: _part(known, name) for name in sorted({*profits, *known})}
    if not facts:
        return section("Instruments", says("No instrument was seen in this run."))
    fills = {name: _numbers(row).get("fills", 0) for name, row in facts.items()}
    busiest = sorted(facts, key=lambda name: (-fills[name], name))[:ROWS_MAX]
    rows = [
        [
            text(name),
            amount(facts[name].get("pnl", profits.get(name))),
            *[amount(facts[name].get(key)) for key in ("position", "fills", "volume")],
        ]
        for name in sorted(busiest)
    ]
    left_out = f"{len(facts) - ROWS_MAX:,} instruments with the fewest fills are left out of the table."
    foot = [text("total"), amount(_total_of(summary)), text(""), amount(summary.get("fills")), text("")]
    return section(
        "Instruments",
        table(("instrument", "P&L", "position", "fills", "volume"), rows, foot),
        says("Position and volume in lots.", left_out if len(facts) > ROWS_MAX else ""),
    )


def _latency(report: RunReport) -> Markup:
    title = "Service time"
    service = _numbers(_part(report.summary, "service_ns"))
    machine = _numbers(_part(report.summary, "hiccup_ns"))
    samples = sum(count for *_, count in report.histogram if count > 0)
    blame = machine.get("p99", 0) > service.get("p99", math.inf)
    drawn = []
    if samples:
        drawn = [
            tag("div", charts.latency(report.histogram, service, machine, blame, width), class_=name)
            for name, width in (("desk", DESK_PX), ("phone", PHONE_PX))
        ]
    order = {"p50": 0, "p90": 1, "p99": 2, "p99.9": 3, "max": 9}
    names = sorted({*service, *machine}, key=lambda name: (order.get(name, 5), name))
    rows = [[text(name), amount(service.get(name)), amount(machine.get(name))] for name in names]
    figures = [table(("", "service, ns", "machine's hiccup, ns"), rows)] if rows else []
    return section(title, *drawn, says(_sampling(report.summary, samples)), *figures, says(_verdict(service, machine)))


def _sampling(summary: Mapping[str, object], samples: int) -> str:
    """How the figures were taken."""
    every = summary.get("sample_every")
    if not samples:
        return "No latency was sampled in this run."
    rate = "sampling rate unknown"
    if isinstance(every, int) and every > 0:
        rate = "every message is timed" if every == 1 else f"1 message in {every:,} is timed"
    return (
        f"{samples:,} samples, {rate}. Closed loop: the next message is taken when the last one is done, "
        "so time spent waiting in a queue is not in these figures."
    )


def _verdict(service: Mapping[str, float], machine: Mapping[str, float]) -> str:
    """What the machine's own pauses explain of the tail, and what they don't."""
    if not service and not machine:
        return ""
    if "p99" not in machine:
        return "No hiccup reading was taken in this run: the tail may be the machine or the code."
    pause = svg.duration(machine["p99"])
    if "p99" not in service:
        return f"A loop that does nothing was held up for {pause} (p99) on this machine."
    if machine["p99"] <= service["p99"]:
        return (
            f"The p99 is not below the machine's hiccup p99 ({pause}): the tail can't be put down to the machine alone."
        )
    told = (
        f"Latencies beyond the hiccup p99 ({pause}) are the machine, not the code: in one millisecond of a "
        "hundred a loop that does nothing but read the clock was held up for that long or longer."
    )
    if "max" in machine and service.get("max", 0) > machine["max"]:
        worst = svg.duration(machine["max"])
        told += f" The max is beyond even the hiccup max ({worst}): this reading doesn't explain it."
    return told


def _counts(summary: Mapping[str, object], key: str, title: str, what: str) -> Markup:
    """A table of counts, largest first; nothing when there are none."""
    counts = {name: n for name, n in _numbers(_part(summary, key)).items() if n > 0}
    rows = [[text(name), amount(counts[name])] for name in sorted(counts, key=lambda name: (-counts[name], name))]
    return section(title, table((what, "count"), rows)) if rows else text("")


def _identity(summary: Mapping[str, object]) -> Markup:
    """What makes the run repeatable: hashes, journal, command."""
    journal = str(summary.get("journal") or "")
    command = str(summary.get("replay") or (f"ultra replay {shlex.quote(journal)}" if journal else ""))
    facts = [("state hash", summary.get("state_hash")), ("decision hash", summary.get("decision_hash"))]
    facts += [("journal", journal), ("replay", command)]
    lines = [join([tag("dt", text(name)), tag("dd", tag("code", text(value or ABSENT)))]) for name, value in facts]
    told = (
        "The replay must end in the same two hashes." if command else "No journal was kept: this run can't be replayed."
    )
    return section("Identity", tag("dl", *lines, class_="facts"), says(told))
