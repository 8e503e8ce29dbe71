"""A tear sheet: one page of what a backtest came to, self-contained, well-formed XML, without a script.

The drawing files of `ultra.ops` (svg, page, charts) know nothing of a run, so the lab uses them as they are. Money is
printed as exact decimals; floats are statistics and lines. The same result gives the same bytes.
Known bad case: a notebook that strips styles shows the tables plain.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ..ops.page import ABSENT, CSS, amount, section, table
from ..ops.svg import Markup, duration, number, tag, text

if TYPE_CHECKING:
    from .performance import Performance

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
PERCENT: Final = ("total_return", "cagr", "volatility", "max_drawdown", "hit_rate", "exposure", "time_in_market")
TIMES: Final = ("max_drawdown_ns", "longest_drawdown_ns")


class Sheet(NamedTuple):
    """A page: its title and its sections, drawn."""

    title: str
    sections: Sequence[Markup]


def write(path: Path, sheet: Sheet) -> Path:
    """Write the page; a reader sees the whole file or the one before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(document(sheet), encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
    return path


def document(sheet: Sheet) -> str:
    """The whole document; it is also well-formed XML."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", text(sheet.title)),
        tag("style", Markup(CSS)),
    )
    body = tag("body", tag("main", tag("header", tag("h1", text(sheet.title))), *sheet.sections))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def of_performance(found: "Performance", title: str = "Backtest") -> Sheet:
    """The figures of a course."""
    return Sheet(title, [section("Figures", figures(found))])


def brief(found: "Performance") -> str:
    """The figures as a table, for a notebook."""
    return figures(found)


def figures(found: "Performance") -> Markup:
    """Every figure by its name."""
    return table(("figure", "value"), [[text(name), shown(name, value)] for name, value in found.as_json().items()])


def shown(name: str, value: object) -> Markup:
    """A figure as a person would write it; what is not defined is shown as absent."""
    if value is None:
        return text(ABSENT)
    if name in PERCENT and isinstance(value, float):
        return text(number(100 * value, 2) + " %")
    if name in TIMES and isinstance(value, int):
        return text(duration(value))
    return amount(value)
