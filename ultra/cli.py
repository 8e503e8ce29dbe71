"""The command line: each command parses its words, calls one function, and turns known failures into one clear line.

Exit codes: 0 done; 1 done, and the answer is no (a replay that differs); 2 wrong words or configuration; 3 the input is
damaged (what came before the damage was processed); 4 the journal could not be written or read;
5 a process of the run is gone and can't come back (what was journaled is kept).
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .config import Config, ConfigError, assignment, load
from .ops import cli_pcap

DONE, NO, USAGE, DAMAGED, JOURNAL, LOST = range(6)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `ultra`; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        code: int = given.command(given)
        return code
    except ConfigError as error:
        return _fail(USAGE, str(error))
    except BrokenPipeError:
        return DONE
    except KeyboardInterrupt:
        return _fail(130, "interrupted; what was journaled is kept")
    except Exception as error:
        code = _code_of(error)
        if code < 0:
            raise
        return _fail(code, str(error))


def _code_of(error: Exception) -> int:
    """Exit code of a failure that has a clear message; -1 for a bug, which shows its trace."""
    codes = {
        "StrategyError": USAGE, "RunError": USAGE, "SourceError": DAMAGED, "JournalError": JOURNAL,
        "ReplayError": JOURNAL, "HostError": LOST, "NativeMissingError": USAGE, "SharedError": USAGE,
        "NoRoomError": USAGE, "BenchError": NO,
    }  # fmt: skip
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError) and error.filename:
        return USAGE
    return codes.get(type(error).__name__, -1)


def _fail(code: int, message: str) -> int:
    print(f"ultra: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ultra", description="An ultra-low-latency trading engine written in Python.",
        epilog="ultra COMMAND --help shows an example of each.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"ultra {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_run,
        _add_book,
        _add_replay,
        _add_gen,
        _add_warmup,
        _add_doctor,
        _add_demo,
        _add_config,
        _add_ring,
        _add_bench,
        cli_pcap.add,
    ):
        add(commands)
    return parser


def _command(
    commands: Any, name: str, act: Callable[[argparse.Namespace], int], about: str, example: str
) -> argparse.ArgumentParser:
    found: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about, epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    found.set_defaults(command=act)
    return found


def _add_run(commands: Any) -> None:
    parser = _command(
        commands, "run", _run, "Run a strategy over a recorded ITCH 5.0 file on the paper venue; journal every input.",
        "ultra run --itch day.itch50.gz --strategy ultra.strategies.maker:MarketMaker --instrument AAPL",
    )  # fmt: skip
    parser.add_argument(
        "--itch", type=Path, required=True, metavar="FILE", help="ITCH 5.0, length-framed, plain or gzip"
    )
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
    _configuration(parser)


def _configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file (ultra config lists every key)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one key of it, as risk.collar_bps=200",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _load_config(given: argparse.Namespace) -> Config:
    overrides = dict(assignment(text) for text in given.set)
    if getattr(given, "instrument", None):
        overrides["feed.instruments"] = given.instrument
    if getattr(given, "date", None):
        overrides["feed.date"] = given.date
    if getattr(given, "preset", None):
        overrides["host.preset"] = given.preset
    if getattr(given, "session", None):
        overrides["engine.session"] = given.session
    return load(given.config, overrides)


def _run(given: argparse.Namespace) -> int:
    started = time.perf_counter()
    config = _load_config(given)
    from .ops import session

    _show_compiling()
    folder = given.journal or Path("runs") / time.strftime("%Y%m%dT%H%M%S")
    progress = session.progress_line if given.progress or sys.stderr.isatty() else None
    ran = session.run(
        config, given.itch, given.strategy, folder, pace=_pace(given.pace), progress=progress, started=started
    )
    summary = ran.summary
    if given.report:
        session.write_report(given.report, ran)
        summary["report"] = str(given.report)
    print(json.dumps(summary) if given.json else session.as_text(summary))
    return session.damage(ran)


def _pace(text: str) -> Any:
    from .cold.pace import AT_ONCE, Pace

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
    parser = _command(
        commands, "book", _book, "Build the order books of an ITCH 5.0 file and show them at its end.",
        "ultra book day.itch50.gz --instrument AAPL --depth 5",
    )  # fmt: skip
    parser.add_argument("file", type=Path)
    parser.add_argument("--depth", type=int, default=10, metavar="N", help="levels a side (default 10)")
    parser.add_argument("--instrument", action="append", default=[], metavar="SYMBOL", help="only these (repeatable)")
    _configuration(parser)


def _book(given: argparse.Namespace) -> int:
    if given.depth < 1:
        raise ConfigError("command line", (f"--depth {given.depth}: wanted 1 or more",))
    config = _load_config(given)
    from .ops import books

    _show_compiling()
    found = books.build(config, given.file, given.depth)
    print(json.dumps(found.as_json()) if given.json else found.as_text())
    return _fail(DAMAGED, found.damage) if found.damage else DONE


def _add_replay(commands: Any) -> None:
    parser = _command(
        commands, "replay", _replay, "Rebuild an engine from its journal and compare every state hash on the way.",
        "ultra replay runs/20261123T093000",
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--source", type=Path, metavar="FILE", help="the recorded file, when it has moved")
    parser.add_argument("--force", action="store_true", help="replay although the strategy's code has changed")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _replay(given: argparse.Namespace) -> int:
    from .ops import session

    _show_compiling()
    found = session.replay(given.folder, given.source, given.force)
    print(json.dumps(found) if given.json else session.replay_text(found))
    return DONE if found["matches"] else NO


def _add_gen(commands: Any) -> None:
    parser = _command(
        commands, "gen", _gen, "Write a synthetic but realistic stream; the same seed gives the same bytes.",
        "ultra gen itch --instruments 20 --messages 1000000 --seed 7 -o flow.itch50.gz",
    )  # fmt: skip
    parser.add_argument("format", choices=["itch"])
    parser.add_argument("--instruments", type=int, required=True, metavar="N", help="1 to 65535")
    parser.add_argument("--messages", type=int, required=True, metavar="N", help="messages in the whole file")
    parser.add_argument("--seed", type=int, required=True, metavar="S")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="compressed when it ends in .gz"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _gen(given: argparse.Namespace) -> int:
    from .ops import session

    _show_compiling()
    found = session.generate(given.output, given.instruments, given.messages, given.seed)
    print(json.dumps(found) if given.json else "\n".join(f"{key:<12} {value}" for key, value in found.items()))
    return DONE


def _add_warmup(commands: Any) -> None:
    parser = _command(
        commands, "warmup", _warmup, "Compile everything a later start needs, and keep it in the compile cache.",
        "ultra warmup --strategy my/strategy.py:Mine",
    )  # fmt: skip
    parser.add_argument("--strategy", action="append", default=[], metavar="SPEC", help="also these (repeatable)")


def _warmup(given: argparse.Namespace) -> int:
    from .ops import warmup

    return warmup.run(given.strategy)


def _add_doctor(commands: Any) -> None:
    parser = _command(
        commands, "doctor", _doctor, "Is this machine set up for low latency? PASS or WARN, with the fix.",
        "ultra doctor --cores 2,3",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when there is a WARN")
    parser.add_argument(
        "--cores", default="", metavar="LIST", help="the hot cores, as 2,3 or 2-5 (default the last one)"
    )


def _doctor(given: argparse.Namespace) -> int:
    from .ops import check, doctor

    cores = check.cores_of(given.cores)
    if given.cores and not cores:
        raise ConfigError("command line", (f"--cores {given.cores}: wanted a list of cores, as 2,3 or 2-5",))
    return doctor.run(given.json, cores, given.strict)


def _add_demo(commands: Any) -> None:
    parser = _command(
        commands, "demo", _demo, "The main job, shown: generate a stream, trade it, replay it, draw it.",
        "ultra demo --data recorded/",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, metavar="DIR", help="recorded data (default ULTRA_DATA, ../shared/data)")
    parser.add_argument("--folder", type=Path, default=Path("runs") / "demo", metavar="DIR", help="where results go")


def _demo(given: argparse.Namespace) -> int:
    from .ops import demo

    _show_compiling()
    return demo.run(given.folder, given.data)


def _add_config(commands: Any) -> None:
    parser = _command(
        commands, "config", _config, "Every key of the configuration; or check a file and print it in full.",
        "ultra config --config desk.toml",
    )  # fmt: skip
    _configuration(parser)


def _config(given: argparse.Namespace) -> int:
    from .config import describe

    if given.config or given.set:
        print(_load_config(given).to_toml())
        return DONE
    rows = describe()
    if given.json:
        print(json.dumps([dict(zip(("key", "type", "default", "limits", "doc"), row, strict=True)) for row in rows]))
    else:
        for key, kind, default, limits, doc in rows:
            print(f"{key} = {default}\n    {kind}, {limits}: {doc}")
    return DONE


def _add_ring(commands: Any) -> None:
    parser = _command(
        commands, "ring", _ring_list, "Shared memory of running and dead engines: list it, watch it, clean it.",
        "ultra ring ls",
    )  # fmt: skip
    inside = parser.add_subparsers(required=True, metavar="ls|show|tail|clean")
    listing = _command(
        inside, "ls", _ring_list, "Every segment, how far each side is, and whose it is.", "ultra ring ls"
    )
    show = _command(
        inside, "show", _ring_show, "Sequences, lag of each consumer, and rates. Exit code 1 when its owner is dead.",
        "ultra ring show desk.journal --watch",
    )  # fmt: skip
    show.add_argument("--watch", action="store_true", help="again and again, until its owner ends")
    show.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds of a rate (default 1)")
    tail = _command(
        inside, "tail", _ring_tail, "The last records that are certainly whole, decoded.",
        "ultra ring tail desk.journal -n 20 --follow",
    )  # fmt: skip
    tail.add_argument("-n", "--count", type=int, default=10, metavar="N", help="how many (default 10)")
    tail.add_argument("--follow", action="store_true", help="then those that come, until the owner ends")
    clean = _command(
        inside, "clean", _ring_clean,
        "Remove segments whose owner is dead. Exit code 1 when some are left that can't be judged.", "ultra ring clean",
    )  # fmt: skip
    for command in (show, tail):
        command.add_argument("name", metavar="NAME", help="SESSION.RING, as ultra ring ls shows it")
    for command in (listing, show, tail, clean):
        command.add_argument("--json", action="store_true", help="one JSON object a reading on stdout, for machines")


def _ring_list(given: argparse.Namespace) -> int:
    from .ops import rings

    rows = rings.listing()
    print(json.dumps(rows) if given.json else rings.listing_text(rows))
    return DONE


def _ring_show(given: argparse.Namespace) -> int:
    if not 0 < given.interval < 1e6:
        raise ConfigError("command line", (f"--interval {given.interval}: wanted seconds, more than 0",))
    from .ops import rings

    alive = True
    with contextlib.suppress(KeyboardInterrupt):  # the way out of --watch
        for found in rings.watch(given.name, given.interval, given.watch):
            print(json.dumps(found) if given.json else rings.watch_text(found), flush=True)
            alive = found["alive"]
    return DONE if alive else NO


def _ring_tail(given: argparse.Namespace) -> int:
    if given.count < 0:
        raise ConfigError("command line", (f"-n {given.count}: wanted 0 or more",))
    from .ops import rings

    with contextlib.suppress(KeyboardInterrupt):  # the way out of --follow
        for found in rings.tail(given.name, given.count, given.follow):
            lines = [json.dumps(found)] if given.json else rings.tail_text(found)
            for line in lines:
                print(line, flush=True)
    return DONE


def _ring_clean(given: argparse.Namespace) -> int:
    from .ops import rings

    found = rings.clean()
    if given.json:
        print(json.dumps(found))
    else:
        print("\n".join([f"removed {name}" for name in found["removed"]] or ["nothing to remove"]))
        for refused in found["refused"]:
            print(f"ultra: {refused}", file=sys.stderr)
    return NO if found["refused"] else DONE


def _add_bench(commands: Any) -> None:
    parser = _command(
        commands, "bench", _bench, "How fast the rings are between two pinned processes of this machine.",
        "ultra bench ring",
    )  # fmt: skip
    inside = parser.add_subparsers(required=True, metavar="ring|pingpong|fan|crowd")
    for name, about in (
        ("ring", "One producer, one consumer: records a second, and the batch that the consumer saw."),
        ("pingpong", "Two rings, one record there and one back: percentiles of the round trip."),
        ("fan", "One producer, many consumers: one, and a diamond of three that share a core."),
        ("crowd", "Many producers, one consumer: one paying for the claim, and two that contend."),
    ):
        command = _command(
            inside, name, _bench, f"{about} Exit code 1 when a record was not whole.",
            f"ultra bench {name} --cores 2,3 --rounds 9",
        )  # fmt: skip
        command.set_defaults(word=name)
        command.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")
        command.add_argument("--records", type=int, default=0, metavar="N", help="in each round of each case")
        command.add_argument("--capacity", type=int, default=0, metavar="N", help="slots, a power of two")
        if name != "pingpong":
            command.add_argument("--batch", type=int, default=0, metavar="N", help="records published at once")
        command.add_argument("--cores", default="", metavar="A,B", help="of the two sides (default the last two)")
        command.add_argument("--rounds", type=int, default=7, metavar="K", help="of all cases in turn (default 7)")


def _bench(given: argparse.Namespace) -> int:
    from .ops import bench

    asked = bench.asked(
        given.word, given.records, given.capacity, getattr(given, "batch", 0), given.cores, given.rounds
    )
    found = bench.measure(*asked)
    print(json.dumps(found) if given.json else bench.as_text(found))
    return NO if found["bad"] else DONE


def _show_compiling() -> None:
    """A first start says what it is waiting for."""
    from . import cache

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


if __name__ == "__main__":
    sys.exit(main())
