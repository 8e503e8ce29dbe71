"""The paper venue keeps its five rules: each with a small vector, all of them against a twin written to be read.

The vectors say what must come out; the twin (`paper_twin`) and the venue then get the same random records and orders,
and must give the same replies. What no venue may ever do is held for itself: a fill without a cause, a lost reply.
"""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paper_rig import OWN_MAX, Rig
from paper_twin import ORDER, WITHDRAW, Event, play

from ultra.hot import book as books
from ultra.venues import paper
from ultra.wire import (
    ACCEPTED,
    ADD,
    ASK,
    BID,
    CANCEL,
    CANCELLED,
    DELETE,
    EXECUTE,
    FILL,
    IMMEDIATE,
    NONE,
    POST_ONLY,
    REJECTED,
    REPLACE,
)


def add(ts: int, id: int, side: int, price: int, qty: int) -> Event:
    return Event(ADD, ts, 0, side, id, price, qty)


def execute(ts: int, id: int, qty: int, price: int = NONE) -> Event:
    return Event(EXECUTE, ts, id=id, price=price, qty=qty)


def order(handle: int, side: int, price: int, qty: int, flags: int = 0) -> Event:
    return Event(ORDER, 0, 0, side, handle, price, qty, flags)


BOOK = [add(0, 1, BID, 900, 10), add(0, 2, BID, 900, 5), add(0, 3, ASK, 1100, 10), add(0, 4, ASK, 1200, 20)]


# ---- the rules, one by one


def test_rule_1_a_request_takes_effect_after_the_latency_on_the_book_of_that_moment() -> None:
    late, early = add(15, 5, ASK, 1100, 7), add(14, 5, ASK, 1100, 7)
    for record, traded in ((early, 17), (late, 10)):
        rig = Rig([*BOOK, add(10, 9, BID, 100, 1), order(70, BID, 1100, 30, IMMEDIATE), record], latency=5)
        assert rig.said == [
            ("accepted", 70, 1100, 30), ("fill", 70, 1100, traded), ("cancelled", 70, 1100, 30 - traded),
        ]  # fmt: skip
        assert {reply.ts for reply in rig.replies} == {15}


def test_rule_2_what_crosses_trades_with_what_is_shown_best_price_first_at_recorded_prices() -> None:
    assert Rig([*BOOK, order(70, BID, 1200, 25, IMMEDIATE)]).said == [
        ("accepted", 70, 1200, 25), ("fill", 70, 1100, 10), ("fill", 70, 1200, 15),
    ]  # fmt: skip
    assert Rig([*BOOK, order(70, ASK, 800, 16)]).said[1:] == [("fill", 70, 900, 15)]


def test_rule_2_what_we_took_stays_taken_until_the_shown_quantity_changes() -> None:
    again = [order(handle, BID, 1100, 6, IMMEDIATE) for handle in (70, 71, 72)]
    rig = Rig([*BOOK, *again, add(1, 5, ASK, 1100, 1), order(73, BID, 1100, 20, IMMEDIATE)])
    filled = [(reply.handle, reply.qty) for reply in rig.replies if reply.kind == FILL]
    assert filled == [(70, 6), (71, 4), (73, 11)]


def test_rule_3_what_rests_waits_behind_all_that_was_shown_and_moves_forward_with_it() -> None:
    joined = [*BOOK, order(70, BID, 900, 8)]  # behind 15
    assert Rig([*joined, execute(1, 1, 10), execute(1, 2, 5)]).said == [("accepted", 70, 900, 8)]
    for forward in (execute(1, 1, 10), Event(CANCEL, 1, id=1, qty=10), Event(DELETE, 1, id=1)):
        ahead = [forward, Event(DELETE, 1, id=2), add(1, 6, BID, 900, 9)]
        assert Rig([*joined, *ahead, execute(2, 6, 3)]).said[1:] == [("fill", 70, 900, 3)]


def test_rule_3_an_order_that_came_after_ours_does_not_move_us_forward() -> None:
    behind = [*BOOK, order(70, BID, 900, 8), add(1, 6, BID, 900, 9), Event(DELETE, 1, id=6)]
    assert Rig([*behind, execute(2, 1, 10), execute(2, 2, 5)]).said[1:] == []
    assert Rig([*behind, Event(DELETE, 2, id=2), add(2, 7, BID, 900, 9), execute(3, 1, 9)]).said[1:] == []


