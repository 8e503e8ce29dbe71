"""`ultra book`: the books of a recorded file as they stand at its end, and everything that was wrong with it."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import inline
from ..cold import assembly, source
from ..config import Config
from ..hot import book as books
from ..hot import door
from ..hot import ring as rings
from ..venues import itch
from ..wire import ASK, BID, RECORD, decimal, int_to_symbol, symbol_to_int


@dataclass
class Books:
    """What a file came to."""

    messages: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    instruments: dict[str, dict[str, list[list[Any]]]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    ns_per_message: float = 0.0
    damage: str = ""

    def as_json(self) -> dict[str, Any]:
        """The JSON of `ultra book`; prices are decimal strings."""
        return {
            "messages": self.messages,
            "by_type": self.by_type,
            "instruments": self.instruments,
            "errors": self.errors,
            "ns_per_message": round(self.ns_per_message, 1),
        }

    def as_text(self) -> str:
        """Books side by side, best level first."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.by_type.items())
        lines = [f"{self.messages:,} messages ({kinds}), {self.ns_per_message:.1f} ns each"]
        for symbol, sides in self.instruments.items():
            lines += ["", f"{symbol:<10}{'bid':>12}{'ask':>12}"]
            depth = max(len(sides["bids"]), len(sides["asks"]))
            for k in range(depth):
                bid = sides["bids"][k] if k < len(sides["bids"]) else ["", ""]
                ask = sides["asks"][k] if k < len(sides["asks"]) else ["", ""]
                lines.append(f"{bid[1]:>10}{bid[0]:>12}{ask[0]:>12}{ask[1]:>10}")
        if self.errors:
            lines += ["", "errors: " + ", ".join(f"{name} {count}" for name, count in self.errors.items())]
        return "\n".join(lines)


def build(config: Config, path: Path, depth: int) -> Books:
    """Stream a file through decoder and books. A damaged file gives what came before the damage."""
    sizes = config.engine
    book = books.create(sizes.instrument_max, sizes.order_live_max, sizes.level_page_max)
    assembly.prefault_books(book)
    chosen = [symbol_to_int(symbol) for symbol in config.feed.instruments]
    decoder = itch.create(sizes.instrument_max, chosen, selective=bool(chosen))
    feed = rings.create(RECORD, sizes.feed_ring_records)
    found = Books()
    inline.books_only(book, decoder, feed, np.zeros(8, np.uint8), 0, 0)  # compile, or load what was compiled
    spent, offset, held = 0.0, 0, b""
    try:
        for block in source.ahead(path, config.feed.chunk_bytes):
            # A copy with room behind it: writable, like the buffer of a run, so that the same machine code serves.
            buffer = np.concatenate([np.frombuffer(held + block.data, np.uint8), np.zeros(8, np.uint8)])
            begun = time.perf_counter()
            reached = inline.books_only(book, decoder, feed, buffer, 0, len(buffer) - 8)
            spent += time.perf_counter() - begun
            offset += reached
            held = buffer[reached:-8].tobytes()
    except source.SourceError as error:
        found.damage = str(error)
    if held:
        found.errors["truncated_at"] = offset
        found.damage = (
            found.damage or f"{path}: cut inside a message at offset {offset}; everything before it was processed"
        )
    found.messages = int(decoder.cells[itch.MESSAGES])
    found.by_type = itch.counts(decoder)
    found.errors.update(itch.errors(decoder))
    for name, count in zip(books.OUTCOMES, book.outcomes.tolist(), strict=False):
        if count and name != "ok":
            found.errors[name] = count
    found.ns_per_message = spent / found.messages * 1e9 if found.messages else 0.0
    found.instruments = _levels(book, decoder, depth)
    return found


def _levels(book: books.Book, decoder: itch.Decoder, depth: int) -> dict[str, dict[str, list[list[Any]]]]:
    top = door(books.top)
    prices, qtys = np.zeros(depth, np.int64), np.zeros(depth, np.int64)
    found = {}
    for index in range(int(decoder.cells[itch.KNOWN])):
        sides = {}
        for name, side in (("bids", BID), ("asks", ASK)):
            count = top(book, index, side, prices, qtys)
            sides[name] = [[decimal(prices[k], itch.TICK_E9), int(qtys[k])] for k in range(count)]
        found[int_to_symbol(decoder.symbols[index])] = sides
    return found
