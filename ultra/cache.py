"""Where compiled code is kept, and under which key: a cache that cannot go stale.

Numba stamps a cached function with the text of its own file only, so a caller kept running the old code of a
callee edited in another file. Here one key covers everything that decides the machine code: every source of
the hot path, the strategy, the versions, the processor and the flags. Another key is another folder, so an
old folder is never read again; the newest sixteen are kept.

Known bad case: a value that a strategy reads from a module it does not import by name is not in the key.
"""

import functools
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDERS_KEPT = 16
PACKAGE = Path(__file__).parent
# Everything whose text can end up in machine code.
SOURCES = (
    "wire.py",
    "math.py",
    "random.py",
    "strategy.py",
    "inline.py",
    "apart.py",
    "wired.py",
    "trial.py",
    "impact.py",
    "cache.py",
    "hot/*.py",
    "hot/indicators/*.py",
    "venues/*.py",
    "lab/fills.py",
    "lab/around.py",
    "lab/bar_*.py",
    "lab/synthetic.py",
)

# Called with (function name, seconds) around each compilation; seconds is None when it starts.
listeners: list[Callable[[str, float | None], None]] = []


def directory() -> Path:
    """The folder of all cached code: ULTRA_CACHE_DIR, or `ultra` in the user's cache folder."""
    given = os.environ.get("ULTRA_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ultra"


@functools.cache
def key() -> str:
    """One hash over the hot sources, the versions, the processor and the flags."""
    import llvmlite
    import llvmlite.binding as llvm
    import numba
    import numpy

    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    flags = numba.config
    features = llvm.get_host_cpu_features().flatten() if flags.CPU_FEATURES is None else flags.CPU_FEATURES
    facts = (
        sys.version, platform.machine(), numba.__version__, llvmlite.__version__, numpy.__version__,
        flags.CPU_NAME or llvm.get_host_cpu_name(), features, flags.OPT, flags.BOUNDSCHECK, flags.DEBUG,
        flags.DEBUGINFO_DEFAULT, flags.LOOP_VECTORIZE, flags.SLP_VECTORIZE,
    )  # fmt: skip
    digest.update(repr([str(fact) for fact in facts]).encode())
    return digest.hexdigest()[:20]


@functools.cache
def folder() -> Path | None:
    """The folder of the current key, made if need be; None when it can't be written (then nothing is cached)."""
    path = directory() / key()
    try:
        path.mkdir(parents=True, exist_ok=True)
        os.utime(path)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        print(
            f"ultra: the compile cache {path} can't be written ({error.strerror}): every start compiles again. "
            "Set ULTRA_CACHE_DIR to a folder that can.",
            file=sys.stderr,
        )
        return None
    _prune(path)
    return path


def _prune(current: Path) -> None:
    others = [p for p in current.parent.iterdir() if p.is_dir() and len(p.name) == 20 and p != current]
    for old in sorted(others, key=lambda p: p.stat().st_mtime, reverse=True)[FOLDERS_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def fingerprint(*functions: Callable[..., Any]) -> str:
    """A hash of what these functions compute: code, constants, and every global they read, followed through
    calls. Without effect for those of the hot path, which `key` covers anyway."""
    digest = hashlib.sha256()
    for function in functions:
        _feed(digest, function, set())
    return digest.hexdigest()[:20]


def _feed(digest: Any, value: Any, seen: set[int]) -> None:
    function = getattr(value, "py_func", value)
    if not isinstance(function, types.FunctionType):
        digest.update(_constant(value))
        return
    if id(function) in seen or (function.__module__ or "").split(".")[0] in ("numpy", "numba", "math"):
        return
    seen.add(id(function))
    digest.update(function.__qualname__.encode())
    _feed_code(digest, function.__code__)
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        _feed(digest, default, seen)
    for cell in function.__closure__ or ():
        _feed(digest, cell.cell_contents, seen)
    names = _names(function.__code__)
    for name in names:
        read = function.__globals__.get(name)
        if isinstance(read, types.ModuleType):
            for attribute in names:
                _feed(digest, getattr(read, attribute, None), seen)
        else:
            _feed(digest, read, seen)


def _names(code: types.CodeType) -> list[str]:
    """Every name that the code reads, those of the functions inside it too."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return [*code.co_names, *(name for names in inner for name in names)]


def _feed_code(digest: Any, code: types.CodeType) -> None:
    # The bytecode has the numbers of names, not the names: `market.bid` and `market.ask` are the same bytes.
    digest.update(code.co_code + repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _feed_code(digest, constant)
        else:
            digest.update(repr(constant).encode())


def _constant(value: Any) -> bytes:
    """What of a global can change the code: numbers, text, tuples and arrays; a class or module only by name."""
    if hasattr(value, "tobytes") and hasattr(value, "dtype") and not isinstance(value, type):
        return repr(value.dtype).encode() + bytes(value.tobytes())
    if isinstance(value, int | float | str | bytes | tuple | bool | None):
        return repr(value).encode()
    return str(getattr(value, "__qualname__", type(value).__qualname__)).encode()
