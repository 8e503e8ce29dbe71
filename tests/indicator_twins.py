"""Every indicator the obvious way: from the window itself, at every value anew, in plain Python with exact sums.

`CASES` says for each how its twin is called; a twin gets whole series of finite numbers and gives a list of the same
length, with None where the indicator has NaN. No twin shares a line with what it checks.
Known bad case: they cost O(n) a value; keep the series short.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from ultra import indicators


class Case(NamedTuple):
    name: str
    inputs: str  # which series it takes: p price, y another, v volume, h high, l low, b bid, a ask, w, z quantities
    constants: tuple[Any, ...]
    twin: Callable[..., list[Any]]

    @property
    def indicator(self) -> Any:
        return getattr(indicators, self.name)


def windows(series: list[float], length: int) -> list[list[Fraction] | None]:
    exact = [Fraction(x) for x in series]
    return [exact[end - length : end] if end >= length else None for end in range(1, len(series) + 1)]


def each(function: Callable[..., Any], length: int, *series: list[float]) -> list[Any]:
    """The function of the last `length` values of each series, as exact fractions."""
    cut = [windows(one, length) for one in series]
    return [None if rows[0] is None else function(*rows) for rows in zip(*cut, strict=True)]


def mean(window: list[Fraction]) -> Fraction:
    return sum(window, Fraction(0)) / len(window)


def product(xs: list[Fraction], ys: list[Fraction]) -> Fraction:
    """Sum of products of distances from the means."""
    a, b = mean(xs), mean(ys)
    return sum(((x - a) * (y - b) for x, y in zip(xs, ys, strict=True)), Fraction(0))


def root(value: Fraction) -> float:
    return math.sqrt(value)


def sma(p: list[float], length: int) -> list[Any]:
    return each(lambda w: float(mean(w)), length, p)


def wma(p: list[float], length: int) -> list[Any]:
    def weighted(w: list[Fraction]) -> float:
        return float(sum(k * x for k, x in enumerate(w, 1)) / (length * (length + 1) // 2))

    return each(weighted, length, p)


def exponential(p: list[Any], length: int, weight: Fraction) -> list[Any]:
    """The mean of the first `length` that are there, then `weight` of each that follows."""
    out: list[Any] = []
    begun: list[Fraction] = []
    value = None
    for x in p:
        if x is None:
            out.append(None)
        elif value is None:
            begun.append(Fraction(x))
            value = mean(begun) if len(begun) == length else None
            out.append(value)
        else:
            value = value + weight * (Fraction(x) - value)
            value = Fraction(float(value))  # or the fractions grow without end
            out.append(value)
    return out


def floats(values: list[Any]) -> list[Any]:
    return [None if value is None else float(value) for value in values]


def ema(p: list[float], length: int) -> list[Any]:
    return floats(exponential(p, length, Fraction(2, length + 1)))


def macd(p: list[float], fast: int, slow: int, signal: int) -> list[Any]:
    late = ([None] * (slow - fast) + p[slow - fast :])[: len(p)]
    a, b = exponential(late, fast, Fraction(2, fast + 1)), exponential(p, slow, Fraction(2, slow + 1))
    line = [None if x is None or y is None else x - y for x, y in zip(a, b, strict=True)]
    second = exponential(line, signal, Fraction(2, signal + 1))
    return [None if s is None else (float(x), float(s), float(x - s)) for x, s in zip(line, second, strict=True)]


def rsi(p: list[float], length: int) -> list[Any]:
    changes = [None, *(Fraction(b) - Fraction(a) for a, b in pairwise(p))]
    gains = exponential([None if c is None else max(c, 0) for c in changes], length, Fraction(1, length))
    losses = exponential([None if c is None else max(-c, 0) for c in changes], length, Fraction(1, length))
    return [None if g is None or g + d == 0 else float(100 * g / (g + d)) for g, d in zip(gains, losses, strict=True)]


def atr(h: list[float], l: list[float], p: list[float], length: int) -> list[Any]:  # noqa: E741
    ranges = [None, *(max(h[k], p[k - 1]) - min(l[k], p[k - 1]) for k in range(1, len(p)))]
    return floats(exponential(ranges[: len(p)], length, Fraction(1, length)))


def mean_variance(p: list[float], length: int) -> list[Any]:
    return each(lambda w: (float(mean(w)), float(product(w, w) / (length - 1))), length, p)


def variance(p: list[float], length: int) -> list[Any]:
    return each(lambda w: float(product(w, w) / (length - 1)), length, p)


def zscore(p: list[float], length: int) -> list[Any]:
    def score(w: list[Fraction]) -> Any:
        spread = product(w, w) / (length - 1)
        return float(w[-1] - mean(w)) / root(spread) if spread else None

    return each(score, length, p)


def bollinger(p: list[float], length: int, width: float) -> list[Any]:
    def bands(w: list[Fraction]) -> Any:
        middle, reach = float(mean(w)), width * root(product(w, w) / length)
        return middle - reach, middle, middle + reach

    return each(bands, length, p)


def together(xs: list[Fraction], ys: list[Fraction]) -> Any:
    below = product(xs, xs) * product(ys, ys)
    return float(product(xs, ys)) / root(below) if below else None


def correlation(y: list[float], p: list[float], length: int) -> list[Any]:
    return each(together, length, y, p)


def beta(y: list[float], p: list[float], length: int) -> list[Any]:
    return each(lambda ys, xs: float(product(xs, ys) / product(xs, xs)) if product(xs, xs) else None, length, y, p)


def ols(y: list[float], p: list[float], length: int) -> list[Any]:
    def line(ys: list[Fraction], xs: list[Fraction]) -> Any:
        if not product(xs, xs):
            return None
        slope = product(xs, ys) / product(xs, xs)
        rest = product(ys, ys) - slope * product(xs, ys)
        return float(slope), float(mean(ys) - slope * mean(xs)), root(rest / (length - 2))

    return each(line, length, y, p)


def kalman(y: list[float], p: list[float], delta: float, noise: float) -> list[Any]:
    """With matrices."""
    import numpy as np

    state, spread, out = np.zeros(2), np.eye(2), []
    for b, a in zip(y, p, strict=True):
        seen = np.array([a, 1.0])
        spread = spread + delta / (1 - delta) * np.eye(2)
        error, var = b - seen @ state, seen @ spread @ seen + noise
        gain = spread @ seen / var
        state = state + gain * error
        spread = spread - np.outer(gain, seen) @ spread
        out.append((float(state[0]), float(state[1]), float(error), math.sqrt(var)))
    return out


def autocorrelation(p: list[float], length: int, lag: int) -> list[Any]:
    found = each(together, length, p[: max(len(p) - lag, 0)], p[lag:])
    return [None] * min(lag, len(p)) + found


def half_life(p: list[float], length: int) -> list[Any]:
    def half(xs: list[Fraction], changes: list[Fraction]) -> Any:
        back = product(xs, changes)
        return -math.log(2) / float(back / product(xs, xs)) if product(xs, xs) and back < 0 else None

    return [None, *each(half, length, p[:-1], [b - a for a, b in pairwise(p)])][: len(p)]


def donchian(h: list[float], l: list[float], length: int) -> list[Any]:  # noqa: E741
    return each(lambda a, b: (float(min(b)), float(max(a))), length, h, l)


def stochastic(h: list[float], l: list[float], p: list[float], *constants: int) -> list[Any]:  # noqa: E741
    length, smooth, signal = constants
    raw = each(lambda a, b, c: (c[-1] - min(b)) * 100 / (max(a) - min(b)) if max(a) > min(b) else None, length, h, l, p)
    out: list[Any] = []
    raws: list[Fraction] = []
    ks: list[Fraction] = []
    for value in raw:
        out.append(None)
        if value is None:
            continue
        raws.append(value)
        if len(raws) >= smooth:
            ks.append(mean(raws[-smooth:]))
            if len(ks) >= signal:
                out[-1] = float(ks[-1]), float(mean(ks[-signal:]))
    return out


def microprice(b: list[float], w: list[float], a: list[float], z: list[float]) -> list[Any]:
    return [(p * s + q * r) / (r + s) if r + s else None for p, r, q, s in zip(b, w, a, z, strict=True)]


def imbalance(w: list[float], z: list[float]) -> list[Any]:
    return [(r - s) / (r + s) if r + s else None for r, s in zip(w, z, strict=True)]


def order_flow(b: list[float], w: list[float], a: list[float], z: list[float], length: int) -> list[Any]:
    events = []
    for k in range(1, len(b)):
        demand = w[k] if b[k] > b[k - 1] else -w[k - 1] if b[k] < b[k - 1] else w[k] - w[k - 1]
        supply = z[k] if a[k] < a[k - 1] else -z[k - 1] if a[k] > a[k - 1] else z[k] - z[k - 1]
        events.append(demand - supply)
    return [None, *each(lambda w: float(sum(w)), length, events)][: len(b)]


def trade_sign(p: list[float], b: list[float], a: list[float]) -> list[Any]:
    out = []
    for k, price in enumerate(p):
        earlier = [x for x in p[:k] if x != price]
        tick = 0.0 if not earlier else math.copysign(1.0, price - earlier[-1])
        middle = (a[k] + b[k]) / 2
        out.append(tick if price == middle else math.copysign(1.0, price - middle))
    return out


def vwap(p: list[float], v: list[float], session: list[float]) -> list[Any]:
    out = []
    for k in range(len(p)):
        first = next(j for j in range(k, -1, -1) if j == 0 or session[j - 1] != session[k])
        lots = sum(v[first : k + 1])
        out.append(sum(x * q for x, q in zip(p[first : k + 1], v[first : k + 1], strict=True)) / lots if lots else None)
    return out


def rolling_vwap(p: list[float], v: list[float], length: int) -> list[Any]:
    def price(xs: list[Fraction], lots: list[Fraction]) -> Any:
        return float(sum(x * q for x, q in zip(xs, lots, strict=True)) / sum(lots)) if sum(lots) else None

    return each(price, length, p, v)


def obv(p: list[float], v: list[float]) -> list[Any]:
    signs = [1, *((b > a) - (b < a) for a, b in pairwise(p))]
    return [float(sum(s * q for s, q in zip(signs[: k + 1], v[: k + 1], strict=True))) for k in range(len(p))]


def volatility(p: list[float], length: int) -> list[Any]:
    squares = [math.log(b / a) ** 2 for a, b in pairwise(p)]
    return [None, *each(lambda w: root(sum(w)), length, squares)][: len(p)]


def hurst(p: list[float], length: int, lag: int) -> list[Any]:
    out: list[Any] = []
    for end in range(len(p)):
        far = [Fraction(p[k]) - Fraction(p[k - lag]) for k in range(lag, end + 1)][-length:]
        near = [Fraction(p[k]) - Fraction(p[k - 1]) for k in range(1, end + 1)][-length:]
        one, other = sum(x * x for x in near), sum(x * x for x in far)
        full = len(far) == length and one and other
        out.append(0.5 * math.log(other / one) / math.log(lag) if full else None)
    return out


CASES = (
    Case("sma", "p", (3,), sma),
    Case("sma", "p", (1,), sma),
    Case("wma", "p", (4,), wma),
    Case("ema", "p", (3,), ema),
    Case("macd", "p", (2, 5, 3), macd),
    Case("rsi", "p", (3,), rsi),
    Case("atr", "hlp", (3,), atr),
    Case("mean_variance", "p", (4,), mean_variance),
    Case("variance", "p", (2,), variance),
    Case("zscore", "p", (5,), zscore),
    Case("bollinger", "p", (4, 2.0), bollinger),
    Case("correlation", "yp", (4,), correlation),
    Case("beta", "yp", (3,), beta),
    Case("ols", "yp", (4,), ols),
    Case("kalman", "yp", (1e-3, 0.5), kalman),
    Case("autocorrelation", "p", (4, 2), autocorrelation),
    Case("half_life", "p", (5,), half_life),
    Case("donchian", "hl", (4,), donchian),
    Case("donchian", "hl", (5,), donchian),
    Case("stochastic", "hlp", (4, 2, 3), stochastic),
    Case("microprice", "bwaz", (), microprice),
    Case("imbalance", "wz", (), imbalance),
    Case("order_flow", "bwaz", (3,), order_flow),
    Case("trade_sign", "pba", (), trade_sign),
    Case("vwap", "pvs", (), vwap),
    Case("rolling_vwap", "pv", (3,), rolling_vwap),
    Case("obv", "pv", (), obv),
    Case("volatility", "p", (3,), volatility),
    Case("hurst", "p", (5, 2), hurst),
)
