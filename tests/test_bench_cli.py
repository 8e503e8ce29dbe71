"""`ultra bench`: short runs of every command, what its tables say, a record that is not whole, and wrong words.

Nothing here is about speed: a shared machine has none that a test could expect.
"""

import json
import os
import threading

import numpy as np
import pytest
from runs import ultra

from ultra import cli
from ultra.config import ConfigError
from ultra.hot import JIT, drill
from ultra.hot import histogram as histograms
from ultra.hot import ring as rings
from ultra.ops import bench
from ultra.wire import RECORD

TWO_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two pinned processes need two cores")
FEW = ["--records", "4000" if JIT else "200", "--rounds", "2"]
ROW = {
    "form", "regime", "capacity", "batch", "records", "bad", "m_per_s", "m_per_s_low", "m_per_s_high", "ns_per_record",
    "batch_seen",
}  # fmt: skip


def cell(table: str, column: str) -> list[str]:
    """A column of the rows, by the end of its name in the first line."""
    head, *rows = table.splitlines()
    end = head.index(column) + len(column)
    return [row[:end].split()[-1] for row in rows if len(row) == len(head)]


# ---- the commands


# Two producers of a crowd claim by compare-and-set, which plain Python has not in one step.
CONTENDED = [pytest.param(name, marks=pytest.mark.jit_only if name == "crowd" else ()) for name in bench.COMMANDS]


@TWO_CORES
@pytest.mark.parametrize("command", CONTENDED)
def test_every_case_ends_with_all_records_whole(command: str) -> None:
    code, found, said = ultra("bench", command, "--json", *FEW)
    assert code == cli.DONE and said == ""
    assert found["bad"] == 0 and found["rounds"] == 2 and len(found["cores"]) == 2
    assert [tuple(row[key] for key in bench.Case._fields) for row in found["cases"]] == bench.cases(command)
    for row in found["cases"]:
        assert set(row) == ROW | ({"trip_ns"} if command == "pingpong" else set())
        assert row["records"] >= int(FEW[1]) and row["m_per_s_low"] <= row["m_per_s"] <= row["m_per_s_high"]
        assert 1 <= row["batch_seen"] <= row["capacity"]
    for each in found["hiccup_ns"]:
        assert set(each) == {"p50", "p99", "max", "windows"}


@TWO_CORES
def test_a_round_trip_has_percentiles_in_order() -> None:
    trips = ultra("bench", "pingpong", "--json", *FEW, "--capacity", "1").found["cases"][0]["trip_ns"]
    assert list(trips) == ["p50", "p90", "p99", "p99_9", "max"]
    assert trips["p50"] > 0 and sorted(trips.values()) == [*trips.values()]


@TWO_CORES
def test_for_people_there_is_a_table_with_the_hiccups_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "ring", *FEW, "--capacity", "64", "--batch", "4"]) == cli.DONE
    said = capsys.readouterr().out
    assert said.count("ring  ") == 2 and "saturated" in said and "chasing" in said and cell(said, "bad") == ["0", "0"]
    assert cell(said, "capacity") == ["64", "2"] and cell(said, "batch") == ["4", "1"]
    assert said.count("hiccup of core") == 2 and "medians of 2 rounds" in said


def test_on_one_core_they_take_turns_and_it_says_so() -> None:
    core = str(min(os.sched_getaffinity(0)))
    assert ultra("bench", "ring", "--cores", core, *FEW).code == cli.USAGE
    asked = bench.Asked(bench.cases("fan", 64, 4), 64, 1, [int(core)] * 2)
    found = bench.measure(*asked)
    assert found["bad"] == 0 and "take turns" in bench.as_text(found)


@TWO_CORES
def test_a_bad_record_is_the_answer_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CHILD", SPOILED)
    code, found, _ = ultra("bench", "ring", "--json", *FEW)
    assert code == cli.NO and found["bad"] > 0


# The producer numbers its records from one too far.
SPOILED = """
import sys
from ultra.hot import drill
from ultra.ops import bench
form = bench.FORMS["ring"]
def spoiled(ring, records, batch, spins, out, times):
    out[drill.FIRST] += 1
    form.loops[0](ring, records, batch, spins, out, times)
bench.FORMS["ring"] = form._replace(loops=(spoiled, form.loops[1]))
raise SystemExit(bench.serve(*sys.argv[1:]))
"""


