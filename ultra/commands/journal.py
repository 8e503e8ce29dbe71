"""`ultra journal`: look at a journal, mend it, make it smaller, export it."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import DONE, JOURNAL, command, fail, ship


def add(commands: Any) -> None:
    """The command, with four inside."""
    parser = command(
        commands, "journal", _check, "A journal on disk: check it, repair it, make it smaller, export it.",
        "ultra journal check runs/20261123T093000",
    )  # fmt: skip
    inside = parser.add_subparsers(required=True, metavar="check|repair|compact|export")
    check = command(
        inside, "check", _check, "Read all of it: what it holds, how it ended. Exit code 4 when it is damaged.",
        "ultra journal check runs/desk --json",
    )  # fmt: skip
    repair = command(
        inside, "repair", _repair, "Make a damaged one whole, from a backup or its mirror. The old one is kept.",
        "ultra journal repair runs/desk --from /mnt/mirror/desk",
    )  # fmt: skip
    repair.add_argument(
        "--from", dest="copy", metavar="DIR|URL", help="a copy: a backup, the mirror, or nats://HOST[:PORT]/STREAM"
    )
    ship.keys(repair)
    repair.add_argument("--cut", action="store_true", help="give up what was durable and is in neither")
    compact = command(
        inside, "compact", _compact, "Pack every segment but the last, and retire those that you say.",
        "ultra journal compact runs/desk --retire-below 5000000",
    )  # fmt: skip
    compact.add_argument(
        "--retire-below",
        type=int,
        default=0,
        metavar="N",
        help="remove segments whose inputs are all below this: see that a snapshot has them (ultra follow)",
    )
    compact.add_argument(
        "--level", type=int, choices=range(1, 23), default=9, metavar="1..22", help="of zstd (default 9)"
    )
    export = command(
        inside, "export", _export, "All records as a Parquet file, a column a field.",
        "ultra journal export runs/desk -o desk.parquet",
    )  # fmt: skip
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="default DIR/records.parquet")
    for each in (check, repair, compact, export):
        each.add_argument("folder", type=Path, metavar="DIR")
        each.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _show(given: argparse.Namespace, act: Callable[[], dict[str, Any]]) -> int:
    try:
        found = act()
    except OSError as error:
        return fail(JOURNAL, f"{given.folder}: {error}; what was there is as it was")
    if given.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{key:<12} {value}" for key, value in found.items() if value not in ("", None)))
    return fail(JOURNAL, found["damage"]) if found.get("damage") and "repaired" not in found else DONE


def _check(given: argparse.Namespace) -> int:
    from ..ops import journal

    return _show(given, lambda: journal.check(given.folder))


def _repair(given: argparse.Namespace) -> int:
    from ..ops import repair

    if given.copy is None or "://" not in given.copy:
        copy = Path(given.copy) if given.copy is not None else None
        return _show(given, lambda: repair.repair(given.folder, copy, given.cut))
    from ..ops import shipping

    def from_stream() -> dict[str, Any]:
        with shipping.landed(ship.place(given, given.copy), None) as copy:
            return repair.repair(given.folder, copy, given.cut, longer=True)

    return _show(given, from_stream)


def _compact(given: argparse.Namespace) -> int:
    from ..ops import journal

    return _show(given, lambda: journal.compact(given.folder, given.retire_below, given.level))


def _export(given: argparse.Namespace) -> int:
    from ..ops import journal

    return _show(given, lambda: journal.export(given.folder, given.output or given.folder / "records.parquet"))
