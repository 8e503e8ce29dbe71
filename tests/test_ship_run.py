"""The whole of it: a run that is shipped and commanded over NATS, its machine lost, and the engine made again."""

import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nats_rig
import pytest
from runs import MAKER, command, environment, market, run_words, ultra, until

from ultra.cold import answers, bridge, desk, journal, segment, shipper
from ultra.cold.desk import DeskError

SESSION = "ship"


@pytest.mark.slow
@pytest.mark.jit_only
def test_a_command_that_was_replicated_outlives_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shm, source, folder = tmp_path / "shm", tmp_path / "day", tmp_path / "journal"
    shm.mkdir()
    monkeypatch.setenv("ULTRA_SHM_DIR", str(shm))
    source.write_bytes(market(20_000))
    with nats_rig.single(tmp_path) as server, ExitStack() as stack:

        def begin(*given: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(command(*given), env=environment(), stdout=subprocess.DEVNULL, stderr=sys.stderr)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        others = [begin("ship", str(folder), "--to", server.url), begin("bridge", SESSION, "--to", server.url)]
        run = begin(*run_words(source, folder, MAKER, engine__session=SESSION), "--pace", "0.2x")
        until(lambda: run.poll() is not None or desk.path_of(SESSION).exists(), "the desk is open")
        words = {"command": "halt", "id": "halt-1", "who": "me", "why": "to see", "wait": "replicated"}
        found: dict[str, Any] = {}

        def is_answered() -> bool:
            try:
                found.update(bridge.ask(shipper.place_of(server.url), SESSION, words, 5.0))
            except DeskError:
                return False  # nobody listens yet, or nothing is shipped: the same id again
            return bool(found.get("ok"))

        until(is_answered, "it is replicated")
        assert found["durability"] == "replicated" and run.poll() is None
        for process in (run, *others):
            process.send_signal(signal.SIGKILL)
            process.wait()
        url = f"{server.url}/ultra-{segment.journal_id(folder).hex()}"
        journal.os.close(journal.sole_writer(folder))  # its process has written what there was, and ended
        shutil.rmtree(folder)
        made = tmp_path / "made"
        code, rebuilt, said = ultra("replay", str(made), "--from", url, "--json")
        assert code == 0 and rebuilt["matches"] and rebuilt["records"] > found["sequence"], said
        entry = answers.remembered(made)["halt-1"]
        assert entry.sequence == found["sequence"]
