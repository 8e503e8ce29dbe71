"""A strategy as an object: what it hands to the lab, how it is awaited, and what it says of what is not there."""

import asyncio
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from ultra import NumbaAcceleratedStrategy, parameter, state
from ultra.config import ConfigError
from ultra.strategy import StrategyError, load


class My(NumbaAcceleratedStrategy):
    """Counts."""

    order_qty: int = parameter(100, low=1)
    edge: float = parameter(0.5)
    seen: int = state()

    def __init__(self, config: Any = None) -> None:
        super().__init__("MyStrategy", config)

    @staticmethod
    def on_book(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.seen += params.order_qty


class Lab:
    """Stands in for `ultra.lab`: writes down what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []
        performance = types.SimpleNamespace(total_return=0.25, fees=3)
        self.result = types.SimpleNamespace(performance=performance, fills=[1, 2], decision_hash="x-1")

        def backtest(strategy: Any, data: Any, **given: Any) -> Any:
            self.calls.append((strategy, data, given))
            return self.result

        def optimize_parameters(strategy: Any, data: Any, ranges: Any, **given: Any) -> Any:
            self.calls.append((strategy, data, ranges, given))
            return "found"

        for name, function in (("backtest", backtest), ("optimize", optimize_parameters)):
            module: Any = types.ModuleType(f"ultra.lab.{name}")
            setattr(module, function.__name__, function)
            monkeypatch.setitem(sys.modules, "ultra.lab", types.ModuleType("ultra.lab"))
            monkeypatch.setitem(sys.modules, f"ultra.lab.{name}", module)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(monkeypatch)


def test_an_object_is_its_class_with_parameters() -> None:
    mine = My({"order_qty": 5})
    assert (mine.name, mine.parameters, repr(mine)) == ("MyStrategy", {"order_qty": 5}, "MyStrategy(order_qty=5)")
    assert load(type(mine)).params_dtype.names == ("order_qty", "edge")
    assert My().parameters == {}
    with pytest.raises(StrategyError, match="order_qtz: no such parameter; there are order_qty, edge"):
        My({"order_qtz": 5})
    with pytest.raises(StrategyError, match="order_qty = 0: must be 1"):
        My({"order_qty": 0})


def test_a_file_of_configuration_is_one_too(tmp_path: Path, lab: Lab) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[strategy.parameters]\norder_qty = 7\n[risk]\norder_qty_max = 9\n")
    mine = My(path)
    assert mine.parameters == {"order_qty": 7} and mine.config is not None and mine.config.risk.order_qty_max == 9
    mine.backtest_now("data")
    assert lab.calls[0][2] == {"parameters": {"order_qty": 7}, "config": mine.config}
    mine.optimize_parameters("data", {"edge": (0.0, 1.0)})
    assert lab.calls[1][2:] == ({"order_qty": [7], "edge": (0.0, 1.0)}, {"config": mine.config})
    with pytest.raises(ConfigError, match="can't be read"):
        My(tmp_path / "nowhere.toml")


def test_a_backtest_is_awaited_or_not_and_has_its_figures_at_hand(lab: Lab) -> None:
    mine = My({"order_qty": 5})
    for found in (asyncio.run(mine.backtest("data", cash=9)), mine.backtest_now("data", cash=9)):
        assert (found.total_return, found.performance.total_return, found.fills) == (0.25, 0.25, [1, 2])
        assert {"total_return", "fills", "decision_hash"} <= set(dir(found)) and "total_return" in repr(found)
        with pytest.raises(AttributeError):
            _ = found.nothing
    assert lab.calls == [(My, "data", {"parameters": {"order_qty": 5}, "cash": 9})] * 2


def test_a_running_loop_goes_on_while_a_backtest_is_awaited(lab: Lab) -> None:
    """As in a notebook, whose cells run inside one."""

    async def cell() -> tuple[Any, int]:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        found = await My().backtest("data")
        beside.cancel()
        return found, turns

    found, turns = asyncio.run(cell())
    assert found.total_return == 0.25 and turns > 0


def test_a_search_keeps_what_the_object_was_given(lab: Lab) -> None:
    assert (
        My({"order_qty": 5, "edge": 1.0}).optimize_parameters("data", {"edge": (0.0, 1.0)}, method="random") == "found"
    )
    assert lab.calls == [(My, "data", {"order_qty": [5], "edge": (0.0, 1.0)}, {"method": "random"})]


def test_what_is_not_there_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StrategyError, match=r"x.wasm was not written.*ultra.wasm.*ultra-engine\[wasm\]"):
        My().compile_to_wasm("x.wasm")
    monkeypatch.setitem(sys.modules, "ultra.lab.backtest", None)
    with pytest.raises(StrategyError, match=r"pip install 'ultra-engine\[lab\]'"):
        My().backtest_now("data")


# ---- ULTRA_JIT=0

STOPS = '''
from ultra import Strategy, parameter, state

class Stops(Strategy):
    """Stops at its first event."""

    order_qty: int = parameter(77)
    seen: int = state()

    def on_book(state, params, event, market, orders):
        state.seen += 1
        if state.seen == 1:
            print(f"at {market.bid}")
            breakpoint()
        state.seen += 1
'''
DRIVE = """
import sys
sys.path[:0] = [{tests!r}, {folder!r}]
from contract_rig import Rig
from stops import Stops
from ultra.hot import JIT
from ultra.wire import BID, LEVEL
assert not JIT
rig = Rig(Stops)
rig.feed({{"kind": LEVEL, "instrument": 0, "side": BID, "price": 100, "qty": 5}})
print("seen", rig.state("seen"))
"""


@pytest.mark.parametrize("before", ["", "import numba\n"])
def test_pdb_stops_in_a_hook_with_the_jit_off(tmp_path: Path, before: str) -> None:
    (tmp_path / "stops.py").write_text(STOPS)
    root = Path(__file__).parent.parent
    code = before + DRIVE.format(tests=str(root / "tests"), folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], input="p params.order_qty + state.seen\nc\n", capture_output=True, text=True,
        env={"ULTRA_JIT": "0", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), "HOME": str(tmp_path)}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        "at 100" in done.stdout
        and "(Pdb) np.int64(78)" in done.stdout.replace("(Pdb) 78", "(Pdb) np.int64(78)")
        and "seen 2" in done.stdout
    )
