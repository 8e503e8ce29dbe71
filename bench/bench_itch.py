"""Decode alone, and decode with full FIFO books: ns a message, one core, the whole stream per round.

    pytest bench/bench_itch.py --benchmark-only

Each round replays the stream into fresh books whose memory has been touched before, so that page faults of the first
write are not in the figure. `ns_per_message` stands in the extra info.
"""

import pytest

from ultra import inline
from ultra.hot import book as books
from ultra.hot import memory
from ultra.hot import ring as rings
from ultra.venues import itch
from ultra.wire import RECORD

ROUNDS = 9
STREAMS = {"1": (1, 2_000_000), "500": (500, 4_000_000), "8000": (8000, 10_000_000)}


def decoder():
    return itch.create(16_384, [], selective=False)


def report(benchmark, messages):
    for name in ("min", "median", "max"):
        benchmark.extra_info[f"{name}_ns_per_message"] = round(getattr(benchmark.stats.stats, name) / messages * 1e9, 1)


def measure(benchmark, setup, act):
    """Run, and say what a message cost."""
    messages = benchmark.pedantic(act, setup=setup, rounds=ROUNDS, warmup_rounds=1)
    report(benchmark, messages)


def decode_all(state, feed, stream):
    """Decode a stream ring by ring, giving the records back unread."""
    at = 0
    while True:
        reached = itch.decode(state, stream, at, len(stream), feed)
        feed.cells[rings.GATE] = feed.cells[rings.CURSOR]
        if reached == at:
            return itch.messages(state)
        at = reached


def test_decode_aapl(benchmark, aapl):
    measure(benchmark, lambda: ((decoder(), rings.create(RECORD, 4096), aapl), {}), decode_all)


@pytest.mark.parametrize("name", ["1", "8000"])
def test_decode_generated(benchmark, generated, name):
    stream = generated(*STREAMS[name])
    measure(benchmark, lambda: ((decoder(), rings.create(RECORD, 4096), stream), {}), decode_all)


def build(book, state, feed, stream):
    inline.books_only(book, state, feed, stream, 0, len(stream))
    return itch.messages(state)


def fresh(stream, orders, pages):
    """Books, decoder and ring, every page of the books written once."""
    book = books.create(16_384, orders, pages, order_start=512)
    for array in (book.orders, book.ids.rows, book.ladder.levels, book.ladder.nodes, book.ladder.directory.rows):
        memory.touch(array, len(array))
    return (book, decoder(), rings.create(RECORD, 4096), stream), {}


def test_book_aapl(benchmark, aapl):
    measure(benchmark, lambda: fresh(aapl, 1 << 14, 1 << 12), build)


@pytest.mark.parametrize("name", list(STREAMS))
def test_book_generated(benchmark, generated, name):
    stream = generated(*STREAMS[name])
    orders, pages = (1 << 14, 1 << 12) if name == "1" else (1 << 20, 1 << 18)
    measure(benchmark, lambda: fresh(stream, orders, pages), build)
