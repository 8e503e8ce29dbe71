"""The rules of the tree that no linter knows. A rule that is not checked here is only a wish.

Each rule is a function from the text of one file to a list of complaints, so that the last tests can hand it
a planted violation: a checker that finds nothing proves nothing until it has found something.
Known bad case: an import by a computed name (`importlib.import_module`) is not seen.
"""

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES_MAX = 500
FUNCTION_LINES_MAX = 60

# ---- What may import what. A row is a file or a folder; the longest row that fits a file counts. ----

FLOOR = ("ultra.wire", "ultra.cache", "ultra.rules", "ultra.config", "ultra.config_link", "ultra.config_exchange")
PATH = ("ultra.wire", "ultra.cache", "ultra.hot", "ultra.math")
EDGE = (*FLOOR, *PATH, "ultra.strategy")
BESIDE = (*EDGE, "ultra.inline", "ultra.apart", "ultra.wired", "ultra.venues", "ultra.strategies")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "ultra/wire.py": (),
    "ultra/cache.py": (),
    "ultra/rules.py": (),
    "ultra/config_link.py": ("ultra.rules",),
    "ultra/config_exchange.py": ("ultra.rules",),
    "ultra/config.py": ("ultra.wire", "ultra.rules", "ultra.config_link", "ultra.config_exchange"),
    "ultra/hot": PATH,
    "ultra/math.py": PATH,
    "ultra/indicators.py": PATH,
    "ultra/random.py": PATH,
    "ultra/strategy.py": (*FLOOR, *PATH, "ultra.strategy_check", "ultra.strategy_problem", "ultra.strategy_words"),
    "ultra/accelerated.py": (*BESIDE, "ultra.lab"),
    "ultra/strategy_check.py": (*FLOOR, *PATH, "ultra.strategy_problem", "ultra.strategy_words"),
    "ultra/strategy_problem.py": (),
    "ultra/strategy_words.py": (),
    "ultra/inline.py": (*EDGE, "ultra.venues"),
    "ultra/apart.py": (*EDGE, "ultra.venues", "ultra.inline"),
    "ultra/trial.py": (*EDGE, "ultra.venues", "ultra.inline"),
    "ultra/impact.py": (*EDGE, "ultra.venues", "ultra.inline", "ultra.trial"),
    "ultra/wired.py": (*EDGE, "ultra.venues", "ultra.inline"),
    "ultra/venues": (*EDGE, "ultra.venues"),
    "ultra/strategies": (*EDGE, "ultra.strategies"),
    # The three drawing files know nothing of a run, and import nothing but each other.
    "ultra/lab": (
        *BESIDE,
        "ultra.trial",
        "ultra.impact",
        "ultra.lab",
        "ultra.cold",
        "ultra.ops.svg",
        "ultra.ops.page",
        "ultra.ops.charts",
    ),
    "ultra/wasm": (*BESIDE, "ultra.wasm"),
    "ultra/cold": (*BESIDE, "ultra.cold", "ultra._native"),
    "ultra/ops": ("ultra",),
    "ultra/cli.py": ("ultra",),
    "ultra/commands": ("ultra",),
    "ultra/__main__.py": ("ultra",),
    "ultra/__init__.py": ("ultra",),
}

# The hot path is numbers: nothing of it reads a clock, asks the kernel, logs or waits.
NEVER_IN_HOT = {
    "asyncio", "logging", "time", "os", "socket", "threading", "multiprocessing", "subprocess", "random",
}  # fmt: skip
# Where hot code does import one, and why that is not the path.
EXCEPTIONS = {
    ("ultra/hot/__init__.py", "time"): "times the compiler",
    ("ultra/hot/clock.py", "time"): "the one file that reads clocks, and its twin without the JIT",
    ("ultra/hot/hiccup.py", "os"): "pins the thread that listens for the machine's own interruptions",
}

# What the names in an import are called where they are installed, if not the same.
DISTRIBUTIONS = {"nats": "nats-py"}

# Put together here, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b")
SOMEONES_MACHINE = re.compile(r"(?<![\w.])/(home|Users|root)/[\w.]")

