"""Shared segments: memory of one owner under a name, which others can find, check and map.

A file `ultra.SESSION.RING` in /dev/shm (or a nameless one, handed on as a descriptor): a header page that says what
lies behind it and whose it is, then the cells and slots of a structure of `ultra.hot`. It is made without a name and
linked to it when whole, so whoever finds a name finds a whole segment. The owner is a process id with its start time,
so a new process with an old number is not taken for it; the next owner of a dead one's name raises the epoch.

Invariant: a name whose owner lives is never taken, removed or overwritten. A segment is mapped only when version, size,
checksum and layout are what the code that maps it was written for, and it is the same user's, writable for no other.
Known bad cases: in another pid namespace that shares /dev/shm every owner looks dead. The owner's user may cut the file
short, and whoever has it mapped then dies of SIGBUS.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import re
import stat
import struct
import time
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ..wire import RING_CELLS, RING_CURSOR, RING_GATE
from . import pages
from .pages import Backing

MAGIC: Final = b"ULTRASHM"
VERSION: Final = 1
HEADER_BYTES: Final = 4096
# magic, version, header bytes, total bytes, capacity, batch_max, owner's pid, its start, epoch, created, layout, kind,
# name, length of the description, which follows; the CRC of all of it ends the page.
HEADER: Final = struct.Struct("<8sII7q16s16s136sI")
DESCRIPTION_MAX: Final = HEADER_BYTES - HEADER.size - 4
FOLDER: Final = "/dev/shm"
PREFIX: Final = "ultra."
NEVER: Final = 1 << 62
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,64}")


class SharedError(Exception):
    """A segment can't be made or mapped: names it, what was found, what was expected, and what to do."""


class NoRoomError(SharedError):
    """There is no room for it under a name; nameless memory may still do."""


class Kind(NamedTuple):
    """Where a structure keeps its sequences, as indices of its int64 cells, which lie before its slots."""

    cells: int
    cursor: int  # published below this
    gates: tuple[int, ...]  # given back below this, by each consumer; below 0 there is none


KINDS: Final[dict[str, Kind]] = {"ring": Kind(RING_CELLS, RING_CURSOR, (RING_GATE,))}


class Header(NamedTuple):
    """What the first page says."""

    name: str  # SESSION.RING, or "" for a nameless one
    kind: str
    capacity: int
    batch_max: int  # slots the producer fills at most before it publishes them
    total_bytes: int
    pid: int
    pid_start: int
    epoch: int
    created_ns: int
    layout: bytes
    fields: str  # JSON: names, formats, offsets, itemsize of one slot

    def dtype(self) -> Any:
        """The type of one slot, as its owner described it."""
        return np.dtype(json.loads(self.fields))


class Segment:
    """A mapped segment. `body` is what `over` of its structure takes; `notes` say which wishes failed."""

    def __init__(self, header: Header, mapping: mmap.mmap, handle: int, path: Path | None, notes: list[str]) -> None:
        self.header, self.path, self.notes, self.handle = header, path, notes, handle
        self._mapping = mapping
        self.body = memoryview(mapping)[HEADER_BYTES:]

    def close_handle(self) -> None:
        """The mapping stays; nobody can be handed the file any more."""
        if self.handle >= 0:
            os.close(self.handle)
        self.handle = -1

    def remove(self) -> bool:
        """Take the name away, if it still is this segment's; mappings stay. Whether it did."""
        if self.path is None:
            return False
        return _remove(self.path, self.header)


# ---- making one


def create(
    name: str, kind: str, dtype: Any, capacity: int, *, batch_max: int = 1, backing: Backing | None = None
) -> Segment:
    """A new segment under this name, every page of it there. One that a dead owner left is taken over.

    SharedError when a live owner has the name or what is there can't be judged; NoRoomError when the folder has no room
    or can't be written."""
    if not NAME.fullmatch(name):
        raise SharedError(f"segment {name!r}: wanted SESSION.RING, each of 1 to 64 letters, digits, - and _")
    path, asked = path_of(name), backing or Backing()
    previous = _taken_over(path)
    header = _header(name, kind, dtype, capacity, batch_max, previous + 1, asked)
    try:
        handle = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NoRoomError(f"segment {name}: {path.parent} can't be written: {error.strerror}; {_MORE_ROOM}") from error
    try:
        segment = _filled(header, handle, path, asked, advise=asked.huge_bytes > 0)
        _link(handle, path)
    except BaseException:
        os.close(handle)
        raise
    return segment


