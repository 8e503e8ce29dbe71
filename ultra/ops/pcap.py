"""What a capture says: MoldUDP64 with ITCH, SoupBinTCP with OUCH, IEX-TP; message by message, and what was missing.

A protocol turns packets into rows, one a message; `BODIES` says what a message's bytes mean, by protocol, and is where
another dialect is added. Numbers are followed per target address, channel and session: a number ahead of what was due
is a gap, number 1 again is a restart (a recording put together of several, or a sender that began anew), any other
behind it a repetition. A message whose type or length is not known is kept as hex.
Known bad case: with `auto` a datagram that is neither IEX-TP nor whole MoldUDP64 counts as unknown, not as malformed.
Sources: Nasdaq MoldUDP64 1.00 and SoupBinTCP 3.00, IEX Transport Protocol 1.25, IEX DEEP 1.0.
"""

import contextlib
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..venues import itch, ouch, ouch42
from ..venues.layout import LayoutError
from .capture import Packet, Stream, packets

PROTOCOLS: Final = ("auto", "itch", "soup", "iex")
Row = dict[str, Any]

# ---- What the bytes of a message mean. ----

TEXT: Final = {"stock", "mpid", "reason", "issue_subtype"}  # of ITCH; and every field of one byte


def itch_body(kind: str, raw: bytes) -> Row:
    """Every field of an ITCH 5.0 message; text as it stands, with its spaces."""
    letter = chr(raw[0]) if raw else ""
    if letter not in itch.LAYOUT or len(raw) != itch.LAYOUT[letter][1]:
        return {"type": letter, "hex": raw.hex()}
    found: Row = {}
    for name, offset, width in itch.HEADER + itch.LAYOUT[letter][2]:
        part = raw[offset : offset + width]
        found[name] = part.decode("latin-1") if width == 1 or name in TEXT else int.from_bytes(part, "big")
    return found


def iex_body(kind: str, raw: bytes) -> Row:
    """What IEX's messages have in common; size and price of those that have them. Price in 1/10000 of a dollar."""
    found: Row = {"type": chr(raw[0]) if raw else "", "hex": raw.hex()}
    if len(raw) >= 10:
        found["flag"], found["ts"] = struct.unpack_from("<Bq", raw, 1)
    if len(raw) >= 18:
        found["symbol"] = raw[10:18].decode("latin-1").rstrip()
    if len(raw) >= 30 and found["type"] in "85TB":
        found["size"], found["price"] = struct.unpack_from("<Iq", raw, 18)
    return found


def ouch_body(kind: str, raw: bytes) -> Row:
    """Every field of an OUCH message, 5.0 or else 4.2; S is the venue's, U a client's."""
    for describe in (ouch.describe, ouch42.describe):
        with contextlib.suppress(LayoutError):
            return describe(raw, outbound=kind == "S")
    return {"type": chr(raw[0]) if raw else "", "hex": raw.hex()}


# By protocol: (kind of packet it came in, its bytes) -> fields, `type` among them. Of Soup the kind is S (from the
# server) or U (from the client).
BODIES: dict[str, Callable[[str, bytes], Row]] = {"itch": itch_body, "iex": iex_body, "soup": ouch_body}

# ---- What was seen. ----


@dataclass
class Seen:
    """Counts of a whole capture."""

    packets: int = 0
    messages: int = 0
    heartbeats: int = 0
    ends: int = 0
    gaps: int = 0
    missing: int = 0
    restarts: int = 0
    repeated: int = 0
    malformed: int = 0
    unknown: int = 0
    incomplete: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    protocols: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> Row:
        """For machines."""
        plain = {name: value for name, value in vars(self).items() if not isinstance(value, Counter)}
        return plain | {name: dict(sorted(getattr(self, name).items())) for name in ("skipped", "protocols", "types")}


class Reader:
    """One pass over a capture; `seen` is complete when `rows` has ended."""

    def __init__(self, path: Path, protocol: str = "auto") -> None:
        self.seen = Seen()
        self._path, self._protocol = path, protocol
        self._due: dict[tuple[Any, ...], int] = {}
        self._soups: dict[Any, Soup] = {}

    def rows(self) -> Iterator[Row]:
        """Every message; CaptureError when the file can't be read to its end."""
        for packet in packets(self._path, self.seen.skipped):
            self.seen.packets += 1
            head = {"packet": packet.number, "ts_ns": packet.ts, "from": packet.flow.source, "to": packet.flow.target}
            for row in self._packet(packet):
                if "type" in row:
                    self.seen.messages += 1
                    self.seen.types[row["type"]] += 1
                yield head | row
        self.seen.incomplete = sum(soup.incomplete for soup in self._soups.values())

    def _packet(self, packet: Packet) -> Iterator[Row]:
        raw = packet.payload
        if packet.flow.transport == "tcp":
            if self._protocol in ("auto", "soup"):
                yield from self._stream(packet)
            return
        name = self._protocol
        if name == "auto":
            name = "iex" if _is_iex(raw) else "itch" if _mold_bodies(raw) is not None else ""
        if name == "itch":
            yield from self._mold(packet)
        elif name == "iex":
            yield from self._iex(packet)
        else:
            self.seen.unknown += 1

    def _mold(self, packet: Packet) -> Iterator[Row]:
        raw, bodies = packet.payload, _mold_bodies(packet.payload)
        if bodies is None:
            self.seen.malformed += 1
            return
        self.seen.protocols["moldudp64"] += 1
        session, first, count = struct.unpack_from(">10sQH", raw)
        name = session.decode("latin-1").rstrip(" ")
        # A recording whose numbers were taken out has 0 for all of them.
        if first > 0:
            self._follow((packet.flow.target, session), first, len(bodies))
        if not bodies:
            self.seen.ends += count == 0xFFFF
            self.seen.heartbeats += count == 0
        for sequence, body in enumerate(bodies, first):
            number = {"session": name, "sequence": sequence} if first > 0 else {}
            yield {"protocol": "itch", **number, **BODIES["itch"]("", body)}

    def _iex(self, packet: Packet) -> Iterator[Row]:
        raw = packet.payload
        bodies = _frames(raw, 40, int.from_bytes(raw[14:16], "little"), "little") if _is_iex(raw) else None
        if bodies is None:
            self.seen.malformed += 1
            return
        self.seen.protocols["iex-tp"] += 1
        channel, session = struct.unpack_from("<II", raw, 4)
        first, sent = struct.unpack_from("<qq", raw, 24)
        self._follow((packet.flow.target, channel, session), first, len(bodies))
        self.seen.heartbeats += not bodies
        for sequence, body in enumerate(bodies, first):
            where = {"channel": channel, "session": session, "sequence": sequence, "sent_ns": sent}
            yield {"protocol": "iex", **where, **BODIES["iex"]("", body)}

    def _follow(self, stream: tuple[Any, ...], first: int, count: int) -> None:
        due = self._due.get(stream, first)
        if first > due:
            self.seen.gaps += 1
            self.seen.missing += first - due
        elif first < due and first == 1:
            self.seen.restarts += 1
            due = 1
        elif first < due:
            self.seen.repeated += 1
        self._due[stream] = max(due, first + count)

    def _stream(self, packet: Packet) -> Iterator[Row]:
        soup = self._soups.setdefault(packet.flow, Soup(self.seen))
        for row in soup.feed(packet):
            yield {"protocol": "soup", **row}


