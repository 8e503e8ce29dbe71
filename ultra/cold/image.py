"""A snapshot: all that an engine is after so many inputs, as one file that proves itself.

    header   128 B: "ULTRASNP" | version, parts u32 | sequence, ts_event i64 | state hash, journal id 16 B each |
             place, file bytes i64 | bytes and CRC32C of the table u32 | zeros | at 124: CRC32C of all before it
    table    JSON: the run's own description, the versions that took it, and of each part its name, dtype, shape, how
             many rows it has in an engine, offset, bytes, CRC32C; padded with zeros to a multiple of 64 B
    parts    the arrays back to back, each padded with zeros to a multiple of 64 B

A part holds the rows that were ever used, of the arrays that have one row an instrument all up to those that repeat the
last. What is derived is not in it: `ultra.hot.reindex` makes the two tables of the book again. With market data by
reference it also holds the decoder, the place in the source, and the records that are decoded and not yet taken.
Every byte is under a checksum or must be zero, and what was restored must have the state hash of the header. A file has
its name only when it is whole and on disk. Known bad case: it fits the engine that wrote it, and no other layout of it;
then the journal is replayed from its start.
"""

import contextlib
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import llvmlite
import numba
import numpy as np

from .. import cache, inline
from ..hot import engine as engines
from ..hot import pool as pools
from ..hot import reindex
from ..hot import ring as rings
from ..hot import table as tables
from . import assembly, labels, segment
from .disk import Disk, Folder
from .native import crc32c

MAGIC: Final = b"ULTRASNP"
VERSION: Final = 1
# magic, version, parts, sequence, ts_event, state hash, journal id, place, file bytes, table bytes, table crc
HEADER: Final = struct.Struct("<8sIIqq16s16sqqII36x")
HEADER_BYTES: Final = 128
PREFIX: Final = "snapshot-"
SUFFIX: Final = ".uls"


class ImageError(Exception):
    """A snapshot can't be used here: names the file and what is wrong with it. An older one, or the journal, can."""


class Stored(NamedTuple):
    """One part: rows of an array, which in the engine has `total` rows."""

    dtype: str  # of an array's row, in NumPy's words; only compared
    rows: Any  # uint8[rows, bytes of a row]
    total: int


class Image(NamedTuple):
    """A snapshot in memory. One that `take` made shares the engine's memory, and holds until the engine goes on."""

    sequence: int  # inputs below this are in it
    ts_event: int  # of the last of them
    state_hash: str
    journal_id: bytes
    place: int  # offset in the decoded stream of the source, NONE when the journal has the market data
    about: dict[str, Any]  # "run": the journal's META; "versions": of what took it
    parts: dict[str, Stored]


def versions() -> dict[str, str]:
    """Of all that decides what an engine does: `code` is the hash over the hot sources, libraries and processor."""
    return {
        "python": sys.version.split()[0],
        "numba": str(numba.__version__),
        "llvmlite": str(llvmlite.__version__),
        "numpy": str(np.__version__),
        "code": cache.key(),
    }


def take(machine: assembly.Machine, place: int, identity: bytes, run: dict[str, object]) -> Image:
    """The engine as it stands between two inputs of a replay. Its state hash is computed: everything is read."""
    engine = machine.run.engine
    parts = {name: _stored(array, used) for name, (array, used) in _arrays(machine).items()}
    return Image(
        sequence=int(machine.run.cells[inline.NEXT]),
        ts_event=int(engine.cells[engines.NOW]),
        state_hash=assembly.state_hash(engine),
        journal_id=identity,
        place=place,
        about={"run": run, "versions": versions()},
        parts=parts | {"feed": _unread(machine.run.feed)},
    )


def restore(image: Image, machine: assembly.Machine, name: str) -> None:
    """Put an engine that has seen nothing where the snapshot was taken. After an ImageError it is of no use."""
    run = machine.run
    arrays = _arrays(machine)
    strange = set(arrays) ^ (set(image.parts) - {"feed"})
    for part, (array, _) in arrays.items():
        stored = image.parts.get(part)
        if stored is not None and not _fits(stored, array):
            strange.add(part)
    feed = image.parts.get("feed")
    if strange or feed is None or not _fits(feed, run.feed.slots):
        raise ImageError(
            f"{name} is of an engine with another layout ({', '.join(sorted(strange)) or 'feed'}), "
            f"taken by {image.about.get('versions')}"
        )
    for part, (array, used) in arrays.items():
        rows, raw = image.parts[part].rows, _raw(array)
        raw[: len(rows)] = rows
        if used < 0:
            raw[len(rows) :] = rows[-1]
    _raw(run.feed.slots)[: len(feed.rows)] = feed.rows
    run.feed.cells[rings.CURSOR] = len(feed.rows)
    run.cells[inline.NEXT] = image.sequence
    book = run.engine.book
    book.ids.cells[tables.USED] = book.ladder.directory.cells[tables.USED] = 0
    wrong = int(reindex.rebuild(book, np.zeros(len(book.orders), np.uint8)))
    found = assembly.state_hash(run.engine)
    if wrong or found != image.state_hash:
        raise ImageError(f"{name} does not give the state that it says it holds ({wrong} impossible rows)")


