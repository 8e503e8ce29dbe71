"""`ultra chaos`: what happens when pieces of a run are killed, tried on this machine."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..config import Config, ConfigError, assignment, load
from . import DONE, NO, command, configuration, fail, show_compiling


def add(commands: Any) -> None:
    """The one."""
    parser = command(
        commands, "chaos", _chaos,
        "Run the main job, kill -9 its pieces at inputs drawn from a seed, and prove that nothing acknowledged was "
        "lost and that all is as in a run without kills. Exit code 1 when it is not.",
        "ultra chaos --kills 30 --seed 7 --preset pipeline --strategy lean.py:Lean",
    )  # fmt: skip
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="in all (default 20)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="who is killed when (default 1)")
    parser.add_argument(
        "--preset", choices=["inline", "pipeline", "diamond"], default="pipeline", help="(default pipeline)"
    )
    parser.add_argument(
        "--steps",
        action="store_true",
        help="at labelled steps of the code in place of inputs (see ultra/cold/labels.py)",
    )
    parser.add_argument(
        "--strategy", default="ultra.strategies.maker:MarketMaker", metavar="SPEC",
        help="package.module:Class or path/to/file.py:Class (default the market maker)",
    )  # fmt: skip
    parser.add_argument(
        "--itch", type=Path, metavar="FILE", help="a recorded file, with --pace (default a generated day)"
    )
    parser.add_argument(
        "--pace", type=float, metavar="F", help="times as fast as it was recorded (default: two seconds)"
    )
    parser.add_argument(
        "--messages", type=int, default=20_000, metavar="N", help="of the generated day (default 20000)"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where the runs lie; one that failed is kept (default a temporary one)",
    )
    configuration(parser)


def _chaos(given: argparse.Namespace) -> int:
    for key, least, most in (("kills", 1, 10**6), ("messages", 1000, 10**7), ("seed", 0, 1 << 31)):
        if not least <= getattr(given, key) <= most:
            raise ConfigError("command line", (f"--{key} {getattr(given, key)}: wanted {least} to {most}",))
    if given.pace is not None and not 0 < given.pace < 1e9:
        raise ConfigError("command line", (f"--pace {given.pace}: wanted more than 0",))
    from .. import strategy
    from ..ops import chaos

    show_compiling()
    config = _config(given)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="ultra-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    source, seconds = given.itch, 0.0
    if source is None:
        source, seconds = chaos.market(folder, 5, given.messages, given.seed)
    job = chaos.Job(
        source.resolve(), strategy.absolute(given.strategy), config, given.pace or max(seconds / 2, 1.0), given.seed,
        given.kills, given.steps,
    )  # fmt: skip
    found = chaos.Chaos(job, folder, None if given.json else _tell).play()
    found["again"] = "ultra " + " ".join(sys.argv[1:] if Path(sys.argv[0]).name != "pytest" else [])
    print(json.dumps(found) if given.json else chaos.as_text(found))
    if found["wrong"]:
        return fail(NO, f"{found['wrong'][0]} (seed {given.seed}; its files are in {folder})")
    if not found["kills"]:
        return fail(NO, "no kill met anybody, so nothing was tried: a longer day (--messages) or a slower one (--pace)")
    chaos.clear(folder, whole=given.folder is None)
    return DONE


def _config(given: argparse.Namespace) -> Config:
    """Small, unless a file says how large; it may always come back as often as it is killed."""
    from ..ops.chaos import LIMITS, SIZES

    given_keys = dict(assignment(text) for text in given.set)
    sizes = {} if given.config else SIZES
    form = {"journal.market_data": "full"} if given.steps else {}  # segments are then full before the day is over
    return load(given.config, {**sizes, **form, **given_keys, **LIMITS, "host.preset": given.preset})


def _tell(kill: Any) -> None:
    from ..ops.chaos import line

    print(line(kill), flush=True)
