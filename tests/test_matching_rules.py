"""The rulebook, rule by rule: what goes in and what comes out, small enough to be read.

`docs/rulebook.md` names the tests of this file. A case is a list of entries, and what they caused in short: reports as
(what, whose number, price, lots), public records as (what, ref, price, lots).
"""

from typing import Any

import pytest
from matching_rig import Rig, Terms

from ultra.hot import ladder as ladders
from ultra.venues import matching_check, matching_state
from ultra.venues.matching_tape import REASONS
from ultra.wire import (
    ASK,
    AT_MARKET,
    AUCTION,
    BID,
    CANCEL_ORDER,
    END_OF_DAY,
    FILL_OR_KILL,
    GOOD_TILL_CANCEL,
    HALTED,
    HIDDEN,
    IMMEDIATE,
    KIND_NAMES,
    MASS_CANCEL,
    NEW,
    NONE,
    NOT_PRINTABLE,
    ON_CLOSE,
    ON_OPEN,
    PAUSED,
    POST_ONLY,
    QUOTE_ONLY,
    REPLACE_ORDER,
    SET_STATE,
    STOP,
    STP_BOTH,
    STP_NEWEST,
    STP_OLDEST,
    TRADING,
)  # fmt: skip

NAMES = KIND_NAMES | {20: "replaced", 21: "triggered"}
A, B, C = 0, 1, 2  # accounts


def order(number: int, owner: int, side: int, qty: int, price: int = 100, flag: int = 0, **more: int) -> dict[str, int]:
    return {
        "kind": NEW, "order_id": number, "owner": owner, "side": side, "qty": qty, "price": price, "flag": flag, **more,
    }  # fmt: skip


def buy(number: int, owner: int, qty: int, price: int = 100, flag: int = 0, **more: int) -> dict[str, int]:
    return order(number, owner, BID, qty, price, flag, **more)


def sell(number: int, owner: int, qty: int, price: int = 100, flag: int = 0, **more: int) -> dict[str, int]:
    return order(number, owner, ASK, qty, price, flag, **more)


def cancel(number: int, owner: int, left: int = 0) -> dict[str, int]:
    return {"kind": CANCEL_ORDER, "order_id": number, "owner": owner, "qty": left}


def replace(number: int, owner: int, new: int, qty: int, price: int = 100, **more: int) -> dict[str, int]:
    entry = {"kind": REPLACE_ORDER, "order_id": number, "owner": owner, "aux": new, "qty": qty, "price": price}
    return entry | more


def state(value: int, flag: int = 0) -> dict[str, int]:
    return {"kind": SET_STATE, "aux": value, "flag": flag}


class Case:
    """A venue of one instrument that trades, told some entries."""

    def __init__(self, *entries: dict[str, int], begin: int = TRADING, queue: str = "fifo", **terms: int) -> None:
        self.rig = Rig([Terms(**terms)], queue=queue)
        if begin:
            self.rig.enter(state(begin))
        self.tell(*entries)

    def tell(self, *entries: dict[str, int]) -> "Case":
        """What these entries cause is what `said`, `why` and `shown` are about."""
        self.reports, self.public = self.rig.enter(*entries)
        matching_check.check(self.rig.venue)
        return self

    @property
    def said(self) -> list[tuple[str, int, int, int]]:
        return [(NAMES[r[0]], r[6], r[8], r[9]) for r in self.reports]

    @property
    def why(self) -> list[str]:
        return [REASONS[r[5]] for r in self.reports if r[5]]

    @property
    def fills(self) -> list[tuple[int, int, int]]:
        return [(r[6], r[8], r[9]) for r in self.reports if NAMES[r[0]] == "fill"]

    @property
    def shown(self) -> list[tuple[str, int, int, int]]:
        return [(KIND_NAMES[r[0]], r[7], r[8], r[9]) for r in self.public]


# ---- priority


