"""What the tests of whole runs share: a small lively market made up by a seed, and the command line, here or apart.

The market is a few instruments whose best prices wander; orders rest around them, are executed, replaced and taken
away, and every message is about an order that is there. It means nothing, but strategies trade on it.
"""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ultra import cli
from ultra.cold import segment, superblock
from ultra.venues import itch
from ultra.wire import RECORD

ROOT = Path(__file__).resolve().parent.parent
IMBALANCE, MAKER = "ultra.strategies.imbalance:Imbalance", "ultra.strategies.maker:MarketMaker"
START_NS = 34_200_000_000_000  # 9:30
# Every run of the tests, so that memory is small and the two strategies are compiled once.
SMALL = {
    "engine.instrument_max": 16, "engine.order_live_max": 1024, "engine.level_page_max": 256,
    "engine.own_order_max": 64, "engine.prefault": "false", "engine.latency_sample_every": 1,
    "journal.segment_bytes": 1 << 20,
}  # fmt: skip
# Lively enough for a short stream.
EAGER = {"strategy.parameters.wait_ns": 0, "strategy.parameters.edge": 0.2}


class Ran(NamedTuple):
    """One command: its exit code, the JSON it printed (or {}), and what it said on stderr."""

    code: int
    found: dict[str, Any]
    said: str


