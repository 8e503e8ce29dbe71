"""SoupBinTCP 3.0: what carries OUCH over TCP. Length u16 (of what follows), type u8, payload.

Sequenced messages carry no number: both sides count them, and a client that logs in again names the one that it wants
next. `packet` is the gate: nothing behind it sees a packet that is not whole, is empty, or is longer than agreed.
Known bad case: a text that is no number where a sequence stands reads as BAD, not as 0, which means "only what is new".
Source: Nasdaq SoupBinTCP 3.0 specification; five packets recorded from a venue.
"""

from typing import Any, Final

import numpy as np

from ..hot import hot
from ..hot.bits import load_u16
from . import layout as layouts

CLIENT: Final[dict[str, tuple[str, str]]] = {
    "L": ("login request", "user:a6 password:a10 session:a10 sequence:a20"),
    "R": ("client heartbeat", ""),
    "O": ("logout request", ""),
}
SERVER: Final[dict[str, tuple[str, str]]] = {
    "A": ("login accepted", "session:a10 sequence:a20"),
    "J": ("login rejected", "reason:a1"),
    "H": ("server heartbeat", ""),
    "Z": ("end of session", ""),
}
# What carries a payload, from either side.
DATA: Final = {"S": "sequenced data", "U": "unsequenced data", "+": "debug"}

HEAD: Final = 3  # bytes before the payload
LOGIN, ACCEPTED, REJECTED, SEQUENCED, UNSEQUENCED = (ord(letter) for letter in "LAJSU")
CLIENT_HEARTBEAT, SERVER_HEARTBEAT, LOGOUT, END, DEBUG = (ord(letter) for letter in "RHOZ+")
LOGIN_BYTES, ACCEPTED_BYTES, SESSION_BYTES, SEQUENCE_BYTES = 49, 33, 10, 20
SESSION_AT, SEQUENCE_AT = 3, 13  # in an accepted packet
INCOMPLETE, BAD = 0, -1
_ZERO, _SPACE = ord("0"), ord(" ")
NOT_AUTHORISED, NO_SESSION = "A", "S"  # reasons of a rejected login


@hot
def packet(buffer: Any, at: int, stop: int, payload_max: int) -> int:
    """Bytes of the packet at `at`, its length included; INCOMPLETE; BAD if it is empty or longer than agreed."""
    if at + 2 > stop:
        return INCOMPLETE
    length = load_u16(buffer, at)
    if length == 0 or length > payload_max + 1:
        return BAD
    return length + 2 if at + 2 + length <= stop else INCOMPLETE


@hot
def number(buffer: Any, at: int, width: int) -> int:
    """A decimal number of ASCII, padded with spaces on either side; BAD if it is none or over 18 digits."""
    value, digits, ended = np.int64(0), 0, False
    for k in range(width):
        letter = np.int64(buffer[at + k])
        if letter == _SPACE:
            ended = digits > 0
        elif letter < _ZERO or letter > _ZERO + 9 or ended or digits == 18:
            return BAD
        else:
            value = value * 10 + letter - _ZERO
            digits += 1
    return value if digits > 0 else BAD


def framed(kind: str, payload: bytes = b"") -> bytes:
    """A packet."""
    return (len(payload) + 1).to_bytes(2, "big") + kind.encode("ascii") + payload


def login(user: str, password: str, session: str = "", sequence: int = 0) -> bytes:
    """A login request; sequence = the message wanted next, 0 = only what is new. LayoutError if a text is too long."""
    fields = {"user": user, "password": password, "session": session.rjust(10), "sequence": str(sequence).rjust(20)}
    return _packed(CLIENT, {"type": "L", **fields})


def accepted(session: str, sequence: int) -> bytes:
    """The answer to a login: the session's name, and the number of the next sequenced message."""
    return _packed(SERVER, {"type": "A", "session": session.rjust(10), "sequence": str(sequence).rjust(20)})


def _packed(protocol: layouts.Protocol, message: dict[str, Any]) -> bytes:
    body = layouts.compose(protocol, {}, message)
    return len(body).to_bytes(2, "big") + body


def describe(raw: bytes, *, outbound: bool) -> dict[str, Any]:
    """A packet by name, of the venue (`outbound`) or a client; data has a "payload" of bytes. LayoutError if none."""
    if len(raw) < HEAD or int.from_bytes(raw[:2], "big") != len(raw) - 2:
        raise layouts.LayoutError("the packet is not as long as it says")
    letter = chr(raw[2])
    if letter in DATA:
        return {"type": letter, "name": DATA[letter], "payload": raw[HEAD:]}
    return layouts.describe(SERVER if outbound else CLIENT, {}, raw[2:])


def compose(message: dict[str, Any], *, outbound: bool) -> bytes:
    """The inverse of `describe`."""
    if message["type"] in DATA:
        return framed(message["type"], message["payload"])
    return _packed(SERVER if outbound else CLIENT, message)