def test_better_prices_trade_first_and_at_one_price_who_came_first() -> None:
    case = Case(sell(1, A, 5, 101), sell(2, B, 5, 100), sell(3, A, 5, 100)).tell(buy(4, C, 12, 101))
    assert case.said == [
        ("accepted", 4, 101, 12), ("fill", 4, 100, 5), ("fill", 2, 100, 5), ("fill", 4, 100, 5), ("fill", 3, 100, 5),
        ("fill", 4, 101, 2), ("fill", 1, 101, 2),
    ]  # fmt: skip
    assert case.shown == [("execute", 2, NONE, 5), ("execute", 3, NONE, 5), ("execute", 1, NONE, 2)]


def test_a_trade_is_at_the_price_of_the_order_that_was_there() -> None:
    assert Case(buy(1, A, 5, 103)).tell(sell(2, B, 5, 90)).fills == [(2, 103, 5), (1, 103, 5)]


def test_what_does_not_trade_rests_at_the_end_of_its_level() -> None:
    case = Case(sell(1, A, 5), buy(2, B, 8), buy(3, C, 1))
    assert case.shown == [("add", 1, 100, 5), ("execute", 1, NONE, 5), ("add", 2, 100, 3), ("add", 3, 100, 1)]


def test_displayed_orders_trade_before_hidden_ones_at_a_price_and_hidden_ones_print_as_trades() -> None:
    case = Case(sell(1, A, 5, flag=HIDDEN), sell(2, B, 5), sell(3, B, 5, 99, HIDDEN))
    assert case.shown == [("add", 2, 100, 5)]
    case.tell(buy(4, C, 12))
    assert [number for number, _, _ in case.fills[1::2]] == [3, 2, 1]
    assert case.shown == [("trade", NONE, 99, 5), ("execute", 2, NONE, 5), ("trade", NONE, 100, 2)]


def test_an_iceberg_shows_a_slice_and_the_next_one_goes_to_the_back() -> None:
    case = Case(sell(1, A, 10, display=4), sell(2, B, 3))
    assert case.shown == [("add", 1, 100, 4), ("add", 2, 100, 3)]
    case.tell(buy(3, C, 6))
    assert [(number, lots) for number, _, lots in case.fills[1::2]] == [(1, 4), (2, 2)]
    assert case.shown == [("execute", 1, NONE, 4), ("add", 3 + 1, 100, 4), ("execute", 2, NONE, 2)]
    assert [(n, lots) for n, _, lots in case.tell(buy(4, C, 7)).fills[1::2]] == [(2, 1), (1, 4), (1, 2)]


# ---- order types


def test_an_order_at_market_takes_any_price_and_never_rests() -> None:
    case = Case(sell(1, A, 5, 100), sell(2, A, 5, 180)).tell(buy(3, B, 12, 0, AT_MARKET))
    assert case.said[-1] == ("cancelled", 3, NONE, 2) and case.why == ["unfilled"]
    assert [price for _, price, _ in case.fills[::2]] == [100, 180]


def test_immediate_or_cancel_trades_what_it_can_and_cancels_the_rest() -> None:
    case = Case(sell(1, A, 5)).tell(buy(2, B, 8, flag=IMMEDIATE))
    assert case.said[-1] == ("cancelled", 2, 100, 3) and case.why == ["unfilled"] and len(case.fills) == 2


def test_fill_or_kill_trades_all_at_once_or_nothing() -> None:
    book = [sell(1, A, 5), sell(2, A, 9, 101, display=2), sell(3, A, 2, 101, HIDDEN)]
    case = Case(*book).tell(buy(4, B, 17, 101, FILL_OR_KILL))
    assert case.said == [("accepted", 4, 101, 17), ("cancelled", 4, 101, 17)] and case.why == ["all_or_nothing"]
    assert sum(lots for _, _, lots in Case(*book).tell(buy(4, B, 16, 101, FILL_OR_KILL)).fills[::2]) == 16


