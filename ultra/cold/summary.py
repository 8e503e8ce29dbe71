"""What a run comes to: the JSON that other programs read, and the page of text that a trader reads.

Money is exact: ticks x lots to a decimal string. Latencies come from the run's histogram and stand beside the hiccup
reading of the same core in the same run, because nothing can be faster than the machine lets it.
"""

from typing import Any

from ..hot import book as books
from ..hot import clock
from ..hot import engine as engines
from ..hot import histogram as histograms
from ..hot import orders as own
from ..hot import risk as risks
from ..venues import itch, paper
from ..wire import decimal, int_to_symbol
from . import assembly, waybill
from .drive import Outcome

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_REPLY_ERRORS = (
    ("illegal_replies", own.ILLEGAL_REPLIES),
    ("late_fills", own.LATE_FILLS),
    ("overfilled", own.OVERFILLED),
)


def of_run(outcome: Outcome) -> dict[str, Any]:
    """The JSON of `ultra run`."""
    engine, run = outcome.machine.run.engine, outcome.machine.run
    messages = int(outcome.machine.decoder.cells[itch.MESSAGES])
    refused = int(engine.cells[engines.REFUSED])
    return {
        "messages": messages,
        "records": outcome.processed,
        "orders": int(engine.cells[engines.ORDERS_SENT]),
        "cancels": int(engine.cells[engines.CANCELS_SENT]),
        "fills": int(engine.market.fills.sum()),
        "rejects": refused + int(engine.cells[engines.VENUE_REJECTS]),
        "rejects_by_reason": reasons(engine),
        "state_hash": outcome.state_hash,
        "decision_hash": assembly.decision_hash(engine),
        "journal": str(outcome.folder),
        "ring": {"name": outcome.ring, "notes": outcome.notes},
        "drained": outcome.drained,
        "durability": {"memory": outcome.processed, "local": outcome.durable, **replicated(outcome)},
        "throughput_msgs_per_s": round(messages / outcome.loop_s) if outcome.loop_s else 0,
        "loop_s": round(outcome.loop_s, 6),
        "wall_s": round(outcome.wall_s, 6),
        "startup_s": round(outcome.startup_s, 3),
        "service_ns": service_ns(run.service),
        **({"late_ns": service_ns(run.late)} if histograms.count(run.late) else {}),
        "sample_every": outcome.machine.config.engine.latency_sample_every,
        "hiccup_ns": {key: outcome.hiccup[key] for key in ("p50", "p99", "max")},
        "pnl": {symbol: row["pnl"] for symbol, row in by_instrument(engine).items()},
        "by_instrument": by_instrument(engine),
        **({"venue": outcome.venue} if outcome.venue else {}),
        "errors": errors(outcome),
    }


def replicated(outcome: Outcome) -> dict[str, int]:
    """Up to which input a stream had acked the journal when the run ended; nothing when it is not shipped."""
    bill = waybill.read(outcome.folder)
    return {"replicated": bill.through} if bill is not None else {}


def service_ns(service: histograms.Histogram) -> dict[str, int]:
    """Percentiles of a histogram of ticks, in ns."""
    ns_per_tick = clock.calibrate()
    found = {f"p{p:g}": round(histograms.percentile(service, p) * ns_per_tick) for p in PERCENTILES}
    return {
        **found,
        "max": round(int(service.largest[0]) * ns_per_tick),
        "samples": histograms.count(service),
    }


def buckets_ns(service: histograms.Histogram) -> list[tuple[int, int, int]]:
    """The filled buckets of a histogram as (lowest ns, highest ns, count)."""
    ns_per_tick = clock.calibrate()
    rows = []
    for bucket, count in enumerate(service.counts.tolist()):
        if count:
            low, high = histograms.edges(bucket)
            rows.append((round(low * ns_per_tick), round(high * ns_per_tick), count))
    return rows


def reasons(engine: engines.Engine) -> dict[str, int]:
    """How often each reason was given for not sending, or not accepting, a request."""
    given = engine.risk.reasons.tolist()
    return {name: int(count) for name, count in zip(risks.REASONS, given, strict=False) if count}


