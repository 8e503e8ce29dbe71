"""Nasdaq TotalView-ITCH 5.0, as in a day file: every message behind its length as a big-endian u16.

`LAYOUT` is the specification as data: all 23 types, every field with its offset and width. `unpack` and `pack` run
over it and lose nothing; `decode` is the fast path, which turns the messages that an engine acts on into records.
No byte outside the message is ever read: a length that is not that of its type is counted and skipped.

Known bad case: a file that is not framed ITCH looks like many bad lengths; the counters say so, nothing crashes.
Source: Nasdaq TotalView-ITCH 5.0 specification (2023).
"""

from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import entry, hot
from ..hot import ring as rings
from ..hot.atomics import Cells
from ..hot.bits import load_i64, load_u16, load_u32
from ..wire import (
    ADD,
    CANCEL,
    DELETE,
    EXECUTE,
    HALTED,
    INSTRUMENT,
    NONE,
    NOT_PRINTABLE,
    PAUSED,
    QUOTE_ONLY,
    REPLACE,
    STATUS,
    TRADE,
    TRADING,
    UNKNOWN_STATE,
)  # fmt: skip

# type -> (name, length, fields); a field is (name, offset, width). Every message begins with HEADER.
HEADER: Final = (("type", 0, 1), ("locate", 1, 2), ("tracking", 3, 2), ("ts", 5, 6))
LAYOUT: Final[dict[str, tuple[str, int, tuple[tuple[str, int, int], ...]]]] = {
    "S": ("system event", 12, (("event", 11, 1),)),
    "R": ("stock directory", 39, (
        ("stock", 11, 8), ("market_category", 19, 1), ("financial_status", 20, 1), ("round_lot", 21, 4),
        ("round_lots_only", 25, 1), ("issue_class", 26, 1), ("issue_subtype", 27, 2), ("authenticity", 29, 1),
        ("short_sale_threshold", 30, 1), ("ipo", 31, 1), ("luld_tier", 32, 1), ("etp", 33, 1),
        ("etp_leverage", 34, 4), ("inverse", 38, 1))),
    "H": ("trading action", 25, (("stock", 11, 8), ("state", 19, 1), ("reserved", 20, 1), ("reason", 21, 4))),
    "Y": ("reg sho restriction", 20, (("stock", 11, 8), ("action", 19, 1))),
    "L": ("participant position", 26, (
        ("mpid", 11, 4), ("stock", 15, 8), ("primary", 23, 1), ("mode", 24, 1), ("state", 25, 1))),
    "V": ("mwcb decline levels", 35, (("level1", 11, 8), ("level2", 19, 8), ("level3", 27, 8))),
    "W": ("mwcb status", 12, (("breached_level", 11, 1),)),
    "K": ("ipo quoting period", 28, (
        ("stock", 11, 8), ("release_time", 19, 4), ("qualifier", 23, 1), ("price", 24, 4))),
    "J": ("luld auction collar", 35, (
        ("stock", 11, 8), ("reference", 19, 4), ("upper", 23, 4), ("lower", 27, 4), ("extension", 31, 4))),
    "h": ("operational halt", 21, (("stock", 11, 8), ("market", 19, 1), ("action", 20, 1))),
    "A": ("add order", 36, (("ref", 11, 8), ("side", 19, 1), ("shares", 20, 4), ("stock", 24, 8), ("price", 32, 4))),
    "F": ("add order with mpid", 40, (
        ("ref", 11, 8), ("side", 19, 1), ("shares", 20, 4), ("stock", 24, 8), ("price", 32, 4), ("mpid", 36, 4))),
    "E": ("executed", 31, (("ref", 11, 8), ("shares", 19, 4), ("match", 23, 8))),
    "C": ("executed with price", 36, (
        ("ref", 11, 8), ("shares", 19, 4), ("match", 23, 8), ("printable", 31, 1), ("price", 32, 4))),
    "X": ("cancel", 23, (("ref", 11, 8), ("shares", 19, 4))),
    "D": ("delete", 19, (("ref", 11, 8),)),
    "U": ("replace", 35, (("ref", 11, 8), ("new_ref", 19, 8), ("shares", 27, 4), ("price", 31, 4))),
    "P": ("trade", 44, (
        ("ref", 11, 8), ("side", 19, 1), ("shares", 20, 4), ("stock", 24, 8), ("price", 32, 4), ("match", 36, 8))),
    "Q": ("cross trade", 40, (
        ("shares", 11, 8), ("stock", 19, 8), ("price", 27, 4), ("match", 31, 8), ("cross_type", 39, 1))),
    "B": ("broken trade", 19, (("match", 11, 8),)),
    "I": ("net order imbalance", 50, (
        ("paired", 11, 8), ("imbalance", 19, 8), ("direction", 27, 1), ("stock", 28, 8), ("far", 36, 4),
        ("near", 40, 4), ("reference", 44, 4), ("cross_type", 48, 1), ("price_variation", 49, 1))),
    "N": ("retail interest", 20, (("stock", 11, 8), ("flag", 19, 1))),
    "O": ("direct listing", 48, (
        ("stock", 11, 8), ("open_eligibility", 19, 1), ("min_price", 20, 4), ("max_price", 24, 4),
        ("near_price", 28, 4), ("near_time", 32, 8), ("lower_collar", 40, 4), ("upper_collar", 44, 4))),
}  # fmt: skip
FIELD_MAX: Final = max(len(fields) for _, _, fields in LAYOUT.values()) + len(HEADER)
TICK_E9: Final = 100_000  # a price unit of ITCH is 1/10000 of a dollar
LOT_E9: Final = 1_000_000_000  # a lot is one share
PRICE_STEP: Final = 100  # a cent; stocks under a dollar refine it

