"""What a file is, told by what is in it."""

import gzip
import re
import struct
import zlib
from pathlib import Path
from typing import Final

from ..venues import itch
from .ulc import MAGIC

HEAD_BYTES: Final = 1 << 16
CAPTURE: Final = re.compile(rb"\d{16,19} ?[{\[]")
DIALOGUE: Final = re.compile(rb"(wss?://|https?://|\d{9,10}\.\d+: ?[{\[])")
LOBSTER: Final = re.compile(rb"\d{4,5}\.\d{1,9},[1-7],-?\d+,-?\d+,-?\d+,-?[01](,|\r?\n|$)")
ZSTD: Final = b"\x28\xb5\x2f\xfd"
DBZ: Final = b"\x50\x2a\x4d\x18"
FRAMES: Final = 3  # messages that have to be of ITCH


def sniff(path: Path) -> str:
    """One of tape, itch, lobster, capture, dialogue, dbn, dbz, journal, table; OSError when it can't be read."""
    if path.is_dir():
        return "journal" if any(path.glob("segment-*")) else "folder"
    head = head_of(path)
    if head.startswith(MAGIC):
        return "tape"
    if head[:3] == b"DBN" or head[:4] == ZSTD:
        return "dbn"
    if head[1:4] == DBZ[1:] and head[8:11] == b"DBZ":
        return "dbz"
    if CAPTURE.match(head):
        return "capture"
    if DIALOGUE.match(head):
        return "dialogue"
    if LOBSTER.match(head):
        return "lobster"
    return "itch" if _is_itch(head) else "table"


def head_of(path: Path) -> bytes:
    """The first bytes, unpacked if they are gzip."""
    with path.open("rb") as file:
        raw = file.read(HEAD_BYTES)
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return zlib.decompressobj(31).decompress(raw, HEAD_BYTES)
    except zlib.error as error:
        raise gzip.BadGzipFile(f"{path} begins as gzip and is not: {error}") from error


def _is_itch(head: bytes) -> bool:
    at = seen = 0
    while at + 3 <= len(head) and seen < FRAMES:
        (length,) = struct.unpack_from(">H", head, at)
        if length != itch.LENGTHS[head[at + 2]]:
            return False
        at, seen = at + 2 + length, seen + 1
    return seen > 0
