"""A capture of a venue's streams as a tape: LEVEL and TRADE records, in the order in which the messages came.

A first reading finds the instruments, and the finest decimals of each: their ticks and lots. Every later one makes the
records again, with the state of one book per instrument and nothing else in memory.
Invariant: what `Tape.read` gives carries the row of its message in `sequence`, for whoever has to say where; `batches`
clears it. Known bad case: where the finest quantity and the largest are more than 2^40 apart, quantities (never prices)
are rounded to a coarser lot, to one at least; `notes` counts the instruments. A `lot` that is given is held to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...venues import binance
from ...wire import RECORD
from ..sniff import sniff
from ..tape import Instrument, Tape, introduced
from . import DataError, fast, noted, scale
from .bars import Wish
from .feed import Book, Event, Feed, Quote, Snapshot, Trade, Trouble, Update, Venue
from .lines import Line, Lines
from .venues import VENUES, venue_of

ROWS: Final = 1 << 14  # records of a batch, about
HEADROOM: Final = 4
TELLING: Final = 100  # lines that may pass before a venue has to be known


@dataclass
class Seen:
    """What a first reading finds of one symbol."""

    price: scale.Finest = field(default_factory=scale.Finest)
    qty: scale.Finest = field(default_factory=scale.Finest)
    snapshots: int = 0
    updates: int = 0
    quotes: int = 0
    trades: int = 0
    summed: int = 0  # messages that sum up trades


def tape(paths: list[Path], wish: Wish, *, partial: bool = False) -> Tape:
    """The tape of a capture or a dialogue. DataError names the line of what is wrong, or the symbol without a snapshot
    (with `partial` its book begins empty)."""
    files = Lines(with_answers(paths))
    venue = venue_of_files(files, wish.venue)
    seen = survey(files, venue)
    symbols = [symbol for symbol in seen if not wish.symbols or symbol in wish.symbols]
    if not symbols:
        raise DataError(f"{wish.source}: nothing of {', '.join(wish.symbols) or 'any instrument'}; {', '.join(seen)}")
    for symbol in symbols:
        _refuse_blind(symbol, seen[symbol], wish, partial)
    instruments = tuple(_instrument(symbol, seen[symbol], wish, venue) for symbol in symbols)
    levels = any(seen[symbol].updates or seen[symbol].snapshots for symbol in symbols)
    rounded = sum(seen[i.symbol].qty.unit_e9() < i.lot_e9 for i in instruments if not wish.lot_e9)
    known = {"instruments whose quantities are rounded": rounded} if rounded else {}
    notes = dict(known)

    def read(size: int) -> Iterator[Any]:
        notes.clear()
        notes.update(known)
        return introduced(instruments, records(files, venue, instruments, seen, wish, partial, _counting(notes)))

    return Tape(instruments, "levels" if levels else "ticks", read, None, wish.source, notes)


def _counting(notes: dict[str, int]) -> Trouble:
    def count(row: int, kind: str, words: str) -> None:
        noted(notes, kind)

    return count


def with_answers(paths: list[Path]) -> list[Path]:
    """Beside a dialogue `X.ws.n` lie the answers of its venue, `X.http.n`."""
    found = list(paths)
    for path in paths:
        name, mark, _ = path.name.partition(".ws.")
        if mark:
            found += [other for other in sorted(path.parent.glob(f"{name}.http.*")) if other not in found]
    return found


def venue_of_files(files: Lines, name: str) -> Venue:
    """The venue of that name, or whose words the first lines are. DataError when it is none of ours."""
    if name:
        if name.upper() not in VENUES:
            raise DataError(f"venue {name!r} is none of {', '.join(VENUES)}")
        return VENUES[name.upper()]
    found = next((venue for line in islice(files, TELLING) if (venue := venue_of(line.said)) is not None), None)
    if found is None:
        raise DataError(f"{files.where(1)} and on: no message of {', '.join(VENUES)}: give venue=")
    return found


def events_of(files: Lines, venue: Venue, line: Line) -> Sequence[Event]:
    """What a line says. DataError names it when it says something in another form than the venue's."""
    try:
        return venue.parse(line.said, line.asked)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(
            f"{files.where(line.row)}: no message of {venue.name}: {type(error).__name__} {error}"
        ) from error


def survey(files: Lines, venue: Venue) -> dict[str, Seen]:
    """Read everything once: which instruments there are, and their decimals. In order of appearance."""
    found: dict[str, Seen] = {}
    nameless: list[tuple[Line, Event]] = []  # old snapshots, which do not say of what they are
    scanner = binance.create(fast.SYMBOL_MAX, page_max=64)

    def take(line: Line) -> None:
        for event in events_of(files, venue, line):
            if not event.symbol:
                nameless.append((line, event))
                continue
            binance.add(scanner, event.symbol)
            try:
                _note(found.setdefault(event.symbol, Seen()), event)
            except ValueError as error:
                raise DataError(f"{files.where(line.row)}: {event.symbol}: {error}") from error

    if is_fast(files, venue):
        fast.survey(files, scanner, take)
    else:
        for line in files:
            take(line)
    for index, seen in enumerate(found.values()):
        if index < int(scanner.cells[binance.KNOWN]):
            _add(seen, scanner.about[index].tolist())
    if nameless and len(found) != 1:
        where = files.where(nameless[0][0].row)
        raise DataError(f"{where}: a snapshot without a symbol, and {len(found)} are recorded")
    for _, event in nameless:
        _note(next(iter(found.values())), event)
    return found


