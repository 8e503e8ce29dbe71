"""`ultra data check`: what is wrong with a file, where, and what it means for whoever backtests on it.

The file is read as `load` reads it, and its records go through the engine's own book. Every kind of finding has a count
and its first places. A finding is `wrong`, or a `note`: something that is so, and that one should know.
Known bad case: what nobody says can't be missed: a venue that numbers nothing has no gaps.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..hot import book as books
from ..venues import review
from ..wire import RECORD
from . import ulc
from .data import load
from .readers import DamagedError, DataError, bars, capture, scale
from .readers.feed import Quote, Update, Venue
from .readers.lines import Lines
from .sniff import sniff
from .tape import Tape, TapeError

PLACES_MAX: Final = 5
WORDS: Final = {
    "sequence gap": "updates are missing; the book is empty until the next snapshot",
    "checksum": "the book is not the venue's; it is empty until the next snapshot",
    "missing snapshot": "updates without a snapshot: the book holds only what has changed since",
    "best differs": "the venue's own best bid and ask with the same number are others",
    "time going back": "a message came, or is stamped, before the one in front of it",
    "clock": "our clock is behind the venue's: messages came before they were sent",
    "crossed": "best bid above best ask",
    "locked": "best bid equal to best ask",
    "bad_price": "not above 0, or more than 2^36 price steps: the engine's book refuses it",
    "bad_qty": "not above 0, or more than 2^40 lots: the engine's book refuses it",
    "unknown_order": "taken off, changed or executed, and was never added",
    "duplicate_order": "added, and is there already",
    "over_reduced": "more was taken off than the order had",
    "cut": "the file ends inside a message",
    "unusable": "can't be made a tape as it is",
    "scale": "a tick finer than any venue's: prices that were computed, not quoted",
}  # fmt: skip
NOTES: Final = ("clock", "scale", "locked", "instruments whose quantities are rounded")
FINEST_TICK_E9: Final = 100


@dataclass
class Finding:
    """One kind of thing."""

    what: str
    count: int = 0
    where: list[str] = field(default_factory=list)  # the first places, with what was found there
    wrong: bool = True

    def add(self, place: str, count: int = 1) -> None:
        """One case more."""
        self.count += count
        if len(self.where) < PLACES_MAX:
            self.where.append(place)


@dataclass
class Report:
    """All that was found."""

    source: str
    form: str = ""
    tape: Tape | None = None
    records: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    damage: str = ""

    def note(self, what: str, place: str, count: int = 1, wrong: bool | None = None) -> None:
        """One case of something."""
        given = what not in NOTES if wrong is None else wrong
        self.findings.setdefault(what, Finding(what, wrong=given)).add(place, count)

    @property
    def wrong(self) -> bool:
        """Whether anything is."""
        return any(finding.wrong for finding in self.findings.values())

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        tape = self.tape
        return {
            "source": self.source, "format": self.form, "kind": tape.kind if tape else "", "records": self.records,
            "instruments": [vars(instrument) for instrument in tape.instruments] if tape else [],
            "damage": self.damage, "wrong": self.wrong or bool(self.damage),
            "findings": [{**vars(finding), "means": WORDS.get(finding.what, "")} for finding in self.findings.values()],
        }  # fmt: skip


def check(paths: list[Path], given: dict[str, Any]) -> Report:
    """Everything about some files. `given` is what `load` takes; OSError when a file can't be read."""
    report = Report(", ".join(map(str, paths)), sniff(paths[0]))
    try:
        if report.form in ("capture", "dialogue"):
            _capture(report, paths, given)
        else:
            _other(report, paths, given)
    except (DamagedError, TapeError) as error:
        report.damage = str(error)
    except DataError as error:
        report.note("unusable", str(error))
    return report


