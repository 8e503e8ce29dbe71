"""ITCH made up by a seed: whole messages of any type, and streams whose references, prices and instruments collide.

`stream` draws every field by its name from a small domain with a few extremes in it, so that most messages meet an
order, a level or an instrument of another one, and some meet a limit. The same seed gives the same bytes.
"""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from loops import loop

from ultra.venues import itch

SYMBOLS = np.array([int.from_bytes(f"SYM{k:05d}".encode(), "big") for k in range(64)], np.int64)


class Domain(NamedTuple):
    locates: int = 6
    refs: int = 96
    levels: int = 40
    shares: int = 4
    oddity: float = 0.01  # how often a field is an extreme, or anything at all


def rows_of(letter: str) -> tuple[tuple[str, int, int], ...]:
    """All fields of a type with offset and width, header first."""
    return itch.HEADER + itch.LAYOUT[letter][2]


def fields_of(body: bytes) -> dict[str, int]:
    """The plain reading of a message: every field of its type, unsigned."""
    rows = rows_of(chr(body[0]))
    return {name: int.from_bytes(body[offset : offset + width], "big") for name, offset, width in rows}


def bodies(raw: Any) -> list[bytes]:
    """The whole messages of a framed stream; what is left over is an incomplete one."""
    text, at, found = raw.tobytes(), 0, []
    while at + 2 <= len(text):
        end = at + 2 + int.from_bytes(text[at : at + 2], "big")
        if end > len(text):
            break
        found.append(text[at + 2 : end])
        at = end
    return found


def counted(messages: list[bytes]) -> tuple[dict[str, int], int, int]:
    """What a decoder must have counted: by type, of unknown type, of a length that is not that of the type."""
    shapes = Counter((message[:1], len(message)) for message in messages)
    by_type, unknown, bad = {}, 0, 0
    for (first, length), count in shapes.items():
        letter = first.decode("latin-1")
        if letter in itch.LAYOUT and itch.LAYOUT[letter][1] == length:
            by_type[letter] = count
        elif letter == "" or letter in itch.LAYOUT:
            bad += count
        else:
            unknown += count
    return by_type, unknown, bad


@loop
def write(buffer: Any, values: Any) -> int:
    """Pack one message a row, each behind its length; returns where they end."""
    at = 0
    for row in range(len(values)):
        length = itch.pack(buffer, at + 2, values[row])
        buffer[at], buffer[at + 1] = length >> 8, length & 255
        at += 2 + length
    return at


def packed(values: Any) -> Any:
    """Rows of field values as framed bytes."""
    buffer = np.zeros(52 * len(values), np.uint8)
    return buffer[: write(buffer, values)].copy()


def framed(*messages: bytes) -> Any:
    """Messages, whatever they are, as framed bytes."""
    return np.frombuffer(b"".join(len(m).to_bytes(2, "big") + m for m in messages), np.uint8).copy()


def stream(seed: int, count: int, domain: Domain = Domain()) -> Any:  # noqa: B008 (it is a constant)
    """A framed stream of so many messages; nine in ten are about orders."""
    random = np.random.default_rng(seed)
    letters = [ord(c) for c in "AAAAAAFFEEECXXDDDUUUPQHR"] + [ord(c) for c in itch.LAYOUT if random.random() < 0.2]
    values = np.zeros((count, itch.FIELD_MAX), np.int64)
    kinds = random.choice(letters, count)
    locates = random.integers(0, domain.locates, count)
    for letter in sorted({chr(kind) for kind in letters}):
        rows = np.flatnonzero(kinds == ord(letter))
        for column, (name, _, width) in enumerate(rows_of(letter)):
            values[rows, column] = _draw(random, name, width, len(rows), locates[rows], domain)
        values[rows, 0] = ord(letter)
        values[rows, 3] = np.maximum(1, 1000 * rows + random.integers(-500, 1500, len(rows)))
    return packed(values)


def _draw(random: Any, name: str, width: int, count: int, locates: Any, domain: Domain) -> Any:
    anything = random.integers(-(1 << 63), (1 << 63) - 1, count)
    if width < 8:
        anything &= (1 << (8 * width)) - 1
    if name == "locate":
        usual = locates
    elif name == "stock":
        usual = SYMBOLS[locates]
    elif name in ("ref", "new_ref"):
        usual = random.integers(1, domain.refs, count)
    elif name in ("shares", "match"):
        usual = random.integers(1, domain.shares + 1, count)
    elif name == "price":
        usual = 100 * (2000 + random.integers(0, domain.levels, count))
    elif name in ("side", "printable", "state"):
        usual = random.choice([ord(c) for c in {"side": "BS", "printable": "YN", "state": "HPQT"}[name]], count)
    else:
        return anything
    extremes = np.array([0, 1, 150, -1 if width == 8 else (1 << (8 * width)) - 1, 1 << (8 * width - 1) - 1])
    odd = random.choice(extremes, count) & (-1 if width == 8 else (1 << (8 * width)) - 1)
    dice = random.random(count)
    return np.where(dice < domain.oddity / 2, odd, np.where(dice < domain.oddity, anything, usual))


def mutated(seed: int, raw: Any, rate: float, *, frames: bool) -> Any:
    """The same bytes with some of them set to anything; with `frames` the lengths too, so that the rest is shifted."""
    random = np.random.default_rng(seed)
    changed = raw.copy()
    chosen = random.random(len(raw)) < rate
    if not frames:
        ends = np.cumsum([2 + len(body) for body in bodies(raw)])
        starts = np.concatenate(([0], ends[:-1]))
        chosen[starts] = chosen[starts + 1] = False
    where = np.flatnonzero(chosen)
    changed[where] = random.integers(0, 256, len(where))
    return changed


def strange(seed: int, count: int) -> Any:
    """Frames of any length up to 60 around any bytes; half of them begin like a known message."""
    random = np.random.default_rng(seed)
    known = [ord(c) for c in itch.LAYOUT]
    sizes = np.where(
        random.random(count) < 0.5, random.integers(0, 61, count), random.choice(itch.LENGTHS[known], count)
    )
    starts = np.concatenate(([0], np.cumsum(sizes + 2)))
    raw = random.integers(0, 256, starts[-1]).astype(np.uint8)
    raw[starts[:-1]], raw[starts[:-1] + 1] = 0, sizes
    named = np.flatnonzero((random.random(count) < 0.5) & (sizes > 0))
    raw[starts[named] + 2] = random.choice(known, len(named))
    return raw
