"""The report page: well-formed, self-contained, escaped, exact, deterministic, sensible when empty."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ultra.ops import charts, report, svg
from ultra.ops.report import RunReport

OPEN_NS = 1_564_752_600_000_000_000  # 2019-08-02 13:30 UTC
VOID = {"meta"}
SUMMARY: dict[str, object] = {
    "messages": 268_744_780,
    "orders": 18_231,
    "fills": 9_120,
    "rejects": 41,
    "state_hash": "9f2c" * 16,
    "decision_hash": "77ab" * 16,
    "journal": "runs/a day/journal",
    "throughput_msgs_per_s": 8_123_456.7,
    "service_ns": {"p50": 71, "p99": 418, "p99.9": 24_575, "max": 1_310_719},
    "hiccup_ns": {"p50": 90, "p99": 61_234, "max": 2_412_345},
    "pnl": {"AAPL": "1523.47", "MSFT": "-310.05", "SPY": "123456789012345678.000000001"},
    "by_instrument": {
        "AAPL": {"position": 300, "fills": 4_000, "volume": 400_000, "pnl": "1523.47"},
        "MSFT": {"position": -200, "fills": 3_100, "volume": 310_000, "pnl": "-310.05"},
        "SPY": {"position": 0, "fills": 2_020, "volume": 1_202_000, "pnl": "123456789012345678.000000001"},
    },
    "rejects_by_reason": {"price band": 30, "order rate": 11, "halted": 0},
    "errors": {},
    "durability": {"memory": 268_744_780, "local": 268_744_268},
    "sample_every": 64,
}
CURVE = [(OPEN_NS + i * 9_000_000_000, 40 * math.sin(i / 90) + i / 50, i * 100 % 700) for i in range(2_500)]
HISTOGRAM = [(64, 65, 900), (70, 71, 1_500), (416, 423, 31), (24_576, 25_087, 2), (1_310_720, 1_343_487, 1)]


def made(changes: Mapping[str, object] | None = None, /, **fields: Any) -> str:
    """The page of a run like the one above, but for the given keys of its summary and fields."""
    given: dict[str, Any] = {
        "strategy": "market_maker.MarketMaker",
        "source": "strategies/market_maker.py",
        "session_date": "2019-08-02",
        "summary": {**SUMMARY, **(changes or {})},
        "curve": CURVE,
        "histogram": HISTOGRAM,
    }
    return report.document(RunReport(**{**given, **fields}))


def tree(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))


def words(page: str) -> str:
    """All that is shown, as plain text."""
    body = tree(page).find("body")
    assert body is not None
    return " ".join(part.strip() for part in body.itertext() if part.strip())


class Balance(HTMLParser):
    """Fails where HTML would be read as another tree than XML: self-closed or unclosed elements."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack.append(name)

    def handle_startendtag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        assert name in VOID or "svg" in self.stack, f"<{name} /> stays open in HTML"

    def handle_endtag(self, name: str) -> None:
        assert self.stack.pop() == name


EMPTY: dict[str, dict[str, Any]] = {
    "nothing at all": {"summary": {}, "curve": [], "histogram": []},
    "one reading": {"curve": [(OPEN_NS, 0.0, 0)], "histogram": [(0, 0, 1)]},
    "flat": {"curve": [(OPEN_NS + i, 0.0, 0) for i in range(3)], "histogram": [(41, 41, 0)]},
    "not numbers": {
        "curve": [(OPEN_NS, math.nan, 1), (OPEN_NS, math.inf, 1)],
        "summary": {
            "service_ns": {"p99": math.nan},
            "hiccup_ns": {"p99": 0.25, "max": math.inf},
            "pnl": {"A": "?"},
        },
    },
    "other shapes": {"summary": {"pnl": None, "service_ns": 7, "durability": True, "fills": "many"}},
}


@pytest.mark.parametrize("fields", [{}, *EMPTY.values()], ids=["full", *EMPTY])
def test_the_page_is_well_formed_and_fetches_nothing(fields: dict[str, object]) -> None:
    page = made(**fields)
    tree(page)
    balance = Balance()
    balance.feed(page)
    balance.close()
    assert balance.stack == []
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<img|\ssrc=|\shref=|\son\w+=", page)
    assert "nan" not in words(page).lower().split() and not re.search(r'="-?(nan|inf)', page)


