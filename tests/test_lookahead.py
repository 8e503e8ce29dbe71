"""Whoever knows the future is found, and nobody else is blamed; the venue does not know it either."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import IMBALANCE, MAKER, market, ultra_apart
from test_backtest import day, settings

from ultra import Strategy, buy, parameter, sell, state
from ultra.hot import JIT
from ultra.hot.outbox import IMMEDIATE
from ultra.lab import lookahead
from ultra.lab.lookahead import check_lookahead
from ultra.lab.terms import Latency

STEP_NS = 1_000_000
START_NS = 34_200_000_000_000
PRICES = np.zeros(1000, np.int64)
MARGINS = (3, 5, 7)


class Reader(Strategy):
    """Buys when the price `ahead_ms` from now, in a series it has from somewhere, is above the touch."""

    ahead_ms: int = parameter(50)
    sent: int = state()

    @staticmethod
    def on_book(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        if market.bid < 0 or market.ask < 0 or event.ts_event - state.sent < 5_000_000:
            return
        at = (event.ts_event - START_NS) // STEP_NS + params.ahead_ms
        if 0 <= at < len(PRICES) and PRICES[at] > 0:
            state.sent = event.ts_event
            if 2 * PRICES[at] > market.bid + market.ask + MARGINS[0]:
                buy(orders, market.ask, 10, IMMEDIATE)
            elif 2 * PRICES[at] < market.bid + market.ask - MARGINS[0]:
                sell(orders, market.bid, 10, IMMEDIATE)


def prices_of(source: Path) -> None:
    """Where the first instrument's middle was, each millisecond."""
    from ultra.lab import around
    from ultra.lab.source import ItchFile

    seen = around.touches(ItchFile(source), settings(MAKER), around.Window(0, 0, 1 << 60))
    module = sys.modules[__name__]
    module.PRICES = np.zeros((int(seen["ts"][-1]) - START_NS) // STEP_NS, np.int64)  # type: ignore[attr-defined]
    at = np.searchsorted(seen["ts"], START_NS + STEP_NS * np.arange(len(PRICES)), side="right") - 1
    PRICES[:] = np.where(at >= 0, (seen["bid"][at] + seen["ask"][at]) // 2, 0)


@pytest.mark.parametrize("strategy", [IMBALANCE, MAKER])
def test_an_honest_strategy_and_the_venue_are_clean(tmp_path: Path, strategy: str) -> None:
    """With late orders and late answers too: what is under way when the cut comes has not seen it."""
    found = check_lookahead(
        strategy, day(tmp_path, 1500), cuts=4, config=settings(strategy),
        latency=Latency(order_ns=300_000, answer_ns=400_000, jitter_ns=100_000, seed=2),
    )  # fmt: skip
    assert found.clean and len(found.cuts) == 4 and found.cuts[-1].decisions > 3
    assert "no look-ahead" in found.as_text()


@pytest.mark.skipif(JIT, reason="what machine code reads is frozen in it: the interpreter looks at it")
def test_a_strategy_that_reads_tomorrow_is_caught_and_one_that_reads_yesterday_is_not(tmp_path: Path) -> None:
    source = day(tmp_path, 3000)
    prices_of(source)
    given = {"config": settings(MAKER), "cuts": 4}
    cheat = check_lookahead(Reader, source, parameters={"ahead_ms": 50}, allow=["MARGINS"], **given)
    assert cheat.guilty == ["PRICES"] and "LOOKS AHEAD" in cheat.as_text()
    honest = check_lookahead(Reader, source, parameters={"ahead_ms": -50}, allow=["MARGINS"], **given)
    assert honest.clean and {cut.changed for cut in honest.cuts} == {"tape", "PRICES"}
    assert max(cut.decisions for cut in honest.cuts) > 10


@pytest.mark.skipif(not JIT, reason="with the JIT off it looks at everything")
def test_machine_code_says_what_it_could_not_look_at(tmp_path: Path) -> None:
    found = lookahead.series_of(lookahead.strategies.load(Reader))
    assert sorted(found) == ["MARGINS", "PRICES"]


def test_a_series_is_changed_behind_the_cut_only() -> None:
    span = lookahead.Span(100, 0, 99 * 99)
    assert lookahead.tail_of(100, 40, 39 * 39, span) == 40
    assert lookahead.tail_of(1000, 40, 39 * 39, span) == 401, "by record; by time it would be sooner"
    assert lookahead.tail_of(1000, 40, 80 * 80, span) == 654, "by time"
    assert lookahead.tail_of(10, 100, 99 * 99, span) == 10
    held = [lookahead.Held({"A": np.arange(100)}, "A"), lookahead.Held({"B": tuple(range(100))}, "B")]
    for each in held:
        before = each.names[each.name]
        with lookahead.other_tail([each], 40, 39 * 39, span):
            now = each.names[each.name]
            assert (np.array(now)[:40] == np.arange(40)).all() and (np.array(now)[40:] != np.arange(40, 100)).all()
        assert each.names[each.name] is before


CHEAT = '''"""Reads the future from an array of its own."""
from typing import Any
import numpy as np
from ultra import Strategy, buy, state
from ultra.hot.outbox import IMMEDIATE
TOMORROW = np.arange(1200, dtype=np.int64) % 7

class Cheat(Strategy):
    """Its array has a row for each record."""
    seen: int = state()
    @staticmethod
    def on_book(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        """Buys when the row behind the next is 3."""
        state.seen += 1
        if market.ask > 0 and state.seen + 600 < len(TOMORROW) and TOMORROW[state.seen + 600] == 3:
            buy(orders, market.ask, 1, IMMEDIATE)
'''


@pytest.mark.slow
def test_the_command_looks_in_the_interpreter_too(tmp_path: Path) -> None:
    source, cheat = tmp_path / "day.itch50", tmp_path / "cheat.py"
    source.write_bytes(market(1200, 3))
    cheat.write_text(CHEAT)
    ran = ultra_apart("backtest", f"{cheat}:Cheat", str(source), "--check-lookahead", "--json", NUMBA_DISABLE_JIT="1")
    assert ran.code == 1 and ran.found["guilty"] == ["TOMORROW"], ran.said


def test_a_past_without_a_decision_proves_nothing() -> None:
    said = [lookahead.Verdict([lookahead.Cut(9, "tape", decisions, True)], ()).as_text() for decisions in (0, 1)]
    assert "proves nothing" in said[0] and "proves nothing" not in said[1]
