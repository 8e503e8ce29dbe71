"""A Binance capture by `ultra.venues.binance`, block by block; the lines that it stops at by `capture` and `feed`.

Both work on the same book: before a strange line its levels are handed over, and what comes of it goes back as records.
Invariant: the records are those of `capture.records` alone (a test holds them against each other).
Known bad case: a capture in which every line is strange is as slow as if this were not here, and a little more.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from ...hot import memory
from ...venues import binance
from ...venues.text import LINE_END
from ...wire import ASK, BID, NONE, RECORD, decimal
from ..tape import Instrument
from . import DataError
from .feed import Book, Event, Feed, Quote, Trouble
from .lines import LINE_BITS, Line, Lines, parsed

BLOCK_BYTES: Final = 1 << 20
OUT_RECORDS: Final = 1 << 14
SYMBOL_MAX: Final = 512


def strange(files: Lines, scanner: binance.Scanner, buffer: Any, at: int, whole: bool) -> tuple[Line | None, int]:
    """The line that a scan stopped at, parsed, and where the next begins. Of a file's last, if it is cut, None."""
    row = int(scanner.cells[binance.NUMBER])
    end = at + int(np.argmax(buffer[at:] == LINE_END))
    scanner.cells[binance.NUMBER] += 1
    try:
        return parsed(row, buffer[at:end].tobytes() + b"\n"), end + 1
    except ValueError as error:
        if whole or end + 1 < len(buffer):
            raise DataError(f"{files.where(row)}: {error}") from error
        files.cut = f"{files.where(row)}: the file ends inside it"
        return None, end + 1


def survey(files: Lines, scanner: binance.Scanner, other: Callable[[Line], None]) -> None:
    """A first reading: counts and decimals into the scanner, strange lines to `other`."""
    for number, path in enumerate(files.paths):
        scanner.cells[binance.NUMBER] = (number << LINE_BITS) + 1
        for buffer, whole in files.blocks(path, BLOCK_BYTES):
            at = int(binance.survey(scanner, buffer, 0, len(buffer)))
            while at < len(buffer):
                line, at = strange(files, scanner, buffer, at, whole)
                if line is not None:
                    other(line)
                at = int(binance.survey(scanner, buffer, at, len(buffer)))


class Reading:
    """Every record again."""

    def __init__(
        self,
        files: Lines,
        instruments: tuple[Instrument, ...],
        feed: Feed,
        books_of: dict[str, Book],
        trouble: Trouble,
        parse: Callable[[Line], Sequence[Event]],
        take: Callable[[Line, Event], None],
    ) -> None:
        """`parse` gives the events of a strange line, `take` one of them to `feed`."""
        self._files, self._feed, self._trouble, self._parse, self._take = files, feed, trouble, parse, take
        self._instruments, self._books = instruments, [books_of[instrument.symbol] for instrument in instruments]
        self._scanner = binance.create(max(len(instruments), 1), page_max=1 << 14)
        self._out = memory.zeros(OUT_RECORDS, RECORD)

    def begin(self, index: int, single: bool, only_quotes: bool) -> None:
        """What the first reading found of an instrument."""
        instrument, about = self._instruments[index], self._scanner.about[index]
        assert binance.add(self._scanner, instrument.symbol) == index
        about[binance.WANTED], about[binance.HAS_SINGLE], about[binance.ONLY_QUOTES] = 1, single, only_quotes
        about[binance.TICK], about[binance.LOT] = instrument.tick_e9, instrument.lot_e9
        self._pass_on(index)

    def _pass_on(self, index: int) -> None:
        """The rules' state to the scanner."""
        about, book = self._scanner.about[index], self._books[index]
        units = (book.price, book.qty)
        about[binance.LIVE], about[binance.FRESH], about[binance.NUMBERED] = book.live, book.fresh, book.numbered
        for number, quote in book.told.items():
            try:
                told = [unit(level[k]) for level in (quote.bid, quote.ask) for k, unit in enumerate(units)]
            except ValueError:  # no whole number of units: nothing can be held against it
                continue
            self._scanner.told[index, int(about[binance.TOLD_AT]) % binance.TOLD] = [number, *told]
            about[binance.TOLD_AT] += 1
        book.told.clear()

    def _take_over(self, index: int) -> None:
        """The scanner's to the rules, and the levels."""
        scanner, book = self._scanner, self._books[index]
        book.numbered = int(scanner.about[index, binance.NUMBERED])
        instrument, told = self._instruments[index], scanner.told[index]
        for row in told[told[:, 0] > book.numbered].tolist():
            texts = [decimal(units, (instrument.tick_e9, instrument.lot_e9)[k % 2]) for k, units in enumerate(row[1:])]
            book.told[row[0]] = Quote(instrument.symbol, 0, texts[:2], texts[2:], row[0])
        told[:, 0] = NONE
        for side in (BID, ASK):
            count = int(scanner.book.ladder.sides[2 * index + side].levels)
            prices, qtys = np.zeros(count, np.int64), np.zeros(count, np.int64)
            binance.levels_of(scanner, index, side, prices, qtys)
            book.levels[side].clear()
            book.levels[side].update(zip(prices.tolist(), qtys.tolist(), strict=True))
            book.texts[side].clear()
            book.texts[side].update(dict.fromkeys(book.levels[side], ()))

    def records(self) -> Iterator[Any]:
        """In blocks, the row of each in `sequence`."""
        cells = self._scanner.cells
        for file, path in enumerate(self._files.paths):
            cells[binance.NUMBER] = (file << LINE_BITS) + 1
            for buffer, whole in self._files.blocks(path, BLOCK_BYTES):
                at = 0
                while at < len(buffer):
                    at = int(binance.scan(self._scanner, buffer, at, len(buffer), self._out))
                    filled = int(cells[binance.FILLED])
                    self._tell()
                    if filled:
                        yield self._out[:filled].copy()
                    elif at < len(buffer):
                        line, at = strange(self._files, self._scanner, buffer, at, whole)
                        yield from self._hand_over(line)
        if self._files.cut:
            self._trouble(0, "cut", self._files.cut)

    def _hand_over(self, line: Line | None) -> Iterator[Any]:
        """A strange line to the rules, and what comes of it back into the book."""
        events = self._parse(line) if line is not None else ()
        symbols = {event.symbol for event in events}
        touched = [k for k, instrument in enumerate(self._instruments) if instrument.symbol in symbols or "" in symbols]
        if line is None or not touched:
            return
        self._feed.now = int(self._scanner.cells[binance.NOW])
        for index in touched:
            self._take_over(index)
        for event in events:
            self._take(line, event)
        self._scanner.cells[binance.NOW] = self._feed.now
        for index in touched:
            self._pass_on(index)
        if self._feed.rows:
            made = np.array(self._feed.rows, RECORD).view(np.recarray)
            self._feed.rows.clear()
            binance.follow(self._scanner, made)
            yield made

    def _tell(self) -> None:
        """Best bids and asks that were others."""
        cells = self._scanner.cells
        for row in self._scanner.differs[: int(cells[binance.DIFFERS])].tolist():
            instrument = self._instruments[row[1]]
            prices = [decimal(price, instrument.tick_e9) for price in row[3::2]]
            sizes = [decimal(size, instrument.lot_e9) for size in row[4::2]]
            best = " / ".join(f"{price} x {size}" for price, size in zip(prices, sizes, strict=True))
            words = f"{instrument.symbol}: update {row[2]} has best {best}, the book another"
            self._trouble(row[0], "best differs", words)
        cells[binance.DIFFERS] = 0
