"""Traders of the venue: their clocks against what Poisson and Hawkes promise, their orders against a dict."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import JIT, memory
from ultra.hot.bits import mix
from ultra.venues import agents, arrivals
from ultra.wire import (
    ACCEPTED,
    ASK,
    BID,
    CANCEL_ORDER,
    CANCELLED,
    ENTRY,
    FILL,
    NEW,
    NONE,
    POST_ONLY,
    REJECTED,
    REPLACE_ORDER,
    REPLACED,
    REPORT,
)

MANY = 20_000 if JIT else 400
SECOND = 10**9
OWNER = 3


@loop
def arrive(row, times):
    for k in range(len(times)):
        times[k] = row.due
        arrivals.advance(row)


@loop
def decay(values, gaps, half_life, out):
    for k in range(len(values)):
        out[k] = arrivals.decayed(values[k], gaps[k], half_life)


@loop
def act(state, now, bid, ask, entries, out):
    """Let agents act until nobody is due; how many entries there are, and a hash of them."""
    made, folded = 0, 0
    while made < len(entries):
        at = agents.earliest(state, now)
        if at < 0:
            break
        if agents.act(state, at, bid, ask, entries[made]):
            entry = entries[made]
            for value in (entry.ts_event, entry.order_id, entry.price, entry.qty, np.int64(entry.side), entry.aux):
                folded = mix(folded, value)
            made += 1
    out[0], out[1] = made, folded


@loop
def tell(state, reports):
    for k in range(len(reports)):
        agents.observe(state, reports[k])


def clock(rate: float, burst: int = 0, half_life: int = 50_000_000, seed: int = 7) -> Any:
    row = memory.zeros(1, agents.AGENT)[0]
    arrivals.start(row, seed, round(rate * arrivals.UNIT), burst, half_life, 0)
    return row


def times(row: Any, many: int = MANY) -> Any:
    found = np.zeros(many, np.int64)
    arrive(row, found)
    return found


def dispersion(found: Any, window: int) -> float:
    """Variance over mean of arrivals a window: 1 when they know nothing of each other."""
    counts = np.bincount(found // window)[:-1]
    return float(counts.var() / counts.mean())


def test_the_same_seed_gives_the_same_times_in_every_mode() -> None:
    found = times(clock(1000.0, 700), 400)
    assert found[[1, 2, 100, 399]].tolist() == GOLDEN
    assert (np.diff(found) > 0).all()
    assert times(clock(1000.0, 700, seed=8), 400)[399] != found[399]


GOLDEN = [7888793, 10024403, 196025864, 509465982]


def test_a_poisson_stream_has_its_rate_and_no_memory() -> None:
    found = times(clock(1000.0))
    gaps = np.diff(found)
    slack = 4 / math.sqrt(MANY)
    assert abs(gaps.mean() * 1000 / SECOND - 1) < slack
    assert abs(gaps.std() / gaps.mean() - 1) < 2 * slack
    assert abs(dispersion(found, 20_000_000) - 1) < 12 * slack


@pytest.mark.jit_only
def test_a_hawkes_stream_has_its_rate_and_comes_in_bursts() -> None:
    """With half of the arrivals caused by earlier ones, counts over long windows vary by 1 / (1 - n)^2."""
    found = times(clock(1000.0, 500))
    assert abs(found[-1] / SECOND * 1000 / MANY - 1) < 0.06
    assert 2.5 < dispersion(found, 500_000_000) < 6
    assert dispersion(found, 1_000_000) < 1.5


@given(st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 10**12)), min_size=1, max_size=30))
def test_what_is_excited_halves_with_the_half_life(pairs: list[tuple[int, int]]) -> None:
    half_life, out = 50_000_000, np.zeros(len(pairs), np.int64)
    decay(np.array([v for v, _ in pairs]), np.array([g for _, g in pairs]), half_life, out)
    for (value, gap), left in zip(pairs, out.tolist(), strict=True):
        exact = value * 2 ** (-gap / half_life)
        assert left >= 0 and exact * 0.9999 - 20 <= left <= exact * 1.0002 + 1


def crowd(kinds: list[int], now: int = 0) -> agents.Agents:
    state = agents.create(len(kinds))
    for at, kind in enumerate(kinds):
        row = state.rows[at]
        arrivals.start(row, 100 + at, 1000 * arrivals.UNIT, 300, 20_000_000, now)
        row.kind, row.owner, row.reference, row.step, row.lot, row.lots = kind, OWNER, 10_000, 100, 10, 5
        row.depth, row.cancels, row.moves, row.takes, row.lean = 4, 400, 100, 50, 50
    return state


def acted(state: agents.Agents, now: int, bid: int, ask: int, room: int = 64) -> tuple[Any, int]:
    entries, out = memory.zeros(room, ENTRY), np.zeros(2, np.int64)
    act(state, now, bid, ask, entries, out)
    return entries[: out[0]], int(out[1])


def reports(rows: list[dict[str, int]]) -> Any:
    found = memory.zeros(len(rows), REPORT)
    for report, row in zip(found, rows, strict=True):
        report.owner = OWNER
        for name, value in row.items():
            setattr(report, name, value)
    return found


def test_the_same_seed_gives_the_same_orders_in_every_mode() -> None:
    state = crowd([agents.ZERO_INTELLIGENCE, agents.MAKER])
    entries, folded = acted(state, 20_000_000, 9_900, 10_100)
    assert (len(entries), folded) == ORDERS
    agents.check(state)


ORDERS = (47, -7169853739017356970)


def test_zero_intelligence_never_quotes_through_the_other_side() -> None:
    state = crowd([agents.ZERO_INTELLIGENCE])
    entries, _ = acted(state, 50_000_000, 9_900, 10_100)
    fresh = entries[entries.kind == NEW]
    passive = fresh[fresh.flag == 0]
    assert len(passive) > 10
    assert (passive.price[passive.side == BID] < 10_100).all() and (passive.price[passive.side == ASK] > 9_900).all()
    assert (entries.price % 100 == 0).all() and (fresh.qty % 10 == 0).all() and (fresh.qty > 0).all()
    assert len(set(fresh.order_id.tolist())) == len(fresh)


def test_a_full_agent_takes_back_before_it_places() -> None:
    state = crowd([agents.ZERO_INTELLIGENCE])
    open_orders = [(1 << agents.ID_BITS) | (k + 1) for k in range(agents.OWN_MAX)]
    tell(state, reports([dict(kind=ACCEPTED, order_id=n, price=9_000, qty=10) for n in open_orders]))
    entries, _ = acted(state, 50_000_000, 9_900, 10_100)
    assert len(entries) > 0 and set(entries.kind.tolist()) == {CANCEL_ORDER}
    assert set(entries.order_id.tolist()) <= set(open_orders)


def test_a_maker_keeps_a_quote_on_either_side_and_leans_against_its_position() -> None:
    state = crowd([agents.MAKER])
    first, _ = acted(state, 0, 9_900, 10_100, 1)
    assert first.kind.tolist() == [NEW] and first.side.tolist() == [BID] and first.flag[0] & POST_ONLY
    assert first.price.tolist() == [9_600] and first.qty.tolist() == [50]
    number = int(first.order_id[0])
    tell(state, reports([dict(kind=ACCEPTED, order_id=number, price=9_600, qty=50)]))
    second, _ = acted(state, SECOND, 9_900, 10_100, 1)
    assert second.side.tolist() == [ASK] and second.price.tolist() == [10_400]
    tell(state, reports([dict(kind=ACCEPTED, order_id=int(second.order_id[0]), price=10_400, qty=50, side=ASK)]))
    assert len(acted(state, 2 * SECOND, 9_900, 10_100)[0]) == 0
    # Ten bought, fifty lots a step: nothing moves. With sixty, both quotes go down a step.
    state.rows[0].position = 60
    moved, _ = acted(state, 3 * SECOND, 9_900, 10_100, 1)
    assert moved.kind.tolist() == [REPLACE_ORDER] and moved.price.tolist() == [9_500]
    assert moved.order_id.tolist() == [number]
    agents.check(state)


KINDS = {ACCEPTED: 1, FILL: 3, CANCELLED: 2, REPLACED: 2, REJECTED: 1}
STEPS = st.lists(
    st.tuples(
        st.sampled_from([kind for kind, weight in KINDS.items() for _ in range(weight)]),
        st.integers(0, 1),  # agent
        st.integers(1, 3),  # number
        st.integers(1, 3),  # another one
        st.integers(1, 4),  # lots
        st.integers(0, 1),  # side
    ),
    min_size=20,
    max_size=60,
)


@given(STEPS)
def test_agents_know_of_their_orders_what_a_dict_knows(steps: list[tuple[int, ...]]) -> None:
    state = crowd([agents.ZERO_INTELLIGENCE, agents.ZERO_INTELLIGENCE])
    known: list[dict[int, list[int]]] = [{}, {}]
    position, unknown = [0, 0], 0
    for kind, at, number, other, qty, side in steps:
        own = known[at]
        name, old = ((at + 1) << agents.ID_BITS) | number, ((at + 1) << agents.ID_BITS) | other
        if kind in (ACCEPTED, REPLACED) and name in own:
            continue  # a venue gives each number once
        told = dict(kind=kind, order_id=name, price=qty * 100, qty=qty, side=side, aux=old)
        if kind == ACCEPTED:
            own[name] = [qty * 100, qty, side]
        elif kind == REPLACED and old in own:
            own[name] = [qty * 100, qty, own.pop(old)[2]]
        elif kind in (FILL, CANCELLED) and name in own:
            told["qty"] = qty = min(qty, own[name][1])
            own[name][1] -= qty
            if kind == FILL:
                position[at] += -qty if side == ASK else qty
            if own[name][1] == 0:
                del own[name]
        elif kind != REJECTED:
            unknown += 1
        tell(state, reports([told]))
        agents.check(state)
        for agent in (0, 1):
            rows = state.own[agent * agents.OWN_MAX :][: int(state.rows[agent].live)]
            found = {int(r.order_id): [int(r.price), int(r.qty), int(r.side)] for r in rows}
            assert found == known[agent]
            assert int(state.rows[agent].position) == position[agent]
    assert int(state.cells[agents.UNKNOWN]) == unknown


def test_a_report_for_somebody_else_is_nobodys() -> None:
    state = crowd([agents.ZERO_INTELLIGENCE])
    told = reports([dict(kind=ACCEPTED, order_id=(1 << agents.ID_BITS) | 9, price=100, qty=1)] * 3)
    told[0].order_id, told[1].owner, told[2].order_id = 9, OWNER + 1, NONE
    tell(state, told)
    assert int(state.rows[0].live) == 0 and int(state.cells[agents.UNKNOWN]) == 3
