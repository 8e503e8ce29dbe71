"""Captures: recorded ones decoded and encoded again byte for byte; made-up ones, whole and damaged, of every form."""

import gzip
import json
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import dpkt
import numpy as np
import pytest
import recorded
from hypothesis import given
from hypothesis import strategies as st

from ultra.cli import main
from ultra.commands import captures
from ultra.hot import door
from ultra.ops import capture, pcap
from ultra.venues import itch

unpack, pack = door(itch.unpack), door(itch.pack)


def ip(protocol: int, body: bytes, *, source: str = "10.0.0.1", fragment: int = 0, cut: int = 0) -> bytes:
    hosts = b"".join(bytes(map(int, host.split("."))) for host in (source, "10.0.0.2"))
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body) + cut, 1, fragment, 64, protocol, 0)
    return bytes(12) + b"\x08\x00" + head + hosts + body


def udp(payload: bytes, **how: Any) -> bytes:
    return ip(17, struct.pack(">HHHH", 1000, 2000, 8 + len(payload), 0) + payload, **how)


def tcp(sequence: int, payload: bytes, flags: int = 0x10, **how: Any) -> bytes:
    return ip(
        6, struct.pack(">HHIIBBHHH", 3000, 4000, sequence % (1 << 32), 0, 5 << 4, flags, 1, 0, 0) + payload, **how
    )


def mold(first: int, *bodies: bytes, session: str = "S1", count: int | None = None) -> bytes:
    head = struct.pack(">10sQH", session.encode().ljust(10), first, len(bodies) if count is None else count)
    return head + b"".join(struct.pack(">H", len(body)) + body for body in bodies)


def iex(first: int, *bodies: bytes) -> bytes:
    frames = b"".join(struct.pack("<H", len(body)) + body for body in bodies)
    return struct.pack("<BBHIIHHqqq", 1, 0, 0x8004, 1, 7, len(frames), len(bodies), 0, first, 0) + frames


