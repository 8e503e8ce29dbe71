"""The hot path. Once it runs, nothing here allocates, locks, reads a clock or calls the kernel.

`hot` is the decorator of everything that runs per message; `entry` is the same for the loops that Python calls.
`_nrt=False` compiles without Numba's runtime: an array made by mistake is an error when the function compiles,
not a pause when the market moves, and no reference count is touched (measured: 533 -> 41 ns a book message).
`forceinline` takes the tuples of arrays apart. `error_model="numpy"` leaves the zero-division branch out.

Known bad case: `_nrt` is private to Numba; `tests/test_hot_canary.py` fails the day it stops meaning this.
"""

import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from numba import config, njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

from .. import cache

Function = TypeVar("Function", bound=Callable[..., Any])

JIT = not config.DISABLE_JIT
FLAGS = {"_nrt": False, "boundscheck": False, "error_model": "numpy", "nogil": True}


def hot(function: Function) -> Function:
    """Compile a function of the hot path. It is inlined into its callers; it must not allocate.

    It has no machine code of its own, so Python can't call it while the JIT is on: `door` makes it callable."""
    return _marked(njit(forceinline=True, pipeline_class=_InlinedCompiler, **FLAGS)(function))


def _marked(function: Function) -> Function:
    """With the JIT off a hot function is a plain one; who reads a strategy must tell them apart."""
    if not JIT:
        function.is_hot = True  # type: ignore[attr-defined]
    return function


def door(function: Function) -> Function:
    """A compiled entry to one hot function, for tests and for code outside the path."""
    if not JIT:
        return function

    def call(*arguments: Any) -> Any:
        return function(*arguments)

    call.__qualname__ = f"door.{function.__module__}.{function.__qualname__}"
    return entry(call, key=cache.fingerprint(function))


def rare(function: Function) -> Function:
    """The same for what happens once in many thousand messages: called, and kept out of the path's registers."""
    compiled: Function = njit(pipeline_class=_RareCompiler, forceinline=False, **FLAGS)(function)
    return _marked(compiled)


def entry(function: Function | None = None, *, key: str = "") -> Any:
    """Compile a loop that Python calls, and keep its machine code under the cache key.

    `key` names what the sources don't say: for a loop bound to a strategy, the strategy's fingerprint."""
    if function is None:
        return lambda given: entry(given, key=key)
    compiled = njit(**FLAGS)(function)
    if JIT and cache.folder() is not None:
        compiled._cache = _HotCache(function, key)
    return compiled


class _InlinedLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The code of a function that only ever becomes part of its callers: linked, not optimised, not emitted.

    Numba would optimise and emit every function with all it calls, each again in its caller: 110 s for the whole
    path, where one pass over the final loop takes a few."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


class _InlinedCompiler(Compiler):  # type: ignore[misc]
    def compile_extra(self, func: Any) -> Any:
        flags = self.state.flags
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        self.state.library = _InlinedLibrary(self.state.targetctx.codegen(), func.__qualname__)
        result = super().compile_extra(func)
        # Callers look the code up by its entry point, which must be a distinct builtin; a list's own `index`
        # refuses whatever Python calls it with.
        entry_point = list[None]().index
        self.state.targetctx.insert_user_function(entry_point, result.fndesc, [result.library])
        return result._replace(entry_point=entry_point)


class _RareLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The code of a function that stays a call: LLVM would inline what has one caller, and spill on the hot side."""

    def _optimize_final_module(self) -> None:
        super()._optimize_final_module()
        for function in self._final_module.functions:
            if not function.is_declaration and b"alwaysinline" not in b" ".join(function.attributes):
                function.add_function_attribute("noinline")
                function.add_function_attribute("cold")


class _RareCompiler(Compiler):  # type: ignore[misc]
    def compile_extra(self, func: Any) -> Any:
        self.state.flags.no_cpython_wrapper = self.state.flags.no_cfunc_wrapper = True
        self.state.library = _RareLibrary(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(func)


class _Locator(_CacheLocator):  # type: ignore[misc]
    """Tells Numba's cache our folder. The folder's name is the stamp, so the stamp itself is constant."""

    def get_cache_path(self) -> str:
        return str(cache.folder())

    def get_source_stamp(self) -> str:
        return ""

    def get_disambiguator(self) -> str:
        return "0"

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        return cls()


class _Impl(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        return fullname.replace("<", "").replace(">", "")


class _HotCache(FunctionCache):  # type: ignore[misc]
    """Numba's own cache file under our key. Numba hashes what a closure holds by pickling it, which differs in
    every process; our key says it by content, so a loop bound to a strategy is found again."""

    _impl_class = _Impl

    def __init__(self, function: Callable[..., Any], key: str) -> None:
        super().__init__(function)
        self._key = key
        self._label = function.__qualname__.replace(".<locals>", "")
        self._started = 0.0

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), self._key

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = self._load(sig, target_context)
        if found is None:
            self._started = time.perf_counter()
            for listener in cache.listeners:
                listener(self._label, None)
        return found

    def _load(self, sig: Any, target_context: Any) -> Any:
        """What is kept names the module of each function inlined, only to find its globals, which machine code holds
        already. A strategy that has moved since has a module of another name: an empty one stands in for it."""
        stand_ins: list[str] = []
        try:
            while True:
                try:
                    return super().load_overload(sig, target_context)
                except ModuleNotFoundError as error:
                    if not error.name or error.name in sys.modules:
                        raise
                    stand_ins.append(error.name)
                    sys.modules[error.name] = ModuleType(error.name)
        finally:
            for name in stand_ins:
                del sys.modules[name]

    def save_overload(self, sig: Any, data: Any) -> None:
        super().save_overload(sig, data)
        for listener in cache.listeners:
            listener(self._label, time.perf_counter() - self._started)
