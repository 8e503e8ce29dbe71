"""ITCH days and journals as tapes: the records are those that the engine gets, whatever the file is kept in."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from itch_streams import stream
from recorded import data as recorded
from runs import market

from ultra.cold.journal import Journal
from ultra.cold.segment import META, RECORDS
from ultra.config import Config
from ultra.hot import ring as rings
from ultra.lab.data import DataError, load
from ultra.lab.readers import itch as reader
from ultra.lab.sniff import sniff
from ultra.lab.tape import Instrument, Tape
from ultra.venues import itch
from ultra.wire import ACCEPTED, BAR, INSTRUMENT, RECORD, TIMER, int_to_symbol

GOLDEN = Path(__file__).parent / "golden" / "journals"
FIELDS = [name for name in RECORD.names if name != "sequence"]


def decoded(raw: bytes) -> tuple[Any, list[str]]:
    """All records of a stream at once, by the decoder itself, and its symbols."""
    decoder, ring = itch.create(1 << 14, [], selective=False), rings.create(RECORD, 1 << 17)
    data = np.frombuffer(bytearray(raw), np.uint8)
    itch.decode(decoder, data, 0, len(data), ring)
    names = [int_to_symbol(code) for code in decoder.symbols[: decoder.cells[itch.KNOWN]].tolist()]
    return ring.slots[: int(ring.cells[rings.CURSOR])].view(np.ndarray).copy(), names


def same(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for name in FIELDS:
        assert found[name].tolist() == expected[name].tolist(), name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("itch") / "x"


@given(st.integers(0, 9), st.booleans())
def test_a_tape_is_what_the_decoder_gives(place: Path, seed: int, packed: bool) -> None:
    raw = bytes(stream(seed, 60))
    place.write_bytes(gzip.compress(raw) if packed else raw)
    expected, names = decoded(raw)
    tape = reader.tape(place)
    found = tape.array()
    assert [instrument.symbol for instrument in tape.instruments] == names
    added = len(found) - len(expected)
    assert (found["kind"][:added] == INSTRUMENT).all() and len(found) == len(tape)
    same(found[added:], expected)
    kinds, index = found["kind"], found["instrument"]
    for number in range(len(names)):
        assert kinds[index == number][0] == INSTRUMENT, "an instrument is introduced before anything else of it"


def test_a_day_is_known_by_its_content_and_cut_by_symbol_and_date(tmp_path: Path) -> None:
    raw, path = market(60), tmp_path / "noname"
    path.write_bytes(raw)
    whole = load(path)
    expected, names = decoded(raw)
    assert sniff(path) == "itch" and whole.kind == "orders" and not whole.notes
    same(whole.array(), expected)
    one = load(path, symbol=names[1])
    chosen = expected[expected["instrument"] == 1]
    assert [i.symbol for i in one.instruments] == [names[1]] and len(one) == len(chosen)
    assert vars(one.instruments[0]) | {"symbol": ""} == vars(Instrument("", 100_000, 10**9, "XNAS", 100))
    dated = load(path, date="2019-12-30")
    assert dated.first_ts - whole.first_ts == 18_260 * 86_400 * 10**9
    with pytest.raises(DataError, match="date 'x'"):
        load(path, date="x")
    path.write_bytes(raw[: -14 - 3])  # the last is a system event, no record
    cut = load(path)
    assert len(cut) == len(whole) - 1 and list(cut.notes) == ["bytes behind the last whole message"]
    packed = gzip.compress(raw)
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="ends early"):
        load(path)


def journaled(folder: Path, records: Any) -> Path:
    journal = Journal(folder, segment_bytes=1 << 20, sync=False)
    meta = {"config": Config().to_toml().replace('market_data = "reference"', 'market_data = "full"'), "source": "x"}
    journal.append(META, 0, 0, 0, json.dumps(meta).encode())
    for at in range(0, len(records), 7):
        part = records[at : at + 7]
        journal.append(RECORDS, at, len(part), at + len(part), part.tobytes())
    journal.close()
    return folder


def test_a_journal_gives_its_market_data_and_nothing_else(tmp_path: Path) -> None:
    expected, names = decoded(market(40))
    mixed = np.repeat(expected, 2)
    mixed["kind"][1::2] = np.where(np.arange(len(expected)) % 2, ACCEPTED, TIMER)
    tape = load(journaled(tmp_path / "j", mixed))
    same(tape.array(), expected)
    assert tape.kind == "orders" and [i.symbol for i in tape.instruments] == names and len(tape) == len(expected)
    later = expected[expected["kind"] != INSTRUMENT]
    tape = load(journaled(tmp_path / "k", later))
    assert [i.symbol for i in tape.instruments] == [f"#{k}" for k in range(len(names))]
    same(tape.array()[len(names) :], later)
    with pytest.raises(DataError, match="holds no market data"):
        load(journaled(tmp_path / "l", mixed[1::2]))
    bars = later.copy()
    bars["kind"] = BAR
    assert load(journaled(tmp_path / "m", bars)).kind == "bars"


@pytest.mark.parametrize("name", ["v2-full", "v2-reference", "v1-reference"])
def test_golden_journals_give_the_day_that_they_are_of(name: str) -> None:
    found, day = load(GOLDEN / name).array(), load(GOLDEN / "day.itch50").array()
    same(found, day) if "reference" in name else None
    assert found["kind"].tolist() == day["kind"].tolist() and found["order_id"].tolist() == day["order_id"].tolist()


def test_what_is_no_tape_of_a_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder and no journal"):
        load(tmp_path)
    (tmp_path / "segment-000000.ulj").write_bytes(bytes(64))
    with pytest.raises(DataError):
        load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"),
    [("derived_AAPL_20120621_0930_1030", 92_080), ("derived_AAPL_AMZN_20120621_0930_1030", 105_984)],
)
def test_a_recorded_day_is_what_the_decoder_gives(name: str, count: int) -> None:
    path = recorded("itch", f"{name}.itch50.gz")
    tape: Tape = load(path)
    expected, _ = decoded(gzip.decompress(path.read_bytes()))
    same(tape.array(), expected)
    assert len(tape) == count and tape.array()[0]["kind"] == INSTRUMENT
