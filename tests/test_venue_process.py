"""`ultra venue`, `ultra venue ctl` and `ultra load` as a user starts them: processes, killed and ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.jit_only, pytest.mark.slow]
CONFIG = """
[exchange]
order_live_max = 4096
message_max = 262144
reply_bytes = 4194304
client_max = 4
[exchange.account.ANN]
[exchange.generator.noise]
rate_per_s = 400
[exchange.generator.maker]
kind = "maker"
account = "MAKER"
rate_per_s = 100
"""
ULTRA = [sys.executable, "-m", "ultra"]


def start(folder: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    ports = folder / "ports.json"
    ports.unlink(missing_ok=True)
    (folder / "venue.toml").write_text(CONFIG)
    words = ["venue", "--config", str(folder / "venue.toml"), "--journal", str(folder / "log"), "--json"]
    with (folder / "errors").open("a") as errors:
        found = subprocess.Popen(
            [*ULTRA, *words, "--port-file", str(ports)], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    while not ports.exists():
        assert found.poll() is None, (folder / "errors").read_text()
        time.sleep(0.05)
    return found, json.loads(ports.read_text())


def ultra(*words: str) -> dict[str, Any]:
    done = subprocess.run([*ULTRA, *words], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def test_a_venue_is_loaded_killed_started_again_and_ended(tmp_path: Path) -> None:
    venue, at = start(tmp_path)
    load = ("load", "--rate", "1000/s", "--seconds", "0.5", "--password-file", str(tmp_path / "log" / "passwords"))
    first = ultra(*load, "--venue", at["venue"], "--json")
    assert first["answered"] == first["sent"] > 0 and not at["resumed"]
    before = ultra("venue", "ctl", "--socket", at["operator"], "status")
    assert before["desk"]["orders"] == first["orders"] and before["agents"]["placed"] > 0
    venue.send_signal(signal.SIGKILL)
    venue.communicate()
    venue, again = start(tmp_path)
    assert again["resumed"] and again["session"] == at["session"]
    status = ultra("venue", "ctl", "--socket", again["operator"], "status")
    assert status["desk"]["orders"] == first["orders"] and status["messages"] >= before["messages"]
    assert status["agents"]["unknown"] == 0
    second = ultra(*load, "--venue", again["venue"], "--json")
    assert second["answered"] == second["sent"] > 0
    ultra("venue", "ctl", "--socket", again["operator"], "halt", "ULTRA")
    venue.send_signal(signal.SIGTERM)
    said, _ = venue.communicate(timeout=60)
    assert venue.returncode == 0
    told, summary = map(json.loads, said.splitlines())
    assert told["pid"] == venue.pid and "ouch://ANN@" in told["venue"]
    assert summary["phase"] == "over" and summary["feed"]["ends"] == 1
    assert summary["desk"]["orders"] == first["orders"] + second["orders"]
    assert not os.path.exists(again["operator"])
    words = ("venue", "--journal", str(tmp_path / "log"), "--config", str(tmp_path / "venue.toml"))
    done = subprocess.run([*ULTRA, *words], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and "the day of this venue is over" in done.stderr