def is_fast(files: Lines, venue: Venue) -> bool:
    """Whether the lines are those that `ultra.venues.binance` looks through."""
    return venue.name == "BINANCE" and all(sniff(path) == "capture" for path in files.paths)


def _add(seen: Seen, about: list[int]) -> None:
    """What the scanner counted."""
    seen.updates += about[binance.UPDATES]
    seen.quotes += about[binance.QUOTES]
    seen.trades += about[binance.SINGLES]
    seen.summed += about[binance.SUMS]
    seen.price.digits = max(seen.price.digits, about[binance.PRICE_DIGITS])
    seen.qty.digits = max(seen.qty.digits, about[binance.QTY_DIGITS])
    seen.qty.greatest = max(seen.qty.greatest, about[binance.QTY_GREATEST])


def _note(seen: Seen, event: Event) -> None:
    if isinstance(event, Trade):
        seen.trades += not event.summed
        seen.summed += event.summed
        seen.price.add(event.price)
        seen.qty.add(event.qty)
        return
    if isinstance(event, Quote):
        seen.quotes += 1
        levels = [event.bid, event.ask]
    else:
        seen.snapshots += isinstance(event, Snapshot)
        seen.updates += isinstance(event, Update)
        levels = [*event.bids, *event.asks]
    for level in levels:
        seen.price.add(level[0])
        seen.qty.add(level[1])


def _refuse_blind(symbol: str, seen: Seen, wish: Wish, partial: bool) -> None:
    if seen.updates and not seen.snapshots and not partial:
        raise DataError(
            f"{wish.source}: {symbol} has {seen.updates} updates and no snapshot: give the file before it as well, "
            "or partial=True to begin with an empty book"
        )


def _instrument(symbol: str, seen: Seen, wish: Wish, venue: Venue) -> Instrument:
    """A lot that is not given is the finest power of ten that was seen, and so coarse that 2^40 of them are enough."""
    lot = wish.lot_e9 or seen.qty.unit_e9()
    while not wish.lot_e9 and seen.qty.greatest // lot > scale.QTY_MAX // HEADROOM:
        lot *= 10
    if seen.qty.greatest // lot > scale.QTY_MAX:
        amount, size = Decimal(seen.qty.greatest) / scale.E9, Decimal(lot) / scale.E9
        raise DataError(f"{wish.source}: {symbol}: {amount} is more than 2^40 lots of {size}: give a coarser lot")
    return Instrument(symbol, wish.tick_e9 or seen.price.unit_e9(), lot, venue.name)


def records(
    files: Lines,
    venue: Venue,
    instruments: tuple[Instrument, ...],
    seen: dict[str, Seen],
    wish: Wish,
    partial: bool,
    trouble: Trouble,
) -> Iterator[Any]:
    """The records, and with each the row of its message in `sequence`. What is wrong goes to `trouble`."""
    books = {}
    for index, instrument in enumerate(instruments):
        price = scale.Texts(instrument.tick_e9, "price", wish.snap)
        rounded = wish.snap or (not wish.lot_e9 and seen[instrument.symbol].qty.unit_e9() < instrument.lot_e9)
        books[instrument.symbol] = Book(index, price, scale.Texts(instrument.lot_e9, "quantity", rounded))
        if partial and not seen[instrument.symbol].snapshots:
            books[instrument.symbol].live = True
    quotes = frozenset(name for name in books if not seen[name].updates and not seen[name].snapshots)
    feed, only = Feed(venue, books, trouble, quotes=quotes), instruments[0].symbol

    def take(line: Line, event: Event) -> None:
        if isinstance(event, Trade) and event.summed and event.symbol in books and seen[event.symbol].trades:
            return  # they are in the stream of single trades
        try:
            feed.take(line.row, line.ts_recv, event if event.symbol else event._replace(symbol=only))
        except DataError as error:
            raise DataError(f"{files.where(line.row)}: {error}") from error

    def parse(line: Line) -> Sequence[Event]:
        return events_of(files, venue, line)

    if is_fast(files, venue) and not any(book.qty.snaps or book.price.snaps for book in books.values()):
        reading = fast.Reading(files, instruments, feed, books, trouble, parse, take)
        for index, instrument in enumerate(instruments):
            reading.begin(index, seen[instrument.symbol].trades > 0, instrument.symbol in quotes)
        yield from reading.records()
        return
    for line in files:
        for event in parse(line):
            take(line, event)
        if len(feed.rows) >= ROWS:
            yield np.array(feed.rows, RECORD)
            feed.rows.clear()
    if files.cut:
        trouble(0, "cut", files.cut)
    if feed.rows:
        yield np.array(feed.rows, RECORD)
