"""An indicator has one definition, a step, and two ways to call it by one name.

    fast: Any = indicator(sma, 200)          # in a strategy: room for windows of up to 200 values
    sma(state.fast, event.price, 20)         # in a hook: takes one value, gives the mean of the last 20
    sma(prices, 20)                          # anywhere else: the same step over an array

The trick: to Numba an `Indicator` is the compiled step itself (`_numba_type_`), to Python it is a function of arrays
whose loop calls that step; so there is no second formula that could differ. What always holds: a record of zeros has
seen nothing; `seen` = 0 starts anew (`restart`), and so does another length; what is not a finite number is not
remembered and is answered with NaN, as is everything before the window is full, and a length beyond the room; nothing
allocates.
Known bad case: `_numba_type_` is private to Numba; `tests/test_indicators.py` fails the day it stops meaning this.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from ... import cache
from .. import JIT, entry, hot, memory

LENGTHS = ("length", "smooth", "signal", "lag")  # arguments that want room in a record
ROOM_MAX = 1 << 20


def record(*columns: Any) -> Any:
    """The dtype of an indicator's memory: every one begins with what it has seen and for which length."""
    return np.dtype([("seen", "i8"), ("length", "i8"), *columns], align=True)


@hot
def finite(value: float) -> bool:
    """Neither NaN nor infinite."""
    return math.isfinite(value)


@hot
def fresh(state: Any, length: int) -> bool:
    """Whether it begins: nothing seen yet, restarted, or another length than before."""
    if state.length != length:
        state.length = length
        state.seen = 0
    return state.seen == 0


@hot
def restart(state: Any) -> None:
    """Forget everything: the next value is the first."""
    state.seen = 0


class Indicator:
    """A step over a record, and the same over arrays.

    In hot code call it as its step. Elsewhere give arrays of one length (anything that NumPy reads; a scalar stands for
    an array of it) and the constants: float64[n] comes back, or a tuple of them. ValueError: what is wrong with
    them."""

    def __init__(
        self, step: Callable[..., Any], fields: Callable[[int], Any] | None, inputs: int, outputs: Any
    ) -> None:
        functools.update_wrapper(self, step)
        self.py_func = step  # where `cache.fingerprint` looks
        self.step = hot(step)
        self.inputs = inputs
        self.outputs = outputs  # a NamedTuple class, or None for a plain float
        self._fields = fields
        parameters = list(inspect.signature(step).parameters.values())
        self._signature = inspect.Signature(parameters[1:] if fields else parameters)
        self._over: Any = None
        if JIT:
            self._numba_type_ = types.Dispatcher(self.step)

    def __repr__(self) -> str:
        return f"<indicator {self.__name__}{self._signature}>"  # type: ignore[attr-defined]

    def dtype(self, room: int = 0) -> Any:
        """The dtype of its memory, with windows of up to `room` values; ValueError when it needs none or room is
        odd."""
        if self._fields is None:
            raise ValueError(f"{self!r} remembers nothing: call it without a field")
        if not 0 <= room <= ROOM_MAX:
            raise ValueError(f"{self!r}: room for {room} values, must be 0 to {ROOM_MAX}")
        return self._fields(max(room, 1))

    def __call__(self, *arguments: Any, **constants: Any) -> Any:
        """Of a field (without the JIT) one step; of arrays the array of all steps."""
        if arguments and isinstance(arguments[0], np.void):
            return self.step(*arguments, **constants)
        bound = self._signature.bind(*arguments, **constants)
        bound.apply_defaults()
        values = [*bound.arguments.values()]
        columns, rest = values[: self.inputs], tuple(values[self.inputs :])
        if self._fields is None and all(np.ndim(column) == 0 for column in columns):
            if not JIT:
                return self.step(*columns)
            return float(self(*([column] for column in columns))[0])
        return self._all(columns, rest, dict(bound.arguments))

    def _all(self, columns: list[Any], constants: tuple[Any, ...], named: dict[str, Any]) -> Any:
        rows = [np.asarray(column, np.float64) for column in columns]
        if any(row.ndim > 1 for row in rows) or len({len(row) for row in rows if row.ndim}) > 1:
            raise ValueError(
                f"{self!r}: shapes {[row.shape for row in rows]}, must be one-dimensional and of one length"
            )
        lengths = [int(named[name]) for name in LENGTHS if name in named]
        if any(not 0 < length <= ROOM_MAX for length in lengths):
            raise ValueError(f"{self!r}: lengths {lengths}, must be 1 to {ROOM_MAX}")
        count = max(len(row) for row in rows if row.ndim) if any(row.ndim for row in rows) else 1
        table = np.empty((self.inputs, count))
        for k, row in enumerate(rows):
            table[k] = row
        state = memory.zeros(1, self.dtype(max(lengths, default=0)) if self._fields else [("unused", "i8")])
        out = np.empty((len(self.outputs._fields) if self.outputs else 1, count))
        if self._over is None:
            self._over = loop(self.step, self._fields is not None, self.inputs, self.outputs is not None)
        self._over(state, table, out, constants)
        return self.outputs(*out) if self.outputs else out[0]


def define(
    fields: Callable[[int], Any] | None, *, inputs: int = 1, outputs: Any = None
) -> Callable[[Callable[..., Any]], Indicator]:
    """Make an indicator of its step.

    `fields(room)` gives the dtype of its memory (`record`), None if it has none. The step takes that record, `inputs`
    values (1 to 4) and constants, and returns a float, or an `outputs` (a NamedTuple of floats)."""
    return lambda step: Indicator(step, fields, inputs, outputs)


@hot
def _put_one(out: Any, at: int, found: Any) -> None:
    out[0, at] = found


@hot
def _put_each(out: Any, at: int, found: Any) -> None:
    for k in range(len(found)):
        out[k, at] = found[k]


def loop(step: Callable[..., Any], remembers: bool, inputs: int, several: bool) -> Callable[..., None]:
    """The step over the columns of a table: `(state[1], table[inputs, n], out[outputs, n], constants)`."""
    key = cache.fingerprint(step) + f"-{int(remembers)}{inputs}{int(several)}"
    put = _put_each if several else _put_one

    @hot
    def forgetful(state: Any, *values: Any) -> Any:
        return step(*values)

    call = step if remembers else forgetful

    @entry(key=key)
    def over1(state: Any, table: Any, out: Any, constants: Any) -> None:
        for at in range(table.shape[1]):
            put(out, at, call(state[0], table[0, at], *constants))

    @entry(key=key)
    def over2(state: Any, table: Any, out: Any, constants: Any) -> None:
        for at in range(table.shape[1]):
            put(out, at, call(state[0], table[0, at], table[1, at], *constants))

    @entry(key=key)
    def over3(state: Any, table: Any, out: Any, constants: Any) -> None:
        for at in range(table.shape[1]):
            put(out, at, call(state[0], table[0, at], table[1, at], table[2, at], *constants))

    @entry(key=key)
    def over4(state: Any, table: Any, out: Any, constants: Any) -> None:
        for at in range(table.shape[1]):
            put(out, at, call(state[0], table[0, at], table[1, at], table[2, at], table[3, at], *constants))

    found: Callable[..., None] = (over1, over2, over3, over4)[inputs - 1]
    return found
