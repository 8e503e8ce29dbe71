"""All rings between two pinned processes, a short form of `python -m ultra.ops.litmus`; and what is broken is seen.

On x86 a missing release can't be seen at run time: `test_instructions.py` reads it from what LLVM is given.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loops import loop

from ultra.hot.atomics import load_acquire
from ultra.ops import litmus

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.jit_only,
    pytest.mark.slow,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two sides on one core never race"),
]


@pytest.fixture(autouse=True)
def children_find_us(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def test_nothing_forbidden_comes_of_any_ring() -> None:
    rows = litmus.run("ultra.ops.litmus:games", 200_000)
    text = litmus.table(rows)
    for row in rows:
        assert row.acceptable == row.rounds * (2 if "overlap" in row.name else 1), text
        assert not any(row.forbidden.values()), text
    assert sum(row.met for row in rows) > 0, "nobody ever waited: nothing was tried"


def test_every_planted_bug_is_seen() -> None:
    rows = litmus.run("broken:games", 300_000, still_s=1.0)
    unseen = [row for row in rows if not any(row.forbidden.values())]
    assert not unseen, litmus.table(rows)


SPINS = 1_000_000_000


@loop
def watch_plainly(cells: Any) -> bool:
    spins = 0
    while cells[0] == 0 and spins < SPINS:
        spins += 1
    return spins < SPINS


@loop
def watch(cells: Any) -> bool:
    spins = 0
    while load_acquire(cells, 0) == 0 and spins < SPINS:
        spins += 1
    return spins < SPINS


@pytest.mark.parametrize(("watcher", "sees"), [(watch, True), (watch_plainly, False)])
def test_a_loop_sees_the_flag_only_by_an_acquire(watcher: Any, sees: bool) -> None:
    """Without one the compiler reads once and believes it: a hang, were the loop not bounded."""
    cells = np.zeros(1, np.int64)
    watcher(np.ones(1, np.int64))

    def set_flag() -> None:
        time.sleep(0.1)
        cells[0] = 1

    thread = threading.Thread(target=set_flag)
    thread.start()
    assert watcher(cells) == sees
    thread.join()
