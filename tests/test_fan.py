"""The fan against lists and a dict of everything ever published, then between threads that race."""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import column, loop

from ultra.hot import JIT
from ultra.hot import fan as fans
from ultra.hot.atomics import pause
from ultra.wire import NONE, RECORD

ROOM, PUBLISH, READY, RELEASE, CLAIM, POLL, DETACH, ATTACH = range(8)
LINE, PIPELINE, DIAMOND = [()], [(), (0,), (1,)], [(), (0,), (0,), (1, 2)]
APART, EIGHT = [(), (), ()], [()] * 7 + [(3, 6)]


@loop
def apply(fan: Any, what: int, k: int, count: int, value: int, out: Any) -> int:
    if what == ROOM:
        return fans.room(fan, count)
    if what == CLAIM:
        return fans.claim(fan)
    if what == READY:
        return fans.ready(fan, k)
    if what == POLL:
        return fans.poll(fan, k)
    for offset in range(count):
        if what == PUBLISH:
            fan.slots[fans.claimed(fan, offset)].aux = value + offset
        else:
            out[offset] = fan.slots[fans.polled(fan, k, offset)].aux
    if what == PUBLISH:
        fans.publish(fan, count)
    else:
        fans.release(fan, k, count)
    return count


class Twin:
    """Sequences as plain numbers; the value of record n is n."""

    def __init__(self, capacity: int, depends: Any) -> None:
        self.capacity, self.depends = capacity, depends
        self.cursor, self.gates = 0, [0] * len(depends)
        self.attached = set(range(len(depends)))
        self.full = self.attaches = self.detaches = 0

    def free(self) -> int:
        return self.capacity - (self.cursor - min([self.gates[k] for k in self.attached] or [self.cursor]))

    def limit(self, k: int) -> int:
        """What those before k have all given back, asking further up where one of them is detached."""
        open_ends, gates = list(self.depends[k]), []
        while open_ends:
            other = open_ends.pop()
            if other in self.attached:
                gates.append(self.gates[other])
            open_ends += self.depends[other]
        return min(gates, default=self.cursor)


STEPS = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(1, 8), st.integers(0, 12)), min_size=40, max_size=80
)


@given(st.sampled_from((1, 2, 4, 8)), st.sampled_from((LINE, PIPELINE, DIAMOND, APART, EIGHT)), STEPS)
def test_a_fan_behaves_as_one_list_with_many_readers(capacity: int, depends: Any, steps: Any) -> None:
    fan, twin, out = fans.create(RECORD, capacity, depends), Twin(capacity, depends), np.zeros(8, np.int64)
    for what, who, count, back in steps:
        step(fan, twin, out, (what, who % len(depends), count, back))
        fans.check(fan)
        cells = fan.cells
        assert cells[fans.CURSOR] == twin.cursor and cells[fans.FULL] == twin.full
        assert [fans.lag(fan, k) for k in range(len(depends))] == [twin.cursor - gate for gate in twin.gates]
        assert cells[fans.ATTACHED] == sum(1 << k for k in twin.attached)
        assert (cells[fans.ATTACHES], cells[fans.DETACHES]) == (twin.attaches, twin.detaches)


