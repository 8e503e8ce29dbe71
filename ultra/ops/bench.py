"""`ultra bench`: what the rings do between two pinned processes on this machine, and how much of it is the machine.

Two processes map the same nameless memory, compile before they are pinned, and then wait for words on a pipe: so all
cases of a run are interleaved, round by round, over the same pages and cores, and what is shown is a median of rounds.
Regimes, because one figure would mean nothing. `saturated`: the producer publishes batches, and the consumer, when it
has caught up, lets it get half a ring ahead. `unbatched`: one record at a time, and the consumer takes what there is.
`chasing`: so does it here, and with two slots there is hardly ever more than one. The batch that the consumer saw, that
is, records by looks at the other side that found some, tells what it really was.
Invariant: a record that was not whole or not in order is counted as bad, and a run with a bad record ends with 1.
Known bad case: on a machine that does other work, a round in which a core was taken away is a measurement of that; the
hiccup of both cores, read in the same run, stands beside the figures.
"""

import contextlib
import json
import mmap
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from ..config import ConfigError
from ..hot import JIT, clock, drill, hiccup
from ..hot import crowd as crowds
from ..hot import fan as fans
from ..hot import histogram as histograms
from ..hot import post as posts
from ..hot import ring as rings
from ..hot.wait import BUSY
from ..wire import RECORD, RING_LINE
from .check import cores_of

CHILD: Final = "import sys; from ultra.ops import bench; raise SystemExit(bench.serve(*sys.argv[1:]))"
PAGE: Final = 4096
STILL_S: Final = 20.0  # without progress for so long, the other side is dead
HICCUP_MS: Final = 100
SPINS: Final = 100  # before a yield, where both sides have only one core
PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}
Loop = Callable[..., None]


class BenchError(Exception):
    """A side died, or waited in vain for the other."""


class Form(NamedTuple):
    """A structure of `ultra.hot`, and who does what with it."""

    size: Callable[[int], int]
    over: Callable[[Any, int], Any]
    configure: Callable[[Any], None]
    loops: tuple[Loop, Loop]
    both_make: bool = False  # each of the two publishes half of the records


class Case(NamedTuple):
    """What is measured: a form at one capacity, published `batch` at once."""

    form: str
    regime: str
    capacity: int
    batch: int


