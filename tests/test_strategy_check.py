"""Each thing that can't be in a hook, planted in one: the file, the line, the caret, what it is and what to write.

`CASES` has the line, the word under which the caret must stand, what is said of it, and a part of the advice. Whatever
the repository ships as a strategy must pass unharmed.
"""

from pathlib import Path
from typing import Any

import pytest
from contract_rig import Rig
from numba.core.errors import NumbaError

from ultra import strategy
from ultra.hot import JIT
from ultra.strategy import StrategyError, load

HEAD = '''"""Planted."""

import datetime
import math
import random
import time
from random import uniform
from time import time_ns
from typing import ClassVar

import numpy as np

import ultra.math
import ultra.random
from ultra import IMMEDIATE, NONE, Strategy, buy, cancel, parameter, sell, state, target
from ultra.hot import hot
from ultra.math import exp

PRICES = [1, 2, 3]
NAMES = {"a": 1}
LABEL = "fast"
FIXED = (1, 2, 3)
LIMIT = 5


def plain(x):
    return x + 1


@hot
def helper(x):
    return [x, x]


@hot
def good(state, x):
    return state.seen + x + FIXED[0]


class Own(Strategy):
    """Planted."""

    depth: ClassVar[int] = 2
    edge: float = parameter(0.5)
    order_qty: int = parameter(10)
    seen: int = state()
    mean: float = state()
    window: float = state(length=4)

    def on_book(state, params, event, market, orders, desk):
        """Text here is fine."""
'''
CASES = [
    # What allocates.
    ("prices = [market.bid, market.ask]", "[market", "makes a list", "may not allocate"),
    ("prices = [k for k in range(3)]", "[k", "makes a list", "state(length=20)"),
    ("prices = {1: 2}", "{1", "makes a dict", "index it by the number"),
    ("prices = {k: k for k in range(3)}", "{k", "makes a dict", "may not allocate"),
    ("prices = {1, 2}", "{1", "makes a set", "a flag for each"),
    ("prices = {k for k in range(3)}", "{k", "makes a set", "may not allocate"),
    ("total = sum(k for k in range(3))", "sum", "adds up an iterable", "loop with for"),
    ("prices = list(range(3))", "list", "makes a list", "may not allocate"),
    ("prices = dict()", "dict", "makes a dict", "may not allocate"),
    ("prices = sorted(state.window)", "sorted", "makes a sorted list", "in order as they come"),
    ("prices = np.zeros(3)", "np.zeros", "calls np.zeros, which allocates an array", "state(length=20)"),
    ("prices = np.array((1, 2))", "np.array", "calls np.array, which allocates", "may not allocate"),
    ("prices = np.append(state.window, 1)", "np.append", "allocates an array", "loop over its indices"),
    ("state.mean = np.mean(state.window)", "np.mean", "calls np.mean", "loop over its indices"),
    ("prices = state.window[1:3]", "state.window[1:3]", "cuts a slice", "for k in range"),
    ("state.seen = helper(1)", "", "helper makes a list", "may not allocate"),
    # Text, output, files, the world.
    ("print(market.bid)", "print", "prints", "ULTRA_JIT=0"),
    ("name = f'{market.bid}'", "f'", "formats text", "does not exist in the hot path"),
    ("name = 'bid'", "'bid'", "handles text", "a whole number as a code"),
    ("name = '%d' % market.bid", "'%d'", "handles text", "a whole number as a code"),
    ("name = '{}'.format(market.bid)", "'{}'", "handles text", "a whole number as a code"),
    ("name = str(market.bid)", "str", "makes text", "format it outside"),
    ("name = LABEL", "LABEL", "reads the global LABEL, which is text", "a whole number"),
    ("breakpoint()", "breakpoint", "stops in the debugger", "ULTRA_JIT=0"),
    ("file = open('x')", "open", "opens a file", "touches no file"),
    ("import os", "import", "imports", "above the class"),
    ("from os import path", "from", "imports", "above the class"),
    ("now = time.time()", "time.time", "calls time.time, which reads a clock", "event.ts_event"),
    ("now = time_ns()", "time_ns", "calls time_ns, which reads a clock", "event.ts_event"),
    ("now = datetime.datetime.now()", "datetime.datetime", "makes a date", "event.ts_event"),
    ("x = random.random()", "random.random", "draws from a hidden state", "ultra.random.uniform(desk)"),
    ("x = uniform(0, 1)", "uniform", "calls uniform, which draws from a hidden state", "ultra.random.uniform(desk)"),
    ("x = np.random.normal()", "np.random.normal", "draws from a hidden state", "ultra.random.uniform(desk)"),
    # What only Python has.
    ("try:\n            pass\n        except Exception:\n            pass", "try", "catches exceptions", "if x != 0"),
    ("raise ValueError", "raise", "raises an exception", "count it in a field"),
    ("assert market.bid > 0", "assert", "asserts", "count it in a field"),
    ("with open('x') as f:\n            pass", "with", "opens a with block", "nothing to close"),
    ("global LIMIT", "global", "changes a global", "made with state()"),
    ("yield 1", "yield", "yields", "a field of state"),
    ("class Inner:\n            pass", "class", "makes a class", "one class of fields"),
    ("del state.seen", "del", "deletes", "write 0 or NONE"),
    ("match state.seen:\n            case 1:\n                pass", "match", "uses match", "if and elif"),
    ("x = getattr(market, LIMIT)", "getattr", "looks a field up by text", "name it"),
    ("x = isinstance(market.bid, int)", "isinstance", "asks for a type", "one type"),
    ("x = eval(LIMIT)", "eval", "evaluates text", "write the code itself"),
    ("x = map(abs, state.window)", "map", "makes an iterator", "for k in range"),
    ("state.seen = None", "None", "assigns None", "NONE, which is -1"),
    ("if market.bid is None:\n            state.seen = 1", "None", "compares with None", "NONE, which is -1"),
    ("buy(orders, None, 1)", "None", "assigns None", "NONE, which is -1"),
    ("x = 1j", "1j", "complex number", "two fields"),
    # Names.
    ("self.seen = 1", "self", "uses self", "state.x is what it keeps"),
    ("x = self.edge", "self", "uses self", "params.x what it was given"),
    ("x = PRICES[0]", "PRICES", "reads the global PRICES, which is a list", "a tuple"),
    ("x = NAMES", "NAMES", "reads the global NAMES, which is a dict", "a tuple"),
    ("x = LIMT", "LIMT", "names LIMT, which is nowhere", "did you mean LIMIT?"),
    ("x = Own.edge", "Own.edge", "reads Own.edge from a class", "parameter()"),
    ("x = plain(1)", "plain", "calls plain, a plain Python function", "put @hot above `def plain`"),
    ("x = ultra.math.exq(1.0)", "ultra.math.exq", "which ultra.math does not have", "did you mean exp?"),
    # What differs from machine to machine.
    ("x = math.exp(1.0)", "math.exp", "whose last bit differs", "ultra.math.exp"),
    ("x = np.log(state.mean)", "np.log", "whose last bit differs", "ultra.math.log"),
    ("x = state.mean ** 0.5", "state.mean **", "uses ** with an exponent", "ultra.math.sqrt"),
    ("x = state.mean ** params.edge", "state.mean **", "uses ** with an exponent", "ultra.math.pow"),
    ("x = math.atan(1.0)", "math.atan", "whose last bit differs", "a series in a @hot function"),
    ("x = np.hypot(3.0, state.mean)", "np.hypot", "whose last bit differs", "sqrt(x * x + y * y)"),
    # Fields.
    ("x = state.sen", "state.sen", "names state.sen, which does not exist", "did you mean seen?"),
    ("state.total = 1", "state.total", "names state.total, which does not exist", "`total: int = state(...)`"),
    ("x = params.edgy", "params.edgy", "names params.edgy, which does not exist", "did you mean edge?"),
    ("x = state.edge", "state.edge", "but edge is a parameter", "write params.edge"),
    ("x = params.seen", "params.seen", "but seen is a state", "write state.seen"),
    ("x = event.size", "event.size", "names event.size, which does not exist", "there are kind, side"),
    ("x = event.prize", "event.prize", "names event.prize", "did you mean price?"),
    ("x = market.best_bid", "market.best_bid", "names market.best_bid", "did you mean"),
    ("x = market.bids[0].quantity", "market.bids[0]", "names market.bids[0].quantity", "did you mean qty?"),
    ("x = market.bids[2].price", "market.bids[2]", "reads level 2 of market.bids", "depth: ClassVar[int] = 3"),
    ("x = desk.market", "desk.market", "names desk.market", "did you mean markets?"),
    ("x = desk.markets[1].bod", "desk.markets[1]", "names desk.markets[1].bod", "did you mean bid?"),
    ("x = desk.states[1].men", "desk.states[1]", "names desk.states[1].men", "did you mean mean?"),
    ("x = state.window[4]", "state.window[4]", "which has 4 numbers", "they are 0 to 3"),
    ("x = state.seen[0]", "state.seen[0]", "indexes state.seen, a single number", "state(length=...)"),
    ("state.window = 1.0", "state.window", "assigns to all of state.window", "state.window[k] = ..."),
    ("params.edge = 1.0", "params.edge", "changes params.edge", "set from outside"),
    ("market.bid = 1", "market.bid", "changes market.bid", "keep your own numbers in state"),
    ("event.price += 1", "event.price", "changes event.price", "belongs to the engine"),
    ("desk.markets[0] = 1", "desk.markets[0]", "changes desk.markets", "belongs to the engine"),
    ("desk.markets[1].position = 0", "desk.markets[1]", "changes desk.markets", "belongs to the engine"),
    ("market.bids[0].price += 1", "market.bids[0]", "changes market.bids", "belongs to the engine"),
    ("orders.rows[0].qty = 1", "orders.rows[0]", "changes orders.rows", "belongs to the engine"),
    ("x, market.bid = 1, 2", "market.bid", "changes market.bid", "belongs to the engine"),
    # Floats where whole numbers are.
    ("x, state.seen = 1, 0.5", "0.5", "puts a float into state.seen", "use // or int(...)"),
    ("state.seen = 0.5", "0.5", "puts a float into state.seen, which is int", "`seen: float = state()`"),
    ("state.seen = (market.bid + market.ask) / 2", "(market", "puts a float into state.seen", "use // or int(...)"),
    ("state.seen += params.edge", "", "puts a float into state.seen", "use // or int(...)"),
    ("buy(orders, (market.bid + market.ask) / 2, 1)", "(market", "gives buy a price that is a float", "ticks"),
    ("sell(orders, market.ask, params.order_qty * params.edge)", "params.order_qty", "gives sell a qty", "lots"),
    ("target(orders, market, qty=state.mean)", "state.mean", "gives target a qty", "lots"),
    ("cancel(orders, 1.0)", "1.0", "gives cancel a handle", "whole number"),
    ("orders.buy(market.bid, 1)", "orders.buy", "calls orders.buy", "write buy(orders, ...)"),
]  # fmt: skip


