"""Functions of real numbers for strategies: the same bits compiled, interpreted, and in WebAssembly.

A machine's own libm differs from the next in the last bit, and with it the decision that hung on it; so each function
is written here, of IEEE operations only: the argument is reduced to a small range, there a polynomial is summed, and
what the first double can't hold goes along in a second one where it counts. No table, no loop that ends by itself.
Invariant: an argument has one result, whatever runs it; no function raises, NaN comes out where none is defined.
Errors in ulp of the true value, measured by `tests/test_math.py`: exp, log, log1p, expm1, pow, sin, cos 1; tanh, erf 2;
erfc 3; normal_cdf 4; normal_quantile 8. sqrt, floor, ceil, trunc, fabs are exact.
Known bad case: sin and cos of an angle beyond 2^30 are NaN; and with the JIT on, only hot code can call these.
Sources: Cody and Waite, Software Manual for the Elementary Functions (1980); Wichura, AS 241 (1988).
"""

from collections.abc import Callable
from math import factorial
from typing import Any, Final

import numpy as np

from .hot import hot
from .hot.floats import (
    INF,
    NAN,
    ceil,
    fabs,
    floor,
    from_bits,
    power_of_two,
    product,
    quick_sum,
    root,
    scaled,
    to_bits,
    total,
    trunc,
    with_sign,
)

__all__ = [
    "INF", "NAN", "PI", "ceil", "cos", "erf", "erfc", "exp", "expm1", "fabs", "floor", "log", "log1p", "normal_cdf",
    "normal_quantile", "pow", "sin", "sqrt", "tanh", "trunc", "with_sign",
]  # fmt: skip

PI: Final = 3.141592653589793
# ln 2 in 42 bits, so that its multiples are exact, and the rest.
_LN2_HIGH, _LN2_LOW, _INV_LN2 = 0.6931471805598903, 5.497923018708371e-14, 1.4426950408889634
# pi / 2 in pieces of 22 bits, so that their multiples are exact, and the rest.
_HALF_PI = (1.570796012878418, 3.139164164167596e-07, 6.223371969669989e-14, 2.0222662487959506e-21)
_EXP_MAX, _EXP_MIN = 709.782712893384, -745.1332191019412
_ANGLE_MAX = float(1 << 30)
_MANTISSA, _SQRT_HALF = (1 << 52) - 1, 0.7071067811865476


def _polynomial(*coefficients: float) -> Callable[[float], float]:
    """A hot function that sums coefficients, highest power first (Horner)."""

    @hot
    def value(x: float) -> float:
        found = coefficients[0]
        for k in range(1, len(coefficients)):
            found = found * x + coefficients[k]
        return found

    return value


# (e^r - 1 - r - r^2/2) / r^3 for |r| < 0.36, and (atanh(s)/s - 1) / s^2 in s^2 for |s| < 0.18: Taylor.
_exp_tail = _polynomial(*(1.0 / factorial(n) for n in range(14, 2, -1)))
_log_tail = _polynomial(*(2.0 / (2 * n + 1) for n in range(12, 0, -1)))
_log_far = _polynomial(*(1.0 / (2 * n + 1) for n in range(13, 2, -1)))
_sin_tail = _polynomial(*((-1.0) ** n / factorial(2 * n + 1) for n in range(8, 0, -1)))
_cos_tail = _polynomial(*((-1.0) ** n / factorial(2 * n) for n in range(9, 1, -1)))
# (erf(x) sqrt(pi)/2 / x - 1) / x^2 in x^2, for |x| < 0.85.
_erf_tail = _polynomial(*((-1.0) ** n / (factorial(n) * (2 * n + 1)) for n in range(19, 0, -1)))
# (1 + 2x) e^(x^2) erfc(x) for 0.834 < x < 28 in u, where (x - 2) / (x + 2) = A + B u: Chebyshev's, as a polynomial.
_TAIL_A, _TAIL_PER_B = 0.22755477135715335, 1.5646712372889156
_erfc_tail = _polynomial(
    -1.7101352187239152e-12, -1.8705335885507225e-11, -1.6166663766782686e-11, 1.7406706009423728e-10,
    4.182513898565714e-10, -5.316672131151545e-10, -3.770981662216965e-09, -3.1586725511539577e-09,
    2.1124885969254486e-08, 5.982979289846304e-08, -6.607499772789969e-08, -5.806704416810433e-07,
    -2.1200731323888833e-07, 4.9288664243925884e-06, 6.4016322524346155e-06, -4.5867190674179794e-05,
    -7.89565947327964e-05, 0.0005685164771268716, 0.00044614128364845905, -0.009403657645023579,
    0.029410334382776855, -0.029192734502777328, -0.09297287498002868, 1.2490562649348802,
)  # fmt: skip
_TWO_PER_SQRT_PI, _TWO_PER_SQRT_PI_LOW = 1.1283791670955126, 1.533545961316588e-17
_SQRT_HALF_LOW = -4.833646656726457e-17


