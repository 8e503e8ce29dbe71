"""Indicators: ns an update over an array, which calls the same step as a hook does; TA-Lib and pandas beside them.

    pytest bench/bench_indicators.py --benchmark-only

TA-Lib and pandas take whole arrays and can't be asked for one value more, so theirs is the best case: what a strategy
would pay that calls them again at every tick is the last group, over a window of the last 256 values.
"""

import numpy as np
import pytest

from ultra import indicators

COUNT, LENGTH, ROUNDS, TICKS = 1_000_000, 50, 5, 256
DICE = np.random.default_rng(1)
CLOSE = 1000.0 + np.cumsum(DICE.normal(size=COUNT))
HIGH, LOW = CLOSE + DICE.random(COUNT), CLOSE - DICE.random(COUNT)
VOLUME = np.floor(DICE.random(COUNT) * 100) + 1

OURS = {
    "sma": (CLOSE, LENGTH), "ema": (CLOSE, LENGTH), "wma": (CLOSE, LENGTH), "rsi": (CLOSE, 14), "macd": (CLOSE,),
    "bollinger": (CLOSE, LENGTH), "atr": (HIGH, LOW, CLOSE, 14), "variance": (CLOSE, LENGTH), "zscore": (CLOSE, LENGTH),
    "correlation": (HIGH, LOW, LENGTH), "beta": (HIGH, LOW, LENGTH), "ols": (HIGH, LOW, LENGTH), "kalman": (HIGH, LOW),
    "autocorrelation": (CLOSE, LENGTH), "half_life": (CLOSE, LENGTH), "hurst": (CLOSE, LENGTH), "obv": (CLOSE, VOLUME),
    "volatility": (CLOSE, LENGTH), "donchian": (HIGH, LOW, LENGTH), "stochastic": (HIGH, LOW, CLOSE),
    "microprice": (LOW, VOLUME, HIGH, VOLUME), "order_flow": (LOW, VOLUME, HIGH, VOLUME, LENGTH),
    "trade_sign": (CLOSE, LOW, HIGH), "vwap": (CLOSE, VOLUME), "rolling_vwap": (CLOSE, VOLUME, LENGTH),
}  # fmt: skip
TALIB = {
    "SMA": (CLOSE, LENGTH), "EMA": (CLOSE, LENGTH), "WMA": (CLOSE, LENGTH), "RSI": (CLOSE, 14), "MACD": (CLOSE,),
    "BBANDS": (CLOSE, LENGTH), "ATR": (HIGH, LOW, CLOSE, 14), "VAR": (CLOSE, LENGTH), "CORREL": (HIGH, LOW, LENGTH),
    "MAX": (HIGH, LENGTH), "STOCH": (HIGH, LOW, CLOSE), "OBV": (CLOSE, VOLUME),
}  # fmt: skip


def report(benchmark, updates):
    for name in ("min", "median", "max"):
        benchmark.extra_info[f"{name}_ns_per_update"] = round(getattr(benchmark.stats.stats, name) / updates * 1e9, 1)


def measure(benchmark, act, updates=COUNT):
    act()
    benchmark.pedantic(act, rounds=ROUNDS, warmup_rounds=1)
    report(benchmark, updates)


@pytest.mark.parametrize("name", list(OURS))
def test_ultra(benchmark, name):
    measure(benchmark, lambda: getattr(indicators, name)(*OURS[name]))


@pytest.mark.parametrize("name", list(TALIB))
def test_talib(benchmark, name):
    talib = pytest.importorskip("talib", reason="TA-Lib is not installed")
    measure(benchmark, lambda: getattr(talib, name)(*TALIB[name]))


@pytest.mark.parametrize("name", ["mean", "var", "corr", "max"])
def test_pandas(benchmark, name):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    high, low = pandas.Series(HIGH).rolling(LENGTH), pandas.Series(LOW)
    measure(benchmark, (lambda: high.corr(low)) if name == "corr" else getattr(high, name))


def test_talib_once_more_at_every_tick(benchmark):
    talib = pytest.importorskip("talib", reason="TA-Lib is not installed")

    def every_tick():
        for end in range(TICKS, 20_000 + TICKS):
            talib.SMA(CLOSE[end - TICKS : end], LENGTH)[-1]

    measure(benchmark, every_tick, 20_000)
