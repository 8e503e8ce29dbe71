"""How far a journal certainly is, in two blocks of their own file: what tells damage from a torn tail at the very end.

A frame can say what was durable before it, never that it is durable itself. The superblock says so for the last frames,
once a sync has returned. Block `generation % 2` is written over until it has been synced; only then does the
generation move on, to the other one. So at every moment one block is on disk and nobody touches it, and whatever a
power cut leaves, the better of the two that check is true.
Known bad case: writing it is not syncing it, which would cost each batch a second sync. A power cut under load leaves
the superblock of the last quiet moment; then only the frames themselves say what was durable, but for the last batch.

    block   0 "ULTRASUP" | 8 version u32 | 12 segment u32 | 16 journal id, 16 B | 32 generation i64 | 40 frames i64
            48 through i64 | 56 state u32 | 60 CRC32C of 0..59; the second block begins at 4096
"""

import struct
from typing import Final, NamedTuple

from .native import crc32c

NAME: Final = "superblock.ulj"
MAGIC: Final = b"ULTRASUP"
VERSION: Final = 1
BLOCK: Final = struct.Struct("<8sII16sqqqI")
BLOCK_BYTES: Final = 64
STRIDE: Final = 4096  # no sector, and no page, holds both
OPEN: Final = 1  # its writer is at work, or died
CLOSED: Final = 2  # it ended in good order
UNSYNCED: Final = 4  # nothing of it was ever synced: every good frame counts as durable


class Commit(NamedTuple):
    """What a superblock says: these frames were durable, and all inputs below `through`."""

    journal_id: bytes
    generation: int
    segment: int
    frames: int
    through: int
    state: int


def encode(commit: Commit) -> bytes:
    """One block."""
    body = BLOCK.pack(
        MAGIC, VERSION, commit.segment, commit.journal_id, commit.generation, commit.frames, commit.through,
        commit.state,
    )  # fmt: skip
    return body + struct.pack("<I", crc32c(body))


def offset(generation: int) -> int:
    """Where the block of a generation is."""
    return generation % 2 * STRIDE


def best(data: bytes) -> Commit | None:
    """The later of the blocks that check; None when neither does."""
    found: Commit | None = None
    for at in (0, STRIDE):
        body = data[at : at + BLOCK_BYTES - 4]
        if len(data) < at + BLOCK_BYTES or crc32c(body) != struct.unpack_from("<I", data, at + BLOCK_BYTES - 4)[0]:
            continue
        magic, version, index, journal_id, generation, frames, through, state = BLOCK.unpack(body)
        if magic == MAGIC and version == VERSION and offset(generation) == at:
            here = Commit(journal_id, generation, index, frames, through, state)
            if found is None or generation > found.generation:
                found = here
    return found
