"""`ultra journal repair`: a damaged journal and a copy of it, merged into one that is whole.

Every good frame of both is looked at, in order, wherever damage left it. A frame may follow when all below its first
input is there already: then it is appended, without the records that are there. Where both go on, ours does. The
copy may be a backup of the files or the mirror, whose frames are others; the description of the run and the records
that both have must be equal. The result is a new journal beside the old one; it takes its place when it has been
read again, and the old one stays beside it under `.damaged`. It is the same journal (its snapshots and its stream
belong to it), unless something was given up: then it is another.
Always true: what was durable is in the result, or nothing is changed (unless `cut`: then the loss is said).
Known bad case: a journal whose beginning was retired; only files copied back from a backup restore it.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..cold import segment, superblock, waybill
from ..cold.disk import Folder
from ..cold.journal import Journal
from ..cold.segment import HEADER_BYTES, MARK, META, RECORD_BYTES, RECORDS, Frame, JournalError

SEGMENT_BYTES: Final = 1 << 26
NEVER: Final = 1 << 62


class Found(NamedTuple):
    """A good frame, and where it begins: every input from `start` up to its `through` is known by it."""

    frame: Frame
    start: int


class Salvage:
    """Every good frame of a folder, whatever lies between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._disk = Folder(folder)
        commit = self.commit()
        # Without syncs, or a superblock to say that there were some, whatever is good counts.
        self._synced = commit is not None and not commit.state & superblock.UNSYNCED
        self.durable = commit.through if commit is not None else 0  # what it says itself was durable
        self.lost: list[str] = []  # where something is missing
        self.meta = b""
        self.identity = self._identity()
        self._found = self._frames()
        self._head: Found | None = None

    def _identity(self) -> bytes:
        """Which journal it is, by the first of its segments that says so; b"" when none does."""
        for name in self._disk.names():
            if name.startswith("segment-"):
                with suppress(JournalError):
                    data = self._content(name)
                    if segment.good_head(data, -1):
                        return segment.read_head(data, name, -1).journal_id
        return b""

    def _frames(self) -> Iterator[Found]:
        names = [name for name in self._disk.names() if name.startswith("segment-") and "." in name]
        names = [name for name in names if not (name.endswith(segment.PACKED) and name[:-4] in names)]
        before, through = -1, 0
        for name in names:
            try:
                data = self._content(name)
            except JournalError as error:
                self.lost.append(str(error))
                continue
            at = data.find(segment.FRAME_MAGIC)
            while 0 <= at <= len(data) - HEADER_BYTES:
                index = int.from_bytes(data[at + 48 : at + 56], "little", signed=True)
                frame = segment.frame_at(data, at, index, name)
                if frame is None:
                    at = data.find(segment.FRAME_MAGIC, at + 4)
                    continue
                whole = index == before + 1
                if not whole:
                    self.lost.append(f"{self._disk.where(name)}: nothing good before offset {at} (frame {index})")
                start = through if whole else frame.first if frame.kind == RECORDS else NEVER
                before, through = index, max(through, frame.through)
                certain = not self._synced or name != names[-1]
                self.durable = max(self.durable, frame.durable, through if certain else 0)
                if frame.kind == META:
                    self.meta = self.meta or frame.payload
                else:
                    yield Found(frame, start)
                at = data.find(segment.FRAME_MAGIC, at + HEADER_BYTES + segment.padded(len(frame.payload)))

    def _content(self, name: str) -> bytes:
        data = self._disk.read(name)
        return segment.unpacked(data, self._disk.where(name)) if name.endswith(segment.PACKED) else data

    def beyond(self, reach: int) -> Found | None:
        """The first frame that says something above `reach`; those below are let go. None when there is none."""
        while self._head is None or self._head.frame.through <= reach:
            self._head = next(self._found, None)
            if self._head is None:
                return None
        return self._head

    def commit(self) -> superblock.Commit | None:
        """Its superblock, if it is there and good."""
        if superblock.NAME not in self._disk.names():
            return None
        return superblock.best(self._disk.read(superblock.NAME))