_S, _R, _H, _A, _F, _E, _C, _X, _D, _U, _P, _Q = (ord(c) for c in "SRHAFECXDUPQ")
_OPERATIONAL = ord("h")
_B, _SELL, _N, _T, _PAUSE, _QUOTE = ord("B"), ord("S"), ord("N"), ord("T"), ord("P"), ord("Q")


def _tables() -> tuple[Any, Any]:
    lengths = np.zeros(256, np.int64)
    fields = np.zeros((256, FIELD_MAX, 2), np.int64)  # offset, width; width 0 ends the list
    for letter, (_, length, own) in LAYOUT.items():
        lengths[ord(letter)] = length
        at = 0
        for index, (_, offset, width) in enumerate(HEADER + own):
            assert offset == at, f"{letter}: the fields leave a hole at {at}"
            fields[ord(letter), index] = offset, width
            at += width
        assert at == length, letter
    return lengths, fields


LENGTHS, FIELDS = _tables()

# What `_body` reads of an order message: where each field lies (0 = anywhere inside), and a mask that keeps it or
# gives NONE. PRICE_MASK and AUX_MASK of a missing field are 0, so that `value & mask | ~mask` is NONE.
TO_KIND, SIDE_MASK, QTY_AT, QTY_MASK, PRICE_AT, PRICE_MASK, AUX_AT, AUX_MASK, FLAG_AT, FLAG_MASK, SIDE_AT = range(11)
_TO_KINDS = {"A": ADD, "F": ADD, "E": EXECUTE, "C": EXECUTE, "X": CANCEL, "D": DELETE, "U": REPLACE}


def _fast() -> Any:
    table = np.zeros((256, 16), np.int64)
    table[:, (QTY_AT, PRICE_AT, AUX_AT)] = 3
    for letter, to_kind in _TO_KINDS.items():
        row = table[ord(letter)]
        row[TO_KIND] = to_kind
        for name, offset, _ in LAYOUT[letter][2]:
            if name == "shares":
                row[QTY_AT], row[QTY_MASK] = offset, 0xFFFFFFFF
            elif name == "price":
                row[PRICE_AT], row[PRICE_MASK] = offset, -1
            elif name in ("match", "new_ref"):
                row[AUX_AT], row[AUX_MASK] = offset, -1
            elif name == "side":
                row[SIDE_AT], row[SIDE_MASK] = offset, 3
            elif name == "printable":
                row[FLAG_AT], row[FLAG_MASK] = offset, NOT_PRINTABLE
    return table


FAST = _fast()

# Cells of a decoder.
MESSAGES, FILTERED, UNKNOWN_TYPE, BAD_LENGTH, UNKNOWN_LOCATE, INSTRUMENTS_FULL, KNOWN = 0, 1, 2, 3, 4, 5, 6
TS_BASE, TIME_BACKWARDS, TS_LAST = 7, 8, 9
RECEIVED = 10  # ns, when the kernel got the bytes being decoded; 0 = they are of a file, and ts_recv is ts_event
ERRORS: Final = {
    "unknown_type": UNKNOWN_TYPE, "bad_length": BAD_LENGTH, "unknown_locate": UNKNOWN_LOCATE,
    "instruments_full": INSTRUMENTS_FULL, "time_backwards": TIME_BACKWARDS,
}  # fmt: skip
UNSEEN, IGNORED = -1, -2  # of `locates`


