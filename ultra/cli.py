"""The command line: each command parses its words, calls one function, and turns known failures into one clear line.

Exit codes: 0 done; 1 done, and the answer is no (a replay that differs); 2 wrong words or configuration; 3 the input is
damaged (what came before the damage was processed); 4 the journal could not be written or read;
5 a process of the run is gone and can't come back (what was journaled is kept).
"""

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from .commands import (
    DAMAGED,
    DONE,
    JOURNAL,
    LOST,
    NO,
    USAGE,
    backtests,
    captures,
    data,
    desk,
    fail,
    generate,
    journal,
    machine,
    optimize,
    replays,
    rings,
    trade,
    venue,
    views,
)  # fmt: skip
from .config import ConfigError

__all__ = ["DAMAGED", "DONE", "JOURNAL", "LOST", "NO", "USAGE", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `ultra`; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        code: int = given.command(given)
        return code
    except ConfigError as error:
        return fail(USAGE, str(error))
    except BrokenPipeError:
        return DONE
    except KeyboardInterrupt:
        return fail(130, "interrupted; what was journaled is kept")
    except Exception as error:
        code = _code_of(error)
        if code < 0:
            raise
        return fail(code, str(error))


def _code_of(error: Exception) -> int:
    """Exit code of a failure that has a clear message; -1 for a bug, which shows its trace."""
    codes = {
        "StrategyError": USAGE, "RunError": USAGE, "SourceError": DAMAGED, "JournalError": JOURNAL,
        "ReplayError": JOURNAL, "HostError": LOST, "NativeMissingError": USAGE, "SharedError": USAGE,
        "NoRoomError": USAGE, "BenchError": NO, "MulticastError": USAGE, "GatewayError": USAGE,
        "ExchangeError": USAGE, "OperatorError": USAGE, "OrderServerError": USAGE, "LoadError": USAGE,
        "DeskError": USAGE, "CommandError": USAGE, "ProjectionError": JOURNAL, "ServeError": USAGE,
        "CapsuleError": JOURNAL, "ImageError": JOURNAL, "BacktestError": USAGE, "TermsError": USAGE,
        "PerformanceError": USAGE, "SearchError": USAGE, "BarError": USAGE, "JobError": LOST, "DataError": USAGE,
        "LabError": USAGE, "DamagedError": DAMAGED, "TapeError": DAMAGED,
    }  # fmt: skip
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError) and error.filename:
        return USAGE
    return codes.get(type(error).__name__, -1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ultra", description="An ultra-low-latency trading engine written in Python.",
        epilog="ultra COMMAND --help shows an example of each.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"ultra {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (
        trade, generate, backtests, optimize, data, replays, journal, desk, views, machine, rings, captures, venue,
    ):  # fmt: skip
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
