"""What the hot path stands on and nobody promised: Numba's private switch, and our own key of the compile cache.

The day a new Numba compiles an allocation into hot code, or old machine code runs in place of edited text, it is
seen here and not in the market.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MODE
from loops import loop
from numba import njit
from numba.core.errors import NumbaError

from ultra import cache, inline, strategy
from ultra.hot import book as books
from ultra.hot import door, entry, hot
from ultra.hot import engine as engines
from ultra.hot import pool as pools
from ultra.hot import ring as rings
from ultra.venues import itch, paper
from ultra.wire import RECORD

HERE = Path(__file__).parent

# ---- An allocation is an error. ----


@hot
def with_an_array(count: int) -> int:
    scratch = np.zeros(count, np.int64)
    return scratch[0]


@hot
def with_a_list(count: int) -> int:
    numbers = [count, count]
    return numbers[0]


@njit
def ordinary(count: int) -> Any:
    return np.arange(count)


@hot
def by_a_callee(count: int) -> int:
    return ordinary(count)[0]


@hot
def returning_a_view(cells: Any) -> Any:
    return cells[1:]


def first_call(function: Callable[..., Any], argument: Any) -> str:
    """What the compiler says of a loop over this function; empty if it compiles."""

    def calls(given: Any) -> Any:
        return function(given)

    try:
        entry(calls)(argument)
    except NumbaError as error:
        return str(error)
    return ""


@pytest.mark.jit_only
@pytest.mark.parametrize(
    ("function", "argument", "said"),
    [
        (with_an_array, 3, "scratch = np.zeros(count, np.int64)"),
        (with_a_list, 3, "NRT required but not enabled"),
        (by_a_callee, 3, "return ordinary(count)[0]"),
        (returning_a_view, np.zeros(3, np.int64), "Only accept returning of array passed into the function"),
    ],
)
def test_an_allocation_does_not_compile_and_the_error_names_it(
    function: Callable[..., Any], argument: Any, said: str
) -> None:
    message = first_call(function, argument)
    assert said in message and function.__name__ in message


@pytest.mark.jit_only
def test_calling_a_hot_function_from_python_raises() -> None:
    pool = pools.create(4)
    for _ in range(2):  # compiled by now, and still no code of its own
        with pytest.raises(TypeError):
            pools.take(pool)
    assert door(pools.take)(pool) == 0


@pytest.mark.skipif(MODE != "checked", reason="only where bounds are checked")
def test_an_index_out_of_bounds_raises_where_bounds_are_checked() -> None:
    @loop
    def read(cells: Any, index: int) -> int:
        return cells[index]

    assert read(np.zeros(3, np.int64), 2) == 0
    with pytest.raises(IndexError):
        read(np.zeros(3, np.int64), 3)


# ---- The loop that trades. ----


def run_the_loop() -> list[str]:
    """Start the real loop on no bytes at all; returns what had to be compiled for it."""
    compiled: list[str] = []
    cache.listeners.append(lambda name, seconds: compiled.append(name) if seconds is None else None)
    loaded = strategy.load(strategy.Idle)  # as in test_fuzz.py, so that it is compiled once
    engine = engines.create(
        1,
        books.create(1, 16, 4),
        own_max=8,
        output_records=8,
        state=strategy.states(loaded, 1),
        params=strategy.parameters(loaded, {}),
    )
    run = inline.create(engine, paper.create(1, 8, 128, 0), *(rings.create(RECORD, 8) for _ in range(4)))
    pump = inline.build(loaded.hooks, loaded.fingerprint)
    pump(run, itch.create(1, [], selective=False), np.zeros(8, np.uint8), 0, 0)
    assert run.cells[inline.STOPPED_FOR] == inline.NEED_BYTES
    cache.listeners.pop()
    return compiled


def python(code: str, *paths: Path, **variables: str) -> Any:
    """Run code in another process; the last line it prints, as JSON."""
    search = [str(path) for path in (*paths, HERE.parent, HERE)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(search)} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def machine_code(name: str) -> bytes:
    """Everything the cache holds under a name."""
    folder = cache.folder()
    assert folder is not None
    found = b"".join(path.read_bytes() for path in folder.glob(f"{name}.*.nbc"))
    assert found, f"nothing is cached as {name}"
    return found


@loop
def counts_references(cells: Any) -> int:
    return cells.sum()


@pytest.mark.jit_only
def test_the_loop_that_trades_has_no_call_to_the_runtime_and_is_compiled_once() -> None:
    run_the_loop()
    assert b"NRT_" not in machine_code("inline.build.locals.pump")  # with whatever strategies were run here
    again = python("import json, test_hot_canary as t; print(json.dumps(t.run_the_loop()))")
    assert again == []


@pytest.mark.jit_only
def test_the_search_for_the_runtime_would_find_it() -> None:
    compiled = njit(ordinary.py_func)
    compiled(3)
    assert "NRT_" in "".join(compiled.inspect_asm().values())
    counts_references(np.zeros(3, np.int64))
    assert b"NRT_" not in machine_code("test_hot_canary.counts_references")
    assert b"counts_references" in machine_code("test_hot_canary.counts_references")


# ---- Old machine code never runs for new text. ----

HELPER = """
from ultra.hot import hot