def _arrays(machine: assembly.Machine) -> dict[str, tuple[Any, int]]:
    """Every array of a snapshot, and how many of its rows were ever used; -1: one an instrument, so as many as differ
    from those behind them."""
    engine, decoder = machine.run.engine, machine.decoder
    book, ladder, risk, own = engine.book, engine.book.ladder, engine.risk, engine.orders
    leaves = len(ladder.levels) >> 6
    pages, inner = int(ladder.pages.cells[pools.FRESH]), int(ladder.inner.cells[pools.FRESH])
    found: dict[str, tuple[Any, int]] = {
        "orders": (book.orders, int(book.pool.cells[pools.FRESH])),
        "levels": (ladder.levels, 64 * pages),
        "leaves": (ladder.nodes[:leaves], pages),
        "inner": (ladder.nodes[leaves:], inner),
        "own": (own.rows, int(own.pool.cells[pools.FRESH])),
        "handles generation": (own.pool.generation, int(own.pool.cells[pools.FRESH])),
    }
    for name, pool in (("book", book.pool), ("pages", ladder.pages), ("handles", own.pool)):
        found[f"{name} free"] = (pool.free, int(pool.cells[pools.FREE]))
        found[f"{name} cells"] = (pool.cells, len(pool.cells))
    by_instrument = {
        "sides": ladder.sides, "market": engine.market, "limits": risk.limits, "last": risk.last, "state": engine.state,
        "locates": decoder.locates, "symbols": decoder.symbols,
    }  # fmt: skip
    if engine.cells[engines.BAR_NS]:
        by_instrument["bars"] = engine.bars
    whole = {
        "inner cells": ladder.inner.cells, "ids cells": book.ids.cells, "directory cells": ladder.directory.cells,
        "ladder": ladder.cells, "outcomes": book.outcomes, "own counters": own.counters, "recent": risk.recent,
        "reasons": risk.reasons, "gates": risk.gates, "outbox": engine.outbox, "params": engine.params,
        "cells": engine.cells, "by type": decoder.by_type, "decoder": decoder.cells,
    }  # fmt: skip
    found |= {name: (array, -1) for name, array in by_instrument.items()}
    return found | {name: (array, len(array)) for name, array in whole.items()}


def _raw(array: Any) -> Any:
    """An array as uint8[rows, bytes of a row], the same memory."""
    plain = array.view(np.ndarray)
    width = plain.dtype.itemsize
    for count in plain.shape[1:]:
        width *= count
    return plain.reshape(-1).view(np.uint8).reshape(len(plain), width)


def _words(array: Any) -> str:
    """What a row of an array is; only compared."""
    return f"{array.dtype.descr}{array.shape[1:]}"


def _stored(array: Any, used: int) -> Stored:
    raw = _raw(array)
    if used < 0:  # up to the first of those at the end that are all the same
        differ = np.flatnonzero((raw != raw[-1]).any(axis=1))
        used = int(differ[-1]) + 2 if len(differ) else 1
    return Stored(_words(array), raw[:used], len(array))


def _fits(stored: Stored, array: Any) -> bool:
    return stored.dtype == _words(array) and stored.total == len(array) and len(stored.rows) <= len(array)


def _unread(ring: rings.Ring) -> Stored:
    """What is decoded and not yet taken, in order."""
    at = np.arange(int(ring.cells[rings.GATE]), int(ring.cells[rings.CURSOR])) % len(ring.slots)
    return Stored(_words(ring.slots), _raw(ring.slots)[at], len(ring.slots))


# ---- the file


def path_of(folder: Path, sequence: int) -> Path:
    """File of a snapshot."""
    return folder / f"{PREFIX}{sequence:016d}{SUFFIX}"


def sequence_of(path: Path) -> int:
    """What a snapshot's name says, -1 when it is no such name."""
    digits = path.name.removeprefix(PREFIX).removesuffix(SUFFIX)
    good = len(digits) == 16 and digits.isascii() and digits.isdigit()
    return int(digits) if good and path_of(path.parent, int(digits)) == path else -1


def snapshots(folder: Path, until: int, disk: Disk | None = None) -> list[Path]:
    """Snapshots of a folder that hold no input from `until` on, newest first."""
    names = (Folder(folder) if disk is None else disk).names()
    return [folder / name for name in reversed(names) if 0 <= sequence_of(folder / name) <= until]


