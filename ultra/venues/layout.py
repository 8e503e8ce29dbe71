"""Messages of fixed fields, from one table: the protocol as the specification prints it, and all codecs from that.

A protocol is a dict: type letter -> (name, "field:width ..."), big-endian, without holes; `a` before a width says text.
A last field `applen:2` announces an appendage of that many bytes: (length u8, tag u8, value), length counting the tag.
`layout` makes the arrays that compiled code reads; `describe` and `compose` are the lossless pair for people.
`whole` is the gate before every other read: a message that passes has all its bytes, its type known and its appendage
tiled to the last byte, so nobody behind it looks at a length again.
Known bad case: a field wider than 8 bytes is several words in `unpack` (of 8 bytes and what is left), in order.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot
from ..hot.bits import load_u16

Protocol = Mapping[str, tuple[str, str]]
Tags = Mapping[int, tuple[str, str]]

WHOLE, UNKNOWN_TYPE, BAD_LENGTH, BAD_APPENDAGE = 0, 1, 2, 3
FAULTS: Final = ("whole", "unknown_type", "bad_length", "bad_appendage")
WORDS_MAX: Final = 24  # of one message, in `unpack`
APPENDAGE: Final = "applen"
ABSENT = -1


class LayoutError(ValueError):
    """Bytes that are no message of the protocol, or fields that make none."""


class Layout(NamedTuple):
    """A protocol for compiled code."""

    lengths: Any  # int64[256]: bytes of a type with its letter, without its appendage; 0 = no such type
    tails: Any  # int64[256]: where the length of the appendage stands; 0 = the type has none
    words: Any  # int64[256, WORDS_MAX, 2]: offset and width of each word; width 0 ends the list


def fields(text: str) -> list[tuple[str, int, int, bool]]:
    """(name, offset, width, is text) of each field behind the type letter."""
    found, at = [], 1
    for word in text.split():
        name, width = word.split(":")
        found.append((name, at, int(width.lstrip("a")), width.startswith("a")))
        at += found[-1][2]
    return found


def layout(protocol: Protocol) -> Layout:
    """The arrays of a protocol."""
    lengths, tails = np.zeros(256, np.int64), np.zeros(256, np.int64)
    words = np.zeros((256, WORDS_MAX, 2), np.int64)
    for letter, (_, text) in protocol.items():
        kind = ord(letter)
        rows = [(0, 1)]
        for name, offset, width, _ in fields(text):
            rows += [(offset + k, min(8, width - k)) for k in range(0, width, 8)]
            if name == APPENDAGE:
                tails[kind] = offset
        assert len(rows) <= WORDS_MAX, letter
        words[kind, : len(rows)] = rows
        lengths[kind] = rows[-1][0] + rows[-1][1]
        assert tails[kind] in (0, lengths[kind] - 2), f"{letter}: the appendage must come last"
    return Layout(lengths, tails, words)


@hot
def whole(table: Layout, buffer: Any, at: int, length: int) -> int:
    """WHOLE if `buffer[at:at + length]` is a message of the protocol, else what is wrong with it."""
    if length <= 0:
        return BAD_LENGTH
    kind = np.int64(buffer[at])
    if length == table.lengths[kind]:
        return WHOLE if table.tails[kind] == 0 or load_u16(buffer, at + length - 2) == 0 else BAD_APPENDAGE
    if table.lengths[kind] == 0:
        return UNKNOWN_TYPE
    if length < table.lengths[kind] or table.tails[kind] == 0:
        return BAD_LENGTH
    return _tiled(table, buffer, at, length, kind)


@hot
def _tiled(table: Layout, buffer: Any, at: int, length: int, kind: int) -> int:
    end = at + length
    place = at + table.lengths[kind]
    if load_u16(buffer, at + table.tails[kind]) != end - place:
        return BAD_APPENDAGE
    while place < end:
        size = np.int64(buffer[place])
        if size == 0:
            return BAD_APPENDAGE
        place += 1 + size
    return WHOLE if place == end else BAD_APPENDAGE


@hot
def tag_at(table: Layout, buffer: Any, at: int, length: int, tag: int, width: int) -> int:
    """Where the value of a tag with that many bytes begins in a whole message; ABSENT if it has none."""
    place = at + table.lengths[np.int64(buffer[at])]
    while place < at + length:
        size = np.int64(buffer[place])
        if buffer[place + 1] == tag and size == width + 1:
            return place + 2
        place += 1 + size
    return ABSENT


@hot
def unpack(table: Layout, buffer: Any, at: int, values: Any) -> int:
    """The words of a message as int64, its type first (its appendage is not among them); returns how many."""
    kind = np.int64(buffer[at])
    count = 0
    while count < WORDS_MAX and table.words[kind, count, 1] > 0:
        value = np.int64(0)
        for k in range(table.words[kind, count, 1]):
            value = (value << 8) | np.int64(buffer[at + table.words[kind, count, 0] + k])
        values[count] = value
        count += 1
    return count


@hot
def pack(table: Layout, buffer: Any, at: int, values: Any) -> int:
    """The inverse of `unpack`: write the message whose type is values[0]; returns its length."""
    kind = values[0]
    for count in range(WORDS_MAX):
        width = table.words[kind, count, 1]
        for k in range(width):
            buffer[at + table.words[kind, count, 0] + k] = (values[count] >> (8 * (width - 1 - k))) & 255
    return table.lengths[kind]


def describe(protocol: Protocol, tags: Tags, body: bytes) -> dict[str, Any]:
    """A message by name: {"type": letter, "name": ..., field: int or str, "appendage": [(tag, value), ...]}.

    Text loses its trailing spaces, which `compose` puts back. A tag that is not known, or of a width that is not its
    own, is ("tag N", hexadecimal). LayoutError if it is no message."""
    letter = chr(body[0]) if body else ""
    if letter not in protocol:
        raise LayoutError(f"no message of type {letter!r}")
    name, text = protocol[letter]
    found: dict[str, Any] = {"type": letter, "name": name}
    end = 1
    for field, offset, width, is_text in fields(text):
        end = offset + width
        raw = body[offset:end]
        if len(raw) < width:
            raise LayoutError(f"{name}: {len(body)} bytes are too few")
        found[field] = raw.decode("latin-1").rstrip(" ") if is_text else int.from_bytes(raw, "big")
    if found.pop(APPENDAGE, None) is None:
        if len(body) != end:
            raise LayoutError(f"{name}: {len(body)} bytes are too many")
        return found
    if int.from_bytes(body[end - 2 : end], "big") != len(body) - end:
        raise LayoutError(f"{name}: the appendage is not as long as it says")
    found["appendage"] = list(_appended(name, tags, body[end:]))
    return found


def _appended(name: str, tags: Tags, raw: bytes) -> Any:
    while raw:
        size = raw[0]
        if size == 0 or size >= len(raw):
            raise LayoutError(f"{name}: its appendage has a hole")
        tag, value = raw[1], raw[2 : 1 + size]
        word, width = tags.get(tag, ("", "0"))
        if not word or len(value) != int(width.lstrip("a")):
            yield f"tag {tag}", value.hex()
        elif width.startswith("a"):
            yield word, value.decode("latin-1").rstrip(" ")
        else:
            yield word, int.from_bytes(value, "big")
        raw = raw[1 + size :]


def compose(protocol: Protocol, tags: Tags, message: Mapping[str, Any]) -> bytes:
    """The inverse of `describe`: the bytes of a message given by name. LayoutError if a field is missing or too big."""
    letter = message.get("type", "")
    if letter not in protocol:
        raise LayoutError(f"no message of type {letter!r}")
    name, text = protocol[letter]
    tail = b"".join(_append(tags, word, value) for word, value in message.get("appendage", ()))
    values = {APPENDAGE: len(tail), **message}
    parts = [letter.encode("latin-1")]
    for field, _, width, is_text in fields(text):
        if field not in values:
            raise LayoutError(f"{name}: {field} is missing")
        parts.append(_bytes(f"{name}: {field}", values[field], width, is_text))
    return b"".join([*parts, tail])


def _append(tags: Tags, word: str, value: Any) -> bytes:
    if word.startswith("tag "):
        tag, raw = int(word[4:]), bytes.fromhex(value)
    else:
        tag = next((tag for tag, (name, _) in tags.items() if name == word), ABSENT)
        if tag == ABSENT:
            raise LayoutError(f"no tag {word!r}")
        width = tags[tag][1]
        raw = _bytes(word, value, int(width.lstrip("a")), width.startswith("a"))
    return bytes((1 + len(raw), tag)) + raw


def _bytes(what: str, value: Any, width: int, is_text: bool) -> bytes:
    try:
        raw: bytes = value.encode("latin-1").ljust(width) if is_text else value.to_bytes(width, "big")
    except (OverflowError, UnicodeEncodeError, AttributeError):
        raise LayoutError(f"{what}: {value!r} does not fit {width} bytes") from None
    if len(raw) != width:
        raise LayoutError(f"{what}: {value!r} does not fit {width} bytes")
    return raw
