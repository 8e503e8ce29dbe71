"""The engine's own journal as a tape: the market data that it got, without what it did.

A journal that only refers to its market data is read as the file it names, with the instruments and the date of its
run. Known bad case: that file may have changed since; `ultra replay` proves that it has not, this does not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from ... import config as configs
from ...cold import segment
from ...venues import itch as codec
from ...wire import INSTRUMENT, MARKET_LAST, RECORD, int_to_symbol
from .. import tape as tapes
from ..tape import Instrument, Tape, introduced
from . import DamagedError, DataError, itch

UNKNOWN_TICK_E9: Final = codec.TICK_E9  # of an instrument that no record introduces
UNKNOWN_LOT_E9: Final = codec.LOT_E9


def tape(folder: Path, symbols: tuple[str, ...] = ()) -> Tape:
    """The tape of a journal's folder. DataError when it is damaged, or holds no market data."""
    meta = _meta(folder)
    try:
        config = configs.parse(str(meta["config"]), f"{folder}: journaled configuration")
    except (configs.ConfigError, KeyError) as error:
        raise DataError(f"{folder}: the configuration in it can't be read: {error}") from error
    if config.journal.market_data == "reference":
        named = Path(str(meta["source"]))
        source = named if named.is_file() else folder.parent / named.name
        if not source.is_file():
            raise DataError(f"{folder} refers to {named}, which is not there: load that file from where it is")
        return itch.tape(source, symbols or config.feed.instruments, config.feed.date)
    return _whole(folder, symbols)


def _meta(folder: Path) -> dict[str, object]:
    try:
        for frame in segment.read(folder):
            if frame.kind == segment.META:
                return frame.meta()
    except segment.JournalError as error:
        raise DamagedError(str(error)) from error
    raise DataError(f"{folder} does not say what run it is of (no META frame)")


def _whole(folder: Path, symbols: tuple[str, ...]) -> Tape:
    """Of a journal that holds all of its market data."""
    known: dict[int, Instrument] = {}
    kinds, highest, count, first, last, begun = np.zeros(MARKET_LAST + 1, bool), -1, 0, 0, 0, np.zeros(0, RECORD)
    for found in _market(folder):
        begun, first = (begun, first) if count else (found, int(found["ts_event"][0]))
        kinds[found["kind"]] = True
        highest, count, last = (
            max(highest, int(found["instrument"].max())),
            count + len(found),
            int(found["ts_event"][-1]),
        )
        for record in found[found["kind"] == INSTRUMENT]:
            symbol, step = int_to_symbol(int(record["order_id"])), max(1, int(record["aux"]))
            known[int(record["instrument"])] = Instrument(symbol, int(record["price"]), int(record["qty"]), "", step)
    if not count:
        raise DataError(f"{folder} holds no market data")
    listed = tuple(known.get(k, Instrument(f"#{k}", UNKNOWN_TICK_E9, UNKNOWN_LOT_E9)) for k in range(highest + 1))
    if symbols and set(symbols) != {instrument.symbol for instrument in listed}:
        raise DataError(f"{folder} is of {', '.join(instrument.symbol for instrument in listed)}")
    some = np.zeros(int(kinds.sum()), RECORD)
    some["kind"] = np.flatnonzero(kinds)

    def read(size: int) -> Iterator[Any]:
        return introduced(listed, _market(folder))

    count += len(tapes.unintroduced(len(listed), begun))
    return Tape(listed, tapes.kind_of(some), read, None, str(folder), {}, (count, first, last))


def _market(folder: Path) -> Iterator[Any]:
    try:
        for frame in segment.read(folder):
            if frame.kind == segment.RECORDS:
                records = np.frombuffer(frame.payload, RECORD)
                chosen = records[(records["kind"] > 0) & (records["kind"] <= MARKET_LAST)]
                if len(chosen):
                    yield chosen
    except segment.JournalError as error:
        raise DamagedError(str(error)) from error