def _other(report: Report, paths: list[Path], given: dict[str, Any]) -> None:
    if report.form == "tape":
        for _ in ulc.File(paths[0]).verify():
            continue
    report.tape = tape = load(paths if len(paths) > 1 else paths[0], **given)
    found = _reviewed(tape)
    _told(report, tape, found, lambda row, record: f"row {row}" if row else f"record {record}")
    for what, count in tape.notes.items():
        if "behind the last whole" in what:
            report.damage = f"{report.source}: {count} {what}: the file was cut"
        elif "seeded" in what or "revealed" in what or "corrected" in what or "inferred" in what:
            report.note(what, f"{count} in all", count, wrong=False)
        elif "out of order" in what:
            report.note("time going back", f"{count} rows: they were sorted", count)
        elif what not in books.OUTCOMES:
            report.note(what, f"{count} in all", count)
    for instrument in tape.instruments:
        if instrument.tick_e9 < FINEST_TICK_E9 and tape.kind in ("bars", "ticks"):
            report.note("scale", f"{instrument.symbol}: a tick of {instrument.tick_e9}e-9: give --tick and --snap")


def _reviewed(tape: Tape) -> review.Review:
    """All records through a book. Rows are in `sequence` where a reader knows them."""
    found = review.create(len(tape.instruments), tape.instruments[0].step if tape.instruments else 1)
    for batch in tape.read(1 << 16):
        records = np.array(batch, RECORD).view(np.recarray)
        if tape.kind == "bars":
            records.sequence = 0
        review.review(found, records)
    review.finish(found)
    return found


def _told(report: Report, tape: Tape, found: review.Review, where: Any) -> None:
    report.records = int(found.cells[review.RECORDS])
    for kind, name in review.NAMES.items():
        count = int(found.counts[kind])
        if not count:
            continue
        for place in found.places[kind * review.EXAMPLES :][: min(count, review.EXAMPLES)]:
            symbol = tape.instruments[int(place.instrument)].symbol
            text = f"{where(int(place.row), int(place.record))}: {symbol} at {_time(int(place.ts))}"
            # An opening auction of single orders is crossed, and no error.
            auction = name == "crossed" and tape.kind == "orders"
            report.note(name, text, 0, wrong=None if not auction else False)
        report.findings[name].count = count


def _time(ts: int) -> str:
    return f"{np.datetime64(ts, 'ns')}Z"


def _capture(report: Report, paths: list[Path], given: dict[str, Any]) -> None:
    wished = {name: given[name] for name in ("symbol", "tick", "lot", "venue", "snap") if name in given}
    report.tape = tape = load(paths, **wished, partial=True)
    files = Lines(capture.with_answers(paths))
    venue = capture.venue_of_files(files, wished.get("venue", ""))
    seen = capture.survey(files, venue)
    for instrument in tape.instruments:
        found = seen[instrument.symbol]
        if found.updates and not found.snapshots:
            report.note("missing snapshot", f"{instrument.symbol}: {found.updates} updates", found.updates)
    _clocks(report, files, venue)

    def trouble(row: int, kind: str, words: str) -> None:
        report.note(kind, f"{files.where(row)}: {words}" if row else words)

    wish = bars.Wish(tick_e9=scale.unit_of(given.get("tick")), lot_e9=scale.unit_of(given.get("lot")))
    rows = capture.records(
        files, venue, tape.instruments, seen, wish._replace(snap=bool(given.get("snap"))), True, trouble
    )
    numbered = Tape(tape.instruments, tape.kind, lambda size: rows)
    told = _reviewed(numbered)
    _told(report, tape, told, lambda row, record: files.where(row))
    for name in [name for name in tape.notes if name not in report.findings]:
        report.note(name, f"{tape.notes[name]} in all", tape.notes[name])
    cut = report.findings.pop("cut", None)
    if cut is not None:
        report.damage = cut.where[0]


def _clocks(report: Report, files: Lines, venue: Venue) -> None:
    """Our stamps going back, and messages that came before they were sent."""
    last, behind, least, first = 0, 0, 0, 0
    for line in files:
        if line.ts_recv < last and not line.asked:
            report.note("time going back", f"{files.where(line.row)}: {last - line.ts_recv} ns before the line above")
        last = line.ts_recv
        for event in capture.events_of(files, venue, line):
            if isinstance(event, Update | Quote) and event.ts > line.ts_recv:
                behind, first = behind + 1, first or line.row
                least = max(least, event.ts - line.ts_recv)
    if behind:
        words = f"{behind} messages, by up to {least / 1e6:.0f} ms, from {files.where(first)} on"
        report.note("clock", words, behind)
