"""OUCH and SoupBinTCP: every message by its table, there and back, against recorded packets and against damage."""

import csv
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop
from recorded import data

from ultra.hot import JIT, door
from ultra.venues import layout as layouts
from ultra.venues import ouch, ouch42, soupbin

# From the tables of the specification, by hand: bytes with the letter, without the appendage.
LENGTHS = {
    "ouch in": (ouch.INBOUND, "O47 U40 X9 M10 C19 D11 E11 Q1"),
    "ouch out": (ouch.OUTBOUND, "S10 A64 U68 C18 D31 E36 B36 F49 J29 P13 I13 T30 M18 R16 X27 G19 K19 Q13"),
    "ouch 4.2 in": (ouch42.INBOUND, "O49 U47 X19 M20 N15"),
    "ouch 4.2 out": (ouch42.OUTBOUND, "S10 A66 U80 C28 D37 E40 G45 F41 B32 J24 P23 I23 T36 M28 N23"),
}
TABLES = {"ouch in": ouch.IN, "ouch out": ouch.OUT, "ouch 4.2 in": ouch42.IN, "ouch 4.2 out": ouch42.OUT}
KINDS = [(protocol, letter) for protocol, (table, _) in LENGTHS.items() for letter in table]
whole, unpack, pack, tag_at, packet, number = (
    door(f) for f in (layouts.whole, layouts.unpack, layouts.pack, layouts.tag_at, soupbin.packet, soupbin.number)
)


def array(raw: bytes) -> Any:
    return np.frombuffer(raw, np.uint8).copy()


def tags_of(protocol: str) -> dict[int, tuple[str, str]]:
    return {} if "4.2" in protocol else ouch.TAGS


@st.composite
def messages(draw: Any) -> tuple[str, bytes]:
    """A protocol and a message of it with any bytes in its fields, and an appendage where it may have one."""
    protocol, letter = draw(st.sampled_from(KINDS))
    _, text = LENGTHS[protocol][0][letter]
    size = sum(width for _, _, width, _ in layouts.fields(text))
    body = letter.encode() + draw(st.binary(min_size=size, max_size=size))
    if not text.endswith("applen:2"):
        return protocol, body
    parts = draw(st.lists(st.tuples(st.sampled_from([1, 2, 3, 12, 22, 99]), st.binary(max_size=9)), max_size=4))
    tail = b"".join(bytes((len(value) + 1, tag)) + value for tag, value in parts)
    return protocol, body[:-2] + struct.pack(">H", len(tail)) + tail


@pytest.mark.parametrize("protocol", LENGTHS)
def test_the_tables_are_as_long_as_the_specification_says(protocol: str) -> None:
    table, lengths = LENGTHS[protocol]
    expected = {word[0]: int(word[1:]) for word in lengths.split()}
    assert {letter: int(TABLES[protocol].lengths[ord(letter)]) for letter in table} == expected
    assert int((TABLES[protocol].lengths > 0).sum()) == len(expected)


@given(messages())
def test_every_message_survives_both_codecs(case: tuple[str, bytes]) -> None:
    protocol, body = case
    table, tags = LENGTHS[protocol][0], tags_of(protocol)
    assert layouts.compose(table, tags, layouts.describe(table, tags, body)) == body
    values, again = np.zeros(layouts.WORDS_MAX, np.int64), np.zeros(128, np.uint8)
    unpack(TABLES[protocol], array(body), 0, values)
    length = pack(TABLES[protocol], again, 0, values)
    assert again[:length].tobytes() == body[:length] and not again[length:].any()
    assert whole(TABLES[protocol], array(body), 0, len(body)) == layouts.WHOLE


@given(messages(), st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=3), st.integers(-3, 3))
def test_what_is_called_whole_is_exactly_what_can_be_described(
    case: tuple[str, bytes], changes: list[tuple[int, int]], longer: int
) -> None:
    protocol, body = case
    raw = bytearray(body[: len(body) + longer] if longer < 0 else body + bytes(longer))
    for at, value in changes:
        if at < len(raw):
            raw[at] = value
    fault = whole(TABLES[protocol], array(bytes(raw) or b"\0"), 0, len(raw))
    try:
        layouts.describe(LENGTHS[protocol][0], tags_of(protocol), bytes(raw))
    except layouts.LayoutError:
        assert fault != layouts.WHOLE
    else:
        assert fault == layouts.WHOLE


@pytest.mark.parametrize(
    ("tail", "fault"),
    [("", 0), ("050241424344", 0), ("0203010110", 0), ("0203010210", 3), ("05024142", 3), ("00", 3), ("ff", 3)],
)
def test_an_appendage_is_tiled_by_its_tags(tail: str, fault: int) -> None:
    raw = bytes.fromhex(tail)
    body = b"D" + bytes(8) + struct.pack(">H", len(raw)) + raw
    assert whole(ouch.IN, array(body), 0, len(body)) == fault
    assert whole(ouch.IN, array(body + b"\0"), 0, len(body) + 1) != layouts.WHOLE


def test_a_tag_is_found_only_with_its_own_width() -> None:
    message = {"type": "O", "ref": 1, "side": "B", "qty": 5, "symbol": "A", "price": 1, "tif": "0", "display": "Y"}
    message |= {
        "capacity": "P",
        "iso": "N",
        "cross": "N",
        "clordid": "",
        "appendage": [("firm", "ABCD"), ("min_qty", 9)],
    }
    body = ouch.compose(message, outbound=False)
    assert tag_at(ouch.IN, array(body), 0, len(body), ouch.MIN_QTY, 4) == 47 + 6 + 2
    assert tag_at(ouch.IN, array(body), 0, len(body), ouch.MIN_QTY, 8) == layouts.ABSENT
    assert tag_at(ouch.IN, array(body), 0, len(body), 22, 4) == layouts.ABSENT


