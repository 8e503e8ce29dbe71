"""MoldUDP64: numbered messages in datagrams, some to a packet, each behind its length as a big-endian u16.

    downstream   session 10, sequence u64 of the first message, count u16, then `count` times (length u16, message)
    heartbeat    count 0: nothing, and what comes next is `sequence`
    end          count 65535: nothing more will come; `sequence` is one past the last message
    request      the same 20 bytes from the other side: `count` messages from `sequence` on, please

A session is two words here, its first eight bytes and its last two, so that it is compared and not searched.
The frames of a packet are those of an ITCH file, so what decodes a file decodes a packet.
`judge` reads nothing outside the packet; after it has said DATA, walking the frames needs no more looks at their end.
Known bad case: a packet whose lengths were damaged so that they still add up is decoded: UDP's checksum is all we have.
Source: Nasdaq MoldUDP64 protocol specification 1.00.
"""

from typing import Any, Final

from ..hot import hot
from ..hot.bits import load_i64, load_u16

HEADER: Final = 20  # bytes
SESSION_BYTES: Final = 10
HEARTBEAT: Final = 0
END_OF_SESSION: Final = 0xFFFF
COUNT_MAX: Final = 0xFFFE  # messages in a packet, or in a request
SEQUENCE_MAX: Final = 1 << 62
PAYLOAD_MAX: Final = 1400  # bytes of a packet that no Ethernet has to cut
# What a packet is.
MALFORMED, DATA, BEAT, END = range(4)


def session(text: str) -> tuple[int, int]:
    """A session of up to ten ASCII characters, padded with spaces, as two words; ValueError if it is longer."""
    raw = text.encode("ascii")
    if len(raw) > SESSION_BYTES:
        raise ValueError(f"session {text!r} must have at most {SESSION_BYTES} ASCII characters")
    raw = raw.ljust(SESSION_BYTES)
    return int.from_bytes(raw[:8], "big", signed=True), int.from_bytes(raw[8:], "big")


def session_text(high: int, low: int) -> str:
    """The inverse of `session`; bytes that are not ASCII come out escaped."""
    raw = int(high).to_bytes(8, "big", signed=True) + int(low).to_bytes(2, "big")
    return raw.decode("ascii", "backslashreplace").rstrip()


@hot
def session_high(buffer: Any, at: int) -> int:
    """First eight bytes of the session of the packet at `at`."""
    return load_i64(buffer, at)


@hot
def session_low(buffer: Any, at: int) -> int:
    """Its last two."""
    return load_u16(buffer, at + 8)


@hot
def sequence(buffer: Any, at: int) -> int:
    """Number of the first message of the packet, from 1; for a heartbeat or the end, of the message that is next."""
    return load_i64(buffer, at + 10)


@hot
def count(buffer: Any, at: int) -> int:
    """Messages in the packet, or END_OF_SESSION."""
    return load_u16(buffer, at + 18)


@hot
def judge(buffer: Any, at: int, stop: int) -> int:
    """What the packet `buffer[at:stop]` is: DATA, BEAT, END, or MALFORMED.

    DATA: exactly `count` whole frames fill it."""
    if stop - at < HEADER:
        return MALFORMED
    first, many = sequence(buffer, at), count(buffer, at)
    if first < 1 or first > SEQUENCE_MAX:
        return MALFORMED
    if many == HEARTBEAT or many == END_OF_SESSION:
        if stop - at > HEADER:
            return MALFORMED
        return BEAT if many == HEARTBEAT else END
    body, found = at + HEADER, 0
    while found < many and body + 2 <= stop:
        body += 2 + load_u16(buffer, body)
        found += 1
    return DATA if found == many and body == stop else MALFORMED


@hot
def skip(buffer: Any, at: int, messages: int) -> int:
    """Offset behind the next `messages` frames, which are known to be there."""
    for _ in range(messages):
        at += 2 + load_u16(buffer, at)
    return at


@hot
def messages_between(buffer: Any, at: int, stop: int) -> int:
    """How many whole frames `buffer[at:stop]` is."""
    found = 0
    while at < stop:
        at += 2 + load_u16(buffer, at)
        found += 1
    return found


@hot
def put(buffer: Any, at: int, value: int, width: int) -> None:
    """Write a big-endian integer of `width` bytes."""
    for k in range(width):
        buffer[at + k] = (value >> (8 * (width - 1 - k))) & 255


@hot
def write_header(buffer: Any, at: int, high: int, low: int, first: int, many: int) -> int:
    """Write the 20 bytes of a packet or a request; returns the offset behind them."""
    put(buffer, at, high, 8)
    put(buffer, at + 8, low, 2)
    put(buffer, at + 10, first, 8)
    put(buffer, at + 18, many, 2)
    return at + HEADER
