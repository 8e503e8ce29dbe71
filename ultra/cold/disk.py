"""What the journal asks of a file system: one folder, few calls. `Folder` is the real one; the simulated one is a test.

Names are those of the folder. Nothing that was written is promised before `fdatasync` of its handle, and no new, moved
or removed name before `sync_names`; a reader of this protocol may assume no more, and the simulation gives no less.
Zeros ahead of a writer are made by a thread, file by file and synced step by step, so that the writer's own sync never
waits for much of them; a file that is not ready when it is wanted is counted by its writer and made on the spot.
Known bad case: the thread has no room. It gives up without a word, and the writer meets the same disk a moment later.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Final, Protocol

STEP_BYTES: Final = 1 << 20
AHEAD: Final = "ahead.ulj"  # the file made ahead: no segment until it is renamed


class Disk(Protocol):
    """A folder. Every call may raise OSError; none is tried twice."""

    def where(self, name: str) -> str:
        """For people: where this file is."""

    def make(self) -> None:
        """Make the folder itself, durably, with all above it."""

    def names(self) -> list[str]:
        """Of all files, sorted; empty when there is no folder."""

    def read(self, name: str) -> bytes:
        """The whole file."""

    def create(self, name: str) -> int:
        """A new empty file, open for writing; FileExistsError when there is one."""

    def open(self, name: str) -> int:
        """An existing file, open for writing."""

    def pwrite(self, handle: int, data: bytes | memoryview, at: int) -> int:
        """Write at an offset; how many bytes were taken, at least one."""

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file, or fill it with zeros."""

    def fdatasync(self, handle: int) -> None:
        """Make the content of a file durable, and its length. After an error nothing is known of either."""

    def close(self, handle: int) -> None:
        """Let a handle go."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in one step."""

    def unlink(self, name: str) -> None:
        """Remove a file."""

    def sync_names(self) -> None:
        """Make names durable."""

    def prepare(self, size: int) -> None:
        """Begin to make a file of zeros, unless one is under way."""

    def take(self, name: str) -> int:
        """The file of zeros under this name, durable and open for writing; -1 when none is ready."""

    def abandon(self) -> None:
        """Make no file of zeros, and leave none."""


class Folder:
    """A folder of the file system we run on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._maker: threading.Thread | None = None
        self._unwanted = threading.Event()
        self._ready = False

    def where(self, name: str) -> str:
        """For people: where this file is."""
        return str(self.path / name)

    def make(self) -> None:
        """Make the folder itself, durably: else a power cut could take it, and all in it."""
        new = [path for path in (self.path, *self.path.parents) if not path.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        for path in new:
            sync_folder(path.parent)

    def names(self) -> list[str]:
        """Of all files, sorted; empty when there is no folder."""
        return sorted(os.listdir(self.path)) if self.path.is_dir() else []

    def read(self, name: str) -> bytes:
        """The whole file."""
        return (self.path / name).read_bytes()

    def create(self, name: str) -> int:
        """A new empty file, open for writing; FileExistsError when there is one."""
        return os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def open(self, name: str) -> int:
        """An existing file, open for writing."""
        return os.open(self.path / name, os.O_RDWR | os.O_CLOEXEC)

    def pwrite(self, handle: int, data: bytes | memoryview, at: int) -> int:
        """Write at an offset; how many bytes were taken, at least one."""
        return os.pwrite(handle, data, at)

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file, or fill it with zeros."""
        os.ftruncate(handle, size)

    def fdatasync(self, handle: int) -> None:
        """Make the content of a file durable, and its length. After an error nothing is known of either."""
        os.fdatasync(handle)

    def close(self, handle: int) -> None:
        """Let a handle go."""
        os.close(handle)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in one step."""
        os.rename(self.path / old, self.path / new)

    def unlink(self, name: str) -> None:
        """Remove a file."""
        os.unlink(self.path / name)

    def sync_names(self) -> None:
        """Make names durable."""
        sync_folder(self.path)

    def prepare(self, size: int) -> None:
        """Begin to make a file of zeros, unless one is under way."""
        if self._maker is None and size >= STEP_BYTES:  # a smaller one costs its writer nothing
            self._ready = False
            self._unwanted.clear()
            self._maker = threading.Thread(target=self._zero, args=(size,), daemon=True)
            self._maker.start()

    def take(self, name: str) -> int:
        """The file of zeros under this name, durable and open for writing; -1 when none is ready."""
        if self._maker is None or self._maker.is_alive():
            return -1
        self._maker = None
        if not self._ready:
            return -1
        os.rename(self.path / AHEAD, self.path / name)
        return self.open(name)

    def abandon(self) -> None:
        """Make no file of zeros, and leave none."""
        if self._maker is not None:
            self._unwanted.set()
            self._maker.join()
            self._maker = None
        (self.path / AHEAD).unlink(missing_ok=True)

    def _zero(self, size: int) -> None:
        # ENOSPC and the like: whoever wants the file meets them himself.
        with contextlib.suppress(OSError):
            handle = os.open(self.path / AHEAD, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            try:
                at, zeros = 0, bytes(STEP_BYTES)
                while at < size and not self._unwanted.is_set():
                    begun = time.monotonic()
                    at += os.pwrite(handle, zeros[: size - at], at)
                    os.fdatasync(handle)
                    self._unwanted.wait(time.monotonic() - begun)  # half of the disk is the writer's
                self._ready = at >= size
            finally:
                os.close(handle)
        if not self._ready:  # what room there is, is the writer's
            (self.path / AHEAD).unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make new, moved and removed names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
