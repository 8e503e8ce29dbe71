"""Where to train and where to test: windows that walk forward, and folds between which nothing leaks.

Numbers are moments of a tape (or rows of labels), from a first to before a last. A training stretch never contains a
moment of its test, nor one that is `purge` or nearer before it (a decision made there is still being paid off in the
test) nor one within the `embargo` behind it (what the test moved is still moving).
Lopez de Prado, Advances in Financial Machine Learning, 2018, chapter 7; walk-forward: Pardo, 1992.
Known bad case: an embargo shorter than the memory of the market; nobody knows that memory.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .ranges import SearchError

Stretch = tuple[int, int]


class Fold(NamedTuple):
    """One test, and the stretches to train on for it, in order of time."""

    test: Stretch
    train: tuple[Stretch, ...]


def walking(moments: int, splits: int, *, train: float = 0.5, anchored: bool = False) -> list[Fold]:
    """`splits` tests one behind the other, each with the stretch before it to train on.

    `train`: the share of all moments before the first test. Rolling windows keep that length; anchored ones begin at
    the first moment. SearchError when a window would be empty."""
    first = round(moments * train)
    if not 0 < train < 1 or splits < 1 or first < 1 or moments - first < splits:
        raise SearchError(f"{moments} moments, train = {train}, {splits} splits: some window would be empty")
    borders = [first + (moments - first) * k // splits for k in range(splits + 1)]
    return [Fold((begin, end), ((0 if anchored else begin - first, begin),)) for begin, end in pairwise(borders)]


def purged(moments: int, folds: int, *, purge: int = 0, embargo: float = 0.01) -> list[Fold]:
    """`folds` tests that together are everything, each with what may be trained on for it.

    `purge`: moments before a test that are left out; `embargo`: share of all moments left out behind it."""
    if folds < 2 or moments < folds or purge < 0 or not 0 <= embargo < 1:
        raise SearchError(
            f"{moments} moments in {folds} folds, purge {purge}, embargo {embargo}: wanted at least 2 folds"
        )
    behind = int(moments * embargo)
    found = []
    for k in range(folds):
        begin, end = moments * k // folds, moments * (k + 1) // folds
        stretches = ((0, begin - purge), (end + behind, moments))
        train = tuple((a, b) for a, b in stretches if b > a)
        if not train:
            raise SearchError(f"fold {k}: purge {purge} and embargo {embargo} leave nothing to train on")
        found.append(Fold((begin, end), train))
    return found


def purged_labels(begins: Any, ends: Any, folds: int, *, embargo: float = 0.01) -> Iterator[tuple[Any, Any]]:
    """Rows to train and to test on, of labels that each know a stretch of time: `begins` to `ends` (included).

    Rows are sorted by `begins`. A row trains only if its stretch touches none of the test's, and does not begin within
    the embargo (a share of the rows) behind the test."""
    begins, ends = np.asarray(begins), np.asarray(ends)
    if len(begins) != len(ends) or (np.diff(begins) < 0).any() or (ends < begins).any():
        raise SearchError("labels: wanted as many ends as begins, begins sorted, no end before its begin")
    rows = len(begins)
    if folds < 2 or rows < folds or not 0 <= embargo < 1:
        raise SearchError(f"{rows} labels in {folds} folds, embargo {embargo}: wanted at least 2 folds")
    behind = int(rows * embargo)
    for k in range(folds):
        first, last = rows * k // folds, rows * (k + 1) // folds
        until = ends[first:last].max()
        before = np.flatnonzero(ends < begins[first])
        after = np.searchsorted(begins, until, side="right")
        clear = np.arange(max(after, last) + behind, rows)
        yield np.concatenate([before[before < first], clear]), np.arange(first, last)
