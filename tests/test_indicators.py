"""Indicators: against the obvious way, against TA-Lib, over ten million values, and the same bits in every mode."""

import hashlib
import math
from typing import Any

import indicator_twins as twins
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from indicator_twins import CASES, Case
from loops import loop

from ultra import cache, indicators, strategy
from ultra.hot import JIT, hot, memory
from ultra.hot.indicators import extremes, pairs, window
from ultra.indicators import ema, restart, rsi, sma, stochastic, zscore
from ultra.strategy import Strategy, StrategyError, indicator, load, parameter, state

NAMES = [f"{case.name}{case.constants}" for case in CASES]
# Few values and many ties, both signs of zero distance; prices stay above 0 for the logarithms.
PRICE = st.sampled_from([1.0, 2.0, 3.0, 5.0, 2.5])
ROWS = st.lists(st.tuples(PRICE, PRICE, st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), max_size=40)


def series(rows: list[Any]) -> dict[str, list[float]]:
    """All the series that a case may ask for: highs above lows, bids below asks."""
    p, y = [row[0] for row in rows], [row[1] for row in rows]
    return {
        "p": p, "y": y, "v": [float(row[2]) for row in rows], "s": [float(row[4] > 1) for row in rows],
        "h": [max(a, b) for a, b in zip(p, y, strict=True)], "l": [min(a, b) for a, b in zip(p, y, strict=True)],
        "b": [min(a, b) for a, b in zip(p, y, strict=True)], "a": [max(a, b) + 1 for a, b in zip(p, y, strict=True)],
        "w": [float(row[2]) for row in rows], "z": [float(row[3]) for row in rows],
    }  # fmt: skip


def over(case: Case, given: dict[str, list[float]]) -> list[Any]:
    """What the indicator says, one entry a value: a tuple of floats."""
    found = case.indicator(*(given[name] for name in case.inputs), *case.constants)
    table = np.array(found if isinstance(found, tuple) else [found])
    return [tuple(column) for column in table.T.tolist()]


def agree(found: tuple[float, ...], expected: Any, tolerance: float) -> bool:
    if expected is None:
        return all(math.isnan(value) for value in found)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    return found == pytest.approx(wanted, rel=1e-9, abs=tolerance)


def hold(case: Case, rows: list[Any]) -> None:
    given = series(rows)
    expected = case.twin(*(given[name] for name in case.inputs), *case.constants)
    tolerance = 1e-7 if case.name in ("ols", "volatility") else 1e-9  # roots of what is only rounding
    for at, (found, wanted) in enumerate(zip(over(case, given), expected, strict=True)):
        assert agree(found, wanted, tolerance), (case.name, at, found, wanted, rows)


# ---- the obvious way


@given(ROWS)
def test_every_indicator_is_what_its_window_says(rows: list[Any]) -> None:
    for case in CASES:
        if rows:
            hold(case, rows)


def test_every_indicator_has_a_twin() -> None:
    made = {name for name in indicators.__all__ if isinstance(getattr(indicators, name), indicators.Indicator)}
    assert made == {case.name for case in CASES}


