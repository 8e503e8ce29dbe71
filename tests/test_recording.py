"""Recorded files on their way onto a floor: what the ring gets is what the file says, however small the ring is."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded import data

from ultra.cold.recording import Recording, decoded, lobster
from ultra.cold.source import SourceError
from ultra.hot import ring as rings
from ultra.venues import flow
from ultra.wire import ADD, ASK, BID, CANCEL, DELETE, EXECUTE, RECORD

ROWS = """34200.004241176,1,16113575,18,5853300,1
34200.1,2,16113575,8,5853300,1
34200.25,4,16113584,5,5853400,-1
34201,5,0,5,5853400,-1
34201.000000001,3,16113575,10,5853300,1
"""


def all_of(path: Path, symbol: str, slots: int) -> Any:
    """Every record, through a ring of so many slots."""
    ring = rings.create(RECORD, slots)
    recording, found = Recording(path, symbol, ring), []
    while True:
        recording.fill()
        first, end = int(ring.cells[rings.GATE]), int(ring.cells[rings.CURSOR])
        if first == end:
            assert recording.ended
            return np.array(found, RECORD)
        found += [ring.slots[k & (slots - 1)].tolist() for k in range(first, end)]
        ring.cells[rings.GATE] = end


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz"])
def test_lobster_is_read_as_it_says(tmp_path: Path, name: str) -> None:
    path, text = tmp_path / name, "time,type,id,size,price,direction\n" + ROWS
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    found = all_of(path, "AAPL", 2)
    assert found["kind"].tolist() == [ADD, CANCEL, EXECUTE, DELETE]
    assert found["order_id"].tolist() == [16113575, 16113575, 16113584, 16113575]
    assert found["side"].tolist() == [BID, BID, ASK, BID] and found["qty"].tolist() == [18, 8, 5, 10]
    assert found["ts_event"].tolist() == [34200004241176, 34200100000000, 34200250000000, 34201000000001]
    assert set(found["price"].tolist()) == {5853300, 5853400}


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(ROWS + "nonsense\n")
    with pytest.raises(SourceError, match="line 6 is no LOBSTER message"):
        list(lobster(path))
    with pytest.raises(SourceError, match="no such file"):
        Recording(tmp_path / "missing.csv", "AAPL", rings.create(RECORD, 2))


def test_itch_gives_one_instrument_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "flow.itch50"
    flow.write(path, instruments=2, messages=600, seed=3)
    names = sorted({bytes(part)[:8] for part in path.read_bytes().split(b"R\0")[1:3] for part in [part[9:17]]})
    symbol = names[0].decode().strip()
    found, other = all_of(path, symbol, 64), all_of(path, names[1].decode().strip(), 4096)
    assert len(found) > 50 and len(other) > 50 and (found["instrument"] == 0).all()
    assert (np.diff(found["ts_event"]) >= 0).all()
    assert len(np.concatenate(list(decoded(path, symbol)))) == len(found)


def test_the_hour_of_lobster_is_read(tmp_path: Path) -> None:
    path = data("lobster", "AAPL_2012-06-21_head1000_message_10.csv.gz")
    found = all_of(path, "AAPL", 64)
    assert 900 < len(found) <= 1000 and (np.diff(found["ts_event"]) >= 0).all()
