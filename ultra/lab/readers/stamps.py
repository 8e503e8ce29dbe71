"""Times as people write them, as nanoseconds since the epoch, UTC.

    numbers   seconds, milli-, micro- or nanoseconds by their size; eight digits from 1900 to 2100 are a date
    text      ISO 8601, with or without an offset; 20240131 09:30; 1/31/2024 09:30, the month first unless a first
              number is above 12
    zone      of times without an offset: a name of the time zone database; UTC unless given

Known bad case: an hour that a clock change shows twice is taken for the first of both.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from . import DataError

HOUR_NS: Final = 3_600_000_000_000
DAY_NS: Final = 24 * HOUR_NS
NAT: Final = -(1 << 63)
SIZES: Final = ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000), (9.3e18, 1))
SLASHED: Final = re.compile(r"(\d{1,2})[/.](\d{1,2})[/.](\d{4})(?:[ T](.*))?")
COMPACT: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?:[ T](.*))?")
OFFSET: Final = re.compile(r"(?<=:\d\d)[^:]*([+-]\d\d:?\d\d)$|(?<=\d)([+-]\d\d:\d\d)$")


def nanoseconds(values: Any, zone: str | None, rows: Any) -> Any:
    """A column of times as int64. DataError names the row (`rows` has their numbers) of what is no time."""
    values = np.asarray(values)
    if values.dtype.kind == "M":
        found = values.astype("M8[ns]").astype(np.int64)
        _refuse(found == NAT, values, rows)
        return localized(found, zone)
    if values.dtype.kind in "OUS":
        texts = [str(value).strip() for value in values.tolist()]
        if all(text.replace(".", "", 1).isdigit() for text in texts[:100]):
            try:
                if all(text.isdigit() for text in texts):
                    return nanoseconds(np.array(texts, np.int64), zone, rows)
                return _from_decimals(texts)
            except (ValueError, OverflowError):
                pass
        return _from_texts(texts, zone, rows)
    if values.dtype.kind == "f":
        _refuse(~np.isfinite(values), values, rows)
        whole = np.floor(values)
        factor = _factor(whole)
        return whole.astype(np.int64) * factor + np.rint((values - whole) * factor).astype(np.int64)
    if values.dtype.kind not in "iu":
        raise DataError(f"row {int(rows[0])}: {values[0]!r} is no time")
    numbers = values.astype(np.int64)
    if len(numbers) and numbers.min() >= 19_000_101 and numbers.max() <= 21_001_231:
        return _from_texts([str(number) for number in numbers.tolist()], zone, rows)
    return numbers * _factor(numbers)


def _factor(numbers: Any) -> int:
    greatest = float(np.abs(numbers).max(initial=0))
    return next(factor for bound, factor in SIZES if greatest < bound)


def _from_decimals(texts: list[str]) -> Any:
    """Decimal text as seconds and so on, digit by digit: a float has no room for nanoseconds of today."""
    parts = [text.partition(".") for text in texts]
    whole = np.array([int(part[0]) for part in parts], np.int64)
    factor = _factor(whole)
    digits = len(str(factor)) - 1
    rest = [int(part[2][:digits].ljust(digits, "0") or "0") for part in parts]
    return whole * factor + np.array(rest, np.int64)


def _refuse(wrong: Any, values: Any, rows: Any) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(f"row {int(rows[at])}: {values[at]} is no time")


def _from_texts(texts: list[str], zone: str | None, rows: Any) -> Any:
    day_first = any(int(match[1]) > 12 for text in texts if (match := SLASHED.fullmatch(text)))
    plain = [_iso(text, day_first) for text in texts]
    offsets = [OFFSET.search(text) is not None or text.endswith("Z") for text in plain]
    if not any(offsets):
        try:
            found = np.array(plain, "M8[ns]").astype(np.int64)
        except ValueError:
            found = None
        if found is not None and not (found == NAT).any():
            return localized(found, zone)
    out = np.zeros(len(plain), np.int64)
    for at, (text, fixed) in enumerate(zip(plain, offsets, strict=True)):
        try:
            out[at] = _one(text)
        except ValueError as error:
            raise DataError(
                f"row {int(rows[at])}: {texts[at]!r} is no time: ISO 8601, or seconds since 1970"
            ) from error
        if not fixed:
            out[at] = localized(out[at : at + 1], zone)[0]
    return out


def _iso(text: str, day_first: bool) -> str:
    if match := SLASHED.fullmatch(text):
        month, day = (match[2], match[1]) if day_first else (match[1], match[2])
        return f"{match[3]}-{int(month):02d}-{int(day):02d}" + (f"T{match[4]}" if match[4] else "")
    if match := COMPACT.fullmatch(text):
        return f"{match[1]}-{match[2]}-{match[3]}" + (f"T{match[4]}" if match[4] else "")
    return text


def _one(text: str) -> int:
    """ISO 8601 as nanoseconds; without an offset as if it were UTC. ValueError."""
    head, dot, tail = text.partition(".")
    fraction = re.match(r"\d*", tail)[0] if dot else ""  # type: ignore[index]
    moment = datetime.fromisoformat(head + (tail[len(fraction) :] if dot else ""))
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    whole = (passed.days * 86400 + passed.seconds) * 1_000_000_000
    return whole + int(fraction[:9].ljust(9, "0") or "0")


def localized(local: Any, zone: str | None) -> Any:
    """Times of a zone's clock as UTC."""
    if zone is None or zone == "UTC":
        return local
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise DataError(f"zone {zone!r} is not in the time zone database: as America/New_York") from error
    quarters, where = np.unique(local // (HOUR_NS // 4), return_inverse=True)
    epoch = datetime(1970, 1, 1)
    offsets = [
        (epoch + timedelta(minutes=15 * quarter)).replace(tzinfo=place).utcoffset() or timedelta()
        for quarter in quarters.tolist()
    ]
    return local - np.array([round(o.total_seconds()) for o in offsets], np.int64)[where] * 1_000_000_000


def interval_ns(given: str | int | None) -> int:
    """A length of time as a user writes it: "1m", "5m", "1h", "1d", "30s", or nanoseconds; 0 for None."""
    if given is None:
        return 0
    if isinstance(given, int):
        return given
    units = {"ms": 1_000_000, "s": 1_000_000_000, "m": HOUR_NS // 60, "h": HOUR_NS, "d": DAY_NS, "w": 7 * DAY_NS}
    match = re.fullmatch(r"(\d+)\s*(ms|s|m|min|h|d|w)", given.strip().lower())
    if match is None:
        raise DataError(f"interval {given!r}: as 1m, 5m, 1h, 1d")
    return int(match[1]) * units[match[2].replace("min", "m")]
