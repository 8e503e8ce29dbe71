"""Each function against the true value, to 50 digits by `decimal`, and against Python's own at the edges.

And against itself: one digest of all results, which every way of running must give. What is compiled, interpreted and
bounds-checked here differs in the last bit of nothing.
"""

import hashlib
import math
import random
from collections.abc import Callable
from decimal import Decimal, localcontext
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from contract_rig import Rig
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra import math as own
from ultra import random as draws
from ultra.hot import JIT, floats
from ultra.strategy import Strategy, state
from ultra.wire import SEED, SIGNAL

NAMES = (
    "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "erfc", "normal_cdf", "normal_quantile", "sqrt",
    "floor", "ceil", "trunc", "fabs",
)  # fmt: skip
EDGES = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1e-300, 1e300, -1e300, math.inf,
    -math.inf, math.nan, math.pi, 709.78, 709.79, 710.0, -744.9, -745.2, -746.0, 1e-9, -1e-9, 26.5, 27.3, 30.0, -6.5,
    1.7976931348623157e308, -0.9999999999999999, -1.0000000000000002, 20.0, 22.5, 3.0, -2.0, 1e15 + 0.5, 1 - 2**-53,
]  # fmt: skip


@loop
def one(which: int, xs: Any, out: Any) -> None:
    for k in range(len(xs)):
        x = xs[k]
        if which == 0:
            out[k] = own.exp(x)
        elif which == 1:
            out[k] = own.expm1(x)
        elif which == 2:
            out[k] = own.log(x)
        elif which == 3:
            out[k] = own.log1p(x)
        elif which == 4:
            out[k] = own.sin(x)
        elif which == 5:
            out[k] = own.cos(x)
        elif which == 6:
            out[k] = own.tanh(x)
        elif which == 7:
            out[k] = own.erf(x)
        elif which == 8:
            out[k] = own.erfc(x)
        elif which == 9:
            out[k] = own.normal_cdf(x)
        elif which == 10:
            out[k] = own.normal_quantile(x)
        elif which == 11:
            out[k] = own.sqrt(x)
        elif which == 12:
            out[k] = own.floor(x)
        elif which == 13:
            out[k] = own.ceil(x)
        elif which == 14:
            out[k] = own.trunc(x)
        else:
            out[k] = own.fabs(x)


@loop
def two(xs: Any, ys: Any, out: Any) -> None:
    for k in range(len(xs)):
        out[k] = own.pow(xs[k], ys[k])


def results(name: str, xs: list[float]) -> list[float]:
    out = np.zeros(len(xs))
    one(NAMES.index(name), np.array(xs), out)
    return out.tolist()


def powers(pairs: list[tuple[float, float]]) -> list[float]:
    out = np.zeros(len(pairs))
    two(np.array([x for x, _ in pairs]), np.array([y for _, y in pairs]), out)
    return out.tolist()


# ---- the true values


def arctangent_of_inverse(n: int) -> Decimal:
    total = term = Decimal(1) / n
    for k in range(3, 160, 2):
        term = -term / (n * n)
        total += term / k
    return total


def true_pi() -> Decimal:
    return 4 * (4 * arctangent_of_inverse(5) - arctangent_of_inverse(239))


def true_sin(x: Decimal, quarter: int = 0) -> Decimal:
    x += quarter * true_pi() / 2
    x -= (x / (2 * true_pi())).to_integral_value() * 2 * true_pi()
    total = term = x
    for k in range(2, 80, 2):
        term = -term * x * x / (k * (k + 1))
        total += term
    return total


def true_erf(x: Decimal) -> Decimal:
    total = term = x
    for n in range(1, 400):
        term = term * 2 * x * x / (2 * n + 1)
        total += term
    return 2 / true_pi().sqrt() * total * (-x * x).exp()


def true_erfc(x: Decimal) -> Decimal:
    if x < 4:
        return 1 - true_erf(x)
    fraction = Decimal(0)
    for k in range(300, 0, -1):
        fraction = Decimal(k) / 2 / (x + fraction)
    return (-x * x).exp() / (true_pi().sqrt() * (x + fraction))


def true_tanh(x: Decimal) -> Decimal:
    return ((2 * x).exp() - 1) / ((2 * x).exp() + 1)