def create_nameless(
    kind: str, dtype: Any, capacity: int, *, batch_max: int = 1, backing: Backing | None = None
) -> Segment:
    """The same without a name: only who is handed the descriptor can map it. Huge pages are the reserved ones."""
    asked, note, handle = backing or Backing(), "", -1
    header = _header("", kind, dtype, capacity, batch_max, 1, asked)
    if asked.huge_bytes:
        handle, note = pages.hugetlb("ultra", header.total_bytes, asked.huge_bytes)
    advise = handle < 0 and asked.huge_bytes > 0
    if handle < 0:
        handle = os.memfd_create("ultra", os.MFD_CLOEXEC)
    try:
        segment = _filled(header, handle, None, asked, advise=advise)
    except BaseException:
        os.close(handle)
        raise
    segment.notes[:0] = [note] if note else []
    return segment


def _header(name: str, kind: str, dtype: Any, capacity: int, batch_max: int, epoch: int, backing: Backing) -> Header:
    fields = described(dtype)
    assert len(fields) <= DESCRIPTION_MAX, "a record with so many fields has no room in the header"
    size = HEADER_BYTES + KINDS[kind].cells * 8 + capacity * np.dtype(dtype).itemsize
    total = pages.rounded(size, max(backing.huge_bytes if not name else 0, pages.PAGE_BYTES))
    pid = os.getpid()
    now = time.time_ns()
    layout = layout_of(kind, fields)
    return Header(name, kind, capacity, batch_max, total, pid, start_of(pid), epoch, now, layout, fields)


def _filled(header: Header, handle: int, path: Path | None, backing: Backing, *, advise: bool) -> Segment:
    """Give the file its size and pages, then its header."""
    size, what = header.total_bytes, header.name or "without a name"
    if missing := pages.room_missing(handle, size):
        raise NoRoomError(f"segment {what}: needs {size:,} bytes, {missing}; {_MORE_ROOM}")
    try:
        os.fchmod(handle, 0o600)  # of a memfd it would be 0777
        os.ftruncate(handle, size)
        mapping, notes = pages.take(handle, size, backing, advise=advise)
    except OSError as error:
        raise NoRoomError(f"segment {what}: {size:,} bytes: {error.strerror}; {_MORE_ROOM}") from error
    mapping[:HEADER_BYTES] = pack(header)
    return Segment(header, mapping, handle, path, notes)


_MORE_ROOM: Final = (
    "ultra ring clean, fewer records, or mount -o remount,size=4G /dev/shm (of a container --shm-size=4g)"
)


