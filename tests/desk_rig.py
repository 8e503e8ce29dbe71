"""An engine behind a desk, driven call by call: a test says what is on disk and when the loop comes back."""

import json
import socket
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from runs import EAGER, IMBALANCE, market

from ultra import inline, strategy
from ultra.cold import answers, assembly, desk, drive, journal, segment
from ultra.config import load
from ultra.hot import ring as rings
from ultra.wire import RECORD, STRATEGY

SMALL = {
    "engine.instrument_max": 8, "engine.order_live_max": 1024, "engine.level_page_max": 256, "engine.own_order_max": 64,
    "engine.prefault": False, "engine.output_ring_records": 64, "feed.instruments": ("AAA", "BBB"),
}  # fmt: skip
COMMON = {"who": "test", "why": "to see"}


@cache
def loaded() -> strategy.Loaded:
    return strategy.load(IMBALANCE)


@cache
def pump() -> Any:
    return inline.build(loaded().hooks, loaded().fingerprint)


class Rig:
    """An engine behind a desk. Unless `live`, the day has passed and the strategy is off: what happens is asked for."""

    def __init__(
        self, known: dict[str, answers.Entry] | None = None, *, messages: int = 120, live: bool = False, **more: Any
    ) -> None:
        config = load(None, {**SMALL, **EAGER, **{key.replace("__", "."): value for key, value in more.items()}})
        self.journal = rings.create(RECORD, 1 << 14)
        self.machine = assembly.assemble(config, loaded(), [self.journal])
        self.durable, self.number = 0, 0
        self.raw = np.frombuffer(market(messages) + bytes(8), np.uint8)
        assembly.introduce(self.machine)
        if not live:
            assembly.command(self.machine.run, kind=STRATEGY, aux=0)
        self.at = self.loop(0, 0 if live else len(self.raw) - 8)
        self.desk = desk.Desk(self.machine, "test", lambda: self.durable, known)
        self.engine = self.machine.run.engine

    def loop(self, start: int, stop: int) -> int:
        at: int = pump()(self.machine.run, self.machine.intake, self.raw, start, stop)
        return at

    def pass_bytes(self, some: int) -> None:
        """So many bytes more of the day."""
        self.desk.turn()
        self.at = self.loop(self.at, min(self.at + some, len(self.raw) - 8))
        self.desk.answer()

    def write(self, folder: Path, source: Path, cuts: list[int]) -> None:
        """The journal as its process would have written it, a frame ending before each of these records."""
        source.write_bytes(bytes(self.raw[:-8]))
        made = journal.Journal(folder, segment_bytes=1 << 20, sync=False)
        about = drive.describe(self.machine.config, loaded(), source)
        made.append(segment.META, 0, 0, 0, json.dumps(about).encode())
        records, begin = self.records(), 0
        for end in [*sorted({cut for cut in cuts if 0 < cut < len(records)}), len(records)]:
            first, last = int(records[begin].sequence), int(records[end - 1].sequence)
            made.append(segment.RECORDS, first, end - begin, last + 1, records[begin:end].tobytes())
            begin = end
        reached = int(self.machine.run.cells[inline.NEXT])
        if reached > last + 1:
            made.append(segment.MARK, reached, 0, reached, b"")
        made.close()

    def turn(self) -> None:
        self.desk.turn()
        self.loop(0, 0)
        self.desk.answer()

    def open(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.connect(str(self.desk.path))
        link.settimeout(0)
        return link

    def ask(self, name: str, link: socket.socket | None = None, **words: Any) -> dict[str, Any]:
        self.number += 1
        given = {"command": name, "id": f"n{self.number}", **COMMON, **words}
        return self.send(json.dumps(given).encode() + b"\n", link)

    def send(self, line: bytes, link: socket.socket | None = None) -> dict[str, Any]:
        """A line, and what is answered in three turns; {} when nothing is."""
        ours = link or self.open()
        ours.sendall(line)
        for _ in range(3):
            self.turn()
        found = hear(ours)
        if link is None:
            ours.close()
        return found

    def records(self) -> Any:
        return self.journal.slots[: int(self.journal.cells[rings.CURSOR])]

    def close(self) -> None:
        self.desk.stop()
        self.loop(0, 0)
        self.desk.close()


def hear(link: socket.socket) -> dict[str, Any]:
    try:
        text = link.recv(1 << 16)
    except BlockingIOError:
        return {}
    found: dict[str, Any] = json.loads(text.splitlines()[0]) if text else {"closed": True}
    return found
