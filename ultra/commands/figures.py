"""Figures for people: what is a moment as a date, what is a length of time in its own unit, money without its zeros."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

UNITS = ((86_400_000_000_000, "days"), (3_600_000_000_000, "h"), (60_000_000_000, "min"), (1_000_000_000, "s"),
         (1_000_000, "ms"), (1_000, "us"))  # fmt: skip


def shown(name: str, value: Any) -> str:
    """A figure by its name: `first_ts` is a date, `max_drawdown_ns` a length; "-" where it is not defined."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, int) and name.endswith("_ts"):
        return moment(value)
    if isinstance(value, int) and name.endswith("_ns"):
        return length(value)
    if isinstance(value, str):
        return value.rstrip("0").rstrip(".") if "." in value else value
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def moment(ts: int) -> str:
    """Nanoseconds since 1970 as a time to the second, UTC; the last nanosecond of a span as its end."""
    passed = timedelta(microseconds=(ts + 1) // 1000)
    return (datetime(1970, 1, 1, tzinfo=UTC) + passed).strftime("%Y-%m-%d %H:%M:%S")


def length(ns: int) -> str:
    """A length of time in the largest unit of which it has two or more."""
    for size, unit in UNITS:
        if abs(ns) >= 2 * size:
            return f"{ns / size:,.1f} {unit}".replace(".0 ", " ")
    return f"{ns} ns"
