"""Bars, draws and intents in a whole run: journaled, replayed from its start and a snapshot, to the same hashes."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from runs import assert_same, market, ran, replayed, ultra

from ultra.cold.projector import Projector
from ultra.cold.replay import Replay
from ultra.hot import JIT

STRATEGY = '''
from ultra import IMMEDIATE, NONE, Strategy, buy, cancel_all, parameter, replace, state, target
from ultra import random
from ultra.hot import bar


class Everything(Strategy):
    """Draws a position at each bar, and keeps a bid meanwhile."""

    lots: int = parameter(40, low=1)
    bars: int = state()
    handle: int = state(NONE)
    last: int = state()
    drawn: float = state()

    def on_bar(state, params, event, market, orders, desk):
        state.bars += 1
        state.drawn = random.normal(desk)
        if bar.high(event) >= bar.low(event) and market.bid > 0 and market.ask > 0:
            target(orders, market, random.integer(desk, -2, 2) * params.lots)

    def on_book(state, params, event, market, orders):
        if market.bid < 0 or event.ts_event - state.last < 5_000_000:
            return
        state.last = event.ts_event
        if state.handle == NONE:
            state.handle = buy(orders, market.bid, params.lots)
        else:
            state.handle = replace(orders, state.handle, market.bid, params.lots)

    def on_order(state, params, event, market, orders):
        if event.kind >= 18 and event.order_id == state.handle:
            state.handle = NONE

    def on_timer(state, params, event, market, orders):
        cancel_all(orders)
'''
SETTINGS = {"engine__bar_ns": 10_000_000, "engine__timer_ns": 100_000_000, "engine__checkpoint_records": 1000}
MESSAGES = 1500 if JIT else 500


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    (folder / "everything.py").write_text(STRATEGY)
    (folder / "day.itch50").write_bytes(market(MESSAGES))
    return folder / "day.itch50"


def played(day: Path, journal: Path, **more: Any) -> dict[str, Any]:
    return ran(day, journal, f"{day.parent / 'everything.py'}:Everything", **{**SETTINGS, **more})


@pytest.mark.parametrize("form", ["reference", "full"])
def test_a_run_with_bars_and_draws_replays_from_its_start_and_from_a_snapshot(
    day: Path, tmp_path: Path, form: str
) -> None:
    journal = tmp_path / "run"
    found = played(day, journal, journal__market_data=form, strategy__seed=7)
    assert found["orders"] > 10 and found["fills"] > 0
    words = ("--source", str(day))
    assert_same(found, replayed(journal, *words))
    assert ultra("follow", str(journal), *words, "--every", "150", "--json").code == 0
    fast = replayed(journal, *words, "--fast")
    assert fast.found.get("start")
    assert_same(found, fast)


def test_a_seed_is_in_the_audit(day: Path, tmp_path: Path) -> None:
    played(day, tmp_path / "run", strategy__seed=7)
    one = Projector(Replay(tmp_path / "run"), tmp_path / "run", tmp_path / "run.db")
    one.play()
    one.close()
    with sqlite3.connect(tmp_path / "run.db") as db:
        rows = db.execute("SELECT command, who, words FROM audit WHERE command = 'seed'").fetchall()
    db.close()
    assert rows == [("seed", "configuration", '{"seed": 7}')]


def test_another_seed_is_another_run_and_the_same_seed_is_the_same(day: Path, tmp_path: Path) -> None:
    hashes = [
        played(day, tmp_path / f"{number}", strategy__seed=seed)["decision_hash"]
        for number, seed in enumerate((1, 1, 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
