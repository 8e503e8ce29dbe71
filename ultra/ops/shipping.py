"""`ultra ship`, `ultra bridge`, and a journal from a stream: what the commands do, from words to an answer."""

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..cold import bridge, landing, segment, shipping
from ..cold.shipper import Place
from ..cold.tail import Tail

AWAIT_S = 0.1


def ship(folder: Path, place: Place, options: shipping.Options) -> dict[str, Any]:
    """Ship until the run ends, or SIGTERM or SIGINT comes; what was shipped. A run that has not begun is awaited."""
    while not options.once and not _has_begun(folder):
        time.sleep(AWAIT_S)
    shipper = shipping.Shipper(folder, place, options)

    async def run() -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, shipper.stop)
        return await shipper.run()

    return asyncio.run(run())


def _has_begun(folder: Path) -> bool:
    if not folder.is_dir() or not segment.is_used(folder):
        return False
    tail = Tail(folder)
    try:
        return tail.poll() is not None
    finally:
        tail.close()


def state(folder: Path) -> dict[str, Any]:
    """What a journal's shipper said last; ShipError when there never was one."""
    try:
        found: dict[str, Any] = json.loads((folder / shipping.STATUS).read_text())
    except FileNotFoundError:
        raise shipping.ShipError(f"{folder}: nothing of it was ever shipped (ultra ship)") from None
    return found


def carry(session: str, place: Place) -> int:
    """Pass commands from NATS to a run's desk, until SIGTERM or SIGINT."""
    carrier = bridge.Bridge(session, place, lambda text: print(f"ultra: {text}", file=sys.stderr, flush=True))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, carrier.stop)
        await carrier.run()

    asyncio.run(run())
    return 0


@contextmanager
def landed(place: Place, folder: Path | None) -> Iterator[Path]:
    """A stream as a journal, in this folder, or in one that goes again."""
    target = folder if folder is not None else Path(tempfile.mkdtemp(prefix="ultra-")) / "journal"
    try:
        landing.Landing(place, target, _progress).play()
        yield target
    finally:
        if folder is None:
            shutil.rmtree(target.parent, ignore_errors=True)


def _progress(messages: int, through: int) -> None:
    if messages % 1024 == 0 and sys.stderr.isatty():
        print(f"\r{messages:,} messages read", end="", file=sys.stderr, flush=True)


def as_text(found: dict[str, Any]) -> str:
    """A status in a few lines."""
    counts, durable = found["counts"], found["durability"]
    lines = [
        f"{found['replicated']:,} of {found['inputs']:,} inputs are in stream {found['stream']} of {found['servers']}, "
        f"{found['messages']:,} messages",
        f"{found['state']}{': ' * bool(found['alarm'])}{found['alarm']}, epoch {found['epoch']}; behind by "
        f"{found['lag_records']:,} inputs, {found['lag_bytes']:,} bytes, {found['lag_s']:.3f} s",
        ", ".join(f"{name} {count:,}" for name, count in counts.items()),
    ]
    if durable:
        lines.append(f"an ack: {durable['replicas']} replicas, {durable['sync']}; survives {durable['acked_survives']}")
    if found["why"]:
        lines.append(f"last: {found['why']}")
    return "\n".join([*lines, *found["warnings"]])