def repair(folder: Path, copy: Path | None = None, cut: bool = False, *, longer: bool = False) -> dict[str, Any]:
    """Make a journal whole again. JournalError when what was durable is in neither, unless `cut` gives it up. With
    `longer` it is damage too when the copy has more: what stands in a stream was durable once."""
    why = damage(folder) or (_behind(folder, copy) if longer and copy is not None else "")
    if not why:
        return {"folder": str(folder), "damage": "", "repaired": False}
    target, aside = _beside(folder, ".repaired"), _beside(folder, ".damaged")
    for path in (target, aside):
        if path.exists():
            raise JournalError(f"{path} is there already, from an earlier repair: move it away")
    if (folder / segment.RETIRED).exists():
        raise JournalError(f"{folder}: its beginning was retired; copy the damaged file back from a backup. {why}")
    ours, theirs = Salvage(folder), Salvage(copy) if copy is not None else None
    try:
        reach = _merge(ours, theirs, target, b"" if cut else ours.identity)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    ours.beyond(NEVER)  # all of it is looked at
    durable = ours.durable
    if reach < durable and not cut:
        shutil.rmtree(target, ignore_errors=True)
        raise JournalError(
            f"{folder}: inputs from {reach} are in neither, and those below {durable} were durable. Name a copy that "
            "has them with --from DIR, or give them up with --cut"
        )
    folder.rename(aside)
    target.rename(folder)
    if not cut and (aside / waybill.NAME).exists():  # it goes on into the same stream
        shutil.copy(aside / waybill.NAME, folder)
    Folder(folder.parent).sync_names()
    return {
        "folder": str(folder), "damage": why, "repaired": True, "inputs": reach, "given_up": max(durable - reach, 0),
        "lost": ours.lost, "damaged": str(aside),
    }  # fmt: skip


def damage(folder: Path) -> str:
    """What reading refuses over; "" when it does not."""
    try:
        for _ in segment.read(folder):
            pass
    except JournalError as error:
        return str(error)
    return ""


def _behind(folder: Path, copy: Path) -> str:
    reach, more = (max((frame.through for frame in segment.read(path)), default=0) for path in (folder, copy))
    return f"it holds inputs below {reach}, and the copy those below {more}" if more > reach else ""


def _merge(ours: Salvage, theirs: Salvage | None, target: Path, identity: bytes) -> int:
    """Write what both know into a new journal; how far it reaches."""
    made = Journal(target, segment_bytes=SEGMENT_BYTES, identity=identity)
    reach = 0
    pools = [ours] if theirs is None else [ours, theirs]
    heads = [pool.beyond(0) for pool in pools]
    metas = {pool.meta for pool in pools if pool.meta}
    if len(metas) != 1:
        what = f"{pools[-1].folder} is of another run" if metas else f"nothing says what run {ours.folder} is of"
        raise JournalError(f"{what}: choose another copy")
    made.append(META, 0, 0, 0, metas.pop())
    while True:
        heads = [pool.beyond(reach) for pool in pools]
        good = [found.frame for found in heads if found is not None and found.start <= reach]
        if not good:
            break
        frame = good[0]
        if len(good) == 2 and _differ(good[0], good[1], reach):
            raise JournalError(f"{pools[-1].folder} has other records from input {reach} on: choose another copy")
        first, payload = _rest(frame, reach)
        kind = frame.kind if payload or frame.kind != RECORDS else MARK
        made.append(kind, first, len(payload) // RECORD_BYTES, frame.through, payload)
        reach = frame.through
    made.close()
    if sum(1 for _ in segment.read(target)) == 0:
        raise JournalError(f"{target} can't be read again: this disk loses what it is given")
    return reach


def _rest(frame: Frame, reach: int) -> tuple[int, bytes]:
    """The first sequence and the records of a frame that are not below `reach`."""
    if frame.kind != RECORDS:
        return frame.first, b""
    for at in range(0, len(frame.payload), RECORD_BYTES):
        sequence = int.from_bytes(frame.payload[at + 8 : at + 16], "little", signed=True)
        if sequence >= reach:
            return sequence, frame.payload[at:]
    return frame.through, b""


def _differ(one: Frame, other: Frame, reach: int) -> bool:
    """Whether two frames disagree on the records that both must know."""
    if one.kind != RECORDS or other.kind != RECORDS:
        return False
    first, second = _rest(one, reach)[1], _rest(other, reach)[1]
    both = min(len(first), len(second))
    return first[:both] != second[:both]


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)
