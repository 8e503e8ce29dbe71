"""Which column is which: by the names that people use, or as the user says.

A name is compared without case, spaces, dots, dashes and underscores. Where two columns of a table would do, the first
in the lists below counts.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from . import DataError

USUAL: Final[dict[str, tuple[str, ...]]] = {
    "time": ("time", "timestamp", "datetime", "date", "ts", "opentime", "gmttime", "localtimestamp", "tsevent", "t",
             "unixtime", "transacttime", "index"),
    "symbol": ("symbol", "ticker", "instrument", "code", "asset", "pair", "sym"),
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice"),
    "low": ("low", "l", "lowprice"),
    "close": ("close", "c", "closeprice", "last"),
    "volume": ("volume", "vol", "v", "basevolume"),
    "price": ("price", "tradeprice", "px", "lastprice", "p"),
    "qty": ("qty", "quantity", "size", "amount", "tradesize", "q", "volume", "lastsize"),
    "side": ("side", "takerside", "isbuyermaker", "buyermaker"),
    "bid": ("bid", "bidprice", "bestbid", "bestbidprice", "bidpx", "bidpx00"),
    "ask": ("ask", "askprice", "bestask", "bestaskprice", "askpx", "askpx00", "offer"),
    "bid_qty": ("bidqty", "bidsize", "bestbidqty", "bidamount", "bidvolume", "bidsz00"),
    "ask_qty": ("askqty", "asksize", "bestaskqty", "askamount", "askvolume", "asksz00"),
}  # fmt: skip


def plain(name: str) -> str:
    """A name without what people write differently."""
    return re.sub(r"[\s_.\-]", "", name).lower()


def found(columns: Sequence[str], given: Mapping[str, str] | None) -> dict[str, str]:
    """Meaning -> column. DataError when the user names one that is not there."""
    out: dict[str, str] = {}
    for meaning, column in (given or {}).items():
        if meaning not in USUAL:
            raise DataError(f"columns: {meaning!r} is none of {', '.join(USUAL)}")
        if column not in columns:
            raise DataError(f"columns: there is no {column!r}; there are {', '.join(columns)}")
        out[meaning] = column
    by_name = {plain(column): column for column in reversed(columns)}
    for meaning, usual in USUAL.items():
        if meaning not in out:
            hit = next((by_name[name] for name in usual if name in by_name), None)
            if hit is not None:
                out[meaning] = hit
    if "time" not in out:
        raise DataError(f"no column of times among {', '.join(columns)}: give columns={{'time': NAME}}")
    return out
