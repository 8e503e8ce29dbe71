"""The example strategies: each does what its page says, and its page says what it does.

On bars each is held to its rule in plain Python, fill by fill: what was wanted at a close is traded at the next
open. The market maker is held to the formulas and to its bounds. `test_example_pages.py` holds their pages to them.
"""

import math
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from contract_rig import Rig
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra import indicators, strategy
from ultra.hot import JIT
from ultra.lab import synthetic
from ultra.lab.bars import run_bars
from ultra.lab.tape import TapeError
from ultra.strategies.breakout import Breakout
from ultra.strategies.golden_cross import GoldenCross
from ultra.strategies.inventory_maker import InventoryMaker, quotes
from ultra.strategies.pairs import Pairs
from ultra.strategies.reversion import Reversion
from ultra.wire import ACCEPTED, ASK, BAR, BID, CANCEL_ORDER, CANCELLED, FILL, LEVEL, NEW, POST_ONLY

BARS = 400 if JIT else 120
Trade = tuple[int, int, int, int]  # bar, instrument, lots (signed), price


def bars_of(tape: Any, instrument: int = 0) -> Any:
    records = tape.array()
    return records[(records.kind == BAR) & (records.instrument == instrument)]


def trades(strategy: type, tape: Any, parameters: dict[str, Any]) -> list[Trade]:
    """What a strategy traded on a tape."""
    _, fills = run_bars(strategy, tape, parameters).course(0)
    numbers = {int(ts): k for k, ts in enumerate(bars_of(tape).ts_event)}
    return [
        (numbers[int(f.ts_event)], int(f.instrument), int(f.qty) * (1 if f.side == BID else -1), int(f.price))
        for f in fills
    ]


def wanted_trades(tape: Any, wanted: list[list[int]]) -> list[Trade]:
    """Positions wanted at each close, of each instrument, as trades at the next open."""
    found = []
    opens = [bars_of(tape, instrument).order_id.tolist() for instrument in range(len(wanted))]
    for bar in range(1, len(wanted[0])):
        for instrument, positions in enumerate(wanted):
            before = positions[bar - 2] if bar > 1 else 0
            if positions[bar - 1] != before:
                found.append((bar, instrument, positions[bar - 1] - before, opens[instrument][bar]))
    return found


def windows(closes: list[int], length: int) -> Iterator[list[int] | None]:
    for end in range(1, len(closes) + 1):
        yield closes[end - length : end] if end >= length else None


# ---- on bars


@pytest.mark.parametrize("short", [False, True])
def test_a_golden_cross_is_long_while_the_fast_mean_is_above(short: bool) -> None:
    tape = synthetic.one(BARS, seed=3, trend=0.0003)
    closes, want, wanted = bars_of(tape).price.tolist(), 0, []
    for quick, steady in zip(windows(closes, 5), windows(closes, 12), strict=True):
        if steady is not None and quick is not None:
            fast, slow = statistics.mean(quick), statistics.mean(steady)
            want = 100 if fast > slow else want if fast == slow else -100 if short else 0
        wanted.append(want)
    expected = wanted_trades(tape, [wanted])
    assert trades(GoldenCross, tape, {"fast": 5, "slow": 12, "short": short}) == expected and len(expected) > 5


def test_a_reverter_is_on_the_other_side_until_it_is_back_or_hope_is_gone() -> None:
    tape = synthetic.one(BARS, seed=4)
    side, wanted = 0, []
    for window in windows(bars_of(tape).price.tolist(), 10):
        if window is not None and len(set(window)) > 1:
            score = (window[-1] - statistics.mean(window)) / statistics.stdev(window)
            if side != 0 and (-score * side < 0.25 or -score * side > 2.0):
                side = 0
            elif side == 0 and 1.5 < abs(score) < 2.0:
                side = -1 if score > 0 else 1
        wanted.append(side * 100)
    expected = wanted_trades(tape, [wanted])
    given_ = {"length": 10, "enter": 1.5, "leave": 0.25, "stop": 2.0}
    assert trades(Reversion, tape, given_) == expected and len(expected) > 5


