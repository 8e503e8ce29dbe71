"""`ultra warmup`: fill the compile cache, with a bar: the next start then loads machine code instead of making it."""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from .. import apart, cache, inline, strategy
from ..cold import assembly
from ..config import load
from ..hot import book as books
from ..hot import clock, door, hiccup, memory, reindex
from ..hot import fan as fans
from ..hot import ring as rings
from ..venues import flow, itch, paper
from ..wire import CONTROL_CELLS, RECORD, REQUEST

EXAMPLES = ("ultra.strategies.imbalance:Imbalance", "ultra.strategies.maker:MarketMaker")
BAR = 24
SMALL = {"engine.instrument_max": 16, "engine.order_live_max": 1024, "engine.level_page_max": 16}


def run(specs: Sequence[str]) -> int:
    """Compile the books, the generator and the engine with each strategy; 0, or 4 when nothing can be kept."""
    if cache.folder() is None:
        return 4
    steps: list[tuple[str, Callable[[], object]]] = [
        ("clock", lambda: (clock.calibrate(1), hiccup.measure(1))),
        ("books", _books),
        ("generator", _generator),
        ("feed and venue", _stages),
    ]
    for spec in dict.fromkeys([*EXAMPLES, *specs]):
        steps.append((spec, partial(_engine, spec)))
        steps.append((f"{spec}, apart", partial(_apart, spec)))
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
    itch.decode(decoder, np.zeros(8, np.uint8), 0, 0, feed)
    reindex.rebuild(book, np.zeros(len(book.orders), np.uint8))
    door(books.top)(book, 0, 0, np.zeros(1, np.int64), np.zeros(1, np.int64))


def _generator() -> None:
    with tempfile.TemporaryDirectory() as folder:
        flow.write(Path(folder, "flow.itch50"), instruments=1, messages=200, seed=1)


def _engine(spec: str) -> None:
    machine = assembly.assemble(load(None, SMALL), strategy.load(spec), [rings.create(RECORD, 64)])
    assembly.compile_loop(machine)


def _apart(spec: str) -> None:
    """The same with feed and venue in processes of their own."""
    fan, link = fans.create(RECORD, 64, [(), ()]), np.zeros(CONTROL_CELLS, np.int64)
    ends = assembly.Apart(fan, link, rings.create(REQUEST, 64), rings.create(RECORD, 128))
    assembly.compile_loop(assembly.assemble(load(None, SMALL), strategy.load(spec), [rings.create(RECORD, 64)], ends))


def _stages() -> None:
    """Feed and venue, which know no strategy."""
    fan, link, own = fans.create(RECORD, 64, [(), ()]), np.zeros(CONTROL_CELLS, np.int64), rings.create(RECORD, 64)
    decoder, cells = itch.create(16, [], selective=False), np.zeros(apart.FEED_CELLS, np.int64)
    apart.send(decoder, np.zeros(8, np.uint8), 0, 0, own, fan, cells, 0)
    book, venue = books.create(16, 1 << 10, 16), paper.create(16, 16, 128, 0)
    apart.serve(apart.Exchange(book, venue, fan, link, rings.create(REQUEST, 64), memory.zeros(1, RECORD)), 0, 0)
