"""What a run has come to, as tables of SQLite that anyone may read while it goes on.

Two kinds of tables. Events (`blotter`, `audit`) are the journal's own records, one row each by its sequence. State
(`positions`, `open_orders`, `limits`, `counters`) is copied from an engine that replays the journal: nothing here says
how a fill changes a position, so nothing here can say it differently.

Invariant: rows and the sequence they are of are committed together, so what is read is the engine between two inputs.
Known bad case: state is of the last commit. Between two commits an order may come and go that only `blotter` shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..hot import engine as engines
from ..hot import orders as own
from ..hot import risk as risks
from ..venues import itch
from ..wire import (
    ACCEPTED,
    ACK,
    BID,
    FEED_STATE,
    HALT,
    KIND_NAMES,
    LIMIT,
    NONE,
    REJECTED,
    REPLY_LAST,
    SEED,
    SESSION_STATE,
    TEXT,
    int_to_symbol,
)
from .command import Said, is_asked, name_of, words_of

SCHEMA_VERSION: Final = 1
# The columns of each table; the first is the key. Money is in ticks x lots, prices in ticks, times in ns.
TABLES: Final[dict[str, tuple[str, ...]]] = {
    "positions": (
        "instrument", "symbol", "position", "cash", "fills", "volume", "open_orders", "open_bid_qty", "open_ask_qty",
        "bid", "ask", "last", "mark", "pnl", "tick_e9", "lot_e9", "halted", "strategy_off",
    ),
    "open_orders": (
        "order_id", "instrument", "symbol", "side", "price", "qty", "filled", "state", "owner", "flag", "sequence",
        "ts",
    ),
    "blotter": (
        "sequence", "ts", "kind", "instrument", "symbol", "order_id", "side", "price", "qty", "match", "reason",
    ),
    "limits": ("place", "instrument", "symbol", "name", "value", "used", "sequence"),
    "audit": (
        "sequence", "ts", "received", "command", "id", "who", "why", "words", "ack", "reason", "order_id", "cancels",
    ),
    "counters": ("name", "value"),
}  # fmt: skip
_TEXTS: Final = ("symbol", "side", "state", "owner", "kind", "reason", "name", "command", "id", "who", "why", "words")
STATE: Final = ("positions", "open_orders", "limits", "counters")
OWNERS: Final = ("strategy", "operator")


class ProjectionError(Exception):
    """Projections can't be made or read: names the file, what was found, and what to do."""


