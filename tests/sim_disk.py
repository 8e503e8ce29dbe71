"""A disk that keeps only what it must: the `Disk` of ultra.cold, in memory, driven by dice.

A file has what was written and what was kept; `fdatasync` makes the second the first, and now and then a write is kept
before anybody asks. A power cut leaves of every sector that differs the old, the new, a beginning or an end of the
new, or garbage where the two differ; of a length, either; of what was done to names since the last `sync_names` any
part, in order for each name. A killed process leaves all that was written. A sync that fails loses what was to be
synced, and the next one says that all is well (what Linux does). Writes are cut short at random.
`rot` is what befalls a disk later: a bit, a sector, a sector that was meant for another place.
Known bad case: two such things at once; the journal promises nothing then.
"""

import errno
import os
import random
import secrets
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType

from ultra.cold.native import NATIVE

SECTOR = 64


def checksums_of_any_kind(*modules: ModuleType) -> Iterator[None]:
    """Of a fixture: without C a CRC32C takes a millisecond, and what is tried is that there is one. `secrets`, which a
    history may draw from its dice, is put back with them."""
    kept, token_bytes = [(module, module.crc32c) for module in modules], secrets.token_bytes
    if not NATIVE:
        for module in modules:
            module.crc32c = zlib.crc32
    yield
    secrets.token_bytes = token_bytes
    for module, function in kept:
        module.crc32c = function


class PowerCut(BaseException):
    """Everything ends here. No `except Exception` may catch it."""


class File:
    """What was written, and what is on disk."""

    def __init__(self, content: bytes = b"") -> None:
        self.now, self.kept = bytearray(content), bytearray(content)
        self.lost: set[int] = set()  # sectors that a failed sync gave up: called clean, and not kept, until written


