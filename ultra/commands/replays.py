"""`ultra replay`, `follow`: engines rebuilt from what was journaled, from the start or from a snapshot."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..config import ConfigError
from . import DONE, NO, command, fail, show_compiling


def add(commands: Any) -> None:
    """Both."""
    for each in (_add_replay, _add_follow):
        each(commands)


def _add_replay(commands: Any) -> None:
    parser = command(
        commands, "replay", _replay, "Rebuild an engine from its journal and compare every state hash on the way.",
        "ultra replay runs/20261123T093000 --fast",
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--source", type=Path, metavar="FILE", help="the recorded file, when it has moved")
    parser.add_argument("--force", action="store_true", help="replay although the strategy's code has changed")
    parser.add_argument("--until", type=int, metavar="SEQ", help="only inputs below this")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--fast", action="store_true", help="begin at the newest good snapshot (see ultra follow)")
    start.add_argument("--from-snapshot", type=Path, metavar="FILE", help="begin at this one")
    parser.add_argument(
        "--prove", action="store_true", help="with a snapshot: hash the source from its start all the same"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _replay(given: argparse.Namespace) -> int:
    if given.until is not None and given.until < 0:
        raise ConfigError("command line", (f"--until {given.until}: wanted 0 or more",))
    from ..cold.replay import Replay
    from ..ops import session

    show_compiling()
    replay = Replay(
        given.folder,
        source_path=given.source,
        force=given.force,
        until=given.until,
        fast=given.fast,
        snapshot=given.from_snapshot,
        prove=given.prove,
    )
    found = session.replayed(replay.play())
    print(json.dumps(found) if given.json else session.replay_text(found))
    return DONE if found["matches"] else NO


def _add_follow(commands: Any) -> None:
    parser = command(
        commands, "follow", _follow,
        "Replay a journal while it grows, compare every state hash, keep snapshots to start from. Exit code 1 when one "
        "differs.",
        "ultra follow runs/20261123T093000 --every 1000000 --keep 4",
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="DIR", help="of the journal, and of the snapshots")
    parser.add_argument(
        "--every", type=int, default=1_000_000, metavar="N", help="inputs between two (default 1000000)"
    )
    parser.add_argument("--keep", type=int, default=4, metavar="K", help="how many are kept, the newest (default 4)")
    parser.add_argument("--once", action="store_true", help="end where the journal ends now, with a snapshot of it")
    parser.add_argument("--source", type=Path, metavar="FILE", help="the recorded file, when it has moved")
    parser.add_argument("--force", action="store_true", help="follow although the strategy's code has changed")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _follow(given: argparse.Namespace) -> int:
    for key, least in (("every", 1), ("keep", 1)):
        if getattr(given, key) < least:
            raise ConfigError("command line", (f"--{key} {getattr(given, key)}: wanted {least} or more",))
    from ..cold.follower import Follower
    from ..ops import session

    show_compiling()
    follower = Follower(
        given.folder,
        every=given.every,
        keep=given.keep,
        once=given.once,
        source_path=given.source,
        force=given.force,
        told=None if given.json else lambda text: print(f"ultra: {text}", file=sys.stderr, flush=True),
    )
    found = session.replayed(follower.play()) | {"snapshots": follower.taken}
    if given.json:
        print(json.dumps(found))
    else:
        print(session.replay_text(found))
    return DONE if found["matches"] else fail(NO, f"{given.folder}: {found['mismatch']}")
