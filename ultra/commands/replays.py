"""`ultra replay`, `follow`, `capsule`: engines rebuilt from what was journaled, from the start or from a snapshot."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..config import ConfigError
from . import DONE, NO, command, fail, ship, show_compiling


def add(commands: Any) -> None:
    """All three."""
    for each in (_add_replay, _add_follow, _add_capsule):
        each(commands)


def _add_replay(commands: Any) -> None:
    parser = command(
        commands, "replay", _replay, "Rebuild an engine from its journal and compare every state hash on the way.",
        "ultra replay runs/20261123T093000 --fast",
    )  # fmt: skip
    parser.add_argument(
        "folder", type=Path, nargs="?", metavar="DIR|CAPSULE",
        help="a journal, or what ultra capsule made of one; with --from, where the journal is to be made",
    )  # fmt: skip
    parser.add_argument("--from", dest="stream", metavar="URL", help="nats://HOST[:PORT]/STREAM: that journal")
    ship.keys(parser)
    parser.add_argument("--source", type=Path, metavar="FILE", help="the recorded file, when it has moved")
    parser.add_argument("--strategy", metavar="SPEC", help="the strategy, when it has moved")
    parser.add_argument("--force", action="store_true", help="replay although the strategy's code has changed")
    parser.add_argument("--until", type=int, metavar="SEQ", help="only inputs below this")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--fast", action="store_true", help="begin at the newest good snapshot (see ultra follow)")
    start.add_argument("--from-snapshot", type=Path, metavar="FILE", help="begin at this one")
    parser.add_argument(
        "--prove", action="store_true", help="with a snapshot: hash the source from its start all the same"
    )
    parser.add_argument(
        "--pdb", action="store_true", help="in the interpreter: stop in the debugger where input --until comes in"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _replay(given: argparse.Namespace) -> int:
    if given.until is not None and given.until < 0:
        raise ConfigError("command line", (f"--until {given.until}: wanted 0 or more",))
    if given.pdb and given.until is None:
        raise ConfigError("command line", ("--pdb: say with --until at which input",))
    if given.stream is None and given.folder is None:
        raise ConfigError("command line", ("say which journal: DIR, a capsule, or --from URL",))
    if given.stream is not None and (given.pdb or given.fast or given.from_snapshot):
        raise ConfigError("command line", ("--from: a stream has no snapshots; replay DIR after it was made",))
    from ..hot import JIT
    from ..ops import session

    if given.pdb and JIT:
        from ..ops import debugger

        return debugger.interpreted(given)
    show_compiling()
    if given.stream is not None:
        from ..ops import shipping

        with shipping.landed(ship.place(given, given.stream), given.folder) as folder:
            found = session.replayed(_played(given, folder, None, False))
    elif given.folder.is_file():
        found = _replay_capsule(given)
    else:
        found = session.replayed(
            _played(given, given.folder, given.from_snapshot, given.fast),
            snapshots=given.fast or given.from_snapshot is not None,
        )
    print(json.dumps(found) if given.json else session.replay_text(found))
    return DONE if found["matches"] else NO


def _replay_capsule(given: argparse.Namespace) -> dict[str, Any]:
    from ..cold import capsule
    from ..ops import session

    if given.fast or given.from_snapshot or given.source:
        raise ConfigError(
            "command line", ("a capsule has its snapshot and its market data in it: without these options",)
        )
    with capsule.opened(given.folder) as (folder, snapshot, manifest):
        played = _played(given, folder, snapshot, False)
        capsule.compare(played, manifest, played.records)
        return session.replayed(played, snapshots=True)


def _played(given: argparse.Namespace, folder: Path, snapshot: Path | None, fast: bool) -> Any:
    from ..cold.replay import Replay

    replay = Replay(
        folder,
        source_path=given.source,
        force=given.force,
        until=given.until,
        fast=fast,
        snapshot=snapshot,
        prove=given.prove,
        spec=given.strategy,
    )
    if not given.pdb:
        return replay.play()
    from ..ops import debugger

    return debugger.stop_at(replay, given.until)


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
    found = session.replayed(follower.play(), snapshots=True) | {"snapshots": follower.taken}
    if given.json:
        print(json.dumps(found))
    else:
        print(session.replay_text(found))
    return DONE if found["matches"] else fail(NO, f"{given.folder}: {found['mismatch']}")


def _add_capsule(commands: Any) -> None:
    parser = command(
        commands, "capsule", _capsule, "Pack what happened around a moment into one file that replays anywhere.",
        "ultra capsule runs/20261123T093000 --around 09:45:12.5 -o halt.capsule",
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--around", required=True, metavar="SEQ|TIME", help="an input, or HH:MM:SS.fffffffff of the session's day"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--before", type=int, default=5000, metavar="N", help="inputs before it (default 5000)")
    parser.add_argument("--after", type=int, default=5000, metavar="N", help="it and those behind it (default 5000)")
    parser.add_argument("--source", type=Path, metavar="FILE", help="the recorded file, when it has moved")
    parser.add_argument("--force", action="store_true", help="pack although the strategy's code has changed")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _capsule(given: argparse.Namespace) -> int:
    for key, least in (("before", 0), ("after", 1)):
        if not least <= getattr(given, key) <= 10**7:
            raise ConfigError("command line", (f"--{key} {getattr(given, key)}: wanted {least} to {10**7}",))
    from ..cold import capsule

    show_compiling()
    found = capsule.pack(
        given.folder,
        given.output,
        given.around,
        before=given.before,
        after=given.after,
        source_path=given.source,
        force=given.force,
    )
    if given.json:
        print(json.dumps(found))
    else:
        print(
            f"{given.output}: inputs {found['start']} to {found['stop']}, {found['bytes']:,} bytes\n"
            f"again     ultra replay {given.output}\n"
            f"step      ultra replay {given.output} --until {found['around']} --pdb"
        )
    return (
        DONE if not found["mismatch"] else fail(NO, f"{given.folder}: {found['mismatch']}; it was packed all the same")
    )