TEXT_FILES = ("*.py", "*.pyi", "*.toml", "*.md", "*.h", "*.in", "*.yml", "*.yaml", "Makefile", "run")
NOT_OURS = {".git", ".venv", ".venv-peers", "build", "dist", ".cache", "runs", "node_modules"}


def python_files(*folders: str) -> list[str]:
    """Ours, as paths from the root of the tree."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def text_files() -> list[str]:
    paths = (path.relative_to(ROOT) for pattern in TEXT_FILES for path in ROOT.rglob(pattern) if path.is_file())
    return sorted(path.as_posix() for path in paths if not NOT_OURS & set(path.parts))


def read(name: str) -> str:
    return (ROOT / name).read_text()


OURS = python_files("ultra")
EVERYTHING = [*python_files("ultra", "native", "bench", "tests", "examples"), "setup.py"]


# ---- The rules. ----


def imports(name: str, text: str) -> Iterator[str]:
    """Full names of what a file imports: `from ..wire import BID` in ultra/cold gives ultra.wire.BID."""
    package = Path(name).parts[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def row_of(name: str) -> str | None:
    """The row of the table for a file; None if nobody said where it belongs."""
    rows = [row for row in MAY_IMPORT if name == row or name.startswith(row + "/")]
    return max(rows, key=len, default=None)


def bad_imports(name: str, text: str) -> list[str]:
    row = row_of(name)
    if row is None:
        return [f"{name} has no row in MAY_IMPORT: say what it may import"]
    found = [i for i in imports(name, text) if i.split(".")[0] == "ultra"]
    allowed = MAY_IMPORT[row]
    wrong = [i for i in found if not any(i == a or i.startswith(a + ".") for a in allowed)]
    if row == "ultra/hot":
        tops = {i.split(".")[0] for i in imports(name, text)} & NEVER_IN_HOT
        wrong += sorted(top for top in tops if (name, top) not in EXCEPTIONS)
    return [f"{name} may not import {i}" for i in wrong]


FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def too_long(name: str, text: str) -> list[str]:
    lines = len(text.splitlines())
    found = [f"{name} has {lines} lines, more than {LINES_MAX}"] if lines > LINES_MAX else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTION) and own_lines(node) > FUNCTION_LINES_MAX:
            found.append(f"{name}: {node.name} has {own_lines(node)} lines, more than {FUNCTION_LINES_MAX}")
    return found


def own_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without those of the functions inside it, which are read one at a time: a loop bound to a strategy is a
    function made in a function."""
    inner: set[int] = set()
    for node in ast.walk(function):
        if isinstance(node, FUNCTION) and node is not function:
            inner.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(set(range(function.lineno, (function.end_lineno or function.lineno) + 1)) - inner)


def swallowed(name: str, text: str) -> list[str]:
    """Handlers of everything that do nothing: the failure is then nobody's."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        everything = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
        empty = all(isinstance(s, ast.Pass) or ast.unparse(s) == "..." for s in node.body)
        if everything and empty:
            found.append(f"{name}:{node.lineno} swallows every exception")
    return found


def no_opening(name: str, text: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(text)) else [f"{name} does not open with a docstring"]


def marks(name: str, text: str) -> list[str]:
    """Unfinished work, and paths that exist on one machine only."""
    found = []
    for at, line in enumerate(text.splitlines(), 1):
        if mark := UNFINISHED.search(line):
            found.append(f"{name}:{at} {mark[0]}: an issue or nothing")
        if SOMEONES_MACHINE.search(line):
            found.append(f"{name}:{at} names a path of one machine")
    return found


def undeclared(name: str, text: str) -> list[str]:
    """Packages that a file needs when it runs and that pyproject.toml does not promise."""
    tops = {i.split(".")[0] for i in imports(name, without_type_checking(text))}
    strangers = sorted(tops - set(sys.stdlib_module_names) - {"ultra"})
    return [f"{name} imports {s}, not in pyproject.toml" for s in strangers if pip_name(s) not in promised()]


def pip_name(module: str) -> str:
    return DISTRIBUTIONS.get(module, module).replace("_", "-")


@functools.cache
def promised() -> set[str]:
    """Names of the packages that an install brings, with any extra but `dev`."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = list(project["dependencies"])
    for extra, packages in project["optional-dependencies"].items():
        wanted += packages if extra != "dev" else []
    return {re.split(r"[\[<>=]", package)[0].lower() for package in wanted}


