"""Builds the compiled parts: `ultra/cold` by mypyc, `ultra._native` by cffi. The rest is in `pyproject.toml`.

Without a C compiler nothing fails: the same sources run uncompiled, and one line says why and what to do.

    ULTRA_PURE=1             never compile
    ULTRA_REQUIRE_NATIVE=1   fail rather than go uncompiled

`ultra/_build_info.json` records what was compiled from which text; `ultra/cold/__init__.py` compares it at
import. Known bad case: a type error in `ultra/cold` fails the build of whoever installs from source. Hence
the exact pin of mypy, and a type check that sees the same installed packages on every machine: none.
"""

import ast
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from setuptools import Command, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

INFO = Path("ultra", "_build_info.json")

# Everything in ultra/cold is compiled, but for these. Hot code never is: Numba needs its bytecode.
NOT_COMPILED = {
    "ultra/cold/__init__.py": "decides at import whether the compiled modules may run, so it can't be one",
    # Compiled by mypyc 2.4.1, a coroutine with a `finally` that awaits was seen to raise the exception of an earlier
    # call (tests/test_ship.py behind tests/test_ship_parts.py). These wait for a network, and decide nothing.
    "ultra/cold/shipper.py": "coroutines",
    "ultra/cold/shipping.py": "coroutines",
    "ultra/cold/landing.py": "coroutines",
    "ultra/cold/bridge.py": "coroutines",
}
# Asking for metadata runs this file too; type-checking all of ultra/cold for that would triple an install.
COMMANDS_THAT_COMPILE = {"build", "build_ext", "bdist_wheel", "editable_wheel", "install", "develop"}


def main() -> None:
    """Decide once whether to compile, then let setuptools do it."""
    modules = sorted({path.as_posix() for path in Path("ultra", "cold").glob("*.py")} - set(NOT_COMPILED))
    options: dict[str, Any] = {}
    if COMMANDS_THAT_COMPILE & set(sys.argv):
        reason = why_not_compile()
        # Before mypyc reads them: a file edited meanwhile then counts as changed, never as compiled.
        BuildInfo.content = build_info(modules, reason)
        if reason is None:
            options = compiled_parts(modules)
        elif os.environ.get("ULTRA_REQUIRE_NATIVE") == "1":
            sys.exit(f"ultra: ULTRA_REQUIRE_NATIVE=1, but {reason}")
        else:
            print(f"ultra: building without compiled parts: {reason}", file=sys.stderr)
    setup(cmdclass={"build": Build, "build_ext": BuildExt, "build_info": BuildInfo}, **options)


def why_not_compile() -> str | None:
    """None, or what is missing and how to get it. Compiles a file: that there is a compiler proves little."""
    if os.environ.get("ULTRA_PURE") == "1":
        return "ULTRA_PURE=1 was set when it was built"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\nint probe;\n")
        include = sysconfig.get_paths()["include"]
        command = [*compiler, "-fPIC", f"-I{include}", "-c", str(source), "-o", str(Path(folder, "probe.o"))]
        try:
            result = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            return f"there is no C compiler {compiler[0]!r}; install one (Debian: apt install gcc libc6-dev)"
    if result.returncode:
        first = next(iter(result.stderr.strip().splitlines()), "no message")
        return f"Python.h does not compile ({first}); install the headers (Debian: apt install python3-dev)"
    return None


def compiled_parts(modules: list[str]) -> dict[str, Any]:
    """The extension modules, in setuptools' words."""
    options: dict[str, Any] = {"cffi_modules": ["native/build.py:ffi"]}
    if not modules:
        return options
    from mypyc.build import mypycify

    # Installed packages are left out, so that an isolated build and a developer's see the same types.
    # The strict check is `make check`.
    lenient = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]
    options["ext_modules"] = mypycify([*lenient, *modules], opt_level="3", debug_level="0", group_name="ultra_cold")
    return options


def build_info(modules: list[str], reason: str | None) -> dict[str, Any]:
    """What is compiled from which text. `read`: files whose `Final` constants mypyc copies into compiled
    code. Direct imports are all of them: strict mypy forbids passing an imported name on."""
    compiled = {} if reason else {name: sha256(name) for name in modules}
    read = {name for module in compiled for name in files_imported_by(Path(module))} - set(compiled)
    return {
        "reason": reason,
        "suffix": sysconfig.get_config_var("EXT_SUFFIX"),
        "mypy": version("mypy") if compiled else "",
        "compiled": compiled,
        "read": {name: sha256(name) for name in sorted(read)},
    }


def sha256(name: str) -> str:
    """Of a file's bytes, in hexadecimal."""
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def files_imported_by(path: Path) -> Iterator[str]:
    """Our files that this one names in an import, wherever it stands in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = path.parts[: -node.level] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            module = Path(*name.split("."))
            found = (module.with_suffix(".py"), module / "__init__.py")
            yield from (path.as_posix() for path in found if path.is_file())


class BuildInfo(Command):
    """Write `_build_info.json` beside what was compiled. Last: a failed build leaves the old one true."""

    description = "record what was compiled from which text"
    user_options: list[Any] = []
    content: dict[str, Any] = {}
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib = ""

    def finalize_options(self) -> None:
        self.build_lib = self.get_finalized_command("build").build_lib

    def run(self) -> None:
        in_place = self.editable_mode or self.get_finalized_command("build_ext").inplace
        path = (Path() if in_place else Path(self.build_lib)) / INFO
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.content, indent=1) + "\n")

    def get_source_files(self) -> list[str]:
        return []

    def get_outputs(self) -> list[str]:
        return [str(Path(self.build_lib) / INFO)]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class Build(build):
    """setuptools' own, and the record after it: also when nothing is compiled."""

    sub_commands = [*build.sub_commands, ("build_info", None)]


class BuildExt(build_ext):
    """setuptools' own, and the record after it: also when only `build_ext --inplace` is asked for."""

    def run(self) -> None:
        super().run()
        self.run_command("build_info")


# setuptools' back end runs this file under this very name.
if __name__ == "__main__":
    main()
