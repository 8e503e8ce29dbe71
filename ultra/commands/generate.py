"""`ultra gen`: made days and made bars, from a seed, for whoever has no data yet."""

import argparse
import json
from pathlib import Path
from typing import Any

from ..config import ConfigError
from . import DONE, command, show_compiling

EVERY = {"1d": 86_400, "1h": 3_600, "1m": 60}


def add(commands: Any) -> None:
    """The command, with two inside."""
    parser = command(
        commands, "gen", _itch, "Write a synthetic but realistic stream; the same seed gives the same bytes.",
        "ultra gen itch --instruments 20 --messages 1000000 --seed 7 -o flow.itch50.gz",
    )  # fmt: skip
    inside = parser.add_subparsers(required=True, metavar="itch|bars")
    _add_itch(inside)
    _add_bars(inside)


def _add_itch(inside: Any) -> None:
    parser = command(
        inside, "itch", _itch, "A day of Nasdaq TotalView-ITCH 5.0: every order of every stock.",
        "ultra gen itch --instruments 20 --messages 1000000 --seed 7 -o flow.itch50.gz",
    )  # fmt: skip
    parser.add_argument("--instruments", type=int, required=True, metavar="N", help="1 to 65535")
    parser.add_argument("--messages", type=int, required=True, metavar="N", help="messages in the whole file")
    parser.add_argument("--seed", type=int, required=True, metavar="S")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="compressed when it ends in .gz"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _add_bars(inside: Any) -> None:
    parser = command(
        inside, "bars", _bars,
        "Bars of a market whose nature is known: a random walk, and if wanted a trend to follow, a mean to return to.",
        "ultra gen bars --bars 2520 --trend 0.0003 --seed 1 -o days.csv",
    )  # fmt: skip
    parser.add_argument("--bars", type=int, required=True, metavar="N", help="of each instrument")
    parser.add_argument("--seed", type=int, required=True, metavar="S")
    parser.add_argument("--instruments", type=int, default=1, metavar="N", help="independent of each other (default 1)")
    parser.add_argument("--every", choices=list(EVERY), default="1d", help="how long a bar is (default 1d)")
    parser.add_argument(
        "--volatility", type=float, default=0.01, metavar="X", help="standard deviation of a return (default 0.01)"
    )
    parser.add_argument("--trend", type=float, default=0.0, metavar="X", help="how much its drift wanders, as 0.0003")
    parser.add_argument("--pull", type=float, default=0.0, metavar="X", help="share of its way back to a mean, as 0.1")
    parser.add_argument("--wide", action="store_true", help="a table of closes: a column of times, one an instrument")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a name in .csv, .csv.gz or .ulc (a tape)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _itch(given: argparse.Namespace) -> int:
    from ..ops import session

    show_compiling()
    return _told(given, session.generate(given.output, given.instruments, given.messages, given.seed))


def _bars(given: argparse.Namespace) -> int:
    name, tape_wanted = given.output.name, given.output.suffix == ".ulc"
    if not (tape_wanted or name.endswith((".csv", ".csv.gz"))):
        raise ConfigError("command line", (f"-o {given.output}: wanted a name in .csv, .csv.gz or .ulc",))
    if tape_wanted and given.wide:
        raise ConfigError("command line", ("--wide: is a way to write a CSV, not a tape",))
    from ..lab import bar_csv, synthetic
    from ..lab import tape as tapes

    show_compiling()
    step_s = EVERY[given.every]
    try:
        tape = synthetic.several(
            given.bars, given.instruments, seed=given.seed, step_s=step_s,
            volatility=given.volatility, trend=given.trend, pull=given.pull,
        )  # fmt: skip
    except tapes.TapeError as error:
        raise ConfigError("command line", (str(error),)) from error
    if tape_wanted:
        tapes.write(given.output, tape)
    else:
        bar_csv.write(given.output, tape, step_s * 1_000_000_000, wide=given.wide)
    about = {"file": str(given.output), "instruments": given.instruments, "bars": given.bars, "seed": given.seed}
    return _told(given, {**about, "bytes": given.output.stat().st_size})


def _told(given: argparse.Namespace, found: dict[str, Any]) -> int:
    print(json.dumps(found) if given.json else "\n".join(f"{key:<12} {value}" for key, value in found.items()))
    return DONE
