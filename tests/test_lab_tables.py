"""Tables as tapes: the same bars and ticks from whoever holds them, exact, and what is wrong named by its row."""

import gzip
import importlib.util
import math
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import data as recorded

from ultra.lab.data import DataError, load
from ultra.lab.readers import scale, stamps
from ultra.lab.tape import Tape
from ultra.wire import ASK, BAR, BID, INSTRUMENT, LEVEL, TRADE

MINUTE = 60_000_000_000
BARS = """time,open,high,low,close,volume
2024-01-02 09:30:00,100.25,101.5,99,100,7
2024-01-02 09:31:00,100,100,100,100,0.5
2024-01-02 09:32:00,100,103.75,98,98,12
"""
FIRST = 1_704_187_800_000_000_000  # 2024-01-02 09:30 UTC
EXPECTED = [(0, 10025, 10150, 9900, 10000, 70), (1, 10000, 10000, 10000, 10000, 5), (2, 10000, 10375, 9800, 9800, 120)]


def bars_of(tape: Tape) -> list[tuple[int, ...]]:
    """Minutes since the first, open, high, low, close, volume."""
    found = tape.array()
    found = found[found["kind"] == BAR]
    high, low = found["price"] + (found["aux"] >> 32), found["price"] - (found["aux"] & 0xFFFFFFFF)
    minutes = (found["ts_event"] + 1 - FIRST) // MINUTE - 1
    return [
        tuple(map(int, row))
        for row in zip(minutes, found["order_id"], high, low, found["price"], found["qty"], strict=True)
    ]


def columns() -> dict[str, Any]:
    rows = [line.split(",") for line in BARS.splitlines()]
    turned = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    times = np.array(turned.pop("time"), "M8[ns]")
    return {"time": times, **{name: np.array(cells, np.float64) for name, cells in turned.items()}}


def as_pandas(folder: Path) -> Any:
    frame = pytest.importorskip("pandas").DataFrame(columns())
    return frame.set_index("time").tz_localize("UTC").tz_convert("America/New_York")


def as_parquet(folder: Path) -> Any:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas").DataFrame(columns()).to_parquet(folder / "x.parquet")
    return folder / "x.parquet"


def as_arrow(folder: Path) -> Any:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table(columns())
    with arrow.ipc.new_file(folder / "x.arrow", table.schema) as file:
        file.write_table(table)
    return folder / "x.arrow"


