"""`ultra optimize`: words in, an answer and an exit code out."""

import json
from datetime import date, timedelta

import numpy as np
import pytest

from ultra.cli import main
from ultra.commands.optimize import range_of
from ultra.config import ConfigError
from ultra.lab.ranges import SearchError

SPEC = "ultra.strategies.whole_cross:WholeCross"
RANGES = ["--range", "fast=2:6:2", "--range", "slow=8,12", "--range", "lots=10"]


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    """A file of daily bars."""
    path = tmp_path_factory.mktemp("optimize") / "prices.csv"
    close = 50 + np.cumsum(np.random.default_rng(2).integers(-60, 64, 90)) / 100
    lines = ["date,open,high,low,close,volume"]
    for k, value in enumerate(close.tolist()):
        day = date(2024, 1, 1) + timedelta(days=k)
        lines.append(f"{day},{value:.2f},{value + 0.2:.2f},{value - 0.2:.2f},{value:.2f},100")
    path.write_text("\n".join(lines) + "\n")
    return path


def answer(capsys, *words):
    assert main(["optimize", SPEC, *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_best_of_a_grid(capsys, prices, tmp_path):
    found = answer(capsys, prices, *RANGES, "-o", tmp_path / "t.parquet", "--html", tmp_path / "s.html")
    assert found["sets"] == 6 and set(found["best"]) == {"fast", "slow", "lots"} and found["best"]["lots"] == 10
    table = pytest.importorskip("pandas").read_parquet(tmp_path / "t.parquet")
    assert len(table) == 6 and table["sharpe"].max() == found["best_value"]
    assert (tmp_path / "s.html").read_text().count("<svg") == 3
    least = answer(capsys, prices, *RANGES, "--objective=-max_drawdown", "--resume", tmp_path / "s.db")
    assert least["best_value"] == table["max_drawdown"].min()


def test_a_walk_and_folds(capsys, prices):
    walked = answer(capsys, prices, *RANGES, "--walk-forward", 3, "--anchored")
    assert len(walked["tests"]) == 3 and {row["train_from"] for row in walked["tests"]} == {
        walked["tests"][0]["train_from"]
    }
    assert "sharpe" in walked["figures"]
    crossed = answer(capsys, prices, *RANGES, "--cross-validate", 3, "--purge", 2)
    assert len(crossed["tests"]) == 3 and crossed["figures"]["best"]["lots"] == 10


def test_text_is_for_people(capsys, prices):
    assert main(["optimize", SPEC, str(prices), *RANGES, "--fees", "taker=1"]) == 0
    said = capsys.readouterr().out
    assert "6 sets by grid" in said and "fast = 2" in said and "no luck" in said
    assert main(["optimize", SPEC, str(prices), *RANGES, "--walk-forward", "2"]) == 0
    assert "in training" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--range", "fast"], "wanted NAME=LOW:HIGH:STEP"),
        (["--range", "fast=1:2:3:4"], "wanted NAME=LOW:HIGH:STEP"),
        (["--range", "fst=1:2"], "no such parameter"),
        ([], "no ranges"),
        (["--range", "fast=2:4", "--objective", "luck"], "there is no such figure"),
        (["--range", "fast=2:4", "--fees", "taker=x"], "wanted a number"),
        (["--range", "fast=2:4", "--walk-forward", "500"], "would be empty"),
        (["--range", "fast=2:4", "--walk-forward", "2", "--resume", "x"], "--resume: is of a search"),
        (["--range", "fast=2:4", "--walk-forward", "2", "--cross-validate", "3"], "one at a time"),
        (["--range", "fast=2:4", "--cross-validate", "3", "--method", "random"], "tests the whole grid"),
    ],
)
def test_wrong_words_are_one_line_and_code_2(capsys, prices, words, said):
    assert main(["optimize", SPEC, str(prices), *words]) == 2
    assert said in capsys.readouterr().err


def test_what_is_said_of_data_holds_for_data_that_are_no_bars(monkeypatch, tmp_path):
    """They were loaded again without it. And what only bars know is refused, not passed over."""
    path = tmp_path / "ticks.csv"
    path.write_text("time,symbol,bid,ask\n1700000000,A,1.25,1.5\n1700000001,B,1,2\n1700000002,A,1.5,1.75\n")
    played = []

    def search(strategy, data, ranges, **words):
        played.append(data)
        raise SearchError("enough")

    monkeypatch.setattr("ultra.lab.optimize.optimize_parameters", search)
    assert main(["optimize", SPEC, str(path), "--range", "fast=2,3", "--symbol", "A", "--tick", "0.25"]) == 2
    assert [(one.symbol, one.tick_e9) for one in played[0].instruments] == [("A", 250_000_000)]
    assert main(["optimize", SPEC, str(path), "--range", "fast=2,3", "--touch"]) == 2 and len(played) == 1


def test_a_range_is_read_as_written():
    assert range_of("a=1:9:2") == ("a", (1, 9, 2)) and range_of("a=0.5:2") == ("a", (0.5, 2))
    assert range_of("a=1,2,5") == ("a", [1, 2, 5]) and range_of("a=true,false") == ("a", [True, False])
    with pytest.raises(ConfigError):
        range_of("=1:2")
