"""Numbers and JSON values in a line of text, found where they lie: no object, no copy.

A value is found by its brackets and quotes alone, so what is inside need not be valid for the end of it to be right.
Invariant: nothing is read at or behind `stop`. Known bad case: a sign, an exponent, more than 18 digits: NONE, and
whoever asked takes a parser that knows them.
"""

from typing import Any, Final

import numpy as np

from ..hot import hot
from ..wire import NONE

EXPONENT: Final = 9  # units of 1e-9
LINE_END, SPACE, QUOTE_MARK, COLON, COMMA, POINT = (ord(c) for c in '\n ":,.')
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST, BACKSLASH, MINUS = (ord(c) for c in "{}[]\\-")
ZERO: Final = ord("0")
TENS: Final = np.array([10**k for k in range(19)], np.int64)


@hot
def value_end(buffer: Any, at: int, stop: int) -> int:
    """Behind the JSON value that begins at `at`; NONE when it does not end before `stop`."""
    depth, in_text = 0, False
    while at < stop:
        byte = np.int64(buffer[at])
        if in_text:
            if byte == BACKSLASH:
                at += 1
            elif byte == QUOTE_MARK:
                in_text = False
                if depth == 0:
                    return at + 1
        elif byte == QUOTE_MARK:
            in_text = True
        elif byte == OPEN or byte == OPEN_LIST:
            depth += 1
        elif byte == CLOSE or byte == CLOSE_LIST:
            if depth == 0:
                return at
            depth -= 1
            if depth == 0:
                return at + 1
        elif byte == COMMA and depth == 0:
            return at
        at += 1
    return NONE


@hot
def whole(buffer: Any, at: int, stop: int) -> int:
    """A number without a sign; NONE when it is none, or too long."""
    if at >= stop or stop - at > 18:
        return NONE
    value = np.int64(0)
    while at < stop:
        digit = np.int64(buffer[at]) - ZERO
        if digit < 0 or digit > 9:
            return NONE
        value = 10 * value + digit
        at += 1
    return value


@hot
def whole_long(buffer: Any, at: int, stop: int) -> int:
    """A number of 19 digits, as nanoseconds are."""
    if stop - at != 19:
        return whole(buffer, at, stop)
    high, low = whole(buffer, at, at + 10), whole(buffer, at + 10, stop)
    return high * 1_000_000_000 + low if high >= 0 and low >= 0 else NONE


@hot
def fixed(buffer: Any, at: int, stop: int) -> int:
    """Decimal text in quotes as 1e-9ths; NONE when it is none, has a digit behind the ninth, or is too large."""
    value, digits, behind = np.int64(0), 0, -1
    if stop - at < 3 or buffer[at] != QUOTE_MARK or buffer[stop - 1] != QUOTE_MARK:
        return NONE
    for k in range(at + 1, stop - 1):
        byte = np.int64(buffer[k])
        if byte == POINT and behind < 0:
            behind = 0
        elif byte >= ZERO and byte <= ZERO + 9 and digits < 18:
            value = 10 * value + byte - ZERO
            digits += np.int64(value > 0)
            behind += np.int64(behind >= 0)
        else:
            return NONE
    behind = max(behind, 0)
    if behind > EXPONENT or value >= TENS[18] // TENS[EXPONENT - behind]:
        return NONE
    return value * TENS[EXPONENT - behind]


@hot
def digits_of(e9: int) -> int:
    """Decimals that a number of 1e-9ths needs."""
    digits = EXPONENT
    while digits > 0 and e9 % TENS[EXPONENT - digits + 1] == 0:
        digits -= 1
    return digits
