"""Indicators: each a step over a record, O(1) a value, and the same step over an array. See `definition`.

`window` has what most of them are made of; `averages`, `pairs`, `extremes`, `flow` and `scaling` have the indicators,
and `docs/indicators.md` the table of formulas, sources and warm-ups.
Known bad case: every one is of the values that it was given, not of time; sample first if time is what you mean.
"""

from .averages import atr, bollinger, ema, macd, mean_variance, rsi, sma, variance, wma, zscore
from .definition import Indicator, define, finite, fresh, record, restart
from .extremes import donchian, stochastic
from .flow import imbalance, microprice, obv, order_flow, rolling_vwap, trade_sign, vwap
from .pairs import autocorrelation, beta, correlation, half_life, kalman, ols
from .scaling import hurst, volatility

__all__ = [
    "Indicator", "atr", "autocorrelation", "beta", "bollinger", "correlation", "define", "donchian", "ema", "finite",
    "fresh", "half_life", "hurst", "imbalance", "kalman", "macd", "mean_variance", "microprice", "obv", "ols",
    "order_flow", "record", "restart", "rolling_vwap", "rsi", "sma", "stochastic", "trade_sign", "variance",
    "volatility", "vwap", "wma", "zscore",
]  # fmt: skip