@given(ROWS, st.integers(0, 39), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_not_a_number_is_answered_with_nan_and_forgotten(rows: list[Any], at: int, odd: float) -> None:
    at = min(at, len(rows))
    for case in CASES:
        name = case.inputs[0]
        clean = series(rows)
        with_odd = {key: [*column[:at], odd if key == name else 1.0, *column[at:]] for key, column in clean.items()}
        found = over(case, with_odd)
        assert all(math.isnan(value) for value in found.pop(at)), case.name
        if rows:
            np.testing.assert_array_equal(found, over(case, clean), case.name)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_an_empty_series_and_one_value_are_lawful(case: Case) -> None:
    assert over(case, {name: [] for name in "pyvshlbawz"}) == []
    assert len(over(case, {name: [1.0] for name in "pyvshlbawz"})) == 1


# ---- in a strategy


@loop
def restarted(rows: Any, values: Any, at: int, length: int, out: Any) -> None:
    for k in range(len(values)):
        if k == at:
            restart(rows[0].fast)
            restart(rows[0].osc)
            restart(rows[0].index)
        out[0, k] = sma(rows[0].fast, values[k], length)
        out[1, k] = stochastic(rows[0].osc, values[k] + 1.0, values[k], values[k] + 0.25, 2, 2, 2).d
        out[2, k] = rsi(rows[0].index, values[k], 2)


class Declared(Strategy):
    length: int = parameter(3, low=1, high=8)
    fast: Any = indicator(sma, 8)
    slow: Any = indicator(ema)
    osc: Any = indicator(stochastic, 4)
    index: Any = indicator(rsi)
    calls: int = state(5)

    @staticmethod
    def on_book(state: Any, params: Any, event: Any, market: Any, orders: Any) -> None:
        state.calls += int(sma(state.fast, event.price, params.length) > ema(state.slow, event.price, 4))


@given(st.lists(PRICE, min_size=1, max_size=20), st.integers(0, 20))
def test_a_field_restarted_is_a_field_that_has_seen_nothing(values: list[float], at: int) -> None:
    at = min(at, len(values))
    rows, column, out = strategy.states(load(Declared), 1), np.array(values), np.zeros((3, len(values)))
    restarted(rows, column, at, 3, out)
    for begin, end in ((0, at), (at, len(values))):
        piece, mine = column[begin:end], out[:, begin:end]
        np.testing.assert_array_equal(mine[0], sma(piece, 3))
        np.testing.assert_array_equal(mine[1], stochastic(piece + 1.0, piece, piece + 0.25, 2, 2, 2).d)
        np.testing.assert_array_equal(mine[2], rsi(piece, 2))


@loop
def lengths(rows: Any, values: Any, asked: Any, out: Any) -> None:
    for k in range(len(values)):
        out[k] = sma(rows[0].fast, values[k], asked[k])


def test_another_length_starts_anew_and_one_beyond_the_room_has_no_answer() -> None:
    rows, out = strategy.states(load(Declared), 1), np.zeros(7)
    lengths(rows, np.arange(1.0, 8.0), np.array([2, 2, 3, 3, 3, 9, 0]), out)
    np.testing.assert_array_equal(out, [math.nan, 1.5, math.nan, math.nan, 4.0, math.nan, math.nan])


@loop
def each_of(states: Any, x: float, y: float, length: int) -> None:
    sma(states[0].total, x, length)
    zscore(states[0].spread, x, length)
    indicators.correlation(states[0].both, x, y, length)
    indicators.donchian(states[0].reach, max(x, y), min(x, y), length)


ROOM = 6
INSIDE = [("total", sma.dtype(ROOM)), ("spread", zscore.dtype(ROOM)), ("both", indicators.beta.dtype(ROOM)),
          ("reach", indicators.donchian.dtype(ROOM))]  # fmt: skip


@given(st.lists(st.tuples(PRICE, st.sampled_from([1.0, 7.0, math.nan, 1e9]), st.integers(0, 7)), max_size=40))
def test_what_an_indicator_remembers_holds_together_after_every_value(rows: list[tuple[float, float, int]]) -> None:
    states, length = memory.zeros(1, np.dtype(INSIDE, align=True)), 3
    for x, y, other in rows:
        length = other if other in (1, 2, 6) else length  # sometimes another, and one change in a while is enough
        each_of(states, x, y, length)
        row = states.view(np.ndarray)[0]
        window.check(row["total"])
        window.check(row["spread"])
        pairs.check(row["both"])
        extremes.check(row["reach"])


def test_a_declared_indicator_is_an_aligned_record_inside_the_state() -> None:
    loaded = load(Declared)
    assert loaded.state_dtype["fast"] == sma.dtype(8) and loaded.state_dtype.isalignedstruct
    assert int(strategy.states(loaded, 2)["calls"][1]) == 5 and loaded.state_dtype.itemsize % 8 == 0
    assert load(Declared).fingerprint == loaded.fingerprint


class Longer(Declared):
    fast: Any = indicator(sma, 16)


def test_the_room_and_the_step_are_part_of_what_a_strategy_is() -> None:
    assert load(Longer).fingerprint != load(Declared).fingerprint

    @hot
    def one(state: Any) -> float:
        return mine(state, 1.0)

    prints = []
    for step in (lambda state, x: x + 1.0, lambda state, x: x + 2.0):
        mine = indicators.define(lambda room: indicators.record())(step)
        prints.append(cache.fingerprint(one))
    assert prints[0] != prints[1]


def test_what_is_wrong_with_a_declaration_or_a_call_is_said() -> None:
    with pytest.raises(ValueError, match="remembers nothing"):
        indicator(indicators.microprice)
    with pytest.raises(ValueError, match="must be 0 to"):
        indicator(sma, -1)
    with pytest.raises(ValueError, match="lengths \\[0\\]"):
        sma([1.0], 0)
    with pytest.raises(ValueError, match="of one length"):
        indicators.beta([1.0, 2.0, 3.0], [1.0, 2.0], 2)
    with pytest.raises(TypeError, match="length"):
        sma([1.0])
    with pytest.raises(StrategyError, match="say its type"):
        load(type("Untyped", (Strategy,), {"fast": indicator(sma, 3)}))
    assert repr(sma) == "<indicator sma(value: float, length: int)>"


def test_scalars_stand_for_themselves() -> None:
    assert indicators.microprice(100, 1, 102, 3) == 100.5
    assert indicators.imbalance(3, 1) == 0.5
    np.testing.assert_array_equal(indicators.vwap([1.0, 3.0], [1, 1], 0), indicators.vwap([1.0, 3.0], [1, 1]))
    assert math.isnan(indicators.microprice(-1, 0, 102, 3))


# ---- numbers


@loop
def drift(state: Any, values: Any, rounds: int, offset: float, length: int, out: Any) -> None:
    """Many times over the same values, with a spike of 1e9 now and then; then `length` of them at the end."""
    for turn in range(rounds):
        for k in range(len(values)):
            spike = 1e9 if (turn * len(values) + k) % 1_000_003 == 1_000_000 else 0.0
            out[0] = zscore(state[0], values[k] + offset + spike, length)
    for k in range(3 * length):
        out[0] = zscore(state[0], values[k % len(values)] + offset, length)
    out[1] = state[0].anchor + state[0].average
    out[2] = state[0].squares


@pytest.mark.slow
@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 1e-13), (1e6, 1e-8)])
def test_ten_million_values_with_spikes_leave_nothing_behind(offset: float, tolerance: float) -> None:
    length = 100
    values = np.random.default_rng(3).normal(size=length * 10)
    state, out = memory.zeros(1, zscore.dtype(length)), np.zeros(3)
    drift(state, values, 10_000, offset, length, out)
    last = values[2 * length : 3 * length] + offset
    exact = twins.windows(last.tolist(), length)[-1]
    assert exact is not None
    assert out[1] == pytest.approx(float(twins.mean(exact)), rel=1e-15)
    assert out[2] == pytest.approx(float(twins.product(exact, exact)), rel=tolerance)


