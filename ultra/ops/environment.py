"""The doctor's checks of what is installed, and those that must be tried instead of read.

Nothing here changes the machine: the priority is taken by a thread that ends, the file written is a nameless
one. Other parts of the engine are imported only inside their check, so that the doctor runs where they don't.

Known bad case: the hiccup reading takes its core away from whoever runs on it for a fraction of a second.
"""

import importlib.metadata
import operator
import os
import re
import shutil
import sysconfig
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .check import Check, tried, verdict

FIFO_PRIORITY = 50
HICCUP_DURATION_MS = 300
HICCUP_P99_MAX_NS = 10_000
HICCUP_MAX_NS = 50_000
TESTED = ("numba", "llvmlite", "numpy")
COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "<": operator.lt, ">": operator.gt}
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def checks(cores: frozenset[int]) -> Iterator[Check]:
    """Everything that is not told by a file of the kernel."""
    yield tried("SCHED_FIFO", real_time)
    yield tried("compiler", compiler)
    for package in TESTED:
        yield tried(package, partial(version, package))
    yield tried("compiled modules", compiled)
    yield tried("compile cache", cache_folder)
    for core in sorted(cores):
        yield tried(f"hiccups of core {core}", partial(hiccups, core))


def real_time() -> Check:
    """Take the priority, on a thread that ends with it: with every right the kernel may still refuse."""
    outcome: list[str] = []

    def attempt() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        except (OSError, AttributeError) as error:
            outcome.append(getattr(error, "strerror", None) or str(error))

    thread = threading.Thread(target=attempt, name="doctor")
    thread.start()
    thread.join()
    fix = "LimitRTPRIO=90 in the unit, rtprio in limits.conf, or CAP_SYS_NICE (--cap-add sys_nice)"
    found = outcome[0] if outcome else f"priority {FIFO_PRIORITY} granted"
    return verdict("SCHED_FIFO", not outcome, found, f"priority {FIFO_PRIORITY}", fix)


def compiler() -> Check:
    """Needed to build, not to run."""
    names = ((os.environ.get("CC") or "cc").split()[0], "gcc", "clang")
    name = next(filter(None, map(shutil.which, names)), None)
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    found = f"{name or 'none'}, {'with' if headers else 'without'} Python.h"
    fix = "apt install gcc python3-dev; until then the cold modules run uncompiled"
    return verdict("compiler", bool(name) and headers, found, "a C compiler and Python.h", fix)


def version(package: str) -> Check:
    """What is installed against the range that the tests ran with, which is the one of pyproject.toml."""
    needs = (need for need in _requirements() if re.match(rf"{package}\b", need))
    wanted = next(needs, package)
    limits = wanted.removeprefix(package).strip()
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return verdict(package, False, "not installed", limits, f"pip install '{wanted}'")
    good = inside(found, limits) if limits else None
    return verdict(package, good, found, limits, f"pip install '{wanted}'")


def _requirements() -> list[str]:
    try:
        text = PROJECT.read_text()  # a checkout: newer than what its installation wrote down
    except OSError:
        return importlib.metadata.requires("ultra-engine") or []
    return list(tomllib.loads(text)["project"]["dependencies"])


def inside(found: str, limits: str) -> bool:
    """Whether version 0.68.1 is in '>=0.68,<0.69'. A comparison that isn't in COMPARE is an error."""
    pairs = (re.fullmatch(r"\s*([<>=~!]+)\s*([0-9.]+)\s*", limit) for limit in limits.split(","))
    return all(COMPARE[pair[1]](_parts(found), _parts(pair[2])) for pair in pairs)  # type: ignore[index]


def _parts(text: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.match(r"[0-9.]*", text)[0].split(".") if part]  # type: ignore[index]
    while numbers and numbers[-1] == 0:  # 1.0 is 1
        numbers.pop()
    return tuple(numbers)


def compiled() -> Check:
    """Whether ultra.cold runs as machine code."""
    from ultra.cold import build_report

    report = build_report()
    good = bool(report["compiled"])
    found = f"{len(report['modules'])} modules" if good else f"from source: {report['reason']}"
    native = "" if report.get("native", True) else ", without native code"
    return verdict("compiled modules", good and not native, found + native, "compiled", "make build")


def cache_folder() -> Check:
    """Write a file there, or in the nearest folder above that exists."""
    from ultra import cache

    folder = cache.directory()
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            good = True
    except OSError:
        good = False
    fix = "set ULTRA_CACHE_DIR to a folder that can be written, or every start compiles again"
    return verdict("compile cache", good, folder, "can be written", fix)


def hiccups(core: int) -> Check:
    """The longest time in each millisecond that a loop on this core was kept from running."""
    from ultra.hot import hiccup

    read = hiccup.measure(HICCUP_DURATION_MS, core)
    good = read["p99"] <= HICCUP_P99_MAX_NS and read["max"] <= HICCUP_MAX_NS
    p50, p99, largest = (f"{read[name] / 1000:.1f}" for name in ("p50", "p99", "max"))
    found = f"p50 {p50}, p99 {p99}, max {largest} us"
    wanted = f"p99 <= {HICCUP_P99_MAX_NS / 1000:g}, max <= {HICCUP_MAX_NS / 1000:g} us"
    fix = "isolate the core (above) and quiet the machine; no latency below these figures means anything"
    return verdict(f"hiccups of core {core}", good, found, wanted, fix)