def packed(image: Image) -> list[Any]:
    """A snapshot's file as a list of buffers, one behind the other."""
    blobs, rows, at = [], [], 0
    for name, stored in image.parts.items():
        raw = np.ascontiguousarray(stored.rows).reshape(-1)
        shape = list(stored.rows.shape)
        rows.append([name, stored.dtype, shape, stored.total, at, len(raw), crc32c(raw)])
        blobs += [raw, bytes(segment.padded(len(raw)) - len(raw))]
        at += segment.padded(len(raw))
    table = json.dumps({**image.about, "parts": rows}).encode()
    room = segment.padded(len(table))
    head = HEADER.pack(
        MAGIC, VERSION, len(rows), image.sequence, image.ts_event, bytes.fromhex(image.state_hash), image.journal_id,
        image.place, HEADER_BYTES + room + at, len(table), crc32c(table),
    )  # fmt: skip
    return [head, struct.pack("<I", crc32c(head)), table, bytes(room - len(table)), *blobs]


def write(folder: Path, image: Image, disk: Disk | None = None) -> Path:
    """Write a snapshot into a folder. Under its name there is a whole one, or none, whatever happens on the way.

    ImageError when there is no room, or the disk fails."""
    path = path_of(folder, image.sequence)
    try:
        _write(Folder(folder) if disk is None else disk, path.name, packed(image))
    except OSError as error:
        raise ImageError(f"{path} can't be written ({error.strerror}); the older ones are as they were") from error
    return path


def _write(disk: Disk, name: str, blobs: list[Any]) -> None:
    hidden, at = f".{name}.{os.getpid()}", 0
    file = disk.create(hidden)
    try:
        try:
            for number, blob in enumerate(blobs):
                if number == len(blobs) // 2:
                    labels.at("image.write.mid")
                view = memoryview(blob)
                while len(view):
                    written = disk.pwrite(file, view, at)  # on a line of its own: in a slice, mypyc calls it twice
                    view, at = view[written:], at + written
            labels.at("image.sync.before")
            disk.fdatasync(file)
        finally:
            disk.close(file)
        labels.at("image.rename.before")
        disk.rename(hidden, name)
        labels.at("image.rename.after")
    except BaseException:
        with contextlib.suppress(OSError):
            disk.unlink(hidden)
        raise
    disk.sync_names()


def sweep(folder: Path, disk: Disk | None = None) -> None:
    """Remove what a writer left that was killed in the middle. Only while nobody else writes here."""
    place = Folder(folder) if disk is None else disk
    for name in place.names():
        if name.startswith(f".{PREFIX}") and f"{SUFFIX}." in name:
            place.unlink(name)


def read(path: Path, disk: Disk | None = None) -> Image:
    """Read a snapshot and check every byte of it. ImageError when one is wrong, or it is of another format."""
    data = (Folder(path.parent) if disk is None else disk).read(path.name)
    found = unpacked(data, path)
    if sequence_of(path) != found.sequence:
        raise ImageError(f"{path} holds the state after {found.sequence} inputs: it was renamed")
    return found


def unpacked(data: bytes, path: Path) -> Image:
    """The bytes of a snapshot's file, every one of them checked."""
    if len(data) < HEADER_BYTES or data[:8] != MAGIC:
        raise ImageError(f"{path} is no snapshot, or its beginning is damaged")
    if struct.unpack_from("<I", data, HEADER_BYTES - 4)[0] != crc32c(data[: HEADER_BYTES - 4]):
        raise ImageError(f"{path} is damaged in its header")
    _, version, count, sequence, ts, digest, identity, place, size, table_bytes, table_crc = HEADER.unpack_from(data)
    if version != VERSION:
        raise ImageError(f"{path} has format {version}; this version reads {VERSION}")
    if size != len(data):
        raise ImageError(f"{path} has {len(data)} bytes of {size}: it was cut, or something was put behind it")
    text = data[HEADER_BYTES : HEADER_BYTES + table_bytes]
    start = HEADER_BYTES + segment.padded(table_bytes)
    if crc32c(text) != table_crc or any(data[HEADER_BYTES + table_bytes : start]):
        raise ImageError(f"{path} is damaged in its table")
    about: dict[str, Any] = json.loads(text)
    parts: dict[str, Stored] = {}
    rows = about.pop("parts")
    if len(rows) != count:
        raise ImageError(f"{path} has {len(rows)} parts of {count}")
    for name, dtype, shape, total, at, length, crc in rows:
        raw = memoryview(data)[start + at : start + at + length]
        padding = data[start + at + length : start + segment.padded(at + length)]
        if len(raw) != length or crc32c(raw) != crc or any(padding):
            raise ImageError(f"{path} is damaged in its part {name!r}")
        parts[name] = Stored(dtype, np.frombuffer(raw, np.uint8).reshape(shape), total)
    return Image(sequence, ts, digest.hex(), identity, place, about, parts)
