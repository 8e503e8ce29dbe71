"""One finding of the doctor, and how it reads the kernel's files.

A file that is missing or forbidden is None and never an exception: on another kernel, in a container or on a
laptop half of them are. A finding about None is INFO, because silence is neither good nor bad; a check that
fails is a WARN with the error in it, so one broken part never hides the others.

Known bad case: a file that can be read but waits for an event would hang; none of those read here does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PASS: Final = "PASS"
WARN: Final = "WARN"
INFO: Final = "INFO"


@dataclass(frozen=True, slots=True)
class Check:
    """A finding: `fix` is empty unless it is a WARN."""

    name: str
    status: str
    found: str
    wanted: str
    fix: str


def verdict(name: str, good: bool | None, found: object, wanted: str, fix: str) -> Check:
    """PASS or WARN; INFO when `good` is None, that is, when there is nothing to judge by."""
    status = INFO if good is None else PASS if good else WARN
    return Check(name, status, "not told" if found is None else str(found), wanted, fix if good is False else "")


def tried(name: str, check: Callable[[], Check]) -> Check:
    """The check's finding, or its error as one."""
    try:
        return check()
    except Exception as error:
        if isinstance(error, ImportError) and (error.name or "").startswith("ultra"):
            return verdict(name, None, f"this installation has no {error.name}", "", "")
        return verdict(name, False, f"{type(error).__name__}: {error}"[:200], "a reading", "see the error")


def read(root: Path, path: str) -> str | None:
    """The stripped text of `root/path`; None if it can't be read."""
    try:
        return (root / path).read_bytes().decode("utf-8", "replace").strip("\0 \t\n")
    except (OSError, ValueError):
        return None


def read_each(root: Path, pattern: str) -> dict[str, str]:
    """The text of every readable file that matches, by its path under the root."""
    try:
        paths = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))
    except OSError:
        return {}
    texts = {path: read(root, path) for path in paths}
    return {path: text for path, text in texts.items() if text is not None}


def cores_of(text: str) -> frozenset[int]:
    """The kernel's lists: '1,4-6' -> {1, 4, 5, 6}; what is no number is left out, as in '(null)'."""
    cores: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (last or first).isdigit():
            cores |= set(range(int(first), int(last or first) + 1))
    return frozenset(cores)


def listed(cores: Iterable[int]) -> str:
    """The inverse: {1, 4, 5, 6} -> '1,4-6'; 'none' of nothing."""
    spans: list[list[int]] = []
    for core in sorted(cores):
        if spans and spans[-1][1] == core - 1:
            spans[-1][1] = core
        else:
            spans.append([core, core])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans) or "none"


def number(text: str | None) -> int | None:
    """A whole number >= 0, or None."""
    return int(text) if text is not None and text.isdecimal() else None