def test_a_breakout_is_on_the_side_of_the_band_it_left_until_the_middle() -> None:
    tape = synthetic.one(BARS, seed=5)
    side, wanted = 0, []
    for window in windows(bars_of(tape).price.tolist(), 10):
        if window is not None:
            middle, reach = statistics.mean(window), 1.75 * statistics.pstdev(window)
            if window[-1] > middle + reach:
                side = 1
            elif window[-1] < middle - reach:
                side = -1
            elif (window[-1] - middle) * side < 0:
                side = 0
        wanted.append(side * 100)
    expected = wanted_trades(tape, [wanted])
    assert trades(Breakout, tape, {"length": 10, "width": 1.75}) == expected and len(expected) > 5


def test_a_pair_is_held_in_the_ratio_that_the_filter_learned() -> None:
    tape = synthetic.pair(BARS, seed=6)
    y, x = (bars_of(tape, k).price * 0.01 for k in (0, 1))
    hedge = indicators.kalman(y, x, 1e-6, 0.1)
    side, wanted = 0, [[0, 0]]
    for bar in range(BARS):
        away = -hedge.error[bar] / hedge.deviation[bar]
        if bar >= 20:
            if side == 0 and abs(away) > 1.0:
                side = 1 if away > 0 else -1
            elif side != 0 and away * side < 0.0:
                side = 0
        held = [side * 100, -round(hedge.slope[bar] * side * 100)]
        wanted.append(held if held[0] != wanted[-1][0] else wanted[-1])
    expected = wanted_trades(tape, [list(column) for column in zip(*wanted[1:], strict=True)])
    assert trades(Pairs, tape, {"warmup": 20}) == expected and len(expected) > 5


# ---- the market maker


@loop
def quoted(params: Any, sigma2: float, middle: float, position: int, out: Any) -> None:
    out[0], out[1] = quotes(params, sigma2, middle, position)


@given(st.floats(1e-5, 0.1), st.floats(1e-3, 1.0), st.floats(1.0, 1e4), st.integers(-9, 9), st.sampled_from([1, 100]))
def test_quotes_are_avellaneda_and_stoikovs_rounded_outwards(
    gamma: float, k: float, sigma2: float, orders: int, step: int
) -> None:
    rig = {"gamma": gamma, "k": k, "horizon_s": 2.0, "step": step, "order_qty": 100}
    params = strategy.parameters(strategy.load(InventoryMaker), rig)
    out = np.zeros(2, np.int64)
    quoted(params[0], sigma2, 1_000_000.5, orders * 100, out)
    reservation = 1_000_000.5 - orders * gamma * sigma2 * 2.0
    spread = gamma * sigma2 * 2.0 + 2.0 / gamma * math.log(1.0 + gamma / k)
    bid, ask = out.tolist()
    assert bid % step == ask % step == 0 and bid < ask
    assert reservation - spread / 2 - step - 1e-6 <= bid <= reservation - spread / 2 + 1e-6
    assert reservation + spread / 2 - 1e-6 <= ask <= reservation + spread / 2 + step + 1e-6


