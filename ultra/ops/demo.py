"""`ultra demo`: the main job from nothing. A generated stream is traded, journaled, replayed and drawn; recorded data
too, where it is given. The generated stream is synthetic, and its P&L means nothing about any market."""

import os
import shutil
import sys
import time
from pathlib import Path

from ..cold import replay as replays
from ..config import load
from . import session

GENERATED = {"instruments": 12, "messages": 1_000_000, "seed": 7}
RECORDED = Path("itch") / "derived_AAPL_20120621_0930_1030.itch50.gz"


def run(folder: Path, data: Path | None) -> int:
    """Show the main job; 0 when every replay was the same engine."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print("1. A synthetic Nasdaq ITCH 5.0 day: " + ", ".join(f"{k} {v:,}" for k, v in GENERATED.items()))
    stream = folder / "synthetic.itch50.gz"
    begun = time.perf_counter()
    session.generate(stream, **GENERATED)
    print(f"   {stream}, {stream.stat().st_size >> 10:,} KiB in {time.perf_counter() - begun:.1f} s\n")
    jobs = [("A microprice taker on it", stream, "ultra.strategies.imbalance:Imbalance", "")]
    recorded = (data or Path(os.environ.get("ULTRA_DATA", "../shared/data"))) / RECORDED
    if recorded.is_file():
        jobs.append(
            (
                "A market maker on a recorded hour of AAPL",
                recorded,
                "ultra.strategies.maker:MarketMaker",
                "2012-06-21",
            )
        )
    same = [_job(f"{number}. {title}", path, spec, date, folder / f"run{number}")
            for number, (title, path, spec, date) in enumerate(jobs, 2)]  # fmt: skip
    if not recorded.is_file():
        print(f"(no recorded data: {recorded} is not there; set ULTRA_DATA to show a run on it)")
    return 0 if all(same) else 1


def _job(title: str, path: Path, spec: str, date: str, folder: Path) -> bool:
    print(f"{title}: {spec}")
    config = load(None, {"feed.date": date, "engine.checkpoint_records": 250_000})
    ran = session.run(config, path, spec, folder / "journal", started=time.perf_counter())
    page = folder / "report.html"
    session.write_report(page, ran)
    session.damage(ran)
    print(_indent(session.as_text(ran.summary)))
    found = session.replayed(replays.Replay(folder / "journal").play())
    print(_indent(f"replay    {session.replay_text(found).splitlines()[0]}"))
    print(_indent(f"again     ultra replay {folder / 'journal'}\npicture   {page}\n"))
    sys.stdout.flush()
    return bool(found["matches"])


def _indent(text: str) -> str:
    return "\n".join("   " + line if line else "" for line in text.splitlines()) + ("\n" if text.endswith("\n") else "")
