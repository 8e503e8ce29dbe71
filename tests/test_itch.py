"""The ITCH decoder: against the specification, against recorded messages, and against how bytes arrive.

The plain reading of a message is `itch_streams.fields_of`; `meant` says which record each type must become.
"""

import csv
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from itch_streams import Domain, bodies, counted, fields_of, framed, packed, rows_of, stream
from recorded import content, data

from ultra import wire
from ultra.hot import door
from ultra.hot import ring as rings
from ultra.venues import itch

LENGTHS = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40,
    "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48,
}  # fmt: skip
STATES = {"T": wire.TRADING, "H": wire.HALTED, "P": wire.PAUSED, "Q": wire.QUOTE_ONLY}
# type -> the kind of its record, and which field of the message each field of the record comes from.
MEANINGS = {
    "A": (wire.ADD, "order_id=ref qty=shares price=price"),
    "F": (wire.ADD, "order_id=ref qty=shares price=price"),
    "E": (wire.EXECUTE, "order_id=ref qty=shares aux=match"),
    "C": (wire.EXECUTE, "order_id=ref qty=shares aux=match price=price"),
    "X": (wire.CANCEL, "order_id=ref qty=shares"),
    "D": (wire.DELETE, "order_id=ref"),
    "U": (wire.REPLACE, "order_id=ref aux=new_ref qty=shares price=price"),
    "P": (wire.TRADE, "qty=shares price=price aux=match"),
    "Q": (wire.TRADE, "qty=shares price=price aux=match"),
    "H": (wire.STATUS, ""),
    "h": (wire.STATUS, ""),
    "R": (wire.INSTRUMENT, "order_id=stock"),
}
MIDNIGHT = 1_340_251_200_000_000_000
unpack, pack, ready, release = (door(f) for f in (itch.unpack, itch.pack, rings.ready, rings.release))


def signed(value: int) -> int:
    return value if value < 1 << 63 else value - (1 << 64)


def meant(body: bytes) -> dict[str, int]:
    """The record that a message must become."""
    f, letter = fields_of(body), chr(body[0])
    ts, (kind, sources) = MIDNIGHT + f["ts"], MEANINGS[letter]
    record = {"kind": kind, "side": 0, "flag": 0, "instrument": 0, "ts_event": ts, "ts_recv": ts}
    record |= {"order_id": wire.NONE, "price": wire.NONE, "qty": 0, "aux": wire.NONE}
    record |= {name: f[source] for name, source in (pair.split("=") for pair in sources.split())}
    if letter in "AF":
        record["side"] = {ord("B"): wire.BID, ord("S"): wire.ASK}.get(f["side"], 2)
    elif letter == "C" and f["printable"] == ord("N"):
        record["flag"] = wire.NOT_PRINTABLE
    elif letter == "H":
        record["aux"] = STATES.get(chr(f["state"]), wire.UNKNOWN_STATE)
    elif letter == "h":
        record["aux"] = wire.HALTED if f["action"] == ord("H") else wire.TRADING
    elif letter == "R":
        record |= {"price": 100_000, "qty": 10**9, "aux": 100}
    return {name: signed(value) for name, value in record.items()}


def assert_means(record: Any, body: bytes) -> None:
    expected = meant(body)
    assert {name: int(record[name]) for name in expected} == expected


def decoder_of(room: int = 64, symbols: tuple[int, ...] = (), selective: bool = False) -> itch.Decoder:
    return itch.create(room, list(symbols), selective=selective, ts_base=MIDNIGHT)


def drained(ring: rings.Ring) -> list[Any]:
    """Copies of the records that wait in a ring, which is empty afterwards."""
    rows, mask = [], len(ring.slots) - 1
    while (count := ready(ring)) > 0:
        first = int(ring.cells[rings.GATE])
        rows += [ring.slots[(first + k) & mask].copy() for k in range(count)]
        release(ring, count)
    return rows


def decoded(raw: Any, decoder: itch.Decoder, capacity: int = 4096) -> tuple[Any, int]:
    """All records of a stream that stands in memory as a whole, and where the decoder stopped."""
    ring, rows, at = rings.create(wire.RECORD, capacity), [], 0
    while True:
        at = itch.decode(decoder, raw, at, len(raw), ring)
        fresh = drained(ring)
        if not fresh:
            return np.array(rows, wire.RECORD), at
        rows += fresh


def plain(decoder: itch.Decoder) -> tuple[bytes, ...]:
    return tuple(array.tobytes() for array in decoder[:4])