@TWO_CORES
def test_a_side_that_dies_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CHILD", "raise SystemExit(3)")
    code, _, said = ultra("bench", "ring", "--json", *FEW)
    assert code == cli.NO and said == "ultra: a side of the benchmark ended with code 3: see above\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--records", "-1"],
        ["--rounds", "0"],
        ["--capacity", "48"],
        ["--capacity", "-2"],
        ["--batch", "9000"],
        ["--capacity", "8", "--batch", "16"],
        ["--cores", "0"],
        ["--cores", "0,4096"],
        ["--cores", "a,b"],
    ],
)
def test_wrong_words_are_one_line_and_exit_code_2(words: list[str]) -> None:
    code, _, said = ultra("bench", "ring", *words)
    assert code == cli.USAGE and words[-2] in said


@pytest.mark.skipif(JIT, reason="compiled code claims in one step")
def test_without_the_jit_nobody_contends() -> None:
    code, _, said = ultra("bench", "crowd", *FEW)
    assert code == cli.USAGE and "JIT on" in said


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        bench.asked("ring", -1, 3, 99, "x", 0)
    assert len(raised.value.problems) == 5


@pytest.mark.parametrize("command", bench.COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(["bench", command, "--help"])
    assert raised.value.code == cli.DONE and f"example: ultra bench {command}" in capsys.readouterr().out


# ---- the loops


@pytest.mark.parametrize("field", RECORD.names)
def test_a_record_that_was_tampered_with_is_counted(field: str) -> None:
    case, ring = bench.Case("ring", "saturated", 16, 4), rings.create(RECORD, 16)
    for number in range(3):
        made = bench.play(ring, case, 0, 8, number)
        ring.slots[(8 * number + 5) % 16][field] += 1
        took = bench.play(ring, case, 1, 8, number)
        assert (made["bad"], took["bad"], took["looks"]) == (0, 1, 1)


def test_a_record_of_another_round_is_counted() -> None:
    case, ring = bench.Case("ring", "saturated", 8, 8), rings.create(RECORD, 8)
    bench.play(ring, case, 0, 8, 0)
    ring.cells[rings.GATE] = 8
    bench.play(ring, case, 0, 8, 0)
    assert bench.play(ring, case, 1, 8, 1)["bad"] == 8


@pytest.mark.parametrize("stamp", ["qty", "ts_recv"])
def test_the_last_of_a_diamond_misses_a_stamp(stamp: str) -> None:
    case = bench.Case("diamond", "saturated", 16, 4)
    form = bench.FORMS[case.form]
    fan = form.over(bytearray(form.size(16)), 16)
    form.configure(fan)
    bench.play(fan, case, 0, 8, 0)
    assert bench.play(fan, case, 1, 8, 0)["bad"] == 0
    bench.play(fan, case, 0, 8, 1)
    fan.slots[9][stamp] -= 1
    assert bench.play(fan, case, 1, 8, 1)["bad"] == 1


def test_a_loop_that_waits_in_vain_comes_back_and_goes_on_where_it_was() -> None:
    ring, out = rings.create(RECORD, 4), np.zeros(drill.OUT, np.int64)
    times = histograms.create()
    drill.ring_produce(ring, 8, 2, 0, out, times)
    assert out[drill.RECORDS] == 4 and out[drill.BEGAN] > 0
    ring.cells[rings.GATE] = 4
    drill.ring_produce(ring, 8, 2, 0, out, times)
    assert out[drill.RECORDS] == 8 and ring.slots[3].sequence == 7


def test_sides_in_two_threads_meet() -> None:
    arrived = np.zeros(32, np.int64)
    assert not drill.meet(arrived, 0, 16, 1, 0)
    other = threading.Thread(target=drill.meet, args=(arrived, 16, 0, 1, 0))
    other.start()
    other.join()
    assert drill.meet(arrived, 0, 16, 1, 0)


def test_json_is_one_object() -> None:
    core = min(os.sched_getaffinity(0))
    found = bench.measure(bench.cases("fan", 16, 2), 16, 1, [core, core])
    assert json.loads(json.dumps(found)) == found
