"""The window against a dict of messages: what has come, what is missing, and that nothing is delivered twice."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import histogram as histograms
from ultra.venues import mold_window as windows

HOLD, PASS, POP, EXTEND, HOLE, WANT = range(6)
STRIDE = 8


@loop
def apply(window: Any, what: int, sequence: int, count: int, buffer: Any, now: int) -> int:
    if what == HOLD:
        return windows.hold(window, buffer, 0, sequence, now * 10, now)
    if what == PASS:
        windows.passed(window, count, now)
    elif what == EXTEND:
        windows.extend(window, sequence, now)
    elif what == WANT:
        first = windows.hole(window, window.cells[windows.NEXT])
        windows.wanted(window, first, windows.hole_end(window, first, count), now)
    elif what == HOLE:
        first = windows.hole(window, sequence)
        return first * 1000 + windows.hole_end(window, first, count)
    else:
        slot = windows.head(window)
        if slot >= 0:
            windows.pop(window)
        return slot
    return 0


class Twin:
    """Messages by number; a set of what was heard of."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.next, self.highest = capacity, 1, 1
        self.held: dict[int, bytes] = {}
        self.since: dict[int, int] = {}
        self.delivered: list[int] = []
        self.waits: list[int] = []
        self.counts = dict.fromkeys(("duplicates", "beyond", "too_long", "gaps", "missing"), 0)

    def extend(self, sequence: int, now: int) -> None:
        if sequence > self.highest:
            self.counts["gaps"] += 1
            self.note(sequence, now)

    def note(self, sequence: int, now: int) -> None:
        for k in range(self.highest, sequence):
            self.counts["missing"] += 1
            if k < self.next + self.capacity:
                self.since[k] = now
        self.highest = max(self.highest, sequence)

    def came(self, sequence: int, now: int) -> None:
        if sequence in self.since:
            self.waits.append(now - self.since.pop(sequence))

    def hold(self, sequence: int, body: bytes, now: int) -> int:
        if sequence >= self.next + self.capacity:
            self.counts["beyond"] += 1
            self.note(sequence + 1, now)
            return windows.TOO_FAR
        if sequence < self.next or sequence in self.held:
            self.counts["duplicates"] += 1
            return windows.AGAIN
        if len(body) > STRIDE:
            self.counts["too_long"] += 1
            self.note(sequence + 1, now)
            return windows.TOO_WIDE
        self.held[sequence] = body
        self.highest = max(self.highest, sequence + 1)
        self.came(sequence, now)
        return windows.KEPT

    def passed(self, count: int, now: int) -> None:
        for sequence in range(self.next, self.next + count):
            self.counts["duplicates"] += self.held.pop(sequence, None) is not None
            self.came(sequence, now)
            self.delivered.append(sequence)
        self.next += count
        self.highest = max(self.highest, self.next)

    def pop(self) -> bytes | None:
        body = self.held.pop(self.next, None)
        if body is not None:
            self.delivered.append(self.next)
            self.next += 1
        return body

    def missing(self) -> list[int]:
        return [k for k in range(self.next, self.highest) if k not in self.held]

    def hole(self, sequence: int, most: int) -> tuple[int, int]:
        end = min(self.highest, self.next + self.capacity)
        while sequence < end and sequence in self.held:
            sequence += 1
        stop = sequence
        while stop < min(end, sequence + most) and stop not in self.held:
            stop += 1
        return sequence, stop


STEP = st.tuples(
    st.sampled_from((HOLD, HOLD, HOLD, PASS, POP, POP, EXTEND, HOLE, WANT)),
    st.integers(0, 14),  # how far from the next
    st.integers(1, 9),
    st.integers(0, 8),  # bytes of a message; 7 and more don't fit
)


@given(capacity=st.sampled_from((1, 2, 4, 8)), steps=st.lists(STEP, min_size=20, max_size=60))
def test_a_window_behaves_as_a_dict_of_messages(capacity: int, steps: list[Any]) -> None:
    window, twin, buffer = windows.create(capacity, STRIDE), Twin(capacity), np.zeros(16, np.uint8)
    for now, (what, ahead, count, length) in enumerate(steps, 1):
        # A message behind the next is an offer too; one that is next would have been delivered straight away.
        sequence = max(1, twin.next - 2 + ahead)
        if what == HOLD:
            body = length.to_bytes(2, "big") + bytes([sequence & 255] * length)
            buffer[: len(body)] = np.frombuffer(body, np.uint8)
            assert apply(window, what, sequence, 0, buffer, now) == twin.hold(sequence, body, now)
        elif what == PASS:
            apply(window, what, 0, count, buffer, now)
            twin.passed(count, now)
        elif what == EXTEND:
            apply(window, what, sequence, 0, buffer, now)
            twin.extend(sequence, now)
        elif what == WANT:
            apply(window, what, 0, count, buffer, now)
            first, end = twin.hole(twin.next, count)
            for k in range(first, end):
                twin.since.setdefault(k, now)
        elif what == HOLE:
            at = max(sequence, twin.next)
            found = apply(window, what, at, count, buffer, now)
            assert divmod(found, 1000) == twin.hole(at, count)
        else:
            slot, body = apply(window, what, 0, 0, buffer, now), twin.pop()
            assert (slot >= 0) == (body is not None)
            if body is not None:
                assert bytes(window.block[slot * STRIDE : slot * STRIDE + len(body)]) == body
        windows.check(window)
        cells = window.cells
        assert (cells[windows.NEXT], cells[windows.HIGHEST], cells[windows.HELD]) == (
            twin.next, twin.highest, len(twin.held),
        )  # fmt: skip
        found_counts = [cells[k] for k in (windows.DUPLICATES, windows.BEYOND, windows.TOO_LONG, windows.GAPS)]
        assert [*found_counts, cells[windows.MISSING]] == list(twin.counts.values())
        assert cells[windows.DELIVERED] == len(twin.delivered) == len(set(twin.delivered))
        assert cells[windows.HIGHEST] - cells[windows.NEXT] - cells[windows.HELD] == len(twin.missing())
        in_window = {k for k in twin.since if k < twin.next + capacity}
        assert np.count_nonzero(window.since) == len(in_window)
    assert histograms.count(window.recovery) == len(twin.waits)
    assert window.recovery.largest[0] == max(twin.waits, default=0)
