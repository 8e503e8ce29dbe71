"""Two processes over one mapping: no message is seen before what it announces, and no addition is lost.

x86 forgives a missing acquire or release, so this is no proof of the order there (`test_instructions.py` reads the
code for that); it is one of atomicity, of the layout, and of the two implementations being one.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import litmus
import pytest

HERE = Path(__file__).parent


def native_is_missing() -> str:
    if importlib.util.find_spec("ultra.cold.native") is None:
        return "ultra.cold.native is not there"
    from ultra.cold.native import NATIVE

    return "" if NATIVE else "the C part is not compiled"


# Messages seen in each direction: Python takes microseconds for one.
ROUNDS = {("compiled", "compiled"): 1_500_000, ("compiled", "native"): 500_000}


def race(path: Path, kinds: tuple[str, str]) -> list[dict[str, Any]]:
    path.write_bytes(bytes(litmus.CELLS * 8))
    paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", "import litmus; litmus.main()", str(path), str(side), kind, str(ROUNDS[kinds])],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for side, kind in enumerate(kinds)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [json.loads(out) for out, _ in outputs]


@pytest.mark.jit_only
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two sides on one core never race")
@pytest.mark.parametrize("kinds", list(ROUNDS))
def test_two_processes_agree_on_the_order_and_lose_nothing(tmp_path: Path, kinds: tuple[str, str]) -> None:
    if "native" in kinds and (reason := native_is_missing()):
        pytest.skip(reason)
    found = race(tmp_path / "cells", kinds)
    for side in found:
        assert side["rounds"] >= ROUNDS[kinds] and side["forbidden"] == 0
        assert side["disordered"] == 0
        assert side["sum"] == sum(each["added"] for each in found)
        assert side["claims"] == sum(each["claimed"] for each in found)
    assert sum(side["lost"] for side in found) > 0, "the two never met: nothing was tried"