def test_a_least_quantity_must_trade_at_once_and_the_rest_may_rest() -> None:
    case = Case(sell(1, A, 5)).tell(buy(2, B, 9, aux=6))
    assert case.why == ["least_not_met"] and not case.fills
    case = Case(sell(1, A, 5)).tell(buy(2, B, 9, aux=5))
    assert case.fills[0] == (2, 100, 5) and case.shown[-1] == ("add", 2, 100, 4)


def test_post_only_is_refused_if_any_of_it_would_trade_even_with_a_hidden_order() -> None:
    for flag in (0, HIDDEN):
        case = Case(sell(1, A, 5, flag=flag)).tell(buy(2, B, 5, flag=POST_ONLY), buy(3, B, 5, 99, POST_ONLY))
        assert case.why == ["would_trade"] and case.said[-1] == ("accepted", 3, 99, 5)


def test_a_stop_waits_unseen_until_a_trade_reaches_its_trigger() -> None:
    stops = [buy(1, A, 5, 105, STOP, stop=103), sell(2, A, 5, 0, STOP | AT_MARKET, stop=97)]
    case = Case(*stops)
    assert case.shown == [] and [what for what, *_ in case.said] == ["accepted"] * 2
    case.tell(sell(3, B, 1, 102), buy(4, C, 1, 102))
    assert "triggered" not in [what for what, *_ in case.said]
    case.tell(sell(5, B, 9, 103), buy(6, C, 1, 103))
    assert case.said[-3:] == [("triggered", 1, 105, 5), ("fill", 1, 103, 5), ("fill", 5, 103, 5)]
    case.tell(buy(7, C, 9, 97), sell(8, B, 1, 97))
    assert ("triggered", 2, NONE, 5) in case.said and (2, 97, 5) in case.fills


def test_stops_go_one_at_a_time_buys_first_and_what_they_trade_may_release_more() -> None:
    waiting = [
        buy(1, A, 1, 0, STOP | AT_MARKET, stop=102), buy(2, A, 1, 0, STOP | AT_MARKET, stop=101),
        buy(3, A, 1, 0, STOP | AT_MARKET, stop=104), sell(4, A, 1, 0, STOP | AT_MARKET, stop=102),
    ]  # fmt: skip
    case = Case(*waiting, sell(5, B, 1, 102), sell(6, B, 1, 103), sell(7, B, 9, 104)).tell(buy(8, C, 1, 102))
    assert [number for what, number, *_ in case.said if what == "triggered"] == [2, 1, 3]
    assert [price for _, price, _ in case.fills[::2]] == [102, 103, 104, 104]


def test_a_stop_whose_trigger_was_passed_already_goes_at_once() -> None:
    case = Case(sell(1, A, 1, 103), buy(2, B, 1, 103)).tell(buy(3, C, 5, 105, STOP, stop=102))
    assert case.said == [("accepted", 3, 105, 5), ("triggered", 3, 105, 5)] and case.shown[-1][0] == "add"


# ---- changes


def test_a_cancel_takes_all_or_leaves_what_it_says_and_keeps_the_place() -> None:
    case = Case(buy(1, A, 9), buy(2, B, 5)).tell(cancel(1, A, 4))
    assert case.said == [("cancelled", 1, 100, 5)] and case.shown == [("cancel", 1, NONE, 5)]
    assert [n for n, *_ in case.tell(sell(3, C, 5)).fills[1::2]] == [1, 2]
    assert case.tell(cancel(2, B)).said == [("cancelled", 2, 100, 4)] and case.shown == [("delete", 2, NONE, 0)]


def test_a_partial_cancel_of_an_iceberg_takes_what_nobody_sees_first() -> None:
    case = Case(buy(1, A, 9, display=3)).tell(cancel(1, A, 4))
    assert case.shown == []
    assert case.tell(cancel(1, A, 2)).shown == [("cancel", 1, NONE, 1)]


