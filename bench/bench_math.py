"""What a function of `ultra.math` costs beside the machine's own, ns a call over a column of numbers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ultra import cache
from ultra import math as own
from ultra.hot import entry

COUNT = 100_000
CASES: list[tuple[str, Any, Any, float, float]] = [
    ("exp", own.exp, math.exp, -5, 5),
    ("log", own.log, math.log, 0.1, 10),
    ("sin", own.sin, math.sin, -5, 5),
    ("tanh", own.tanh, math.tanh, -3, 3),
    ("erf", own.erf, math.erf, -3, 3),
    ("normal_cdf", own.normal_cdf, None, -3, 3),
]


def over(function: Callable[[float], float]) -> Any:
    def column(xs: Any) -> float:
        total = 0.0
        for x in xs:
            total += function(x)
        return total

    return entry(column, key=cache.fingerprint(column))


@pytest.mark.parametrize(("name", "ours", "libm", "low", "high"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("whose", ["ours", "libm"])
def test_a_column(benchmark: Any, name: str, ours: Any, libm: Any, low: float, high: float, whose: str) -> None:
    function = ours if whose == "ours" else libm
    if function is None:
        pytest.skip("libm has none")
    xs = np.random.default_rng(1).uniform(low, high, COUNT)
    loop = over(function)
    loop(xs)
    benchmark.pedantic(loop, (xs,), rounds=20, iterations=1)
    if benchmark.stats:
        benchmark.extra_info["ns_per_call"] = round(benchmark.stats.stats.median / COUNT * 1e9, 1)