class Decoder(NamedTuple):
    """What is known of a session: its instruments, and the count of everything."""

    locates: Any  # int32[65536]: stock locate -> instrument index, UNSEEN or IGNORED
    symbols: Cells  # int64[instrument_max]: instrument index -> symbol
    by_type: Cells  # int64[256]
    cells: Cells  # int64[16]
    selective: bool  # only the instruments known from the start


def create(instrument_max: int, symbols: list[int], *, selective: bool, ts_base: int = 0) -> Decoder:
    """A decoder that gives `symbols` the first indices, in order, and others the next as they come.

    `selective` ignores the others instead. `ts_base` (ns) is the session's midnight."""
    cells = np.zeros(16, np.int64)
    cells[KNOWN], cells[TS_BASE] = len(symbols), ts_base
    table = np.zeros(instrument_max, np.int64)
    table[: len(symbols)] = symbols
    return Decoder(np.full(65536, UNSEEN, np.int32), table, np.zeros(256, np.int64), cells, selective)


@hot
def unpack(buffer: Any, at: int, values: Cells) -> int:
    """All fields of the message at `at` as integers, in the order of HEADER + LAYOUT; returns how many."""
    kind = np.int64(buffer[at])
    count = 0
    while count < FIELD_MAX and FIELDS[kind, count, 1] > 0:
        value = np.int64(0)
        for k in range(FIELDS[kind, count, 1]):
            value = (value << 8) | np.int64(buffer[at + FIELDS[kind, count, 0] + k])
        values[count] = value
        count += 1
    return count


@hot
def pack(buffer: Any, at: int, values: Cells) -> int:
    """The inverse of `unpack`: write a message (its type is values[0]) and return its length."""
    kind = values[0]
    for count in range(FIELD_MAX):
        width = FIELDS[kind, count, 1]
        for k in range(width):
            buffer[at + FIELDS[kind, count, 0] + k] = (values[count] >> (8 * (width - 1 - k))) & 255
    return LENGTHS[kind]


@hot
def decode_some(decoder: Decoder, buffer: Any, start: int, stop: int, ring: rings.Ring) -> int:
    """Decode whole messages of `buffer[start:stop]` into the ring until it is full or the bytes end.

    Returns the offset behind the last message taken. What is left is an incomplete message, or waits for room."""
    at = start
    while at < stop:
        free = rings.room(ring)
        filled = 0
        first, mask = ring.cells[rings.CURSOR], len(ring.slots) - 1
        while filled < free and at + 2 <= stop:
            length = load_u16(buffer, at)
            if at + 2 + length > stop:
                break
            filled += message(decoder, buffer, at + 2, length, ring.slots[(first + filled) & mask])
            at += 2 + length
        if filled == 0:
            break
        rings.publish(ring, filled)
    return at


@hot
def decode_received(decoder: Decoder, buffer: Any, start: int, stop: int, ring: rings.Ring, received: int) -> int:
    """`decode_some` of bytes that the kernel got at `received` (ns): that is the records' ts_recv."""
    decoder.cells[RECEIVED] = received
    return decode_some(decoder, buffer, start, stop, ring)


@entry
def decode(decoder: Decoder, buffer: Any, start: int, stop: int, ring: rings.Ring) -> int:
    """`decode_some` for code outside the hot path."""
    return decode_some(decoder, buffer, start, stop, ring)


@hot
def message(decoder: Decoder, buffer: Any, at: int, length: int, record: Any) -> int:
    """Decode one message of `length` bytes into a record. Returns 1 if there is one for the engine, else 0."""
    cells = decoder.cells
    cells[MESSAGES] += 1
    if length == 0:
        cells[BAD_LENGTH] += 1
        return 0
    kind = np.int64(buffer[at])
    if length != LENGTHS[kind]:
        cells[UNKNOWN_TYPE if LENGTHS[kind] == 0 else BAD_LENGTH] += 1
        return 0
    decoder.by_type[kind] += 1
    ts = (load_u16(buffer, at + 5) << 32) | load_u32(buffer, at + 7)
    if ts < cells[TS_LAST]:
        cells[TIME_BACKWARDS] += 1
    cells[TS_LAST] = ts
    locate = load_u16(buffer, at + 1)
    instrument = np.int64(decoder.locates[locate])
    record.ts_event = cells[TS_BASE] + ts
    record.ts_recv = cells[RECEIVED] if cells[RECEIVED] > 0 else record.ts_event
    if instrument < 0:
        if instrument == IGNORED:
            cells[FILTERED] += 1
            return 0
        instrument = _introduce(decoder, buffer, at, kind, locate)
        if instrument < 0:
            return 0
    record.instrument = instrument
    return _body(decoder, buffer, at, kind, record)


