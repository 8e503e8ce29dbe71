"""What is asked of projections: a name, a few filters, rows back, and the sequence that all of them are of.

Each query is one row of `QUERIES`, which the command line, the server and its description all read. Money comes out as
decimal strings, exact. The database is opened for reading only, and a query is one transaction: rows and sequence fit.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..cold.projection import ProjectionError
from ..venues import itch
from ..wire import decimal

ROWS_MAX = 10_000


class Query(NamedTuple):
    """One question."""

    about: str
    sql: str  # ends in WHERE 1, so that filters can be added; its last two columns are what a tick and a lot are worth
    order: str
    columns: dict[str, str]  # name -> text, integer, price, money or boolean
    filters: tuple[str, ...]


_PRICED = "LEFT JOIN positions p ON p.instrument = t.instrument"
_WORTH = f"COALESCE(p.tick_e9, {itch.TICK_E9}), COALESCE(p.lot_e9, {itch.LOT_E9})"
QUERIES: dict[str, Query] = {
    "positions": Query(
        "What is held of each instrument that was traded, has open orders, or is halted.",
        "SELECT t.symbol, t.position, t.fills, t.volume, t.open_orders, t.open_bid_qty, t.open_ask_qty, t.bid, t.ask, "
        "t.last, t.cash, t.halted, t.strategy_off, t.tick_e9, t.lot_e9 FROM positions t WHERE 1",
        "t.symbol",
        {
            "symbol": "text", "position": "integer", "fills": "integer", "volume": "integer", "open_orders": "integer",
            "open_bid_qty": "integer", "open_ask_qty": "integer", "bid": "price", "ask": "price", "last": "price",
            "cash": "money", "halted": "boolean", "strategy_off": "boolean",
        },
        ("instrument",),
    ),
    "orders": Query(
        "Our orders that are open, as the engine knows them.",
        "SELECT t.order_id, t.symbol, t.side, t.price, t.qty, t.filled, t.state, t.owner, t.sequence, t.ts, "
        f"{_WORTH} FROM open_orders t {_PRICED} WHERE 1",
        "t.sequence, t.order_id",
        {
            "order_id": "integer", "symbol": "text", "side": "text", "price": "price", "qty": "integer",
            "filled": "integer", "state": "text", "owner": "text", "sequence": "integer", "ts": "integer",
        },
        ("instrument",),
    ),
    "blotter": Query(
        "Everything that a venue said about our orders: accepted, fill, cancelled, rejected.",
        "SELECT t.sequence, t.ts, t.kind, t.symbol, t.order_id, t.side, t.price, t.qty, t.match, t.reason, "
        f"{_WORTH} FROM blotter t {_PRICED} WHERE 1",
        "t.sequence",
        {
            "sequence": "integer", "ts": "integer", "kind": "text", "symbol": "text", "order_id": "integer",
            "side": "text", "price": "price", "qty": "integer", "match": "integer", "reason": "text",
        },
        ("instrument", "kind", "after", "limit"),
    ),
    "pnl": Query(
        "Profit and loss of the session before fees, positions valued at the middle of the market.",
        "SELECT t.symbol, t.position, t.mark, t.cash, t.pnl, t.tick_e9, t.lot_e9 FROM positions t WHERE 1",
        "t.symbol",
        {"symbol": "text", "position": "integer", "mark": "price", "cash": "money", "pnl": "money"},
        ("instrument",),
    ),
    "limits": Query(
        "Every limit as it was last set, and how much of it is used. An empty symbol: of all instruments; used is then "
        "that of the instrument that uses most. Notional is in ticks x lots.",
        "SELECT t.symbol, t.name, t.value, t.used, t.sequence, 0, 0 FROM limits t WHERE 1",
        "t.instrument, t.place",
        {"symbol": "text", "name": "text", "value": "integer", "used": "integer", "sequence": "integer"},
        ("instrument",),
    ),
    "audit": Query(
        "Every command: what, who, why, and what came of it.",
        "SELECT t.sequence, t.ts, t.received, t.command, t.id, t.who, t.why, t.words, t.ack, t.reason, t.order_id, "
        "t.cancels, 0, 0 FROM audit t WHERE 1",
        "t.sequence",
        {
            "sequence": "integer", "ts": "integer", "received": "integer", "command": "text", "id": "text",
            "who": "text", "why": "text", "words": "text", "ack": "integer", "reason": "text", "order_id": "integer",
            "cancels": "integer",
        },
        ("command", "id", "after", "limit"),
    ),
    "state": Query(
        "Counters, reasons for refusals, and what stands between orders and the venue (0 = open).",
        "SELECT t.name, t.value, 0, 0 FROM counters t WHERE 1",
        "t.name",
        {"name": "text", "value": "integer"},
        (),
    ),
}  # fmt: skip
# Filter -> (type, what it keeps, what it is for).
FILTERS: dict[str, tuple[str, str, str]] = {
    "instrument": ("string", "t.symbol = ?", "only this symbol"),
    "kind": ("string", "t.kind = ?", "only this kind, as fill"),
    "command": ("string", "t.command = ?", "only this command, as halt"),
    "id": ("string", "t.id = ?", "only the command with this id"),
    "after": ("integer", "t.sequence > ?", "only what came after this input"),
    "limit": ("integer", "", f"at most so many rows, up to {ROWS_MAX}"),
}


def ask(path: Path, name: str, given: dict[str, str | int] | None = None) -> dict[str, Any]:
    """The answer: `sequence` (inputs below it are counted in), `ts`, `complete`, and `rows`. ProjectionError."""
    query, filters = QUERIES[name], given or {}
    wrong = [key for key in filters if key not in query.filters]
    if wrong:
        raise ProjectionError(f"{name} has no filter {', '.join(wrong)}; it has {', '.join(query.filters) or 'none'}")
    kept = [(FILTERS[key][1], value) for key, value in filters.items() if key != "limit"]
    limit = int(filters.get("limit", ROWS_MAX))
    if not 0 < limit <= ROWS_MAX:
        raise ProjectionError(f"limit = {limit}: wanted 1 to {ROWS_MAX}")
    sql = " AND ".join([query.sql, *(clause for clause, _ in kept)]) + f" ORDER BY {query.order} LIMIT {limit}"
    with _reading(path) as db:
        sequence, ts, complete = db.execute("SELECT sequence, ts, complete FROM progress").fetchone()
        rows = db.execute(sql, [value for _, value in kept]).fetchall()
    return {
        "sequence": sequence, "ts": ts, "complete": bool(complete), "rows": [_row(query, row) for row in rows],
    }  # fmt: skip


def _row(query: Query, row: tuple[Any, ...]) -> dict[str, Any]:
    """Named, and money as text."""
    *values, tick_e9, lot_e9 = row
    found = {}
    for (name, kind), value in zip(query.columns.items(), values, strict=True):
        if value is not None and kind == "price":
            value = decimal(value, tick_e9)
        elif kind == "money":
            value = decimal(value, int(tick_e9) * int(lot_e9) // 1_000_000_000)
        elif kind == "boolean":
            value = bool(value)
        found[name] = value
    return found


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise ProjectionError(f"{path}: not there; ultra project DIR --db {path} makes it")
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        db.execute("BEGIN")
        yield db
    except (sqlite3.Error, TypeError) as error:
        raise ProjectionError(f"{path}: {error}; ultra project DIR --db {path} makes it") from error
    finally:
        db.close()


def as_text(name: str, found: dict[str, Any]) -> str:
    """The answer as a table."""
    columns = list(QUERIES[name].columns)
    rows = [["" if row[column] is None else str(row[column]) for column in columns] for row in found["rows"]]
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in [columns, *rows]
    ]
    state = "the run has ended" if found["complete"] else "so far"
    return "\n".join([*lines, f"{len(rows)} rows, of all inputs below {found['sequence']:,} ({state})"])