def planted(folder: Path, line: str) -> str:
    (folder / "own.py").write_text(HEAD + f"        {line}\n")
    return f"{folder / 'own.py'}:Own"


LOOKS_ONLY = ("prints", "formats text", "handles text", "makes text", "imports", "stops in the debugger", "is text")


@pytest.mark.parametrize(("line", "word", "what", "instead"), CASES, ids=[case[0].partition("\n")[0] for case in CASES])
def test_what_can_not_be_in_a_hook_is_shown_with_its_place_and_what_to_write(
    tmp_path: Path, line: str, word: str, what: str, instead: str
) -> None:
    if not JIT and any(phrase in what for phrase in LOOKS_ONLY):
        load(planted(tmp_path, line))  # it only looks: the interpreter may
        return
    with pytest.raises(StrategyError) as caught:
        load(planted(tmp_path, line))
    said = str(caught.value)
    assert what in said and instead in said, said
    rows = said.splitlines()
    at = next(k for k, row in enumerate(rows) if what in row)
    number = HEAD.count("\n") + 1
    if word:
        assert rows[at].startswith(f"{tmp_path / 'own.py'}:{number}: on_book "), said
        code, caret = rows[at + 1], rows[at + 2]
        assert code == f"  {number} |         {line.partition(chr(10))[0]}" or number != HEAD.count("\n") + 1
        assert caret.endswith("^") and code[len(caret) - 1 :].startswith(word), said


