"""`ultra project`: a journal into a database, once or for as long as the run lasts."""

import time
from pathlib import Path
from typing import Any

from ..cold.projector import POLL_S, Projected, Projector
from ..cold.replay import Replay
from ..cold.segment import JournalError
from ..cold.tail import Tail

TRIES = 5


def project(
    folder: Path, db: Path, *, follow: bool = False, rebuild: bool = False, source: Path | None = None
) -> dict[str, Any]:
    """What was done. With `follow`, waits for the journal, and goes on until its run ends in good order or ^C."""
    while follow and not Tail(folder).poll():
        time.sleep(POLL_S)
    one = Projector(_replay(folder, source, TRIES if follow else 1), folder, db, rebuild=rebuild)
    try:
        found = one.follow() if follow else one.play()
    except KeyboardInterrupt:
        found = one.projected
    finally:
        one.close()
    return as_json(found)


def _replay(folder: Path, source: Path | None, tries: int) -> Replay:
    """One of a journal that may be growing: what is written between two reads of it looks like damage, once."""
    while True:
        tries -= 1
        try:
            return Replay(folder, source_path=source)
        except JournalError:
            if tries == 0:
                raise
            time.sleep(POLL_S)


def as_json(found: Projected) -> dict[str, Any]:
    """The same for machines."""
    rate = round(found.records / found.wall_s) if found.wall_s else 0
    return {
        "db": str(found.path), "sequence": found.sequence, "resumed_at": found.resumed_at, "records": found.records,
        "records_per_s": rate, "commits": found.commits, "complete": found.complete,
    }  # fmt: skip


def as_text(found: dict[str, Any]) -> str:
    """A line."""
    state = "the run has ended" if found["complete"] else "so far"
    return (
        f"{found['db']}: all inputs below {found['sequence']:,} ({state}), {found['commits']} commits, "
        f"{found['records_per_s']:,} inputs a second"
    )