def test_a_small_spread_on_a_large_price_does_not_cancel() -> None:
    """Sum and sum of squares, the textbook way, give a variance of 0 or less here."""
    values = 1e9 + np.tile([0.0, 1.0, 2.0, 1.0], 50)
    naive = np.sum(values[-8:] ** 2) - np.sum(values[-8:]) ** 2 / 8
    assert abs(naive - 4.0) > 1.0
    np.testing.assert_allclose(indicators.variance(values, 8)[7:], 4.0 / 7, rtol=1e-9)


def test_a_window_that_stands_still_is_exactly_still() -> None:
    values = [0.3, 0.7, 1e3 / 7] + [0.1] * 12  # still from the seventh on, in the middle of a block
    assert indicators.mean_variance(values, 4).variance[6:].tolist() == [0.0] * 9
    assert np.isnan(zscore(values, 4)[6:]).all()


def plain_series(count: int, seed: int) -> dict[str, list[float]]:
    """A walk from a congruential generator (Knuth, TAOCP 2, 3.3.4): the same numbers wherever it runs."""
    x, price, found = seed, 1000, []
    for _ in range(count):
        x = (x * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        price = max(price + (x >> 33) % 7 - 3, 10)
        found.append((price / 8, price / 8 + ((x >> 40) % 5 - 2) / 4, (x >> 45) % 9, (x >> 50) % 9, (x >> 55) % 3))
    return series(found)


def test_the_bits_are_the_same_compiled_and_interpreted() -> None:
    """One digest for all three modes, and for every machine: a fused or reordered operation would change it."""
    digest = hashlib.sha256()
    given = plain_series(400, 1)
    for case in CASES:
        digest.update(np.nan_to_num(np.array(over(case, given)), nan=-1.0).tobytes())
    assert digest.hexdigest()[:16] == "cdbc1d039783cfe9"


def test_numba_still_takes_an_indicator_for_its_step() -> None:
    assert not JIT or type(sma._numba_type_).__name__ == "Dispatcher"


# ---- other people's numbers


def candles(count: int) -> tuple[Any, Any, Any, Any]:
    dice = np.random.default_rng(7)
    close = 100.0 + np.cumsum(dice.normal(size=count))
    high, low = close + dice.random(count), close - dice.random(count)
    return high, low, close, np.floor(dice.random(count) * 1000)


def test_talib_says_the_same() -> None:
    talib = pytest.importorskip("talib", reason="TA-Lib is not installed")
    high, low, close, volume = candles(600 if JIT else 200)
    index = np.arange(float(len(close)))
    width = indicators.bollinger(close, 20, 2.0)
    line, k = indicators.macd(close), stochastic(high, low, close, 14, 3, 3)
    both = [
        (sma(close, 20), talib.SMA(close, 20)),
        (ema(close, 20), talib.EMA(close, 20)),
        (indicators.wma(close, 20), talib.WMA(close, 20)),
        (rsi(close, 14), talib.RSI(close, 14)),
        (indicators.atr(high, low, close, 14), talib.ATR(high, low, close, 14)),
        *zip(line, talib.MACD(close), strict=True),
        *zip((width.upper, width.middle, width.lower), talib.BBANDS(close, 20, 2.0, 2.0), strict=True),
        *zip(k, talib.STOCH(high, low, close, 14, 3, 0, 3, 0), strict=True),
        (indicators.variance(close, 20) * 19 / 20, talib.VAR(close, 20)),
        (indicators.correlation(high, close, 30), talib.CORREL(high, close, 30)),
        (indicators.obv(close, volume), talib.OBV(close, volume)),
        (indicators.donchian(high, low, 20).upper, talib.MAX(high, 20)),
        (indicators.donchian(high, low, 20).lower, talib.MIN(low, 20)),
        (indicators.ols(close, index, 20).slope, talib.LINEARREG_SLOPE(close, 20)),
    ]
    for at, (ours, theirs) in enumerate(both):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-7, err_msg=f"pair {at}")