@pytest.mark.parametrize(("qty", "price", "keeps"), [(3, 100, True), (5, 100, True), (6, 100, False), (3, 99, False)])
def test_a_replacement_keeps_its_place_only_with_less_at_the_same_price(qty: int, price: int, keeps: bool) -> None:
    case = Case(buy(1, A, 5), buy(2, B, 5)).tell(replace(1, A, 9, qty, price))
    assert case.said == [("replaced", 9, price, qty)] and case.reports[0][-1] == 1
    if not keeps:
        assert case.shown == [("replace", 1, price, qty)] and case.public[0][-1] == 3
    first = case.tell(sell(3, C, 1, 99)).fills[1][0]
    assert first == (9 if keeps else 2)


def test_a_replacement_that_trades_is_a_delete_and_a_new_order() -> None:
    case = Case(sell(1, A, 4, 101), buy(2, B, 5)).tell(replace(2, B, 7, 6, 101))
    assert case.said[:2] == [("replaced", 7, 101, 6), ("fill", 7, 101, 4)]
    assert case.shown == [("delete", 2, NONE, 0), ("execute", 1, NONE, 4), ("add", 3, 101, 2)]


def test_a_refused_replacement_changes_nothing() -> None:
    case = Case(sell(1, A, 4, 101), buy(2, B, 5, 99, POST_ONLY), buy(3, B, 1, 98))
    case.tell(
        replace(2, B, 3, 5, 100), replace(2, B, 8, 0), replace(2, B, 8, 5, 101), replace(9, B, 8, 1), cancel(9, B)
    )
    assert case.why == ["duplicate_id", "bad_qty", "would_trade", "unknown_order", "unknown_order"]
    assert case.shown == [] and case.tell(cancel(2, B)).said == [("cancelled", 2, 99, 5)]


def test_a_number_is_used_once_a_day_even_when_its_order_is_over() -> None:
    case = Case(buy(1, A, 1), cancel(1, A)).tell(buy(1, A, 1), buy(1, B, 1), cancel(1, A))
    assert case.why == ["duplicate_id", "unknown_order"]
    case.tell({"kind": END_OF_DAY}, buy(1, A, 1))
    assert case.said[-1] == ("accepted", 1, 100, 1)


def test_a_mass_cancel_takes_every_order_of_its_owner_and_of_nobody_else() -> None:
    case = Case(buy(1, A, 1), buy(2, B, 1), sell(3, A, 1, 150, HIDDEN), buy(4, A, 1, 190, STOP, stop=180))
    case.tell({"kind": MASS_CANCEL, "owner": A, "instrument": NONE})
    assert [number for _, number, *_ in case.said] == [1, 3, 4] and set(case.why) == {"mass"}
    assert case.shown == [("delete", 1, NONE, 0)]


def test_the_end_of_the_day_cancels_what_does_not_outlive_it() -> None:
    case = Case(buy(1, A, 1), buy(2, A, 1, flag=GOOD_TILL_CANCEL)).tell({"kind": END_OF_DAY}, buy(2, A, 1))
    assert case.said[0] == ("cancelled", 1, 100, 1) and case.why == ["day_over", "duplicate_id"]


# ---- self-trade prevention


@pytest.mark.parametrize(
    ("flag", "gone", "filled"),
    [(0, [], [1, 2]), (STP_NEWEST, [3], [1]), (STP_OLDEST, [2], [1, 4]), (STP_BOTH, [2, 3], [1])],
)
def test_an_order_that_meets_one_of_its_owner(flag: int, gone: list[int], filled: list[int]) -> None:
    case = Case(sell(1, B, 2), sell(2, A, 2), sell(4, B, 2, 101)).tell(buy(3, A, 4, 101, flag))
    assert [number for number, _, _ in case.fills[1::2]] == filled
    assert [number for what, number, *_ in case.said if what == "cancelled"] == gone
    assert set(case.why) == ({"self_trade"} if gone else set())


