"""What every command of the command line shares: how it is described, its configuration, its exit codes.

One file a group of commands, each with an `add(commands)` that `ultra.cli` calls. A command imports what it needs when
it is called: `ultra --help` waits for no compiler.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import Config, ConfigError, assignment, load
from ..config_link import places

DONE, NO, USAGE, DAMAGED, JOURNAL, LOST = range(6)


def fail(code: int, message: str) -> int:
    """Say what failed, in one line; the exit code."""
    print(f"ultra: {message}", file=sys.stderr)
    return code


def command(
    commands: Any, name: str, act: Callable[[argparse.Namespace], int], about: str, example: str
) -> argparse.ArgumentParser:
    """A command that calls `act`, with an example under its help."""
    found: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about, epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    found.set_defaults(command=act)
    return found


def configuration(parser: argparse.ArgumentParser) -> None:
    """The options that every command with a configuration has."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file (ultra config lists every key)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one key of it, as risk.collar_bps=200",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def load_config(given: argparse.Namespace) -> Config:
    """The configuration of a command: file, `--set`, and the options that are short for a key."""
    overrides = dict(assignment(text) for text in given.set)
    if getattr(given, "instrument", None):
        overrides["feed.instruments"] = given.instrument
    if getattr(given, "date", None):
        overrides["feed.date"] = given.date
    if getattr(given, "preset", None):
        overrides["host.preset"] = given.preset
    if getattr(given, "session", None):
        overrides["engine.session"] = given.session
    if getattr(given, "venue", None):
        try:
            addresses, more = venue_at(given.venue)
            overrides = {"journal.market_data": "full", **places(addresses), **more, **overrides}
        except ValueError as error:
            raise ConfigError("command line", (f"--venue {error}",)) from None
    return load(given.config, overrides)


def show_compiling() -> None:
    """A first start says what it is waiting for."""
    from .. import cache

    def show(name: str, seconds: float | None) -> None:
        if seconds is not None:
            print(f"ultra: compiled {name} in {seconds:.1f} s, kept for the next start", file=sys.stderr)
        elif ".pump" in name:
            print(
                "ultra: compiling the engine with this strategy (once; later starts load it) ...",
                file=sys.stderr,
            )

    if show.__qualname__ not in {listener.__qualname__ for listener in cache.listeners}:
        cache.listeners.append(show)


def venue_at(text: str) -> tuple[str, dict[str, str]]:
    """The addresses of `--venue`, which may also be the file that a venue wrote with `--port-file`; with that, the keys
    that say where the passwords are that it made up. ValueError when it is neither."""
    if "://" in text or not text:
        return text, {}
    try:
        told = json.loads(Path(text).read_text())
        passwords = Path(told["folder"]) / "passwords"
        return str(told["venue"]), {"link.password_file": str(passwords)} if passwords.exists() else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{text}: wanted addresses, or the port file of a running venue ({type(error).__name__}: {error})"
        ) from None
