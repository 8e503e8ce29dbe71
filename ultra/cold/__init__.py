"""Everything beside the path: sockets, disk, processes, metrics. Ordinary typed Python that mypyc compiles.

Python takes a compiled module before its source, so an edited file would go on running its old self. This
file is never compiled; at import it compares each source with the hash that `setup.py` wrote when it compiled
it. If one differs, the whole package runs from source: compiled modules call each other past Python, and a
mixture would keep parts of the old code. The hashes also cover the files that compiled modules import:
mypyc copies their `Final` constants in.
Known bad case: only sources are compared. Whoever swaps the compiled files themselves is not caught.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_FOLDER = Path(__file__).parent
_ROOT = _FOLDER.parent.parent
_INFO = _FOLDER.parent / "_build_info.json"

PURE = os.environ.get("ULTRA_PURE") == "1"


class _Verdict(NamedTuple):
    """`reason` is empty if the compiled modules run; `surprise` if the user believes they do."""

    reason: str
    surprise: bool = False
    changed: tuple[str, ...] = ()


class _SourceFinder(MetaPathFinder):
    """Finds the modules of this package in their .py, whatever lies beside it."""

    def __init__(self) -> None:
        self._finder = FileFinder(str(_FOLDER), (SourceFileLoader, SOURCE_SUFFIXES))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.rpartition(".")[0] != __name__:
            return None
        return self._finder.find_spec(fullname)

    def invalidate_caches(self) -> None:
        self._finder.invalidate_caches()


def compiled() -> bool:
    """Whether the modules of this package run compiled."""
    return not _VERDICT.reason


def build_report() -> dict[str, Any]:
    """What runs compiled and why not, for `ultra doctor` and for bug reports."""
    from .native import NATIVE

    return {
        "compiled": compiled(),
        "reason": _VERDICT.reason,
        "stale": _VERDICT.surprise,
        "changed": list(_VERDICT.changed),
        "modules": sorted(_INFO_READ.get("compiled", {})),
        "native": NATIVE,
        "mypy": _INFO_READ.get("mypy", ""),
        "python": sys.version.split()[0],
        "suffix": EXTENSION_SUFFIXES[0],
    }


def _read_info() -> dict[str, Any]:
    try:
        info = json.loads(_INFO.read_text())
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def _compiled_files() -> set[str]:
    """Names of the modules with a file that this interpreter would load as compiled."""
    suffixes = tuple(EXTENSION_SUFFIXES)
    return {path.name.split(".")[0] for path in _FOLDER.iterdir() if path.name.endswith(suffixes)}


def _changed(hashes: dict[str, str]) -> tuple[str, ...]:
    """Those of these files whose text is no longer the one of the hash; a missing file counts."""

    def digest(name: str) -> str:
        try:
            return hashlib.sha256((_ROOT / name).read_bytes()).hexdigest()
        except OSError:
            return "missing"

    return tuple(sorted(name for name, expected in hashes.items() if digest(name) != expected))


def _decide(info: dict[str, Any], files: set[str]) -> _Verdict:
    if PURE:
        return _Verdict("ULTRA_PURE=1")
    if info.get("reason"):
        return _Verdict(str(info["reason"]))
    if not files:
        return _Verdict("never compiled for this Python")
    known = {Path(name).stem for name in info.get("compiled", {})}
    if info.get("suffix") != EXTENSION_SUFFIXES[0] or files != known:
        return _Verdict("the compiled files in ultra/cold are not those of the last build", surprise=True)
    changed = _changed({**info["compiled"], **info["read"]})
    if not changed:
        return _Verdict("")
    others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return _Verdict(f"{changed[0]}{others} changed after it was compiled", surprise=True, changed=changed)


_INFO_READ = _read_info()
_VERDICT = _decide(_INFO_READ, _compiled_files())

if _VERDICT.reason:
    sys.meta_path.insert(0, _SourceFinder())
if _VERDICT.surprise:
    print(f"ultra: {_VERDICT.reason}: running the source; 'make build' compiles it again", file=sys.stderr)
