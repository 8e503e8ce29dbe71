"""`ultra run`, `book`: recorded days in, orders, journals and books out."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from ..config import Config, ConfigError
from . import DAMAGED, DONE, command, configuration, fail, load_config, show_compiling


def add(commands: Any) -> None:
    """Both."""
    for each in (_add_run, _add_book):
        each(commands)


def _add_run(commands: Any) -> None:
    parser = command(
        commands, "run", _run,
        "Run a strategy over a recorded ITCH 5.0 file on the paper venue, or on a venue; journal every input.",
        "ultra run --itch day.itch50.gz --strategy ultra.strategies.maker:MarketMaker --instrument AAPL",
    )  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--itch", type=Path, metavar="FILE", help="ITCH 5.0, length-framed, plain or gzip")
    where.add_argument(
        "--venue", metavar="ADDRESSES",
        help="trade there: udp://HOST:PORT (line A, then B), request://HOST:PORT, ouch://USER@HOST:PORT, with commas; "
        "or the port file of an ultra venue",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, metavar="S", help="with --venue: end in good order after so long")
    parser.add_argument(
        "--strategy", required=True, metavar="SPEC", help="package.module:Class or path/to/file.py:Class"
    )
    parser.add_argument("--instrument", action="append", default=[], metavar="SYMBOL", help="only these (repeatable)")
    parser.add_argument(
        "--pace", default="max", metavar="max|10x|N/s", help="how fast time passes, or messages a second (default max)"
    )
    parser.add_argument(
        "--preset",
        choices=["inline", "pipeline", "diamond"],
        help="which processes it is (default inline)",
    )
    parser.add_argument("--date", default=None, metavar="YYYY-MM-DD", help="day of the session, New York")
    parser.add_argument("--journal", type=Path, metavar="DIR", help="folder of the journal (default runs/TIME)")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="also write the run as a page with charts")
    parser.add_argument(
        "--session", metavar="NAME", help="name of its shared memory (default run-PID-0); see ultra ring"
    )
    parser.add_argument("--progress", action="store_true", help="print progress even when stderr is not a terminal")
    configuration(parser)


def _run(given: argparse.Namespace) -> int:
    started = time.perf_counter()
    config, pace = load_config(given), _pace(given.pace)
    _check_where(given, config)
    from ..ops import session

    show_compiling()
    folder = given.journal or Path("runs") / time.strftime("%Y%m%dT%H%M%S")
    progress = session.progress_line if given.progress or sys.stderr.isatty() else None
    if config.link.wired:
        ran = session.trade(config, given.strategy, folder, seconds=given.seconds, progress=progress, started=started)
    else:
        ran = session.run(config, given.itch, given.strategy, folder, pace=pace, progress=progress, started=started)
    summary = ran.summary
    if given.report:
        session.write_report(given.report, ran)
        summary["report"] = str(given.report)
    print(json.dumps(summary) if given.json else session.as_text(summary))
    return session.damage(ran)


def _check_where(given: argparse.Namespace, config: Config) -> None:
    """A run needs a file or a venue; some words are of one of them only."""
    wrong = ""
    if given.itch is None and not config.link.wired:
        wrong = "wanted --itch FILE, or --venue ADDRESSES (or the keys of [link])"
    elif given.itch is not None and config.link.wired:
        wrong = "--itch: link.feed is set, and a run has one feed"
    elif given.seconds is not None and not (config.link.wired and 0 < given.seconds < 1e9):
        wrong = f"--seconds {given.seconds}: wanted more than 0, with --venue"
    elif config.link.wired and given.pace != "max":
        wrong = f"--pace {given.pace}: a venue has a pace of its own"
    if wrong:
        raise ConfigError("command line", (wrong,))


def _pace(text: str) -> Any:
    from ..cold.pace import AT_ONCE, Pace

    if text == "max":
        return AT_ONCE
    try:
        if text.endswith("/s") and 1 <= int(text.removesuffix("/s")) <= 10**8:
            return Pace(per_s=int(text.removesuffix("/s")))
        if 0 < float(text.removesuffix("x")) < 1e9:
            return Pace(factor=float(text.removesuffix("x")))
    except ValueError:
        pass
    wanted = "wanted max, a factor as 1x or 10x, or an open loop as 100000/s"
    raise ConfigError("command line", (f"--pace {text}: {wanted}",))


def _add_book(commands: Any) -> None:
    parser = command(
        commands, "book", _book, "Build the order books of an ITCH 5.0 file and show them at its end.",
        "ultra book day.itch50.gz --instrument AAPL --depth 5",
    )  # fmt: skip
    parser.add_argument("file", type=Path)
    parser.add_argument("--depth", type=int, default=10, metavar="N", help="levels a side (default 10)")
    parser.add_argument("--instrument", action="append", default=[], metavar="SYMBOL", help="only these (repeatable)")
    configuration(parser)


def _book(given: argparse.Namespace) -> int:
    if given.depth < 1:
        raise ConfigError("command line", (f"--depth {given.depth}: wanted 1 or more",))
    config = load_config(given)
    from ..ops import books

    show_compiling()
    found = books.build(config, given.file, given.depth)
    print(json.dumps(found.as_json()) if given.json else found.as_text())
    return fail(DAMAGED, found.damage) if found.damage else DONE
