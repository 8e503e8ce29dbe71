"""Runs and replays as the command line gives them: from words to a summary, and a summary to a page."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import strategy
from ..cold import assembly, live
from ..cold import replay as replays
from ..cold import summary as summaries
from ..cold.live import Outcome
from ..config import Config
from ..hot import curve as curves
from ..hot import engine as engines
from ..venues import flow, itch
from . import report

as_text = summaries.as_text


def run(
    config: Config,
    path: Path,
    spec: str,
    folder: Path,
    *,
    pace: float = 0.0,
    progress: Callable[[dict[str, int]], None] | None = None,
    started: float = 0.0,
) -> tuple[dict[str, Any], Outcome]:
    """Run a strategy over a file; the summary and what it was made from."""
    loaded = strategy.load(spec)
    outcome = live.Live(config, loaded, path, folder, pace=pace, progress=progress, started=started).play()
    return summaries.of_run(outcome), outcome


def progress_line(state: dict[str, int]) -> None:
    """How far a run is, in one line: `memory` and `local` are the next inputs of those durability levels."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(
        "progress " + " ".join(f"{key}={value}" for key, value in state.items()),
        end=end,
        file=sys.stderr,
        flush=True,
    )


def damage(outcome: Outcome) -> int:
    """Say what was wrong with the file; the exit code."""
    lines = []
    if outcome.source_error:
        lines.append(outcome.source_error)
    if outcome.truncated_at >= 0:
        lines.append(
            f"{outcome.source}: cut inside a message at offset {outcome.truncated_at}; "
            "everything before it was processed"
        )
    for line in lines:
        print(f"ultra: {line}", file=sys.stderr)
    return 3 if lines else 0


def write_report(path: Path, summary: dict[str, Any], outcome: Outcome) -> None:
    """The run as a self-contained page."""
    curve = outcome.machine.run.curve
    points = curve.points[: int(curve.cells[curves.COUNT])]
    tick = itch.TICK_E9 * itch.LOT_E9 / 1e18
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write(
        path,
        report.RunReport(
            strategy=outcome.machine.loaded.spec,
            source=outcome.source.name,
            session_date=outcome.machine.config.feed.date or "no date given",
            summary=summary,
            curve=[(int(p.ts), int(p.pnl) * tick, int(p.gross)) for p in points],
            histogram=summaries.buckets_ns(outcome.machine.run.service),
        ),
    )


def replay(folder: Path, source: Path | None, force: bool) -> dict[str, Any]:
    """Replay a journal; the JSON of `ultra replay`."""
    found = replays.Replay(folder, source_path=source, force=force).play()
    engine = found.machine.run.engine
    return {
        "records": found.records,
        "state_hash": found.state_hash,
        "matches": found.matches,
        "records_per_s": round(found.records / found.wall_s) if found.wall_s else 0,
        "decision_hash": assembly.decision_hash(engine),
        "orders": int(engine.cells[engines.ORDERS_SENT]),
        "fills": int(engine.market.fills.sum()),
        "checkpoints": found.checkpoints,
        "complete": found.complete,
        "mismatch": found.mismatch,
    }


def replay_text(found: dict[str, Any]) -> str:
    """The answer in words."""
    verdict = "the same engine" if found["matches"] else f"NOT the same: {found['mismatch']}"
    if not found["complete"]:
        verdict += "; the run did not end in good order, rebuilt to the last input the journal knows"
    return (
        f"{found['records']:,} inputs, {found['records_per_s']:,} a second, {found['checkpoints']} checkpoints: "
        f"{verdict}\n"
        f"{found['orders']:,} orders, {found['fills']:,} fills\n"
        f"state     {found['state_hash']}\ndecisions {found['decision_hash']}"
    )


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
