"""A backtest is the run: the same decisions, the same state, in any mode; and what it says of its fills is true."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bar_rig import trend
from recorded import data
from runs import EAGER, IMBALANCE, MAKER, SMALL, market, ran

from ultra.commands.backtests import as_text
from ultra.config import load
from ultra.hot import JIT
from ultra.lab.backtest import Result, backtest
from ultra.lab.bars import Terms as BarTerms
from ultra.lab.bars import run_bars
from ultra.lab.tape import Instrument, Tape
from ultra.lab.terms import Fees, Interest, Latency
from ultra.strategies.whole_cross import WholeCross

AAPL = "derived_AAPL_20120621_0930_1030.itch50.gz"
HEAD = "derived_AAPL_20120621_head.itch50.gz"


def settings(strategy: str, **more: Any) -> Any:
    """The configuration that `runs.ran` gives a run."""
    eager = EAGER if strategy == IMBALANCE else {}
    return load(
        None,
        {**SMALL, **eager, "engine.prefault": False, **{key.replace("__", "."): value for key, value in more.items()}},
    )


def day(folder: Path, messages: int = 3000, seed: int = 5) -> Path:
    path = folder / "day.itch50"
    path.write_bytes(market(messages, seed))
    return path


def same(result: Result, run: dict[str, Any]) -> None:
    assert result.decision_hash == run["decision_hash"]
    assert result.state_hash == run["state_hash"]
    assert (result.orders, result.cancels, len(result.fills)) == (run["orders"], run["cancels"], run["fills"])
    assert result.rejects == run["rejects_by_reason"]


@pytest.mark.parametrize("strategy", [IMBALANCE, MAKER])
def test_a_backtest_is_the_run(tmp_path: Path, strategy: str) -> None:
    """With timers, checkpoints in between and a latency: every number of the sequence is given the same way."""
    more = {"engine__timer_ns": 10_000_000, "engine__checkpoint_records": 1000, "venue__latency_ns": 700_000}
    source = day(tmp_path, 3000 if JIT else 1200)
    run = ran(source, tmp_path / "journal", strategy, **more)
    result = backtest(strategy, source, config=settings(strategy, **more))
    same(result, run)
    assert run["fills"] > 5
    pnl = sum(float(value) for value in run["pnl"].values())
    assert float(result.performance.final_equity) - 1_000_000 == pytest.approx(pnl, abs=1e-9)


def test_a_recorded_hour_is_the_run_and_the_run_without_the_jit(tmp_path: Path) -> None:
    """Of the recorded head in every mode the hash is one; of the whole hour the backtest is the run."""
    head = backtest(MAKER, data("itch", HEAD))
    assert (head.decision_hash, head.state_hash) == ("bb99f8a41d15647b-123", "b2a310a5a7750751d12d6f0eb435a6c4")
    if JIT:
        whole = backtest(MAKER, data("itch", AAPL))
        assert (whole.decision_hash, len(whole.fills)) == ("2db6afb012e31c2f-7909", 608)


def test_what_filled_each_order_is_told(tmp_path: Path) -> None:
    result = backtest(MAKER, day(tmp_path), config=settings(MAKER), fees=Fees(maker_bps="-0.2", taker_bps="0.3"))
    fills, why = result.fills, result.explained
    assert len(fills) > 5 and (fills["took"] == 0).all(), "a maker rests"
    assert (why["arrived_ts"] - why["sent_ts"] == 10_000).all() and (why["ts_event"] >= why["arrived_ts"]).all()
    assert (fills["ahead"] >= 0).all() and set(why["rule"].tolist()) <= {2, 3, 4}


def test_the_same_call_gives_the_same_bytes_and_a_later_order_gives_others(tmp_path: Path) -> None:
    source, config = day(tmp_path), settings(IMBALANCE)
    late = Latency(order_ns=50_000, answer_ns=80_000, sell_ns=90_000, jitter_ns=40_000, seed=3)
    one, two = (backtest(IMBALANCE, source, config=config, latency=late) for _ in range(2))
    assert one.fills.tobytes() == two.fills.tobytes() and one.equity.tobytes() == two.equity.tobytes()
    other = backtest(IMBALANCE, source, config=config, latency=Latency(order_ns=50_000))
    assert other.decision_hash != one.decision_hash


def test_equity_is_cash_and_positions_at_the_middle(tmp_path: Path) -> None:
    result = backtest(IMBALANCE, day(tmp_path), config=settings(IMBALANCE), sample_ns=1_000_000_000)
    assert (np.diff(result.equity["ts"])[1:-1] == 1_000_000_000).all()
    assert result.equity["equity_e9"][0] == 1_000_000 * 10**9 and result.equity["gross_e9"][0] == 0


def test_of_bars_the_configuration_holds_and_what_was_paid_is_said() -> None:
    config = load(None, {"strategy.parameters": {"fast": 2, "slow": 6, "short": True}})
    costs = Interest(borrow_percent=5)
    tape = Tape.of(trend(120).records, [Instrument("S0", 10_000_000, 10**9)], "bars")
    result = backtest(WholeCross, tape, parameters={"slow": 8}, config=config, interest=costs)
    wanted = {"fast": 2, "slow": 8, "short": True}
    grid = run_bars(WholeCross, tape, wanted, terms=BarTerms(interest=costs))
    assert {name: result.parameters[name] for name in wanted} == wanted
    assert result.interest_e9 == int(grid.accounts[0]["carry"]) > 0
    assert result.orders == int(grid.accounts[0]["sent"]) >= len(result.fills) > 0
    assert result.performance.final_equity == grid.performance().final_equity
    assert "interest paid" in as_text(result.as_json())