def test_rule_4_an_execution_at_our_price_fills_us_with_what_the_queue_ahead_leaves() -> None:
    rig = Rig([*BOOK, order(70, BID, 900, 8), add(1, 6, BID, 900, 40), execute(2, 6, 18), execute(3, 6, 22)])
    assert rig.said[1:] == [("fill", 70, 900, 3), ("fill", 70, 900, 5)]
    assert [reply.ts for reply in rig.replies] == [0, 2, 3]


def test_rule_4_an_execution_at_a_worse_price_or_an_order_through_ours_meets_us_first() -> None:
    better = [*BOOK, order(70, BID, 1000, 8)]
    assert Rig([*better, execute(1, 1, 6)]).said[1:] == [("fill", 70, 1000, 6)]
    for price in (1000, 950):
        assert Rig([*better, add(1, 6, ASK, price, 3)]).said[1:] == [("fill", 70, 1000, 3)]
        assert Rig([*better, Event(REPLACE, 1, id=3, price=price, qty=9, more=6)]).said[1:] == [("fill", 70, 1000, 8)]
    for away in (add(1, 6, ASK, 1050, 3), add(1, 6, BID, 950, 3), Event(CANCEL, 1, id=1, qty=5)):
        assert Rig([*better, away]).said[1:] == []


def test_rule_4_orders_of_ours_share_one_record_best_price_first_then_oldest_first() -> None:
    mine = [order(70, BID, 950, 4), order(71, BID, 1000, 4), order(72, BID, 1000, 4)]
    rig = Rig([*BOOK, *mine, add(1, 6, ASK, 950, 10)])
    assert rig.said[3:] == [("fill", 71, 1000, 4), ("fill", 72, 1000, 4), ("fill", 70, 950, 2)]


def test_rule_5_the_market_does_not_react_and_our_orders_do_not_trade_with_each_other() -> None:
    rig = Rig([*BOOK, order(70, BID, 1000, 5), order(71, ASK, 1000, 5), order(72, ASK, 900, 15)])
    assert rig.said == [
        ("accepted", 70, 1000, 5), ("accepted", 71, 1000, 5), ("accepted", 72, 900, 15), ("fill", 72, 900, 15),
    ]  # fmt: skip
    assert books.levels(rig.book, 0).keys() == {900} and books.levels(rig.book, 1).keys() == {1100, 1200}


def test_post_only_is_refused_when_any_of_it_would_trade() -> None:
    rig = Rig([*BOOK, order(70, BID, 1100, 1, POST_ONLY), order(71, BID, 1000, 1, POST_ONLY)])
    assert rig.said == [("rejected", 70, 1100, 1), ("accepted", 71, 1000, 1)]
    assert Rig([order(70, BID, 1100, 1)][:0]).said == []


def test_a_cancel_gives_back_what_is_left_once_and_a_full_venue_says_so() -> None:
    rig = Rig([*BOOK, order(70, BID, 1000, 8), add(1, 6, ASK, 1000, 3), *[Event(WITHDRAW, id=70)] * 2])
    assert rig.said[1:] == [("fill", 70, 1000, 3), ("cancelled", 70, 1000, 5), ("rejected", 70, NONE, 0)]
    full = Rig([*BOOK, *(order(70 + k, BID, 800, 1) for k in range(OWN_MAX + 1))])
    assert [name for name, *_ in full.said] == ["accepted"] * OWN_MAX + ["rejected"]


# ---- the twin

ACTS = "AAAAAAEEEEEEXXDDUUOOOOOWWW"  # letters of ITCH; O and W are an order of ours and its withdrawal


