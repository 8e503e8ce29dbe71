"""A paced run of several processes, for the tests that kill, stop and end them."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import MAKER, command, environment, market, run_words, until

from ultra.cold import shared
from ultra.cold.control import STAGES, Control
from ultra.wire import RUNNING, STAGE_AT, STAGE_PID, STAGE_STATE

MESSAGES = 4000


def two_seconds(folder: Path) -> Path:
    """A market of that length."""
    path = folder / "day.itch50"
    path.write_bytes(market(MESSAGES))
    return path


@contextlib.contextmanager
def none_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Segments lie where nobody else's do, and none is left."""
    (folder / "shm").mkdir(parents=True)
    monkeypatch.setenv("ULTRA_SHM_DIR", str(folder / "shm"))
    yield
    assert shared.stale() == [] and [one.name() for one in shared.found()] == []


class Hosted:
    """A paced run of a preset, and its processes."""

    def __init__(self, day: Path, folder: Path, spec: str = MAKER, *, pace: str = "2x", **more: Any) -> None:
        self.folder = folder
        # Their stages share two cores with everything else here: none is stuck for being late.
        settings = {"host__preset": "pipeline", "engine__session": "desk", "host__stall_ms": 2000} | more
        words = run_words(day, folder, spec, **settings)
        self.process = subprocess.Popen(
            command(*words, "--pace", pace, "--progress"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def control(self) -> Control:
        """The control block, once every stage runs."""
        assert self.process.poll() is None
        until(lambda: self.process.poll() is not None or shared.path_of("desk.control").exists(), "there is a control")
        control = Control(shared.attach("desk.control", kind="control", writable=True))
        stages = range(len(STAGES))
        until(lambda: all(control.of(k, STAGE_STATE) >= RUNNING for k in stages), "every stage runs")
        return control

    def pid(self, stage: str) -> int:
        return self.control().of(STAGES.index(stage), STAGE_PID)

    def at_work(self, records: int) -> Control:
        """The control block, once the engine is through with so many records."""
        control = self.control()
        until(lambda: control.of(1, STAGE_AT) >= records or self.process.poll() is not None, "the engine is at work")
        return control

    def end(self) -> tuple[int, dict[str, Any], str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, json.loads(out or "{}"), err


def journal_of(control: Control) -> int:
    """The process of the engine's journal, 0 when there is none."""
    pid = control.of(1, STAGE_PID)
    with contextlib.suppress(FileNotFoundError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else 0
    return 0