def test_the_layout_tiles_every_message_without_holes() -> None:
    assert {letter: length for letter, (_, length, _) in itch.LAYOUT.items()} == LENGTHS
    for letter, length in LENGTHS.items():
        rows = rows_of(letter)
        ends = [offset + width for _, offset, width in rows]
        assert [offset for _, offset, _ in rows] == [0, *ends[:-1]] and ends[-1] == length
        assert len({name for name, _, _ in rows}) == len(rows)


def test_every_recorded_message_survives_unpacking_and_packing() -> None:
    with data("itch", "itch50_vectors.tsv").open() as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert len(rows) == 227
    for row in rows:
        body, values, again = (
            bytes.fromhex(row["hex"]),
            np.zeros(itch.FIELD_MAX, np.int64),
            np.zeros(50, np.uint8),
        )
        count = unpack(np.frombuffer(body, np.uint8).copy(), 0, values)
        assert values[:count].tolist() == [signed(v) for v in fields_of(body).values()]
        assert pack(again, 0, values) == len(body) == int(row["length"])
        assert again[: len(body)].tobytes() == body and not again[len(body) :].any()


def test_every_recorded_message_becomes_the_record_it_means() -> None:
    with data("itch", "itch50_vectors.tsv").open() as lines:
        messages = [bytes.fromhex(row["hex"]) for row in csv.DictReader(lines, delimiter="\t")]
    seen = 0
    for body in messages:
        directory = bytearray(39)  # names the locate, which most messages do not
        directory[:3], directory[11:19] = b"R" + body[1:3], b"TEST    "
        decoder = decoder_of()
        records, _ = decoded(framed(bytes(directory), body), decoder)
        assert decoder.by_type[body[0]] == 1 and itch.errors(decoder) == {}
        assert len(records) == 1 + (chr(body[0]) in MEANINGS)
        if len(records) == 2:
            seen += 1
            assert_means(records[1], body)
    assert seen == 53 + 17 + 15 + 15 + 18 + 16 + 15 + 17 + 5 + 16


ANY = {
    letter: st.tuples(*(st.integers(0, (1 << 8 * width) - 1) for _, _, width in rows_of(letter)[1:]))
    for letter in LENGTHS
}


@pytest.mark.parametrize("letter", LENGTHS)
@given(draw=st.data())
def test_any_field_values_make_a_message_that_reads_back(letter: str, draw: st.DataObject) -> None:
    rows = rows_of(letter)
    drawn = [ord(letter), *draw.draw(ANY[letter])]
    values, read = np.zeros(itch.FIELD_MAX, np.int64), np.zeros(itch.FIELD_MAX, np.int64)
    values[: len(rows)] = [signed(value) for value in drawn]
    raw = packed(values[None, :])
    assert unpack(raw, 2, read) == len(rows) and (read == values).all()
    (body,) = bodies(raw)
    assert len(body) == LENGTHS[letter] and list(fields_of(body).values()) == drawn
    decoder = decoder_of(symbols=(7,))
    decoder.locates[fields_of(body)["locate"]] = 0
    records, stopped = decoded(raw, decoder)
    assert stopped == len(raw) and itch.counts(decoder) == {letter: 1} and itch.errors(decoder) == {}
    assert len(records) == (letter in MEANINGS)
    for record in records:
        assert_means(record, body)


def test_the_head_of_a_day_is_counted_type_by_type() -> None:
    raw, decoder = content("itch", "nasdaq_head_1000.itch50"), decoder_of(1024)
    records, stopped = decoded(raw, decoder)
    assert itch.counts(decoder) == {"S": 1, "R": 993, "H": 3, "Y": 3} and itch.errors(decoder) == {}
    assert stopped == len(raw) and len(records) == 996 and decoder.cells[itch.KNOWN] == 993
    named = {fields_of(b)["locate"]: fields_of(b)["stock"] for b in bodies(raw) if b[:1] == b"R"}
    assert all(decoder.symbols[decoder.locates[locate]] == stock for locate, stock in named.items())


def test_a_message_cut_off_at_the_end_is_left_for_later() -> None:
    raw, decoder = content("itch", "nasdaq_head_truncated.itch50"), decoder_of(1024)
    records, stopped = decoded(raw, decoder)
    assert stopped == 4081 and decoder.cells[itch.MESSAGES] == 101 and itch.errors(decoder) == {}
    assert itch.counts(decoder) == {"S": 1, "R": 98, "H": 1, "Y": 1} and len(records) == 99