def test_all_that_is_wrong_is_said_at_once_and_long_lists_are_cut(tmp_path: Path) -> None:
    lines = [f"x = state.nothing{k}" for k in range(12)]
    with pytest.raises(StrategyError) as caught:
        load(planted(tmp_path, "\n        ".join(lines)))
    assert str(caught.value).count(" = declare it") + str(caught.value).count("Else declare") == 8
    assert str(caught.value).endswith("and 4 more")


GOOD = """state.window[state.seen & 3] = exp(-state.mean) + market.bids[1].price
        x = good(state, FIXED[1]) + LIMIT
        for k in range(len(desk.markets)):
            if desk.markets[k].bid > 0 and k not in (1, 2):
                state.mean += desk.markets[k].bid_qty / 2 + np.sqrt(2.0) + math.floor(state.mean) ** 2
                desk.states[k].seen += int(params.edge * 3)
        if x > 3 and event.side == 0 and market.position != NONE:
            handle = buy(orders, int(market.bid - params.edge), params.order_qty, IMMEDIATE)
            cancel(orders, handle)
            target(orders, market, 3 if x > 4 else -3, price=market.bid)
        elif ultra.random.uniform(desk) < 0.5:
            sell(orders, max(market.ask, 1), abs(x) + 1)
        def inner(given):
            twice = given * LIMIT
            return twice + x

        larger = lambda given: given + inner(given)
        state.seen += larger(1)
        return None"""


