"""`ultra chaos`: the main job, killed again and again at numbers drawn from a seed, held to the same job undisturbed.

A generated market is traded once without a kill. Then runs of it are started with a projector and a follower beside
them, and pieces are killed with -9 while they are at work: engine, journal, feed, venue, projector, follower. A run
goes on through as many kills as its host answers for; after its last one it ends, in good order or as a dead run, and
`proofs` says whether anything acknowledged is lost, or anything is not what it would have been.
With `steps` a kill is not at an input, but at a step of `cold/labels` that the process itself comes to.
Always true: seed and words decide who is to die when; how far it is in that moment is the scheduler's.
Known bad case: a machine so slow that a run is over before its kills: they met nobody, and are not counted.
"""

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..cold import labels
from ..config import Config
from . import session
from .proofs import Reference, Witness, proven, reference
from .victims import BESIDE, Victims

HOSTED: Final = ("engine", "journal", "feed", "engine and journal", *BESIDE)
PREY: Final = {
    "inline": ("journal", *BESIDE), "pipeline": HOSTED, "diamond": (*HOSTED, "mirror"),
}  # fmt: skip
LAST: Final = {"inline": "engine", "pipeline": "venue", "diamond": "venue"}  # after which a run can't go on
KILLS_OF_A_RUN: Final = 6
STEPS_OF_A_RUN: Final = 10
POLL_S: Final = 0.002
# A small engine: it is started often.
SIZES: Final = {
    "engine.instrument_max": 64, "engine.order_live_max": 1 << 14, "engine.level_page_max": 4096,
    "engine.own_order_max": 256, "engine.prefault": False, "engine.checkpoint_records": 1000,
    "journal.segment_bytes": 1 << 20, "journal.ring_records": 4096,
}  # fmt: skip
# How often its pieces may come back is not what is tried.
LIMITS: Final = {
    "journal.restart_max": 1000, "host.engine_restart_max": 1000, "host.feed_restart_max": 1000, "host.stall_ms": 5000,
}  # fmt: skip
FIRST: Final = {"engine.b": "engine.pump", "journal.resume": "journal.append"}
TS_AT: Final = 2 + 5  # of a framed message


@dataclass
class Kill:
    """One of them."""

    number: int
    run: int
    who: str
    wished: int  # input at which it was to be, NONE where a step says when
    step: str = ""
    at: int = -1  # input that the engine had published just before
    durable: int = -1  # inputs below it were called durable just before
    met: int = 0  # processes
    wrong: list[str] = field(default_factory=list)


@dataclass
class Job:
    """What is run, and how often it is killed."""

    source: Path
    spec: str
    config: Config
    pace: float  # times as fast as it was recorded
    seed: int
    kills: int
    steps: bool