LEVEL = 3
TABLE = (1, 2)

@hot
def weight(value, factor=2):
    return value * factor + LEVEL + TABLE[1]
"""
STRATEGY = """
import helper
from helper import weight
from ultra.hot import hot
from ultra.strategy import Strategy, state

CLIP = 10

@hot
def twice(value):
    def inner(given):
        return given * CLIP
    return inner(value)

class Mine(Strategy):
    seen: int = state()

    @staticmethod
    def on_book(state, params, event, market, orders):
        state.seen = weight(market.bid) + twice(market.bid) + helper.LEVEL
"""
EDITS = [
    ("helper.py", "LEVEL = 3", "LEVEL = 4"), ("helper.py", "TABLE = (1, 2)", "TABLE = (1, 3)"),
    ("helper.py", "factor=2", "factor=3"), ("helper.py", "value * factor", "value + factor"),
    ("mine.py", "CLIP = 10", "CLIP = 11"), ("mine.py", "given * CLIP", "given - CLIP"),
    ("mine.py", "weight(market.bid)", "weight(market.ask)"), ("mine.py", "state.seen =", "state.seen +="),
    ("mine.py", "+ helper.LEVEL", "+ helper.TABLE[0]"), ("mine.py", "seen: int", "heard: int = state()\n    seen: int"),
    ("mine.py", "on_book", "on_trade"), ("mine.py", "(Strategy):\n", "(Strategy):\n    depth = 3\n"),
]  # fmt: skip


def fingerprint_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    loaded = strategy.load(f"{folder / 'mine.py'}:Mine")
    monkeypatch.delitem(sys.modules, "helper")
    return loaded.fingerprint


def written(folder: Path, name: str = "", old: str = "", new: str = "") -> Path:
    folder.mkdir()
    for file, text in (("helper.py", HELPER), ("mine.py", STRATEGY)):
        assert file != name or old in text
        (folder / file).write_text(text.replace(old, new) if file == name else text)
    return folder


@pytest.mark.parametrize(("name", "old", "new"), EDITS)
def test_an_edit_changes_the_key_wherever_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str
) -> None:
    before = fingerprint_of(written(tmp_path / "before"), monkeypatch)
    assert fingerprint_of(written(tmp_path / "after", name, old, new), monkeypatch) != before


def test_the_key_is_the_same_wherever_the_same_text_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {fingerprint_of(written(tmp_path / name), monkeypatch) for name in ("one", "two")}
    assert len(found) == 1


USER = """
import json
from helper import weight
from ultra import cache
from ultra.hot import door, entry

compiled = []
cache.listeners.append(lambda name, seconds: compiled.append(name) if seconds is None else None)

@entry(key=cache.fingerprint(weight))
def use(value):
    return weight(value)

print(json.dumps([use(10), door(weight)(10), len(compiled)]))
"""


@pytest.mark.jit_only
def test_a_process_after_an_edit_runs_the_new_text_and_others_what_is_cached(tmp_path: Path) -> None:
    source = written(tmp_path / "code")
    (source / "user.py").write_text(USER)

    def run() -> Any:
        return python("import user", source, ULTRA_CACHE_DIR=str(tmp_path / "cache"), PYTHONDONTWRITEBYTECODE="1")

    assert run() == [25, 25, 2]
    assert run() == [25, 25, 0]
    written(tmp_path / "edited", "helper.py", "LEVEL = 3", "LEVEL = 4")
    (source / "helper.py").write_text((tmp_path / "edited" / "helper.py").read_text())
    assert run() == [26, 26, 2]
    assert run() == [26, 26, 0]
