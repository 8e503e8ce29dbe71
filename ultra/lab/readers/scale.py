"""Ticks and lots: exact whole numbers out of decimal text and of floats, or an error that names the row.

A unit is 1e-9 of the currency (or of what is traded) at the finest. A float is taken for the shortest decimal that it
is the nearest float of, so what was read from decimal text comes back exactly, up to 15 digits.
Known bad case: a price that was computed (an adjusted close, a float32) has digits nobody meant; they make the tick
as fine as themselves. Give `tick` and `snap=True` then.
"""

import math
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np

from . import DataError

E9: Final = 1_000_000_000
DIGITS_MAX: Final = 9
QTY_MAX: Final = 1 << 40  # lots of one level, `ultra.hot.book`
KNOWN_MAX: Final = 1 << 20  # texts remembered


def e9(text: str) -> int:
    """Decimal text as whole 1e-9ths. ValueError when it is none, or has a digit behind the ninth."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no decimal text")
    whole, _, rest = text.partition(".")
    if len(rest) <= DIGITS_MAX and (whole.isdigit() or whole[1:].isdigit()) and (not rest or rest.isdigit()):
        return int(whole + rest) * int(10 ** (DIGITS_MAX - len(rest)))
    try:
        value = Decimal(text) * E9
        exact = int(value)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no number") from error
    if abs(exact) >= 1 << 63:
        raise ValueError(f"{text} is too large: money is int64 in 1e-9")
    if exact != value:
        raise ValueError(f"{text} has digits behind the ninth decimal, and 1e-9 is the finest unit")
    return exact


def unit_of(given: float | str | int | Decimal | None) -> int:
    """A tick or lot as a user writes it (0.01, "0.01") in 1e-9; 0 for None. DataError when it is none."""
    if given is None:
        return 0
    try:
        found = e9(repr(given) if isinstance(given, float) else str(given))
    except ValueError as error:
        raise DataError(f"tick or lot {given!r}: {error}") from error
    if found <= 0:
        raise DataError(f"tick or lot {given!r}: it must be above 0")
    return found


class Texts:
    """Decimal texts of one unit as whole numbers. The same texts come again and again, so they are remembered."""

    def __init__(self, unit_e9: int, what: str, snap: bool = False) -> None:
        self._unit, self._what, self.snaps = unit_e9, what, snap
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """How many units. ValueError when it is no whole number of them."""
        found = self._known.get(text)
        if found is None:
            found = self._units(text)
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[text] = found
        return found

    def _units(self, text: str) -> int:
        if self.snaps:
            value = Decimal(text) * E9
            found = int((value / self._unit).to_integral_value())
            return max(found, 1) if value > 0 else found
        units, rest = divmod(e9(text), self._unit)
        if rest:
            raise ValueError(f"{self._what} {text} is no whole number of {Decimal(self._unit) / E9}")
        return units


class Finest:
    """The finest power of ten that a set of decimal texts needs: their tick, if nobody knows it."""

    def __init__(self) -> None:
        self.digits = 0
        self.greatest = 0
        self._known: set[str] = set()

    def add(self, text: str) -> None:
        """One text more. ValueError when it is no number, or finer than 1e-9."""
        if text in self._known:
            return
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known.add(text)
        self.greatest = max(self.greatest, e9(text))
        _, _, rest = text.partition(".")
        self.digits = max(self.digits, len(rest.rstrip("0")))

    def unit_e9(self) -> int:
        """In 1e-9."""
        return int(10 ** (DIGITS_MAX - self.digits))


def digits_of(values: Any) -> int:
    """How many decimals an array of floats needs, 0 to 9; -1 when nine are not enough. NaN counts for nothing."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    for digits in range(DIGITS_MAX + 1):
        if _exact(values, digits).all():
            return digits
        values = values[~_exact(values, digits)]  # what is exact here is so with more digits
    return -1


def _exact(values: Any, digits: int) -> Any:
    """A quotient of two exact floats is the nearest float of the true decimal: equal to what was parsed from it."""
    scaled = np.rint(values * 10.0**digits)
    return (scaled / 10.0**digits == values) & (np.abs(scaled) < 2.0**53)


def inexact_row(values: Any, digits: int) -> int:
    """The first row that needs more decimals than that."""
    values = np.asarray(values, np.float64)
    good = ~np.isfinite(values)
    for enough in range(digits + 1):
        good |= _exact(values, enough)
    return int(np.argmin(good))


def whole_units(values: Any, unit_e9: int, what: str, rows: Any, *, snap: bool = False) -> Any:
    """Floats, or whole numbers, as int64 units. DataError names the row (`rows` has their numbers) of what is no whole
    number of units (with `snap` the nearest is taken), not finite, or too large."""
    values = np.asarray(values)
    if values.dtype.kind in "iu":
        common = math.gcd(E9, unit_e9)
        scaled, rest = np.divmod(values.astype(np.int64) * (E9 // common), unit_e9 // common)
        wrong, lost = rest != 0, np.zeros(len(values), bool)
        scaled = scaled + (2 * rest >= unit_e9 // common) * wrong
    else:
        values = values.astype(np.float64)
        # From 2^53 on a float is the nearest to many decimals: good enough to snap, until int64 ends.
        lost = ~np.isfinite(values) | (np.abs(values) * (E9 / unit_e9) >= (2.0**62 if snap else 2.0**53))
        scaled = np.rint(np.where(lost, 0, values) * (E9 / unit_e9))
        back = scaled * unit_e9 / E9
        # A unit of 0.25 is exact, one of 0.01 is not: equal to within the rounding of the two operations.
        wrong = lost | (np.abs(back - values) > np.abs(values) * 2.0**-51)
    if snap and lost.any():
        at = int(np.argmax(lost))
        raise DataError(
            f"row {int(rows[at])}: {what} {values[at].item()} is no number, or too many of {Decimal(unit_e9) / E9}"
        )
    if wrong.any() and not snap:
        at = int(np.argmax(wrong))
        raise DataError(
            f"row {int(rows[at])}: {what} {values[at].item()} is no whole number of {Decimal(unit_e9) / E9}: "
            "give a finer one, or snap=True to take the nearest"
        )
    return scaled.astype(np.int64)
