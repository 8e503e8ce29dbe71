"""LOBSTER files as a tape of orders: the message file, and beside it the book file that says what each row left.

The messages speak only of the top levels, of orders that came while they were in view. So a replay of them alone is
wrong; with the book file it is right by construction. The first row seeds the levels, split into the orders that later
rows name, the rest anonymous. After each message the levels in view are held against its row, and what differs is put
right: a level that came into view gets an anonymous order, what left unseen is taken off. `notes` counts all of it.
Without a book file, orders that rows name before they were added are seeded with what is taken off them later.

Invariant: after the records of a row the book's best L levels are that row's. Hidden executions (type 5) are TRADEs and
touch nothing. Known bad case: behind the levels in view the book is what it was when they were last seen; and the
numbers of all orders of the file are kept in memory.
Source: LOBSTER output description, lobsterdata.com.
"""

import re
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ...wire import (
    ADD,
    ASK,
    BID,
    CANCEL,
    DELETE,
    EXECUTE,
    HALTED,
    NONE,
    QUOTE_ONLY,
    RECORD,
    SIDED,
    STATUS,
    TRADE,
    TRADING,
)  # fmt: skip
from ..tape import Instrument, Tape, introduced
from . import DataError, noted
from .bars import Wish
from .columns import text_of
from .itch import midnight_ns

TICK_E9: Final = 100_000
LOT_E9: Final = 1_000_000_000
STEP: Final = 100
ABSENT: Final = 9_999_999_999
NAME: Final = re.compile(r"(?P<symbol>[A-Za-z0-9.\-]+)_(?P<date>\d{4}-\d{2}-\d{2})_.*message", re.ASCII)
SUBMIT, PARTIAL, GONE, VISIBLE, HIDDEN, CROSS, HALT = range(1, 8)
ANONYMOUS: Final = 1 << 40  # numbers of orders that no row names begin here
ROWS: Final = 1 << 14
STATES: Final = {-1: HALTED, 0: QUOTE_ONLY, 1: TRADING}


class Message(NamedTuple):
    """One row of the message file."""

    row: int
    ts: int
    kind: int
    order_id: int
    size: int
    price: int
    side: int


class Side:
    """Levels of one side, best first, each with its orders in the order of their arrival."""

    def __init__(self, side: int) -> None:
        self.sign = -1 if side == BID else 1
        self.keys: list[int] = []  # sign * price, ascending
        self.levels: dict[int, dict[int, int]] = {}  # price -> order id -> size

    def add(self, price: int, order_id: int, size: int) -> None:
        """An order at the end of its level."""
        if price not in self.levels:
            insort(self.keys, self.sign * price)
        self.levels.setdefault(price, {})[order_id] = size

    def remove(self, price: int, order_id: int) -> None:
        """An order, and its level with the last one."""
        level = self.levels[price]
        del level[order_id]
        if not level:
            del self.levels[price]
            del self.keys[bisect_left(self.keys, self.sign * price)]

    def total(self, price: int) -> int:
        """Lots of a level."""
        return sum(self.levels.get(price, {}).values())


def tape(paths: list[Path], wish: Wish, date: str | None) -> Tape:
    """The tape of a message file and the book file that is given, or lies beside it under its usual name. DataError
    names the row of what is no row."""
    messages, book = _pair(paths)
    match = NAME.match(messages.name)
    day = date or (match["date"] if match else None)
    symbol = wish.symbol if wish.symbols or not match else match["symbol"]
    instruments = (Instrument(symbol, TICK_E9, LOT_E9, wish.venue or "XNAS", STEP),)
    notes: dict[str, int] = {}

    def read(size: int) -> Iterator[Any]:
        notes.clear()
        replay = Replay(messages, book, midnight_ns(day), notes)
        return introduced(instruments, replay.records())

    return Tape(instruments, "orders", read, None, wish.source, notes)


def _pair(paths: list[Path]) -> tuple[Path, Path | None]:
    if len(paths) == 1:
        beside = paths[0].with_name(paths[0].name.replace("_message_", "_orderbook_"))
        return paths[0], beside if beside != paths[0] and beside.exists() else None
    if len(paths) != 2:
        raise DataError(f"{len(paths)} files: LOBSTER is a message file and its book file")
    books = [path for path in paths if "orderbook" in path.name]
    if len(books) != 1:
        raise DataError(f"{paths[0]}, {paths[1]}: which one is the book file? Its name holds `orderbook`")
    return next(path for path in paths if path != books[0]), books[0]


