"""Words of 64 bits kept in int64: find, set, clear, and mix.

An int64 with bit 63 set is negative; the arithmetic below never cares, and the Python meanings wrap the same way.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types

from . import hot
from .instruction import I1, I64, byte_pointer, instruction

_ALL = (1 << 64) - 1
GOLDEN = -7046029254386353131  # 2^64 / golden ratio, odd, as int64


def signed(value: int) -> int:
    """A Python integer wrapped to int64."""
    value &= _ALL
    return value - (1 << 64) if value >> 63 else value


def _binary(build: Any) -> Any:
    """The typing of an instruction on two int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return build(builder, *args)

    return types.int64(types.int64, types.int64), codegen


def _lowest(word: int) -> int:
    word = int(word) & _ALL
    return (word & -word).bit_length() - 1 if word else 64


@instruction(_lowest)
def lowest(typingctx: Any, word: Any) -> Any:
    """Index of the lowest set bit; 64 when there is none."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], I1(0))

    return types.int64(types.int64), codegen


def _highest(word: int) -> int:
    return (int(word) & _ALL).bit_length() - 1


@instruction(_highest)
def highest(typingctx: Any, word: Any) -> Any:
    """Index of the highest set bit; -1 when there is none."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sub(I64(63), builder.ctlz(args[0], I1(0)))

    return types.int64(types.int64), codegen


def _with_bit(word: int, bit: int) -> int:
    return signed(int(word) | (1 << int(bit)))


@instruction(_with_bit)
def with_bit(typingctx: Any, word: Any, bit: Any) -> Any:
    """`word` with bit 0..63 set."""
    return _binary(lambda b, word, bit: b.or_(word, b.shl(I64(1), bit)))


def _without_bit(word: int, bit: int) -> int:
    return signed(int(word) & ~(1 << int(bit)))


@instruction(_without_bit)
def without_bit(typingctx: Any, word: Any, bit: Any) -> Any:
    """`word` with bit 0..63 clear."""
    return _binary(lambda b, word, bit: b.and_(word, b.not_(b.shl(I64(1), bit))))


def _below(word: int, bit: int) -> int:
    return signed(int(word) & ((1 << int(bit)) - 1))


@instruction(_below)
def below(typingctx: Any, word: Any, bit: Any) -> Any:
    """The bits of `word` under bit 0..63."""
    return _binary(lambda b, word, bit: b.and_(word, b.sub(b.shl(I64(1), bit), I64(1))))


def _above(word: int, bit: int) -> int:
    return signed(int(word) & (_ALL << int(bit) << 1))


@instruction(_above)
def above(typingctx: Any, word: Any, bit: Any) -> Any:
    """The bits of `word` over bit 0..63."""
    return _binary(lambda b, word, bit: b.and_(word, b.shl(b.shl(I64(-1), bit), I64(1))))


def _scatter(value: int) -> int:
    return signed(int(value) * GOLDEN)