def test_fill_or_kill_does_not_count_on_orders_of_its_owner() -> None:
    for flag, counted in ((0, 6), (STP_OLDEST, 4), (STP_NEWEST, 2)):
        book = [sell(1, B, 2), sell(2, A, 2), sell(4, B, 2, 101)]
        for qty in (counted, counted + 1):
            case = Case(*book).tell(buy(3, A, qty, 101, FILL_OR_KILL | flag))
            assert ("all_or_nothing" in case.why) == (qty > counted)


# ---- states and auctions


def test_only_cancels_are_taken_while_nothing_is_open() -> None:
    for value in (0, HALTED, PAUSED, QUOTE_ONLY):
        case = Case(buy(1, A, 5), begin=TRADING)
        case.tell(*([state(value)] if value else []))
        if value:
            case.tell(buy(2, A, 5), replace(1, A, 3, 4), cancel(1, A, 2), cancel(1, A))
            assert case.why == ["wrong_state", "wrong_state", "by_owner", "by_owner"]
    assert Case(buy(1, A, 5), begin=0).why == ["wrong_state"]


def test_in_an_auction_orders_are_collected_and_then_all_trade_at_one_price() -> None:
    case = Case(buy(1, A, 5, 104), begin=AUCTION, reference=100)
    case.tell(sell(2, B, 3, 98), sell(3, B, 4, 101, HIDDEN), buy(4, C, 2, 0, AT_MARKET))
    assert not case.fills and case.shown == [("add", 2, 98, 3)]
    case.tell(state(TRADING))
    assert case.fills == [(4, 101, 2), (2, 101, 2), (1, 101, 1), (2, 101, 1), (1, 101, 4), (3, 101, 4)]
    assert case.shown == [
        ("execute", 2, 101, 2), ("execute", 1, 101, 1), ("execute", 2, 101, 1), ("execute", 1, 101, 4),
        ("trade", NONE, 101, 7), ("status", NONE, NONE, 0),
    ]  # fmt: skip
    assert {r[2] for r in case.public if KIND_NAMES[r[0]] == "execute"} == {NOT_PRINTABLE}


@pytest.mark.parametrize(
    ("reference", "orders", "price"),
    [
        (90, [buy(1, A, 5, 104), buy(2, A, 5, 102), sell(3, B, 10, 98)], 98),  # most lots: 98 .. 102; nearest to 90
        (90, [buy(1, A, 5, 104), buy(2, A, 5, 100), sell(3, B, 5, 98)], 104),  # fewest left over
        (101, [buy(1, A, 5, 104), sell(2, B, 5, 98)], 101),  # the reference itself
        (150, [buy(1, A, 5, 104), sell(2, B, 5, 98)], 104),  # nearest to the reference
        (NONE, [buy(1, A, 5, 104), sell(2, B, 5, 98)], 104),  # the higher
        (101, [buy(1, A, 9, 103), buy(2, A, 9, 99), sell(3, B, 9, 99), sell(4, B, 9, 103)], 101),
    ],
)
def test_the_auction_price_and_its_tie_breaks(reference: int, orders: list[Any], price: int) -> None:
    case = Case(*orders, begin=AUCTION, reference=reference).tell(state(TRADING))
    assert {at for _, at, _ in case.fills} == {price}


def test_orders_for_an_auction_wait_for_theirs_and_end_with_it() -> None:
    case = Case(buy(1, A, 5, 101, ON_CLOSE), sell(2, B, 9, 0, ON_CLOSE | AT_MARKET), buy(3, C, 5, 99, ON_OPEN))
    assert case.shown == [] and not case.fills
    case.tell(state(AUCTION, ON_CLOSE), buy(4, C, 2, 100), state(TRADING))
    assert case.fills == [(1, 100, 5), (2, 100, 5), (4, 100, 2), (2, 100, 2)]
    assert case.said[-1] == ("cancelled", 2, NONE, 2) and case.why == ["auction_over"]
    assert case.tell(cancel(3, C)).said == [("cancelled", 3, 99, 5)]