def _link(handle: int, path: Path) -> None:
    """Give the whole segment its name, unless another process was quicker."""
    here = os.open("/proc/self/fd", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.link(str(handle), path, src_dir_fd=here, follow_symlinks=True)
    except FileExistsError as error:
        raise SharedError(f"segment {name_of(path)}: another process has just made it; choose another name") from error
    finally:
        os.close(here)


def _taken_over(path: Path) -> int:
    """Make way for a new segment: remove that of a dead owner. Its epoch, 0 when there was none."""
    try:
        header = read_header(path)
    except FileNotFoundError:
        return 0
    if alive(header):
        raise SharedError(
            f"segment {header.name}: process {header.pid} has it (epoch {header.epoch}) and lives; "
            "choose another session, or end that process"
        )
    _remove(path, header)
    return header.epoch


def _remove(path: Path, header: Header) -> bool:
    """Remove the file, if it still is the segment with this header. The lock decides between two who want to."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.pread(handle, HEADER_BYTES, 0) != pack(header) or not os.path.samestat(os.fstat(handle), os.stat(path)):
            return False
        os.unlink(path)
    except FileNotFoundError:
        return False
    finally:
        os.close(handle)
    return True


# ---- mapping one


def attach(name: str, *, kind: str = "", dtype: Any = None, writable: bool = False) -> Segment:
    """Map the segment of this name; SharedError unless it is what `kind` and `dtype` say (if they say anything)."""
    if not NAME.fullmatch(name):
        raise refusal(repr(name), "no name of a segment", "SESSION.RING", "ultra ring ls shows them")
    path = path_of(name)
    handle = _opened(path, writable)
    try:
        segment = _mapped(handle, name, kind, dtype, writable)
    finally:
        os.close(handle)
    if segment.header.name != name:
        raise refusal(name, f"the segment {segment.header.name}", "its own name", "the file was renamed: remove it")
    segment.path, segment.handle = path, -1
    return segment


def attach_handle(handle: int, *, kind: str = "", dtype: Any = None, writable: bool = False) -> Segment:
    """The same for a file that is open already, as a child process inherits it. The handle stays the caller's."""
    return _mapped(handle, f"of descriptor {handle}", kind, dtype, writable)


def _mapped(handle: int, name: str, kind: str, dtype: Any, writable: bool) -> Segment:
    """Map it, if it is what it should be."""
    header = _checked(handle, name)
    if kind and header.kind != kind:
        raise refusal(name, f"a {header.kind}", f"a {kind}", "attach another, or as what it is")
    if dtype is not None and header.layout != layout_of(header.kind, fields := described(dtype)):
        raise refusal(
            name, f"layout {header.layout.hex()} {header.fields}",
            f"{layout_of(header.kind, fields).hex()} {fields}",
            "start both processes with the same version of ultra",
        )  # fmt: skip
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    mapping = mmap.mmap(handle, header.total_bytes, mmap.MAP_SHARED, access)
    return Segment(header, mapping, handle, None, [])


def _opened(path: Path, writable: bool) -> int:
    how = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe that somebody put there would be waited for
    try:
        return os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | how)
    except OSError as error:
        raise refusal(name_of(path), f"{error.strerror} at {path}", "a segment", "ultra ring ls shows them") from error


def read_header(path: Path) -> Header:
    """The header of a segment. FileNotFoundError when there is no file; SharedError when it is none of ours."""
    if not path.exists():
        raise FileNotFoundError(path)
    handle = _opened(path, writable=False)
    try:
        return _checked(handle, name_of(path))
    finally:
        os.close(handle)


def _checked(handle: int, name: str) -> Header:
    found, us = os.fstat(handle), os.geteuid()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != us or found.st_mode & 0o022:
        who = f"a file of user {found.st_uid}, mode {stat.filemode(found.st_mode)}"
        raise refusal(name, who, f"one that only user {us} can write", "never map a stranger's memory: remove it")
    header = unpack(os.pread(handle, HEADER_BYTES, 0), name)
    if found.st_size != header.total_bytes:
        raise refusal(name, f"{found.st_size:,} bytes", f"{header.total_bytes:,}", "it was cut: remove the file")
    return header


def refusal(name: str, found: str, expected: str, then: str) -> SharedError:
    """The one sentence of every refusal."""
    return SharedError(f"segment {name}: found {found}, expected {expected}; {then}")


# ---- the header page


def pack(header: Header) -> bytes:
    """The page, with its checksum."""
    text = header.fields.encode()
    page = HEADER.pack(
        MAGIC, VERSION, HEADER_BYTES, header.total_bytes, header.capacity, header.batch_max, header.pid,
        header.pid_start, header.epoch, header.created_ns, header.layout, header.kind.encode(), header.name.encode(),
        len(text),
    )  # fmt: skip
    page = (page + text).ljust(HEADER_BYTES - 4, b"\0")
    return page + struct.pack("<I", zlib.crc32(page))


