"""What a venue says in public: records to ITCH 5.0 messages, each behind its length as in a file or a MoldUDP64 packet.

A message is written as whole 8-byte words, most significant byte first: each covers what the one before wrote beyond
its field. The locate of an instrument is its index + 1; what trades while an auction is on is a cross.
`itch.decode_some` gives the records back: what goes in comes out, which is the test of both.

Always: no message needs more than ROOM bytes. Known bad case: shares and prices are 32 bits in ITCH; the venue's price
band and `qty_max` keep them inside, nothing here does.
Source: Nasdaq TotalView-ITCH 5.0 specification (2023).
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot
from ..hot.atomics import Cells
from ..wire import (
    ADD,
    AUCTION,
    BID,
    CANCEL,
    DELETE,
    EXECUTE,
    HALTED,
    INSTRUMENT,
    NONE,
    NOT_PRINTABLE,
    ON_CLOSE,
    ON_OPEN,
    PAUSED,
    REPLACE,
    STATUS,
    TRADE,
    TRADING,
)  # fmt: skip
from .flow_state import store_i64
from .itch import LENGTHS

ROOM: Final = 64  # bytes, more than any message with its length, and what its last word writes beyond it
SHARES_MAX: Final = (1 << 32) - 1
PRICE_MAX: Final = (1 << 32) - 1
BODY: Final = 13  # from the length to the first field behind the header

# Events of a day (messages of type S), in order.
START_OF_MESSAGES, START_OF_HOURS, START_OF_MARKET, END_OF_MARKET, END_OF_HOURS, END_OF_MESSAGES = (
    ord(letter) for letter in "OSQMEC"
)
OPENING_CROSS, CLOSING_CROSS, HALT_CROSS = (ord(letter) for letter in "OCH")

# Cells.
TS_BASE, MESSAGES, DROPPED = 0, 1, 2

_A, _E, _C, _X, _D, _U, _P, _Q, _H, _R, _S = (ord(letter) for letter in "AECXDUPQHRS")
_BUY, _SELL, _YES, _NO = (ord(letter) for letter in "BSYN")
_NO_REASON: Final = int.from_bytes(b" " * 5, "big")
_T, _HALT, _PAUSE, _QUOTE = (ord(letter) for letter in "THPQ")
_LOW_40: Final = (1 << 40) - 1
# Of a stock directory message: market category to issue class with a hole for the round lot; subtype to leverage.
_LISTED: Final = int.from_bytes(b"QN\0\0\0\0NC", "big")
_PLAIN: Final = int.from_bytes(b"Z PNN1N\0", "big")


class Publisher(NamedTuple):
    """What is public of a venue, and how much was said."""

    symbols: Cells  # int64[instruments]: eight ASCII bytes each
    lots: Cells  # int64[instruments]: shares of a round lot
    states: Cells  # int64[instruments]: the trading state that was last said
    crosses: Cells  # int64[instruments]: the letter of an auction's trade
    by_type: Cells  # int64[256]: messages
    cells: Cells


def create(symbols: list[int], lots: list[int], ts_base: int) -> Publisher:
    """A publisher of these instruments; `ts_base` (ns) is the midnight from which ITCH counts time."""
    cells = np.zeros(8, np.int64)
    cells[TS_BASE] = ts_base
    states, crosses = np.zeros(len(symbols), np.int64), np.full(len(symbols), HALT_CROSS, np.int64)
    return Publisher(
        np.array(symbols, np.int64), np.array(lots, np.int64), states, crosses, np.zeros(256, np.int64), cells
    )


@hot
def will_cross(publisher: Publisher, instrument: int, auction: int) -> None:
    """An auction begins: the opening (ON_OPEN), the closing (ON_CLOSE), or one behind a halt (0)."""
    if 0 <= instrument < len(publisher.crosses):
        letter = OPENING_CROSS if auction == ON_OPEN else CLOSING_CROSS if auction == ON_CLOSE else HALT_CROSS
        publisher.crosses[instrument] = letter


@hot
def _head(publisher: Publisher, kind: int, locate: int, ts: int, buffer: Any, at: int) -> int:
    """Length, type, locate, tracking and time; returns where the message ends."""
    length = LENGTHS[kind]
    since = ts - publisher.cells[TS_BASE]
    store_i64(buffer, at, (length << 48) | (kind << 40) | (locate << 24) | ((since >> 40) & 0xFF))
    store_i64(buffer, at + 8, (since & _LOW_40) << 24)
    publisher.by_type[kind] += 1
    publisher.cells[MESSAGES] += 1
    return at + 2 + length


@hot
def event(publisher: Publisher, code: int, ts: int, buffer: Any, at: int) -> int:
    """A system event, about no instrument; returns where it ends."""
    end = _head(publisher, _S, 0, ts, buffer, at)
    store_i64(buffer, at + BODY, code << 56)
    return end


@hot
def _cross(publisher: Publisher, record: Any, locate: int, buffer: Any, at: int) -> int:
    """An auction's trade, in one message; returns where it ends."""
    end = _head(publisher, _Q, locate, record.ts_event, buffer, at)
    store_i64(buffer, at + BODY, record.qty)
    store_i64(buffer, at + BODY + 8, publisher.symbols[locate - 1])
    store_i64(buffer, at + BODY + 16, record.price << 32)
    store_i64(buffer, at + BODY + 20, record.aux)
    store_i64(buffer, at + BODY + 28, publisher.crosses[locate - 1] << 56)
    return end


