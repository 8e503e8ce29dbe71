"""`ultra ring`: what shared segments there are, whose they are, how far each side is, and what went through last.

It only reads, as any watcher does (`ultra.cold.view`): the engine neither waits for it nor knows of it. Removing is for
segments whose owner is dead. What can't be judged is shown with the reason, and left alone.
Known bad case: a rate is the difference of two readings over the time between them; a burst in between is its mean.
"""

import datetime
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..cold import shared
from ..cold.view import Piece, View, attach
from ..wire import (
    ACCEPTED,
    ADD,
    ASK,
    BID,
    CANCEL_ORDER,
    KIND_NAMES,
    NEW,
    NONE,
    RECORD,
    REPLY_LAST,
    REQUEST,
    TRADE,
)

SIDES = {BID: "bid", ASK: "ask"}
REQUEST_NAMES = {NEW: "new", CANCEL_ORDER: "cancel"}
# By the description of a record: what its kinds are called.
NAMES = {shared.described(RECORD): KIND_NAMES, shared.described(REQUEST): REQUEST_NAMES}
# Of an input only these say a side: the others name an order, whose side the book knows, or are of none.
SIDED = {NEW, CANCEL_ORDER}, {ADD, TRADE, *range(ACCEPTED, REPLY_LAST + 1)}
COLUMNS = ("kind", "side", "instrument", "price", "qty", "order_id", "aux", "ts_event")


# ---- ls


def listing() -> list[dict[str, Any]]:
    """A row for each segment: its sequences, or why it can't be judged."""
    return [row for one in shared.found() if (row := _row(one))]


def _row(one: shared.Found) -> dict[str, Any]:
    """What there is to say of one; nothing when it went meanwhile."""
    if one.header is None:
        return {"name": one.name(), "refused": one.refused}
    try:
        with attach(one.name()) as view:
            return reading(view)
    except shared.SharedError as error:
        return {"name": one.name(), "refused": str(error)} if one.path.exists() else {}


def reading(view: View) -> dict[str, Any]:
    """One segment at this moment."""
    header = view.header
    return {
        "name": view.name, "kind": header.kind, **view.cells(), "owner": header.pid, "alive": view.alive,
        "epoch": header.epoch, "age_s": round((time.time_ns() - header.created_ns) / 1e9, 3),
        "total_bytes": header.total_bytes, "batch_max": header.batch_max,
    }  # fmt: skip


def listing_text(rows: list[dict[str, Any]]) -> str:
    """The table, with a line of its own for each that can't be judged."""
    good = [row for row in rows if "refused" not in row]
    lines = [f"{'name':<28} {'kind':<6}{'capacity':>9}{'cursor':>14}  {'gates':<14}{'lag':<10}{'owner':<16}{'age':>9}"]
    for row in good:
        owner = f"{row['owner']} {'alive' if row['alive'] else 'dead'}"
        gates, lag = (",".join(map(str, row[key])) or "none" for key in ("gates", "lag"))
        lines.append(
            f"{row['name']:<28} {row['kind']:<6}{row['capacity']:>9}{row['cursor']:>14}  {gates:<14}{lag:<10}"
            f"{owner:<16}{_age(row['age_s']):>9}"
        )
    lines = lines if good else ["no segments" if not rows else "no segments but these:"]
    return "\n".join([*lines, *(row["refused"] for row in rows if "refused" in row)])


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ---- show


def watch(name: str, interval_s: float, forever: bool) -> Iterator[dict[str, Any]]:
    """Readings an interval apart, each with the rates since the one before: one, or until the owner is gone."""
    with attach(name) as view:
        before, at = reading(view), time.perf_counter()
        while True:
            time.sleep(interval_s)
            now, until = reading(view), time.perf_counter()
            passed = until - at
            published = (now["cursor"] - before["cursor"]) / passed
            given_back = [(b - a) / passed for a, b in zip(before["gates"], now["gates"], strict=False)]
            yield {
                **now,
                "interval_s": round(passed, 6),
                "per_s": round(published),
                "gate_per_s": [*map(round, given_back)],
            }
            before, at = now, until
            if not forever or not now["alive"]:
                return


def watch_text(found: Mapping[str, Any]) -> str:
    """A reading as a few lines."""
    owner = f"process {found['owner']}, {'alive' if found['alive'] else 'dead'}, epoch {found['epoch']}"
    lines = [
        f"{found['name']}: {found['kind']} of {found['capacity']:,} slots, {found['total_bytes']:,} bytes; {owner}; "
        f"{_age(found['age_s'])} old",
        f"  published   {found['cursor']:>16,}  {found['per_s']:>12,} a second over {found['interval_s']:.3f} s",
    ]
    rows = zip(found["gates"], found["lag"], found["gate_per_s"], strict=True)
    for index, (gate, lag, rate) in enumerate(rows):
        lines.append(f"  consumer {index:<3}{gate:>16,}  {rate:>12,} a second, {lag:,} behind")
    return "\n".join(lines)


# ---- tail


def tail(name: str, count: int, follow: bool) -> Iterator[dict[str, Any]]:
    """The last whole records, then those that come: pieces with how many were lost before each."""
    with attach(name) as view:
        known = NAMES.get(view.header.fields, {})
        piece = view.read(max(0, view.cursor - count))
        yield _decoded(view, piece, known)
        if follow:
            for later in view.follow(piece.after):
                yield _decoded(view, later, known)


def _decoded(view: View, piece: Piece, known: Mapping[int, str]) -> dict[str, Any]:
    names = piece.records.dtype.names
    records = [
        _record(first, dict(zip(names, row, strict=True)), known)
        for first, row in enumerate(piece.records.tolist(), piece.first)
    ]
    return {"name": view.name, "lost": piece.lost, "records": records}


def _record(at: int, row: dict[str, Any], known: Mapping[int, str]) -> dict[str, Any]:
    """One record; its codes as words where they are known."""
    if known:
        sided = row["kind"] in SIDED[known is KIND_NAMES]
        row["side"] = SIDES.get(row["side"], row["side"]) if sided else None
        row["kind"] = known.get(row["kind"], row["kind"])
    return {"at": at, **row}


def tail_text(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for what was lost, then one a record."""
    if found["lost"]:
        yield f"... {found['lost']:,} overwritten before they could be read"
    for row in found["records"]:
        if not set(COLUMNS) <= set(row):
            yield json.dumps(row)
            continue
        moment = datetime.datetime.fromtimestamp(row["ts_event"] // 1_000_000_000, datetime.UTC)
        shown = {key: "-" if row[key] == NONE or row[key] is None else row[key] for key in COLUMNS}
        yield (
            f"{row['at']:>10} {row['sequence']:>12} {moment:%H:%M:%S}.{row['ts_event'] % 1_000_000_000:09} "
            f"{shown['kind']:<11}{shown['side']:<4} instrument {shown['instrument']:<6} price {shown['price']:<12}"
            f" qty {shown['qty']:<9} id {shown['order_id']} aux {shown['aux']}"
        )


# ---- clean


def clean() -> dict[str, list[str]]:
    """Remove what dead owners left; what was removed, and what is left that can't be judged."""
    removed = shared.clean()
    return {"removed": removed, "refused": [one.refused for one in shared.found() if one.header is None]}