def unpack(page: bytes, name: str) -> Header:
    """The inverse; SharedError when it is no such page, or a damaged one, or of another version."""
    then = "remove the file, or run the version of ultra that made it"
    if len(page) < HEADER_BYTES or page[:8] != MAGIC:
        raise refusal(name, f"{page[:8]!r} at its start", f"{MAGIC!r}", then)
    words = HEADER.unpack_from(page)
    if words[1] != VERSION or words[2] != HEADER_BYTES:
        raise refusal(name, f"format {words[1]}", f"format {VERSION}", then)
    crc = struct.unpack_from("<I", page, HEADER_BYTES - 4)[0]
    if crc != zlib.crc32(page[:-4]):
        raise refusal(name, f"header checksum {crc:08x}", f"{zlib.crc32(page[:-4]):08x}", "it is damaged: remove it")
    total, capacity, batch_max, pid, pid_start, epoch, created_ns = words[3:10]
    kind, own = words[11].rstrip(b"\0").decode(), words[12].rstrip(b"\0").decode()
    fields = page[HEADER.size : HEADER.size + words[13]].decode()
    header = Header(own, kind, capacity, batch_max, total, pid, pid_start, epoch, created_ns, words[10], fields)
    if kind not in KINDS:
        raise refusal(name, f"kind {kind!r}", " or ".join(KINDS), then)
    if header.layout != layout_of(kind, fields):
        raise refusal(name, f"layout {header.layout.hex()}", layout_of(kind, fields).hex(), then)
    needed = HEADER_BYTES + KINDS[kind].cells * 8 + capacity * int(header.dtype().itemsize)
    if total < needed:
        raise refusal(name, f"a size of {total:,} bytes", f"at least {needed:,}", then)
    return header


def described(dtype: Any) -> str:
    """A record of plain numbers as the JSON that `np.dtype` takes."""
    dtype = np.dtype(dtype)
    parts = [(name, *dtype.fields[name][:2]) for name in dtype.names]
    assert all(kind.names is None and kind.shape == () for _, kind, _ in parts), "a shared record is plain numbers"
    tree = {
        "names": [name for name, _, _ in parts],
        "formats": [kind.str for _, kind, _ in parts],
        "offsets": [offset for _, _, offset in parts],
        "itemsize": dtype.itemsize,
    }
    return json.dumps(tree, separators=(",", ":"))


def layout_of(kind: str, fields: str) -> bytes:
    """Equal exactly when two sides mean the same by every byte behind the header."""
    text = json.dumps([VERSION, kind, list(KINDS[kind][:2]), list(KINDS[kind].gates), fields])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


# ---- owners, alive and dead


def start_of(pid: int) -> int:
    """When this process started, in clock ticks since the boot; 0 when there is none, or only its remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    words = text[text.rindex(")") + 2 :].split()  # the name before it may hold anything
    return 0 if words[0] in "ZX" else int(words[19])


def alive(header: Header) -> bool:
    """Whether the very process that made the segment still runs."""
    return start_of(header.pid) == header.pid_start != 0


class Found(NamedTuple):
    """A file that is called like a segment. `refused` says why it can't be judged; then there is no header."""

    path: Path
    header: Header | None
    refused: str

    def name(self) -> str:
        """As the commands take it."""
        return name_of(self.path)


def found() -> list[Found]:
    """Everything that is called like a segment, in order of names."""
    listed: list[Found] = []
    for path in sorted(folder().glob(PREFIX + "*")):
        try:
            listed.append(Found(path, read_header(path), ""))
        except FileNotFoundError:
            continue  # it went since
        except SharedError as error:
            listed.append(Found(path, None, str(error)))
    return listed


def stale() -> list[Found]:
    """Segments whose owner is dead."""
    return [one for one in found() if one.header is not None and not alive(one.header)]


def clean() -> list[str]:
    """Remove those; their names. Processes that have one mapped keep it."""
    return [one.name() for one in stale() if one.header is not None and _remove(one.path, one.header)]


def folder() -> Path:
    """Where segments lie: ULTRA_SHM_DIR (a tmpfs), else /dev/shm."""
    return Path(os.environ.get("ULTRA_SHM_DIR") or FOLDER)


def path_of(name: str) -> Path:
    """File of a segment."""
    return folder() / (PREFIX + name)


def name_of(path: Path) -> str:
    """Segment of a file."""
    return path.name.removeprefix(PREFIX)