def messages_of(path: Path, base: int) -> Iterator[Message]:
    """Rows of a message file. DataError names one that is none."""
    with text_of(path) as file:
        for row, text in enumerate(file, 1):
            try:
                time, kind, order_id, size, price, direction = text.rstrip("\r\n").split(",")[:6]
                whole, _, rest = time.partition(".")
                ts = base + int(whole) * 1_000_000_000 + int(rest[:9].ljust(9, "0"))
                side = BID if int(direction) == 1 else ASK
                yield Message(row, ts, int(kind), int(order_id), int(size), int(price), side)
            except ValueError as error:
                raise DataError(f"{path} row {row}: {text.strip()[:60]!r} is no LOBSTER message") from error


def rows_of(path: Path) -> Iterator[list[list[tuple[int, int]]]]:
    """Rows of a book file: of each side its levels in view, best first. A header is passed by."""
    with text_of(path) as file:
        for row, text in enumerate(file, 1):
            try:
                numbers = list(map(int, text.split(",")))
            except ValueError as error:
                if row == 1:
                    continue
                raise DataError(f"{path} row {row}: {text.strip()[:60]!r} is no row of a book") from error
            asks, bids = (
                [pair for pair in zip(numbers[at::4], numbers[at + 1 :: 4], strict=True) if abs(pair[0]) != ABSENT]
                for at in (0, 2)
            )
            yield [bids, asks, [(len(numbers) // 4, 0)]]


class Named(NamedTuple):
    """What a first reading finds of the orders that rows name."""

    before: dict[int, tuple[int, int, int]]  # reduced without having been added: side, price, all that is taken off
    first: int  # the first number that a row adds
    last: dict[int, int]  # number -> the last row about it


def named(path: Path) -> Named:
    """Read all of a message file."""
    found = Named({}, 0, {})
    added: set[int] = set()
    for message in messages_of(path, 0):
        if message.kind == SUBMIT:
            found = found if found.first else found._replace(first=message.order_id)
            added.add(message.order_id)
        elif PARTIAL <= message.kind <= VISIBLE and message.order_id not in added:
            size = found.before.get(message.order_id, (0, 0, 0))[2] + message.size
            found.before[message.order_id] = (message.side, message.price, size)
        found.last[message.order_id] = message.row
    return found


class Replay:
    """One reading: the book as it stands, and the rows of records that made it."""

    def __init__(self, messages: Path, book: Path | None, base: int, notes: dict[str, int]) -> None:
        self._path, self._book, self._base, self._notes = messages, book, base, notes
        self._unnamed, first, self._last = named(messages)
        self._late = sorted((key for key in self._unnamed if first and key > first), reverse=True)
        self._sides = (Side(BID), Side(ASK))
        self._orders: dict[int, tuple[int, int]] = {}  # id -> side, price
        self._anonymous = ANONYMOUS
        self._now = self._row = 0
        self.rows: list[tuple[int, ...]] = []

    def records(self) -> Iterator[Any]:
        """All records, the row of each in `sequence`. DataError names the row of what is wrong."""
        books = rows_of(self._book) if self._book is not None else None
        stream = messages_of(self._path, self._base)
        pairs = zip_longest(stream, books) if books is not None else ((message, None) for message in stream)
        for message, shown in pairs:
            if message is None or (books is not None and shown is None):
                longer = self._book if message is None else self._path
                raise DataError(f"{longer} has more rows than its partner, which ends at {self._row}")
            begun = self._row > 0
            if message.ts < self._now:
                noted(self._notes, "time going back")
            self._now, self._row = max(self._now, message.ts), message.row
            if not begun:
                self._seed(message, shown)
            self._apply(message)
            if shown is not None:
                self._compare(shown)
            if len(self.rows) >= ROWS:
                yield np.array(self.rows, RECORD)
                self.rows.clear()
        if self.rows:
            yield np.array(self.rows, RECORD)

    def _emit(self, kind: int, side: int, order_id: int, price: int, qty: int, flag: int = 0, aux: int = NONE) -> None:
        self.rows.append((kind, side, flag, 0, self._row, self._now, self._now, order_id, price, qty, aux))

    def _add(self, side: int, price: int, order_id: int, size: int) -> None:
        self._sides[side].add(price, order_id, size)
        self._orders[order_id] = (side, price)
        self._emit(ADD, side, order_id, price, size)

    def _add_anonymous(self, side: int, price: int, size: int, why: str) -> int:
        self._anonymous += 1
        self._add(side, price, self._anonymous, size)
        noted(self._notes, why)
        return self._anonymous

    def _take(self, order_id: int, size: int, kind: int) -> int:
        """Lots off an order; what it did not have."""
        side, price = self._orders[order_id]
        level = self._sides[side].levels[price]
        left = level[order_id]
        lots = min(size, left)
        if lots == left and kind != EXECUTE:
            self._emit(DELETE, side, order_id, NONE, lots)
        else:
            self._emit(kind, side, order_id, NONE, lots)
        if lots == left:
            self._sides[side].remove(price, order_id)
            del self._orders[order_id]
        else:
            level[order_id] = left - lots
        return size - lots

    def _seed(self, message: Message, shown: list[list[tuple[int, int]]] | None) -> None:
        """What rests before the first message: its row without it, split into the orders that rows will name."""
        late = set(self._late)
        known = [(key, *self._unnamed[key]) for key in sorted(self._unnamed) if key not in late]
        if shown is None:
            for order_id, side, price, size in known:
                self._add(side, price, order_id, size)
                noted(self._notes, "orders seeded")
            return
        for side in (BID, ASK):
            levels = dict(shown[side])
            if message.side == side and SUBMIT <= message.kind <= VISIBLE:
                change = -message.size if message.kind == SUBMIT else message.size
                levels[message.price] = levels.get(message.price, 0) + change
            for price, size in levels.items():
                mine = [(key, part) for key, at, level, part in known if at == side and level == price]
                while sum(part for _, part in mine) > size:
                    mine.pop()
                rest = size - sum(part for _, part in mine)
                if rest > 0:
                    self._add_anonymous(side, price, rest, "levels seeded")
                for key, part in mine:
                    self._add(side, price, key, part)
                    noted(self._notes, "orders seeded")

    def _apply(self, message: Message) -> None:
        kind, order_id = message.kind, message.order_id
        if kind == SUBMIT:
            self._catch_up(order_id)
            if order_id in self._orders:
                noted(self._notes, "order added twice")
            else:
                self._add(message.side, message.price, order_id, message.size)
        elif PARTIAL <= kind <= VISIBLE:
            self._reduce(message, EXECUTE if kind == VISIBLE else CANCEL)
        elif kind in (HIDDEN, CROSS):
            flag = SIDED if kind == HIDDEN else 0
            self._emit(TRADE, message.side, NONE, message.price, message.size, flag)
        elif kind == HALT and message.price in STATES:
            self._emit(STATUS, 0, NONE, NONE, 0, 0, STATES[message.price])
        else:
            noted(self._notes, "messages of other types")

    def _catch_up(self, order_id: int) -> None:
        """Without a book file: orders that came out of view before this one, and are named later."""
        while self._book is None and self._late and self._late[-1] < order_id:
            key = self._late.pop()
            self._add(*self._unnamed[key][:2], key, self._unnamed[key][2])
            noted(self._notes, "orders seeded late")

    def _reduce(self, message: Message, kind: int) -> None:
        """Lots off the order that a row names; where it is not known, off an anonymous one of its level."""
        size, order_id = message.size, message.order_id
        if order_id in self._orders:
            size = self._take(order_id, size, kind)
        level = self._sides[message.side].levels.get(message.price, {})
        for other in [key for key in level if key > ANONYMOUS]:
            if size > 0:
                size = self._take(other, size, kind)
        if size > 0:
            made = self._add_anonymous(message.side, message.price, size, "orders inferred")
            self._take(made, size, kind)

    def _compare(self, shown: list[list[tuple[int, int]]]) -> None:
        """Put right what differs between our levels in view and the row's."""
        depth = shown[2][0][0]
        for side in (BID, ASK):
            held, rows = self._sides[side], dict(shown[side])
            full = len(rows) == depth
            worst = held.sign * shown[side][-1][0] if full else None
            at = 0
            while at < len(held.keys) and (worst is None or held.keys[at] <= worst):
                price = held.sign * held.keys[at]
                excess = held.total(price) - rows.get(price, 0)
                if excess > 0:
                    self._take_off(side, price, excess)
                if price in held.levels:
                    at += 1
            for price, size in rows.items():
                missing = size - held.total(price)
                if missing > 0:
                    self._add_anonymous(side, price, missing, "levels revealed")

    def _take_off(self, side: int, price: int, size: int) -> None:
        """Lots that left while nobody was told: first of orders that no later row names, the newest first."""
        level = self._sides[side].levels[price]
        for key in sorted(level, key=lambda order_id: (self._last.get(order_id, 0) > self._row, -order_id)):
            if size > 0:
                size = self._take(key, size, CANCEL)
        noted(self._notes, "levels corrected")