Range = tuple[float, float]
# Name, how far off it may be (in ulp of the true value), the true value, and where it is drawn.
TRUE: list[tuple[str, float, Callable[[Decimal], Decimal], list[Range]]] = [
    ("exp", 1, lambda x: x.exp(), [(-708, 709), (-1, 1), (-0.01, 0.01)]),
    ("expm1", 1, lambda x: x.exp() - 1, [(-39, 709), (-1, 1), (-2, 4), (-0.01, 0.01), (30, 70)]),
    ("log", 1, lambda x: x.ln(), [(1e-300, 1e300), (0.3, 3), (0.99, 1.01), (1e-320, 1e-310)]),
    ("log1p", 1, lambda x: (1 + x).ln(), [(-0.999, 3), (-0.01, 0.01), (0.4, 0.42), (1, 1e300)]),
    ("sin", 1, true_sin, [(-10, 10), (-1e9, 1e9), (-0.8, 0.8), (3.14, 3.142)]),
    ("cos", 1, lambda x: true_sin(x, 1), [(-10, 10), (-1e9, 1e9), (-0.8, 0.8), (1.57, 1.571)]),
    ("tanh", 2, true_tanh, [(-19, 19), (-1, 1), (-0.01, 0.01)]),
    ("erf", 2, true_erf, [(-5, 5), (-1, 1), (0.84, 0.86)]),
    ("erfc", 3, true_erfc, [(-5, 3), (3, 26), (0.84, 0.86), (-0.5, 0.5)]),
    ("normal_cdf", 4, lambda x: true_erfc(-x / Decimal(2).sqrt()) / 2, [(-36, -5), (-5, 5), (-1, 1)]),
]  # fmt: skip
DRAWS = 150 if JIT else 25


def off(got: float, true: Decimal) -> float:
    """Distance in ulp of the true value."""
    return float(abs(Decimal(got) - true) / Decimal(math.ulp(float(true))))


@pytest.mark.parametrize(("name", "bound", "true", "ranges"), TRUE, ids=[row[0] for row in TRUE])
def test_a_function_is_as_near_to_the_true_value_as_it_says(
    name: str, bound: float, true: Callable[[Decimal], Decimal], ranges: list[Range]
) -> None:
    dice = random.Random(7)
    xs = [dice.uniform(*one) for one in ranges for _ in range(DRAWS)]
    with localcontext() as context:
        context.prec = 60
        for x, got in zip(xs, results(name, xs), strict=True):
            assert off(got, true(Decimal(x))) <= bound, (name, x, got)


def test_powers_are_as_near_as_they_say_and_whole_ones_exact() -> None:
    dice = random.Random(3)
    pairs = [(dice.uniform(0.5, 2), dice.uniform(-900, 900)) for _ in range(DRAWS)]
    pairs += [(10 ** dice.uniform(-100, 100), dice.uniform(-2.9, 2.9)) for _ in range(DRAWS)]
    with localcontext() as context:
        context.prec = 60
        for (x, y), got in zip(pairs, powers(pairs), strict=True):
            assert off(got, (Decimal(x).ln() * Decimal(y)).exp()) <= 1, (x, y, got)
    whole = [(float(x), float(n)) for x in (-7, -3, -2, 2, 3, 5, 10) for n in range(15)]
    assert powers(whole) == [float(int(x) ** int(n)) for x, n in whole]


def test_the_inverse_of_the_distribution_is_that_of_wichura() -> None:
    dice = random.Random(5)
    ps = [dice.random() for _ in range(DRAWS)] + [10 ** dice.uniform(-300, -1) for _ in range(DRAWS)] + [0.5, 0.075]
    for p, got in zip(ps, results("normal_quantile", ps), strict=True):
        assert abs(got - NormalDist().inv_cdf(p)) <= 8 * math.ulp(got), p
    assert results("normal_quantile", [0.0, 1.0, 5e-324])[:2] == [-math.inf, math.inf]
    assert all(math.isnan(found) for found in results("normal_quantile", [-0.1, 1.1, math.nan]))


# ---- the edges


def libm(name: str, *values: float) -> float:
    """What Python's own says, with what it raises as the value that C would give."""
    if name == "normal_cdf":
        return 0.5 * math.erfc(-values[0] / math.sqrt(2))
    try:
        found = getattr(math, name)(*values)
        return found if isinstance(found, float) else float(found)
    except OverflowError:
        if name in ("floor", "ceil", "trunc"):
            return values[0]
        return -math.inf if values[0] < 0 and math.fmod(values[1], 2) else math.inf
    except ValueError:
        if name in ("floor", "ceil", "trunc"):
            return math.nan
        pole = (name == "log" and values[0] == 0) or (name == "log1p" and values[0] == -1)
        if name == "pow" and values[0] == 0 and values[1] < 0:
            odd = math.fmod(values[1], 2) in (1, -1)
            return math.copysign(math.inf, values[0]) if odd else math.inf
        return -math.inf if pole else math.nan


def alike(got: float, wanted: float, bound: float = 4) -> bool:
    if math.isnan(got) or math.isnan(wanted):
        return math.isnan(got) == math.isnan(wanted)
    if math.isinf(got) or math.isinf(wanted) or got == 0 or wanted == 0:
        return got == wanted and (got != 0 or math.copysign(1, got) == math.copysign(1, wanted))
    return abs(got - wanted) <= bound * math.ulp(wanted)


def bound_of(name: str, x: float) -> float:
    """In ulp. What `libm` above says of a normal number's tail is off by the rounding of its argument."""
    return 4 + x * x if name == "normal_cdf" else 4