def without_type_checking(text: str) -> str:
    class Drop(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            if ast.unparse(node.test).endswith("TYPE_CHECKING"):
                return node.orelse or ast.Pass()
            return self.generic_visit(node)

    return ast.unparse(Drop().visit(ast.parse(text)))


# ---- Held against the tree. ----


@pytest.mark.parametrize("name", OURS)
def test_imports_point_down(name: str) -> None:
    assert bad_imports(name, read(name)) == []


@pytest.mark.parametrize("name", OURS)
def test_every_package_imported_is_declared(name: str) -> None:
    assert undeclared(name, read(name)) == []


@pytest.mark.parametrize("name", EVERYTHING)
def test_files_stay_readable(name: str) -> None:
    text = read(name)
    assert too_long(name, text) + no_opening(name, text) + swallowed(name, text) == []


@pytest.mark.parametrize("name", text_files())
def test_nothing_unfinished_and_no_path_of_one_machine(name: str) -> None:
    assert marks(name, read(name)) == []


# ---- Held against themselves. ----


def test_the_tree_was_found() -> None:
    assert "ultra/wire.py" in OURS and "tests/test_tidy.py" in EVERYTHING and "pyproject.toml" in text_files()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ultra/wire.py", "from . import cache"),
        ("ultra/config.py", "from ultra.hot import book"),
        ("ultra/hot/book.py", "from ..cold import journal"),
        ("ultra/hot/book.py", "import ultra.config"),
        ("ultra/hot/book.py", "def f():\n    import time"),
        ("ultra/hot/clock.py", "import socket"),
        ("ultra/venues/itch.py", "from ..cold.feed import Feed"),
        ("ultra/strategies/maker.py", "import ultra.lab"),
        ("ultra/cold/host.py", "from ..lab import backtest"),
        ("ultra/cold/host.py", "import ultra"),
        ("ultra/cold/host.py", "from ultra import ops"),
        ("ultra/lab/report.py", "from .. import cli"),
        ("ultra/nowhere.py", ""),
    ],
)
def test_a_planted_import_is_caught(name: str, text: str) -> None:
    assert bad_imports(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ultra/hot/book.py", "from ..wire import BID\nfrom . import hot\nfrom .atomics import Cells"),
        ("ultra/hot/clock.py", "import time"),
        (
            "ultra/cold/native.py",
            "from . import PURE\nfrom .._native import lib\nfrom ..hot.crc import crc32c",
        ),
        ("ultra/ops/top.py", "from ultra import cold\nimport ultra.lab.data"),
    ],
)
def test_a_lawful_import_is_not(name: str, text: str) -> None:
    assert not bad_imports(name, text)


@pytest.mark.parametrize("kind", ["pass", "..."])
@pytest.mark.parametrize("handler", ["except:", "except Exception:", "except BaseException as e:"])
def test_a_planted_swallow_is_caught(handler: str, kind: str) -> None:
    assert swallowed("f.py", f"try:\n    f()\n{handler}\n    {kind}\n")
    assert not swallowed("f.py", f"try:\n    f()\nexcept OSError:\n    {kind}\n")


def test_other_planted_violations_are_caught() -> None:
    assert too_long("f.py", "x = 1\n" * (LINES_MAX + 1))
    assert too_long("f.py", "def f():\n" + "    g()\n" * FUNCTION_LINES_MAX)
    assert not too_long("f.py", "def f():\n" + "    g()\n" * (FUNCTION_LINES_MAX - 1))
    assert not too_long("f.py", "def f():\n    def g():\n" + "        h()\n" * 50 + "    i()\n" * 50)
    assert too_long("f.py", "def f():\n    def g():\n" + "        h()\n" * FUNCTION_LINES_MAX)
    assert no_opening("f.py", "import os")
    assert marks("f.py", "x = 1  # TO" + "DO: later")
    assert marks("f.py", "open('/ho" + "me/someone/data')")
    assert not marks("f.py", "https://host/home/page and ~/.cache/ultra and /dev/shm/x")
    assert undeclared("ultra/f.py", "import requests")
    assert not undeclared("ultra/f.py", "import typing as t\nif t.TYPE_CHECKING:\n    import requests\nimport numpy")
