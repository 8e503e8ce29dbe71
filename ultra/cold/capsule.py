"""An incident in one file: a snapshot, the inputs around a moment in full, and what is needed to run them again.

A capsule is a zip archive (any tool lists it): `manifest.json` says what it is of and which hashes it must give,
`config.toml` and the strategy's text are for the reader, and the rest is a small journal with all of its market data
and a snapshot at its first input. So it needs no source file, no long replay, and is a few thousand records long, short
enough for the interpreter and a debugger. It is replayed once before it gets its name.
Known bad case: it has the strategy's text, and never runs it: who replays it elsewhere says where the strategy is.
"""

import contextlib
import dataclasses
import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from .. import config as configs
from ..wire import NONE
from . import assembly, segment
from . import image as images
from .inputs import Inputs
from .journal import Journal
from .replay import NEVER, Replay, Replayed
from .tail import since

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MEMBERS: Final = re.compile(r"segment-\d{6}\.ulj|superblock\.ulj|snapshot-\d{16}\.uls")
BATCH: Final = 1 << 14
PERIOD: Final = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")


class CapsuleError(Exception):
    """A capsule can't be made or opened: says what is missing or wrong, and what to do."""


class Opened(NamedTuple):
    """A capsule unpacked: replay `folder` from `snapshot`, and hold the end against the manifest."""

    folder: Path
    snapshot: Path | None  # None when it begins with the run
    manifest: dict[str, Any]


