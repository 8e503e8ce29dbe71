"""The last check: for every reason a value that passes and its neighbour that does not. Nothing set, nothing sent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import market as markets
from ultra.hot import memory
from ultra.hot import risk as risks
from ultra.hot.risk import (
    COLLAR_BPS,
    DUPLICATE_WINDOW_NS,
    MESSAGE_RATE_MAX,
    NOTIONAL_MAX,
    OPEN_ORDER_MAX,
    ORDER_QTY_MAX,
    PASS,
    POSITION_QTY_MAX,
    REASONS,
    SANE_MAX,
)  # fmt: skip
from ultra.wire import (
    ASK,
    BID,
    CLOSED,
    HALTED,
    NONE,
    PAUSED,
    QUOTE_ONLY,
    RECONCILING,
    REQUEST,
    STALE,
    SYNCING,
    TRADING,
    UNKNOWN_STATE,
)  # fmt: skip

HIGH = (1 << 63) - 1
SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
LIMITS = {ORDER_QTY_MAX: 100, NOTIONAL_MAX: 10_000, COLLAR_BPS: 1000, POSITION_QTY_MAX: 150, OPEN_ORDER_MAX: 3,
          DUPLICATE_WINDOW_NS: 1000, MESSAGE_RATE_MAX: 5}  # fmt: skip
VIEW = {"bid": 99, "ask": 101, "status": TRADING}
BUY = {"side": BID, "price": 100, "qty": 10}


@loop
def decide(risk: Any, market: Any, request: Any, now: int, send: bool) -> int:
    row = request[0]
    reason = risks.check(risk, market[row.instrument], row, now)
    if send and reason == PASS:
        risks.sent(risk, row, now)
    return reason


@loop
def set_limit(risk: Any, instrument: int, which: int, value: int) -> bool:
    return risks.set_limit(risk, instrument, which, value)


@loop
def count_message(risk: Any, now: int) -> None:
    risks.count_message(risk, now)


class Desk:
    """Two instruments that trade, limits that let BUY through, and every change a test asks for."""

    def __init__(self, limits: dict[int, int] | None = None, view: dict[str, int] | None = None) -> None:
        self.risk, self.market = risks.create(2), markets.create(2)
        self.request = memory.zeros(1, REQUEST)
        for which, value in (LIMITS | (limits or {})).items():
            assert set_limit(self.risk, NONE, which, value)
        for name, value in (VIEW | (view or {})).items():
            self.market[name] = value

    def ask(self, *, now: int = NOW, send: bool = False, **request: int) -> str:
        for name, value in (BUY | request).items():
            self.request[name] = value
        return REASONS[decide(self.risk, self.market, self.request, now, send)]


# (reason, what is changed, value that passes, value that does not)
REQUESTS = [
    ("bad_side", "side", BID, 2), ("bad_side", "side", ASK, -1), ("bad_qty", "qty", 1, 0), ("bad_qty", "qty", 1, -1),
    ("bad_price", "price", 90, 0), ("bad_price", "price", 90, -1), ("qty_limit", "qty", 100, 101),
    ("price_collar", "price", 110, 111), ("price_collar", "price", 90, 89), ("bad_qty", "qty", 1, HIGH),
    ("bad_price", "price", 90, (1 << 62) + 100), ("bad_price", "price", 90, HIGH),
]  # fmt: skip
VIEWS = [
    ("halted", "halted", 0, 1), ("not_trading", "status", TRADING, UNKNOWN_STATE),
    ("not_trading", "status", TRADING, HALTED), ("not_trading", "status", TRADING, PAUSED),
    ("not_trading", "status", TRADING, QUOTE_ONLY), ("position_limit", "position", 140, 141),
    ("position_limit", "open_bid_qty", 140, 141), ("open_order_limit", "open_orders", 2, 3),
    ("no_reference", "bid", 95, NONE), ("no_reference", "ask", 95, NONE), ("no_reference", "ask", 95, HIGH),
]  # fmt: skip
UNSET = {
    ORDER_QTY_MAX: "qty_limit", NOTIONAL_MAX: "notional_limit", COLLAR_BPS: "price_collar",
    POSITION_QTY_MAX: "position_limit", OPEN_ORDER_MAX: "open_order_limit", MESSAGE_RATE_MAX: "rate_limit",
}  # fmt: skip


@pytest.mark.parametrize(("reason", "name", "good", "bad"), REQUESTS)
def test_a_request_is_refused_just_beyond_the_boundary(reason: str, name: str, good: int, bad: int) -> None:
    assert Desk().ask(**{name: good}) == "pass"
    assert Desk().ask(**{name: bad}) == reason


@pytest.mark.parametrize(("reason", "name", "good", "bad"), VIEWS)
def test_the_market_decides_just_at_the_boundary(reason: str, name: str, good: int, bad: int) -> None:
    assert Desk(view={name: good}).ask() == "pass"
    assert Desk(view={name: bad}).ask() == reason


@pytest.mark.parametrize("value", [0, -1, -HIGH])
@pytest.mark.parametrize(("which", "reason"), UNSET.items())
def test_a_limit_that_is_not_set_refuses_even_the_smallest_order(which: int, reason: str, value: int) -> None:
    desk = Desk({which: value}, {"position": -20})
    assert desk.ask(price=100, qty=1) == reason
    assert Desk({which: LIMITS[which]}, {"position": -20}).ask(price=100, qty=1) == "pass"


def test_nothing_set_nothing_sent() -> None:
    risk, market, request = risks.create(1), markets.create(1), memory.zeros(1, REQUEST)
    for name, value in BUY.items():
        request[name] = value
    assert REASONS[decide(risk, market, request, NOW, False)] == "not_trading"
    market.status = TRADING
    assert REASONS[decide(risk, market, request, NOW, False)] == "qty_limit"


def test_every_reason_has_its_name() -> None:
    names = {name.lower(): value for name, value in vars(risks).items() if name.lower() in REASONS}
    assert names == {name: value for value, name in enumerate(REASONS)}


def test_the_notional_is_price_times_quantity() -> None:
    assert Desk().ask(price=100, qty=100) == "pass"
    assert Desk().ask(price=101, qty=100) == "notional_limit"
    assert Desk({NOTIONAL_MAX: 9_999}).ask(price=100, qty=100) == "notional_limit"
    assert Desk({NOTIONAL_MAX: HIGH}).ask(price=100, qty=100) == "pass"


def test_a_sell_counts_against_the_short_side_of_the_position_limit() -> None:
    for position, open_ask, reason in ((-140, 0, "pass"), (-141, 0, "position_limit"), (-100, 41, "position_limit")):
        view = {"position": position, "open_ask_qty": open_ask, "open_bid_qty": 1000}
        assert Desk(view=view).ask(side=ASK) == reason
    assert Desk(view={"position": 1000}).ask(side=ASK) == "pass"
    assert Desk(view={"position": 1000}).ask(side=BID) == "position_limit"


def test_the_kill_switch_is_above_everything() -> None:
    desk = Desk()
    desk.risk.gates[risks.KILL] = 1
    assert desk.ask() == desk.ask(qty=-1) == "halted"
    desk.risk.gates[risks.KILL] = 0
    assert desk.ask() == "pass"


@pytest.mark.parametrize(
    ("gate", "reason", "shut"),
    [(risks.FEED, "stale_book", (SYNCING, STALE)), (risks.SESSION, "no_session", (RECONCILING, CLOSED))],
)
def test_nothing_leaves_on_a_book_that_is_not_whole_or_without_a_session(
    gate: int, reason: str, shut: tuple[int, ...]
) -> None:
    desk = Desk()
    for state in shut:
        desk.risk.gates[gate] = state
        assert desk.ask() == reason
        desk.risk.gates[risks.KILL] = 1
        assert desk.ask() == "halted"
        desk.risk.gates[:] = 0
        assert desk.ask() == "pass"


def test_the_last_trade_is_the_reference_when_a_side_is_empty() -> None:
    for view in ({"bid": NONE}, {"ask": NONE}, {"bid": NONE, "ask": NONE}):
        assert Desk(view=view | {"last_price": 100}).ask(price=110) == "pass"
        assert Desk(view=view | {"last_price": 100}).ask(price=111) == "price_collar"
        for unusable in (NONE, 0, -100, SANE_MAX + 1, (1 << 63) - 100 - (1 << 63), -(1 << 63) + 100):
            assert Desk(view=view | {"last_price": unusable}).ask() == "no_reference"


PRICES = st.one_of(st.integers(1, 300), st.integers(SANE_MAX - 300, SANE_MAX), st.integers(1, SANE_MAX))


@given(PRICES, PRICES, PRICES, st.one_of(st.integers(1, 30_000), st.just(HIGH)))
def test_the_collar_is_exact_for_any_prices(bid: int, ask: int, price: int, bps: int) -> None:
    desk = Desk({COLLAR_BPS: bps, NOTIONAL_MAX: HIGH}, {"bid": bid, "ask": ask})
    inside = abs(2 * price - bid - ask) <= (bid + ask) * min(bps, risks.COLLAR_BPS_MAX) // 10_000
    assert desk.ask(price=price) == ("pass" if inside else "price_collar")


def test_the_same_order_again_is_a_duplicate_until_the_window_ends() -> None:
    desk = Desk()
    assert desk.ask(send=True) == "pass"
    assert desk.ask(now=NOW) == desk.ask(now=NOW + 999) == "duplicate"
    assert desk.ask(now=NOW + 1000) == "pass"
    for other in ({"side": ASK}, {"price": 101}, {"qty": 11}, {"instrument": 1}):
        assert desk.ask(**other) == "pass"
    desk = Desk({DUPLICATE_WINDOW_NS: 0})
    assert [desk.ask(send=True) for _ in range(2)] == ["pass", "pass"]


def test_a_limit_is_set_for_one_instrument_or_for_all_or_not_at_all() -> None:
    desk = Desk()
    assert set_limit(desk.risk, 1, ORDER_QTY_MAX, 5)
    assert desk.ask(instrument=0) == "pass" and desk.ask(instrument=1) == "qty_limit"
    before = desk.risk.limits.copy()
    for instrument, which in ((2, 0), (0, -1), (0, MESSAGE_RATE_MAX + 1), (1 << 40, 0)):
        assert not set_limit(desk.risk, instrument, which, 1)
    assert (desk.risk.limits == before).all()


SLICE = 1 << risks.SLICE_BITS
STEPS = st.lists(
    st.tuples(
        st.sampled_from((0, 1, SLICE - 1, SLICE, 10 * SLICE, 15 * SLICE, SECOND - 1, SECOND, SECOND + 1, 16 * SLICE)),
        st.sampled_from(("order", "order", "order", "cancel")),
    ),
    min_size=30,
    max_size=60,
)


@given(st.integers(1, 6), st.integers(0, SECOND), STEPS)
def test_no_second_holds_more_orders_than_the_rate(rate: int, start: int, steps: list[tuple[int, str]]) -> None:
    desk = Desk({MESSAGE_RATE_MAX: rate, DUPLICATE_WINDOW_NS: 0})
    now, messages, orders = NOW + start, [], []
    for later, what in steps:
        now += later
        if what == "cancel":
            count_message(desk.risk, now)
            messages.append(now)
            continue
        in_a_second = sum(ts > now - SECOND for ts in messages)
        in_the_slices = sum(ts > now - risks.SLICES * SLICE for ts in messages)
        outcome = desk.ask(now=now, send=True)
        assert outcome == "pass" or in_the_slices >= rate, "refused without need"
        assert outcome == "rate_limit" or in_a_second < rate, "a message too many"
        if outcome == "pass":
            messages.append(now)
            orders.append(now)
    assert all(sum(ts - SECOND < other <= ts for other in orders) <= rate for ts in orders)


def test_a_burst_of_the_whole_rate_passes_at_once_and_again_a_little_later() -> None:
    desk = Desk({DUPLICATE_WINDOW_NS: 0})
    for burst in range(3):
        now = NOW + burst * risks.SLICES * SLICE
        assert [desk.ask(now=now, send=True) for _ in range(6)] == ["pass"] * 5 + ["rate_limit"]


def test_time_that_goes_back_does_not_open_the_gate() -> None:
    desk = Desk({DUPLICATE_WINDOW_NS: 0})
    assert [desk.ask(send=True) for _ in range(4)] == ["pass"] * 4
    # The same cell, a lap earlier: it must not be taken for an old slice and emptied.
    count_message(desk.risk, NOW - risks.SLICES * SLICE)
    for back in range(0, 40, 3):
        assert desk.ask(now=NOW - back * SECOND // 4) == "rate_limit"
    assert desk.ask(now=NOW + risks.SLICES * SLICE) == "pass"


def test_a_duplicate_window_of_zero_asks_for_nothing_even_when_time_goes_back() -> None:
    desk = Desk({DUPLICATE_WINDOW_NS: 0})
    assert desk.ask(send=True) == desk.ask(now=NOW - 1, send=True) == "pass"
