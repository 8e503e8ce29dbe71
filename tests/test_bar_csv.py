"""Bars as CSV: what is read again is what was written; made bars are the same from the same seed, by the command too.

The twin of the writer is the reader, which is held to everybody's tables in `test_lab_tables.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import data as recorded

from ultra.cli import main
from ultra.lab import bar_csv, synthetic
from ultra.lab.bar_tape import record
from ultra.lab.data import load
from ultra.lab.tape import Instrument, Tape, TapeError
from ultra.wire import BAR

DAY = 86_400_000_000_000
FIELDS = ("ts_event", "instrument", "order_id", "aux", "price", "qty")


def bars_of(tape: Tape, late_ns: int = 0) -> list[tuple[int, ...]]:
    found = tape.array()
    found = found[found["kind"] == BAR]
    return [(int(row["ts_event"]) + late_ns, *(int(row[name]) for name in FIELDS[1:])) for row in found]


bar = st.tuples(*(st.integers(0, 9) for _ in range(4)), st.integers(0, 99))


@st.composite
def tapes(draw: Any) -> Tape:
    """Days of up to three instruments; each has a bar or none. Few values, so many are equal, and one ends in .99."""
    count = draw(st.integers(1, 3))
    rows = []
    for day in range(draw(st.integers(1, 6))):
        for index in range(count):
            if day > 0 and draw(st.booleans()):
                continue
            opened, up, down, moved, qty = draw(bar)
            opened += 100
            close = opened + moved - 5
            rows.append(record((day + 1) * DAY, index, opened, max(opened, close) + up, min(opened, close) - down,
                               close, qty))  # fmt: skip
    rows.append(record(10 * DAY, 0, 199, 199, 199, 199, 1))
    instruments = [Instrument(f"S{k}", 10_000_000, 1_000_000_000) for k in range(count)]
    return Tape.of(np.concatenate(rows), instruments, "bars")


@given(tapes())
def test_what_is_read_again_is_what_was_written(tmp_path_factory: pytest.TempPathFactory, tape: Tape) -> None:
    path = tmp_path_factory.getbasetemp() / "S0.csv"
    assert bar_csv.write(path, tape, DAY) == len(bars_of(tape))
    again = load(path, tick="0.01", lot=1, interval="1d")
    assert [one.symbol for one in again.instruments] == [one.symbol for one in tape.instruments]
    assert bars_of(again, 1) == bars_of(tape)  # a reader stamps the last nanosecond of a bar, not the first after it
    text = path.read_text()
    bar_csv.write(path, again, DAY)
    assert path.read_text() == text, "and what was read is written at the same times"


@given(tapes())
def test_a_wide_file_keeps_the_closes_and_what_is_missing(tmp_path_factory: pytest.TempPathFactory, tape: Tape) -> None:
    path = tmp_path_factory.getbasetemp() / "close.csv.gz"
    bar_csv.write(path, tape, DAY, wide=True)
    if len(tape.instruments) == 1:
        return  # a table of two columns has no symbol in it
    again = load(path, tick="0.01", interval="1d")
    expected = sorted((ts, index, close, 0, close, 0) for ts, index, _, _, close, _ in bars_of(tape))
    assert sorted(bars_of(again, 1)) == expected


def test_a_file_of_one_seed_has_the_same_bytes_and_of_another_others(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> bytes:
        words = ["--bars", "40", "--instruments", "2", "--seed", str(seed), "--every", "1m", "-o", str(tmp_path / name)]
        assert main(["gen", "bars", *words, "--json"]) == 0
        return (tmp_path / name).read_bytes()

    assert made("a.csv", 1) == made("b.csv", 1) != made("c.csv", 2)
    assert made("d.csv.gz", 1) == made("e.csv.gz", 1)
    assert bars_of(load(tmp_path / "a.csv", interval="1m"), 1) == bars_of(synthetic.several(40, 2, seed=1, step_s=60))


def test_the_command_says_what_it_made_and_what_it_does_not_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gen", "bars", "--bars", "9", "--seed", "1", "--json", "-o", str(tmp_path / "a.ulc")]) == 0
    assert json.loads(capsys.readouterr().out)["bars"] == 9
    assert len(bars_of(load(tmp_path / "a.ulc"))) == 9
    assert main(["gen", "bars", "--bars", "9", "--seed", "1", "-o", str(tmp_path / "a.xlsx")]) == 2
    assert "wanted a name in .csv" in capsys.readouterr().err
    assert main(["gen", "bars", "--bars", "9", "--seed", "1", "--wide", "-o", str(tmp_path / "a.ulc")]) == 2
    assert main(["gen", "bars", "--bars", "0", "--seed", "1", "-o", str(tmp_path / "a.csv")]) == 2


def test_several_instruments_begin_with_the_one_of_the_seed_and_are_independent() -> None:
    one, three = bars_of(synthetic.one(50, seed=4)), bars_of(synthetic.several(50, 3, seed=4))
    assert one == [row for row in three if row[1] == 0]
    closes = [[row[4] for row in three if row[1] == index] for index in range(3)]
    assert closes[0] != closes[1] != closes[2]
    with pytest.raises(TapeError, match="1 or more"):
        synthetic.several(50, 0)


def test_thirty_three_years_of_twenty_stocks_load_as_one_line_says() -> None:
    """A table of closes, a date and a column a stock: what the README calls wide."""
    tape = load(recorded("bars", "skfolio", "sp500_dataset.csv.gz"))
    assert tape.kind == "bars" and len(tape.instruments) == 20 and tape.instruments[0].symbol == "AAPL"
    found = bars_of(tape)
    assert len(found) == 20 * 8313
    price = {(ts // DAY, index): close for ts, index, _, _, close, _ in found}
    first, last = np.datetime64("1990-01-02").astype(int), np.datetime64("2022-12-28").astype(int)
    assert price[int(first), 0] == 264 and price[int(last), 0] == 125_674 and price[int(last), 19] == 106_627