# ---- SoupBinTCP. ----

SOUPS: Final = {
    "+": "debug", "A": "login accepted", "J": "login rejected", "S": "sequenced", "H": "server heartbeat",
    "Z": "end of session", "L": "login request", "U": "unsequenced", "R": "client heartbeat", "O": "logout request",
}  # fmt: skip


class Soup:
    """One direction of a connection: whole packets out of its bytes."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._stream, self._rest = seen, Stream(), b""
        self._sequence = 0  # of the next sequenced message; 0 = the login was not captured
        self._foreign = False

    @property
    def incomplete(self) -> bool:
        """It ends inside a packet, or behind bytes that are missing."""
        return not self._foreign and (bool(self._rest) or self._stream.lost)

    def feed(self, packet: Packet) -> Iterator[Row]:
        """The packets that this segment completes."""
        if self._foreign:
            return
        rest, at = self._rest + self._stream.feed(packet), 0
        while at + 3 <= len(rest):
            length, kind = int.from_bytes(rest[at : at + 2], "big"), chr(rest[at + 2])
            if length < 1 or kind not in SOUPS:
                self._foreign = True
                self._seen.malformed += 1
                return
            if at + 2 + length > len(rest):
                break
            yield self._packet(kind, rest[at + 3 : at + 2 + length])
            at += 2 + length
        self._rest = rest[at:]

    def _packet(self, kind: str, body: bytes) -> Row:
        self._seen.protocols["soupbintcp"] += 1
        row: Row = {"soup": SOUPS[kind]}
        if kind in "SU":
            if kind == "S" and self._sequence > 0:
                row["sequence"] = self._sequence
                self._sequence += 1
            return row | BODIES["soup"](kind, body)
        self._seen.heartbeats += kind in "HR"
        self._seen.ends += kind == "Z"
        text = body.decode("latin-1")
        if kind == "A" and len(body) == 30:
            number = text[10:].strip()
            self._sequence = int(number) if number.isdecimal() else 0
            return row | {"session": text[:10].strip(), "next": self._sequence}
        if kind == "L" and len(body) == 46:  # the password is not shown
            return row | {"user": text[:6].strip(), "session": text[16:26].strip(), "next": text[26:].strip()}
        return row | ({"text": text} if body else {})


# ---- Datagrams. ----


def _is_iex(raw: bytes) -> bool:
    """Version 1, a protocol of IEX's own numbers, and a length that is that of the packet."""
    if len(raw) < 40 or raw[0] != 1 or raw[3] != 0x80:
        return False
    return int.from_bytes(raw[12:14], "little") == len(raw) - 40


def _mold_bodies(raw: bytes) -> list[bytes] | None:
    """The messages of a MoldUDP64 packet; none for a heartbeat and the end; None when it is no such packet."""
    if len(raw) < 20:
        return None
    count = int.from_bytes(raw[18:20], "big")
    return _frames(raw, 20, 0 if count == 0xFFFF else count, "big")


def _frames(raw: bytes, at: int, count: int, order: Any) -> list[bytes] | None:
    """`count` messages, each behind its length, that end where the packet does; or None."""
    found: list[bytes] = []
    while len(found) < count and at + 2 <= len(raw):
        end = at + 2 + int.from_bytes(raw[at : at + 2], order)
        found.append(raw[at + 2 : end])
        at = end
    return found if len(found) == count and at == len(raw) else None


# ---- For people. ----


def row_text(row: Row) -> str:
    """A message in one line."""
    rest = " ".join(f"{name}={value}" for name, value in row.items() if name not in ("packet", "ts_ns", "from", "to"))
    return f"{row['packet']:>6} {row['ts_ns']} {row['from']} > {row['to']} {rest}"


def seen_text(seen: Seen) -> str:
    """The counts, those that are not 0."""
    lines = []
    for name, value in seen.as_json().items():
        shown = " ".join(f"{key}:{count}" for key, count in value.items()) if isinstance(value, dict) else value
        if shown or name in ("packets", "messages", "gaps", "malformed"):
            lines.append(f"{name:<12} {shown}")
    return "\n".join(lines)
