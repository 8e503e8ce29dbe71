"""Recorded streams as lines: when each came, and what it said.

    <ns> <json>           a capture: our clock in nanoseconds, one message
    <s>: <json>           a dialogue: seconds; lines that begin with an address are ours, and are passed by
    <url> -> <s>: <json>  an answer to a question of ours, in a file of its own

Files that continue each other come one after the other; answers are put in by their time. A row is the file's number
and the line's in one int64, so that it fits a record. Known bad case: a file that is cut inside its last line, or its
gzip, gives what it holds; `Lines.cut` then says where.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ...cold import source
from . import DataError

LINE_BITS: Final = 40


class Line(NamedTuple):
    """One message."""

    row: int  # file << LINE_BITS | line, from 1
    ts_recv: int  # ns
    said: Any  # the JSON, parsed
    asked: str = ""  # of an answer: the address


class Lines:
    """Some files, read from the beginning as often as wanted."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.cut = ""  # where a file ended too soon, when one did

    def where(self, row: int) -> str:
        """A row as a user finds it."""
        number = row >> LINE_BITS
        return f"{self.paths[number]} line {row & ((1 << LINE_BITS) - 1)}"

    def __iter__(self) -> Iterator[Line]:
        answers: list[Line] = []
        streams = []
        for number, path in enumerate(self.paths):
            if _is_answers(path):
                answers += self._lines(number, path)
            else:
                streams.append((number, path))
        answers.sort(key=lambda line: -line.ts_recv)
        for number, path in streams:
            for line in self._lines(number, path):
                while answers and answers[-1].ts_recv <= line.ts_recv:
                    yield answers.pop()
                yield line
        yield from reversed(answers)

    def _lines(self, file: int, path: Path) -> Iterator[Line]:
        base, number = file << LINE_BITS, 0
        try:
            with open_binary(path) as stream:
                for number, raw in enumerate(stream, 1):
                    try:
                        found = parsed(base + number, raw)
                    except ValueError as error:
                        if raw.endswith(b"\n"):
                            raise DataError(f"{path} line {number}: {error}") from error
                        self.cut = f"{path} line {number}: the file ends inside it"
                        return
                    if found is not None:
                        yield found
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.cut = f"{path} line {number + 1}: the gzip data end or break here: {error}"

    def blocks(self, path: Path, size: int) -> Iterator[tuple[Any, bool]]:
        """A file as bytes of whole lines that can be written, and whether the last of them ends as a line should. Of
        one whose gzip breaks what came before; `cut` then says so."""
        held = b""
        try:
            for block in source.ahead(path, size, hashed=False):
                held += block.data
                stop = held.rfind(b"\n") + 1
                if stop:
                    yield np.frombuffer(bytearray(held[:stop]), np.uint8), True
                    held = held[stop:]
        except source.SourceError as error:
            self.cut = str(error)
            return
        if held:
            yield np.frombuffer(bytearray(held + b"\n"), np.uint8), False


def open_binary(path: Path) -> Any:
    """A file, unpacked if it is gzip."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def _is_answers(path: Path) -> bool:
    try:
        with open_binary(path) as file:
            return bool(file.readline(4096).startswith(b"http"))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False


def parsed(row: int, raw: bytes) -> Line | None:
    """A line; None of one that says nothing. ValueError when it is none of the forms."""
    if raw[:1].isdigit():
        stamp, _, rest = raw.partition(b" ")
        if stamp.endswith(b":"):
            return Line(row, from_seconds(stamp[:-1]), json.loads(rest))
        return Line(row, int(stamp), json.loads(rest))
    if raw.startswith(b"http"):
        address, arrow, rest = raw.partition(b" -> ")
        stamp, colon, body = rest.partition(b": ")
        if not arrow or not colon:
            raise ValueError("an answer is `url -> seconds: json`")
        return Line(row, from_seconds(stamp), json.loads(body), address.decode())
    if not raw.strip() or raw.startswith(b"wss:") or raw.startswith(b"ws:"):
        return None
    raise ValueError(f"{raw[:40]!r} is neither `ns json` nor `seconds: json`")


def from_seconds(text: bytes) -> int:
    """Decimal seconds as nanoseconds, digit by digit."""
    whole, _, rest = text.partition(b".")
    return int(whole) * 1_000_000_000 + int(rest[:9].ljust(9, b"0"))