@given(st.integers(0, 1 << 32), st.lists(st.integers(0, 2000), max_size=12), st.sampled_from([1, 2, 8, 64]))
def test_neither_chunks_nor_a_small_ring_change_the_records(seed: int, cuts: list[int], capacity: int) -> None:
    raw = stream(seed, 50, Domain(oddity=0.05))
    whole, parts = decoder_of(4), decoder_of(4)
    expected, _ = decoded(raw, whole)
    rows, rest, ends = [], np.zeros(0, np.uint8), sorted({min(cut, len(raw)) for cut in [*cuts, len(raw)]})
    for start, end in zip([0, *ends], ends, strict=False):
        rest = np.concatenate((rest, raw[start:end]))  # new memory that ends with the bytes that are there
        some, taken = decoded(rest, parts, capacity)
        rows.append(some)
        rest = rest[taken:]
    assert len(rest) == 0 and plain(parts) == plain(whole)
    assert np.concatenate(rows).tobytes() == expected.tobytes()


def test_every_cut_through_a_message_waits_for_the_rest() -> None:
    raw = stream(1, 3)
    first = 2 + int(raw[0]) * 256 + int(raw[1])
    for end in range(first):
        decoder = decoder_of()
        _, stopped = decoded(raw[:end].copy(), decoder)
        assert stopped == 0 and decoder.cells[itch.MESSAGES] == 0


def test_a_full_ring_stops_the_decoder_and_loses_nothing() -> None:
    raw, decoder, ring = stream(2, 200), decoder_of(), rings.create(wire.RECORD, 8)
    at = itch.decode(decoder, raw, 0, len(raw), ring)
    assert ready(ring) == 8 and itch.decode(decoder, raw, at, len(raw), ring) == at < len(raw)
    release(ring, 1)
    after = itch.decode(decoder, raw, at, len(raw), ring)
    assert after > at and itch.decode(decoder, raw, after, len(raw), ring) == after
    assert int(ring.cells[rings.CURSOR]) == 9 and len(drained(ring)) == 8


def add(locate: int, symbol: bytes, ref: int = 1) -> bytes:
    return b"A" + locate.to_bytes(2, "big") + bytes(8) + ref.to_bytes(8, "big") + b"B" + bytes(4) + symbol + bytes(4)


def test_a_selective_decoder_lets_only_its_instruments_pass() -> None:
    aapl, msft, ibm = b"AAPL    ", b"MSFT    ", b"IBM     "
    wanted = tuple(int.from_bytes(symbol, "big") for symbol in (msft, aapl))
    decoder = decoder_of(symbols=wanted, selective=True)
    raw = framed(add(5, ibm), add(6, aapl), add(5, ibm), add(7, msft), add(6, aapl), add(5, ibm))
    records, stopped = decoded(raw, decoder)
    assert stopped == len(raw) and [int(r["instrument"]) for r in records] == [1, 0, 1]
    assert decoder.cells[itch.FILTERED] == 3 and decoder.cells[itch.KNOWN] == 2 and itch.errors(decoder) == {}


def test_instruments_beyond_the_limit_are_left_out_and_counted() -> None:
    decoder = decoder_of(room=2)
    names = [f"SYM{k}    ".encode() for k in range(4)]
    raw = framed(*(add(locate, names[locate]) for locate in (0, 1, 2, 3, 2, 1, 0)))
    records, _ = decoded(raw, decoder)
    assert [int(r["instrument"]) for r in records] == [0, 1, 1, 0]
    assert itch.errors(decoder) == {"instruments_full": 2} and decoder.cells[itch.FILTERED] == 1


def test_two_locates_of_one_symbol_are_one_instrument() -> None:
    records, _ = decoded(framed(add(3, b"AAPL    "), add(9, b"AAPL    ", 2)), decoder_of())
    assert [int(r["instrument"]) for r in records] == [0, 0]


def test_bad_messages_are_counted_and_the_next_one_is_read() -> None:
    good = add(1, b"AAPL    ")
    late = good[:5] + (5).to_bytes(6, "big") + good[11:]
    orphan = b"D" + (99).to_bytes(2, "big") + (5).to_bytes(6, "big").rjust(8, b"\0") + bytes(8)
    messages = [good, b"", b"A", good + b"\0", good[:-1], b"z" * 36, b"\xff", late, orphan, good]
    decoder = decoder_of()
    records, stopped = decoded(framed(*messages), decoder)
    assert stopped == sum(2 + len(m) for m in messages) and len(records) == 3
    assert itch.errors(decoder) == {
        "bad_length": 4,
        "unknown_type": 2,
        "unknown_locate": 1,
        "time_backwards": 1,
    }
    assert counted(messages) == ({"A": 3, "D": 1}, 2, 4) and itch.counts(decoder) == {"A": 3, "D": 1}