def test_a_maker_quotes_both_sides_moves_and_leans_and_keeps_its_bound() -> None:
    rig = Rig(InventoryMaker, 1, gamma=0.01, k=0.01, length=2, slack=0, step=10, order_qty=10, position_max=20)
    touch = {BID: 100_000, ASK: 100_100}
    rig.feed(*({"kind": LEVEL, "instrument": 0, "side": s, "price": p, "qty": 50} for s, p in touch.items()))
    assert not rig.sent(), "sigma is not known yet"
    shown: list[dict[str, int]] = []
    for turn in range(1, 4):  # a sample a second, each ten ticks from the last
        for side in (BID, ASK):
            old, touch[side] = touch[side], touch[side] + (10 if turn % 2 else -10)
            at = {"kind": LEVEL, "instrument": 0, "side": side, "ts_event": rig.ts + 1_000_000_000}
            rig.feed(at | {"price": touch[side], "qty": 50}, at | {"price": old, "qty": 0})
        shown += rig.sent()
    first = {row["side"]: row for row in shown if row["kind"] == NEW}
    assert set(first) == {BID, ASK} and all(row["flag"] == POST_ONLY for row in first.values())
    assert first[BID]["price"] < touch[ASK] and first[ASK]["price"] > touch[BID]
    for fills in range(2):  # both bids are hit: it is long, and says so with lower quotes
        bid = [row for row in shown if row["kind"] == NEW and row["side"] == BID][-1]
        said = {"instrument": 0, "side": BID, "order_id": bid["order_id"], "price": bid["price"], "qty": bid["qty"]}
        rig.feed({"kind": ACCEPTED, **said}, {"kind": FILL, **said})
        rig.feed({"kind": LEVEL, "instrument": 0, "side": BID, "price": touch[BID], "qty": 60 + fills})
        shown += rig.sent()
        for row in [row for row in shown if row["kind"] == CANCEL_ORDER]:
            shown.remove(row)
            rig.feed({"kind": CANCELLED, "instrument": 0, "side": ASK, "order_id": row["order_id"], "qty": 10})
        rig.feed({"kind": LEVEL, "instrument": 0, "side": BID, "price": touch[BID], "qty": 70 + fills})
        shown += rig.sent()
    bids, asks = ([row["price"] for row in shown if row["kind"] == NEW and row["side"] == s] for s in (BID, ASK))
    assert int(rig.engine.market[0].position) == 20
    sigma2, middle = rig.state("sigma2"), (touch[BID] + touch[ASK]) / 2
    half = 0.3 * sigma2 + 100 * math.log(2.0)
    assert len(bids) == 2 and bids[1] == math.floor((middle - 0.6 * sigma2 - half) / 10) * 10, "at its bound no third"
    assert asks[-1] == max(math.ceil((middle - 1.2 * sigma2 + half) / 10) * 10, touch[BID] + 10) < asks[0]


# ---- made markets


def test_the_same_seed_makes_the_same_bars_and_another_does_not() -> None:
    one, again, other = (synthetic.one(50, seed=seed, trend=0.0003).array() for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes() != other.tobytes()
    assert synthetic.pair(50, seed=1).array().tobytes() == synthetic.pair(50, seed=1).array().tobytes()
    assert one.price[-3:].tolist() == [9245, 9365, 9348]


def test_made_bars_are_lawful_and_draws_are_normal() -> None:
    rows = bars_of(synthetic.one(BARS, seed=9, pull=0.1, trend=0.001))
    high, low = rows.price + (rows.aux >> 32), rows.price - (rows.aux & ((1 << 32) - 1))
    assert (low <= rows.order_id).all() and (rows.order_id <= high).all() and low.min() > 0
    assert (rows.order_id[1:] == rows.price[:-1]).all(), "no gaps over night"
    assert len(set(np.diff(rows.ts_event).tolist())) == 1
    moves = np.diff(np.log(bars_of(synthetic.one(4 * BARS, seed=10)).price / 100.0))
    assert abs(moves.mean()) < 4 * 0.01 / math.sqrt(len(moves)) and abs(moves.std() - 0.01) < 0.002
    ends = [math.log(bars_of(synthetic.one(64, seed=seed)).price[-1] / 10_000.0) for seed in range(1, 41)]
    assert 0.5 < statistics.pstdev(ends) / 0.08 < 1.6, "seeds are not each other's"


def test_what_can_not_be_made_is_said() -> None:
    for wrong in ({"count": 0}, {"count": 10, "volatility": 1.0}, {"count": 10, "step_s": 0}):
        with pytest.raises(TapeError):
            synthetic.one(**wrong)
    with pytest.raises(TapeError, match="out of bounds"):
        synthetic.pair(10, symbols=("A", "A"))