@hot
def sqrt(x: float) -> float:
    """Square root; NaN of a negative number. Exact but for the last rounding."""
    x = float(x)
    return NAN if x < 0.0 else root(x)


@hot
def _exp_of(high: float, low: float, k: float) -> float:
    """e^(high + low) of an argument that was reduced by k ln 2."""
    head, rest = quick_sum(1.0, high)
    tail = 0.5 * high * high + high * high * high * _exp_tail(high)
    return scaled(head + (rest + (tail + (low + low * high))), np.int64(k))


@hot
def exp(x: float) -> float:
    """e^x."""
    x = float(x)
    if x != x:
        return x
    if x > _EXP_MAX:
        return INF
    if x < _EXP_MIN:
        return 0.0
    k = floor(x * _INV_LN2 + 0.5)
    high, low = total(x - k * _LN2_HIGH, -(k * _LN2_LOW))
    return _exp_of(high, low, k)


@hot
def expm1(x: float) -> float:
    """e^x - 1, without loss where x is small."""
    x = float(x)
    if x != x or x == 0.0:
        return x
    if x > _EXP_MAX:
        return INF
    if x < -40.0:
        return -1.0
    k = floor(x * _INV_LN2 + 0.5)
    high, low = total(x - k * _LN2_HIGH, -(k * _LN2_LOW))
    tail = high * high * high * _exp_tail(high) + (low + low * high)
    square, square_low = product(0.5 * high, high) if fabs(high) > 1e-150 else (0.0, 0.0)
    head, rest = quick_sum(high, square)
    rest += square_low + tail
    if k == 0.0:
        return head + rest
    if k > 60.0:
        return scaled(1.0 + (head + rest), np.int64(k))
    two = power_of_two(np.int64(k))
    sum_high, sum_low = total(two - 1.0, two * head) if k < 53.0 else total(two, two * head - 1.0)
    return sum_high + (sum_low + two * rest)


@hot
def _apart(x: float) -> Any:
    """k and m with x = 2^k m and sqrt(1/2) <= m < sqrt(2), of a positive finite number."""
    k = np.int64(0)
    if x < 2.2250738585072014e-308:
        x, k = x * 18014398509481984.0, np.int64(-54)
    word = to_bits(x)
    k += (word >> 52) - 1022
    m = from_bits((word & _MANTISSA) | (1022 << 52))
    if m < _SQRT_HALF:
        return k - 1, m * 2.0
    return k, m


@hot
def log(x: float) -> float:
    """Natural logarithm: -INF of 0, NaN of less."""
    x = float(x)
    if x != x or x == INF:
        return x
    if x <= 0.0:
        return -INF if x == 0.0 else NAN
    k, m = _apart(x)
    return _log_of(float(k), m - 1.0, 0.0)


@hot
def _log_of(k: float, f: float, low: float) -> float:
    """k ln 2 + log(1 + f) + low: log(1 + f) = f - f^2/2 + s (f^2/2 + s^2 ...) with s = f / (2 + f)."""
    s = f / (2.0 + f)
    half, half_low = product(0.5 * f, f) if fabs(f) > 1e-150 else (0.0, 0.0)
    tail = s * (half + s * s * _log_tail(s * s)) + (k * _LN2_LOW + low) - half_low
    high, rest = total(k * _LN2_HIGH, f)
    high, more = total(high, -half)
    return high + (rest + more + tail)


@hot
def log1p(x: float) -> float:
    """log(1 + x), without loss where x is small."""
    x = float(x)
    if x != x or x == INF or x == 0.0:
        return x
    if x <= -1.0:
        return -INF if x == -1.0 else NAN
    if -0.29 < x < 0.41:
        return _log_of(0.0, x, 0.0)
    high, low = total(1.0, x)
    k, m = _apart(high)
    return _log_of(float(k), m - 1.0, low / high)


