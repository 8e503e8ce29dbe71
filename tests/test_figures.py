"""Figures for people: by name and kind, no more digits than mean something."""

import math

import pytest

from ultra.commands.figures import shown

DAY = 86_400_000_000_000


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("sharpe", 1.23456789, "1.23457"),
        ("sharpe", math.nan, "-"),
        ("sharpe", None, "-"),
        ("fill_count", 2, "2"),
        ("final_equity", "33146.410200000", "33146.4102"),
        ("final_equity", "20000.000000000", "20000"),
        ("final_equity", "100", "100"),
        ("first_ts", DAY - 1, "1970-01-02 00:00:00"),
        ("last_ts", -1, "1970-01-01 00:00:00"),
        ("max_drawdown_ns", 0, "0 ns"),
        ("max_drawdown_ns", 1_999, "1999 ns"),
        ("max_drawdown_ns", 2_000, "2 us"),
        ("max_drawdown_ns", 36 * DAY // 24, "36 h"),
        ("max_drawdown_ns", 455 * DAY + DAY // 2, "455.5 days"),
        ("max_drawdown_ns", 10_000 * DAY, "10,000 days"),
    ],
)
def test_a_figure_is_shown_as_its_name_says(name: str, value: object, expected: str) -> None:
    assert shown(name, value) == expected