def pack(
    folder: Path, target: Path, around: str, *, before: int, after: int, source_path: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Pack what happened around an input, given by its number or as HH:MM:SS.fffffffff of the session; the manifest.

    CapsuleError, ReplayError, JournalError when something that belongs into it is not there."""
    if target.exists():
        raise CapsuleError(f"{target} is there already: choose another name, or move it away")
    at = _input_of(folder, around, source_path, force)
    start = max(0, at - before)
    replay = Replay(folder, source_path=source_path, force=force, until=start, fast=True)
    stop = min(_end_of(folder), at + after)
    if at >= stop:
        raise CapsuleError(f"{folder} knows inputs below {stop}, and {at} is not among them")
    replay.begin(replay.journaled())
    replay.advance(start)
    with tempfile.TemporaryDirectory(prefix="ultra-capsule-") as made:
        here, inner = Path(made), Path(made, "capsule")
        first = images.write(here, replay.image())
        replay.advance(stop)
        ended = replay.finish()
        rest = Inputs(folder, source_path=source_path, force=force, snapshot=first)
        rest.begin(rest.journaled())
        _write_journal(inner, rest, images.read(first), start, stop)
        manifest = {
            "format": FORMAT,
            "around": at,
            "start": start,
            "stop": stop,
            "state_hash": _hashes(ended)[0],
            "decision_hash": _hashes(ended)[1],
            "mismatch": ended.mismatch,
            "unproven": ended.unproven,
            "journal": segment.journal_id(folder).hex(),
            "versions": images.versions(),
            "run": replay.meta,
        }
        again = Replay(inner, force=force, snapshot=_snapshot_in(inner)).play()
        if _hashes(again) != _hashes(ended):
            raise CapsuleError(f"{folder}: the capsule does not replay as the run did; nothing was written")
        _zip(target, inner, manifest)
    return manifest | {"bytes": target.stat().st_size}


def compare(found: Replayed, manifest: dict[str, Any], until: int) -> None:
    """Hold a replay of a capsule to its end against what it came to when it was packed."""
    hashes = _hashes(found)
    if until >= int(manifest["stop"]) and hashes != (manifest["state_hash"], manifest["decision_hash"]):
        found.matches = False
        found.mismatch = (
            found.mismatch or f"at input {manifest['stop']} the state is {hashes[0]}, the capsule's another"
        )


def _hashes(found: Replayed) -> tuple[str, str]:
    engine = found.machine.run.engine
    return assembly.state_hash(engine), assembly.decision_hash(engine)


def _write_journal(inner: Path, rest: Inputs, image: images.Image, start: int, stop: int) -> None:
    """A journal that holds these inputs in full, and the snapshot it begins with as one of its own."""
    config = configs.parse(str(rest.meta["config"]), "journaled configuration")
    full = dataclasses.replace(config, journal=dataclasses.replace(config.journal, market_data="full"))
    room = segment.HEADER_BYTES * (stop - start + 2 * ((stop - start) // BATCH + 1)) + (1 << 20)
    journal = Journal(inner, segment_bytes=room // 4096 * 4096, sync=False)
    journal.append(segment.META, 0, 0, 0, json.dumps(rest.meta | {"config": full.to_toml()}).encode())
    if start:
        nothing = image.parts["feed"]._replace(rows=image.parts["feed"].rows[:0])  # those are among the records
        parts = image.parts | {"feed": nothing}
        images.write(inner, image._replace(journal_id=segment.journal_id(inner), place=NONE, parts=parts))
    for records in rest.rest(stop):
        for at in range(0, len(records), BATCH):
            some = records[at : at + BATCH]
            last = int(some["sequence"][-1])
            journal.append(segment.RECORDS, int(some["sequence"][0]), len(some), last + 1, some.tobytes())
    journal.close()


def _zip(target: Path, inner: Path, manifest: dict[str, Any]) -> None:
    """Under its name there is a whole capsule, or none."""
    run = manifest["run"]
    texts = {MANIFEST: json.dumps(manifest, indent=1), "config.toml": str(run["config"])}
    where = Path(str(run["strategy"]).rpartition(":")[0])
    if where.suffix == ".py":
        texts["strategy.py"] = where.read_text()
    hidden = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(hidden, "x", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
            for path in sorted(inner.iterdir()):
                archive.write(path, path.name)
        os.rename(hidden, target)
    except OSError as error:
        raise CapsuleError(f"{target} can't be written ({error.strerror})") from error
    finally:
        hidden.unlink(missing_ok=True)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """A capsule unpacked for as long as the block lasts. CapsuleError when it is none, or damaged."""
    with tempfile.TemporaryDirectory(prefix="ultra-capsule-") as made:
        folder = Path(made)
        try:
            with zipfile.ZipFile(path) as archive:
                manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
                for name in archive.namelist():
                    if MEMBERS.fullmatch(name):
                        (folder / name).write_bytes(archive.read(name))
        except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, RuntimeError) as error:
            raise CapsuleError(f"{path} is no capsule, or damaged: {error}") from error
        if manifest.get("format") != FORMAT:
            raise CapsuleError(f"{path} has format {manifest.get('format')}; this version reads {FORMAT}")
        yield Opened(folder, _snapshot_in(folder), manifest)


def _snapshot_in(folder: Path) -> Path | None:
    found = images.snapshots(folder, 10**16)
    return found[0] if found else None


def _input_of(folder: Path, around: str, source_path: Path | None, force: bool) -> int:
    """The input that was asked for: a number, or the first at or after a time of the session's day."""
    if around.isascii() and around.isdigit() and len(around) < 17:
        return int(around)
    parts = PERIOD.fullmatch(around)
    if parts is None:
        raise CapsuleError(f"around {around}: wanted the number of an input, or a time as 09:30:05.250")
    hours, minutes, seconds = (int(part) for part in parts.groups()[:3])
    whole = (hours * 60 + minutes) * 60 + seconds
    replay = Inputs(folder, source_path=source_path, force=force)
    ts = replay.midnight_ns + whole * 10**9 + int((parts[4] or "0").ljust(9, "0"))
    earlier = _before(folder, ts)
    if earlier is not None:
        replay = Inputs(folder, source_path=source_path, force=force, snapshot=earlier)
    replay.begin(replay.journaled())
    for records in replay.rest(_end_of(folder)):
        late = np.flatnonzero(records["ts_event"] >= ts)
        if len(late):
            return int(records["sequence"][late[0]])
    raise CapsuleError(f"{folder} has no input at or after {around}")


def _end_of(folder: Path) -> int:
    """Every input below this is known, as the journal's last frames say."""
    through = 0
    for frame in since(folder, NEVER).rest():
        through = max(through, frame.through)
    return through


def _before(folder: Path, ts: int) -> Path | None:
    """The newest good snapshot that was taken before this time."""
    for path in images.snapshots(folder, 10**16):
        try:
            early = images.read(path).ts_event < ts
        except images.ImageError:
            early = False
        if early:
            return path
    return None