@hot
def _log_pair(x: float) -> Any:
    """The logarithm of a positive finite number as a pair, good to 2^-68 of it: for `pow`."""
    k, m = _apart(x)
    f = m - 1.0
    below, below_low = total(2.0, f)
    s = f / below
    back, back_low = product(s, below)
    s_low = ((f - back) - back_low - s * below_low) / below
    z, z_low = product(s, s)
    z_low += 2.0 * s * s_low
    # 1/3 + z/5 + z^2/7 + ..., each as a pair where a double is not enough.
    high, low = quick_sum(0.2, z * _log_far(z))
    low += -1.1102230246251566e-17
    high, low = _pair_product(high, low, z, z_low)
    high, more = quick_sum(0.3333333333333333, high)
    high, low = _pair_product(high, more + low + 1.850371707708594e-17, z, z_low)
    high, low = _pair_product(high, low, 2.0 * s, 2.0 * s_low)
    head, rest = quick_sum(2.0 * s, high)
    rest += low + 2.0 * s_low
    first, second = total(float(k) * _LN2_HIGH, head)
    return quick_sum(first, second + (rest + float(k) * _LN2_LOW))


@hot
def _pair_product(a: float, a_low: float, b: float, b_low: float) -> Any:
    high, low = product(a, b)
    return high, low + (a * b_low + a_low * b)


@hot
def pow(x: float, y: float) -> float:
    """x^y, with the special cases of C99 (annex F.9.4.4): 1 for y = 0, NaN of a negative x and a fraction y."""
    x, y = float(x), float(y)
    if y == 0.0 or x == 1.0:
        return 1.0
    if x != x or y != y:
        return NAN
    size, whole = fabs(x), floor(y) == y
    odd = whole and fabs(y) < 9007199254740992.0 and np.int64(y) & 1 == 1
    sign = -1.0 if odd and with_sign(1.0, x) < 0.0 else 1.0
    if size == 0.0 or size == INF or fabs(y) == INF:
        if size == 1.0:
            return 1.0
        return sign * INF if (size > 1.0) == (y > 0.0) else sign * 0.0
    if x < 0.0 and not whole:
        return NAN
    if size == 1.0:
        return sign
    if fabs(y) > 18446744073709551616.0:
        return INF if (size > 1.0) == (y > 0.0) else 0.0
    high, low = _log_pair(size)
    at, rest = product(high, y)
    rest += low * y
    if at > 709.8 or at < -745.2:
        return sign * INF if at > 0.0 else sign * 0.0
    k = floor(at * _INV_LN2 + 0.5)
    high, low = total(at - k * _LN2_HIGH, rest - k * _LN2_LOW)
    return sign * _exp_of(high, low, k)


@hot
def _turned(x: float) -> Any:
    """How many quarters of a turn are in an angle, and what is left of it as a pair, at most an eighth of a turn."""
    n = floor(x * 0.6366197723675814 + 0.5)
    high, low = total(x - n * _HALF_PI[0], -(n * _HALF_PI[1]))
    high, more = total(high, -(n * _HALF_PI[2]))
    high, low = quick_sum(high, low + more - n * _HALF_PI[3])
    return np.int64(n) & 3, high, low


@hot
def _sin_of(x: float, low: float) -> float:
    z = x * x
    return x + (x * z * _sin_tail(z) + low * (1.0 - 0.5 * z))


@hot
def _cos_of(x: float, low: float) -> float:
    z = x * x
    half = 0.5 * z
    head = 1.0 - half
    return head + (((1.0 - head) - half) + (z * z * _cos_tail(z) - x * low))


@hot
def _wave(quarter: int, high: float, low: float) -> float:
    """The sine of an angle that was turned by so many quarters."""
    found = _sin_of(high, low) if quarter & 1 == 0 else _cos_of(high, low)
    return -found if quarter & 2 != 0 else found


@hot
def sin(x: float) -> float:
    """Sine of an angle in radians; NaN beyond 2^30 of them."""
    x = float(x)
    if x == 0.0 or x != x:
        return x
    if fabs(x) > _ANGLE_MAX:
        return NAN
    quarter, high, low = _turned(x)
    return _wave(quarter, high, low)