def flow(seed: int, length: int) -> list[Event]:
    """Records and requests around a few prices, so dense that orders of ours queue, cross and are met by others."""
    dice = random.Random(seed)
    found, seen, ts, handle = [add(0, 1, BID, 900, 1)], [1], 0, 70
    for _ in range(length):
        act, instrument, side = dice.choice(ACTS), int(dice.random() < 0.1), dice.randrange(2)
        qty, price = dice.randint(1, 4), 1000 + (100 if side == ASK else -100) * dice.randint(-1, 2)
        if act in "OW":
            flags = dice.choice((0, 0, 0, 0, IMMEDIATE, POST_ONLY))
            handle += act == "O"
            back = dice.randint(handle - 6, handle + 1) if act == "W" else handle
            found.append(Event(ORDER if act == "O" else WITHDRAW, 0, instrument, side, back, price, qty + 1, flags))
            continue
        ts += dice.randint(0, 2)
        fresh, old = dice.randint(1, 40), dice.choice(seen[-8:])
        if act in "AU":
            seen.append(fresh)
        found.append({
            "A": Event(ADD, ts, instrument, side, fresh, price, qty),
            "E": Event(EXECUTE, ts, instrument, 0, old, price if fresh < 4 else NONE, qty),
            "X": Event(CANCEL, ts, instrument, 0, old, NONE, qty),
            "D": Event(DELETE, ts, instrument, 0, old),
            "U": Event(REPLACE, ts, instrument, 0, old, price, qty, fresh),
        }[act])  # fmt: skip
    return found


# A failing example shrinks to the shortest beginning of a flow.
FLOWS = given(st.builds(flow, st.integers(0, 1 << 40), st.integers(1, 400)), st.integers(0, 3))


@FLOWS
def test_the_venue_and_its_twin_give_the_same_replies(events: list[Event], latency: int) -> None:
    assert Rig(events, latency).replies == play(events, latency, OWN_MAX).replies


@FLOWS
def test_no_order_gets_more_than_it_asked_for_and_every_order_is_answered_once(
    events: list[Event], latency: int
) -> None:
    rig = Rig(events, latency)
    orders = {e.id: e for e in rig.events if e.kind == ORDER}
    answers = Counter(
        reply.handle for reply in rig.replies if reply.kind in (ACCEPTED, REJECTED) and reply.price != NONE
    )
    assert answers == dict.fromkeys(orders, 1)
    left = {handle: e.qty for handle, e in orders.items()}
    for reply in rig.replies:
        if reply.kind in (FILL, CANCELLED):
            left[reply.handle] -= reply.qty
            assert reply.qty > 0 and left[reply.handle] >= 0
    resting = {int(rig.venue.rows[at].handle): int(rig.venue.rows[at].qty) for at in linked(rig.venue)}
    for reply in rig.replies:
        if reply.kind == ACCEPTED:
            assert left[reply.handle] == resting.get(reply.handle, 0)
        elif reply.kind == CANCELLED:
            assert left[reply.handle] == 0


@FLOWS
def test_every_fill_of_a_resting_order_has_a_record_that_paid_for_it(events: list[Event], latency: int) -> None:
    rig = Rig(events, latency)
    orders, used = {e.id: e for e in rig.events if e.kind == ORDER}, Counter[int]()
    matches = [reply.aux for reply in rig.replies if reply.kind == FILL]
    assert matches == list(range(1, len(matches) + 1))
    for reply in rig.replies:
        mine = orders.get(reply.handle)
        if reply.kind != FILL or mine is None:
            continue
        sign = 1 if mine.side == BID else -1
        assert sign * (mine.price - reply.price) >= 0, "filled beyond its limit"
        if reply.cause != NONE:
            cause = rig.events[reply.cause]
            used[reply.cause] += reply.qty
            assert cause.kind in (ADD, EXECUTE, REPLACE) and cause.instrument == mine.instrument
            assert cause.ts >= mine.ts + latency and used[reply.cause] <= cause.qty
            assert cause.kind != ADD or (cause.side != mine.side and sign * (mine.price - cause.price) >= 0)


def linked(venue: Any) -> list[int]:
    """Rows of all resting orders."""
    found = []
    for at in venue.first.tolist():
        while at >= 0:
            found.append(at)
            at = int(venue.rows[at].next)
    return found


def test_a_reply_that_finds_no_room_is_counted_and_the_check_says_so() -> None:
    rig = Rig(BOOK)
    rig.venue.cells[paper.DROPPED] = 1
    with pytest.raises(AssertionError):
        paper.check(rig.venue)
