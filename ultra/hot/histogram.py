"""Latency buckets: constant relative error, recorded in the path.

A value falls into one of 32 buckets per power of two (at most 3.2 % wide), the layout of HdrHistogram
(G. Tene) with five bits. The counts and the exact maximum are all there is; percentiles are read outside.
Known bad case: a percentile is the upper edge of its bucket, so it may overstate by those 3 %.
"""

from typing import NamedTuple

import numpy as np

from . import hot
from .atomics import Cells
from .bits import highest

SUB_BITS = 5
SUB = 1 << SUB_BITS
BUCKETS = (63 - SUB_BITS + 1) * SUB


class Histogram(NamedTuple):
    """Counts by bucket."""

    counts: Cells  # int64[BUCKETS]
    largest: Cells  # int64[1]


def create() -> Histogram:
    """An empty histogram."""
    return Histogram(np.zeros(BUCKETS, np.int64), np.zeros(1, np.int64))


@hot
def bucket_of(value: int) -> int:
    """Index of the bucket of a value; negative values count as 0."""
    if value < SUB:
        return max(value, 0)
    shift = highest(value) - SUB_BITS
    return (shift << SUB_BITS) + (value >> shift)


@hot
def record(histogram: Histogram, value: int) -> None:
    """Count one value."""
    histogram.counts[bucket_of(value)] += 1
    if value > histogram.largest[0]:
        histogram.largest[0] = value


def edges(bucket: int) -> tuple[int, int]:
    """Smallest and largest value of a bucket."""
    if bucket < 2 * SUB:
        return bucket, bucket
    shift = (bucket >> SUB_BITS) - 1
    low = ((bucket & (SUB - 1)) + SUB) << shift
    return low, low + (1 << shift) - 1


def count(histogram: Histogram) -> int:
    """Number of recorded values."""
    return int(histogram.counts.sum())


def percentile(histogram: Histogram, percent: float) -> int:
    """The value that `percent` of all values don't exceed (upper edge of its bucket); 0 when empty."""
    total = count(histogram)
    if total == 0:
        return 0
    rank = max(1, int(np.ceil(total * percent / 100.0)))
    bucket = int(np.searchsorted(np.cumsum(histogram.counts), rank))
    return min(edges(bucket)[1], int(histogram.largest[0]))
