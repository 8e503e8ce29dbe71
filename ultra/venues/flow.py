"""A synthetic day of Nasdaq ITCH 5.0: any number of stocks and messages, framed as in a day file, in constant memory.

It is simulated, not recorded: the names are nobody's tickers and the stock directory marks every stock as a test.
The bytes depend on (instruments, messages, seed) alone: the same on every machine, compiled or not.
`flow_setup` makes the morning, `flow_clock` says when, `flow_market` what, `flow_message` does it and writes it,
`flow_day` is the loop over all that; `flow_state` is what they share.

Known bad case: no halts, no imbalance messages, no correlation between stocks; orders stay when the day ends.
"""

import gzip as gzips
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from .flow_day import fill
from .flow_setup import create, symbol
from .flow_state import MADE, Flow

__all__ = ["Flow", "FlowSummary", "blocks", "create", "symbol", "write"]
GZIP_LEVEL: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSummary:
    """What was written."""

    messages: int
    size: int  # bytes of the stream, before any compression
    by_type: dict[str, int]
    live_orders: int  # at the end
    sha256: str  # of the stream, before any compression
    seconds: float  # it took


def blocks(flow: Flow) -> Iterator[Any]:
    """The bytes of the day, piece by piece, each of whole messages; a piece is valid until the next is asked for.

    While one is used the next is made, by another thread into another buffer."""
    ready, making = flow, flow._replace(buffer=np.zeros_like(flow.buffer))
    with ThreadPoolExecutor(1) as maker:
        size = maker.submit(fill, ready).result()
        while size:
            following = maker.submit(fill, making)
            yield ready.buffer[:size]
            size = following.result()
            ready, making = making, ready


def write(
    path: Path,
    *,
    instruments: int,
    messages: int,
    seed: int,
    gzip: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FlowSummary:
    """Write a day of exactly `messages` messages to a file, compressed if `gzip` or its name ends in .gz.

    The file appears under its name when it is whole. `progress` gets (messages made, messages)."""
    started = time.perf_counter()
    flow = create(instruments, messages, seed)
    digest, size = hashlib.sha256(), 0
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with ExitStack() as stack:
            file: Any = stack.enter_context(part.open("wb"))
            if path.suffix == ".gz" if gzip is None else gzip:
                # No name and no time in it: the same day is the same file.
                packed = gzips.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=GZIP_LEVEL, mtime=0)
                file = stack.enter_context(packed)
            for block in blocks(flow):
                file.write(block)
                digest.update(block)
                size += len(block)
                if progress is not None:
                    progress(int(flow.cells[MADE]), messages)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return FlowSummary(
        messages=int(flow.cells[MADE]),
        size=size,
        by_type={chr(kind): int(count) for kind, count in enumerate(flow.by_type) if count},
        live_orders=int(flow.stocks.count.sum()),
        sha256=digest.hexdigest(),
        seconds=time.perf_counter() - started,
    )
