"""Tapes: what goes in comes out, raw and packed, in batches of any size; and a damaged file is one clear error."""

import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultra.hot import JIT
from ultra.lab import tape as tapes
from ultra.lab import ulc
from ultra.lab.tape import Instrument, Tape, TapeError
from ultra.wire import INSTRUMENT, RECORD, TRADE, int_to_symbol

FIELDS = [name for name in RECORD.names if name != "sequence"]
EDGES = [0, 1, -1, (1 << 63) - 1, -(1 << 63), 1 << 40]
TWO = (Instrument("BTCUSD_PERP", 100_000_000, 1_000_000_000, "BINANCE"), Instrument("BTCUSD_PARP", 1, 1))
GOLDEN = Path(__file__).parent / "golden"


def records(rows: list[tuple[int, ...]]) -> Any:
    """Rows of (time step, instrument, order id, price, qty, aux)."""
    found = np.zeros(len(rows), RECORD)
    for at, (step, instrument, *numbers) in enumerate(rows):
        found[at] = (TRADE, at & 1, at % 3, instrument, 0, step, step + 7, *numbers)
    found["ts_event"] = np.cumsum(found["ts_event"])
    found["ts_recv"] += found["ts_event"]
    return found


NUMBER = st.sampled_from(EDGES) | st.integers(-50, 50)
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), *[NUMBER] * 4), max_size=40)


def plain(array: Any) -> list[tuple[int, ...]]:
    return [tuple(int(row[name]) for name in RECORD.names) for row in array]


@pytest.fixture(scope="module")
def place(shared_folder: Path) -> Path:
    """In memory: a tape is synced before it gets its name."""
    folder = shared_folder / "tapes"
    folder.mkdir()
    return folder / "x.ulc"


@given(ROWS, st.booleans(), st.integers(1, 9), st.integers(1, 9))
def test_a_tape_file_gives_back_what_was_written(
    place: Path, rows: list[tuple[int, ...]], compress: bool, chunk: int, size: int
) -> None:
    made = Tape.of(records(rows), TWO)
    found = tapes.write(place, made, compress=compress, chunk_records=chunk)
    expected = plain(made.array())
    assert expected[2 if rows else 0 :] == [(*row[:4], 0, *row[5:]) for row in plain(records(rows))]
    batches = list(found.batches(size))
    assert all(0 < len(batch) <= size for batch in batches)
    assert [row for batch in batches for row in plain(batch)] == expected == plain(found.array())
    assert (found.records, len(found), found.kind, found.instruments) == (len(expected), len(expected), "ticks", TWO)
    if rows:
        assert (found.first_ts, found.last_ts) == (made.first_ts, made.last_ts) == (expected[2][5], expected[-1][5])
    assert [path.name for path in place.parent.iterdir()] == ["x.ulc"], "nothing is left beside it"


def test_every_instrument_is_introduced_once_with_a_symbol_of_its_own() -> None:
    made = Tape.of(records([(5, 1, 0, 0, 0, 0)]), TWO).array()
    assert made["kind"].tolist() == [INSTRUMENT, INSTRUMENT, TRADE]
    assert [int_to_symbol(code) for code in made["order_id"][:2]] == ["BTCUSD_P", "BTCUSD_2"]
    assert made["ts_event"].tolist() == [5, 5, 5] and made["price"][:2].tolist() == [100_000_000, 1]
    assert len(Tape.of(made, TWO)) == 3, "an instrument that introduces itself is not introduced again"


def test_time_that_goes_back_is_refused(tmp_path: Path) -> None:
    back = records([(5, 0, 0, 0, 0, 0), (-2, 0, 0, 0, 0, 0)])
    with pytest.raises(TapeError, match="record 1 is 2 ns before"):
        Tape.of(back, TWO)
    tape = Tape(TWO, "ticks", lambda size: iter([back[:1], back[1:]]))
    with pytest.raises(TapeError, match="record 1 is 2 ns before"):
        tapes.write(tmp_path / "x.ulc", tape)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TapeError, match="2 instruments are given"):
        Tape.of(records([(1, 2, 0, 0, 0, 0)]), TWO)


def test_a_raw_tape_is_mapped_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.ulc"
    found = tapes.write(path, Tape.of(records([(1, 0, 2, 3, 4, 5)] * 9), TWO), chunk_records=4)
    before, rows = path.read_bytes(), found.array()
    rows["price"] = 77
    assert path.read_bytes() == before and not (found.array()["price"] == 77).any()


def small(compress: bool, tmp_path: Path) -> Path:
    path = tmp_path / "x.ulc"
    tapes.write(path, Tape.of(records([(1, 0, 2, 3, 4, 5)] * 30), TWO), compress=compress, chunk_records=10)
    return path


def read_all(path: Path) -> int:
    return sum(map(len, tapes.open(path).batches()))