def least(case: Case) -> int:
    """For how many records a consumer waits that has caught up."""
    return max(1, case.capacity // 2) if case.regime == "saturated" else 1


def _ring_size(capacity: int) -> int:
    return rings.size_bytes(RECORD, capacity)


def _pair(buffer: Any, capacity: int) -> drill.Pair:
    """Two rings, each from the beginning of a page."""
    far = _pages(_ring_size(capacity))
    return drill.Pair(rings.over(buffer, RECORD, capacity), rings.over(buffer[far:], RECORD, capacity))


def _post_pair(buffer: Any, capacity: int) -> drill.PostPair:
    far = _pages(_ring_size(capacity))
    return drill.PostPair(posts.over(buffer, RECORD, capacity), posts.over(buffer[far:], RECORD, capacity))


def _fan(depends: Sequence[Sequence[int]], consume: Loop) -> Form:
    return Form(
        lambda capacity: fans.size_bytes(RECORD, capacity),
        lambda buffer, capacity: fans.over(buffer, RECORD, capacity),
        lambda fan: fans.configure(fan, depends), (drill.fan_produce, consume),
    )  # fmt: skip


def _crowd(consume: Loop, both_make: bool = False) -> Form:
    return Form(
        lambda capacity: crowds.size_bytes(RECORD, capacity),
        lambda buffer, capacity: crowds.over(buffer, RECORD, capacity),
        crowds.configure, (drill.crowd_produce, consume), both_make,
    )  # fmt: skip


FORMS: Final = {
    "ring": Form(
        _ring_size, lambda buffer, capacity: rings.over(buffer, RECORD, capacity), lambda ring: None,
        (drill.ring_produce, drill.ring_consume),
    ),
    "fan": _fan(drill.ALONE, drill.fan_consume),
    "diamond": _fan(drill.DIAMOND, drill.diamond_consume),
    "crowd": _crowd(drill.crowd_consume),
    "crowd, two producers": _crowd(drill.crowd_contend, both_make=True),
    "pingpong": Form(
        lambda capacity: 2 * _pages(_ring_size(capacity)), _pair, lambda pair: None, (drill.ping, drill.pong)
    ),
    "pingpong, post": Form(
        lambda capacity: 2 * _pages(_ring_size(capacity)), _post_pair, lambda pair: None,
        (drill.ping_post, drill.pong_post),
    ),
}  # fmt: skip
# By the word of the command: the forms it measures.
COMMANDS: Final = {
    "ring": ("ring",),
    "pingpong": ("pingpong", "pingpong, post"),
    "fan": ("fan", "diamond"),
    "crowd": ("crowd", "crowd, two producers"),
}
RECORDS: Final = {"ring": 2_000_000, "pingpong": 200_000, "fan": 2_000_000, "crowd": 1_000_000}
RECORDS_MAX, ROUNDS_MAX, CAPACITY_MAX = 1 << 32, 10_000, 1 << 22
CAPACITY, BATCH, UNBATCHED, CHASING = 8192, 16, 1024, 2


def cases(command: str, capacity: int = 0, batch: int = 0) -> list[Case]:
    """The cases of a command; a capacity or batch that is given takes the place of those of the saturated case."""
    if command == "pingpong":
        return [Case(form, "chasing", capacity or UNBATCHED, 1) for form in COMMANDS[command]]
    found = []
    for form in COMMANDS[command]:
        found.append(Case(form, "saturated", capacity or CAPACITY, batch or BATCH))
        if not capacity and not batch:
            found.append(Case(form, "unbatched", UNBATCHED, 1))
        if form in ("ring", "fan", "crowd"):
            found.append(Case(form, "chasing", CHASING, 1))
    return found


class Asked(NamedTuple):
    """What `measure` takes."""

    cases: list[Case]
    records: int
    rounds: int
    cores: list[int]


def asked(command: str, records: int, capacity: int, batch: int, cores: str, rounds: int) -> Asked:
    """The words of the command line, 0 or "" for the default; ConfigError says everything that is wrong with them."""
    there = sorted(os.sched_getaffinity(0))
    chosen = sorted(cores_of(cores)) if cores else (there * 2)[-2:]
    limits = [
        (records == 0 or 1 <= records <= RECORDS_MAX, f"--records {records}: wanted 1 to {RECORDS_MAX:,}"),
        (1 <= rounds <= ROUNDS_MAX, f"--rounds {rounds}: wanted 1 to {ROUNDS_MAX:,}"),
        (
            capacity == 0 or _is_capacity(capacity),
            f"--capacity {capacity}: wanted a power of two up to {CAPACITY_MAX:,}",
        ),
        (0 <= batch <= (capacity or CAPACITY), f"--batch {batch}: wanted 1 to {capacity or CAPACITY:,}, the capacity"),
        (len(chosen) == 2 and {*chosen} <= {*there}, f"--cores {cores}: wanted two of {', '.join(map(str, there))}"),
        (JIT or command != "crowd", "crowd: two producers claim in one step, which only compiled code can: JIT on"),
    ]
    if wrong := tuple(text for good, text in limits if not good):
        raise ConfigError("command line", wrong)
    return Asked(cases(command, capacity, batch), records or RECORDS[command], rounds, chosen)


def _is_capacity(value: int) -> bool:
    return 1 <= value <= CAPACITY_MAX and value & (value - 1) == 0


def measure(wanted: Sequence[Case], records: int, rounds: int, cores: Sequence[int]) -> dict[str, Any]:
    """Every case, round by round, and the hiccup of the cores behind the last; rows in the order of the cases."""
    seen: list[list[Any]] = [[] for _ in wanted]
    with Sides(wanted, cores) as sides:
        sides.wait_until_ready()
        for number in range(rounds):
            for index in range(len(wanted)):
                seen[index].append(sides.play(index, records, number))
        hiccups = sides.hiccups()
    rows = [_row(case, each) for case, each in zip(wanted, seen, strict=True)]
    return {
        "cases": rows, "rounds": rounds, "cores": [*cores], "hiccup_ns": hiccups,
        "bad": sum(row["bad"] for row in rows),
    }  # fmt: skip


class Sides:
    """The two processes; nobody outlives the `with`."""

    def __init__(self, wanted: Sequence[Case], cores: Sequence[int]) -> None:
        self.cases = wanted
        handle = os.memfd_create("ultra-bench", os.MFD_CLOEXEC)
        os.ftruncate(handle, _start(wanted, len(wanted)))
        self.memory = mmap.mmap(handle, 0)
        for index, case in enumerate(wanted):
            FORMS[case.form].configure(structure(self.memory, wanted, index))
        words = json.dumps(wanted)
        spins = BUSY if len({*cores}) > 1 else SPINS
        self._running = [
            subprocess.Popen(
                [sys.executable, "-P", "-c", CHILD, str(handle), str(side), str(core), str(spins), words],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[handle],
            )
            for side, core in enumerate(cores)
        ]  # fmt: skip
        os.close(handle)

    def __enter__(self) -> "Sides":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
            process.communicate()

    def wait_until_ready(self) -> None:
        """Until both have compiled and are pinned."""
        for process in self._running:
            self._heard(process)

    def play(self, index: int, records: int, number: int) -> dict[str, Any]:
        """One round of one case."""
        whole = 2 * self.cases[index].batch  # each of two producers publishes whole batches
        count = -(-records // whole) * whole
        made, took = self._both({"case": index, "records": count, "number": number})
        spent = took["ended"] - made["began"]
        trips = {name: round(value * made["ns_per_tick"]) for name, value in made["ticks"].items()}
        ns = spent * made["ns_per_tick"] / count
        return {
            "ns_per_record": ns, "m_per_s": 1e3 / ns, "batch_seen": count / max(1, took["looks"]), "records": count,
            "bad": made["bad"] + took["bad"], "trip_ns": trips,
        }  # fmt: skip

    def hiccups(self) -> list[dict[str, int]]:
        """How often each of the two cores is taken away."""
        return self._both({"case": -1, "records": 0, "number": 0})

    def _both(self, words: dict[str, int]) -> list[Any]:
        for process in self._running:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it is dead: that it says nothing tells so
                process.stdin.write(json.dumps(words) + "\n")
                process.stdin.flush()
        return [self._heard(process) for process in self._running]

    def _heard(self, process: "subprocess.Popen[str]") -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise BenchError(f"a side of the benchmark ended with code {process.wait()}: see above")
        return json.loads(line)


def _start(wanted: Sequence[Case], index: int) -> int:
    """Where the memory of a case begins; before the first is a page for the sides themselves."""
    return PAGE + sum(_pages(FORMS[case.form].size(case.capacity)) for case in wanted[:index])


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def structure(memory: Any, wanted: Sequence[Case], index: int) -> Any:
    """What a case is about, over the shared memory."""
    return FORMS[wanted[index].form].over(memoryview(memory)[_start(wanted, index) :], wanted[index].capacity)


# ---- One side, in its own process.


def serve(handle: str, side: str, core: str, spins: str, words: str) -> int:
    """Compile, be pinned, and do what each line says until there is none."""
    wanted = [Case(*each) for each in json.loads(words)]
    memory, mine = mmap.mmap(int(handle), 0), int(side)
    np.frombuffer(memory, np.uint8)[::PAGE] |= 0  # no page is taken in a measurement
    for case in wanted:
        play(FORMS[case.form].over(bytearray(FORMS[case.form].size(case.capacity)), case.capacity), case, mine, 0, 0)
    drill.meet(np.zeros(2 * RING_LINE, np.int64), 0, RING_LINE, 0, SPINS)
    scale = clock.calibrate()
    os.sched_setaffinity(0, {int(core)})
    print(json.dumps({}), flush=True)
    arrived, times = np.frombuffer(memory, np.int64, PAGE // 8), 0  # how often they met
    for line in sys.stdin:
        given = json.loads(line)
        if given["case"] < 0:
            print(json.dumps(hiccup.measure(HICCUP_MS)), flush=True)
            continue
        case, ring = wanted[given["case"]], structure(memory, wanted, given["case"])
        times += 1
        if not _meet(arrived, mine, times, int(spins)):
            return 1
        found = play(ring, case, mine, given["records"], given["number"], int(spins))
        print(json.dumps({**found, "ns_per_tick": scale}), flush=True)
    return 0


def play(ring: Any, case: Case, side: int, records: int, number: int, spins: int = SPINS) -> dict[str, Any]:
    """Do the loop of one side; what it counted."""
    form, out, times = FORMS[case.form], np.zeros(drill.OUT, np.int64), histograms.create()
    mine = records // 2 if form.both_make and side == 0 else records
    out[drill.FIRST] = number * records
    count = case.batch if side == 0 or form.both_make else least(case)
    moved = time.monotonic()
    while True:
        before = int(out[drill.RECORDS])
        form.loops[side](ring, mine, count, spins, out, times)
        if out[drill.RECORDS] >= mine:
            break
        if out[drill.RECORDS] != before:
            moved = time.monotonic()
        elif time.monotonic() - moved > STILL_S:
            raise BenchError(f"{case.form}, {case.regime}: nothing came for {STILL_S:g} s")
        os.sched_yield()
    return {
        "began": int(out[drill.BEGAN]), "ended": int(out[drill.ENDED]), "looks": int(out[drill.LOOKS]),
        "bad": int(out[drill.BAD]),
        "ticks": {name: histograms.percentile(times, q) for name, q in PERCENTILES.items() if times.largest[0]},
    }  # fmt: skip


def _meet(arrived: Any, side: int, times: int, spins: int) -> bool:
    """Wait until the other is as far; False when it does not come."""
    until = time.monotonic() + STILL_S
    while not drill.meet(arrived, side * RING_LINE, (1 - side) * RING_LINE, times, spins):
        if time.monotonic() > until:
            return False
    return True


# ---- What came of it.


def _row(case: Case, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the rounds, with the fastest and the slowest."""
    rates = sorted(each["m_per_s"] for each in rounds)
    row = {
        **case._asdict(), "records": rounds[0]["records"], "bad": sum(each["bad"] for each in rounds),
        "m_per_s": round(statistics.median(rates), 2), "m_per_s_low": round(rates[0], 2),
        "m_per_s_high": round(rates[-1], 2),
        "ns_per_record": round(statistics.median(each["ns_per_record"] for each in rounds), 3),
        "batch_seen": round(statistics.median(each["batch_seen"] for each in rounds), 1),
    }  # fmt: skip
    if not case.form.startswith("pingpong"):
        return row
    trips = {name: round(statistics.median(each["trip_ns"][name] for each in rounds)) for name in PERCENTILES}
    return {**row, "batch_seen": 1.0, "trip_ns": trips}


def as_text(found: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [
        f"{'':21} {'regime':10}{'capacity':>9}{'batch':>6}{'M/s':>9}{'low':>8}{'high':>8}{'ns each':>10}"
        f"{'batch seen':>12}{'bad':>5}"
    ]
    for row in found["cases"]:
        lines.append(
            f"{row['form']:21} {row['regime']:10}{row['capacity']:>9}{row['batch']:>6}{row['m_per_s']:>9.2f}"
            f"{row['m_per_s_low']:>8.1f}{row['m_per_s_high']:>8.1f}{row['ns_per_record']:>10.2f}"
            f"{row['batch_seen']:>12.1f}{row['bad']:>5}"
        )
        if "trip_ns" in row:
            trips = "  ".join(f"{name.replace('_', '.')} {value:,}" for name, value in row["trip_ns"].items())
            lines.append(f"round trip, ns: {trips}")
    for core, each in zip(found["cores"], found["hiccup_ns"], strict=True):
        lines.append(f"hiccup of core {core}, ns: p50 {each['p50']:,}  p99 {each['p99']:,}  max {each['max']:,}")
    lines.append(
        f"medians of {found['rounds']} rounds of {found['cases'][0]['records']:,} records; "
        f"low and high: slowest and fastest round"
    )
    if len({*found["cores"]}) < 2:
        lines.append("both sides on one core: they take turns, and no figure here is one of a ring")
    return "\n".join(lines)