def written(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def as_zip(folder: Path) -> Any:
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.writestr("x.csv", BARS)
    return folder / "x.zip"


HOLDERS: dict[str, Callable[[Path], Any]] = {
    "csv": lambda folder: written(folder, "x.csv", BARS.encode()),
    "csv gzip": lambda folder: written(folder, "x.csv.gz", gzip.compress(BARS.encode())),
    "csv with a mark and semicolons": lambda f: written(f, "x.csv", b"\xef\xbb\xbf" + BARS.replace(",", ";").encode()),
    "zip": as_zip,
    "dict": lambda folder: columns(),
    "numpy": lambda folder: np.rec.fromarrays(list(columns().values()), names=list(columns())),
    "pandas": as_pandas,
    "polars": lambda folder: pytest.importorskip("polars").DataFrame(columns()),
    "pyarrow": lambda folder: pytest.importorskip("pyarrow").table(columns()),
    "parquet": as_parquet,
    "arrow": as_arrow,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_the_same_bars_come_from_whoever_holds_them(holder: str, tmp_path: Path) -> None:
    tape = load(HOLDERS[holder](tmp_path), symbol="X")
    assert bars_of(tape) == EXPECTED and tape.kind == "bars" and len(tape) == 4
    assert [vars(i) for i in tape.instruments] == [
        {"symbol": "X", "tick_e9": 10_000_000, "lot_e9": 100_000_000, "venue": "", "step": 1}
    ]
    assert tape.array()[0]["kind"] == INSTRUMENT and not tape.notes


def table(text: str, folder: Path, **given: Any) -> Tape:
    return load(written(folder, "y.csv", text.encode()), **given)


def test_a_bar_is_stamped_at_its_end(tmp_path: Path) -> None:
    assert table(BARS, tmp_path).array()["ts_event"][1:].tolist() == [FIRST + k * MINUTE - 1 for k in (1, 2, 3)]
    assert table(BARS, tmp_path, stamped="end").array()["ts_event"][1] == FIRST
    assert table(BARS, tmp_path, interval="5m").array()["ts_event"][1] == FIRST + 5 * MINUTE - 1
    assert table(BARS, tmp_path, zone="America/New_York").array()["ts_event"][1] == FIRST + 5 * 60 * MINUTE + MINUTE - 1
    daily = table("Date,X\n1/30/2024,5\n1/31/2024,6\n", tmp_path).array()["ts_event"]
    assert [int(ts + 1) // stamps.DAY_NS for ts in daily[1:]] == [19_753, 19_754]


def test_wide_and_long_tables_give_several_instruments(tmp_path: Path) -> None:
    wide = table("Date,A,B\n2024-01-01,1.5,200\n2024-01-02,,201\n2024-01-03,2,202\n", tmp_path)
    long = table("Ticker,Date,Close\nA,2024-01-01,1.5\nA,2024-01-03,2\n" + "".join(
        f"B,2024-01-0{k},{199 + k}\n" for k in (1, 2, 3)), tmp_path)  # fmt: skip
    for tape in (wide, long):
        found = tape.array()[2:]
        assert [i.symbol for i in tape.instruments] == ["A", "B"] and tape.instruments[1].tick_e9 == 10**9
        assert [(int(r["instrument"]), int(r["price"])) for r in found] == [
            (0, 15),
            (1, 200),
            (1, 201),
            (0, 20),
            (1, 202),
        ]
    assert [i.symbol for i in table("Date,A,B\n2024-01-01,1,2\n", tmp_path, symbol="B").instruments] == ["B"]


WRONG = {
    "row 3: X price 100.005 is no whole number of 0.01": (BARS.replace("1:00,100,", "1:00,100.005,"), {"tick": 0.01}),
    "row 4: X has open": (BARS.replace("103.75", "99.75"), {}),
    "row 3: X has two bars of one time": (BARS.replace("09:31", "09:30"), {}),
    "row 2: '09.30' is no time": (BARS.replace("2024-01-02 09:30:00", "09.30"), {}),
    "row 3: open is 'abc', no number": (BARS.replace("09:31:00,100", "09:31:00,abc"), {}),
    "row 3: 5 cells, and 6 columns": (BARS.replace("100,0.5", "9"), {}),
    "no column of times among a, b": ("a,b\n1,2\n", {}),
    "has no header: give columns": ("1,2\n1,2\n", {}),
    "holds no rows": ("time,close\n", {}),
    "there is no 'Adj'": (BARS, {"columns": {"close": "Adj"}}),
    "zone 'Mars/Base' is not": (BARS, {"zone": "Mars/Base"}),
    "interval 'x'": (BARS, {"interval": "x"}),
    "tick or lot -1": (BARS, {"tick": -1}),
    "stamped='now'": (BARS, {"stamped": "now"}),
    "row 3: time goes back": ("time,price\n9,1\n8,1\n", {}),
    "row 2: side 'up' is neither": ("time,price,side\n9,1,up\n", {}),
    "columns a, time: neither bars": ("a,time\nx,1\n", {}),
}  # fmt: skip


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_named_by_its_row(said: str, tmp_path: Path) -> None:
    text, given = WRONG[said]
    with pytest.raises(DataError) as caught:
        table(text, tmp_path, **{"symbol": "X", **given}).array()
    assert said in str(caught.value)


def test_snap_loses_nothing_that_int64_holds_and_says_what_it_does_not() -> None:
    """A volume of a cheap coin that somebody summed: more than 2^53 lots of 0.0001."""
    assert scale.whole_units([1.5e12, 0.00016], 100_000, "volume", [0, 1], snap=True).tolist() == [15 * 10**15, 2]
    assert scale.whole_units([4, 9, 11], 5 * 10**9, "price", [0, 1, 2], snap=True).tolist() == [1, 2, 2]
    for value in (1e17, math.inf, math.nan):
        with pytest.raises(DataError, match="row 8: volume"):
            scale.whole_units([1.0, value], 100_000, "volume", [7, 8], snap=True)


def test_snap_takes_the_nearest_tick_when_it_is_asked_to(tmp_path: Path) -> None:
    text = BARS.replace("09:31:00,100,100,100,100", "09:31:00,100.004,100.004,99.996,100")
    assert bars_of(table(text, tmp_path, tick="0.01", snap=True)) == EXPECTED


TICKS = """time,bid,bid_size,ask,ask_size,price,size,side
1700000000.000000001,10,5,10.5,6,,,buy
1700000000.000000002,10,5,10.5,4,10.5,2,buy
1700000000.000000003,10.25,1,10.5,4,,,buy
1700000000.000000003,10.5,1,11,4,10.25,1,sell
"""


def test_quotes_and_trades_become_levels_and_trades(tmp_path: Path) -> None:
    tape = table(TICKS, tmp_path, symbol="X")
    found = [tuple(int(row[n]) for n in ("kind", "side", "price", "qty")) for row in tape.array()[1:]]
    assert tape.kind == "ticks" and tape.last_ts == 1_700_000_000_000_000_003
    assert found == [
        (LEVEL, BID, 1000, 5), (LEVEL, ASK, 1050, 6),
        (LEVEL, ASK, 1050, 4), (TRADE, ASK, 1050, 2),
        (LEVEL, BID, 1000, 0), (LEVEL, BID, 1025, 1),
        (LEVEL, BID, 1025, 0), (LEVEL, ASK, 1050, 0), (LEVEL, BID, 1050, 1), (LEVEL, ASK, 1100, 4),
        (TRADE, BID, 1025, 1),
    ]  # fmt: skip


@given(
    st.lists(
        st.tuples(st.sampled_from("AB"), st.integers(0, 4), st.integers(0, 2), st.integers(5, 9)),
        min_size=1,
        max_size=30,
    )
)
def test_levels_of_quotes_leave_the_quote(rows: list[tuple[str, int, int, int]]) -> None:
    turned = list(zip(*rows, strict=True))
    columns = {"time": np.arange(len(rows)), "symbol": np.array(turned[0], object),
               "bid": np.array(turned[1]),
               "bid_size": np.array(turned[2]), "ask": np.array(turned[3]),
               "ask_size": np.ones(len(rows), int)}  # fmt: skip
    tape = load(columns)
    books: dict[tuple[int, int], dict[int, int]] = {}
    for record in tape.array():
        if record["kind"] == LEVEL:
            side = books.setdefault((int(record["instrument"]), int(record["side"])), {})
            side[int(record["price"])] = int(record["qty"])
            if record["qty"] == 0:
                del side[int(record["price"])]
    for index, instrument in enumerate(tape.instruments):
        last = [row for row in rows if row[0] == instrument.symbol][-1]
        assert books.get((index, BID), {}) == ({last[1]: last[2]} if last[1] and last[2] else {})
        assert books.get((index, ASK), {}) == {last[3]: 1}


@given(st.integers(0, 10**14), st.integers(0, 9))
def test_decimals_come_back_from_floats_and_texts(units: int, digits: int) -> None:
    text = str(Decimal(units).scaleb(-digits))
    text = f"{Decimal(text):f}"
    assert Decimal(scale.e9(text)) == Decimal(text) * 10**9
    if units < 10**13:
        found = scale.digits_of([float(text)])
        needed = len(text.partition(".")[2].rstrip("0"))
        assert found == needed
        unit = 10 ** (9 - digits)
        assert scale.whole_units([float(text)], unit, "price", [0]).tolist() == [units]
        assert scale.Texts(unit, "price")(text) == units


@pytest.mark.parametrize("text", ["", "x", "1.0000000001", "1e400", "--1", "1.2.3", "nan"])
def test_a_text_that_is_no_number_of_units_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        scale.e9(text)


def test_whoever_reads_is_told_how_far_it_is(tmp_path: Path) -> None:
    told: list[int] = []
    tape = load(written(tmp_path, "y.csv", BARS.encode()), progress=told.append)
    assert told == [] and len(list(tape.batches(2))) == 2 and told[-1] == 4
    assert len(list(load(columns(), progress=True).batches())) == 1  # a bar of tqdm


def test_a_lab_without_its_packages_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from ultra.lab.extra import LabError

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(LabError, match=r"pip install 'ultra-engine\[lab\]'"):
        load(written(tmp_path, "x.parquet", b"PAR1" + bytes(20)))
    assert importlib.util.find_spec("ultra.lab.data")


RECORDED = [
    ("skfolio/sp500_dataset.csv.gz", {}, 20, 166_280), ("arch/sp500.csv.gz", {}, 1, 5_032),
    ("bokeh/stocks.csv.gz", {}, 5, 12_159), ("arch/wti.csv.gz", {}, 1, 8_322),
    ("lean/forex_oanda_hour_eurusd.zip", {"columns": ["time", "open", "high", "low", "close", "volume", *"abcde"]},
     1, 74_440),
    ("nautilus/btc-perp-20211231-20220201_1m.csv.gz", {}, 1, 45_032),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "given", "instruments", "count"), RECORDED, ids=[row[0] for row in RECORDED])
def test_recorded_bars_are_read(name: str, given: dict[str, Any], instruments: int, count: int) -> None:
    tape = load(recorded("bars", *name.split("/")), **given)
    assert (len(tape.instruments), len(tape)) == (instruments, count)