class SimDisk:
    """One folder. `cut_after` more calls, and the power is cut; `fail_after` more, and one fails, for good."""

    def __init__(self, dice: random.Random, files: dict[str, File] | None = None) -> None:
        self.dice, self.rand = dice, dice.random
        self.files: dict[str, File] = {} if files is None else files
        self.kept_names = dict(self.files)
        self.moves: list[tuple[str, str, File | None]] = []  # since the last sync: name that goes, that comes, file
        self.handles: list[File | None] = []
        self.cut_after = self.fail_after = 1 << 60
        self.ahead = 0
        self.changes = 0  # of what a reader sees
        self.meanwhile: Callable[[], None] | None = None  # what others do while a write or a sync takes its time

    def tick(self) -> None:
        if self.meanwhile is not None and self.rand() < 0.15:
            self.meanwhile()
        self.cut_after -= 1
        if self.cut_after < 0:
            raise PowerCut
        self.fail_after -= 1
        if self.fail_after < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def file(self, handle: int) -> File:
        found = self.handles[handle]
        assert found is not None, "a closed handle"
        return found

    # ---- the protocol

    def where(self, name: str) -> str:
        return name

    def make(self) -> None:
        self.tick()

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return bytes(self.files[name].now)

    def create(self, name: str) -> int:
        self.tick()
        if name in self.files:
            raise FileExistsError(name)
        self.files[name] = File()
        self.changes += 1
        self.moves.append(("", name, self.files[name]))
        return self.open(name)

    def open(self, name: str) -> int:
        self.handles.append(self.files[name])
        return len(self.handles) - 1

    def pwrite(self, handle: int, data: bytes | memoryview, at: int) -> int:
        file, count = self.file(handle), len(data)
        now = file.now
        if at > len(now):
            now.extend(bytes(at - len(now)))
        luck = self.rand()
        if luck < 0.02 or self.cut_after == 0 or self.fail_after == 0:
            count = int(luck * 50 * count) if luck < 0.02 else int(luck * count)
            now[at : at + count] = data[:count]
            self.changes += 1
            file.lost -= set(range(at // SECTOR, (at + count + SECTOR - 1) // SECTOR))
            self.tick()
            return max(count, 1) if count else self.pwrite(handle, data, at)
        self.tick()
        now[at : at + count] = data
        self.changes += 1
        if file.lost:
            file.lost -= set(range(at // SECTOR, (at + count - 1) // SECTOR + 1))
        if luck > 0.9 and len(file.kept) >= at + count:  # the kernel writes it back, unasked
            file.kept[at : at + count] = data
        return count

    def truncate(self, handle: int, size: int) -> None:
        self.tick()
        now = self.file(handle).now
        self.changes += 1
        if size < len(now):
            del now[size:]
        else:
            now.extend(bytes(size - len(now)))

    def fdatasync(self, handle: int) -> None:
        file = self.file(handle)
        try:
            self.tick()
        except OSError:
            for at in range(0, len(file.now), SECTOR):
                if file.now[at : at + SECTOR] != file.kept[at : at + SECTOR] and self.rand() < 0.7:
                    file.lost.add(at // SECTOR)
            self.fail_after = 1 << 60  # nothing more fails: whoever tries again is told that all is well
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from None
        before = bytes(file.kept)
        file.kept[:] = file.now
        for sector in file.lost:
            at, end = sector * SECTOR, min((sector + 1) * SECTOR, len(file.now))
            file.kept[at:end] = before[at:end].ljust(end - at, b"\0")

    def close(self, handle: int) -> None:
        self.handles[handle] = None

    def rename(self, old: str, new: str) -> None:
        self.tick()
        self.files[new] = self.files.pop(old)
        self.changes += 1
        self.moves.append((old, new, self.files[new]))

    def unlink(self, name: str) -> None:
        self.tick()
        del self.files[name]
        self.changes += 1
        self.moves.append((name, "", None))

    def sync_names(self) -> None:
        self.tick()
        self.kept_names = dict(self.files)
        self.moves.clear()

    def prepare(self, size: int) -> None:
        self.ahead = self.ahead or size

    def take(self, name: str) -> int:
        size, self.ahead = self.ahead, 0
        if not size or self.rand() < 0.5:
            return -1
        self.tick()
        self.files[name] = File(bytes(size))
        self.changes += 1
        self.moves.append(("", name, self.files[name]))
        return self.open(name)

    def abandon(self) -> None:
        self.ahead = 0

    # ---- what is left

    def killed(self) -> "SimDisk":
        """The same machine, another process."""
        after = SimDisk(self.dice, self.files)
        after.kept_names, after.moves = self.kept_names, self.moves
        return after

    def powered_again(self) -> "SimDisk":
        """What is on disk after a power cut."""
        names = dict(self.kept_names)
        undone: set[str] = set()
        for old, new, file in self.moves:
            if self.rand() < 0.4 or old in undone or new in undone:
                undone |= {old, new} - {""}  # nothing later of the same name can have happened
                continue
            if old:
                del names[old]
            if new and file is not None:
                names[new] = file
        return SimDisk(self.dice, {name: File(self.remains(file)) for name, file in names.items()})

    def remains(self, file: File) -> bytes:
        old, new, rand = file.kept, file.now, self.rand
        if old == new:
            return bytes(old)
        size = len(old) if rand() < 0.5 else len(new)
        left = bytearray(old[:size].ljust(size, b"\0"))
        for at in range(0, min(size, len(new)), SECTOR):
            end = min(at + SECTOR, size)
            after = new[at:end]
            before = left[at : at + len(after)]
            if before == after:
                continue
            fate, place = int(rand() * 5), at + int(rand() * len(after))
            if fate == 1:
                left[at : at + len(after)] = after
            elif fate == 2:
                left[at:place] = new[at:place]
            elif fate == 3:
                left[place : at + len(after)] = new[place : at + len(after)]
            elif fate == 4:
                for k in range(len(after)):
                    if before[k] != after[k]:
                        left[at + k] = int(rand() * 256)
        return bytes(left)

    def rot(self) -> None:
        """One bit of one file, or one sector: zeros, garbage, or what belongs elsewhere in it."""
        now = self.files[self.dice.choice(sorted(self.files))].now
        self.changes += 1
        if not now:
            return
        at, how = int(self.rand() * len(now)), self.rand()
        if how < 0.6:
            now[at] ^= 1 << int(self.rand() * 8)
            return
        at -= at % SECTOR
        size = min(SECTOR, len(now) - at)
        other = int(self.rand() * (len(now) // SECTOR)) * SECTOR
        what = bytes(size) if how < 0.75 else self.dice.randbytes(size) if how < 0.9 else now[other : other + size]
        now[at : at + size] = what.ljust(size, b"\0")
