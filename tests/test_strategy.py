"""A strategy is a class of fields and plain functions: what is wrong with one is said, what is right with it runs.

`Probe` has every hook and every kind of field; it runs in the engine beside `runs.Market`, which knows the book.
"""

import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from loops import loop
from runs import SMALL, START_NS, Market

from ultra import config, strategy
from ultra.cold import assembly
from ultra.hot import JIT
from ultra.hot import engine as engines
from ultra.hot import ring as rings
from ultra.hot.outbox import IMMEDIATE, buy
from ultra.strategy import Idle, Strategy, StrategyError, load, parameter, state
from ultra.wire import ACCEPTED, CANCELLED, FILL, NONE, RECORD, TRADING


class Base(Strategy):
    depth: ClassVar[int] = 3
    qty: int = parameter(40, low=1, high=900)
    weight: float = parameter(1, low=0)  # a float, although its default is written as a whole number
    bold: bool = parameter(True)
    handle: int = state(NONE)
    prices: int = state(length=6)  # bids, then asks, as the last on_book saw them
    mean: float = state(0.5)  # also a name of NumPy's


class Probe(Base):
    """Writes down what it is called with."""

    qty: int = parameter(60, low=1, high=900)
    calls: int = state(length=5)  # of each hook
    replies: int = state(length=8)
    filled: int = state()
    traded: int = state()

    @staticmethod
    def on_book(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.calls[0] += 1
        for k in range(3):
            state.prices[k] = market.bids[k].price
            state.prices[3 + k] = market.asks[k].price

    @staticmethod
    def on_trade(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.calls[1] += 1
        state.traded += event.qty
        state.mean = 0.5 * state.mean + params.weight * event.qty

    @staticmethod
    def on_fill(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.calls[2] += 1
        state.filled += event.qty

    @staticmethod
    def on_order(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.calls[3] += 1
        state.replies[event.kind - ACCEPTED] += 1
        if event.kind > FILL:
            state.handle = NONE

    @staticmethod
    def on_timer(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.calls[4] += 1
        if params.bold != 0 and state.handle == NONE and market.status == TRADING and market.ask > 0:
            state.handle = buy(orders, market.ask, params.qty, IMMEDIATE)


class Rig:
    """An engine with a strategy, fed message by message by two markets that know their books."""

    def __init__(self, spec: type | str, parameters: dict[str, Any]) -> None:
        keys = {**SMALL, "engine.prefault": False, "engine.timer_ns": 5_000_000, "strategy.parameters": parameters}
        self.machine = assembly.assemble(config.load(None, keys), load(spec), [rings.create(RECORD, 1 << 14)])
        self.dice = random.Random(5)
        self.markets = [Market(self.dice, 1, "AAA"), Market(self.dice, 2, "BBB")]
        self.ts = START_NS
        assembly.introduce(self.machine)
        self.feed(b"".join(market.opening(self.ts) for market in self.markets))

    def feed(self, message: bytes) -> None:
        raw = np.frombuffer(message + bytes(8), np.uint8).copy()
        assert self.machine.pump(self.machine.run, self.machine.decoder, raw, 0, len(message)) == len(message)

    def step(self, ref: int) -> Market:
        """One message of one market, which is returned."""
        self.ts += self.dice.randrange(1_000_000)
        market = self.dice.choice(self.markets)
        self.feed(market.step(self.ts, ref))
        return market


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(Probe, {"bold": True})


def levels(market: Market, side: int) -> list[list[int]]:
    """Best three levels of a side, from the market's own list of orders."""
    found: dict[int, int] = {}
    for of, price, shares in market.orders.values():
        if of == side:
            found[price] = found.get(price, 0) + shares
    best = [[price, found[price]] for price in sorted(found, reverse=side == 0)[:3]]
    return best + [[NONE, 0]] * (3 - len(best))


# ---- in the engine


def test_the_view_of_several_levels_is_the_book_after_every_message(rig: Rig) -> None:
    for ref in range(1, 1500 if JIT else 150):
        market = rig.step(ref)
        engine, index = rig.machine.run.engine, market.locate - 1
        view, kept = engine.market[index], engine.state[index]["prices"].tolist()
        for side, rows in ((0, view.bids), (1, view.asks)):
            assert [[int(row["price"]), int(row["qty"])] for row in rows[:3]] == levels(market, side)
            assert [int(row["price"]) for row in rows[:3]] == kept[3 * side : 3 * side + 3]
        assert not view.bids[3:].view(np.ndarray).view(np.int64).any(), "deeper than was asked for"


def test_every_hook_is_called_for_what_it_is_for(rig: Rig) -> None:
    for ref in range(2000, 2600 if JIT else 2200):
        rig.step(ref)
    engine = rig.machine.run.engine
    for index in (0, 1):
        view, own = engine.market[index], engine.state[index]
        books, trades, fills, orders, timers = own["calls"].tolist()
        assert books > trades > 0 and int(own["traded"]) == int(view.volume)
        assert fills == int(view.fills) > 0 and int(own["filled"]) == int(view.filled_qty)
        assert orders == sum(own["replies"].tolist()) > 0
        accepted, cancelled = (int(own["replies"][kind - ACCEPTED]) for kind in (ACCEPTED, CANCELLED))
        assert accepted >= cancelled and accepted * 60 >= int(own["filled"])
        assert abs(timers - (rig.ts - START_NS) // 5_000_000) <= 1
    assert float(engine.state[0]["mean"]) > 1.0
    assert int(engine.cells[engines.ORDERS_SENT]) > 0


def test_fields_become_aligned_records_with_their_defaults() -> None:
    loaded = load(Probe)
    for dtype in (loaded.state_dtype, loaded.params_dtype):
        assert (
            dtype.isalignedstruct and dtype.itemsize % 8 == 0 and all(dtype.fields[n][1] % 8 == 0 for n in dtype.names)
        )
    assert loaded.params_dtype.names == ("qty", "weight", "bold")
    assert [loaded.params_dtype[name].str for name in loaded.params_dtype.names] == ["<i8", "<f8", "<i8"]
    assert loaded.state_dtype.names == ("handle", "prices", "mean", "calls", "replies", "filled", "traded")
    assert loaded.state_dtype["prices"].shape == (6,) and loaded.state_dtype["mean"].str == "<f8"
    row = strategy.parameters(loaded, {"weight": 2})[0]
    assert (int(row["qty"]), float(row["weight"]), int(row["bold"])) == (60, 2.0, 1)
    rows = strategy.states(loaded, 3)
    assert rows["handle"].tolist() == [NONE] * 3 and rows["mean"].tolist() == [0.5] * 3
    assert not rows["prices"].any() and rows["prices"].shape == (3, 6)
    assert loaded.hooks.depth == 3 and load(Idle).hooks.depth == 1


class Namesakes(Strategy):
    """Fields with names that NumPy's records have too."""

    clip: int = parameter(7)
    size: float = parameter(0.25)
    sum: int = state(3)
    max: float = state()
    flags: int = state(length=2)


@loop
def use(states: Any, params: Any) -> float:
    row = states[1]
    row.sum += params[0].clip
    row.max = row.sum * params[0].size
    row.flags[1] = row.sum
    return row.max + row.flags[1] + row.flags[0]


def test_a_field_may_have_any_name_compiled_or_not() -> None:
    loaded = load(Namesakes)
    rows = strategy.states(loaded, 2)
    assert use(rows, strategy.parameters(loaded, {})) == 2.5 + 10
    assert rows["sum"].tolist() == [3, 10] and rows["flags"].tolist() == [[0, 0], [0, 10]]


# ---- what is wrong

HEAD = "from ultra.hot import hot\nfrom ultra.strategy import Strategy, parameter, state\n\n"
BOOK = "    def on_book(state, params, event, market, orders):\n        {}\n"


def write(folder: Path, text: str, name: str = "own.py") -> str:
    (folder / name).write_text(HEAD + text)
    return f"{folder / name}:Own"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Own:\n    pass", "is not a subclass of ultra.Strategy"),
        ("Own = 3", "is not a subclass of ultra.Strategy"),
        ("class Other(Strategy):\n    pass\nclass Third(Strategy):\n    pass", "no class Own; there are Other, Third"),
        ("class Own(Strategy):\n    def on_book(state, event):\n        pass",
         "Own.on_book(state, event): takes exactly (state, params, event, market, orders), no self"),
        ("class Own(Strategy):\n    def on_fill(self, state, params, event, market):\n        pass", "no self"),
        ("class Own(Strategy):\n    seen: str = state()", "seen: str is not int, float or bool"),
        ("class Own(Strategy):\n    seen: list[int] = state()", "seen: list is not int, float or bool"),
        ("class Own(Strategy):\n    seen: int = 3", "seen: give it a value, parameter(...) or state(...)"),
        ("class Own(Strategy):\n    seen: int", "seen: give it a value, parameter(...) or state(...)"),
        ("class Own(Strategy):\n    seen = state()", "seen: say its type, as seen: int = state(...)"),
        ("class Own(Strategy):\n    seen: int = parameter(0.5)", "seen = 0.5: is not int"),
        ("class Own(Strategy):\n    depth = 6", "depth = 6: must be 1 to 5"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
    ],
)  # fmt: skip
def test_a_strategy_that_breaks_the_contract_is_told_how_to_keep_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(StrategyError) as caught:
        load(write(tmp_path, text + "\n"))
    assert (said in str(caught.value) and "own.py" in str(caught.value)) or "Own.on_" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ultra.strategies.maker", "write package.module:Class or path/to/file.py:Class"),
        ("ultra.strategies.nowhere:Taker", "No module named 'ultra.strategies.nowhere'"),
        ("away/own.py:Own", "strategy file away/own.py does not exist"),
        ("ultra.strategies.maker:Maker", "no class Maker; there are MarketMaker"),
    ],
)
def test_a_strategy_that_is_not_there_is_named_with_what_is(spec: str, said: str) -> None:
    with pytest.raises(StrategyError) as caught:
        load(spec)
    assert said in str(caught.value) and spec.rpartition(":")[0] in str(caught.value)


def test_all_wrong_parameters_are_named_at_once() -> None:
    with pytest.raises(StrategyError) as caught:
        strategy.parameters(load(Probe), {"qty": 901, "weight": -0.5, "bald": 1, "bold": 0.5})
    for said in (
        "bald: no such parameter; there are qty, weight, bold",
        "qty = 901: must be 1 to 900", "weight = -0.5: must be 0 to None", "bold = 0.5: must be a whole number",
    ):  # fmt: skip
        assert said in str(caught.value), caught.value
    with pytest.raises(StrategyError, match="weight = nan: must be 0"):
        strategy.parameters(load(Probe), {"weight": float("nan")})
    with pytest.raises(StrategyError, match="seen: no such parameter; there are none"):
        strategy.parameters(load(Idle), {"seen": 1})


# ---- the key of its code

OWN = "LIMIT = 5\n@hot\ndef helper(x):\n    return x + 1\nclass Own(Strategy):\n    edge: int = parameter(3)\n"
OWN += "    seen: int = state(1)\n" + BOOK.format("state.seen = helper(params.edge) + LIMIT + market.bid")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 5", "LIMIT = 6"),
        ("return x + 1", "return x + 2"),
        ("market.bid", "market.ask"),
        ("state(1)", "state(2)"),
        ("    edge: int", "    more: int = state()\n    edge: int"),
        ("parameter(3)", "parameter(3.5)"),
        ("    edge: int", "    depth = 2\n    edge: int"),
        ("on_book", "on_trade"),
    ],
)
def test_the_fingerprint_changes_with_the_code(tmp_path: Path, old: str, new: str) -> None:
    assert OWN.count(old) == 1
    text = OWN.replace(old, new).replace("edge: int = parameter(3.5)", "edge: float = parameter(3.5)")
    before, after = load(write(tmp_path, OWN)), load(write(tmp_path, text, "new.py"))
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [("parameter(3)", "parameter(4, low=0)"), ("LIMIT = 5", "# five\nLIMIT = 5"), ("helper(x)", "helper(y)")],
)
def test_the_fingerprint_stays_with_what_decides_nothing(tmp_path: Path, old: str, new: str) -> None:
    text = OWN.replace(old, new).replace("return x", "return y") if "(y)" in new else OWN.replace(old, new)
    (tmp_path / "elsewhere").mkdir()
    before, after = load(write(tmp_path, OWN)), load(write(tmp_path / "elsewhere", text, "other.py"))
    assert before.fingerprint == after.fingerprint
