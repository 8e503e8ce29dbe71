"""A bar as a record: five numbers in, the same five out, one by one and as columns."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import bar as bars
from ultra.hot import memory
from ultra.wire import BAR, NONE, RECORD


@loop
def through(records: Any, given_values: Any, out: Any) -> None:
    """Written into a record and read back."""
    for row in range(len(records)):
        event = records[row]
        bars.pack(event, given_values[row, 0], given_values[row, 1], given_values[row, 2],
                  given_values[row, 3], given_values[row, 4])  # fmt: skip
        out[row, 0], out[row, 1], out[row, 2] = bars.opened(event), bars.high(event), bars.low(event)
        out[row, 3], out[row, 4] = bars.close(event), bars.volume(event)


DISTANCE = st.sampled_from((0, 1, 2, 1000, bars.RANGE_MAX - 1, bars.RANGE_MAX))
ROWS = st.lists(
    st.tuples(st.integers(-(1 << 40), 1 << 40), DISTANCE, DISTANCE, st.integers(0, 1000), st.integers(0, 1 << 40)),
    min_size=1,
    max_size=20,
)


@given(ROWS)
def test_a_bar_is_read_as_it_was_written(rows: list[tuple[int, int, int, int, int]]) -> None:
    values = np.array(
        [(c - down + k % (up + down + 1), c + up, c - down, c, v) for c, up, down, k, v in rows], np.int64
    )
    records, out = memory.zeros(len(rows), RECORD), np.zeros((len(rows), 5), np.int64)
    through(records, values, out)
    assert (out == values).all()
    assert (records.kind == BAR).all() and (records.side == NONE).all()
    assert (records.aux == bars.spread(values[:, 1], values[:, 2], values[:, 3])).all()
    assert bars.fits(values[:, 1], values[:, 2], values[:, 3]).all()


def test_a_bar_that_is_too_long_does_not_fit() -> None:
    assert not bars.fits(1 << 31, 0, 0) and not bars.fits(0, -(1 << 31), 0) and not bars.fits(1, 2, 1)