@hot
def _body(decoder: Decoder, buffer: Any, at: int, kind: int, record: Any) -> int:
    """The seven order types by one straight line over `FAST`: which of them comes next can't be predicted, and a
    wrong guess costs more than the few loads that are thrown away."""
    if FAST[kind, TO_KIND] == 0:
        return _rare(decoder, buffer, at, kind, record)
    record.kind = FAST[kind, TO_KIND]
    record.order_id = load_i64(buffer, at + 11)
    letter = np.int64(buffer[at + FAST[kind, SIDE_AT]])
    side = np.int64(letter == _SELL) + 2 * np.int64((letter != _SELL) & (letter != _B))
    record.side = side & FAST[kind, SIDE_MASK]
    record.qty = load_u32(buffer, at + FAST[kind, QTY_AT]) & FAST[kind, QTY_MASK]
    record.price = (load_u32(buffer, at + FAST[kind, PRICE_AT]) & FAST[kind, PRICE_MASK]) | ~FAST[kind, PRICE_MASK]
    record.aux = (load_i64(buffer, at + FAST[kind, AUX_AT]) & FAST[kind, AUX_MASK]) | ~FAST[kind, AUX_MASK]
    printable = buffer[at + FAST[kind, FLAG_AT]] != _N
    record.flag = 0 if printable else FAST[kind, FLAG_MASK]
    return 1


@hot
def _rare(decoder: Decoder, buffer: Any, at: int, kind: int, record: Any) -> int:
    record.side = 0
    record.order_id = NONE
    record.price = NONE
    record.qty = 0
    record.aux = NONE
    record.flag = 0
    if kind == _P:
        record.kind = TRADE
        record.qty = load_u32(buffer, at + 20)
        record.price = load_u32(buffer, at + 32)
        record.aux = load_i64(buffer, at + 36)
    elif kind == _Q:
        record.kind = TRADE
        record.qty = load_i64(buffer, at + 11)
        record.price = load_u32(buffer, at + 27)
        record.aux = load_i64(buffer, at + 31)
    elif kind == _H:
        record.kind = STATUS
        state = buffer[at + 19]
        record.aux = UNKNOWN_STATE
        if state == _T:
            record.aux = TRADING
        elif state == _H:
            record.aux = HALTED
        elif state == _PAUSE:
            record.aux = PAUSED
        elif state == _QUOTE:
            record.aux = QUOTE_ONLY
    elif kind == _OPERATIONAL:
        record.kind = STATUS
        record.aux = HALTED if buffer[at + 20] == _H else TRADING
    elif kind == _R:
        record.kind = INSTRUMENT
        record.order_id = load_i64(buffer, at + 11)
        record.price = TICK_E9
        record.qty = LOT_E9
        record.aux = PRICE_STEP
    else:
        return 0
    return 1


@hot
def _introduce(decoder: Decoder, buffer: Any, at: int, kind: int, locate: int) -> int:
    """The index of a locate seen for the first time; negative when this message can't name it, or it is ignored."""
    if kind == _R or kind == _H or kind == _OPERATIONAL:
        symbol = load_i64(buffer, at + 11)
    elif kind == _A or kind == _F or kind == _P:
        symbol = load_i64(buffer, at + 24)
    else:
        if kind == _E or kind == _C or kind == _X or kind == _D or kind == _U:
            decoder.cells[UNKNOWN_LOCATE] += 1
        return NONE
    known = decoder.cells[KNOWN]
    index = 0
    while index < known and decoder.symbols[index] != symbol:
        index += 1
    if index == known:
        if decoder.selective or known == len(decoder.symbols):
            decoder.locates[locate] = IGNORED
            decoder.cells[FILTERED if decoder.selective else INSTRUMENTS_FULL] += 1
            return NONE
        decoder.symbols[known] = symbol
        decoder.cells[KNOWN] += 1
    decoder.locates[locate] = index
    return index


def counts(decoder: Decoder) -> dict[str, int]:
    """Messages by type letter."""
    return {chr(kind): int(n) for kind, n in enumerate(decoder.by_type) if n}


def errors(decoder: Decoder) -> dict[str, int]:
    """What was wrong with the input, by kind; empty when nothing was."""
    return {name: int(decoder.cells[cell]) for name, cell in ERRORS.items() if decoder.cells[cell]}


def messages(decoder: Decoder) -> int:
    """Messages seen, good or bad."""
    return int(decoder.cells[MESSAGES])