@pytest.mark.parametrize("name", [name for name in NAMES if name != "normal_quantile"])
def test_the_edges_are_those_of_libm(name: str) -> None:
    for x, got in zip(EDGES, results(name, EDGES), strict=True):
        if name in ("sin", "cos") and abs(x) > 1 << 30:
            assert math.isnan(got)
        elif (name in ("floor", "ceil", "trunc") and x == 0) or (name in ("ceil", "trunc") and got == 0):
            assert got == 0 and math.copysign(1, got) == math.copysign(1, x)
        else:
            assert alike(got, libm(name, x), bound_of(name, x)), (name, x, got)


def test_the_edges_of_powers_are_those_of_libm() -> None:
    pairs = [(x, y) for x in EDGES for y in EDGES]
    for (x, y), got in zip(pairs, powers(pairs), strict=True):
        assert alike(got, libm("pow", x, y)), (x, y, got)


@given(st.floats(), st.floats())
def test_any_two_numbers_have_the_power_that_libm_says(x: float, y: float) -> None:
    assert alike(powers([(x, y)])[0], libm("pow", x, y))


@given(st.floats())
def test_any_number_has_the_values_that_libm_says(x: float) -> None:
    for name in ("exp", "expm1", "log", "log1p", "tanh", "erf", "erfc", "normal_cdf"):
        assert alike(results(name, [x])[0], libm(name, x), bound_of(name, x)), name


@given(st.floats(allow_nan=False))
def test_a_double_is_its_bits(x: float) -> None:
    @loop
    def there_and_back(xs: Any) -> float:
        return floats.from_bits(floats.to_bits(xs[0]))

    if not JIT:
        found = there_and_back(np.array([x]))
        assert found == x and math.copysign(1, found) == math.copysign(1, x)


# ---- the same bits in every way of running


def digest(values: list[float]) -> str:
    """A NaN has many bit patterns and one meaning."""
    array = np.array([math.nan if math.isnan(x) else x for x in values])
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def test_every_way_of_running_gives_the_same_bits() -> None:
    dice = random.Random(11)
    xs = [dice.choice((1, -1)) * math.ldexp(dice.random(), dice.randrange(-40, 11)) for _ in range(400)]
    xs += [dice.random() for _ in range(200)]  # without a function of libm
    found = {name: digest(results(name, xs + EDGES)) for name in NAMES}
    found["pow"] = digest(powers([(abs(x), y) for x, y in zip(xs, reversed(xs), strict=True)]))
    assert found == BITS


BITS = {
    "exp": "ac71c391cda9b6ea", "expm1": "02e9b9170640387e", "log": "c2e7b045815c7d49",
    "log1p": "0b41cc56ff4b0f27", "sin": "a1926e3670efcc51", "cos": "b245360ab1da436f",
    "tanh": "a923ee2c4561991d", "erf": "9c241984f68c483d", "erfc": "0a74649fb01f0f36",
    "normal_cdf": "59e589eaba7e1dc8", "normal_quantile": "e37ad60ce6fa50b0", "sqrt": "26532d0d95f766d6",
    "floor": "310103a2ae426efe", "ceil": "f8b9e89dbec789e8", "trunc": "28586b1d8dab6670",
    "fabs": "d0494285ba578055", "pow": "d80ae3dd20a67f6d",
}  # fmt: skip


# ---- draws


class Gambler(Strategy):
    """Draws when it is told to."""

    numbers: float = state(length=3)
    whole: int = state(length=8)

    @staticmethod
    def on_command(state: Any, params: Any, event: Any, market: Any, orders: Any, desk: Any) -> None:
        for k in range(3):
            state.numbers[k] = draws.uniform(desk)
        for k in range(7):
            state.whole[k] = draws.integer(desk, -1, 2)
        state.numbers[2] = draws.normal(desk)


WORD = (1 << 64) - 1


def twin(seed: int, count: int) -> list[int]:
    """SplitMix64, as its authors wrote it."""
    found, at = [], seed
    for _ in range(count):
        at = (at + 0x9E3779B97F4A7C15) & WORD
        z = ((at ^ (at >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
        found.append(z ^ (z >> 31))
    return found


@pytest.mark.parametrize("seed", [0, 1, (1 << 63) - 1])
def test_draws_are_those_of_the_seed_and_stay_in_their_range(seed: int) -> None:
    rig = Rig(Gambler)
    rig.feed({"kind": SEED, "aux": seed})
    for turn in range(3):
        rig.feed({"kind": SIGNAL, "instrument": 1, "order_id": 1, "aux": 1})
        words = twin(seed, 11 * (turn + 1))[11 * turn :]
        units = [(word >> 11) / (1 << 53) for word in words]
        numbers, whole = rig.state("numbers", 1), rig.state("whole", 1)[:7]
        assert numbers[:2] == units[:2]
        assert whole == [-1 + int(unit * 4) for unit in units[3:10]]
        wanted = NormalDist().inv_cdf(((words[10] >> 11) + 0.5) / (1 << 53))
        assert abs(numbers[2] - wanted) <= 8 * math.ulp(wanted)
