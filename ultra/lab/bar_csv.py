"""Bars as CSV, as people's own files are: what `ultra.lab.data.load` reads again, and every other program too.

    long    time, open, high, low, close, volume, and the symbol where there are several instruments
    wide    a column of times, and one of closes per instrument: an empty cell is no bar

Times are the beginnings of bars, as vendors stamp them, so the interval has to be known; of whole days they are dates.
Prices are exact decimals. Known bad case: a wide file keeps closes only, and what traded is not in it.
"""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..hot.bar import RANGE_MAX
from .bar_tape import Recorded, prepare
from .fills import E9, Priced

DAY_NS: Final = 86_400_000_000_000


def write(path: str | Path, tape: Recorded, interval_ns: int, *, wide: bool = False) -> int:
    """Write a tape of bars that are `interval_ns` long; compressed when the name ends in .gz. Returns the rows.

    BarError when it is not of bars."""
    ready = prepare(tape)
    lines = _wide(ready, interval_ns) if wide else _long(ready, interval_ns)
    where = Path(path)
    where.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines)
    packed = gzip.compress(text.encode(), mtime=0) if where.name.endswith(".gz") else text.encode()
    where.write_bytes(packed)
    return text.count("\n") - 1


def _long(ready: Any, interval_ns: int) -> Iterator[str]:
    several = len(ready.instruments) > 1
    yield "time,open,high,low,close,volume" + (",symbol" if several else "")
    rows = ready.records
    close, aux = rows["price"], rows["aux"]
    columns = (rows["order_id"], close + (aux >> 32), close - (aux & RANGE_MAX), close, rows["qty"], rows["instrument"])
    times = _times(rows["ts_event"], interval_ns)
    for when, *prices, qty, index in zip(times, *(column.tolist() for column in columns), strict=True):
        known = ready.instruments[index]
        found = ",".join(decimal(price * known.tick_e9) for price in prices)
        yield f"{when},{found},{decimal(qty * known.lot_e9)}" + (f",{known.symbol}" if several else "")


def _wide(ready: Any, interval_ns: int) -> Iterator[str]:
    yield ",".join(["time", *(known.symbol for known in ready.instruments)])
    at = np.searchsorted(ready.ts, ready.records["ts_event"])
    table = np.full((len(ready.ts), len(ready.instruments)), -1, np.int64)
    table[at, ready.records["instrument"]] = ready.records["price"]
    for when, closes in zip(_times(ready.ts, interval_ns), table.tolist(), strict=True):
        yield ",".join([when, *_cells(closes, ready.instruments)])


def _cells(closes: Iterable[int], instruments: Iterable[Priced]) -> Iterator[str]:
    for close, known in zip(closes, instruments, strict=True):
        yield "" if close < 0 else decimal(close * known.tick_e9)


def _times(ts: Any, interval_ns: int) -> Iterator[str]:
    # One more: a bar that was read is stamped at its last nanosecond, and began where one does that ends at the next.
    began = (np.asarray(ts) + 1 - interval_ns) // 1_000_000_000
    days = not (began % (DAY_NS // 1_000_000_000)).any() and interval_ns % DAY_NS == 0
    yield from np.datetime_as_string(began.astype("M8[s]"), unit="D" if days else "s").tolist()


def decimal(value_e9: int) -> str:
    """A number in 1e-9 as the shortest exact decimal: 101500000000 is 101.5."""
    whole, rest = divmod(abs(value_e9), E9)
    sign = "-" if value_e9 < 0 else ""
    return f"{sign}{whole}" + (f".{rest:09d}".rstrip("0") if rest else "")