def test_pandas_says_the_same() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    high, low, close, _ = candles(300 if JIT else 100)
    frame = pandas.DataFrame({"h": high, "l": low, "c": close})
    rolling = frame["c"].rolling(15)
    both = [
        (indicators.variance(close, 15), rolling.var()),
        (zscore(close, 15), (frame["c"] - rolling.mean()) / rolling.std()),
        (indicators.correlation(high, low, 15), frame["h"].rolling(15).corr(frame["l"])),
        (indicators.beta(high, low, 15), frame["h"].rolling(15).cov(frame["l"]) / frame["l"].rolling(15).var()),
        (indicators.autocorrelation(close, 15, 2), frame["c"].rolling(15).corr(frame["c"].shift(2))),
    ]
    for at, (ours, theirs) in enumerate(both):
        np.testing.assert_allclose(ours[20:], theirs.to_numpy()[20:], rtol=1e-8, atol=1e-8, err_msg=f"pair {at}")


def test_a_random_walk_a_trend_and_a_return_are_told_apart() -> None:
    dice = np.random.default_rng(11)
    noise = dice.normal(size=2000 if JIT else 600)
    walk, back = np.cumsum(noise), np.zeros(len(noise))
    for at in range(1, len(noise)):
        back[at] = 0.8 * back[at - 1] + noise[at]  # half of a distance is gone in ln 2 / 0.2 values
    last = len(noise) - 100
    assert abs(indicators.hurst(walk, last, 16)[-1] - 0.5) < 0.15
    assert indicators.hurst(np.cumsum(np.cumsum(noise)), last, 16)[-1] > 0.8
    assert indicators.hurst(back, last, 16)[-1] < 0.3
    assert indicators.half_life(back, last)[-1] == pytest.approx(math.log(2) / 0.2, rel=0.3)
    assert indicators.volatility(np.exp(0.01 * walk), last)[-1] == pytest.approx(0.01 * math.sqrt(last), rel=0.1)
