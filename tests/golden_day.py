"""The committed journal and snapshot of this version: `python tests/golden_day.py` makes them again.

They are made once for a version of the format. A change after which they don't replay any more is one after which no
journal of yesterday does: it is made on purpose, with a line in the changelog, and the files are made again. Both
journals are of one synthetic day, by reference to its file and in full; nothing in them names a machine.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from runs import MAKER, market, ran, replayed, ultra

from ultra.cold import image as images
from ultra.cold import segment
from ultra.cold.journal import Journal

FOLDER = Path(__file__).parent / "golden"
MESSAGES, SEED, EVERY = 400, 20, 200
FORMS = ("reference", "full")


def make(folder: Path) -> None:
    """All files of this version."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    day = folder / "day.itch50"
    day.write_bytes(market(MESSAGES, SEED))
    expected = {}
    for form in FORMS:
        with tempfile.TemporaryDirectory() as made:
            ran(
                day,
                Path(made, "journal"),
                MAKER,
                journal__market_data=form,
                engine__timer_ns=20_000_000,
                feed__chunk_bytes=4096,
            )
            copy(Path(made, "journal"), folder / form)
        assert ultra("follow", str(folder / form), "--source", str(day), "--every", str(EVERY), "--json").code == 0
        for path in images.snapshots(folder / form, 10**9)[:-1]:
            path.unlink()
        expected[form] = outcome(replayed(folder / form, "--source", str(day)).found)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def copy(journal: Path, target: Path, segment_bytes: int = 1 << 20) -> None:
    """The same frames, but for the place of the source."""
    writer = Journal(target, segment_bytes=segment_bytes, sync=False)
    for frame in segment.read(journal):
        payload = frame.payload
        if frame.kind == segment.META:
            payload = json.dumps(frame.meta() | {"source": "day.itch50"}).encode()
        writer.append(frame.kind, frame.first, frame.count, frame.through, payload)
    writer.close()


def outcome(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("records", "state_hash", "decision_hash", "orders", "fills", "complete")}


if __name__ == "__main__":
    sys.exit(make(FOLDER / str(images.VERSION)))
