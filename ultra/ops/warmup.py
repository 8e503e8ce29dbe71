"""`ultra warmup`: fill the compile cache, with a bar: the next start then loads machine code instead of making it."""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .. import cache, inline, strategy
from ..cold import assembly
from ..config import load
from ..hot import book as books
from ..hot import clock, door, hiccup
from ..hot import ring as rings
from ..venues import flow, itch
from ..wire import RECORD

EXAMPLES = ("ultra.strategies.imbalance:Imbalance", "ultra.strategies.maker:MarketMaker")
BAR = 24


def run(specs: Sequence[str]) -> int:
    """Compile the books, the generator and the engine with each strategy; 0, or 4 when nothing can be kept."""
    if cache.folder() is None:
        return 4
    steps: list[tuple[str, Callable[[], object]]] = [
        ("clock", lambda: (clock.calibrate(1), hiccup.measure(1))),
        ("books", _books),
        ("generator", _generator),
    ]
    steps += [(spec, lambda spec=spec: _engine(spec)) for spec in dict.fromkeys([*EXAMPLES, *specs])]  # type: ignore[misc]
    begun = time.perf_counter()
    for done, (name, step) in enumerate(steps):
        _show(done, len(steps), name, time.perf_counter() - begun)
        step()
    _show(len(steps), len(steps), f"kept in {cache.folder()}", time.perf_counter() - begun)
    return 0


def _show(done: int, total: int, name: str, seconds: float) -> None:
    filled = BAR * done // total
    bar = "#" * filled + "." * (BAR - filled)
    print(f"[{bar}] {done}/{total} {seconds:5.1f} s  {name}", file=sys.stderr, flush=True)


def _books() -> None:
    book, feed = books.create(16, 1 << 10, 16), rings.create(RECORD, 64)
    decoder = itch.create(16, [], selective=False)
    inline.books_only(book, decoder, feed, np.zeros(8, np.uint8), 0, 0)
    door(books.top)(book, 0, 0, np.zeros(1, np.int64), np.zeros(1, np.int64))


def _generator() -> None:
    with tempfile.TemporaryDirectory() as folder:
        flow.write(Path(folder, "flow.itch50"), instruments=1, messages=200, seed=1)


def _engine(spec: str) -> None:
    small = {"engine.instrument_max": 16, "engine.order_live_max": 1024, "engine.level_page_max": 16}
    machine = assembly.assemble(load(None, small), strategy.load(spec), rings.create(RECORD, 64))
    machine.pump(machine.run, machine.decoder, np.zeros(8, np.uint8), 0, 0)
