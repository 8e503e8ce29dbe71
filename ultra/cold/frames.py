"""A recorded file as whole messages: each block behind what the last one left over, and marks of what the file was.

The buffer holds two blocks and the longest message, so what is left over always fits in front of the next block.
A file that ends inside a message, or whose gzip is broken, is noted, and everything before it was handed on.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from . import source

FRAME_BYTES_MAX: Final = 2 + 65535
SOURCE_MARK_BYTES: Final = 64 << 20


class Frames:
    """One file, read once."""

    def __init__(self, path: Path, chunk_bytes: int) -> None:
        self._path, self._chunk_bytes = path, chunk_bytes
        self.stream_bytes = 0
        self.truncated_at = -1
        self.source_error = ""

    def play(
        self,
        take: Callable[[Any, int], int],
        mark: Callable[[source.Block], None],
        stopped: Callable[[], bool] | None = None,
    ) -> None:
        """Hand on the file: `take(buffer, stop)` returns how many bytes it took, short of an incomplete message.

        `mark` is called each 64 MiB of the file and at its end. When `stopped` says so it ends after a block."""
        buffer = np.zeros(2 * self._chunk_bytes + FRAME_BYTES_MAX, np.uint8)
        held, marked = 0, 0
        last: source.Block | None = None
        ended = False
        try:
            for block in source.ahead(self._path, self._chunk_bytes):
                data = np.frombuffer(block.data, np.uint8)
                buffer[held : held + len(data)] = data
                stop = held + len(data)
                reached = take(buffer, stop)
                self.stream_bytes += reached
                held = stop - reached
                buffer[:held] = buffer[reached:stop].copy()
                last = block
                if block.file_offset - marked >= SOURCE_MARK_BYTES:
                    marked = block.file_offset
                    mark(block)
                ended = stopped is not None and stopped()
                if ended:
                    break
        except source.SourceError as error:
            self.source_error = str(error)
        if last is not None and last.file_offset > marked:
            mark(last)
        if held and not ended:
            self.truncated_at = self.stream_bytes
