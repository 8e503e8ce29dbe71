"""Recorded market data for the tests: where it is, and how its files are read. None of it belongs to the project.

The folder is ULTRA_DATA, else `shared/data` beside the root of the repository. A test that asks for a file that is
not there is skipped, and says which file and what to set.
"""

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("ULTRA_DATA") or ROOT.parent / "shared" / "data")


def data(*parts: str) -> Path:
    """A recorded file, or the test is skipped."""
    path = FOLDER.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"recorded data {'/'.join(parts)} is not in {FOLDER}: set ULTRA_DATA to its folder")
    return path


def content(*parts: str) -> Any:
    """The bytes of a recorded file, unpacked if its name ends in .gz, as a uint8 array of exactly that length."""
    raw = data(*parts).read_bytes()
    return np.frombuffer(gzip.decompress(raw) if parts[-1].endswith(".gz") else raw, np.uint8).copy()


def table(*parts: str, header: bool = True) -> Any:
    """The rows of a recorded file of whole numbers as int64[rows, columns]."""
    return np.loadtxt(data(*parts), np.int64, delimiter=",", skiprows=int(header), ndmin=2)