@hot
def write(publisher: Publisher, record: Any, buffer: Any, at: int) -> int:
    """The message of a market record into `buffer[at:]`, which has ROOM bytes; returns where it ends.

    A record that ITCH has no message for writes none (counted in DROPPED)."""
    kind, locate = np.int64(record.kind), np.int64(record.instrument) + 1
    body = at + BODY
    if kind == ADD:
        end = _head(publisher, _A, locate, record.ts_event, buffer, at)
        letter = _BUY if record.side == BID else _SELL
        store_i64(buffer, body, record.order_id)
        store_i64(buffer, body + 8, (letter << 56) | (record.qty << 24))
        store_i64(buffer, body + 13, publisher.symbols[locate - 1])
        store_i64(buffer, body + 21, record.price << 32)
    elif kind == EXECUTE:
        priced = record.price != NONE or record.flag & NOT_PRINTABLE != 0
        end = _head(publisher, _C if priced else _E, locate, record.ts_event, buffer, at)
        store_i64(buffer, body, record.order_id)
        store_i64(buffer, body + 8, record.qty << 32)
        store_i64(buffer, body + 12, record.aux)
        if priced:
            printable = _NO if record.flag & NOT_PRINTABLE != 0 else _YES
            store_i64(buffer, body + 20, (printable << 56) | (record.price << 24))
    elif kind == CANCEL or kind == DELETE:
        end = _head(publisher, _X if kind == CANCEL else _D, locate, record.ts_event, buffer, at)
        store_i64(buffer, body, record.order_id)
        store_i64(buffer, body + 8, record.qty << 32)
    elif kind == REPLACE:
        end = _head(publisher, _U, locate, record.ts_event, buffer, at)
        store_i64(buffer, body, record.order_id)
        store_i64(buffer, body + 8, record.aux)
        store_i64(buffer, body + 16, (record.qty << 32) | record.price)
    else:
        end = _rare(publisher, record, kind, locate, buffer, at)
    return end


@hot
def _rare(publisher: Publisher, record: Any, kind: int, locate: int, buffer: Any, at: int) -> int:
    body = at + BODY
    if kind == TRADE and publisher.states[locate - 1] == AUCTION:
        end = _cross(publisher, record, locate, buffer, at)
    elif kind == TRADE:
        end = _head(publisher, _P, locate, record.ts_event, buffer, at)
        store_i64(buffer, body, 0)  # neither order nor side of a hidden order is told
        store_i64(buffer, body + 8, (_BUY << 56) | (record.qty << 24))
        store_i64(buffer, body + 13, publisher.symbols[locate - 1])
        store_i64(buffer, body + 21, record.price << 32)
        store_i64(buffer, body + 25, record.aux)
    elif kind == STATUS:
        end = _head(publisher, _H, locate, record.ts_event, buffer, at)
        publisher.states[locate - 1] = record.aux
        letter = _QUOTE  # an auction collects orders and does not trade: ITCH calls it the quotation period
        if record.aux == TRADING:
            letter = _T
        elif record.aux == HALTED:
            letter = _HALT
        elif record.aux == PAUSED:
            letter = _PAUSE
        store_i64(buffer, body, publisher.symbols[locate - 1])
        store_i64(buffer, body + 8, (letter << 56) | (_NO_REASON << 16))
    elif kind == INSTRUMENT:
        end = _head(publisher, _R, locate, record.ts_event, buffer, at)
        store_i64(buffer, body, publisher.symbols[locate - 1])
        # A common stock of the venue's own list, in production, under no special rule.
        store_i64(buffer, body + 8, _LISTED | (publisher.lots[locate - 1] << 16))
        store_i64(buffer, body + 16, _PLAIN)
        store_i64(buffer, body + 24, _NO << 32)
    else:
        publisher.cells[DROPPED] += 1
        end = at
    return end
