"""One aggregated (L2) feed as records: what a venue says of its levels, put in order and held against itself.

A venue's reader turns messages into the four events below; here they become LEVEL and TRADE records. A book is `live`
from its snapshot on. Updates that come before it wait, and are applied after it as the venue's rules say. Where the
numbers of updates break, or a checksum differs, the book is emptied (a LEVEL of 0 for each level) and stays so until
the next snapshot: nobody trades on a book that is known to be wrong. Each such thing is told to `trouble` with its row.

Invariant: `levels` is what the records so far make of the book. ts_event never goes back: a message stamped before one
that came earlier gets that one's time. Known bad case: a level beyond a snapshot's depth is not known until it changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ...wire import ASK, BID, LEVEL, NONE, SIDED, TRADE
from . import DataError, scale

TOLD_MAX: Final = 1024
Level = Sequence[str]  # price, quantity, as the venue wrote them


class Snapshot(NamedTuple):
    """A whole book."""

    symbol: str
    ts: int  # of the venue, ns; 0 = it does not say
    bids: Sequence[Level]
    asks: Sequence[Level]
    last_id: int = NONE
    checksum: int | None = None


class Update(NamedTuple):
    """Levels that changed; a quantity of 0 takes one away."""

    symbol: str
    ts: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    first_id: int = NONE  # of the changes in it; NONE where a venue does not number them
    last_id: int = NONE
    before_id: int = NONE  # last_id of the update before, where the venue says it
    checksum: int | None = None


class Quote(NamedTuple):
    """Best bid and ask as a stream of its own. It makes records only where nothing else says what the levels are."""

    symbol: str
    ts: int
    bid: Level
    ask: Level
    last_id: int = NONE


class Trade(NamedTuple):
    """A trade. `side` is that of the order that rested."""

    symbol: str
    ts: int
    price: str
    qty: str
    side: int
    summed: bool = False  # several trades of one order in one message, where a stream of single ones may exist too


Event = Snapshot | Update | Quote | Trade
Trouble = Callable[[int, str, str], None]  # row, what kind, in words
Checksum = Callable[["Book"], int]


@dataclass
class Venue:
    """How a venue does it."""

    name: str
    parse: Callable[[Any, str], Sequence[Event]]  # a message, and the address it answers
    checksum: Checksum | None = None
    depth: int = 0  # levels beyond it are cut; 0 = none are


@dataclass
class Book:
    """One instrument: its levels by price in ticks, and how far the numbered updates have come."""

    index: int
    price: scale.Texts
    qty: scale.Texts
    levels: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    texts: tuple[dict[int, Level], dict[int, Level]] = field(
        default_factory=lambda: ({}, {})
    )  # as the venue wrote them
    live: bool = False
    numbered: int = NONE  # last_id of the snapshot or update applied last
    fresh: bool = False  # nothing was applied since the snapshot
    waiting: list[tuple[int, Update]] = field(default_factory=list)
    told: dict[int, Quote] = field(default_factory=dict)  # by last_id, of updates that are still to come


class Feed:
    """Events in, rows of records out: (kind, side, flag, instrument, row, ts_event, ts_recv, id, price, qty, aux)."""

    def __init__(self, venue: Venue, books: dict[str, Book], trouble: Trouble, *, quotes: frozenset[str]) -> None:
        """`quotes`: symbols of which only quotes are known. Events of symbols that are not in `books` are passed by."""
        self._venue, self._books, self._trouble, self._quotes = venue, books, trouble, quotes
        self.now = 0
        self.agreed = 0  # quotes that were held against a book
        self.rows: list[tuple[int, ...]] = []

    def take(self, row: int, ts_recv: int, event: Event) -> None:
        """One event. DataError names a price or quantity that is no whole number of units."""
        book = self._books.get(event.symbol)
        if book is None:
            return
        self.now = max(self.now, event.ts or (0 if self.now else ts_recv))
        self._recv, self._row = ts_recv, row
        try:
            if isinstance(event, Update):
                self._update(book, row, event)
            elif isinstance(event, Snapshot):
                self._snapshot(book, row, event)
            elif isinstance(event, Trade):
                price, qty = book.price(event.price), book.qty(event.qty)
                if qty > 0 and price > 0:
                    self._emit(TRADE, book, event.side, price, qty)
            elif event.symbol in self._quotes:
                self._replace(book, ([event.bid], [event.ask]))
            elif event.last_id == book.numbered:
                self._agree(book, row, event)
            elif event.last_id > book.numbered:
                book.told[event.last_id] = event
                if len(book.told) > TOLD_MAX:
                    del book.told[next(iter(book.told))]
        except ValueError as error:
            raise DataError(f"{event.symbol}: {error}") from error

    def _emit(self, kind: int, book: Book, side: int, price: int, qty: int) -> None:
        self.rows.append(
            (
                kind,
                side,
                SIDED if kind == TRADE else 0,
                book.index,
                self._row,
                self.now,
                self._recv,
                NONE,
                price,
                qty,
                0,
            )
        )

    def _snapshot(self, book: Book, row: int, event: Snapshot) -> None:
        self._replace(book, (event.bids, event.asks))
        book.live, book.fresh, book.numbered = True, True, event.last_id
        self._check(book, row, event.checksum)
        waiting, book.waiting = book.waiting, []
        for at, update in waiting:
            self._row = at
            self._update(book, at, update)

    def _replace(self, book: Book, sides: tuple[Sequence[Level], Sequence[Level]]) -> None:
        """The book is this now: what is no longer there goes first, so that nothing crosses on the way."""
        wanted = [{book.price(level[0]): level for level in side} for side in sides]
        for side in (BID, ASK):
            for price in sorted(price for price in book.levels[side] if price not in wanted[side]):
                self._set(book, side, price, 0, ())
        for side in (BID, ASK):
            for price, level in wanted[side].items():
                self._set(book, side, price, book.qty(level[1]), level)

    def _change(self, book: Book, sides: tuple[Sequence[Level], Sequence[Level]]) -> None:
        """Changes of one message. Of a price that stands there twice the last counts; what goes away goes first."""
        changes = [{book.price(level[0]): (book.qty(level[1]), level) for level in side} for side in sides]
        for gone in (True, False):
            for side in (BID, ASK):
                for price, (qty, level) in changes[side].items():
                    if (qty == 0) == gone:
                        self._set(book, side, price, qty, level)

    def _set(self, book: Book, side: int, price: int, qty: int, level: Level) -> None:
        held = book.levels[side]
        before = held.get(price, 0)
        if qty:
            held[price], book.texts[side][price] = qty, level
        elif before:
            del held[price], book.texts[side][price]
        if qty != before:
            self._emit(LEVEL, book, side, price, qty)

    def _update(self, book: Book, row: int, event: Update) -> None:
        if not book.live:
            book.waiting.append((row, event))
            return
        if event.last_id != NONE and book.numbered != NONE and not self._follows(book, row, event):
            return
        self._change(book, (event.bids, event.asks))
        if self._venue.depth:
            self._cut(book)
        book.numbered, book.fresh = max(book.numbered, event.last_id), False
        self._check(book, row, event.checksum)
        told = book.told.pop(event.last_id, None)
        if told is not None:
            self._agree(book, row, told)

    def _follows(self, book: Book, row: int, event: Update) -> bool:
        """Whether an update is the next one. One that the snapshot holds already is passed by; a hole ends the book."""
        last, chained = book.numbered, event.before_id != NONE
        if book.fresh:
            if event.last_id < last or (event.last_id == last and not chained):
                return False
            whole = event.first_id <= last + 1
            if chained:
                whole = event.first_id <= last <= event.last_id or event.before_id == last
        elif chained:
            whole = event.before_id == last
        else:
            whole = event.first_id == last + 1
        if not whole:
            expected = f"update {last + 1}" if not chained else f"one that follows {last}"
            self._trouble(row, "sequence gap", f"{event.symbol}: {expected} is missing; here is {event.first_id}")
            self._lose(book)
            book.waiting.append((row, event))
        return whole

    def _lose(self, book: Book) -> None:
        book.live = False
        self._replace(book, ((), ()))

    def _cut(self, book: Book) -> None:
        """Levels beyond the depth that the venue keeps us told of."""
        for side in (BID, ASK):
            held = book.levels[side]
            if len(held) > self._venue.depth:
                for price in sorted(held, reverse=side == BID)[self._venue.depth :]:
                    self._set(book, side, price, 0, ())

    def _agree(self, book: Book, row: int, told: Quote) -> None:
        """Hold the venue's own best bid and ask of this number against the book's."""
        if not book.live:
            return
        self.agreed += 1
        said, found = [], []
        for side, level in ((BID, told.bid), (ASK, told.ask)):
            held = book.levels[side]
            best = (max if side == BID else min)(held, default=0)
            found.append((best, held.get(best, 0)))
            said.append((book.price(level[0]), book.qty(level[1])))
        if found != said:
            best_said = " / ".join(f"{level[0]} x {level[1]}" for level in (told.bid, told.ask))
            words = f"{told.symbol}: update {told.last_id} has best {best_said}, the book another"
            self._trouble(row, "best differs", words)

    def _check(self, book: Book, row: int, said: int | None) -> None:
        if said is None or self._venue.checksum is None:
            return
        found = self._venue.checksum(book)
        if found != said:
            self._trouble(row, "checksum", f"the venue says {said}, the book gives {found}")
            self._lose(book)