def step(fan: Any, twin: Twin, out: Any, asked: tuple[int, int, int, int]) -> None:
    what, k, count, back = asked
    free, waiting = twin.free(), max(twin.limit(k) - twin.gates[k], 0)
    if k not in twin.attached and what in (READY, RELEASE, POLL):
        return  # the dead don't read
    if what in (ROOM, PUBLISH):
        found = apply(fan, ROOM, k, count, 0, out)
        assert found == free if found < count else found <= free
        twin.full += found < count
        if what == PUBLISH:
            twin.cursor += apply(fan, PUBLISH, k, min(count, found), twin.cursor, out)
    elif what in (READY, RELEASE):
        found = apply(fan, READY, k, 0, 0, out)
        # What there is now is never overlooked. A view from before someone came back may be of more.
        assert found >= min(waiting, 1) and found <= (twin.cursor - twin.gates[k] if twin.attaches else waiting)
        if what == RELEASE:
            count = apply(fan, RELEASE, k, min(count, found), 0, out)
            assert out[:count].tolist() == list(range(twin.gates[k], twin.gates[k] + count))
            twin.gates[k] += count
    elif what == CLAIM:
        assert apply(fan, CLAIM, k, 0, 0, out) == (twin.cursor % twin.capacity if free else NONE)
        twin.full += not free
    elif what == POLL:
        found = apply(fan, POLL, k, 0, 0, out)
        assert found in (NONE, twin.gates[k] % twin.capacity)
        assert (found != NONE) == (waiting > 0) or (twin.attaches and found != NONE)
    elif what == DETACH:
        assert fans.detach(fan, k) == (k in twin.attached)
        twin.detaches += k in twin.attached
        twin.attached.discard(k)
    else:
        wanted = max(0, twin.cursor + 2 - back)
        granted = fans.attach(fan, k, wanted)
        assert (granted == NONE) == (k in twin.attached)
        if granted != NONE:
            oldest = int(fan.cells[fans.GATE_SEEN])
            assert granted == max(min(wanted, twin.cursor), oldest) >= twin.cursor - twin.capacity
            twin.gates[k] = granted
            twin.attached.add(k)
            twin.attaches += 1


def test_a_stopped_consumer_holds_the_producer_back_until_it_is_detached() -> None:
    fan, out = fans.create(RECORD, 4, DIAMOND), column([0] * 8)
    apply(fan, PUBLISH, 0, 4, 0, out)
    for k in (0, 1):
        assert apply(fan, READY, k, 0, 0, out) == 4
        apply(fan, RELEASE, k, 4, 0, out)
    # 2 has died. 3 waits for it, and so in the end do the producer and everyone.
    assert apply(fan, READY, 3, 0, 0, out) == 0 and apply(fan, CLAIM, 0, 0, 0, out) == NONE
    assert fan.cells[fans.FULL] == 1 and fans.lag(fan, 2) == 4
    assert fans.detach(fan, 2) and not fans.detach(fan, 2)
    assert apply(fan, READY, 3, 0, 0, out) == 4 and apply(fan, CLAIM, 0, 0, 0, out) == NONE
    apply(fan, RELEASE, 3, 4, 0, out)
    assert apply(fan, ROOM, 0, 4, 0, out) == 4
    # What it left behind is still there, as long as nothing was written over it.
    assert apply(fan, READY, 2, 0, 0, out) == 0
    apply(fan, PUBLISH, 0, 1, 4, out)
    assert fans.attach(fan, 2, 0) == 4 and fans.attach(fan, 2, 0) == NONE
    assert apply(fan, READY, 2, 0, 0, out) == 0, "0 comes before 2"
    assert apply(fan, READY, 0, 0, 0, out) == 1
    apply(fan, RELEASE, 0, 1, 0, out)
    assert apply(fan, READY, 2, 0, 0, out) == 1
    fans.check(fan)


def test_those_behind_a_dead_consumer_fall_back_on_whom_it_waited_for() -> None:
    fan, out = fans.create(RECORD, 4, PIPELINE), column([0] * 8)
    apply(fan, PUBLISH, 0, 4, 0, out)
    assert apply(fan, READY, 0, 0, 0, out) == 4
    apply(fan, RELEASE, 0, 3, 0, out)
    assert fans.detach(fan, 1) and apply(fan, READY, 2, 0, 0, out) == 3
    assert fans.detach(fan, 0) and apply(fan, READY, 2, 0, 0, out) == 3, "its view, until that is used up"
    apply(fan, RELEASE, 2, 3, 0, out)
    assert apply(fan, READY, 2, 0, 0, out) == 1


