"""The histogram: its buckets cover every integer once, and what it tells of a sample is never off by more than 1/32."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import histogram as histograms
from ultra.hot.histogram import BUCKETS, SUB, edges

HIGH = (1 << 63) - 1
VALUES = st.one_of(
    st.integers(0, 100),
    st.integers(0, HIGH),
    st.builds(lambda k, d: min(max((1 << k) + d, 0), HIGH), st.integers(0, 63), st.integers(-2, 2)),
)


@loop
def record_all(histogram: Any, values: Any, buckets: Any) -> None:
    for i in range(len(values)):
        buckets[i] = histograms.bucket_of(values[i])
        histograms.record(histogram, values[i])


def recorded(values: list[int]) -> tuple[histograms.Histogram, list[int]]:
    histogram, buckets = histograms.create(), np.zeros(len(values), np.int64)
    record_all(histogram, column(values), buckets)
    return histogram, buckets.tolist()


def test_the_buckets_cover_every_integer_exactly_once() -> None:
    at = 0
    for bucket in range(BUCKETS):
        low, high = edges(bucket)
        assert low == at and high >= low
        at = high + 1
    assert at == 1 << 63


def test_both_edges_of_every_bucket_fall_into_it() -> None:
    values = [edge for bucket in range(BUCKETS) for edge in edges(bucket)]
    histogram, buckets = recorded(values)
    assert buckets == [bucket for bucket in range(BUCKETS) for _ in range(2)]
    assert histogram.counts.tolist() == [2] * BUCKETS and int(histogram.largest[0]) == HIGH


def test_no_bucket_is_wider_than_a_thirty_second_of_its_values() -> None:
    for low, high in map(edges, range(BUCKETS)):
        assert (high - low) * SUB <= low


@given(st.lists(VALUES, min_size=1, max_size=60), st.sampled_from((0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0)))
def test_a_percentile_is_at_most_a_thirty_second_above_the_sorted_sample(values: list[int], percent: float) -> None:
    histogram, _ = recorded(values)
    rank = max(1, int(np.ceil(len(values) * percent / 100.0)))
    exact, found = sorted(values)[rank - 1], histograms.percentile(histogram, percent)
    assert exact <= found <= min(exact + exact // SUB, max(values))
    assert histograms.count(histogram) == len(values)
    assert histograms.percentile(histogram, 100.0) == max(values)


def test_a_value_below_zero_counts_as_zero() -> None:
    histogram, buckets = recorded([-1, -(1 << 63), -32, 0])
    assert buckets == [0, 0, 0, 0]
    assert histograms.percentile(histogram, 100.0) == 0 and histograms.count(histogram) == 4


@pytest.mark.parametrize("percent", [0.0, 50.0, 100.0])
def test_an_empty_histogram_answers_zero(percent: float) -> None:
    assert histograms.percentile(histograms.create(), percent) == 0
