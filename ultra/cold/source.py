"""A recorded file as a stream of bytes: plain or gzip, in blocks, with a running hash of what was read.

Memory is constant whatever the file's size. A thread reads, hashes and decompresses ahead of the engine (all three
release Python's lock). The hash is over the file as it lies on disk, so that a journal which only refers to its
market data can tell later that it is still the same file.
Known bad case: a gzip file that ends early gives what it holds, then SourceError.
"""

import hashlib
import queue
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

READ_BYTES: Final = 1 << 18
BLOCKS_AHEAD: Final = 4


class SourceError(Exception):
    """A recorded file can't be read to its end: names the file, the offset and the reason."""


@dataclass(frozen=True)
class Block:
    """Some bytes of the stream, and how far into the file (with which hash) they reach."""

    data: bytes
    file_offset: int
    sha256: str


def blocks(path: Path, block_bytes: int = 1 << 22, start: int = 0, hashed: bool = True) -> Iterator[Block]:
    """The decoded stream of a file from offset `start` of it on, `block_bytes` at a time at most.

    What lies before is read and hashed; of a plain file, unless `hashed`, it is passed by: no block has a hash then."""
    if start > 0 and not hashed and not is_gzip(path):
        yield from _unhashed(path, block_bytes, start)
        return
    for block in _from_the_start(path, block_bytes):
        skipped = min(start, len(block.data))
        start -= skipped
        # An empty one too: its hash is one that the journal may ask for.
        yield Block(block.data[skipped:], block.file_offset, block.sha256) if skipped else block


def _unhashed(path: Path, block_bytes: int, start: int) -> Iterator[Block]:
    with path.open("rb", buffering=0) as file:
        offset = file.seek(start)
        while raw := file.read(min(READ_BYTES, block_bytes)):
            offset += len(raw)
            yield Block(raw, offset, "")


def _from_the_start(path: Path, block_bytes: int) -> Iterator[Block]:
    digest = hashlib.sha256()
    offset = 0
    member = _Member() if is_gzip(path) else None
    with path.open("rb", buffering=0) as file:
        while raw := file.read(min(READ_BYTES, block_bytes)):
            digest.update(raw)
            offset += len(raw)
            if member is None:
                yield Block(raw, offset, digest.hexdigest())
                continue
            try:
                for data in member.feed(raw, block_bytes):
                    yield Block(data, offset, digest.hexdigest())
            except zlib.error as error:
                raise SourceError(f"{path}: not valid gzip before byte {offset}: {error}") from error
    if member is not None and member.open:
        raise SourceError(f"{path}: the gzip data ends early, at byte {offset}: the file was cut")


class _Member:
    """A gzip stream of one or more members; `open` while one has begun and not ended."""

    def __init__(self) -> None:
        self._unpack = zlib.decompressobj(31)
        self.open = False

    def feed(self, raw: bytes, block_bytes: int) -> Iterator[bytes]:
        pending = raw
        while pending:
            self.open = True
            data = self._unpack.decompress(pending, block_bytes)
            pending = self._unpack.unconsumed_tail
            if self._unpack.eof:
                # Zeros between members are padding (gzip's own rule).
                pending = self._unpack.unused_data.lstrip(b"\0")
                self._unpack = zlib.decompressobj(31)
                self.open = False
            if data:
                yield data


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def ahead(path: Path, block_bytes: int = 1 << 22, start: int = 0, hashed: bool = True) -> Iterator[Block]:
    """`blocks`, read by a thread a few blocks ahead."""
    ready: queue.Queue[Block | BaseException | None] = queue.Queue(BLOCKS_AHEAD)
    stop = threading.Event()

    def read() -> None:
        last: BaseException | None = None
        try:
            for block in blocks(path, block_bytes, start, hashed):
                if not _put(ready, block, stop):
                    return
        except (OSError, SourceError) as error:
            last = error
        _put(ready, last, stop)

    thread = threading.Thread(target=read, name="ultra-source", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _put(ready: "queue.Queue[Block | BaseException | None]", item: Block | BaseException | None,
         stop: threading.Event) -> bool:  # fmt: skip
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
