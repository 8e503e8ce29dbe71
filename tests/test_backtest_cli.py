"""`ultra backtest` as its user sees it: one JSON, one page, one line when it can't be; and the tear sheet it writes."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import IMBALANCE, MAKER, SMALL, ran, ultra, words
from test_backtest import day, settings

from ultra.lab import explain, sheet
from ultra.lab.backtest import Result, backtest
from ultra.lab.performance import measure
from ultra.trial import RULES

GIVEN = words(SMALL | {"engine.prefault": "false"})


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return backtest(MAKER, day(tmp_path_factory.mktemp("day"), 1500), config=settings(MAKER))


def test_one_json_has_the_hash_of_the_run_and_the_page_is_well_formed(tmp_path: Path) -> None:
    source, page = day(tmp_path, 1500), tmp_path / "sheet.html"
    run = ran(source, tmp_path / "journal", MAKER)
    code, found, said = ultra(
        "backtest", MAKER, str(source), "--json", "--html", str(page), "--explain", "2", "--latency-sweep",
        "--capacity", *GIVEN,
    )  # fmt: skip
    assert code == 0, said
    assert (found["decision_hash"], found["fills"]) == (run["decision_hash"], run["fills"])
    assert [row["more_ns"] for row in found["latency"]] == [0, 1000, 10_000, 100_000, 1_000_000]
    assert found["latency"][0]["pnl"] == found["pnl"] and len(found["capacity"]) == 6 and len(found["explained"]) == 2
    text = page.read_text()
    tree = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    titles = [node.text for node in tree.iter("h2")]
    assert {"Equity and drawdown", "Returns by hour", "Markouts", "If orders were later", "If orders were larger"} <= {
        *titles
    }
    assert "script" not in text and "http" not in re.sub(r"http-equiv", "", text), "nothing is fetched"
    assert found["decision_hash"] in text


def test_words_and_parameters_reach_the_backtest(tmp_path: Path) -> None:
    source = day(tmp_path, 800)
    base = ["backtest", IMBALANCE, str(source), "--json", "--param", "wait_ns=0", "--param", "edge=0.2", *GIVEN]
    _, plain, _ = ultra(*base)
    _, given, _ = ultra(*base, "--fees", "taker=1", "--cash", "5000.5", "--latency", "order=2ms,answer=1ms")
    assert plain["parameters"]["edge"] == 0.2 and plain["performance"]["fees"] == "0.000000000"
    assert given["performance"]["initial_cash"] == "5000.500000000" and float(given["performance"]["fees"]) > 0
    assert given["decision_hash"] != plain["decision_hash"]


def test_an_honest_strategy_is_told_so(tmp_path: Path) -> None:
    code, found, said = ultra("backtest", MAKER, str(day(tmp_path, 600)), "--check-lookahead", "--json", *GIVEN)
    assert code == 0 and found["clean"] and len(found["cuts"]) == 5, said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--fees", "tkaer=1"], "tkaer"),
        (["--latency", "soon"], "soon"),
        (["--param", "order_qty"], "NAME=NUMBER"),
        (["--param", "order_qtty=1"], "order_qtty"),
        (["--queue", "power:x"], "power:N"),
        (["--queue", "dice"], "dice"),
        (["--cash", "0"], "cash"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, wrong: list[str], said: str) -> None:
    code, _, told = ultra("backtest", MAKER, str(day(tmp_path, 50)), *wrong)
    assert code == 2 and said in told and "Traceback" not in told
    assert ultra("backtest", MAKER, str(tmp_path / "nothing.itch50")).code == 2


def test_a_cut_file_is_played_to_there_and_said(tmp_path: Path) -> None:
    source = day(tmp_path, 300)
    source.write_bytes(source.read_bytes()[:-7])
    code, found, said = ultra("backtest", MAKER, str(source), "--json", *GIVEN)
    assert code == 3 and "cut inside a message" in said and found["records"] > 100


def test_fills_are_told_in_words_and_in_a_table(result: Result) -> None:
    assert len(result.fills) > 3
    for number in range(len(result.fills)):
        told = result.explain(number)
        assert any(rule in told for rule in RULES.values()) and "joined behind" in told
    assert sum(explain.by_rule(result).values()) == len(result.fills)
    rows = result.markouts()
    assert rows[0].fills == len(result.fills) and rows[0].mean_ticks >= 0, "who rests earns half the spread at first"
    pytest.importorskip("pandas")
    frame = result.frame()
    assert len(frame) == len(result.fills) and {"ahead", "rule", "markout_1ms"} <= set(frame.columns)
    assert result._repr_html_().startswith("<div") and json.loads(result.json())["fills"] == len(result.fills)


def test_a_sheet_of_nothing_of_years_and_of_strange_names_is_well_formed(tmp_path: Path, result: Any) -> None:
    day_ns = 86_400_000_000_000
    years = measure(np.arange(0, 900) * day_ns, 10**9 + np.arange(900) * 10**6, initial_cash_e9=10**9)
    one = measure([day_ns], [10**9], initial_cash_e9=10**9)
    for found in (years, one):
        page = sheet.document(sheet.of_performance(found, "<&>\u202e"))
        ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert "Returns by month" in sheet.document(sheet.of_performance(years))
    assert sheet.document(sheet.of_result(result, {})) == sheet.document(sheet.of_result(result, {})), "the same bytes"
