"""`load`: whatever holds market data, as a tape. What a file is, its content says.

    file or folder      ITCH 5.0 (.gz), tape (.ulc), LOBSTER (with its book file beside it), capture of Binance, Kraken,
                        OKX, Bitget, Coinbase (.gz), DBN and dbz, CSV, Parquet, Arrow, a journal of the engine
    list of files       captures that continue each other, as of a day and the next
    object in memory    a frame of pandas or polars, a table of pyarrow, an array or a dict of arrays of NumPy

Known bad case: prices and sizes that need more than nine decimals are refused; money is int64 in 1e-9.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from . import tape as tapes
from .extra import LabError
from .progress import Progress, counted, told
from .readers import DataError, bars, capture, dbn, itch, journal, lobster, names, scale, stamps, ticks
from .readers import columns as tables
from .sniff import sniff
from .tape import Tape, TapeError

__all__ = ["DataError", "LabError", "TapeError", "load", "sniff"]

Number = float | str | int | Decimal | None


def load(
    source: Any,
    *,
    symbol: str | Sequence[str] | None = None,
    tick: Number = None,
    lot: Number = None,
    columns: Mapping[str, str] | Sequence[str] | None = None,
    zone: str | None = None,
    interval: str | int | None = None,
    stamped: str = "start",
    snap: bool = False,
    date: str | None = None,
    venue: str = "",
    partial: bool = False,
    progress: Progress = None,
) -> Tape:
    """The tape of `source`.

    `symbol`: what to take out of a source of several; the name of what a table without names is about.
    `tick`, `lot`: the price of a tick and the size of a lot (0.01); found if not given. A price that is no whole number
    of ticks is an error that names its row, or with `snap` the nearest.
    `columns`: of a table, {"close": "Adj Close"}, or the names of all columns where there is no header.
    `zone`: of a table's times that have no offset. `interval`, `stamped`: of bars, "1m", "start" or "end".
    `date`: the day of an ITCH or LOBSTER file. `partial`: take a capture that begins without a snapshot.
    `progress`: called with the records read so far, as they are read; True is a bar of tqdm.

    Raises DataError (names the row), TapeError (a tape that is damaged), LabError (a package is missing)."""
    if stamped not in ("start", "end"):
        raise DataError(f"stamped={stamped!r}: 'start' or 'end'")
    wanted = (symbol,) if isinstance(symbol, str) else tuple(symbol or ())
    wish = bars.Wish(
        wanted[0] if len(wanted) == 1 else "", wanted, scale.unit_of(tick), scale.unit_of(lot), zone,
        stamps.interval_ns(interval), stamped, snap, venue, "",
    )  # fmt: skip
    tell = told(progress, "records")
    if tell is not None:
        found = load(
            source, symbol=symbol, tick=tick, lot=lot, columns=columns, zone=zone, interval=interval, stamped=stamped,
            snap=snap, date=date, venue=venue, partial=partial,
        )  # fmt: skip
        return replace(found, read=counted(found.read, tell))
    if tables.is_table(source):
        about = type(source).__name__
        wish = wish._replace(source=about, symbol=wish.symbol or about)
        return _table(lambda: _of_object(source, columns), wish, columns)
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(each) for each in source]
    if not paths:
        raise DataError("no file is given")
    kinds = [sniff(path) for path in paths]
    wish = wish._replace(source=", ".join(map(str, paths)), symbol=wish.symbol or paths[0].name.partition(".")[0])
    if kinds[0] in ("capture", "dialogue"):
        _refuse_mixed(paths, kinds, ("capture", "dialogue"))
        return capture.tape(paths, wish, partial=partial)
    if "lobster" in kinds:
        return lobster.tape(paths, wish, date)
    return _of_files(kinds[0], paths, kinds, wish, columns, date)


def _of_files(
    kind: str,
    paths: list[Path],
    kinds: list[str],
    wish: bars.Wish,
    given: Mapping[str, str] | Sequence[str] | None,
    date: str | None,
) -> Tape:
    _refuse_mixed(paths, kinds, ())
    if kind == "tape":
        return _only(tapes.open(paths[0]), wish.symbols)
    if kind == "itch":
        return itch.tape(paths[0], wish.symbols, date)
    if kind == "journal":
        return journal.tape(paths[0], wish.symbols)
    if kind == "folder":
        raise DataError(f"{paths[0]} is a folder and no journal: name its files")
    if kind in ("dbn", "dbz"):
        return dbn.tape(paths[0], wish)
    return _table(lambda: tables.of_file(paths[0], _listed(given)), wish, given)


def _refuse_mixed(paths: list[Path], kinds: list[str], allowed: tuple[str, ...]) -> None:
    if len(paths) > 1 and not set(kinds) <= set(allowed):
        raise DataError(f"{len(paths)} files ({', '.join(kinds)}): only captures continue each other")


def _only(tape: Tape, symbols: tuple[str, ...]) -> Tape:
    if symbols and set(symbols) != {instrument.symbol for instrument in tape.instruments}:
        there = ", ".join(instrument.symbol for instrument in tape.instruments)
        raise DataError(f"{tape.source} is of {there}; take symbols out when it is converted")
    return tape


def _listed(given: Mapping[str, str] | Sequence[str] | None) -> Sequence[str] | None:
    return None if given is None or isinstance(given, Mapping) else given


def _of_object(source: Any, given: Mapping[str, str] | Sequence[str] | None) -> Iterator[tables.Block]:
    return tables.of_object(source, _listed(given))


def _table(
    blocks: Callable[[], Iterator[tables.Block]], wish: bars.Wish, given: Mapping[str, str] | Sequence[str] | None
) -> Tape:
    first = next(blocks(), None)
    if first is None:
        raise DataError(f"{wish.source} holds no rows")
    labels = list(first[1])
    found = names.found(labels, given if isinstance(given, Mapping) else None)
    if "close" in found and ("open" in found or "symbol" in found or len(labels) == 2):
        return bars.long(blocks, found, wish)
    if "price" in found or ("bid" in found and "ask" in found):
        return ticks.tape(blocks, found, wish)
    if "close" in found:
        return bars.long(blocks, found, wish)
    if all(first[1][name].dtype.kind in "fiu" for name in labels if name != found["time"]) and len(labels) > 1:
        return bars.wide(blocks, found["time"], wish)
    raise DataError(
        f"columns {', '.join(labels)}: neither bars (close) nor ticks (price, or bid and ask): give columns="
    )