def written(path: Path, frames: list[bytes], form: str = "pcap") -> Path:
    """A capture of these frames, a microsecond apart from second 1,700,000,000 on."""
    times = [1_700_000_000 + k / 1e6 for k in range(len(frames))]
    if form == "pcapng":
        with path.open("wb") as file:
            writer = dpkt.pcapng.Writer(file)
            for ts, frame in zip(times, frames, strict=True):
                writer.writepkt(frame, ts)
        return path
    order = ">" if "big" in form else "<"
    unit, magic = (1, 0xA1B23C4D) if "nano" in form else (1000, 0xA1B2C3D4)
    raw = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    for k, frame in enumerate(frames):
        raw += struct.pack(order + "IIII", 1_700_000_000, 1000 * k // unit, len(frame), len(frame)) + frame
    path.write_bytes(gzip.compress(raw) if "gz" in form else raw)
    return path


def read(path: Path, protocol: str = "auto") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    reader = pcap.Reader(path, protocol)
    rows = list(reader.rows())
    return rows, reader.seen.as_json()


def vectors(name: str) -> list[list[str]]:
    lines = recorded.data("itch" if "itch" in name else "ouch", name).read_text().splitlines()
    return [line.split("\t") for line in lines[1:]]


def test_every_recorded_itch_message_is_decoded_and_encoded_again_byte_for_byte() -> None:
    expected, folder = vectors("itch50_vectors.tsv"), recorded.data("itch", "pcap")
    packets = messages = 0
    found = []
    for path in sorted(folder.rglob("*.pcap")):
        payloads = [packet.payload for packet in capture.packets(path, Counter())]
        rows, seen = read(path)
        packets, messages = packets + seen["packets"], messages + seen["messages"]
        assert seen["malformed"] == seen["unknown"] == 0 and not seen["skipped"]
        again = []
        for payload in payloads:
            first, count = struct.unpack_from(">QH", payload, 10)
            bodies, values = [], np.zeros(itch.FIELD_MAX, np.int64)
            for body in pcap._mold_bodies(payload) or []:
                raw, out = np.frombuffer(body, np.uint8), np.zeros(64, np.uint8)
                unpack(raw, 0, values)
                assert bytes(out[: pack(out, 0, values)]) == body
                bodies.append(body)
            again.append(mold(first, *bodies, session=payload[:10].decode("latin-1"), count=count))
        assert again == payloads
        for row in rows:
            letter = row["type"]
            body = b"".join(
                row[name].encode("latin-1") if isinstance(row[name], str) else row[name].to_bytes(width, "big")
                for name, _, width in itch.HEADER + itch.LAYOUT[letter][2]
            )
            sequence = str(row["sequence"]) if "sequence" in row else ""
            found.append([f"{path.parent.name}/{path.name}", row.get("session", ""), sequence, letter, body.hex()])
    assert (packets, messages) == (190, 227)
    assert sorted(found) == sorted([*line[:4], line[5]] for line in expected)


@pytest.mark.slow
def test_a_recorded_day_of_iex_starts_over_eleven_times_and_its_last_packet_is_cut() -> None:
    _, seen = read(recorded.data("iex", "DEEP10.pcap.gz"))
    assert seen["packets"] == 121_314 and seen["skipped"] == {"cut": 1}
    assert (seen["messages"], seen["gaps"], seen["restarts"], seen["malformed"]) == (391_999, 0, 11, 0)
    assert seen["types"]["T"] == 83_343 and seen["types"]["8"] == 12_941 and seen["types"]["5"] == 14_627


def test_recorded_soup_packets_are_what_their_bytes_say() -> None:
    expected = {name: bytes.fromhex(payload) for name, _, _, _, payload in vectors("ouch_vectors.tsv")}
    kinds = Counter[str]()
    for name, raw in expected.items():
        rows, seen = read(recorded.data("ouch", *name.split("/")))
        assert len(rows) == 1 and seen["incomplete"] == seen["malformed"] == 0
        kinds[rows[0]["soup"]] += 1
        assert pcap.SOUPS[chr(raw[2])] == rows[0]["soup"]
        assert "hex" not in rows[0] or bytes.fromhex(rows[0]["hex"]) == raw[3:]
    assert kinds["login accepted"] == kinds["login request"] == kinds["client heartbeat"] == 1
    assert kinds["sequenced"] == 3 and kinds["unsequenced"] == 4


DELETE = b"D" + bytes(18)


@pytest.mark.parametrize("form", ["pcap", "pcap big", "pcap nano", "pcap nano big", "pcap gz", "pcapng"])
def test_every_form_of_capture_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    path = written(tmp_path / "x", [udp(mold(5, DELETE, DELETE)), udp(mold(7))], form)
    rows, seen = read(path)
    assert [(row["sequence"], row["type"], row["locate"]) for row in rows] == [(5, "D", 0), (6, "D", 0)]
    assert rows[0]["ts_ns"] == 1_700_000_000_000_000_000 and rows[0]["from"] == "10.0.0.1:1000"
    assert (seen["messages"], seen["heartbeats"], seen["gaps"]) == (2, 1, 0)


def test_numbers_are_followed(tmp_path: Path) -> None:
    numbers = [(1, 2), (3, 1), (3, 1), (6, 2), (4, 1), (1, 1), (2, 1)]
    for make, protocol in ((mold, "itch"), (iex, "iex")):
        frames = [udp(make(first, *[DELETE] * count)) for first, count in numbers]
        _, seen = read(written(tmp_path / protocol, frames))
        counts = [seen[name] for name in ("gaps", "missing", "repeated", "restarts")]
        assert counts == [1, 2, 2, 1], protocol
        assert seen["protocols"] == {"moldudp64" if protocol == "itch" else "iex-tp": 7}


def test_what_is_foreign_or_damaged_is_counted_and_skipped(tmp_path: Path) -> None:
    good = udp(mold(1, b"?nobody knows", DELETE))
    tagged = good[:12] + b"\x81\x00\0\x07" + good[12:]
    frames = [
        good, tagged, b"", b"\0" * 13, bytes(12) + b"\x86\xdd" + bytes(40), udp(b"x", fragment=0x2000),
        udp(b"x", fragment=7), ip(1, bytes(8)), udp(b"x", cut=5), good[:40], ip(17, b"\0" * 4),
        ip(6, bytes(12)), ip(17, struct.pack(">HHHH", 1, 2, 7, 0)), udp(b"neither"), good[:15],
    ]  # fmt: skip
    rows, seen = read(written(tmp_path / "x", frames))
    assert [row["type"] for row in rows] == ["?", "D"] * 2 and rows[0]["hex"] == b"?nobody knows".hex()
    assert seen["skipped"] == {"cut": 6, "fragment": 2, "neither UDP nor TCP": 1, "not IPv4": 3}
    assert seen["unknown"] == 1 and seen["restarts"] == 1, "message 1 again"
    _, seen = read(written(tmp_path / "y", [udp(b"neither"), udp(mold(1, DELETE, count=2))]), "itch")
    assert seen["malformed"] == 2
    assert read(tmp_path / "y", "iex")[1]["malformed"] == 2


def soup(kind: str, body: bytes = b"") -> bytes:
    return struct.pack(">Hc", len(body) + 1, kind.encode()) + body


def test_a_soup_session_numbers_its_messages_from_the_login_on(tmp_path: Path) -> None:
    said = soup("A", b"SESSION   " + b"41".rjust(20)) + soup("S", b"one") + soup("H") + soup("S", b"two") + soup("Z")
    login = soup("L", b"me    secret    " + b" " * 10 + b"41".rjust(20))
    frames = [tcp(99, b"", 2), tcp(100, said[:30]), tcp(130, said[30:]), tcp(7, login, source="10.0.0.9")]
    rows, seen = read(written(tmp_path / "x", frames))
    assert [row.get("sequence") for row in rows if row["soup"] == "sequenced"] == [41, 42]
    assert [bytes.fromhex(row["hex"]) for row in rows if "hex" in row] == [b"one", b"two"]
    assert rows[0]["next"] == 41 and rows[-1]["user"] == "me" and "secret" not in str(rows)
    assert (seen["heartbeats"], seen["ends"], seen["incomplete"], seen["malformed"]) == (1, 1, 0, 0)


def test_a_stream_that_is_not_soup_or_has_a_hole_is_counted(tmp_path: Path) -> None:
    _, seen = read(written(tmp_path / "x", [tcp(1, b"GET / HTTP/1.1\r\n"), tcp(17, b"more")]))
    assert seen["malformed"] == 1 and seen["messages"] == seen["incomplete"] == 0
    _, seen = read(written(tmp_path / "y", [tcp(1, soup("H")), tcp(8, soup("H"))]))
    assert seen["heartbeats"] == 1 and seen["incomplete"] == 1
    _, seen = read(written(tmp_path / "z", [tcp(1, soup("S", b"cut")[:-1])]))
    assert seen["incomplete"] == 1


@given(
    body=st.binary(min_size=1, max_size=40),
    start=st.sampled_from((0, 1, (1 << 32) - 7)),
    cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15)), max_size=12),
    order=st.randoms(use_true_random=False),
)
def test_segments_in_any_order_and_overlap_are_the_stream_once(body: bytes, start: int, cuts: Any, order: Any) -> None:
    pieces = [(at, body[at : at + length]) for at, length in cuts if at < len(body)]
    pieces += [(at, body[at : at + 8]) for at in range(0, len(body), 8)]
    order.shuffle(pieces)
    stream, flow, found = capture.Stream(), capture.Flow("tcp", "a", "b"), b""
    first = capture.Packet(1, 0, flow, (start - 1) % (1 << 32), capture.SYN, b"")
    for number, (at, piece) in enumerate([(None, b""), *pieces]):
        packet = first if at is None else capture.Packet(number, 0, flow, (start + at) % (1 << 32), 0, piece)
        found += stream.feed(packet)
        assert body.startswith(found)
    assert found == body and not stream.lost


