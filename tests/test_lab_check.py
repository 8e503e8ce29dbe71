"""`ultra data`: each thing that can be wrong with a file is found, named and placed; a piece of a tape makes the same
book as the whole; and the commands say it in words, in JSON and in exit codes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import data as recorded
from runs import market
from test_lab_captures import Message, depth, line, snapshot, trade

from ultra import cli
from ultra.lab import check, cut
from ultra.lab import tape as tapes
from ultra.lab.data import load
from ultra.lab.tape import Instrument, Tape
from ultra.wire import (
    ADD,
    CANCEL,
    DELETE,
    EXECUTE,
    HALTED,
    INSTRUMENT,
    LEVEL,
    NONE,
    RECORD,
    REPLACE,
    STATUS,
    TRADE,
    TRADING,
)

BOOK = [{1: 5, 2: 5}, {4: 5}]
QUOTE = {"e": "bookTicker", "s": "XY", "b": "0.20", "B": "0.050", "a": "0.40", "A": "0.05", "u": 101, "E": 1101}
NOTHING = Message([], [], 1)


def capture(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "xy"
    path.write_text("".join(rows))
    return path


def found(path: Path, **given: Any) -> dict[str, tuple[int, list[str]]]:
    report = check.check([path], given)
    return {name: (finding.count, finding.where) for name, finding in report.findings.items()}


GOOD = [line(0, snapshot(BOOK, 100)), line(1, depth(NOTHING, 101, 100, False)), line(2, QUOTE)]
CAPTURES = {
    "nothing": ((), {}),
    "sequence gap": ((line(3, depth(NOTHING, 105, 104, False)),), {"line 4: XY: one that follows 101"}),
    "time going back": ((line(1, trade("trade")),), {"line 4: 1 ns before the line above"}),
    "best differs": ((line(3, {**QUOTE, "B": "0.06"}),), {"line 4: XY: update 101 has best 0.20 x 0.06"}),
    "crossed": ((line(3, depth(Message([(5, 1)], [], 1), 102, 101, False)),), {"line 4: XY at 1970-01-01T00"}),
    "locked": ((line(3, depth(Message([(4, 1)], [], 1), 102, 101, False)),), {"line 4: XY at 1970"}),
    "unusable": (("1700000000000000000 {x}\n",), {"line 4: Expecting"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CAPTURES)
def test_what_is_wrong_with_a_capture_is_found_at_its_line(name: str, tmp_path: Path) -> None:
    rows, words = CAPTURES[name]
    path = capture(tmp_path, *GOOD, *rows)
    told = found(path)
    assert set(told) == ({name} if name != "nothing" else set())
    for count, where in told.values():
        assert count == len(where) == 1 and str(path) in where[0] and all(word in where[0] for word in words)


def test_a_capture_without_a_snapshot_or_with_a_slow_clock_says_so(tmp_path: Path) -> None:
    path = capture(tmp_path, line(0, depth(NOTHING, 101, 100, False)), line(1, depth(NOTHING, 102, 101, False)))
    assert found(path) == {"missing snapshot": (2, ["XY: 2 updates"])}
    late = snapshot(BOOK, 100) | {"E": 1_700_000_000_009}
    later = depth(NOTHING, 101, 100, False) | {"E": 1_700_000_000_007}
    told = check.check([capture(tmp_path, line(0, late), line(1, later))], {})
    assert list(told.findings) == ["clock"] and "by up to 7 ms" in told.findings["clock"].where[0] and not told.wrong
    path.write_bytes(path.read_bytes()[:-9])
    assert "line 2: the file ends inside it" in check.check([path], {}).damage


def test_orders_that_are_wrong_are_found_at_their_record(tmp_path: Path) -> None:
    rows = [(ADD, 1, 5), (ADD, 1, 5), (CANCEL, 1, 9), (DELETE, 7, 0), (EXECUTE, 1, 1)]
    records = np.zeros(len(rows), RECORD)
    for at, (kind, order_id, qty) in enumerate(rows):
        records[at] = (kind, 0, 0, 0, 0, at, at, order_id, 100 if kind == ADD else NONE, qty, 0)
    path = tmp_path / "x.ulc"
    tapes.write(path, Tape.of(records, [Instrument("X", 1, 1)]))
    told = found(path)
    assert {name: count for name, (count, _) in told.items()} == {
        "duplicate_order": 1, "over_reduced": 1, "unknown_order": 2,
    }  # fmt: skip
    assert told["unknown_order"][1][0].startswith("record 4: X at 1970")


def test_a_day_that_is_whole_has_nothing_wrong_and_one_that_is_cut_is_damaged(tmp_path: Path) -> None:
    path, raw = tmp_path / "day", market(60)
    path.write_bytes(raw)
    assert found(path) == {}
    path.write_bytes(raw[:-3])
    assert "the file was cut" in check.check([path], {}).damage
    table = tmp_path / "x.csv"
    table.write_text("time,close\n3,2.00000001\n2,1\n1,1\n")
    told = check.check([table], {})
    assert set(told.findings) == {"time going back", "scale"} and told.wrong
    table.write_text("time,close\n3,x\n")
    assert check.check([table], {}).findings["unusable"].where == ["row 2: open is 'x', no number"]


def test_a_damaged_tape_is_told_by_its_chunk(tmp_path: Path) -> None:
    path = tmp_path / "x.ulc"
    tapes.write(path, load_market(tmp_path), chunk_records=16)
    raw = bytearray(path.read_bytes())
    raw[4096 + 64 * 20] ^= 1
    path.write_bytes(raw)
    assert "chunk 1 at offset 5120" in check.check([path], {}).damage


def load_market(tmp_path: Path) -> Tape:
    (tmp_path / "day").write_bytes(market(60))
    return load(tmp_path / "day")


# ---- A piece of a tape. ----


def fold(records: Any) -> tuple[dict[int, tuple[int, ...]], dict[tuple[int, ...], int]]:
    """What records leave, obviously: orders in order, and levels."""
    orders: dict[int, tuple[int, ...]] = {}
    levels: dict[tuple[int, ...], int] = {}
    for r in records:
        kind, side, key, price, qty = (int(r[name]) for name in ("kind", "side", "order_id", "price", "qty"))
        if kind == LEVEL:
            levels[side, price] = qty
            if not qty:
                del levels[side, price]
        elif kind == ADD:
            orders[key] = (side, price, qty)
        elif kind in (EXECUTE, CANCEL, DELETE, REPLACE):
            side, old, left = orders.pop(key)
            if kind == REPLACE:
                orders[int(r["aux"])] = (side, price, qty)
            elif kind != DELETE and left > qty:
                orders = {**orders, key: (side, old, left - qty)}
    return orders, levels


KINDS = st.sampled_from([ADD, ADD, EXECUTE, CANCEL, DELETE, REPLACE, LEVEL, LEVEL, LEVEL, TRADE])
ACTS = st.lists(st.tuples(KINDS, st.integers(0, 9), st.integers(1, 3), st.integers(0, 2)), min_size=15, max_size=30)


@settings(max_examples=200)
@given(ACTS, st.integers(-1, 15), st.integers(0, 30), st.integers(1, 9))
def test_a_piece_makes_the_book_of_the_whole(acts: list[tuple[int, ...]], first: int, length: int, size: int) -> None:
    rows, live, following = [], dict[int, int](), 1
    levels: dict[tuple[int, int], int] = {}
    for kind, pick, price, step in acts:
        key = list(live)[pick % len(live)] if live else 0
        row = [kind, pick & 1, key, price, 2, NONE, step]
        if kind == ADD:
            row[2], live[following], following = following, 4, following + 1
            row[4] = 4
        elif kind == LEVEL:
            row[2], row[4] = NONE, pick % 3
            if levels.get((pick & 1, price), 0) == 0 == row[4]:
                continue
            levels[pick & 1, price] = row[4]
        elif kind != TRADE:
            if not live:
                continue
            if kind == REPLACE:
                row[5], live[following], following = following, 2, following + 1
                del live[key]
            elif kind == DELETE:
                del live[key]
            else:
                live[key] -= 2
                if not live[key]:
                    del live[key]
        rows.append(row)
    records = np.zeros(len(rows), RECORD)
    for at, (kind, side, key, price, qty, aux, step) in enumerate(rows):
        records[at] = (kind, side, 0, 0, 0, step, step, key, price, qty, aux)
    records["ts_event"] = np.cumsum(records["ts_event"])
    whole = Tape.of(records, [Instrument("X", 5, 7)], "orders")
    piece = np.concatenate([np.zeros(0, RECORD), *cut.between(whole, first, first + length).batches(size)])
    ts = piece["ts_event"]
    assert not len(ts) or (ts.min() >= max(first, 0) and ts.max() < max(first + length, first + 1, 1))
    assert (np.diff(ts) >= 0).all() and (not len(piece) or piece[0]["kind"] == INSTRUMENT)
    if len(piece):
        expected_orders, expected_levels = fold(records[records["ts_event"] < first + length])
        got_orders, got_levels = fold(piece)
        assert got_levels == expected_levels and sorted(got_orders.items()) == sorted(expected_orders.items())
        for price in {order[1] for order in got_orders.values()}:
            queues = [
                [key for key, order in orders.items() if order[1] == price] for orders in (got_orders, expected_orders)
            ]
            assert set(queues[0]) == set(queues[1])


def test_a_piece_begins_with_the_trading_state_of_each_instrument() -> None:
    """One that was halted before it is not taken for one that trades."""
    records = np.zeros(4, RECORD)
    records["kind"], records["ts_event"], records["order_id"] = (STATUS, STATUS, TRADE, TRADE), (1, 2, 3, 4), NONE
    records["price"], records["qty"], records["aux"] = 1, 1, (TRADING, HALTED, NONE, NONE)
    whole = Tape.of(records, [Instrument("X", 5, 7)], "orders")
    piece = np.concatenate(list(cut.between(whole, 4, 9).batches()))
    assert [(int(r["kind"]), int(r["aux"])) for r in piece][1:] == [(STATUS, HALTED), (TRADE, NONE)]


# ---- The commands. ----


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = cli.main(["data", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_check_says_it_in_words_and_json_and_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = capture(tmp_path, *GOOD)
    code, out, _ = run(capsys, "check", path)
    assert code == 0 and "nothing is wrong" in out and "XY" in out
    path = capture(tmp_path, *GOOD, line(3, depth(NOTHING, 105, 104, False)))
    code, out, _ = run(capsys, "check", path)
    assert code == 1 and "wrong  sequence gap (1)" in out and "line 4" in out
    code, out, _ = run(capsys, "check", path, "--json")
    assert code == 1 and json.loads(out)["findings"][0]["what"] == "sequence gap" and json.loads(out)["wrong"]
    path.write_bytes(path.read_bytes()[:-9])
    code, out, err = run(capsys, "check", path, "--json")
    assert code == 3 and json.loads(out)["damage"] and "ends inside" in err
    code, _, err = run(capsys, "check", tmp_path / "nothing")
    assert code == 2 and "nothing: No such file" in err


def test_convert_and_info_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out_file = capture(tmp_path, *GOOD), tmp_path / "x.ulc"
    for words, layout in (((), "raw"), (("--compress",), "packed")):
        code, out, _ = run(capsys, "convert", path, "-o", out_file, "--json", *words)
        assert code == 0 and json.loads(out)["records"] == 4
        code, out, _ = run(capsys, "info", out_file, "--json")
        told = json.loads(out)
        assert code == 0 and (told["layout"], told["kind"], told["records"]) == (layout, "levels", 4)
        assert told["instruments"][0]["symbol"] == "XY"
    code, out, _ = run(capsys, "info", out_file)
    assert code == 0 and "XY  tick" in out and "1970-01-01T00:00:01.100000000Z" in out
    code, out, _ = run(capsys, "convert", path, "-o", out_file, "--json", "--from", "1970-01-01T00:00:02")
    assert code == 0 and json.loads(out)["records"] == 0
    code, _, err = run(capsys, "convert", path, "-o", out_file, "--tick", "0.25")
    assert code == 2 and "line 1: XY: price" in err and "0.25" in err
    out_file.write_bytes(out_file.read_bytes()[:-1])
    code, _, err = run(capsys, "info", out_file)
    assert code == 3 and "was cut" in err
    table = tmp_path / "bars"
    table.write_text("1704187800,1,2,0.5,1.5,9\n")
    code, out, _ = run(capsys, "info", table, "--columns", "time,open,high,low,close,volume", "--symbol", "Q", "--json")
    assert code == 0 and json.loads(out)["instruments"][0]["tick_e9"] == 100_000_000
    table.write_text("time,a,b\n1704187800,1,2\n")
    code, out, _ = run(capsys, "info", table, "--columns", "close=b", "--symbol", "Q", "--json")
    assert code == 0 and [i["symbol"] for i in json.loads(out)["instruments"]] == ["Q"]


@pytest.mark.slow
def test_recorded_files_are_found_to_be_what_they_are_known_to_be() -> None:
    assert found(recorded("itch", "derived_AAPL_20120621_head.itch50.gz")) == {}
    told = check.check([recorded("itch", "nasdaq_head_truncated.itch50")], {})
    assert "15 bytes behind the last whole message" in told.damage
    told = check.check([recorded("cryptofeed", "BINANCE_FUTURES.ws.1.0.gz")], {})
    assert not told.findings and told.records > 11_000
    told = check.check([recorded("binance", "spot", "ethusdt_20240808.gz")], {})
    assert set(told.findings) == {"clock"}, "the recorder's clock was behind; every best agreed, nothing crossed"
    told = check.check([recorded("binance", "spot", "btcusdt_20240809.gz")], {})
    assert "missing snapshot" in told.findings and told.wrong
