"""Runs and replays as the command line gives them: from words to a summary, and a summary to a page."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .. import strategy
from ..cold import assembly, core, live, wired
from ..cold import replay as replays
from ..cold import summary as summaries
from ..cold.pace import AT_ONCE, Pace
from ..config import Config
from ..hot import engine as engines
from ..venues import flow, itch
from . import report

as_text = summaries.as_text


class Ran(NamedTuple):
    """What a run leaves behind, whichever processes it was."""

    strategy: str
    source: str
    session_date: str
    summary: dict[str, Any]
    curve: list[tuple[int, int, int]]  # ts, P&L in ticks x lots, gross position
    histogram: list[tuple[int, int, int]]  # lowest ns, highest ns, count


def run(
    config: Config,
    path: Path,
    spec: str,
    folder: Path,
    *,
    pace: Pace = AT_ONCE,
    progress: Callable[[dict[str, int]], None] | None = None,
    started: float = 0.0,
) -> Ran:
    """Run a strategy over a file, in one process or in several."""
    loaded = strategy.load(spec)
    if config.host.preset == "inline":
        outcome = live.Live(config, loaded, path, folder, pace=pace, progress=progress, started=started).play()
        found = core.result(outcome)
    else:
        from ..cold import host

        found = host.Host(config, strategy.absolute(spec), path, folder, pace=pace, progress=progress).play()
    curve = [(ts, pnl, gross) for ts, pnl, gross in found["curve"]]
    histogram = [(low, high, count) for low, high, count in found["histogram"]]
    return Ran(loaded.spec, str(path), config.feed.date, found["summary"], curve, histogram)


def trade(
    config: Config,
    spec: str,
    folder: Path,
    *,
    seconds: float | None = None,
    progress: Callable[[dict[str, int]], None] | None = None,
    started: float = 0.0,
) -> Ran:
    """Run a strategy on a venue."""
    loaded = strategy.load(spec)
    run = wired.Wired(config, loaded, folder, seconds=seconds, progress=progress, started=started)
    outcome = run.play()
    found = core.result(outcome)
    return Ran(loaded.spec, outcome.source, config.feed.date, found["summary"], found["curve"], found["histogram"])


def progress_line(state: dict[str, int]) -> None:
    """How far a run is, in one line: `memory` and `local` are the next inputs of those durability levels."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(
        "progress " + " ".join(f"{key}={value}" for key, value in state.items()),
        end=end,
        file=sys.stderr,
        flush=True,
    )


def damage(ran: Ran) -> int:
    """Say what was wrong with the file, or with who read it; the exit code."""
    errors, lines = ran.summary["errors"], []
    if "source" in errors:
        lines.append(str(errors["source"]))
    if "truncated_at" in errors:
        lines.append(
            f"{ran.source}: cut inside a message at offset {errors['truncated_at']}; everything before it was processed"
        )
    if "feed_lost" in errors:
        lines.append(f"the feed {errors['feed_lost']}; what it had sent was processed to the end")
    for line in lines:
        print(f"ultra: {line}", file=sys.stderr)
    return 5 if "feed_lost" in errors else 3 if lines else 0


def write_report(path: Path, ran: Ran) -> None:
    """The run as a self-contained page."""
    tick = itch.TICK_E9 * itch.LOT_E9 / 1e18
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write(
        path,
        report.RunReport(
            strategy=ran.strategy,
            source=Path(ran.source).name,
            session_date=ran.session_date or "no date given",
            summary=ran.summary,
            curve=[(ts, pnl * tick, gross) for ts, pnl, gross in ran.curve],
            histogram=ran.histogram,
        ),
    )


def replayed(found: replays.Replayed, *, snapshots: bool = False) -> dict[str, Any]:
    """The JSON of `ultra replay`; if `snapshots` might have been used, with what came of that."""
    engine = found.machine.run.engine
    about: dict[str, Any] = {"start": found.start, "skipped": found.skipped, "unproven": found.unproven}
    return {
        "records": found.records,
        "state_hash": found.state_hash,
        "matches": found.matches,
        "records_per_s": round((found.records - found.start) / found.wall_s) if found.wall_s else 0,
        "decision_hash": assembly.decision_hash(engine),
        "orders": int(engine.cells[engines.ORDERS_SENT]),
        "fills": int(engine.market.fills.sum()),
        "checkpoints": found.checkpoints,
        "complete": found.complete,
        "mismatch": found.mismatch,
        **(about if snapshots else {}),
    }


def replay_text(found: dict[str, Any]) -> str:
    """The answer in words."""
    verdict = "the same engine" if found["matches"] else f"NOT the same: {found['mismatch']}"
    if not found["complete"]:
        verdict += "; not the end of a run in good order, but the last input asked for or known"
    lines = [f"passed over: {why}" for why in found.get("skipped", ())]
    if found.get("start"):
        lines.append(f"{found['start']:,} inputs out of a snapshot")
    if found.get("unproven"):
        lines.append(f"not proven: {found['unproven']}")
    return "\n".join([
        *lines,
        f"{found['records']:,} inputs, {found['records_per_s']:,} a second, {found['checkpoints']} checkpoints: "
        f"{verdict}",
        f"{found['orders']:,} orders, {found['fills']:,} fills",
        f"state     {found['state_hash']}\ndecisions {found['decision_hash']}",
    ])  # fmt: skip


def generate(path: Path, instruments: int, messages: int, seed: int) -> dict[str, Any]:
    """Write a synthetic ITCH file; what was written."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(
                f"\rgenerating {done / total:4.0%}",
                end="" if done < total else "\n",
                file=sys.stderr,
                flush=True,
            )

    found = flow.write(path, instruments=instruments, messages=messages, seed=seed, progress=show)
    return {"file": str(path), **dataclasses.asdict(found)}