@given(frame=st.binary(max_size=80), kind=st.sampled_from((6, 17)), body=st.binary(max_size=60))
def test_no_frame_is_a_crash(frame: bytes, kind: int, body: bytes) -> None:
    seen = pcap.Reader(Path("nowhere"))
    for raw in (frame, bytes(12) + b"\x08\x00" + frame, ip(kind, frame), udp(body), tcp(1, body), udp(frame + body)):
        found = capture._dissect(1, 0, raw)
        assert isinstance(found, str) or list(seen._packet(found)) is not None
    for name, decode in pcap.BODIES.items():
        assert "type" in decode("S", body), name


def test_a_file_that_ends_early_gives_what_it_holds_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = written(tmp_path / "x.pcap", [udp(mold(1, DELETE)), udp(mold(2, DELETE))])
    raw = whole.read_bytes()
    (tmp_path / "cut.pcap").write_bytes(raw[:-90])  # inside the header of the second packet
    (tmp_path / "cut.gz").write_bytes(gzip.compress(raw)[:-20])
    (tmp_path / "none").write_bytes(b"this is no capture, but it is long enough to be one")
    (tmp_path / "other").write_bytes(raw[:20] + struct.pack("<I", 101) + raw[24:])
    for name, says in (("cut.pcap", "whole pcap"), ("cut.gz", "whole"), ("none", "whole"), ("other", "101")):
        assert main(["pcap", str(tmp_path / name), "--summary"]) == 3
        out, err = capsys.readouterr()
        assert says in err and str(tmp_path / name) in err and "packets" in out
    assert main(["pcap", str(tmp_path / "nowhere")]) == 2


def test_the_command_prints_a_line_a_message_and_the_counts_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(written(tmp_path / "x.pcap", [udp(mold(1, DELETE)), udp(mold(4, DELETE))]))
    assert main(["pcap", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "sequence=1 type=D" in lines[0] and "gaps         1" in lines and "missing      2" in lines
    assert main(["pcap", path, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["sequence"] for row in rows[:-1]] == [1, 4] and rows[-1]["seen"]["missing"] == 2
    assert main(["pcap", path, "--json", "--summary"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_without_dpkt_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dpkt", None)
    assert main(["pcap", str(written(tmp_path / "x", [b""]))]) == 2
    assert "ultra-engine[pcap]" in capsys.readouterr().err


def test_the_words_are_the_protocols() -> None:
    assert captures.PROTOCOLS == pcap.PROTOCOLS and set(pcap.BODIES) == set(pcap.PROTOCOLS) - {"auto"}
