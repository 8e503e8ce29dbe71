"""Golden journals: small runs of this version, kept under `tests/golden`, that every later version must replay.

    python tests/golden.py      makes those of the present format again, after a change of state that is meant

One folder a format and form, `day.itch50` for all, `expected.json` with what each run came to. Those of formats that
are no longer written (`v1-*`) can't be made again: they go when their format is no longer read.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
KEYS = ("records", "orders", "fills", "state_hash", "decision_hash")


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
            expected[name] = {key: found[key] for key in KEYS}
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    main()
