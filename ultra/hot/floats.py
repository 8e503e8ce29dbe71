"""Doubles as the processor has them: their bits, what is one instruction, and sums and products that lose nothing.

An IEEE double has one right result for + - * / and sqrt, so what is made of these only is the same bits everywhere:
compiled, interpreted, in WebAssembly. Nothing here may be contracted (a * b + c in one rounding), and the flags of
`hot` don't allow it. A value that one double can't hold is a pair high + low, |low| <= half an ulp of high.
Known bad case: `product` splits its factors in halves, which overflows beyond 2^996.
Sources: Dekker, Numer. Math. 18 (1971); Knuth, TAOCP 2, 4.2.2.
"""

import struct
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types

from . import hot
from .instruction import I64, external, instruction

NAN: Final = float("nan")
INF: Final = float("inf")
_DOUBLE = ir.DoubleType()
_SPLIT = float((1 << 27) + 1)


def _to_bits(x: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


@instruction(_to_bits)
def to_bits(typingctx: Any, x: Any) -> Any:
    """The 64 bits of a double, as int64."""
    return types.int64(types.float64), lambda context, b, signature, args: b.bitcast(args[0], I64)


def _from_bits(word: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", word))[0])


@instruction(_from_bits)
def from_bits(typingctx: Any, word: Any) -> Any:
    """The double with these bits."""
    return types.float64(types.int64), lambda context, b, signature, args: b.bitcast(args[0], _DOUBLE)


def _unary(name: str) -> Any:
    """The typing of an instruction on one double."""

    def typing(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.call(external(builder, _DOUBLE, [_DOUBLE], f"llvm.{name}.f64"), args)

        return types.float64(types.float64), codegen

    return typing


floor = instruction(lambda x: float(np.floor(x)))(_unary("floor"))
ceil = instruction(lambda x: float(np.ceil(x)))(_unary("ceil"))
trunc = instruction(lambda x: float(np.trunc(x)))(_unary("trunc"))
fabs = instruction(lambda x: abs(float(x)))(_unary("fabs"))
root = instruction(lambda x: float(np.sqrt(x)))(_unary("sqrt"))  # of a number that is not negative


@hot
def with_sign(size: float, sign: float) -> float:
    """|size| with the sign of the other, that of a zero or NaN too."""
    return from_bits((to_bits(size) & ((1 << 63) - 1)) | (to_bits(sign) & -(1 << 63)))


@hot
def power_of_two(k: int) -> float:
    """2^k for -1022 <= k <= 1023."""
    return from_bits((k + 1023) << 52)


@hot
def scaled(x: float, k: int) -> float:
    """x * 2^k for |k| <= 2000: at most one rounding, where the result is subnormal."""
    half = k >> 1
    return x * power_of_two(half) * power_of_two(k - half)


@hot
def quick_sum(a: float, b: float) -> Any:
    """a + b as a pair, |a| >= |b|."""
    high = a + b
    return high, b - (high - a)


@hot
def total(a: float, b: float) -> Any:
    """a + b as a pair."""
    high = a + b
    back = high - a
    return high, (a - (high - back)) + (b - back)


@hot
def product(a: float, b: float) -> Any:
    """a * b as a pair."""
    high = a * b
    t = a * _SPLIT
    a_high = t - (t - a)
    t = b * _SPLIT
    b_high = t - (t - b)
    a_low, b_low = a - a_high, b - b_high
    return high, ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low