def by_instrument(engine: engines.Engine) -> dict[str, dict[str, Any]]:
    """Position, fills and P&L of every instrument that we traded."""
    rows = {}
    for view in engine.market[: int(engine.cells[engines.INSTRUMENTS])]:
        if view.fills:
            tick = int(view.tick_e9 or itch.TICK_E9) * int(view.lot_e9 or itch.LOT_E9) // 1_000_000_000
            pnl = int(view.cash) + int(view.position) * _mark(view)
            rows[int_to_symbol(view.symbol)] = {
                "position": int(view.position),
                "fills": int(view.fills),
                "volume": int(view.filled_qty),
                "pnl": decimal(pnl, tick),
            }
    return rows


def _mark(view: Any) -> int:
    """As `ultra.hot.market.mark`, for code that Python calls."""
    if view.bid >= 0 and view.ask >= 0:
        return (int(view.bid) + int(view.ask)) // 2
    return max(int(view.last_price), 0)


def errors(outcome: Outcome) -> dict[str, int | str]:
    """Everything that was wrong with the input or the replies, by kind; empty when nothing was."""
    engine = outcome.machine.run.engine
    found: dict[str, int | str] = dict(itch.errors(outcome.machine.decoder))
    for name, count in zip(books.OUTCOMES, engine.book.outcomes.tolist(), strict=False):
        if count and name != "ok":
            found[name] = count
    for name, counter in _REPLY_ERRORS:
        if engine.orders.counters[counter]:
            found[name] = int(engine.orders.counters[counter])
    if outcome.machine.run.venue.cells[paper.DROPPED]:
        found["venue_replies_dropped"] = int(outcome.machine.run.venue.cells[paper.DROPPED])
    if outcome.truncated_at >= 0:
        found["truncated_at"] = outcome.truncated_at
    if outcome.source_error:
        found["source"] = outcome.source_error
    return found


def as_text(summary: dict[str, Any]) -> str:
    """The summary as a page of text."""
    service, hiccup = summary["service_ns"], summary["hiccup_ns"]
    lines = [
        f"{summary['messages']:,} messages, {summary['throughput_msgs_per_s']:,} a second in the loop, "
        f"{summary['wall_s']:.3f} s in all, first one {summary['startup_s']:.2f} s after the start",
        f"{summary['orders']:,} orders, {summary['cancels']:,} cancels, {summary['fills']:,} fills, "
        f"{summary['rejects']:,} rejects",
        "",
        f"{'instrument':<12}{'position':>12}{'fills':>10}{'volume':>12}{'P&L':>16}",
    ]
    for symbol, row in sorted(summary["by_instrument"].items()):
        lines.append(f"{symbol:<12}{row['position']:>12,}{row['fills']:>10,}{row['volume']:>12,}{row['pnl']:>16}")
    lines += [
        "",
        f"{'service time, ns':<24}{'p50':>9}{'p90':>9}{'p99':>9}{'p99.9':>9}{'max':>12}",
        f"{'engine, 1 in ' + str(summary['sample_every']):<24}"
        + "".join(f"{service[key]:>9,}" for key in ("p50", "p90", "p99", "p99.9"))
        + f"{service['max']:>12,}",
        *late_line(summary),
        f"{'hiccup of this core':<24}{hiccup['p50']:>9,}{'':>9}{hiccup['p99']:>9,}{'':>9}{hiccup['max']:>12,}",
        "",
    ]
    for title, rows in (("rejects", summary["rejects_by_reason"]), ("input errors", summary["errors"])):
        if rows:
            lines.append(f"{title}: " + ", ".join(f"{name} {count}" for name, count in rows.items()))
    durability = summary["durability"]
    lines += [
        f"journal   {summary['journal']}: {durability['memory']:,} inputs in memory, {durability['local']:,} on disk",
        f"state     {summary['state_hash']}",
        f"decisions {summary['decision_hash']}",
    ]
    return "\n".join(lines)


def late_line(summary: dict[str, Any]) -> list[str]:
    """Of an open loop: from the moment a record was due to the end of the engine's step."""
    late = summary.get("late_ns")
    if late is None:
        return []
    cells = "".join(f"{late[key]:>9,}" for key in ("p50", "p90", "p99", "p99.9"))
    return [f"{'due to done':<24}{cells}{late['max']:>12,}"]
