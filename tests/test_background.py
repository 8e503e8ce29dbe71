"""A recorded market as orders: the entries against a dict of what is open, and times that stretch."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import memory
from ultra.hot import ring as rings
from ultra.venues import background as backgrounds
from ultra.wire import (
    ADD,
    ASK,
    BID,
    CANCEL,
    CANCEL_ORDER,
    DELETE,
    ENTRY,
    EXECUTE,
    IMMEDIATE,
    NEW,
    NONE,
    RECORD,
    REPLACE,
    REPLACE_ORDER,
    TRADE,
)

OWNER, INSTRUMENT, BEGIN = 5, 2, 1_000_000


@loop
def convert(background, records, entries, times, made):
    for k in range(len(records)):
        background.feed.slots[rings.claimed(background.feed, 0)] = records[k]
        rings.publish(background.feed, 1)
        times[k] = backgrounds.due(background)
        made[k] = backgrounds.take(background, entries[k], times[k])


def played(rows: list[tuple[int, ...]], orders: int = 4, speed: int = 1000) -> tuple[Any, Any, Any, Any]:
    """Entries, times and which of them count, of (kind, id, side, price, qty, aux, ts)."""
    found = memory.zeros(len(rows), RECORD)
    for record, row in zip(found, rows, strict=True):
        record.kind, record.order_id, record.side, record.price, record.qty, record.aux, record.ts_event = row
    background = backgrounds.create(16, orders)
    backgrounds.play(background, OWNER, INSTRUMENT, BEGIN, speed)
    entries, times, made = memory.zeros(len(rows), ENTRY), np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    convert(background, found, entries, times, made)
    backgrounds.check(background)
    return background, entries, times, made


def test_a_recording_passes_at_the_speed_it_is_told() -> None:
    rows = [(ADD, k + 1, BID, 100, 1, NONE, 5_000 + 300 * k) for k in range(3)]
    for speed, gap in ((1000, 300), (2000, 150), (100, 3000)):
        _, entries, times, _ = played(rows, speed=speed)
        assert times.tolist() == [BEGIN + k * gap for k in range(3)] == entries.ts_event.tolist()


KINDS = st.sampled_from([ADD, ADD, ADD, EXECUTE, EXECUTE, CANCEL, DELETE, REPLACE, TRADE])
STEPS = st.lists(st.tuples(KINDS, st.integers(1, 6), st.integers(0, 1), st.integers(1, 9), st.integers(1, 3),
                           st.integers(1, 6)), min_size=10, max_size=60)  # fmt: skip


@given(STEPS)
def test_what_is_entered_is_what_the_recording_says_is_open(steps: list[tuple[int, ...]]) -> None:
    background, entries, _, made = played([(*step, 0) for step in steps])
    known: dict[int, list[int]] = {}
    counts = dict.fromkeys(backgrounds.OUTCOMES, 0)
    for (kind, order_id, side, price, qty, aux), entry, counted in zip(steps, entries, made.tolist(), strict=True):
        found = tuple(int(entry[name]) for name in ("kind", "side", "flag", "order_id", "price", "qty", "aux"))
        if kind == ADD:
            fits = len(known) < 4 and order_id not in known
            counts["full" if len(known) == 4 else "entered" if fits else "skipped"] += 1
            if fits:
                known[order_id] = [price, qty, side]
                assert found == (NEW, side, 0, order_id, price, qty, 0)
            assert counted == fits
        elif kind == TRADE or order_id not in known:
            counts["skipped" if kind == TRADE else "unknown"] += 1
            assert not counted
        elif kind == REPLACE:
            own = known.pop(order_id)
            assert counted
            if aux in known:
                counts["skipped"] += 1
                assert found[0] == CANCEL_ORDER and found[5] == 0 and found[3] == order_id
            else:
                counts["entered"] += 1
                known[aux] = [price, qty, own[2]]
                assert found == (REPLACE_ORDER, own[2], 0, order_id, price, qty, aux)
        else:
            own = known[order_id]
            lots = own[1] if kind == DELETE else min(qty, own[1])
            own[1] -= lots
            if kind == EXECUTE:
                counts["executed"] += 1
                number = backgrounds.TAKER | counts["executed"]
                assert found == (NEW, ASK - own[2], IMMEDIATE, number, own[0], lots, 0)
            else:
                assert found[0] == CANCEL_ORDER and found[3] == order_id and found[5] == own[1]
            if own[1] == 0:
                del known[order_id]
            assert counted
        assert (int(entry.owner), int(entry.instrument)) == (OWNER, INSTRUMENT)
    assert {name: int(background.cells[cell]) for name, cell in backgrounds.OUTCOMES.items()} == counts