def test_the_exact_figures_are_on_the_page() -> None:
    page = made()
    shown = words(page)
    for figure in ("268,744,780", "18,231", "9,120", "41", "8,123,457", "268,744,268", "24,575", "2,412,345"):
        assert figure in shown
    for exact in ("1523.47", "-310.05", "123456789012345678.000000001", "123456789012346891.420000001"):
        assert f'value="{exact}"' in page
    assert "123,456,789,012,346,891.420000001" in shown
    assert "9f2c" * 16 in shown and "77ab" * 16 in shown
    assert "ultra replay 'runs/a day/journal'" in shown
    assert "1 message in 64 is timed" in shown and "Closed loop" in shown and "2,434 samples" in shown
    assert "price band 30 order rate 11" in shown and "halted" not in shown


def test_how_often_a_message_is_timed_is_said() -> None:
    assert "every message is timed" in words(made({"sample_every": 1}))
    assert "sampling rate unknown" in words(made({"sample_every": None}))


def test_sections_without_content_are_left_out() -> None:
    assert "Feed errors by kind" not in words(made())
    assert "Feed errors by kind" in words(made({"errors": {"gap": 1}}))
    assert "Rejects by reason" not in words(made({"rejects_by_reason": {"price band": 0}}))


def test_empty_runs_say_so() -> None:
    nothing = words(made(**EMPTY["nothing at all"]))
    for sentence in (
        "No P&L was sampled",
        "No instrument was seen",
        "No latency was sampled",
        "No journal was kept",
    ):
        assert sentence in nothing
    assert "<svg" not in made(**EMPTY["nothing at all"])
    assert "A single reading: a dot, not a curve." in words(made(**EMPTY["one reading"]))
    assert "No order was filled" in words(made({"fills": 0}))
    assert "No hiccup reading" in words(made({"hiccup_ns": {}}))


def test_the_caption_blames_the_machine_only_where_its_reading_supports_it() -> None:
    assert "Latencies beyond the hiccup p99 (61.2 µs) are the machine, not the code" in words(made())
    quiet = made({"hiccup_ns": {"p99": 100, "max": 900}})
    assert "are the machine" not in words(quiet)
    assert "can't be put down to the machine" in words(quiet)
    beyond = made({"hiccup_ns": {"p99": 61_234, "max": 70_000}})
    assert "beyond even the hiccup max (70 µs)" in words(beyond)


@given(st.text(max_size=30))
@example("</style><script>alert(1)</script>")
@example("\"'><b onload=x>&amp;\x00\u202e\ud800")
def test_any_text_is_escaped(nasty: str) -> None:
    given = {"pnl": {nasty: nasty}, "by_instrument": {nasty: {"pnl": nasty, "fills": nasty}}}
    more = {"rejects_by_reason": {nasty: 1}, "errors": {nasty: 2}, "journal": nasty, "state_hash": nasty}
    summary = {**given, **more, "durability": {nasty: nasty}, "service_ns": {nasty: 3}}
    page = report.document(RunReport(nasty, nasty, nasty, summary, [], []))
    page.encode("utf-8")
    balance = Balance()
    balance.feed(page)
    assert balance.stack == [] and "<script" not in page and "<b " not in page
    heading = tree(page).find("body/main/header/h1")
    assert heading is not None
    assert (heading.text or "") == "".join(c if c.isprintable() else "\ufffd" for c in nasty)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    backwards = dict(
        reversed([(k, dict(reversed(v.items())) if isinstance(v, dict) else v) for k, v in SUMMARY.items()])
    )
    given = ("s", "s.py", "2019-08-02")
    report.write(tmp_path / "a.html", RunReport(*given, SUMMARY, CURVE, HISTOGRAM))
    report.write(tmp_path / "b.html", RunReport(*given, backwards, list(CURVE), tuple(reversed(HISTOGRAM))))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_many_instruments_are_limited_and_the_page_says_so() -> None:
    many = {f"S{i:04d}": {"fills": i, "pnl": "0.01"} for i in range(1_000)}
    page = words(made({"by_instrument": many, "pnl": {k: "0.01" for k in many}}))
    assert "800 instruments with the fewest fills are left out" in page and "and 988 more" in page
    assert "S0999" in page and "S0799" not in page.split("left out")[0].split("Instruments")[1]
    assert "10.00" in page


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**18), max_value=10**18)))
def test_the_total_is_exact(values: list[Decimal]) -> None:
    shown = report.total({str(i): format(v, "f") for i, v in enumerate(values)})
    assert not values or int(Decimal(shown).scaleb(9)) == sum(int(v.scaleb(9)) for v in values)


