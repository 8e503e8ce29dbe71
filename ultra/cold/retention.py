"""Segments that nobody needs any more, and how they go without leaving a hole.

A segment may go when a good snapshot has all of its inputs, and the stream has them too where the journal is shipped
(after an alarm nothing goes: a stream that lost its end gets it from here), and enough of the journal is behind it
(`journal.retention_bytes`) and it is old enough (`journal.retention_ms`). First one small file that stands for all that
go is written and made durable: the description of the run, how far they reached, how many frames they had, and the
chain of their headers. Then they go, the oldest first. Whatever a power cut leaves of that, those before the file's own
segment count for nothing, and the rest is a journal.
Invariant: what is left begins at or before the oldest snapshot that is kept, so there is always a way to rebuild.
Known bad case: who needs the beginning (a projector started anew, an engine of several processes that comes back) can't
go on without it; so of a hosted run nothing goes before it has ended.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from ..config import Config
from . import image as images
from . import labels, segment, waybill
from .disk import Disk, Folder
from .native import crc32c
from .segment import META, RETIRED, JournalError

NOTHING: Final = 0
ALL: Final = 1 << 62
NEVER_SHIPPED: Final = waybill.Waybill(bytes(16), "", 0, 0, 0)  # a shipper began, and nothing is certain


class Extent(NamedTuple):
    """A segment that has frames: its file, how far it reaches, and the number of its last frame."""

    name: str
    through: int
    last: int


def survey(folder: Path, disk: Disk) -> list[Extent]:
    """Every segment that has frames, in order. JournalError on damage."""
    reader, found = segment.Reader(folder, disk), {}
    for frame in reader.read():
        found[frame.segment] = Extent(frame.segment, reader.through, reader.frames - 1)
    return [found[name] for name in found if name != RETIRED]


def retire(folder: Path, disk: Disk, below: int, most: int | None = None) -> int:
    """Let segments go whose inputs are all below this, the last one never, and at most so many; how many went."""
    extents = survey(folder, disk)
    gone = [extent for extent in extents[:-1] if extent.through <= below][:most]
    if gone:
        _mark(folder, disk, extents[len(gone)].name, gone[-1])
    left = _left(disk)
    for name in left:
        disk.unlink(name)
        labels.at("retention.unlink.mid")
    if left:
        disk.sync_names()
    return len(gone)


def _left(disk: Disk) -> list[str]:
    """Files that the mark stands for: of those that go now, and what somebody left who was killed over it."""
    gone = segment.retired(disk)
    if gone is None:
        return []
    names = [name for name in disk.names() if name.startswith("segment-") and name.endswith((".ulj", segment.PACKED))]
    return [name for name in names if int(name[8:14]) < gone.head.number]


def _mark(folder: Path, disk: Disk, after: str, end: Extent) -> None:
    """Write what stands for all segments up to this one, in place of what stood for those before."""
    meta: segment.Frame | None = None
    chain = journal_id = None
    reader = segment.Reader(folder, disk)
    for frame in reader.read():
        meta = frame if frame.kind == META and meta is None else meta
        if reader.frames - 1 == end.last and frame.segment != RETIRED:
            chain, journal_id = reader.chain, reader.journal_id
            break
    if meta is None or chain is None or journal_id is None:
        raise JournalError(f"{folder} does not say what run it is of (no META frame)")
    header = segment.segment_header(int(after[8:14]), end.through, journal_id, reader.code, chain)
    size, crc = len(meta.payload), crc32c(meta.payload)
    body = segment.frame_header(META, end.through, 0, end.through, end.through, end.last, size, crc) + meta.payload
    labels.at("retention.mark.before")
    write_whole(disk, RETIRED, header + body.ljust(segment.HEADER_BYTES + segment.padded(size), b"\0"))
    labels.at("retention.mark.after")


def write_whole(disk: Disk, name: str, data: bytes) -> None:
    """A file that is whole under its name and on disk, or not there (or the one before, if there was one)."""
    part = f"{name}.part"
    if part in disk.names():
        disk.unlink(part)  # of a writer that died
    file, at = disk.create(part), 0
    try:
        view = memoryview(data)
        while len(view):
            written = disk.pwrite(file, view, at)  # on a line of its own: in a slice, mypyc calls it twice
            view, at = view[written:], at + written
        disk.fdatasync(file)
    finally:
        disk.close(file)
    disk.rename(part, name)
    disk.sync_names()


def allowed(config: Config, complete: bool) -> bool:
    """Whether anything may go by itself now."""
    wished = config.journal
    return wished.retention_bytes > 0 and (config.host.preset == "inline" or complete)


def keep(folder: Path, config: Config, complete: bool) -> int:
    """Let go what the configuration wants no longer and nobody needs; how many segments went."""
    if not allowed(config, complete):
        return NOTHING
    many = outlived(folder, config)
    if not many:
        return NOTHING
    return retire(folder, Folder(folder), covered(folder, config), many)


def outlived(folder: Path, config: Config) -> int:
    """How many segments, from the oldest on, are further back and older than is to be kept."""
    disk, now = Folder(folder), time.time()
    try:
        states = [os.stat(folder / name) for _, name in segment.segment_names(folder, disk)]
    except FileNotFoundError:
        return 0  # packed in between: there will be another time
    behind, count = sum(state.st_size for state in states), 0
    for state in states[:-1]:
        behind -= state.st_size
        if behind < config.journal.retention_bytes or 1000 * (now - state.st_mtime) < config.journal.retention_ms:
            break
        count += 1
    return count


def covered(folder: Path, config: Config) -> int:
    """Inputs below this are in every good snapshot that is kept, and in the stream where the journal is shipped."""
    identity, oldest = segment.journal_id(folder), NOTHING
    for path in images.snapshots(folder, 1 << 62):
        try:
            image = images.read(path)
        except images.ImageError:
            continue
        oldest = image.sequence if image.journal_id == identity else oldest
    reach = streamed(folder, identity)
    if reach == ALL and config.journal.retention_replicated:
        return NOTHING
    return min(oldest, reach)


def streamed(folder: Path, identity: bytes) -> int:
    """Inputs below this are in the stream, and it needs them from here no more; ALL when nothing ships the journal."""
    bills = shipped(folder)
    if not bills:
        return ALL
    if len(bills) < 2 or any(bill.journal_id != identity or bill.state != waybill.GOOD for bill in bills):
        return NOTHING
    return min(bill.through for bill in bills)


def shipped(folder: Path) -> list[waybill.Waybill]:
    """What the journal's shipper wrote down last, and before that.

    Whoever ships next compares the stream's last stretch with the journal, and that begins where the one before it
    ended, or later: so nothing goes behind the older of the two."""
    try:
        data = (folder / waybill.NAME).read_bytes()
    except FileNotFoundError:
        return []
    found = [waybill.best(data[at : at + waybill.BLOCK_BYTES]) for at in (0, waybill.BLOCK_BYTES)]
    bills = [bill for bill in found if bill is not None]
    return bills if len({bill.through for bill in bills}) > 1 else bills[:1] or [NEVER_SHIPPED]