@hot
def cos(x: float) -> float:
    """Cosine of an angle in radians; NaN beyond 2^30 of them."""
    x = float(x)
    if x != x:
        return x
    if fabs(x) > _ANGLE_MAX:
        return NAN
    quarter, high, low = _turned(x)
    return _wave(quarter + 1, high, low)


@hot
def tanh(x: float) -> float:
    """Hyperbolic tangent."""
    x = float(x)
    size = fabs(x)
    if x != x or x == 0.0:
        return x
    if size > 20.0:
        return with_sign(1.0, x)
    if size < 0.5:
        less = expm1(-2.0 * size)
        return with_sign(-less / (less + 2.0), x)
    return with_sign(1.0 - 2.0 / (expm1(2.0 * size) + 2.0), x)


@hot
def _erfc_of(x: float) -> float:
    """erfc of 0.84 < x < 27.3: e^(-x^2) by the halves of x, so that the square is exact where it counts."""
    square, low = product(x, x)
    u = ((x - 2.0) / (x + 2.0) - _TAIL_A) * _TAIL_PER_B
    k = floor(-square * _INV_LN2 + 0.5)
    high, rest = total(-square - k * _LN2_HIGH, -(k * _LN2_LOW) - low)
    return scaled(_exp_of(high, rest, 0.0) * (_erfc_tail(u) / (1.0 + 2.0 * x)), np.int64(k))


@hot
def erf(x: float) -> float:
    """The error function: how much of a normal distribution of variance 1/2 lies within x of its mean."""
    x = float(x)
    size = fabs(x)
    if x != x or x == 0.0:
        return x
    if size < 0.85:
        z = x * x
        more = _TWO_PER_SQRT_PI_LOW + _TWO_PER_SQRT_PI * (z * _erf_tail(z))
        return x * _TWO_PER_SQRT_PI + x * more
    return with_sign(1.0 - _erfc_of(size) if size < 6.0 else 1.0, x)


@hot
def erfc(x: float) -> float:
    """1 - erf(x), without loss where x is large."""
    x = float(x)
    if x != x:
        return x
    if fabs(x) < 0.85:
        z = x * x
        high, low = product(x, _TWO_PER_SQRT_PI) if fabs(x) > 1e-150 else (0.0, 0.0)
        more = x * (_TWO_PER_SQRT_PI_LOW + _TWO_PER_SQRT_PI * (z * _erf_tail(z)))
        head, rest = total(1.0, -high)
        return head + (rest - (low + more))
    if x > 0.0:
        return _erfc_of(x) if x < 27.3 else 0.0
    return 2.0 - _erfc_of(-x) if x > -6.0 else 2.0


@hot
def normal_cdf(x: float) -> float:
    """Probability that a standard normal number is at most x."""
    x = float(x)
    if x != x:
        return x
    if fabs(x) > 39.0:
        return 0.0 if x < 0.0 else 1.0
    at, low = product(-x, _SQRT_HALF)
    low -= x * _SQRT_HALF_LOW
    slope = _TWO_PER_SQRT_PI * exp(-at * at)
    return 0.5 * (erfc(at) - low * slope)


_mid_over = _polynomial(
    2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
    13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080,
)  # fmt: skip
_mid_under = _polynomial(
    5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
    5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0,
)  # fmt: skip
_near_over = _polynomial(
    7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258,
    3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734,
)  # fmt: skip
_near_under = _polynomial(
    1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
    6.89767334985100004550e-1, 1.67638483018380384940, 2.05319162663775882187, 1.0,
)  # fmt: skip
_far_over = _polynomial(
    2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
    2.96560571828504891230e-1, 1.78482653991729133580, 5.46378491116411436990, 6.65790464350110377720,
)  # fmt: skip
_far_under = _polynomial(
    2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
    1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0,
)  # fmt: skip


@hot
def normal_quantile(p: float) -> float:
    """The number below which a standard normal one lies with probability p; NaN outside 0 to 1."""
    p = float(p)
    q = p - 0.5
    if not 0.0 <= p <= 1.0:
        return NAN
    if p == 0.0 or p == 1.0:
        return with_sign(INF, q)
    if fabs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * (_mid_over(r) / _mid_under(r))
    r = root(-log(p if q < 0.0 else 1.0 - p))
    found = _near_over(r - 1.6) / _near_under(r - 1.6) if r <= 5.0 else _far_over(r - 5.0) / _far_under(r - 5.0)
    return with_sign(found, q)