@pytest.mark.parametrize(
    ("change", "said"),
    [({"qty": 1 << 32}, "qty"), ({"symbol": "TOOLONGNAME"}, "symbol"), ({"price": -1}, "price"), ({"type": "?"}, "no")],
)
def test_a_field_that_does_not_fit_is_named(change: dict[str, Any], said: str) -> None:
    message = {"type": "O", "ref": 1, "side": "B", "qty": 5, "symbol": "A", "price": 1, "tif": "0", "display": "Y"}
    message |= {"capacity": "P", "iso": "N", "cross": "N", "clordid": ""}
    with pytest.raises(layouts.LayoutError, match=said):
        ouch.compose(message | change, outbound=False)


def test_every_recorded_packet_is_read_and_written_byte_for_byte() -> None:
    """The five of another dialect carry other orders: of them the packet is held, of the six the message too."""
    with data("ouch", "ouch_vectors.tsv").open() as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert len(rows) == 11
    seen = set()
    for row in rows:
        raw, outbound = bytes.fromhex(row["payload_hex"]), int(row["srcport"]) < 30_000
        capture = data("ouch", *row["file"].split("/")).read_bytes()
        assert raw in capture, row["file"]
        assert packet(array(raw), 0, len(raw), ouch.MESSAGE_MAX) == len(raw)
        told = soupbin.describe(raw, outbound=outbound)
        assert soupbin.compose(told, outbound=outbound) == raw
        seen.add(told["type"])
        if "payload" in told and row["file"].startswith("Nasdaq"):
            body = told["payload"]
            table = ouch.OUT if outbound else ouch.IN
            assert whole(table, array(body), 0, len(body)) == layouts.WHOLE
            named = ouch.describe(body, outbound=outbound)
            assert ouch.compose(named, outbound=outbound) == body
            values, again = np.zeros(layouts.WORDS_MAX, np.int64), np.zeros(128, np.uint8)
            unpack(table, array(body), 0, values)
            length = pack(table, again, 0, values)
            assert again[:length].tobytes() == body[:length]
    assert seen == set("USALRH")


def test_a_recorded_order_means_what_its_publisher_says() -> None:
    with data("ouch", "ouch_vectors.tsv").open() as lines:
        raw = next(bytes.fromhex(row["payload_hex"]) for row in csv.DictReader(lines, delimiter="\t")
                   if row["file"] == "Nasdaq.Nsm.Ouch.v5.0/EnterOrderMessage.pcap")  # fmt: skip
    order = ouch.describe(raw[3:], outbound=False)
    assert (order["side"], order["qty"], order["symbol"], order["price"]) == ("T", 225, "CVLT", 630_200)
    assert order["appendage"] == [("firm", "LIME")]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("00", 0), ("000152", 3), ("0000", -1), ("0004555800", 0), ("ffff55", -1), ("020255", -1), ("02015500", 0)],
)
def test_a_packet_is_whole_or_not_or_hostile(raw: str, expected: int) -> None:
    assert packet(array(bytes.fromhex(raw)), 0, len(raw) // 2, 512) == expected


@given(st.text("0123456789 x+-", max_size=20))
def test_a_number_is_digits_between_spaces(text: str) -> None:
    found = number(array(text.rjust(20).encode()), 0, 20)
    word = text.strip(" ")
    assert found == (int(word) if word and len(word) <= 18 and all(c in "0123456789" for c in word) else soupbin.BAD)


def test_a_login_is_as_recorded() -> None:
    raw = soupbin.login("user", "password", "", 0)
    assert len(raw) == soupbin.LOGIN_BYTES and raw[:3] == b"\x00\x2fL" and raw.endswith(b" 0")
    assert soupbin.describe(raw, outbound=False)["sequence"].strip() == "0"
    assert len(soupbin.accepted("DAY1", 7)) == soupbin.ACCEPTED_BYTES
    with pytest.raises(layouts.LayoutError, match="password"):
        soupbin.login("user", "elevenchars", "", 0)


@loop
def faults_of(table: layouts.Layout, raw: Any, bounds: Any, counts: Any) -> int:
    """Count what `whole` says of each piece of a block, and follow the tags of what it calls whole."""
    found = 0
    for k in range(len(bounds)):
        at, length = bounds[k, 0], bounds[k, 1]
        fault = layouts.whole(table, raw, at, length)
        counts[fault] += 1
        if fault == layouts.WHOLE:
            found += layouts.tag_at(table, raw, at, length, 3, 4) != layouts.ABSENT
    return found


@pytest.mark.parametrize("protocol", LENGTHS)
def test_damaged_messages_are_counted_and_nothing_breaks(protocol: str) -> None:
    """250,000 messages a protocol where compiled; the last one ends with the block."""
    random = np.random.default_rng(7)
    rounds, count = (50, 5000) if JIT else (1, 300)
    letters = [ord(letter) for letter in LENGTHS[protocol][0]]
    counts = np.zeros(4, np.int64)
    for _ in range(rounds):
        lengths = TABLES[protocol].lengths[random.choice(letters, count)] + random.choice([-1, 0, 0, 0, 1, 8], count)
        lengths = np.maximum(lengths, 1)
        bounds = np.stack([np.cumsum(lengths) - lengths, lengths], 1)
        raw = random.integers(0, 256, int(lengths.sum())).astype(np.uint8)
        raw[bounds[:, 0]] = random.choice([*letters, 0, 255], count)
        raw[raw < 64] = 0  # lengths that fit, here and there
        faults_of(TABLES[protocol], raw, bounds, counts)
    assert int(counts.sum()) == rounds * count and counts[[0, 1, 2]].all()