@instruction(_scatter)
def scatter(typingctx: Any, value: Any) -> Any:
    """The value times 2^64 / golden ratio, wrapped: its top bits are a hash.

    Not `*`: Numba promises LLVM that a product of int64 never wraps, and where LLVM knows the sign of a key, the bits
    are whatever suits it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.mul(args[0], I64(GOLDEN))

    return types.int64(types.int64), codegen


def _mix(state: int, value: int) -> int:
    product = ((int(state) ^ int(value)) * GOLDEN) & _ALL
    return signed(product ^ (product >> 32))


@instruction(_mix)
def mix(typingctx: Any, state: Any, value: Any) -> Any:
    """Fold one int64 into a running 64-bit hash. Not cryptographic: it tells two runs apart, not two attackers."""

    def build(b: Any, state: Any, value: Any) -> Any:
        product = b.mul(b.xor(state, value), I64(GOLDEN))
        return b.xor(product, b.lshr(product, I64(32)))

    return _binary(build)


def _plus(value: int, other: int) -> int:
    return signed(int(value) + int(other))


@instruction(_plus)
def plus(typingctx: Any, value: Any, other: Any) -> Any:
    """The sum, wrapped."""
    return _binary(lambda b, value, other: b.add(value, other))


def _times(value: int, other: int) -> int:
    return signed(int(value) * int(other))


@instruction(_times)
def times(typingctx: Any, value: Any, other: Any) -> Any:
    """The product, wrapped."""
    return _binary(lambda b, value, other: b.mul(value, other))


def _folded(value: int, by: int) -> int:
    return signed(int(value) ^ ((int(value) & _ALL) >> int(by)))


@instruction(_folded)
def folded(typingctx: Any, value: Any, by: Any) -> Any:
    """The value xor itself moved down by 0..63 bits, zeros behind it."""
    return _binary(lambda b, value, by: b.xor(value, b.lshr(value, by)))


def _big_endian(width: int) -> Any:
    def meaning(buffer: Any, at: int) -> int:
        return int.from_bytes(bytes(buffer[at : at + width]), "big", signed=width == 8)

    return meaning


def _load_big_endian(width: int) -> Any:
    """Typing of an unaligned big-endian load of `width` bytes from a uint8 array."""

    def typing(typingctx: Any, buffer: Any, at: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            integer = ir.IntType(8 * width)
            where = byte_pointer(context, builder, signature.args[0], *args)
            value = builder.load(builder.bitcast(where, integer.as_pointer()), align=1, typ=integer)
            value = builder.bswap(value)
            return value if width == 8 else builder.zext(value, I64)

        return types.int64(buffer, types.intp), codegen

    return typing


def _load_byte_by_byte(width: int) -> Any:
    """The same through the array's own indexing, so that a bounds-checked build sees every byte read."""

    @hot
    def load(buffer: Any, at: int) -> int:
        value = np.int64(0)
        for k in range(width):
            value = (value << 8) | np.int64(buffer[at + k])
        return value

    return load


def _loader(width: int) -> Any:
    return _load_byte_by_byte(width) if config.BOUNDSCHECK else instruction(_big_endian(width))(_load_big_endian(width))


# Big-endian integers of a wire buffer (uint8 array). The caller has checked that the bytes are there.
load_u16, load_u32, load_i64 = _loader(2), _loader(4), _loader(8)


def _write_big_endian(width: int) -> Any:
    mask = (1 << 8 * width) - 1

    def meaning(buffer: Any, at: int, value: int) -> None:
        raw = (int(value) & mask).to_bytes(width, "big")
        buffer[at : at + width] = np.frombuffer(raw, np.uint8)

    return meaning


def _store_big_endian(width: int) -> Any:
    """Typing of an unaligned big-endian store of the low `width` bytes of an int64 into a uint8 array."""

    def typing(typingctx: Any, buffer: Any, at: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            integer = ir.IntType(8 * width)
            where = byte_pointer(context, builder, signature.args[0], args[0], args[1])
            low = args[2] if width == 8 else builder.trunc(args[2], integer)
            builder.store(builder.bswap(low), builder.bitcast(where, integer.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.none(buffer, types.intp, types.int64), codegen

    return typing


def _store_byte_by_byte(width: int) -> Any:
    """The same through the array's own indexing, so that a bounds-checked build sees every byte written."""

    @hot
    def store(buffer: Any, at: int, value: int) -> None:
        for k in range(width):
            buffer[at + k] = (value >> 8 * (width - 1 - k)) & 255

    return store


def _storer(width: int) -> Any:
    if config.BOUNDSCHECK:
        return _store_byte_by_byte(width)
    return instruction(_write_big_endian(width))(_store_big_endian(width))


# The inverse: the low bytes of an int64 into a wire buffer. The caller has checked that there is room.
store_u16, store_u32, store_i64 = _storer(2), _storer(4), _storer(8)
