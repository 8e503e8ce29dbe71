"""The tests are tested: each planted bug (`mutants.py` and its parts) turns its test red; without, it is green."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import mutants
import mutants_bars
import mutants_cold
import mutants_lab
import pytest
from mutant import Mutant
from mutants import MUTANTS

ROOT = Path(__file__).parent.parent
FILES = (mutants, mutants_cold, mutants_lab, mutants_bars)
# One failing assertion or exception in one test; not a file that no longer imports, nor a name that is not there.
FAILED = re.compile(r"^1 failed(, \d+ passed)? in ", re.MULTILINE)


def copy_tree(target: Path) -> Path:
    """The tree as it stands, without anything compiled."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", ".*")
    for folder in ("ultra", "tests"):
        shutil.copytree(ROOT / folder, target / folder, ignore=unwanted)
    shutil.copy(ROOT / "pyproject.toml", target)
    return target


def run(tree: Path, profile: str, *tests: str) -> str:
    """What pytest says, in plain Python: a mutant is not worth a compilation."""
    options = ("-q", "-x", "--tb=short", "-p", "no:cacheprovider", f"--hypothesis-profile={profile}")
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
    variables = {"NUMBA_DISABLE_JIT": "1", "ULTRA_PURE": "1", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tree, env=os.environ | variables, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


def fate(tree: Path, mutant: Mutant) -> str:
    ultra = copy_tree(tree) / "ultra"
    path = next(
        path for where in ("hot", "", "venues", "cold", "ops") if (path := ultra / where / f"{mutant.file}.py").exists()
    )
    text = path.read_text()
    if text.count(mutant.old) != 1:
        return "the mutant is out of date: its old text is not there exactly once"
    path.write_text(text.replace(mutant.old, mutant.new))
    return run(tree, "mutant", mutant.test)


@pytest.fixture(scope="module")
def fates(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Mutant, Future[str]]]:
    """Of every mutant that was asked for, on all cores: most of the time goes into starting Python."""
    chosen = [item.callspec.params.get("mutant") for item in request.session.items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield {
            mutant: pool.submit(fate, tmp_path_factory.mktemp(mutant.file.replace("/", "-")), mutant)
            for mutant in MUTANTS
            if mutant in chosen
        }


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{m.file}: {m.new.strip() or m.old.strip()}" for m in MUTANTS])
def test_a_mutant_is_caught(fates: dict[Mutant, Future[str]], mutant: Mutant) -> None:
    said = fates[mutant].result()
    assert FAILED.search(said), said[-2000:]


@pytest.mark.slow
def test_every_test_named_here_is_green_without_a_mutant(tmp_path: Path) -> None:
    said = run(copy_tree(tmp_path), "plain", *sorted({mutant.test for mutant in MUTANTS}))
    assert re.search(r"^\d+ passed in ", said, re.MULTILINE), said[-2000:]


def test_no_name_of_a_test_is_given_twice() -> None:
    named = [target.id for file in FILES for node in ast.parse(Path(file.__file__).read_text()).body
             if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)]  # fmt: skip
    assert len(named) == len(set(named)), "the second would stand for both"