class Chaos:
    """All runs of one job."""

    def __init__(self, job: Job, folder: Path, told: Callable[[Kill], None] | None = None) -> None:
        self._job, self._folder, self._told = job, folder, told
        self._dice = random.Random(job.seed)
        self._decks: dict[bool, list[str]] = {False: [], True: []}  # steps to be dealt; of those that end a run
        self.kills: list[Kill] = []
        self.runs: list[dict[str, Any]] = []
        (folder / "job.toml").write_text(job.config.to_toml())
        self._undisturbed = self._reference()

    def _reference(self) -> Reference:
        """All presets give the same records, so one process is enough."""
        folder, config = self._folder / "undisturbed", self._job.config
        config = replace(config, host=replace(config.host, preset="inline"))
        ran = session.run(config, self._job.source, self._job.spec, folder)
        return reference(folder, ran.summary)

    def play(self) -> dict[str, Any]:
        """Until there were as many kills as wished, or one was wrong."""
        begun, number = time.perf_counter(), 0
        while self._met < self._job.kills and not self.wrong and number < 4 * self._job.kills:
            self._one_run(number, self._job.kills - self._met)
            number += 1
        return self._found(time.perf_counter() - begun)

    @property
    def _met(self) -> int:
        return sum(kill.met > 0 for kill in self.kills)

    @property
    def wrong(self) -> list[str]:
        """What does not hold, of all runs."""
        return [f"run {run['run']}: {what}" for run in self.runs for what in run["wrong"]]

    def _one_run(self, number: int, most: int) -> None:
        folder, job = self._folder / f"run{number}", self._job
        plan = self._steps(number, most) if job.steps else self._inputs(number, most)
        files = [str(folder / f"died{k}") for k in range(len(plan))]
        orders = {labels.VARIABLE: ",".join(f"{kill.step}:{file}" for kill, file in zip(plan, files, strict=True))}
        every = max(100, self._undisturbed.inputs // 8)
        words = ["run", "--itch", str(job.source), "--strategy", job.spec, "--pace", f"{job.pace}x",
                 "--config", str(self._folder / "job.toml")]  # fmt: skip
        victims = Victims(folder, words, f"chaos-{os.getpid()}-{number}", every, orders if job.steps else None)
        witness = Witness(victims.journal, self._undisturbed)
        wrong: list[str] = []
        try:
            if not job.steps:
                for kill in plan:
                    self._kill(victims, witness, kill)
                    wrong += kill.wrong
            code, found = victims.end()
            for kill, file in zip(plan, files, strict=True):
                kill.met = int(Path(file).exists()) if job.steps else kill.met
            wrong += victims.failed
            wrong += self._ended(code, found, plan, victims)
            least = victims.durable if job.steps else victims.processed
            wrong += proven(witness, self._undisturbed, victims.journal, victims.db, least)
            wrong += self._mirrored(Path(f"{victims.journal}-mirror"), code)
        finally:
            victims.stop()
            witness.close()
        self.runs.append({"run": number, "code": code, "inputs": witness.through, "hashes": witness.hashes,
                          "folder": str(folder), "wrong": wrong})  # fmt: skip
        for kill in plan:
            kill.number = self._met
            kill.wrong = wrong if job.steps else kill.wrong
            self.kills.append(kill)
            if self._told is not None:
                self._told(kill)
        if not wrong:
            shutil.rmtree(folder)

    def _mirrored(self, folder: Path, code: int) -> Iterator[str]:
        """What is wrong with the second journal of a run, if it has one."""
        if folder.is_dir():
            witness = Witness(folder, self._undisturbed)
            yield from (f"mirror: {what}" for what in witness.catch_up())
            if code == 0 and witness.through < self._undisturbed.inputs:
                yield f"mirror: it has inputs below {witness.through} of a run that ended in good order"
            witness.close()

    # ---- who is to die, and when

    def _inputs(self, number: int, most: int) -> list[Kill]:
        """Kills at inputs, in order; the last of a run may be of one that can't come back."""
        preset, dice, inputs = self._job.config.host.preset, self._dice, self._undisturbed.inputs
        count = min(most, dice.randint(2, KILLS_OF_A_RUN))
        at = sorted(dice.randrange(inputs // 50, inputs * 9 // 10) for _ in range(count))
        who = [dice.choice(PREY[preset]) for _ in range(count)]
        if dice.random() < 0.5 or count == 1:
            who[-1] = LAST[preset]
        return [Kill(0, number, name, wished) for name, wished in zip(who, at, strict=True)]

    def _steps(self, number: int, most: int) -> list[Kill]:
        """Deaths at labelled steps: each process of the run has some before it."""
        dice, preset = self._dice, self._job.config.host.preset
        absent = {"feed", "venue"} if preset == "inline" else set()
        deadly = {"engine"} if preset == "inline" else {"venue"}
        names = [name for name, (who, _) in labels.STEPS.items() if who not in absent and reachable(name, preset)]
        final = [name for name in names if labels.STEPS[name][0] in deadly]
        others = [name for name in names if labels.STEPS[name][0] not in deadly]
        chosen = self._dealt(others, min(most, STEPS_OF_A_RUN), False)
        for later, first in FIRST.items():  # who is to die when it comes back has to die before
            if any(name.startswith(later) for name in chosen) and not any(name.startswith(first) for name in chosen):
                chosen[0] = dice.choice([name for name in others if name.startswith(first)])
        if dice.random() < 0.4 or most == 1:
            chosen[-1] = self._dealt(final, 1, True)[0]
        return [
            Kill(0, number, labels.STEPS[name][0], -1, f"{name}:{dice.randint(1, often(name, preset == 'inline'))}")
            for name in chosen
        ]

    def _dealt(self, steps: list[str], count: int, final: bool) -> list[str]:
        """Some of these steps, each as often as any other in the long run."""
        deck, found = self._decks[final], list[str]()
        while len(found) < min(count, len(steps)):
            if not deck:
                deck += self._dice.sample(steps, len(steps))
            found.append(deck.pop())
        return list(dict.fromkeys(found))

    # ---- one of them

    def _kill(self, victims: Victims, witness: Witness, kill: Kill) -> None:
        """Wait until the run is there, note what it promised, kill, and see whether the files have it."""
        while victims.look() and (victims.processed < kill.wished or not victims.pids(kill.who)):
            time.sleep(POLL_S)
        kill.at, kill.durable = victims.processed, victims.durable
        kill.met = victims.kill(kill.who)
        kill.wrong += witness.catch_up()
        if witness.through < kill.durable:
            kill.wrong.append(
                f"{kill.durable} inputs were durable when the {kill.who} died, {witness.through} are there"
            )

    def _ended(self, code: int, found: dict[str, Any], plan: list[Kill], victims: Victims) -> Iterator[str]:
        """Whether the run may end so."""
        last = LAST[self._job.config.host.preset]
        died = any(kill.met and last in kill.who.split(" and ") for kill in plan)
        if code == 0:
            hashes = (found["state_hash"], found["decision_hash"])
            if hashes != (self._undisturbed.state_hash, self._undisturbed.decision_hash):
                yield f"the run says that it is {hashes}"
        elif not died or code not in (-9, 5):
            yield f"the run ended with code {code}: {victims.refused()}"

    def _found(self, wall_s: float) -> dict[str, Any]:
        by_who = Counter(kill.who for kill in self.kills if kill.met)
        wrong = self.wrong
        return {
            "seed": self._job.seed, "preset": self._job.config.host.preset, "kills": self._met,
            "runs": len(self.runs), "inputs": self._undisturbed.inputs, "by_who": dict(sorted(by_who.items())),
            "by_step": dict(sorted(Counter(kill.step.partition(":")[0] for kill in self.kills if kill.met).items()))
            if self._job.steps else {},
            "in_good_order": sum(run["code"] == 0 for run in self.runs),
            "hashes": sum(run["hashes"] for run in self.runs), "wall_s": round(wall_s, 1), "wrong": wrong,
            "list": [asdict(kill) for kill in self.kills],
        }  # fmt: skip


def reachable(step: str, preset: str) -> bool:
    """Whether a run of this preset comes there without an operator's doing."""
    if step.startswith(("retention", "ship")):
        return False  # of a day this short nothing goes, and nobody ships it; tests/test_retention.py, test_labels.py
    return preset != "inline" or step not in ("engine.bury.after", "engine.back.before", "engine.back.after")


def often(step: str, inline: bool) -> int:
    """How often a process comes to a step at least, so that a number drawn up to it is reached."""
    once = ("begin", "resume", "close", "roll", "end", "settle", "bury", "back", "image", "block.kept", "checkpoint")
    if step.startswith("venue") or (inline and step.startswith("engine.pump")):
        return 300  # nothing comes behind it: rather late, or never
    return 1 if any(word in step for word in once) else 3 if step.startswith("projection") else 25


def market(folder: Path, instruments: int, messages: int, seed: int) -> tuple[Path, float]:
    """A generated day, and the seconds from its first message to its last."""
    path = folder / "market.itch50"
    session.generate(path, instruments, messages, seed)
    data, at, times = path.read_bytes(), 0, []
    while at < len(data):
        times.append(int.from_bytes(data[at + TS_AT : at + TS_AT + 6], "big"))
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    return path, (times[-1] - times[0]) / 1e9


def line(kill: Kill) -> str:
    """One kill, for people."""
    where = f"step {kill.step}" if kill.step else f"input {kill.wished:,}"
    if not kill.met:
        return f"   -  run {kill.run:<3} {kill.who:<18} {where}: it did not come to that"
    state = "died there" if kill.step else f"at {kill.at:,}, durable {kill.durable:,}"
    return (
        f"{kill.number + 1:>4}  run {kill.run:<3} {kill.who:<18} {where}: {state}, {'WRONG' if kill.wrong else 'kept'}"
    )


def as_text(found: dict[str, Any]) -> str:
    """All of it, as a table."""
    rows = [f"{name:<24} {count:>5}" for name, count in (found["by_step"] or found["by_who"]).items()]
    verdict = "every proof holds" if not found["wrong"] else "\n".join(["NOT as it must be:", *found["wrong"]])
    return "\n".join([
        "", *rows, "",
        f"{found['kills']} kills in {found['runs']} runs of {found['inputs']:,} inputs ({found['preset']}), "
        f"{found['in_good_order']} of them to their end; {found['hashes']} state hashes of live engines equal; "
        f"{found['wall_s']} s: {verdict}",
        f"again     {found['again']}",
    ])  # fmt: skip


def clear(folder: Path, whole: bool) -> None:
    """Remove what served its purpose; the folder too, if it is ours."""
    for name in ("undisturbed", "market.itch50", "job.toml"):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if whole:
        folder.rmdir()
