"""The throttle against a list of times."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.venues import throttle as throttles


@loop
def tries(throttle: throttles.Throttle, lanes: Any, limits: Any, times: Any, out: Any) -> None:
    for k in range(len(times)):
        out[k] = throttles.allowed(throttle, lanes[k], limits[k], times[k])
        if out[k]:
            throttles.note(throttle, lanes[k], times[k])


STEP = st.tuples(st.integers(0, 1), st.integers(0, 5), st.sampled_from([0, 1, 10**8, 10**9 - 1, 10**9, 5 * 10**8]))


@given(st.lists(STEP, max_size=60), st.integers(5, 8))
def test_a_throttle_behaves_as_a_list_of_times(steps: list[tuple[int, int, int]], rate_max: int) -> None:
    throttle, out = throttles.create(2, rate_max), np.zeros(len(steps), np.int64)
    times = np.cumsum([step[2] for step in steps]).astype(np.int64) if steps else column([])
    tries(throttle, column(s[0] for s in steps), column(s[1] for s in steps), times, out)
    left: list[list[int]] = [[], []]
    for (lane, limit, _), now, found in zip(steps, times.tolist(), out.tolist(), strict=True):
        recent = sum(now - t < throttles.WINDOW_NS for t in left[lane])
        assert found == (recent < limit)
        if found:
            left[lane].append(now)
    throttles.check(throttle, 5)


def test_a_second_holds_exactly_the_limit() -> None:
    throttle, out = throttles.create(1, 3), np.zeros(8, np.int64)
    times = column([5, 5, 5, 5, 10**9 + 4, 10**9 + 5, 10**9 + 5, 10**9 + 6])
    tries(throttle, column([0] * 8), column([3] * 8), times, out)
    assert out.tolist() == [1, 1, 1, 0, 0, 1, 1, 1]
