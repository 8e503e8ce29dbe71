"""How far a long reading is: a function that is told the count, or a bar of tqdm."""

from collections.abc import Callable, Iterator
from typing import Any

from .extra import need
from .tape import Batches

Told = Callable[[int], None]
Progress = bool | Told | None


def told(progress: Progress, what: str) -> Told | None:
    """What to call with the count so far; None when nobody wants to know. LabError when tqdm is missing."""
    if callable(progress):
        return progress
    if not progress:
        return None
    bar = need("tqdm.auto").tqdm(unit=f" {what}", unit_scale=True)

    def show(count: int) -> None:
        if count < bar.n:
            bar.reset()  # it is read once more
        bar.update(count - bar.n)

    return show


def counted(read: Batches, tell: Told) -> Batches:
    """The same batches, and after each how many records there were."""

    def counting(size: int) -> Iterator[Any]:
        done = 0
        for batch in read(size):
            done += len(batch)
            tell(done)
            yield batch

    return counting
