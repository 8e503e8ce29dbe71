"""Streams for the benchmarks: generated once a session, in memory, the same bytes everywhere."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from ultra.venues import flow

ROOT = Path(__file__).parent.parent
AAPL = Path("itch") / "derived_AAPL_20120621_0930_1030.itch50.gz"


def recorded() -> Path:
    """Folder of recorded data."""
    return Path(os.environ.get("ULTRA_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def aapl():
    """One recorded hour of AAPL: 92,083 messages."""
    path = recorded() / AAPL
    if not path.is_file():
        pytest.skip(f"no recorded data: {path} is not there (set ULTRA_DATA)")
    return np.frombuffer(gzip.open(path).read(), np.uint8).copy()


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """`generated(instruments, messages)`: a synthetic day as bytes."""
    folder = tmp_path_factory.mktemp("flow")
    made = {}

    def make(instruments, messages):
        if (instruments, messages) not in made:
            path = folder / f"{instruments}.itch50"
            flow.write(path, instruments=instruments, messages=messages, seed=1)
            made[instruments, messages] = np.fromfile(path, np.uint8)
        return made[instruments, messages]

    return make