finite = st.floats(-1e15, 1e15)


@given(finite, finite)
@example(0.1, 0.4)
@example(0.0, 5e-324)
@example(-1e-9, 1e-9)
def test_ticks_lie_inside_increase_and_are_few(one: float, other: float) -> None:
    low, high = svg.widened(min(one, other), max(one, other))
    ticks = svg.ticks(low, high)
    assert low <= min(one, other) and max(one, other) <= high
    assert 3 <= len(ticks) <= 10
    assert all(low <= tick <= high for tick in ticks)
    assert all(a < b for a, b in pairwise(ticks))
    labels = [svg.number(tick, svg.decimals_of(ticks)) for tick in ticks]
    assert len(set(labels)) == len(labels)


@given(st.floats(1e-3, 1e18), st.floats(1.001, 1e18))
def test_logarithmic_ticks_lie_inside_increase_and_are_few(low: float, times: float) -> None:
    ticks = svg.log_ticks(low, low * times)
    assert 3 <= len(ticks) <= 10
    assert all(low <= tick <= low * times for tick in ticks)
    assert all(a < b for a, b in pairwise(ticks))


@given(st.integers(-(2**62), 2**62), st.integers(3, 2**62))
def test_moments_lie_inside_increase_and_are_told_apart(low: int, span: int) -> None:
    moments, step = svg.time_ticks(low, low + span)
    assert 3 <= len(moments) <= 10
    assert all(low <= moment <= low + span and moment % step == 0 for moment in moments)
    assert all(a < b for a, b in pairwise(moments))
    if step < svg.DAY:
        labels = [svg.time_label(moment, step) for moment in moments]
        assert len(set(labels)) == len(labels) or span > svg.DAY


def test_axes_that_do_not_go_up_are_refused() -> None:
    for bad in (lambda: svg.ticks(1, 1), lambda: svg.log_ticks(0, 1), lambda: svg.time_ticks(5, 5)):
        with pytest.raises(ValueError, match="axis must"):
            bad()


def test_labels_of_time_and_duration() -> None:
    assert svg.time_label(OPEN_NS, 3600 * svg.SECOND) == "13:30"
    assert svg.time_label(OPEN_NS + 7_250_000_000, 50_000_000) == "13:30:07.25"
    assert svg.time_label(OPEN_NS // svg.DAY * svg.DAY, 3600 * svg.SECOND) == "08-02"
    shown = [svg.duration(ns) for ns in (0, 41, 999.6, 1_250, 61_234, 999_600, 3_200_000, 2e9, 2e12)]
    assert shown == ["0 ns", "41 ns", "1 µs", "1.25 µs", "61.2 µs", "1 ms", "3.2 ms", "2 s", "2,000 s"]


@given(st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 31), st.integers(-1, 10**6)), max_size=80))
def test_bars_keep_every_sample_and_do_not_overlap(drawn: list[tuple[int, int, int]]) -> None:
    histogram = [(low, low + wide * low // 1000, count) for low, wide, count in drawn]
    bars = charts.bars(histogram)
    assert sum(bar[4] for bar in bars) == sum(count for *_, count in histogram if count > 0)
    assert all(left[1] <= right[0] for left, right in pairwise(bars))


@given(st.lists(st.tuples(st.floats(40, 900), st.sampled_from(["p99 418 ns", "hiccup max 2.41 ms"])), max_size=6))
def test_labels_of_marks_never_touch(drawn: list[tuple[float, str]]) -> None:
    placed = charts._placed([(x, label, "mark") for x, label in drawn], 906.0)
    assert len(placed) == len(drawn)
    seen: dict[int, list[tuple[float, float]]] = {}
    for mark in placed:
        wide = len(mark.label) * svg.CHARACTER_PX
        seen.setdefault(mark.row, []).append((mark.x - wide, mark.x) if mark.flipped else (mark.x, mark.x + wide))
    for spans in seen.values():
        spans.sort()
        assert all(left[1] <= right[0] for left, right in pairwise(spans))


def test_thinning_keeps_the_extremes() -> None:
    spike = [(OPEN_NS + i * 1_000_000, -5_000.0 if i == 31_337 else 1.0, 0) for i in range(50_000)]
    drawing = charts.curve(spike, 360)
    path = re.search(r'class="profit" d="([^"]+)"', drawing)
    assert path is not None and len(path[1]) < 20_000
    heights = {float(h) for h in re.findall(r"V([\d.]+)", path[1])}
    assert max(heights) - min(heights) > 150