def test_a_halt_behind_an_auction_does_not_leave_a_crossed_book() -> None:
    case = Case(buy(1, A, 5, 104), sell(2, B, 5, 98), begin=AUCTION).tell(state(HALTED), state(TRADING))
    assert case.fills == [(1, 104, 5), (2, 104, 5)]


# ---- what is refused


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (buy(1, A, 1, instrument=1), "bad_instrument"), (buy(1, 3, 1), "bad_owner"), (order(1, A, 2, 1), "bad_side"),
        (buy(0, A, 1), "bad_id"), (buy(1, A, 0), "bad_qty"), (buy(1, A, 102), "bad_qty"), (buy(1, A, 3), "odd_lot"),
        (buy(1, A, 2, 89), "price_band"), (buy(1, A, 2, 111), "price_band"), (buy(1, A, 2, 91), "bad_tick"),
        (buy(1, A, 2, flag=2048), "bad_flag"), (buy(1, A, 2, flag=POST_ONLY | IMMEDIATE), "bad_flag"),
        (buy(1, A, 2, flag=ON_OPEN | ON_CLOSE), "bad_flag"), (buy(1, A, 2, flag=STOP, stop=112), "bad_stop"),
        (buy(1, A, 4, flag=HIDDEN, display=2), "bad_display"), (buy(1, A, 4, display=3), "bad_display"),
        (buy(1, A, 2, aux=4), "bad_least"), (buy(1, A, 2, flag=POST_ONLY, aux=2), "bad_least"),
        ({"kind": 9}, "bad_kind"), ({"kind": SET_STATE, "aux": 9}, "bad_state"),
        ({"kind": SET_STATE, "instrument": 4, "aux": TRADING}, "bad_instrument"),
        ({"kind": MASS_CANCEL, "owner": 9}, "bad_owner"), (cancel(1, A), "unknown_order"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_refused_with_its_reason(entry: dict[str, int], reason: str) -> None:
    case = Case(entry, tick=2, lot=2, low=90, high=110)
    assert case.why == [reason] and case.said[0][0] == "rejected" and case.shown == []
    assert case.rig.venue.reasons[REASONS.index(reason)] == 1


def test_the_bounds_of_band_and_size_are_allowed() -> None:
    case = Case(buy(1, A, 2, 90), sell(2, A, 100, 110), tick=2, lot=2, low=90, high=110)
    assert case.why == []


def test_a_full_venue_refuses_and_loses_nothing() -> None:
    case = Case()
    case.rig = Rig([Terms()], orders_max=2)
    case.tell(state(TRADING), buy(1, A, 1), buy(2, A, 1), buy(3, A, 1), cancel(1, A), buy(4, A, 1))
    assert case.why == ["orders_full", "by_owner"]


def test_an_order_without_a_level_to_rest_in_is_cancelled() -> None:
    case = Case(high=1_000_000)
    small = ladders.create(matching_state.SIDES // 2, 1, 1)
    case.rig.venue = case.rig.venue._replace(ladder=small)
    case.tell(buy(1, A, 5, 100), buy(2, A, 1, 99), buy(3, A, 5, 900_000), replace(1, A, 4, 5, 800_000))
    assert case.why == ["levels_full", "levels_full"]
    assert case.shown == [("add", 1, 100, 5), ("add", 2, 99, 1), ("delete", 1, NONE, 0)]


# ---- models


def test_pro_rata_shares_by_size_and_rounds_in_favour_of_who_came_first() -> None:
    case = Case(sell(1, A, 6), sell(2, B, 3), sell(3, B, 1), queue="pro-rata").tell(buy(4, C, 5))
    assert [(number, lots) for number, _, lots in case.fills[1::2]] == [(1, 3), (2, 2)]


def test_fees_are_summed_by_account() -> None:
    case = Case(sell(1, A, 6), buy(2, B, 6))
    assert case.rig.venue.fees.tolist() == [-120, 180, 0]
