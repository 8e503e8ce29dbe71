"""One machine instruction under a Python name.

Each has a meaning, a plain Python function that runs when the JIT is off, and the LLVM that replaces it in
compiled code. Both must do the same; `tests/test_instructions.py` holds them to it.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from . import JIT

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)


def instruction(meaning: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Bind LLVM (a function in the form of `numba.extending.intrinsic`) to its meaning in Python."""

    def bind(codegen: Callable[..., Any]) -> Callable[..., Any]:
        bound: Callable[..., Any] = intrinsic(codegen) if JIT else meaning
        return bound

    return bind


def pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of element `index` (an intp) of a contiguous one-dimensional array; no bounds check."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index], inbounds=True)


def byte_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """The same as a pointer to bytes."""
    return builder.bitcast(pointer(context, builder, array_type, array, index), I8.as_pointer())


def external(builder: Any, result: Any, arguments: list[Any], name: str) -> Any:
    """An LLVM intrinsic by name."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)
