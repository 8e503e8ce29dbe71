"""One function of ours, called in several processes at once, each pinned to a core: for what only shows between them.

A target is `module:function`; it is called with the words of its side and returns something that JSON can say. They
share a file in memory, which its owner lays out first. With fewer cores than sides some take turns, and race less.
"""

import contextlib
import importlib
import json
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

CHILD = "import sys; from ultra.ops import apart; apart.play(*sys.argv[1:])"
MEMORY = Path("/dev/shm")


def named(target: str) -> Any:
    """What `module:name` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@contextlib.contextmanager
def shared(size: int) -> Iterator[Path]:
    """A zeroed file that lives in memory where there is such a place, gone in the end."""
    with tempfile.TemporaryDirectory(prefix="ultra-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        path = Path(folder, "shared")
        with path.open("wb") as file:
            file.truncate(size)
        yield path


def mapped(path: str | Path) -> mmap.mmap:
    """The file as memory, the same for all who map it."""
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


class Processes:
    """One process a side; nobody outlives the `with`."""

    def __init__(self, target: str, sides: Sequence[Sequence[object]]) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self._running = [
            subprocess.Popen(
                [sys.executable, "-c", CHILD, target, str(cores[side % len(cores)]), *map(str, words)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for side, words in enumerate(sides)
        ]

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
            process.communicate()

    def results(self, timeout_s: float) -> list[Any]:
        """What each side returned; RuntimeError with the text of one that failed."""
        said = [process.communicate(timeout=timeout_s) for process in self._running]
        for process, (_, error) in zip(self._running, said, strict=True):
            if process.returncode:
                raise RuntimeError(f"side failed with code {process.returncode}: {error.strip()[-2000:]}")
        return [json.loads(out) for out, _ in said]


def play(target: str, core: str, *words: str) -> None:
    """The child: call the target and print what it returns."""
    os.sched_setaffinity(0, {int(core)})
    print(json.dumps(named(target)(*words)))
