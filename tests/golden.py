"""Golden journals: small runs, kept under `tests/golden/journals`, that every later version must replay.

    python tests/golden.py      makes them again, after a change of state that is meant

One folder a format and form, `day.itch50` for all, `expected.json` with what each run came to. No journal is written
in format 1 any more; its frames are those of format 2, so the golden one (`v1-*`) is made of these. It goes when the
format is no longer read.
"""

import json
import shutil
import struct
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent / "golden" / "journals"
KEYS = ("records", "orders", "fills", "state_hash", "decision_hash")


def before(folder: Path, target: Path) -> None:
    """The same journal as format 1 had it: no code version, no chain, no superblock."""
    from ultra.cold import segment

    data = (folder / segment.segment_name(0)).read_bytes()
    head = segment.read_head(data, str(folder), 0)
    body = segment.SEGMENT.pack(segment.MAGIC, segment.OLD, 0, head.first, head.journal_id, bytes(8), 0, 0)[:56]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    header = body + struct.pack("<I4x", segment.crc32c(body))
    (target / segment.segment_name(0)).write_bytes(header + data[segment.HEADER_BYTES :])


def main() -> None:
    from runs import market, ran

    from ultra.cold import segment
    from ultra.cold.journal import Journal

    day = FOLDER / "day.itch50"
    if not day.exists():
        day.write_bytes(market(400))
    expected = {}
    for form in ("reference", "full"):
        with tempfile.TemporaryDirectory() as scratch:
            found = ran(day, Path(scratch) / "run", journal__market_data=form, engine__checkpoint_records=1000)
            name = f"v{segment.VERSION}-{form}"
            shutil.rmtree(FOLDER / name, ignore_errors=True)
            journal = Journal(FOLDER / name, segment_bytes=1 << 20)
            for frame in segment.read(Path(scratch) / "run"):
                meta = json.dumps(frame.meta() | {"source": day.name}) if frame.kind == segment.META else ""
                payload = meta.encode() or frame.payload  # no path of this machine
                journal.append(frame.kind, frame.first, frame.count, frame.through, payload)
                journal.sync()
            journal.close()
            if form == "reference":
                before(FOLDER / name, FOLDER / f"v{segment.OLD}-{form}")
            expected[name] = {key: found[key] for key in KEYS}
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    main()