@pytest.mark.parametrize("compress", [False, True])
def test_a_flipped_bit_anywhere_is_one_clear_error(tmp_path: Path, compress: bool) -> None:
    path = small(compress, tmp_path)
    good = path.read_bytes()
    head = ulc.HEADER.size + 4
    places = [*range(head), *range(ulc.PAGE_BYTES, len(good), 1 if JIT else 7)]
    for at in places:
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        path.write_bytes(bad)
        with pytest.raises(TapeError) as caught:
            read_all(path)
        said = str(caught.value)
        assert str(path) in said
        offsets = (
            ulc.File(path).chunks["offset"].tolist() if ulc.PAGE_BYTES <= at < len(good) and "chunk" in said else []
        )
        if offsets:
            number = max(k for k, offset in enumerate(offsets) if offset <= at)
            assert f"chunk {number} at offset {offsets[number]}" in said


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_cut_anywhere_is_one_clear_error(tmp_path: Path, compress: bool) -> None:
    path = small(compress, tmp_path)
    good = path.read_bytes()
    for length in [*range(0, 100), *range(ulc.PAGE_BYTES, len(good), 13), len(good) - 1]:
        path.write_bytes(good[:length])
        with pytest.raises(TapeError):
            read_all(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(TapeError, match="cut or added to"):
        read_all(path)


def resealed(good: bytes, change: Any) -> bytes:
    """A file whose index was changed by somebody who knows how to compute a CRC."""
    fields = list(ulc.HEADER.unpack_from(good))
    at, count = fields[6], fields[7]
    index = np.frombuffer(good[at : at + count * 64], ulc.CHUNK).copy()
    change(fields, index)
    tail = index.tobytes() + good[at + count * 64 :]
    fields[-1] = zlib.crc32(tail)
    head = ulc.HEADER.pack(*fields)
    head += struct.pack("<I", zlib.crc32(head))
    return head + good[len(head) : at] + tail


HOSTILE = {
    "a count that asks for all memory": lambda f, i: i["count"].__setitem__(0, 1 << 60),
    "a length beyond the file": lambda f, i: i["length"].__setitem__(1, 1 << 60),
    "a negative length": lambda f, i: i["length"].__setitem__(1, -5),
    "an offset into the index": lambda f, i: i["offset"].__setitem__(1, 10),
    "more records than chunks hold": lambda f, i: f.__setitem__(3, 1 << 40),
    "another version": lambda f, i: f.__setitem__(1, 2),
    "another layout": lambda f, i: f.__setitem__(2, 9),
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_index_is_refused_before_memory_is_taken(tmp_path: Path, name: str, compress: bool) -> None:
    path = small(compress, tmp_path)
    path.write_bytes(resealed(path.read_bytes(), HOSTILE[name]))
    with pytest.raises(TapeError):
        read_all(path)


def test_a_packed_chunk_that_says_another_size_is_refused(tmp_path: Path) -> None:
    path = small(True, tmp_path)

    def change(fields: list[Any], index: Any) -> None:
        index["count"][:2] = 11, 9
        index["first"][1] = 11

    path.write_bytes(resealed(path.read_bytes(), change))
    with pytest.raises(TapeError, match=r"chunk 0 .* column kind is not of 11 values"):
        read_all(path)


def test_what_is_no_tape_says_so(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello" * 9)
    with pytest.raises(TapeError, match="is no tape"):
        tapes.open(tmp_path / "x")
    with pytest.raises(TapeError, match="at least one"):
        list(Tape.of(records([]), TWO).batches(0))
    with pytest.raises(TapeError, match="above 0"):
        Instrument("X", 0, 1)


@pytest.mark.parametrize("name", ["raw", "packed"])
def test_golden_tapes_of_this_version_are_read(name: str) -> None:
    found = tapes.open(GOLDEN / f"tape-1-{name}.ulc")
    assert found.instruments == TWO and found.notes == {"made up": 3}
    assert plain(found.array()) == plain(golden().array())


def golden() -> Tape:
    tape = Tape.of(records([(3, k & 1, k, 100 + k, 1, EDGES[k % 6]) for k in range(20)]), TWO, "ticks", "made up")
    tape.notes["made up"] = 3
    return tape


@pytest.mark.slow
@pytest.mark.parametrize("compress", [False, True])
def test_a_month_replays_in_the_memory_of_a_batch(tmp_path: Path, compress: bool) -> None:
    """30 days of 20,000 records: what Python and NumPy hold at once while it is read is a chunk and its columns, the
    same for 3 days as for 30."""

    def days(count: int) -> Tape:
        def read(size: int) -> Iterator[Any]:
            for number in range(count):
                found = np.zeros(20_000, RECORD)
                found["kind"], found["ts_event"] = TRADE, number * 86_400 * 10**9 + np.arange(20_000)
                found["price"], found["qty"] = 100 + np.arange(20_000) % 50, 1 + np.arange(20_000) % 7
                yield found

        return Tape(TWO[:1], "ticks", read)

    peaks = []
    for count in (3, 30):
        path = tmp_path / f"{count}.ulc"
        tapes.write(path, days(count), compress=compress, chunk_records=8192)
        tape, seen = tapes.open(path), 0
        tracemalloc.start()
        for batch in tape.batches(4096):
            seen += len(batch)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert seen == count * 20_000
    assert peaks[1] < peaks[0] + 200_000 and peaks[1] < 8192 * 64 * 8