def test_without_consumers_the_producer_runs_free() -> None:
    fan, out = fans.create(RECORD, 4, APART), column([0] * 8)
    for k in range(3):
        fans.detach(fan, k)
    for lap in range(5):
        assert apply(fan, ROOM, 0, 3, 0, out) >= 3
        apply(fan, PUBLISH, 0, 3, 3 * lap, out)
    assert fan.cells[fans.FULL] == 0 and fans.lag(fan, 1) == 15
    assert fans.attach(fan, 1, 0) == 12 and apply(fan, READY, 1, 0, 0, out) == 3
    apply(fan, RELEASE, 1, 3, 0, out)
    assert out[:3].tolist() == [12, 13, 14]


@pytest.mark.parametrize("depends", [[], [()] * 9, [(0,)], [(), (2,), ()], [(-1,)]])
def test_a_dependency_on_nobody_on_itself_or_in_a_circle_is_refused(depends: Any) -> None:
    with pytest.raises(AssertionError):
        fans.create(RECORD, 4, depends)


@pytest.mark.parametrize("capacity", [0, 3, 6, -2])
def test_a_capacity_that_is_no_power_of_two_is_refused(capacity: int) -> None:
    with pytest.raises(AssertionError):
        fans.create(RECORD, capacity, LINE)


def test_two_views_of_one_buffer_are_one_fan() -> None:
    buffer, out = bytearray(fans.size_bytes(RECORD, 4)), column([0] * 8)
    here, there = fans.over(buffer, RECORD, 4), fans.over(buffer, RECORD, 4)
    fans.configure(here, PIPELINE)
    for lap in range(5):
        assert apply(here, ROOM, 0, 3, 0, out) >= 3
        apply(here, PUBLISH, 0, 3, 10 * lap, out)
        for k in range(3):
            assert apply(there, READY, k, 0, 0, out) == 3
            apply(there, RELEASE, k, 3, 0, out)
            assert out[:3].tolist() == [10 * lap, 10 * lap + 1, 10 * lap + 2]
        fans.check(here)


def stop_before(patch: pytest.MonkeyPatch, moment: int, inner: Callable[[], None]) -> list[None]:
    """Run `inner` before the ordered access number `moment`; the list grows by one at each access."""
    steps: list[None] = []

    def stopped(access: Callable[..., Any], *words: Any) -> Any:
        steps.append(None)
        if len(steps) == moment + 1:
            inner()
        return access(*words)

    for name in ("load_acquire", "store_release", "fetch_add", "compare_and_set"):
        patch.setattr(fans, name, functools.partial(stopped, getattr(fans, name)))
    return steps


def fill(fan: Any, out: Any) -> None:
    """As a producer does: all there is room for."""
    apply(fan, PUBLISH, 0, max(apply(fan, ROOM, 0, 4, 0, out), 0), 4, out)


@pytest.mark.skipif(JIT, reason="only in plain Python can one act come between two steps of another")
@pytest.mark.parametrize("looks_first", [True, False])
def test_a_consumer_that_attaches_while_the_producer_looks_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch, looks_first: bool
) -> None:
    """Either is stopped before each of its ordered accesses in turn, while the other runs from end to end."""
    for moment in range(20):
        fan, out = fans.create(RECORD, 4, APART[:2]), column([0] * 8)
        apply(fan, PUBLISH, 0, 4, 0, out)
        assert apply(fan, READY, 0, 0, 0, out) == 4
        apply(fan, RELEASE, 0, 4, 0, out)
        fans.detach(fan, 1)
        acts = functools.partial(fill, fan, out), functools.partial(fans.attach, fan, 1, 0)
        outer, inner = acts if looks_first else acts[::-1]
        with monkeypatch.context() as patch:
            steps = stop_before(patch, moment, inner)
            outer()
        fans.check(fan)
        if len(steps) <= moment:
            break
    assert moment > 3, "there was nothing to come between"


PATIENCE = 1_000  # spins before a thread goes back to Python and lets others have the core


