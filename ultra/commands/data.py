"""`ultra data`: what a file of market data is, what is wrong with it, and the same as a tape."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import DAMAGED, DONE, NO, USAGE, command, fail

SHOW_S = 0.5


def add(commands: Any) -> None:
    """The command, with three inside."""
    parser = command(
        commands, "data", _info, "Market data: what a file is, what is wrong with it, convert it to a tape.",
        "ultra data check btcusdt_20240808.gz",
    )  # fmt: skip
    inside = parser.add_subparsers(required=True, metavar="check|convert|info")
    check = command(
        inside, "check", _check,
        "Say what is wrong with it, and where: gaps, crossed books, time going back, a missing snapshot, a wrong "
        "scale, unknown or duplicate orders, a cut file. Exit code 1 when something is wrong, 3 when it is damaged.",
        "ultra data check day1.gz day2.gz --json",
    )  # fmt: skip
    convert = command(
        inside, "convert", _convert, "Write it as a tape (.ulc): raw, which backtests map and share, or packed.",
        "ultra data convert btcusdt_20240808.gz btcusdt_20240809.gz -o btc.ulc --compress",
    )  # fmt: skip
    convert.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.ulc")
    convert.add_argument("--compress", action="store_true", help="pack the columns (zstd): a fraction of the size")
    convert.add_argument("--from", dest="first", metavar="TIME", help="from here on, behind the book as it stood")
    convert.add_argument("--to", dest="last", metavar="TIME", help="to before here")
    info = command(
        inside, "info", _info, "Say what it is: format, kind, instruments, how many records, from when to when.",
        "ultra data info btc.ulc",
    )  # fmt: skip
    for each in (check, convert, info):
        each.add_argument("files", type=Path, nargs="+", metavar="FILE", help="several continue each other")
        _options(each)


def _options(parser: argparse.ArgumentParser) -> None:
    """What `ultra.lab.data.load` can be told."""
    parser.add_argument(
        "--symbol", action="append", metavar="NAME", help="only this; of a table without names, its name"
    )
    parser.add_argument("--tick", metavar="SIZE", help="price of a tick, as 0.01; found if not given")
    parser.add_argument("--lot", metavar="SIZE", help="size of a lot; found if not given")
    parser.add_argument("--snap", action="store_true", help="take the nearest tick and lot")
    parser.add_argument("--columns", metavar="LIST", help="close=Adj Close,... or, without a header, all names")
    parser.add_argument("--zone", metavar="NAME", help="of times without an offset, as America/New_York")
    parser.add_argument("--interval", metavar="TIME", help="of bars, as 1m")
    parser.add_argument("--stamped", choices=("start", "end"), help="what the time of a bar is (default start)")
    parser.add_argument("--date", metavar="DAY", help="of an ITCH or LOBSTER file, as 2019-12-30")
    parser.add_argument("--venue", metavar="NAME", help="of a capture, if its messages do not tell")
    parser.add_argument("--partial", action="store_true", help="take a capture that begins without a snapshot")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, for machines")


def _given(given: argparse.Namespace) -> dict[str, Any]:
    names = ("symbol", "tick", "lot", "snap", "zone", "interval", "stamped", "date", "venue", "partial")
    found = {name: getattr(given, name) for name in names if getattr(given, name)}
    if given.columns:
        parts = [part.strip() for part in given.columns.split(",")]
        pairs = [part.partition("=") for part in parts]
        found["columns"] = {name: column for name, _, column in pairs} if all(mark for _, mark, _ in pairs) else parts
    return found


def _guarded(given: argparse.Namespace, act: Callable[[], int]) -> int:
    """Known failures as one line and an exit code."""
    from ..lab.data import DataError, LabError, TapeError
    from ..lab.readers import DamagedError

    try:
        return act()
    except (DamagedError, TapeError) as error:
        return fail(DAMAGED, str(error))
    except (DataError, LabError) as error:
        return fail(USAGE, str(error))
    except OSError as error:
        return fail(USAGE, f"{error.filename or given.files[0]}: {error.strerror or error}")


def _sources(given: argparse.Namespace) -> Any:
    return given.files if len(given.files) > 1 else given.files[0]


def _check(given: argparse.Namespace) -> int:
    from ..lab import check

    def act() -> int:
        report = check.check(given.files, _given(given))
        if given.json:
            print(json.dumps(report.as_json()))
        else:
            _print_report(report)
        if report.damage:
            return fail(DAMAGED, report.damage)
        return NO if report.wrong else DONE

    return _guarded(given, act)


def _print_report(report: Any) -> None:
    from ..lab import check

    if report.tape is not None:
        names = ", ".join(instrument.symbol for instrument in report.tape.instruments[:8])
        print(f"{report.source}: {report.form}, {report.records:,} records of {report.tape.kind}: {names}")
    for finding in report.findings.values():
        means = check.WORDS.get(finding.what, "")
        print(f"{'wrong' if finding.wrong else 'note '}  {finding.what} ({finding.count:,})  {means}")
        for place in finding.where:
            print(f"         {place}")
    if not report.findings and not report.damage:
        print("nothing is wrong with it")


def _convert(given: argparse.Namespace) -> int:
    from ..lab import cut, data, tape
    from ..lab.readers import stamps

    def act() -> int:
        began = time.perf_counter()
        found = data.load(_sources(given), **_given(given))
        if given.first or given.last:
            first, last = (
                int(stamps.nanoseconds([text], given.zone, ["--from, --to"])[0]) if text else default
                for text, default in ((given.first, -(1 << 62)), (given.last, 1 << 62))
            )
            found = cut.between(found, first, last)
        written = tape.write(given.output, found, compress=given.compress, progress=_progress())
        size, seconds = given.output.stat().st_size, time.perf_counter() - began
        told = {
            "file": str(given.output), "records": written.records, "bytes": size, "kind": written.kind,
            "bytes_per_record": round(size / max(1, written.records), 1), "seconds": round(seconds, 2),
            "notes": written.notes,
        }  # fmt: skip
        _show(given, told)
        return DONE

    return _guarded(given, act)


def _progress() -> Callable[[int], None] | None:
    """A line that counts, where somebody looks."""
    if not sys.stderr.isatty():
        return None
    shown = [time.perf_counter()]

    def show(records: int) -> None:
        now = time.perf_counter()
        if now - shown[0] >= SHOW_S:
            shown[0] = now
            print(f"\r{records:,} records", end="", file=sys.stderr, flush=True)

    return show


def _info(given: argparse.Namespace) -> int:
    from ..lab import data, ulc
    from ..lab.sniff import sniff

    def act() -> int:
        form = sniff(given.files[0])
        found = data.load(_sources(given), **_given(given))
        told: dict[str, Any] = {
            "source": found.source, "format": form, "kind": found.kind, "records": found.records,
            "first_ts": found.first_ts, "last_ts": found.last_ts, "notes": found.notes,
            "instruments": [vars(instrument) for instrument in found.instruments],
        }  # fmt: skip
        if form == "tape":
            file = ulc.File(given.files[0])
            layout = "packed" if file.layout == ulc.PACKED else "raw"
            told |= {"layout": layout, "chunks": len(file.chunks), "bytes": file.size, "version": ulc.VERSION}
        _show(given, told)
        return DONE

    return _guarded(given, act)


def utc(ts: int) -> str:
    """Nanoseconds since the epoch for people."""
    import numpy as np

    return f"{np.datetime64(ts, 'ns')}Z"


def _show(given: argparse.Namespace, told: dict[str, Any]) -> None:
    if given.json:
        print(json.dumps(told))
        return
    for key, value in told.items():
        if key == "instruments":
            for row in value[:20]:
                print(
                    f"instrument    {row['symbol']}  tick {row['tick_e9']}e-9  lot {row['lot_e9']}e-9  {row['venue']}"
                )
            if len(value) > 20:
                print(f"instruments   {len(value)} in all")
        elif key in ("first_ts", "last_ts"):
            print(f"{key[:-3]:<13} {utc(value)}")
        elif value not in ({}, "", None):
            print(f"{key:<13} {value}")
