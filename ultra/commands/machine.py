"""`ultra warmup`, `doctor`, `demo`, `config`: a machine made ready, and shown."""

import argparse
import json
from pathlib import Path
from typing import Any

from ..config import ConfigError
from . import DONE, command, configuration, load_config, show_compiling


def add(commands: Any) -> None:
    """All four."""
    for each in (_add_warmup, _add_doctor, _add_demo, _add_config):
        each(commands)


def _add_warmup(commands: Any) -> None:
    parser = command(
        commands, "warmup", _warmup, "Compile everything a later start needs, and keep it in the compile cache.",
        "ultra warmup --strategy my/strategy.py:Mine",
    )  # fmt: skip
    parser.add_argument("--strategy", action="append", default=[], metavar="SPEC", help="also these (repeatable)")


def _warmup(given: argparse.Namespace) -> int:
    from ..ops import warmup

    return warmup.run(given.strategy)


def _add_doctor(commands: Any) -> None:
    parser = command(
        commands, "doctor", _doctor, "Is this machine set up for low latency? PASS or WARN, with the fix.",
        "ultra doctor --cores 2,3",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when there is a WARN")
    parser.add_argument(
        "--cores", default="", metavar="LIST", help="the hot cores, as 2,3 or 2-5 (default the last one)"
    )


def _doctor(given: argparse.Namespace) -> int:
    from ..ops import check, doctor

    cores = check.cores_of(given.cores)
    if given.cores and not cores:
        raise ConfigError("command line", (f"--cores {given.cores}: wanted a list of cores, as 2,3 or 2-5",))
    return doctor.run(given.json, cores, given.strict)


def _add_demo(commands: Any) -> None:
    parser = command(
        commands, "demo", _demo, "The main job, shown: generate a stream, trade it, replay it, draw it.",
        "ultra demo --data recorded/",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, metavar="DIR", help="recorded data (default ULTRA_DATA, ../shared/data)")
    parser.add_argument("--folder", type=Path, default=Path("runs") / "demo", metavar="DIR", help="where results go")


def _demo(given: argparse.Namespace) -> int:
    from ..ops import demo

    show_compiling()
    return demo.run(given.folder, given.data)


def _add_config(commands: Any) -> None:
    parser = command(
        commands, "config", _config, "Every key of the configuration; or check a file and print it in full.",
        "ultra config --config desk.toml",
    )  # fmt: skip
    configuration(parser)


def _config(given: argparse.Namespace) -> int:
    from ..config import describe

    if given.config or given.set:
        print(load_config(given).to_toml())
        return DONE
    rows = describe()
    if given.json:
        print(json.dumps([dict(zip(("key", "type", "default", "limits", "doc"), row, strict=True)) for row in rows]))
    else:
        for key, kind, default, limits, doc in rows:
            print(f"{key} = {default}\n    {kind}, {limits}: {doc}")
    return DONE