def words(settings: dict[str, Any]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def run_words(source: Path, journal: Path, strategy: str = IMBALANCE, **settings: Any) -> list[str]:
    """`ultra run` on a small engine; settings as engine__timer_ns=5."""
    given = {key.replace("__", "."): value for key, value in settings.items()}
    eager = EAGER if strategy.endswith("Imbalance") else {}
    return [
        "run", "--itch", str(source), "--strategy", strategy, "--journal", str(journal), "--json",
        *words(SMALL | eager | given),
    ]  # fmt: skip


def ultra(*given: str) -> Ran:
    """The command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(given)
    return Ran(code, json.loads(out.getvalue() or "{}"), err.getvalue())


def command(*given: str) -> list[str]:
    return [sys.executable, "-m", "ultra", *given]


def environment(**more: str) -> dict[str, str]:
    """Of a process that runs this tree."""
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": str(ROOT) + (os.pathsep + path if path else ""), **more}


def ultra_apart(*given: str, **more: str) -> Ran:
    """The command line in a process of its own, with these environment variables."""
    done = subprocess.run(command(*given), capture_output=True, text=True, env=environment(**more), timeout=300)
    return Ran(done.returncode, json.loads(done.stdout or "{}"), done.stderr)


def ran(source: Path, journal: Path, strategy: str = IMBALANCE, **settings: Any) -> dict[str, Any]:
    """A run that went well, here."""
    code, found, said = ultra(*run_words(source, journal, strategy, **settings))
    assert code == 0, said
    return found


def replayed(journal: Path, *more: str) -> Ran:
    return ultra("replay", str(journal), "--json", *more)


def assert_same(run: dict[str, Any], replay: Ran) -> None:
    """The replay of a run that ended in good order is the same engine."""
    assert replay.code == 0, replay.said
    for key in ("records", "orders", "fills", "state_hash", "decision_hash"):
        assert replay.found[key] == run[key], key
    assert replay.found["matches"] and replay.found["complete"] and replay.found["mismatch"] == ""


def journaled(folder: Path) -> Any:
    """All records of a journal, in order."""
    frames = [f for f in segment.read(folder) if f.kind == segment.RECORDS]
    return np.frombuffer(b"".join(f.payload for f in frames), RECORD)


def through(folder: Path) -> int:
    """What can be read: every input below this."""
    return max((frame.through for frame in segment.read(folder)), default=0)


def forget(folder: Path) -> None:
    """As if its writer had died before a superblock said anything: then only the frames say what was durable."""
    path = folder / superblock.NAME
    said = superblock.best(path.read_bytes())
    assert said is not None
    for generation in (0, 1):
        blank = superblock.encode(said._replace(generation=generation, frames=0, through=0, state=superblock.OPEN))
        with path.open("r+b") as file:
            file.seek(superblock.offset(generation))
            file.write(blank)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited a minute until {what}"
        time.sleep(0.0005)


def message(letter: str, locate: int, ts: int, **fields: int | bytes) -> bytes:
    """One framed ITCH message; what is not said is zero, text is padded with spaces."""
    values = {"type": letter.encode(), "locate": locate, "ts": ts, **fields}
    body = bytearray()
    for name, _, width in (*itch.HEADER, *itch.LAYOUT[letter][2]):
        value = values.pop(name, 0)
        body += value.ljust(width) if isinstance(value, bytes) else value.to_bytes(width, "big")
    assert not values, f"{letter} has no {', '.join(values)}"
    return len(body).to_bytes(2, "big") + bytes(body)


def bodies(raw: bytes) -> list[bytes]:
    """The messages of a framed stream."""
    found, at = [], 0
    while at < len(raw):
        end = at + 2 + int.from_bytes(raw[at : at + 2], "big")
        found.append(raw[at + 2 : end])
        at = end
    return found


class Market:
    """One instrument: its resting orders, and the messages that change them."""

    def __init__(self, dice: random.Random, locate: int, symbol: str) -> None:
        self.dice, self.locate, self.symbol = dice, locate, symbol.encode()
        self.mid = 1_000_000 + 500_000 * locate
        self.orders: dict[int, list[int]] = {}  # id -> [side, price, shares]

    def opening(self, ts: int) -> bytes:
        directory = message("R", self.locate, ts, stock=self.symbol, round_lot=100)
        return directory + message("H", self.locate, ts, stock=self.symbol, state=b"T")

    def best(self, side: int) -> int:
        """Id of the order first in the queue at the best price, 0 when there is none."""
        mine = [(price if side else -price, ref) for ref, (s, price, _) in self.orders.items() if s == side]
        return min(mine)[1] if mine else 0

    def add(self, ts: int, ref: int) -> bytes:
        side, deep = self.dice.randrange(2), 100 * self.dice.randint(1, 6)
        price = self.mid + deep if side else self.mid - deep
        other = self.best(1 - side)
        if other:
            limit = self.orders[other][1]
            price = max(price, limit + 200) if side else min(price, limit - 200)
        shares = self.dice.choice((10, 50, 100, 100, 400, 900))
        self.orders[ref] = [side, price, shares]
        return message("A", self.locate, ts, ref=ref, side=b"BS"[side : side + 1], shares=shares,
                       stock=self.symbol, price=price)  # fmt: skip

    def take(self, letter: str, ts: int, ref: int, match: int) -> bytes:
        """An execution or a partial cancel of some of an order."""
        shares = self.dice.randint(1, self.orders[ref][2])
        self.orders[ref][2] -= shares
        if self.orders[ref][2] == 0:
            del self.orders[ref]
        match_field = {"match": match} if letter == "E" else {}
        return message(letter, self.locate, ts, ref=ref, shares=shares, **match_field)

    def step(self, ts: int, ref: int) -> bytes:
        """The next message; `ref` is a fresh id, should it need one."""
        if self.dice.random() < 0.05:
            self.mid += 100 * self.dice.choice((-3, -2, -1, 1, 2, 3))
        act = self.dice.random()
        if len(self.orders) < 8 or (act < 0.5 and len(self.orders) < 40):
            return self.add(ts, ref)
        old = self.dice.choice(list(self.orders))
        if act < 0.7:
            return self.take("E", ts, self.best(self.dice.randrange(2)) or old, ref)
        if act < 0.78:
            return self.take("X", ts, old, ref)
        if act < 0.82:
            return message("P", self.locate, ts, side=b"B", shares=10, stock=self.symbol, price=self.mid, match=ref)
        side, price, _ = self.orders.pop(old)
        if act < 0.88:
            self.orders[ref] = [side, price, 200]
            return message("U", self.locate, ts, ref=old, new_ref=ref, shares=200, price=price)
        return message("D", self.locate, ts, ref=old)


def market(messages: int, seed: int = 1, symbols: tuple[str, ...] = ("AAA", "BBB"), step_ns: int = 500_000) -> bytes:
    """A day of about so many messages, on average one every `step_ns`."""
    dice = random.Random(seed)
    ts = START_NS
    markets = [Market(dice, index + 1, symbol) for index, symbol in enumerate(symbols)]
    parts = [message("S", 0, ts, event=b"O"), *(m.opening(ts) for m in markets)]
    for ref in range(1, messages):
        ts += dice.randrange(2 * step_ns)
        parts.append(dice.choice(markets).step(ts, ref))
    return b"".join([*parts, message("S", 0, ts + 1, event=b"C")])
