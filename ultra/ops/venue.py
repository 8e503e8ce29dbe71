"""`ultra venue`: the exchange, run: its addresses first, a line a second, what it came to at the end.

The addresses are one line of JSON, on stdout with `--json` and in the port file always, written when clients may come:
a script waits for it, and starts `ultra run --venue ...` with the word in it. SIGTERM and SIGINT end the day in good
order; a second one ends the process.
Known bad case: the status line counts what happened since the last one, so the first second looks slow.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from ..cold import house as houses
from ..cold.operator import Operator, OperatorError
from ..config import Config
from ..hot import clock
from ..hot import histogram as histograms
from ..wire import AUCTION, HALTED, ON_CLOSE, ON_OPEN, TRADING

WORDS = "halt, resume, auction, uncross, disconnect, drop, duplicate, reorder, delay, request-server, status, stop"
AUCTIONS = {"open": ON_OPEN, "close": ON_CLOSE, "": 0}
SWITCHES = {"on": False, "off": True}
FAULTS = ("drop", "duplicate", "reorder", "delay")


class Run:
    """A venue, until somebody ends it."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.house = houses.House(config.exchange, folder)
        socket = Path(config.exchange.socket) if config.exchange.socket else folder / "operator.sock"
        self.operator = Operator(socket, self.act)
        self.spins = config.host.wait == "spin"
        self._ns_per_tick = clock.calibrate()
        self._told = self._told_at = 0.0
        self._last: dict[str, int] = {}

    def addresses(self) -> dict[str, Any]:
        """Where everything is."""
        found = self.house.addresses() | {"operator": str(self.operator.path), "folder": str(self.house.folder)}
        return found | {"pid": os.getpid(), "resumed": self.house.log.resumed}

    def play(self, seconds: float | None, status: Callable[[str], None] | None) -> None:
        """Until `seconds` are over, the day is, or somebody stops it."""
        house, until = self.house, time.monotonic() + seconds if seconds is not None else float("inf")
        while not house.stopping and time.monotonic() < until:
            self.operator.turn()
            if not house.turn() and not self.spins:
                if house.phase == houses.OVER:
                    break
                house.wait(self.operator.files())
            if status is not None and time.monotonic() >= self._told_at:
                self._told_at = time.monotonic() + 1
                status(self.line())

    def act(self, words: list[str]) -> dict[str, Any]:
        """What the operator says. OperatorError when it is nothing."""
        house = self.house
        word, rest = (words[0] if words else ""), words[1:]
        first = rest[0] if rest else ""
        if word == "halt":
            house.set_state(self._symbols(first), HALTED)
        elif word in ("resume", "uncross"):
            house.set_state(self._symbols(first), TRADING)
        elif word == "auction":
            which = rest[1] if len(rest) > 1 else ""
            house.set_state(self._symbols(first), AUCTION, _one_of(AUCTIONS, which, "auction"))
        elif word == "disconnect":
            if not house.server.disconnect(first):
                raise OperatorError(f"disconnect {first}: nobody is connected as that")
        elif word in FAULTS:
            self._fault(word, rest)
        elif word == "request-server":
            house.deafen(_one_of(SWITCHES, first, "request-server"))
        elif word == "stop":
            house.stopping = True
        elif word != "status":
            raise OperatorError(f"{word or 'nothing'}: wanted {WORDS}")
        return {"done": " ".join(words)} if word != "status" else self.counts()

    def _symbols(self, text: str) -> list[str]:
        known = self.house.symbols
        if text not in (*known, "all", ""):
            raise OperatorError(f"{text}: wanted all, or one of {', '.join(known)}")
        return known if text in ("all", "") else [text]

    def _fault(self, word: str, rest: list[str]) -> None:
        try:
            self.house.fault(word, int(rest[0]), int(rest[1]) if len(rest) > 1 else 8)
        except (ValueError, IndexError) as error:
            raise OperatorError(f"{word}: wanted a number of packets in 1000: {error}") from error

    def counts(self) -> dict[str, Any]:
        """Every count, and how long an entry takes."""
        service = self.house.floor.service
        entry_ns = {
            f"p{percent:g}": round(histograms.percentile(service, percent) * self._ns_per_tick)
            for percent in (50.0, 99.0, 99.9)
        }
        return self.house.counts() | {"entry_ns": entry_ns}

    def line(self) -> str:
        """What the last second was."""
        counts = self.house.counts()
        now = {name: int(counts[name]) for name in ("entries", "messages", "traded_lots")}
        since = {name: value - self._last.get(name, 0) for name, value in now.items()}
        self._last = now
        feed = counts["feed"]
        return (
            f"{counts['phase']:<9} entries {since['entries']}/s  feed {since['messages']}/s"
            f"  lots {since['traded_lots']}/s  clients {counts['clients']}  packets {feed['packets']}"
            f"  requests {counts['requests']['requests']}"
        )

    def close(self) -> None:
        """Close everything."""
        self.operator.close()
        self.house.close()


def _one_of(known: dict[str, Any], given: str, what: str) -> Any:
    if given not in known:
        raise OperatorError(f"{what} {given}: wanted {' or '.join(filter(None, known))}")
    return known[given]


def run(
    config: Config, folder: Path, *, seconds: float | None, port_file: Path | None, as_json: bool
) -> dict[str, Any]:
    """Run a venue to its end; what it came to."""
    begun = time.perf_counter()
    venue = Run(config, folder)
    before = {number: signal.signal(number, _stopper(venue.house)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        venue.house.turn()  # compiled, or loaded, before anybody is told where to come
        told = venue.addresses() | {"startup_s": round(time.perf_counter() - begun, 3)}
        if port_file is not None:
            unfinished = port_file.with_name(port_file.name + ".part")
            unfinished.write_text(json.dumps(told) + "\n")
            unfinished.replace(port_file)
        print(json.dumps(told) if as_json else as_text(told), flush=True)
        venue.play(seconds, lambda line: print(line, file=sys.stderr, flush=True))
        venue.house.end()
        return venue.counts() | {"session": venue.house.session, "folder": str(folder)}
    finally:
        venue.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopper(house: houses.House) -> Callable[[int, FrameType | None], None]:
    def on_signal(number: int, frame: FrameType | None) -> None:
        if house.stopping:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        house.stopping = True

    return on_signal


def as_text(found: dict[str, Any]) -> str:
    """A summary or addresses, a line a key."""
    lines = []
    for key, value in found.items():
        if isinstance(value, dict):
            value = "  ".join(f"{name} {count}" for name, count in value.items() if count) or "none"
        elif isinstance(value, list):
            value = "  ".join(map(str, value))
        lines.append(f"{key:<14} {value}")
    return "\n".join(lines)
