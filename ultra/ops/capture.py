"""A capture file (pcap or pcapng, plain or gzip) as UDP payloads and TCP streams.

dpkt reads the container; Ethernet (with VLAN tags), IPv4, UDP and TCP are read here, so that what is cut or foreign is
counted and skipped, never a crash. The segments of a stream are put in order again and each byte is given once.
Known bad case: dpkt makes floats of the times of a pcapng, right to about 200 ns. IP fragments are not put together,
IPv6 is not read; both are counted.
"""

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

ETHERNET: Final = 1
TAGS: Final = (0x8100, 0x88A8)  # VLAN
IPV4, TCP, UDP = 0x0800, 6, 17
SYN: Final = 2
AHEAD_MAX: Final = 1 << 16  # segments that wait for one that is missing
WRAP: Final = 1 << 32


class CaptureError(Exception):
    """A capture can't be read: names the file, the reason, and what to do. `code` is the exit code for it."""

    def __init__(self, text: str, code: int = 3) -> None:
        super().__init__(text)
        self.code = code


class Flow(NamedTuple):
    """Who to whom."""

    transport: str  # udp or tcp
    source: str  # address:port
    target: str


class Packet(NamedTuple):
    """What one packet carries."""

    number: int  # in the file, from 1
    ts: int  # ns since the epoch
    flow: Flow
    sequence: int  # of the first byte, of TCP; with SYN of the byte before it
    flags: int  # of TCP
    payload: bytes


def packets(path: Path, skipped: Counter[str]) -> Iterator[Packet]:
    """The UDP and TCP packets of a file in order; what is none of them is counted in `skipped` by its reason."""
    for number, (ts, frame) in enumerate(_frames(path), 1):
        found = _dissect(number, ts, frame)
        if isinstance(found, str):
            skipped[found] += 1
        else:
            yield found


def _frames(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        import dpkt
    except ImportError as error:
        raise CaptureError("reading a capture needs dpkt: pip install 'ultra-engine[pcap]'", 2) from error
    with _open(path) as file:
        try:
            reader = dpkt.pcap.UniversalReader(file)
            if reader.datalink() != ETHERNET:
                raise CaptureError(f"{path}: link type {reader.datalink()} is not Ethernet ({ETHERNET})")
            classic = isinstance(reader, dpkt.pcap.Reader)
            for ts, frame in reader:
                # A Decimal of whole nanoseconds, or a float; in a pcap that is of whole microseconds.
                exact = classic and isinstance(ts, float)
                rest = round((ts - int(ts)) * 1_000_000) * 1_000 if exact else int((ts - int(ts)) * 1_000_000_000)
                yield int(ts) * 1_000_000_000 + rest, frame
        except (ValueError, EOFError, OSError, dpkt.dpkt.Error) as error:
            raise CaptureError(f"{path}: not a whole pcap or pcapng, plain or gzip: {error}") from error


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def _dissect(number: int, ts: int, frame: bytes) -> Packet | str:
    kind, at = int.from_bytes(frame[12:14], "big"), 14
    while kind in TAGS:
        kind, at = int.from_bytes(frame[at + 2 : at + 4], "big"), at + 4
    if kind != IPV4:
        return "not IPv4"
    length, start = int.from_bytes(frame[at + 2 : at + 4], "big"), at + (frame[at : at + 1] or b"\0")[0] % 16 * 4
    end = at + length  # what is behind it is Ethernet's padding
    if len(frame) < end or start < at + 20 or start + 8 > end:
        return "cut"
    if int.from_bytes(frame[at + 6 : at + 8], "big") & 0x3FFF:
        return "fragment"
    ports = int.from_bytes(frame[start : start + 2], "big"), int.from_bytes(frame[start + 2 : start + 4], "big")
    hosts = [".".join(map(str, frame[at + k : at + k + 4])) for k in (12, 16)]
    ends = [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)]
    if frame[at + 9] == UDP:
        body = int.from_bytes(frame[start + 4 : start + 6], "big")
        if body < 8 or start + body > end:
            return "cut"
        return Packet(number, ts, Flow("udp", *ends), 0, 0, frame[start + 8 : start + body])
    if frame[at + 9] != TCP:
        return "neither UDP nor TCP"
    body = start + (frame[start + 12] >> 4) * 4 if start + 20 <= end else end + 1
    if body > end or body < start + 20:
        return "cut"
    sequence = int.from_bytes(frame[start + 4 : start + 8], "big")
    return Packet(number, ts, Flow("tcp", *ends), sequence, frame[start + 13], frame[body:end])


class Stream:
    """One direction of a TCP connection, in order. `lost`: bytes that the capture lacks and what follows them."""

    def __init__(self) -> None:
        self._next = -1  # of the byte that comes next
        self._ahead: dict[int, bytes] = {}
        self.duplicates = 0

    @property
    def lost(self) -> bool:
        """Something is missing before bytes that are there."""
        return bool(self._ahead)

    def feed(self, packet: Packet) -> bytes:
        """A segment; returns the bytes that are now in order."""
        first = (packet.sequence + bool(packet.flags & SYN)) % WRAP
        if self._next < 0 or packet.flags & SYN:
            self._next = first
            self._ahead.clear()
        if packet.payload and len(self._ahead) < AHEAD_MAX:
            self._ahead[first] = max(self._ahead.get(first, b""), packet.payload, key=len)
        found = bytearray()
        while (behind := self._reaching()) is not None:
            body = self._ahead.pop(behind)
            fresh = body[(self._next - behind) % WRAP :]
            self.duplicates += len(body) != len(fresh)
            found += fresh
            self._next = (self._next + len(fresh)) % WRAP
        return bytes(found)

    def _reaching(self) -> int | None:
        """A segment that begins at or before the next byte: all of the ordinary ones do."""
        if self._next in self._ahead:
            return self._next
        return next((first for first in self._ahead if (self._next - first) % WRAP < WRAP // 2), None)