def test_what_is_right_is_left_alone_and_runs(tmp_path: Path) -> None:
    from ultra.wire import BID, LEVEL

    rig = Rig(planted(tmp_path, GOOD))
    rig.feed({"kind": LEVEL, "instrument": 0, "side": BID, "price": 100, "qty": 5})
    assert rig.state("mean") > 0


@pytest.mark.parametrize("path", sorted((Path(strategy.__file__).parent / "strategies").glob("[a-z]*.py")))
def test_what_is_shipped_passes(path: Path) -> None:
    for name, value in vars(__import__(f"ultra.strategies.{path.stem}", fromlist=["x"])).items():
        if isinstance(value, type) and issubclass(value, strategy.Strategy) and value is not strategy.Strategy:
            assert load(f"ultra.strategies.{path.stem}:{name}").sources


@pytest.mark.jit_only
def test_what_only_the_compiler_finds_gets_the_same_form(tmp_path: Path) -> None:
    spec = planted(tmp_path, "f = np.zeros\n        state.mean = f(3)[0]")
    with pytest.raises(NumbaError) as caught:
        Rig(spec).feed({"kind": 9, "instrument": 0, "side": 0, "price": 100, "qty": 5})
    said = str(strategy.untold(load(spec), caught.value))
    number = HEAD.count("\n") + 2
    assert f"{tmp_path / 'own.py'}:{number}: does not compile for the hot path" in said
    assert "state.mean = f(3)[0]" in said and "ULTRA_JIT=0" in said


def test_a_function_without_a_source_is_left_to_the_compiler() -> None:
    space: dict[str, Any] = {}
    exec("from ultra.strategy import Strategy\nclass Typed(Strategy):\n"
         "    def on_book(state, params, event, market, orders):\n        x = [1]\n", space)  # fmt: skip
    assert load(space["Typed"]).sources