@loop
def produce(fan: Any, at: int, end: int, batch: int) -> int:
    spins = 0
    while at < end and spins < PATIENCE:
        wanted = min(batch, end - at)
        if fans.room(fan, wanted) < wanted:
            pause()
            spins += 1
            continue
        spins = 0
        for offset in range(wanted):
            record = fan.slots[fans.claimed(fan, offset)]
            record.sequence, record.order_id, record.aux, record.qty = at + offset, ~(at + offset), 0, 0
        fans.publish(fan, wanted)
        at += wanted
    return at


@loop
def consume(fan: Any, k: int, at: int, end: int, wrong: Any) -> int:
    """0 writes `aux`, 1 writes `qty`, 2 wants to see both: a diamond without its tip."""
    spins = 0
    while at < end and spins < PATIENCE:
        waiting = fans.ready(fan, k)
        if waiting == 0:
            pause()
            spins += 1
            continue
        spins = 0
        for offset in range(waiting):
            record = fan.slots[fans.polled(fan, k, offset)]
            if record.sequence != at + offset or record.order_id != ~record.sequence:
                wrong[k] += 1
            if k == 0:
                record.aux = record.sequence * 3
            elif k == 1:
                record.qty = record.sequence * 5
            elif record.aux != record.sequence * 3 or record.qty != record.sequence * 5:
                wrong[k] += 1
        fans.release(fan, k, waiting)
        at += waiting
    return at


@pytest.mark.jit_only
@pytest.mark.parametrize(("capacity", "batch", "count"), [(2, 1, 20_000), (8, 3, 100_000), (1024, 16, 1_000_000)])
def test_racing_threads_see_every_record_once_in_order_and_after_those_before_them(
    capacity: int, batch: int, count: int
) -> None:
    fan, wrong, reached = fans.create(RECORD, capacity, [(), (), (0, 1)]), column([0] * 3), [0] * 4
    cores = sorted(os.sched_getaffinity(0))

    def run(who: int) -> None:
        os.sched_setaffinity(0, {cores[who % len(cores)]})
        while reached[who] < count:
            if who == 3:
                reached[3] = produce(fan, reached[3], count, batch)
            else:
                reached[who] = consume(fan, who, reached[who], count, wrong)
            os.sched_yield()

    threads = [threading.Thread(target=run, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reached == [count] * 4 and wrong.tolist() == [0, 0, 0]
    fans.check(fan)


@loop
def follow(fan: Any, k: int, many: int, wrong: Any) -> int:
    """Read up to `many` records, each of which must be the one its sequence says."""
    seen = 0
    for _ in range(PATIENCE):
        waiting = fans.ready(fan, k)
        for offset in range(waiting):
            record = fan.slots[fans.polled(fan, k, offset)]
            if record.sequence != fan.cells[fans.GATE + k * fans.STRIDE] + offset:
                wrong[k] += 1
        fans.release(fan, k, waiting)
        seen += waiting
        if seen >= many:
            break
    return seen


@pytest.mark.jit_only
def test_a_consumer_comes_and_goes_while_the_producer_runs_and_never_reads_what_was_overwritten() -> None:
    fan, wrong, stop = fans.create(RECORD, 8, [(), ()]), column([0] * 2), threading.Event()
    cores = sorted(os.sched_getaffinity(0))
    total = [0, 0, 0]

    def producer() -> None:
        os.sched_setaffinity(0, {cores[-1]})
        while not stop.is_set():
            total[2] = produce(fan, total[2], total[2] + 10_000, 1)
            total[0] += follow(fan, 0, 1, wrong)
            os.sched_yield()

    thread = threading.Thread(target=producer)
    thread.start()
    os.sched_setaffinity(0, {cores[0]})
    for _ in range(300):
        # Stopped before it is detached, as a process that has died.
        assert fans.detach(fan, 1)
        os.sched_yield()
        assert fans.attach(fan, 1, 0) != NONE
        total[1] += follow(fan, 1, 20, wrong)
    stop.set()
    os.sched_setaffinity(0, cores)
    thread.join()
    assert wrong.tolist() == [0, 0] and total[1] > 0
    fans.check(fan)
