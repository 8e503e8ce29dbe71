"""What the README says of the lab, done as it is printed: its files saved, its commands run, its Python run.

Also every example under `--help` of the lab's commands, word for word; the files they name are made first.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from recorded import data as recorded
from runs import environment

from ultra.cli import main

ROOT = Path(__file__).parent.parent


def section(name: str) -> list[tuple[str, str]]:
    """The blocks of code under a heading: (language, text)."""
    text = (ROOT / "README.md").read_text().split(f"\n## {name}\n")[1].split("\n## ")[0]
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


BLOCKS = section("Backtest and optimise")
COMMANDS = [line for language, text in BLOCKS if not language for line in text.splitlines()]
STRATEGY, *SCRIPTS = [text for language, text in BLOCKS if language == "python"]


def python(folder: Path, text: str) -> str:
    """A script of the README, in a process of its own, in this folder."""
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, env=environment(PYTHONPATH=f"{ROOT}:{folder}"), capture_output=True,
        text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def run(words: str) -> None:
    """A command as it is printed."""
    program, *rest = shlex.split(words)
    assert program == "ultra"
    assert main(rest) == 0, words


def test_the_section_has_what_is_run_here() -> None:
    assert len(COMMANDS) == 4 and all(line.startswith("ultra ") for line in COMMANDS)
    assert len(SCRIPTS) == 2 and "class Cross(Strategy)" in STRATEGY


@pytest.mark.slow
def test_the_lines_of_the_readme_run_as_they_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cross.py").write_text(STRATEGY)
    for line in COMMANDS:
        run(line)
    said = capsys.readouterr().out
    assert "total_return                          0.657321" in said and "80 sets by grid" in said
    assert "in training" in said and "probability that the best" in said
    for page in ("cross.html", "search.html"):
        assert "<svg" in Path(page).read_text()
    first, second = (python(tmp_path, text) for text in SCRIPTS)
    assert "'fast': 5" in first and Path("best.html").exists()
    assert second.startswith("tape of bars: AAPL, MSFT, 8 records")


@pytest.mark.slow
def test_twenty_stocks_over_thirty_three_years_are_backtested_from_the_same_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = recorded("bars", "skfolio", "sp500_dataset.csv.gz")
    monkeypatch.chdir(tmp_path)
    Path("cross.py").write_text(STRATEGY)
    run(f"ultra backtest cross.py:Cross {prices} --fees taker=2 --html cross.html")
    said = capsys.readouterr().out
    assert "166,260 records" in said and "2022-12-29 00:00:00" in said
    run(f"ultra optimize cross.py:Cross {prices} --range fast=10:50:20 --range slow=100:200:50 --fees taker=2")
    assert "9 sets by grid" in capsys.readouterr().out


def example(*words: str) -> str:
    """The example under a command's help."""
    done = subprocess.run(
        [sys.executable, "-m", "ultra", *words, "--help"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    found = re.search(r"^example: (.+)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    return found[1]


PREPARED = {
    "prices.csv": "ultra gen bars --bars 400 --seed 3 -o prices.csv",
    "day.itch50.gz": "ultra gen itch --instruments 1 --messages 4000 --seed 1 -o day.itch50.gz",
    "btc.ulc": "ultra gen bars --bars 40 --seed 3 -o btc.ulc",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", ["gen itch", "gen bars", "backtest", "optimize", "data info"])
def test_an_example_of_help_runs_as_it_is_printed(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = example(*words.split())
    monkeypatch.chdir(tmp_path)
    for name, made in PREPARED.items():
        if name in line:
            run(made)
    run(line)


@pytest.mark.slow
def test_a_backtest_of_bars_says_what_bars_do_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cross.py").write_text(STRATEGY)
    run(COMMANDS[0])
    backtest = shlex.split(COMMANDS[1])[1:]
    assert main([*backtest, "--explain", "1"]) == 0
    said = capsys.readouterr().out
    assert "taken at a bar's open, by an order of an earlier bar" in said and "markout" not in said
    for word in ("--latency-sweep", "--capacity"):
        assert main([*backtest, word]) == 2
        assert "is of bars, where there is no book" in capsys.readouterr().err