class Projection:
    """One database, of one journal."""

    def __init__(self, path: Path, journal: str, strategy: str) -> None:
        """The one there, if it is of this journal and version; else an empty one."""
        self.path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))  # its mode is that of the WAL too
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self.sequence, self.chain = self._open(journal, strategy)
        except sqlite3.Error as error:
            raise ProjectionError(f"{path}: {error}; another file, or remove it and project again") from error
        self._said = Said()
        self._limits: dict[tuple[int, int], tuple[int, int]] = {}  # (instrument, which) -> value, sequence
        self._rows: dict[str, list[tuple[Any, ...]]] = {"blotter": [], "audit": []}
        self._acks: list[tuple[Any, ...]] = []

    def _open(self, journal: str, strategy: str) -> tuple[int, int]:
        """The sequence and chain to go on from; 0, 0 for a new one."""
        found: Any = None
        with contextlib.suppress(sqlite3.OperationalError):
            found = self._db.execute("SELECT schema, journal, sequence, chain FROM progress").fetchone()
        if found is not None and found[:2] == (SCHEMA_VERSION, journal):
            return int(found[2]), int(found[3])
        others = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if others and found is None:
            raise ProjectionError(f"{self.path} is a database, and none of ours: choose another file")
        self.clear(journal, strategy)
        return 0, 0

    def clear(self, journal: str, strategy: str) -> None:
        """Empty tables, at the beginning of a journal."""
        self._db.execute("BEGIN IMMEDIATE")
        for name, columns in TABLES.items():
            self._db.execute(f"DROP TABLE IF EXISTS {name}")
            typed = [f"{column} {'TEXT' if column in _TEXTS else 'INTEGER'}" for column in columns]
            self._db.execute(f"CREATE TABLE {name} ({typed[0]} PRIMARY KEY, {', '.join(typed[1:])}) STRICT")
        self._db.execute("DROP TABLE IF EXISTS progress")
        self._db.execute(
            "CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), schema INTEGER, journal TEXT, "
            "strategy TEXT, sequence INTEGER, ts INTEGER, chain INTEGER, complete INTEGER) STRICT"
        )
        self._db.execute("INSERT INTO progress VALUES (1, ?, ?, ?, 0, 0, 0, 0)", (SCHEMA_VERSION, journal, strategy))
        self._db.execute("COMMIT")
        self.sequence, self.chain = 0, 0

    # ---- events

    def see(self, records: Any, market: Any) -> None:
        """Records of the journal, which an engine has taken. Rows of what is committed already are not kept again."""
        kinds = records["kind"]
        replies = records[(kinds >= ACCEPTED) & (kinds <= REPLY_LAST)]
        self._rows["blotter"] += [row for row in _blotter(replies, market) if row[0] >= self.sequence]
        for record in records[(kinds >= LIMIT) & ((kinds <= HALT) | (kinds >= FEED_STATE))]:
            self._hear(record, market)

    def _hear(self, record: Any, market: Any) -> None:
        kind, sequence = int(record["kind"]), int(record["sequence"])
        if kind == TEXT:
            self._said.hear(record)
        elif kind == ACK:
            words = [int(record[name]) for name in ("aux", "order_id", "qty", "price")]
            order = words[1] if words[1] != NONE else None
            if sequence >= self.sequence:
                self._acks.append((sequence, _reason(words[0]), order, words[2], words[3]))
        else:
            self._command(kind, sequence, record, market)

    def _command(self, kind: int, sequence: int, record: Any, market: Any) -> None:
        """A row of the audit: what an operator asked, the configuration said, or the session found."""
        id, who, why = self._said.take()
        if not is_asked(kind, int(record["flag"])):
            who = "session" if kind in (FEED_STATE, SESSION_STATE) else "configuration"
        named = kind in (FEED_STATE, SESSION_STATE, SEED)
        name = KIND_NAMES[kind] if named else name_of(kind, int(record["aux"]))
        if kind == LIMIT:
            self._limit(int(record["instrument"]), int(record["order_id"]), int(record["aux"]), sequence)
        if sequence >= self.sequence:
            words = words_of(record, market.symbol.tolist())
            if named:
                words = {"seed" if kind == SEED else "state": int(record["aux"])}
            times = (int(record["ts_event"]), int(record["ts_recv"]))
            text = json.dumps(words)
            self._rows["audit"].append((sequence, *times, name, id, who, why, text, None, None, None, None))

    def _limit(self, instrument: int, which: int, value: int, sequence: int) -> None:
        if instrument == NONE:  # for all: what was said for one is gone
            for key in [key for key in self._limits if key[1] == which]:
                del self._limits[key]
        self._limits[instrument, which] = (value, sequence)

    # ---- state

    def commit(self, engine: engines.Engine, sequence: int, chain: int, *, complete: bool) -> None:
        """All rows up to this sequence, and the engine as it is there."""
        rows: dict[str, list[tuple[Any, ...]]] = {**self._rows, **{name: [] for name in STATE}}
        known = int(engine.cells[engines.INSTRUMENTS])
        rows["positions"] = list(_positions(engine, known))
        rows["open_orders"] = list(_open_orders(engine))
        rows["limits"] = [self._limit_row(engine, key, *said) for key, said in self._limits.items()]
        rows["counters"] = list(_counters(engine))
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for name in STATE:
                self._db.execute(f"DELETE FROM {name}")
            for name, made in rows.items():
                marks = ", ".join("?" * len(TABLES[name]))
                self._db.executemany(f"INSERT INTO {name} VALUES ({marks})", made)
            self._db.executemany(
                "UPDATE audit SET ack = ?, reason = ?, order_id = ?, cancels = ? WHERE sequence = ?", self._acks
            )
            self._db.execute(
                "UPDATE progress SET sequence = ?, ts = ?, chain = ?, complete = ?",
                (sequence, int(engine.cells[engines.NOW]), chain, int(complete)),
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise ProjectionError(
                f"{self.path}: {error}; free space, and project again: it goes on from there"
            ) from error
        self.sequence, self.chain = sequence, chain
        self._rows, self._acks = {"blotter": [], "audit": []}, []

    def _limit_row(
        self, engine: engines.Engine, key: tuple[int, int], value: int, sequence: int
    ) -> tuple[int | str | None, ...]:
        """A limit, and how much of it is used: of one for all instruments, by the one that uses most."""
        instrument, which = key
        rows = engine.market[instrument : instrument + 1] if instrument >= 0 else engine.market
        used: int | None = None
        if which == risks.POSITION_QTY_MAX:
            used = int(max((rows.position + rows.open_bid_qty).max(), (rows.open_ask_qty - rows.position).max()))
        elif which == risks.OPEN_ORDER_MAX:
            used = int(rows.open_orders.max())
        elif which == risks.MESSAGE_RATE_MAX:
            used = _messages(engine)
        name = risks.LIMITS[which] if 0 <= which < len(risks.LIMITS) else str(which)
        symbol = _symbol(engine.market, instrument) if instrument >= 0 else ""
        return (instrument * 8 + which, instrument, symbol, name, value, used, sequence)

    def close(self) -> None:
        """Let the file go."""
        self._db.close()


def _blotter(replies: Any, market: Any) -> Iterator[tuple[Any, ...]]:
    columns = [replies[name].tolist() for name in ("sequence", "ts_event", "kind", "instrument", "order_id", "side",
                                                   "price", "qty", "aux")]  # fmt: skip
    for sequence, ts, kind, instrument, order, side, price, qty, aux in zip(*columns, strict=True):
        match = aux if kind != REJECTED and aux != NONE else None
        reason = _reason(aux) if kind == REJECTED else ""
        where = (instrument, _symbol(market, instrument), order, _side(side))
        yield (sequence, ts, KIND_NAMES[kind], *where, price if price != NONE else None, qty, match, reason)


def _positions(engine: engines.Engine, known: int) -> Iterator[tuple[Any, ...]]:
    """Of each instrument that we ever traded, have orders of, or halted."""
    view = engine.market[:known]
    busy = (view.fills != 0) | (view.open_orders != 0) | (view.halted != 0) | (view.off != 0)
    for index in np.flatnonzero(busy).tolist():
        row = view[index]
        mark = (int(row.bid) + int(row.ask)) // 2 if row.bid >= 0 and row.ask >= 0 else max(int(row.last_price), 0)
        numbers = [int(row[name]) for name in ("position", "cash", "fills", "filled_qty", "open_orders",
                                               "open_bid_qty", "open_ask_qty")]  # fmt: skip
        prices = [int(row[name]) if row[name] != NONE else None for name in ("bid", "ask", "last_price")]
        worth = (int(row.tick_e9) or itch.TICK_E9, int(row.lot_e9) or itch.LOT_E9)
        pnl = numbers[1] + numbers[0] * mark
        yield (
            index,
            _symbol(engine.market, index),
            *numbers,
            *prices,
            mark,
            pnl,
            *worth,
            int(row.halted),
            int(row.off),
        )


def _open_orders(engine: engines.Engine) -> Iterator[tuple[Any, ...]]:
    rows = engine.orders.rows
    for row in rows[np.flatnonzero(rows.state != own.FREE)]:
        where = (int(row.instrument), _symbol(engine.market, int(row.instrument)), _side(int(row.side)))
        numbers = (int(row.price), int(row.qty), int(row.filled))
        what = (own.STATES[int(row.state)], OWNERS[int(row.owner)], int(row.flag))
        yield (int(row.handle), *where, *numbers, *what, int(row.sequence), int(row.ts_event))


def _counters(engine: engines.Engine) -> Iterator[tuple[str, int]]:
    cells, gates = engine.cells, engine.risk.gates
    for name, cell in (
        ("orders", engines.ORDERS_SENT), ("cancels", engines.CANCELS_SENT), ("refused", engines.REFUSED),
        ("venue_rejects", engines.VENUE_REJECTS), ("decisions", engines.DECISIONS), ("commands", engines.COMMANDS),
    ):  # fmt: skip
        yield name, int(cells[cell])
    for name, gate in (("gate_kill", risks.KILL), ("gate_feed", risks.FEED), ("gate_session", risks.SESSION),
                       ("gate_strategy", risks.STRATEGY)):  # fmt: skip
        yield name, int(gates[gate])
    for name, count in zip(risks.REASONS, engine.risk.reasons.tolist(), strict=False):
        if count:
            yield f"reason_{name}", int(count)


def _messages(engine: engines.Engine) -> int:
    """As `ultra.hot.risk.messages`, for code that Python calls."""
    recent, slices = engine.risk.recent, risks.SLICES
    oldest = (int(engine.cells[engines.NOW]) >> risks.SLICE_BITS) - slices
    return sum(int(recent[slices + k]) for k in range(slices) if int(recent[k]) > oldest)


def _symbol(market: Any, instrument: int) -> str:
    known = 0 <= instrument < len(market) and int(market[instrument].symbol) != 0
    return int_to_symbol(market[instrument].symbol) if known else ""


def _side(side: int) -> str:
    return "buy" if side == BID else "sell"


def _reason(reason: int) -> str:
    if reason == risks.PASS:
        return ""
    return risks.REASONS[reason] if 0 < reason < len(risks.REASONS) else str(reason)
